use mpp::Paid;

#[mpp::charge(amount = mpp::Amount::cents(5), currency = "usdc", methods(tempo), challenge = "first")]
async fn weather(_: Paid) {}

fn main() {}
