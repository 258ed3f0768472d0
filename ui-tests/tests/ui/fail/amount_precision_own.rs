use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe(amount = "0.505", currency = "usd")))]
async fn weather(_: Paid) {}

fn main() {}
