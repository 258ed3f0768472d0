use mpp::Paid;

struct Weather;

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather(_: Paid) -> Weather {
    Weather
}

fn main() {}
