use mpp::Paid;

#[mpp::charge(ammount = "0.05", curency = "usdc", methods(tempoo, tempo, tempo), price)]
async fn weather(_: Paid) {}

fn main() {
    let _: axum::Router<mpp::Mpp> = axum::Router::new().route("/", axum::routing::get(weather));
}
