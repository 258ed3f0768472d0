//! What a method has to remember between payments: pages in the server's own store, under the method's name.
//!
//! The pipeline journals every payment by itself; a method needs this only for what is more than one payment (a budget, a
//! channel, a counter) or for what has to be on disk between two steps of one (bytes that are about to be broadcast).
//! [`SettleCx::notebook`](crate::method::SettleCx::notebook) hands it in. `verify` gets none: it has no side effects.
//!
//! Pages are shared by all processes of a deployment, change by compare-and-swap only, and are sealed like settlement plans
//! are (`seal.rs`): what a page says is private, its name is not.

use super::seal::Sealer;
use super::{Cas, Keep, Key, MemoryStore, Quota, Store, StoreError, Version, Write};
use crate::protocol::{MethodName, Secret, SecretRing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;

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
        Self::new(Arc::new(MemoryStore::new()), Arc::new(sealer), &name, Quota::Paid)
    }

    /// The pages of `method` in `store`.
    pub(crate) fn new(store: Arc<dyn Store>, sealer: Arc<Sealer>, method: &MethodName, quota: Quota) -> Self {
        Self { store, sealer, kind: ["note/", method.as_str()].concat(), quota }
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
        Ok(self.look(&key).await?.map(|(_, content)| content))
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
        mut change: impl FnMut(Option<T>) -> Turn<T, R>,
    ) -> Result<R, NotebookError>
    where
        T: Serialize + DeserializeOwned,
    {
        let key = self.key(page);
        for _ in 0..TURNS {
            let (version, content) = match self.look(&key).await? {
                Some((version, content)) => (Some(version), Some(content)),
                None => (None, None),
            };
            let (write, result) = match change(content) {
                Turn::Leave(result) => return Ok(result),
                Turn::Remove(result) if version.is_none() => return Ok(result),
                Turn::Remove(result) => (None, result),
                Turn::Write { page, keep, result } => {
                    (Some(Write { value: self.sealed(&key, &page)?, keep }), result)
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

    async fn look<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<(Version, T)>, NotebookError> {
        let Some(there) = self.store.get(key).await? else { return Ok(None) };
        let content = self
            .sealer
            .open(key.as_str(), &there.value)
            .and_then(|plain| serde_json::from_slice(&plain).ok())
            .ok_or(NotebookError::Unreadable)?;
        Ok(Some((there.version, content)))
    }

    fn sealed<T: Serialize>(&self, key: &Key, page: &T) -> Result<Vec<u8>, NotebookError> {
        let plain = serde_json::to_vec(page).map_err(|_| NotebookError::Unwritable)?;
        // Sealed under its own name: a page cannot be put in the place of another.
        self.sealer.seal(key.as_str(), &plain).ok_or(NotebookError::Unwritable)
    }
}

impl fmt::Debug for Notebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notebook").field(&self.kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Notebook::new(store.clone(), sealer.clone(), &MethodName::from_static(method), Quota::Paid)
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
    async fn a_page_is_removed_once_and_a_removed_one_is_absent() {
        let notebook = Notebook::volatile("example");
        notebook.turn("page", |_: Option<u8>| Turn::write(1, HOUR, ())).await.unwrap();
        let tear = |there: Option<u8>| Turn::<u8, _>::Remove(there.is_some());
        assert_eq!(notebook.turn("page", tear).await, Ok(true));
        assert_eq!(notebook.turn("page", tear).await, Ok(false));
        assert_eq!(notebook.read::<u8>("page").await, Ok(None));
    }
}
