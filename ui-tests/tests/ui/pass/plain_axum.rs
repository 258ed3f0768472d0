//! Priced handlers on a plain axum router, beside free ones.
#![deny(warnings)]

use axum::routing::{get, post};
use mpp::{Mpp, Paid};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn priced(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn qualified(_: ::mpp::Paid<mpp::Receipt>) {}

fn main() {
    let _: axum::Router<Mpp> = axum::Router::new()
        .route("/priced", get(priced).post(priced))
        .route("/free", post(|| async { "free" }))
        .route("/qualified", get(qualified))
        .fallback(priced);
}
