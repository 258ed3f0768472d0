//! The interactive reference page, as it is served; interop/tests/pages.rs opens it in a browser.

use crate::shop::{App, info, router};
use mpp::routing::{Router, get};
use mpp::testing::{self, Client};
use mpp::{Mpp, Paid};

fn client() -> Client {
    let mpp = testing::mpp();
    Client::new(router(&mpp).publish(&mpp, info().reference_page()).unwrap().with_state(App { mpp }))
}

#[tokio::test]
async fn every_file_the_page_names_is_served_from_here_and_nothing_else_may_be_loaded() {
    let client = client();
    let page = client.get("/reference").unpaid().await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; ") && !policy.contains("unsafe"),
        "{policy}"
    );
    let html = page.text();
    assert!(!html.contains("://"), "an address of somebody else's: {html}");
    let named: Vec<_> = html.split('"').filter(|text| text.starts_with("reference/")).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    for name in named {
        let file = client.get(&format!("/{name}")).unpaid().await;
        assert_eq!(file.status(), 200, "{name}");
        assert!(file.header("content-type").is_some_and(|media| media.starts_with("text/")), "{name}");
        let etag = file.header("etag").unwrap().to_owned();
        let again = client.get(&format!("/{name}")).header("if-none-match", &etag).unpaid().await;
        assert_eq!(again.status(), 304, "{name}");
    }
    for missing in ["/reference/index.html", "/reference/swagger-initializer.js", "/reference/..%2fpage.js"] {
        assert_eq!(client.get(missing).unpaid().await.status(), 404, "{missing}");
    }
}

#[tokio::test]
async fn the_page_is_the_api_reference_of_the_document_unless_there_is_another() {
    let served = client().get("/openapi.json").unpaid().await.json();
    assert_eq!(served["x-service-info"]["docs"]["apiReference"], "https://test.example/reference");
    let mpp = testing::mpp();
    let other = info().reference_page().api_reference("https://docs.example/api");
    let document = router(&mpp).documents(&mpp, &other).openapi().clone();
    assert_eq!(document["x-service-info"]["docs"]["apiReference"], "https://docs.example/api");
}

#[tokio::test]
async fn without_being_asked_for_there_is_no_page() {
    let mpp = testing::mpp();
    let client = Client::new(router(&mpp).publish(&mpp, info()).unwrap().with_state(App { mpp }));
    assert_eq!(client.get("/reference").unpaid().await.status(), 404);
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn in_the_way(_: Paid) {}

#[test]
fn a_price_where_the_page_is_served_stops_the_start() {
    let mpp = testing::mpp();
    let app = || Router::<Mpp>::new().route("/reference/{file}", get(in_the_way));
    let problems = app().publish(&mpp, info().reference_page()).unwrap_err();
    assert!(problems.to_string().contains("::in_the_way`"), "{problems}");
    assert!(app().publish(&mpp, info()).is_ok());
}
