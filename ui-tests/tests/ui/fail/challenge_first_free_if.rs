use mpp::{Paid, Receipt};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), challenge = "first", free_if = true)]
async fn weather(_: Paid<Option<Receipt>>) {}

fn main() {}
