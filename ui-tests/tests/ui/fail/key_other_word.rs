use mpp::Paid;

#[mpp::charge(price = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
