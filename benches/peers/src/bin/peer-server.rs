//! The official SDK behind a socket, for `load loopback`: the same price on the same chain as ours, in one token, on one thread.
//!
//! `/extractor` has its axum extractor, which answers with a problem as ours does; `/layer` its tower layer, whose 402 has no body.

use axum::Router;
use axum::routing::get;
use official::server::axum::{ChargeChallenger, ChargeConfig, MppCharge};
use official::server::middleware::PaymentLayer;
use official::server::{Mpp, TempoConfig, tempo};
use std::io::Read as _;
use std::sync::Arc;
use tokio::net::TcpListener;

const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const PATH_USD: &str = "0x20c0000000000000000000000000000000000000";
const AMOUNT: &str = "0.01";

struct Cent;

impl ChargeConfig for Cent {
    fn amount() -> &'static str {
        AMOUNT
    }
}

async fn weather(_: MppCharge<Cent>) -> &'static str {
    "sunny, 21 degrees\n"
}

fn main() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let price = tempo(TempoConfig { recipient: RECIPIENT })
            .currencies([PATH_USD]) // or there would be a challenge for each of its default tokens
            .chain_id(42431)
            .rpc_url("http://127.0.0.1:1") // nobody pays, so nobody asks
            .realm("api.example.com")
            .secret_key("a secret of more than 32 bytes, for a benchmark");
        let mpp = Mpp::create(price).expect("its configuration is complete");
        let layer = PaymentLayer::charge(&mpp, AMOUNT).expect("the amount is one");
        let app = Router::new()
            .route("/extractor", get(weather))
            .with_state(Arc::new(mpp) as Arc<dyn ChargeChallenger>)
            .merge(Router::new().route("/layer", get(async || "sunny, 21 degrees\n")).route_layer(layer));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("listening on http://{}", listener.local_addr().expect("it is bound"));
        axum::serve(listener, app).await.expect("it serves");
    });
}
