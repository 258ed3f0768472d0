use mpp::{Amount, Paid};

#[mpp::charge(amount = Amount::micros(10) * text.len() as u32, currency = "usdc", methods(tempo), digest = false)]
async fn weather(text: String, _: Paid) -> String {
    text
}

fn main() {}
