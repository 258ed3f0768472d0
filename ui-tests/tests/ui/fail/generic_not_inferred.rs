use axum::extract::State;
use mpp::{Mpp, Paid};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather<T: Clone + Send + Sync + 'static>(State(_t): State<T>, _: Paid) {}

fn main() {
    // The state is `Mpp`; `weather::<String>` wants `String`.
    let _ = mpp::routing::get::<_, _, Mpp, _>(weather::<String>);
}
