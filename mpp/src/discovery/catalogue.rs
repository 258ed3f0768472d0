//! What is for sale, as every document tells it: one [`Operation`] per mounted price and verb, with the offers a challenge
//! really carries.
//!
//! Offers are read back from the prepared challenges of the plan, not from the annotation: what is advertised is the
//! very text that is issued (draft-payment-discovery-00 section 4 asks clients to compare the two).

use super::conflicts::{given_ids, written_id};
use crate::Mpp;
use crate::method::Fees;
use crate::pricing::{Offer, OfferSpec, Price, PriceSpec, Tier, money};
use crate::protocol::{Amount, BaseUnits, Intent};
use crate::routing::Mounted;
use axum::http::Method;
use std::collections::{HashMap, HashSet};
use utoipa::openapi::OpenApi;

/// A priced operation: a verb at a path, and what it costs.
pub(crate) struct Operation {
    /// Unique in its catalogue; the handler's name where that is.
    pub(crate) id: String,
    pub(crate) verb: Method,
    /// The price is mounted for every verb; only this one is documented.
    pub(crate) every_verb: bool,
    pub(crate) template: Template,
    pub(crate) spec: &'static PriceSpec,
    /// In the server's order of preference; never empty.
    pub(crate) offers: Vec<Advertised>,
}

/// One way to pay, as it is advertised.
pub(crate) struct Advertised {
    pub(crate) method: String,
    pub(crate) intent: &'static str,
    /// Base units; `None` when the amount depends on the request.
    pub(crate) amount: Option<BaseUnits>,
    /// As in the challenge: a token address, an ISO 4217 code.
    pub(crate) currency: String,
    pub(crate) decimals: u8,
    pub(crate) spec: &'static OfferSpec,
    ceiling: Option<Amount>,
}

impl Advertised {
    /// `None` for an offer of another price.
    fn of(price: &'static PriceSpec, offer: &Offer) -> Option<Self> {
        let spec = price.offers.get(offer.index)?;
        let (amount, currency) = match &offer.fixed {
            Some(fixed) => {
                // Amount and currency are the same whoever pays the network's fee.
                let charge = &fixed.form(Fees::Payer).charge;
                (Some(charge.amount), charge.currency.clone())
            }
            None => (None, offer.currency.id.clone()),
        };
        Some(Self {
            method: offer.name.to_string(),
            intent: Intent::CHARGE.as_str(),
            amount,
            currency,
            decimals: offer.currency.decimals,
            spec,
            ceiling: price.up_to.filter(|_| matches!(spec.price, Price::Computed)),
        })
    }

    /// `0.05 usdc`, `up to 2 usdc`, `depends on the request, in usdc`.
    pub(crate) fn price(&self) -> String {
        let money = money(&self.currency, self.spec);
        match (self.amount, self.ceiling) {
            (Some(amount), _) if amount.is_zero() => "nothing but a proof of identity".to_owned(),
            (Some(amount), _) => format!("{} {money}", amount.to_amount(self.decimals)),
            (None, _) => format!("depends on the request, {}", self.range()),
        }
    }

    /// Of a computed price: `up to 2 usdc`, `in usdc`.
    fn range(&self) -> String {
        let money = money(&self.currency, self.spec);
        match self.ceiling {
            Some(ceiling) => format!("up to {ceiling} {money}"),
            None => format!("in {money}"),
        }
    }
}

impl Operation {
    /// `GET /v1/weather/{city}`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.verb, self.template.path)
    }

    /// A sentence: `Costs 0.05 usdc by tempo, or 0.5 usd by stripe.`, `The price depends on the request: up to 2 usdc by tempo.`
    pub(crate) fn costs(&self) -> String {
        let (fixed, computed): (Vec<_>, Vec<_>) =
            self.offers.iter().partition(|offer| offer.amount.is_some());
        let fixed = ways(&fixed, |offer| format!("{} by {}", offer.price(), offer.method));
        let computed = ways(&computed, |offer| format!("{} by {}", offer.range(), offer.method));
        let sentence = match (fixed, computed) {
            (fixed, None) => format!("Costs {}", fixed.unwrap_or_default()),
            (None, Some(computed)) => format!("The price depends on the request: {computed}"),
            (Some(fixed), Some(computed)) => {
                format!("Costs {fixed}, or a price that depends on the request: {computed}")
            }
        };
        let free = if self.spec.tier == Tier::FreeIf { "; free for some requests" } else { "" };
        format!("{sentence}{free}.")
    }
}

fn ways(offers: &[&Advertised], way: impl Fn(&Advertised) -> String) -> Option<String> {
    let ways: Vec<_> = offers.iter().map(|offer| way(offer)).collect();
    (!ways.is_empty()).then(|| ways.join(", or "))
}

/// A path template, as OpenAPI writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) path: String,
    /// The parameters, in their order.
    pub(crate) names: Vec<String>,
    /// The last parameter takes the rest of the path, slashes and all.
    pub(crate) takes_rest: bool,
}

impl Template {
    /// From axum's: `/files/{*rest}` is `/files/{rest}`, `{{` is a brace.
    pub(crate) fn of(axum: &str) -> Self {
        let mut template =
            Self { path: String::with_capacity(axum.len()), names: Vec::new(), takes_rest: false };
        let mut rest = axum;
        while let Some(at) = rest.find(['{', '}']) {
            template.path.push_str(&rest[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                // A literal brace cannot stand in an OpenAPI path.
                template.path.push_str(if brace.starts_with('{') { "%7B" } else { "%7D" });
                rest = &brace[2..];
            } else if let Some((name, after)) = brace[1..].split_once('}').filter(|_| brace.starts_with('{'))
            {
                template.takes_rest = name.starts_with('*');
                let name = name.trim_start_matches('*');
                template.path.push_str(&format!("{{{name}}}"));
                template.names.push(name.to_owned());
                rest = after;
            } else {
                // axum does not take such a path.
                rest = &brace[1..];
            }
        }
        template.path.push_str(rest);
        template
    }
}

/// The priced operations of a router, sorted by path and verb. `base` is the document they are added to.
pub(crate) fn operations(mpp: &Mpp, mounted: &[Mounted], base: Option<&OpenApi>) -> Vec<Operation> {
    let mut operations: Vec<Operation> = placed(mounted)
        .into_iter()
        .filter_map(|Placed { verb, every_verb, template, spec }| {
            let plan = mpp.plan(spec).ok()?;
            let offers: Vec<_> = plan.offers.iter().filter_map(|o| Advertised::of(spec, o)).collect();
            // Every method is switched off: it answers 503 and is left out (said at start-up).
            let id = String::new();
            (!offers.is_empty()).then_some(Operation { id, verb, every_verb, template, spec, offers })
        })
        .collect();
    operations.sort_by(|a, b| (&a.template.path, a.verb.as_str()).cmp(&(&b.template.path, b.verb.as_str())));
    name(&mut operations, base);
    operations
}

/// A price and the operation it is documented as.
pub(super) struct Placed {
    pub(super) verb: Method,
    /// It is mounted for every verb; only this one is documented.
    pub(super) every_verb: bool,
    pub(super) template: Template,
    pub(super) spec: &'static PriceSpec,
}

/// Where each price stands in a document. One for every verb stands at the first that has no price of its own there; without
/// such a verb it is left out.
pub(super) fn placed(mounted: &[Mounted]) -> Vec<Placed> {
    const PREFERRED: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let own: HashSet<(&str, &Method)> =
        mounted.iter().filter_map(|m| m.method.as_ref().map(|verb| (m.path.as_str(), verb))).collect();
    let place = |m: &Mounted| {
        let free = |verb: &&Method| !own.contains(&(m.path.as_str(), *verb));
        let verb = m.method.as_ref().or_else(|| PREFERRED.iter().find(free))?.clone();
        Some(Placed { verb, every_verb: m.method.is_none(), template: Template::of(&m.path), spec: m.spec })
    };
    mounted.iter().filter_map(place).collect()
}

/// What the user calls it, else the handler's name where that is unique, else that with verb and path.
fn name(operations: &mut [Operation], base: Option<&OpenApi>) {
    let written: Vec<Option<String>> =
        operations.iter().map(|o| written_id(base, &o.verb, &o.template.path, o.spec)).collect();
    let wanted: Vec<String> = operations
        .iter()
        .zip(&written)
        .map(|(operation, written)| written.clone().unwrap_or_else(|| operation.spec.name.to_owned()))
        .collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for id in &wanted {
        *uses.entry(id).or_default() += 1;
    }
    let places: HashSet<(&str, &str)> =
        operations.iter().map(|o| (o.verb.as_str(), o.template.path.as_str())).collect();
    let given = given_ids(base, |verb, path| places.contains(&(verb.as_str(), path)));
    let mut taken: HashSet<String> = given.into_iter().map(|given| given.id.to_owned()).collect();
    let unique: Vec<bool> = wanted.iter().map(|id| uses[id.as_str()] == 1 && !taken.contains(id)).collect();
    taken.extend(wanted.iter().zip(&unique).filter(|(_, unique)| **unique).map(|(id, _)| id.clone()));
    for ((operation, wanted), unique) in operations.iter_mut().zip(wanted).zip(unique) {
        if unique {
            operation.id = wanted;
            continue;
        }
        let words =
            operation.template.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
        let path = words.collect::<Vec<_>>().join("_");
        let base = format!("{wanted}_{}_{path}", operation.verb.as_str().to_ascii_lowercase());
        let base = base.trim_end_matches('_').to_owned();
        let mut id = base.clone();
        let mut n = 2;
        while !taken.insert(id.clone()) {
            id = format!("{base}_{n}");
            n += 1;
        }
        operation.id = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_of_axum_becomes_one_of_openapi() {
        let of = |axum: &str| {
            let Template { path, names, takes_rest } = Template::of(axum);
            (path, names.join(","), takes_rest)
        };
        assert_eq!(of("/"), ("/".into(), "".into(), false));
        assert_eq!(of("/a/{b}/c/{d}"), ("/a/{b}/c/{d}".into(), "b,d".into(), false));
        assert_eq!(of("/files/{*rest}"), ("/files/{rest}".into(), "rest".into(), true));
        assert_eq!(of("/{{literal}}/{x}"), ("/%7Bliteral%7D/{x}".into(), "x".into(), false));
    }
}
