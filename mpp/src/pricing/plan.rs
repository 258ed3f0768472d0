//! A price under a configuration: the offers that can really be made, prepared.
//!
//! Everything that does not depend on the request is done here, once: base units, the `request` of each fixed offer
//! (JCS, base64url), the HMAC state that has absorbed the first four slots, the header text
//! ([`PreparedChallenge`]). What is left per challenge is one HMAC finish and one copy.
//!
//! # In one place
//! Where many prices take turns, each of them has left the processor's caches when it is asked for again, and each pointer that is
//! followed is a wait. What nearly every price has one of is part of its [`Plan`] and not behind it: the offer, the HMAC state of the
//! server's secret, the operation. Only texts are elsewhere.
//!
//! # Two forms of one offer
//! With `fees = "sponsored"` and a method that has a sponsor, an offer has two forms: the server pays the network's fee, or
//! the payer does. A challenge takes the sponsored one while the sponsor is [open](Sponsoring::Open) and the other one
//! while it is paused. A credential is accepted for either: what was offered a moment ago stays payable. Prices that are
//! not sponsored have one form, and nobody is asked.
//!
//! # Several currencies of one method
//! `methods(tempo(currency = "usdc"), tempo(currency = "pathusd"))` are two offers, and two challenges. The echoed
//! `request` tells which of them was paid: no two offers of a price have the same one, because no two currencies of one
//! method have the same id.

use super::split::{SplitError, shares};
use super::{Capture, OfferSpec, Price, PriceSpec, Tier};
use crate::method::{Fees, Holding, MethodCurrency, OfferCx, ServerMethod, Share, Splitting, Sponsoring};
use crate::protocol::{
    Amount, AmountError, BaseUnits, ChargeRequest, Intent, MethodName, PreparedChallenge, Realm, SecretRing,
    Timestamp,
};
use crate::server::scope::Scopes;
use smallvec::SmallVec;
use std::ops::Deref;
use std::sync::Arc;

/// Challenges above this are refused at start-up: proxies cap header lines at 8 KB (draft-httpauth-payment-00 section 9.4).
const MAX_CHALLENGE: usize = 8 * 1024;

/// A price under a configuration.
pub(crate) struct Plan {
    pub(crate) spec: &'static PriceSpec,
    /// What the spec [says](PriceSpec::is_computed) after a look at its offers.
    pub(crate) is_computed: bool,
    /// In the server's order of preference. Empty when every method is switched off or below its minimum.
    pub(crate) offers: SmallVec<[Offer; 1]>,
    /// The operations it has been reached under.
    pub(crate) scopes: Scopes,
}

/// One offer of a plan.
pub(crate) struct Offer {
    /// Position in `spec.offers`.
    pub(crate) index: usize,
    pub(crate) method: Arc<dyn ServerMethod>,
    pub(crate) name: MethodName,
    pub(crate) currency: MethodCurrency,
    /// `Sponsored` when the price asks for it and the method has a sponsor: then there are two forms.
    fees: Fees,
    /// Prepared when the amount does not depend on the request.
    pub(crate) fixed: Option<Fixed>,
    /// `request`s of a predecessor configuration, still accepted until then.
    pub(crate) retired: Vec<(String, Timestamp)>,
}

/// An offer whose amount does not depend on the request, in each of its forms.
pub(crate) struct Fixed {
    payer: Prepared,
    /// Few have it.
    sponsored: Option<Box<Prepared>>,
}

/// One form of an offer, for one amount.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) challenge: PreparedChallenge,
    /// What its `request` says: whoever echoes that is not decoded again.
    pub(crate) charge: Arc<ChargeRequest>,
}

impl Prepared {
    /// Of a fixed price: it is asked for again and again.
    fn lasting(self) -> Self {
        Self { challenge: self.challenge.lasting(), ..self }
    }
}

/// Where a form comes from. It goes through several hands, so that what was computed is boxed: a few words are moved for less than
/// a hundred bytes.
#[derive(Clone)]
pub(crate) enum Ready<'p> {
    /// Of a fixed price, made at start-up.
    Before(&'p Prepared),
    /// Of a computed one.
    Now(Box<Prepared>),
}

impl Ready<'_> {
    pub(crate) fn now(prepared: Prepared) -> Self {
        Self::Now(Box::new(prepared))
    }
}

impl Deref for Ready<'_> {
    type Target = Prepared;

    fn deref(&self) -> &Prepared {
        match self {
            Self::Before(prepared) => prepared,
            Self::Now(prepared) => prepared,
        }
    }
}

/// What [`Plan::resolve`] works with.
pub(crate) struct Configuration<'a> {
    pub(crate) realm: &'a Realm,
    pub(crate) ring: &'a SecretRing,
    pub(crate) methods: &'a [Arc<dyn ServerMethod>],
    pub(crate) switched_off: &'a [String],
}

/// What is wrong with a price under a configuration, and what is only worth saying.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Each sentence once: two offers of one method may have the same fault.
    fn problem(&mut self, text: String) {
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    fn warning(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }
}

impl Plan {
    /// Resolves a price. Offers that cannot be made are left out and reported.
    pub(crate) fn resolve(spec: &'static PriceSpec, cx: &Configuration<'_>, report: &mut Findings) -> Self {
        let who = format!("`{}::{}` ({})", spec.module, spec.name, spec.location);
        let problems_before = report.problems.len();
        let mut offers = SmallVec::new();
        let mut below_minimum = false;
        let mut broken_method = false;
        for (index, offer) in spec.offers.iter().enumerate() {
            if cx.switched_off.iter().any(|name| name == offer.method) {
                continue;
            }
            let Some(method) = cx.methods.iter().find(|m| m.name().as_str() == offer.method) else {
                report.problem(format!(
                    "{who} takes `{}`, which is not configured (configured: {}); add it with `.method(…)`, or say `.switched_off(\"{}\")`",
                    offer.method,
                    names(cx.methods.iter().map(|m| m.name().to_string())),
                    offer.method,
                ));
                continue;
            };
            match Offer::resolve(index, spec, offer, method, cx) {
                Ok(offer) => {
                    let twin = |o: &&Offer| o.name == offer.name && o.currency.id == offer.currency.id;
                    if let Some(twin) = offers.iter().find(twin) {
                        report.problem(format!(
                            "{who}: `{}` takes `{}` and `{}` as the same currency, `{}`; offer one of them",
                            offer.name,
                            spec.offers[twin.index].currency.name,
                            spec.offers[index].currency.name,
                            offer.currency.id,
                        ));
                    }
                    if spec.fees == Fees::Sponsored && offer.method.sponsoring() == Sponsoring::Unconfigured {
                        report.warning(format!(
                            "{who}: fees are sponsored, but `{}` has no sponsor; its payers pay the network's fee themselves",
                            offer.name
                        ));
                    }
                    offers.push(offer);
                }
                Err(Omitted::Problem(text)) => report.problem(format!("{who}: {text}")),
                Err(Omitted::BrokenMethod) => broken_method = true,
                Err(Omitted::BelowMinimum(text)) => {
                    below_minimum = true;
                    report.warning(format!("{who}: {text}; the offer is left out"));
                }
            }
        }
        if offers.is_empty() && report.problems.len() == problems_before && !broken_method {
            if below_minimum {
                report.problem(format!("{who}: no method of this price is payable"));
            } else {
                report.warning(format!(
                    "{who}: every method of this price is switched off; it answers 503 and is left out of the documents"
                ));
            }
        }
        Self { spec, is_computed: spec.is_computed(), offers, scopes: Scopes::default() }
    }

    /// Keeps accepting what a predecessor offers until `until`, and what it has retired itself for as long as it would have.
    pub(crate) fn retire(&mut self, predecessor: &Self, now: Timestamp, until: Timestamp) {
        for old in &predecessor.offers {
            // The same line of the same price.
            let Some(offer) = self.offers.iter_mut().find(|o| o.index == old.index) else { continue };
            for form in old.fixed.iter().flat_map(Fixed::forms) {
                if offer.fixed.as_ref().is_none_or(|fixed| fixed.form_of(form.challenge.request()).is_none())
                {
                    offer.retired.push((form.challenge.request().to_owned(), until));
                }
            }
            // Without what is over: a server that is configured again every hour must not remember all its past.
            offer.retired.extend(old.retired.iter().filter(|(_, until)| *until > now).cloned());
        }
    }
}

impl Fixed {
    /// The form in which this one pays the network's fee.
    pub(crate) fn form(&self, fees: Fees) -> &Prepared {
        match fees {
            Fees::Payer => &self.payer,
            Fees::Sponsored => self.sponsored.as_deref().unwrap_or(&self.payer),
        }
    }

    /// The form with this `request`.
    pub(crate) fn form_of(&self, request: &str) -> Option<&Prepared> {
        self.forms().find(|form| form.challenge.request() == request)
    }

    fn forms(&self) -> impl Iterator<Item = &Prepared> {
        std::iter::once(&self.payer).chain(self.sponsored.as_deref())
    }
}

enum Omitted {
    Problem(String),
    /// The method has reported its own problems: one mistake is not one problem per price.
    BrokenMethod,
    BelowMinimum(String),
}

impl Offer {
    fn resolve(
        index: usize,
        price: &'static PriceSpec,
        spec: &'static OfferSpec,
        method: &Arc<dyn ServerMethod>,
        cx: &Configuration<'_>,
    ) -> Result<Self, Omitted> {
        let name = method.name().clone();
        let Some(currency) = method.currency(spec.currency.name) else {
            return Err(Omitted::Problem(format!(
                "`{name}` does not know the currency `{}` (it knows: {})",
                spec.currency.name,
                names(method.currencies().into_iter()),
            )));
        };
        if price.capture == Capture::OnSuccess && method.holding() == Holding::Unsupported {
            return Err(Omitted::Problem(format!(
                "`{name}` cannot reserve funds, so `capture = \"success\"` is not possible with it"
            )));
        }
        let fees = match (price.fees, method.sponsoring()) {
            (Fees::Sponsored, Sponsoring::Open | Sponsoring::Paused) => Fees::Sponsored,
            (Fees::Sponsored, Sponsoring::NoFees | Sponsoring::Unconfigured) | (Fees::Payer, _) => {
                Fees::Payer
            }
        };
        let mut offer =
            Self { index, method: method.clone(), name, currency, fees, fixed: None, retired: Vec::new() };
        let omitted = |method: &dyn ServerMethod, why| {
            if method.problems().is_empty() { Omitted::Problem(why) } else { Omitted::BrokenMethod }
        };
        offer.check_splits(price)?;
        if let Price::Fixed(amount) = spec.price {
            let units = offer.base_units(amount).map_err(|e| {
                Omitted::Problem(format!(
                    "{amount} {} cannot be charged by `{}`, whose currency `{}` has {} decimals: {e}",
                    spec.currency.name, offer.name, offer.currency.id, offer.currency.decimals
                ))
            })?;
            if units < offer.currency.minimum && price.tier != Tier::Proof {
                return Err(Omitted::BelowMinimum(format!(
                    "{amount} {} is below the minimum of `{}`, {} {}",
                    spec.currency.name,
                    offer.name,
                    offer.currency.minimum.to_amount(offer.currency.decimals),
                    offer.currency.id
                )));
            }
            let prepare = |fees| {
                let prepared = offer.prepare(units, fees, price, cx.realm, cx.ring);
                prepared.map(Prepared::lasting).map_err(|why| omitted(&*offer.method, why))
            };
            let payer = prepare(Fees::Payer)?;
            let sponsored = match fees {
                Fees::Sponsored => Some(Box::new(prepare(Fees::Sponsored)?)),
                Fees::Payer => None,
            };
            offer.fixed = Some(Fixed { payer, sponsored });
        } else if !price.splits.is_empty() {
            // Whether the method knows the payees does not depend on the amount, and is said before the first request.
            offer.trial(price).map_err(|why| omitted(&*offer.method, why))?;
        }
        Ok(offer)
    }

    /// That the method can split a payment so often, and the parts are not finer than its currency.
    fn check_splits(&self, price: &'static PriceSpec) -> Result<(), Omitted> {
        let (name, parts) = (&self.name, price.splits.len());
        if parts == 0 {
            return Ok(());
        }
        match self.method.splitting() {
            Splitting::Legs(most) if parts <= most => {}
            Splitting::Legs(most) => {
                return Err(Omitted::Problem(format!(
                    "`{name}` can pay {most} others besides the recipient, and this price is split between {parts}"
                )));
            }
            Splitting::Unsupported => {
                return Err(Omitted::Problem(format!(
                    "`{name}` cannot pay several recipients, so `split(…)` is not possible with it"
                )));
            }
        }
        // However large the price: nothing is left of it is not what is asked here.
        let decimals = self.currency.decimals;
        for split in price.splits {
            if let Err(why) = split.part.units(BaseUnits::ZERO, decimals) {
                return Err(Omitted::Problem(format!(
                    "the part of `{}` cannot be paid by `{name}`, whose currency `{}` has {decimals} decimals: {why}",
                    split.payee, self.currency.id
                )));
            }
        }
        Ok(())
    }

    /// Asks for an offer with every payee in it, of an amount that is as good as any.
    fn trial(&self, price: &'static PriceSpec) -> Result<(), String> {
        let one = 10u128.checked_pow(self.currency.decimals.into()).unwrap_or(u128::MAX);
        let units = BaseUnits::new(one.max(1_000)).max(self.currency.minimum);
        let parts: Vec<Share<'_>> =
            price.splits.iter().map(|split| Share { payee: split.payee, units: BaseUnits::new(1) }).collect();
        let mut cx = OfferCx::new(units, &self.currency);
        cx.splits = &parts;
        self.method.offer(&cx).map(drop).map_err(|e| format!("`{}`: {e}", self.name))
    }

    /// Which form goes out now.
    pub(crate) fn fees(&self) -> Fees {
        match self.fees {
            Fees::Payer => Fees::Payer,
            Fees::Sponsored => match self.method.sponsoring() {
                Sponsoring::Open => Fees::Sponsored,
                Sponsoring::Paused | Sponsoring::Unconfigured | Sponsoring::NoFees => Fees::Payer,
            },
        }
    }

    /// Whether `request` asks for exactly what this offer asks for, now or a moment ago, whoever pays the fee. `units` is
    /// what it claims to ask, which is all that a computed offer depends on.
    pub(crate) fn asks(
        &self,
        request: &str,
        units: BaseUnits,
        price: &'static PriceSpec,
        now: Timestamp,
    ) -> bool {
        if let Some(fixed) = &self.fixed {
            return fixed.form_of(request).is_some()
                || self.retired.iter().any(|(old, until)| *until > now && old == request);
        }
        let forms: &[Fees] = match self.fees {
            Fees::Payer => &[Fees::Payer],
            Fees::Sponsored => &[Fees::Sponsored, Fees::Payer],
        };
        forms
            .iter()
            .any(|fees| self.charge(units, *fees, price).is_ok_and(|charge| charge.encode() == request))
    }

    /// What goes to others of a price of so much.
    pub(crate) fn shares(
        &self,
        units: BaseUnits,
        price: &'static PriceSpec,
    ) -> Result<Vec<Share<'static>>, SplitError> {
        shares(price.splits, units, self.currency.decimals)
    }

    /// Base units of the method's own currency.
    pub(crate) fn base_units(&self, amount: Amount) -> Result<BaseUnits, AmountError> {
        amount.to_base_units(self.currency.decimals)
    }

    /// What is asked for this much.
    fn charge(
        &self,
        units: BaseUnits,
        fees: Fees,
        price: &'static PriceSpec,
    ) -> Result<ChargeRequest, String> {
        let shares = self.shares(units, price).map_err(|e| format!("`{}`: {e}", self.name))?;
        let mut cx = OfferCx::new(units, &self.currency);
        cx.description = price.description;
        cx.fees = fees;
        cx.splits = &shares;
        let mut charge = self.method.offer(&cx).map_err(|e| format!("`{}`: {e}", self.name))?;
        // The price's own, whatever the method.
        if let Some(reference) = price.external_id {
            charge.external_id = Some(reference.to_owned());
        }
        Ok(charge)
    }

    /// The form of `prepared` in which the payer pays the network's fee; `None` if it cannot be made.
    pub(crate) fn unsponsored<'p>(
        &'p self,
        prepared: &Ready<'p>,
        price: &'static PriceSpec,
        realm: &Realm,
        ring: &SecretRing,
    ) -> Option<Ready<'p>> {
        if self.fees == Fees::Payer {
            return Some(prepared.clone());
        }
        if let Some(fixed) = &self.fixed {
            return Some(Ready::Before(fixed.form(Fees::Payer)));
        }
        self.prepare(prepared.charge.amount, Fees::Payer, price, realm, ring).ok().map(Ready::now)
    }

    /// The challenge for this much.
    pub(crate) fn prepare(
        &self,
        units: BaseUnits,
        fees: Fees,
        price: &'static PriceSpec,
        realm: &Realm,
        ring: &SecretRing,
    ) -> Result<Prepared, String> {
        let charge = self.charge(units, fees, price)?;
        let (request, description) = (charge.encode(), price.description);
        let challenge =
            PreparedChallenge::new(ring, realm, &self.name, &Intent::CHARGE, request, description);
        if challenge.fixed_len() > MAX_CHALLENGE {
            return Err(format!(
                "the challenge of `{}` has {} bytes; at most {MAX_CHALLENGE} fit",
                self.name,
                challenge.fixed_len()
            ));
        }
        Ok(Prepared { challenge, charge: Arc::new(charge) })
    }
}

fn names(names: impl Iterator<Item = String>) -> String {
    let list: Vec<_> = names.map(|n| format!("`{n}`")).collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::method::sandbox::Sandbox;
    use crate::protocol::Secret;

    #[test]
    fn a_fixed_price_lasts_and_one_that_was_computed_for_a_request_does_not() {
        let price = crate::price!(crate = crate, amount = "0.01", currency = "usdc", methods(tempo));
        let ring = SecretRing::new(Secret::generate());
        let methods: [Arc<dyn ServerMethod>; 1] = [Arc::new(Sandbox::named("tempo"))];
        // Of all lengths, and so of those that are remembered.
        let lasting = (1..=64).filter(|length| {
            let realm = Realm::parse(&"a".repeat(*length)).unwrap();
            let cx = Configuration { realm: &realm, ring: &ring, methods: &methods, switched_off: &[] };
            let plan = Plan::resolve(price.spec(), &cx, &mut Findings::default());
            let (offer, units) = (&plan.offers[0], BaseUnits::new(10_000));
            let computed = offer.prepare(units, Fees::Payer, price.spec(), &realm, &ring).unwrap();
            assert!(!computed.challenge.is_lasting());
            offer.fixed.as_ref().unwrap().payer.challenge.is_lasting()
        });
        assert_eq!(lasting.count(), 30);
    }

    #[test]
    fn what_is_over_of_a_predecessor_is_not_remembered() {
        let price = crate::price!(crate = crate, amount = "0.01", currency = "usdc", methods(tempo));
        let (realm, ring) = (Realm::parse("api.example.com").unwrap(), SecretRing::new(Secret::generate()));
        let methods: [Arc<dyn ServerMethod>; 1] = [Arc::new(Sandbox::named("tempo"))];
        let cx = Configuration { realm: &realm, ring: &ring, methods: &methods, switched_off: &[] };
        let plan = || Plan::resolve(price.spec(), &cx, &mut Findings::default());
        let [now, later] = [10, 20].map(Timestamp::from_unix);
        let (mut old, mut new) = (plan(), plan());
        old.offers[0].retired = vec![("over".to_owned(), now), ("still".to_owned(), later)];
        new.retire(&old, now, later);
        assert_eq!(new.offers[0].retired, [("still".to_owned(), later)]);
    }
}
