//! A payment that is ours, from the claim to its end, as types.
//!
//! A [`Claim`] holds the version of the entry it wrote last, and its state is a type parameter: the only way to
//! [`Settling`] leads over [`Claimed`], so "settle before claim" does not compile. Every step is one compare-and-swap over
//! our own version. Whoever takes the entry over bumps it, so the former owner's next write fails and its response is
//! withheld.

use super::super::replay::IdempotencyKey;
use super::archive::{Ending, Listing};
use super::proofs::{HeldProof, Taking};
use super::record::{encode, encode_open, listed, read};
use super::{
    Again, Bill, DeliveryState, Entry, Found, Identity, Journal, JournalError, Kept, Lease, PaymentState,
    Record, outcome,
};
use crate::protocol::{Fingerprint, Timestamp};
use crate::store::{Cas, Keep, Key, Quota, StoreError, Version, Write};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;
use tokio::time::Instant;

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
    pub(super) journal: Journal,
    pub(super) quota: Quota,
    pub(super) id: String,
    pub(super) key: Key,
    /// In which it became ours.
    pub(super) since: Version,
    /// In which we wrote it last.
    pub(super) version: Version,
    pub(super) entry: Entry,
    pub(super) keep: Keep,
    /// Names us in our leases; random, not 0.
    pub(super) owner: u64,
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
/// All proof keys are held. In the journal it is still `claiming`: the next write is that money may move.
pub(crate) enum Claimed {}
/// Reserving or reserved.
pub(crate) enum Held {}
/// Money may be moving.
pub(crate) enum Settling {}
/// Paid; the handler may run under our lease.
pub(crate) enum Settled {}
/// Rolled back: what it was, for whoever tells of it.
pub(crate) enum Undone {}

/// An entry that was taken over, in the state it was left in.
pub(crate) enum Taken {
    Claiming(Claim<Claiming>),
    Held(Claim<Held>),
    Settling(Claim<Settling>),
    Settled(Claim<Settled>),
    /// Not taken: the `Idempotency-Key` belongs to another payment.
    KeyInUse,
}

impl<S> Claim<S> {
    pub(super) fn of(owned: Owned) -> Self {
        Self { owned: Box::new(owned), state: PhantomData }
    }

    pub(super) fn enter<T>(self) -> Claim<T> {
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

    /// Writes the entry as it stands.
    pub(super) async fn write(&mut self) -> Result<(), JournalError> {
        let value = encode_open(&self.entry)?;
        self.put(value, self.keep, None, Patience::NONE).await
    }

    /// Writes over our own version. A write without an answer may have been done, so it is tried again: what then is in its way may be
    /// our own, and a store that failed after it wrote neither takes our entry from us nor withholds a delivery that is
    /// committed. `terminal` is what is written, if it is not the entry.
    async fn put(
        &mut self,
        value: Vec<u8>,
        keep: Keep,
        terminal: Option<&Record>,
        mut patience: Patience,
    ) -> Result<(), JournalError> {
        let write = Write { value, keep };
        let mut has_failed = false;
        loop {
            let done = self.journal.store.cas(&self.key, Some(self.version), Some(write.clone())).await;
            if let Err(StoreError::Backend(_)) = done
                && patience.is_left().await
            {
                has_failed = true;
                continue;
            }
            match outcome(done) {
                Err(JournalError::Lost(Some(found)))
                    if has_failed && self.is_this(&found.record, terminal) =>
                {
                    self.version = found.version;
                }
                // What we wrote before, and heard no answer of.
                Err(JournalError::Lost(Some(found))) if self.is_ours(&found) => {
                    self.version = found.version;
                    continue;
                }
                written => self.version = written?,
            }
            return Ok(());
        }
    }

    /// Whether a record is what we are writing.
    fn is_this(&self, found: &Record, terminal: Option<&Record>) -> bool {
        match (found, terminal) {
            // Whatever became of its line.
            (found, Some(Record::Listed(terminal))) => *found == terminal.record,
            (found, Some(terminal)) => found == terminal,
            (Record::Open(entry), None) => **entry == self.entry,
            (_, None) => false,
        }
    }

    /// Whether what was found names us: as the owner of a lease, or as the run that delivered and can still take that back. It cannot
    /// once the ledger says delivered, or what was kept answers the credential.
    fn is_ours(&self, found: &Found) -> bool {
        let is_listed =
            || found.listing.is_none() && self.journal.listing(&self.entry, Ending::Delivered).is_some();
        match &found.record {
            Record::Open(entry) => entry.lease.owner == self.owner,
            Record::Delivered(run) => *run == self.run() && !is_listed(),
            Record::Kept(kept) => kept.run == self.run() && kept.response.is_none() && !is_listed(),
            _ => false,
        }
    }

    /// Extends the lease of a running handler; fails when somebody else took over.
    pub(crate) async fn renew(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.entry.lease = self.lease_from(now);
        self.write().await
    }

    /// Names what we deliver: nobody else owned this version.
    fn run(&self) -> u64 {
        self.since.0
    }

    fn lease_from(&self, now: Timestamp) -> Lease {
        self.journal.lease_from(self.owner, now)
    }

    fn lease_over_call(&self, now: Timestamp) -> Lease {
        self.journal.lease_over_call(self.owner, now)
    }

    async fn advance<T>(mut self, into: fn(Vec<u8>) -> PaymentState) -> Result<Claim<T>, JournalError> {
        self.entry.payment.turn(into);
        self.write().await?;
        Ok(self.enter())
    }

    /// Replaces the entry by a terminal record and lets the proof keys expire with it.
    pub(super) async fn close(
        &mut self,
        record: Record,
        listing: Option<Box<Listing>>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.close_patiently(record, listing, now, Patience::NONE).await
    }

    async fn close_patiently(
        &mut self,
        record: Record,
        listing: Option<Box<Listing>>,
        now: Timestamp,
        patience: Patience,
    ) -> Result<(), JournalError> {
        let keep = self.journal.keep_closed(self.quota, self.entry.expires, listing.as_deref(), now);
        let archived = listing.is_some();
        let record = listed(record, listing);
        self.put(encode(&record)?, keep, Some(&record), patience).await?;
        let keep = Keep::For(self.journal.retention(self.entry.expires, now));
        // The response does not wait for this; a key that stays live is only remembered longer than needed.
        if archived || !self.entry.proof_keys.is_empty() {
            let (journal, quota, id) = (self.journal.clone(), self.quota, self.id.clone());
            let pass = self.journal.doors.linger();
            let proofs = std::mem::take(&mut self.entry.proof_keys);
            tokio::spawn(async move {
                for proof in proofs {
                    drop(journal.let_end(quota, &proof, &id, keep).await);
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
    async fn undo(&mut self, now: Timestamp) -> Result<(), JournalError> {
        // Keys first: while the entry stands, nobody else can claim this challenge.
        self.give_back(|_| true, now).await?;
        match self.journal.store.cas(&self.key, Some(self.version), None).await {
            Ok(Cas::Removed | Cas::Written(_)) => Ok(()),
            Ok(Cas::Conflict(current)) => {
                Err(JournalError::Lost(read(current).map_err(JournalError::Store)?))
            }
            Err(e) => Err(JournalError::Store(e)),
        }
    }

    /// Lets the credential that buys what this one did not have the `Idempotency-Key`.
    pub(super) async fn free_key(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.give_back(IdempotencyKey::is_proof, now).await?;
        self.entry.proof_keys.retain(|proof| !IdempotencyKey::is_proof(proof));
        Ok(())
    }

    /// Gives back those of our proof keys that are still ours: they are looked up, then our entry is proved to be ours, and what
    /// somebody has taken after that is not touched. Without the proof they could be the next claim's of this challenge.
    async fn give_back(&mut self, which: fn(&str) -> bool, now: Timestamp) -> Result<(), JournalError> {
        let mut ours = Vec::new();
        for proof in self.entry.proof_keys.iter().filter(|proof| which(proof)) {
            let held = self.journal.held(self.quota, proof, &self.id).await;
            ours.extend(held.map_err(JournalError::Store)?);
        }
        if !ours.is_empty() {
            self.renew(now).await?;
        }
        for held in ours {
            self.journal.give_back(self.quota, &held).await.map_err(JournalError::Store)?;
        }
        Ok(())
    }
}

/// How often a write without an answer is tried again: once at once, and then with pauses, to some moment.
pub(crate) struct Patience {
    pause: Duration,
    until: Option<Instant>,
}

impl Patience {
    pub(crate) const NONE: Self = Self { pause: Duration::ZERO, until: None };
    const FIRST_PAUSE: Duration = Duration::from_millis(50);
    const LONGEST_PAUSE: Duration = Duration::from_secs(2);
    /// Whatever lease and grace are: nobody waits longer for a response.
    const LONGEST: Duration = Duration::from_secs(3600);

    pub(crate) fn of(time: Duration) -> Self {
        Self { until: Some(Instant::now() + time.min(Self::LONGEST)), ..Self::NONE }
    }

    /// Returns when it is time to try again, or says that it is not worth it any more.
    async fn is_left(&mut self) -> bool {
        let pause = self.pause;
        self.pause = (pause * 2).clamp(Self::FIRST_PAUSE, Self::LONGEST_PAUSE);
        if pause.is_zero() {
            return true;
        }
        let in_time = self.until.is_some_and(|until| Instant::now() + pause < until);
        if in_time {
            tokio::time::sleep(pause).await;
        }
        in_time
    }
}

/// How taking the proof keys ended.
pub(crate) enum Proofs {
    /// All are ours.
    Taken(Claim<Claimed>),
    /// One of them belongs to another challenge; everything was given back.
    UsedElsewhere(Claim<Undone>),
    /// As [`UsedElsewhere`](Self::UsedElsewhere), and it was the `Idempotency-Key`.
    KeyInUse(Claim<Undone>),
}

impl Claim<()> {
    /// Writes what was found as ours. An answer that is lost once costs neither a run nor a lease that nobody holds.
    pub(super) async fn begin(&mut self) -> Result<(), JournalError> {
        self.write().await?;
        self.since = self.version;
        Ok(())
    }

    /// Takes the key that the entry names since it was taken over, and lets the `oldest` one go. If the key belongs to another payment
    /// (`None`), or nobody can tell, the entry is written as it was `before`, and nobody's: no handler has run, so the store is waited for
    /// as long as our lease would keep others away.
    pub(super) async fn take_key(
        mut self,
        key: &str,
        oldest: Option<HeldProof>,
        before: Entry,
    ) -> Result<Option<Self>, JournalError> {
        let taking = self.journal.take(self.quota, key, &self.id, self.keep).await;
        if let Ok(Taking::Ours) = taking {
            if let Some(oldest) = oldest {
                // One that stays is only remembered longer than needed.
                drop(self.journal.give_back(self.quota, &oldest).await);
            }
            return Ok(Some(self));
        }
        self.entry = Entry { lease: Lease::NOBODY, delivery: DeliveryState::None, ..before };
        let value = encode_open(&self.entry)?;
        let (keep, pass) = (self.keep, self.journal.doors.linger());
        let patience = Patience::of(self.journal.lease.saturating_add(self.journal.call));
        tokio::spawn(async move {
            // Lost to somebody who took it over: then it is theirs.
            drop(self.put(value, keep, None, patience).await);
            drop(pass);
        });
        taking.map(|_| None).map_err(JournalError::Store)
    }
}

impl Claim<Claiming> {
    /// Takes every proof key. A key that already holds our id is ours: taking it again is idempotent.
    pub(crate) async fn take_proofs(mut self, now: Timestamp) -> Result<Proofs, JournalError> {
        for proof in &self.entry.proof_keys {
            match self.journal.take(self.quota, proof, &self.id, self.keep).await {
                Ok(Taking::Ours) => {}
                Ok(Taking::Theirs) => {
                    let why = match IdempotencyKey::is_proof(proof) {
                        true => Proofs::KeyInUse,
                        false => Proofs::UsedElsewhere,
                    };
                    self.undo(now).await?;
                    return Ok(why(self.enter()));
                }
                Err(e) => {
                    // Nothing was handed to anybody; what cannot be given back is rolled back by the next owner.
                    drop(self.undo(now).await);
                    return Err(JournalError::Store(e));
                }
            }
        }
        Ok(Proofs::Taken(self.enter()))
    }

    /// Rolls an abandoned claim back.
    pub(crate) async fn roll_back(mut self, now: Timestamp) -> Result<(), JournalError> {
        self.undo(now).await
    }
}

impl Claim<Claimed> {
    /// Durable before a byte goes to the network.
    pub(crate) async fn begin_settling(mut self, now: Timestamp) -> Result<Claim<Settling>, JournalError> {
        self.entry.lease = self.lease_over_call(now);
        self.advance(PaymentState::Settling).await
    }

    /// Durable before the method is asked to reserve anything.
    pub(crate) async fn begin_holding(mut self, now: Timestamp) -> Result<Claim<Held>, JournalError> {
        self.entry.lease = self.lease_over_call(now);
        self.advance(PaymentState::Holding).await
    }

    /// Nothing was handed to the network.
    pub(crate) async fn release(mut self, now: Timestamp) -> Result<(), JournalError> {
        self.undo(now).await
    }
}

impl Claim<Held> {
    /// The funds are reserved; the handler may run under our lease.
    pub(crate) async fn held(mut self, sealed_plan: Vec<u8>, now: Timestamp) -> Result<Self, JournalError> {
        self.entry.lease = self.lease_from(now);
        self.entry.payment = PaymentState::Held(sealed_plan);
        self.entry.delivery = DeliveryState::Running;
        self.entry.attempts = self.entry.attempts.saturating_add(1);
        self.write().await?;
        Ok(self)
    }

    /// Durable before the capture.
    pub(crate) async fn begin_capture(mut self, now: Timestamp) -> Result<Claim<Settling>, JournalError> {
        self.entry.lease = self.lease_over_call(now);
        self.advance(PaymentState::Settling).await
    }

    /// The hold was released after its handler failed: this credential is used up and bought nothing. Its
    /// `Idempotency-Key` is free for the one that will.
    pub(crate) async fn released(mut self, now: Timestamp) -> Result<(), JournalError> {
        self.free_key(now).await?;
        self.close(Record::Released, None, now).await
    }

    /// The hold never came to be, or was cancelled before its handler ran.
    pub(crate) async fn forget(mut self, now: Timestamp) -> Result<(), JournalError> {
        self.undo(now).await
    }
}

impl Claim<Settling> {
    /// Paid; the handler may run under our lease.
    pub(crate) async fn settled(
        mut self,
        receipt: Vec<u8>,
        now: Timestamp,
    ) -> Result<Claim<Settled>, JournalError> {
        self.entry.lease = self.lease_from(now);
        // A payment captured after its handler is already running; its attempt was counted when it was held.
        if self.entry.delivery == DeliveryState::None {
            self.entry.attempts = self.entry.attempts.saturating_add(1);
        }
        self.entry.delivery = DeliveryState::Running;
        // The plan is erased here.
        self.entry.payment = PaymentState::Settled(receipt);
        self.write().await?;
        Ok(self.enter())
    }

    /// Nobody knows: others may look it up at once.
    pub(crate) async fn unknown(mut self) -> Result<(), JournalError> {
        self.entry.payment.turn(PaymentState::Unknown);
        self.entry.lease = Lease::NOBODY;
        self.write().await
    }

    /// Nothing moved and nothing can.
    pub(crate) async fn declined(mut self, now: Timestamp) -> Result<(), JournalError> {
        self.undo(now).await
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

    /// The response head is about to leave. Returns the run, which names this delivery. A store that is down for a moment is waited
    /// for: whoever is told to come back finds a delivery that is committed, and would pay again. One that is down for longer, and has
    /// committed, is told that nobody got the response as soon as it answers; until then only this process knows
    /// ([`commits`](super::commits)), and another one takes the credential for used up.
    pub(crate) async fn delivered(&mut self, again: Again, now: Timestamp) -> Result<u64, JournalError> {
        let run = self.run();
        let record = match again {
            Again::Never => Record::Delivered(run),
            Again::Kept(response) => {
                let Entry { fingerprint, target, .. } = self.entry;
                Record::Kept(Box::new(Kept { run, fingerprint, target, response }))
            }
        };
        let listing = self.journal.listing(&self.entry, Ending::Delivered);
        let patience = Patience::of(self.journal.lease.saturating_add(self.journal.call));
        self.close_patiently(record, listing, now, patience).await.map(|()| run)
    }

    /// The handler failed or never answered: the same credential opens the route again.
    pub(crate) async fn undelivered(
        &mut self,
        started: Started,
        patience: Patience,
    ) -> Result<(), JournalError> {
        self.entry.delivery = DeliveryState::None;
        self.entry.lease = Lease::NOBODY;
        if started == Started::No {
            self.entry.attempts = self.entry.attempts.saturating_sub(1);
        }
        self.put(encode_open(&self.entry)?, self.keep, None, patience).await
    }
}

/// Whether the handler was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    Yes,
    No,
}
