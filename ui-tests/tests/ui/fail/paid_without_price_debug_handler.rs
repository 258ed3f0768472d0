use mpp::Paid;

#[axum::debug_handler(state = mpp::Mpp)]
async fn weather(_: Paid) {}

fn main() {}
