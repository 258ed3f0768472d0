use mpp::Paid;

#[mpp::charge(amount = "-1", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
