//! The journal: one entry per challenge id, the single commit point of a payment and its delivery.
//!
//! Two axes (ARCHITECTURE section 4):
//!
//! ```text
//! payment:   claiming → claimed → (holding → held →) settling → settled | unknown
//! delivery:  none → running → delivered | refund due → refunded
//! ```
//!
//! `released` and `failed` payments leave no entry: nothing moved, so nothing has to be remembered. Every transition is
//! one compare-and-swap of the whole entry. The states of a settlement are types ([`Claim`]), so "settle before claim"
//! does not compile.
//!
//! What answers a delivered payment's credential again (`Idempotency-Key`, `replay = "response"`) is part of its terminal
//! record, so that it is committed with the delivery and erased with it ([`Kept`]).
//!
//! An entry is owned by whoever holds its lease. Every take-over bumps the version, so the former owner's next write
//! fails and its response is withheld.

mod archive;
mod refunds;

pub(crate) use archive::{Ending, FoundLine, Line, Listing, lines_since};
pub(crate) use refunds::{Book, BookOf, OrderState, Ordered, Refundable, Whereabouts, books_from};

use super::drain::Doors;
use super::replay::IdempotencyKey;
use crate::protocol::{Amount, BaseUnits, Fingerprint, Timestamp};
use crate::store::{Cas, Keep, Key, Quota, Store, StoreError, Version, Versioned, Write};
use archive::Listed;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// Allowance for clocks that disagree between replicas.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

pub(crate) const ENTRY: &str = "entry";
const PROOF: &str = "proof";

/// What the store holds under a challenge id.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    Open(Box<Entry>),
    /// Delivered, by the run that owned this version of the entry: whoever lost the answer to that write can tell its own
    /// delivery from another's. A few bytes, so that a million of them cost little.
    Delivered(u64),
    /// Held and released again: this credential bought nothing and cannot be used again.
    Released,
    /// Delivered, by a request that may be answered again.
    Kept(Box<Kept>),
    /// One of those that are over, with its line of the ledger. Taken apart where records are read.
    Listed(Box<Listed>),
    /// Paid, never delivered, and given back: this credential bought nothing and cannot be used again.
    Refunded,
}

/// A delivery that may be answered again.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// As in [`Record::Delivered`].
    pub(crate) run: u64,
    /// As in [`Entry`].
    pub(crate) fingerprint: [u8; 32],
    /// As in [`Entry`].
    pub(crate) target: [u8; 32],
    /// The response, sealed; `None` when it is too large, or a stream that has not ended.
    #[serde(with = "serde_bytes")]
    pub(crate) response: Option<Vec<u8>>,
}

/// Which delivery a response belongs to.
pub(crate) struct Identity {
    pub(crate) quota: Quota,
    /// Of the challenge.
    pub(crate) id: String,
    /// As in [`Entry`].
    pub(crate) fingerprint: [u8; 32],
    /// As in [`Entry`].
    pub(crate) target: [u8; 32],
    /// As in [`Entry`].
    pub(crate) expires: i64,
    /// When its record is erased, unix seconds.
    pub(crate) until: i64,
}

/// Whether a delivery may be answered again.
pub(crate) enum Again {
    /// It is never: a few bytes remember it.
    Never,
    /// With this sealed response, or none.
    Kept(Option<Vec<u8>>),
}

/// A payment that is not over.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// SHA-256 of the credential's payload and source: whose payment this is.
    pub(crate) fingerprint: [u8; 32],
    /// SHA-256 of verb, path, query and body digest: what it was for.
    pub(crate) target: [u8; 32],
    /// When the challenge expires, unix seconds.
    pub(crate) expires: i64,
    /// Name of the payment method.
    pub(crate) method: String,
    pub(crate) bill: Bill,
    /// As established by the method.
    pub(crate) payer: Option<String>,
    /// The merchant's reference of the request, for the receipt.
    pub(crate) external_id: Option<String>,
    /// Proof keys claimed for this payment.
    pub(crate) proof_keys: Vec<String>,
    pub(crate) payment: PaymentState,
    pub(crate) lease: Lease,
    /// Runs of the handler that have started.
    pub(crate) attempts: u32,
    pub(crate) delivery: DeliveryState,
}

/// What is sold for how much: for logs, hooks and the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bill {
    /// Verb and route template, never a concrete path.
    pub(crate) operation: String,
    /// Base units.
    pub(crate) units: u128,
    pub(crate) decimals: u8,
    /// As the price names it.
    pub(crate) currency: String,
    /// What the method calls it: a token's address.
    pub(crate) asset: String,
}

impl Bill {
    pub(crate) fn amount(&self) -> Amount {
        BaseUnits::new(self.units).to_amount(self.decimals)
    }
}

/// The payment axis. Plans are sealed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum PaymentState {
    /// Proof keys are being taken; nothing else happened.
    Claiming(#[serde(with = "serde_bytes")] Vec<u8>),
    /// All proof keys are held.
    Claimed(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The method was asked to reserve funds.
    Holding(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Funds are reserved.
    Held(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The method was asked to move money; from here on only a look-up may tell what happened.
    Settling(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Asked, and the answer was lost.
    Unknown(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Paid. The receipt, as JSON.
    Settled(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// The delivery axis of a payment that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum DeliveryState {
    None,
    Running,
    /// No run may start any more: the operator owes the payer a refund.
    RefundDue,
}

/// Who works on an entry, and until when others must keep away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Random per process.
    pub(crate) owner: u64,
    /// Unix seconds; 0 when nobody does.
    pub(crate) until: i64,
}

impl Lease {
    const NOBODY: Self = Self { owner: 0, until: 0 };

    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.until > now.unix()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("method", &self.method)
            .field("payment", &self.payment)
            .field("delivery", &self.delivery)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PaymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claiming(_) => "claiming",
            Self::Claimed(_) => "claimed",
            Self::Holding(_) => "holding",
            Self::Held(_) => "held",
            Self::Settling(_) => "settling",
            Self::Unknown(_) => "unknown",
            Self::Settled(_) => "settled",
        })
    }
}

/// Why a journal write did not happen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JournalError {
    /// The store failed or is full: 503.
    Store(StoreError),
    /// Somebody else took the entry over in the meantime; this is what is there now.
    Lost(Option<Found>),
}

/// An entry as read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) version: Version,
    /// Never [`Record::Listed`].
    pub(crate) record: Record,
    /// A line that has not been moved to the ledger yet.
    pub(crate) listing: Option<Box<Listing>>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(entry) => entry.fmt(f),
            Self::Delivered(_) => f.write_str("delivered"),
            Self::Released => f.write_str("released"),
            Self::Refunded => f.write_str("refunded"),
            Self::Kept(_) => f.write_str("delivered, to be answered again"),
            Self::Listed(listed) => listed.record.fmt(f),
        }
    }
}

/// Reads and writes entries.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    owner: u64,
    /// How long a lease lasts without a heartbeat.
    lease: Duration,
    /// How long a payment network may take: a lease over a call to it lasts that much longer, so that nobody looks a payment
    /// up while it is being made.
    call: Duration,
    /// How long after its expiry a challenge's undelivered payment still opens the route.
    grace: Duration,
    /// What the process waits for before it ends.
    doors: Arc<Doors>,
    /// How long the ledger keeps a payment; zero keeps none.
    lines: Duration,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>, lease: Duration, call: Duration, grace: Duration) -> Self {
        // 0 is nobody.
        Self {
            store,
            owner: rand::random::<u64>() | 1,
            lease,
            call,
            grace,
            doors: Arc::default(),
            lines: Duration::ZERO,
        }
    }

    pub(crate) fn doors(&self) -> &Arc<Doors> {
        &self.doors
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn lease_time(&self) -> Duration {
        self.lease
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// What is known about a challenge id.
    pub(crate) async fn find(&self, quota: Quota, id: &str) -> Result<Option<Found>, StoreError> {
        let key = Key::new(quota, ENTRY, id);
        read(self.store.get(&key).await?)
    }

    /// A page of entries, in the order of their ids, and the key to go on after.
    pub(crate) async fn page(
        &self,
        quota: Quota,
        after: Option<&Key>,
    ) -> Result<Vec<(Key, String, Found)>, StoreError> {
        const PAGE: usize = 100;
        let prefix = format!("{}/{ENTRY}/", quota.name());
        let page = self.store.scan(&prefix, after, PAGE).await?;
        let entries = page.into_iter().filter_map(|(key, versioned)| {
            let id = key.as_str().strip_prefix(&prefix)?.to_owned();
            read(Some(versioned)).map(|found| found.map(|found| (key, id, found))).transpose()
        });
        entries.collect()
    }

    /// Which challenge holds a proof or an `Idempotency-Key`.
    pub(crate) async fn holder(&self, quota: Quota, proof: &str) -> Result<Option<String>, StoreError> {
        let held = self.store.get(&Key::new(quota, PROOF, proof)).await?;
        Ok(held.map(|held| String::from_utf8_lossy(&held.value).into_owned()))
    }

    /// Takes an `Idempotency-Key` for a payment that is settled already, as long as its credential opens the route.
    /// `None`, or the challenge that holds the key.
    pub(crate) async fn hold(
        &self,
        quota: Quota,
        key: &str,
        id: &str,
        expires: i64,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let keep = Keep::For(self.retention(expires, now));
        let write = Write { value: id.as_bytes().to_vec(), keep };
        match self.store.cas(&Key::new(quota, PROOF, key), None, Some(write)).await? {
            Cas::Written(_) | Cas::Removed => Ok(None),
            Cas::Conflict(held) => Ok(held
                .map(|held| String::from_utf8_lossy(&held.value).into_owned())
                .filter(|holder| holder != id)),
        }
    }

    /// Adds a response to a delivery that was committed without it, if nobody has touched the entry since.
    pub(crate) async fn keep_response(
        &self,
        of: &Identity,
        run: u64,
        response: Vec<u8>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let Some(found) = self.find(of.quota, &of.id).await.map_err(JournalError::Store)? else {
            return Ok(());
        };
        let Record::Kept(mut kept) = found.record else { return Ok(()) };
        if kept.run != run || kept.response.is_some() {
            return Ok(());
        }
        kept.response = Some(response);
        let keep = self.keep_closed(of.quota, of.expires, found.listing.as_deref(), now);
        let write = Write { value: encode(&listed(Record::Kept(kept), found.listing))?, keep };
        let key = Key::new(of.quota, ENTRY, &of.id);
        outcome(self.store.cas(&key, Some(found.version), Some(write)).await).map(drop)
    }

    /// Returns when the entry may have changed since `version`.
    pub(crate) async fn changed(&self, quota: Quota, id: &str, version: Version) {
        self.store.changed(&Key::new(quota, ENTRY, id), version).await;
    }

    /// Writes `claiming`, with the sealed plan. The first of several wins; the others get [`JournalError::Lost`].
    pub(crate) async fn claim(
        &self,
        new: Box<NewClaim>,
        now: Timestamp,
    ) -> Result<Claim<Claiming>, JournalError> {
        let entry = Entry {
            fingerprint: *new.fingerprint.as_bytes(),
            target: new.target,
            expires: new.expires.unix(),
            method: new.method,
            bill: new.bill,
            payer: new.payer,
            external_id: new.external_id,
            proof_keys: new.proof_keys,
            payment: PaymentState::Claiming(new.sealed_plan.clone()),
            lease: self.lease_from(now),
            attempts: 0,
            delivery: DeliveryState::None,
        };
        let key = Key::new(new.quota, ENTRY, &new.id);
        let keep = self.keep(new.quota, new.expires.unix(), now);
        let written = self.store.cas(&key, None, Some(open(&entry, keep)?)).await;
        let version = outcome(written)?;
        Ok(Claim::of(Owned {
            journal: self.clone(),
            quota: new.quota,
            id: new.id,
            key,
            version,
            entry,
            sealed_plan: new.sealed_plan,
            keep,
        }))
    }

    /// Takes over an entry whose owner is gone (or an unknown outcome), bumping its version.
    pub(crate) async fn take_over(
        &self,
        quota: Quota,
        id: String,
        found: Version,
        mut entry: Entry,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        // All but a settled one mean another call to the network.
        entry.lease = match entry.payment {
            PaymentState::Settled(_) => self.lease_from(now),
            _ => self.lease_over_call(now),
        };
        // Whatever ran under the former lease is over.
        entry.delivery = DeliveryState::None;
        let plan = match &entry.payment {
            PaymentState::Claiming(plan)
            | PaymentState::Claimed(plan)
            | PaymentState::Holding(plan)
            | PaymentState::Held(plan)
            | PaymentState::Settling(plan)
            | PaymentState::Unknown(plan) => plan.clone(),
            PaymentState::Settled(_) => Vec::new(),
        };
        let payment = entry.payment.clone();
        if matches!(payment, PaymentState::Settled(_)) {
            entry.delivery = DeliveryState::Running;
            entry.attempts = entry.attempts.saturating_add(1);
        }
        let key = Key::new(quota, ENTRY, &id);
        let keep = self.keep(quota, entry.expires, now);
        let write = open(&entry, keep)?;
        let version = outcome(self.store.cas(&key, Some(found), Some(write)).await)?;
        let journal = self.clone();
        let claim =
            Claim::<()>::of(Owned { journal, quota, id, key, version, entry, sealed_plan: plan, keep });
        Ok(match payment {
            PaymentState::Claiming(_) => Taken::Claiming(claim.enter()),
            PaymentState::Claimed(_) => Taken::Claimed(claim.enter()),
            PaymentState::Holding(_) | PaymentState::Held(_) => Taken::Held(claim.enter()),
            PaymentState::Settling(_) | PaymentState::Unknown(_) => Taken::Settling(claim.enter()),
            PaymentState::Settled(_) => Taken::Settled(claim.enter()),
        })
    }

    /// Marks an undelivered payment as owed. Best effort: the entry says "settled, undelivered" either way.
    pub(crate) async fn refund_due(
        &self,
        quota: Quota,
        id: &str,
        found: Version,
        mut entry: Entry,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        entry.delivery = DeliveryState::RefundDue;
        entry.lease = Lease::NOBODY;
        let key = Key::new(quota, ENTRY, id);
        let write = open(&entry, self.keep(quota, entry.expires, now))?;
        outcome(self.store.cas(&key, Some(found), Some(write)).await).map(drop)
    }

    /// An entry as it was found, to be ended by us.
    fn owned(
        &self,
        quota: Quota,
        id: String,
        found: Version,
        entry: Entry,
        now: Timestamp,
    ) -> Claim<Settled> {
        let keep = self.keep(quota, entry.expires, now);
        let key = Key::new(quota, ENTRY, &id);
        let (journal, sealed_plan) = (self.clone(), Vec::new());
        Claim::of(Owned { journal, quota, id, key, version: found, entry, sealed_plan, keep })
    }

    fn lease_from(&self, now: Timestamp) -> Lease {
        Lease { owner: self.owner, until: (now + self.lease).unix() }
    }

    fn lease_over_call(&self, now: Timestamp) -> Lease {
        self.lease_from(now + self.call)
    }

    /// How long an entry that is not terminal is kept: a payment until it is over; a free proof or test money only as
    /// long as its credential could still open the route, so that abandoned ones cannot fill their quota for good.
    fn keep(&self, quota: Quota, expires: i64, now: Timestamp) -> Keep {
        match quota {
            Quota::Paid => Keep::Live,
            Quota::Free => Keep::For(self.retention(expires, now).saturating_add(self.call)),
        }
    }

    /// How long a terminal record is kept: one with a line until that is in the ledger.
    fn keep_closed(&self, quota: Quota, expires: i64, listing: Option<&Listing>, now: Timestamp) -> Keep {
        let retention = self.retention(expires, now);
        Keep::For(listing.map_or(retention, |_| retention.max(self.line_keep(quota))))
    }

    /// How long a terminal record must be remembered.
    fn retention(&self, expires: i64, now: Timestamp) -> Duration {
        Timestamp::from_unix(expires).since(now).saturating_add(self.grace).saturating_add(SKEW)
    }
}

/// All that a first claim is made of.
pub(crate) struct NewClaim {
    pub(crate) quota: Quota,
    pub(crate) id: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) target: [u8; 32],
    pub(crate) expires: Timestamp,
    pub(crate) method: String,
    pub(crate) bill: Bill,
    pub(crate) payer: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) proof_keys: Vec<String>,
    pub(crate) sealed_plan: Vec<u8>,
}

/// An entry we own, in state `S`. Boxed: it goes through a dozen futures, and each would have room for it twice.
pub(crate) struct Claim<S> {
    owned: Box<Owned>,
    state: PhantomData<fn() -> S>,
}

pub(crate) struct Owned {
    journal: Journal,
    quota: Quota,
    id: String,
    key: Key,
    version: Version,
    entry: Entry,
    sealed_plan: Vec<u8>,
    keep: Keep,
}

impl<S> Deref for Claim<S> {
    type Target = Owned;

    fn deref(&self) -> &Owned {
        &self.owned
    }
}

impl<S> DerefMut for Claim<S> {
    fn deref_mut(&mut self) -> &mut Owned {
        &mut self.owned
    }
}

pub(crate) enum Claiming {}
pub(crate) enum Claimed {}
/// Reserving or reserved.
pub(crate) enum Held {}
/// Money may be moving.
pub(crate) enum Settling {}
/// Paid; the handler may run under our lease.
pub(crate) enum Settled {}

/// An entry that was taken over, in the state it was left in.
pub(crate) enum Taken {
    Claiming(Claim<Claiming>),
    Claimed(Claim<Claimed>),
    Held(Claim<Held>),
    Settling(Claim<Settling>),
    Settled(Claim<Settled>),
}

impl<S> Claim<S> {
    fn of(owned: Owned) -> Self {
        Self { owned: Box::new(owned), state: PhantomData }
    }

    fn enter<T>(self) -> Claim<T> {
        Claim { owned: self.owned, state: PhantomData }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn sealed_plan(&self) -> &[u8] {
        &self.sealed_plan
    }

    /// Writes the entry as it stands.
    async fn write(&mut self) -> Result<(), JournalError> {
        let value = encode_open(&self.entry)?;
        self.put(value, self.keep, None).await
    }

    /// Writes over our own version. A lost answer is settled by reading back, so that a store that failed after it wrote
    /// does not make us lose our own entry, or withhold a delivery that is committed. `terminal` is what is written, if it
    /// is not the entry.
    async fn put(
        &mut self,
        value: Vec<u8>,
        keep: Keep,
        terminal: Option<Record>,
    ) -> Result<(), JournalError> {
        let write = Write { value, keep };
        let first = self.journal.store.cas(&self.key, Some(self.version), Some(write.clone())).await;
        let Err(StoreError::Backend(_)) = first else {
            self.version = outcome(first)?;
            return Ok(());
        };
        let there = self.journal.store.get(&self.key).await.map_err(JournalError::Store)?;
        let second = match there {
            Some(there) if there.version == self.version => {
                self.journal.store.cas(&self.key, Some(self.version), Some(write)).await
            }
            other => Ok(Cas::Conflict(other)),
        };
        self.version = match outcome(second) {
            // A terminal record names the run that wrote it, whatever became of its line.
            Err(JournalError::Lost(Some(found))) if self.is_ours(&found.record, terminal) => found.version,
            written => written?,
        };
        Ok(())
    }

    /// Whether a record is what we have just written.
    fn is_ours(&self, found: &Record, terminal: Option<Record>) -> bool {
        match (found, terminal) {
            (found, Some(terminal)) => *found == apart(terminal).0,
            (Record::Open(entry), None) => **entry == self.entry,
            (_, None) => false,
        }
    }

    /// Extends the lease of a running handler; fails when somebody else took over.
    pub(crate) async fn renew(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.entry.lease = self.journal.lease_from(now);
        self.write().await
    }

    async fn advance<T>(mut self, payment: PaymentState) -> Result<Claim<T>, JournalError> {
        self.entry.payment = payment;
        self.write().await?;
        Ok(self.enter())
    }

    /// Replaces the entry by a terminal record and lets the proof keys expire with it.
    async fn close(
        &mut self,
        record: Record,
        listing: Option<Box<Listing>>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let keep = self.journal.keep_closed(self.quota, self.entry.expires, listing.as_deref(), now);
        let archived = listing.is_some();
        let record = listed(record, listing);
        self.put(encode(&record)?, keep, Some(record)).await?;
        let keep = Keep::For(self.journal.retention(self.entry.expires, now));
        // The response does not wait for this; a key that stays live is only remembered longer than needed.
        if archived || !self.entry.proof_keys.is_empty() {
            let (store, id) = (self.journal.store.clone(), self.id.clone());
            let (journal, quota) = (self.journal.clone(), self.quota);
            let pass = self.journal.doors.linger();
            let keys = std::mem::take(&mut self.entry.proof_keys);
            let keys: Vec<_> = keys.iter().map(|proof| Key::new(self.quota, PROOF, proof)).collect();
            tokio::spawn(async move {
                for key in keys {
                    if let Ok(Some(held)) = store.get(&key).await
                        && held.value == id.as_bytes()
                    {
                        drop(
                            store
                                .cas(&key, Some(held.version), Some(Write { value: held.value, keep }))
                                .await,
                        );
                    }
                }
                if archived {
                    // What fails here is done by the next sweep.
                    drop(journal.archive(quota, &id, now).await);
                }
                drop(pass);
            });
        }
        Ok(())
    }

    /// Gives the proof keys back and forgets the entry: nothing moved and nothing can.
    async fn undo(self) -> Result<(), JournalError> {
        // Keys first: while the entry stands, nobody else can claim this challenge.
        for proof in &self.entry.proof_keys {
            self.give_back(proof).await?;
        }
        match self.journal.store.cas(&self.key, Some(self.version), None).await {
            Ok(Cas::Removed | Cas::Written(_)) => Ok(()),
            Ok(Cas::Conflict(current)) => {
                Err(JournalError::Lost(read(current).map_err(JournalError::Store)?))
            }
            Err(e) => Err(JournalError::Store(e)),
        }
    }

    /// Lets the credential that buys what this one did not have the `Idempotency-Key`.
    async fn free_key(&mut self) -> Result<(), JournalError> {
        for key in self.entry.proof_keys.iter().filter(|proof| IdempotencyKey::is_proof(proof)) {
            self.give_back(key).await?;
        }
        self.entry.proof_keys.retain(|proof| !IdempotencyKey::is_proof(proof));
        Ok(())
    }

    /// Lets others claim a proof key, if it is ours.
    async fn give_back(&self, proof: &str) -> Result<(), JournalError> {
        let key = Key::new(self.quota, PROOF, proof);
        let held = self.journal.store.get(&key).await.map_err(JournalError::Store)?;
        if let Some(held) = held.filter(|h| h.value == self.id.as_bytes()) {
            self.journal.store.cas(&key, Some(held.version), None).await.map_err(JournalError::Store)?;
        }
        Ok(())
    }
}

/// How taking the proof keys ended.
pub(crate) enum Proofs {
    /// All are ours.
    Taken(Claim<Claimed>),
    /// One of them belongs to another challenge; everything was given back.
    UsedElsewhere,
    /// As [`UsedElsewhere`](Self::UsedElsewhere), and it was the `Idempotency-Key`.
    KeyInUse,
}

impl Claim<Claiming> {
    /// Takes every proof key. A key that already holds our id is ours: taking it again is idempotent.
    pub(crate) async fn take_proofs(self) -> Result<Proofs, JournalError> {
        for proof in &self.entry.proof_keys {
            let key = Key::new(self.quota, PROOF, proof);
            let write = Write { value: self.id.as_bytes().to_vec(), keep: self.keep };
            match self.journal.store.cas(&key, None, Some(write)).await {
                Ok(Cas::Written(_) | Cas::Removed) => {}
                Ok(Cas::Conflict(Some(held))) if held.value == self.id.as_bytes() => {}
                Ok(Cas::Conflict(_)) => {
                    let key = IdempotencyKey::is_proof(proof);
                    self.undo().await?;
                    return Ok(if key { Proofs::KeyInUse } else { Proofs::UsedElsewhere });
                }
                Err(e) => {
                    // Nothing was handed to anybody; what cannot be given back is rolled back by the next owner.
                    drop(self.undo().await);
                    return Err(JournalError::Store(e));
                }
            }
        }
        let plan = self.sealed_plan.clone();
        Ok(Proofs::Taken(self.advance(PaymentState::Claimed(plan)).await?))
    }

    /// Rolls an abandoned claim back.
    pub(crate) async fn roll_back(self) -> Result<(), JournalError> {
        self.undo().await
    }
}

impl Claim<Claimed> {
    /// Durable before a byte goes to the network.
    pub(crate) async fn begin_settling(mut self, now: Timestamp) -> Result<Claim<Settling>, JournalError> {
        self.entry.lease = self.journal.lease_over_call(now);
        let plan = self.sealed_plan.clone();
        self.advance(PaymentState::Settling(plan)).await
    }

    /// Durable before the method is asked to reserve anything.
    pub(crate) async fn begin_holding(mut self, now: Timestamp) -> Result<Claim<Held>, JournalError> {
        self.entry.lease = self.journal.lease_over_call(now);
        let plan = self.sealed_plan.clone();
        self.advance(PaymentState::Holding(plan)).await
    }

    /// Nothing was handed to the network.
    pub(crate) async fn release(self) -> Result<(), JournalError> {
        self.undo().await
    }
}

impl Claim<Held> {
    /// The funds are reserved; the handler may run under our lease.
    pub(crate) async fn held(mut self, sealed_plan: Vec<u8>, now: Timestamp) -> Result<Self, JournalError> {
        self.entry.lease = self.journal.lease_from(now);
        self.entry.payment = PaymentState::Held(sealed_plan.clone());
        self.entry.delivery = DeliveryState::Running;
        self.entry.attempts = self.entry.attempts.saturating_add(1);
        self.sealed_plan = sealed_plan;
        self.write().await?;
        Ok(self)
    }

    /// Durable before the capture.
    pub(crate) async fn begin_capture(mut self, now: Timestamp) -> Result<Claim<Settling>, JournalError> {
        self.entry.lease = self.journal.lease_over_call(now);
        let plan = self.sealed_plan.clone();
        self.advance(PaymentState::Settling(plan)).await
    }

    /// The hold was released after its handler failed: this credential is used up and bought nothing. Its
    /// `Idempotency-Key` is free for the one that will.
    pub(crate) async fn released(mut self, now: Timestamp) -> Result<(), JournalError> {
        self.free_key().await?;
        self.close(Record::Released, None, now).await
    }

    /// The hold never came to be, or was cancelled before its handler ran.
    pub(crate) async fn forget(self) -> Result<(), JournalError> {
        self.undo().await
    }
}

impl Claim<Settling> {
    /// Paid; the handler may run under our lease.
    pub(crate) async fn settled(
        mut self,
        receipt: Vec<u8>,
        now: Timestamp,
    ) -> Result<Claim<Settled>, JournalError> {
        self.entry.lease = self.journal.lease_from(now);
        // A payment captured after its handler is already running; its attempt was counted when it was held.
        if self.entry.delivery == DeliveryState::None {
            self.entry.attempts = self.entry.attempts.saturating_add(1);
        }
        self.entry.delivery = DeliveryState::Running;
        // The plan is erased here.
        self.entry.payment = PaymentState::Settled(receipt);
        self.sealed_plan = Vec::new();
        self.write().await?;
        Ok(self.enter())
    }

    /// Nobody knows: others may look it up at once.
    pub(crate) async fn unknown(mut self) -> Result<(), JournalError> {
        self.entry.payment = PaymentState::Unknown(self.sealed_plan.clone());
        self.entry.lease = Lease::NOBODY;
        self.write().await
    }

    /// Nothing moved and nothing can.
    pub(crate) async fn declined(self) -> Result<(), JournalError> {
        self.undo().await
    }
}

impl Claim<Settled> {
    /// The receipt, as JSON.
    pub(crate) fn receipt(&self) -> &[u8] {
        match &self.entry.payment {
            PaymentState::Settled(receipt) => receipt,
            _ => &[],
        }
    }

    pub(crate) fn identity(&self, now: Timestamp) -> Identity {
        let Entry { fingerprint, target, expires, .. } = self.entry;
        let until = (now + self.journal.retention(expires, now)).unix();
        Identity { quota: self.quota, id: self.id.clone(), fingerprint, target, expires, until }
    }

    /// The response head is about to leave. Returns the run, which names this delivery.
    pub(crate) async fn delivered(&mut self, again: Again, now: Timestamp) -> Result<u64, JournalError> {
        let run = self.version.0;
        let record = match again {
            Again::Never => Record::Delivered(run),
            Again::Kept(response) => {
                let Entry { fingerprint, target, .. } = self.entry;
                Record::Kept(Box::new(Kept { run, fingerprint, target, response }))
            }
        };
        let listing = self.journal.listing(&self.entry, Ending::Delivered);
        self.close(record, listing, now).await.map(|()| run)
    }

    /// The handler failed or never answered: the same credential opens the route again.
    pub(crate) async fn undelivered(&mut self, started: Started) -> Result<(), JournalError> {
        self.entry.delivery = DeliveryState::None;
        self.entry.lease = Lease::NOBODY;
        if started == Started::No {
            self.entry.attempts = self.entry.attempts.saturating_sub(1);
        }
        self.write().await
    }
}

/// Whether the handler was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    Yes,
    No,
}

fn encode(record: &Record) -> Result<Vec<u8>, JournalError> {
    encode_value("entry", record)
}

/// What [`encode`] writes of [`Record::Open`], without a copy of the entry.
fn encode_open(entry: &Entry) -> Result<Vec<u8>, JournalError> {
    // The first variant of both.
    #[derive(Serialize)]
    enum Record<'a> {
        Open(&'a Entry),
    }
    encode_value("entry", &Record::Open(entry))
}

fn encode_value(what: &str, value: &impl Serialize) -> Result<Vec<u8>, JournalError> {
    // Most are about as long; growing byte by byte took a third of the time.
    let buffer = Vec::with_capacity(512);
    postcard::to_extend(value, buffer)
        .map_err(|e| JournalError::Store(StoreError::Backend(format!("{what}: {e}"))))
}

fn open(entry: &Entry, keep: Keep) -> Result<Write, JournalError> {
    Ok(Write { value: encode_open(entry)?, keep })
}

fn read(found: Option<Versioned>) -> Result<Option<Found>, StoreError> {
    let Some(Versioned { version, value }) = found else { return Ok(None) };
    // An entry we cannot read may be a payment: never treated as absent.
    let record =
        postcard::from_bytes(&value).map_err(|e| StoreError::Backend(format!("unreadable entry: {e}")))?;
    let (record, listing) = apart(record);
    Ok(Some(Found { version, record, listing }))
}

fn listed(record: Record, listing: Option<Box<Listing>>) -> Record {
    match listing {
        None => record,
        Some(listing) => Record::Listed(Box::new(Listed { listing: *listing, record })),
    }
}

/// A record and its line.
fn apart(record: Record) -> (Record, Option<Box<Listing>>) {
    match record {
        Record::Listed(listed) => (listed.record, Some(Box::new(listed.listing))),
        record => (record, None),
    }
}

fn outcome(cas: Result<Cas, StoreError>) -> Result<Version, JournalError> {
    match cas {
        Ok(Cas::Written(version)) => Ok(version),
        Ok(Cas::Removed) => Err(JournalError::Lost(None)),
        Ok(Cas::Conflict(current)) => Err(JournalError::Lost(read(current).map_err(JournalError::Store)?)),
        Err(e) => Err(JournalError::Store(e)),
    }
}

/// What a stored entry says, for tests that name what they saw.
#[cfg(feature = "testing")]
pub(crate) fn state_of(value: &[u8]) -> String {
    match postcard::from_bytes(value) {
        Ok(Record::Open(entry)) => match entry.delivery {
            DeliveryState::None => format!("{:?}", entry.payment),
            DeliveryState::Running => format!("{:?}, running", entry.payment),
            DeliveryState::RefundDue => format!("{:?}, refund due", entry.payment),
        },
        Ok(record) => format!("{record:?}"),
        Err(_) => "unreadable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            fingerprint: [1; 32],
            target: [2; 32],
            expires: 1_800_000_000,
            method: "tempo".to_owned(),
            bill: Bill {
                operation: "GET /weather".to_owned(),
                units: u128::MAX,
                decimals: 6,
                currency: "usdc".to_owned(),
                asset: "0x20c0".to_owned(),
            },
            payer: None,
            external_id: Some("sku-42".to_owned()),
            proof_keys: vec!["tempo:0xabc".to_owned()],
            payment: PaymentState::Settling(vec![0, 127, 128, 255]),
            lease: Lease { owner: 7, until: 1_800_000_030 },
            attempts: 1,
            delivery: DeliveryState::None,
        }
    }

    #[test]
    fn an_open_entry_is_written_as_the_record_it_is_read_as() {
        let record = Record::Open(Box::new(entry()));
        let written = encode_open(&entry()).unwrap();
        assert_eq!(written, encode(&record).unwrap());
        assert!(postcard::from_bytes::<Record>(&written).unwrap() == record);
    }

    #[test]
    fn what_another_version_wrote_byte_by_byte_is_read() {
        #[derive(Serialize)]
        enum Before {
            Claiming(Vec<u8>),
        }
        #[derive(Serialize)]
        struct KeptBefore {
            run: u64,
            fingerprint: [u8; 32],
            target: [u8; 32],
            response: Option<Vec<u8>>,
        }
        let plan: Vec<u8> = (0..=255).collect();
        let before = postcard::to_allocvec(&Before::Claiming(plan.clone())).unwrap();
        assert_eq!(postcard::to_allocvec(&PaymentState::Claiming(plan.clone())).unwrap(), before);
        for response in [None, Some(plan)] {
            let (run, fingerprint, target) = (3, [1; 32], [2; 32]);
            let before = KeptBefore { run, fingerprint, target, response: response.clone() };
            let kept = Kept { run, fingerprint, target, response };
            assert_eq!(postcard::to_allocvec(&kept).unwrap(), postcard::to_allocvec(&before).unwrap());
        }
    }
}
