//! `capture = "success"`: reserved before the handler, taken after its success, given back otherwise.

use crate::common::{Fault, Script, credential};
use crate::lab::*;
use mpp::protocol::CredentialBuf;
use mpp::store::Limits;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn released(lab: &Lab) -> usize {
    lab.network.released.lock().unwrap().len()
}

fn capture(lab: &Lab, script: Script) {
    *lab.network.capture.lock().unwrap() = script;
}

fn release(lab: &Lab, script: Script) {
    *lab.network.release.lock().unwrap() = script;
}

#[tokio::test(start_paused = true)]
async fn funds_are_taken_after_a_success_and_the_receipt_says_so() {
    for code in [200, 204, 303] {
        let lab = Lab::new();
        let uri = format!("/held-status/{code}");
        let (paid, response) = lab.pay(&uri, "tx1").await;
        assert_eq!((response.status().as_u16(), response.header("x-own")), (code, Some("kept")));
        assert_eq!((lab.network.payments(), released(&lab)), (1, 0));
        assert_eq!(response.header("payment-receipt").is_some(), code < 300, "CORE-22: only on 2xx");
        if code < 300 {
            assert_eq!(response.receipt().challenge_id, Some(id_of(&paid)));
            assert_eq!(response.header("cache-control"), Some("private"));
        }
        lab.client.get(&uri).presenting(&paid).await.assert_problem("invalid-challenge");
        assert_eq!(lab.network.payments(), 1);
    }
}

fn id_of(authorization: &str) -> String {
    let token = authorization.strip_prefix("Payment ").unwrap();
    CredentialBuf::decode(token).unwrap().parse().unwrap().to_credential().unwrap().challenge.id
}

#[tokio::test(start_paused = true)]
async fn what_a_hold_had_claimed_ends_in_time_whether_it_was_captured_or_released() {
    for code in [200, 500] {
        let lab = Lab::with_real_money(Limits::default());
        lab.pay(&format!("/held-status/{code}"), "tx1").await;
        settle_down().await;
        assert_eq!(lab.shelf.scan("paid/", None, 10).await.unwrap().len(), 2, "{code}: entry and proof");
        lab.clock.advance(Duration::from_secs(24 * 60 * 60));
        assert_eq!(lab.shelf.scan("", None, 10).await, Ok(vec![]), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn funds_are_given_back_after_a_failure_whose_response_passes_unchanged() {
    for code in [400, 404, 422, 500, 503] {
        let lab = Lab::new();
        let uri = format!("/held-status/{code}");
        let (paid, response) = lab.pay(&uri, "tx1").await;
        assert_eq!((response.status().as_u16(), response.text().as_str()), (code, "by tempo"));
        assert_eq!(response.header("x-own"), Some("kept"));
        assert!(response.header("payment-receipt").is_none() && response.header("cache-control").is_none());
        assert_eq!((lab.network.payments(), released(&lab)), (0, 1), "{code}");
        // The credential bought nothing and is used up; nothing was paid, so a 402 is right.
        let again = lab.client.get(&uri).presenting(&paid).await;
        again.assert_problem("invalid-challenge");
        assert_eq!(again.challenges().offers.len(), 1);
        assert_eq!((lab.network.payments(), released(&lab)), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handlers_own_402_after_a_hold_is_a_500_and_the_funds_are_given_back() {
    let lab = Lab::new();
    let (_, response) = lab.pay("/held-status/402", "tx1").await;
    response.assert_problem("internal");
    assert!(response.challenges().offers.is_empty());
    assert_eq!((lab.network.payments(), released(&lab)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn funds_are_given_back_when_the_handler_panics() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/held-panics").await, "tx1");
    assert!(lab.send("/held-panics", &paid).await.is_err());
    settle_down().await;
    assert_eq!((lab.network.payments(), released(&lab)), (0, 1));
    lab.client.get("/held-panics").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(lab.bench.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_declined_hold_is_a_402_and_the_handler_never_runs() {
    let lab = Lab::new();
    lab.network.will(Script::Decline);
    let (paid, response) = lab.pay("/held-slow", "tx1").await;
    response.assert_problem("verification-failed");
    response.assert_offers(["tempo 0.01 usdc"]);
    assert_eq!(lab.bench.inside.load(Ordering::SeqCst), 0);
    // Nothing happened, so the claims are free: the same credential may try again.
    lab.network.will(Script::Settle);
    lab.bench.door.add_permits(1);
    assert_eq!(lab.client.get("/held-slow").presenting(&paid).await.text(), "run 1");
}

#[tokio::test(start_paused = true)]
async fn a_declined_capture_discards_the_response_because_nothing_was_paid() {
    let lab = Lab::new();
    capture(&lab, Script::Decline);
    let (paid, response) = lab.pay("/held-status/200", "tx1").await;
    response.assert_problem("verification-failed");
    response.assert_offers(["tempo 0.01 usdc"]);
    assert_eq!(response.json()["challengeId"], first(&response).id);
    assert!(!response.text().contains("by tempo"), "the handler's body never leaves");
    assert!(response.header("x-own").is_none() && response.header("payment-receipt").is_none());
    assert_eq!(lab.network.payments(), 0);
    // The fresh challenge is payable.
    capture(&lab, Script::Settle);
    let fresh = credential(&first(&response), "tx2");
    assert_eq!(lab.client.get("/held-status/200").presenting(&fresh).await.text(), "by tempo");
    // The claims were given back at once: the same credential may pay as well.
    assert_eq!(lab.client.get("/held-status/200").presenting(&paid).await.text(), "by tempo");
    assert_eq!(lab.network.payments(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_capture_declined_for_another_reason_is_answered_with_that_reason_and_no_challenge() {
    for (script, problem) in [(Script::DeclineAsBad, "bad-request"), (Script::DeclineForNow, "unavailable")] {
        let lab = Lab::new();
        capture(&lab, script);
        let (_, response) = lab.pay("/held-status/200", "tx1").await;
        response.assert_problem(problem);
        assert!(response.challenges().offers.is_empty() && !response.text().contains("secret"));
        assert_eq!(lab.network.payments(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_capture_declined_when_nothing_can_be_offered_any_more_is_no_402() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/held-status/200").await, "tx1");
    capture(&lab, Script::Decline);
    lab.network.available.store(false, Ordering::SeqCst);
    let response = lab.client.get("/held-status/200").presenting(&paid).await;
    response.assert_problem("unavailable");
    assert!(response.challenges().offers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_capture_withholds_the_response_and_is_delivered_later_once() {
    for script in [Script::LoseAnswer, Script::Hang] {
        let lab = Lab::new();
        capture(&lab, script);
        let (paid, response) = lab.pay("/held-status/200", "tx1").await;
        response.assert_problem("unavailable");
        assert!(response.challenges().offers.is_empty(), "never a 402: money may have moved");
        assert!(!response.text().contains("by tempo") && !response.text().contains("secret"));
        capture(&lab, Script::Settle);
        // Looked up at once: nobody is at work on it any more.
        let later = lab.client.get("/held-status/200").presenting(&paid).await;
        assert_eq!((later.status().as_u16(), later.text().as_str()), (200, "by tempo"));
        later.receipt();
        assert_eq!((lab.network.worst(), lab.network.resolved.load(Ordering::SeqCst)), (1, 1), "{script:?}");
        lab.client.get("/held-status/200").presenting(&paid).await.assert_problem("invalid-challenge");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_hold_is_cancelled_before_the_credential_may_try_again() {
    for script in [Script::LoseAnswer, Script::Hang] {
        let lab = Lab::new();
        lab.network.will(script);
        let (paid, response) = lab.pay("/held-status/200", "tx1").await;
        response.assert_problem("unavailable");
        assert!(response.challenges().offers.is_empty());
        lab.network.will(Script::Settle);
        // Its lease covers the call to the network, so nobody cancels a hold that is being made.
        assert_eq!(lab.client.get("/held-status/200").presenting(&paid).await.status(), 409);
        lab.clock.advance(Duration::from_secs(89));
        assert_eq!(lab.client.get("/held-status/200").presenting(&paid).await.status(), 409);
        assert_eq!(released(&lab), 0);
        lab.clock.advance(Duration::from_secs(1));
        let later = lab.client.get("/held-status/200").presenting(&paid).await;
        assert_eq!(later.text(), "by tempo", "{script:?}");
        assert_eq!((lab.network.payments(), released(&lab)), (1, 1), "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_hold_of_a_dead_process_is_cancelled_by_the_next_one() {
    let mut lab = Lab::new();
    let paid = credential(&lab.challenge("/held-slow").await, "tx1");
    let request = lab.send("/held-slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) > 0).await;
    // The process dies with its handler: nothing it would still do reaches the store.
    lab.store.after(0, Fault::Dies);
    lab.restart();
    assert_eq!(lab.client.get("/held-slow").presenting(&paid).await.status(), 409, "its lease still runs");
    lab.clock.advance(Duration::from_secs(30));
    lab.bench.door.add_permits(2);
    let mine = lab.client.get("/held-slow").presenting(&paid).await;
    assert_eq!((mine.status().as_u16(), mine.text().as_str()), (200, "run 1"), "a fresh hold");
    assert_eq!((released(&lab), lab.network.payments()), (1, 1));
    assert_eq!(lab.network.blind.load(Ordering::SeqCst), 0, "with what `hold` had answered");
    request.await.unwrap().assert_problem("unavailable");
    assert_eq!(lab.network.payments(), 1, "the dead one captures nothing");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_cannot_be_released_yet_is_released_by_whoever_comes_next() {
    for script in [Script::Unreachable, Script::Hang] {
        let lab = Lab::new();
        release(&lab, script);
        let (paid, response) = lab.pay("/held-status/500", "tx1").await;
        assert_eq!(response.status(), 500, "{script:?}");
        assert_eq!(released(&lab), 0);
        assert_eq!(lab.client.get("/held-status/500").presenting(&paid).await.status(), 409, "{script:?}");
        lab.clock.advance(Duration::from_secs(91));
        let still = lab.client.get("/held-status/500").presenting(&paid).await;
        still.assert_problem("unavailable");
        assert!(still.challenges().offers.is_empty());
        release(&lab, Script::Settle);
        lab.until_delivered("/held-status/500", &paid).await;
        assert!(released(&lab) >= 1 && lab.network.payments() == 0, "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_slow_handler_with_a_hold_is_renewed() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/held-slow").await, "tx1");
    let send = || lab.send("/held-slow", &paid);
    let slow = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) > 0).await;
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(10)).await;
        lab.clock.advance(Duration::from_secs(10));
        settle_down().await;
    }
    assert_eq!(send().await.unwrap().status(), 409, "after 200 seconds it still has its lease");
    lab.bench.door.add_permits(1);
    assert_eq!(slow.await.unwrap().text(), "run 1");
    assert_eq!((lab.network.payments(), released(&lab)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_capture_was_lost_counts() {
    let lab = Lab::new();
    capture(&lab, Script::LoseAnswer);
    let (paid, response) = lab.pay("/held", "tx1").await;
    response.assert_problem("unavailable");
    assert_eq!(lab.client.get("/held").presenting(&paid).await.text(), "tempo run 2");
    assert_eq!(lab.network.worst(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_capture_in_flight_is_not_looked_up_by_others() {
    let lab = Lab::new();
    lab.network.close_turnstile();
    let paid = credential(&lab.challenge("/held").await, "tx1");
    let send = || lab.send("/held", &paid);
    let first = send();
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
    lab.clock.advance(Duration::from_secs(89));
    assert_eq!(send().await.unwrap().status(), 409);
    assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 0);
    lab.network.turnstile.add_permits(1);
    assert_eq!(first.await.unwrap().text(), "tempo run 1");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_captured_payment_whose_delivery_could_not_be_recorded_is_run_a_second_time() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/held").await, "tx1");
    // Read, claim, proof, holding, held, settling, settled: then the delivery.
    lab.store.after(7, Fault::Dies);
    lab.client.get("/held").presenting(&paid).await.assert_problem("unavailable");
    assert_eq!(lab.network.payments(), 1);
    settle_down().await;
    lab.store.heal();
    let again = lab.until_delivered("/held", &paid).await;
    assert_eq!(again.text(), "tempo run 2");
    assert_eq!(lab.network.payments(), 1);
}
