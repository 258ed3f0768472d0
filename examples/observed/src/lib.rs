//! The parts of a watched server, so that a test can put them together as `main` does.

use axum::routing;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use mpp::observe::{Event, Sale};
use mpp::refund::RefundState;
use mpp::routing::{Router, get};
use mpp::{Mpp, Paid};
use std::time::Duration;

/// Seconds in which settlements are counted: a card or a test takes one, a chain some, and after a minute nobody knows.
const SETTLEMENT_SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// Current weather.
#[mpp::charge(amount = "0.01", currency = "usdc", methods(sandbox))]
async fn weather(_: Paid) -> &'static str {
    "sunny, 21 degrees\n"
}

/// What is for sale.
pub fn routes() -> Router<Mpp> {
    Router::new().route("/weather", get(weather))
}

/// What the operator sees: not for the public.
pub fn admin(mpp: &Mpp, prometheus: PrometheusHandle) -> axum::Router {
    let metrics = move || {
        let page = prometheus.render();
        async move { page }
    };
    axum::Router::new().route("/metrics", routing::get(metrics)).merge(mpp.health_routes())
}

/// Collects what this program counts, for Prometheus.
///
/// # Errors
/// When another recorder was installed before.
pub fn prometheus() -> Result<PrometheusHandle, BuildError> {
    let settlements = Matcher::Full("mpp_settlement_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(settlements, &SETTLEMENT_SECONDS)?.install_recorder()
}

/// What has to be done regularly.
pub async fn every_minute(mpp: Mpp, prometheus: PrometheusHandle) {
    loop {
        tidy_up(&mpp, &prometheus).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

/// Finishes what dead processes left behind, which also counts what is open, and keeps the histograms small.
pub async fn tidy_up(mpp: &Mpp, prometheus: &PrometheusHandle) {
    if let Err(error) = mpp.recover().await {
        eprintln!("the store failed: {error}");
    }
    prometheus.run_upkeep();
}

/// What an operator wants to be told at once, in a line.
pub fn tell(event: &Event) -> Option<String> {
    let what = |sale: &Sale| {
        let Sale { amount, currency, operation, method, reference, .. } = sale;
        format!("{amount} {currency} for {operation} by {method} ({reference})")
    };
    match event {
        Event::PaymentSettled { sale, took } => Some(format!("sold: {} in {took:?}", what(sale))),
        Event::DeliveryFailed { sale, run, failure } => {
            Some(format!("NOT DELIVERED in run {run}: {} ({failure:?})", what(sale)))
        }
        Event::RefundDue { sale, runs } => Some(format!("REFUND DUE after {runs} runs: {}", what(sale))),
        Event::Refund { sale, refund } => match &refund.state {
            RefundState::Refunded { reference } => {
                Some(format!("refunded: {} of {} ({reference})", refund.amount, what(sale)))
            }
            state => Some(format!("NOT REFUNDED: {} of {} ({})", refund.amount, what(sale), state.name())),
        },
        _ => None,
    }
}
