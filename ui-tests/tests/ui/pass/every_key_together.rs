//! As many keys as make sense on one handler.
#![deny(warnings)]

use axum::{Json, extract::State};
use mpp::routing::{Router, post};
use mpp::{Amount, Hold, Mpp, Paid, Receipt};

#[derive(Clone, axum::extract::FromRef)]
struct App {
    mpp: Mpp,
    rate: Amount,
}

/// Everything about a computed price.
#[mpp::charge(
    amount = *rate * *units,
    up_to = "2.00",
    currency = "usdc",
    methods(tempo, tempo(currency = "pathusd"), stripe(amount = "0.50", currency = "usd"), sandbox(currency = "eur")),
    free_if = *units == 0,
    description = "by the unit",
    external_id = "unit",
    fees = "sponsored",
    split(platform = "0.01", author = "2.5%"),
    settle = "before",
    honor = "quote",
    bind("x-tier"),
    state = App,
    crate = ::mpp,
)]
async fn computed(State(rate): State<Amount>, paid: Paid<Option<Receipt>>, Json(units): Json<u32>) -> String {
    format!("{rate} {units} {}", paid.is_some())
}

/// Everything about a fixed one.
#[mpp::charge(
    amount = "0.05",
    currency = "usdc",
    methods(sandbox),
    description = "one rendering",
    challenge = "first",
    capture = "success",
    digest = false,
    replay = "response",
    state = App,
)]
async fn fixed(hold: Paid<Hold>, body: axum::body::Bytes) -> String {
    format!("{} {}", hold.method(), body.len())
}

fn main() {
    let app = Router::<App>::new().route("/computed", post(computed)).route("/fixed", post(fixed));
    assert_eq!(app.mounted().len(), 2);
}
