use mpp::Paid;

async fn weather(_: Paid) {}

fn main() {
    let _: axum::Router<mpp::Mpp> = axum::Router::new().route("/", axum::routing::get(weather));
}
