use mpp::Paid;

struct Invoice;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(crate::Invoice))]
async fn weather(_: Paid) {}

fn main() {}
