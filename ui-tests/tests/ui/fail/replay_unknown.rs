use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), replay = "always")]
async fn article(_: Paid) {}

fn main() {}
