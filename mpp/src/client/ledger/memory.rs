//! A ledger that ends with its process.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::books::Books;
use super::{Entry, EntryId, Ledger, LedgerError, Outcome, ReserveError};
use crate::client::budget::Budget;
use crate::method::Step;
use crate::protocol::Timestamp;

/// A ledger in memory: limits start anew with the process, and other processes are not counted. Clones share it.
///
/// ```
/// use mpp::client::{Ledger, MemoryLedger};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert!(MemoryLedger::new().entries().await.unwrap().is_empty());
/// # });
/// ```
#[derive(Clone, Default)]
pub struct MemoryLedger {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    books: Books,
    entries: Vec<Entry>,
}

impl MemoryLedger {
    /// An empty one.
    ///
    /// ```
    /// # use mpp::client::MemoryLedger;
    /// let ledger = MemoryLedger::new();
    /// ```
    pub fn new() -> MemoryLedger {
        MemoryLedger::default()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        // Nothing in here panics half way through a change.
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ledger for MemoryLedger {
    fn reserve<'a>(&'a self, entry: &'a Entry, budgets: &'a [Budget]) -> Step<'a, Result<(), ReserveError>> {
        Step::ready(self.with(|inner| {
            inner.books.check(entry, budgets)?;
            inner.books.add(entry);
            inner.entries.push(entry.clone());
            Ok(())
        }))
    }

    fn check<'a>(&'a self, entry: &'a Entry, budgets: &'a [Budget]) -> Step<'a, Result<(), ReserveError>> {
        Step::ready(self.with(|inner| inner.books.check(entry, budgets)))
    }

    fn conclude<'a>(
        &'a self,
        id: &'a EntryId,
        outcome: &'a Outcome,
        _at: Timestamp,
    ) -> Step<'a, Result<(), LedgerError>> {
        Step::ready(self.with(|inner| {
            inner.books.conclude(id, outcome)?;
            // Most are concluded soon after they were entered.
            if let Some(entry) = inner.entries.iter_mut().rev().find(|entry| entry.id == *id) {
                entry.outcome.then(outcome);
            }
            Ok(())
        }))
    }

    fn entries(&self) -> Step<'_, Result<Vec<Entry>, LedgerError>> {
        Step::ready(Ok(self.with(|inner| inner.entries.clone())))
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").field("entries", &self.with(|inner| inner.entries.len())).finish()
    }
}
