//! One payment, one delivery: what opens the route again, for how long, and what never does.

use crate::common::{Fault, credential};
use crate::lab::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_failed_handler_is_run_again_for_the_same_payment_and_no_more_than_three_times() {
    let lab = Lab::new();
    lab.bench.failures.store(2, Ordering::SeqCst);
    let (paid, response) = lab.pay("/flaky", "tx1").await;
    assert_eq!(response.status(), 500);
    assert!(response.header("payment-receipt").is_none(), "CORE-22: no receipt on an error");
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.status(), 500);
    let third = lab.client.get("/flaky").presenting(&paid).await;
    assert_eq!((third.status().as_u16(), third.text().as_str()), (200, "run 3"));
    third.receipt();
    assert_eq!(lab.network.payments(), 1);
    let seen = lab.bench.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|id| *id == seen[0]), "the delivery id is stable");

    lab.bench.failures.store(9, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx2").await;
    for _ in 0..2 {
        assert_eq!(lab.client.get("/flaky").presenting(&paid).await.status(), 500);
    }
    for _ in 0..2 {
        let over = lab.client.get("/flaky").presenting(&paid).await;
        over.assert_problem("unavailable");
        assert!(over.challenges().offers.is_empty(), "never a 402 after a payment");
    }
    assert_eq!(lab.bench.runs.load(Ordering::SeqCst), 6);
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_payment_opens_the_route_past_its_expiry_until_the_grace_is_over() {
    let lab = Lab::new();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx1").await;
    lab.clock.advance(Duration::from_secs(300 + 599));
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.status(), 200);

    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx2").await;
    lab.clock.advance(Duration::from_secs(300 + 601));
    lab.client.get("/flaky").presenting(&paid).await.assert_problem("unavailable");
}

#[tokio::test(start_paused = true)]
async fn another_payload_under_a_settled_challenge_is_refused_and_leaves_the_payment_alone() {
    let lab = Lab::new();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let challenge = lab.challenge("/flaky").await;
    let paid = credential(&challenge, "tx1");
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.status(), 500);
    let thief = credential(&challenge, "tx2");
    lab.client.get("/flaky").presenting(&thief).await.assert_problem("invalid-challenge");
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.text(), "run 2");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_price_that_changed_between_settlement_and_redelivery_does_not_matter() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/units/3").await, "tx1");
    // The delivery is lost: the store dies when it is committed.
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::Dies);
    lab.client.get("/units/3").presenting(&paid).await.assert_problem("unavailable");
    lab.store.heal();
    assert_eq!((lab.network.payments(), lab.bench.runs.load(Ordering::SeqCst)), (1, 1));
    lab.bench.unit.store(9_000_000, Ordering::SeqCst);
    let response = lab.until_delivered("/units/3", &paid).await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (200, "3"));
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_gives_the_payment_back() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/panics").await, "tx1");
    assert!(lab.send("/panics", &paid).await.is_err(), "the panic is the framework's business");
    settle_down().await;
    let response = lab.client.get("/panics").presenting(&paid).await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (200, "recovered"));
    assert_eq!(lab.network.payments(), 1);
}
