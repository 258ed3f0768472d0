//! A price under a configuration: the offers that can really be made, prepared.
//!
//! Everything that does not depend on the request is done here, once: base units, the `request` of each fixed offer
//! (JCS, base64url), the HMAC state that has absorbed the first four slots, the header text. What is left per challenge
//! is one HMAC finish and one copy.

use super::{Capture, OfferSpec, Price, PriceSpec, Tier};
use crate::method::{Holding, MethodCurrency, OfferCx, ServerMethod};
use crate::protocol::{
    Amount, AmountError, BaseUnits, BoundPrefix, Intent, MethodName, Realm, SecretRing, Timestamp,
    write_quoted,
};
use crate::server::scope::Scopes;
use std::sync::Arc;

/// Challenges above this are refused at start-up: proxies cap header lines at 8 KB (draft-httpauth-payment-00 section 9.4).
const MAX_CHALLENGE: usize = 8 * 1024;

/// A price under a configuration.
pub(crate) struct Plan {
    pub(crate) spec: &'static PriceSpec,
    /// In the server's order of preference. Empty when every method is switched off or below its minimum.
    pub(crate) offers: Vec<Offer>,
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
    /// Prepared when the amount does not depend on the request.
    pub(crate) fixed: Option<Prepared>,
    /// `request`s of a predecessor configuration, still accepted until then.
    pub(crate) retired: Vec<(String, Timestamp)>,
}

/// A challenge but for its id, digest, expiry and opaque.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) request: String,
    pub(crate) prefix: BoundPrefix,
    /// `", realm="…", method="…", intent="charge", request="…"[, description="…"]`
    pub(crate) head: String,
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

impl Plan {
    /// Resolves a price. Offers that cannot be made are left out and reported.
    pub(crate) fn resolve(spec: &'static PriceSpec, cx: &Configuration<'_>, report: &mut Findings) -> Self {
        let who = format!("`{}::{}` ({})", spec.module, spec.name, spec.location);
        let problems_before = report.problems.len();
        let mut offers = Vec::new();
        let mut below_minimum = false;
        let mut broken_method = false;
        for (index, offer) in spec.offers.iter().enumerate() {
            if cx.switched_off.iter().any(|name| name == offer.method) {
                continue;
            }
            let Some(method) = cx.methods.iter().find(|m| m.name().as_str() == offer.method) else {
                report.problems.push(format!(
                    "{who} takes `{}`, which is not configured (configured: {}); add it, or `.switched_off(\"{}\")`",
                    offer.method,
                    names(cx.methods.iter().map(|m| m.name().to_string())),
                    offer.method,
                ));
                continue;
            };
            match Offer::resolve(index, spec, offer, method, cx) {
                Ok(offer) => offers.push(offer),
                Err(Omitted::Problem(text)) => report.problems.push(format!("{who}: {text}")),
                Err(Omitted::BrokenMethod) => broken_method = true,
                Err(Omitted::BelowMinimum(text)) => {
                    below_minimum = true;
                    report.warnings.push(format!("{who}: {text}; the offer is left out"));
                }
            }
        }
        if offers.is_empty() && report.problems.len() == problems_before && !broken_method {
            if below_minimum {
                report.problems.push(format!("{who}: no method of this price is payable"));
            } else {
                report.warnings.push(format!(
                    "{who}: every method of this price is switched off; it answers 503 and is left out of the documents"
                ));
            }
        }
        Self { spec, offers, scopes: Scopes::default() }
    }

    /// Keeps accepting what a predecessor has offered, until `until`.
    pub(crate) fn retire(&mut self, predecessor: &Self, until: Timestamp) {
        for old in &predecessor.offers {
            let Some(offer) = self.offers.iter_mut().find(|o| o.name == old.name) else { continue };
            let current = offer.fixed.as_ref().map(|f| f.request.as_str());
            if let Some(request) =
                old.fixed.as_ref().map(|f| &f.request).filter(|r| Some(r.as_str()) != current)
            {
                offer.retired.push((request.clone(), until));
            }
            offer.retired.extend(old.retired.iter().cloned());
        }
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
        let mut offer =
            Self { index, method: method.clone(), name, currency, fixed: None, retired: Vec::new() };
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
            let prepared = offer.prepare(units, price, cx.realm, cx.ring).map_err(|why| {
                if offer.method.problems().is_empty() { Omitted::Problem(why) } else { Omitted::BrokenMethod }
            })?;
            offer.fixed = Some(prepared);
        }
        Ok(offer)
    }

    /// Base units of the method's own currency.
    pub(crate) fn base_units(&self, amount: Amount) -> Result<BaseUnits, AmountError> {
        amount.to_base_units(self.currency.decimals)
    }

    /// The challenge for this much.
    pub(crate) fn prepare(
        &self,
        units: BaseUnits,
        price: &PriceSpec,
        realm: &Realm,
        ring: &SecretRing,
    ) -> Result<Prepared, String> {
        let mut cx = OfferCx::new(units, &self.currency);
        cx.description = price.description;
        let charge = self.method.offer(&cx).map_err(|e| format!("`{}`: {e}", self.name))?;
        let request = charge.encode();
        let prefix = ring.prefix(realm.as_str(), self.name.as_str(), Intent::CHARGE.as_str(), &request);
        let mut head = String::with_capacity(request.len() + 96);
        head.push_str("\", realm=");
        write_quoted(&mut head, realm.as_str());
        head.push_str(", method=\"");
        head.push_str(self.name.as_str());
        head.push_str("\", intent=\"charge\", request=\"");
        head.push_str(&request);
        head.push('"');
        if let Some(description) = price.description {
            head.push_str(", description=");
            write_quoted(&mut head, description);
        }
        if head.len() > MAX_CHALLENGE {
            return Err(format!(
                "the challenge of `{}` has {} bytes; at most {MAX_CHALLENGE} fit",
                self.name,
                head.len()
            ));
        }
        Ok(Prepared { request, prefix, head })
    }
}

fn names(names: impl Iterator<Item = String>) -> String {
    let list: Vec<_> = names.map(|n| format!("`{n}`")).collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
