//! Priced handlers on a plain axum router, beside free ones.
#![deny(warnings)]

use axum::routing::{get, post};
use mpp::{Mpp, Paid};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn priced(_: Paid) {}

fn main() {
    let _: axum::Router<Mpp> = axum::Router::new()
        .route("/priced", get(priced).post(priced))
        .route("/free", post(|| async { "free" }))
        .fallback(priced);
}
