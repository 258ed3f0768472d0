use mpp::Paid;

#[mpp::charge(amount = mpp::Amount::cents(5), currency = "usdc", methods(tempo), honor = "quote", bind = "x-tier")]
async fn weather(_: Paid) {}

fn main() {}
