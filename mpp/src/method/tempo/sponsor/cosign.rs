//! The fee payer's signature, by a key of ours or by a hosted fee payer.
//!
//! Whoever signs, the result is put together here: the payer's transaction as it is, plus a fee token and a signature over
//! exactly that. A service can refuse or pick a token the policy allows; it can change nothing else.

use super::{FeePayer, Sponsor};
use crate::chain::{Call, Rpc, RpcError};
use crate::method::tempo::envelope::{self, Slot};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, Bytes, Signature, U64, U128, U256};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tempo_alloy::primitives::{AASigned, TempoTransaction};

/// How long a hosted fee payer may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Why there is no signature. Nothing was handed to the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum CosignError {
    #[error("the sponsor is not configured in a usable way")]
    Unusable,
    #[error("the sponsor's key could not sign")]
    Signer,
    #[error("the hosted fee payer at {0}: {1}")]
    Hosted(String, RpcError),
    /// A service answered with something else than asked for.
    #[error("the hosted fee payer at {0} did not sign the transaction it was asked for")]
    OtherTransaction(String),
    #[error("the hosted fee payer at {0} pays in a token that the policy does not allow")]
    OtherToken(String),
}

impl Sponsor {
    /// The transaction with the fee paid: what goes on the chain.
    pub(in super::super) async fn cosign(
        &self,
        signed: &AASigned,
        payer: Address,
    ) -> Result<AASigned, CosignError> {
        let mut tx = signed.tx().clone();
        let (token, signature) = match &self.payer {
            FeePayer::Unusable => return Err(CosignError::Unusable),
            FeePayer::Signer(signer, _) => {
                let token = *self.policy.payable_in().first().ok_or(CosignError::Unusable)?;
                tx.fee_token = Some(token);
                let hash = tx.fee_payer_signature_hash(payer);
                (token, signer.sign_hash(&hash).await.map_err(|_| CosignError::Signer)?)
            }
            FeePayer::Hosted(rpc) => ask(rpc, signed, payer).await?,
        };
        let shown = || match &self.payer {
            FeePayer::Hosted(rpc) => rpc.shown().to_owned(),
            FeePayer::Signer(..) | FeePayer::Unusable => "this process".to_owned(),
        };
        if !self.policy.payable_in().contains(&token) {
            return Err(CosignError::OtherToken(shown()));
        }
        tx.fee_token = Some(token);
        tx.fee_payer_signature = Some(signature);
        // Recovers to some account whatever was signed; only the right one has agreed to pay.
        let fee_payer = tx.recover_fee_payer(payer).map_err(|_| CosignError::OtherTransaction(shown()))?;
        let expected = self.address();
        if fee_payer == payer || expected.is_some_and(|expected| expected != fee_payer) {
            return Err(CosignError::OtherTransaction(shown()));
        }
        Ok(tx.into_signed(signed.signature().clone()))
    }
}

async fn ask(rpc: &Rpc, signed: &AASigned, payer: Address) -> Result<(Address, Signature), CosignError> {
    let other = || CosignError::OtherTransaction(rpc.shown().to_owned());
    let failed = |e| CosignError::Hosted(rpc.shown().to_owned(), e);
    // What deployed wallets send to such a service.
    let envelope = envelope::write(signed, Slot::Sender(payer)).ok_or_else(other)?;
    let sign = Call::new("eth_signRawTransaction", json!([envelope]));
    match rpc.write::<Bytes>(sign, TIMEOUT).await {
        Ok(raw) => from_raw(&raw, signed).ok_or_else(other),
        Err(RpcError::Node(refusal)) if refusal.is_unknown_method() => {
            let fill = Call::new("eth_fillTransaction", json!([unfilled(signed.tx(), payer)]));
            let filled: Filled = rpc.write(fill, TIMEOUT).await.map_err(failed)?;
            let Parts { fee_token, fee_payer_signature } = filled.tx;
            Ok((fee_token, fee_payer_signature.signature()))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Token and signature of a whole transaction, if it is the one that was asked for.
fn from_raw(raw: &[u8], asked: &AASigned) -> Option<(Address, Signature)> {
    let mut rest = raw;
    let answer = AASigned::decode_2718(&mut rest).ok()?;
    let same = rest.is_empty()
        && answer.signature_hash() == asked.signature_hash()
        && answer.signature() == asked.signature();
    let tx = answer.tx();
    tx.fee_token.zip(tx.fee_payer_signature).filter(|_| same)
}

/// The transaction as `eth_fillTransaction` takes it.
fn unfilled(tx: &TempoTransaction, payer: Address) -> Value {
    let calls: Vec<_> = tx
        .calls
        .iter()
        .map(|call| json!({ "to": call.to, "value": call.value, "data": call.input }))
        .collect();
    let mut request = json!({
        "type": "0x76", "from": payer, "calls": calls, "feePayer": true, "chainId": U64::from(tx.chain_id),
        "gas": U64::from(tx.gas_limit), "maxFeePerGas": U128::from(tx.max_fee_per_gas),
        "maxPriorityFeePerGas": U128::from(tx.max_priority_fee_per_gas),
        "nonceKey": tx.nonce_key, "nonce": U64::from(tx.nonce),
    });
    if let Some(before) = tx.valid_before {
        request["validBefore"] = json!(U64::from(before.get()));
    }
    if let Some(after) = tx.valid_after {
        request["validAfter"] = json!(U64::from(after.get()));
    }
    request
}

/// The part of the answer to `eth_fillTransaction` that is used.
#[derive(Deserialize)]
struct Filled {
    tx: Parts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    fee_token: Address,
    fee_payer_signature: Rsv,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rsv {
    r: U256,
    s: U256,
    y_parity: Parity,
}

/// Services write it as a number or as a quantity.
#[derive(Deserialize)]
#[serde(untagged)]
enum Parity {
    Number(u8),
    Quantity(U64),
}

impl Rsv {
    fn signature(&self) -> Signature {
        let odd = match &self.y_parity {
            Parity::Number(parity) => *parity == 1,
            Parity::Quantity(parity) => parity.to::<u64>() == 1,
        };
        Signature::new(self.r, self.s, odd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::fake::{FakeNode, Reply};
    use crate::method::tempo::sponsor::SponsorPolicy;
    use crate::method::tempo::tokens;
    use alloy::eips::eip2718::Encodable2718;
    use alloy::primitives::{B256, TxKind, hex};
    use alloy::signers::{SignerSync, local::PrivateKeySigner};
    use std::num::NonZeroU64;
    use tempo_alloy::primitives::transaction::{Call as TempoCall, FEE_PAYER_SIGNATURE_MARKER};

    fn key(n: u8) -> PrivateKeySigner {
        PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap()
    }

    fn waiting() -> AASigned {
        let tx = TempoTransaction {
            chain_id: 31337,
            nonce_key: U256::MAX,
            gas_limit: 500_000,
            max_fee_per_gas: 7,
            calls: vec![TempoCall {
                to: TxKind::Call(tokens::PATH_USD),
                value: U256::ZERO,
                input: Bytes::from_static(&[1, 2, 3]),
            }],
            valid_before: NonZeroU64::new(1_800_000_000),
            valid_after: NonZeroU64::new(1_700_000_000),
            fee_payer_signature: Some(FEE_PAYER_SIGNATURE_MARKER),
            ..Default::default()
        };
        let signature = key(1).sign_hash_sync(&tx.signature_hash()).unwrap();
        tx.into_signed(signature.into())
    }

    /// What an honest service does with an envelope, except for one thing.
    fn service(raw: &Value, spoil: impl Fn(&mut TempoTransaction)) -> Bytes {
        let raw = hex::decode(raw.as_str().unwrap()).unwrap();
        let (signed, _) = envelope::read(&raw).unwrap();
        let mut tx = signed.tx().clone();
        tx.fee_token = Some(tokens::PATH_USD);
        spoil(&mut tx);
        let hash = tx.fee_payer_signature_hash(key(1).address());
        tx.fee_payer_signature = Some(key(9).sign_hash_sync(&hash).unwrap());
        tx.into_signed(signed.signature().clone()).encoded_2718().into()
    }

    #[tokio::test]
    async fn a_local_key_signs_for_what_the_payer_signed_and_nothing_else_changes() {
        let signed = waiting();
        let whole = Sponsor::signer(key(9)).cosign(&signed, key(1).address()).await.unwrap();
        assert_eq!(whole.signature_hash(), signed.signature_hash());
        assert_eq!(whole.signature(), signed.signature());
        assert_eq!(whole.tx().fee_token, Some(tokens::PATH_USD));
        assert_eq!(whole.tx().recover_fee_payer(key(1).address()).unwrap(), key(9).address());
        // A payer that is its own sponsor would not be one.
        let own = Sponsor::signer(key(1)).cosign(&signed, key(1).address()).await;
        assert!(matches!(own, Err(CosignError::OtherTransaction(_))));
    }

    #[tokio::test]
    async fn a_hosted_fee_payer_signs_by_either_call() {
        let signed = waiting();
        let raw = FakeNode::start(|method, params| {
            (method == "eth_signRawTransaction").then(|| Reply::Result(json!(service(&params[0], |_| {}))))
        })
        .await;
        let filling = waiting();
        let fill = FakeNode::start(move |method, params| {
            (method == "eth_fillTransaction").then(|| {
                let asked = ["feePayer", "gas", "validBefore", "validAfter"].map(|name| &params[0][name]);
                let expected = [json!(true), json!("0x7a120"), json!("0x6b49d200"), json!("0x6553f100")];
                assert_eq!(asked, expected.each_ref());
                let mut tx = filling.tx().clone();
                tx.fee_token = Some(tokens::PATH_USD);
                let hash = tx.fee_payer_signature_hash(key(1).address());
                let signature = key(9).sign_hash_sync(&hash).unwrap();
                let parity = if signature.v() { "0x1" } else { "0x0" };
                Reply::Result(json!({ "tx": {
                    "feeToken": tokens::PATH_USD,
                    "feePayerSignature": { "r": signature.r(), "s": signature.s(), "yParity": parity },
                } }))
            })
        })
        .await;
        for node in [&raw, &fill] {
            let whole = Sponsor::hosted(&node.url).cosign(&signed, key(1).address()).await.unwrap();
            assert_eq!(whole.tx().recover_fee_payer(key(1).address()).unwrap(), key(9).address());
            assert_eq!(whole.signature_hash(), signed.signature_hash());
        }
    }

    #[test]
    fn the_parity_of_a_signature_is_a_number_or_a_quantity() {
        for (written, odd) in
            [(json!(0), false), (json!(1), true), (json!("0x0"), false), (json!("0x1"), true)]
        {
            let rsv: Rsv =
                serde_json::from_value(json!({ "r": "0x1", "s": "0x2", "yParity": written })).unwrap();
            assert_eq!(rsv.signature(), Signature::new(U256::from(1), U256::from(2), odd), "{written}");
        }
    }

    #[tokio::test]
    async fn a_hosted_fee_payer_cannot_change_what_the_payer_signed() {
        let signed = waiting();
        type Spoil = fn(&mut TempoTransaction);
        type Expected = fn(&CosignError) -> bool;
        let table: [(Spoil, Expected); 3] = [
            (|tx| tx.gas_limit += 1, |e| matches!(e, CosignError::OtherTransaction(_))),
            (|tx| tx.calls.clear(), |e| matches!(e, CosignError::OtherTransaction(_))),
            (
                |tx| tx.fee_token = Some(Address::repeat_byte(0x20)),
                |e| matches!(e, CosignError::OtherToken(_)),
            ),
        ];
        for (spoil, expected) in table {
            let node =
                FakeNode::start(move |_, params| Some(Reply::Result(json!(service(&params[0], spoil)))))
                    .await;
            let error = Sponsor::hosted(&node.url).cosign(&signed, key(1).address()).await.unwrap_err();
            assert!(expected(&error), "{error}");
        }
        for reply in [Reply::Result(json!("0x76")), Reply::Error(-32000, "no"), Reply::Status(500)] {
            let node = FakeNode::start(move |_, _| Some(reply.clone())).await;
            let sponsor = Sponsor::hosted(&format!("{}/k3y", node.url)).policy(SponsorPolicy::new());
            let error = sponsor.cosign(&signed, key(1).address()).await.unwrap_err();
            assert!(!error.to_string().contains("k3y"), "{error}");
        }
    }
}
