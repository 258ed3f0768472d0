use mpp::Paid;

#[mpp::charge(amount = "05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
