//! The 402 a browser shows.

use crate::shop::{App, info, router};
use mpp::testing::{self, Client, Response};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn client() -> Client {
    let mpp = testing::mpp();
    Client::new(router(&mpp).publish(&mpp, info()).unwrap().with_state(App { mpp }))
}

async fn page(path: &str) -> Response {
    client().get(path).header("accept", BROWSER).unpaid().await
}

#[tokio::test]
async fn a_browser_gets_a_page_with_the_same_status_and_challenges() {
    let client = client();
    let page = client.get("/weather/oslo").header("accept", BROWSER).unpaid().await;
    let problem = client.get("/weather/oslo").header("accept", "application/json").unpaid().await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    page.assert_offers(["tempo 0.05 usdc", "stripe 0.5 usd"]);
    problem.assert_offers(["tempo 0.05 usdc", "stripe 0.5 usd"]);
    for response in [&page, &problem] {
        assert_eq!((response.status().as_u16(), response.header("cache-control")), (402, Some("no-store")));
    }
}

#[tokio::test]
async fn the_page_says_what_is_sold_for_how_much_and_how_it_is_paid() {
    let text = page("/weather/oslo?unit=k").await.text();
    assert!(
        text.starts_with("<!doctype html>\n<html lang=\"en\">")
            && text.ends_with("</main>\n</body>\n</html>\n")
    );
    for said in [
        "<p>This has to be paid for, per request. Nothing has been charged.</p>",
        "<h2>Price</h2>\n<table>",
        "</tbody>\n</table>\n<p>One of them is enough.</p>",
        "<p>It can be paid until 20",
        "<h1>Current weather for a city.</h1>",
        "<p>From three stations, updated hourly.</p>",
        "<tr><th scope=\"row\">tempo</th><td>0.05 usdc</td></tr>",
        "<tr><th scope=\"row\">stripe</th><td>0.5 usd</td></tr>",
        "<code>mpp pay 'https://test.example/weather/oslo?unit=k'</code>",
        "curl -si 'https://test.example/weather/oslo?unit=k' | mpp decode -",
        "&quot;amount&quot;: &quot;50000&quot;",
        "test.example",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    let whoami = page("/whoami").await.text();
    assert!(!whoami.contains("One of them"), "there is one");
    assert!(whoami.contains("<td>nothing but a proof of identity</td>"));
    assert!(page("/units/7").await.text().contains("<td>0.007 usdc</td>"), "a computed price, computed");
}

#[tokio::test]
async fn another_verb_is_said_and_where_the_body_goes() {
    let client = client();
    let request = client.post("/v1/form").header("accept", BROWSER);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body("text=hello");
    let text = request.unpaid().await.text();
    assert!(text.contains("<code>mpp pay -X POST 'https://test.example/v1/form'</code>"), "{text}");
    assert!(text.contains("<code>-d</code> adds"), "{text}");
}

#[tokio::test]
async fn the_page_loads_nothing_and_may_load_nothing() {
    let page = page("/weather/oslo").await;
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("vary"), Some("accept"), "programs get something else");
    let text = page.text();
    for forbidden in ["<script", "<img", "<link", "src=", "style=", "@import", "url("] {
        assert!(!text.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn what_a_stranger_puts_into_the_address_stays_text() {
    let text = page("/weather/%3Cscript%3E?q=';rm&x=1").await.text();
    assert!(!text.contains("<script") && !text.contains("&x"), "{text}");
    // The shell sees one argument, whatever is in it.
    assert!(text.contains("?q=&#39;\\&#39;&#39;;rm&amp;x=1'"), "{text}");
}

#[tokio::test]
async fn a_refused_credential_is_explained() {
    let client = client();
    let request = client.get("/weather/oslo").header("accept", BROWSER);
    let refused = request.presenting("Payment bm90aGluZw").await;
    assert_eq!(refused.status(), 402);
    assert!(
        refused.text().contains("<p role=\"alert\" class=\"problem\">Malformed Credential: "),
        "{}",
        refused.text()
    );
    let paid = client.get("/weather/oslo").header("accept", BROWSER).paying("tempo").await;
    assert_eq!(paid.status(), 200);
}
