use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), proof = true)]
async fn weather(_: Paid) {}

fn main() {}
