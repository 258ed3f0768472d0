//! Our side of the router benchmarks: a server with a priced handler per case, and who pays it.

use std::sync::{LazyLock, OnceLock};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Json, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use mpp::method::ClientMethod as _;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{Challenge, Credential};
use mpp::routing::{get, post};
use mpp::{Amount, Mpp, Paid, Receipt, Sandbox, Secret, Stripe, Tempo};
use serde::Deserialize;

use super::server::{self, Server};

/// What every handler answers, whoever guards it.
pub(crate) const BODY: &str = "sunny, 21 degrees\n";
const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// The baseline: the same handler without a price.
async fn free() -> &'static str {
    BODY
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn one_method(_: Paid) -> &'static str {
    BODY
}

#[mpp::charge(amount = "1.00", currency = "usdc", methods(tempo, stripe))]
async fn two_methods(_: Paid) -> &'static str {
    BODY
}

#[derive(Deserialize)]
struct Order {
    model: String,
    text: String,
}

fn price_of(order: &Order) -> Amount {
    let per_word = if order.model == "small" { Amount::micros(100) } else { Amount::micros(2_000) };
    per_word * order.text.split_whitespace().count()
}

#[mpp::charge(amount = price_of(&order), up_to = "2.00", currency = "usdc", methods(tempo))]
async fn computed(Json(order): Json<Order>, _: Paid) -> &'static str {
    let _ = order;
    BODY
}

#[derive(Deserialize)]
struct Search {
    pages: u32,
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), free_if = search.pages <= 1)]
async fn tier(Query(search): Query<Search>, _: Paid<Option<Receipt>>) -> &'static str {
    let _ = search;
    BODY
}

/// Play money, so that a payment costs what this library costs and no network's time.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn sandbox(_: Paid) -> &'static str {
    BODY
}

static WALLET: LazyLock<Wallet> = LazyLock::new(|| Wallet::from_seed([7; 32]));

/// The service: `tempo` and `stripe` as they are in production (neither is asked anything by what is measured here), and the
/// sandbox for what is paid.
pub(crate) fn mpp() -> Mpp {
    Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(Tempo::new(RECIPIENT).rpc("http://127.0.0.1:1"))
        .method(Stripe::new("sk_test_51NotAKeyOfAnybody").network_id("profile_1MqDcVKA5fEO2tZvKQm9g8Yj"))
        .method(Sandbox::new().account(&WALLET.did(), Amount::whole(1_000_000_000)))
        .allow_test_money()
        .single_process_volatile_store()
        .build()
        .expect("the prices of this file can be paid")
}

/// Every case is a route.
pub(crate) fn router() -> Router {
    mpp::routing::Router::new()
        .route("/one", get(one_method))
        .route("/two", get(two_methods))
        .route("/computed", post(computed))
        .route("/tier", get(tier))
        .route("/sandbox", get(sandbox))
        .route("/free", axum::routing::get(free))
        .with_state(mpp())
        .into_axum()
}

/// A handler that answers what our 402 of one method says, byte for byte, and does nothing for it: what no implementation can
/// be faster than.
pub(crate) fn constant() -> Router {
    let ours = Server::of(router);
    let (head, body) = ours.call(server::get("/one")).into_parts();
    assert_eq!(head.status, StatusCode::PAYMENT_REQUIRED);
    let body = ours.wait_for(to_bytes(body, usize::MAX)).expect("it is in memory");
    ANSWER.get_or_init(|| (head.headers, body));
    Router::new().route("/constant", axum::routing::get(constant_402))
}

static ANSWER: OnceLock<(HeaderMap, Bytes)> = OnceLock::new();

async fn constant_402() -> Response {
    let (headers, body) = ANSWER.get().expect("it was set when the router was made");
    let mut response = Response::new(Body::from(body.clone()));
    *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
    for (name, value) in headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

/// A credential nobody has used, that pays for `/sandbox`.
pub(crate) fn credential(server: &Server) -> String {
    let challenge = challenge(server, "/sandbox");
    let proof = server.wait_for(WALLET.pay(&challenge)).expect("the account is funded");
    Credential { challenge, source: proof.source, payload: proof.payload }.to_header_value()
}

/// Well formed, with a real transaction, and for a challenge of `path` that was never issued: what an attacker can send
/// without paying anything.
pub(crate) fn forged(server: &Server, path: &str) -> String {
    let mut challenge = challenge(server, path);
    challenge.id = "A".repeat(challenge.id.len());
    let payload = serde_json::from_str(TRANSACTION).expect("JSON");
    Credential { challenge, source: None, payload }.to_header_value()
}

/// What a server asks for `path`.
pub(crate) fn challenge(server: &Server, path: &str) -> Challenge {
    let unpaid = server.call(server::get(path));
    let line = unpaid.headers()[header::WWW_AUTHENTICATE].to_str().expect("an ASCII header");
    Challenge::parse_all([line]).offers.remove(0)
}

/// The payload of somebody's payment on Tempo: a signed transfer of one token.
const TRANSACTION: &str = include_str!("transaction.json");
