use mpp::Paid;

#[derive(Clone)]
struct AppState;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {
    let _ = axum::Router::<AppState>::new().route("/", axum::routing::get(weather));
}
