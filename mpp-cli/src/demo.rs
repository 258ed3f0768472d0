//! `mpp demo`: a server to try things against, that sells for play money.

use std::io::Write as _;
use std::net::SocketAddr;

use mpp::discovery::Info;
use mpp::routing::{Router, get, post};
use mpp::{Amount, Mpp, Paid, Sandbox, Secret};
use serde_json::json;

use crate::failure::Failure;

/// Run a server on this machine that sells for play money, until it is stopped.
///
/// Everybody who pays has an account with 100 units there, opened at first sight.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The port; 0 takes any that is free
    #[arg(long, value_name = "N", default_value_t = 4020)]
    port: u16,
    /// Print where it is as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The weather.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn weather(_: Paid) -> &'static str {
    "sunny, 21 degrees\n"
}

/// What was sent, in capitals.
#[mpp::charge(amount = "0.02", currency = "usdc", methods(sandbox))]
async fn shout(_: Paid, text: String) -> String {
    text.to_uppercase()
}

/// More than anybody should pay by accident.
#[mpp::charge(amount = "25.00", currency = "usdc", methods(sandbox))]
async fn gold(_: Paid) -> &'static str {
    "a picture of gold\n"
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let address = SocketAddr::from(([127, 0, 0, 1], options.port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}; try --port 0")))?;
    let base = format!("http://{}", listener.local_addr().map_err(Failure::failed)?);
    let sandbox = Sandbox::new().open_to_all(Amount::whole(100));
    let mpp = Mpp::builder(&base).secret(Secret::generate()).method(sandbox).allow_test_money();
    let mpp = mpp.build().map_err(Failure::failed)?;
    let info = Info::new("Demo", env!("CARGO_PKG_VERSION"))
        .description("Three things for sale, for play money.")
        .body_example("shout", "hello".into());
    let router = Router::new()
        .route("/weather", get(weather))
        .route("/shout", post(shout))
        .route("/gold", get(gold))
        .publish(&mpp, info)
        .map_err(Failure::failed)?
        .with_state(mpp)
        .into_axum()
        .route("/", axum::routing::get(async || "GET /weather 0.05, POST /shout 0.02, GET /gold 25 usdc\n"));
    let _ = match options.json {
        true => writeln!(std::io::stdout().lock(), "{}", json!({ "url": base })),
        false => writeln!(std::io::stdout().lock(), "{base}"),
    };
    crate::terminal::say(&format!(
        "mpp: selling for play money, of which every key has 100 units here; in another terminal try\n    \
         mpp quote {base}/weather\n    mpp pay {base}/weather\nmpp: Ctrl-C stops it"
    ));
    axum::serve(listener, router).await.map_err(Failure::failed)
}
