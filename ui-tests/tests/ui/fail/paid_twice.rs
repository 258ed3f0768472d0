use mpp::{Paid, Receipt};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid, _: Paid<Receipt>) {}

fn main() {
    let _: axum::Router<mpp::Mpp> = axum::Router::new().route("/", axum::routing::get(weather));
}
