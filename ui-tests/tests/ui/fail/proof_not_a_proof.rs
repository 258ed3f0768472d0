use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid<String>) {}

fn main() {}
