//! The transfers of a payment, held against what a challenge asks for: one leg for the recipient, one for each part of
//! others, in any order (TC-12, TC-13).
//!
//! Every transfer is used for one leg at most. The recipient's has to carry the memo that names the challenge; the others
//! may carry any, unless the request asks for one.

use super::request::{Ask, Leg};
use alloy::primitives::{Address, B256, U256};

/// A transfer of the token asked for: a call that would make it, or an event that says it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) to: Address,
    pub(super) amount: U256,
    pub(super) memo: Option<B256>,
}

/// Why transfers are not what is asked for, in words for the payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("the transaction pays another recipient")]
    Recipient,
    #[error("the transaction pays another amount than asked for")]
    Amount,
    #[error("the transaction has to call `transferWithMemo(to, amount, memo)`")]
    NoMemo,
    #[error("the transfer's memo does not name this challenge")]
    Memo,
    #[error("the transfers to others are not the parts in `splits`")]
    Parts,
}

/// Takes a transfer for every leg out of `moved`; what nobody asked for is left in it. Returns the recipient's transfer.
pub(super) fn take(
    ask: &Ask,
    moved: &mut Vec<Moved>,
    names_challenge: impl Fn(&B256) -> bool,
) -> Result<Moved, Mismatch> {
    let remainder = ask.remainder();
    let fits = |m: &Moved| m.to == ask.recipient && m.amount == remainder;
    let bound = |m: &Moved| m.memo.as_ref().is_some_and(&names_challenge);
    let Some(at) = moved.iter().position(|m| fits(m) && bound(m)) else {
        return Err(closest(ask, moved, bound));
    };
    let primary = moved.remove(at);
    // Who asks for a memo chooses first: the others take any transfer of the right amount.
    let (choosy, easy): (Vec<&Leg>, Vec<&Leg>) = ask.splits.iter().partition(|leg| leg.memo.is_some());
    for leg in choosy.into_iter().chain(easy) {
        let fits = |m: &Moved| m.to == leg.recipient && m.amount == leg.amount;
        let says = |m: &Moved| leg.memo.is_none() || m.memo == leg.memo;
        let at = moved.iter().position(|m| fits(m) && says(m)).ok_or(Mismatch::Parts)?;
        moved.remove(at);
    }
    Ok(primary)
}

/// What is wrong with the transfer that was probably meant for the recipient.
fn closest(ask: &Ask, moved: &[Moved], bound: impl Fn(&Moved) -> bool) -> Mismatch {
    let to_recipient = || moved.iter().filter(|m| m.to == ask.recipient);
    let of_amount = || to_recipient().filter(|m| m.amount == ask.remainder());
    if to_recipient().next().is_none() {
        Mismatch::Recipient
    } else if of_amount().next().is_none() {
        Mismatch::Amount
    } else if of_amount().all(|m| m.memo.is_none()) {
        Mismatch::NoMemo
    } else {
        debug_assert!(!of_amount().any(bound));
        Mismatch::Memo
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Modes;
    use super::*;
    use crate::method::Fees;
    use proptest::prelude::*;

    const BOUND: B256 = B256::repeat_byte(0xef);

    fn account(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    fn ask(amount: u64, splits: &[(u8, u64)]) -> Ask {
        let leg = |&(to, amount): &(u8, u64)| Leg {
            recipient: account(to),
            amount: U256::from(amount),
            memo: None,
        };
        Ask {
            amount: U256::from(amount),
            token: account(0x20),
            recipient: account(1),
            chain_id: 31337,
            splits: splits.iter().map(leg).collect(),
            fees: Fees::Payer,
            modes: Modes::Both,
            memo: None,
        }
    }

    fn moved(to: u8, amount: u64, memo: Option<B256>) -> Moved {
        Moved { to: account(to), amount: U256::from(amount), memo }
    }

    fn taken(ask: &Ask, mut moved: Vec<Moved>) -> Result<usize, Mismatch> {
        take(ask, &mut moved, |memo| *memo == BOUND).map(|_| moved.len())
    }

    #[test]
    fn each_transfer_pays_one_leg() {
        // The recipient gets as much as the platform, and the platform is the recipient.
        let ask = ask(10, &[(1, 5)]);
        assert_eq!(taken(&ask, vec![moved(1, 5, Some(BOUND))]), Err(Mismatch::Parts));
        assert_eq!(taken(&ask, vec![moved(1, 5, None), moved(1, 5, Some(BOUND))]), Ok(0));
        assert_eq!(taken(&ask, vec![moved(1, 5, Some(BOUND)); 3]), Ok(1), "and what is too much is left");
        assert_eq!(taken(&ask, vec![moved(1, 5, None), moved(1, 5, None)]), Err(Mismatch::NoMemo));
        assert_eq!(taken(&ask, vec![moved(1, 10, Some(BOUND))]), Err(Mismatch::Amount));
    }

    #[test]
    fn a_leg_that_asks_for_a_memo_is_served_before_those_that_do_not() {
        let memo = B256::repeat_byte(7);
        let mut ask = ask(10, &[(2, 1), (2, 1)]);
        ask.splits[1].memo = Some(memo);
        let with = |first, second| {
            taken(&ask, vec![moved(2, 1, first), moved(2, 1, second), moved(1, 8, Some(BOUND))])
        };
        assert_eq!(with(Some(memo), None), Ok(0));
        assert_eq!(with(None, Some(memo)), Ok(0));
        assert_eq!(with(None, Some(BOUND)), Err(Mismatch::Parts));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let ask = ask(10, &[]);
        for (wrong, mismatch) in [
            (vec![], Mismatch::Recipient),
            (vec![moved(2, 10, Some(BOUND))], Mismatch::Recipient),
            (vec![moved(1, 9, Some(BOUND))], Mismatch::Amount),
            (vec![moved(1, 5, Some(BOUND)), moved(1, 5, Some(BOUND))], Mismatch::Amount),
            (vec![moved(1, 10, None)], Mismatch::NoMemo),
            (vec![moved(1, 10, Some(B256::ZERO))], Mismatch::Memo),
        ] {
            assert_eq!(taken(&ask, wrong), Err(mismatch));
        }
    }

    proptest! {
        #[test]
        fn any_order_pays_and_one_changed_amount_does_not(
            parts in proptest::collection::vec((1u8..4, 1u64..5), 1..10), seed: u64, at: prop::sample::Index,
        ) {
            let total = parts.iter().map(|(_, amount)| amount).sum::<u64>() + 3;
            let ask = ask(total, &parts);
            let mut all: Vec<_> = parts.iter().map(|&(to, amount)| moved(to, amount, None)).collect();
            all.push(moved(1, 3, Some(BOUND)));
            let turns = usize::try_from(seed % 97).unwrap() % all.len();
            all.rotate_left(turns);
            if seed % 2 == 0 { all.reverse(); }
            prop_assert_eq!(taken(&ask, all.clone()), Ok(0));
            let one = at.index(all.len());
            all[one].amount += U256::from(100);
            prop_assert!(taken(&ask, all).is_err());
        }
    }
}
