use mpp::{Mpp, Paid};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), state = Mpp)]
async fn weather(_id: u64, _: Paid) {}

fn main() {}
