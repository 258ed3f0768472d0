use axum::{Json, extract::Path};
use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_b: Json<u64>, _id: Path<u64>, _: Paid) {}

fn main() {
    let _: axum::Router<mpp::Mpp> = axum::Router::new().route("/", axum::routing::get(weather));
}
