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

#[cfg(feature = "redb")]
mod redb {
    use super::*;
    use mpp::store::RedbStore;
    use std::path::{Path, PathBuf};

    /// A directory that is removed at the end of the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mpp-stores-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> RedbStore {
        RedbStore::open(path).unwrap()
    }

    fn live(value: &[u8]) -> Option<Write> {
        Some(Write { value: value.to_vec(), keep: Keep::Live })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_redb_store_keeps_the_contract() {
        let scratch = Scratch::new("conformance");
        store_conformance(async |setup| {
            let path = scratch.file(&format!("{}.redb", setup.place));
            open(&path).with_limits(setup.limits).with_clock(setup.clock)
        })
        .await;
    }

    #[tokio::test]
    async fn a_file_that_is_open_cannot_be_opened_again() {
        let scratch = Scratch::new("twice");
        let path = scratch.file("a.redb");
        let store = open(&path);
        let error = RedbStore::open(&path).unwrap_err();
        assert!(error.to_string().contains("is in use by another process or store"), "{error}");
        drop(store);
        open(&path);
    }

    #[tokio::test]
    async fn a_file_of_something_else_is_refused_and_left_alone() {
        let scratch = Scratch::new("garbage");
        let path = scratch.file("a.redb");
        let garbage = b"this is not a database, and nobody should overwrite it".repeat(200);
        std::fs::write(&path, &garbage).unwrap();
        assert!(matches!(RedbStore::open(&path), Err(StoreError::Backend(_))));
        assert_eq!(std::fs::read(&path).unwrap(), garbage);
    }

    #[tokio::test]
    async fn a_truncated_file_is_an_error_and_not_a_panic() {
        let scratch = Scratch::new("truncated");
        let path = scratch.file("a.redb");
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
        let scratch = Scratch::new("mode");
        let path = scratch.file("a.redb");
        let _store = open(&path);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_call_neither_blocks_the_store_nor_undoes_what_was_handed_over() {
        let scratch = Scratch::new("dropped");
        let store = open(&scratch.file("a.redb"));
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
