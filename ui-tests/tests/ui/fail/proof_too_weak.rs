use mpp::{Paid, Receipt};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), free_if = true)]
async fn weather(_: Paid<Receipt>) {}

fn main() {}
