//! Every store backend against the one shared conformance suite, and what is particular to each of them.
#![cfg(feature = "testing")]

use mpp::ManualClock;
use mpp::protocol::Timestamp;
use mpp::store::{Cas, Keep, Key, Limits, MemoryStore, Quota, Store, StoreError, Write};
use mpp::testing::store_conformance;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_keeps_the_contract() {
    store_conformance(async |setup| MemoryStore::with_limits(setup.limits).with_clock(setup.clock)).await;
}

#[tokio::test]
async fn a_store_full_of_ended_values_takes_as_many_new_ones() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    let store = MemoryStore::with_limits(Limits { paid: 5_000, free: 0 }).with_clock(clock.clone());
    for round in 0..3 {
        for n in 0..5_000 {
            let key = Key::new(Quota::Paid, "round", &format!("{round}-{n}"));
            let new = Write { value: Vec::new(), keep: Keep::For(Duration::from_secs(1)) };
            assert!(matches!(store.cas(&key, None, Some(new)).await, Ok(Cas::Written(_))));
        }
        clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_quota_of_none_takes_none() {
    let store = MemoryStore::with_limits(Limits { paid: 1, free: 0 });
    let new = Write { value: Vec::new(), keep: Keep::Live };
    let refused = store.cas(&Key::new(Quota::Free, "x", "y"), None, Some(new)).await;
    assert_eq!(refused, Err(StoreError::Full(Quota::Free)));
}

/// The conformance suite itself: a store with a flaw does not pass.
mod flawed {
    use super::*;
    use mpp::method::Step;
    use mpp::store::{Durability, Version, Versioned};
    use mpp::testing::StoreSetup;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Flaw {
        None,
        IgnoresExpectations,
        RestartsVersionsAfterARemoval,
        IgnoresTheClock,
        EvictsWhenFull,
        SharesOneQuota,
        RefusesUpdatesWhenFull,
        KeepsTheRoomOfEndedValues,
        PagesOverlap,
        NeverWakesUp,
        TruncatesLargeValues,
    }

    /// A store anybody would write first.
    struct Naive {
        setup: StoreSetup,
        flaw: Flaw,
        values: Mutex<Values>,
    }

    #[derive(Default)]
    struct Values {
        versions: u64,
        values: BTreeMap<Key, (Versioned, i64)>,
    }

    impl Naive {
        fn swap(&self, key: &Key, expect: Option<Version>, new: Option<Write>) -> Result<Cas, StoreError> {
            let mut guard = self.values.lock().unwrap();
            let Values { versions, values } = &mut *guard;
            let now = self.setup.clock.now().unix();
            if self.flaw != Flaw::IgnoresTheClock && self.flaw != Flaw::KeepsTheRoomOfEndedValues {
                values.retain(|_, (_, ends)| *ends > now);
            }
            let current =
                values.get(key).filter(|(_, ends)| *ends > now || self.flaw == Flaw::IgnoresTheClock);
            let current = current.map(|(current, _)| current.clone());
            if current.as_ref().map(|current| current.version) != expect
                && self.flaw != Flaw::IgnoresExpectations
            {
                return Ok(Cas::Conflict(current));
            }
            let Some(mut write) = new else {
                values.remove(key);
                if self.flaw == Flaw::RestartsVersionsAfterARemoval && values.is_empty() {
                    *versions = 0;
                }
                return Ok(Cas::Removed);
            };
            let same_quota = |other: &Key| other.quota() == key.quota() || self.flaw == Flaw::SharesOneQuota;
            let full =
                values.keys().filter(|other| same_quota(other)).count() >= self.setup.limits.of(key.quota());
            if full && (current.is_none() || self.flaw == Flaw::RefusesUpdatesWhenFull) {
                if self.flaw != Flaw::EvictsWhenFull {
                    return Err(StoreError::Full(key.quota()));
                }
                values.pop_first();
            }
            if self.flaw == Flaw::TruncatesLargeValues {
                write.value.truncate(65_535);
            }
            *versions += 1;
            let version = Version(*versions);
            let ends = match write.keep {
                Keep::Live => i64::MAX,
                Keep::For(time) => now.saturating_add_unsigned(time.as_secs()),
            };
            values.insert(key.clone(), (Versioned { version, value: write.value }, ends));
            Ok(Cas::Written(version))
        }

        fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Vec<(Key, Versioned)> {
            let guard = self.values.lock().unwrap();
            let now = self.setup.clock.now().unix();
            let there = guard.values.iter().filter(|(key, (_, ends))| {
                let later = after
                    .is_none_or(|after| *key > after || self.flaw == Flaw::PagesOverlap && *key == after);
                key.as_str().starts_with(prefix)
                    && later
                    && (*ends > now || self.flaw == Flaw::IgnoresTheClock)
            });
            there.take(limit).map(|(key, (current, _))| (key.clone(), current.clone())).collect()
        }
    }

    impl Store for Naive {
        fn durability(&self) -> Durability {
            let mut boot = [0; 16];
            boot[..4].copy_from_slice(&self.setup.place.to_be_bytes());
            Durability::Volatile { boot }
        }

        fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
            let there = self.list(key.as_str(), None, usize::MAX).into_iter().find(|(there, _)| there == key);
            Step::ready(Ok(there.map(|(_, current)| current)))
        }

        fn cas<'a>(
            &'a self,
            key: &'a Key,
            expect: Option<Version>,
            new: Option<Write>,
        ) -> Step<'a, Result<Cas, StoreError>> {
            Step::ready(self.swap(key, expect, new))
        }

        fn scan<'a>(
            &'a self,
            prefix: &'a str,
            after: Option<&'a Key>,
            limit: usize,
        ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
            Step::ready(Ok(self.list(prefix, after, limit)))
        }

        fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
            Step::boxed(async move {
                loop {
                    match self.get(key).await {
                        Ok(Some(current)) if current.version == since || self.flaw == Flaw::NeverWakesUp => {}
                        _ => return,
                    }
                    // Virtual time: a poll costs nothing.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        }
    }

    async fn verdict(flaw: Flaw) -> Result<(), String> {
        let suite = store_conformance(async move |setup| Naive { setup, flaw, values: Mutex::default() });
        match tokio::task::LocalSet::new().run_until(async { tokio::task::spawn_local(suite).await }).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let panic = error.into_panic();
                let message = panic.downcast_ref::<String>().cloned();
                Err(message.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap())
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_simple_store_without_a_flaw_passes() {
        assert_eq!(verdict(Flaw::None).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn every_flaw_is_found_and_named() {
        let flaws = [
            (Flaw::IgnoresExpectations, "is a conflict and writes nothing"),
            (Flaw::RestartsVersionsAfterARemoval, "a version never repeats"),
            (Flaw::IgnoresTheClock, "is not current any more"),
            (Flaw::EvictsWhenFull, "a store refuses new keys beyond its limit"),
            (Flaw::SharesOneQuota, "does not take the room of paid ones"),
            (Flaw::RefusesUpdatesWhenFull, "a swap that expects the current version"),
            (Flaw::KeepsTheRoomOfEndedValues, "a swap that expects the current version"),
            (Flaw::PagesOverlap, "pages"),
            (Flaw::NeverWakesUp, "waiting for a version that is not current returns at once"),
            (Flaw::TruncatesLargeValues, "come back byte for byte"),
        ];
        for (flaw, sentence) in flaws {
            let found = verdict(flaw).await.expect_err("a store with a flaw does not pass");
            assert!(found.contains(sentence), "{flaw:?} was found as: {found}");
        }
    }
}

#[cfg(feature = "redb")]
mod redb {
    use super::*;
    use mpp::store::RedbStore;
    use std::path::Path;
    use tempfile::tempdir;

    fn open(path: &Path) -> RedbStore {
        RedbStore::open(path).unwrap()
    }

    fn live(value: &[u8]) -> Option<Write> {
        Some(Write { value: value.to_vec(), keep: Keep::Live })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_redb_store_keeps_the_contract() {
        let scratch = tempdir().unwrap();
        store_conformance(async |setup| {
            let path = scratch.path().join(format!("{}.redb", setup.place));
            open(&path).with_limits(setup.limits).with_clock(setup.clock)
        })
        .await;
    }

    #[tokio::test]
    async fn a_file_that_is_open_cannot_be_opened_again() {
        let scratch = tempdir().unwrap();
        let path = scratch.path().join("a.redb");
        let store = open(&path);
        let error = RedbStore::open(&path).unwrap_err();
        assert!(error.to_string().contains("is in use by another process or store"), "{error}");
        drop(store);
        open(&path);
    }

    #[tokio::test]
    async fn a_file_of_something_else_is_refused_and_left_alone() {
        let scratch = tempdir().unwrap();
        let path = scratch.path().join("a.redb");
        let garbage = b"this is not a database, and nobody should overwrite it".repeat(200);
        std::fs::write(&path, &garbage).unwrap();
        assert!(matches!(RedbStore::open(&path), Err(StoreError::Backend(_))));
        assert_eq!(std::fs::read(&path).unwrap(), garbage);
    }

    #[tokio::test]
    async fn a_truncated_file_is_an_error_and_not_a_panic() {
        let scratch = tempdir().unwrap();
        let path = scratch.path().join("a.redb");
        let store = open(&path);
        for n in 0..50 {
            store.cas(&Key::new(Quota::Paid, "k", &n.to_string()), None, live(&[7; 4096])).await.unwrap();
        }
        drop(store);
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 3).unwrap();
        assert!(matches!(RedbStore::open(&path), Err(StoreError::Backend(_))));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempdir().unwrap();
        let path = scratch.path().join("a.redb");
        let _store = open(&path);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_call_neither_blocks_the_store_nor_undoes_what_was_handed_over() {
        let scratch = tempdir().unwrap();
        let store = open(&scratch.path().join("a.redb"));
        let key = Key::new(Quota::Paid, "k", "dropped");
        for n in 0..20 {
            let key = Key::new(Quota::Paid, "k", &format!("gone-{n}"));
            // Polled once, which hands the request to the writer, then dropped.
            let call = store.cas(&key, None, live(b"x"));
            tokio::select! { biased; _ = call => {}, _ = std::future::ready(()) => {} }
        }
        assert!(matches!(store.cas(&key, None, live(b"y")).await, Ok(Cas::Written(_))));
        // Handed over before it, so written before it.
        assert_eq!(store.scan("paid/k/gone-", None, 100).await.unwrap().len(), 20);
    }
}
