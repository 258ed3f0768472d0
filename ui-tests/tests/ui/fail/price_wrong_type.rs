use axum::extract::Path;
use mpp::Paid;

#[mpp::charge(amount = id * 2, currency = "usdc", methods(tempo))]
async fn weather(Path(id): Path<u64>, _: Paid) {}

fn main() {}
