//! `fees = "sponsored"`: which form of an offer goes out, and which are accepted.

use crate::common::{Network, Script, credential};
use crate::lab::*;
use axum::extract::{Path, State};
use mpp::method::Sponsoring;
use mpp::protocol::Challenge;
use mpp::routing::{Router, get};
use mpp::testing::{Client, price_list};
use mpp::{Amount, Mpp, Paid};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[mpp::charge(
    amount = "0.05",
    currency = "usdc",
    methods(tempo, stripe, tempo(currency = "pathusd")),
    fees = "sponsored"
)]
async fn fixed(_: Paid) -> &'static str {
    "fixed"
}

#[mpp::charge(
    amount = Amount::micros(bench.unit.load(Ordering::SeqCst).into()) * *n,
    currency = "usdc",
    methods(tempo),
    fees = "sponsored",
)]
async fn computed(State(bench): State<Arc<Bench>>, Path(n): Path<u32>, _: Paid) -> String {
    drop(bench);
    n.to_string()
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn unsponsored(_: Paid) {}

fn router() -> Router<App> {
    Router::new()
        .route("/fixed", get(fixed))
        .route("/computed/{n}", get(computed))
        .route("/unsponsored", get(unsponsored))
}

fn client(lab: &Lab, mpp: &Mpp) -> Client {
    Client::new(router().with_state(App { mpp: mpp.clone(), bench: lab.bench.clone() }))
}

/// A lab whose `tempo` says this about its sponsor.
fn lab(sponsoring: Sponsoring) -> Lab {
    let network = Network::new("tempo");
    network.sponsors(sponsoring);
    Lab::on(network, |builder| builder)
}

fn is_sponsored(challenge: &Challenge) -> bool {
    challenge.charge().unwrap().method_details.is_some_and(|details| details["feePayer"] == true)
}

/// The warnings about prices of this file.
fn warnings(mpp: &Mpp) -> Vec<&String> {
    mpp.warnings().iter().filter(|warning| warning.contains("::fees::")).collect()
}

#[tokio::test(start_paused = true)]
async fn offers_are_sponsored_while_the_sponsor_pays_and_plain_while_it_pauses() {
    let lab = lab(Sponsoring::Open);
    let client = client(&lab, &lab.mpp);
    assert_eq!(warnings(&lab.mpp), [] as [&String; 0]);
    for uri in ["/fixed", "/computed/5"] {
        assert!(is_sponsored(&first(&client.get(uri).unpaid().await)), "{uri}");
    }
    // A card has no fee that somebody could pay; the other currency of the network has.
    let offers = client.get("/fixed").unpaid().await.challenges().offers;
    assert_eq!(offers.iter().map(is_sponsored).collect::<Vec<_>>(), [true, false, true]);
    assert!(!is_sponsored(&first(&client.get("/unsponsored").unpaid().await)));
    lab.network.sponsors(Sponsoring::Paused);
    for uri in ["/fixed", "/computed/5"] {
        assert!(!is_sponsored(&first(&client.get(uri).unpaid().await)), "{uri}");
    }
    lab.network.sponsors(Sponsoring::Open);
    assert!(is_sponsored(&first(&client.get("/fixed").unpaid().await)));
}

#[tokio::test(start_paused = true)]
async fn both_forms_are_paid_whichever_goes_out_now() {
    let lab = lab(Sponsoring::Paused);
    let client = client(&lab, &lab.mpp);
    for uri in ["/fixed", "/computed/5"] {
        let plain = first(&client.get(uri).unpaid().await);
        lab.network.sponsors(Sponsoring::Open);
        let sponsored = first(&client.get(uri).unpaid().await);
        assert_eq!((is_sponsored(&plain), is_sponsored(&sponsored)), (false, true));
        client.get(uri).presenting(&credential(&plain, &format!("plain {uri}"))).await.assert_ok();
        lab.network.sponsors(Sponsoring::Paused);
        client.get(uri).presenting(&credential(&sponsored, &format!("sponsored {uri}"))).await.assert_ok();
    }
    assert_eq!(lab.network.payments(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_sponsored_quote_below_todays_price_is_insufficient_in_either_form() {
    let lab = lab(Sponsoring::Open);
    let client = client(&lab, &lab.mpp);
    let sponsored = first(&client.get("/computed/5").unpaid().await);
    lab.network.sponsors(Sponsoring::Paused);
    let plain = first(&client.get("/computed/5").unpaid().await);
    lab.bench.unit.store(1_001, Ordering::SeqCst);
    for challenge in [sponsored, plain] {
        let response = client.get("/computed/5").presenting(&credential(&challenge, "tx")).await;
        response.assert_problem("payment-insufficient");
    }
    assert_eq!(lab.network.payments(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_never_sponsored_refuses_a_sponsored_request() {
    let mut lab = lab(Sponsoring::Open);
    let sponsored: Vec<_> = {
        let client = client(&lab, &lab.mpp);
        [first(&client.get("/fixed").unpaid().await), first(&client.get("/computed/5").unpaid().await)].into()
    };
    // The same secret and store, and not a successor.
    lab.network.sponsors(Sponsoring::Unconfigured);
    lab.restart();
    let client = client(&lab, &lab.mpp);
    for (uri, challenge) in ["/fixed", "/computed/5"].iter().zip(&sponsored) {
        let response = client.get(uri).presenting(&credential(challenge, uri)).await;
        response.assert_problem("invalid-challenge");
        assert_eq!(response.json()["detail"], "this challenge is not what this resource charges");
    }
    assert_eq!(lab.network.verified.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn whose_sponsored_payment_came_to_nothing_is_asked_to_pay_the_fee_too() {
    let lab = lab(Sponsoring::Open);
    let client = client(&lab, &lab.mpp);
    for uri in ["/fixed", "/computed/5"] {
        let sponsored = first(&client.get(uri).unpaid().await);
        lab.network.will(Script::Decline);
        let declined = client.get(uri).presenting(&credential(&sponsored, uri)).await;
        declined.assert_problem("verification-failed");
        let fresh = first(&declined);
        assert!(is_sponsored(&sponsored) && !is_sponsored(&fresh), "{uri}");
        lab.network.will(Script::Settle);
        client.get(uri).presenting(&credential(&fresh, &format!("{uri} again"))).await.assert_ok();
        // Others are not concerned.
        assert!(is_sponsored(&first(&client.get(uri).unpaid().await)), "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_sponsor_each_price_is_one_warning_and_payers_pay() {
    let lab = lab(Sponsoring::Unconfigured);
    let found = warnings(&lab.mpp);
    assert_eq!(found.len(), 2, "{found:?}");
    for name in ["::fees::fixed`", "::fees::computed`"] {
        let warning = found.iter().find(|warning| warning.contains(name)).expect(name);
        assert!(warning.contains("`tempo` has no sponsor"), "{warning}");
    }
    let client = client(&lab, &lab.mpp);
    let plain = first(&client.get("/fixed").unpaid().await);
    assert!(!is_sponsored(&plain));
    client.get("/fixed").presenting(&credential(&plain, "tx1")).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_successor_without_a_sponsor_still_takes_what_its_predecessor_sponsored_until_it_expires() {
    let lab = lab(Sponsoring::Open);
    let old = client(&lab, &lab.mpp);
    let sponsored = first(&old.get("/fixed").unpaid().await);
    let late = first(&old.get("/fixed").unpaid().await);
    let successor = lab.successor(&lab.mpp, Network::new("tempo"));
    let client = client(&lab, &successor);
    assert!(!is_sponsored(&first(&client.get("/fixed").unpaid().await)));
    client.get("/fixed").presenting(&credential(&sponsored, "tx1")).await.assert_ok();
    lab.clock.advance(Duration::from_secs(300));
    client.get("/fixed").presenting(&credential(&late, "tx2")).await.assert_problem("payment-expired");
}

#[test]
fn the_price_list_says_that_fees_are_sponsored() {
    let list = price_list(&router());
    assert!(
        list.contains("tempo 0.05 usdc · stripe 0.05 usdc · tempo 0.05 pathusd · fees sponsored   fixed\n"),
        "{list}"
    );
    let unsponsored = list.lines().find(|line| line.ends_with(" unsponsored")).unwrap();
    assert!(!unsponsored.contains("fees"), "{list}");
}
