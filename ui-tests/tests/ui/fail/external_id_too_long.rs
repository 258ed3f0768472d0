use mpp::Paid;

#[mpp::charge(
    amount = "0.05", currency = "usdc", methods(tempo),
    external_id = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
)]
async fn article(_: Paid) {}

fn main() {}
