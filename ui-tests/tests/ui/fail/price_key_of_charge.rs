fn main() {
    let _ = mpp::price!(amount = "0.05", currency = "usdc", methods(tempo), challenge = "first");
}
