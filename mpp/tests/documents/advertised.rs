//! Advertised offers equal issued challenges, for every mounted route.

use crate::shop::{App, info, router};
use mpp::testing::{self, Client};
use mpp::{Mpp, Sandbox, Secret};

#[tokio::test]
async fn every_advertised_offer_is_the_challenge_that_is_issued() {
    let mpp = testing::mpp();
    let app = router(&mpp);
    let mounted = app.mounted().len();
    let documents = app.documents(&mpp, &info());
    let client = Client::new(app.with_state(App { mpp }));
    assert_eq!(testing::assert_advertised(&client, documents.openapi()).await, mounted);
}

#[tokio::test]
#[should_panic(
    expected = "advertised [tempo/charge 50000 usdc, stripe/charge 50 usd], issued [tempo/charge 50000 usdc]"
)]
async fn a_document_of_another_configuration_is_caught() {
    let documents = router(&testing::mpp()).documents(&testing::mpp(), &info());
    let without_cards = Mpp::builder("https://test.example")
        .secret(Secret::generate())
        .method(Sandbox::named("tempo"))
        .switched_off("stripe")
        .allow_test_money()
        .build()
        .unwrap();
    let client = Client::new(router(&without_cards).with_state(App { mpp: without_cards }));
    testing::assert_advertised(&client, documents.openapi()).await;
}

#[tokio::test]
async fn what_is_switched_off_or_below_a_minimum_is_not_advertised() {
    let mpp = Mpp::builder("https://test.example")
        .secret(Secret::generate())
        .method(Sandbox::named("tempo"))
        .method(Sandbox::named("stripe").minimum("1.00"))
        .allow_test_money()
        .build()
        .unwrap();
    let app = router(&mpp);
    let documents = app.documents(&mpp, &info());
    let offers = &documents.openapi()["paths"]["/weather/{city}"]["get"]["x-payment-info"]["offers"];
    assert_eq!(offers.as_array().unwrap().len(), 1, "{offers}");
    let client = Client::new(app.with_state(App { mpp }));
    testing::assert_advertised(&client, documents.openapi()).await;
}
