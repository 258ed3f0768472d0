use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), description = "the weather\nof a city")]
async fn weather(_: Paid) {}

fn main() {}
