//! What a review tried to break.

use crate::common::{Fault, Network, Script, credential};
use crate::lab::*;
use mpp::ledger::{Delivery, Query};
use mpp::refund::RefundOrder;
use mpp::store::Limits;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Over the limit of what is kept: committed without its response.
const TOO_LARGE: &str = "/sized/65537";

#[tokio::test(start_paused = true)]
async fn hanging_up_while_a_delivery_that_is_not_kept_is_committed_costs_no_second_payment() {
    for polls in 0.. {
        let lab = Lab::new();
        let paid = credential(&lab.challenge(TOO_LARGE).await, "tx1");
        let mut request = Box::pin(lab.client.get(TOO_LARGE).presenting(&paid));
        let whole = polled(&mut request, polls).await.is_some();
        drop(request);
        settle_down().await;
        if whole {
            assert!(polls > 4);
            break;
        }
        let response = lab.until_delivered(TOO_LARGE, &paid).await;
        assert_eq!(response.status(), 200, "hung up after {polls} polls: {}", response.text());
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_up_while_a_keyed_delivery_that_is_not_kept_is_committed_costs_no_second_payment() {
    for polls in 0.. {
        let lab = Lab::new();
        let paid = credential(&first(&lab.client.post(TOO_LARGE).unpaid().await), "tx1");
        let ask = || lab.client.post(TOO_LARGE).header("idempotency-key", "my order").presenting(&paid);
        let mut request = Box::pin(ask());
        let whole = polled(&mut request, polls).await.is_some();
        drop(request);
        settle_down().await;
        if whole {
            assert!(polls > 4);
            break;
        }
        let mut response = ask().await;
        for _ in 0..5 {
            if response.status() == 200 {
                break;
            }
            lab.clock.advance(Duration::from_secs(91));
            response = ask().await;
        }
        assert_eq!(response.status(), 200, "hung up after {polls} polls: {}", response.text());
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

#[tokio::test(start_paused = true)]
async fn a_key_of_another_payment_is_a_409_also_when_an_undelivered_payment_has_one_of_its_own() {
    let lab = Lab::new();
    let other = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    let post = |key: &'static str, paid: &str| {
        let (request, paid) = (lab.client.post("/order").header("idempotency-key", key), paid.to_owned());
        async move { request.presenting(&paid).await }
    };
    assert_eq!(post("theirs", &other).await.text(), "sold in run 1");
    settle_down().await;
    lab.bench.failures.store(1, Ordering::SeqCst);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx2");
    assert_eq!(post("mine", &paid).await.status(), 500);
    settle_down().await;
    post("theirs", &paid).await.assert_problem("idempotency-conflict");
    assert_eq!(post("mine", &paid).await.text(), "sold in run 3");
}

/// After a 500 a client takes a new key, as Stripe's clients do; its response is lost on the way.
#[tokio::test(start_paused = true)]
async fn the_key_of_the_attempt_that_was_delivered_gets_the_response_again() {
    let lab = Lab::new();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    let post = |key: &'static str| lab.client.post("/order").header("idempotency-key", key).presenting(&paid);
    assert_eq!(post("one").await.status(), 500);
    settle_down().await;
    assert_eq!(post("two").await.text(), "sold in run 2");
    let again = post("two").await;
    assert_eq!(again.text(), "sold in run 2", "{}", again.status());
}

/// Its own replica is cut off for two minutes from the moment of the commit; the others are well.
async fn cut_off_while_it_commits() -> (Lab, String, mpp::Mpp) {
    let lab = Lab::on(Network::new("tempo"), |b| b.ledger_retention(Duration::from_secs(3600)));
    let well = lab.builder().shared_store(lab.shelf.clone()).ledger_retention(Duration::from_secs(3600));
    let well = well.build().unwrap();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::LosesAnswerAndDies);
    lab.client.get("/cheap").presenting(&paid).await.assert_problem("unavailable");
    assert_eq!(well.recover().await, Ok(0));
    (lab, paid, well)
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_was_given_back_is_delivered_no_more() {
    let (lab, paid, well) = cut_off_while_it_commits().await;
    let there = all(&well.ledger(), &Query::new()).await;
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!(there[0].delivery, Delivery::Delivered);
    well.refund(&RefundOrder::rest(&there[0].sale)).await.unwrap();
    assert_eq!(lab.network.given_back(), 10_000);
    lab.store.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    settle_down().await;
    let answer = lab.until_delivered("/cheap", &paid).await;
    assert_eq!(answer.status(), 402, "given back, and delivered: {}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_taken_back_is_in_the_ledger_once() {
    let (lab, _paid, well) = cut_off_while_it_commits().await;
    lab.store.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    settle_down().await;
    let there = all(&well.ledger(), &Query::new()).await;
    assert_eq!(there.len(), 1, "{:?}", there.iter().map(|e| e.delivery).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_payment_whose_method_is_gone_does_not_fill_the_store_with_keys() {
    let lab = Lab::with_real_money(Limits { paid: 50, free: 50 });
    lab.bench.failures.store(1, Ordering::SeqCst);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    assert_eq!(lab.client.post("/order").presenting(&paid).await.status(), 500);
    settle_down().await;
    let gone = lab.builder_without_tempo().build().unwrap();
    let client = lab.client_of(&gone);
    let mut answers = Vec::new();
    for n in 0..60 {
        let key = format!("key-{n}");
        let answer = client.post("/order").header("idempotency-key", &key).presenting(&paid).await;
        answers.push(answer.status().as_u16());
    }
    let keys = lab.shelf.scan("paid/proof/idempotency=", None, 1000).await.unwrap();
    assert!(keys.len() <= 1, "{} keys of one payment; {answers:?}", keys.len());
}

/// One settlement at a time: one that hangs, and a payment of unknown outcome whose client names another key each time.
#[tokio::test(start_paused = true)]
async fn a_payment_that_finds_no_room_does_not_fill_the_store_with_keys() {
    let clock = clock();
    let shelf = std::sync::Arc::new(mpp::store::MemoryStore::new().with_clock(clock.clone()));
    let network = Network::with_money("tempo", mpp::method::Money::Real);
    let lab = Lab::over(clock, shelf, network, Network::new("stripe"), |b| {
        b.single_process_volatile_store().max_settlements(1)
    });
    lab.network.will(Script::LoseRequest);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    lab.client.post("/order").presenting(&paid).await.assert_problem("unavailable");
    settle_down().await;
    lab.network.will(Script::Hang);
    let hangs = credential(&lab.challenge("/cheap").await, "tx2");
    let hanging = lab.send("/cheap", &hangs);
    settle_down().await;
    for n in 0..60 {
        let key = format!("key-{n}");
        lab.client.post("/order").header("idempotency-key", &key).presenting(&paid).await;
    }
    let keys = lab.shelf.scan("paid/proof/idempotency=", None, 1000).await.unwrap();
    hanging.abort();
    assert!(keys.len() <= 1, "{} keys of one payment", keys.len());
}
