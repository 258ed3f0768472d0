use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, tempo(amount = "0.04", currency = "usdc")))]
async fn article(_: Paid) {}

fn main() {}
