const STANDARD: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo(amount = mpp::Amount::cents(5))));

fn main() {
    let _ = STANDARD;
}
