use mpp::Paid;

const MARKET: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo), split(platform = "2.5%"));

#[mpp::charge(amount = "0.05", terms = MARKET, split(author = "1%"))]
async fn article(_: Paid) {}

fn main() {}
