async fn health() -> &'static str {
    "ok"
}

fn main() {
    let _: mpp::routing::Router<mpp::Mpp> =
        mpp::routing::Router::new().route("/", mpp::routing::get(health));
}
