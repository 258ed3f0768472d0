//! `Mpp::recover`: what dead processes left behind is finished without their clients.

use crate::common::{Fault, Script, credential};
use crate::lab::*;
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

#[tokio::test(start_paused = true)]
async fn a_hold_of_a_dead_process_is_cancelled() {
    let mut lab = Lab::new();
    let paid = credential(&lab.challenge("/held").await, "tx1");
    // Read, claim, proof, claimed, holding, held: it dies when the capture is to be journaled.
    lab.store.after(6, Fault::Dies);
    lab.client.get("/held").presenting(&paid).await.assert_problem("unavailable");
    settle_down().await;
    lab.restart();
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
