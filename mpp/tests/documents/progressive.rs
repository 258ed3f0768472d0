//! Three levels of description, as they are served.

use crate::shop::{App, info, router};
use mpp::discovery;
use mpp::testing::{self, Client};

fn client() -> Client {
    let mpp = testing::mpp();
    Client::new(router(&mpp).publish(&mpp, info()).unwrap().with_state(App { mpp }))
}

#[tokio::test]
async fn each_level_says_more_than_the_one_before() {
    let client = client();
    let overview = client.get("/describe").unpaid().await.json();
    assert_eq!(overview["level"], "overview");
    let listed = overview["operations"].as_array().unwrap();
    let complete = listed.iter().find(|o| o["name"] == "complete").unwrap();
    assert_eq!(complete["call"], "POST /complete");
    assert!(complete["price"].as_str().unwrap().contains("up to 2 usdc by tempo"));

    let item = client.get("/describe/complete").unpaid().await.json();
    assert_eq!((&item["level"], &item["offers"][0]["method"]), (&"item".into(), &"tempo".into()));
    assert!(item["errors"].as_array().unwrap().iter().any(|e| e["status"] == "402"));
    assert!(item.get("schemas").is_none());

    let contract = client.get("/describe/complete?level=contract").unpaid().await.json();
    assert!(contract["schemas"]["Prompt"]["properties"]["text"].is_object());
    assert!(contract["schemas"].get("Weather").is_none(), "only what it refers to");
    let weather = client.get("/describe/weather?level=contract").unpaid().await.json();
    assert!(weather["schemas"]["Wind"].is_object(), "and what that refers to");
}

#[tokio::test]
async fn text_keeps_to_its_budget_and_an_unknown_name_gets_the_nearest() {
    let client = client();
    let text = client.get("/describe?text=60").unpaid().await;
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(text.text().chars().count() <= 240 && text.text().contains("more lines"), "{}", text.text());
    let unknown = client.get("/describe/wether").unpaid().await;
    assert_eq!(unknown.status(), 404);
    assert!(unknown.json()["detail"].as_str().unwrap().contains("did you mean `weather`"));
    assert_eq!(client.get("/describe?text=many").unpaid().await.status(), 400);
    let long = client.get(&format!("/describe/{}", "x".repeat(10_000))).unpaid().await;
    assert!(long.status() == 404 && long.text().len() < 1_000);
}

#[test]
fn every_operation_can_be_described_by_its_name_and_by_its_call() {
    let mpp = testing::mpp();
    let documents = router(&mpp).documents(&mpp, &info());
    let overview = discovery::describe(documents.openapi());
    for operation in overview.json()["operations"].as_array().unwrap() {
        for name in [&operation["name"], &operation["call"]] {
            let item = discovery::describe_item(documents.openapi(), name.as_str().unwrap()).unwrap();
            assert_eq!(item.json()["name"], operation["name"]);
        }
    }
}
