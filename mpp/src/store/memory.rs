//! The volatile store: bounded, sharded, synchronous.
//!
//! Every call finishes without waiting for I/O, so it costs no allocation for a future. Keys are spread over shards by
//! a randomly seeded hash, so that nobody outside can choose keys that share one; within a shard they are ordered, so that
//! [`scan`](Store::scan) pages need no sorting of everything. Each shard keeps its expiring keys in order of their end, too: a
//! write reclaims at most a few ended values of its shard, a write that finds its quota exhausted looks through the shards
//! until it has found one. No call ever walks over all values.
//!
//! [`row`] is what is kept for one key, [`shard`] the keys behind one lock; here is what joins the shards: quotas,
//! versions and pages over all of them.

mod row;
mod shard;

use self::row::{LONGEST_NAME, Row};
use self::shard::{Shard, name_of};
use super::deadline::Deadline;
use super::{Cas, Durability, Key, Limits, Quota, Store, StoreError, Usage, Version, Versioned, Write};
use crate::clock::{Clock, SystemClock};
use crate::method::Step;
use crate::protocol::Timestamp;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A [`Store`] in this process's memory: gone when the process is.
///
/// Real-money methods on it need `.single_process_volatile_store()` on the builder.
///
/// # Memory
/// A payment takes two keys: its entry in the journal, and the claim of the proof it was made with. Measured at a million keys
/// (`tests/memory.rs`; the resident size of the process):
///
/// | | bytes |
/// | --- | --- |
/// | a key of a payment that is over, until its challenge and the grace period are | 133 |
/// | the entry of an open payment, besides what its method wrote (the sealed plan, the payer) | 255 |
/// | the claim of its proof | 112 |
///
/// Of an open payment's 367 about 100 are the two rows and their places in the map, 90 the challenge's id and the proof's name
/// in either key, 64 two SHA-256 hashes (whose payment it is, and for what), and the rest what has to be known to go on:
/// the bill, the lease, and in each key the name of the other. The default [`Limits`] bound payments that are over to
/// 135 MB.
///
/// ```
/// use mpp::store::{Cas, Keep, Key, MemoryStore, Quota, Store, Write};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// let store = MemoryStore::new();
/// let key = Key::new(Quota::Paid, "claim", "n3vQ");
/// let claim = Write { value: b"mine".to_vec(), keep: Keep::Live };
///
/// assert!(matches!(store.cas(&key, None, Some(claim.clone())).await?, Cas::Written(_)));
/// // The second one to claim it learns who was first.
/// let Cas::Conflict(Some(first)) = store.cas(&key, None, Some(claim)).await? else { panic!() };
/// assert_eq!(first.value, b"mine");
/// # Ok(())
/// # }
/// ```
pub struct MemoryStore {
    parts: Box<[Part]>,
    hasher: RandomState,
    // One counter for all keys: a version is never used twice, whatever happens to its key.
    last_version: AtomicU64,
    // Slots taken per quota, ended values that are not reclaimed yet included.
    used: [AtomicUsize; 2],
    limits: Limits,
    clock: Arc<dyn Clock>,
    // Sets this store apart from the one that was lost with the process before.
    boot: [u8; 16],
}

impl MemoryStore {
    /// An empty store with the default [`Limits`].
    ///
    /// ```
    /// use mpp::store::{Durability, MemoryStore, Store};
    /// assert!(matches!(MemoryStore::new().durability(), Durability::Volatile { .. }));
    /// ```
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// An empty store that takes this many keys.
    ///
    /// ```
    /// use mpp::store::{Limits, MemoryStore};
    /// let store = MemoryStore::with_limits(Limits { paid: 10_000, free: 1_000 });
    /// ```
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            hasher: RandomState::new(),
            last_version: AtomicU64::new(0),
            used: [AtomicUsize::new(0), AtomicUsize::new(0)],
            limits,
            clock: Arc::new(SystemClock),
            boot: rand::random(),
        }
    }

    /// Takes the time from this clock.
    ///
    /// ```
    /// use mpp::{ManualClock, protocol::Timestamp, store::MemoryStore};
    /// use std::sync::Arc;
    ///
    /// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// let store = MemoryStore::new().with_clock(clock.clone());
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn read(&self, key: &Key) -> Option<Versioned> {
        let now = self.clock.now();
        lock(&self.part(key).shard).get(key).filter(|row| !row.deadline().passed(now)).map(Row::versioned)
    }

    fn swap(&self, key: &Key, expect: Option<Version>, mut new: Option<Write>) -> Result<Cas, StoreError> {
        let (now, part) = (self.clock.now(), self.part(key));
        // Held only if this call turns out to add a key; given back when dropped unused.
        let mut slot = None;
        loop {
            let mut shard = lock(&part.shard);
            self.reclaim(&mut shard, key.quota(), now, RECLAIM_PER_WRITE);
            let there = shard.get(key);
            let is_new = there.is_none();
            let current = there.filter(|row| !row.deadline().passed(now));
            if current.map(Row::version) != expect {
                return Ok(Cas::Conflict(current.map(Row::versioned)));
            }
            let Some(write) = &mut new else {
                // What is removed may also be the remains of a value that ended.
                if shard.remove(key) {
                    self.give_back(key.quota(), 1);
                }
                drop(shard);
                part.bell.notify_waiters();
                return Ok(Cas::Removed);
            };
            if is_new && slot.is_none() {
                slot = self.reserve(key.quota());
                if slot.is_none() {
                    // Never two shards at a time: others may be making room in this one.
                    drop(shard);
                    if !self.make_room(key.quota(), now) {
                        return Err(StoreError::Full(key.quota()));
                    }
                    continue;
                }
            }
            let version = self.last_version.fetch_add(1, Ordering::Relaxed) + 1;
            let deadline = Deadline::of(write.keep, now);
            let value = std::mem::take(&mut write.value);
            let Some(row) = Row::new(name_of(key), value, version, deadline) else {
                return Err(StoreError::Backend(format!("a key is longer than {LONGEST_NAME} bytes")));
            };
            shard.put(key, row);
            drop(shard);
            if let Some(slot) = slot.filter(|_| is_new) {
                slot.keep();
            }
            part.bell.notify_waiters();
            return Ok(Cas::Written(Version(version)));
        }
    }

    fn page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Vec<(Key, Versioned)> {
        let (now, after) = (self.clock.now(), after.map(Key::as_str));
        // The first rows of every shard; of these the first ones, and only then copies.
        let mut kinds: BTreeMap<Arc<str>, Vec<Row>> = BTreeMap::new();
        for part in &self.parts {
            for (kind, rows) in lock(&part.shard).page(prefix, after, now) {
                kinds.entry(kind.clone()).or_default().extend(rows.take(limit).cloned());
            }
        }
        let mut page = Vec::new();
        for (kind, mut rows) in kinds {
            let wanted = limit - page.len();
            if rows.len() > wanted {
                rows.select_nth_unstable(wanted);
                rows.truncate(wanted);
            }
            rows.sort_unstable();
            page.extend(rows.iter().filter_map(|row| {
                let text = [&kind, &*String::from_utf8_lossy(row.name())].concat();
                Some((Key::from_text(text)?, row.versioned()))
            }));
        }
        page
    }

    fn reserve(&self, quota: Quota) -> Option<Slot<'_>> {
        let used = &self.used[quota.index()];
        let limit = self.limits.of(quota);
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1));
        // Not `then_some`: that makes a slot in any case, and one that is dropped gives back.
        taken.is_ok().then(|| Slot(used))
    }

    fn give_back(&self, quota: Quota, slots: usize) {
        self.used[quota.index()].fetch_sub(slots, Ordering::Relaxed);
    }

    /// Reclaims values of this quota that ended, wherever they are, until at least one is found.
    fn make_room(&self, quota: Quota, now: Timestamp) -> bool {
        self.parts.iter().any(|part| self.reclaim(&mut lock(&part.shard), quota, now, RECLAIM_FOR_ROOM) > 0)
    }

    fn reclaim(&self, shard: &mut Shard, quota: Quota, now: Timestamp, most: usize) -> usize {
        let reclaimed = shard.reclaim(quota, now, most);
        if reclaimed > 0 {
            self.give_back(quota, reclaimed);
        }
        reclaimed
    }

    fn part(&self, key: &Key) -> &Part {
        // Less than PARTS, so it fits whatever `usize` is.
        &self.parts[(self.hasher.hash_one(key.as_str()) % PARTS as u64) as usize]
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("paid", &self.used[Quota::Paid.index()])
            .field("free", &self.used[Quota::Free.index()])
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn durability(&self) -> Durability {
        Durability::Volatile { boot: self.boot }
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        Step::ready(Ok(self.read(key)))
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
        Step::ready(Ok(self.page(prefix, after, limit)))
    }

    fn usage<'a>(&'a self, quota: Quota) -> Step<'a, Result<Option<Usage>, StoreError>> {
        let keys = self.used[quota.index()].load(Ordering::Relaxed) as u64;
        Step::ready(Ok(Some(Usage::of(quota, keys, self.limits))))
    }

    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        Step::boxed(async move {
            loop {
                // Registered before looking, so that no write falls in between.
                let mut written = pin!(self.part(key).bell.notified());
                written.as_mut().enable();
                if self.read(key).map(|current| current.version) != Some(since) {
                    return;
                }
                written.await;
            }
        })
    }
}

/// Where the keys of one hash are.
#[derive(Default)]
struct Part {
    shard: Mutex<Shard>,
    /// Rung when one of them was written: who waits for another one looks and waits on.
    bell: Notify,
}

/// Room for one key.
struct Slot<'a>(&'a AtomicUsize);

impl Slot<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A panic while a shard is locked could only come from the allocator; what it holds is whole after every statement
/// that matters.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const PARTS: usize = 64;
/// More than the one value a write can add, so that ended values never pile up.
const RECLAIM_PER_WRITE: usize = 2;
const RECLAIM_FOR_ROOM: usize = 32;
