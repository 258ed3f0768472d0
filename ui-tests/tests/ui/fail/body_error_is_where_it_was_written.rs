use mpp::Paid;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) -> &'static str {
    let n: u32 = "three";
    nope()
}

fn main() {}
