//! A credential that the journal knows: it opens the route again, waits for the one that uses it, gets what was kept for it, or
//! is refused (draft-httpauth-payment-00 section 11.5).

use super::{Admission, Authentic, Presented, USED, Visit, store_trouble};
use crate::pricing::Replay;
use crate::protocol::Timestamp;
use crate::server::drain::Pass;
use crate::server::journal::{Abandoned, DeliveryState, Entry, Found, Moment, PaymentState, Record};
use crate::server::respond::Answer;
use crate::server::settlement::{self, Outcome};
use crate::store::Version;
use std::time::Duration;

/// How long a copy of a credential in use waits for its twin.
const PATIENCE: Duration = Duration::from_secs(5);

impl Visit<'_> {
    pub(super) async fn look_up(&mut self) -> Result<Option<Admission>, Answer> {
        let authentic = match &self.presented {
            Presented::Authentic(authentic) => authentic,
            Presented::Misplaced(authentic, _) => {
                return match self.key_holder(authentic).await? {
                    Some(_) => Err(key_in_use()),
                    None => Ok(None),
                };
            }
            Presented::Unplaced(_) => return Err(self.unplaced()),
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
                let Some(pass) = journal.doors().enter() else { return Err(Answer::closed()) };
                match self.take_over(authentic, version, entry.clone(), pass, now).await {
                    // Somebody else was quicker.
                    Outcome::Existing(_) => {}
                    outcome => {
                        return match self.conclude(outcome, None)? {
                            Some(admission) => Ok(Standing::Open(admission)),
                            None => Ok(Standing::Vacant),
                        };
                    }
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
    async fn over(&self, authentic: &Authentic, record: &Record) -> Result<Standing, Answer> {
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
            // A client that makes a new key for each attempt gets no other attempt's response, and is not asked to pay twice.
            return match authentic.key {
                Some(_) => Err(Answer::answered("this request was answered under another Idempotency-Key")),
                None => Ok(Standing::Used),
            };
        }
        let expires = authentic.credential.challenge.expires_at().ok().flatten();
        let in_time = expires.is_some_and(|expires| self.mpp.now() <= expires + self.mpp.0.journal.grace());
        match self.mpp.0.shelf.open(id, kept).filter(|_| in_time) {
            Some(again) => Err(again),
            None if authentic.key.is_some() => {
                Err(Answer::answered("this request was answered, and the response is not kept"))
            }
            None => Ok(Standing::Used),
        }
    }

    /// The challenge that holds the `Idempotency-Key` of this request.
    pub(super) async fn key_holder(&self, authentic: &Authentic) -> Result<Option<String>, Answer> {
        let Some(key) = &authentic.key else { return Ok(None) };
        self.mpp.0.journal.holder(key.proof()).await.map_err(|e| store_trouble(&e))
    }

    /// Nobody works on this entry: do. Paid for and undelivered is delivered; anything else is finished first.
    async fn take_over(
        &self,
        authentic: &Authentic,
        version: Version,
        entry: Entry,
        pass: Pass,
        now: Timestamp,
    ) -> Outcome {
        let (mpp, quota, id) = (&self.mpp, authentic.quota, authentic.credential.challenge.id.as_str());
        let is_settled = matches!(entry.payment, PaymentState::Settled(_));
        if is_settled {
            if entry.delivery == DeliveryState::RefundDue {
                return Outcome::RefundDue;
            }
            if settlement::is_over(mpp, &entry, now) {
                return match mpp.0.journal.refund_due(quota, id, version, entry.clone(), now).await {
                    Ok(()) => {
                        mpp.0.observers.refund_due(id, &entry);
                        Outcome::RefundDue
                    }
                    Err(error) => error.into(),
                };
            }
        }
        let method = mpp.0.methods.iter().find(|m| m.name().as_str() == entry.method).cloned();
        let Some(method) = method else {
            tracing::error!(target: "mpp", method = entry.method, "a payment is open whose method is no longer configured");
            return Outcome::Unknown;
        };
        // What is settled asks no network.
        let room = if is_settled { None } else { settlement::room(mpp) };
        if room.is_none() && !is_settled {
            return Outcome::Busy;
        }
        let key = authentic.key.as_ref().map(|key| key.proof().to_owned());
        let abandoned = Abandoned { quota, id: id.to_owned(), version, entry: Box::new(entry), key };
        let work = settlement::Work::Resume(abandoned);
        settlement::detached(mpp, pass, room, None, method, work).await
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
