use mpp::{Amount, Paid};

fn price(prompt: String) -> Amount {
    Amount::cents(prompt.len() as u128)
}

#[mpp::charge(amount = price(*prompt), currency = "usdc", methods(tempo))]
async fn weather(prompt: String, _: Paid) {}

fn main() {}
