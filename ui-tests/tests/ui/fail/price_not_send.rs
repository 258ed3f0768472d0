use mpp::{Amount, Paid};
use std::rc::Rc;

async fn price() -> Amount {
    let five = Rc::new(5);
    std::future::ready(()).await;
    Amount::cents(*five)
}

#[mpp::charge(amount = price().await, currency = "usdc", methods(tempo))]
async fn weather(_: Paid) {}

fn main() {}
