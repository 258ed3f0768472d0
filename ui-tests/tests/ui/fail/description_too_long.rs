use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), description = "weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather weather city")]
async fn weather(_: Paid) {}

fn main() {}
