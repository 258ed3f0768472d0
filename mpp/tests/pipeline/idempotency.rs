//! `Idempotency-Key`: a lost response is sent again, to nobody else, and a second purchase under it is refused.

use crate::common::{Fault, Network, Script, credential};
use crate::lab::*;
use axum::http::Method;
use mpp::ledger::Query;
use mpp::method::Money;
use mpp::refund::RefundOrder;
use mpp::store::{Cas, Keep, Key, Limits, Quota, Version, Write};
use mpp::testing::{Client, Response};
use mpp::{Secret, SecretRing};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const KEY: &str = "4f1c1a0e-2d8f-4f5a-9d55-0d6f8f1b7a10";

async fn quote(lab: &Lab, uri: &str) -> mpp::protocol::Challenge {
    first(&lab.client.post(uri).unpaid().await)
}

async fn send(client: &Client, uri: &str, key: &str, paid: &str) -> Response {
    client.post(uri).header("idempotency-key", key).presenting(paid).await
}

/// Paid and delivered, under the key.
async fn bought(lab: &Lab, uri: &str, proof: &str) -> (String, Response) {
    let paid = credential(&quote(lab, uri).await, proof);
    let response = send(&lab.client, uri, KEY, &paid).await;
    (paid, response)
}

fn assert_same(again: &Response, original: &Response) {
    assert_eq!((again.status(), again.text()), (original.status(), original.text()));
    assert_eq!(again.receipt(), original.receipt());
    for name in ["x-own", "content-type", "cache-control"] {
        assert_eq!(again.header(name), original.header(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_key_and_credential_get_the_same_response_without_a_second_run_or_payment() {
    for uri in ["/order", "/held-order"] {
        let lab = Lab::new();
        let (paid, original) = bought(&lab, uri, "tx1").await;
        assert_eq!((original.status().as_u16(), original.text().as_str()), (201, "sold in run 1"));
        assert_eq!(original.header("set-cookie"), Some("session=1"));
        for _ in 0..3 {
            let again = send(&lab.client, uri, KEY, &paid).await;
            assert_same(&again, &original);
            assert_eq!(again.header("set-cookie"), None, "a session belongs to the first answer");
            assert_eq!(again.header("cache-control"), Some("max-age=60, private"));
        }
        assert_eq!((lab.network.payments(), lab.bench.runs.load(Ordering::SeqCst)), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_key_or_with_another_one_a_used_credential_stays_used() {
    let lab = Lab::new();
    let (paid, _) = bought(&lab, "/order", "tx1").await;
    lab.client.post("/order").presenting(&paid).await.assert_problem("invalid-challenge");
    // Nobody is asked to pay twice who makes a new key for each attempt; nobody gets a response that was not kept for that key.
    send(&lab.client, "/order", "another", &paid).await.assert_problem("already-answered");
    // And the other way round: delivered without a key, there is nothing a key could get.
    let plain = credential(&quote(&lab, "/order").await, "tx2");
    assert_eq!(lab.client.post("/order").presenting(&plain).await.status(), 201);
    send(&lab.client, "/order", "another", &plain).await.assert_problem("invalid-challenge");
    assert_eq!(lab.network.payments(), 2);
}

#[tokio::test(start_paused = true)]
async fn on_a_safe_verb_the_header_says_nothing() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/order").await, "tx1");
    let get = || lab.client.get("/order").header("idempotency-key", KEY).presenting(&paid);
    assert_eq!(get().await.status(), 201);
    get().await.assert_problem("invalid-challenge");
    // The key is still free.
    assert_eq!(bought(&lab, "/order", "tx2").await.1.status(), 201);
}

#[tokio::test(start_paused = true)]
async fn another_unused_credential_under_the_key_is_a_409_and_nothing_is_claimed_or_settled() {
    let lab = Lab::new();
    let (paid, original) = bought(&lab, "/order", "tx1").await;
    settle_down().await;
    let other = credential(&quote(&lab, "/order").await, "tx2");
    let (verified, written) =
        (lab.network.verified.load(Ordering::SeqCst), lab.store.written.lock().unwrap().len());
    let refused = send(&lab.client, "/order", KEY, &other).await;
    refused.assert_problem("idempotency-conflict");
    assert!(refused.challenges().offers.is_empty(), "nobody is asked to pay again");
    assert_eq!(refused.header("retry-after"), None);
    assert!(!refused.text().contains("sold"));
    assert_eq!(lab.network.verified.load(Ordering::SeqCst), verified, "not even looked at");
    assert_eq!(lab.store.written.lock().unwrap().len(), written, "nothing was written");
    // It is still good for a purchase of its own.
    assert_eq!(send(&lab.client, "/order", "another", &other).await.text(), "sold in run 2");
    assert_same(&send(&lab.client, "/order", KEY, &paid).await, &original);
    assert_eq!(lab.network.payments(), 2);
}

/// A payment whose process died before it committed the delivery; its lease has run out.
async fn paid_and_undelivered(lab: &Lab, proof: &str) -> String {
    let paid = credential(&quote(lab, "/order").await, proof);
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::Dies);
    lab.client.post("/order").presenting(&paid).await.assert_problem("unavailable");
    settle_down().await;
    lab.store.heal();
    lab.clock.advance(Duration::from_secs(91));
    paid
}

/// `/order` is for real money and `/whoami` for none: they count against different quotas.
fn selling_for_money() -> Lab {
    Lab::with_real_money(Limits::default())
}

#[tokio::test(start_paused = true)]
async fn a_key_of_what_cost_nothing_buys_nothing_else_and_one_of_a_payment_is_no_key_of_a_proof() {
    for uris in [["/whoami", "/order"], ["/order", "/whoami"]] {
        let lab = selling_for_money();
        let (first, original) = bought(&lab, uris[0], "tx1").await;
        assert!(original.status().is_success(), "{}", original.text());
        settle_down().await;
        let other = credential(&quote(&lab, uris[1]).await, "tx2");
        let payments = lab.network.payments();
        let written = lab.store.written.lock().unwrap().len();
        send(&lab.client, uris[1], KEY, &other).await.assert_problem("idempotency-conflict");
        assert_eq!(lab.store.written.lock().unwrap().len(), written, "nothing was written");
        assert_eq!(lab.network.payments(), payments);
        assert_same(&send(&lab.client, uris[0], KEY, &first).await, &original);
        assert!(send(&lab.client, uris[1], "another", &other).await.status().is_success());
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_payment_and_a_proof_that_come_at_once_under_one_key_at_most_one_is_delivered() {
    let uris = ["/whoami", "/order"];
    let mut delivered = [0, 0];
    // Whose first look at the key comes before what the other one takes.
    for (first, ahead) in (0..16).flat_map(|ahead| [(0, ahead), (1, ahead)]) {
        let lab = selling_for_money();
        let paid =
            [credential(&quote(&lab, uris[0]).await, "tx1"), credential(&quote(&lab, uris[1]).await, "tx2")];
        let under = |key: &'static str, n: usize| {
            let (client, paid) = (lab.client.clone(), paid[n].clone());
            tokio::spawn(async move { send(&client, uris[n], key, &paid).await })
        };
        let one = under(KEY, first);
        for _ in 0..ahead {
            tokio::task::yield_now().await;
        }
        let other = under(KEY, 1 - first);
        let answers = [(first, one.await.unwrap()), (1 - first, other.await.unwrap())];
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, answer)| answer.status().is_success());
        assert!(won.len() <= 1, "{first} {ahead}");
        assert_eq!(lab.network.payments(), won.len());
        for (n, _) in won {
            delivered[n] += 1;
        }
        for ((n, answer), key) in lost.into_iter().zip(["another", "a third"]) {
            answer.assert_problem("idempotency-conflict");
            // Nothing was taken for it.
            assert!(under(key, n).await.unwrap().status().is_success());
        }
    }
    assert!(!delivered.contains(&0), "{delivered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_is_resumed_with_a_key_of_a_proof_is_told_and_gives_back_what_it_took() {
    let lab = selling_for_money();
    bought(&lab, "/whoami", "tx1").await;
    settle_down().await;
    let paid = paid_and_undelivered(&lab, "tx2").await;
    send(&lab.client, "/order", KEY, &paid).await.assert_problem("idempotency-conflict");
    let of_payments = lab.shelf.scan("paid/proof/idempotency=", None, 9).await.unwrap();
    assert!(of_payments.is_empty(), "{of_payments:?}");
    assert_eq!(lab.client.post("/order").presenting(&paid).await.text(), "sold in run 2");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_finds_a_proof_under_the_key_of_its_payment_leaves_the_key_with_the_payment() {
    let lab = selling_for_money();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, failed) = bought(&lab, "/order", "tx1").await;
    assert_eq!(failed.status(), 500);
    settle_down().await;
    // A proof has taken the key, and will look for the payment's next.
    let free = Key::new(Quota::Free, "proof", &key_name(&lab).await);
    let write = Write { value: b"another challenge".to_vec(), keep: Keep::Live };
    assert!(matches!(lab.shelf.cas(&free, None, Some(write)).await, Ok(Cas::Written(_))));
    send(&lab.client, "/order", KEY, &paid).await.assert_problem("idempotency-conflict");
    assert!(lab.shelf.cas(&free, Some(version(&lab, &free).await), None).await.is_ok());
    bought(&lab, "/order", "tx2").await.1.assert_problem("idempotency-conflict");
    assert_eq!(send(&lab.client, "/order", KEY, &paid).await.text(), "sold in run 2");
}

/// What the store calls the key, without its kind.
async fn key_name(lab: &Lab) -> String {
    let held = lab.shelf.scan("paid/proof/idempotency=", None, 9).await.unwrap();
    held[0].0.as_str().trim_start_matches("paid/proof/").to_owned()
}

async fn version(lab: &Lab, key: &Key) -> Version {
    lab.shelf.get(key).await.unwrap().unwrap().version
}

#[tokio::test(start_paused = true)]
async fn who_was_held_up_until_another_had_the_challenge_gives_none_of_its_keys_back() {
    let lab = Lab::new();
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    // It has looked for the entry and for the key, and has written its claim: held up before it takes the first proof, for
    // longer than its lease.
    lab.store.after(4, Fault::Waits);
    let held_up = tokio::spawn({
        let (client, paid) = (lab.client.clone(), paid.clone());
        async move { send(&client, "/order", KEY, &paid).await }
    });
    lab.store.reached.notified().await;
    lab.clock.advance(Duration::from_secs(91));
    let original = send(&lab.client, "/order", KEY, &paid).await;
    assert_eq!(original.status(), 201, "{}", original.text());
    // The challenge is over when it goes on, and so would be its claim.
    lab.clock.advance(Duration::from_secs(300));
    lab.store.go_on.notify_one();
    held_up.await.unwrap();
    settle_down().await;
    assert_same(&send(&lab.client, "/order", KEY, &paid).await, &original);
    let other = credential(&quote(&lab, "/order").await, "tx2");
    send(&lab.client, "/order", KEY, &other).await.assert_problem("idempotency-conflict");
    assert_eq!(lab.network.payments(), 1);
}

/// Declined, or held for a handler that fails: either way the claim is given up, and somebody claims the challenge anew
/// before who gives it up is done.
#[tokio::test(start_paused = true)]
async fn whoever_is_held_up_anywhere_while_it_gives_up_takes_no_key_from_the_next_claim() {
    for uri in ["/order", "/held-order"] {
        for operation in 0.. {
            let lab = Lab::new();
            let paid = credential(&quote(&lab, uri).await, "tx1");
            lab.network.will(Script::Decline);
            lab.bench.failures.store(1, Ordering::SeqCst);
            lab.store.after(operation, Fault::Waits);
            let mut held_up = tokio::spawn({
                let (client, paid) = (lab.client.clone(), paid.clone());
                async move { send(&client, uri, KEY, &paid).await }
            });
            tokio::select! {
                biased;
                () = lab.store.reached.notified() => {}
                done = &mut held_up => {
                    assert!(operation > 8, "{uri}: {}", done.unwrap().text());
                    break;
                }
            }
            lab.network.will(Script::Settle);
            lab.bench.failures.store(0, Ordering::SeqCst);
            lab.clock.advance(Duration::from_secs(91));
            let original = send(&lab.client, uri, KEY, &paid).await;
            settle_down().await;
            lab.store.go_on.notify_one();
            held_up.await.unwrap();
            settle_down().await;
            // A hold that is released has used its credential up, and its key is free.
            if original.status() == 201 {
                assert_same(&send(&lab.client, uri, KEY, &paid).await, &original);
                let other = credential(&quote(&lab, uri).await, "tx2");
                let refused = send(&lab.client, uri, KEY, &other).await;
                assert_eq!(refused.status(), 409, "{uri} at {operation}: {}", refused.text());
                let twice = credential(&quote(&lab, uri).await, "tx1");
                send(&lab.client, uri, "another", &twice).await.assert_problem("verification-failed");
                assert_eq!(lab.network.payments(), 1, "{uri} at {operation}");
            } else {
                assert_eq!(lab.network.payments(), 0, "{uri} at {operation}: {}", original.text());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_came_late_stands_for_its_payment_until_that_is_over_however_long_it_takes() {
    let lab = selling_for_money();
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    lab.network.will(Script::LoseRequest);
    lab.client.post("/order").presenting(&paid).await.assert_problem("unavailable");
    send(&lab.client, "/order", KEY, &paid).await.assert_problem("unavailable");
    lab.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(lab.mpp.recover().await, Ok(0), "nobody knows");
    let other = credential(&quote(&lab, "/order").await, "tx2");
    send(&lab.client, "/order", KEY, &other).await.assert_problem("idempotency-conflict");
    // It never arrived: the payment is forgotten, and its key with it.
    lab.network.will(Script::Settle);
    assert_eq!(lab.mpp.recover().await, Ok(1));
    assert_eq!(send(&lab.client, "/order", KEY, &other).await.status(), 201);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_with_another_payload_for_the_same_challenge_gets_no_response() {
    let lab = Lab::new();
    let challenge = quote(&lab, "/order").await;
    let paid = credential(&challenge, "tx1");
    assert_eq!(send(&lab.client, "/order", KEY, &paid).await.status(), 201);
    let thief = credential(&challenge, "tx2");
    for key in [KEY, "guessed"] {
        let refused = send(&lab.client, "/order", key, &thief).await;
        assert!(matches!(refused.status().as_u16(), 402 | 409) && !refused.text().contains("sold"), "{key}");
    }
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_request_under_the_key_is_a_409() {
    let lab = Lab::new();
    let post =
        |uri: &str, body: &str| lab.client.post(uri).body(body.to_owned()).header("idempotency-key", KEY);
    let paid = credential(&first(&post("/order", "one").unpaid().await), "tx1");
    assert_eq!(post("/order", "one").presenting(&paid).await.status(), 201);
    // Another body, another query, another route, with the credential that was used and with one for that request.
    for (uri, body) in [("/order", "two"), ("/order", ""), ("/order?n=2", "one"), ("/held-order", "one")] {
        post(uri, body).presenting(&paid).await.assert_problem("idempotency-conflict");
        let own = credential(&first(&post(uri, body).unpaid().await), "tx2");
        post(uri, body).presenting(&own).await.assert_problem("idempotency-conflict");
    }
    let put = lab.client.request(Method::PUT, "/order").body("one").header("idempotency-key", KEY);
    put.presenting(&paid).await.assert_problem("idempotency-conflict");
    assert_eq!(post("/order", "one").presenting(&paid).await.text(), "sold in run 1");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_credential_for_another_request_under_a_free_key_is_a_402_as_ever() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    send(&lab.client, "/order", KEY, &paid).await.assert_problem("invalid-challenge");
    assert_eq!(bought(&lab, "/order", "tx1").await.1.status(), 201);
}

#[tokio::test(start_paused = true)]
async fn a_twin_waits_for_the_first_and_gets_its_response() {
    let lab = Arc::new(Lab::new());
    let paid = credential(&quote(&lab, "/slow-order").await, "tx1");
    let twin = || {
        let (lab, paid) = (lab.clone(), paid.clone());
        tokio::spawn(async move { send(&lab.client, "/slow-order", KEY, &paid).await })
    };
    let one = twin();
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    let others: Vec<_> = (0..5).map(|_| twin()).collect();
    settle_down().await;
    lab.bench.door.add_permits(9);
    assert_eq!(one.await.unwrap().text(), "run 1");
    let (mut again, mut busy) = (0, 0);
    for other in others {
        let response = other.await.unwrap();
        match response.status().as_u16() {
            200 => {
                assert_eq!(response.text(), "run 1");
                again += 1;
            }
            _ => {
                response.assert_problem("in-progress");
                busy += 1;
            }
        }
    }
    assert_eq!((again, busy), (2, 3), "at most two wait");
    assert_eq!((lab.network.payments(), lab.bench.inside.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_outlives_its_lease_loses_to_its_heir_whose_response_is_kept() {
    let lab = Arc::new(Lab::new());
    let paid = credential(&quote(&lab, "/slow-order").await, "tx1");
    let twin = || {
        let (lab, paid) = (lab.clone(), paid.clone());
        tokio::spawn(async move { send(&lab.client, "/slow-order", KEY, &paid).await })
    };
    let stuck = twin();
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    lab.clock.advance(Duration::from_secs(31));
    let heir = twin();
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 2).await;
    lab.bench.door.add_permits(2);
    stuck.await.unwrap().assert_problem("unavailable");
    assert_eq!(heir.await.unwrap().text(), "run 2");
    assert_eq!(send(&lab.client, "/slow-order", KEY, &paid).await.text(), "run 2");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_credentials_that_race_for_a_key_are_one_payment() {
    let lab = Arc::new(Lab::new());
    let paid = [quote(&lab, "/order").await, quote(&lab, "/order").await];
    let race = paid.iter().enumerate().map(|(n, challenge)| {
        let (lab, paid) = (lab.clone(), credential(challenge, &format!("tx{n}")));
        tokio::spawn(async move { send(&lab.client, "/order", KEY, &paid).await })
    });
    let mut statuses = Vec::new();
    for request in race.collect::<Vec<_>>() {
        let response = request.await.unwrap();
        if response.status() == 409 {
            response.assert_problem("idempotency-conflict");
        }
        statuses.push(response.status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    settle_down().await;
    assert_eq!((lab.network.payments(), lab.bench.runs.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_declined_payment_gives_the_key_back() {
    let lab = Lab::new();
    lab.network.will(Script::Decline);
    bought(&lab, "/order", "tx1").await.1.assert_problem("verification-failed");
    lab.network.will(Script::Settle);
    assert_eq!(bought(&lab, "/order", "tx2").await.1.status(), 201, "with another credential");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_keeps_the_key_for_its_credential() {
    let lab = Lab::new();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, failed) = bought(&lab, "/order", "tx1").await;
    assert_eq!(failed.status(), 500);
    settle_down().await;
    // Paid for and undelivered: a second payment is what must not happen.
    bought(&lab, "/order", "tx2").await.1.assert_problem("idempotency-conflict");
    let delivered = send(&lab.client, "/order", KEY, &paid).await;
    assert_eq!(delivered.text(), "sold in run 2");
    assert_same(&send(&lab.client, "/order", KEY, &paid).await, &delivered);
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_with_a_later_attempt_counts_from_there() {
    let lab = Lab::new();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    assert_eq!(lab.client.post("/order").presenting(&paid).await.status(), 500);
    settle_down().await;
    // Not under a key that is somebody else's.
    assert_eq!(bought(&lab, "/order", "tx2").await.1.status(), 201);
    send(&lab.client, "/order", KEY, &paid).await.assert_problem("idempotency-conflict");
    let delivered = send(&lab.client, "/order", "later", &paid).await;
    assert_eq!(delivered.status(), 201);
    assert_same(&send(&lab.client, "/order", "later", &paid).await, &delivered);
    let other = credential(&quote(&lab, "/order").await, "tx3");
    send(&lab.client, "/order", "later", &other).await.assert_problem("idempotency-conflict");
}

#[tokio::test(start_paused = true)]
async fn malformed_keys_are_a_400_before_anything_is_touched() {
    let lab = Lab::new();
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    let before = lab.store.operations.load(Ordering::SeqCst);
    let long = "x".repeat(256);
    for key in ["", "a\tb", long.as_str()] {
        send(&lab.client, "/order", key, &paid).await.assert_problem("bad-request");
    }
    let two = lab.client.post("/order").header("idempotency-key", "a").header("idempotency-key", "b");
    two.presenting(&paid).await.assert_problem("bad-request");
    assert_eq!(lab.store.operations.load(Ordering::SeqCst), before);
    assert_eq!(send(&lab.client, "/order", &long[1..], &paid).await.status(), 201);
}

#[tokio::test(start_paused = true)]
async fn keys_of_services_that_share_a_store_are_their_own() {
    let lab = Lab::new();
    let client = |name| lab.client_of(&lab.builder().service(name).build().unwrap());
    // The last two are one text when they are put together.
    for (name, key) in [("a", KEY), ("b", KEY), ("ab", "c"), ("abc", "")] {
        let client = client(name);
        let paid = credential(&first(&client.post("/order").unpaid().await), &format!("tx-{name}"));
        let key = format!("{key}d");
        assert_eq!(send(&client, "/order", &key, &paid).await.status(), 201, "{name}");
    }
    let elsewhere = lab.client_of(&lab.builder_at("https://other.example.com").build().unwrap());
    let paid = credential(&first(&elsewhere.post("/order").unpaid().await), "tx-c");
    assert_eq!(send(&elsewhere, "/order", &format!("{KEY}d"), &paid).await.status(), 201);
}

#[tokio::test(start_paused = true)]
async fn a_response_is_gone_with_its_entry_and_past_the_grace_period() {
    let lab = Lab::new();
    let (paid, _) = bought(&lab, "/order", "tx1").await;
    settle_down().await;
    lab.clock.advance(Duration::from_secs(300 + 600));
    assert_eq!(send(&lab.client, "/order", KEY, &paid).await.status(), 201, "whatever the clock says");
    lab.clock.advance(Duration::from_secs(1));
    send(&lab.client, "/order", KEY, &paid).await.assert_problem("already-answered");
    lab.clock.advance(Duration::from_secs(59));
    send(&lab.client, "/order", KEY, &paid).await.assert_problem("payment-expired");
    assert_eq!(bought(&lab, "/order", "tx2").await.1.status(), 201, "the key is free again");
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_sealed_and_opens_after_a_rotation() {
    let mut lab = Lab::new();
    let (paid, original) = bought(&lab, "/order", "tx1").await;
    for value in lab.store.written.lock().unwrap().iter() {
        let holds = |text: &str| value.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(!holds("sold in run") && !holds("session=1") && !holds(KEY), "in the clear");
    }
    let (old, new) = (lab.secret.clone(), Secret::generate());
    lab.restart_with(|b| b.secrets(SecretRing::new(new.clone()).also(old.clone())));
    assert_same(&send(&lab.client, "/order", KEY, &paid).await, &original);
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn whatever_store_operation_fails_the_key_gets_the_one_delivery() {
    for (uri, fault) in
        [("/order", Fault::LosesAnswer), ("/order", Fault::Dies), ("/held-order", Fault::Dies)]
    {
        let (mut served, mut delivered_before) = (0, 0);
        for operation in 0.. {
            let mut lab = Lab::new();
            let paid = credential(&quote(&lab, uri).await, "tx1");
            lab.store.after(operation, fault);
            let first = send(&lab.client, uri, KEY, &paid).await;
            settle_down().await;
            let unharmed = lab.store.operations.load(Ordering::SeqCst) <= operation;
            let at = format!("{uri}, {fault:?} at operation {operation}");
            // The client never saw it. Another process, the same credential and key, until there is an answer.
            lab.restart();
            let answer = loop {
                let response = send(&lab.client, uri, KEY, &paid).await;
                if !matches!(response.status().as_u16(), 409 | 503) {
                    break response;
                }
                assert!(response.challenges().offers.is_empty(), "{at}");
                lab.clock.advance(Duration::from_secs(91));
            };
            assert_eq!(answer.status(), 201, "{at}: {}", answer.text());
            assert_eq!(lab.network.payments(), 1, "{at}");
            if first.status() == 201 {
                delivered_before += 1;
                assert_same(&answer, &first);
            } else {
                served += 1;
                assert_eq!(first.status(), 503, "{at}");
            }
            if unharmed {
                break;
            }
        }
        assert!(delivered_before >= 1 && served >= 5, "{uri} {fault:?}: {served} {delivered_before}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_anywhere_gets_its_one_delivery_by_the_key() {
    for uri in ["/order", "/held-order"] {
        let mut lost = 0;
        for polls in 0.. {
            let lab = Lab::new();
            let paid = credential(&quote(&lab, uri).await, "tx1");
            let mut request = Box::pin(send(&lab.client, uri, KEY, &paid));
            let whole = polled(&mut request, polls).await.is_some();
            drop(request);
            settle_down().await;
            let runs = lab.bench.runs.load(Ordering::SeqCst);
            let mut answer = send(&lab.client, uri, KEY, &paid).await;
            if matches!(answer.status().as_u16(), 409 | 503) {
                lab.clock.advance(Duration::from_secs(91));
                answer = send(&lab.client, uri, KEY, &paid).await;
            }
            let at = format!("{uri} after {polls} polls: {}", answer.text());
            if uri == "/held-order" && lab.network.payments() == 0 {
                // The hold was given back: nothing was paid, nothing is owed.
                answer.assert_problem("invalid-challenge");
                assert_eq!(lab.network.released.lock().unwrap().len(), 1, "{at}");
                assert_eq!(bought(&lab, uri, "tx2").await.1.status(), 201, "{at}: the key is free");
                continue;
            }
            assert_eq!(answer.status(), 201, "{at}");
            assert_eq!(lab.network.payments(), 1, "{at}");
            // Committed, and nobody was there to read it.
            lost += u32::from(!whole && runs == lab.bench.runs.load(Ordering::SeqCst));
            assert_same(&send(&lab.client, uri, KEY, &paid).await, &answer);
            if whole {
                assert!(polls > 4);
                break;
            }
        }
        assert!(lost >= 1, "{uri}: the one place where only the key helps was not met");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_too_large_is_delivered_not_kept_and_never_asks_for_a_second_payment() {
    let lab = Lab::on(Network::new("tempo"), |b| b.kept_response(1000));
    for (bytes, kept) in [(900, true), (1001, false)] {
        let uri = format!("/sized/{bytes}");
        let key = bytes.to_string();
        let paid = credential(&quote(&lab, &uri).await, &format!("tx{bytes}"));
        assert_eq!(send(&lab.client, &uri, &key, &paid).await.text().len(), bytes);
        let again = send(&lab.client, &uri, &key, &paid).await;
        if kept {
            assert_eq!(again.text().len(), bytes);
        } else {
            again.assert_problem("already-answered");
            assert!(again.challenges().offers.is_empty());
            // A client that makes a new key for each attempt.
            send(&lab.client, &uri, "another", &paid).await.assert_problem("already-answered");
        }
    }
    assert_eq!(lab.network.payments(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_that_is_kept_together_is_bounded() {
    let lab = Lab::on(Network::new("tempo"), |b| b.kept_responses(2500));
    let mut kept = 0;
    for n in 0..5 {
        let (key, proof) = (n.to_string(), format!("tx{n}"));
        let paid = credential(&quote(&lab, "/sized/800").await, &proof);
        assert_eq!(
            send(&lab.client, "/sized/800", &key, &paid).await.status(),
            200,
            "delivered all the same"
        );
        kept += u32::from(send(&lab.client, "/sized/800", &key, &paid).await.status() == 200);
    }
    assert_eq!(kept, 2);
    lab.clock.advance(Duration::from_secs(960));
    let paid = credential(&quote(&lab, "/sized/800").await, "later");
    send(&lab.client, "/sized/800", "later", &paid).await.assert_ok();
    send(&lab.client, "/sized/800", "later", &paid).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_when_the_key_is_looked_up_is_a_503_and_nothing_is_claimed() {
    let lab = Lab::new();
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    // The entry, then the key.
    lab.store.after(1, Fault::Dies);
    let response = send(&lab.client, "/order", KEY, &paid).await;
    response.assert_problem("unavailable");
    assert!(response.challenges().offers.is_empty());
    assert_eq!(lab.network.verified.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn one_payment_that_is_due_back_does_not_fill_the_store_with_keys() {
    let lab = Lab::with_real_money(Limits { paid: 50, free: 50 });
    lab.bench.failures.store(3, Ordering::SeqCst);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    for _ in 0..3 {
        assert_eq!(lab.client.post("/order").presenting(&paid).await.status(), 500);
        settle_down().await;
    }
    for n in 0..60 {
        let key = format!("key-{n}");
        let named = lab.client.post("/order").header("idempotency-key", &key).presenting(&paid).await;
        named.assert_problem("unavailable");
    }
    assert_eq!(lab.shelf.scan("paid/proof/idempotency=", None, 1000).await.unwrap(), []);
    assert_eq!(lab.pay("/cheap", "tx2").await.1.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_is_tried_again_and_again_takes_a_few_keys() {
    let lab = Lab::with_real_money(Limits { paid: 50, free: 50 });
    lab.network.will(Script::LoseRequest);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    for n in 0..20 {
        send(&lab.client, "/order", &format!("key-{n}"), &paid).await.assert_problem("unavailable");
        settle_down().await;
    }
    assert_eq!(lab.shelf.scan("paid/proof/idempotency=", None, 1000).await.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_named_when_a_refund_was_due_is_free_when_the_money_is_back() {
    let lab = Lab::on(Network::new("tempo"), |b| b.ledger_retention(Duration::from_secs(3600)));
    lab.bench.failures.store(3, Ordering::SeqCst);
    let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
    for _ in 0..3 {
        assert_eq!(lab.client.post("/order").presenting(&paid).await.status(), 500);
        settle_down().await;
    }
    let named = lab.client.post("/order").header("idempotency-key", "my order");
    named.presenting(&paid).await.assert_problem("unavailable");
    let due = all(&lab.mpp.ledger(), &Query::new().undelivered()).await;
    lab.mpp.refund(&RefundOrder::rest(&due[0].sale)).await.unwrap();
    settle_down().await;
    let afresh = credential(&first(&lab.client.post("/order").unpaid().await), "tx2");
    let bought = lab.client.post("/order").header("idempotency-key", "my order").presenting(&afresh).await;
    assert_eq!(bought.status(), 201, "the first payment is back: {}", bought.text());
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
    let shelf = Arc::new(mpp::store::MemoryStore::new().with_clock(clock.clone()));
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

/// Each attempt of a client that names another key every time; the response to the last is lost on its way.
#[tokio::test(start_paused = true)]
async fn the_key_that_was_delivered_gets_the_response_again_however_many_were_named_before() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_runs(10));
    lab.bench.failures.store(4, Ordering::SeqCst);
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    for key in ["one", "two", "three", "four"] {
        assert_eq!(send(&lab.client, "/order", key, &paid).await.status(), 500);
        settle_down().await;
    }
    assert_eq!(send(&lab.client, "/order", "five", &paid).await.text(), "sold in run 5");
    settle_down().await;
    let again = send(&lab.client, "/order", "five", &paid).await;
    assert_eq!(again.text(), "sold in run 5", "{}", again.status());
}

/// All of them find it undelivered; one goes on, and takes its key.
#[tokio::test(start_paused = true)]
async fn copies_that_come_at_once_under_many_keys_are_not_asked_to_pay_and_take_one_key() {
    let lab = Lab::with_real_money(Limits { paid: 50, free: 50 });
    lab.bench.failures.store(1, Ordering::SeqCst);
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    assert_eq!(send(&lab.client, "/order", "first", &paid).await.status(), 500);
    settle_down().await;
    let copies: Vec<_> = (0..60)
        .map(|n| {
            let request = lab.client.post("/order").header("idempotency-key", &format!("key-{n}"));
            let paid = paid.clone();
            tokio::spawn(async move { request.presenting(&paid).await })
        })
        .collect();
    let mut sold = 0;
    for copy in copies {
        let copy = copy.await.unwrap();
        match copy.status().as_u16() {
            201 => sold += 1,
            status => assert_eq!(status, 409, "{}", copy.text()),
        }
    }
    assert_eq!((sold, lab.bench.runs.load(Ordering::SeqCst)), (1, 2));
    settle_down().await;
    let keys = || async { lab.shelf.scan("paid/proof/idempotency=", None, 1000).await.unwrap().len() };
    assert_eq!(keys().await, 2, "that of the first attempt, and of the one that was delivered");
    lab.clock.advance(Duration::from_secs(300 + 600 + 61));
    lab.mpp.recover().await.unwrap();
    assert_eq!(keys().await, 0);
}

/// A client that does not wait for its answer, and makes a new key for each attempt. Its second attempt finds the first under way, or
/// finds nothing and is late with its claim.
#[tokio::test(start_paused = true)]
async fn a_copy_under_another_key_is_not_asked_to_pay_and_gets_nothing_wherever_the_first_stands() {
    let mut delivered_first = 0;
    for held_up in 0..=OPERATIONS_BEFORE_COMMIT {
        let lab = Lab::with_real_money(Limits::default());
        let paid = credential(&quote(&lab, "/order").await, "tx1");
        lab.store.after(held_up, Fault::Waits);
        let under = |key: &'static str| {
            let (client, paid) = (lab.client.clone(), paid.clone());
            tokio::spawn(async move { send(&client, "/order", key, &paid).await })
        };
        let one = under(KEY);
        lab.store.reached.notified().await;
        let other = under("another");
        settle_down().await;
        lab.store.go_on.notify_one();
        let answers = [one.await.unwrap(), other.await.unwrap()];
        settle_down().await;
        assert_eq!(lab.bench.runs.load(Ordering::SeqCst), 1, "held up before operation {held_up}");
        let first = usize::from(answers[0].status() != 201);
        delivered_first += usize::from(first == 0);
        answers[1 - first].assert_problem("already-answered");
        let keys = [KEY, "another"];
        assert_same(&send(&lab.client, "/order", keys[first], &paid).await, &answers[first]);
        send(&lab.client, "/order", keys[1 - first], &paid).await.assert_problem("already-answered");
    }
    assert!((1..OPERATIONS_BEFORE_COMMIT).contains(&delivered_first), "{delivered_first}");
}

/// The fifth attempt, under a fifth key: whichever operation of it fails, the keys that its payment has afterwards are its own.
#[tokio::test(start_paused = true)]
async fn a_key_that_gives_way_is_lost_only_to_the_one_that_takes_its_place() {
    const KEYS: [&str; 5] = ["one", "two", "three", "four", "five"];
    for fault in [Fault::Refuses, Fault::LosesAnswer] {
        let mut failed = 0;
        for operation in 0.. {
            let lab = Lab::on(Network::with_money("tempo", Money::Real), |b| {
                b.max_runs(10).single_process_volatile_store()
            });
            lab.bench.failures.store(5, Ordering::SeqCst);
            let paid = credential(&quote(&lab, "/order").await, "tx1");
            for key in &KEYS[..4] {
                assert_eq!(send(&lab.client, "/order", key, &paid).await.status(), 500);
                settle_down().await;
            }
            let before = lab.store.operations.load(Ordering::SeqCst);
            lab.store.after(operation, fault);
            let is_refused = send(&lab.client, "/order", KEYS[4], &paid).await.status() == 503;
            failed += usize::from(is_refused);
            settle_down().await;
            let unharmed = lab.store.operations.load(Ordering::SeqCst) - before <= operation;
            lab.store.heal();
            let at = format!("{fault:?} at operation {operation}");
            lab.clock.advance(Duration::from_secs(91));
            lab.bench.failures.store(0, Ordering::SeqCst);
            let other = credential(&quote(&lab, "/order").await, "tx2");
            let own = if is_refused { &KEYS[..4] } else { &KEYS[1..] };
            for key in own {
                let refused = send(&lab.client, "/order", key, &other).await;
                assert_eq!(refused.status(), 409, "{key}, {at}: {}", refused.text());
            }
            let original = send(&lab.client, "/order", own[0], &paid).await;
            assert_eq!(original.status(), 201, "{at}: {}", original.text());
            settle_down().await;
            // The fifth may have been named, though its attempt failed, and then the second gave way just now.
            for key in [own[0], own[3]] {
                assert_same(&send(&lab.client, "/order", key, &paid).await, &original);
            }
            let keys = lab.shelf.scan("paid/proof/idempotency=", None, 1000).await.unwrap().len();
            assert!((3..=5).contains(&keys), "{keys} keys, {at}");
            if unharmed {
                assert_eq!(keys, 4);
                // The oldest has given way: anybody's.
                assert_eq!(send(&lab.client, "/order", KEYS[0], &other).await.status(), 201);
                break;
            }
        }
        assert!(failed >= 3, "{fault:?}: {failed}");
    }
}

/// A client that repeats its key, as it should, and then does not.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_used_again_and_again_is_one_key() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_runs(10));
    lab.bench.failures.store(5, Ordering::SeqCst);
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    for key in ["one", "one", "one", "one", "two"] {
        assert_eq!(send(&lab.client, "/order", key, &paid).await.status(), 500);
        settle_down().await;
    }
    let other = credential(&quote(&lab, "/order").await, "tx2");
    for key in ["one", "two"] {
        send(&lab.client, "/order", key, &other).await.assert_problem("idempotency-conflict");
    }
}

/// The four that were used last, however long ago they were named first.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_used_again_does_not_give_way_to_the_next_one() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_runs(10));
    lab.bench.failures.store(6, Ordering::SeqCst);
    let paid = credential(&quote(&lab, "/order").await, "tx1");
    for key in ["one", "two", "three", "four", "one", "five"] {
        assert_eq!(send(&lab.client, "/order", key, &paid).await.status(), 500);
        settle_down().await;
    }
    let other = credential(&quote(&lab, "/order").await, "tx2");
    for key in ["one", "three", "four", "five"] {
        send(&lab.client, "/order", key, &other).await.assert_problem("idempotency-conflict");
    }
    assert_eq!(send(&lab.client, "/order", "two", &other).await.status(), 201);
}

/// An attempt whose handler never ran: whichever operation before that fails, its run is not lost, and nobody waits for its lease.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_could_not_begin_costs_no_run_and_no_wait() {
    for key in [None, Some(KEY), Some("another")] {
        for fault in [Fault::Refuses, Fault::LosesAnswer, Fault::Dies] {
            for operation in 0.. {
                let lab = Lab::on(Network::with_money("tempo", Money::Real), |b| {
                    b.max_runs(2).single_process_volatile_store()
                });
                lab.bench.failures.store(1, Ordering::SeqCst);
                let (paid, failed) = bought(&lab, "/order", "tx1").await;
                assert_eq!(failed.status(), 500);
                settle_down().await;
                let send = || {
                    let request = lab.client.post("/order");
                    match key {
                        Some(key) => request.header("idempotency-key", key),
                        None => request,
                    }
                };
                lab.store.after(operation, fault);
                let first = send().presenting(&paid).await;
                settle_down().await;
                lab.store.heal();
                if lab.bench.runs.load(Ordering::SeqCst) > 1 {
                    break;
                }
                assert_eq!(first.status(), 503, "{}", first.text());
                let at = format!("{key:?}, {fault:?} at operation {operation}");
                let again = send().presenting(&paid).await;
                assert_eq!(
                    (again.status().as_u16(), again.text()),
                    (201, "sold in run 2".to_owned()),
                    "{at}"
                );
            }
        }
    }
}
