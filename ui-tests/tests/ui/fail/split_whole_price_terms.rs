use mpp::Paid;

const MARKET: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo), split(platform = "0.05"));

#[mpp::charge(amount = "0.05", terms = MARKET)]
async fn article(_: Paid) {}

fn main() {}
