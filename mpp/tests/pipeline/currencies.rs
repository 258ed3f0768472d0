//! Several currencies of one method, and the merchant's reference: which offer was paid, and what the receipt says.

use crate::common::{Network, Terms, Wired, credential};
use crate::lab::*;
use axum::extract::{Path, State};
use mpp::protocol::Secret;
use mpp::routing::{Router, get};
use mpp::testing::{Client, price_list};
use mpp::{Amount, Hold, Mpp, Paid, Receipt};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[mpp::charge(
    amount = "0.05",
    methods(
        tempo(currency = "usdc"),
        tempo(currency = "pathusd"),
        stripe(amount = "0.50", currency = "usd"),
        tempo(amount = "0.04", currency = "alphausd"),
    ),
    external_id = "sku-42"
)]
async fn fixed(paid: Paid) -> String {
    paid.method.to_string()
}

#[mpp::charge(
    amount = Amount::micros(bench.unit.load(Ordering::SeqCst).into()) * *n,
    methods(tempo(currency = "usdc"), tempo(amount = Amount::micros(70) * *n, currency = "pathusd")),
    external_id = "sku-43",
)]
async fn computed(State(bench): State<Arc<Bench>>, Path(n): Path<u32>, _: Paid) -> String {
    drop(bench);
    n.to_string()
}

#[mpp::charge(
    amount = "0.05",
    currency = "usdc",
    methods(tempo),
    capture = "success",
    external_id = "sku-44"
)]
async fn held(_: Paid<Hold>) {}

#[mpp::charge(amount = "0", proof = true, currency = "usdc", methods(tempo), external_id = "sku-45")]
async fn proved(paid: Paid<Receipt>) -> String {
    paid.external_id.clone().unwrap_or_default()
}

fn router() -> Router<App> {
    Router::new()
        .route("/fixed", get(fixed))
        .route("/computed/{n}", get(computed))
        .route("/held", get(held))
        .route("/proved", get(proved))
}

fn client(lab: &Lab, mpp: &Mpp) -> Client {
    Client::new(router().with_state(App { mpp: mpp.clone(), bench: lab.bench.clone() }))
}

const ALL: [&str; 4] = ["tempo 0.05 usdc", "tempo 0.05 pathusd", "stripe 0.5 usd", "tempo 0.04 alphausd"];

#[tokio::test(start_paused = true)]
async fn each_currency_is_an_offer_of_its_own_and_each_is_paid() {
    let lab = Lab::new();
    let client = client(&lab, &lab.mpp);
    let response = client.get("/fixed").unpaid().await;
    response.assert_offers(ALL);
    for (challenge, offer) in response.challenges().offers.iter().zip(ALL) {
        let paid = credential(challenge, offer);
        let delivered = client.get("/fixed").presenting(&paid).await;
        delivered.assert_ok();
        assert!(offer.starts_with(&delivered.text()));
        client.get("/fixed").presenting(&paid).await.assert_problem("invalid-challenge");
    }
    assert_eq!((lab.network.payments(), lab.cards.payments()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn accept_payment_ranks_all_offers_of_a_method_in_the_servers_order() {
    let lab = Lab::new();
    let client = client(&lab, &lab.mpp);
    let ask = |accept: &'static str| client.get("/fixed").header("accept-payment", accept).unpaid();
    ask("tempo/charge").await.assert_offers([ALL[0], ALL[1], ALL[3]]);
    ask("tempo/charge;q=0.5, stripe/charge").await.assert_offers([ALL[2], ALL[0], ALL[1], ALL[3]]);
    ask("stripe/charge").await.assert_offers([ALL[2]]);
}

#[tokio::test(start_paused = true)]
async fn a_computed_quote_is_held_against_todays_price_in_its_own_currency() {
    let lab = Lab::new();
    let client = client(&lab, &lab.mpp);
    let quoted = client.get("/computed/1000").unpaid().await;
    quoted.assert_offers(["tempo 1 usdc", "tempo 0.07 pathusd"]);
    let offers = quoted.challenges().offers;
    lab.bench.unit.store(1_001, Ordering::SeqCst);
    let risen = client.get("/computed/1000").presenting(&credential(&offers[0], "tx1")).await;
    risen.assert_problem("payment-insufficient");
    // The other currency's price did not move, and is far below the first one's.
    client.get("/computed/1000").presenting(&credential(&offers[1], "tx2")).await.assert_ok();
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_successor_retires_each_currency_of_its_predecessor() {
    let lab = Lab::new();
    let before = client(&lab, &lab.mpp).get("/fixed").unpaid().await.challenges().offers;
    let successor = lab.successor(&lab.mpp, Network::on("tempo", Terms { recipient: 9, ..Terms::default() }));
    let client = client(&lab, &successor);
    let now = client.get("/fixed").unpaid().await.challenges().offers;
    for (i, challenge) in before.iter().chain(&now).enumerate() {
        client.get("/fixed").presenting(&credential(challenge, &format!("tx{i}"))).await.assert_ok();
    }
}

#[tokio::test(start_paused = true)]
async fn the_merchants_reference_is_in_every_request_and_receipt_whatever_the_method() {
    let lab = Lab::new();
    let client = client(&lab, &lab.mpp);
    for (uri, reference) in
        [("/fixed", "sku-42"), ("/computed/1000", "sku-43"), ("/held", "sku-44"), ("/proved", "sku-45")]
    {
        for challenge in client.get(uri).unpaid().await.challenges().offers {
            let asked = challenge.charge().unwrap();
            assert_eq!(asked.external_id.as_deref(), Some(reference), "{uri}");
            let proof = format!("{uri} {}", asked.currency);
            let response = client.get(uri).presenting(&credential(&challenge, &proof)).await;
            response.assert_ok();
            // The network says something else about every payment.
            assert_eq!(response.receipt().external_id.as_deref(), Some(reference), "{uri}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_payment_found_after_a_crash_has_the_reference_of_its_request() {
    let lab = Lab::new();
    let client = client(&lab, &lab.mpp);
    let paid = credential(&first(&client.get("/fixed").unpaid().await), "tx1");
    lab.network.will(crate::common::Script::LoseAnswer);
    assert_eq!(client.get("/fixed").presenting(&paid).await.status(), 503);
    lab.network.will(crate::common::Script::Settle);
    lab.clock.advance(std::time::Duration::from_secs(91));
    let response = client.get("/fixed").presenting(&paid).await;
    response.assert_ok();
    assert_eq!(response.receipt().external_id.as_deref(), Some("sku-42"));
}

#[test]
fn two_currencies_that_a_method_takes_as_one_are_a_start_up_problem() {
    let one = Network::on("tempo", Terms { id: Some("0x20c0"), ..Terms::default() });
    let report = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(Wired(one))
        .method(Wired(Network::new("stripe")))
        .allow_test_money()
        .build()
        .unwrap_err();
    let found: Vec<_> = report.problems().iter().filter(|p| p.contains("::currencies::")).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].contains("`tempo` takes `usdc` and `pathusd` as the same currency, `0x20c0`"),
        "{found:#?}"
    );
    assert!(!report.to_string().contains("::cheap`"), "a price in one currency is sound: {report}");
}

#[test]
fn what_is_wrong_with_a_method_is_said_once_per_price_however_many_its_currencies() {
    let report = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(Wired(Network::new("stripe")))
        .allow_test_money()
        .build()
        .unwrap_err();
    let of_fixed = |p: &&String| p.contains("::currencies::fixed` (");
    let found: Vec<_> = report.problems().iter().filter(of_fixed).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("takes `tempo`, which is not configured"), "{found:#?}");
}

#[test]
fn the_price_list_has_every_currency_and_the_reference() {
    let list = price_list(&router());
    assert!(
        list.contains(
            "tempo 0.05 usdc · tempo 0.05 pathusd · stripe 0.5 usd · tempo 0.04 alphausd · as sku-42   "
        ),
        "{list}"
    );
}
