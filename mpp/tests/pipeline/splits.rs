//! `split(…)`: who gets what of a price, and what is refused.

use crate::common::{Network, Terms, Wired, credential};
use crate::lab::*;
use axum::extract::{Path, State};
use mpp::method::Splitting;
use mpp::protocol::{Challenge, Secret};
use mpp::routing::{Router, get};
use mpp::testing::{Client, price_list};
use mpp::{Amount, Mpp, Paid};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[mpp::charge(
    amount = "0.05",
    currency = "usdc",
    methods(tempo, stripe(amount = "0.50", currency = "usd")),
    split(platform = "0.01", author = "2.5%")
)]
async fn fixed(_: Paid) -> &'static str {
    "fixed"
}

#[mpp::charge(
    amount = Amount::micros(bench.unit.load(Ordering::SeqCst).into()) * *n,
    currency = "usdc",
    methods(tempo),
    split(platform = "0.01", author = "2.5%"),
)]
async fn computed(State(bench): State<Arc<Bench>>, Path(n): Path<u32>, _: Paid) -> String {
    drop(bench);
    n.to_string()
}

const MARKET: mpp::Terms = mpp::terms!(
    methods(tempo(currency = "usdc"), stripe(amount = "0.50", currency = "usd")),
    split(platform = "10%"),
    fees = "sponsored",
);

#[mpp::charge(amount = "0.05", terms = MARKET)]
async fn on_terms(_: Paid) {}

fn router() -> Router<App> {
    Router::new()
        .route("/fixed", get(fixed))
        .route("/computed/{n}", get(computed))
        .route("/on-terms", get(on_terms))
}

fn client(lab: &Lab) -> Client {
    Client::new(router().with_state(App { mpp: lab.mpp.clone(), bench: lab.bench.clone() }))
}

/// Who gets how many base units.
fn parts(challenge: &Challenge) -> Vec<(String, String)> {
    let details = challenge.charge().unwrap().method_details.unwrap_or_default();
    details.into_iter().map(|(payee, units)| (payee, units.as_str().unwrap().to_owned())).collect()
}

fn of(platform: &str, author: &str) -> Vec<(String, String)> {
    vec![("author".to_owned(), author.to_owned()), ("platform".to_owned(), platform.to_owned())]
}

#[tokio::test(start_paused = true)]
async fn each_offer_is_split_in_the_base_units_of_its_own_currency() {
    let lab = Lab::new();
    let client = client(&lab);
    let offers = client.get("/fixed").unpaid().await.challenges().offers;
    assert_eq!(parts(&offers[0]), of("10000", "1250"));
    // 2.5 % of 50 cents are one cent and a quarter, which is the recipient's.
    assert_eq!(parts(&offers[1]), of("1", "1"));
    client.get("/fixed").presenting(&credential(&offers[0], "tx1")).await.assert_ok();
    client.get("/fixed").presenting(&credential(&offers[1], "tx2")).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_computed_price_is_split_for_each_request_and_paid_as_it_was_quoted() {
    let lab = Lab::new();
    let client = client(&lab);
    let quoted = first(&client.get("/computed/100").unpaid().await);
    assert_eq!(parts(&quoted), of("10000", "2500"));
    assert_eq!(parts(&first(&client.get("/computed/333").unpaid().await)), of("10000", "8325"));
    // The price fell: what was quoted stands, with the parts it was quoted with.
    lab.bench.unit.store(500, Ordering::SeqCst);
    client.get("/computed/100").presenting(&credential(&quoted, "tx1")).await.assert_ok();
    // It rose: the quote does not cover it.
    let quoted = first(&client.get("/computed/100").unpaid().await);
    lab.bench.unit.store(501, Ordering::SeqCst);
    let response = client.get("/computed/100").presenting(&credential(&quoted, "tx2")).await;
    response.assert_problem("payment-insufficient");
}

#[tokio::test(start_paused = true)]
async fn a_computed_price_that_leaves_nothing_for_the_recipient_is_a_422_without_a_challenge() {
    let lab = Lab::new();
    let client = client(&lab);
    for n in [1, 9, 10] {
        let response = client.get(&format!("/computed/{n}")).unpaid().await;
        response.assert_problem("price-out-of-range");
        assert!(response.challenges().offers.is_empty());
    }
    // 0.010257 less 0.01 and 2.5 % leaves one base unit; one less leaves none.
    lab.bench.unit.store(1, Ordering::SeqCst);
    client.get("/computed/10256").unpaid().await.assert_problem("price-out-of-range");
    assert_eq!(parts(&first(&client.get("/computed/10257").unpaid().await)), of("10000", "256"));
}

#[tokio::test(start_paused = true)]
async fn a_quote_still_covers_a_price_that_fell_too_low_to_be_split() {
    let lab = Lab::new();
    let client = client(&lab);
    lab.bench.unit.store(2, Ordering::SeqCst);
    let quoted = client.get("/computed/10000").unpaid().await;
    let paid = credential(&first(&quoted), "tx1");
    let other = credential(&first(&client.get("/computed/9000").unpaid().await), "tx2");
    lab.bench.unit.store(1, Ordering::SeqCst);
    client.get("/computed/10000").unpaid().await.assert_problem("price-out-of-range");
    client.get("/computed/10000").presenting(&other).await.assert_problem("price-out-of-range");
    // May have been paid on the network already.
    client.get("/computed/10000").presenting(&paid).await.assert_ok();
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn terms_split_every_price_that_uses_them() {
    let lab = Lab::new();
    let offers = client(&lab).get("/on-terms").unpaid().await.challenges().offers;
    for (offer, units) in offers.iter().zip(["5000", "5"]) {
        assert_eq!(parts(offer), [("platform".to_owned(), units.to_owned())]);
    }
    assert_eq!(router().mounted()[2].spec.fees, mpp::method::Fees::Sponsored);
}

/// The problems about prices of this file.
fn problems(tempo: Terms) -> Vec<String> {
    let built = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(Wired(Network::on("tempo", tempo)))
        .method(Wired(Network::new("stripe")))
        .allow_test_money()
        .build();
    let problems = built.map_or_else(|report| report.problems().to_vec(), |_| Vec::new());
    problems.into_iter().filter(|problem| problem.contains("::splits::")).collect()
}

#[test]
fn a_method_that_cannot_split_or_not_so_often_is_a_start_up_problem_of_each_price() {
    let found = problems(Terms { splitting: Splitting::Unsupported, ..Terms::default() });
    assert_eq!(found.len(), 3, "{found:#?}");
    for problem in &found {
        assert!(problem.contains("`tempo` cannot pay several recipients"), "{problem}");
    }
    let found = problems(Terms { splitting: Splitting::Legs(1), ..Terms::default() });
    assert_eq!(found.len(), 2, "{found:#?}");
    for problem in &found {
        assert!(
            problem.contains(
                "`tempo` can pay 1 others besides the recipient, and this price is split between 2"
            ),
            "{problem}"
        );
    }
    assert_eq!(problems(Terms { splitting: Splitting::Legs(2), ..Terms::default() }), [] as [String; 0]);
}

#[test]
fn a_payee_without_an_account_is_found_at_start_up_also_for_computed_prices() {
    let found = problems(Terms { payees: &["platform"], ..Terms::default() });
    assert_eq!(found.len(), 2, "{found:#?}");
    for (problem, name) in found.iter().zip(["computed", "fixed"]) {
        assert!(problem.contains(&format!("::splits::{name}`")), "{problem}");
        assert!(problem.contains("`tempo`: `author` has no account here"), "{problem}");
    }
}

#[test]
fn a_part_finer_than_the_methods_own_currency_is_found_at_start_up() {
    let found = problems(Terms { decimals: Some(1), ..Terms::default() });
    let part = |found: &&String| {
        found.contains(
            "the part of `platform` cannot be paid by `tempo`, whose currency `usdc` has 1 decimals",
        )
    };
    assert_eq!(found.iter().filter(part).count(), 2, "{found:#?}");
}

#[test]
fn the_price_list_says_who_gets_what() {
    let list = price_list(&router());
    assert!(
        list.contains("tempo 0.05 usdc · stripe 0.5 usd · of which platform 0.01, author 2.5%   "),
        "{list}"
    );
    assert!(list.contains("tempo computed usdc · of which platform 0.01, author 2.5%   "), "{list}");
    assert!(
        list.contains("tempo 0.05 usdc · stripe 0.5 usd · of which platform 10% · fees sponsored   "),
        "{list}"
    );
}
