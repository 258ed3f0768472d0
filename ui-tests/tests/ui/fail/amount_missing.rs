use mpp::Paid;

#[mpp::charge(currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
