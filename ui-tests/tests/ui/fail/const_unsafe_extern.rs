use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
const async fn constant(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async unsafe fn dangerous(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async extern "C" fn foreign(_: Paid) {}

fn main() {}
