//! A credential that the journal does not know: verified, claimed and settled (draft-httpauth-payment-00 sections 11.3 to 11.5).

use super::quoting::{Offered, Quoted};
use super::resuming::{Standing, key_in_use};
use super::{Admission, Authentic, Presented, RETRY, USED, Visit, store_trouble};
use crate::method::{CredentialCx, Rejection, Verified};
use crate::pricing::{Capture, Replay};
use crate::protocol::ProblemType;
use crate::server::gate::Quote;
use crate::server::journal::{Bill, NewClaim};
use crate::server::observe::TARGET;
use crate::server::respond::{Answer, Challenges};
use crate::server::settlement::{self, After, Outcome};
use std::borrow::Cow;
use std::time::Duration;
use tracing::Instrument as _;

/// How often a credential may lose a race before it is told to come back.
const RACES: usize = 4;

impl Visit<'_> {
    pub(super) async fn take_payment(&self, quote: &Quote) -> Result<Admission, Answer> {
        let quoted = self.quote(quote);
        let Presented::Authentic(authentic) = &self.presented else { return Err(self.unpaid(&quoted?)) };
        let quoted = match quoted {
            Ok(quoted) => quoted,
            // Today's price cannot be offered. What was quoted before still stands if it covers that price, or was promised.
            Err(answer) => match self.paid_offer(authentic, self.mpp.now()) {
                Ok(offer) if self.check_price(authentic, offer, quote).is_ok() => Offered::new(),
                Ok(_) | Err(_) => return Err(answer),
            },
        };
        for _ in 0..RACES {
            let redeemed = self
                .settle(authentic, quote, &quoted)
                .await
                .map_err(|refused| self.reject(&quoted, refused))?;
            let admission = match redeemed {
                Outcome::Existing(found) => match self.existing(authentic, found, None).await? {
                    Standing::Open(admission) => Some(admission),
                    Standing::Vacant => None,
                    Standing::Used => return Err(self.refuse(&quoted, USED.kind, USED.detail)),
                },
                outcome => self.conclude(outcome, Some(&quoted))?,
            };
            if let Some(admission) = admission {
                return Ok(admission);
            }
        }
        Err(Answer::in_progress())
    }

    /// An authentic credential without an entry.
    pub(super) async fn settle(
        &self,
        authentic: &Authentic,
        quote: &Quote,
        quoted: &[Quoted<'_>],
    ) -> Result<Outcome, Rejection> {
        let refused = |kind, detail: &'static str| Rejection::Refused { kind, detail: Cow::Borrowed(detail) };
        let challenge = &authentic.credential.challenge;
        let now = self.mpp.now();
        let Ok(Some(expires)) = challenge.expires_at() else {
            return Err(refused(ProblemType::InvalidChallenge, "this challenge has no expiry"));
        };
        if now >= expires {
            return Err(refused(ProblemType::PaymentExpired, "this challenge has expired"));
        }
        let offer = self.paid_offer(authentic, now)?;
        self.check_price(authentic, offer, quote)?;

        let mut cx =
            CredentialCx::new(challenge, &authentic.charge, &authentic.credential.payload, expires, now);
        cx.source = authentic.credential.source.as_deref();
        cx.client = &authentic.client;
        let (id, operation, method) = (&*challenge.id, self.scope.shown(), offer.name.as_str());
        let span = tracing::info_span!(target: TARGET, "verify", challenge = id, method);
        let verified = offer.method.verify(&cx).instrument(span).await;
        let outcome = match &verified {
            Ok(_) => "verified",
            Err(Rejection::Refused { .. }) => "refused",
            Err(Rejection::Unavailable { .. }) => "unavailable",
        };
        tracing::debug!(target: TARGET, challenge = id, operation, method, outcome, "verify");
        let Verified { payer, mut proof_keys, plan } = verified?;
        // Namespaced, and claimed in one order by everybody.
        for key in &mut proof_keys {
            key.insert(0, ':');
            key.insert_str(0, offer.name.as_str());
        }
        proof_keys.extend(authentic.key.as_ref().map(|key| key.proof().to_owned()));
        proof_keys.sort_unstable();
        proof_keys.dedup();
        let fault = |detail: &str| Rejection::unavailable(RETRY, detail);
        let plain = serde_json::to_vec(&plan.0).map_err(|_| fault("the settlement plan is not JSON"))?;
        let sealed_plan = self
            .mpp
            .0
            .sealer
            .seal(&challenge.id, &plain)
            .ok_or_else(|| fault("the plan could not be sealed"))?;
        let claim = Box::new(NewClaim {
            quota: authentic.quota,
            id: challenge.id.clone(),
            fingerprint: authentic.fingerprint,
            target: authentic.request,
            expires,
            method: offer.name.to_string(),
            bill: Bill {
                operation: operation.to_owned(),
                units: authentic.charge.amount.get(),
                decimals: offer.currency.decimals,
                currency: self.plan.spec.offers[offer.index].currency.name.to_owned(),
                asset: offer.currency.id.clone(),
            },
            payer,
            external_id: authentic.charge.external_id.clone(),
            proof_keys,
            sealed_plan,
        });
        let work = settlement::Work::Settle { claim, plan, capture: self.plan.spec.capture };
        let Some(pass) = self.mpp.0.journal.doors().enter() else { return Ok(Outcome::Closed) };
        let Some(room) = settlement::room(self.mpp) else { return Ok(Outcome::Busy) };
        let (fresh, method) = (self.fresh(quoted), offer.method.clone());
        Ok(settlement::detached(self.mpp, pass, Some(room), fresh, method, work).await)
    }

    /// An open gate, or the answer; `None` when the credential turned out to be free to start again.
    pub(super) fn conclude(
        &self,
        outcome: Outcome,
        quoted: Option<&[Quoted<'_>]>,
    ) -> Result<Option<Admission>, Answer> {
        match outcome {
            Outcome::Paid(run) => Ok(Some(run.admit(self.after()))),
            Outcome::Vacant => Ok(None),
            Outcome::Rejected(rejection) => match quoted {
                Some(quoted) => Err(self.reject(&self.unsponsored(quoted), rejection)),
                // Found out while resuming, before this request was priced: nothing moved, so it starts again.
                None => Ok(None),
            },
            Outcome::Existing(_) => Err(Answer::in_progress()),
            Outcome::KeyInUse => Err(key_in_use()),
            Outcome::Closed => Err(Answer::closed()),
            Outcome::Busy => {
                Err(Answer::unavailable(RETRY, "too many payments are being settled; try again"))
            }
            Outcome::Unknown => Err(Answer::unavailable(
                RETRY,
                "the outcome of this payment is not known yet; send the same credential again",
            )),
            Outcome::RefundDue => Err(Answer::unavailable(
                Duration::from_secs(3600),
                "this payment could not be delivered and will not be; the operator owes it back",
            )),
            Outcome::Store(e) => Err(store_trouble(&e)),
        }
    }

    /// What becomes of the response to this request.
    pub(super) fn after(&self) -> After {
        let keyed = matches!(&self.presented, Presented::Authentic(authentic) if authentic.key.is_some());
        if keyed || self.plan.spec.replay == Replay::Response { After::Kept } else { After::Forgotten }
    }

    /// A refusal prepared for later: a declined capture has to be answered when this visit is over.
    pub(super) fn fresh(&self, quoted: &[Quoted<'_>]) -> Option<Challenges> {
        (self.plan.spec.capture == Capture::OnSuccess && !quoted.is_empty()).then(|| self.challenges(quoted))
    }
}
