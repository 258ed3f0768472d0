use mpp::Paid;

#[mpp::charge(currency = "usdc", methods(tempo), amount = mpp::Amount::cents(5) +)]
async fn weather(_: Paid) {}

fn main() {
    let _: axum::Router<mpp::Mpp> = axum::Router::new().route("/", axum::routing::get(weather));
}
