//! `Mpp::recover`: what dead processes left behind is finished without their clients.

use crate::common::{Fault, Network, Script, Terms, credential};
use crate::lab::*;
use mpp::method::Money;
use mpp::store::{Cas, Keep, Key, Limits, MemoryStore, Quota, StoreError, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn whatever_operation_a_process_died_at_its_entry_is_finished_without_its_client() {
    for uri in ["/cheap", "/held"] {
        for operation in 0.. {
            let mut lab = Lab::new();
            let paid = credential(&lab.challenge(uri).await, "tx1");
            lab.store.after(operation, Fault::Dies);
            let unharmed = lab.client.get(uri).presenting(&paid).await.status() == 200;
            settle_down().await;
            // Another process, after the leases of the dead one.
            lab.restart();
            lab.clock.advance(Duration::from_secs(91));
            lab.mpp.recover().await.unwrap();
            assert_eq!(lab.mpp.recover().await, Ok(0), "{uri} at {operation}: nothing is left to finish");
            let resolved = lab.network.resolved.load(Ordering::SeqCst);
            let again = lab.client.get(uri).presenting(&paid).await;
            assert_eq!(lab.network.resolved.load(Ordering::SeqCst), resolved, "the client finds it finished");
            assert_eq!(again.status() == 200, !unharmed, "{uri} at {operation}: {}", again.text());
            assert_eq!(lab.network.payments(), 1, "{uri} at {operation}");
            if unharmed {
                assert!(operation > 4);
                break;
            }
        }
    }
}

/// A process that dies between the end of a payment and that of its claims is as good as a store that is lost there.
#[tokio::test(start_paused = true)]
async fn all_that_a_payment_has_claimed_is_forgotten_with_it_wherever_its_process_died() {
    for operation in 0.. {
        let real = Network::with_money("tempo", Money::Real);
        let lab = Lab::on(real, |b| b.single_process_volatile_store());
        let paid = credential(&first(&lab.client.post("/order").unpaid().await), "tx1");
        let send = || lab.client.post("/order").header("idempotency-key", "key").presenting(&paid);
        let before = lab.store.operations.load(Ordering::SeqCst);
        lab.store.after(operation, Fault::Dies);
        send().await;
        settle_down().await;
        let died = lab.store.operations.load(Ordering::SeqCst) > before + operation;
        lab.store.heal();
        lab.clock.advance(Duration::from_secs(91));
        lab.mpp.recover().await.unwrap();
        assert_eq!(send().await.status(), 201, "at {operation}");
        settle_down().await;
        assert_ne!(lab.shelf.scan("paid/", None, 10).await, Ok(vec![]), "at {operation}");
        lab.clock.advance(Duration::from_secs(24 * 60 * 60));
        lab.mpp.recover().await.unwrap();
        assert_eq!(lab.shelf.scan("", None, 10).await, Ok(vec![]), "at {operation}");
        assert_eq!(lab.network.payments(), 1, "at {operation}");
        if !died {
            assert!(operation > 8);
            break;
        }
    }
}

/// A lab whose former process died while it held funds.
async fn restarted_over_a_hold() -> Lab {
    let mut lab = Lab::new();
    let paid = credential(&lab.challenge("/held").await, "tx1");
    // Read, claim, proof, holding, held: it dies when the capture is to be journaled.
    lab.store.after(5, Fault::Dies);
    lab.client.get("/held").presenting(&paid).await.assert_problem("unavailable");
    settle_down().await;
    lab.restart();
    lab
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_nobody_can_read_is_told_and_keeps_no_other_one_waiting() {
    for unreadable in ["entry", "refund", "proof"] {
        let lab = restarted_over_a_hold().await;
        // Before all others, and after them.
        for name in ["!", "~"] {
            let name = if unreadable == "refund" { format!("000000000000-{name}") } else { name.to_owned() };
            let garbage = Write { value: vec![0xff; 9], keep: Keep::Live };
            let key = Key::new(Quota::Paid, unreadable, &name);
            assert!(matches!(lab.shelf.cas(&key, None, Some(garbage)).await, Ok(Cas::Written(_))));
        }
        lab.clock.advance(Duration::from_secs(91));
        let told = lab.mpp.recover().await.unwrap_err().to_string();
        assert!(told.contains("unreadable"), "{unreadable}: {told}");
        assert_eq!(lab.network.released.lock().unwrap().len(), 1, "{unreadable}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_nobody_can_read_is_not_paid_with_and_keeps_no_claim() {
    let twin = Lab::with_real_money(Limits::default());
    twin.pay("/cheap", "tx1").await.1.assert_ok();
    let (proof, _) = twin.shelf.scan("paid/proof/", None, 1).await.unwrap().remove(0);
    let lab = Lab::with_real_money(Limits::default());
    let garbage = Write { value: vec![0xff; 9], keep: Keep::Live };
    assert!(matches!(lab.shelf.cas(&proof, None, Some(garbage)).await, Ok(Cas::Written(_))));
    lab.pay("/cheap", "tx1").await.1.assert_problem("unavailable");
    settle_down().await;
    assert_eq!(lab.shelf.scan("paid/entry/", None, 1).await, Ok(vec![]));
    assert_eq!(lab.network.payments(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_gets_room_by_what_outlived_its_payment() {
    let lab = Lab::with_real_money(Limits { paid: 4, ..Limits::default() });
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    lab.client.get("/cheap").presenting(&paid).await.assert_ok();
    settle_down().await;
    // Two that nobody holds any more, and no room.
    for name in ["left", "as well"] {
        let (_, held) = lab.shelf.scan("paid/proof/", None, 1).await.unwrap().remove(0);
        let mut value = held.value;
        // Of another challenge, and without a term.
        value[1] ^= 1;
        *value.last_mut().unwrap() = 0;
        let write = Write { value, keep: Keep::Live };
        let key = Key::new(Quota::Paid, "proof", name);
        assert!(matches!(lab.shelf.cas(&key, None, Some(write)).await, Ok(Cas::Written(_))));
    }
    lab.pay("/cheap", "tx2").await.1.assert_problem("unavailable");
    assert_eq!(lab.mpp.recover().await, Ok(0));
    lab.pay("/cheap", "tx2").await.1.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_a_dead_process_is_cancelled() {
    let lab = restarted_over_a_hold().await;
    assert_eq!(lab.mpp.recover().await, Ok(0), "its lease is respected");
    lab.clock.advance(Duration::from_secs(91));
    assert_eq!(lab.mpp.recover().await, Ok(1));
    assert_eq!((lab.network.payments(), lab.network.released.lock().unwrap().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_stays_unknown_is_looked_up_again_and_never_paid_again() {
    let lab = Lab::new();
    lab.network.will(Script::LoseRequest);
    lab.pay("/cheap", "tx1").await.1.assert_problem("unavailable");
    for looks in 1..=3 {
        assert_eq!(lab.mpp.recover().await, Ok(0));
        assert_eq!(lab.network.resolved.load(Ordering::SeqCst), looks);
    }
    lab.network.will(Script::Settle);
    assert_eq!(lab.mpp.recover().await, Ok(1));
    assert_eq!(lab.network.payments(), 0, "it never arrived, and its claims are given back");
    lab.pay("/cheap", "tx1").await.1.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_payment_whose_answer_was_lost_is_looked_up_once_and_waits_for_its_credential() {
    let lab = Lab::new();
    lab.network.will(Script::LoseAnswer);
    let (paid, response) = lab.pay("/flaky", "tx1").await;
    response.assert_problem("unavailable");
    assert_eq!(lab.mpp.recover().await, Ok(1));
    settle_down().await;
    assert_eq!(lab.mpp.recover().await, Ok(0));
    assert_eq!((lab.network.resolved.load(Ordering::SeqCst), lab.network.payments()), (1, 1));
    assert_eq!(lab.bench.runs.load(Ordering::SeqCst), 0, "no handler runs without a request");
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.text(), "run 1", "and no run is used up");
    assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_works_on_is_left_alone() {
    let lab = Lab::new();
    lab.network.close_turnstile();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    let request = lab.send("/cheap", &paid);
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
    assert_eq!(lab.mpp.recover().await, Ok(0));
    lab.clock.advance(Duration::from_secs(89));
    assert_eq!(lab.mpp.recover().await, Ok(0));
    assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 0);
    lab.network.turnstile.add_permits(1);
    request.await.unwrap().assert_ok();
    assert_eq!(lab.mpp.recover().await, Ok(0), "what is delivered is over");
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_payment_keeps_its_runs() {
    let lab = Lab::on(Network::new("tempo"), |b| b.max_runs(2));
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx1").await;
    for _ in 0..5 {
        assert_eq!(lab.mpp.recover().await, Ok(0));
    }
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn any_number_of_entries_of_both_quotas_is_gone_through() {
    let real = Network::on("tempo", Terms { money: Money::Real, ..Terms::default() });
    let lab = Lab::on(real, |b| b.single_process_volatile_store());
    lab.network.will(Script::LoseAnswer);
    for n in 0..230 {
        lab.pay("/cheap", &format!("tx{n}")).await.1.assert_problem("unavailable");
    }
    for n in 0..3 {
        lab.pay("/whoami", &format!("me{n}")).await.1.assert_problem("unavailable");
    }
    assert_eq!(lab.mpp.recover().await, Ok(233));
    settle_down().await;
    assert_eq!(lab.mpp.recover().await, Ok(0));
    assert_eq!((lab.network.worst(), lab.network.resolved.load(Ordering::SeqCst)), (1, 233));
}

#[tokio::test(start_paused = true)]
async fn a_network_that_does_not_answer_keeps_only_so_many_waiting_and_the_rest_is_finished() {
    let lab = Lab::new();
    lab.network.will(Script::LoseRequest);
    for n in 0..40 {
        lab.pay("/cheap", &format!("tx{n}")).await.1.assert_problem("unavailable");
    }
    lab.network.will(Script::Hang);
    let mpp = lab.mpp.clone();
    let recovering = tokio::spawn(async move { mpp.recover().await });
    let looked_at = || lab.network.resolved.load(Ordering::SeqCst);
    until(|| looked_at() == 16).await;
    settle_down().await;
    assert_eq!(looked_at(), 16, "at once");
    // Those that hang are given up after a while; the others are found.
    lab.network.will(Script::Settle);
    assert_eq!(recovering.await.unwrap(), Ok(24));
    assert_eq!(lab.mpp.recover().await, Ok(16));
    assert_eq!((looked_at(), lab.network.payments()), (56, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_said_and_a_method_that_is_gone_keeps_its_entries() {
    let mut lab = Lab::new();
    lab.network.will(Script::LoseAnswer);
    let (paid, _) = lab.pay("/cheap", "tx1").await;
    lab.store.after(0, Fault::Dies);
    assert!(lab.mpp.recover().await.is_err());
    lab.store.heal();
    let without = lab.builder_without_tempo().build().unwrap();
    assert_eq!(without.recover().await, Ok(0));
    lab.restart();
    assert_eq!(lab.mpp.recover().await, Ok(1));
    settle_down().await;
    lab.client.get("/cheap").presenting(&paid).await.assert_ok();
    assert_eq!(lab.network.worst(), 1);
}

/// Ten payments of unknown outcome, which are paid in truth, in a store that sales have filled: there is no room for their lines.
pub(crate) async fn full_store() -> Lab {
    let clock = clock();
    let shelf = Arc::new(MemoryStore::with_limits(Limits { paid: 28, free: 30 }).with_clock(clock.clone()));
    let network = Network::with_money("tempo", Money::Real);
    let lab = Lab::over(clock, shelf, network, Network::new("stripe"), |builder| {
        builder.single_process_volatile_store().ledger_retention(Duration::from_secs(90 * 24 * 3600))
    });
    lab.network.will(Script::LoseAnswer);
    for n in 0..10 {
        lab.pay("/cheap", &format!("stuck{n}")).await.1.assert_problem("unavailable");
        settle_down().await;
    }
    lab.network.will(Script::Settle);
    for n in 0..9 {
        lab.pay("/cheap", &format!("tx{n}")).await;
        settle_down().await;
    }
    // Lines of what cannot be taken back any more are moved.
    lab.clock.advance(Duration::from_secs(300 + 600 + 1));
    lab
}

#[tokio::test(start_paused = true)]
async fn a_full_store_does_not_keep_stuck_payments_from_being_finished() {
    let lab = full_store().await;
    assert_eq!(lab.mpp.recover().await, Err(StoreError::Full(Quota::Paid)));
    settle_down().await;
    assert_eq!(
        lab.network.resolved.load(Ordering::SeqCst),
        10,
        "of ten payments nobody knows the outcome of"
    );
}
