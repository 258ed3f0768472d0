//! What fails half-way: clients that hang up, stores that stop, networks that lose answers.

use crate::common::{Fault, Network, Script, credential};
use crate::lab::*;
use axum::http::Method;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_at_any_await_cancels_nothing_and_pays_once() {
    for (uri, text) in [("/flaky", "run "), ("/held", "tempo run ")] {
        for polls in 0.. {
            let lab = Lab::new();
            let paid = credential(&lab.challenge(uri).await, "tx1");
            let mut request = Box::pin(lab.client.get(uri).presenting(&paid));
            let whole = polled(&mut request, polls).await.is_some();
            drop(request);
            settle_down().await;
            if !whole {
                let response = lab.until_delivered(uri, &paid).await;
                match response.status().as_u16() {
                    200 => assert!(response.text().starts_with(text)),
                    // The hold was given back: nothing was paid, and a new challenge is the right answer.
                    402 if uri == "/held" && lab.network.payments() == 0 => {
                        assert_eq!(lab.network.released.lock().unwrap().len(), 1);
                        continue;
                    }
                    other => panic!("{uri} hung up after {polls} polls: {other} {}", response.text()),
                }
            }
            assert_eq!(lab.network.payments(), 1, "{uri} hung up after {polls} polls");
            if whole {
                assert!(polls > 4, "the request was really cut at several places");
                break;
            }
        }
    }
}

/// What the database was just doing is done, the answer is lost, and for a while nothing answers. Nobody dies.
#[tokio::test(start_paused = true)]
async fn a_database_that_restarts_at_any_write_costs_nobody_a_second_payment() {
    // Shorter and longer than a response is held back for it.
    for down in [5, 120] {
        for uri in ["/cheap", "/held", "/units/7", "/again"] {
            for operation in 0.. {
                let lab = Lab::new();
                let paid = credential(&lab.challenge(uri).await, "tx1");
                lab.store.after(operation, Fault::LosesAnswerAndDies);
                let database = lab.store.clone();
                let restart = tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(down)).await;
                    database.heal();
                });
                let first = lab.client.get(uri).presenting(&paid).await;
                let unharmed = lab.store.operations.load(Ordering::SeqCst) <= operation;
                restart.await.unwrap();
                tokio::time::sleep(Duration::from_secs(60)).await;
                settle_down().await;
                if !first.status().is_success() {
                    assert_eq!(first.status(), 503);
                    let again = lab.until_delivered(uri, &paid).await;
                    let at = format!("{uri}, down for {down} s at operation {operation}: {}", again.text());
                    assert!(again.status().is_success(), "paid {} times, {at}", lab.network.payments());
                }
                assert_eq!(lab.network.payments(), 1);
                if unharmed {
                    break;
                }
            }
        }
    }
}

/// It is tried once more, and nothing is written twice.
#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_costs_one_operation_more() {
    for retention in [Duration::ZERO, Duration::from_secs(3600)] {
        let mut usual = 0;
        for lost in [None, Some(OPERATIONS_BEFORE_COMMIT - 1), Some(OPERATIONS_BEFORE_COMMIT)] {
            let lab = Lab::on(Network::new("tempo"), |builder| builder.ledger_retention(retention));
            let paid = credential(&lab.challenge("/cheap").await, "tx1");
            if let Some(operation) = lost {
                lab.store.after(operation, Fault::LosesAnswer);
            }
            assert_eq!(lab.client.get("/cheap").presenting(&paid).await.status(), 200);
            settle_down().await;
            let operations = lab.store.operations.load(Ordering::SeqCst);
            match lost {
                None => usual = operations,
                Some(_) => assert_eq!(operations, usual + 1, "{lost:?} with {retention:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_restarts_while_a_lease_is_renewed_does_not_withhold_the_response() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let slow = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    lab.store.after(0, Fault::LosesAnswerAndDies);
    tokio::time::advance(Duration::from_secs(10)).await;
    lab.clock.advance(Duration::from_secs(10));
    settle_down().await;
    lab.store.heal();
    lab.bench.door.add_permits(1);
    let response = slow.await.unwrap();
    assert_eq!(response.status(), 200, "nobody else had it: {}", response.text());
}

#[tokio::test(start_paused = true)]
async fn whatever_store_operation_fails_there_is_one_payment_and_one_delivery() {
    for fault in [Fault::Dies, Fault::Refuses, Fault::LosesAnswer] {
        for uri in ["/cheap", "/held", "/units/7"] {
            for operation in 0.. {
                let mut lab = Lab::new();
                let paid = credential(&lab.challenge(uri).await, "tx1");
                lab.store.after(operation, fault);
                let response = lab.client.get(uri).presenting(&paid).await;
                settle_down().await;
                let unharmed = lab.store.operations.load(Ordering::SeqCst) <= operation;
                lab.store.heal();
                let at = format!("{uri}, {fault:?} at operation {operation}: {}", response.text());
                if response.status() != 200 {
                    assert_eq!(response.status(), 503, "{at}");
                    assert!(response.challenges().offers.is_empty(), "{at}");
                    assert!(!response.text().contains("told to fail"), "{at}");
                    // Another process finishes it.
                    lab.restart();
                    let again = lab.until_delivered(uri, &paid).await;
                    assert_eq!(again.status(), 200, "{at}; then {}", again.text());
                }
                assert_eq!(lab.network.payments(), 1, "{at}");
                lab.client.get(uri).presenting(&paid).await.assert_problem("invalid-challenge");
                assert_eq!(lab.network.payments(), 1, "{at}");
                if unharmed {
                    assert!(operation >= OPERATIONS_BEFORE_COMMIT);
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_and_never_paid_again() {
    for script in [Script::LoseAnswer, Script::Panic] {
        let lab = Lab::new();
        lab.network.will(script);
        let (paid, response) = lab.pay("/cheap", "tx1").await;
        response.assert_problem("unavailable");
        assert!(response.challenges().offers.is_empty());
        assert!(!response.text().contains("secret"), "no internals");
        assert!(response.header("retry-after").is_some());
        lab.network.will(Script::Settle);
        let response = lab.until_delivered("/cheap", &paid).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        assert_eq!(lab.network.worst(), 1);
        assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_never_arrived_can_be_made_with_the_same_credential() {
    let lab = Lab::new();
    lab.network.will(Script::LoseRequest);
    let (paid, response) = lab.pay("/cheap", "tx1").await;
    response.assert_problem("unavailable");
    lab.client.get("/cheap").presenting(&paid).await.assert_problem("unavailable");
    assert_eq!(lab.network.payments(), 0);
    lab.network.will(Script::Settle);
    assert_eq!(lab.until_delivered("/cheap", &paid).await.status(), 200);
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_declined_payment_is_a_402_and_gives_its_claims_back() {
    let lab = Lab::new();
    lab.network.will(Script::Decline);
    let (paid, response) = lab.pay("/cheap", "tx1").await;
    response.assert_problem("verification-failed");
    assert_eq!(response.challenges().offers.len(), 1);
    lab.network.will(Script::Settle);
    assert_eq!(lab.client.get("/cheap").presenting(&paid).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_cannot_tell_is_a_503_without_a_challenge_or_internals() {
    let lab = Lab::new();
    lab.network.will(Script::Unreachable);
    let (paid, response) = lab.pay("/cheap", "tx1").await;
    response.assert_problem("unavailable");
    assert_eq!(response.header("retry-after"), Some("7"));
    assert!(response.challenges().offers.is_empty() && !response.text().contains("secret"));
    lab.network.will(Script::Settle);
    assert_eq!(lab.client.get("/cheap").presenting(&paid).await.status(), 200, "nothing was claimed");
}

#[tokio::test(start_paused = true)]
async fn a_payment_declined_for_another_reason_is_answered_with_that_reason_and_no_challenge() {
    for (script, problem) in [(Script::DeclineAsBad, "bad-request"), (Script::DeclineForNow, "unavailable")] {
        let lab = Lab::new();
        lab.network.will(script);
        let (paid, response) = lab.pay("/cheap", "tx1").await;
        response.assert_problem(problem);
        assert!(response.challenges().offers.is_empty() && !response.text().contains("secret"));
        // Nothing moved: the claims are free again.
        lab.network.will(Script::Settle);
        lab.client.get("/cheap").presenting(&paid).await.assert_ok();
        assert_eq!(lab.network.payments(), 1);
    }
}

/// Over the limit of what is kept: committed without its response.
const TOO_LARGE: &str = "/sized/65537";

/// What is committed then is that it was delivered, and no response that would be sent again.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_a_response_that_is_too_large_to_keep_is_committed_pays_once() {
    for key in [None, Some("my order")] {
        for polls in 0.. {
            let lab = Lab::new();
            let ask = |verb| {
                let request = lab.client.request(verb, TOO_LARGE);
                key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))
            };
            let verb = if key.is_some() { Method::POST } else { Method::GET };
            let paid = credential(&first(&ask(verb.clone()).unpaid().await), "tx1");
            let mut request = Box::pin(ask(verb.clone()).presenting(&paid));
            let whole = polled(&mut request, polls).await.is_some();
            drop(request);
            settle_down().await;
            if whole {
                assert!(polls > 4, "the request was really cut at several places");
                break;
            }
            let mut response = ask(verb.clone()).presenting(&paid).await;
            for _ in 0..5 {
                if response.status() != 200 {
                    lab.clock.advance(Duration::from_secs(91));
                    response = ask(verb.clone()).presenting(&paid).await;
                }
            }
            assert_eq!(response.status(), 200, "{key:?}, hung up after {polls} polls: {}", response.text());
            assert_eq!(lab.network.payments(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_restarts_while_a_delivery_that_is_not_kept_is_committed_costs_no_second_payment() {
    for down in [5, 120] {
        let lab = Lab::new();
        let paid = credential(&lab.challenge(TOO_LARGE).await, "tx1");
        lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::LosesAnswerAndDies);
        let database = lab.store.clone();
        let restart = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(down)).await;
            database.heal();
        });
        let first = lab.client.get(TOO_LARGE).presenting(&paid).await;
        restart.await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        settle_down().await;
        if !first.status().is_success() {
            assert_eq!(first.status(), 503);
            let again = lab.until_delivered(TOO_LARGE, &paid).await;
            assert_eq!(again.status(), 200, "down for {down} s: {}", again.text());
        }
    }
}

/// While it is not known whether the delivery is committed, or it is taken back, a credential is not "used already".
#[tokio::test(start_paused = true)]
async fn who_was_told_to_send_the_credential_again_gets_the_resource_at_the_next_try() {
    for uri in ["/cheap", TOO_LARGE] {
        let lab = Lab::new();
        let challenge = lab.challenge(uri).await;
        let (paid, strange) = (credential(&challenge, "tx1"), credential(&challenge, "tx2"));
        lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::LosesAnswerAndDies);
        lab.client.get(uri).presenting(&paid).await.assert_problem("unavailable");
        settle_down().await;
        lab.store.heal();
        let start = tokio::time::Instant::now();
        let stranger = lab.client.get(uri).presenting(&strange).await;
        assert_eq!(stranger.status(), 402, "{uri}");
        if uri == TOO_LARGE {
            assert!(start.elapsed() < Duration::from_millis(10), "the record says that it is not theirs");
        }
        let again = lab.client.get(uri).presenting(&paid).await;
        assert_eq!(again.status(), 200, "{uri}: {}", again.text());
        assert_eq!(lab.network.payments(), 1);
        let once_more = lab.client.get(uri).presenting(&paid).await;
        assert_eq!(once_more.status(), 402, "now it is delivered: {}", once_more.text());
    }
}

/// It asked the store before the commit began, and is answered by it after that.
#[tokio::test(start_paused = true)]
async fn a_copy_that_looks_while_the_commit_begins_is_not_told_that_it_is_used() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let first = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    lab.store.after(0, Fault::Waits);
    let copy = lab.send("/slow", &paid);
    lab.store.reached.notified().await;
    lab.store.after(0, Fault::LosesAnswerAndDies);
    lab.bench.door.add_permits(2);
    settle_down().await;
    lab.store.go_on.notify_one();
    let copy = copy.await.unwrap();
    assert_eq!(first.await.unwrap().status(), 503);
    assert_ne!(copy.status(), 402, "it is being taken back: {}", copy.text());
    lab.store.heal();
    assert_eq!(lab.client.get("/slow").presenting(&paid).await.status(), 200);
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_delivery_was_taken_back_is_read_again() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::LosesAnswerAndDies);
    lab.client.get("/cheap").presenting(&paid).await.assert_problem("unavailable");
    settle_down().await;
    lab.store.after(0, Fault::WaitsDone);
    let copy = lab.send("/cheap", &paid);
    lab.store.reached.notified().await;
    // The delivery is taken back while the answer is on its way.
    tokio::time::sleep(Duration::from_secs(10)).await;
    lab.store.go_on.notify_one();
    assert_eq!(copy.await.unwrap().status(), 200);
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_about_to_claim_when_the_other_is_delivered_is_told_that_it_is_used() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    lab.store.after(1, Fault::Waits);
    let copy = lab.send("/cheap", &paid);
    lab.store.reached.notified().await;
    assert_eq!(lab.client.get("/cheap").presenting(&paid).await.status(), 200);
    lab.store.go_on.notify_one();
    copy.await.unwrap().assert_problem("invalid-challenge");
}

/// Its credential is good until the challenge expires, whatever comes after that.
#[tokio::test(start_paused = true)]
async fn a_delivery_is_taken_back_for_as_long_as_its_credential_opens_the_route() {
    let lab = Lab::on(Network::new("tempo"), |builder| builder.grace(Duration::ZERO));
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::LosesAnswerAndDies);
    lab.client.get("/cheap").presenting(&paid).await.assert_problem("unavailable");
    tokio::time::sleep(Duration::from_secs(60)).await;
    lab.store.heal();
    let again = lab.client.get("/cheap").presenting(&paid).await;
    assert_eq!(again.status(), 200, "{}", again.text());
}

/// The handler has not run: it costs no run.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_before_the_handler_runs_again_loses_no_run() {
    for polls in 0.. {
        let lab = Lab::on(Network::new("tempo"), |builder| builder.max_runs(2));
        lab.bench.failures.store(1, Ordering::SeqCst);
        let paid = credential(&lab.challenge("/flaky").await, "tx1");
        assert_eq!(lab.client.get("/flaky").presenting(&paid).await.status(), 500);
        settle_down().await;
        let mut request = Box::pin(lab.client.get("/flaky").presenting(&paid));
        let whole = polled(&mut request, polls).await.is_some();
        let ran = lab.bench.runs.load(Ordering::SeqCst);
        drop(request);
        settle_down().await;
        if whole {
            break;
        }
        if ran == 1 {
            lab.clock.advance(Duration::from_secs(91));
            let again = lab.client.get("/flaky").presenting(&paid).await;
            assert_eq!(again.status(), 200, "hung up after {polls} polls: {}", again.text());
        }
    }
}
