fn main() {}

pub fn layered(mpp: &mpp::Mpp) -> axum::Router {
    axum::Router::new().layer(mpp.layer(mpp::price!(amount = "0,05", currency = "usdc", methods(tempo))))
}
