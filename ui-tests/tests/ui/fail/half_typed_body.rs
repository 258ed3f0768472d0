use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(paid: Paid) {
    let _who = paid.;
}

fn main() {
    let _: axum::Router<mpp::Mpp> = axum::Router::new().route("/", axum::routing::get(weather));
}
