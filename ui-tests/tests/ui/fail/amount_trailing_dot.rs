use mpp::Paid;

#[mpp::charge(amount = "5.", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
