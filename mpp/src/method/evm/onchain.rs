//! `type="transaction"` and `type="hash"`: transactions of the payer (draft-evm-charge, "Transaction Verification" and "Hash
//! Verification"). Everything here is arithmetic; the network is asked elsewhere.
//!
//! Both have to be nothing but the transfer: a call of the token's `transfer(recipient, amount)` or, for the chain's own coin, a
//! plain payment. Behind it may stand the 32 bytes of the challenge hash, which contracts do not read, and nothing else.

use super::abi::IToken;
use super::node::Tx;
use super::plan::Binding;
use super::request::Ask;
use super::typed;
use crate::chain::{TxReceipt, parse_hex};
use crate::method::Rejection;
use alloy::consensus::{Signed, TxEip1559};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U128, U256};
use alloy::sol_types::{SolCall, SolEvent};
use serde_json::{Value, json};

/// Largest transaction that is decoded; a transfer has some 200 bytes.
const MAX_TRANSACTION: usize = 4 * 1024;
/// First byte of an EIP-1559 transaction.
const EIP1559: u8 = 0x02;

/// A transaction that pays once it is mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedTransfer {
    /// What is broadcast, byte for byte as the payer signed it.
    pub(super) raw: Bytes,
    pub(super) hash: B256,
    /// Who signed, and pays.
    pub(super) payer: Address,
    pub(super) nonce: u64,
    pub(super) binding: Binding,
    /// The most it may cost the payer in the chain's own coin, in wei: gas, and the amount where that is the coin.
    pub(super) cost: U256,
    /// The most it offers for a unit of gas, in wei.
    pub(super) max_fee: u128,
    /// The transaction as `eth_call` takes it, to be tried without a signature.
    pub(super) simulation: Value,
}

impl SignedTransfer {
    /// Reads `payload.signature` and holds it against the challenge.
    pub(super) fn read(signature: &str, ask: &Ask, challenge: B256) -> Result<Self, Rejection> {
        let raw = parse_hex(signature, MAX_TRANSACTION).ok_or_else(|| {
            Rejection::malformed("`payload.signature` is not a 0x-prefixed hexadecimal transaction")
        })?;
        let signed = decoded(&raw)?;
        let tx = signed.tx();
        if tx.chain_id != ask.chain_id {
            return Err(Rejection::failed("the transaction is for another chain"));
        }
        let TxKind::Call(to) = tx.to else {
            return Err(Rejection::failed("the transaction creates a contract; it has to be the transfer"));
        };
        let binding = transfer(to, tx.value, &tx.input, ask, challenge)?;
        // EIP-2: the mirrored signature has another hash, and the network does not take it.
        if !typed::is_low(signed.signature().s()) {
            return Err(Rejection::failed("the transaction's signature has a high `s`"));
        }
        let payer = signed
            .recover_signer()
            .map_err(|_| Rejection::failed("the transaction's signature does not verify"))?;
        let simulation = json!({
            "from": payer, "to": to, "value": tx.value, "data": tx.input, "gas": U64::from(tx.gas_limit),
            "maxFeePerGas": U128::from(tx.max_fee_per_gas),
            "maxPriorityFeePerGas": U128::from(tx.max_priority_fee_per_gas),
        });
        Ok(Self {
            hash: *signed.hash(),
            payer,
            nonce: tx.nonce,
            binding,
            cost: (U256::from(tx.gas_limit) * U256::from(tx.max_fee_per_gas)).saturating_add(tx.value),
            max_fee: tx.max_fee_per_gas,
            simulation,
            raw: raw.into(),
        })
    }
}

/// The transaction, if these bytes are its one canonical encoding: otherwise the same payment would have many hashes.
fn decoded(raw: &[u8]) -> Result<Signed<TxEip1559>, Rejection> {
    if raw.first().is_some_and(|first| *first != EIP1559) {
        return Err(Rejection::malformed("`payload.signature` is not a transaction of type 2 (EIP-1559)"));
    }
    let mut rest = raw;
    Signed::<TxEip1559>::decode_2718(&mut rest)
        .ok()
        .filter(|signed| rest.is_empty() && signed.encoded_2718() == raw)
        .ok_or_else(|| Rejection::malformed("`payload.signature` is not a well-formed EIP-1559 transaction"))
}

/// The input of the transfer that is asked for, without a challenge hash.
pub(super) fn plain_input(token: Option<Address>, to: Address, value: U256) -> Vec<u8> {
    match token {
        Some(_) => IToken::transferCall { to, value }.abi_encode(),
        None => Vec::new(),
    }
}

/// Whether a transaction `to`, with this value and input, is the transfer that is asked for and nothing else.
pub(super) fn transfer(
    to: Address,
    value: U256,
    input: &[u8],
    ask: &Ask,
    challenge: B256,
) -> Result<Binding, Rejection> {
    let (target, coins) = match ask.token {
        Some(token) => (token, U256::ZERO),
        None => (ask.recipient, ask.amount),
    };
    if to != target {
        let detail = match ask.token {
            Some(_) => "the transaction calls another contract than the token asked for",
            None => "the transaction pays another recipient",
        };
        return Err(Rejection::failed(detail));
    }
    if value != coins {
        let detail = match ask.token {
            Some(_) => "the transaction carries a value; a token transfer has none",
            None => "the transaction pays another amount than asked for",
        };
        return Err(Rejection::failed(detail));
    }
    let Some(rest) = input.strip_prefix(plain_input(ask.token, ask.recipient, ask.amount).as_slice()) else {
        return Err(not_the_transfer(input, ask));
    };
    match rest.len() {
        0 => Ok(Binding::Unbound),
        32 if rest == challenge => Ok(Binding::Bound),
        32 => Err(Rejection::failed("the transaction was made for another challenge")),
        _ => Err(Rejection::failed(
            "the transaction's input has more than the transfer and the hash of this challenge",
        )),
    }
}

/// What is wrong with a token transfer.
fn not_the_transfer(input: &[u8], ask: &Ask) -> Rejection {
    let length = 4 + 32 + 32;
    let read = input.get(..length).and_then(|head| IToken::transferCall::abi_decode_validate(head).ok());
    Rejection::failed(match read {
        Some(call) if call.to != ask.recipient => "the transaction pays another recipient",
        Some(_) => "the transaction pays another amount than asked for",
        None => "the transaction has to call `transfer(to, amount)`",
    })
}

/// Reads a transaction hash; case does not make another transaction of it.
pub(super) fn parse_hash(text: &str) -> Option<B256> {
    parse_hex(text, B256::len_bytes()).and_then(|bytes| B256::try_from(bytes.as_slice()).ok())
}

/// What a transaction on the network is bound by, if it is the transfer that is asked for.
pub(super) fn named(tx: &Tx, ask: &Ask, challenge: B256) -> Result<Binding, Rejection> {
    match tx.to {
        Some(to) => transfer(to, tx.value, &tx.input, ask, challenge),
        None => Err(Rejection::failed("the transaction creates a contract; it has to be the transfer")),
    }
}

/// What a mined transaction is bound by, if it is the transfer that is asked for.
pub(super) fn mined(tx: &Tx, receipt: &TxReceipt, ask: &Ask, challenge: B256) -> Result<Binding, Rejection> {
    if !receipt.succeeded() {
        return Err(Rejection::failed("the transaction was reverted; it paid nothing"));
    }
    let binding = named(tx, ask, challenge)?;
    if let Some(token) = ask.token
        && !transferred(receipt, token, tx.from, ask.recipient, ask.amount)
    {
        return Err(Rejection::failed("the token did not move the amount to the recipient"));
    }
    Ok(binding)
}

/// Whether `receipt` has the token's event for exactly this transfer.
pub(super) fn transferred(
    receipt: &TxReceipt,
    token: Address,
    payer: Address,
    recipient: Address,
    amount: U256,
) -> bool {
    receipt.logs.iter().filter(|log| log.address == token).any(|log| {
        IToken::Transfer::decode_raw_log(log.topics.iter().copied(), &log.data)
            .is_ok_and(|event| event.from == payer && event.to == recipient && event.value == amount)
    })
}
