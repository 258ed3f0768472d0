//! What a request costs, per offer that can be made now, and whether that is what a credential was issued for.

use super::{Authentic, Visit};
use crate::method::Rejection;
use crate::pricing::{Honor, Offer, Ready, SplitError};
use crate::protocol::{Amount, BaseUnits, Intent, ProblemType, Timestamp};
use crate::server::gate::Quote;
use crate::server::respond::Answer;
use smallvec::SmallVec;
use std::borrow::Cow;

/// The offers of one request. Nearly every price has one or two, which are no reason to allocate.
pub(super) type Offered<'p> = SmallVec<[Quoted<'p>; 2]>;

/// An offer and what it asks for this request.
pub(super) struct Quoted<'p> {
    pub(super) offer: &'p Offer,
    pub(super) prepared: Ready<'p>,
}

impl Visit<'_> {
    /// What this request costs, per offer that can be made now; empty when there is none.
    pub(super) fn quote<'p>(&'p self, quote: &Quote) -> Result<Offered<'p>, Answer> {
        let mut quoted = Offered::new();
        for offer in &self.plan.offers {
            if !offer.method.available() {
                continue;
            }
            let prepared = match &offer.fixed {
                Some(fixed) => Some(Ready::Before(fixed.form(offer.fees()))),
                None => self.prepare(offer, quote)?,
            };
            quoted.extend(prepared.map(|prepared| Quoted { offer, prepared }));
        }
        Ok(quoted)
    }

    /// An offer of a computed price; `None` for one that cannot be made of this amount.
    #[inline(never)] // for the sake of fixed prices
    fn prepare<'p>(&'p self, offer: &'p Offer, quote: &Quote) -> Result<Option<Ready<'p>>, Answer> {
        let (spec, inner) = (self.plan.spec, &self.mpp.0);
        let units = self.computed(offer, quote)?;
        if units < offer.currency.minimum {
            return Ok(None);
        }
        if let Err(SplitError::NothingLeft) = offer.shares(units, spec) {
            return Err(self.out_of_range(
                "the price of this request is too small to be split as this resource splits it",
            ));
        }
        match offer.prepare(units, offer.fees(), spec, &inner.realm, &inner.ring) {
            Ok(prepared) => Ok(Some(Ready::now(prepared))),
            Err(why) => {
                tracing::error!(target: "mpp", price = spec.name, at = %spec.location, "an offer could not be made: {why}");
                Ok(None)
            }
        }
    }

    /// Base units of a computed price.
    pub(super) fn computed(&self, offer: &Offer, quote: &Quote) -> Result<BaseUnits, Answer> {
        let spec = self.plan.spec;
        let amount: Option<Amount> = match quote {
            Quote::Computed(amount) => Some(*amount),
            Quote::Each(amounts) => amounts.get(offer.index).copied().flatten(),
            Quote::Fixed | Quote::Free => None,
        };
        let out_of_range = |why| self.out_of_range(why);
        let Some(amount) = amount else {
            tracing::error!(target: "mpp", price = spec.name, at = %spec.location, "the price expression yielded no amount for an offer");
            return Err(Answer::fault(ProblemType::Internal, "this request could not be priced"));
        };
        if amount.is_overflow() {
            return Err(out_of_range("the price of this request is too large to be counted"));
        }
        if amount.is_zero() {
            // A charge that charges nothing is a slip of the price function; `free_if` says it on purpose.
            return Err(out_of_range(
                "the price of this request came to zero, and this resource is not free",
            ));
        }
        if spec.up_to.is_some_and(|ceiling| amount > ceiling) {
            return Err(out_of_range(
                "the price of this request is above what this resource charges at most",
            ));
        }
        offer.base_units(amount).map_err(|_| {
            out_of_range("the price of this request cannot be written in the currency's smallest unit")
        })
    }

    /// The answer when a price expression yields what cannot be charged.
    pub(super) fn out_of_range(&self, why: &'static str) -> Answer {
        let spec = self.plan.spec;
        // A stranger may have asked for it, as often as there are requests.
        tracing::warn!(target: "mpp", price = spec.name, at = %spec.location, why, "a computed price is out of range");
        Answer::problem(ProblemType::PriceOutOfRange, why)
    }

    /// The offer whose challenge this is: the echoed request must be what this price asks for this request, now or a moment
    /// ago. A method may have an offer in each of several currencies.
    pub(super) fn paid_offer(&self, authentic: &Authentic, now: Timestamp) -> Result<&Offer, Rejection> {
        let challenge = &authentic.credential.challenge;
        let other = |detail| Rejection::Refused {
            kind: ProblemType::InvalidChallenge,
            detail: Cow::Borrowed(detail),
        };
        let of_the_method = || {
            self.plan
                .offers
                .iter()
                .filter(|o| o.name == challenge.method && challenge.intent == Intent::CHARGE)
        };
        if of_the_method().next().is_none() {
            return Err(other("this challenge is not one of this resource's offers"));
        }
        of_the_method()
            .find(|o| o.asks(&challenge.request, authentic.charge.amount, self.plan.spec, now))
            .ok_or_else(|| other("this challenge is not what this resource charges"))
    }

    /// A computed price: the quoted amount is held against today's.
    pub(super) fn check_price(
        &self,
        authentic: &Authentic,
        offer: &Offer,
        quote: &Quote,
    ) -> Result<(), Rejection> {
        if offer.fixed.is_some() {
            return Ok(());
        }
        // By the price itself, not by what can be offered: a price that fell below the method's minimum is covered too.
        let covered = match self.plan.spec.honor {
            Honor::Quoted(_) => true,
            Honor::Recomputed => {
                self.computed(offer, quote).is_ok_and(|today| authentic.charge.amount >= today)
            }
        };
        if covered {
            Ok(())
        } else {
            Err(Rejection::Refused {
                kind: ProblemType::PaymentInsufficient,
                detail: Cow::Borrowed("the price of this request has risen since this challenge was issued"),
            })
        }
    }

    /// The same offers, with the network's fee on the payer. After a settlement that came to nothing the sponsor has spent
    /// money, or does not want to: whoever pays its own fee is welcome to try again.
    pub(super) fn unsponsored<'q>(&self, quoted: &[Quoted<'q>]) -> Offered<'q> {
        let inner = &self.mpp.0;
        let plain = |q: &Quoted<'q>| {
            let prepared = q.offer.unsponsored(&q.prepared, self.plan.spec, &inner.realm, &inner.ring)?;
            Some(Quoted { offer: q.offer, prepared })
        };
        quoted.iter().filter_map(plain).collect()
    }
}
