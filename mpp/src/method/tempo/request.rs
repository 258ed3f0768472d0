//! What a Tempo challenge asks: written by `offer`, read back from the credential's challenge
//! (draft-tempo-charge, "Request Schema").

use super::Mode;
use crate::chain::{parse_address, parse_hex};
use crate::method::{Fees, Rejection};
use crate::protocol::{BaseUnits, ChargeRequest, ProblemType};
use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the draft gives a request without `chainId`. We always write one.
const DEFAULT_CHAIN: u64 = super::MODERATO;

/// One payment, as a challenge asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// Base units, the parts of others included; zero asks for a proof of identity.
    pub(super) amount: U256,
    /// The TIP-20 token.
    pub(super) token: Address,
    /// Who gets what the others leave.
    pub(super) recipient: Address,
    /// On which chain.
    pub(super) chain_id: u64,
    /// The parts of others, in the order of the price.
    pub(super) splits: Vec<Leg>,
    /// Who pays the network's fee.
    pub(super) fees: Fees,
    /// Who may broadcast.
    pub(super) modes: Modes,
    /// A memo of the server's own for the recipient's transfer. We never write one: the attribution memo has that place.
    pub(super) memo: Option<B256>,
}

/// A part of the amount that goes to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leg {
    pub(super) recipient: Address,
    pub(super) amount: U256,
    /// What its transfer has to say. We never ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memo: Option<B256>,
}

/// `supportedModes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modes {
    Both,
    Only(Mode),
}

impl Modes {
    pub(super) fn allow(self, mode: Mode) -> bool {
        match self {
            Self::Both => true,
            Self::Only(only) => only == mode,
        }
    }
}

impl Ask {
    /// The request that asks for this.
    ///
    /// `chainId` is always there, because drafts and clients have three different defaults; `supportedModes` only if
    /// one mode is missing (TC-02), and not for a proof, which has none.
    pub(super) fn write(&self, token: &str, amount: BaseUnits) -> ChargeRequest {
        ChargeRequest {
            // EIP-55, as people compare it with what their wallet shows; peers compare the 20 bytes.
            recipient: Some(self.recipient.to_string()),
            method_details: Some(self.details()),
            ..ChargeRequest::new(amount, token)
        }
    }

    /// `methodDetails`.
    fn details(&self) -> Map<String, Value> {
        let mut details = Map::from_iter([("chainId".to_owned(), Value::from(self.chain_id))]);
        if self.fees == Fees::Sponsored {
            details.insert("feePayer".into(), true.into());
        }
        if let Some(memo) = self.memo {
            details.insert("memo".into(), memo.to_string().into());
        }
        if !self.splits.is_empty() {
            let splits = self.splits.iter().map(|leg| {
                let mut entry = Map::from_iter([
                    ("amount".to_owned(), Value::from(leg.amount.to_string())),
                    ("recipient".to_owned(), leg.recipient.to_string().into()),
                ]);
                if let Some(memo) = leg.memo {
                    entry.insert("memo".into(), memo.to_string().into());
                }
                Value::Object(entry)
            });
            details.insert("splits".into(), splits.collect());
        }
        if let Modes::Only(mode) = self.modes {
            details.insert("supportedModes".into(), Value::from(vec![mode.name()]));
        }
        details
    }

    /// What the recipient gets: the amount without the parts of others (TC-13).
    pub(super) fn remainder(&self) -> U256 {
        self.splits.iter().fold(self.amount, |rest, leg| rest.saturating_sub(leg.amount))
    }

    /// Reads it back from a challenge of ours.
    ///
    /// The challenge is authentic, so this fails only for offers that an older configuration or release made.
    pub(super) fn read(request: &ChargeRequest) -> Result<Self, Rejection> {
        let ask = Self::parse(request).map_err(|_| not_ours())?;
        // Whatever we would write otherwise may change what has to be checked.
        if request.method_details.as_ref() != Some(&ask.details()) {
            return Err(not_ours());
        }
        Ok(ask)
    }

    /// Reads anybody's challenge. Unknown members are left aside, as the draft's own extensions are (I-21).
    pub(super) fn parse(request: &ChargeRequest) -> Result<Self, Unfit> {
        let empty = Map::new();
        let details = request.method_details.as_ref().unwrap_or(&empty);
        let chain_id = match details.get("chainId") {
            None => DEFAULT_CHAIN,
            Some(id) => id.as_u64().ok_or(Unfit("`chainId` is not a number"))?,
        };
        let fees = match details.get("feePayer") {
            None | Some(Value::Bool(false)) => Fees::Payer,
            Some(Value::Bool(true)) => Fees::Sponsored,
            Some(_) => return Err(Unfit("`feePayer` is neither true nor false")),
        };
        let recipient = request.recipient.as_deref().and_then(|r| parse_address(r).ok());
        let ask = Self {
            amount: U256::from(request.amount.get()),
            token: parse_address(&request.currency)
                .map_err(|_| Unfit("`currency` is not the address of a token"))?,
            recipient: recipient.ok_or(Unfit("`recipient` is not an address"))?,
            chain_id,
            splits: splits_in(details)?,
            fees,
            modes: modes_in(details)?,
            memo: memo_in(details)?,
        };
        let parts = ask.splits.iter().try_fold(U256::ZERO, |sum, leg| sum.checked_add(leg.amount));
        // TC-09: the recipient is always left with something.
        if !ask.splits.is_empty() && parts.is_none_or(|parts| parts >= ask.amount) {
            return Err(Unfit("the parts in `splits` are not less than the amount"));
        }
        Ok(ask)
    }
}

/// Why a request is none of this method's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(pub(super) &'static str);

fn splits_in(details: &Map<String, Value>) -> Result<Vec<Leg>, Unfit> {
    let Some(splits) = details.get("splits") else { return Ok(Vec::new()) };
    let entries = splits.as_array().filter(|entries| !entries.is_empty());
    let entries = entries.ok_or(Unfit("`splits` is not a list of parts"))?;
    entries.iter().map(leg_in).collect()
}

fn leg_in(entry: &Value) -> Result<Leg, Unfit> {
    let member = |name: &str| entry.get(name).and_then(Value::as_str);
    let amount = member("amount").and_then(|text| BaseUnits::parse(text).ok()).filter(|a| !a.is_zero());
    let recipient = member("recipient").and_then(|text| parse_address(text).ok());
    match (amount, recipient, entry.as_object()) {
        (Some(amount), Some(recipient), Some(entry)) => {
            Ok(Leg { amount: U256::from(amount.get()), recipient, memo: memo_in(entry)? })
        }
        _ => Err(Unfit("a part in `splits` has no usable amount or recipient")),
    }
}

fn memo_in(members: &Map<String, Value>) -> Result<Option<B256>, Unfit> {
    let Some(memo) = members.get("memo") else { return Ok(None) };
    let bytes = memo.as_str().and_then(|text| parse_hex(text, B256::len_bytes()));
    let memo = bytes.and_then(|bytes| B256::try_from(bytes.as_slice()).ok());
    memo.map(Some).ok_or(Unfit("a `memo` is not 32 bytes in hexadecimal"))
}

fn modes_in(details: &Map<String, Value>) -> Result<Modes, Unfit> {
    let Some(modes) = details.get("supportedModes") else { return Ok(Modes::Both) };
    let names: Vec<_> = modes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // TC-03; modes nobody knows yet are left aside.
    match (names.contains(&Mode::Pull.name()), names.contains(&Mode::Push.name())) {
        (true, true) => Ok(Modes::Both),
        (true, false) => Ok(Modes::Only(Mode::Pull)),
        (false, true) => Ok(Modes::Only(Mode::Push)),
        (false, false) => Err(Unfit("`supportedModes` names none that is known")),
    }
}

fn not_ours() -> Rejection {
    Rejection::Refused {
        kind: ProblemType::InvalidChallenge,
        detail: "this challenge is no longer served; ask for a new one".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::address;
    use serde_json::json;

    const TOKEN: &str = "0x20c0000000000000000000000000000000000000";
    const SHOP: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

    fn ask(amount: u128) -> Ask {
        Ask {
            amount: U256::from(amount),
            token: parse_address(TOKEN).unwrap(),
            recipient: SHOP,
            chain_id: 31337,
            splits: Vec::new(),
            fees: Fees::Payer,
            modes: Modes::Both,
            memo: None,
        }
    }

    fn written(ask: &Ask) -> ChargeRequest {
        ask.write(TOKEN, BaseUnits::new(ask.amount.to()))
    }

    #[test]
    fn the_request_is_byte_for_byte_what_peers_were_recorded_to_pay() {
        let recorded = "eyJhbW91bnQiOiIxMDAwMCIsImN1cnJlbmN5IjoiMHgyMGMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwIiwibWV0aG9kRGV0YWlscyI6eyJjaGFpbklkIjozMTMzN30sInJlY2lwaWVudCI6IjB4NzA5OTc5NzBDNTE4MTJkYzNBMDEwQzdkMDFiNTBlMGQxN2RjNzlDOCJ9";
        assert_eq!(written(&ask(10_000)).encode(), recorded);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let leg = Leg { recipient: SHOP, amount: U256::from(1), memo: None };
        for ask in [
            ask(0),
            Ask { splits: vec![leg; 10], ..ask(11) },
            Ask { fees: Fees::Sponsored, modes: Modes::Only(Mode::Pull), ..ask(1) },
            Ask { modes: Modes::Only(Mode::Push), ..ask(1) },
        ] {
            assert_eq!(Ask::read(&written(&ask)), Ok(ask));
        }
        let details = written(&Ask {
            splits: vec![leg],
            fees: Fees::Sponsored,
            modes: Modes::Only(Mode::Pull),
            ..ask(2)
        });
        assert_eq!(
            Value::from(details.method_details.unwrap()),
            json!({
                "chainId": 31337, "feePayer": true, "supportedModes": ["pull"],
                "splits": [{ "amount": "1", "recipient": SHOP.to_string() }],
            })
        );
    }

    #[test]
    fn what_we_never_write_is_refused_as_stale() {
        let request = written(&ask(10));
        let with = |name: &str, value: Value| {
            let mut other = request.clone();
            other.method_details.get_or_insert_default().insert(name.into(), value);
            other
        };
        for other in [
            with("splits", json!([])),
            with("splits", json!([{ "amount": "10", "recipient": SHOP.to_string() }])),
            with("splits", json!([{ "amount": "0", "recipient": SHOP.to_string() }])),
            with("splits", json!([{ "amount": "+1", "recipient": SHOP.to_string() }])),
            with("splits", json!([{ "amount": "1" }])),
            with("splits", json!([{ "amount": "1", "recipient": SHOP.to_string(), "note": "x" }])),
            with("feePayer", false.into()),
            with("feePayer", "true".into()),
            with("supportedModes", json!(["pull", "push"])),
            with("supportedModes", json!([])),
            with("memo", json!("0x00")),
            with("machineTokenEnabled", true.into()),
            with("chainId", "4217".into()),
            ChargeRequest { method_details: None, ..request.clone() },
            ChargeRequest { recipient: None, ..request.clone() },
            ChargeRequest { currency: "usd".into(), ..request.clone() },
        ] {
            assert!(
                matches!(
                    Ask::read(&other),
                    Err(Rejection::Refused { kind: ProblemType::InvalidChallenge, .. })
                ),
                "{other:?}"
            );
        }
    }

    #[test]
    fn the_drafts_split_example_is_understood_and_a_bad_sum_is_not() {
        // draft-tempo-charge-00, "Split Payment Example".
        let request = ChargeRequest::decode("eyJhbW91bnQiOiIxMDAwMDAwIiwiY3VycmVuY3kiOiIweDIwYzAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJtZXRob2REZXRhaWxzIjp7ImNoYWluSWQiOjQyMTcsImZlZVBheWVyIjp0cnVlLCJzcGxpdHMiOlt7ImFtb3VudCI6IjUwMDAwIiwicmVjaXBpZW50IjoiMHhBMUIyQzNENEU1RjZBMUIyQzNENEU1RjZBMUIyQzNENEU1RjZBMUIyIn1dfSwicmVjaXBpZW50IjoiMHg3NDJkMzVDYzY2MzRDMDUzMjkyNWEzYjg0NEJjOWU3NTk1ZjhmRTAwIn0").unwrap();
        // Its addresses are mixed case without a checksum, which is a typing mistake to us.
        assert_eq!(Ask::parse(&request), Err(Unfit("`recipient` is not an address")));
        let lower = ChargeRequest {
            recipient: request.recipient.as_deref().map(str::to_lowercase),
            method_details: Some(
                serde_json::from_str(&Value::from(request.method_details.unwrap()).to_string().replace(
                    "0xA1B2C3D4E5F6A1B2C3D4E5F6A1B2C3D4E5F6A1B2",
                    "0xa1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2",
                ))
                .unwrap(),
            ),
            ..ChargeRequest::new(request.amount, request.currency)
        };
        let ask = Ask::parse(&lower).unwrap();
        assert_eq!((ask.remainder(), ask.fees, ask.chain_id), (U256::from(950_000), Fees::Sponsored, 4217));
        let too_little = ChargeRequest { amount: BaseUnits::new(50_000), ..lower };
        assert_eq!(Ask::parse(&too_little), Err(Unfit("the parts in `splits` are not less than the amount")));
    }
}
