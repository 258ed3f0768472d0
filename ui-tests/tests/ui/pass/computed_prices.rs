//! Prices computed from the handler's arguments, which stay usable in the handler.
#![deny(warnings)]

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, response::IntoResponse};
use mpp::routing::{Router, get, post};
use mpp::{Amount, Mpp, Paid};

#[derive(serde::Deserialize)]
struct Prompt {
    model: String,
    words: u32,
}

#[derive(serde::Deserialize)]
struct Pages {
    pages: u64,
}

enum NoSuchModel {
    Called,
}

impl IntoResponse for NoSuchModel {
    fn into_response(self) -> axum::response::Response {
        StatusCode::NOT_FOUND.into_response()
    }
}

fn quote(prompt: &Prompt, headers: &HeaderMap) -> Result<Amount, NoSuchModel> {
    match (prompt.model.as_str(), headers.contains_key("x-member")) {
        ("small", false) => Ok(Amount::micros(1_000) * prompt.words),
        ("small", true) => Ok(Amount::micros(500) * prompt.words),
        _ => Err(NoSuchModel::Called),
    }
}

#[derive(Clone)]
struct Tariffs;

impl Tariffs {
    async fn of(&self, id: u64) -> Amount {
        std::future::ready(()).await;
        Amount::micros(id.into())
    }
}

#[derive(Clone, axum::extract::FromRef)]
struct App {
    mpp: Mpp,
    tariffs: Tariffs,
}

#[mpp::charge(amount = quote(&prompt, &headers), up_to = "2.00", currency = "usdc", methods(tempo))]
async fn by_body(headers: HeaderMap, Json(mut prompt): Json<Prompt>, paid: Paid) -> String {
    prompt.model.push('!');
    format!("{} {} {}", prompt.model, headers.len(), paid.reference)
}

#[mpp::charge(amount = Amount::cents(1) * q.pages, currency = "usdc", methods(tempo))]
async fn used_in_the_price_only(Query(q): Query<Pages>, _: Paid) {}

#[mpp::charge(amount = tariffs.of(*id).await, currency = "usdc", methods(tempo), state = App)]
async fn by_database(State(tariffs): State<Tariffs>, Path(id): Path<u64>, _: Paid) {}

#[mpp::charge(
    methods(
        tempo(amount = Amount::micros(*n), currency = "pathusd"),
        stripe(amount = Amount::cents(*n), currency = "usd"),
        sandbox(amount = "0.10", currency = "eur"),
    ),
)]
async fn each_method_its_own(Path(n): Path<u128>, _: Paid) -> String {
    n.to_string()
}

#[mpp::charge(
    amount = Amount::micros(*n),
    currency = "usdc",
    methods(tempo, stripe(amount = Amount::cents(*n), currency = "usd"), sandbox),
)]
async fn some_share_it(Path(n): Path<u128>, _: Paid) {}

#[mpp::charge(amount = std::convert::identity::<Amount>(Amount::cents(1)), currency = "usdc", methods(tempo))]
async fn with_commas_and_turbofish(_: Paid) {}

#[mpp::charge(
    amount = tier(&headers),
    currency = "usdc",
    methods(tempo),
    honor = "quote",
    bind("X-Tier", "x-region"),
)]
async fn quoted(headers: HeaderMap, _: Paid) {}

#[mpp::charge(amount = Amount::cents(1), currency = "usdc", methods(tempo), honor = "quote", bind())]
async fn quoted_by_nothing_else(_: Paid) {}

fn tier(headers: &HeaderMap) -> Amount {
    Amount::cents(headers.len() as u128)
}

fn main() {
    let app = Router::<App>::new()
        .route("/a", post(by_body))
        .route("/b", get(used_in_the_price_only))
        .route("/c/{id}", get(by_database))
        .route("/d/{n}", get(each_method_its_own))
        .route("/e/{n}", get(some_share_it))
        .route("/f", get(with_commas_and_turbofish))
        .route("/g", get(quoted))
        .route("/h", get(quoted_by_nothing_else));
    let quoted = app.mounted()[6].spec;
    assert_eq!(quoted.name, "quoted");
    assert!(quoted.is_computed());
    let headers: &[&str] = &["x-tier", "x-region"];
    assert_eq!(format!("{:?}", quoted.honor), format!("Quoted({headers:?})"));
    let first = app.mounted()[0].spec;
    assert_eq!(first.up_to, Some(Amount::whole(2)));
    assert_eq!(app.mounted()[3].spec.offers.len(), 3);
    assert!(app.unmounted().is_empty());
}
