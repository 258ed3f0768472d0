//! What an EVM challenge asks: written by `offer`, read back from the credential's challenge, and read by payers
//! (draft-evm-charge, "Request Schema").
//!
//! Two members are more than the draft has. `methodDetails.spender` is the account that will call Permit2: its signature
//! covers it and nothing else says it, so it is there whenever `permit2` is taken. And the zero address in `currency` is the
//! chain's own coin, which the draft leaves out.

use super::CredentialType;
use super::assets::PERMIT2;
use super::node;
use crate::method::Rejection;
use crate::protocol::{BaseUnits, ChargeRequest, ProblemType};
use alloy::primitives::{Address, U256};
use serde_json::{Map, Value};

/// One transfer, as a challenge asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// Base units.
    pub(super) amount: U256,
    /// The token; `None` for the chain's own coin.
    pub(super) token: Option<Address>,
    /// Who is paid.
    pub(super) recipient: Address,
    /// On which chain.
    pub(super) chain_id: u64,
    /// How it may be paid, in the server's order.
    pub(super) accepted: Vec<CredentialType>,
    /// Who calls Permit2.
    pub(super) spender: Option<Address>,
    /// Where Permit2 is.
    pub(super) permit2: Address,
    /// Asks for more than one transfer.
    pub(super) split: Split,
}

/// Whether others get a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// One recipient.
    No,
    /// Several.
    Yes,
}

/// What `offer` knows.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) recipient: Address,
    pub(super) chain_id: u64,
    pub(super) decimals: u8,
    pub(super) accepted: &'a [CredentialType],
    pub(super) spender: Option<Address>,
    pub(super) permit2: Address,
}

/// What this server writes into `methodDetails`.
const WRITTEN: [&str; 5] = ["chainId", "credentialTypes", "decimals", "permit2Address", "spender"];

impl Ask {
    /// The request that asks for this much of `currency`, an address.
    pub(super) fn write(amount: BaseUnits, currency: &str, terms: &Terms<'_>) -> ChargeRequest {
        let types = terms.accepted.iter().map(|kind| Value::from(kind.as_str())).collect();
        let mut details = Map::from_iter([
            ("chainId".to_owned(), Value::from(terms.chain_id)),
            ("credentialTypes".to_owned(), Value::Array(types)),
            ("decimals".to_owned(), Value::from(terms.decimals)),
        ]);
        if let Some(spender) = terms.spender.filter(|_| terms.accepted.contains(&CredentialType::Permit2)) {
            details.insert("permit2Address".to_owned(), terms.permit2.to_string().into());
            details.insert("spender".to_owned(), spender.to_string().into());
        }
        ChargeRequest {
            recipient: Some(terms.recipient.to_string()),
            method_details: Some(details),
            ..ChargeRequest::new(amount, currency)
        }
    }

    /// Reads it back from a challenge of ours.
    ///
    /// The challenge is authentic, so this fails only for offers that an older configuration made.
    pub(super) fn read(request: &ChargeRequest) -> Result<Self, Rejection> {
        let ours = |details: &Map<String, Value>| details.keys().all(|name| WRITTEN.contains(&name.as_str()));
        Self::parse(request).filter(|_| request.method_details.as_ref().is_some_and(ours)).ok_or_else(|| {
            Rejection::Refused {
                kind: ProblemType::InvalidChallenge,
                detail: "this challenge is no longer served; ask for a new one".into(),
            }
        })
    }

    /// Reads anybody's challenge; members nobody knows are ignored.
    pub(super) fn parse(request: &ChargeRequest) -> Option<Self> {
        let details = request.method_details.as_ref()?;
        let address = |name: &str| match details.get(name) {
            None => Some(None),
            Some(value) => node::address(value.as_str()?).map(Some),
        };
        let accepted = match details.get("credentialTypes") {
            // EC-04: what a server takes that does not say.
            None => vec![CredentialType::Transaction, CredentialType::Hash],
            Some(types) => {
                let names = types.as_array()?.iter();
                names.filter_map(|name| CredentialType::by_name(name.as_str()?)).collect()
            }
        };
        let currency = node::address(&request.currency)?;
        Some(Self {
            amount: U256::from(request.amount.get()),
            token: (!currency.is_zero()).then_some(currency),
            recipient: node::address(request.recipient.as_deref()?)?,
            chain_id: details.get("chainId")?.as_u64()?,
            accepted,
            spender: address("spender")?,
            permit2: address("permit2Address")?.unwrap_or(PERMIT2),
            split: if details.contains_key("splits") { Split::Yes } else { Split::No },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::address;
    use serde_json::json;

    const SHOP: Address = address!("742d35Cc6634C0532925a3b844Bc9e7595f8fE00");
    const TOKEN: &str = "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7";

    fn terms(accepted: &[CredentialType]) -> Terms<'_> {
        Terms {
            recipient: SHOP,
            chain_id: 4326,
            decimals: 18,
            accepted,
            spender: Some(SHOP),
            permit2: PERMIT2,
        }
    }

    #[test]
    fn a_request_says_exactly_what_is_accepted() {
        let request = Ask::write(
            BaseUnits::new(7),
            TOKEN,
            &terms(&[CredentialType::Authorization, CredentialType::Transaction]),
        );
        let json = serde_json::to_value(&request).unwrap();
        let details =
            json!({ "chainId": 4326, "credentialTypes": ["authorization", "transaction"], "decimals": 18 });
        assert_eq!(json["methodDetails"], details);
        let ask = Ask::read(&request).unwrap();
        assert_eq!(ask.accepted, [CredentialType::Authorization, CredentialType::Transaction]);
        assert_eq!((ask.token, ask.spender), (Some(TOKEN.parse().unwrap()), None));
    }

    #[test]
    fn permit2_is_never_offered_without_its_spender() {
        let request = Ask::write(BaseUnits::new(7), TOKEN, &terms(&[CredentialType::Permit2]));
        let details = request.method_details.clone().unwrap();
        assert_eq!(details["spender"], SHOP.to_string());
        assert_eq!(details["permit2Address"], PERMIT2.to_string());
        assert_eq!(Ask::read(&request).unwrap().spender, Some(SHOP));
    }

    #[test]
    fn the_zero_address_is_the_chains_own_coin() {
        let request =
            Ask::write(BaseUnits::new(7), &Address::ZERO.to_string(), &terms(&[CredentialType::Transaction]));
        assert_eq!(Ask::read(&request).unwrap().token, None);
    }

    #[test]
    fn the_drafts_own_example_is_read_and_not_taken_for_ours() {
        // draft-evm-charge, appendix "Full Example: Permit2 Charge on MegaETH".
        let encoded = "eyJhbW91bnQiOiIxMDAwMDAwMDAwMDAwMDAwMDAwIiwiY3VycmVuY3kiOiIweEZBZkRkYmIzRkM3Njg4NDk0OTcxYTc5Y2M2NURDYTNFRjgyMDc5RTciLCJtZXRob2REZXRhaWxzIjp7ImNoYWluSWQiOjQzMjYsImNyZWRlbnRpYWxUeXBlcyI6WyJwZXJtaXQyIl19LCJyZWNpcGllbnQiOiIweDc0MmQzNUNjNjYzNEMwNTMyOTI1YTNiODQ0QmM5ZTc1OTVmOGZFMDAifQ";
        let request = ChargeRequest::decode(encoded).unwrap();
        let ask = Ask::parse(&request).unwrap();
        assert_eq!(ask.accepted, [CredentialType::Permit2]);
        assert_eq!((ask.recipient, ask.permit2, ask.spender), (SHOP, PERMIT2, None));
    }

    #[test]
    fn what_we_never_write_is_refused_and_unknown_types_are_ignored_by_payers() {
        let request = Ask::write(BaseUnits::new(7), TOKEN, &terms(&[CredentialType::Transaction]));
        let with = |name: &str, value: Value| {
            let mut other = request.clone();
            other.method_details.get_or_insert_default().insert(name.into(), value);
            other
        };
        for other in [
            with("splits", json!([])),
            with("memo", json!("x")),
            with("chainId", json!("4326")),
            with("spender", json!(7)),
            with("permit2Address", json!("0x12")),
            with("credentialTypes", json!("transaction")),
            ChargeRequest { method_details: None, ..request.clone() },
            ChargeRequest { recipient: None, ..request.clone() },
            ChargeRequest { currency: "usd".into(), ..request.clone() },
        ] {
            assert!(matches!(
                Ask::read(&other),
                Err(Rejection::Refused { kind: ProblemType::InvalidChallenge, .. })
            ));
        }
        let newer = with("credentialTypes", json!(["teleport", "hash"]));
        assert_eq!(Ask::parse(&newer).unwrap().accepted, [CredentialType::Hash]);
        assert_eq!(Ask::parse(&with("splits", json!([]))).unwrap().split, Split::Yes);
    }
}
