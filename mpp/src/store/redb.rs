//! The embedded durable store: one file, ACID, no server.
//!
//! Writes go through one thread that owns the write transactions: it takes whatever is waiting, applies it in order in
//! one transaction, makes that durable with one flush and then answers everybody. So concurrent writers share the cost
//! of the disk, and a write is durable when `cas` returns. Reads run on the blocking pool, bounded by a semaphore, from
//! the last durable state. No async thread waits for the disk.
//!
//! Versions come from one counter that is stored with the values, so they repeat neither after a removal nor after a
//! restart. Values that ended are reclaimed in small batches by the writes that follow.

use super::deadline::Deadline;
use super::wakeups::Wakeups;
use super::{Cas, Durability, Key, Limits, Quota, Store, StoreError, Usage, Version, Versioned, Write};
use crate::clock::{Clock, SystemClock};
use crate::method::Step;
use crate::protocol::Timestamp;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition, TableHandle};
use std::fmt;
use std::fs::OpenOptions;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// A [`Store`] in one file, durable: a write has reached the disk when `cas` returns.
///
/// One process opens the file at a time. The file is created readable by its owner only. Calls must be made on a tokio
/// runtime.
///
/// ```
/// use mpp::store::{Keep, Key, Quota, RedbStore, Store, Write};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// # let directory = std::env::temp_dir().join(format!("mpp-doc-redb-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("payments.redb");
/// let key = Key::new(Quota::Paid, "claim", "n3vQ");
/// let store = RedbStore::open(&path)?;
/// store.cas(&key, None, Some(Write { value: b"mine".to_vec(), keep: Keep::Live })).await?;
/// drop(store);
///
/// let reopened = RedbStore::open(&path)?;
/// assert_eq!(reopened.get(&key).await?.unwrap().value, b"mine");
/// # drop(reopened);
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok(())
/// # }
/// ```
pub struct RedbStore {
    shared: Arc<Shared>,
    readers: Arc<Semaphore>,
    // Both are there until the store is dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

/// What the store, its writer and its readers share.
struct Shared {
    database: Database,
    path: PathBuf,
    settings: RwLock<Settings>,
    wakeups: Wakeups,
}

#[derive(Clone)]
struct Settings {
    clock: Arc<dyn Clock>,
    limits: Limits,
}

/// One `cas`, on its way to the writer.
struct Request {
    key: Key,
    expect: Option<Version>,
    new: Option<Write>,
    answer: oneshot::Sender<Result<Cas, StoreError>>,
}

impl RedbStore {
    /// Opens the store file, creating it if it is not there. Blocks for as long as that takes; a file that was not
    /// closed properly is checked and repaired first. For start-up.
    ///
    /// # Errors
    /// [`StoreError::Backend`] when the file cannot be opened, is in use by another process or store, is no store file
    /// or is damaged beyond repair.
    ///
    /// ```
    /// use mpp::store::{RedbStore, StoreError};
    /// let nowhere = std::env::temp_dir().join("mpp-no-such-directory/payments.redb");
    /// assert!(matches!(RedbStore::open(nowhere), Err(StoreError::Backend(_))));
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let database = open_file(&path)?;
        let last_version = prepare(&database, &path)?;
        let settings = Settings { clock: Arc::new(SystemClock), limits: Limits::DURABLE };
        let shared =
            Arc::new(Shared { database, path, settings: RwLock::new(settings), wakeups: Wakeups::new() });
        let (requests, queue) = mpsc::channel(QUEUE);
        let mut writer = Writer { shared: shared.clone(), last_version };
        let writer = std::thread::Builder::new()
            .name("mpp-store".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|e| StoreError::Backend(format!("the store's thread cannot be started: {e}")))?;
        let readers = Arc::new(Semaphore::new(READERS));
        Ok(Self { shared, readers, requests: Some(requests), writer: Some(writer) })
    }

    /// Takes this many keys instead of [`Limits::DURABLE`]. Keys that are there stay, whatever the limit.
    ///
    /// ```
    /// use mpp::store::{Limits, RedbStore};
    /// # let path = std::env::temp_dir().join(format!("mpp-doc-limits-{}.redb", std::process::id()));
    /// let store = RedbStore::open(&path)?.with_limits(Limits { paid: 10_000_000, free: 100_000 });
    /// # drop(store);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), mpp::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.shared.settings.write().unwrap_or_else(PoisonError::into_inner).limits = limits;
        self
    }

    /// Takes the time from this clock.
    ///
    /// ```
    /// use mpp::{ManualClock, protocol::Timestamp, store::RedbStore};
    /// use std::sync::Arc;
    ///
    /// # let path = std::env::temp_dir().join(format!("mpp-doc-clock-{}.redb", std::process::id()));
    /// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// let store = RedbStore::open(&path)?.with_clock(clock);
    /// # drop(store);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), mpp::store::StoreError>(())
    /// ```
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.shared.settings.write().unwrap_or_else(PoisonError::into_inner).clock = clock;
        self
    }

    async fn swap(&self, key: &Key, expect: Option<Version>, new: Option<Write>) -> Result<Cas, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { key: key.clone(), expect, new, answer };
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(request).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Runs a read off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.readers.clone().acquire_owned().await.map_err(|_| stopped())?;
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&shared)
        });
        read.await.map_err(|e| StoreError::Backend(format!("a read did not finish: {e}")))?
    }
}

impl Drop for RedbStore {
    /// Waits for the writer to finish what was handed to it, so that the file can be opened again.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has answered nobody; there is nothing more to say.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Store for RedbStore {
    fn durability(&self) -> Durability {
        Durability::Durable
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        let key = key.clone();
        Step::boxed(self.read(move |shared| shared.get(&key)))
    }

    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        Step::boxed(self.swap(key, expect, new))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        Step::boxed(self.read(move |shared| shared.scan(&prefix, after.as_ref(), limit)))
    }

    fn usage<'a>(&'a self, quota: Quota) -> Step<'a, Result<Option<Usage>, StoreError>> {
        Step::boxed(self.read(move |shared| shared.usage(quota).map(Some)))
    }

    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        Step::boxed(async move {
            loop {
                // Registered before looking, so that no write falls in between.
                let mut written = pin!(self.shared.wakeups.listen(key));
                written.as_mut().enable();
                match self.get(key).await {
                    Ok(Some(current)) if current.version == since => {}
                    // The caller reads again and meets the error itself.
                    Ok(_) | Err(_) => return,
                }
                written.await;
            }
        })
    }
}

impl Shared {
    fn settings(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        let now = self.settings().clock.now();
        let values = self.database.begin_read().map_err(failed)?.open_table(VALUES).map_err(failed)?;
        let value = values.get(key.as_str()).map_err(failed)?;
        Ok(value.and_then(|value| Record::from(value.value()).live(now)))
    }

    fn usage(&self, quota: Quota) -> Result<Usage, StoreError> {
        let limits = self.settings().limits;
        let counters = self.database.begin_read().map_err(failed)?.open_table(COUNTERS).map_err(failed)?;
        Ok(Usage::of(quota, counter(&counters, quota.name())?, limits))
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        let now = self.settings().clock.now();
        let values = self.database.begin_read().map_err(failed)?.open_table(VALUES).map_err(failed)?;
        let from = match after.map(Key::as_str) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut page = Vec::new();
        for entry in values.range::<&str>((from, Bound::Unbounded)).map_err(failed)? {
            let (name, value) = entry.map_err(failed)?;
            if page.len() >= limit || !name.value().starts_with(prefix) {
                break;
            }
            let key = Key::from_text(name.value().to_owned());
            page.extend(key.zip(Record::from(value.value()).live(now)));
        }
        Ok(page)
    }
}

/// The one thread that writes.
struct Writer {
    shared: Arc<Shared>,
    // Ahead of what is stored after a failed commit, never behind it.
    last_version: u64,
}

impl Writer {
    fn run(&mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = queue.try_recv()
            {
                batch.push(next);
            }
            let outcomes = self.commit(&batch);
            for (position, request) in batch.into_iter().enumerate() {
                let outcome = match &outcomes {
                    Ok(outcomes) => outcomes[position].clone(),
                    // Nobody can tell whether a failed commit reached the disk.
                    Err(error) => Err(error.clone()),
                };
                if !matches!(outcome, Ok(Cas::Conflict(_))) {
                    self.shared.wakeups.ring(request.key.as_str());
                }
                // Whoever asked may be gone; the write stands.
                let _ = request.answer.send(outcome);
            }
        }
    }

    /// Applies a batch in order, in one transaction; an outcome per request, or one error for all of them.
    fn commit(&mut self, batch: &[Request]) -> Result<Vec<Result<Cas, StoreError>>, StoreError> {
        let Settings { clock, limits } = self.shared.settings();
        let now = clock.now();
        let mut transaction = self.shared.database.begin_write().map_err(failed)?;
        transaction.set_durability(redb::Durability::Immediate).map_err(failed)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        let changed = {
            let mut counters = transaction.open_table(COUNTERS).map_err(failed)?;
            let mut books = Books {
                values: transaction.open_table(VALUES).map_err(failed)?,
                ending: transaction.open_table(ENDING).map_err(failed)?,
                used: [counter(&counters, Quota::Paid.name())?, counter(&counters, Quota::Free.name())?],
                last_version: self.last_version,
                limits,
                now,
                changes: 0,
            };
            for request in batch {
                outcomes.push(match books.apply(request) {
                    // Full concerns this request only.
                    Err(error @ StoreError::Full(_)) => Err(error),
                    outcome => Ok(outcome?),
                });
            }
            if books.changes > 0 {
                for quota in [Quota::Paid, Quota::Free] {
                    books.reclaim(quota, RECLAIM_PER_BATCH)?;
                }
            }
            self.last_version = books.last_version;
            let (used, changes) = (books.used, books.changes);
            counters.insert(VERSION, self.last_version).map_err(failed)?;
            for quota in [Quota::Paid, Quota::Free] {
                counters.insert(quota.name(), used[quota.index()]).map_err(failed)?;
            }
            changes > 0
        };
        if changed {
            transaction.commit().map_err(failed)?;
        } else {
            transaction.abort().map_err(failed)?;
        }
        Ok(outcomes)
    }
}

/// The tables within one write transaction.
struct Books<'t> {
    values: Table<'t, &'static str, Stored>,
    ending: Table<'t, (u8, i64, u64), &'static str>,
    used: [u64; 2],
    last_version: u64,
    limits: Limits,
    now: Timestamp,
    changes: usize,
}

impl Books<'_> {
    fn apply(&mut self, request: &Request) -> Result<Cas, StoreError> {
        let (name, quota) = (request.key.as_str(), request.key.quota());
        let stored = self.values.get(name).map_err(failed)?.map(|value| Record::from(value.value()));
        let place = stored.as_ref().map(|record| (record.deadline, record.version));
        let current = stored.and_then(|record| record.live(self.now));
        if current.as_ref().map(|current| current.version) != request.expect {
            return Ok(Cas::Conflict(current));
        }
        match &request.new {
            None => {
                if let Some(place) = place {
                    self.values.remove(name).map_err(failed)?;
                    self.forget_end(quota, place)?;
                    self.give_back(quota);
                    self.changes += 1;
                }
                Ok(Cas::Removed)
            }
            Some(write) => {
                match place {
                    Some(place) => self.forget_end(quota, place)?,
                    None => self.take_slot(quota)?,
                }
                self.last_version += 1;
                let (version, deadline) = (self.last_version, Deadline::of(write.keep, self.now));
                self.values.insert(name, (version, deadline.0, write.value.as_slice())).map_err(failed)?;
                if deadline != Deadline::NEVER {
                    self.ending.insert((quota.index() as u8, deadline.0, version), name).map_err(failed)?;
                }
                self.changes += 1;
                Ok(Cas::Written(Version(version)))
            }
        }
    }

    fn take_slot(&mut self, quota: Quota) -> Result<(), StoreError> {
        let limit = self.limits.of(quota) as u64;
        if self.used[quota.index()] >= limit {
            self.reclaim(quota, RECLAIM_FOR_ROOM)?;
        }
        if self.used[quota.index()] >= limit {
            return Err(StoreError::Full(quota));
        }
        self.used[quota.index()] += 1;
        Ok(())
    }

    fn give_back(&mut self, quota: Quota) {
        let used = &mut self.used[quota.index()];
        *used = used.saturating_sub(1);
    }

    fn forget_end(&mut self, quota: Quota, (deadline, version): (Deadline, u64)) -> Result<(), StoreError> {
        if deadline != Deadline::NEVER {
            self.ending.remove((quota.index() as u8, deadline.0, version)).map_err(failed)?;
        }
        Ok(())
    }

    /// Drops at most `most` values of this quota that have ended.
    fn reclaim(&mut self, quota: Quota, most: usize) -> Result<(), StoreError> {
        let quota_number = quota.index() as u8;
        let ended = (quota_number, i64::MIN, 0)..=(quota_number, self.now.unix(), u64::MAX);
        let mut found = Vec::new();
        for entry in self.ending.range(ended).map_err(failed)?.take(most) {
            let (place, name) = entry.map_err(failed)?;
            found.push((place.value(), name.value().to_owned()));
        }
        for (place, name) in found {
            self.ending.remove(place).map_err(failed)?;
            self.values.remove(name.as_str()).map_err(failed)?;
            self.give_back(quota);
            self.changes += 1;
        }
        Ok(())
    }
}

/// A stored value: version, deadline and bytes.
struct Record {
    version: u64,
    deadline: Deadline,
    value: Vec<u8>,
}

impl From<(u64, i64, &[u8])> for Record {
    fn from((version, deadline, value): (u64, i64, &[u8])) -> Self {
        Self { version, deadline: Deadline(deadline), value: value.to_vec() }
    }
}

impl Record {
    fn live(self, now: Timestamp) -> Option<Versioned> {
        let current = Versioned { version: Version(self.version), value: self.value };
        (!self.deadline.passed(now)).then_some(current)
    }
}

fn open_file(path: &Path) -> Result<Database, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // Sealed plans and receipts are nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options
        .open(path)
        .map_err(|e| StoreError::Backend(format!("`{}` cannot be opened: {e}", path.display())))?;
    redb::Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(|e| {
        StoreError::Backend(match e {
            DatabaseError::DatabaseAlreadyOpen => {
                format!(
                    "`{}` is in use by another process or store; one at a time can open it",
                    path.display()
                )
            }
            e => format!("`{}` cannot be used as a store: {e}", path.display()),
        })
    })
}

/// Creates the tables of a new file, checks the format of an old one, and reads the version counter.
fn prepare(database: &Database, path: &Path) -> Result<u64, StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    let last_version = {
        let foreign = transaction.list_tables().map_err(failed)?.any(|table| table.name() != COUNTERS.name());
        let mut counters = transaction.open_table(COUNTERS).map_err(failed)?;
        match counter(&counters, FORMAT)? {
            0 if !foreign => drop(counters.insert(FORMAT, THIS_FORMAT).map_err(failed)?),
            THIS_FORMAT => {}
            format => {
                let path = path.display();
                return Err(StoreError::Backend(match format {
                    0 => format!("`{path}` is a database of another program"),
                    _ => format!("`{path}` has the store format {format}; this release reads {THIS_FORMAT}"),
                }));
            }
        }
        transaction.open_table(VALUES).map_err(failed)?;
        transaction.open_table(ENDING).map_err(failed)?;
        counter(&counters, VERSION)?
    };
    transaction.commit().map_err(failed)?;
    Ok(last_version)
}

/// A counter that was never written is 0.
fn counter(counters: &impl ReadableTable<&'static str, u64>, name: &'static str) -> Result<u64, StoreError> {
    Ok(counters.get(name).map_err(failed)?.map_or(0, |value| value.value()))
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Backend(error.into().to_string())
}

fn stopped() -> StoreError {
    StoreError::Backend("the store has stopped".to_owned())
}

/// Version, deadline (seconds since 1970, `i64::MAX` for none), bytes.
type Stored = (u64, i64, &'static [u8]);

const VALUES: TableDefinition<'_, &str, Stored> = TableDefinition::new("mpp-values");
/// Quota, deadline, version of every value that ends, in this order.
const ENDING: TableDefinition<'_, (u8, i64, u64), &str> = TableDefinition::new("mpp-ending");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("mpp-counters");
/// Besides these two, a counter per quota: the keys it holds.
const VERSION: &str = "version";
const FORMAT: &str = "format";
const THIS_FORMAT: u64 = 1;

/// Writes that wait; more of them wait outside, in their own tasks.
const QUEUE: usize = 1024;
const BATCH: usize = 256;
const READERS: usize = 32;
const CACHE_BYTES: usize = 64 * 1024 * 1024;
const RECLAIM_PER_BATCH: usize = 512; // more than a batch can add
const RECLAIM_FOR_ROOM: usize = 64;
