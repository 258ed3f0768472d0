use mpp::Paid;

#[mpp::charge(amount = "1.2.3", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
