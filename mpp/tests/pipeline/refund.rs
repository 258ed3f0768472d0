//! What the operator orders back goes back once, to whoever paid, and never more than was paid: wherever a process dies.

use crate::common::{Fault, Network, PLAN_SECRET, Script, credential};
use crate::lab::*;
use mpp::ledger::{Delivery, LedgerEntry, Query};
use mpp::method::{Money, Refunding};
use mpp::observe::{Event, Sale};
use mpp::refund::{Finding, Refund, RefundError, RefundOrder, RefundState, SaidBy};
use mpp::{Amount, Builder, Secret, SecretRing};
use std::sync::atomic::Ordering;
use std::time::Duration;

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// `/cheap` and `/flaky` in base units.
const PRICE: u128 = 10_000;

fn keeping(builder: Builder) -> Builder {
    builder.single_process_volatile_store().ledger_retention(MONTH)
}

fn lab() -> Lab {
    Lab::on(Network::with_money("tempo", Money::Real), keeping)
}

/// The only payment there is.
async fn only(lab: &Lab) -> LedgerEntry {
    let mut entries = all(&lab.mpp.ledger(), &Query::new()).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

/// Something that was sold and delivered.
async fn sold(lab: &Lab) -> Sale {
    lab.pay("/cheap", "tx1").await.1.assert_ok();
    settle_down().await;
    only(lab).await.sale
}

/// Something that was paid for and will not be delivered, and its credential.
async fn owed(lab: &Lab) -> (Sale, String) {
    lab.bench.failures.store(9, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx1").await;
    for _ in 0..3 {
        lab.client.get("/flaky").presenting(&paid).await;
    }
    settle_down().await;
    let entry = only(lab).await;
    assert_eq!(entry.delivery, Delivery::RefundDue);
    (entry.sale, paid)
}

fn is_back(refund: &Refund) -> bool {
    matches!(refund.state, RefundState::Refunded { .. })
}

fn micros(units: u128) -> Amount {
    Amount::micros(units)
}

#[tokio::test(start_paused = true)]
async fn what_was_not_delivered_goes_back_to_its_payer_and_is_due_no_more() {
    let lab = lab();
    let (sale, paid) = owed(&lab).await;
    let refund = lab.mpp.refund(&RefundOrder::rest(&sale)).await.unwrap();
    assert!(is_back(&refund) && refund.amount == micros(PRICE) && refund.name.is_none(), "{refund:?}");
    let back: Vec<_> = lab.network.refunded.lock().unwrap().values().cloned().collect();
    assert_eq!(back, [("did:example:payer".to_owned(), PRICE)]);
    // A plan may be a signed transaction: sealed.
    let stored: Vec<u8> = lab.store.written.lock().unwrap().concat();
    assert!(!stored.windows(PLAN_SECRET.len()).any(|window| window == PLAN_SECRET.as_bytes()));

    settle_down().await;
    let entry = only(&lab).await;
    assert_eq!((entry.delivery, entry.refunded()), (Delivery::Refunded, Some(micros(PRICE))));
    assert_eq!(entry.refunds.as_deref(), Some(std::slice::from_ref(&refund)));
    let due = lab.mpp.ledger().page(&Query::new().undelivered(), None).await.unwrap();
    assert_eq!(due.entries, [], "nothing is due");
    // The credential bought nothing, and what it paid is back: a new purchase is asked for.
    lab.client.get("/flaky").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(
        lab.mpp.refund(&RefundOrder::rest(&sale)).await,
        Ok(refund),
        "the same order is the same refund"
    );
    assert_eq!((lab.network.given_back(), lab.network.asked_back.load(Ordering::SeqCst)), (PRICE, 1));
    // Lines age, and with them what went back.
    lab.clock.advance(MONTH + DAY + DAY);
    lab.mpp.recover().await.unwrap();
    assert_eq!(lab.mpp.refund(&RefundOrder::rest(&sale)).await, Err(RefundError::NoSuchPayment));
    assert_eq!(lab.shelf.scan("", None, 9).await.unwrap(), [], "nothing is left in the store");
}

#[tokio::test(start_paused = true)]
async fn parts_go_back_by_name_once_each_and_never_more_than_was_paid() {
    let lab = lab();
    let sale = sold(&lab).await;
    let part = |units: u128, name: &str| RefundOrder::part(&sale, micros(units), name);
    let order = |order: RefundOrder| {
        let mpp = lab.mpp.clone();
        async move { mpp.refund(&order).await }
    };
    let first = order(part(4_000, "late")).await.unwrap();
    assert_eq!((first.name.as_deref(), first.amount), (Some("late"), micros(4_000)));
    assert_eq!(order(part(4_000, "late")).await, Ok(first));
    assert_eq!(order(part(4_001, "late")).await, Err(RefundError::NameTaken(micros(4_000))));
    assert_eq!(order(part(6_001, "wrong")).await, Err(RefundError::TooMuch { left: micros(6_000) }));
    assert_eq!(order(part(0, "none")).await, Err(RefundError::Amount));
    assert_eq!(
        order(RefundOrder::part(&sale, Amount::new(1, 9), "too fine")).await,
        Err(RefundError::Amount)
    );
    assert_eq!(order(part(1, "")).await, Err(RefundError::Name));
    assert_eq!(order(part(1, &"n".repeat(101))).await, Err(RefundError::Name));
    assert!(is_back(&order(part(5_000, &"n".repeat(100))).await.unwrap()));
    let rest = order(RefundOrder::rest(&sale)).await.unwrap();
    assert_eq!(rest.amount, micros(1_000));
    assert_eq!(order(part(1, "more")).await, Err(RefundError::TooMuch { left: Amount::ZERO }));
    assert_eq!(lab.network.given_back(), PRICE);
    let entry = only(&lab).await;
    assert_eq!(
        (entry.delivery, entry.refunded(), entry.refunds.map(|refunds| refunds.len())),
        (Delivery::Delivered, Some(micros(PRICE)), Some(3))
    );
    // Who pays may ask to be forgotten, and so is what went back.
    assert_eq!(lab.mpp.ledger().erase(&Query::new()).await, Ok(1));
    lab.clock.advance(DAY);
    assert_eq!(lab.shelf.scan("paid/", None, 9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_payment_goes_back_in_at_most_a_hundred_parts_and_one_of_them_that_failed_can_be_ordered_again() {
    let lab = lab();
    let sale = sold(&lab).await;
    let part = async |name: &str| lab.mpp.refund(&RefundOrder::part(&sale, micros(1), name)).await;
    for n in 1..100 {
        assert!(is_back(&part(&n.to_string()).await.unwrap()), "{n}");
    }
    *lab.network.refund.lock().unwrap() = Script::Decline;
    assert!(matches!(part("100").await.unwrap().state, RefundState::Failed { .. }));
    *lab.network.refund.lock().unwrap() = Script::Settle;
    assert_eq!(part("101").await, Err(RefundError::TooMany));
    assert!(is_back(&part("100").await.unwrap()));
    assert_eq!(lab.network.given_back(), 100);
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_back_unless_the_method_is_configured_for_it() {
    let lab = lab();
    let sale = sold(&lab).await;
    let order = RefundOrder::rest(&sale);
    for (refunding, error) in [
        (Refunding::Unsupported, RefundError::Unsupported("tempo".into())),
        (Refunding::Unconfigured, RefundError::Unconfigured("tempo".into())),
    ] {
        *lab.network.refunding.lock().unwrap() = refunding;
        assert_eq!(lab.mpp.refund(&order).await, Err(error));
    }
    *lab.network.refunding.lock().unwrap() = Refunding::Configured;
    *lab.network.refund.lock().unwrap() = Script::Unreachable;
    assert!(matches!(lab.mpp.refund(&order).await, Err(RefundError::Refused(_))));
    assert_eq!(only(&lab).await.refunds, Some(vec![]), "an order that was refused is none");
    assert_eq!(lab.network.asked_back.load(Ordering::SeqCst), 0);
    // A stranger's sale, so to speak: another server's.
    let elsewhere = self::lab();
    assert_eq!(elsewhere.mpp.refund(&order).await, Err(RefundError::NoSuchPayment));
    lab.mpp.drain();
    assert_eq!(lab.mpp.refund(&order).await, Err(RefundError::Draining));
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_is_being_delivered_is_not_refunded_and_one_that_is_refunded_not_delivered() {
    let lab = lab();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx1").await;
    settle_down().await;
    let sale = only(&lab).await.sale;
    // Its credential would open the route again: it does until the order is made.
    *lab.network.refund.lock().unwrap() = Script::Unreachable;
    assert!(matches!(lab.mpp.refund(&RefundOrder::rest(&sale)).await, Err(RefundError::Refused(_))));
    assert_eq!(only(&lab).await.delivery, Delivery::Undelivered);
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    let half = RefundOrder::part(&sale, micros(PRICE / 2), "half");
    assert!(matches!(lab.mpp.refund(&half).await.unwrap().state, RefundState::Pending { .. }));
    let runs = lab.bench.runs.load(Ordering::SeqCst);
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.status(), 503);
    assert_eq!(
        lab.bench.runs.load(Ordering::SeqCst),
        runs,
        "the handler does not run for money that is on its way back"
    );
    // One at a time.
    assert_eq!(lab.mpp.refund(&RefundOrder::rest(&sale)).await, Err(RefundError::Underway));
    *lab.network.refund.lock().unwrap() = Script::Settle;
    assert_eq!(lab.mpp.recover().await, Ok(1));
    assert_eq!(only(&lab).await.delivery, Delivery::RefundDue, "half of it is back");
    assert_eq!(lab.mpp.recover().await, Ok(0), "and the other half waits for an order");
    assert_eq!(only(&lab).await.delivery, Delivery::RefundDue);
    assert!(is_back(&lab.mpp.refund(&RefundOrder::rest(&sale)).await.unwrap()));
    assert_eq!((only(&lab).await.delivery, lab.network.given_back()), (Delivery::Refunded, PRICE));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_runs_is_left_alone() {
    let lab = lab();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    let running = lab.send("/slow", &paid);
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    let sale = only(&lab).await.sale;
    assert_eq!(lab.mpp.refund(&RefundOrder::rest(&sale)).await, Err(RefundError::BeingDelivered));
    lab.bench.door.add_permits(1);
    assert_eq!(running.await.unwrap().status(), 200);
    settle_down().await;
    assert!(is_back(&lab.mpp.refund(&RefundOrder::rest(&sale)).await.unwrap()), "what was delivered can be");
    assert_eq!(only(&lab).await.delivery, Delivery::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_failed_can_be_ordered_again_and_is_another_attempt() {
    let (tell, told) = std::sync::mpsc::channel();
    let lab = Lab::on(Network::with_money("tempo", Money::Real), |builder| {
        keeping(builder).on_event(move |event| {
            if let Event::Refund { refund, .. } = event {
                tell.send(refund.state.name()).unwrap();
            }
        })
    });
    let (sale, _) = owed(&lab).await;
    *lab.network.refund.lock().unwrap() = Script::Decline;
    let failed = lab.mpp.refund(&RefundOrder::rest(&sale)).await.unwrap();
    assert_eq!(failed.state, RefundState::Failed { why: "the account is closed".to_owned() });
    let entry = only(&lab).await;
    assert_eq!((entry.delivery, entry.refunded()), (Delivery::RefundDue, Some(Amount::ZERO)), "still due");
    assert_eq!(entry.refunds, Some(vec![failed]));
    *lab.network.refund.lock().unwrap() = Script::Settle;
    assert!(is_back(&lab.mpp.refund(&RefundOrder::rest(&sale)).await.unwrap()));
    assert_eq!(only(&lab).await.refunds.unwrap().len(), 1);
    assert_eq!((lab.network.planned.load(Ordering::SeqCst), lab.network.given_back()), (2, PRICE));
    let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!([next(), next()], ["failed", "refunded"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_the_money_goes_back_once() {
    for script in [Script::LoseAnswer, Script::Hang] {
        let lab = lab();
        let sale = sold(&lab).await;
        *lab.network.refund.lock().unwrap() = script;
        let order = RefundOrder::rest(&sale);
        let pending = lab.mpp.refund(&order).await.unwrap();
        let RefundState::Pending { reference } = &pending.state else { panic!("{script:?}: {pending:?}") };
        assert_eq!(reference.is_some(), script == Script::LoseAnswer, "{script:?}: what it will be known by");
        assert_eq!(only(&lab).await.refunds, Some(vec![pending]), "{script:?}");
        assert_eq!(
            lab.mpp.ledger().erase(&Query::new()).await,
            Ok(0),
            "{script:?}: not before its end is known"
        );
        *lab.network.refund.lock().unwrap() = Script::Settle;
        // Long after the line would have been too old.
        lab.clock.advance(2 * MONTH);
        assert_eq!(lab.mpp.recover().await, Ok(1), "{script:?}");
        assert_eq!(lab.mpp.recover().await, Ok(0), "{script:?}");
        assert_eq!(lab.network.given_back(), PRICE, "{script:?}");
        assert_eq!(lab.network.planned.load(Ordering::SeqCst), 1, "{script:?}: one plan");
    }
}

#[tokio::test(start_paused = true)]
async fn two_servers_that_are_told_at_once_refund_once() {
    let lab = lab();
    let (sale, _) = owed(&lab).await;
    let other = keeping(lab.builder()).build().unwrap();
    let (rest, again) = (RefundOrder::rest(&sale), RefundOrder::rest(&sale));
    let (one, two) = tokio::join!(lab.mpp.refund(&rest), other.refund(&again));
    assert!(is_back(&one.unwrap()) && is_back(&two.unwrap()));
    settle_down().await;
    assert_eq!(lab.network.refunded.lock().unwrap().len(), 1);
    assert_eq!((only(&lab).await.delivery, lab.network.given_back()), (Delivery::Refunded, PRICE));
}

#[tokio::test(start_paused = true)]
async fn pending_refunds_are_carried_on_sixteen_at_a_time_and_none_is_left_out() {
    let lab = lab();
    for n in 0..20 {
        lab.pay("/cheap", &format!("tx{n}")).await.1.assert_ok();
    }
    settle_down().await;
    let sold = lab.mpp.ledger().page(&Query::new(), None).await.unwrap().entries;
    assert_eq!(sold.len(), 20);
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    for entry in &sold {
        lab.mpp.refund(&RefundOrder::rest(&entry.sale)).await.unwrap();
    }
    let asked = || lab.network.asked_back.load(Ordering::SeqCst);
    assert_eq!(asked(), 20);
    *lab.network.refund.lock().unwrap() = Script::Hang;
    let mpp = lab.mpp.clone();
    let recovery = tokio::spawn(async move { mpp.recover().await });
    until(|| asked() == 20 + 16).await;
    settle_down().await;
    assert_eq!(asked(), 20 + 16, "the others wait until one is over");
    assert_eq!(recovery.await.unwrap(), Ok(0));
    assert_eq!(asked(), 20 + 20);
    *lab.network.refund.lock().unwrap() = Script::Settle;
    assert_eq!(lab.mpp.recover().await, Ok(20));
    assert_eq!(lab.network.given_back(), 20 * PRICE);
}

/// A bank may take longer than the ledger keeps its lines.
#[tokio::test(start_paused = true)]
async fn a_payment_of_which_a_refund_is_pending_stays_in_the_ledger_and_can_be_refunded_when_that_failed() {
    let lab = lab();
    let sale = sold(&lab).await;
    let order = RefundOrder::rest(&sale);
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    lab.mpp.refund(&order).await.unwrap();
    for _ in 0..3 {
        lab.clock.advance(MONTH - DAY);
        assert_eq!(lab.mpp.recover().await, Ok(0));
        assert!(matches!(only(&lab).await.refunds.unwrap()[0].state, RefundState::Pending { .. }));
    }
    *lab.network.refund.lock().unwrap() = Script::Decline;
    assert_eq!(lab.mpp.recover().await, Ok(1));
    *lab.network.refund.lock().unwrap() = Script::Settle;
    assert!(is_back(&lab.mpp.refund(&order).await.unwrap()));
    assert_eq!((only(&lab).await.refunded(), lab.network.given_back()), (Some(micros(PRICE)), PRICE));
    lab.clock.advance(MONTH + DAY + DAY);
    lab.mpp.recover().await.unwrap();
    assert_eq!(lab.shelf.scan("", None, 9).await.unwrap(), [], "and no longer than that");
}

/// Or longer than anybody has looked after it.
#[tokio::test(start_paused = true)]
async fn a_refund_that_ends_on_the_last_day_of_its_payments_line_is_in_the_ledger_as_long_as_any() {
    let lab = lab();
    let sale = sold(&lab).await;
    let order = RefundOrder::rest(&sale);
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    lab.mpp.refund(&order).await.unwrap();
    lab.clock.advance(MONTH - DAY);
    *lab.network.refund.lock().unwrap() = Script::Settle;
    assert!(is_back(&lab.mpp.refund(&order).await.unwrap()));
    lab.clock.advance(MONTH - DAY);
    assert_eq!(only(&lab).await.refunded(), Some(micros(PRICE)));
}

/// What was erased may have been given back already, and nobody knows any more.
#[tokio::test(start_paused = true)]
async fn an_order_of_a_payment_that_is_erased_while_its_plan_is_made_gives_nothing_back() {
    let lab = lab();
    let sale = sold(&lab).await;
    let permits = lab.network.desk.forget_permits(usize::MAX);
    let mpp = lab.mpp.clone();
    let order = RefundOrder::rest(&sale);
    let ordered = tokio::spawn(async move { mpp.refund(&order).await });
    until(|| lab.network.planned.load(Ordering::SeqCst) == 1).await;
    assert_eq!(lab.mpp.ledger().erase(&Query::new()).await, Ok(1));
    lab.network.desk.add_permits(permits);
    assert_eq!(ordered.await.unwrap(), Err(RefundError::NoSuchPayment));
    assert_eq!((lab.network.given_back(), lab.network.asked_back.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_idempotency_key_of_what_was_given_back_is_free_for_another_payment() {
    let lab = lab();
    let post = || lab.client.post("/slow-order").header("idempotency-key", "order-1");
    let quote = async || first(&lab.client.post("/slow-order").unpaid().await);
    let paid = credential(&quote().await, "tx1");
    let (first_try, presented) = (post(), paid.clone());
    let running = tokio::spawn(async move { first_try.presenting(&presented).await });
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    running.abort();
    settle_down().await;
    let sale = only(&lab).await.sale;
    // While the first payment may still be delivered, the key is its own.
    let other = credential(&quote().await, "tx2");
    post().presenting(&other).await.assert_problem("idempotency-conflict");
    assert!(is_back(&lab.mpp.refund(&RefundOrder::rest(&sale)).await.unwrap()));
    settle_down().await;
    lab.bench.door.add_permits(1);
    assert_eq!(
        post().presenting(&other).await.status(),
        200,
        "the client pays again for what it still wants"
    );
    // And the first credential stays used up.
    post().presenting(&paid).await.assert_problem("idempotency-conflict");
    lab.client.post("/slow-order").presenting(&paid).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn a_pending_refund_outlives_a_rotation_of_the_secrets_and_is_never_guessed_at() {
    let mut lab = lab();
    let order = RefundOrder::rest(&sold(&lab).await);
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    lab.mpp.refund(&order).await.unwrap();
    *lab.network.refund.lock().unwrap() = Script::Settle;
    let (old, new) = (lab.secret.clone(), Secret::generate());
    lab.restart_with(|builder| keeping(builder).secret(new.clone()));
    assert_eq!(lab.mpp.recover().await, Ok(0));
    assert_eq!(lab.mpp.refund(&order).await, Err(RefundError::Unreadable));
    let another = RefundOrder::part(&only(&lab).await.sale, micros(1), "instead");
    assert_eq!(lab.mpp.refund(&another).await, Err(RefundError::Underway), "it may be on its way");
    assert_eq!((lab.network.given_back(), lab.network.planned.load(Ordering::SeqCst)), (0, 1));
    lab.restart_with(|builder| keeping(builder).secrets(SecretRing::new(new).also(old)));
    assert_eq!((lab.mpp.recover().await, lab.network.given_back()), (Ok(1), PRICE));
}

#[tokio::test(start_paused = true)]
async fn a_refund_whose_bank_takes_longer_than_a_rotation_of_the_secrets_is_carried_on() {
    let mut lab = lab();
    let sale = sold(&lab).await;
    assert!(is_back(&lab.mpp.refund(&RefundOrder::part(&sale, micros(1), "first")).await.unwrap()));
    let order = RefundOrder::rest(&sale);
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    lab.mpp.refund(&order).await.unwrap();
    let (old, new) = (lab.secret.clone(), Secret::generate());
    for ring in [SecretRing::new(old.clone()).also(new.clone()), SecretRing::new(new.clone()).also(old)] {
        lab.restart_with(|builder| keeping(builder).secrets(ring));
        assert_eq!(lab.mpp.recover().await, Ok(0));
    }
    lab.restart_with(|builder| keeping(builder).secret(new));
    *lab.network.refund.lock().unwrap() = Script::Settle;
    assert_eq!((lab.mpp.recover().await, lab.network.given_back()), (Ok(1), PRICE));
    assert!(only(&lab).await.refunds.unwrap().iter().all(is_back));
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_nobody_can_carry_on_ends_with_what_a_person_found_out() {
    let lost = Finding::NotRefunded { why: "not at the bank, ticket 4711".to_owned() };
    let back = Finding::Refunded { reference: "seen at the bank".to_owned() };
    for kind in [Kind::Delivered, Kind::Undelivered] {
        for found in [&lost, &back] {
            let mut lab = lab();
            let sale = match kind {
                Kind::Delivered => sold(&lab).await,
                Kind::Undelivered => owed(&lab).await.0,
            };
            let order = RefundOrder::rest(&sale);
            assert_eq!(
                lab.mpp.close_refund(&order, found.clone()).await,
                Err(RefundError::NotStuck),
                "no order"
            );
            *lab.network.refund.lock().unwrap() = Script::LoseRequest;
            lab.mpp.refund(&order).await.unwrap();
            assert_eq!(
                lab.mpp.close_refund(&order, found.clone()).await,
                Err(RefundError::NotStuck),
                "who can ask the network has no word to take"
            );
            *lab.network.refund.lock().unwrap() = Script::Settle;
            let (tell, told) = std::sync::mpsc::channel();
            lab.restart_with(|builder| {
                keeping(builder).secret(Secret::generate()).on_event(move |event| {
                    if let Event::Refund { refund, .. } = event {
                        tell.send((refund.state.name(), refund.said_by)).unwrap();
                    }
                })
            });
            assert_eq!(lab.mpp.refund(&order).await, Err(RefundError::Unreadable));
            let another = RefundOrder::part(&sale, micros(PRICE), "another");
            assert_eq!(lab.mpp.close_refund(&another, found.clone()).await, Err(RefundError::NotStuck));

            let closed = lab.mpp.close_refund(&order, found.clone()).await.unwrap();
            assert_eq!((closed.amount, closed.said_by), (micros(PRICE), SaidBy::Operator));
            assert_eq!(lab.mpp.close_refund(&order, found.clone()).await, Ok(closed.clone()), "once more");
            let other = if found == &lost { &back } else { &lost };
            assert_eq!(lab.mpp.close_refund(&order, other.clone()).await, Err(RefundError::NotStuck));
            assert_eq!(lab.network.given_back(), 0, "nothing was paid for a word");
            settle_down().await;
            let entry = only(&lab).await;
            assert_eq!(entry.refunds.as_deref(), Some(std::slice::from_ref(&closed)));
            let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(next(), (closed.state.name(), SaidBy::Operator));
            match (found, kind) {
                (Finding::Refunded { .. }, kind) => {
                    assert_eq!(entry.refunded(), Some(micros(PRICE)));
                    let due = matches!(kind, Kind::Undelivered);
                    let delivery = if due { Delivery::Refunded } else { Delivery::Delivered };
                    assert_eq!(entry.delivery, delivery, "{kind:?}");
                    assert_eq!(lab.mpp.refund(&order).await, Ok(closed), "it is the same refund");
                }
                (Finding::NotRefunded { .. }, _) => {
                    assert_eq!(entry.refunded(), Some(Amount::ZERO));
                    let made = lab.mpp.refund(&order).await.unwrap();
                    assert!(is_back(&made) && made.said_by == SaidBy::Network, "{made:?}");
                    assert_eq!(lab.network.given_back(), PRICE);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_by_a_method_that_is_gone_ends_with_what_a_person_found_out() {
    let lab = lab();
    let order = RefundOrder::rest(&sold(&lab).await);
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    lab.mpp.refund(&order).await.unwrap();
    let without = keeping(lab.builder_without_tempo()).build().unwrap();
    assert_eq!(without.refund(&order).await, Err(RefundError::NoSuchMethod("tempo".to_owned())));
    let back = Finding::Refunded { reference: "seen on the chain".to_owned() };
    let closed = without.close_refund(&order, back).await.unwrap();
    assert_eq!((closed.amount, closed.said_by), (micros(PRICE), SaidBy::Operator));
    assert_eq!(only(&lab).await.refunded(), Some(micros(PRICE)));
}

#[tokio::test(start_paused = true)]
async fn a_part_is_closed_under_its_name_and_amount() {
    let mut lab = lab();
    let sale = sold(&lab).await;
    let part = |units| RefundOrder::part(&sale, micros(units), "late");
    *lab.network.refund.lock().unwrap() = Script::LoseRequest;
    lab.mpp.refund(&part(4_000)).await.unwrap();
    lab.restart_with(|builder| keeping(builder).secret(Secret::generate()));
    let back = Finding::Refunded { reference: "seen at the bank".to_owned() };
    let other_amount = lab.mpp.close_refund(&part(4_001), back.clone()).await;
    assert_eq!(other_amount, Err(RefundError::NameTaken(micros(4_000))));
    assert_eq!(
        lab.mpp.close_refund(&RefundOrder::rest(&sale), back.clone()).await,
        Err(RefundError::NotStuck)
    );
    lab.mpp.close_refund(&part(4_000), back).await.unwrap();
    *lab.network.refund.lock().unwrap() = Script::Settle;
    let rest = lab.mpp.refund(&RefundOrder::rest(&sale)).await.unwrap();
    assert_eq!(rest.amount, micros(6_000), "what a person found counts");
}

/// Which payment is refunded.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Delivered,
    Undelivered,
}

/// Wherever the process that refunds is stopped, and wherever the one that cleans up after it is: the money goes back once,
/// and the ledger says so.
#[tokio::test(start_paused = true)]
async fn wherever_a_process_dies_the_money_goes_back_once_and_the_ledger_knows() {
    for kind in [Kind::Delivered, Kind::Undelivered] {
        for fault in [Fault::Dies, Fault::LosesAnswer] {
            let mut stopped = 0;
            for operation in 0..40 {
                let mut lab = lab();
                let sale = match kind {
                    Kind::Delivered => sold(&lab).await,
                    Kind::Undelivered => owed(&lab).await.0,
                };
                let order = RefundOrder::rest(&sale);
                lab.store.after(operation, fault);
                let said = lab.mpp.refund(&order).await;
                settle_down().await;
                stopped += usize::from(said.is_err());
                // Another process: it is stopped, too, once.
                lab.restart_with(keeping);
                let left = only(&lab).await;
                if matches!(kind, Kind::Undelivered) {
                    let (due, back) =
                        (left.delivery == Delivery::RefundDue, left.refunded() == Some(micros(PRICE)));
                    assert_ne!(due, back, "{kind:?}, {fault:?} at {operation}: as it was left: {left:?}");
                } else {
                    assert_eq!(left.delivery, Delivery::Delivered, "{kind:?}, {fault:?} at {operation}");
                }
                lab.store.after(operation / 2, fault);
                if operation % 2 == 0 {
                    drop(lab.mpp.recover().await);
                } else {
                    drop(lab.mpp.refund(&order).await);
                }
                settle_down().await;
                lab.restart_with(keeping);
                lab.clock.advance(Duration::from_secs(91));
                lab.mpp.recover().await.unwrap();
                settle_down().await;
                let case = format!("{kind:?}, {fault:?} at {operation}");
                let entry = only(&lab).await;
                let back = lab.network.given_back();
                assert_eq!(entry.refunded(), Some(micros(back)), "{case}: {entry:?}");
                if said.is_ok() {
                    assert_eq!(back, PRICE, "{case}: it was said to be back");
                }
                // The operator orders it again, as after any error.
                assert!(is_back(&lab.mpp.refund(&order).await.unwrap()), "{case}");
                settle_down().await;
                assert_eq!(lab.network.refunded.lock().unwrap().len(), 1, "{case}");
                assert_eq!(lab.network.given_back(), PRICE, "{case}");
                let entry = only(&lab).await;
                let delivery = match kind {
                    Kind::Delivered => Delivery::Delivered,
                    Kind::Undelivered => Delivery::Refunded,
                };
                assert_eq!((entry.delivery, entry.refunded()), (delivery, Some(micros(PRICE))), "{case}");
                assert_eq!(lab.mpp.recover().await, Ok(0), "{case}: nothing is left to do");
            }
            assert!(
                (3..38).contains(&stopped),
                "{kind:?}, {fault:?}: every operation was one to stop at: {stopped}"
            );
        }
    }
}
