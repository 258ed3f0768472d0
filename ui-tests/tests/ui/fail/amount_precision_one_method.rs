use mpp::Paid;

#[mpp::charge(amount = "0.005", currency = "usdc", methods(tempo, stripe(currency = "usd")))]
async fn weather(_: Paid) {}

fn main() {}
