//! Whether a server can take payments is told to whoever balances its load, and why not only to its operator.

use crate::common::{Fault, Script};
use crate::lab::*;
use mpp::testing::Client;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn probe(lab: &Lab) -> Client {
    Client::new(axum::Router::new().merge(lab.mpp.health_routes()))
}

#[tokio::test(start_paused = true)]
async fn a_server_is_ready_while_its_store_and_its_networks_answer() {
    let lab = Lab::new();
    let probe = probe(&lab);
    let ready = probe.get("/readyz").unpaid().await;
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.text(), r#"{"parts":{"store":true,"stripe":true,"tempo":true},"ready":true}"#);

    lab.store.after(0, Fault::Dies);
    assert_eq!(probe.get("/readyz").unpaid().await.status(), 200, "an answer is good for five seconds");
    lab.clock.advance(Duration::from_secs(5));
    let unready = probe.get("/readyz").unpaid().await;
    assert_eq!(unready.status(), 503);
    assert_eq!(unready.text(), r#"{"parts":{"store":false,"stripe":true,"tempo":true},"ready":false}"#);
    assert_eq!(unready.header("cache-control"), Some("no-store"));
    assert_eq!(probe.get("/healthz").unpaid().await.status(), 200, "the process itself is well");

    lab.store.heal();
    lab.clock.advance(Duration::from_secs(5));
    assert_eq!(probe.get("/readyz").unpaid().await.status(), 200);

    lab.mpp.drain();
    let leaving = probe.get("/readyz").unpaid().await;
    assert_eq!(
        (leaving.status().as_u16(), leaving.text().as_str()),
        (503, r#"{"parts":{"server":false},"ready":false}"#)
    );
    assert_eq!(probe.get("/healthz").unpaid().await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_a_server_that_is_not_ready() {
    let lab = Lab::new();
    lab.store.after(0, Fault::Hangs);
    assert_eq!(probe(&lab).get("/readyz").unpaid().await.status(), 503);
    let health = lab.mpp.health().await;
    assert_eq!(health.parts()[0].problem.as_deref(), Some("no answer in time"));
}

#[tokio::test(start_paused = true)]
async fn why_a_network_is_not_ready_stays_with_the_operator() {
    let lab = Lab::new();
    lab.network.will(Script::Unreachable);
    let unready = probe(&lab).get("/readyz").unpaid().await;
    assert_eq!((unready.status().as_u16(), unready.text().contains("reach")), (503, false));
    let health = lab.mpp.health().await;
    let tempo = health.parts().iter().find(|part| part.name == "tempo").unwrap();
    assert_eq!(tempo.problem.as_deref(), Some("its network is out of reach"));
}

#[tokio::test(start_paused = true)]
async fn a_network_that_cannot_be_paid_now_is_not_ready_and_is_asked_for_once_at_a_time() {
    let lab = Lab::new();
    lab.network.available.store(false, Ordering::SeqCst);
    let before = lab.store.operations.load(Ordering::SeqCst);
    for _ in 0..100 {
        assert!(!lab.mpp.health().await.is_ready());
    }
    assert_eq!(
        lab.store.operations.load(Ordering::SeqCst),
        before + 1,
        "strangers cannot make it ask more often"
    );
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_does_not_make_the_next_one_ask_again() {
    let lab = Lab::new();
    lab.store.after(0, Fault::Hangs);
    let before = lab.store.operations.load(Ordering::SeqCst);
    for _ in 0..100 {
        let impatient = tokio::time::timeout(Duration::from_millis(1), lab.mpp.health());
        assert!(impatient.await.is_err(), "nothing is known yet");
    }
    let health = lab.mpp.health().await;
    assert_eq!(health.parts()[0].problem.as_deref(), Some("no answer in time"), "of the first who asked");
    assert_eq!(lab.store.operations.load(Ordering::SeqCst), before + 1);
}
