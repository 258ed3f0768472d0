use mpp::{Paid, Receipt};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), free_if = 1)]
async fn weather(_: Paid<Option<Receipt>>) {}

fn main() {}
