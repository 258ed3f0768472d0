use mpp::Paid;

#[axum::debug_handler]
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
