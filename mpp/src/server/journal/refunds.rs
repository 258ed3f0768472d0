//! Refunds in the journal: one book per payment, the single commit point of all that is given back for it.
//!
//! The book is a key of its own beside the payment's entry or line, under the same time and id as the line, so that a page
//! of the ledger and the refunds in it are two scans side by side. An order is in the book, with its sealed plan, before
//! anything of it is handed to a network: who finds it there carries it on, and nobody orders it a second time.
//!
//! | key | value |
//! | --- | --- |
//! | `<quota>/refund/<settled at, unix seconds, 12 digits>-<challenge id>` | [`Book`] |
//!
//! A book outlives the payment it is about: while the payment is open or an order is pending it is live; after that it is
//! kept a day longer than the ledger's line, which is written again with every refund, and by every sweep while an order is
//! pending. So the sum of what went back is never forgotten before the payment is, nor the payment before its refund ended.

use super::super::refund::SaidBy;
use super::archive::{Ending, Line, line_key};
use super::{Entry, Found, Journal, JournalError, PaymentState, Record, encode_value};
use crate::protocol::Timestamp;
use crate::store::{Cas, Keep, Key, Quota, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const REFUND: &str = "refund";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that was ordered back of one payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) method: String,
    /// What was paid, base units.
    pub(crate) paid: u128,
    pub(crate) decimals: u8,
    pub(crate) orders: Vec<Ordered>,
    pub(crate) payment: Whereabouts,
}

/// One order. A failed one is written over when it is ordered again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ordered {
    /// The operator's; empty for "the rest".
    pub(crate) name: String,
    /// Base units.
    pub(crate) units: u128,
    /// How often it was ordered after it had failed.
    pub(crate) attempt: u32,
    /// Unix seconds.
    pub(crate) at: i64,
    pub(crate) state: OrderState,
    /// Who says that it stands so.
    pub(crate) said_by: SaidBy,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum OrderState {
    /// Committed; it may be on its way.
    Planned {
        /// Sealed.
        plan: Vec<u8>,
        /// What it will be known by, if the method has said so.
        reference: Option<String>,
    },
    Refunded {
        reference: String,
    },
    Failed {
        why: String,
    },
}

impl std::fmt::Debug for OrderState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Planned { .. } => "planned",
            Self::Refunded { .. } => "refunded",
            Self::Failed { .. } => "failed",
        })
    }
}

/// Where the payment is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Whereabouts {
    /// Undelivered: its entry waits for the rest to go back.
    Open,
    /// Over: at most its line is left.
    Over,
}

impl Book {
    /// What is back, or on its way.
    pub(crate) fn spoken_for(&self) -> u128 {
        let counts = self.orders.iter().filter(|order| !matches!(order.state, OrderState::Failed { .. }));
        counts.fold(0, |sum, order| sum.saturating_add(order.units))
    }

    /// Whether all of the payment went back.
    pub(crate) fn is_settled(&self) -> bool {
        !self.has_pending() && self.spoken_for() >= self.paid
    }

    /// Whether all of an undelivered payment went back, and its entry is not closed yet.
    pub(crate) fn is_to_be_closed(&self) -> bool {
        self.payment == Whereabouts::Open && self.is_settled()
    }

    /// Whether there is nothing to carry on.
    pub(crate) fn is_over(&self) -> bool {
        !self.has_pending() && !self.is_to_be_closed()
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.orders.iter().any(|order| matches!(order.state, OrderState::Planned { .. }))
    }
}

/// Which payment a book is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BookOf {
    pub(crate) quota: Quota,
    /// Unix seconds.
    pub(crate) settled_at: i64,
    /// Of the challenge.
    pub(crate) id: String,
}

impl BookOf {
    pub(crate) fn key(&self) -> Key {
        Key::new(self.quota, REFUND, &format!("{:012}-{}", self.settled_at.max(0), self.id))
    }

    fn of_key(quota: Quota, suffix: &str) -> Option<Self> {
        let (settled_at, id) = suffix.split_at_checked(12)?;
        Some(Self { quota, settled_at: settled_at.parse().ok()?, id: id.strip_prefix('-')?.to_owned() })
    }
}

/// A payment that may be given back.
pub(crate) struct Refundable {
    pub(crate) quota: Quota,
    pub(crate) line: Line,
    /// Its entry, while it is undelivered.
    pub(crate) open: Option<(Version, Box<Entry>)>,
}

impl Journal {
    /// The payment of a challenge, if its money moved and is still known.
    pub(crate) async fn refundable(
        &self,
        id: &str,
        settled_at: i64,
        now: Timestamp,
    ) -> Result<Option<Refundable>, JournalError> {
        for quota in [Quota::Paid, Quota::Free] {
            let mut found = self.find(quota, id).await.map_err(JournalError::Store)?;
            if found.as_ref().is_some_and(|found| found.listing.is_some()) {
                self.archive(quota, id, now).await?;
                // Its delivery may have been taken back meanwhile.
                found = self.find(quota, id).await.map_err(JournalError::Store)?;
            }
            if let Some(Found { version, record: Record::Open(entry), .. }) = found {
                let line = Line::of(&entry, Ending::Open).filter(|line| line.bill.units > 0);
                return Ok(line.map(|line| Refundable { quota, line, open: Some((version, entry)) }));
            }
            if let Some(line) = self.line(quota, settled_at, id).await.map_err(JournalError::Store)? {
                return Ok(Some(Refundable { quota, line, open: None }));
            }
        }
        Ok(None)
    }

    /// What was ordered back of a payment.
    pub(crate) async fn refunds(&self, of: &BookOf) -> Result<Option<(Version, Book)>, StoreError> {
        let there = self.store.get(&of.key()).await?;
        there.map(|there| Ok((there.version, read_book(&there.value)?))).transpose()
    }

    /// Writes a book over the version that was read; [`JournalError::Lost`] when somebody else was faster.
    pub(crate) async fn write_refunds(
        &self,
        of: &BookOf,
        expect: Option<Version>,
        book: &Book,
    ) -> Result<Version, JournalError> {
        let keep = match (of.quota, book.payment) {
            _ if book.has_pending() => Keep::Live,
            // An entry of test money leaves by itself.
            (Quota::Paid, Whereabouts::Open) => Keep::Live,
            (Quota::Paid, Whereabouts::Over) | (Quota::Free, _) => {
                Keep::For(self.line_keep(of.quota).max(DAY).saturating_add(DAY))
            }
        };
        if let Keep::For(_) = keep {
            // First the line: it must not be the one that is left.
            self.keep_line_again(of).await.map_err(JournalError::Store)?;
        }
        let value = encode_value("refunds", book)?;
        match self.store.cas(&of.key(), expect, Some(Write { value, keep })).await {
            Ok(Cas::Written(version)) => Ok(version),
            Ok(Cas::Removed | Cas::Conflict(_)) => Err(JournalError::Lost(None)),
            Err(error) => Err(JournalError::Store(error)),
        }
    }

    /// Ends an undelivered payment of which everything is back: its credential has bought nothing and buys nothing any more,
    /// and its `Idempotency-Key` is free.
    pub(crate) async fn close_refunded(&self, of: &BookOf, now: Timestamp) -> Result<(), JournalError> {
        let found = self.find(of.quota, &of.id).await.map_err(JournalError::Store)?;
        let Some(Found { version, record: Record::Open(entry), .. }) = found else { return Ok(()) };
        let PaymentState::Settled(_) = entry.payment else { return Ok(()) };
        let listing = self.listing(&entry, Ending::Refunded);
        let mut claim = self.owned(of.quota, of.id.clone(), version, *entry, now);
        // First the key: after the entry nobody would come back for it.
        claim.free_key(now).await?;
        claim.close(Record::Refunded, listing, now).await
    }

    /// A page of books in the order of their payments, after this key.
    pub(crate) async fn refund_books(
        &self,
        quota: Quota,
        after: Option<&Key>,
    ) -> Result<Vec<(Key, BookOf, Version, Result<Book, StoreError>)>, StoreError> {
        const PAGE: usize = 100;
        let prefix = format!("{}/{REFUND}/", quota.name());
        let page = self.store.scan(&prefix, after, PAGE).await?;
        let books = page.into_iter().filter_map(|(key, there)| {
            let of = BookOf::of_key(quota, key.as_str().strip_prefix(&prefix)?)?;
            Some((key, of, there.version, read_book(&there.value)))
        });
        Ok(books.collect())
    }

    /// Forgets what was given back of a payment whose line is gone.
    pub(crate) async fn forget_refunds(&self, of: &BookOf) -> Result<(), StoreError> {
        // A pending order stays until its end is known.
        if let Some((version, book)) = self.refunds(of).await?
            && !book.has_pending()
        {
            self.store.cas(&of.key(), Some(version), None).await?;
        }
        Ok(())
    }

    /// Keeps the line of a payment that is over for as long as a new one. `false` when it is not there any more, or somebody
    /// was faster.
    pub(crate) async fn keep_line_again(&self, of: &BookOf) -> Result<bool, StoreError> {
        let Some((version, _, value)) = self.line_as_stored(of.quota, of.settled_at, &of.id).await? else {
            return Ok(false);
        };
        let keep = Keep::For(self.line_keep(of.quota).max(DAY));
        let key = line_key(of.quota, of.settled_at, &of.id);
        // A conflict is somebody who erased it, or who did the same.
        let kept = self.store.cas(&key, Some(version), Some(Write { value, keep })).await?;
        Ok(matches!(kept, Cas::Written(_)))
    }
}

/// Before every book of a payment that was settled then or later.
pub(crate) fn books_from(quota: Quota, settled_at: i64) -> Key {
    Key::new(quota, REFUND, &format!("{:012}", settled_at.max(0)))
}

fn read_book(value: &[u8]) -> Result<Book, StoreError> {
    // One we cannot read may say that the money is back: never treated as absent.
    postcard::from_bytes(value).map_err(|e| StoreError::Unreadable(format!("a book of refunds: {e}")))
}

#[cfg(test)]
mod tests {
    use super::super::numbers;
    use super::*;

    #[test]
    fn every_variant_keeps_its_number() {
        let states = [
            OrderState::Planned { plan: vec![], reference: None },
            OrderState::Refunded { reference: String::new() },
            OrderState::Failed { why: String::new() },
        ];
        assert_eq!(numbers(&states), [0, 1, 2]);
        assert_eq!(numbers(&[Whereabouts::Open, Whereabouts::Over]), [0, 1]);
        assert_eq!(numbers(&[SaidBy::Network, SaidBy::Operator]), [0, 1]);
    }
}
