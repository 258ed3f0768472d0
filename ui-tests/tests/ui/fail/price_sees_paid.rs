use mpp::{Amount, Paid};

fn price(_: &Paid) -> Amount {
    Amount::cents(5)
}

#[mpp::charge(amount = price(&paid), currency = "usdc", methods(tempo))]
async fn weather(paid: Paid) -> String {
    paid.reference.clone()
}

fn main() {}
