use mpp::Paid;

#[mpp::charge(amount = "0.05", discount = "10%", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
