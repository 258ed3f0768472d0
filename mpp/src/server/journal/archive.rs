//! From the journal into the ledger: the one line that is left of a payment.
//!
//! There is one truth. While a payment is open, its ledger line is computed from its entry. The write that ends it (it is
//! delivered, or given back) puts the line into the terminal record, so that the two are one commit. After that, and after the response,
//! the line moves to a key of its own, which is ordered by time, and the record shrinks to the few bytes that refuse the
//! credential. A process that dies in between leaves a record with its line, and [`Mpp::recover`](crate::Mpp::recover)
//! moves that: each step may be done twice.
//!
//! | key | value |
//! | --- | --- |
//! | `<quota>/ledger/<settled at, unix seconds, 12 digits>-<challenge id>` | [`Line`] |

use super::{Bill, ENTRY, Entry, Journal, JournalError, PaymentState, Record, encode, encode_value};
use crate::protocol::{Receipt, Timestamp};
use crate::store::{Cas, Keep, Key, Quota, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const LEDGER: &str = "ledger";
/// Play money is remembered for no longer than this.
const TEST_MONEY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is left of a payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) bill: Bill,
    pub(crate) method: String,
    pub(crate) payer: Option<String>,
    pub(crate) reference: String,
    pub(crate) external_id: Option<String>,
    /// Unix seconds.
    pub(crate) settled_at: i64,
    pub(crate) runs: u32,
    pub(crate) ending: Ending,
}

/// How a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Open,
    RefundDue,
    Delivered,
    /// Never delivered, and given back.
    Refunded,
}

impl Line {
    /// Of a settled entry; `None` for one that is not settled, and for one that moved nothing.
    pub(crate) fn of(entry: &Entry, ending: Ending) -> Option<Self> {
        let PaymentState::Settled(receipt) = &entry.payment else { return None };
        let receipt: Receipt = serde_json::from_slice(receipt).ok()?;
        Some(Self {
            bill: entry.bill.clone(),
            method: entry.method.clone(),
            payer: entry.payer.clone(),
            reference: receipt.reference,
            external_id: receipt.external_id,
            settled_at: receipt.timestamp.unix(),
            runs: entry.attempts,
            ending,
        })
    }
}

/// A line on its way from a terminal record into the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) line: Line,
    /// As in [`Entry`].
    pub(crate) expires: i64,
}

/// A terminal record with the line that is not in the ledger yet.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) listing: Listing,
    pub(crate) record: Record,
}

impl Journal {
    /// The same journal, keeping lines this long; nothing keeps none.
    pub(crate) fn keeping_lines(mut self, retention: Duration) -> Self {
        self.lines = retention;
        self
    }

    /// How long lines of this quota are kept.
    pub(super) fn line_keep(&self, quota: Quota) -> Duration {
        match quota {
            Quota::Paid => self.lines,
            Quota::Free => self.lines.min(TEST_MONEY),
        }
    }

    /// The line that an entry leaves, if any. A proof of identity costs nothing and leaves none: strangers make as many as
    /// they like.
    pub(super) fn listing(&self, entry: &Entry, ending: Ending) -> Option<Box<Listing>> {
        if self.lines.is_zero() || entry.bill.units == 0 {
            return None;
        }
        Line::of(entry, ending).map(|line| Box::new(Listing { line, expires: entry.expires }))
    }

    /// Moves the line of a terminal record into the ledger, if it still has one.
    pub(crate) async fn archive(&self, quota: Quota, id: &str, now: Timestamp) -> Result<(), JournalError> {
        // Another writer (a response that is kept late) may be in between; then once more, or the next sweep.
        for _ in 0..3 {
            let Some(found) = self.find(quota, id).await.map_err(JournalError::Store)? else { return Ok(()) };
            let Some(listing) = found.listing else { return Ok(()) };
            let Listing { line, expires } = *listing;
            let keep = Keep::For(self.line_keep(quota).max(Duration::from_secs(1)));
            let write = Write { value: encode_value("line", &line)?, keep };
            let key = line_key(quota, line.settled_at, id);
            // Somebody may have put it there before and died: it is the same line.
            self.store.cas(&key, None, Some(write)).await.map_err(JournalError::Store)?;
            let keep = Keep::For(self.retention(expires, now));
            let write = Write { value: encode(&found.record)?, keep };
            let key = Key::new(quota, ENTRY, id);
            if let Cas::Written(_) =
                self.store.cas(&key, Some(found.version), Some(write)).await.map_err(JournalError::Store)?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a line is in the ledger.
    pub(crate) async fn has_line(&self, quota: Quota, id: &str, line: &Line) -> Result<bool, StoreError> {
        Ok(self.line_as_stored(quota, line.settled_at, id).await?.is_some())
    }

    /// The line of a payment that is over.
    pub(crate) async fn line(
        &self,
        quota: Quota,
        settled_at: i64,
        id: &str,
    ) -> Result<Option<(Version, Line)>, StoreError> {
        let there = self.line_as_stored(quota, settled_at, id).await?;
        there.map(|(version, value)| Ok((version, read_line(&value)?))).transpose()
    }

    pub(super) async fn line_as_stored(
        &self,
        quota: Quota,
        settled_at: i64,
        id: &str,
    ) -> Result<Option<(Version, Vec<u8>)>, StoreError> {
        let there = self.store.get(&line_key(quota, settled_at, id)).await?;
        Ok(there.map(|there| (there.version, there.value)))
    }

    /// A page of lines, oldest first, after this key.
    pub(crate) async fn lines(&self, quota: Quota, after: &Key) -> Result<Vec<FoundLine>, StoreError> {
        const PAGE: usize = 100;
        let prefix = format!("{}/{LEDGER}/", quota.name());
        let page = self.store.scan(&prefix, Some(after), PAGE).await?;
        let lines = page.into_iter().map(|(key, versioned)| {
            let line = read_line(&versioned.value)?;
            let id = key.as_str().get(prefix.len() + 13..).unwrap_or_default().to_owned();
            Ok(FoundLine { key, version: versioned.version, id, line })
        });
        lines.collect()
    }

    /// Removes a line; `false` when it is gone already.
    pub(crate) async fn erase(&self, found: &FoundLine) -> Result<bool, StoreError> {
        Ok(self.store.cas(&found.key, Some(found.version), None).await? == Cas::Removed)
    }
}

/// A line as read.
pub(crate) struct FoundLine {
    pub(crate) key: Key,
    version: Version,
    /// Of the challenge.
    pub(crate) id: String,
    pub(crate) line: Line,
}

/// Before every line that was settled then or later.
pub(crate) fn lines_since(quota: Quota, settled_at: i64) -> Key {
    Key::new(quota, LEDGER, &format!("{:012}", settled_at.max(0)))
}

pub(super) fn line_key(quota: Quota, settled_at: i64, id: &str) -> Key {
    Key::new(quota, LEDGER, &format!("{:012}-{id}", settled_at.max(0)))
}

fn read_line(value: &[u8]) -> Result<Line, StoreError> {
    postcard::from_bytes(value).map_err(|e| StoreError::Backend(format!("unreadable ledger line: {e}")))
}
