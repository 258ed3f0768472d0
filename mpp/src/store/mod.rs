//! A versioned key-value store with compare-and-swap: the one thing a backend has to provide.
//!
//! Claims, journals, leases and sandbox accounts are built on it once, in the pipeline. Single-key compare-and-swap
//! is enough: the order of claims is fixed, and the journal entry under the challenge id is the commit point.
//!
//! What a payment method itself has to remember is on the pages of its [`Notebook`].
//!
//! Backends: [`MemoryStore`] (volatile, bounded), and with the feature of their name `RedbStore` (one file, durable),
//! `RedisStore` and `PostgresStore` (shared by many servers). Every backend passes `mpp::testing::store_conformance`; a third party's store can be held to it too.

mod deadline;
mod limits;
mod memory;
pub(crate) mod notebook;
#[cfg(feature = "postgres")]
mod postgres;
mod reading;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "redis")]
mod redis;
pub(crate) mod seal;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod time;
#[cfg(feature = "redb")]
mod wakeups;

#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "redb")]
pub use self::redb::RedbStore;
#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStore};
pub use limits::{Limits, Usage};
pub use memory::MemoryStore;
pub use notebook::{Notebook, NotebookError, Turn};
pub use reading::ReadOnly;

use crate::method::Step;
use std::fmt;
use std::time::Duration;

/// A versioned key-value store with compare-and-swap.
///
/// A store of your own can be held to this contract by `mpp::testing::store_conformance`.
///
/// ```
/// use mpp::store::{Cas, Keep, Key, MemoryStore, Quota, Store, Write};
///
/// /// Counts without losing one, however many count at once.
/// async fn count(store: &impl Store, key: &Key) -> Result<u64, mpp::store::StoreError> {
///     loop {
///         let current = store.get(key).await?;
///         let seen = current.as_ref().map_or(0, |there| there.value.len() as u64);
///         let next = Write { value: vec![b'|'; seen as usize + 1], keep: Keep::Live };
///         if let Cas::Written(_) = store.cas(key, current.map(|there| there.version), Some(next)).await? {
///             return Ok(seen + 1);
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// let (store, key) = (MemoryStore::new(), Key::new(Quota::Paid, "visits", "today"));
/// assert_eq!((count(&store, &key).await?, count(&store, &key).await?), (1, 2));
/// # Ok(())
/// # }
/// ```
///
/// # Contract
/// - Linearizable per key: of several `cas` calls that expect the same version, exactly one is written.
/// - Versions of a key never repeat, also not after a removal or an expiry.
/// - A write is durable when `cas` returns, if [`durability`](Self::durability) says so.
/// - Values written with [`Keep::Live`] are never dropped; those with [`Keep::For`] may be dropped after that time and
///   must not be returned after it.
/// - A full store refuses new keys ([`StoreError::Full`]) per [`Quota`]; it never evicts a live value and never
///   refuses to update or remove a key it holds.
/// - No call holds a connection or lock while it waits for something else.
pub trait Store: Send + Sync + 'static {
    /// Whether values survive the process.
    fn durability(&self) -> Durability;

    /// The current value.
    ///
    /// # Errors
    /// [`StoreError`] when the backend fails; the pipeline answers 503.
    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>>;

    /// Writes `new` (or removes the key) if its version is still `expect`; `None` expects absence.
    ///
    /// A call that is dropped before it answered may still write.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room for a new key: nothing was written. [`StoreError::Backend`] when the
    /// backend fails: it may have been written or not, and only reading again tells. A lost race is not an error:
    /// [`Cas::Conflict`].
    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>>;

    /// Keys that start with `prefix`, in order of their text, after `after`, at most `limit`: for sweepers. Only an
    /// empty page is the end. What is written or removed meanwhile may be in it or not.
    ///
    /// # Errors
    /// [`StoreError`] when the backend fails.
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>>;

    /// How many keys of this quota are there, and how many fit; `None` of a store that does not count. For whoever watches
    /// it, seldom: not for each payment.
    ///
    /// # Errors
    /// [`StoreError`] when the backend fails.
    fn usage<'a>(&'a self, _quota: Quota) -> Step<'a, Result<Option<Usage>, StoreError>> {
        Step::ready(Ok(None))
    }

    /// Returns when the key's version may differ from `since`. Spurious returns are fine, and a value whose time ends
    /// need not wake anybody: callers read again, and bound the wait.
    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        Step::boxed(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                match self.get(key).await {
                    Ok(Some(current)) if current.version == since => {}
                    Ok(_) | Err(_) => return,
                }
            }
        })
    }
}

/// Whether a store survives the process.
///
/// ```
/// use mpp::store::{Durability, MemoryStore, Store};
/// let (one, another) = (MemoryStore::new().durability(), MemoryStore::new().durability());
/// assert!(matches!(one, Durability::Volatile { .. }));
/// assert_ne!(one, another, "each has its own boot id");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does.
    Durable,
    /// It does not: real-money methods on it need `.single_process_volatile_store()`.
    Volatile {
        /// Random, made with the store: mixed into the challenges issued over it, so that they are refused once what
        /// they were used for is forgotten.
        boot: [u8; 16],
    },
}

/// Which allowance a key counts against, so that free proofs cannot close the paid routes.
///
/// ```
/// use mpp::store::{Key, Quota};
/// assert_ne!(Key::new(Quota::Paid, "claim", "a"), Key::new(Quota::Free, "claim", "a"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quota {
    /// Real money.
    Paid,
    /// Zero-amount proofs and test money.
    Free,
}

/// A key: its quota, what it is for, and which one.
///
/// ```
/// use mpp::store::{Key, Quota};
/// let key = Key::new(Quota::Paid, "entry", "n3vQ");
/// assert_eq!(key.as_str(), "paid/entry/n3vQ");
/// assert_eq!(key.quota(), Quota::Paid);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    text: String,
    quota: Quota,
}

impl Key {
    /// `quota/kind/id`.
    ///
    /// ```
    /// # use mpp::store::{Key, Quota};
    /// assert_eq!(Key::new(Quota::Free, "claim", "a/b").as_str(), "free/claim/a/b");
    /// ```
    pub fn new(quota: Quota, kind: &str, id: &str) -> Self {
        Self { text: [quota.name(), "/", kind, "/", id].concat(), quota }
    }

    /// `quota/kind/owner/id`.
    #[cfg(feature = "sandbox")]
    pub(crate) fn within(quota: Quota, kind: &str, owner: &str, id: &str) -> Self {
        Self { text: [quota.name(), "/", kind, "/", owner, "/", id].concat(), quota }
    }

    /// Reads a key back from its text, for backends.
    ///
    /// ```
    /// # use mpp::store::{Key, Quota};
    /// let key = Key::new(Quota::Free, "claim", "a");
    /// assert_eq!(Key::from_text(key.as_str().to_owned()), Some(key));
    /// assert_eq!(Key::from_text("something else".to_owned()), None);
    /// ```
    pub fn from_text(text: String) -> Option<Self> {
        let quota = match text.split('/').next()? {
            "paid" => Quota::Paid,
            "free" => Quota::Free,
            _ => return None,
        };
        Some(Self { text, quota })
    }

    /// The whole key.
    ///
    /// ```
    /// # use mpp::store::{Key, Quota};
    /// assert_eq!(Key::new(Quota::Paid, "entry", "a").as_str(), "paid/entry/a");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it counts against.
    ///
    /// ```
    /// # use mpp::store::{Key, Quota};
    /// assert_eq!(Key::new(Quota::Free, "entry", "a").quota(), Quota::Free);
    /// ```
    pub fn quota(&self) -> Quota {
        self.quota
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without its id: that of a proof may be a token that pays.
        let mut parts = self.text.splitn(3, '/');
        let (quota, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        write!(f, "Key({quota}/{kind}/..)")
    }
}

impl Quota {
    /// First segment of its keys.
    ///
    /// ```
    /// assert_eq!(mpp::store::Quota::Free.name(), "free");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Free => "free",
        }
    }

    /// The one that this is not.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Paid => Self::Free,
            Self::Free => Self::Paid,
        }
    }

    /// Its place in a backend's tables.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Paid => 0,
            Self::Free => 1,
        }
    }
}

/// Version of a value; never repeats for a key.
///
/// Only equality has a meaning: whether this is still the same write. See [`Store`] for its use.
///
/// ```
/// use mpp::store::Version;
/// assert_ne!(Version(1), Version(2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A value and its version. `Debug` shows its length, not the value.
///
/// ```
/// use mpp::store::{Version, Versioned};
/// let there = Versioned { version: Version(7), value: b"sealed".to_vec() };
/// assert_eq!(format!("{there:?}"), "Versioned { version: Version(7), bytes: 6 }");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Versioned {
    /// To be named in the next `cas`.
    pub version: Version,
    /// The bytes written.
    pub value: Vec<u8>,
}

impl fmt::Debug for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may hold sealed plans and receipts.
        f.debug_struct("Versioned").field("version", &self.version).field("bytes", &self.value.len()).finish()
    }
}

/// What to write. `Debug` shows its length, not the value.
///
/// ```
/// use mpp::store::{Keep, Write};
/// let write = Write { value: b"sealed".to_vec(), keep: Keep::Live };
/// assert_eq!(format!("{write:?}"), "Write { bytes: 6, keep: Live }");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// The bytes.
    pub value: Vec<u8>,
    /// How long they must be kept.
    pub keep: Keep,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("bytes", &self.value.len()).field("keep", &self.keep).finish()
    }
}

/// How long a value must be kept.
///
/// ```
/// use mpp::store::{Cas, Keep, Key, MemoryStore, Quota, Store, Write};
/// use mpp::{ManualClock, protocol::Timestamp};
/// use std::{sync::Arc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
/// let store = MemoryStore::new().with_clock(clock.clone());
/// let key = Key::new(Quota::Paid, "claim", "n3vQ");
/// let minute = Keep::For(Duration::from_secs(60));
/// store.cas(&key, None, Some(Write { value: vec![1], keep: minute })).await?;
/// clock.advance(Duration::from_secs(59));
/// assert!(store.get(&key).await?.is_some());
/// clock.advance(Duration::from_secs(1));
/// assert!(store.get(&key).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Until it is overwritten or removed.
    Live,
    /// This long from now by the store's clock, in seconds (a started one counts whole); as absent from then on.
    For(Duration),
}

/// Outcome of a compare-and-swap.
///
/// ```
/// use mpp::store::{Cas, Key, MemoryStore, Quota, Store, Version};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// let key = Key::new(Quota::Paid, "claim", "nobody's");
/// let removed = MemoryStore::new().cas(&key, Some(Version(7)), None).await?;
/// assert_eq!(removed, Cas::Conflict(None), "there is no such version");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cas {
    /// Written, under this version.
    Written(Version),
    /// Removed.
    Removed,
    /// Somebody else was first; this is what is there now.
    Conflict(Option<Versioned>),
}

/// Why a store could not answer.
///
/// ```
/// use mpp::store::{Quota, StoreError};
/// assert_eq!(StoreError::Full(Quota::Free).to_string(), "the store has no room for more free keys");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room for new keys of this quota.
    #[error("the store has no room for more {} keys", .0.name())]
    Full(Quota),
    /// The backend failed or is out of reach. For the operator's log.
    #[error("the store failed: {0}")]
    Backend(String),
    /// Something in it is nothing that this version writes. It is left as it is, and is never treated as absent.
    #[error("unreadable in the store: {0}")]
    Unreadable(String),
}
