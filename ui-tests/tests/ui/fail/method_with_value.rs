use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo = "0.06"))]
async fn weather(_: Paid) {}

fn main() {}
