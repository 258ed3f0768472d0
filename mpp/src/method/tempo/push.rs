//! `type="hash"`: a transaction the payer has broadcast (draft-tempo-charge, "Hash Verification"). What counts is the
//! events of a successful receipt, never the call data.

use super::memo;
use super::request::Ask;
use crate::chain::TxReceipt;
use crate::protocol::Challenge;
use alloy::primitives::{Address, B256};
use alloy::sol_types::SolEvent;
use tempo_alloy::contracts::precompiles::ITIP20;

/// Reads a transaction hash; case does not make another transaction of it.
pub(super) fn parse_hash(text: &str) -> Option<B256> {
    crate::chain::parse_hex(text, B256::len_bytes()).and_then(|bytes| B256::try_from(bytes.as_slice()).ok())
}

/// A transfer found in a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transferred {
    /// Whose money it was.
    pub(super) payer: Address,
    /// The memo.
    pub(super) memo: B256,
}

/// The transfer in `receipt` that pays what is asked under the attribution memo of `challenge`.
pub(super) fn payment_of(receipt: &TxReceipt, ask: &Ask, challenge: &Challenge) -> Option<Transferred> {
    transfers(receipt, ask).find(|t| memo::binds(&t.memo, &challenge.realm, &challenge.id))
}

/// The transfers in `receipt` of exactly what is asked, to whom it is asked for.
///
/// `transferWithMemo` emits a plain `Transfer` as well, and the fee is a third one: neither is looked at, so no payment
/// is counted twice. A transfer parked at a receive-policy guard names the guard as its recipient and is not found.
pub(super) fn transfers(receipt: &TxReceipt, ask: &Ask) -> impl Iterator<Item = Transferred> {
    let ask = *ask;
    receipt.logs.iter().filter(move |log| log.address == ask.token).filter_map(move |log| {
        let event = ITIP20::TransferWithMemo::decode_raw_log(log.topics.iter().copied(), &log.data).ok()?;
        (event.to == ask.recipient && event.amount == ask.amount)
            .then_some(Transferred { payer: event.from, memo: event.memo })
    })
}
