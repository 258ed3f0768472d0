//! The ledger has every settled payment once, says how its delivery stands, and agrees with the journal wherever a process
//! dies.

use crate::common::{Fault, Faulty, Network, Script, credential};
use crate::lab::*;
use mpp::ledger::{Delivery, Ledger, LedgerEntry, Query};
use mpp::observe::Event;
use mpp::protocol::Timestamp;
use mpp::refund::{RefundError, RefundOrder};
use mpp::store::{Cas, Keep, Key, Quota, StoreError, Write};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A lab that takes real money and keeps a ledger of it.
fn lab() -> Lab {
    Lab::on(Network::with_money("tempo", mpp::method::Money::Real), |builder| {
        builder.single_process_volatile_store().ledger_retention(MONTH)
    })
}

/// Operation and state of each.
async fn shown(ledger: &Ledger, query: &Query) -> Vec<String> {
    let entries = all(ledger, query).await;
    entries.iter().map(|entry| format!("{} {}", entry.sale.operation, entry.delivery.name())).collect()
}

#[tokio::test(start_paused = true)]
async fn every_settled_payment_is_in_the_ledger_and_how_its_delivery_stands() {
    let lab = lab();
    lab.pay("/city/oslo?name=alice", "tx1").await.1.assert_ok();
    lab.network.will(Script::Decline);
    lab.pay("/cheap", "tx2").await;
    lab.network.will(Script::LoseRequest);
    lab.pay("/cheap", "tx3").await;
    lab.network.will(Script::Settle);
    lab.bench.failures.store(9, Ordering::SeqCst);
    lab.pay("/flaky", "tx4").await;
    let (owed, _) = lab.pay("/flaky", "tx5").await;
    for _ in 0..3 {
        lab.client.get("/flaky").presenting(&owed).await;
    }
    settle_down().await;
    let ledger = lab.mpp.ledger();
    let mut everything = shown(&ledger, &Query::new()).await;
    everything[..2].sort();
    assert_eq!(
        everything,
        ["GET /flaky refund due", "GET /flaky undelivered", "GET /city/{city} delivered"],
        "what moved no money is not in it"
    );
    let mut open = shown(&ledger, &Query::new().undelivered()).await;
    open.sort();
    assert_eq!(open, ["GET /flaky refund due", "GET /flaky undelivered"]);

    let sold = all(&ledger, &Query::new().operation("GET /city/{city}")).await;
    assert!(matches!(&sold[..], [LedgerEntry { delivery: Delivery::Delivered, runs: 1, .. }]), "{sold:?}");
    let sale = &sold[0].sale;
    assert_eq!(
        (sale.amount, sale.currency.as_str(), sale.base_units.get(), sale.method.as_str()),
        (mpp::Amount::cents(1), "usdc", 10_000, "tempo")
    );
    assert_eq!(sale.settled_at, Timestamp::from_unix(START));
    assert!(!sale.reference.is_empty());
    // Not in what is shown, and not in what is stored.
    let stored: Vec<u8> = lab.store.written.lock().unwrap().concat();
    for part in ["oslo", "alice"] {
        assert!(!format!("{sold:?}").contains(part));
        assert!(!stored.windows(part.len()).any(|window| window == part.as_bytes()), "{part}");
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_a_process_dies_a_settled_payment_is_in_the_ledger_once_and_says_the_truth() {
    let mut delivered_and_listed = 0;
    for operation in 0..16 {
        let mut lab = lab();
        let paid = credential(&lab.challenge("/cheap").await, "tx1");
        lab.store.after(operation, Fault::Dies);
        let response = lab.client.get("/cheap").presenting(&paid).await;
        settle_down().await;
        let died = lab.store.operations.load(Ordering::SeqCst) > operation;
        lab.restart_with(|builder| builder.single_process_volatile_store().ledger_retention(MONTH));
        let committed = response.status() == 200;
        for round in ["as it was left", "after a recovery"] {
            let entries = all(&lab.mpp.ledger(), &Query::new()).await;
            let ids: BTreeSet<_> = entries.iter().map(|entry| &entry.sale.challenge_id).collect();
            assert_eq!(ids.len(), entries.len(), "{operation}, {round}: once");
            if committed {
                assert_eq!(entries.len(), 1, "{operation}, {round}");
                assert_eq!(entries[0].delivery, Delivery::Delivered, "{operation}, {round}");
            } else {
                assert!(
                    entries.iter().all(|entry| entry.delivery == Delivery::Undelivered),
                    "{operation}, {round}"
                );
            }
            lab.clock.advance(Duration::from_secs(91));
            lab.mpp.recover().await.unwrap();
        }
        // Long after the credential is forgotten.
        lab.until_delivered("/cheap", &paid).await;
        settle_down().await;
        lab.clock.advance(Duration::from_secs(24 * 60 * 60));
        assert_eq!(lab.network.payments(), 1, "{operation}");
        assert_eq!(shown(&lab.mpp.ledger(), &Query::new()).await, ["GET /cheap delivered"], "{operation}");
        delivered_and_listed += usize::from(committed && died);
    }
    assert!(delivered_and_listed > 0, "processes died between the delivery and the ledger, too");
}

#[tokio::test(start_paused = true)]
async fn queries_filter_by_time_method_operation_and_payer_and_pages_miss_nothing() {
    let lab = lab();
    for n in 0..250 {
        lab.pay(if n % 2 == 0 { "/cheap" } else { "/dear" }, &format!("tx{n}")).await.1.assert_ok();
        lab.clock.advance(Duration::from_secs(1));
    }
    settle_down().await;
    let ledger = Ledger::in_store(lab.shelf.clone());
    let entries = all(&ledger, &Query::new()).await;
    let times: Vec<_> = entries.iter().map(|entry| entry.sale.settled_at.unix() - START).collect();
    assert_eq!(times, (0..250).collect::<Vec<_>>(), "oldest first");
    let (since, until) = (Timestamp::from_unix(START + 100), Timestamp::from_unix(START + 110));
    let of = |query: Query| {
        let ledger = ledger.clone();
        async move { all(&ledger, &query).await.len() }
    };
    assert_eq!(of(Query::new().since(since).until(until)).await, 10);
    assert_eq!(of(Query::new().since(since).until(until).operation("GET /dear")).await, 5);
    assert_eq!(of(Query::new().until(Timestamp::from_unix(START + 240))).await, 240, "over several pages");
    assert_eq!(of(Query::new().method("tempo")).await, 250);
    assert_eq!(of(Query::new().method("stripe")).await, 0);
    assert_eq!(of(Query::new().payer("nobody")).await, 0);
    assert_eq!(of(Query::new().undelivered()).await, 0);

    assert_eq!(ledger.erase(&Query::new().until(until)).await, Ok(110));
    assert_eq!(of(Query::new()).await, 140);
    lab.clock.advance(MONTH - Duration::from_secs(100));
    assert!(of(Query::new()).await < 140, "what is too old is gone by itself");
    lab.clock.advance(MONTH);
    assert_eq!(of(Query::new()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_is_never_erased_and_never_too_old() {
    let lab = lab();
    lab.bench.failures.store(9, Ordering::SeqCst);
    lab.pay("/flaky", "tx1").await;
    assert_eq!(lab.mpp.ledger().erase(&Query::new()).await, Ok(0));
    lab.clock.advance(2 * MONTH);
    lab.mpp.recover().await.unwrap();
    assert_eq!(shown(&lab.mpp.ledger(), &Query::new().undelivered()).await, ["GET /flaky refund due"]);
}

/// A process that dies between a delivery and the ledger leaves the line in the record that refuses the credential.
#[tokio::test(start_paused = true)]
async fn what_is_to_be_forgotten_is_erased_also_on_its_way_into_the_ledger() {
    let lab = lab();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    lab.store.after(OPERATIONS_BEFORE_COMMIT + 1, Fault::Dies);
    lab.client.get("/cheap").presenting(&paid).await.assert_ok();
    settle_down().await;
    let ledger = Ledger::in_store(lab.shelf.clone());
    let lines = || async { lab.shelf.scan("paid/ledger/", None, 9).await.unwrap().len() };
    assert_eq!(lines().await, 0, "it has not come there yet");
    assert_eq!(shown(&ledger, &Query::new()).await, ["GET /cheap delivered"]);
    let unwanted = ledger.erase(&Query::new().method("stripe")).await;
    assert_eq!((unwanted, lines().await), (Ok(0), 0), "what is not wanted is left where it is");
    assert_eq!(ledger.erase(&Query::new()).await, Ok(1));
    assert_eq!(shown(&ledger, &Query::new()).await, [""; 0]);
    // Nor does a recovery bring it back, and the credential stays used up.
    lab.store.heal();
    lab.mpp.recover().await.unwrap();
    assert_eq!(shown(&ledger, &Query::new()).await, [""; 0]);
    lab.client.get("/cheap").presenting(&paid).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn a_proof_of_identity_that_was_not_delivered_is_owed_nothing() {
    let (tell, told) = std::sync::mpsc::channel();
    let lab = Lab::on(Network::with_money("tempo", mpp::method::Money::Real), |builder| {
        builder.single_process_volatile_store().ledger_retention(MONTH).on_event(move |event| {
            if let Event::PaymentSettled { sale, .. } = event {
                tell.send(sale.clone()).ok();
            }
        })
    });
    let paid = credential(&lab.challenge("/whoami").await, "me");
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::Dies);
    lab.client.get("/whoami").presenting(&paid).await.assert_problem("unavailable");
    settle_down().await;
    lab.store.heal();
    let sale = told.recv_timeout(Duration::from_secs(20)).expect("it is told as any other");
    assert_eq!(shown(&lab.mpp.ledger(), &Query::new()).await, [""; 0]);
    assert_eq!(lab.mpp.refund(&RefundOrder::rest(&sale)).await, Err(RefundError::NoSuchPayment));
    lab.clock.advance(Duration::from_secs(91));
    assert_eq!(
        lab.client.get("/whoami").presenting(&paid).await.text(),
        "did:example:payer",
        "it is still open"
    );
}

#[tokio::test(start_paused = true)]
async fn a_proof_of_identity_leaves_no_line_and_a_store_that_forgets_keeps_none_unasked() {
    let free = lab();
    free.pay("/whoami", "tx1").await.1.assert_ok();
    settle_down().await;
    assert_eq!(shown(&free.mpp.ledger(), &Query::new()).await, [""; 0]);

    let lab = Lab::with_real_money(mpp::store::Limits::default());
    lab.pay("/cheap", "tx1").await.1.assert_ok();
    settle_down().await;
    assert_eq!(shown(&lab.mpp.ledger(), &Query::new()).await, [""; 0]);
}

/// Writes what no version has written.
async fn damage(lab: &Lab, kind: &str, name: &str) -> String {
    let key = Key::new(Quota::Paid, kind, name);
    let there = lab.shelf.get(&key).await.unwrap().map(|there| there.version);
    let garbage = Write { value: vec![0xff; 9], keep: Keep::Live };
    assert!(matches!(lab.shelf.cas(&key, there, Some(garbage)).await, Ok(Cas::Written(_))));
    key.as_str().to_owned()
}

/// The keys of what no page of a query can show.
async fn left_out(ledger: &Ledger, query: &Query) -> Vec<String> {
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.page(query, after.as_ref()).await.unwrap();
        keys.extend(page.unreadable.into_iter().map(|one| one.key));
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_read_is_named_and_hides_no_other_payment() {
    let lab = lab();
    for tx in ["tx1", "tx2"] {
        lab.pay("/cheap", tx).await.1.assert_ok();
    }
    lab.bench.failures.store(9, Ordering::SeqCst);
    lab.pay("/flaky", "tx3").await;
    settle_down().await;
    // Before all others, and after them; more than a page of them.
    let mut bad = Vec::new();
    for n in 0..120 {
        bad.push(damage(&lab, "ledger", &format!("000000000000-{n:03}")).await);
    }
    bad.push(damage(&lab, "ledger", &format!("00{START}-~")).await);
    let ledger = Ledger::in_store(lab.shelf.clone());
    // What is over is not owed, and what has a time is wanted only then.
    assert_eq!(ledger.erase(&Query::new().undelivered()).await, Ok(0));
    assert_eq!(ledger.erase(&Query::new().since(Timestamp::from_unix(START + 1))).await, Ok(0));
    let nothing = ledger.erase(&Query::new().operation("GET /dear")).await;
    assert!(matches!(nothing, Err(StoreError::Unreadable(_))), "that is what nobody knows: {nothing:?}");
    bad.push(damage(&lab, "ledger", "~").await);
    for name in ["!", "~"] {
        bad.push(damage(&lab, "entry", name).await);
    }
    let mut states = shown(&ledger, &Query::new()).await;
    states.sort();
    assert_eq!(states, ["GET /cheap delivered", "GET /cheap delivered", "GET /flaky undelivered"]);
    let mut named = left_out(&ledger, &Query::new()).await;
    named.sort();
    bad.sort();
    assert_eq!(named, bad);

    assert_eq!(shown(&ledger, &Query::new().undelivered()).await, ["GET /flaky undelivered"]);
    assert_eq!(left_out(&ledger, &Query::new().undelivered()).await, ["paid/entry/!", "paid/entry/~"]);
    let now = Query::new().since(Timestamp::from_unix(START)).until(Timestamp::from_unix(START + 1));
    let timed = format!("paid/ledger/00{START}-~");
    assert_eq!(left_out(&ledger, &now).await, ["paid/entry/!", "paid/entry/~", &timed, "paid/ledger/~"]);
    let before = left_out(&ledger, &Query::new().until(Timestamp::from_unix(START))).await;
    assert_eq!((before.len(), before.contains(&timed)), (bad.len() - 1, false));

    // Erased is what can be.
    assert!(matches!(ledger.erase(&Query::new()).await, Err(StoreError::Unreadable(_))));
    assert_eq!(shown(&ledger, &Query::new()).await, ["GET /flaky undelivered"]);
    assert_eq!(left_out(&ledger, &Query::new()).await.len(), bad.len(), "and nothing else is touched");
}

#[tokio::test(start_paused = true)]
async fn a_payment_whose_refunds_nobody_can_read_is_shown_without_them_and_not_erased() {
    let lab = Lab::on(Network::with_money("tempo", mpp::method::Money::Real), |builder| {
        builder.single_process_volatile_store().ledger_retention(MONTH).max_runs(1)
    });
    lab.pay("/cheap", "tx1").await.1.assert_ok();
    lab.pay("/dear", "tx2").await.1.assert_ok();
    lab.bench.failures.store(9, Ordering::SeqCst);
    lab.pay("/flaky", "tx3").await;
    settle_down().await;
    lab.clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(lab.mpp.recover().await, Ok(1), "a refund is due");
    let ledger = lab.mpp.ledger();
    let mut bad = Vec::new();
    for entry in all(&ledger, &Query::new()).await {
        let sale = &entry.sale;
        assert_eq!((entry.refunded(), entry.refunds), (Some(mpp::Amount::ZERO), Some(vec![])));
        if sale.operation != "GET /dear" {
            let name = format!("{:012}-{}", sale.settled_at.unix(), sale.challenge_id);
            bad.push(damage(&lab, "refund", &name).await);
        }
    }
    assert_eq!(left_out(&ledger, &Query::new()).await, bad);
    for entry in all(&ledger, &Query::new()).await {
        let known = (entry.sale.operation == "GET /dear").then_some(mpp::Amount::ZERO);
        assert_eq!((entry.refunded(), entry.refunds.is_some()), (known, known.is_some()), "{:?}", entry.sale);
    }
    assert_eq!(shown(&ledger, &Query::new().undelivered()).await, ["GET /flaky refund due"]);
    assert_eq!(left_out(&ledger, &Query::new().operation("GET /dear")).await, [""; 0]);

    // One of them may be pending.
    assert!(matches!(ledger.erase(&Query::new()).await, Err(StoreError::Unreadable(_))));
    let mut left = shown(&ledger, &Query::new()).await;
    left.sort();
    assert_eq!(left, ["GET /cheap delivered", "GET /flaky refund due"]);
    let flaky = Query::new().operation("GET /flaky");
    assert_eq!(ledger.erase(&flaky).await, Ok(0), "what is open stays anyway");
    damage(&lab, "entry", "!").await;
    let nothing = ledger.erase(&flaky).await;
    assert!(matches!(nothing, Err(StoreError::Unreadable(_))), "that may be one: {nothing:?}");
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

/// Whoever gives it back stands still somewhere, and meanwhile the delivery is taken back.
#[tokio::test(start_paused = true)]
async fn a_payment_is_given_back_or_delivered_wherever_a_refund_stands_still() {
    for operation in 0.. {
        let lab = Lab::on(Network::new("tempo"), |b| b.ledger_retention(Duration::from_secs(3600)));
        let store = Faulty::new(lab.shelf.clone());
        let well = lab.builder().shared_store(store.clone()).ledger_retention(Duration::from_secs(3600));
        let well = well.build().unwrap();
        let paid = credential(&lab.challenge("/cheap").await, "tx1");
        lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::LosesAnswerAndDies);
        lab.client.get("/cheap").presenting(&paid).await.assert_problem("unavailable");
        let there = all(&well.ledger(), &Query::new()).await;
        store.operations.store(0, Ordering::SeqCst);
        store.after(operation, Fault::Waits);
        let order = RefundOrder::rest(&there[0].sale);
        let refund = tokio::spawn({
            let well = well.clone();
            async move { well.refund(&order).await }
        });
        settle_down().await;
        let is_over = refund.is_finished();
        lab.store.heal();
        tokio::time::sleep(Duration::from_secs(60)).await;
        settle_down().await;
        store.go_on.notify_one();
        let refunded = refund.await.unwrap();
        assert!(refunded.is_ok(), "{refunded:?}, stood still at operation {operation}");
        assert_eq!(all(&well.ledger(), &Query::new()).await.len(), 1, "stood still at operation {operation}");
        let answer = lab.until_delivered("/cheap", &paid).await;
        let is_back = lab.network.given_back() > 0;
        assert!(
            !(is_back && answer.status() == 200),
            "given back ({refunded:?}) and delivered, stood still at operation {operation}"
        );
        if is_over {
            break;
        }
    }
}
