use mpp::Paid;

#[mpp::charge(amount = mpp::Amount::cents(0), currency = "usdc", methods(tempo), proof = true)]
async fn weather(_: Paid) {}

fn main() {}
