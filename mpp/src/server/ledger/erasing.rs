//! Erasing lines of the ledger: [`Ledger::erase`].

use super::{Ledger, Query};
use crate::server::journal::{BookOf, FoundLine, JournalError, LinePage};
use crate::store::{Key, Quota, StoreError};

impl Ledger {
    /// Erases lines of payments that are over, with what was given back of them; what is open stays, and so does a payment of
    /// which a refund is pending, or may be. Returns how many. In the place of each, and for a day, the store knows that a payment
    /// of this challenge id and time was erased, and nothing else of it.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; what was erased until then stays erased. [`StoreError::Unreadable`] when something in it
    /// cannot be read, so that nobody can tell whether it was to be erased: it is logged with its key and left as it is, with the
    /// payment it is about. All others are erased all the same. [`Page::unreadable`](super::Page::unreadable) of the same query
    /// names it.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mpp::ledger::Query;
    /// // Who pays may ask to be forgotten.
    /// let query = Query::new().payer("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK");
    /// assert_eq!(mpp::testing::mpp().ledger().erase(&query).await, Ok(0));
    /// # });
    /// # }
    /// ```
    pub async fn erase(&self, query: &Query) -> Result<usize, StoreError> {
        let mut erasing = Erasing { ledger: self, query, erased: 0, unreadable: None };
        for quota in [Quota::Paid, Quota::Free] {
            // A line that is still in its record is moved first.
            erasing.move_lines(quota).await?;
            erasing.lines(quota).await?;
        }
        erasing.unreadable.map_or(Ok(erasing.erased), Err)
    }
}

/// One way through the ledger.
struct Erasing<'a> {
    ledger: &'a Ledger,
    query: &'a Query,
    erased: usize,
    /// Not passed over in silence.
    unreadable: Option<StoreError>,
}

impl Erasing<'_> {
    /// From their records into the ledger.
    async fn move_lines(&mut self, quota: Quota) -> Result<(), StoreError> {
        let Ledger { journal, clock } = self.ledger;
        let mut after = None;
        loop {
            let page = journal.page(quota, after.as_ref()).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, id, found) in page {
                let moved = match found.map(|found| found.listing) {
                    Ok(Some(listing)) if self.query.wants(&listing.line) => {
                        journal.archive(quota, &id, clock.now()).await.map_err(store)
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                };
                self.pass_over(&key, moved)?;
            }
        }
    }

    async fn lines(&mut self, quota: Quota) -> Result<(), StoreError> {
        let mut after = self.ledger.first(quota, self.query);
        loop {
            let LinePage { lines, unreadable, last } = self.ledger.journal.lines(quota, &after).await?;
            let Some(last) = last else { return Ok(()) };
            after = last;
            for found in unreadable {
                if self.query.may_want(found.settled_at) {
                    self.pass_over(&found.key, Err(found.error))?;
                }
            }
            for found in lines.iter().filter(|found| self.query.wants(&found.line)) {
                let of = BookOf { quota, settled_at: found.line.settled_at, id: found.id.clone() };
                let done = self.line(found, &of).await;
                self.pass_over(&of.key(), done)?;
            }
        }
    }

    async fn line(&mut self, found: &FoundLine, of: &BookOf) -> Result<(), StoreError> {
        let journal = &self.ledger.journal;
        // A book that cannot be read may have one that is pending.
        if journal.refunds(of).await?.is_some_and(|(_, book)| book.has_pending()) {
            return Ok(());
        }
        // The line first: without it nothing more can be ordered.
        self.erased += usize::from(journal.erase(found).await.map_err(store)?);
        journal.forget_refunds(of).await
    }

    /// What cannot be read is told, and left as it is.
    fn pass_over(&mut self, key: &Key, done: Result<(), StoreError>) -> Result<(), StoreError> {
        let Err(error @ StoreError::Unreadable(_)) = done else { return done };
        tracing::error!(target: "mpp", key = key.as_str(), %error, "not erased: left as it is");
        self.unreadable = Some(error);
        Ok(())
    }
}

/// What is asked of the journal here ends with no lost race; should it once, the caller looks again.
fn store(error: JournalError) -> StoreError {
    match error {
        JournalError::Store(error) => error,
        JournalError::Lost(_) => StoreError::Backend("the entry changed meanwhile".to_owned()),
    }
}
