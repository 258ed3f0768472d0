use mpp::Paid;

struct Api;

impl Api {
    #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    async fn weather(&self, _: Paid) {}
}

fn main() {}
