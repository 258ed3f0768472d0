use mpp::Paid;

#[derive(Clone)]
struct AppState;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), state = AppState)]
async fn weather(_: Paid) {}

fn main() {}
