//! The ledger over the stores that many servers share: what was sold, what is owed, what went back, retention and erasure are
//! the same on Redis and PostgreSQL as in memory (`pipeline/ledger.rs`, `pipeline/refund.rs`). A program of its own, because
//! its prices are those of the pipeline's tests.
#![cfg(all(feature = "testing", feature = "redis", feature = "postgres"))]

#[path = "common/mod.rs"]
mod common;
#[path = "common/lab.rs"]
mod lab;
mod servers;

use common::Network;
use lab::*;
use mpp::ledger::{Delivery, Ledger, LedgerEntry, Query};
use mpp::method::Money;
use mpp::protocol::Timestamp;
use mpp::refund::{RefundOrder, RefundState};
use mpp::store::{MemoryStore, PostgresStore, RedisStore, Store};
use mpp::{Amount, Builder};
use servers::{Server, ready};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// More than a page.
const SOLD: i64 = 104;

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_the_same_in_memory() {
    let clock = clock();
    keeps_a_ledger(Arc::new(MemoryStore::new().with_clock(clock.clone())), clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_the_same_on_redis() {
    let Some(server) = Server::redis(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let clock = clock();
    let store = RedisStore::connect(&format!("redis://127.0.0.1:{}", server.port)).await.expect("it is up");
    keeps_a_ledger(Arc::new(store.with_clock(clock.clone())), clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_the_same_on_postgres() {
    let Some(server) = Server::postgres() else { return };
    let clock = clock();
    let url = format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    let store = ready(|| PostgresStore::connect(&url)).await;
    keeps_a_ledger(Arc::new(store.with_clock(clock.clone())), clock).await;
}

fn keeping(builder: Builder) -> Builder {
    builder.single_process_volatile_store().ledger_retention(MONTH)
}

async fn keeps_a_ledger(store: Arc<dyn Store>, clock: Arc<mpp::ManualClock>) {
    let network = Network::with_money("tempo", Money::Real);
    let lab = Lab::over(clock, store, network, Network::new("stripe"), keeping);
    for n in 0..SOLD {
        lab.pay(if n % 2 == 0 { "/cheap" } else { "/dear" }, &format!("tx{n}")).await.1.assert_ok();
        lab.clock.advance(Duration::from_secs(1));
    }
    lab.bench.failures.store(9, Ordering::SeqCst);
    lab.pay("/flaky", "tx-undelivered").await;
    let (owed, _) = lab.pay("/flaky", "tx-owed").await;
    for _ in 0..3 {
        lab.client.get("/flaky").presenting(&owed).await;
    }

    // From the store alone, as `mpp ledger --server` reads it, while lines are still on their way into the ledger.
    let ledger = Ledger::in_store(lab.shelf.clone());
    let ids: BTreeSet<_> =
        all(&ledger, &Query::new()).await.into_iter().map(|entry| entry.sale.challenge_id).collect();
    assert_eq!(ids.len(), SOLD as usize + 2, "each of them");
    lab.mpp.recover().await.expect("the store is there");
    let sold = all(&ledger, &Query::new()).await;
    let (open, over) = sold.split_at(2);
    let mut states: Vec<_> = open.iter().map(|entry| entry.delivery.name()).collect();
    states.sort_unstable();
    assert_eq!(states, ["refund due", "undelivered"]);
    let times: Vec<_> = over.iter().map(|entry| entry.sale.settled_at.unix() - START).collect();
    assert_eq!(times, (0..SOLD).collect::<Vec<_>>(), "once, oldest first");

    let count = async |query: Query| all(&ledger, &query).await.len();
    let (since, until) = (Timestamp::from_unix(START + 50), Timestamp::from_unix(START + 60));
    assert_eq!(count(Query::new().undelivered()).await, 2);
    assert_eq!(count(Query::new().since(since).until(until)).await, 10);
    assert_eq!(count(Query::new().since(since).until(until).operation("GET /dear")).await, 5);
    assert_eq!(count(Query::new().method("tempo")).await, SOLD as usize + 2);
    assert_eq!(count(Query::new().payer("did:example:payer")).await, SOLD as usize + 2);
    assert_eq!(count(Query::new().payer("nobody")).await, 0);

    // What is owed goes back, and a part of what was delivered on either side of the end of a page.
    let due = open.iter().find(|entry| entry.delivery == Delivery::RefundDue).expect("one is due");
    let back = lab.mpp.refund(&RefundOrder::rest(&due.sale)).await.expect("it can be ordered");
    assert!(matches!(back.state, RefundState::Refunded { .. }));
    let refunded = [&over[99], &over[100]].map(|entry| entry.sale.challenge_id.clone());
    for entry in [&over[99], &over[100]] {
        let part = RefundOrder::part(&entry.sale, Amount::micros(3), "late");
        assert_eq!(lab.mpp.refund(&part).await, lab.mpp.refund(&part).await);
    }
    lab.mpp.recover().await.expect("the store is there");
    assert_eq!(count(Query::new().undelivered()).await, 1, "nothing is due");
    let sold = all(&ledger, &Query::new()).await;
    let state = |id: &str| {
        let entry = sold.iter().find(|entry| entry.sale.challenge_id == id).expect("it is there");
        (entry.delivery, entry.refunded())
    };
    assert_eq!(state(&due.sale.challenge_id), (Delivery::Refunded, Some(due.sale.amount)));
    assert!(refunded.iter().all(|id| state(id) == (Delivery::Delivered, Some(Amount::micros(3)))));
    let untouched = sold.iter().filter(|entry| entry.refunds == Some(vec![])).count();
    assert_eq!((sold.len(), untouched), (SOLD as usize + 2, SOLD as usize - 1));

    // Erased is erased, what went back with it; what is owed stays.
    assert_eq!(ledger.erase(&Query::new().until(until)).await, Ok(60));
    assert_eq!(count(Query::new()).await, SOLD as usize - 58);
    // Lines go by themselves when they are old enough; those that were refunded were written again, a little later.
    lab.clock.advance(MONTH + Duration::from_secs(2 * 24 * 60 * 60));
    let left = all(&ledger, &Query::new()).await;
    assert!(matches!(&left[..], [LedgerEntry { delivery: Delivery::Undelivered, .. }]), "{left:?}");
    assert_eq!(ledger.erase(&Query::new()).await, Ok(0));
    lab.mpp.recover().await.expect("the store is there");
    let left: Vec<_> = lab.shelf.scan("paid/refund/", None, 9).await.expect("the store is there");
    assert_eq!(left, [], "nor is anything left of the refunds");
    assert_eq!(all(&ledger, &Query::new()).await[0].delivery, Delivery::RefundDue, "never too old");
}
