use axum::extract::Path;
use mpp::{Amount, Paid};

fn quote(id: u64) -> Option<Amount> {
    (id > 0).then_some(Amount::cents(5))
}

#[mpp::charge(amount = quote(*id), currency = "usdc", methods(tempo))]
async fn weather(Path(id): Path<u64>, _: Paid) {}

fn main() {}
