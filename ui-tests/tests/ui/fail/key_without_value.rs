use mpp::Paid;

#[mpp::charge(amount, currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
