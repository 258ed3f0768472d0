//! The manifest: every price of a router with its terms, for review and for the diff between two deployments.
//!
//! Unlike the OpenAPI document it is not published: it says how a price is enforced, too. Members and prices are sorted, and
//! nothing in it depends on time, addresses or the place in the source, so that two manifests differ only where prices do.

use super::catalogue::{Advertised, Operation};
use super::openapi::sorted;
use crate::Mpp;
use crate::method::Fees;
use crate::pricing::{Binding, Capture, Honor, Order, Replay, Tier};
use serde::Serialize;
use serde_json::Value;

/// Raised when a member changes its meaning.
const VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    version: u32,
    realm: &'a str,
    prices: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    operation: &'a str,
    handler: String,
    /// `*` for every verb.
    verb: &'a str,
    path: &'a str,
    offers: Vec<Offer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    splits: Vec<Split<'a>>,
    policy: Policy<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Offer<'a> {
    method: &'a str,
    intent: &'a str,
    /// Base units; `null` when computed.
    amount: Option<String>,
    currency: &'a str,
    decimals: u8,
    price: String,
}

#[derive(Serialize)]
struct Split<'a> {
    to: &'a str,
    part: String,
}

/// How the price is enforced.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy<'a> {
    /// `never`, `sometimes` or `proof`.
    free: &'static str,
    /// `body` or `none`.
    digest: &'static str,
    /// What a request without a credential meets first: `extractors` or `challenge`.
    first: &'static str,
    /// `before` the handler or `after` its success.
    capture: &'static str,
    /// What a computed price is held against: `computed` again, or the `quote`.
    honor: &'static str,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    bind: &'a [&'a str],
    /// What a delivered credential gets: `refused`, or its `response` again.
    replay: &'static str,
    /// Who pays the network's fee: `payer` or `sponsored`.
    fees: &'static str,
}

/// Of these operations.
pub(super) fn of(mpp: &Mpp, operations: &[Operation]) -> Value {
    let prices = operations.iter().map(entry).collect();
    let manifest = Manifest { version: VERSION, realm: mpp.realm(), prices };
    sorted(serde_json::to_value(manifest).unwrap_or_default())
}

fn entry(operation: &Operation) -> Entry<'_> {
    let spec = operation.spec;
    let bind: &[&str] = match spec.honor {
        Honor::Recomputed => &[],
        Honor::Quoted(headers) => headers,
    };
    Entry {
        operation: &operation.id,
        handler: format!("{}::{}", spec.module, spec.name),
        verb: if operation.every_verb { "*" } else { operation.verb.as_str() },
        path: &operation.template.path,
        offers: operation.offers.iter().map(offer).collect(),
        description: spec.description,
        up_to: spec.up_to.map(|ceiling| ceiling.to_string()),
        external_id: spec.external_id,
        splits: spec
            .splits
            .iter()
            .map(|split| Split { to: split.payee, part: split.part.to_string() })
            .collect(),
        policy: Policy {
            free: match spec.tier {
                Tier::Always => "never",
                Tier::FreeIf => "sometimes",
                Tier::Proof => "proof",
            },
            digest: match spec.binding {
                Binding::Body => "body",
                Binding::None => "none",
            },
            first: match spec.order {
                Order::ValidateFirst => "extractors",
                Order::ChallengeFirst => "challenge",
            },
            capture: match spec.capture {
                Capture::BeforeHandler => "before",
                Capture::OnSuccess => "after",
            },
            honor: match spec.honor {
                Honor::Recomputed => "computed",
                Honor::Quoted(_) => "quote",
            },
            bind,
            replay: match spec.replay {
                Replay::Refused => "refused",
                Replay::Response => "response",
            },
            fees: match spec.fees {
                Fees::Payer => "payer",
                Fees::Sponsored => "sponsored",
            },
        },
    }
}

fn offer(offer: &Advertised) -> Offer<'_> {
    Offer {
        method: &offer.method,
        intent: offer.intent,
        amount: offer.amount.map(|amount| amount.to_string()),
        currency: &offer.currency,
        decimals: offer.decimals,
        price: offer.price(),
    }
}
