use axum::Json;
use mpp::{Paid, Receipt};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), digest = false, free_if = city.is_empty())]
async fn weather(_: Paid<Option<Receipt>>, Json(city): Json<String>) {}

fn main() {}
