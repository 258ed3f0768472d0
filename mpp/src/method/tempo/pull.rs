//! `type="transaction"`: a signed transaction for us to broadcast (draft-tempo-charge, "Transaction Verification").
//! Everything here is arithmetic on the bytes; the network is asked afterwards.
//!
//! Exactly the transfers asked for are accepted: `transferWithMemo` of the recipient's part with the attribution memo, and
//! one transfer for each part of others. Stricter than the draft on purpose: a transaction is broadcast only if nothing in
//! it is unaccounted for. On a sponsored offer it waits for a fee payer (`envelope.rs`), and the sponsor's policy is held
//! against it as well.

use super::envelope::{self, Slot};
use super::legs::{self, Moved};
use super::memo;
use super::request::Ask;
use super::sponsor::{Extra, SponsorPolicy};
use crate::chain::parse_hex;
use crate::method::{Fees, Rejection};
use crate::protocol::{Challenge, Timestamp};
use alloy::consensus::transaction::SignerRecoverable;
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U128};
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use tempo_alloy::contracts::precompiles::ITIP20;
use tempo_alloy::primitives::{AASigned, TempoTransaction};

/// Largest transaction that is decoded. Eleven calls take 2.5 KiB, a WebAuthn signature 2 KiB.
const MAX_TRANSACTION: usize = 8 * 1024;

/// A transaction that pays a challenge once it is mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedTransfer {
    /// As the payer signed it. One that waits for a fee payer has the marker in that place.
    pub(super) signed: AASigned,
    /// Who signed, and pays.
    pub(super) payer: Address,
    /// The access key that signed in the payer's name; whether it may is for the chain to say.
    pub(super) access_key: Option<Address>,
    /// The memo of the recipient's transfer.
    pub(super) memo: B256,
    /// It cannot be mined at or after this time, in unix seconds.
    pub(super) valid_before: u64,
}

impl SignedTransfer {
    /// Reads `payload.signature` and holds it against the challenge, and against the sponsor's policy where there is one.
    pub(super) fn read(
        signature: &str,
        ask: &Ask,
        policy: Option<&SponsorPolicy>,
        challenge: &Challenge,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        let raw = parse_hex(signature, MAX_TRANSACTION).ok_or_else(|| {
            Rejection::malformed("`payload.signature` is not a 0x-prefixed hexadecimal transaction")
        })?;
        let (signed, slot) = match ask.fees {
            Fees::Payer => (paying_its_own_fee(&raw)?, None),
            Fees::Sponsored => {
                let (signed, slot) = waiting_for_a_fee_payer(&raw)?;
                (signed, Some(slot))
            }
        };
        let tx = signed.tx();
        let memo = checked(tx, ask, challenge)?;
        if slot.is_some() && tx.fee_token.is_some() {
            return Err(Rejection::failed("the transaction names a fee token; the fee payer chooses it"));
        }
        no_extras(tx, policy)?;
        let valid_before = window(tx, expires, now)?;
        if let Some(policy) = policy {
            policy.check(tx, now)?;
        }
        let payer = signed
            .recover_signer()
            .map_err(|_| Rejection::failed("the transaction's signature does not verify"))?;
        if let Some(Slot::Sender(claimed)) = slot
            && claimed != payer
        {
            return Err(Rejection::failed("the transaction is not signed by the sender it names"));
        }
        let access_key = access_key(&signed)?;
        Ok(Self { signed, payer, access_key, memo, valid_before })
    }

    /// What is broadcast of one that pays its own fee, byte for byte as the payer signed it.
    pub(super) fn raw(&self) -> Bytes {
        self.signed.encoded_2718().into()
    }

    /// Its hash; one that waits for a fee payer has none yet.
    pub(super) fn hash(&self) -> B256 {
        *self.signed.hash()
    }

    /// What the payer's signature stands for, whoever pays the fee, and whichever signature it is.
    pub(super) fn signed_hash(&self) -> B256 {
        self.signed.expiring_nonce_hash(self.payer)
    }

    /// The transaction as `eth_call` takes it, to be tried without a signature.
    ///
    /// With the fee members only if the payer pays: a node would look for the fee in the payer's account.
    pub(super) fn simulation(&self, fees: Fees) -> Value {
        let mut request = simulation(self.signed.tx(), self.payer, fees);
        if let Some(key) = self.access_key {
            // Spending limits are the chain's to enforce.
            request["keyId"] = json!(key);
        }
        request
    }

    /// Its calls one by one, as any node executes them.
    pub(super) fn calls(&self) -> impl Iterator<Item = Value> {
        let calls = self.signed.tx().calls.iter();
        calls.map(|call| json!({ "from": self.payer, "to": call.to, "data": call.input }))
    }
}

/// The transaction, if these bytes are its one canonical encoding: otherwise the same payment would have many hashes.
fn paying_its_own_fee(raw: &[u8]) -> Result<AASigned, Rejection> {
    let sponsored = Rejection::failed("the transaction expects a fee payer; this offer is not sponsored");
    if raw.first() == Some(&envelope::FEE_PAYER_MAGIC) || envelope::read(raw).is_some() {
        return Err(sponsored);
    }
    let mut rest = raw;
    let signed = AASigned::decode_2718(&mut rest)
        .ok()
        .filter(|signed| rest.is_empty() && signed.encoded_2718() == raw)
        .ok_or_else(|| Rejection::malformed("`payload.signature` is not a Tempo transaction of type 0x76"))?;
    if signed.tx().fee_payer_signature.is_some() {
        return Err(Rejection::failed("the transaction has a fee payer; this offer is not sponsored"));
    }
    Ok(signed)
}

fn waiting_for_a_fee_payer(raw: &[u8]) -> Result<(AASigned, Slot), Rejection> {
    if let Some(read) = envelope::read(raw) {
        return Ok(read);
    }
    let mut rest = raw;
    match AASigned::decode_2718(&mut rest) {
        // The payer would pay although the server said it does.
        Ok(_) => {
            Err(Rejection::failed("the transaction does not wait for a fee payer; this offer is sponsored"))
        }
        Err(_) => Err(Rejection::malformed(
            "`payload.signature` is not a Tempo transaction that waits for a fee payer (0x78, or 0x76 with a placeholder)",
        )),
    }
}

/// Holds what the transaction does against what is asked; returns the memo of the recipient's transfer.
fn checked(tx: &TempoTransaction, ask: &Ask, challenge: &Challenge) -> Result<B256, Rejection> {
    if tx.chain_id != ask.chain_id {
        return Err(Rejection::failed("the transaction is for another chain"));
    }
    if tx.calls.len() != 1 + ask.splits.len() {
        return Err(Rejection::failed(if ask.splits.is_empty() {
            "the transaction has to consist of exactly one call, the transfer"
        } else {
            "the transaction has to consist of one transfer to the recipient and one for each part, and nothing else"
        }));
    }
    let mut moved = tx.calls.iter().map(|call| transfer(call, ask)).collect::<Result<Vec<_>, _>>()?;
    let names_challenge = |memo: &B256| memo::binds(memo, &challenge.realm, &challenge.id);
    let primary =
        legs::take(ask, &mut moved, names_challenge).map_err(|why| Rejection::failed(why.to_string()))?;
    // As many calls as legs: nothing is left.
    Ok(primary.memo.unwrap_or_default())
}

/// What a call would move.
fn transfer(call: &tempo_alloy::primitives::transaction::Call, ask: &Ask) -> Result<Moved, Rejection> {
    if call.to != TxKind::Call(ask.token) {
        return Err(Rejection::failed("the transaction calls another contract than the token asked for"));
    }
    if !call.value.is_zero() {
        return Err(Rejection::failed("the transaction's call carries a value; a token transfer has none"));
    }
    // One spelling only: no trailing bytes, no dirty padding.
    let with_memo = ITIP20::transferWithMemoCall::abi_decode_validate(&call.input);
    if let Ok(t) = with_memo
        && t.abi_encode() == call.input
    {
        return Ok(Moved { to: t.to, amount: t.amount, memo: Some(t.memo) });
    }
    let plain = ITIP20::transferCall::abi_decode_validate(&call.input);
    if let Ok(t) = plain
        && t.abi_encode() == call.input
        && !ask.splits.is_empty()
    {
        return Ok(Moved { to: t.to, amount: t.amount, memo: None });
    }
    Err(Rejection::failed(legs::Mismatch::NoMemo.to_string()))
}

/// What is left can only change what else is authorised, or whether it is ever mined.
fn no_extras(tx: &TempoTransaction, policy: Option<&SponsorPolicy>) -> Result<(), Rejection> {
    let allowed = |extra| policy.is_some_and(|policy| policy.allows(extra));
    let unwanted = (!tx.access_list.0.is_empty() && !allowed(Extra::AccessList))
        || (!tx.tempo_authorization_list.is_empty() && !allowed(Extra::AuthorizationList))
        || (tx.key_authorization.is_some() && !allowed(Extra::KeyAuthorization));
    if unwanted {
        return Err(Rejection::failed(
            "the transaction carries an access list or an authorization; it must not",
        ));
    }
    if tx.has_sub_block_nonce_key_prefix() {
        return Err(Rejection::failed("the transaction is bound to one block proposer by its nonce key"));
    }
    Ok(())
}

/// The access key that signed, if one did.
fn access_key(signed: &AASigned) -> Result<Option<Address>, Rejection> {
    let Some(keychain) = signed.signature().as_keychain() else { return Ok(None) };
    keychain
        .key_id(&signed.signature_hash())
        .map(Some)
        .map_err(|_| Rejection::failed("the transaction's signature does not verify"))
}

/// Every member that decides whether it can be mined, and none that is empty: nodes differ in what they make of `null`.
fn simulation(tx: &TempoTransaction, payer: Address, fees: Fees) -> Value {
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
        "nonceKey": tx.nonce_key,
        "nonce": U64::from(tx.nonce),
    });
    if fees == Fees::Payer {
        request["maxFeePerGas"] = json!(U128::from(tx.max_fee_per_gas));
        request["maxPriorityFeePerGas"] = json!(U128::from(tx.max_priority_fee_per_gas));
    }
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
    use super::super::request::Modes;
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
            splits: Vec::new(),
            fees: Fees::Payer,
            modes: Modes::Both,
            memo: None,
        };
        let (now, expires) = (Timestamp::from_unix(1_795_170_425), Timestamp::from_unix(1_795_170_725));
        SignedTransfer::read(&hex::encode_prefixed(raw), &ask, None, &challenge, expires, now)
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
