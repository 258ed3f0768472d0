const STANDARD: mpp::Terms = mpp::terms!(amount = "0.05", currency = "usdc", methods(tempo));

fn main() {
    let _ = STANDARD;
}
