//! A paid server that is watched.
//!
//! `cargo run -p observed` sells for test money on port 3000 and is watched on port 9000, which belongs behind the
//! operator's door: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever starts and balances servers.
//! `grafana.json` is a dashboard of those metrics. What has to be acted on is printed by a hook as it happens.

use mpp::{Mpp, Sandbox, Secret};
use observed::{admin, every_minute, prometheus, routes, tell};
use std::process::ExitCode;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("observed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    // Before the configuration is built: its series are made there.
    let prometheus = prometheus()?;
    let mpp = Mpp::builder("http://127.0.0.1:3000")
        .secret(Secret::generate())
        .method(Sandbox::new())
        .allow_test_money()
        .on_event(|event| {
            if let Some(line) = tell(event) {
                eprintln!("{line}");
            }
        })
        .build()?;
    tokio::spawn(every_minute(mpp.clone(), prometheus.clone()));

    let (paying, watching) =
        (TcpListener::bind("127.0.0.1:3000").await?, TcpListener::bind("127.0.0.1:9000").await?);
    println!("for sale at http://127.0.0.1:3000/weather, watched at http://127.0.0.1:9000/metrics");
    let admin = axum::serve(watching, admin(&mpp, prometheus));
    tokio::spawn(async move { admin.await });
    axum::serve(paying, routes().with_state(mpp).into_axum()).await?;
    Ok(())
}
