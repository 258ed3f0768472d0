//! A credential that the journal knows: it opens the route again, waits for the one that uses it, gets what was kept for it, or
//! is refused (draft-httpauth-payment-00 section 11.5).

use super::{Admission, Authentic, Presented, USED, Visit, store_trouble};
use crate::pricing::Replay;
use crate::protocol::Timestamp;
use crate::server::journal::{
    DeliveryState, Entry, Found, JournalError, Moment, PaymentState, Record, Taken, Taking,
};
use crate::server::replay::IdempotencyKey;
use crate::server::respond::Answer;
use crate::server::settlement::{self, Outcome};
use crate::store::{StoreError, Version};
use std::time::Duration;
use tracing::Instrument as _;

/// How long a copy of a credential in use waits for its twin.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many keys a payment takes: clients name another one after a failure. Each is a value in the store, and who has paid once could
/// write any number of them.
const KEYS: usize = 4;

impl Visit {
    pub(super) async fn look_up(&mut self) -> Result<Option<Admission>, Answer> {
        let authentic = match &self.presented {
            Presented::Authentic(authentic) => authentic,
            Presented::Misplaced(authentic, _) => {
                return match self.key_holder(authentic).await? {
                    Some(_) => Err(key_in_use()),
                    None => Ok(None),
                };
            }
            Presented::Nothing | Presented::Refused(_) => return Ok(None),
        };
        let (journal, id) = (&self.mpp.0.journal, authentic.credential.challenge.id.as_str());
        let since = journal.commits().now();
        let found = journal.find(authentic.quota, id).await;
        match found.map_err(|e| store_trouble(&e))? {
            None => match self.key_holder(authentic).await? {
                Some(holder) if holder != id => Err(key_in_use()),
                Some(_) | None => Ok(None),
            },
            Some(found) => match self.existing(authentic, found, Some(since)).await? {
                Standing::Open(admission) => Ok(Some(admission)),
                Standing::Vacant => Ok(None),
                Standing::Used => {
                    self.presented = Presented::Refused(USED);
                    Ok(None)
                }
            },
        }
    }

    /// An entry stands under this challenge: deliver, wait, take over, or refuse. It was read after `since`, if that is known.
    pub(super) async fn existing(
        &self,
        authentic: &Authentic,
        mut found: Found,
        mut since: Option<Moment>,
    ) -> Result<Standing, Answer> {
        let (mpp, quota, id) = (&self.mpp, authentic.quota, authentic.credential.challenge.id.as_str());
        let patience = tokio::time::Instant::now() + PATIENCE;
        let mut place = None;
        loop {
            let (journal, version, now) = (&mpp.0.journal, found.version, mpp.now());
            let entry = authentic.own_entry(&found.record);
            let is_live = entry.is_some_and(|entry| entry.lease.is_live(now));
            let may_undo = || since.is_none_or(|since| journal.commits().may_undo(id, since));
            if is_live || authentic.may_be_taken_back(&found.record) && may_undo() {
                // At most two copies wait, and not for long; the others come back later.
                if place.is_none() {
                    place = mpp.0.waits.enter(id);
                }
                let known = async {
                    match is_live {
                        true => journal.changed(quota, id, version).await,
                        false => journal.commits().ended(id).await,
                    }
                };
                if place.is_none() || tokio::time::timeout_at(patience, known).await.is_err() {
                    return Err(Answer::in_progress());
                }
            } else if let Some(entry) = entry {
                let Some(_pass) = journal.doors().enter() else { return Err(Answer::closed()) };
                if let Some(outcome) = self.take_over(authentic, version, entry.clone(), now).await {
                    return match self.conclude(outcome, None)? {
                        Some(admission) => Ok(Standing::Open(admission)),
                        None => Ok(Standing::Vacant),
                    };
                }
            } else {
                return self.over(authentic, &found.record).await;
            }
            since = Some(journal.commits().now());
            match journal.find(quota, id).await.map_err(|e| store_trouble(&e))? {
                Some(next) => found = next,
                // Rolled back meanwhile: a request like any other.
                None => return Ok(Standing::Vacant),
            }
        }
    }

    /// The entry is closed, or another credential's or request's: answered again with what was kept, or refused.
    pub(super) async fn over(&self, authentic: &Authentic, record: &Record) -> Result<Standing, Answer> {
        let id = authentic.credential.challenge.id.as_str();
        let holder = self.key_holder(authentic).await?;
        let own = match record {
            Record::Kept(kept) if authentic.is_own(&kept.fingerprint, &kept.target) => Some(kept),
            _ => None,
        };
        let by_key = holder.as_deref() == Some(id);
        let kept = match own {
            Some(kept) if by_key || holder.is_none() => kept,
            None if holder.is_none() => return Ok(Standing::Used),
            Some(_) | None => return Err(key_in_use()),
        };
        if !by_key && self.plan.spec.replay == Replay::Refused {
            return Ok(Standing::Used);
        }
        let expires = authentic.credential.challenge.expires_at().ok().flatten();
        let in_time = expires.is_some_and(|expires| self.mpp.now() <= expires + self.mpp.0.journal.grace());
        match self.mpp.0.shelf.open(id, kept).filter(|_| in_time) {
            Some(again) => Err(again),
            None if by_key => Err(Answer::conflict(
                "the request of this Idempotency-Key was answered, and the response is not kept",
            )),
            None => Ok(Standing::Used),
        }
    }

    /// The challenge that holds the `Idempotency-Key` of this request.
    pub(super) async fn key_holder(&self, authentic: &Authentic) -> Result<Option<String>, Answer> {
        let Some(key) = &authentic.key else { return Ok(None) };
        self.mpp.0.journal.holder(key.proof()).await.map_err(|e| store_trouble(&e))
    }

    /// A key that came with a later attempt only, when nothing but the write of its entry is left to do.
    async fn take_key(
        &self,
        authentic: &Authentic,
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<Taking, StoreError> {
        let Some(key) = authentic.key.as_ref().map(IdempotencyKey::proof) else { return Ok(Taking::Ours) };
        let (journal, id) = (&self.mpp.0.journal, authentic.credential.challenge.id.as_str());
        if entry.proof_keys.iter().any(|proof| proof == key) {
            return Ok(Taking::Ours);
        }
        let taking = journal.hold(authentic.quota, key, id, entry.expires, now).await?;
        if taking == Taking::Ours {
            let keys = || entry.proof_keys.iter().filter(|proof| IdempotencyKey::is_proof(proof));
            // The oldest gives way: the one that came last is asked for again when its response is lost.
            if keys().count() >= KEYS
                && let Some(oldest) = keys().next().cloned()
            {
                journal.let_go(authentic.quota, &oldest, id).await?;
                entry.proof_keys.retain(|proof| *proof != oldest);
            }
            entry.proof_keys.push(key.to_owned());
        }
        Ok(taking)
    }

    /// Nobody works on this entry: do. Paid for and undelivered is delivered; anything else is finished first. `None` when
    /// somebody else was quicker.
    pub(super) async fn take_over(
        &self,
        authentic: &Authentic,
        version: Version,
        mut entry: Entry,
        now: Timestamp,
    ) -> Option<Outcome> {
        let (mpp, quota, id) = (&self.mpp, authentic.quota, authentic.credential.challenge.id.as_str());
        let journal = &mpp.0.journal;
        if matches!(entry.payment, PaymentState::Settled(_)) {
            if entry.delivery == DeliveryState::RefundDue {
                return Some(Outcome::RefundDue);
            }
            if settlement::is_over(mpp, &entry, now) {
                return match journal.refund_due(quota, id, version, entry.clone(), now).await {
                    Ok(()) => {
                        mpp.0.observers.refund_due(id, &entry);
                        Some(Outcome::RefundDue)
                    }
                    Err(JournalError::Lost(_)) => None,
                    Err(JournalError::Store(e)) => Some(Outcome::Store(e)),
                };
            }
        }
        let method = mpp.0.methods.iter().find(|m| m.name().as_str() == entry.method).cloned();
        let Some(method) = method else {
            tracing::error!(target: "mpp", method = entry.method, "a payment is open whose method is no longer configured");
            return Some(Outcome::Unknown);
        };
        let Some(pass) = journal.doors().enter() else { return Some(Outcome::Closed) };
        let room = settlement::room(mpp);
        // What is settled asks no network.
        if room.is_none() && !matches!(entry.payment, PaymentState::Settled(_)) {
            return Some(Outcome::Busy);
        }
        match self.take_key(authentic, &mut entry, now).await {
            Ok(Taking::Ours) => {}
            Ok(Taking::Theirs) => return Some(Outcome::KeyInUse),
            Err(error) => return Some(Outcome::Store(error)),
        }
        // Detached: a client that hangs up meanwhile has cost itself no run.
        let (server, id, lingers) = (mpp.clone(), id.to_owned(), journal.doors().linger());
        let taking = async move {
            let _lingers = lingers;
            let journal = &server.0.journal;
            let taken = journal.take_over(&server.0.sealer, quota, id, version, entry, now).await;
            taken.map(|taken| match taken {
                // Dropped, it gives the payment back.
                Taken::Settled(claim) => Ok(settlement::redeliver(&server, claim)),
                taken => Err(taken),
            })
        };
        let taken = match tokio::spawn(taking.instrument(tracing::Span::current())).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(JournalError::Lost(_))) => return None,
            Ok(Err(JournalError::Store(e))) => return Some(Outcome::Store(e)),
            Err(_) => return Some(Outcome::Unknown),
        };
        Some(match (taken, room) {
            (Ok(outcome), _) => outcome,
            (Err(_), None) => Outcome::Busy,
            (Err(taken), Some(room)) => {
                settlement::detached(mpp, pass, room, None, method, settlement::Work::Recover(taken)).await
            }
        })
    }
}

/// What an existing entry means for a request.
pub(super) enum Standing {
    /// The route is open.
    Open(Admission),
    /// The entry is gone: a request like any other.
    Vacant,
    /// Delivered, or another credential's.
    Used,
}

/// The key stands for something else.
pub(super) fn key_in_use() -> Answer {
    Answer::conflict(
        "this Idempotency-Key belongs to another request or payment; nothing was taken for this one",
    )
}
