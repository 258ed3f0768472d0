use mpp::Paid;

#[mpp::charge(amount = "999999999999999999999999999999999999999999", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
