//! The ledger: every settled payment, what it bought, and whether that was delivered.
//!
//! It is read from the journal, so it cannot disagree with it: an open payment's line is its journal entry, the line of one
//! that is over was committed with its delivery. Operations are named by their route's template: never the path, query or
//! body of one request. Proofs of identity (an amount of zero) are no payments and not in it.
//!
//! What was [given back](super::refund) of a payment is in its entry.
//!
//! Lines are kept for [`Builder::ledger_retention`](crate::Builder::ledger_retention), and erased by
//! [`Ledger::erase`]. What was paid and is not delivered, and a refund that is due or pending, is kept until it is over.
//! `mpp ledger --server` prints it from the store alone; no HTTP endpoint exposes it.
//!
//! What this version cannot read hides nothing else: a page [names](Page::unreadable) it and shows all others.

mod erasing;

use super::Mpp;
use super::journal::{
    Book, BookOf, DeliveryState, Ending, Entry, FoundLine, Journal, Line, LinePage, PaymentState, Record,
    books_from, lines_since,
};
use super::observe::Sale;
use super::refund::{Refund, RefundState};
use crate::clock::{Clock, SystemClock};
use crate::protocol::{Amount, Timestamp};
use crate::store::{Key, Quota, Store, StoreError};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A reader of the ledger. Cheap to clone; reads the store whenever it is asked.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Paid, routing::{Router, get}, testing};
/// # use std::{sync::Arc, time::Duration};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # let builder = testing::builder(Arc::new(mpp::SystemClock));
/// use mpp::ledger::{Delivery, Query};
///
/// let mpp = builder.ledger_retention(Duration::from_secs(3600)).build().unwrap();
/// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp.clone()));
/// client.get("/weather").paying("tempo").await;
///
/// let sold = mpp.ledger().page(&Query::new().operation("GET /weather"), None).await.unwrap();
/// assert_eq!(sold.entries[0].sale.amount, mpp::Amount::cents(5));
/// assert_eq!(sold.entries[0].delivery, Delivery::Delivered);
/// // What was paid and is not delivered is one query.
/// assert_eq!(mpp.ledger().page(&Query::new().undelivered(), None).await.unwrap().entries, []);
/// # });
/// # }
/// ```
#[derive(Clone)]
pub struct Ledger {
    journal: Journal,
    clock: Arc<dyn Clock>,
}

/// One payment.
///
/// ```
/// use mpp::ledger::LedgerEntry;
///
/// fn line(entry: &LedgerEntry) -> String {
///     format!("{} {} {:?}", entry.sale.settled_at, entry.sale.operation, entry.delivery)
/// }
/// # drop(line);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerEntry {
    /// What was paid for, and how.
    pub sale: Sale,
    /// Whether it was delivered.
    pub delivery: Delivery,
    /// How often the handler has run for it.
    pub runs: u32,
    /// What was ordered back, oldest first; `None` where that [cannot be read](Page::unreadable).
    pub refunds: Option<Vec<Refund>>,
}

/// How the delivery of a payment stands.
///
/// ```
/// assert_eq!(mpp::ledger::Delivery::RefundDue.name(), "refund due");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// Not yet: its credential opens the route.
    Undelivered,
    /// No run may deliver it any more: the operator owes a refund. Where its refunds cannot be read, it may be back already.
    RefundDue,
    /// Its response was committed and sent.
    Delivered,
    /// It never was, and all of the money is back.
    Refunded,
}

impl Delivery {
    /// In words.
    ///
    /// ```
    /// assert_eq!(mpp::ledger::Delivery::Delivered.name(), "delivered");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undelivered => "undelivered",
            Self::RefundDue => "refund due",
            Self::Delivered => "delivered",
            Self::Refunded => "refunded",
        }
    }
}

impl LedgerEntry {
    /// How much of it went back; `None` where that [cannot be read](Page::unreadable).
    ///
    /// ```
    /// # use mpp::{Amount, ledger::LedgerEntry};
    /// fn kept(entry: &LedgerEntry) -> bool { entry.refunded() == Some(Amount::ZERO) }
    /// # drop(kept);
    /// ```
    pub fn refunded(&self) -> Option<Amount> {
        let is_back = |refund: &&Refund| matches!(refund.state, RefundState::Refunded { .. });
        let refunds = self.refunds.as_ref()?;
        Some(refunds.iter().filter(is_back).map(|refund| refund.amount).sum())
    }
}

/// Which payments; all of them without a filter.
///
/// ```
/// use mpp::{ledger::Query, protocol::Timestamp};
/// let today = Query::new().since(Timestamp::from_unix(1_800_000_000)).method("stripe");
/// # drop(today);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    operation: Option<String>,
    method: Option<String>,
    payer: Option<String>,
    open: bool,
}

impl Query {
    /// All payments.
    ///
    /// ```
    /// assert_eq!(mpp::ledger::Query::new(), mpp::ledger::Query::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Settled then or later.
    ///
    /// ```
    /// # use mpp::{ledger::Query, protocol::Timestamp};
    /// assert_ne!(Query::new().since(Timestamp::from_unix(1_800_000_000)), Query::new());
    /// ```
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Settled before.
    ///
    /// ```
    /// # use mpp::{ledger::Query, protocol::Timestamp};
    /// assert_ne!(Query::new().until(Timestamp::from_unix(1_800_000_000)), Query::new());
    /// ```
    #[must_use]
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// For this operation: `GET /weather/{city}`.
    ///
    /// ```
    /// # use mpp::ledger::Query;
    /// assert_ne!(Query::new().operation("GET /weather/{city}"), Query::new());
    /// ```
    #[must_use]
    pub fn operation(mut self, operation: impl Into<String>) -> Self {
        self.operation = Some(operation.into());
        self
    }

    /// By this payment method.
    ///
    /// ```
    /// # use mpp::ledger::Query;
    /// assert_ne!(Query::new().method("tempo"), Query::new());
    /// ```
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// By this payer, spelled as the method spells it.
    ///
    /// ```
    /// # use mpp::ledger::Query;
    /// assert_ne!(Query::new().payer("did:pkh:eip155:4217:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00"), Query::new());
    /// ```
    #[must_use]
    pub fn payer(mut self, payer: impl Into<String>) -> Self {
        self.payer = Some(payer.into());
        self
    }

    /// Settled and not delivered, refunds that are due included, and not what is back. Looks at open payments alone, so it is quick however much
    /// was sold.
    ///
    /// ```
    /// # use mpp::ledger::Query;
    /// assert_ne!(Query::new().undelivered(), Query::new());
    /// ```
    #[must_use]
    pub fn undelivered(mut self) -> Self {
        self.open = true;
        self
    }

    fn wants(&self, line: &Line) -> bool {
        let is = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
        self.spans(line.settled_at)
            && is(&self.operation, &line.bill.operation)
            && is(&self.method, &line.method)
            && (self.payer.is_none() || self.payer == line.payer)
            && !(self.open && matches!(line.ending, Ending::Delivered | Ending::Refunded))
    }

    /// Whether a payment that is over may be wanted, of which no more is known than when it was settled, or not even that.
    fn may_want(&self, settled_at: Option<i64>) -> bool {
        !self.open && settled_at.is_none_or(|at| self.spans(at))
    }

    /// Unix seconds.
    fn spans(&self, settled_at: i64) -> bool {
        let at = Timestamp::from_unix(settled_at);
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

/// Some payments, and where to go on.
///
/// ```
/// # use mpp::ledger::{Ledger, Query};
/// async fn count(ledger: &Ledger) -> Result<usize, mpp::store::StoreError> {
///     let (mut count, mut after) = (0, None);
///     loop {
///         let page = ledger.page(&Query::new(), after.as_ref()).await?;
///         count += page.entries.len();
///         after = page.next;
///         if after.is_none() {
///             return Ok(count);
///         }
///     }
/// }
/// # drop(count);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// At most some hundred. None only at the end, or beside what is unreadable.
    pub entries: Vec<LedgerEntry>,
    /// What is left out of the entries because it cannot be read. Whoever adds them up has to say so.
    pub unreadable: Vec<Unreadable>,
    /// `None` at the end.
    pub next: Option<Cursor>,
}

/// Something of the ledger that this version cannot read: damaged, or written by another version. It is left as it is.
///
/// Whether a query wants it nobody can tell, but for the time in its key: an entry or a line is on a page of every query that may
/// and comes by it, refunds are beside the payment they are of.
///
/// ```
/// use mpp::ledger::Page;
///
/// fn complain(page: &Page) {
///     for one in &page.unreadable {
///         eprintln!("{}: {}", one.key, one.error);
///     }
/// }
/// # drop(complain);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// Its key in the store, without what the store itself puts before all keys. `…` is `paid`, or `free` for test money:
    ///
    /// | key | what it is |
    /// | --- | --- |
    /// | `…/entry/<challenge id>` | a payment that is open, and not in [`Page::entries`]; or what is remembered of one that is over, whose line may be there |
    /// | `…/ledger/<settled at, unix seconds>-<challenge id>` | a payment that is over; it is not in [`Page::entries`] |
    /// | `…/refund/<settled at, unix seconds>-<challenge id>` | what was ordered back of a payment; that is in [`Page::entries`], without its [refunds](LedgerEntry::refunds) |
    pub key: String,
    /// [`StoreError::Unreadable`]: what is wrong with it.
    pub error: StoreError,
}

impl Unreadable {
    /// What is wrong with this one key alone; any other error is one of the store.
    fn at(key: &Key, error: StoreError) -> Result<Self, StoreError> {
        match error {
            StoreError::Unreadable(_) => Ok(Self { key: key.as_str().to_owned(), error }),
            error => Err(error),
        }
    }
}

/// A place in the ledger, from the page before it.
///
/// ```
/// # use mpp::ledger::{Cursor, Page};
/// fn more(page: &Page) -> Option<&Cursor> { page.next.as_ref() }
/// # drop(more);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Place);

/// Open payments of each quota, then the lines of each.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Open(Quota, Option<Key>),
    Lines(Quota, Option<Key>),
}

impl Place {
    /// The next part of the ledger.
    fn beyond(&self, query: &Query) -> Option<Self> {
        match self {
            Self::Open(Quota::Paid, _) => Some(Self::Open(Quota::Free, None)),
            Self::Open(Quota::Free, _) if query.open => None,
            Self::Open(Quota::Free, _) => Some(Self::Lines(Quota::Paid, None)),
            Self::Lines(Quota::Paid, _) => Some(Self::Lines(Quota::Free, None)),
            Self::Lines(Quota::Free, _) => None,
        }
    }
}

impl Ledger {
    pub(super) fn new(journal: Journal, clock: Arc<dyn Clock>) -> Self {
        Self { journal, clock }
    }

    /// The ledger in a server's store, for tools beside the server: it needs no secret and no configuration.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mpp::ledger::{Ledger, Query};
    /// use mpp::store::MemoryStore;
    /// use std::sync::Arc;
    ///
    /// let ledger = Ledger::in_store(Arc::new(MemoryStore::new()));
    /// let page = ledger.page(&Query::new(), None).await.unwrap();
    /// assert_eq!(page.entries, []);
    /// # });
    /// ```
    pub fn in_store(store: Arc<dyn Store>) -> Self {
        let none = Duration::ZERO;
        Self { journal: Journal::new(store, none, none, none), clock: Arc::new(SystemClock) }
    }

    /// A page of payments: the open ones first, then the others, oldest first. A payment that ends while its ledger is read
    /// may be on two pages; its challenge id tells.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails. What in it cannot be read is no error: it is in [`Page::unreadable`].
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mpp::ledger::Query;
    /// let page = mpp::testing::mpp().ledger().page(&Query::new().undelivered(), None).await.unwrap();
    /// assert!(page.entries.is_empty());
    /// # });
    /// # }
    /// ```
    pub async fn page(&self, query: &Query, after: Option<&Cursor>) -> Result<Page, StoreError> {
        let mut place = after.map_or(Place::Open(Quota::Paid, None), |Cursor(place)| place.clone());
        loop {
            let Part { entries, unreadable, next } = match &place {
                Place::Open(quota, after) => self.open(*quota, after.as_ref(), query).await?,
                Place::Lines(quota, after) => self.lines(*quota, after.as_ref(), query).await?,
            };
            let next = next.or_else(|| place.beyond(query));
            match next {
                Some(next) if entries.is_empty() && unreadable.is_empty() => place = next,
                next => return Ok(Page { entries, unreadable, next: next.map(Cursor) }),
            }
        }
    }

    /// A page of journal entries that are settled, or whose line is still in them.
    async fn open(&self, quota: Quota, after: Option<&Key>, query: &Query) -> Result<Part, StoreError> {
        let page = self.journal.page(quota, after).await?;
        let next = page.last().map(|(key, ..)| Place::Open(quota, Some(key.clone())));
        let mut part = Part { next, ..Part::default() };
        for (key, id, found) in page {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    part.unreadable.push(Unreadable::at(&key, error)?);
                    continue;
                }
            };
            let line = match (&found.record, found.listing) {
                (Record::Open(entry), _) => open_line(entry),
                // Between its record and the ledger.
                (_, Some(listing)) if !self.journal.has_line(quota, &id, &listing.line).await? => {
                    Some(listing.line)
                }
                _ => None,
            };
            let Some(mut line) = line else { continue };
            let of = BookOf { quota, settled_at: line.settled_at, id };
            let book = match line.ending {
                // Nothing is ordered back while the route is open.
                Ending::Open => Ok(None),
                _ => match self.journal.refunds(&of).await {
                    Ok(there) => Ok(there.map(|(_, book)| book)),
                    Err(error) => Err(Unreadable::at(&of.key(), error)?),
                },
            };
            // Back already, and about to be closed.
            if line.ending == Ending::RefundDue && matches!(&book, Ok(Some(book)) if book.is_settled()) {
                line.ending = Ending::Refunded;
            }
            if query.wants(&line) {
                part.add(of.id, line, book);
            }
        }
        Ok(part)
    }

    async fn lines(&self, quota: Quota, after: Option<&Key>, query: &Query) -> Result<Part, StoreError> {
        let after = after.cloned().unwrap_or_else(|| self.first(quota, query));
        let LinePage { lines, unreadable, last } = self.journal.lines(quota, &after).await?;
        let late = |found: &FoundLine| query.until.is_some_and(|until| found.line.settled_at >= until.unix());
        let next =
            last.filter(|_| !lines.last().is_some_and(late)).map(|last| Place::Lines(quota, Some(last)));
        let mut books = self.books_beside(quota, &lines).await?;
        let mut part = Part { next, ..Part::default() };
        for found in unreadable {
            if query.may_want(found.settled_at) {
                part.unreadable.push(Unreadable::at(&found.key, found.error)?);
            }
        }
        for found in lines.into_iter().filter(|found| query.wants(&found.line)) {
            let book = books.remove(&found.id).transpose();
            part.add(found.id, found.line, book);
        }
        Ok(part)
    }

    /// What was given back of the payments on a page. Both are in the order of the same times and ids.
    async fn books_beside(
        &self,
        quota: Quota,
        lines: &[FoundLine],
    ) -> Result<HashMap<String, Result<Book, Unreadable>>, StoreError> {
        let mut books = HashMap::new();
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(books) };
        let until = (last.line.settled_at, last.id.as_str());
        let mut after = books_from(quota, first.line.settled_at);
        loop {
            let page = self.journal.refund_books(quota, Some(&after)).await?;
            let Some((last, ..)) = page.last() else { return Ok(books) };
            after = last.clone();
            for (key, of, _, book) in page {
                if (of.settled_at, of.id.as_str()) > until {
                    return Ok(books);
                }
                let book = match book {
                    Ok(book) => Ok(book),
                    Err(error) => Err(Unreadable::at(&key, error)?),
                };
                books.insert(of.id, book);
            }
        }
    }

    /// Where the lines begin that a query may want.
    fn first(&self, quota: Quota, query: &Query) -> Key {
        lines_since(quota, query.since.map_or(0, Timestamp::unix))
    }
}

/// What a page has of one place.
#[derive(Default)]
struct Part {
    entries: Vec<LedgerEntry>,
    unreadable: Vec<Unreadable>,
    /// Where this place goes on.
    next: Option<Place>,
}

impl Part {
    /// A payment, also when its book cannot be read.
    fn add(&mut self, challenge_id: String, line: Line, book: Result<Option<Book>, Unreadable>) {
        let refunds = match book {
            Ok(book) => Some(book.map_or_else(Vec::new, |book| {
                book.orders.iter().map(|order| Refund::of(order, book.decimals)).collect()
            })),
            Err(unreadable) => {
                self.unreadable.push(unreadable);
                None
            }
        };
        self.entries.push(LedgerEntry::new(challenge_id, line, refunds));
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger(..)")
    }
}

impl LedgerEntry {
    fn new(challenge_id: String, line: Line, refunds: Option<Vec<Refund>>) -> Self {
        let delivery = match line.ending {
            Ending::Open => Delivery::Undelivered,
            Ending::RefundDue => Delivery::RefundDue,
            Ending::Delivered => Delivery::Delivered,
            Ending::Refunded => Delivery::Refunded,
        };
        Self { runs: line.runs, delivery, refunds, sale: Sale::on(challenge_id, line) }
    }
}

impl Mpp {
    /// The ledger of this server, and of all that share its store.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// let ledger = mpp::testing::mpp().ledger();
    /// # drop(ledger);
    /// # }
    /// ```
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.0.journal.clone(), self.0.clock.clone())
    }
}

/// The line of an open payment that moved something.
fn open_line(entry: &Entry) -> Option<Line> {
    if entry.bill.units == 0 || !matches!(entry.payment, PaymentState::Settled(_)) {
        return None;
    }
    let ending = match entry.delivery {
        DeliveryState::RefundDue => Ending::RefundDue,
        DeliveryState::None | DeliveryState::Running => Ending::Open,
    };
    Line::of(entry, ending)
}
