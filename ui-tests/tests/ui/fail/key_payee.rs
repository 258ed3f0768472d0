use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", recipient = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
