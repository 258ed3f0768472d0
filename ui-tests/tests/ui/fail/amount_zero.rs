use mpp::Paid;

#[mpp::charge(amount = "0.00", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
