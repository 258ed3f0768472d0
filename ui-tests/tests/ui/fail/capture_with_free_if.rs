use mpp::{Hold, Paid};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "success", free_if = true)]
async fn weather(_: Paid<Hold>) {}

fn main() {}
