use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), split(platform = "a bit"))]
async fn article(_: Paid) {}

fn main() {}
