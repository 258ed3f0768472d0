//! What the shop sells. Every price stands on its handler and nowhere else.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use mpp::discovery::Info;
use mpp::routing::{Router, get, post};
use mpp::{Amount, BuildError, Mpp, Paid, Receipt};
use serde_json::{Value, json};
use utoipa::OpenApi;

/// Everything, ready to be served, with its documents.
pub(crate) fn router(mpp: Mpp) -> Result<axum::Router, BuildError> {
    Ok(routes().publish(&mpp, info())?.with_state(mpp).into_axum())
}

fn routes() -> Router<Mpp> {
    Router::new()
        .route("/charge", get(charge).post(charge_by_post))
        .route("/zero", get(zero))
        .route("/dear", get(dear))
        .route("/echo", post(echo))
        .route("/units/{n}", get(units))
        .route("/flaky", get(flaky))
        .route("/sponsored", get(sponsored))
        .route("/split", get(split))
        .route("/stripe", get(stripe))
        .route("/evm", get(evm))
        .route("/either", get(either))
        .route("/play", get(play))
        .route("/health", axum::routing::get(health))
}

/// What the shop says about itself; prices and routes say the rest.
fn info() -> Info {
    Info::new("Shop", env!("CARGO_PKG_VERSION"))
        .description("Small and dear things, paid for one request at a time.")
        .category("developer-tools")
        .example("n", "5")
        .body_example("echo", json!({ "said": "hello" }))
        .openapi(Free::openapi())
        .reference_page()
        // Fails on purpose; nobody should find it by reading a registry.
        .hide("flaky")
}

/// What costs nothing, for the document; it finds the prices by itself.
#[derive(OpenApi)]
#[openapi(paths(health))]
struct Free;

/// Whether the shop is open.
#[utoipa::path(
    get,
    path = "/health",
    responses((status = 200, description = "It is", body = String, content_type = "text/plain; charset=utf-8"))
)]
async fn health() -> &'static str {
    "ok\n"
}

/// A small thing.
#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn charge(paid: Paid<Receipt>) -> Json<Value> {
    sold("charge", &paid)
}

/// Another small thing, on the same path by another verb.
#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn charge_by_post(paid: Paid<Receipt>) -> Json<Value> {
    sold("charge by post", &paid)
}

/// Costs nothing, but asks who is there.
#[mpp::charge(amount = "0", currency = "pathusd", methods(tempo), proof = true)]
async fn zero(paid: Paid<Receipt>) -> Json<Value> {
    json!({ "hello": paid.payer() }).into()
}

/// A dear thing.
#[mpp::charge(amount = "1.00", currency = "pathusd", methods(tempo))]
async fn dear(paid: Paid<Receipt>) -> Json<Value> {
    sold("dear", &paid)
}

/// Says what it was told; the payment holds for exactly that body.
// Catalogues and validators ask without a body, and want to see the price all the same.
#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo), challenge = "first")]
async fn echo(Json(said): Json<Value>, _: Paid<Receipt>) -> Json<Value> {
    said.into()
}

/// Sells 1 to 1000 units at 0.001 each.
#[mpp::charge(amount = price_of(n), currency = "pathusd", methods(tempo))]
async fn units(Path(n): Path<String>, paid: Paid<Receipt>) -> Json<Value> {
    sold(&format!("{n} units"), &paid)
}

/// One number has one spelling, so that one product has one address.
fn price_of(n: &str) -> Result<Amount, (StatusCode, &'static str)> {
    match n.parse::<u32>() {
        Ok(count @ 1..=1000) if count.to_string() == n => Ok(Amount::micros(1_000) * count),
        _ => Err((StatusCode::UNPROCESSABLE_ENTITY, "ask for 1 to 1000 units\n")),
    }
}

/// Fails at the first attempt of every payment: the second one is delivered without paying again.
#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn flaky(paid: Paid<Receipt>) -> Result<Json<Value>, (StatusCode, &'static str)> {
    match paid.attempt() {
        1 => Err((StatusCode::INTERNAL_SERVER_ERROR, "out of paper; send the same credential again\n")),
        _ => Ok(sold("flaky", &paid)),
    }
}

/// Something for whoever has only the price, and nothing for the network's fee.
#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo), fees = "sponsored")]
async fn sponsored(paid: Paid<Receipt>) -> Json<Value> {
    sold("sponsored", &paid)
}

/// Something of somebody else's: both are paid in one transaction.
#[mpp::charge(amount = "0.05", currency = "pathusd", methods(tempo), split(platform = "0.01"))]
async fn split(paid: Paid<Receipt>) -> Json<Value> {
    sold("split", &paid)
}

/// Something for play money.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn play(paid: Paid<Receipt>) -> Json<Value> {
    sold("play", &paid)
}

/// Something by card.
#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe))]
async fn stripe(paid: Paid<Receipt>) -> Json<Value> {
    sold("stripe", &paid)
}

/// Something on an EVM chain.
#[mpp::charge(amount = "0.01", currency = "usdc", methods(evm))]
async fn evm(paid: Paid<Receipt>) -> Json<Value> {
    sold("evm", &paid)
}

/// The same price by either method; cards take it where their minimum allows.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
async fn either(paid: Paid<Receipt>) -> Json<Value> {
    sold("either", &paid)
}

fn sold(what: &str, paid: &Paid<Receipt>) -> Json<Value> {
    json!({ "sold": what, "payer": paid.payer(), "reference": paid.reference }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_advertised_is_what_is_charged() {
        let mpp = mpp::testing::mpp();
        let documents = routes().documents(&mpp, &info());
        assert_eq!(documents.warnings(), [""; 0]);
        let client = mpp::testing::Client::new(routes().with_state(mpp));
        let called = mpp::testing::assert_advertised(&client, documents.openapi()).await;
        assert_eq!(called, routes().mounted().len() - 1, "all but `flaky`");
    }

    #[test]
    fn units_have_one_price_and_one_spelling() {
        assert_eq!(price_of("1").unwrap(), Amount::micros(1_000));
        assert_eq!(price_of("1000").unwrap(), Amount::whole(1));
        for wrong in ["0", "1001", "-1", "+1", "01", "1.0", "", "one", "99999999999999999999"] {
            assert_eq!(price_of(wrong).unwrap_err().0, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        }
    }
}
