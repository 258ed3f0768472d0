fn main() {
    let _ = mpp::price!(amount = mpp::Amount::cents(5), currency = "usdc", methods(tempo));
}
