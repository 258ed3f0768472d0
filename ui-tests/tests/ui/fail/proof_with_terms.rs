use mpp::Paid;

const STANDARD: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo));

#[mpp::charge(amount = "0", terms = STANDARD, proof = true)]
async fn weather(_: Paid) {}

fn main() {}
