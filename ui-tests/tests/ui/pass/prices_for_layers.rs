//! `price!`: for services that cannot be annotated.
#![deny(warnings)]

use mpp::{Amount, Head, Terms, price};

const STANDARD: Terms = mpp::terms!(currency = "usdc", methods(tempo, stripe(amount = "0.50", currency = "usd")));

fn tariff(path: &str) -> Amount {
    Amount::micros(10) * path.len() as u32
}

fn by_head(head: &Head) -> Result<Amount, axum::http::StatusCode> {
    head.headers().get("x-tier").map(|_| Amount::cents(1)).ok_or(axum::http::StatusCode::FORBIDDEN)
}

fn main() {
    let fixed = price!(amount = "0.002", currency = "usdc", methods(tempo), description = "Search API");
    assert_eq!(fixed.spec().name, "layer");
    assert_eq!(fixed.spec().offers.len(), 1);

    let rate = Amount::micros(3);
    let named = price!(
        amount = move |head| rate * head.uri().path().len() as u32,
        currency = "usdc",
        methods(tempo),
        name = "search",
        up_to = "1.00",
        free_if = |head| head.uri().path() == "/health",
        digest = false,
        honor = "quote",
        bind("x-tier"),
    );
    assert_eq!(named.spec().name, "search");
    assert!(named.spec().is_computed());

    let typed = price!(amount = |req: &mpp::Head| tariff(req.uri().path()), terms = STANDARD);
    let function = price!(amount = by_head, currency = "usdc", methods(tempo));
    let each = price!(
        methods(
            tempo(amount = |head| tariff(head.uri().path()), currency = "usdc"),
            stripe(amount = "0.50", currency = "usd"),
        ),
    );
    let proof = price!(amount = "0", currency = "usdc", methods(tempo), proof = true);
    assert!(proof.spec().is_proof());
    for price in [typed, function, each] {
        assert!(price.spec().is_computed());
    }
    assert_eq!(mpp::registry().iter().filter(|s| s.name == "layer").count(), 5);
}
