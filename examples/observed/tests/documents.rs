//! What is advertised is what is charged, for every route.

use mpp::discovery::Info;
use mpp::testing::{self, Client};
use observed::routes;

#[tokio::test]
async fn what_is_advertised_is_what_is_charged() {
    let mpp = testing::mpp();
    let documents = routes().documents(&mpp, &Info::new("Weather", "1.0.0"));
    let client = Client::new(routes().with_state(mpp));
    let called = testing::assert_advertised(&client, documents.openapi()).await;
    assert_eq!(called, routes().mounted().len());
}
