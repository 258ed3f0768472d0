//! What is for sale, as every document tells it: one [`Operation`] per mounted price and verb, with the offers a challenge
//! really carries.
//!
//! Offers are read back from the prepared challenges of the plan, not from the annotation: what is advertised is the
//! very text that is issued (draft-payment-discovery-00 section 4 asks clients to compare the two).

use crate::Mpp;
use crate::method::Fees;
use crate::pricing::{Offer, OfferSpec, Price, PriceSpec, Tier, money};
use crate::protocol::{Amount, BaseUnits, ChargeRequest, Intent};
use crate::routing::Mounted;
use axum::http::Method;
use std::collections::HashMap;

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
    /// `None` when the prepared challenge cannot be read back, which would be a bug of its method: not advertised.
    fn of(price: &'static PriceSpec, offer: &Offer) -> Option<Self> {
        let spec = price.offers.get(offer.index)?;
        let (amount, currency) = match &offer.fixed {
            Some(fixed) => {
                // Amount and currency are the same whoever pays the network's fee.
                let charge = ChargeRequest::decode(&fixed.form(Fees::Payer).request).ok()?;
                (Some(charge.amount), charge.currency)
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
            (None, Some(ceiling)) => format!("depends on the request, up to {ceiling} {money}"),
            (None, None) => format!("depends on the request, in {money}"),
        }
    }
}

impl Operation {
    /// `GET /v1/weather/{city}`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.verb, self.template.path)
    }

    /// Every way to pay: `0.05 usdc by tempo, or 0.05 usd by stripe`.
    pub(crate) fn prices(&self) -> String {
        let ways: Vec<_> = self.offers.iter().map(|o| format!("{} by {}", o.price(), o.method)).collect();
        let free = if self.spec.tier == Tier::FreeIf { "; free for some requests" } else { "" };
        ways.join(", or ") + free
    }
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

/// The priced operations of a router, sorted by path and verb.
pub(crate) fn operations(mpp: &Mpp, mounted: &[Mounted]) -> Vec<Operation> {
    let mut operations: Vec<Operation> = mounted
        .iter()
        .filter_map(|mounted| {
            let plan = mpp.plan(mounted.spec).ok()?;
            let offers: Vec<_> = plan.offers.iter().filter_map(|o| Advertised::of(mounted.spec, o)).collect();
            // Every method is switched off: it answers 503 and is left out (said at start-up).
            (!offers.is_empty()).then(|| Operation {
                id: String::new(),
                verb: mounted.method.clone().unwrap_or(Method::GET),
                every_verb: mounted.method.is_none(),
                template: Template::of(&mounted.path),
                spec: mounted.spec,
                offers,
            })
        })
        .collect();
    operations.sort_by(|a, b| (&a.template.path, a.verb.as_str()).cmp(&(&b.template.path, b.verb.as_str())));
    name(&mut operations);
    operations
}

/// The handler's name where it is unique, else verb and path.
fn name(operations: &mut [Operation]) {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for operation in operations.iter() {
        *uses.entry(operation.spec.name).or_default() += 1;
    }
    let unique: Vec<bool> = operations.iter().map(|o| uses[o.spec.name] == 1).collect();
    let mut taken: std::collections::HashSet<String> = operations
        .iter()
        .zip(&unique)
        .filter(|(_, unique)| **unique)
        .map(|(o, _)| o.spec.name.to_owned())
        .collect();
    for (operation, unique) in operations.iter_mut().zip(unique) {
        if unique {
            operation.id = operation.spec.name.to_owned();
            continue;
        }
        let words =
            operation.template.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
        let path = words.collect::<Vec<_>>().join("_");
        let base = format!("{}_{}_{path}", operation.spec.name, operation.verb.as_str().to_ascii_lowercase());
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
