//! The books: accounts and payments in a [`Store`], each changed by compare-and-swap on its own key.
//!
//! An account record holds what is available, what has been paid, and the reservations of payments under way. A payment
//! record, under the challenge id, is the commit point:
//!
//! ```text
//!            ┌────────────► Declined            reservation given back
//! (none) ──► Open ──► Held ──► Settled ──► Closed
//!            └───────────────────┘              reservation booked as paid, before `Closed`
//! ```
//!
//! Only the run that opened a record reserves money for it, at most once and before it settles the record. Everything
//! after the commit point is repeatable by anybody. Records under way stay until they end; ended ones are kept for a
//! while, for those who ask again, and then leave the store.

use crate::protocol::{MethodName, Timestamp};
use crate::store::{Cas, Durability, Keep, Key, Quota, Store, StoreError, Version, Versioned, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Accounts and payments of one sandbox.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) store: Arc<dyn Store>,
    pub(super) method: MethodName,
    // What accounts hold that have no record yet; applied when they are first written.
    opened: BTreeMap<String, u128>,
    /// What an account holds that was not even named; none is not opened.
    newcomers: Option<u128>,
}

/// A payment as the plan describes it; amounts are in [`DECIMALS`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) challenge_id: &'a str,
    pub(super) account: &'a str,
    pub(super) units: u128,
    /// It is not begun after this.
    pub(super) until: Timestamp,
    pub(super) now: Timestamp,
}

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Held,
    Settled,
    Declined(Reason),
    /// Somebody is at it, or it is so long ago that its record is gone.
    Unclear,
}

/// Why a payment was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reason {
    UnknownAccount,
    Insufficient,
    /// Too many reservations, or too many writers, on this account.
    Busy,
    /// Declined before it was settled, by `resolve` or `release`.
    Cancelled,
    Late,
    /// The store takes no new records.
    NoRoom,
}

/// Why the books could not be read or written. What was being written may or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a sandbox record cannot be read")]
    Corrupt,
    #[error("too many writers at once")]
    Contended,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) available: u128,
    pub(super) paid: u128,
    /// By challenge id.
    reserved: BTreeMap<String, Reservation>,
    /// Ids of what was given back.
    refunded: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reservation {
    units: u128,
    /// Unix seconds; a reservation older than that may have been abandoned.
    until: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Record {
    /// Being worked on.
    Open,
    /// Reserved until captured or released.
    Held,
    /// The money moved; the account may not say so yet.
    Settled,
    /// The money moved, and the account says so.
    Closed,
    /// It did not, and cannot any more.
    Declined(Reason),
}

impl Ledger {
    pub(super) fn new(store: Arc<dyn Store>, method: MethodName) -> Self {
        Self { store, method, opened: BTreeMap::new(), newcomers: None }
    }

    /// Says what an account holds that nothing was written about.
    pub(super) fn open(&mut self, account: String, units: u128) {
        self.opened.insert(account, units);
    }

    /// Says what every other account holds that nothing was written about.
    pub(super) fn open_to_all(&mut self, units: u128) {
        self.newcomers = Some(units);
    }

    /// Puts `units` into an account, opening it if it is new.
    pub(super) async fn fund(&self, account: &str, units: u128) -> Result<(), FundError> {
        self.update(account, |there| {
            let mut account = there.unwrap_or_default();
            // All that an account ever held stays countable, so that no later sum can overflow.
            let ever =
                account.reserved.values().fold(account.paid, |sum, held| sum.saturating_add(held.units));
            let total = ever.saturating_add(account.available).saturating_add(units);
            if total > MOST_UNITS {
                return Edit::Leave(Err(FundError::TooMuch));
            }
            account.available += units;
            Edit::Write(account, Ok(()))
        })
        .await?
    }

    /// The account, if it was ever opened.
    pub(super) async fn account(&self, account: &str) -> Result<Option<Account>, Trouble> {
        self.read_account(account, self.store.get(&self.account_key(account)).await?.as_ref())
    }

    fn read_account(&self, account: &str, there: Option<&Versioned>) -> Result<Option<Account>, Trouble> {
        match there {
            Some(there) => decode(there).map(Some),
            None => {
                let units = self.opened.get(account).copied().or(self.newcomers);
                Ok(units.map(|available| Account { available, ..Account::default() }))
            }
        }
    }

    /// What all accounts have paid.
    pub(super) async fn till(&self) -> Result<u128, Trouble> {
        let prefix = self.account_key("");
        let mut till = 0_u128;
        let mut after = None;
        loop {
            let page = self.store.scan(prefix.as_str(), after.as_ref(), PAGE).await?;
            for (_, there) in &page {
                till = till.saturating_add(decode::<Account>(there)?.paid);
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(till),
            }
        }
    }

    /// Takes the money: opens the record, reserves, settles.
    pub(super) async fn pay(&self, order: Order<'_>) -> Result<Outcome, Trouble> {
        match self.begin(order, Record::Settled).await? {
            Begun::Now(settled) => self.close_at(order, settled).await,
            Begun::Otherwise(outcome) => Ok(outcome),
        }
    }

    /// Gives `units` of what an account has paid back to it, once for each `refund`. Whether it could.
    pub(super) async fn refund(&self, refund: &str, account: &str, units: u128) -> Result<bool, Trouble> {
        self.update(account, |there| {
            let Some(mut account) = there else { return Edit::Leave(false) };
            if account.refunded.contains(refund) {
                return Edit::Leave(true);
            }
            let Some(paid) = account.paid.checked_sub(units) else { return Edit::Leave(false) };
            if account.refunded.len() >= MOST_REFUNDS {
                return Edit::Leave(false);
            }
            account.paid = paid;
            account.available = account.available.saturating_add(units);
            account.refunded.insert(refund.to_owned());
            Edit::Write(account, true)
        })
        .await
    }

    /// Reserves the money: opens the record, reserves, marks it held.
    pub(super) async fn hold(&self, order: Order<'_>) -> Result<Outcome, Trouble> {
        match self.begin(order, Record::Held).await? {
            Begun::Now(_) => Ok(Outcome::Held),
            Begun::Otherwise(outcome) => Ok(outcome),
        }
    }

    /// Takes what is held.
    pub(super) async fn capture(&self, order: Order<'_>) -> Result<Outcome, Trouble> {
        for _ in 0..ATTEMPTS {
            let Some((version, record)) = self.record(order).await? else {
                return self.never_began(order).await;
            };
            match record {
                Record::Held => match self.turn(order, version, Record::Settled).await? {
                    Turned::Done(settled) => return self.close_at(order, settled).await,
                    Turned::Lost => {}
                },
                Record::Settled | Record::Closed => return self.close(order).await,
                Record::Declined(reason) => return self.give_back(order, reason).await,
                Record::Open => return Ok(Outcome::Unclear),
            }
        }
        Err(Trouble::Contended)
    }

    /// Finds out what became of a payment, and ends it if it did not settle. Never takes money.
    pub(super) async fn resolve(&self, order: Order<'_>) -> Result<Outcome, Trouble> {
        for _ in 0..ATTEMPTS {
            let Some((version, record)) = self.record(order).await? else {
                return self.never_began(order).await;
            };
            match record {
                Record::Settled | Record::Closed => return self.close(order).await,
                Record::Declined(reason) => return self.give_back(order, reason).await,
                Record::Open | Record::Held => {
                    let declined = Record::Declined(Reason::Cancelled);
                    match self.turn(order, version, declined).await? {
                        Turned::Done(_) => return self.give_back(order, Reason::Cancelled).await,
                        Turned::Lost => {}
                    }
                }
            }
        }
        Err(Trouble::Contended)
    }

    /// Opens the record, reserves the money and turns the record into `goal`. Only one run gets past the opening.
    async fn begin(&self, order: Order<'_>, goal: Record) -> Result<Begun, Trouble> {
        if order.now > order.until {
            return match self.record(order).await? {
                Some((_, record)) => self.already(order, record, goal).await,
                None if self.is_forgotten(order) => Ok(Begun::Otherwise(Outcome::Unclear)),
                None => Ok(Begun::Otherwise(Outcome::Declined(Reason::Late))),
            };
        }
        let key = self.payment_key(order);
        let opened = match self.store.cas(&key, None, Some(encode(&Record::Open, Keep::Live)?)).await {
            // Nothing was written, for certain.
            Err(StoreError::Full(_)) => return Ok(Begun::Otherwise(Outcome::Declined(Reason::NoRoom))),
            Err(error) => return Err(error.into()),
            Ok(Cas::Written(version)) => version,
            Ok(Cas::Conflict(Some(there))) => return self.already(order, decode(&there)?, goal).await,
            Ok(Cas::Conflict(None) | Cas::Removed) => return Err(Trouble::Contended),
        };
        if let Err(reason) = self.reserve(order).await? {
            // Whoever declined it first had the same effect.
            self.turn(order, opened, Record::Declined(reason)).await?;
            return Ok(Begun::Otherwise(Outcome::Declined(reason)));
        }
        let reason = match self.turn(order, opened, goal).await? {
            Turned::Done(version) => return Ok(Begun::Now(version)),
            Turned::Lost => match self.record(order).await? {
                Some((_, Record::Declined(reason))) => reason,
                // Declined, and so long ago that the record is gone.
                None => Reason::Cancelled,
                Some((_, record)) => return self.already(order, record, goal).await,
            },
        };
        self.give_back(order, reason).await.map(Begun::Otherwise)
    }

    /// The answer for a payment that somebody began before.
    async fn already(&self, order: Order<'_>, record: Record, goal: Record) -> Result<Begun, Trouble> {
        Ok(Begun::Otherwise(match record {
            Record::Settled | Record::Closed => self.close(order).await?,
            Record::Declined(reason) => Outcome::Declined(reason),
            Record::Held if goal == Record::Held => Outcome::Held,
            Record::Open | Record::Held => Outcome::Unclear,
        }))
    }

    /// There is no record: makes sure that there never will be one that settles.
    async fn never_began(&self, order: Order<'_>) -> Result<Outcome, Trouble> {
        if self.is_forgotten(order) {
            return Ok(Outcome::Unclear);
        }
        let declined = encode(&Record::Declined(Reason::Cancelled), self.ended(order))?;
        match self.store.cas(&self.payment_key(order), None, Some(declined)).await? {
            Cas::Written(_) => Ok(Outcome::Declined(Reason::Cancelled)),
            // It begins just now; asking again will tell.
            Cas::Conflict(_) | Cas::Removed => Ok(Outcome::Unclear),
        }
    }

    /// Moves the money from available to reserved, or says why not.
    async fn reserve(&self, order: Order<'_>) -> Result<Result<(), Reason>, Trouble> {
        let there = self.tidy(order.account, order.now).await?;
        let reserved = self
            .update_from(order.account, there, |there| {
                let Some(mut account) = there else { return Edit::Leave(Err(Reason::UnknownAccount)) };
                if account.reserved.len() >= MOST_RESERVATIONS {
                    return Edit::Leave(Err(Reason::Busy));
                }
                let Some(left) = account.available.checked_sub(order.units) else {
                    return Edit::Leave(Err(Reason::Insufficient));
                };
                account.available = left;
                let reservation = Reservation { units: order.units, until: order.until.unix() };
                account.reserved.insert(order.challenge_id.to_owned(), reservation);
                Edit::Write(account, Ok(()))
            })
            .await;
        match reserved {
            // Every attempt lost to another writer, so nothing was written.
            Err(Trouble::Contended) => Ok(Err(Reason::Busy)),
            reserved => reserved,
        }
    }

    /// Books a settled payment and closes its record. Repeatable.
    async fn close(&self, order: Order<'_>) -> Result<Outcome, Trouble> {
        if let Some((settled, Record::Settled)) = self.record(order).await? {
            return self.close_at(order, settled).await;
        }
        self.take_reservation(order.account, order.challenge_id, Taken::Paid).await?;
        Ok(Outcome::Settled)
    }

    /// [`close`](Self::close) of a record that was last seen settled, at this version.
    async fn close_at(&self, order: Order<'_>, settled: Version) -> Result<Outcome, Trouble> {
        self.take_reservation(order.account, order.challenge_id, Taken::Paid).await?;
        // Lost only to somebody who closed it.
        self.turn(order, settled, Record::Closed).await?;
        Ok(Outcome::Settled)
    }

    /// Gives a declined payment's reservation back. Repeatable.
    async fn give_back(&self, order: Order<'_>, reason: Reason) -> Result<Outcome, Trouble> {
        self.take_reservation(order.account, order.challenge_id, Taken::Returned).await?;
        Ok(Outcome::Declined(reason))
    }

    async fn take_reservation(&self, account: &str, challenge_id: &str, taken: Taken) -> Result<(), Trouble> {
        self.update(account, |there| {
            let Some(mut account) = there else { return Edit::Leave(()) };
            let Some(reservation) = account.reserved.remove(challenge_id) else { return Edit::Leave(()) };
            // `fund` keeps the sum of all three within range.
            match taken {
                Taken::Paid => account.paid = account.paid.saturating_add(reservation.units),
                Taken::Returned => account.available = account.available.saturating_add(reservation.units),
            }
            Edit::Write(account, ())
        })
        .await
    }

    /// Ends reservations that a run left behind when it died: a few per payment, once their time is over. What it read of the
    /// account, which is what it is if nothing had to be done.
    async fn tidy(&self, account: &str, now: Timestamp) -> Result<Option<Versioned>, Trouble> {
        let there = self.store.get(&self.account_key(account)).await?;
        let Some(read) = self.read_account(account, there.as_ref())? else { return Ok(there) };
        let old = read.reserved.iter().filter(|(_, reservation)| reservation.until < now.unix());
        for (challenge_id, reservation) in old.take(TIDY) {
            let until = Timestamp::from_unix(reservation.until);
            let order = Order { challenge_id, account, units: reservation.units, until, now };
            match self.record(order).await?.map(|(_, record)| record) {
                Some(Record::Settled | Record::Closed) => {
                    self.close(order).await?;
                }
                // A record under way is for `resolve` or `release` to end.
                Some(Record::Open | Record::Held) => {}
                // A record leaves the store only after a decline, or after the reservation was booked.
                Some(Record::Declined(_)) | None => {
                    self.take_reservation(account, challenge_id, Taken::Returned).await?;
                }
            }
        }
        Ok(there)
    }

    async fn record(&self, order: Order<'_>) -> Result<Option<(Version, Record)>, Trouble> {
        let there = self.store.get(&self.payment_key(order)).await?;
        there.map(|there| Ok((there.version, decode(&there)?))).transpose()
    }

    /// Changes the record if it is still at this version.
    async fn turn(&self, order: Order<'_>, version: Version, into: Record) -> Result<Turned, Trouble> {
        let keep = match into {
            // A settled one until the account says so too.
            Record::Open | Record::Held | Record::Settled => Keep::Live,
            Record::Closed | Record::Declined(_) => self.ended(order),
        };
        match self.store.cas(&self.payment_key(order), Some(version), Some(encode(&into, keep)?)).await? {
            Cas::Written(version) => Ok(Turned::Done(version)),
            Cas::Conflict(_) | Cas::Removed => Ok(Turned::Lost),
        }
    }

    /// Reads, edits and writes an account until nobody came in between.
    async fn update<T>(
        &self,
        account: &str,
        edit: impl FnMut(Option<Account>) -> Edit<T>,
    ) -> Result<T, Trouble> {
        let there = self.store.get(&self.account_key(account)).await?;
        self.update_from(account, there, edit).await
    }

    /// [`update`](Self::update) of an account that was read before.
    async fn update_from<T>(
        &self,
        account: &str,
        mut there: Option<Versioned>,
        mut edit: impl FnMut(Option<Account>) -> Edit<T>,
    ) -> Result<T, Trouble> {
        let key = self.account_key(account);
        for _ in 0..ATTEMPTS {
            let version = there.as_ref().map(|there| there.version);
            match edit(self.read_account(account, there.as_ref())?) {
                Edit::Leave(answer) => return Ok(answer),
                Edit::Write(account, answer) => {
                    match self.store.cas(&key, version, Some(encode(&account, Keep::Live)?)).await? {
                        Cas::Written(_) => return Ok(answer),
                        Cas::Conflict(now) => there = now,
                        Cas::Removed => return Err(Trouble::Contended),
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        Err(Trouble::Contended)
    }

    /// How long the record of an ended payment is kept.
    fn ended(&self, order: Order<'_>) -> Keep {
        Keep::For(order.until.since(order.now) + self.retention())
    }

    /// Whether a record that is not there may have been there.
    fn is_forgotten(&self, order: Order<'_>) -> bool {
        order.now + SKEW >= order.until + self.retention()
    }

    fn retention(&self) -> Duration {
        match self.store.durability() {
            // A recovery may start long after the process died.
            Durability::Durable => Duration::from_secs(24 * 60 * 60),
            // The records die with the process; none of them is asked for after a restart.
            Durability::Volatile { .. } => Duration::from_secs(10 * 60),
        }
    }

    fn account_key(&self, account: &str) -> Key {
        Key::within(Quota::Free, "sandbox-account", self.method.as_str(), account)
    }

    fn payment_key(&self, order: Order<'_>) -> Key {
        Key::within(Quota::Free, "sandbox-payment", self.method.as_str(), order.challenge_id)
    }
}

/// Why an account could not be funded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FundError {
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error("an account cannot hold that much")]
    TooMuch,
}

/// What to do with an account that was read.
enum Edit<T> {
    Write(Account, T),
    Leave(T),
}

/// Where a reservation goes.
#[derive(Clone, Copy)]
enum Taken {
    Paid,
    Returned,
}

/// How beginning a payment ended.
enum Begun {
    /// Its record is what it was to be, in this version.
    Now(Version),
    Otherwise(Outcome),
}

enum Turned {
    Done(Version),
    /// Somebody else changed the record first.
    Lost,
}

fn encode(record: &impl Serialize, keep: Keep) -> Result<Write, Trouble> {
    // With room for the name, which the memory store puts behind it.
    let buffer = Vec::with_capacity(256);
    Ok(Write { value: postcard::to_extend(record, buffer).map_err(|_| Trouble::Corrupt)?, keep })
}

fn decode<T: DeserializeOwned>(there: &Versioned) -> Result<T, Trouble> {
    postcard::from_bytes(&there.value).map_err(|_| Trouble::Corrupt)
}

/// Decimal places of the units in the books.
pub(super) const DECIMALS: u8 = 18;
/// A hundred quintillion whole units, far below where 128 bits end.
pub(super) const MOST_UNITS: u128 = 10_u128.pow(20 + DECIMALS as u32);
const MOST_RESERVATIONS: usize = 1024;
const MOST_REFUNDS: usize = 4096;
const ATTEMPTS: usize = 1000;
const PAGE: usize = 256;
const TIDY: usize = 4;
/// How far the clocks of server and store may be apart.
const SKEW: Duration = Duration::from_secs(60);
