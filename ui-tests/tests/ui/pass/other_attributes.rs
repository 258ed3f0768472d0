//! Other attribute macros above and below.
#![deny(warnings)]

use axum::extract::{Path, Query};
use mpp::{Mpp, Paid};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Below: utoipa is moved above and gets a marker.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[utoipa::path(get, path = "/below/{id}", responses((status = 200, body = String)))]
async fn below(Path(id): Path<u64>, _: Paid) -> String {
    id.to_string()
}

/// Above: utoipa runs first; no marker is possible.
#[utoipa::path(get, path = "/above/{id}")]
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn above(Path(id): Path<u64>, _: Paid) -> String {
    id.to_string()
}

/// Existing extensions are kept.
#[mpp::charge(amount = mpp::Amount::micros(*id), currency = "usdc", methods(tempo))]
#[utoipa::path(get, path = "/extended/{id}", extensions(("x-mine" = json!(1))), tag = "extended")]
async fn extended(Path(id): Path<u128>, _: Paid) {}

#[derive(serde::Deserialize, Debug)]
struct Terms {
    city: String,
}

/// `instrument` stays on the user's function and sees the user's arguments.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[tracing::instrument(skip(_paid), fields(city = q.city))]
async fn traced(Query(q): Query<Terms>, _paid: Paid) -> String {
    q.city
}

#[tracing::instrument(skip_all)]
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn traced_above(Query(q): Query<Terms>, _paid: Paid) -> String {
    q.city
}

fn main() {
    let (router, api) = OpenApiRouter::<Mpp>::new()
        .routes(routes!(below))
        .routes(routes!(above))
        .routes(routes!(extended))
        .split_for_parts();
    let _: axum::Router<Mpp> =
        router.route("/traced", axum::routing::get(traced)).route("/above", axum::routing::get(traced_above));
    let json = api.to_json().expect("a document");
    assert!(json.contains(r#""x-mpp-price":"other_attributes::below""#) || json.contains("::below\""), "{json}");
    assert!(json.contains("::extended\""), "{json}");
    assert!(json.contains(r#""x-mine":1"#), "{json}");
    assert!(!json.contains("::above\""), "{json}");
    assert!(json.contains(r#""name":"id""#), "{json}");
}
