//! The journal: one entry per challenge id, the single commit point of a payment and its delivery.
//!
//! Two axes:
//!
//! ```text
//! payment:   claiming → (holding → held →) settling → settled | unknown
//! delivery:  none → running → delivered | refund due → refunded
//! ```
//!
//! That all proof keys are held ("claimed") is a state of the types and none of the store: whoever finds an entry
//! whose owner died before it asked for money rolls it back, whether its keys were taken or not, and a write that nobody acts
//! upon costs a durable store a round trip or a sync. Money is asked for only after `settling` (or `holding`) is durable.
//!
//! `released` and `failed` payments leave no entry: nothing moved, so nothing has to be remembered. Every transition is
//! one compare-and-swap of the whole entry. An entry is owned by whoever holds its lease.
//!
//! Here entries are found, claimed and taken over. [`record`] is what is written, [`claim`] what the owner of an entry does
//! with it, [`commits`] which deliveries may still be taken back, [`proofs`] what is claimed with it, [`archive`] what is left of
//! it in the ledger, and [`refunds`] what is given back of it.

mod archive;
mod claim;
mod commits;
mod proofs;
mod record;
mod refunds;

pub(crate) use archive::{Ending, FoundLine, Line, LinePage, Listing, lines_since};
pub(crate) use claim::{
    Claim, Claimed, Claiming, Held, NewClaim, Patience, Proofs, Settled, Settling, Started, Taken,
};
pub(crate) use commits::{Commits, Committing, Moment};
#[cfg(feature = "testing")]
pub(crate) use record::state_of;
pub(crate) use record::{
    Again, Bill, DeliveryState, Entry, Found, Identity, Kept, Lease, PaymentState, Record,
};
pub(crate) use refunds::{Book, BookOf, OrderState, Ordered, Refundable, Whereabouts, books_from};

use super::drain::Doors;
use crate::protocol::Timestamp;
use crate::store::seal::Sealer;
use crate::store::{Cas, Keep, Key, Quota, Store, StoreError, Version, Write};
use claim::Owned;
use record::{encode, encode_value, listed, open, read};
use std::sync::Arc;
use std::time::Duration;

/// Allowance for clocks that disagree between replicas.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

pub(crate) const ENTRY: &str = "entry";
const PROOF: &str = "proof";

/// Why a journal write did not happen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JournalError {
    /// The store failed or is full: 503.
    Store(StoreError),
    /// Somebody else took the entry over in the meantime; this is what is there now.
    Lost(Option<Found>),
}

/// An entry that nobody works on, as it was found.
pub(crate) struct Abandoned {
    pub(crate) quota: Quota,
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) entry: Box<Entry>,
    /// The `Idempotency-Key` of whoever asks for it now.
    pub(crate) key: Option<String>,
}

/// Reads and writes entries.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    /// How long a lease lasts without a heartbeat.
    lease: Duration,
    /// How long a payment network may take: a lease over a call to it lasts that much longer, so that nobody looks a payment
    /// up while it is being made.
    call: Duration,
    /// How long after its expiry a challenge's undelivered payment still opens the route.
    grace: Duration,
    /// What the process waits for before it ends.
    doors: Arc<Doors>,
    commits: Commits,
    /// How long the ledger keeps a payment; zero keeps none.
    lines: Duration,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>, lease: Duration, call: Duration, grace: Duration) -> Self {
        let (doors, commits) = (Arc::default(), Commits::default());
        Self { store, lease, call, grace, doors, commits, lines: Duration::ZERO }
    }

    /// The same, of a configuration that takes the place of that journal's.
    pub(crate) fn after(self, predecessor: Option<&Journal>) -> Self {
        match predecessor {
            Some(before) => {
                Self { doors: Arc::new(Doors::after(&before.doors)), commits: before.commits.clone(), ..self }
            }
            None => self,
        }
    }

    pub(crate) fn doors(&self) -> &Arc<Doors> {
        &self.doors
    }

    pub(crate) fn commits(&self) -> &Commits {
        &self.commits
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

    /// A page of entries, in the order of their ids, and the key to go on after. One that cannot be read is among them.
    pub(crate) async fn page(
        &self,
        quota: Quota,
        after: Option<&Key>,
    ) -> Result<Vec<(Key, String, Result<Found, StoreError>)>, StoreError> {
        const PAGE: usize = 100;
        let prefix = format!("{}/{ENTRY}/", quota.name());
        let page = self.store.scan(&prefix, after, PAGE).await?;
        let entries = page.into_iter().filter_map(|(key, versioned)| {
            let id = key.as_str().strip_prefix(&prefix)?.to_owned();
            read(Some(versioned)).transpose().map(|found| (key, id, found))
        });
        Ok(entries.collect())
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
        let owner = somebody();
        let entry = Entry {
            fingerprint: *new.fingerprint.as_bytes(),
            target: new.target,
            expires: new.expires.unix(),
            method: new.method,
            bill: new.bill,
            payer: new.payer,
            external_id: new.external_id,
            proof_keys: new.proof_keys.into_iter().map(proofs::name_of).collect(),
            payment: PaymentState::Claiming(new.sealed_plan),
            lease: self.lease_from(owner, now),
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
            since: version,
            version,
            entry,
            keep,
            owner,
        }))
    }

    /// Takes over an entry whose owner is gone (or an unknown outcome), bumping its version. A plan that is not sealed with the
    /// first secret of the ring is from then on. Only who has won the entry takes the key: of several at once no loser leaves its own.
    pub(crate) async fn take_over(
        &self,
        sealer: &Sealer,
        abandoned: Abandoned,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        let owner = somebody();
        let Abandoned { quota, id, version, mut entry, key } = abandoned;
        let before = key.is_some().then(|| entry.clone());
        let oldest = match &key {
            Some(key) => self.name_key(quota, &id, &mut entry, key).await.map_err(JournalError::Store)?,
            None => None,
        };
        // All but a settled one mean another call to the network.
        entry.lease = match entry.payment {
            PaymentState::Settled(_) => self.lease_from(owner, now),
            _ => self.lease_over_call(owner, now),
        };
        // Whatever ran under the former lease is over.
        entry.delivery = DeliveryState::None;
        if matches!(entry.payment, PaymentState::Settled(_)) {
            entry.delivery = DeliveryState::Running;
            entry.attempts = entry.attempts.saturating_add(1);
        }
        entry.payment.seal_again(sealer, &id);
        let store_key = Key::new(quota, ENTRY, &id);
        let keep = self.keep(quota, entry.expires, now);
        // The version that was found may name a delivery of its former owner.
        let (journal, since) = (self.clone(), Version(owner));
        let owned = Owned { journal, quota, id, key: store_key, since, version, entry: *entry, keep, owner };
        let mut claim = Claim::<()>::of(owned);
        claim.begin().await?;
        if let (Some(key), Some(before)) = (key, before) {
            claim = match claim.take_key(&key, oldest, *before).await? {
                Some(claim) => claim,
                None => return Ok(Taken::KeyInUse),
            };
        }
        Ok(match claim.entry.payment {
            PaymentState::Claiming(_) => Taken::Claiming(claim.enter()),
            PaymentState::Holding(_) | PaymentState::Held(_) => Taken::Held(claim.enter()),
            PaymentState::Settling(_) | PaymentState::Unknown(_) => Taken::Settling(claim.enter()),
            PaymentState::Settled(_) => Taken::Settled(claim.enter()),
        })
    }

    /// Has the plan of an entry that nobody can take over now sealed with the first secret of the ring, if it is not.
    pub(crate) async fn seal_again(
        &self,
        sealer: &Sealer,
        quota: Quota,
        id: &str,
        found: Version,
        mut entry: Entry,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        if !entry.payment.seal_again(sealer, id) {
            return Ok(());
        }
        self.overwrite(quota, id, found, entry, now).await
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
        let mut claim = self.owned(quota, id.to_owned(), found, entry, now);
        // Nobody's, and it names us: of several that write the same at once, one has.
        claim.entry.lease = Lease { owner: claim.owner, ..Lease::NOBODY };
        claim.write().await
    }

    /// Writes an entry in the place of what was found, without owning it.
    async fn overwrite(
        &self,
        quota: Quota,
        id: &str,
        found: Version,
        entry: Entry,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.owned(quota, id.to_owned(), found, entry, now).write().await
    }

    /// An entry as it was found, to be written by us.
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
        let (journal, version, owner) = (self.clone(), found, somebody());
        // The version that was found may name a delivery of its former owner.
        let since = Version(owner);
        Claim::of(Owned { journal, quota, id, key, since, version, entry, keep, owner })
    }

    fn lease_from(&self, owner: u64, now: Timestamp) -> Lease {
        Lease { owner, until: (now + self.lease).unix() }
    }

    fn lease_over_call(&self, owner: u64, now: Timestamp) -> Lease {
        self.lease_from(owner, now + self.call)
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

/// A name for whoever holds a lease; 0 is nobody's.
fn somebody() -> u64 {
    rand::random::<u64>() | 1
}

fn outcome(cas: Result<Cas, StoreError>) -> Result<Version, JournalError> {
    match cas {
        Ok(Cas::Written(version)) => Ok(version),
        Ok(Cas::Removed) => Err(JournalError::Lost(None)),
        Ok(Cas::Conflict(current)) => Err(JournalError::Lost(read(current).map_err(JournalError::Store)?)),
        Err(e) => Err(JournalError::Store(e)),
    }
}

/// The numbers that the variants of a stored enum are written under. What is in a store outlives the program that wrote it: a
/// variant keeps its number, and that of one that is gone stays free.
#[cfg(test)]
fn numbers<T: serde::Serialize>(variants: &[T]) -> Vec<u8> {
    variants.iter().map(|variant| postcard::to_allocvec(variant).unwrap()[0]).collect()
}
