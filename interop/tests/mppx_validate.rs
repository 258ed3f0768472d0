//! `mppx validate` against the shop: its documents, its challenges, its refusals, and a payment on every priced route by
//! every method.

use interop::stripe::{SECRET_KEY, StandIn};
use interop::{KeyFile, Shop, Verdict, lab};

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");

/// No error, no payment left out, no warning but the expected ones, and no check lost.
fn assert_valid(verdict: &Verdict, routes: &[&str], payments: usize, least: u64, expected: &[&str]) {
    assert!(verdict.failed.is_empty() && verdict.skipped.is_empty(), "{verdict:#?}");
    assert_eq!(verdict.routes, routes);
    assert_eq!(verdict.payments, payments, "{verdict:#?}");
    assert_eq!(verdict.warnings.len(), expected.len(), "{verdict:#?}");
    for (warning, expected) in verdict.warnings.iter().zip(expected) {
        assert!(warning.starts_with(expected), "{warning}");
    }
    assert!(verdict.passed >= least, "{} checks passed, once there were {least}", verdict.passed);
}

#[tokio::test]
async fn a_shop_that_takes_tempo_is_valid() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let verdict = lab.validate(&shop.url, Some(&chain), None).await;
    let routes = [
        "GET /charge",
        "GET /dear",
        "GET /either",
        "GET /split",
        "GET /sponsored",
        "GET /units/{n}",
        "GET /zero",
        "POST /charge",
        "POST /echo",
    ];
    let expected = [
        // It has none.
        "discovery: Operation with x-payment-info has no requestBody: paths./charge.post",
        // A proof of identity moves no money: its reference is the challenge, not a transaction.
        "GET /zero: Receipt reference format",
    ];
    assert_valid(&verdict, &routes, 9, 192, &expected);
}

#[tokio::test]
async fn a_shop_that_takes_cards_is_valid() {
    let Some(lab) = lab() else { return };
    let (stand_in, key) = (StandIn::of_today().await, KeyFile::of(SECRET_KEY));
    stand_in.allow_small_amounts();
    let shop = Shop::without_tempo(SHOP, &stand_in.flags(&key)).await;
    let verdict = lab.validate(&shop.url, None, Some(&stand_in)).await;
    assert_valid(&verdict, &["GET /either", "GET /stripe"], 2, 48, &[]);
}
