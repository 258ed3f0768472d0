//! A store that is looked at, and not written to: what a tool beside the servers opens.
//!
//! A server that connects to a database leaves something there even before its first payment (a generation, tables). A tool
//! that does the same would make a tenant that nobody serves, and print it as one that sold nothing.

use super::{Cas, Durability, Key, Quota, Store, StoreError, Usage, Version, Versioned, Write};
use crate::method::Step;

/// What a store is opened for.
#[cfg(any(feature = "redis", feature = "postgres"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To take payments: it is prepared for that, and checked.
    Serving,
    /// To see what is there.
    Reading,
}

/// A [`Store`] that refuses every write.
///
/// ```
/// use mpp::store::{Keep, Key, MemoryStore, Quota, ReadOnly, Store, StoreError, Write};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (store, key) = (ReadOnly::new(MemoryStore::new()), Key::new(Quota::Paid, "claim", "n3vQ"));
/// assert_eq!(store.get(&key).await, Ok(None));
/// let written = store.cas(&key, None, Some(Write { value: b"mine".to_vec(), keep: Keep::Live })).await;
/// assert!(matches!(written, Err(StoreError::Backend(_))));
/// # }
/// ```
#[derive(Debug)]
pub struct ReadOnly<S>(S);

impl<S: Store> ReadOnly<S> {
    /// `store`, to be read.
    ///
    /// The example is [above](Self).
    pub fn new(store: S) -> Self {
        Self(store)
    }
}

impl<S: Store> Store for ReadOnly<S> {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        self.0.get(key)
    }

    fn cas<'a>(
        &'a self,
        _key: &'a Key,
        _expect: Option<Version>,
        _new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        Step::ready(Err(StoreError::Backend("the store is open for reading only".to_owned())))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
        self.0.scan(prefix, after, limit)
    }

    fn usage<'a>(&'a self, quota: Quota) -> Step<'a, Result<Option<Usage>, StoreError>> {
        self.0.usage(quota)
    }

    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        self.0.changed(key, since)
    }
}

/// Nothing is there of this tenant; these others are, if that is known.
#[cfg(any(feature = "redis", feature = "postgres"))]
pub(super) fn nothing_of(tenant: &str, others: &[String]) -> StoreError {
    let named: Vec<_> = others.iter().take(MOST_NAMED).map(|name| format!("`{name}`")).collect();
    let more = if others.len() > MOST_NAMED { ", …" } else { "" };
    let others = match named.join(", ") {
        none if none.is_empty() => String::new(),
        some => format!("; tenants that are there: {some}{more}"),
    };
    StoreError::Backend(format!("nothing is there of the tenant `{tenant}`{others}"))
}

/// More names help nobody.
#[cfg(any(feature = "redis", feature = "postgres"))]
pub(super) const MOST_NAMED: usize = 9;
