//! Bounds: settlements at once, waiting copies, runs, and how long a network may take.

use crate::common::{Network, Script, credential};
use crate::lab::*;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

#[tokio::test(start_paused = true)]
async fn more_settlements_than_allowed_are_a_503_before_anything_is_claimed() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_settlements(2));
    lab.network.close_turnstile();
    let mut paid = Vec::new();
    for n in 0..3 {
        paid.push(credential(&lab.challenge("/cheap").await, &format!("tx{n}")));
    }
    let requests = [lab.send("/cheap", &paid[0]), lab.send("/cheap", &paid[1])];
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 2).await;
    let before = lab.store.operations.load(Ordering::SeqCst);
    let busy = lab.client.get("/cheap").presenting(&paid[2]).await;
    busy.assert_problem("unavailable");
    assert!(busy.header("retry-after").is_some() && busy.challenges().offers.is_empty());
    assert_eq!(lab.store.operations.load(Ordering::SeqCst), before + 1, "only looked");
    lab.network.turnstile.add_permits(9);
    for request in requests {
        request.await.unwrap().assert_ok();
    }
    lab.client.get("/cheap").presenting(&paid[2]).await.assert_ok();
    assert_eq!(lab.network.payments(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_finds_no_room_to_be_resumed_is_resumed_as_soon_as_there_is() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_settlements(1));
    lab.network.will(Script::LoseRequest);
    let (unknown, response) = lab.pay("/cheap", "tx1").await;
    response.assert_problem("unavailable");
    lab.network.will(Script::Settle);
    lab.network.close_turnstile();
    let other = credential(&lab.challenge("/cheap").await, "tx2");
    let underway = lab.send("/cheap", &other);
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 2).await;
    lab.client.get("/cheap").presenting(&unknown).await.assert_problem("unavailable");
    assert_eq!((lab.mpp.recover().await, lab.network.resolved.load(Ordering::SeqCst)), (Ok(0), 0));
    lab.network.turnstile.add_permits(9);
    underway.await.unwrap().assert_ok();
    // Nobody has a lease on it.
    let again = lab.client.get("/cheap").presenting(&unknown).await;
    assert_ne!(again.status(), 409, "{}", again.text());
    assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_never_answers_is_unknown_and_looked_up_later() {
    let lab = Lab::on(Network::new("tempo"), |b| b.settle_timeout(Duration::from_secs(7)));
    lab.network.will(Script::Hang);
    let started = tokio::time::Instant::now();
    let (paid, response) = lab.pay("/cheap", "tx1").await;
    assert_eq!(started.elapsed().as_secs(), 7);
    response.assert_problem("unavailable");
    assert!(response.challenges().offers.is_empty());
    // The look-up has the same deadline, and does not pay.
    let again = lab.client.get("/cheap").presenting(&paid).await;
    again.assert_problem("unavailable");
    assert_eq!((started.elapsed().as_secs(), lab.network.waiting.load(Ordering::SeqCst)), (14, 1));
    lab.network.will(Script::Settle);
    lab.client.get("/cheap").presenting(&paid).await.assert_ok();
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_a_network_is_asked_nobody_looks_the_payment_up() {
    let lab = Lab::new();
    lab.network.close_turnstile();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    let first = lab.send("/cheap", &paid);
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
    // The lease covers the whole call: 30 seconds and the 60 the network may take.
    lab.clock.advance(Duration::from_secs(89));
    assert_eq!(lab.client.get("/cheap").presenting(&paid).await.status(), 409);
    assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 0);
    lab.network.turnstile.add_permits(1);
    first.await.unwrap().assert_ok();
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_that_expires_while_it_is_claimed_is_not_settled() {
    // The clock moves on while the store is asked.
    let lab = Lab::on(Network::new("tempo"), |b| b.challenge_lifetime(Duration::from_secs(1)));
    let challenge = lab.challenge("/cheap").await;
    let paid = credential(&challenge, "tx1");
    let mut request = Box::pin(lab.client.get("/cheap").presenting(&paid));
    while lab.store.operations.load(Ordering::SeqCst) < 3 {
        tokio::select! {
            biased;
            response = &mut request => panic!("too early: {}", response.text()),
            () = tokio::task::yield_now() => {}
        }
    }
    lab.clock.advance(Duration::from_secs(1));
    let response = request.await;
    response.assert_problem("payment-expired");
    response.assert_offers(["tempo 0.01 usdc"]);
    assert_eq!(lab.network.payments(), 0);
    // Everything was given back: the proof pays another challenge.
    lab.pay("/cheap", "tx1").await.1.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn copies_wait_five_seconds_and_two_at_a_time() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let winner = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    let started = tokio::time::Instant::now();
    let copies = [lab.send("/slow", &paid), lab.send("/slow", &paid)];
    settle_down().await;
    let third = lab.client.get("/slow").presenting(&paid).await;
    assert_eq!((third.status().as_u16(), started.elapsed().as_secs()), (409, 0), "no place to wait");
    third.assert_problem("in-progress");
    assert_eq!(third.header("retry-after"), Some("1"));
    assert!(third.challenges().offers.is_empty());
    for copy in copies {
        assert_eq!(copy.await.unwrap().status(), 409);
    }
    assert_eq!(started.elapsed().as_secs(), 5);
    // Their places are free again.
    let copy = lab.send("/slow", &paid);
    settle_down().await;
    lab.bench.door.add_permits(1);
    assert_eq!(winner.await.unwrap().text(), "run 1");
    copy.await.unwrap().assert_problem("invalid-challenge");
    assert_eq!(lab.bench.inside.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_hangs_up_gives_its_place_back() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let winner = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    for _ in 0..5 {
        let copies = [lab.send("/slow", &paid), lab.send("/slow", &paid)];
        settle_down().await;
        copies.iter().for_each(JoinHandle::abort);
        settle_down().await;
    }
    let copy = lab.send("/slow", &paid);
    settle_down().await;
    assert!(!copy.is_finished(), "it waits");
    lab.bench.door.add_permits(1);
    winner.await.unwrap().assert_ok();
    copy.await.unwrap().assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_hangs_up_gives_back_no_more_than_its_own_place() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let winner = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    let copies = [lab.send("/slow", &paid), lab.send("/slow", &paid)];
    settle_down().await;
    copies[0].abort();
    settle_down().await;
    let third = lab.send("/slow", &paid);
    settle_down().await;
    let started = tokio::time::Instant::now();
    assert_eq!(lab.client.get("/slow").presenting(&paid).await.status(), 409);
    assert_eq!(started.elapsed().as_secs(), 0, "both places are taken");
    lab.bench.door.add_permits(1);
    winner.await.unwrap().assert_ok();
    third.await.unwrap().assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_slow_handler_is_renewed() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let slow = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(10)).await;
        lab.clock.advance(Duration::from_secs(10));
        settle_down().await;
    }
    assert_eq!(
        lab.client.get("/slow").presenting(&paid).await.status(),
        409,
        "after 200 seconds it has its lease"
    );
    lab.bench.door.add_permits(1);
    assert_eq!(slow.await.unwrap().text(), "run 1");
    assert_eq!(lab.bench.inside.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_runs_and_the_grace_are_configurable() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_runs(1).grace(Duration::from_secs(5)));
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, response) = lab.pay("/flaky", "tx1").await;
    assert_eq!(response.status(), 500);
    let over = lab.client.get("/flaky").presenting(&paid).await;
    over.assert_problem("unavailable");
    assert_eq!(over.header("retry-after"), Some("3600"), "a refund is due");
    assert_eq!(lab.bench.runs.load(Ordering::SeqCst), 1);

    let lab = Lab::on(Network::new("tempo"), |b| b.max_runs(9).grace(Duration::from_secs(5)));
    for (wait, status) in [(305, 200), (306, 503)] {
        lab.bench.failures.store(1, Ordering::SeqCst);
        let (paid, _) = lab.pay("/flaky", &format!("tx{wait}")).await;
        lab.clock.advance(Duration::from_secs(wait));
        assert_eq!(lab.client.get("/flaky").presenting(&paid).await.status(), status, "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_over_its_size_is_malformed_and_costs_nothing() {
    let lab = Lab::new();
    let huge = format!("Payment {}", "A".repeat(200_000));
    lab.client.get("/cheap").presenting(&huge).await.assert_problem("malformed-credential");
    assert_eq!(lab.network.verified.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_before_its_handler_ran_has_used_no_run() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_runs(1));
    lab.network.close_turnstile();
    let paid = credential(&lab.challenge("/flaky").await, "tx1");
    let request = lab.send("/flaky", &paid);
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
    request.abort();
    lab.network.turnstile.add_permits(1);
    until(|| lab.network.payments() == 1).await;
    settle_down().await;
    let response = lab.client.get("/flaky").presenting(&paid).await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (200, "run 1"));
    assert_eq!(lab.bench.runs.load(Ordering::SeqCst), 1);
}
