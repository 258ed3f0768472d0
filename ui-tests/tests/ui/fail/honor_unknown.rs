use mpp::Paid;

#[mpp::charge(amount = mpp::Amount::cents(5), currency = "usdc", methods(tempo), honor = "always", bind())]
async fn weather(_: Paid) {}

fn main() {}
