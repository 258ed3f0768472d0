use axum::extract::Path;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(Path(_city): Path<String>) {}

fn main() {
    let _: axum::Router<mpp::Mpp> = axum::Router::new().route("/", axum::routing::get(weather));
}
