use mpp::{Hold, Paid};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "later")]
async fn weather(_: Paid<Hold>) {}

fn main() {}
