//! From the journal into the ledger: the one line that is left of a payment.
//!
//! There is one truth. While a payment is open, its ledger line is computed from its entry. The write that ends it (it is
//! delivered, or given back) puts the line into the terminal record, so that the two are one commit. After that, and after the response,
//! the line moves to a key of its own, which is ordered by time, and the record shrinks to the few bytes that refuse the
//! credential. A process that dies in between leaves a record with its line, and [`Mpp::recover`](crate::Mpp::recover)
//! moves that when the credential is over (until then the delivery may be taken back), a refund or an erasure at once: each step may be
//! done twice.
//!
//! | key | value |
//! | --- | --- |
//! | `<quota>/ledger/<settled at, unix seconds, 12 digits>-<challenge id>` | [`Shelved`] |
//!
//! A line that is erased leaves a mark in its place for a day. Whoever had read it from its record, and stood still before it
//! wrote it, would bring it back otherwise.

use super::{
    Bill, ENTRY, Entry, Found, Journal, JournalError, PaymentState, Record, encode, encode_value, outcome,
};
use crate::protocol::{Receipt, Timestamp};
use crate::store::{Cas, Keep, Key, Quota, StoreError, Version, Versioned, Write};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const LEDGER: &str = "ledger";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Play money is remembered for no longer than this.
const TEST_MONEY: Duration = DAY;
/// How often a record may change while its line is moved.
const TURNS: usize = 5;
/// How long a mark is kept. No process stands still for longer between two calls of its store and goes on with the second.
const MARK: Duration = DAY;

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

/// What is in the ledger in the place of a payment.
#[derive(Serialize, Deserialize)]
enum Shelved {
    Line(Box<Line>),
    /// The mark: nothing of the payment.
    Erased,
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
        let mut stale = None;
        // Another writer (a response that is kept late) may be in between; then once more, or the next sweep.
        for _ in 0..TURNS {
            let Some(found) = self.find(quota, id).await.map_err(JournalError::Store)? else { return Ok(()) };
            let Some(listing) = found.listing else { return Ok(()) };
            let Listing { line, expires } = *listing;
            let keep = Keep::For(self.line_keep(quota).max(Duration::from_secs(1)));
            let key = line_key(quota, line.settled_at, id);
            let value = encode_value("line", &Shelved::Line(Box::new(line)))?;
            let put = self.store.cas(&key, stale, Some(Write { value: value.clone(), keep })).await;
            let put = match put.map_err(JournalError::Store)? {
                Cas::Written(version) => Some(version),
                Cas::Conflict(Some(there)) => {
                    let is_line = read_line(&there.value).map_err(JournalError::Store)?.is_some();
                    if is_line && there.value != value {
                        // Of a delivery that was taken back: what the record says now is later than that.
                        stale = Some(there.version);
                        continue;
                    }
                    // Somebody put it there before, and died. Or it has been erased since.
                    None
                }
                Cas::Removed | Cas::Conflict(None) => {
                    stale = None;
                    continue;
                }
            };
            let keep = Keep::For(self.retention(expires, now));
            let write = Write { value: encode(&found.record)?, keep };
            let entry = Key::new(quota, ENTRY, id);
            let shrunk = self.store.cas(&entry, Some(found.version), Some(write)).await;
            match outcome(shrunk) {
                Ok(_) => return Ok(()),
                // Its delivery was taken back meanwhile: there is no such line.
                Err(JournalError::Lost(Some(Found { record: Record::Open(_), .. }))) => {
                    if put.is_some() {
                        self.store.cas(&key, put, None).await.map_err(JournalError::Store)?;
                    }
                    return Ok(());
                }
                Err(JournalError::Lost(_)) => stale = None,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a line has come to the ledger; it may have been erased since.
    pub(crate) async fn has_line(&self, quota: Quota, id: &str, line: &Line) -> Result<bool, StoreError> {
        Ok(self.store.get(&line_key(quota, line.settled_at, id)).await?.is_some())
    }

    /// The line of a payment that is over.
    pub(crate) async fn line(
        &self,
        quota: Quota,
        settled_at: i64,
        id: &str,
    ) -> Result<Option<Line>, StoreError> {
        Ok(self.line_as_stored(quota, settled_at, id).await?.map(|(_, line, _)| line))
    }

    /// The line with its version and its bytes.
    pub(super) async fn line_as_stored(
        &self,
        quota: Quota,
        settled_at: i64,
        id: &str,
    ) -> Result<Option<(Version, Line, Vec<u8>)>, StoreError> {
        let there = self.store.get(&line_key(quota, settled_at, id)).await?;
        let Some(Versioned { version, value }) = there else { return Ok(None) };
        Ok(read_line(&value)?.map(|line| (version, line, value)))
    }

    /// A page of lines, oldest first, after this key.
    pub(crate) async fn lines(&self, quota: Quota, after: &Key) -> Result<LinePage, StoreError> {
        const PAGE: usize = 100;
        let prefix = format!("{}/{LEDGER}/", quota.name());
        let page = self.store.scan(&prefix, Some(after), PAGE).await?;
        let last = page.last().map(|(key, _)| key.clone());
        let (mut lines, mut unreadable) = (Vec::with_capacity(page.len()), Vec::new());
        for (key, Versioned { version, value }) in page {
            let name = key.as_str().get(prefix.len()..).and_then(|name| name.split_at_checked(12));
            let (settled_at, id) = name.unwrap_or_default();
            match read_line(&value) {
                Ok(Some(line)) => {
                    let id = id.get(1..).unwrap_or_default().to_owned();
                    lines.push(FoundLine { key, version, id, line });
                }
                Ok(None) => {}
                Err(error) => {
                    let settled_at = settled_at.parse().ok();
                    unreadable.push(UnreadableLine { key, settled_at, error });
                }
            }
        }
        Ok(LinePage { lines, unreadable, last })
    }

    /// Erases a line; `false` when it is gone already.
    pub(crate) async fn erase(&self, found: &FoundLine) -> Result<bool, JournalError> {
        let mark = Write { value: encode_value("mark", &Shelved::Erased)?, keep: Keep::For(MARK) };
        let erased = self.store.cas(&found.key, Some(found.version), Some(mark)).await;
        Ok(matches!(erased.map_err(JournalError::Store)?, Cas::Written(_)))
    }
}

/// Some lines.
pub(crate) struct LinePage {
    /// Without those that are erased: there may be none before the end.
    pub(crate) lines: Vec<FoundLine>,
    /// What stands among them and cannot be read.
    pub(crate) unreadable: Vec<UnreadableLine>,
    /// Where to go on; `None` at the end.
    pub(crate) last: Option<Key>,
}

/// A line as read.
pub(crate) struct FoundLine {
    key: Key,
    version: Version,
    /// Of the challenge.
    pub(crate) id: String,
    pub(crate) line: Line,
}

/// A line that cannot be read.
pub(crate) struct UnreadableLine {
    pub(crate) key: Key,
    /// Unix seconds, as its key says.
    pub(crate) settled_at: Option<i64>,
    pub(crate) error: StoreError,
}

/// Before every line that was settled then or later.
pub(crate) fn lines_since(quota: Quota, settled_at: i64) -> Key {
    Key::new(quota, LEDGER, &format!("{:012}", settled_at.max(0)))
}

pub(super) fn line_key(quota: Quota, settled_at: i64, id: &str) -> Key {
    Key::new(quota, LEDGER, &format!("{:012}-{id}", settled_at.max(0)))
}

/// `None` of one that is erased.
fn read_line(value: &[u8]) -> Result<Option<Line>, StoreError> {
    match postcard::from_bytes(value) {
        Ok(Shelved::Line(line)) => Ok(Some(*line)),
        Ok(Shelved::Erased) => Ok(None),
        Err(e) => Err(StoreError::Unreadable(format!("a line of the ledger: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;
    use crate::ledger::{Ledger, Query};
    use crate::method::Step;
    use crate::store::{Durability, MemoryStore, Store};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    const ID: &str = "n3vQ";
    const SETTLED: i64 = 1_800_000_000;

    /// A store whose user stands still before one of its writes.
    struct Stalled {
        inner: Arc<MemoryStore>,
        /// How many are done before.
        writes: AtomicUsize,
        arrived: Notify,
        goes_on: Notify,
        /// And whose write then fails.
        fails: bool,
    }

    impl Stalled {
        fn after(writes: usize, inner: &Arc<MemoryStore>) -> Arc<Self> {
            Self::at(writes, false, inner)
        }

        fn failing(inner: &Arc<MemoryStore>) -> Arc<Self> {
            Self::at(0, true, inner)
        }

        fn at(writes: usize, fails: bool, inner: &Arc<MemoryStore>) -> Arc<Self> {
            let (writes, arrived, goes_on) = (AtomicUsize::new(writes), Notify::new(), Notify::new());
            Arc::new(Self { inner: inner.clone(), writes, arrived, goes_on, fails })
        }
    }

    impl Store for Stalled {
        fn durability(&self) -> Durability {
            self.inner.durability()
        }

        fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
            self.inner.get(key)
        }

        fn cas<'a>(
            &'a self,
            key: &'a Key,
            expect: Option<Version>,
            new: Option<Write>,
        ) -> Step<'a, Result<Cas, StoreError>> {
            Step::boxed(async move {
                if self.writes.fetch_sub(1, Ordering::SeqCst) == 0 {
                    self.arrived.notify_one();
                    self.goes_on.notified().await;
                    if self.fails {
                        return Err(StoreError::Backend("down".to_owned()));
                    }
                }
                self.inner.cas(key, expect, new).await
            })
        }

        fn scan<'a>(
            &'a self,
            prefix: &'a str,
            after: Option<&'a Key>,
            limit: usize,
        ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
            self.inner.scan(prefix, after, limit)
        }
    }

    fn listing() -> Listing {
        let bill = Bill {
            operation: "GET /weather".to_owned(),
            units: 50_000,
            decimals: 6,
            currency: "usdc".to_owned(),
            asset: "0x20c0".to_owned(),
        };
        let line = Line {
            bill,
            method: "tempo".to_owned(),
            payer: Some("did:key:alice".to_owned()),
            reference: "0xabc".to_owned(),
            external_id: None,
            settled_at: SETTLED,
            runs: 1,
            ending: Ending::Delivered,
        };
        Listing { line, expires: SETTLED + 300 }
    }

    fn journal(store: Arc<dyn Store>) -> Journal {
        let minute = Duration::from_secs(60);
        Journal::new(store, minute, minute, minute).keeping_lines(90 * DAY)
    }

    #[test]
    fn every_variant_keeps_its_number() {
        let shelved = [Shelved::Line(Box::new(listing().line)), Shelved::Erased];
        assert_eq!(super::super::numbers(&shelved), [0, 1]);
        let endings = [Ending::Open, Ending::RefundDue, Ending::Delivered, Ending::Refunded];
        assert_eq!(super::super::numbers(&endings), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_line_that_was_erased_while_another_process_stood_still_does_not_come_back() {
        let now = Timestamp::from_unix(SETTLED + 1);
        let clock = Arc::new(ManualClock::at(now));
        let inner = Arc::new(MemoryStore::new().with_clock(clock.clone()));
        let record = super::super::listed(Record::Delivered(7), Some(Box::new(listing())));
        let write = Write { value: encode(&record).unwrap(), keep: Keep::Live };
        inner.cas(&Key::new(Quota::Paid, ENTRY, ID), None, Some(write)).await.unwrap();

        let stalled = Stalled::after(0, &inner);
        let other = journal(stalled.clone());
        let archiving = tokio::spawn(async move { other.archive(Quota::Paid, ID, now).await });
        stalled.arrived.notified().await;

        let ours = journal(inner.clone());
        let ledger = Ledger::new(ours.clone(), clock.clone());
        let alices = Query::new().payer("did:key:alice");
        assert_eq!(ledger.erase(&alices).await, Ok(1));

        stalled.goes_on.notify_one();
        assert_eq!(archiving.await.unwrap(), Ok(()));
        assert_eq!(ledger.page(&Query::new(), None).await.unwrap().entries, []);
        assert_eq!(ours.line(Quota::Paid, SETTLED, ID).await, Ok(None));
        assert_eq!(ledger.erase(&alices).await, Ok(0), "once");
        let left = inner.scan("", None, 10).await.unwrap();
        assert!(!left.iter().any(|(_, there)| there.value.windows(5).any(|part| part == b"alice")));
        clock.advance(MARK);
        assert_eq!(inner.scan("paid/ledger/", None, 10).await, Ok(vec![]), "the mark goes, too");
    }

    /// What stands under the challenge, written over what stood there.
    async fn write_record(store: &MemoryStore, record: &Record) {
        let key = Key::new(Quota::Paid, ENTRY, ID);
        let there = store.get(&key).await.unwrap().map(|there| there.version);
        let write = Write { value: encode(record).unwrap(), keep: Keep::Live };
        assert!(matches!(store.cas(&key, there, Some(write)).await, Ok(Cas::Written(_))));
    }

    fn delivered(runs: u32) -> Record {
        let Listing { line, expires } = listing();
        let listing = Listing { line: Line { runs, ..line }, expires };
        super::super::listed(Record::Delivered(u64::from(runs)), Some(Box::new(listing)))
    }

    fn taken_back() -> Record {
        let Listing { line, expires } = listing();
        Record::Open(Box::new(Entry {
            fingerprint: [1; 32],
            target: [2; 32],
            expires,
            method: line.method,
            bill: line.bill,
            payer: line.payer,
            external_id: None,
            proof_keys: vec![],
            payment: PaymentState::Settled(vec![]),
            lease: super::super::Lease::NOBODY,
            attempts: line.runs,
            delivery: super::super::DeliveryState::None,
        }))
    }

    /// Somebody moves the first line and stands still, before it writes the line or after. Its delivery is taken back; a second run is
    /// delivered or is not, and its line is moved by somebody else, before that one goes on or after.
    #[tokio::test]
    async fn of_a_delivery_that_was_taken_back_no_line_stays_and_the_next_one_keeps_its_own() {
        let now = Timestamp::from_unix(SETTLED + 1);
        for (writes, again, first) in [
            (0, false, false),
            (1, false, false),
            (0, true, true),
            (0, true, false),
            (1, true, true),
            (1, true, false),
        ] {
            let inner = Arc::new(MemoryStore::new().with_clock(Arc::new(ManualClock::at(now))));
            write_record(&inner, &delivered(1)).await;
            let stalled = Stalled::after(writes, &inner);
            let other = journal(stalled.clone());
            let archiving = tokio::spawn(async move { other.archive(Quota::Paid, ID, now).await });
            stalled.arrived.notified().await;
            let ours = journal(inner.clone());
            write_record(&inner, &taken_back()).await;
            if again {
                write_record(&inner, &delivered(2)).await;
            }
            if first {
                assert_eq!(ours.archive(Quota::Paid, ID, now).await, Ok(()));
            }
            stalled.goes_on.notify_one();
            assert_eq!(archiving.await.unwrap(), Ok(()));
            assert_eq!(ours.archive(Quota::Paid, ID, now).await, Ok(()));
            let line = ours.line(Quota::Paid, SETTLED, ID).await.unwrap();
            let runs = again.then_some(2);
            assert_eq!(line.map(|line| line.runs), runs, "after {writes} writes, {again} {first}");
            let found = ours.find(Quota::Paid, ID).await.unwrap().unwrap();
            assert!(found.listing.is_none());
        }
    }

    /// The line is there already, or was erased, and the process that moved it died before its record shrank.
    #[tokio::test]
    async fn what_stands_in_the_place_of_a_line_stays_and_its_record_shrinks() {
        let now = Timestamp::from_unix(SETTLED + 1);
        let line = listing().line;
        for there in [Shelved::Line(Box::new(Line { runs: 2, ..line })), Shelved::Erased] {
            let store = Arc::new(MemoryStore::new());
            write_record(&store, &delivered(2)).await;
            let write = Write { value: encode_value("line", &there).unwrap(), keep: Keep::Live };
            let key = line_key(Quota::Paid, SETTLED, ID);
            let Ok(Cas::Written(version)) = store.cas(&key, None, Some(write)).await else { panic!() };
            let ours = journal(store.clone());
            assert_eq!(ours.archive(Quota::Paid, ID, now).await, Ok(()));
            assert_eq!(store.get(&key).await.unwrap().unwrap().version, version);
            assert!(ours.find(Quota::Paid, ID).await.unwrap().unwrap().listing.is_none());
        }
    }

    /// Somebody is about to write over the line of a delivery that was taken back, and whoever wrote that takes it away first.
    #[tokio::test]
    async fn a_line_that_goes_while_it_is_written_over_is_written_all_the_same() {
        let now = Timestamp::from_unix(SETTLED + 1);
        let inner = Arc::new(MemoryStore::new());
        write_record(&inner, &delivered(2)).await;
        let stale = Shelved::Line(Box::new(listing().line));
        let (key, keep) = (line_key(Quota::Paid, SETTLED, ID), Keep::Live);
        let write = Write { value: encode_value("line", &stale).unwrap(), keep };
        let Ok(Cas::Written(version)) = inner.cas(&key, None, Some(write)).await else { panic!() };
        let stalled = Stalled::after(1, &inner);
        let ours = journal(stalled.clone());
        let archiving = tokio::spawn(async move { ours.archive(Quota::Paid, ID, now).await });
        stalled.arrived.notified().await;
        assert_eq!(inner.cas(&key, Some(version), None).await, Ok(Cas::Removed));
        stalled.goes_on.notify_one();
        assert_eq!(archiving.await.unwrap(), Ok(()));
        let ours = journal(inner);
        assert_eq!(ours.line(Quota::Paid, SETTLED, ID).await.unwrap().map(|line| line.runs), Some(2));
        assert!(ours.find(Quota::Paid, ID).await.unwrap().unwrap().listing.is_none());
    }

    async fn give_up(ours: Journal) -> Result<(), JournalError> {
        let found = ours.find(Quota::Paid, ID).await.unwrap().unwrap();
        let Record::Open(entry) = found.record else { panic!() };
        ours.refund_due(Quota::Paid, ID, found.version, *entry, Timestamp::from_unix(SETTLED + 1)).await
    }

    /// One's write fails, and before it is tried again the other has written.
    #[tokio::test]
    async fn of_two_that_give_a_payment_up_at_once_only_one_has() {
        let inner = Arc::new(MemoryStore::new());
        write_record(&inner, &taken_back()).await;
        let stalled = Stalled::failing(&inner);
        let outrun = tokio::spawn(give_up(journal(stalled.clone())));
        stalled.arrived.notified().await;
        let ours = journal(inner);
        assert_eq!(give_up(ours.clone()).await, Ok(()));
        stalled.goes_on.notify_one();
        assert!(matches!(outrun.await.unwrap(), Err(JournalError::Lost(Some(_)))));
        let entry = ours.find(Quota::Paid, ID).await.unwrap().unwrap().record;
        let Record::Open(entry) = entry else { panic!() };
        assert!(!entry.lease.is_live(Timestamp::from_unix(0)));
    }
}
