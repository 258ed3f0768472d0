//! What the node is asked, and the parts of its answers that matter here.

use crate::chain::{Call, parse_hex};
pub(super) use crate::chain::{block, chain_id};
use crate::protocol::Timestamp;
use alloy::primitives::{Address, B256, Bytes, U64, U256, hex};
use alloy::sol_types::SolCall;
use serde::Deserialize;
use serde_json::{Value, json};

/// A transaction, mined or waiting.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Tx {
    pub(super) hash: B256,
    pub(super) from: Address,
    #[serde(default)]
    pub(super) to: Option<Address>,
    pub(super) value: U256,
    pub(super) input: Bytes,
}

/// An event, with the transaction it was in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) topics: Vec<B256>,
    pub(super) data: Bytes,
    pub(super) transaction_hash: B256,
    pub(super) block_number: U64,
}

/// Reads an address by its 20 bytes alone: EC-02 has them compared so, and the draft's own examples have wrong checksums. Not for
/// what people type.
pub(super) fn address(text: &str) -> Option<Address> {
    parse_hex(text, Address::len_bytes()).and_then(|bytes| Address::try_from(bytes.as_slice()).ok())
}

/// Unix seconds as a time.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX))
}

pub(super) fn call(to: Address, function: &impl SolCall) -> Call {
    Call::new(
        "eth_call",
        json!([{ "to": to, "data": hex::encode_prefixed(function.abi_encode()) }, "latest"]),
    )
}

/// Tries a transaction and says how much gas it takes.
pub(super) fn estimate(from: Address, to: Address, value: U256, data: &Bytes) -> Call {
    Call::new("eth_estimateGas", json!([{ "from": from, "to": to, "value": value, "data": data }]))
}

/// Tries a transaction as it is.
pub(super) fn simulate(transaction: &Value) -> Call {
    Call::new("eth_call", json!([transaction, "latest"]))
}

pub(super) fn receipt(hash: B256) -> Call {
    Call::new("eth_getTransactionReceipt", json!([hash]))
}

pub(super) fn transaction(hash: B256) -> Call {
    Call::new("eth_getTransactionByHash", json!([hash]))
}

/// How many transactions of `account` there are up to `which` block: its next nonce.
pub(super) fn nonce(account: Address, which: &str) -> Call {
    Call::new("eth_getTransactionCount", json!([account, which]))
}

pub(super) fn coins(account: Address) -> Call {
    Call::new("eth_getBalance", json!([account, "latest"]))
}

pub(super) fn code(account: Address) -> Call {
    Call::new("eth_getCode", json!([account, "latest"]))
}

pub(super) fn priority_fee() -> Call {
    Call::new("eth_maxPriorityFeePerGas", json!([]))
}

pub(super) fn broadcast(raw: &Bytes) -> Call {
    Call::new("eth_sendRawTransaction", json!([raw]))
}

/// Events of `contract` in a range of blocks, both ends included.
pub(super) fn events(contract: Address, topics: &Value, from: u64, to: u64) -> Call {
    let range = [from, to].map(|number| format!("{number:#x}"));
    let filter = json!({ "address": contract, "topics": topics, "fromBlock": range[0], "toBlock": range[1] });
    Call::new("eth_getLogs", json!([filter]))
}

/// A word (`uint256`, `bool`) that a contract returned.
pub(super) fn word(answer: &Bytes) -> Option<U256> {
    U256::try_from_be_slice(answer).filter(|_| answer.len() == 32)
}
