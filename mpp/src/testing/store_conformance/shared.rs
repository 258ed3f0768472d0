//! What a store has to keep that several processes share, or that is out of reach now and then.

use super::{PATIENCE, cas, claim, get, in_time, paid, write, written};
use crate::store::{Cas, Keep, Store, StoreError, Versioned};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How many connections race.
const HANDLES: usize = 4;
/// How many claims they make of one key.
const CLAIMS: u32 = 1_000;

/// Holds a [`Store`] that several processes share to its contract between them. `open` yields one more connection to one and
/// the same empty store, as another process would have it.
///
/// Runs on a tokio runtime with time enabled; a multi-threaded one finds more.
///
/// # Panics
/// With a sentence that names the broken line of the contract.
///
/// ```
/// use mpp::store::MemoryStore;
/// use mpp::testing::shared_store_conformance;
/// use std::sync::Arc;
///
/// # #[tokio::main]
/// # async fn main() {
/// // Handles to one database would be opened here.
/// let database = Arc::new(MemoryStore::new());
/// shared_store_conformance(async || database.clone()).await;
/// # }
/// ```
pub async fn shared_store_conformance<S: Store>(open: impl AsyncFn() -> Arc<S>) {
    let mut handles = Vec::new();
    for _ in 0..HANDLES {
        handles.push(open().await);
    }
    claims_over_every_handle_have_one_winner(&handles).await;
    updates_over_every_handle_are_all_there(&handles).await;
    a_write_wakes_up_who_waits_at_another_handle(&handles).await;
}

async fn claims_over_every_handle_have_one_winner<S: Store>(handles: &[Arc<S>]) {
    for round in 0..3 {
        let key = paid(&format!("shared/claim-{round}"));
        let mut claims = JoinSet::new();
        for (task, store) in (0..CLAIMS).zip(handles.iter().cycle()) {
            let (store, key) = (store.clone(), key.clone());
            claims.spawn(async move { (task, claim(&*store, &key, task).await) });
        }
        let (mut winners, mut told) = (Vec::new(), Vec::new());
        while let Some(claim) = claims.join_next().await {
            match claim.expect("a claim does not panic") {
                (task, Cas::Written(version)) => winners.push((task, version)),
                (_, Cas::Conflict(Some(current))) => told.push(current),
                (_, other) => panic!("a lost claim is a conflict with the winner's value, not {other:?}"),
            }
        }
        let [(winner, version)] = winners[..] else {
            panic!("of claims over several connections exactly one is written, not {}", winners.len())
        };
        let expected = Versioned { version, value: winner.to_be_bytes().to_vec() };
        assert!(
            told.iter().all(|current| *current == expected),
            "every loser is told the winner's value and version, over whatever connection"
        );
        for store in handles {
            let there = get(&**store, &key).await;
            assert_eq!(there.as_ref(), Some(&expected), "every connection reads what was written last");
        }
    }
}

async fn updates_over_every_handle_are_all_there<S: Store>(handles: &[Arc<S>]) {
    const EACH: u32 = 25;
    let key = paid("shared/counter");
    written(&*handles[0], &key, None, &0_u32.to_be_bytes(), Keep::Live).await;
    let mut tasks = JoinSet::new();
    for store in handles {
        let (store, key) = (store.clone(), key.clone());
        tasks.spawn(async move {
            let (mut versions, mut seen) = (Vec::new(), 0);
            for _ in 0..EACH {
                let mut current = get(&*store, &key).await;
                loop {
                    let there = current.expect("a live value is there");
                    let count = u32::from_be_bytes(there.value.try_into().expect("four bytes were written"));
                    assert!(count >= seen, "a connection never reads an older value than before");
                    seen = count;
                    let next = write(&(count + 1).to_be_bytes(), Keep::Live);
                    match cas(&*store, &key, Some(there.version), Some(next)).await {
                        Cas::Written(version) => break versions.push(version),
                        Cas::Conflict(now) => current = now,
                        Cas::Removed => panic!("nobody removed the counter"),
                    }
                }
            }
            versions
        });
    }
    let mut versions = BTreeSet::new();
    while let Some(task) = tasks.join_next().await {
        for version in task.expect("an update does not panic") {
            assert!(versions.insert(version), "two connections never get the same version");
        }
    }
    let end = get(&*handles[0], &key).await.expect("the counter is there").value;
    let expected = EACH * u32::try_from(handles.len()).expect("a few");
    assert_eq!(end, expected.to_be_bytes(), "updates over several connections are all there");
}

async fn a_write_wakes_up_who_waits_at_another_handle<S: Store>(handles: &[Arc<S>]) {
    let key = paid("shared/changed");
    let mut version = written(&*handles[0], &key, None, b"0", Keep::Live).await;
    for (round, writer) in (0..8_u8).zip(handles.iter().cycle()) {
        let mut waiting = JoinSet::new();
        for store in handles {
            let (store, key) = (store.clone(), key.clone());
            waiting.spawn(async move {
                while get(&*store, &key).await.map(|current| current.version) == Some(version) {
                    store.changed(&key, version).await;
                }
            });
        }
        tokio::task::yield_now().await;
        version = written(&**writer, &key, Some(version), &[round], Keep::Live).await;
        let woken = async { while waiting.join_next().await.is_some() {} };
        in_time(woken, "a write wakes up everybody who waits for the key, over whatever connection").await;
    }
}

/// Holds a [`Store`] to its contract while it is out of reach: `stop` takes its server away, `start` brings it back.
///
/// # Panics
/// With a sentence that names the broken line of the contract.
///
/// ```
/// # use mpp::method::Step;
/// # use mpp::store::{Cas, Durability, Key, MemoryStore, Store, StoreError, Version, Versioned, Write};
/// # use std::sync::atomic::{AtomicBool, Ordering};
/// # #[derive(Default)]
/// # struct Remote { server: MemoryStore, gone: AtomicBool }
/// # impl Remote {
/// #     fn gone<T: Send + Unpin + 'static>(&self) -> Option<Step<'_, Result<T, StoreError>>> {
/// #         let gone = || Step::ready(Err(StoreError::Backend("gone".to_owned())));
/// #         self.gone.load(Ordering::SeqCst).then(gone)
/// #     }
/// # }
/// # impl Store for Remote {
/// #     fn durability(&self) -> Durability { self.server.durability() }
/// #     fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
/// #         self.gone().unwrap_or_else(|| self.server.get(key))
/// #     }
/// #     fn cas<'a>(&'a self, key: &'a Key, expect: Option<Version>, new: Option<Write>) -> Step<'a, Result<Cas, StoreError>> {
/// #         self.gone().unwrap_or_else(|| self.server.cas(key, expect, new))
/// #     }
/// #     fn scan<'a>(&'a self, prefix: &'a str, after: Option<&'a Key>, limit: usize) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
/// #         self.gone().unwrap_or_else(|| self.server.scan(prefix, after, limit))
/// #     }
/// #     fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> { self.server.changed(key, since) }
/// # }
/// use mpp::testing::store_outage_conformance;
///
/// # #[tokio::main]
/// # async fn main() {
/// let store = Remote::default();
/// let stop = async || store.gone.store(true, Ordering::SeqCst);
/// let start = async || store.gone.store(false, Ordering::SeqCst);
/// store_outage_conformance(&store, stop, start).await;
/// # }
/// ```
pub async fn store_outage_conformance<S: Store>(
    store: &S,
    stop: impl AsyncFnOnce(),
    start: impl AsyncFnOnce(),
) {
    let (kept, removed, new) = (paid("outage/kept"), paid("outage/removed"), paid("outage/new"));
    let version = written(store, &kept, None, b"kept", Keep::Live).await;
    let gone = written(store, &removed, None, b"gone", Keep::Live).await;
    assert_eq!(cas(store, &removed, Some(gone), None).await, Cas::Removed, "a live value can be removed");

    stop().await;
    let down = "a store out of reach fails every call, in time, and never says that a key is absent";
    for _ in 0..3 {
        let read = tokio::time::timeout(PATIENCE, store.get(&kept)).await.expect(down);
        assert!(matches!(read, Err(StoreError::Backend(_))), "{down}: {read:?}");
        let claim = store.cas(&new, None, Some(write(b"mine", Keep::Live)));
        let claim = tokio::time::timeout(PATIENCE, claim).await.expect(down);
        assert!(matches!(claim, Err(StoreError::Backend(_))), "{down}: {claim:?}");
        let page = tokio::time::timeout(PATIENCE, store.scan("paid/outage/", None, 10)).await.expect(down);
        assert!(matches!(page, Err(StoreError::Backend(_))), "{down}: {page:?}");
    }

    start().await;
    let connected = async {
        while store.get(&kept).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(connected, "a store connects again by itself when its server is back").await;
    let there = get(store, &kept).await.expect("what was written before the outage is there after it");
    assert_eq!(
        (there.version, &*there.value),
        (version, &b"kept"[..]),
        "values and versions survive an outage as they were"
    );
    assert_eq!(get(store, &removed).await, None, "what was removed before the outage does not come back");
    let claim = cas(store, &removed, None, Some(write(b"again", Keep::Live))).await;
    let Cas::Written(again) = claim else {
        panic!("a removed key can be claimed after an outage: {claim:?}")
    };
    assert_ne!(again, gone, "versions do not repeat after an outage");
}
