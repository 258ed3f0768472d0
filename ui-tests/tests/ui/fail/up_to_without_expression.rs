use mpp::Paid;

#[mpp::charge(amount = "0.05", up_to = "2.00", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
