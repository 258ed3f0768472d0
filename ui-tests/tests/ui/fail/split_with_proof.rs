use mpp::Paid;

#[mpp::charge(amount = "0", currency = "usdc", methods(tempo), proof = true, split(platform = "2.5%"))]
async fn article(_: Paid) {}

fn main() {}
