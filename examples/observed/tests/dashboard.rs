//! The server is put together as `main` does it, something is bought, and every metric of the dashboard is there.

use axum::http::StatusCode;
use mpp::observe::Event;
use mpp::testing::{self, Client};
use mpp::{Mpp, SystemClock};
use observed::{admin, prometheus, routes, tell, tidy_up};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

/// What is only there with a sponsor, which the sandbox has not got.
const SPONSORS: [&str; 2] = ["mpp_sponsor_budget_left", "mpp_sponsor_budget_total"];

fn dashboard() -> serde_json::Value {
    serde_json::from_str(include_str!("../grafana.json")).expect("JSON")
}

/// The metrics that the dashboard asks for.
fn asked_for(dashboard: &serde_json::Value) -> BTreeSet<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let words = |target: &serde_json::Value| -> Vec<String> {
        let query = target["expr"].as_str().expect("a query");
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("mpp_")).map(str::to_owned).collect()
    };
    targets.flat_map(words).collect()
}

#[tokio::test]
async fn every_metric_of_the_dashboard_is_exported_and_every_exported_one_is_on_it() {
    let prometheus = prometheus().expect("the first one");
    let (teller, told) = mpsc::channel();
    let mpp: Mpp = testing::builder(Arc::new(SystemClock))
        .on_event(move |event| {
            teller.send(event.clone()).ok();
        })
        .build()
        .unwrap();
    let client = Client::new(routes().with_state(mpp.clone()));
    assert_eq!(client.get("/weather").paying("sandbox").await.status(), StatusCode::OK);
    tidy_up(&mpp, &prometheus).await;

    let operator = Client::new(admin(&mpp, prometheus));
    assert_eq!(operator.get("/readyz").unpaid().await.status(), StatusCode::OK);
    let page = operator.get("/metrics").unpaid().await.text();
    let exported: BTreeSet<String> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| name.starts_with("mpp_"))
        .map(str::to_owned)
        .collect();

    let asked = asked_for(&dashboard());
    let missing: Vec<_> =
        asked.iter().filter(|name| !exported.contains(*name) && !SPONSORS.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} is on the dashboard and not in\n{page}");
    // Prometheus makes three series of a histogram.
    let base = |name: &str| {
        ["_sum", "_count"].iter().find_map(|end| name.strip_suffix(end).map(|name| format!("{name}_bucket")))
    };
    let unseen: Vec<_> = exported
        .iter()
        .filter(|name| !asked.contains(&base(name).unwrap_or_else(|| (*name).clone())))
        .collect();
    assert!(unseen.is_empty(), "{unseen:?} is exported and on no panel");
    assert!(page.contains("mpp_settlements_total{method=\"sandbox\",outcome=\"settled\"} 1\n"), "{page}");

    let told: Vec<Event> = (0..3).map(|_| told.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
    let lines: Vec<String> = told.iter().filter_map(tell).collect();
    assert!(lines[0].starts_with("sold: 0.01 usdc for GET /weather by sandbox (sandbox-"), "{lines:?}");
}

#[test]
fn a_dashboard_that_asks_for_something_else_would_be_noticed() {
    let mut dashboard = dashboard();
    dashboard["panels"][0]["targets"][0]["expr"] = "max(mpp_refunds_overdue)".into();
    assert!(asked_for(&dashboard).contains("mpp_refunds_overdue"));
}
