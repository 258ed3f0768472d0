//! `type="transaction"`: a signed 0x76 transaction for us to broadcast (draft-tempo-charge, "Transaction
//! Verification"). Everything here is arithmetic on the bytes; the network is asked afterwards.
//!
//! Exactly one call is accepted, `transferWithMemo` of the exact amount with the attribution memo. Stricter than the
//! draft on purpose: a transaction is broadcast only if nothing in it is unaccounted for.

use super::memo;
use super::request::Ask;
use crate::chain::parse_hex;
use crate::method::Rejection;
use crate::protocol::{Challenge, Timestamp};
use alloy::consensus::transaction::SignerRecoverable;
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U128};
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use tempo_alloy::contracts::precompiles::ITIP20;
use tempo_alloy::primitives::{AASigned, TempoTransaction};

/// Largest transaction that is decoded. One call and a WebAuthn signature take 2.5 KiB.
const MAX_TRANSACTION: usize = 8 * 1024;
/// First byte of a sponsored envelope (0x78) which the fee payer has yet to sign.
const SPONSORED: u8 = 0x78;

/// A transaction that pays a challenge once it is mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedTransfer {
    /// What is broadcast, byte for byte as the payer signed it.
    pub(super) raw: Bytes,
    /// Its hash.
    pub(super) hash: B256,
    /// Who signed, and pays.
    pub(super) payer: Address,
    /// The memo it carries.
    pub(super) memo: B256,
    /// It cannot be mined at or after this time, in unix seconds.
    pub(super) valid_before: u64,
    /// The transaction as `eth_call` takes it, to be tried without a signature.
    pub(super) simulation: Value,
}

impl SignedTransfer {
    /// Reads `payload.signature` and holds it against the challenge.
    pub(super) fn read(
        signature: &str,
        ask: &Ask,
        challenge: &Challenge,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        let raw = parse_hex(signature, MAX_TRANSACTION).ok_or_else(|| {
            Rejection::malformed("`payload.signature` is not a 0x-prefixed hexadecimal transaction")
        })?;
        if raw.first() == Some(&SPONSORED) {
            return Err(Rejection::failed(
                "the transaction expects a fee payer; this offer is not sponsored",
            ));
        }
        let signed = decoded(&raw)?;
        let memo = checked(signed.tx(), ask, challenge)?;
        let valid_before = window(signed.tx(), expires, now)?;
        let payer = signed
            .recover_signer()
            .map_err(|_| Rejection::failed("the transaction's signature does not verify"))?;
        let simulation = simulation(signed.tx(), payer);
        Ok(Self { hash: *signed.hash(), raw: raw.into(), payer, memo, valid_before, simulation })
    }
}

/// The transaction, if these bytes are its one canonical encoding: otherwise the same payment would have many hashes.
fn decoded(raw: &[u8]) -> Result<AASigned, Rejection> {
    let mut rest = raw;
    AASigned::decode_2718(&mut rest)
        .ok()
        .filter(|signed| rest.is_empty() && signed.encoded_2718() == raw)
        .ok_or_else(|| Rejection::malformed("`payload.signature` is not a Tempo transaction of type 0x76"))
}

/// Holds what the transaction does against what is asked; returns its memo.
fn checked(tx: &TempoTransaction, ask: &Ask, challenge: &Challenge) -> Result<B256, Rejection> {
    if tx.chain_id != ask.chain_id {
        return Err(Rejection::failed("the transaction is for another chain"));
    }
    let [call] = tx.calls.as_slice() else {
        return Err(Rejection::failed("the transaction has to consist of exactly one call, the transfer"));
    };
    if call.to != TxKind::Call(ask.token) {
        return Err(Rejection::failed("the transaction calls another contract than the token asked for"));
    }
    if !call.value.is_zero() {
        return Err(Rejection::failed("the transaction's call carries a value; a token transfer has none"));
    }
    let transfer = ITIP20::transferWithMemoCall::abi_decode_validate(&call.input)
        .ok()
        // One spelling only: no trailing bytes, no dirty padding.
        .filter(|transfer| transfer.abi_encode() == call.input)
        .ok_or_else(|| {
            Rejection::failed("the transaction has to call `transferWithMemo(to, amount, memo)`")
        })?;
    if transfer.to != ask.recipient {
        return Err(Rejection::failed("the transaction pays another recipient"));
    }
    if transfer.amount != ask.amount {
        return Err(Rejection::failed("the transaction pays another amount than asked for"));
    }
    if !memo::binds(&transfer.memo, &challenge.realm, &challenge.id) {
        return Err(Rejection::failed("the transfer's memo does not name this challenge"));
    }
    // What is left can only change who pays fees, what else is authorised, or whether it is ever mined.
    if tx.fee_payer_signature.is_some() {
        return Err(Rejection::failed("the transaction has a fee payer; this offer is not sponsored"));
    }
    if !tx.access_list.0.is_empty()
        || !tx.tempo_authorization_list.is_empty()
        || tx.key_authorization.is_some()
    {
        return Err(Rejection::failed(
            "the transaction carries an access list or an authorization; it must not",
        ));
    }
    if tx.has_sub_block_nonce_key_prefix() {
        return Err(Rejection::failed("the transaction is bound to one block proposer by its nonce key"));
    }
    Ok(transfer.memo)
}

/// Every member that decides whether it can be mined, and none that is empty: nodes differ in what they make of `null`.
fn simulation(tx: &TempoTransaction, payer: Address) -> Value {
    let calls: Vec<_> = tx
        .calls
        .iter()
        .map(|call| json!({ "to": call.to, "value": call.value, "input": call.input }))
        .collect();
    let mut request = json!({
        "from": payer,
        "calls": calls,
        "chainId": U64::from(tx.chain_id),
        "gas": U64::from(tx.gas_limit),
        "maxFeePerGas": U128::from(tx.max_fee_per_gas),
        "maxPriorityFeePerGas": U128::from(tx.max_priority_fee_per_gas),
        "nonceKey": tx.nonce_key,
        "nonce": U64::from(tx.nonce),
    });
    if let Some(token) = tx.fee_token {
        request["feeToken"] = json!(token);
    }
    if let Some(before) = tx.valid_before {
        request["validBefore"] = json!(U64::from(before.get()));
    }
    if let Some(after) = tx.valid_after {
        request["validAfter"] = json!(U64::from(after.get()));
    }
    request
}

/// It can be mined now, and no longer than the challenge lives: that is what makes an unknown outcome end.
fn window(tx: &TempoTransaction, expires: Timestamp, now: Timestamp) -> Result<u64, Rejection> {
    let Some(valid_before) = tx.valid_before else {
        return Err(Rejection::failed("the transaction has to set `validBefore`"));
    };
    let seconds = |t: u64| Timestamp::from_unix(i64::try_from(t).unwrap_or(i64::MAX));
    if seconds(valid_before.get()) > expires {
        return Err(Rejection::failed(
            "the transaction's `validBefore` is later than the challenge's expiry",
        ));
    }
    if seconds(valid_before.get()) <= now {
        return Err(Rejection::failed("the transaction's `validBefore` has passed"));
    }
    if tx.valid_after.is_some_and(|after| seconds(after.get()) > now) {
        return Err(Rejection::failed("the transaction's `validAfter` has not come yet"));
    }
    Ok(valid_before.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::hex;
    use alloy::primitives::{U256, address};
    use proptest::prelude::*;

    /// `payload.signature` of `tests/fixtures/mppx-charge-post-body.json`.
    const RECORDED: &str = "76f90104827a69843b9aca008447868c08830c0a08f87ef87c9420c000000000000000000000000000000000000080b86495777d5900000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000000000000000000000000000000000000000000000002710ef1ed7120134b0aeb03b4891634541000000000000000000008d8bd5fb75c70cc0a0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff80846b00209284330b17ee8080c0b841ce63ef55dd6c357aa01838d4aee93ed7d0f783aafc8a182a412df7fb85e12ab913b11fee09fad4c89e6dfefe2350995df90d9023e03f86a242d191cd3b7422861b";

    fn read(raw: &[u8]) -> Result<SignedTransfer, Rejection> {
        let challenge: Challenge = serde_json::from_str(
            r#"{"id":"ke3ymOxpYvbB6ybuz7zwyr2V8mxZGg9w-bq6H58fo30","realm":"127.0.0.1","method":"tempo","intent":"charge","request":""}"#,
        )
        .unwrap();
        let ask = Ask {
            amount: U256::from(10_000),
            token: address!("20c0000000000000000000000000000000000000"),
            recipient: address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            chain_id: 31337,
        };
        let (now, expires) = (Timestamp::from_unix(1_795_170_425), Timestamp::from_unix(1_795_170_725));
        SignedTransfer::read(&hex::encode_prefixed(raw), &ask, &challenge, expires, now)
    }

    #[test]
    fn the_recorded_transaction_is_read() {
        let payer = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(read(&hex::decode(RECORDED).unwrap()).unwrap().payer, payer);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&raw);
            let _ = read(&[&[0x76][..], &raw].concat());
        }

        #[test]
        fn a_changed_transaction_never_pays_for_the_same_payer(at in 0usize..263, bit in 0u8..8) {
            let mut raw = hex::decode(RECORDED).unwrap();
            let good = read(&raw).unwrap();
            raw[at] ^= 1 << bit;
            if let Ok(other) = read(&raw) {
                prop_assert_ne!(other.payer, good.payer);
            }
        }
    }
}
