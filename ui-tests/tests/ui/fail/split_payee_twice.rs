use mpp::Paid;

#[mpp::charge(
    amount = "0.05", currency = "usdc", methods(tempo),
    split(platform = "0.01", author = "1%", platform = "2%"),
)]
async fn article(_: Paid) {}

fn main() {}
