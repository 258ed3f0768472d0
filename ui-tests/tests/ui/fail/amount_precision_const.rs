use mpp::Paid;

const GOLD: mpp::Currency = mpp::Currency::new("gold", 3);

#[mpp::charge(amount = "0.0005", currency = crate::GOLD, methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
