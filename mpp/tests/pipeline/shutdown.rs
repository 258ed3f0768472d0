//! A server that is about to end: nothing is claimed any more, and what is under way finishes.

use crate::common::{Fault, Network, Script, credential};
use crate::lab::*;
use crate::replay::{open_tap, streamed};
use mpp::Mpp;
use mpp::testing::Response;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn assert_sent_away(response: &Response) {
    response.assert_problem("unavailable");
    assert!(response.challenges().offers.is_empty() && response.header("retry-after").is_some());
}

/// Whether everything is over, after everybody had a turn.
async fn is_drained(lab: &Lab) -> bool {
    is_over(&lab.mpp).await
}

async fn is_over(mpp: &Mpp) -> bool {
    settle_down().await;
    let drained = pin!(mpp.drained());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    drained.poll(&mut cx).is_ready()
}

#[tokio::test(start_paused = true)]
async fn after_the_signal_nothing_is_claimed_and_nobody_is_asked_to_pay() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    lab.mpp.drain();
    let writes = lab.store.written.lock().unwrap().len();
    assert_sent_away(&lab.client.get("/cheap").unpaid().await);
    assert_sent_away(&lab.client.get("/cheap").presenting(&paid).await);
    assert_sent_away(&lab.client.get("/cheap").presenting("Payment garbage").await);
    settle_down().await;
    assert_eq!((lab.network.payments(), lab.store.written.lock().unwrap().len()), (0, writes));
    assert!(is_drained(&lab).await);
    // The credential is as good as before, at whoever takes it.
    let next = lab.client_of(&lab.builder().build().unwrap());
    next.get("/cheap").presenting(&paid).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn wherever_a_request_is_at_the_signal_it_is_finished_or_was_never_claimed() {
    let (mut finished, mut sent_away) = (0, 0);
    for polls in 0.. {
        let lab = Lab::new();
        let paid = credential(&lab.challenge("/cheap").await, "tx1");
        let mut request = Box::pin(lab.client.get("/cheap").presenting(&paid));
        let early = polled(&mut request, polls).await;
        let whole = early.is_some();
        lab.mpp.drain();
        let writes = lab.store.written.lock().unwrap().len();
        let response = match early {
            Some(response) => response,
            None => request.await,
        };
        assert!(is_drained(&lab).await, "after {polls} polls");
        if response.status() == 200 {
            finished += 1;
            assert_eq!(lab.network.payments(), 1);
        } else {
            sent_away += 1;
            assert_sent_away(&response);
            assert_eq!((lab.network.payments(), lab.store.written.lock().unwrap().len()), (0, writes));
        }
        if whole {
            break;
        }
    }
    assert!(finished >= 3 && sent_away >= 2, "{finished} finished, {sent_away} sent away");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_and_a_handler_under_way_are_finished_and_delivered() {
    let lab = Lab::new();
    lab.network.close_turnstile();
    let settling = lab.send("/cheap", &credential(&lab.challenge("/cheap").await, "tx1"));
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
    lab.mpp.drain();
    assert!(!is_drained(&lab).await, "a settlement is under way");
    lab.network.turnstile.add_permits(9);
    settling.await.unwrap().assert_ok();
    assert!(is_drained(&lab).await);
    assert_eq!(lab.network.payments(), 1);

    for uri in ["/slow", "/held-slow"] {
        let lab = Lab::new();
        let running = lab.send(uri, &credential(&lab.challenge(uri).await, "tx1"));
        until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
        lab.mpp.drain();
        assert!(!is_drained(&lab).await, "a handler is running");
        lab.bench.door.add_permits(1);
        running.await.unwrap().assert_ok();
        assert!(is_drained(&lab).await);
        assert_eq!(lab.network.payments(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_meanwhile_leaves_its_payment_in_the_journal() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let running = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    lab.mpp.drain();
    running.abort();
    assert!(is_drained(&lab).await, "it was given back");
    // Not run again by a server that is leaving …
    let writes = lab.store.written.lock().unwrap().len();
    assert_sent_away(&lab.client.get("/slow").presenting(&paid).await);
    assert_eq!(lab.store.written.lock().unwrap().len(), writes);
    assert_eq!(lab.bench.inside.load(Ordering::SeqCst), 1);
    // … but by the next one, at once: no lease is in the way.
    lab.bench.door.add_permits(1);
    let next = lab.client_of(&lab.builder().build().unwrap());
    assert_eq!(next.get("/slow").presenting(&paid).await.text(), "run 2");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_is_not_claimed_either() {
    let lab = Lab::new();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    assert_eq!(lab.client.post("/order").presenting(&paid).await.status(), 500);
    settle_down().await;
    lab.mpp.drain();
    let writes = lab.store.written.lock().unwrap().len();
    let keyed = lab.client.post("/order").header("idempotency-key", "order-7");
    assert_sent_away(&keyed.presenting(&paid).await);
    assert_eq!(lab.store.written.lock().unwrap().len(), writes);
}

#[tokio::test(start_paused = true)]
async fn recovery_starts_nothing_that_a_leaving_server_could_not_finish() {
    let lab = Lab::new();
    lab.network.will(Script::LoseAnswer);
    let paid = lab.pay("/cheap", "tx1").await.0;
    lab.mpp.drain();
    assert_eq!(lab.mpp.recover().await, Ok(0));
    assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 0);
    lab.network.will(Script::Settle);
    let next = lab.client_of(&lab.builder().build().unwrap());
    next.get("/cheap").presenting(&paid).await.assert_ok();
    assert_eq!(lab.network.worst(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kept_response_is_still_sent_and_one_being_kept_is_waited_for() {
    let lab = Lab::new();
    let (paid, _) = lab.pay("/again", "tx1").await;
    let feed = open_tap(&lab);
    let paid_stream = credential(&lab.challenge("/stream").await, "tx2");
    let response = streamed(&lab, "/stream", &paid_stream).await;
    lab.mpp.drain();
    assert_eq!(lab.client.get("/again").presenting(&paid).await.status(), 201);
    drop(response);
    assert!(!is_drained(&lab).await, "the rest of the stream is read");
    drop(feed);
    assert!(is_drained(&lab).await);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_leaving_is_never_drained() {
    let lab = Lab::on(Network::new("tempo"), |b| b);
    lab.pay("/cheap", "tx1").await.1.assert_ok();
    assert!(!is_drained(&lab).await);
    let waited = tokio::time::timeout(Duration::from_secs(3600), lab.mpp.drained()).await;
    assert!(waited.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_leaves_waits_for_what_its_predecessors_still_deliver() {
    let lab = Lab::new();
    let later = credential(&lab.challenge("/cheap").await, "tx2");
    let running = lab.send("/slow", &credential(&lab.challenge("/slow").await, "tx1"));
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    // Prices change twice while it runs; the one in between is dropped.
    let between = lab.successor(&lab.mpp, lab.network.clone());
    let successor = lab.successor(&between, lab.network.clone());
    drop(between);
    successor.drain();
    assert!(!is_over(&successor).await, "a handler of the first configuration is running");
    let writes = lab.store.written.lock().unwrap().len();
    assert_sent_away(&lab.client.get("/cheap").presenting(&later).await);
    assert_eq!(lab.store.written.lock().unwrap().len(), writes, "nothing is claimed there either");
    lab.bench.door.add_permits(1);
    running.await.unwrap().assert_ok();
    assert!(is_over(&successor).await);
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_predecessor_that_leaves_closes_nothing_of_its_successor() {
    let lab = Lab::new();
    let successor = lab.successor(&lab.mpp, lab.network.clone());
    lab.mpp.drain();
    assert!(is_drained(&lab).await);
    let client = lab.client_of(&successor);
    let paid = credential(&first(&client.get("/cheap").unpaid().await), "tx1");
    client.get("/cheap").presenting(&paid).await.assert_ok();
    assert!(!is_over(&successor).await);
}

/// Its lease gives the payment back: nothing was committed that would have to be taken back.
#[tokio::test(start_paused = true)]
async fn a_server_whose_store_is_gone_is_drained_soon() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let slow = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    lab.store.after(0, Fault::Dies);
    slow.abort();
    settle_down().await;
    lab.mpp.drain();
    let start = tokio::time::Instant::now();
    lab.mpp.drained().await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
