//! What a Tempo challenge asks: written by `offer`, read back from the credential's challenge
//! (draft-tempo-charge, "Request Schema").

use crate::chain::parse_address;
use crate::method::Rejection;
use crate::protocol::{BaseUnits, ChargeRequest, ProblemType};
use alloy::primitives::{Address, U256};
use serde_json::{Map, Value};

/// One transfer, as a challenge asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// Base units; zero asks for a proof of identity.
    pub(super) amount: U256,
    /// The TIP-20 token.
    pub(super) token: Address,
    /// Who is paid.
    pub(super) recipient: Address,
    /// On which chain.
    pub(super) chain_id: u64,
}

impl Ask {
    /// The request that asks for this.
    ///
    /// `supportedModes` is left out because both are taken (TC-02); `chainId` is always there, because drafts and
    /// clients have three different defaults.
    pub(super) fn write(amount: BaseUnits, token: &str, recipient: Address, chain_id: u64) -> ChargeRequest {
        let details = Map::from_iter([("chainId".to_owned(), Value::from(chain_id))]);
        ChargeRequest {
            // EIP-55, as people compare it with what their wallet shows; peers compare the 20 bytes.
            recipient: Some(recipient.to_string()),
            method_details: Some(details),
            ..ChargeRequest::new(amount, token)
        }
    }

    /// Reads it back from a challenge of ours.
    ///
    /// The challenge is authentic, so this fails only for offers that an older configuration made.
    pub(super) fn read(request: &ChargeRequest) -> Result<Self, Rejection> {
        let details = request.method_details.as_ref();
        let known = |name: &String| name == "chainId";
        if !details.is_none_or(|d| d.keys().all(known)) {
            // Splits, sponsorship or a memo would change what has to be checked.
            return Err(not_ours());
        }
        Ok(Self {
            amount: U256::from(request.amount.get()),
            token: parse_address(&request.currency).map_err(|_| not_ours())?,
            recipient: request
                .recipient
                .as_deref()
                .and_then(|r| parse_address(r).ok())
                .ok_or_else(not_ours)?,
            chain_id: details.and_then(|d| d.get("chainId")?.as_u64()).ok_or_else(not_ours)?,
        })
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

    const TOKEN: &str = "0x20c0000000000000000000000000000000000000";
    const SHOP: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

    #[test]
    fn the_request_is_byte_for_byte_what_peers_were_recorded_to_pay() {
        let request = Ask::write(BaseUnits::new(10_000), TOKEN, SHOP, 31337);
        let recorded = "eyJhbW91bnQiOiIxMDAwMCIsImN1cnJlbmN5IjoiMHgyMGMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwIiwibWV0aG9kRGV0YWlscyI6eyJjaGFpbklkIjozMTMzN30sInJlY2lwaWVudCI6IjB4NzA5OTc5NzBDNTE4MTJkYzNBMDEwQzdkMDFiNTBlMGQxN2RjNzlDOCJ9";
        assert_eq!(request.encode(), recorded);
    }

    #[test]
    fn what_was_written_is_read_back_and_what_we_never_write_is_refused() {
        let request = Ask::write(BaseUnits::ZERO, TOKEN, SHOP, 4217);
        let ask = Ask::read(&request).unwrap();
        assert_eq!((ask.amount, ask.recipient, ask.chain_id), (U256::ZERO, SHOP, 4217));

        let with = |name: &str, value: Value| {
            let mut other = request.clone();
            other.method_details.get_or_insert_default().insert(name.into(), value);
            other
        };
        for other in [
            with("splits", Value::Array(vec![])),
            with("feePayer", true.into()),
            with("chainId", "4217".into()),
            ChargeRequest { method_details: None, ..request.clone() },
            ChargeRequest { recipient: None, ..request.clone() },
            ChargeRequest { currency: "usd".into(), ..request.clone() },
        ] {
            assert!(matches!(
                Ask::read(&other),
                Err(Rejection::Refused { kind: ProblemType::InvalidChallenge, .. })
            ));
        }
    }
}
