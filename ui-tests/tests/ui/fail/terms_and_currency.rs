use mpp::Paid;

const STANDARD: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo));

#[mpp::charge(amount = "0.05", terms = STANDARD, currency = "usdc")]
async fn weather(_: Paid) {}

fn main() {}
