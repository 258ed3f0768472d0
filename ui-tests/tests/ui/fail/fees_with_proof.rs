use mpp::Paid;

#[mpp::charge(amount = "0", currency = "usdc", methods(tempo), proof = true, fees = "sponsored")]
async fn article(_: Paid) {}

fn main() {}
