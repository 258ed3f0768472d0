use mpp::Paid;
use std::rc::Rc;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {
    let shared = Rc::new(5);
    std::future::ready(()).await;
    drop(shared);
}

fn main() {}
