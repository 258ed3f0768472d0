use mpp::Paid;

#[mpp::charge(amount = mpp::Amount::cents(5), currency = "usdc", methods(tempo), bind("x-tier"))]
async fn weather(_: Paid) {}

fn main() {}
