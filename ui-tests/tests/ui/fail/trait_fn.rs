use mpp::Paid;

trait Api {
    #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    fn weather(paid: Paid);
}

fn main() {}
