#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
struct Weather;

fn main() {
    let _ = Weather;
}
