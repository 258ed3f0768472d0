use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "success")]
async fn weather(_: Paid) {}

fn main() {}
