//! Paying one offer: limits, approval, the ledger, and only then the wallet.
//!
//! The order is what keeps the promises. The limits and the account are looked at before anybody is asked, so that nobody
//! approves what cannot be paid; the challenge is looked at again after both, which may have taken their time; the ledger's entry is
//! durable before the wallet sees the challenge. The wallet runs on a task of its own: a caller that gives up waiting
//! loses the response, not the credential of a payment that was made.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tracing::Instrument as _;

use super::error::{Asked, Error, WalletFailed};
use super::event::Event;
use super::ledger::{Entry, Outcome, ReserveError};
use super::offers::{Candidate, check_validity};
use super::open::Driving;
use super::origin::Origin;
use super::payment::Payment;
use super::policy::{Decision, Proposal};
use super::refusal::{NotPaid, Refusal};
use super::{Client, offers::Offers};
use crate::method::{Asset, Cost, PayError};
use crate::protocol::{ChallengeError, Credential};

/// The longest a wallet is waited for when it looks at its account.
const LOOK: Duration = Duration::from_secs(5);

/// What an earlier payment of the same request was, which a further one has to match.
pub(super) struct Earlier(pub(super) Cost);

impl Client {
    /// Pays the best offer that may be paid.
    pub(super) async fn purchase(
        &self,
        origin: &Origin,
        asked: &Arc<Asked>,
        mut offers: Offers,
        malformed: Vec<ChallengeError>,
        earlier: Option<&Earlier>,
    ) -> Result<Driving, Error> {
        for refused in &offers.refused {
            self.tell(Event::Refused(refused));
        }
        while let Some(candidate) = self.select(&mut offers.candidates) {
            match self.try_one(origin, asked, &candidate, earlier).await? {
                Ok(driving) => return Ok(driving),
                Err(why) => {
                    let refused = candidate.refused(why);
                    self.tell(Event::Refused(&refused));
                    offers.refused.push(refused);
                }
            }
        }
        let left = offers.candidates.iter().map(|candidate| candidate.refused(Refusal::NotSelected));
        offers.refused.extend(left);
        Err(NotPaid { origin: origin.clone(), offers: offers.refused, malformed }.into())
    }

    /// Takes the next offer to try out of the list.
    fn select(&self, candidates: &mut Vec<Candidate>) -> Option<Candidate> {
        if candidates.is_empty() {
            return None;
        }
        let chosen = match &self.inner.select {
            Some(select) => select(candidates)?,
            None => 0,
        };
        (chosen < candidates.len()).then(|| candidates.remove(chosen))
    }

    /// The inner error refuses this offer alone.
    async fn try_one(
        &self,
        origin: &Origin,
        asked: &Arc<Asked>,
        candidate: &Candidate,
        earlier: Option<&Earlier>,
    ) -> Result<Result<Driving, Refusal>, Error> {
        let policy = &self.inner.policy;
        if earlier.is_some_and(|Earlier(cost)| !is_no_worse(&candidate.cost, cost)) {
            return Ok(Err(Refusal::Changed));
        }
        let resource = asked.resource();
        let now = self.inner.clock.now();
        let mut entry =
            Entry::new(origin.clone(), &candidate.cost, now).answering(&candidate.challenge, &*resource);
        if let Err(error) = self.inner.ledger.check(&entry, policy.budgets()).await {
            return refused(error);
        }
        if let Err(short) = self.afford(candidate).await {
            return Ok(Err(short));
        }
        if let Some(approver) = &policy.approver {
            let proposal = Proposal {
                origin,
                resource: &resource,
                cost: &candidate.cost,
                challenge: &candidate.challenge,
            };
            if let Decision::Denied(why) = approver.decide(&proposal).await {
                return Ok(Err(Refusal::Denied(why)));
            }
        }
        // Looking and asking take their time: what is over by now is not paid, and a window begins with the payment.
        entry.at = self.inner.clock.now();
        if let Err(why) = check_validity(&candidate.challenge, policy, entry.at) {
            return Ok(Err(why));
        }
        // From here to the credential nothing may be lost to a caller that stops waiting.
        let (client, origin) = (self.clone(), origin.clone());
        let (asked, candidate) = (asked.clone(), candidate.clone());
        let work = async move { client.pay_entered(origin, asked, candidate, entry).await };
        let paying = tokio::spawn(work.in_current_span());
        match paying.await {
            Ok(paid) => paid,
            Err(stopped) => match stopped.try_into_panic() {
                // A wallet that panics does so where it was called.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Stopped),
            },
        }
    }

    /// Whether the account has the amount, as far as its wallet sees.
    pub(super) async fn afford(&self, candidate: &Candidate) -> Result<(), Refusal> {
        let look = candidate.wallet.afford(&candidate.challenge, &candidate.cost);
        match tokio::time::timeout(LOOK, look).await {
            Ok(Err(short)) => Err(Refusal::Shortfall(Box::new(short))),
            // What cannot be known is not in the way.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    async fn pay_entered(
        self,
        origin: Origin,
        asked: Arc<Asked>,
        candidate: Candidate,
        entry: Entry,
    ) -> Result<Result<Driving, Refusal>, Error> {
        if let Err(error) = self.inner.ledger.reserve(&entry, self.inner.policy.budgets()).await {
            return refused(error);
        }
        let Candidate { challenge, cost, wallet, .. } = candidate;
        self.tell(Event::Paying { entry: entry.id, origin: &origin, cost: &cost });
        let proof = match wallet.pay(&challenge).await {
            Ok(proof) => proof,
            Err(error @ (PayError::Unsupported(_) | PayError::Declined(_))) => {
                self.release(entry.id, error.to_string()).await;
                return Ok(Err(Refusal::Unsupported(error)));
            }
            Err(error) => {
                self.conclude(entry.id, &Outcome::Unknown).await;
                self.tell(Event::Unsettled { entry: entry.id });
                let failed = Box::new(WalletFailed { method: challenge.method, entry: entry.id, error });
                return Err(Error::Wallet { failed });
            }
        };
        let source = proof.source.clone();
        let credential = Credential { challenge: challenge.clone(), source, payload: proof.payload.clone() };
        // Base64url text is a header value.
        let Ok(mut authorization) = HeaderValue::try_from(credential.to_header_value()) else {
            self.conclude(entry.id, &Outcome::Unknown).await;
            let error = PayError::Failed("its proof does not fit into a header".into());
            let failed = Box::new(WalletFailed { method: challenge.method, entry: entry.id, error });
            return Err(Error::Wallet { failed });
        };
        authorization.set_sensitive(true);
        let payment = Payment::new(entry.id, challenge, cost, proof, authorization, wallet);
        Ok(Ok(self.inner.open.begin(payment, asked)))
    }
}

fn refused<T>(error: ReserveError) -> Result<Result<T, Refusal>, Error> {
    match error {
        ReserveError::Limit(broken) => Ok(Err(Refusal::Limit(broken))),
        ReserveError::Challenge => Ok(Err(Refusal::PaidAlready)),
        ReserveError::Ledger(error) => Err(Error::Ledger(error)),
    }
}

/// Whether a further payment costs no more than the first, in everything, and goes to the same accounts.
fn is_no_worse(further: &Cost, first: &Cost) -> bool {
    let accounts = |cost: &Cost| {
        let mut accounts: Vec<String> = cost.payees.iter().map(|payee| payee.account.clone()).collect();
        accounts.sort();
        accounts
    };
    let fee = |cost: &Cost, in_asset: &Asset| {
        let units = cost.fees.iter().filter(|(_, asset)| asset == in_asset).map(|(units, _)| units.get());
        units.fold(0, u128::saturating_add)
    };
    let fees_covered = further.fees.iter().all(|(_, asset)| fee(further, asset) <= fee(first, asset));
    further.asset == first.asset
        && further.amount <= first.amount
        && fees_covered
        && accounts(further) == accounts(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Payee;
    use crate::protocol::BaseUnits;

    fn asset(id: &str) -> Asset {
        Asset::known("eip155:4217", id, "usdc", 6)
    }

    fn payee(account: &str) -> Payee {
        Payee { account: account.into(), units: BaseUnits::new(1) }
    }

    #[test]
    fn a_further_price_is_no_worse_if_it_takes_no_more_of_the_same_for_the_same_people() {
        let mut first = Cost::new(BaseUnits::new(5), asset("0xa"));
        first.payees = vec![payee("0xb"), payee("0xc")];
        first.fees = vec![(BaseUnits::new(2), asset("0xd")), (BaseUnits::new(3), asset("0xd"))];
        type Change = fn(&mut Cost);
        let no_worse: [Change; 6] = [
            |_| {},
            |cost| cost.amount = BaseUnits::new(4),
            |cost| cost.payees.reverse(),
            |cost| cost.fees = vec![(BaseUnits::new(5), asset("0xd"))],
            |cost| cost.fees.push((BaseUnits::ZERO, asset("0xe"))),
            |cost| cost.fees.clear(),
        ];
        let worse: [Change; 7] = [
            |cost| cost.amount = BaseUnits::new(6),
            |cost| cost.asset = asset("0xe"),
            |cost| cost.payees[1] = payee("0xe"),
            |cost| cost.payees.push(payee("0xe")),
            |cost| cost.fees = vec![(BaseUnits::new(6), asset("0xd"))],
            |cost| cost.fees.push((BaseUnits::new(1), asset("0xd"))),
            |cost| cost.fees = vec![(BaseUnits::new(1), asset("0xe"))],
        ];
        for (changes, expected) in [(&no_worse[..], true), (&worse[..], false)] {
            for (n, change) in changes.iter().enumerate() {
                let mut further = first.clone();
                change(&mut further);
                assert_eq!(is_no_worse(&further, &first), expected, "{n}: {further:?}");
            }
        }
    }
}
