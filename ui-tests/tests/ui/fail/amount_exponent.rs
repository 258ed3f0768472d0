use mpp::Paid;

#[mpp::charge(amount = "5e-2", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
