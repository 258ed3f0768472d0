use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), split(platform = "0.04", author = "0.01"))]
async fn article(_: Paid) {}

fn main() {}
