use mpp::{Paid, Receipt};

#[mpp::charge(amount = "0", currency = "usdc", methods(tempo), proof = true, free_if = true)]
async fn weather(_: Paid<Option<Receipt>>) {}

fn main() {}
