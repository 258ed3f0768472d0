//! What a Stripe challenge asks, and what its credential answers (draft-stripe-charge, "Request Schema" and "Credential
//! Schema").

use super::{is_id_byte, money};
use crate::method::Rejection;
use crate::protocol::{ChargeRequest, ProblemType};
use serde_json::{Map, Value};

/// With the 43 characters of a challenge id and one between, a token id fits into the 255 of an idempotency key.
const MAX_TOKEN: usize = 200;
/// As long as Stripe's own references.
const MAX_EXTERNAL_ID: usize = 255;

/// `methodDetails` of a request: the two members the draft requires. Connect parameters are never in it (SC-08).
pub(super) fn method_details(network_id: &str, types: &[String]) -> Map<String, Value> {
    Map::from_iter([
        ("networkId".to_owned(), network_id.into()),
        ("paymentMethodTypes".to_owned(), types.into()),
    ])
}

/// One charge, as a challenge of ours asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// In the currency's smallest unit.
    pub(super) amount: u64,
    /// ISO 4217, in lower case.
    pub(super) currency: &'static str,
}

impl Ask {
    /// Reads it back. The challenge is authentic, so this fails only for offers that an older configuration made, of whose
    /// tokens this one could not be paid.
    pub(super) fn read(request: &ChargeRequest, network_id: Option<&str>) -> Result<Self, Rejection> {
        let details = request.method_details.as_ref().ok_or_else(not_ours)?;
        let network = details.get("networkId").and_then(Value::as_str).ok_or_else(not_ours)?;
        if Some(network) != network_id {
            return Err(not_ours());
        }
        let currency = money::by_code(&request.currency).ok_or_else(not_ours)?;
        let amount = u64::try_from(request.amount.get()).map_err(|_| not_ours())?;
        Ok(Self { amount, currency: currency.code })
    }
}

/// The payload of a credential.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    /// Whoever sees it and our secret key can charge it: never printed.
    pub(super) token: &'a str,
    /// For the receipt.
    pub(super) external_id: Option<&'a str>,
}

impl<'a> Payload<'a> {
    pub(super) fn read(
        payload: &'a Map<String, Value>,
        request: &'a ChargeRequest,
    ) -> Result<Self, Rejection> {
        let token = payload.get("spt").and_then(Value::as_str).filter(|token| {
            token.strip_prefix("spt_").is_some_and(|rest| !rest.is_empty())
                && token.len() <= MAX_TOKEN
                && token.bytes().all(is_id_byte)
        });
        let token = token.ok_or_else(|| {
            Rejection::malformed("`payload.spt` is not the id of a shared payment token (spt_…)")
        })?;
        let theirs = match payload.get("externalId") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) if id.len() <= MAX_EXTERNAL_ID => Some(id.as_str()),
            Some(_) => return Err(Rejection::malformed("`payload.externalId` is not a short string")),
        };
        // I-12: the draft echoes the payer's; peers demand that it equal the request's where that has one.
        let ours = request.external_id.as_deref();
        if ours.is_some() && theirs.is_some() && ours != theirs {
            return Err(Rejection::failed("`payload.externalId` is not the one of the challenge"));
        }
        Ok(Self { token, external_id: ours.or(theirs) })
    }
}

fn not_ours() -> Rejection {
    Rejection::Refused {
        kind: ProblemType::InvalidChallenge,
        detail: "this challenge is no longer served; ask for a new one".into(),
    }
}
