use mpp::Paid;

#[mpp::charge(amount = mpp::Amount::cents(5), up_to = 2.00, currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
