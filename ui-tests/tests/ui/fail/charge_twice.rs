use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[mpp::charge(amount = "0.50", currency = "usd", methods(stripe))]
async fn weather(_: Paid) {}

fn main() {}
