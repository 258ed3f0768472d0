//! `type="hash"`: a transaction the payer has broadcast (draft-tempo-charge, "Hash Verification"). What counts is the
//! events of a successful receipt, never the call data.

use super::legs::{self, Moved};
use super::request::Ask;
use crate::chain::TxReceipt;
use alloy::primitives::{Address, B256};
use alloy::sol_types::SolEvent;
use tempo_alloy::contracts::precompiles::ITIP20;

/// Reads a transaction hash; case does not make another transaction of it.
pub(super) fn parse_hash(text: &str) -> Option<B256> {
    crate::chain::parse_hex(text, B256::len_bytes()).and_then(|bytes| B256::try_from(bytes.as_slice()).ok())
}

/// A payment found in a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paid {
    /// Whose money it was.
    pub(super) payer: Address,
    /// The memo of the recipient's transfer.
    pub(super) memo: B256,
}

/// The payment in `receipt` of everything that is asked, by one payer, under a memo that names the challenge.
///
/// `transferWithMemo` emits a plain `Transfer` as well, and the fee is one more: each plain event serves one leg, and the
/// recipient's own takes its twin along, so no transfer is counted twice. A transfer parked at a receive-policy guard
/// names the guard as its recipient and is not found.
pub(super) fn payment_in(
    receipt: &TxReceipt,
    ask: &Ask,
    names_challenge: impl Fn(&B256) -> bool,
) -> Option<Paid> {
    let with_memo: Vec<_> = events::<ITIP20::TransferWithMemo>(receipt, ask.token).collect();
    let plain: Vec<_> = events::<ITIP20::Transfer>(receipt, ask.token).collect();
    with_memo.iter().find_map(|primary| {
        let fits = primary.to == ask.recipient
            && primary.amount == ask.remainder()
            && names_challenge(&primary.memo);
        let paid = fits && splits_paid(ask, primary, &with_memo, &plain);
        paid.then_some(Paid { payer: primary.from, memo: primary.memo })
    })
}

/// Whether every part was paid by the payer of `primary`, beside it.
fn splits_paid(
    ask: &Ask,
    primary: &ITIP20::TransferWithMemo,
    with_memo: &[ITIP20::TransferWithMemo],
    plain: &[ITIP20::Transfer],
) -> bool {
    if ask.splits.is_empty() {
        return true;
    }
    let mut moved: Vec<_> = plain
        .iter()
        .filter(|t| t.from == primary.from)
        .map(|t| Moved { to: t.to, amount: t.amount, memo: None })
        .collect();
    // A memo belongs to any one transfer like its own; equal transfers are interchangeable.
    for t in with_memo.iter().filter(|t| t.from == primary.from) {
        let twin = moved.iter_mut().find(|m| m.to == t.to && m.amount == t.amount && m.memo.is_none());
        if let Some(twin) = twin {
            twin.memo = Some(t.memo);
        }
    }
    // Only this one transfer may serve as the recipient's.
    legs::take(ask, &mut moved, |memo| *memo == primary.memo).is_ok()
}

fn events<E: SolEvent>(receipt: &TxReceipt, token: Address) -> impl Iterator<Item = E> {
    let logs = receipt.logs.iter().filter(move |log| log.address == token);
    logs.filter_map(|log| E::decode_raw_log(log.topics.iter().copied(), &log.data).ok())
}
