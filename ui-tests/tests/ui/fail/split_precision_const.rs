use mpp::Paid;

const GOLD: mpp::Currency = mpp::Currency::new("gold", 3);

#[mpp::charge(amount = "0.05", currency = crate::GOLD, methods(tempo), split(platform = "0.0005"))]
async fn article(_: Paid) {}

fn main() {}
