//! What dead processes left behind, and who finishes it: [`Mpp::recover`].
//!
//! One sweep goes page by page through proofs of real money, entries, books of refunds and, while secrets are rotated, notebooks.
//! What in it cannot be read, or has no room in the store, is told and keeps none of the others waiting. Proofs come first: a store
//! that is full gets room by them.

use super::Mpp;
use super::journal::{
    Abandoned, Book, BookOf, DeliveryState, Entry, Found, JournalError, PaymentState, Record,
};
use super::observe::Standing;
use super::refund;
use super::settlement::{self, Outcome, Work};
use crate::protocol::Timestamp;
use crate::store::{Key, Quota, StoreError, Version, notebook};
use std::collections::VecDeque;
use tokio::task::JoinHandle;

impl Mpp {
    /// Finishes what dead processes left behind: looks up settlements whose outcome nobody learnt, rolls back claims that
    /// went no further, cancels holds that were never captured, carries on [refunds](Self::refund) that were ordered, forgets
    /// proofs of payments that are forgotten. Call it at start-up, and every minute or so after that.
    ///
    /// What a former secret sealed (plans of payments nobody knows the outcome of, of holds and of refunds, what methods remember) is
    /// sealed again with the first of the [ring](super::Builder::secrets), but for entries whose lease has not run out: they may be of a
    /// server that has just ended. When the old secret may go is said there.
    ///
    /// Payments are only looked up, never made. What turns out to be paid waits for its credential; a payment that can
    /// not be delivered any more is told as [refund due](super::observe::Event::RefundDue), once. Returns how many entries it
    /// could finish; the others are looked at again next time. Up to sixteen are worked on at once, so that one slow
    /// network does not keep the others waiting. What it counted goes to the [metrics](super::observe).
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; what was finished until then stays finished. Also when something in it cannot be
    /// read or does not fit into it, which is logged with its key and left as it is: all others are finished all the same.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mpp = mpp::testing::mpp();
    /// assert_eq!(mpp.recover().await, Ok(0)); // nothing was left behind
    /// # });
    /// # }
    /// ```
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let mut sweep = Sweep::of(self);
        sweep.proofs().await?;
        for quota in [Quota::Paid, Quota::Free] {
            sweep.entries(quota).await?;
        }
        for quota in [Quota::Paid, Quota::Free] {
            sweep.refunds(quota).await?;
            sweep.notes(quota).await?;
        }
        sweep.rest().await?;
        self.tell_standing(&sweep.standing).await;
        self.tell_usage().await;
        sweep.left.map_or(Ok(sweep.finished), Err)
    }

    /// How full the store is. That it does not say is no reason to fail: the sweep is done.
    async fn tell_usage(&self) {
        for quota in [Quota::Paid, Quota::Free] {
            match self.0.journal.store().usage(quota).await {
                Ok(Some(usage)) => self.0.observers.usage(quota, usage),
                Ok(None) => {}
                Err(error) => tracing::warn!(target: "mpp", %error, "the store does not say how full it is"),
            }
        }
    }

    #[cfg(feature = "metrics")]
    async fn tell_standing(&self, standing: &Standing) {
        self.0.observers.standing(standing);
        for method in &self.0.methods {
            let notebook = self.notebook(&**method);
            if let Some(budget) = method.sponsor_budget(&notebook, self.now()).await {
                self.0.observers.budget(method.name().as_str(), &budget);
            }
        }
    }

    #[cfg(not(feature = "metrics"))]
    async fn tell_standing(&self, standing: &Standing) {
        let Standing { claims, undelivered, refunds_due } = standing;
        tracing::debug!(target: "mpp", claims, undelivered, refunds_due, "recovered");
    }
}

/// One way through the journal.
struct Sweep<'a> {
    mpp: &'a Mpp,
    standing: Standing,
    /// What is being finished, each on a task of its own; told in the order it began.
    under_way: VecDeque<(Key, JoinHandle<Result<bool, StoreError>>)>,
    finished: usize,
    /// Why something was left as it is: not passed over in silence.
    left: Option<StoreError>,
}

impl<'a> Sweep<'a> {
    /// How many at once. Each may wait for its network for as long as a settlement may take.
    const AT_ONCE: usize = 16;

    fn of(mpp: &'a Mpp) -> Self {
        let (standing, under_way) = (Standing::default(), VecDeque::new());
        Self { mpp, standing, under_way, finished: 0, left: None }
    }

    async fn entries(&mut self, quota: Quota) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.mpp.0.journal.page(quota, after.as_ref()).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, id, found) in page {
                let done = match found {
                    Ok(found) => self.entry(&key, quota, id, found).await,
                    Err(error) => Err(error),
                };
                self.pass_over(&key, done)?;
            }
        }
    }

    async fn entry(&mut self, key: &Key, quota: Quota, id: String, found: Found) -> Result<(), StoreError> {
        let (mpp, now) = (self.mpp, self.mpp.now());
        if let Some(listing) = &found.listing {
            // Until then whoever committed it may find out that nobody got the response, and take it back.
            if now <= Timestamp::from_unix(listing.expires) + mpp.0.journal.grace() {
                return Ok(());
            }
            // A few bytes, and nothing that was to be finished.
            return match mpp.0.journal.archive(quota, &id, now).await {
                Ok(()) | Err(JournalError::Lost(_)) => Ok(()),
                Err(JournalError::Store(error)) => Err(error),
            };
        }
        // Most entries are over.
        let Record::Open(entry) = found.record else { return Ok(()) };
        self.standing.count(&entry);
        if entry.lease.is_live(now) {
            return Ok(());
        }
        if let PaymentState::Settled(_) = entry.payment {
            // Asks no network.
            self.finished += usize::from(give_up(mpp, quota, &id, found.version, *entry).await?);
            return Ok(());
        }
        self.make_room().await?;
        let mpp = mpp.clone();
        let finishing = async move { finish(&mpp, quota, id, found.version, *entry).await };
        self.under_way.push_back((key.clone(), tokio::spawn(finishing)));
        Ok(())
    }

    async fn refunds(&mut self, quota: Quota) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.mpp.0.journal.refund_books(quota, after.as_ref()).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, of, _, book) in page {
                let done = match book {
                    Ok(book) => self.book(&key, of, book).await,
                    Err(error) => Err(error),
                };
                self.pass_over(&key, done)?;
            }
        }
    }

    async fn book(&mut self, key: &Key, of: BookOf, book: Book) -> Result<(), StoreError> {
        if book.is_over() {
            return Ok(());
        }
        self.make_room().await?;
        let Some(pass) = self.mpp.0.journal.doors().enter() else { return Ok(()) };
        let mpp = self.mpp.clone();
        let resuming = async move {
            let ended = refund::resume(&mpp, of, &book).await;
            drop(pass);
            ended
        };
        self.under_way.push_back((key.clone(), tokio::spawn(resuming)));
        Ok(())
    }

    async fn proofs(&mut self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.mpp.0.journal.proofs(after.as_ref()).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, held) in page {
                let done = self.mpp.0.journal.forget_proof(&key, &held).await;
                self.pass_over(&key, done)?;
            }
        }
    }

    /// Pages of the methods' notebooks, while the ring has more than one secret: nobody else looks at all of them.
    async fn notes(&mut self, quota: Quota) -> Result<(), StoreError> {
        let (mpp, mut after) = (&self.mpp.0, None);
        if !mpp.sealer.has_others() {
            return Ok(());
        }
        let store = &**mpp.journal.store();
        loop {
            let page = notebook::all_pages(store, quota, after.as_ref()).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, there) in page {
                let done = notebook::seal_again(store, &mpp.sealer, &key, there, mpp.clock.now()).await;
                self.pass_over(&key, done)?;
            }
        }
    }

    /// What cannot be read, or written for want of room, is told and left as it is. A full store is told of once: it may have no
    /// room for thousands.
    fn pass_over(&mut self, key: &Key, done: Result<(), StoreError>) -> Result<(), StoreError> {
        let Err(error @ (StoreError::Unreadable(_) | StoreError::Full(_))) = done else { return done };
        if matches!(error, StoreError::Unreadable(_)) || self.left.as_ref() != Some(&error) {
            tracing::error!(target: "mpp", key = key.as_str(), %error, "left as it is");
        }
        self.left = Some(error);
        Ok(())
    }

    /// Waits until one more may begin.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        while self.under_way.len() >= Self::AT_ONCE {
            self.first().await?;
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), StoreError> {
        while !self.under_way.is_empty() {
            self.first().await?;
        }
        Ok(())
    }

    async fn first(&mut self) -> Result<(), StoreError> {
        let Some((key, task)) = self.under_way.pop_front() else { return Ok(()) };
        let done = task.await.unwrap_or_else(|panic| {
            tracing::error!(target: "mpp", %panic, "finishing a payment failed");
            Ok(false)
        });
        let done = done.map(|done| self.finished += usize::from(done));
        self.pass_over(&key, done)
    }
}

/// Finishes an entry that nobody works on. `false` when there is nothing to finish, or when nobody can tell yet.
async fn finish(
    mpp: &Mpp,
    quota: Quota,
    id: String,
    found: Version,
    entry: Entry,
) -> Result<bool, StoreError> {
    let now = mpp.now();
    let (journal, sealer) = (&mpp.0.journal, &mpp.0.sealer);
    let method = mpp.0.methods.iter().find(|m| m.name().as_str() == entry.method).cloned();
    let (Some(method), Some(pass), Some(room)) = (method, journal.doors().enter(), settlement::room(mpp))
    else {
        return match journal.seal_again(sealer, quota, &id, found, entry, now).await {
            Ok(()) | Err(JournalError::Lost(_)) => Ok(false),
            Err(JournalError::Store(error)) => Err(error),
        };
    };
    let work = Work::Resume(Abandoned { quota, id, version: found, entry: Box::new(entry), key: None });
    match settlement::detached(mpp, pass, Some(room), None, method, work).await {
        // A `Run` that is not admitted gives the payment back to its credential.
        Outcome::Paid(_) | Outcome::Vacant | Outcome::Rejected(_) => Ok(true),
        Outcome::Store(error) => Err(error),
        Outcome::Existing(_)
        | Outcome::KeyInUse
        | Outcome::Busy
        | Outcome::Closed
        | Outcome::Unknown
        | Outcome::RefundDue => Ok(false),
    }
}

/// Says of a settled payment that no run may deliver any more that a refund is due: once, and also if its credential
/// never comes back.
async fn give_up(
    mpp: &Mpp,
    quota: Quota,
    id: &str,
    version: Version,
    entry: Entry,
) -> Result<bool, StoreError> {
    let now = mpp.now();
    if entry.delivery == DeliveryState::RefundDue || !settlement::is_over(mpp, &entry, now) {
        return Ok(false);
    }
    match mpp.0.journal.refund_due(quota, id, version, entry.clone(), now).await {
        Ok(()) => {
            mpp.0.observers.refund_due(id, &entry);
            Ok(true)
        }
        Err(JournalError::Lost(_)) => Ok(false),
        Err(JournalError::Store(error)) => Err(error),
    }
}
