//! The contract of [`Store`], as a test that any backend can be held to.
//!
//! Every backend of this crate passes it; a store of your own should too, before money depends on it. Time is a
//! [`ManualClock`], so nothing sleeps; what has to be woken up is given half a minute before it counts as lost.
//!
//! What only some stores can be held to is in `shared.rs`: those that several processes share, and those that are on the other
//! side of a connection.

mod shared;

pub use shared::{shared_store_conformance, store_outage_conformance};

use crate::clock::{Clock, ManualClock};
use crate::protocol::Timestamp;
use crate::store::{Cas, Durability, Keep, Key, Limits, Quota, Store, StoreError, Version, Versioned, Write};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// What a store is to be made from; see [`store_conformance`].
///
/// ```
/// use mpp::store::MemoryStore;
/// use mpp::testing::StoreSetup;
///
/// fn open(setup: StoreSetup) -> MemoryStore {
///     // A store in files would open the one with the number `setup.place`.
///     MemoryStore::with_limits(setup.limits).with_clock(setup.clock)
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreSetup {
    /// The store takes the time from here.
    pub clock: Arc<dyn Clock>,
    /// How many keys it takes.
    pub limits: Limits,
    /// Which data: setups with different places share nothing, and a place that was not used before is empty. A
    /// durable store opened again at the same place, after the earlier one was dropped, finds what that one wrote.
    pub place: u32,
}

impl std::fmt::Debug for StoreSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSetup")
            .field("limits", &self.limits)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Holds a [`Store`] to its contract. `open` makes a store from a [`StoreSetup`], for example a file per
/// [`place`](StoreSetup::place).
///
/// Runs on a tokio runtime with time enabled; a multi-threaded one finds more.
///
/// # Panics
/// With a sentence that names the broken line of the contract.
///
/// ```
/// use mpp::store::MemoryStore;
/// use mpp::testing::store_conformance;
///
/// # #[tokio::main]
/// # async fn main() {
/// store_conformance(async |setup| MemoryStore::with_limits(setup.limits).with_clock(setup.clock)).await;
/// # }
/// ```
pub async fn store_conformance<S: Store>(open: impl AsyncFn(StoreSetup) -> S) {
    let bench = Bench { open, clock: Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000))) };
    reads_and_swaps(&bench.store(0, ROOMY).await).await;
    versions_never_repeat(&bench, &bench.store(1, ROOMY).await).await;
    values_end_by_the_clock(&bench, &bench.store(2, ROOMY).await).await;
    values_of_every_size(&bench.store(3, ROOMY).await).await;
    claims_have_one_winner(&Arc::new(bench.store(4, ROOMY).await)).await;
    no_update_is_lost(&Arc::new(bench.store(5, ROOMY).await)).await;
    scans_in_order(&bench, &bench.store(6, ROOMY).await).await;
    full_refuses_new_keys_only(&bench, &bench.store(7, Limits { paid: 20, free: 10 }).await).await;
    ended_values_make_room(&bench, &bench.store(8, Limits { paid: 100, free: 10 }).await).await;
    the_limit_holds_under_concurrency(&Arc::new(bench.store(9, Limits { paid: 25, free: 5 }).await)).await;
    changes_wake_up(&Arc::new(bench.store(10, ROOMY).await)).await;
    survives_reopening(&bench, 11).await;
}

/// Opens the stores under test.
struct Bench<F> {
    open: F,
    clock: Arc<ManualClock>,
}

impl<S: Store, F: AsyncFn(StoreSetup) -> S> Bench<F> {
    async fn store(&self, place: u32, limits: Limits) -> S {
        (self.open)(StoreSetup { clock: self.clock.clone(), limits, place }).await
    }
}

async fn reads_and_swaps(store: &impl Store) {
    let key = paid("swap");
    assert_eq!(get(store, &key).await, None, "a key that was never written is absent");
    let first = written(store, &key, None, b"one", Keep::Live).await;
    let there = get(store, &key).await.expect("a value that was written can be read");
    assert_eq!(
        (there.version, &*there.value),
        (first, &b"one"[..]),
        "a read yields what the last write wrote"
    );

    for expect in [None, Some(Version(first.0 + 1)), Some(Version(first.0.wrapping_sub(1)))] {
        for new in [Some(write(b"two", Keep::Live)), None] {
            let Cas::Conflict(current) = cas(store, &key, expect, new).await else {
                panic!(
                    "a swap that expects another version than the current one is a conflict and writes nothing"
                )
            };
            assert_eq!(
                current.as_ref(),
                Some(&there),
                "a conflict carries the current value and its version"
            );
        }
    }
    assert_eq!(get(store, &key).await, Some(there), "a conflict leaves the value as it is");

    let second = written(store, &key, Some(first), b"two", Keep::Live).await;
    assert_ne!(first, second, "every write gives the key another version");
    assert_eq!(
        cas(store, &key, Some(second), None).await,
        Cas::Removed,
        "a swap for nothing removes the key"
    );
    assert_eq!(get(store, &key).await, None, "a removed key is absent");
    assert_eq!(
        cas(store, &key, Some(second), Some(write(b"three", Keep::Live))).await,
        Cas::Conflict(None),
        "a swap that expects a version of an absent key is a conflict with nothing"
    );
    assert_eq!(
        cas(store, &key, None, None).await,
        Cas::Removed,
        "removing what is absent, expecting absence, succeeds"
    );
    let other = free("swap");
    assert_eq!(get(store, &other).await, None, "keys of different quotas are different keys");
}

async fn versions_never_repeat<S: Store>(bench: &Bench<impl AsyncFn(StoreSetup) -> S>, store: &S) {
    let key = paid("versions");
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        let kept = if round % 2 == 0 { Keep::Live } else { Keep::For(Duration::from_secs(5)) };
        let version = written(store, &key, None, b"again", kept).await;
        assert!(seen.insert(version), "a version never repeats, also not after a removal or an expiry");
        let version = written(store, &key, Some(version), b"and again", kept).await;
        assert!(seen.insert(version), "a version never repeats, also not after a removal or an expiry");
        if kept == Keep::Live {
            assert_eq!(
                cas(store, &key, Some(version), None).await,
                Cas::Removed,
                "a live value can be removed"
            );
        } else {
            bench.clock.advance(Duration::from_secs(5));
            let late = cas(store, &key, Some(version), Some(write(b"late", Keep::Live))).await;
            assert_eq!(
                late,
                Cas::Conflict(None),
                "the version of a value that ended is not current any more"
            );
        }
    }
}

async fn values_end_by_the_clock<S: Store>(bench: &Bench<impl AsyncFn(StoreSetup) -> S>, store: &S) {
    let (short, long, live) = (paid("end/short"), paid("end/long"), paid("end/live"));
    let version = written(store, &short, None, b"s", Keep::For(Duration::from_secs(10))).await;
    written(store, &long, None, b"l", Keep::For(Duration::from_secs(100))).await;
    written(store, &live, None, b"v", Keep::Live).await;

    bench.clock.advance(Duration::from_secs(9));
    assert!(get(store, &short).await.is_some(), "a value is kept for as long as its writer said");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(get(store, &short).await, None, "a value is not returned after its time");
    let listed = store.scan("paid/end/", None, 10).await.expect("a scan succeeds");
    let listed: Vec<_> = listed.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(listed, [live.clone(), long.clone()], "a scan does not return values after their time");
    assert_eq!(
        cas(store, &short, Some(version), None).await,
        Cas::Conflict(None),
        "a value that ended is as absent to a swap"
    );

    // A rewrite replaces the time too, in both directions.
    let current = get(store, &long).await.expect("the long one is still kept").version;
    written(store, &long, Some(current), b"l", Keep::Live).await;
    let current = get(store, &live).await.expect("the live one is still kept").version;
    written(store, &live, Some(current), b"v", Keep::For(Duration::from_secs(10))).await;
    bench.clock.advance(Duration::from_secs(1_000_000_000));
    // Writes give the backend a chance to drop what it must not.
    for n in 0..50 {
        written(store, &paid(&format!("end/more-{n}")), None, b"m", Keep::For(Duration::from_secs(1))).await;
    }
    assert!(get(store, &long).await.is_some(), "a live value is never dropped, however old");
    assert_eq!(get(store, &live).await, None, "a rewrite that limits the time of a live value is obeyed");
    let forever = paid("end/forever");
    written(store, &forever, None, b"f", Keep::For(Duration::MAX)).await;
    assert!(get(store, &forever).await.is_some(), "the longest duration does not overflow");
}

async fn values_of_every_size(store: &impl Store) {
    for size in [0, 1, 100, 4096, 65_536, 65_537, 1_000_000] {
        let key = paid(&format!("size/{size}"));
        let value: Vec<u8> = (0..size).map(|n: usize| (n % 251) as u8).collect();
        written(store, &key, None, &value, Keep::Live).await;
        assert!(
            get(store, &key).await.is_some_and(|there| there.value == value),
            "values of up to a million bytes come back byte for byte"
        );
    }
}

async fn claims_have_one_winner<S: Store>(store: &Arc<S>) {
    for (round, tasks) in [64; 9].into_iter().chain([1_000]).enumerate() {
        let key = paid(&format!("claim/{round}"));
        let mut claims = JoinSet::new();
        for task in 0..tasks {
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
            panic!("of concurrent claims exactly one is written, not {}", winners.len())
        };
        let expected = Versioned { version, value: winner.to_be_bytes().to_vec() };
        assert!(
            told.iter().all(|current| *current == expected),
            "every loser is told the winner's value and version"
        );
        assert_eq!(get(&**store, &key).await, Some(expected), "the winner's value is what is stored");
    }
}

async fn no_update_is_lost<S: Store>(store: &Arc<S>) {
    const TASKS: u32 = 16;
    const EACH: u32 = 10;
    let key = paid("counter");
    written(&**store, &key, None, &0_u32.to_be_bytes(), Keep::Live).await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (store, key) = (store.clone(), key.clone());
        tasks.spawn(async move {
            let mut versions = Vec::new();
            for _ in 0..EACH {
                let mut current = get(&*store, &key).await;
                loop {
                    let there = current.expect("a live value is there");
                    let count = u32::from_be_bytes(there.value.try_into().expect("four bytes were written"));
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
    // Linearizable: whoever reads twice never sees less the second time.
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (store, key) = (store.clone(), key.clone());
        readers.spawn(async move {
            let mut seen = 0;
            loop {
                // A store that is crowded may refuse in time.
                let Ok(there) = store.get(&key).await else { continue };
                let there = there.expect("a live value is there").value;
                let count = u32::from_be_bytes(there.try_into().expect("four bytes were written"));
                assert!(count >= seen, "a read after a read never yields an older value");
                seen = count;
                tokio::task::yield_now().await;
            }
        });
    }
    let mut versions = BTreeSet::new();
    while let Some(task) = tasks.join_next().await {
        for version in task.expect("an update does not panic") {
            assert!(versions.insert(version), "two writes of a key never get the same version");
        }
    }
    readers.abort_all();
    while let Some(reader) = readers.join_next().await {
        if let Some(panic) = reader.err().filter(|error| error.is_panic()) {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    let end = get(&**store, &key).await.expect("the counter is there").value;
    assert_eq!(end, (TASKS * EACH).to_be_bytes(), "concurrent updates by compare-and-swap are all there");
}

async fn scans_in_order<S: Store>(bench: &Bench<impl AsyncFn(StoreSetup) -> S>, store: &S) {
    let mut expected: Vec<Key> =
        (0..150).map(|n| Key::new(Quota::Paid, "scan", &format!("{n:03}"))).collect();
    // Written out of order, with neighbours on both sides of the prefix.
    for n in (0..150).map(|n| (n * 67) % 150) {
        written(store, &expected[n], None, &[n as u8], Keep::Live).await;
    }
    for neighbour in [Key::new(Quota::Paid, "scam", "x"), Key::new(Quota::Paid, "scanned", "x"), free("scan")]
    {
        written(store, &neighbour, None, b"neighbour", Keep::Live).await;
    }
    let all = pages(store, "paid/scan/", 1000).await;
    assert_eq!(all, expected, "a scan returns the keys of its prefix and no others, in order");
    assert_eq!(
        pages(store, "paid/scan/", 7).await,
        expected,
        "pages continue after the last key, without gaps"
    );
    let one = store.scan("paid/scan/", None, 1).await.expect("a scan succeeds");
    assert_eq!(one[0].1.value, [0], "a scan returns the values of its keys");
    assert!(
        store.scan("paid/scan/", None, 0).await.expect("a scan succeeds").is_empty(),
        "a page of none is empty"
    );
    assert!(
        store.scan("paid/none/", None, 5).await.expect("a scan succeeds").is_empty(),
        "no key has this prefix"
    );

    let middle = expected.remove(75);
    let version = get(store, &middle).await.expect("the middle one is there").version;
    cas(store, &middle, Some(version), None).await;
    let ending = expected.remove(10);
    let version = get(store, &ending).await.expect("the tenth is there").version;
    written(store, &ending, Some(version), b"e", Keep::For(Duration::from_secs(1))).await;
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(pages(store, "paid/scan/", 10).await, expected, "removed and ended keys leave the scan");
    let after = store.scan("paid/scan/", Some(&middle), 1).await.expect("a scan succeeds");
    assert_eq!(after[0].0, expected[74], "a scan continues after a key that is gone");
}

async fn full_refuses_new_keys_only<S: Store>(bench: &Bench<impl AsyncFn(StoreSetup) -> S>, store: &S) {
    // The flood of free keys comes first: it must not take the room of the paid ones.
    let mut flood = 0;
    let refused = loop {
        match store.cas(&free(&format!("flood-{flood}")), None, Some(write(b"f", Keep::Live))).await {
            Ok(Cas::Written(_)) => flood += 1,
            Ok(other) => panic!("a new key is written or refused, not {other:?}"),
            Err(error) => break error,
        }
        assert!(flood <= 10, "a store refuses new keys beyond its limit");
    };
    assert_eq!(refused, StoreError::Full(Quota::Free), "a refusal names the quota that is full");
    assert_eq!(flood, 10, "a store takes as many keys as its limit says");
    let mut versions = Vec::new();
    for n in 0..20 {
        let new = store.cas(&paid(&format!("p-{n}")), None, Some(write(b"p", Keep::Live))).await;
        let Ok(Cas::Written(version)) = new else {
            panic!("a flood of free keys does not take the room of paid ones: {new:?}")
        };
        versions.push(version);
    }
    let full = store.cas(&paid("p-20"), None, Some(write(b"p", Keep::Live))).await;
    assert_eq!(full, Err(StoreError::Full(Quota::Paid)), "a full store refuses new keys");
    assert_eq!(get(store, &paid("p-20")).await, None, "a refused key is absent");
    for (quota, limit) in [(Quota::Paid, 20), (Quota::Free, 10)] {
        let usage = store.usage(quota).await.expect("a store that is up says how full it is");
        let counted = usage.is_none_or(|usage| (usage.keys, usage.limit) == (limit, limit));
        assert!(counted, "a full store that counts has as many keys as fit, not {usage:?}");
    }
    bench.clock.advance(Duration::from_secs(1_000_000));
    for n in 0..20 {
        assert!(
            get(store, &paid(&format!("p-{n}"))).await.is_some(),
            "a full store never evicts a live value"
        );
    }

    let first = paid("p-0");
    let version = written(store, &first, Some(versions[0]), &[1; 1000], Keep::Live).await;
    let conflict = cas(store, &first, None, Some(write(b"n", Keep::Live))).await;
    assert!(matches!(conflict, Cas::Conflict(Some(_))), "a full store still tells who was first");
    assert_eq!(
        cas(store, &first, Some(version), None).await,
        Cas::Removed,
        "a full store removes keys it holds"
    );
    written(store, &paid("p-20"), None, b"p", Keep::Live).await;
    let full = store.cas(&first, None, Some(write(b"p", Keep::Live))).await;
    assert_eq!(
        full,
        Err(StoreError::Full(Quota::Paid)),
        "the room of one removed key is the room of one new key"
    );
}

async fn ended_values_make_room<S: Store>(bench: &Bench<impl AsyncFn(StoreSetup) -> S>, store: &S) {
    for round in 0..3 {
        for n in 0..10 {
            let key = free(&format!("r{round}-{n}"));
            written(store, &key, None, b"f", Keep::For(Duration::from_secs(60))).await;
        }
        let full = store.cas(&free("one-more"), None, Some(write(b"f", Keep::Live))).await;
        assert_eq!(full, Err(StoreError::Full(Quota::Free)), "values whose time is not over take room");
        // What ended takes no room: neither for as many new keys as there were, nor for itself, written again.
        bench.clock.advance(Duration::from_secs(60));
    }
    for n in 0..10 {
        written(store, &free(&format!("r2-{n}")), None, b"f", Keep::Live).await;
    }
}

async fn the_limit_holds_under_concurrency<S: Store>(store: &Arc<S>) {
    let mut tasks = JoinSet::new();
    for n in 0..100 {
        let store = store.clone();
        tasks.spawn(async move {
            let key = paid(&format!("rush-{n}"));
            store.cas(&key, None, Some(write(b"r", Keep::Live))).await
        });
    }
    let mut kept = 0;
    while let Some(task) = tasks.join_next().await {
        match task.expect("a write does not panic") {
            Ok(Cas::Written(_)) => kept += 1,
            Err(StoreError::Full(Quota::Paid)) => {}
            other => panic!("a new key is written or refused, not {other:?}"),
        }
    }
    assert_eq!(kept, 25, "concurrent new keys fill the store exactly to its limit");
}

async fn changes_wake_up<S: Store>(store: &Arc<S>) {
    let key = paid("changed");
    let mut version = written(&**store, &key, None, b"0", Keep::Live).await;
    let gone = Version(version.0.wrapping_sub(1));
    in_time(store.changed(&key, gone), "waiting for a version that is not current returns at once").await;
    for round in 0..20 {
        // Half of the rounds write while nobody may be waiting yet.
        let mut waiting = JoinSet::new();
        for _ in 0..4 {
            let (store, key) = (store.clone(), key.clone());
            waiting.spawn(async move {
                while get(&*store, &key).await.map(|current| current.version) == Some(version) {
                    store.changed(&key, version).await;
                }
            });
        }
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let before = version;
        if round == 19 {
            assert_eq!(
                cas(&**store, &key, Some(before), None).await,
                Cas::Removed,
                "a live value can be removed"
            );
        } else {
            version = written(&**store, &key, Some(before), &[round], Keep::Live).await;
        }
        let woken = async { while waiting.join_next().await.is_some() {} };
        in_time(woken, "a write or a removal wakes up everybody who waits for the key").await;
    }
    in_time(store.changed(&key, version), "waiting for a version of an absent key returns at once").await;
}

async fn survives_reopening<S: Store>(bench: &Bench<impl AsyncFn(StoreSetup) -> S>, place: u32) {
    let limits = Limits { paid: 10, free: 10 };
    let (live, short, removed) = (paid("re/live"), paid("re/short"), paid("re/removed"));
    let store = bench.store(place, limits).await;
    if let Durability::Volatile { boot } = store.durability() {
        let again = Durability::Volatile { boot };
        assert_eq!(store.durability(), again, "the boot id of a volatile store stays the same");
        let another = bench.store(place + 1, limits).await;
        assert_ne!(another.durability(), again, "volatile stores have different boot ids");
        return;
    }
    let version = written(&store, &live, None, b"kept", Keep::Live).await;
    written(&store, &short, None, b"short", Keep::For(Duration::from_secs(10))).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let version = written(&store, &removed, None, b"r", Keep::Live).await;
        assert_eq!(
            cas(&store, &removed, Some(version), None).await,
            Cas::Removed,
            "a live value can be removed"
        );
        seen.insert(version);
    }
    drop(store);

    let store = bench.store(place, limits).await;
    let there =
        get(&store, &live).await.expect("a durable store has its live values after it was opened again");
    assert_eq!(
        (there.version, &*there.value),
        (version, &b"kept"[..]),
        "values and versions survive as they were"
    );
    assert!(get(&store, &short).await.is_some(), "values whose time is not over survive");
    assert_eq!(get(&store, &removed).await, None, "what was removed does not come back");
    for _ in 0..5 {
        let version = written(&store, &removed, None, b"r", Keep::Live).await;
        assert!(seen.insert(version), "versions do not repeat after the store was opened again");
        assert_eq!(
            cas(&store, &removed, Some(version), None).await,
            Cas::Removed,
            "a live value can be removed"
        );
    }
    for n in 0..8 {
        written(&store, &paid(&format!("re/fill-{n}")), None, b"f", Keep::Live).await;
    }
    let full = store.cas(&removed, None, Some(write(b"r", Keep::Live))).await;
    assert_eq!(
        full,
        Err(StoreError::Full(Quota::Paid)),
        "keys from before the reopening count against the limit"
    );
    drop(store);

    bench.clock.advance(Duration::from_secs(10));
    let store = bench.store(place, limits).await;
    assert_eq!(get(&store, &short).await, None, "values end while the store is closed");
    written(&store, &removed, None, b"r", Keep::Live).await;
    assert!(get(&store, &live).await.is_some(), "a live value survives any number of reopenings");
}

fn paid(id: &str) -> Key {
    // The conformance keys have no kind of their own: `end/short` is kind and id.
    match id.split_once('/') {
        Some((kind, id)) => Key::new(Quota::Paid, kind, id),
        None => Key::new(Quota::Paid, "conformance", id),
    }
}

fn free(id: &str) -> Key {
    Key::new(Quota::Free, "conformance", id)
}

fn write(value: &[u8], keep: Keep) -> Write {
    Write { value: value.to_vec(), keep }
}

async fn get(store: &impl Store, key: &Key) -> Option<Versioned> {
    store.get(key).await.expect("a read succeeds")
}

async fn cas(store: &impl Store, key: &Key, expect: Option<Version>, new: Option<Write>) -> Cas {
    store.cas(key, expect, new).await.expect("a swap succeeds")
}

/// Claims a key. A store that is crowded may refuse in time; then reading again tells.
async fn claim(store: &impl Store, key: &Key, task: u32) -> Cas {
    let own = task.to_be_bytes();
    let mut last = None;
    for _ in 0..CROWDED {
        match store.cas(key, None, Some(write(&own, Keep::Live))).await {
            Ok(cas) => return cas,
            Err(error) => last = Some(error),
        }
        match store.get(key).await {
            Ok(Some(there)) if there.value == own => return Cas::Written(there.version),
            Ok(Some(there)) => return Cas::Conflict(Some(there)),
            Ok(None) | Err(_) => {}
        }
    }
    panic!("a claim succeeds in the end: {last:?}")
}

async fn written(
    store: &impl Store,
    key: &Key,
    expect: Option<Version>,
    value: &[u8],
    keep: Keep,
) -> Version {
    match store.cas(key, expect, Some(write(value, keep))).await {
        Ok(Cas::Written(version)) => version,
        other => panic!("a swap that expects the current version of {key:?} is written, not {other:?}"),
    }
}

async fn pages(store: &impl Store, prefix: &str, limit: usize) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let page = store.scan(prefix, keys.last(), limit).await.expect("a scan succeeds");
        assert!(page.len() <= limit, "a page has at most as many keys as were asked for");
        if page.is_empty() {
            return keys;
        }
        keys.extend(page.into_iter().map(|(key, _)| key));
        assert!(keys.len() <= 10_000, "pages end");
    }
}

async fn in_time(future: impl Future<Output = ()>, line: &str) {
    assert!(tokio::time::timeout(PATIENCE, future).await.is_ok(), "{line}");
}

const ROOMY: Limits = Limits { paid: 10_000, free: 10_000 };
/// How often a claim is made again.
const CROWDED: usize = 20;
/// A bound for a broken store, not a time anything takes.
const PATIENCE: Duration = Duration::from_secs(30);
