//! A paid server and its first customer in one program.
//!
//! `cargo run -p quickstart` needs no network, no account and no configuration: the payment methods are played by
//! sandboxes with test money. It serves four priced routes on loopback, buys from each of them, and prints the
//! conversation. It exits with 0 only if all of it happened.

mod buyer;

use axum::extract::Query;
use axum::{Json, http::StatusCode};
use buyer::{Buyer, Failure};
use mpp::discovery::Info;
use mpp::method::sandbox::Wallet;
use mpp::routing::{Router, get, post};
use mpp::{Amount, Mpp, Paid, Receipt, Sandbox, Secret};
use serde::Deserialize;
use std::process::ExitCode;
use utoipa::{IntoParams, ToSchema};

/// Current weather.
#[mpp::charge(amount = "0.01", currency = "usdc", methods(sandbox))]
async fn weather(_: Paid) -> &'static str {
    "sunny, 21 degrees\n"
}

#[derive(Deserialize, ToSchema)]
struct Prompt {
    #[schema(example = "small")]
    model: String,
    text: String,
}

fn price_of(prompt: &Prompt) -> Result<Amount, (StatusCode, String)> {
    let per_word = match prompt.model.as_str() {
        "small" => Amount::micros(1_000),
        "large" => Amount::micros(20_000),
        other => return Err((StatusCode::NOT_FOUND, format!("there is no model `{other}`\n"))),
    };
    Ok(per_word * prompt.text.split_whitespace().count())
}

/// Completes a prompt. The price depends on the body; a prompt that cannot be served is never charged.
#[mpp::charge(amount = price_of(&prompt), up_to = "2.00", currency = "usdc", methods(sandbox))]
async fn complete(Json(prompt): Json<Prompt>, paid: Paid) -> String {
    format!("{} ... and so on [{}]\n", prompt.text, paid.method)
}

#[derive(Deserialize, IntoParams)]
struct Search {
    q: String,
    #[serde(default)]
    #[param(example = 3)]
    pages: u32,
}

/// Searches. One page is free.
#[mpp::charge(amount = "0.002", currency = "usdc", methods(sandbox), free_if = search.pages <= 1)]
async fn search(Query(search): Query<Search>, paid: Paid<Option<Receipt>>) -> String {
    let how = if paid.is_some() { "paid" } else { "free" };
    format!("{} page(s) about {} ({how})\n", search.pages.max(1), search.q)
}

/// Two ways to pay for the same thing; here both are played by sandboxes.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
async fn report(paid: Paid<Receipt>) -> String {
    format!("the report, paid with {}\n", paid.method)
}

fn routes() -> Router<Mpp> {
    Router::new()
        .route("/weather", get(weather))
        .route("/complete", post(complete))
        .route("/search", get(search))
        .route("/report", get(report))
}

/// The routes, and `/openapi.json` and `/llms.txt` made from them.
fn router(mpp: Mpp) -> Result<axum::Router, mpp::BuildError> {
    let info = Info::new("Quickstart", "1.0.0").description("Four things for sale, for play money.");
    Ok(routes().publish(&mpp, info)?.with_state(mpp).into_axum())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("quickstart: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    // The customer, with ten dollars of test money at each method.
    let wallet = Wallet::generate();
    let purse = |name| Sandbox::named(name).account(&wallet.did(), Amount::whole(10));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mpp = Mpp::builder(format!("http://{address}"))
        .secret(Secret::generate())
        .method(purse("sandbox"))
        .method(purse("tempo"))
        // Like the real one it takes dollars and cents, also for a price written in usdc.
        .method(purse("stripe"))
        .allow_test_money()
        .build()?;
    let server = axum::serve(listener, router(mpp)?);
    tokio::spawn(async move { server.await });

    tour(&Buyer::new(address, wallet)).await
}

/// The four routes, from the customer's side.
async fn tour(buyer: &Buyer) -> Result<(), Failure> {
    buyer.title("A fixed price: GET /weather costs 0.01 usdc");
    let credential = buyer.buy("GET", "/weather", "", "sandbox", "sunny").await?;
    buyer.title("The same credential again");
    buyer.replay("GET", "/weather", &credential).await?;

    buyer.title("A price computed from the body: POST /complete");
    let prompt = r#"{"model":"large","text":"once upon a time"}"#;
    buyer.buy("POST", "/complete", prompt, "sandbox", "and so on").await?;
    buyer.title("What cannot be served is not charged");
    buyer.refused("POST", "/complete", r#"{"model":"huge","text":"hello"}"#, 404).await?;

    buyer.title("A free tier: one page is free, three are not");
    buyer.free("GET", "/search?q=tides", "(free)").await?;
    buyer.buy("GET", "/search?q=tides&pages=3", "", "sandbox", "(paid)").await?;

    buyer.title("Two methods: GET /report takes tempo or stripe");
    buyer.buy("GET", "/report", "", "tempo", "paid with tempo").await?;
    buyer.buy("GET", "/report", "", "stripe", "paid with stripe").await?;
    println!("\nAll of it happened.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_advertised_is_what_is_charged() {
        let mpp = mpp::testing::mpp();
        let documents = routes().documents(&mpp, &Info::new("Quickstart", "1.0.0"));
        let client = mpp::testing::Client::new(routes().with_state(mpp));
        let called = mpp::testing::assert_advertised(&client, documents.openapi()).await;
        assert_eq!(called, routes().mounted().len());
    }
}
