use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), external_id = "")]
async fn article(_: Paid) {}

fn main() {}
