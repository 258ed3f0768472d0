use mpp::{Hold, Paid};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), settle = "before", capture = "success")]
async fn weather(_: Paid<Hold>) {}

fn main() {}
