use mpp::Paid;

const STANDARD: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo, stripe(currency = "usd")));

#[mpp::charge(amount = "0.005", terms = STANDARD)]
async fn weather(_: Paid) {}

fn main() {}
