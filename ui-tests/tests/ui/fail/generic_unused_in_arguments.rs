use mpp::{Amount, Paid};

trait Rates {
    fn price() -> Amount;
}

#[mpp::charge(amount = R::price(), currency = "usdc", methods(tempo))]
async fn weather<R: Rates>(_: Paid) {}

fn main() {}
