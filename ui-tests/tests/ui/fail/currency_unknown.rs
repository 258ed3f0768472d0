use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "USDC", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
