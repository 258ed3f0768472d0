//! Several requests with one credential at the same time.

use crate::common::{Fault, credential};
use crate::lab::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn ten_thousand_copies_of_a_credential_in_flight_pay_once_and_deliver_once() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let send = || lab.send("/slow", &paid);
    let winner = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) > 0).await;
    let copies: Vec<_> = (0..10_000).map(|_| send()).collect();
    settle_down().await;
    lab.bench.door.add_permits(10);
    assert_eq!(winner.await.unwrap().text(), "run 1");
    let (mut busy, mut used) = (0, 0);
    for copy in copies {
        let response = copy.await.unwrap();
        match response.status().as_u16() {
            409 => {
                busy += 1;
                assert_eq!(response.header("retry-after"), Some("1"));
                assert!(response.challenges().offers.is_empty());
            }
            402 => {
                used += 1;
                response.assert_problem("invalid-challenge");
            }
            other => panic!("{other}: {}", response.text()),
        }
    }
    assert_eq!(busy + used, 10_000);
    assert!(busy >= 9_000, "at most two wait: {busy} were sent away, {used} refused");
    assert_eq!((lab.network.payments(), lab.bench.inside.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_copy_takes_over_when_the_first_one_fails() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let send = || lab.send("/slow", &paid);
    let first = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) > 0).await;
    let second = send();
    settle_down().await;
    first.abort();
    lab.bench.door.add_permits(1);
    assert_eq!(second.await.unwrap().text(), "run 2");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_a_payment_is_delivered_again_no_copy_of_it_runs_the_handler() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let send = || lab.send("/slow", &paid);
    let first = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    first.abort();
    settle_down().await;
    let second = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 2).await;
    let third = tokio::time::timeout(Duration::from_secs(60), send()).await.expect("it is not let in");
    assert_eq!(third.unwrap().status(), 409, "the second run has the lease");
    assert_eq!(lab.bench.inside.load(Ordering::SeqCst), 2);
    lab.bench.door.add_permits(1);
    assert_eq!(second.await.unwrap().text(), "run 2");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_held_up_while_it_commits_a_delivery_loses_it_to_the_one_that_delivered() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/flaky").await, "tx1");
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::Waits);
    let held_up = lab.send("/flaky", &paid);
    lab.store.reached.notified().await;
    lab.clock.advance(Duration::from_secs(31));
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.text(), "run 2");
    lab.store.go_on.notify_one();
    held_up.await.unwrap().assert_problem("unavailable");
    settle_down().await;
    lab.client.get("/flaky").presenting(&paid).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_outlives_its_lease_loses_its_response_to_the_one_that_took_over() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let send = || lab.send("/slow", &paid);
    let stuck = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) >= 1).await;
    // Its process is suspended: no heartbeat, and the others' clocks go on.
    lab.clock.advance(Duration::from_secs(31));
    let heir = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) >= 2).await;
    lab.bench.door.add_permits(2);
    let (stuck, heir) = (stuck.await.unwrap(), heir.await.unwrap());
    stuck.assert_problem("unavailable");
    assert_eq!((heir.status().as_u16(), heir.text().as_str()), (200, "run 2"));
    assert_eq!(lab.network.payments(), 1);
}
