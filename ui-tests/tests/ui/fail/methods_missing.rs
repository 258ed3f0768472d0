use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc")]
async fn weather(_: Paid) {}

fn main() {}
