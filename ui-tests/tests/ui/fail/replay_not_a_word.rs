fn main() {
    let _ = mpp::terms!(currency = "usdc", methods(tempo), replay = true);
}
