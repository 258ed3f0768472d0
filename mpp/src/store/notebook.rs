//! What a method has to remember between payments: pages in the server's own store, under the method's name.
//!
//! The pipeline journals every payment by itself; a method needs this only for what is more than one payment (a budget, a
//! channel, a counter) or for what has to be on disk between two steps of one (bytes that are about to be broadcast).
//! [`SettleCx::notebook`](crate::method::SettleCx::notebook) hands it in. `verify` gets none: it has no side effects.
//!
//! Pages are shared by all processes of a deployment, change by compare-and-swap only, and are sealed like settlement plans
//! are (`seal.rs`): what a page says is private, its name is not. Many outlive the secret that sealed them, so a page also says
//! how long it is kept: `Mpp::recover` seals it again for the rest of that time.

use super::seal::{Opened, Sealer};
use super::{Cas, Keep, Key, MemoryStore, Quota, Store, StoreError, Versioned, Write};
use crate::clock::{Clock, SystemClock};
use crate::protocol::{MethodName, Secret, SecretRing, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const NOTE: &str = "note";

/// How often a page is tried again when others change it at the same time. Each failure is somebody else's success.
const TURNS: usize = 256;

/// The pages of one method in the server's store.
///
/// A page is any value that serde can write; its name is any text without secrets. Whoever changes a page sees what is on
/// it first, so that nothing is lost however many processes write at once.
///
/// ```
/// use mpp::store::{Keep, Notebook, Turn};
/// use std::time::Duration;
///
/// /// Takes `amount` out of a daily allowance; `false` when it is used up.
/// async fn spend(notebook: &Notebook, amount: u64) -> Result<bool, mpp::store::NotebookError> {
///     let two_days = Keep::For(Duration::from_secs(2 * 24 * 60 * 60));
///     notebook
///         .turn("spent/2026-11-21", |spent: Option<u64>| match spent.unwrap_or(0) + amount {
///             total if total <= 100 => Turn::write(total, two_days, true),
///             _ => Turn::leave(false),
///         })
///         .await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::NotebookError> {
/// let notebook = Notebook::volatile("example");
/// assert_eq!((spend(&notebook, 60).await?, spend(&notebook, 60).await?), (true, false));
/// assert_eq!(notebook.read::<u64>("spent/2026-11-21").await?, Some(60));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Notebook {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
    /// `note/<method>`: method names have no `/`, so one method never reads another's page.
    kind: String,
    quota: Quota,
    clock: Arc<dyn Clock>,
}

/// What becomes of a page that was just read.
///
/// ```
/// use mpp::store::{Keep, Turn};
/// let counted: Turn<u64, &str> = Turn::write(7, Keep::Live, "seven");
/// assert!(matches!(counted, Turn::Write { page: 7, .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn<T, R> {
    /// It says this from now on.
    Write {
        /// The new content.
        page: T,
        /// How long it has to be kept; [`Keep::Live`] counts against the store's room until it is removed.
        keep: Keep,
        /// What [`Notebook::turn`] returns.
        result: R,
    },
    /// It is torn out.
    Remove(R),
    /// It stays.
    Leave(R),
}

impl<T, R> Turn<T, R> {
    /// [`Turn::Write`].
    ///
    /// ```
    /// # use mpp::store::{Keep, Turn};
    /// let first: Turn<&str, ()> = Turn::write("hello", Keep::Live, ());
    /// assert_ne!(first, Turn::leave(()));
    /// ```
    pub fn write(page: T, keep: Keep, result: R) -> Self {
        Self::Write { page, keep, result }
    }

    /// [`Turn::Leave`].
    ///
    /// ```
    /// # use mpp::store::Turn;
    /// assert_eq!(Turn::<u8, _>::leave(3), Turn::Leave(3));
    /// ```
    pub fn leave(result: R) -> Self {
        Self::Leave(result)
    }
}

/// Why a page could not be read or written. For the operator: answer the client with
/// [`Rejection::unavailable`](crate::method::Rejection::unavailable).
///
/// ```
/// use mpp::store::NotebookError;
/// assert!(NotebookError::Unreadable.to_string().contains("rotated away"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotebookError {
    /// The store failed or is full. After [`StoreError::Backend`] the page may have been written or not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there was written by another release, or under a secret that has been rotated away.
    #[error(
        "a page of the notebook cannot be read: was it written by another release, or its secret rotated away?"
    )]
    Unreadable,
    /// What was to be written cannot be expressed in JSON.
    #[error("a page cannot be written as JSON")]
    Unwritable,
    /// Others kept changing it first.
    #[error("a page of the notebook is changed too often at the same time")]
    Contended,
}

impl Notebook {
    /// A notebook in memory, for tests of a method outside the pipeline.
    ///
    /// # Panics
    /// When `method` is not a [method's name](MethodName::from_static).
    ///
    /// ```
    /// # use mpp::store::{Keep, Notebook, Turn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::NotebookError> {
    /// let notebook = Notebook::volatile("example");
    /// notebook.turn("greeting", |_: Option<String>| Turn::write("hello".into(), Keep::Live, ())).await?;
    /// assert_eq!(notebook.read::<String>("greeting").await?.as_deref(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn volatile(method: &'static str) -> Self {
        let sealer = Sealer::new(&SecretRing::new(Secret::generate()));
        let name = MethodName::from_static(method);
        Self::new(Arc::new(MemoryStore::new()), Arc::new(sealer), &name, Quota::Paid, Arc::new(SystemClock))
    }

    /// The pages of `method` in `store`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        sealer: Arc<Sealer>,
        method: &MethodName,
        quota: Quota,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, sealer, kind: [NOTE, "/", method.as_str()].concat(), quota, clock }
    }

    /// What the page says; `None` when there is none.
    ///
    /// # Errors
    /// [`NotebookError::Store`] and [`NotebookError::Unreadable`].
    ///
    /// ```
    /// # use mpp::store::Notebook;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::NotebookError> {
    /// assert_eq!(Notebook::volatile("example").read::<u64>("never written").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read<T: DeserializeOwned>(&self, page: &str) -> Result<Option<T>, NotebookError> {
        let key = self.key(page);
        self.store.get(&key).await?.map(|there| self.content(&key, &there)).transpose()
    }

    /// Reads the page, lets `change` say what becomes of it, and does that if nobody else was faster; otherwise it starts
    /// again with what is there now. Returns what `change` said last.
    ///
    /// `change` may be asked several times: it must only compute.
    ///
    /// # Errors
    /// [`NotebookError`]. After [`StoreError::Backend`] the page may have been written or not.
    ///
    /// ```
    /// # use mpp::store::{Keep, Notebook, Turn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::NotebookError> {
    /// let notebook = Notebook::volatile("example");
    /// // Whoever is first writes; the others learn what they were too late for.
    /// let first = |mine: &'static str| {
    ///     let notebook = &notebook;
    ///     async move {
    ///         notebook
    ///             .turn("winner", |there: Option<String>| match there {
    ///                 None => Turn::write(mine.to_owned(), Keep::Live, mine.to_owned()),
    ///                 Some(winner) => Turn::leave(winner),
    ///             })
    ///             .await
    ///     }
    /// };
    /// assert_eq!(first("a").await?, "a");
    /// assert_eq!(first("b").await?, "a");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn turn<T, R>(
        &self,
        page: &str,
        change: impl FnMut(Option<T>) -> Turn<T, R>,
    ) -> Result<R, NotebookError>
    where
        T: Serialize + DeserializeOwned,
    {
        self.change(page, |unread| unread.map(Some), change).await
    }

    /// As [`turn`](Self::turn), for a page that may be forgotten: one that cannot be read any more counts as empty.
    #[cfg(any(test, feature = "evm"))]
    pub(crate) async fn turn_or_forget<T, R>(
        &self,
        page: &str,
        change: impl FnMut(Option<T>) -> Turn<T, R>,
    ) -> Result<R, NotebookError>
    where
        T: Serialize + DeserializeOwned,
    {
        self.change(page, |unread| Ok(unread.ok()), change).await
    }

    async fn change<T, R>(
        &self,
        page: &str,
        read: impl Fn(Result<T, NotebookError>) -> Result<Option<T>, NotebookError>,
        mut change: impl FnMut(Option<T>) -> Turn<T, R>,
    ) -> Result<R, NotebookError>
    where
        T: Serialize + DeserializeOwned,
    {
        let key = self.key(page);
        for _ in 0..TURNS {
            let (version, content) = match self.store.get(&key).await? {
                Some(there) => (Some(there.version), read(self.content(&key, &there))?),
                None => (None, None),
            };
            let (write, result) = match change(content) {
                Turn::Leave(result) => return Ok(result),
                Turn::Remove(result) if version.is_none() => return Ok(result),
                Turn::Remove(result) => (None, result),
                Turn::Write { page, keep, result } => {
                    (Some(Write { value: self.sealed(&key, &page, keep)?, keep }), result)
                }
            };
            match self.store.cas(&key, version, write).await? {
                Cas::Written(_) | Cas::Removed => return Ok(result),
                Cas::Conflict(_) => {}
            }
        }
        Err(NotebookError::Contended)
    }

    fn key(&self, page: &str) -> Key {
        Key::new(self.quota, &self.kind, page)
    }

    fn content<T: DeserializeOwned>(&self, key: &Key, there: &Versioned) -> Result<T, NotebookError> {
        let plain = self.sealer.open(key.as_str(), &there.value).ok_or(NotebookError::Unreadable)?;
        serde_json::from_slice(kept(&plain).1).map_err(|_| NotebookError::Unreadable)
    }

    fn sealed<T: Serialize>(&self, key: &Key, page: &T, keep: Keep) -> Result<Vec<u8>, NotebookError> {
        let mut plain = match keep {
            Keep::Live => vec![LIVE],
            Keep::For(time) => {
                let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
                let whole = Duration::from_secs(seconds);
                [&[UNTIL][..], &(self.clock.now() + whole).unix().to_be_bytes()].concat()
            }
        };
        serde_json::to_writer(&mut plain, page).map_err(|_| NotebookError::Unwritable)?;
        // Sealed under its own name: a page cannot be put in the place of another.
        self.sealer.seal(key.as_str(), &plain).ok_or(NotebookError::Unwritable)
    }
}

/// Before the JSON, which begins with neither: it is kept until it is removed, or until this second (eight bytes, big endian).
const LIVE: u8 = 1;
const UNTIL: u8 = 2;

/// Until when a page is kept, and its JSON. One of a release that did not write down how long is kept: it may be about a payment.
fn kept(plain: &[u8]) -> (Option<Timestamp>, &[u8]) {
    match plain.split_first() {
        Some((&LIVE, json)) => (None, json),
        Some((&UNTIL, rest)) => match rest.split_first_chunk() {
            Some((until, json)) => (Some(Timestamp::from_unix(i64::from_be_bytes(*until))), json),
            None => (None, rest),
        },
        _ => (None, plain),
    }
}

/// So many pages of any method, in the order of their keys, after this one.
pub(crate) async fn all_pages(
    store: &dyn Store,
    quota: Quota,
    after: Option<&Key>,
) -> Result<Vec<(Key, Versioned)>, StoreError> {
    const PAGES: usize = 100;
    store.scan(&[quota.name(), "/", NOTE, "/"].concat(), after, PAGES).await
}

/// Seals a page with the first of the secrets if another one did; it is kept for as long as before.
///
/// # Errors
/// [`StoreError::Unreadable`] when none of the secrets opens it. That somebody else changed it is none: that was with a newer one.
pub(crate) async fn seal_again(
    store: &dyn Store,
    sealer: &Sealer,
    key: &Key,
    there: Versioned,
    now: Timestamp,
) -> Result<(), StoreError> {
    let plain = match sealer.look(key.as_str(), &there.value) {
        None => return Err(StoreError::Unreadable(format!("the page {}", key.as_str()))),
        Some(Opened::ByFirst(_)) => return Ok(()),
        Some(Opened::ByAnother(plain)) => plain,
    };
    let keep = match kept(&plain).0 {
        None => Keep::Live,
        Some(until) if until > now => Keep::For(until.since(now)),
        Some(_) => return Ok(()),
    };
    let Some(value) = sealer.seal(key.as_str(), &plain) else { return Ok(()) };
    store.cas(key, Some(there.version), Some(Write { value, keep })).await.map(drop)
}

impl fmt::Debug for Notebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notebook").field(&self.kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Keep = Keep::For(std::time::Duration::from_secs(3600));

    #[tokio::test]
    async fn nothing_is_lost_when_many_write_at_once() {
        let notebook = Notebook::volatile("example");
        let counting = (0..20).map(|_| {
            let notebook = notebook.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let count = |n: Option<u64>| Turn::write(n.unwrap_or(0) + 1, HOUR, ());
                    notebook.turn("count", count).await.unwrap();
                }
            })
        });
        for task in counting.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(notebook.read::<u64>("count").await, Ok(Some(200)));
    }

    #[tokio::test]
    async fn a_method_reads_its_own_pages_only_and_the_store_holds_none_in_the_clear() {
        let store = Arc::new(MemoryStore::new());
        let sealer = Arc::new(Sealer::new(&SecretRing::new(Secret::generate())));
        let notebook = |method: &'static str, sealer: &Arc<Sealer>| {
            let (name, clock) = (MethodName::from_static(method), Arc::new(SystemClock));
            Notebook::new(store.clone(), sealer.clone(), &name, Quota::Paid, clock)
        };
        let one = notebook("one", &sealer);
        one.turn("page", |_: Option<String>| Turn::write("signed bytes".into(), HOUR, ())).await.unwrap();
        assert_eq!(notebook("two", &sealer).read::<String>("page").await, Ok(None));

        let (key, there) = store.scan("", None, 10).await.unwrap().remove(0);
        assert_eq!(key.as_str(), "paid/note/one/page");
        assert!(!there.value.windows(6).any(|w| w == b"signed"));
        // Moved to another name, or opened with another secret, it is refused and not misread.
        let write = Write { value: there.value, keep: HOUR };
        store.cas(&Key::new(Quota::Paid, "note/one", "other"), None, Some(write)).await.unwrap();
        assert_eq!(one.read::<String>("other").await, Err(NotebookError::Unreadable));
        let stranger = Arc::new(Sealer::new(&SecretRing::new(Secret::generate())));
        assert_eq!(notebook("one", &stranger).read::<String>("page").await, Err(NotebookError::Unreadable));
        assert_eq!(one.read::<u64>("page").await, Err(NotebookError::Unreadable));
    }

    #[tokio::test]
    async fn a_page_is_sealed_again_for_the_rest_of_its_time_and_a_live_one_stays_live() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
        let store = Arc::new(MemoryStore::new().with_clock(clock.clone()));
        let (old, new) = (Secret::generate(), Secret::generate());
        let deployed = |ring: SecretRing| {
            let (sealer, name) = (Arc::new(Sealer::new(&ring)), MethodName::from_static("example"));
            Notebook::new(store.clone(), sealer, &name, Quota::Paid, clock.clone())
        };
        let before = deployed(SecretRing::new(old.clone()));
        before.turn("hour", |_: Option<u8>| Turn::write(1, HOUR, ())).await.unwrap();
        before.turn("live", |_: Option<u8>| Turn::write(2, Keep::Live, ())).await.unwrap();
        // As a release wrote it that did not say how long.
        let live = before.key("of before");
        let value = before.sealer.seal(live.as_str(), b"3").unwrap();
        store.cas(&live, None, Some(Write { value, keep: HOUR })).await.unwrap();

        clock.advance(Duration::from_secs(1800));
        let both = Sealer::new(&SecretRing::new(new.clone()).also(old));
        let pages = all_pages(&*store, Quota::Paid, None).await.unwrap();
        for (key, there) in pages.iter().cloned() {
            seal_again(&*store, &both, &key, there, clock.now()).await.unwrap();
        }
        let after = deployed(SecretRing::new(new));
        for (page, says) in [("hour", 1), ("live", 2), ("of before", 3)] {
            assert_eq!(after.read::<u8>(page).await, Ok(Some(says)), "{page}");
        }
        // Somebody was faster: what they wrote stands.
        let (key, former) = pages.into_iter().find(|(key, _)| key.as_str().ends_with("/live")).unwrap();
        seal_again(&*store, &both, &key, former, clock.now()).await.unwrap();
        // Under the first secret nothing is written.
        let there = store.get(&key).await.unwrap().unwrap();
        seal_again(&*store, &both, &key, there.clone(), clock.now()).await.unwrap();
        assert_eq!(store.get(&key).await, Ok(Some(there)));

        clock.advance(Duration::from_secs(1800));
        for (page, says) in [("hour", None), ("live", Some(2)), ("of before", Some(3))] {
            assert_eq!(after.read::<u8>(page).await, Ok(says), "{page}");
        }
    }

    #[tokio::test]
    async fn a_page_that_nobody_can_read_is_refused_unless_it_may_be_forgotten() {
        let store = Arc::new(MemoryStore::new());
        let deployed = || {
            let sealer = Arc::new(Sealer::new(&SecretRing::new(Secret::generate())));
            let (name, clock) = (MethodName::from_static("example"), Arc::new(SystemClock));
            Notebook::new(store.clone(), sealer, &name, Quota::Paid, clock)
        };
        let (before, after) = (deployed(), deployed());
        let count = |n: Option<u8>| Turn::write(n.unwrap_or(0) + 1, HOUR, n);
        before.turn("page", count).await.unwrap();
        assert_eq!(after.turn("page", count).await, Err(NotebookError::Unreadable));
        assert_eq!(before.read::<u8>("page").await, Ok(Some(1)), "it was left as it is");
        assert_eq!(after.turn_or_forget("page", count).await, Ok(None));
        assert_eq!(after.turn_or_forget("page", count).await, Ok(Some(1)), "a readable one is not forgotten");
        let (key, there) = all_pages(&*store, Quota::Paid, None).await.unwrap().remove(0);
        let told = seal_again(&*store, &before.sealer, &key, there, SystemClock.now()).await;
        assert!(matches!(told, Err(StoreError::Unreadable(_))), "{told:?}");
    }

    #[tokio::test]
    async fn a_page_is_removed_once_and_a_removed_one_is_absent() {
        let notebook = Notebook::volatile("example");
        notebook.turn("page", |_: Option<u8>| Turn::write(1, HOUR, ())).await.unwrap();
        let tear = |there: Option<u8>| Turn::<u8, _>::Remove(there.is_some());
        assert_eq!(notebook.turn("page", tear).await, Ok(true));
        assert_eq!(notebook.turn("page", tear).await, Ok(false));
        assert_eq!(notebook.read::<u8>("page").await, Ok(None));
    }
}
