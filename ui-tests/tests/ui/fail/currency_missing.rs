use mpp::Paid;

#[mpp::charge(amount = "0.05", methods(tempo, stripe(currency = "usd")))]
async fn weather(_: Paid) {}

fn main() {}
