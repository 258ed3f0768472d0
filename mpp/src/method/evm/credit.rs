//! Whose signatures the settlement key still pays gas for.
//!
//! A signature is tried against the newest block, where nothing that is under way has happened yet. So one balance would pass for
//! any number of signatures at once: the first is paid by it, and all the others revert at the settlement key's expense while
//! their signer has spent nothing. Therefore what a payer has under way counts as spent, is bounded in number, and a payer whose
//! settlements revert all the same (the money was moved away in between, a contract on its account changed its mind) gets no
//! more of them for a while. It can always pay by a `transaction`, at its own expense.
//!
//! This is one process's knowledge: several that share a key each give as much.

use alloy::primitives::{Address, U256};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How many settlements of one payer may be under way.
const UNDER_WAY: usize = 32;
/// How many of one payer's may revert before it gets no more.
const REVERTS: u32 = 2;
/// For how long.
const MEMORY: Duration = Duration::from_secs(60 * 60);

/// What a settlement takes from its payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    pub(super) token: Address,
    pub(super) payer: Address,
    pub(super) amount: U256,
}

/// Why nothing is sent for a payer, in words for the payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoCredit {
    #[error("the payer's balance does not cover the amount and the payer's other payments under way")]
    Overdrawn,
    #[error("too many payments of this payer are under way")]
    Crowded,
    #[error("settlements for this payer were reverted; pay by `type` \"transaction\", or later")]
    Reverted,
}

/// Whether `draw` can be paid out of `balance`, which has not yet paid for what is `under_way`.
pub(super) fn covers(
    balance: U256,
    draw: &Draw,
    under_way: impl Iterator<Item = Draw>,
) -> Result<(), NoCredit> {
    let own = under_way.filter(|other| other.payer == draw.payer);
    let (count, needed) = own.fold((0, Some(draw.amount)), |(count, needed), other| {
        let more = if other.token == draw.token { other.amount } else { U256::ZERO };
        (count + 1, needed.and_then(|sum: U256| sum.checked_add(more)))
    });
    if count >= UNDER_WAY {
        return Err(NoCredit::Crowded);
    }
    match needed {
        Some(needed) if needed <= balance => Ok(()),
        _ => Err(NoCredit::Overdrawn),
    }
}

/// Whose settlements were reverted lately. Each entry has cost the key a transaction, so there are never many.
#[derive(Debug, Default)]
pub(super) struct Reverts(HashMap<Address, (u32, Instant)>);

impl Reverts {
    /// One more.
    pub(super) fn count(&mut self, payer: Address, now: Instant) {
        self.0.retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        let (times, last) = self.0.entry(payer).or_insert((0, now));
        (*times, *last) = (times.saturating_add(1), now);
    }

    /// Whether there may be more.
    pub(super) fn allow(&self, payer: Address, now: Instant) -> Result<(), NoCredit> {
        match self.0.get(&payer) {
            Some((times, last)) if *times >= REVERTS && now.duration_since(*last) < MEMORY => {
                Err(NoCredit::Reverted)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(payer: u8, token: u8, amount: u64) -> Draw {
        Draw {
            token: Address::repeat_byte(token),
            payer: Address::repeat_byte(payer),
            amount: U256::from(amount),
        }
    }

    #[test]
    fn what_is_under_way_counts_as_spent_for_its_payer_and_token_alone() {
        let try_with = |balance: u64, under_way: &[Draw]| {
            covers(U256::from(balance), &draw(1, 1, 10), under_way.iter().copied())
        };
        assert_eq!(try_with(10, &[]), Ok(()));
        assert_eq!(try_with(10, &[draw(2, 1, 10), draw(1, 2, 10)]), Ok(()));
        assert_eq!(try_with(20, &[draw(1, 1, 10)]), Ok(()));
        assert_eq!(try_with(19, &[draw(1, 1, 10)]), Err(NoCredit::Overdrawn));
        assert_eq!(
            try_with(u64::MAX, &[Draw { amount: U256::MAX, ..draw(1, 1, 0) }]),
            Err(NoCredit::Overdrawn)
        );
        assert_eq!(try_with(u64::MAX, &[draw(1, 2, 0); UNDER_WAY - 1]), Ok(()));
        assert_eq!(try_with(u64::MAX, &[draw(1, 2, 0); UNDER_WAY]), Err(NoCredit::Crowded));
    }

    #[test]
    fn a_payer_whose_settlements_revert_gets_no_more_for_an_hour() {
        let (mut reverts, start) = (Reverts::default(), Instant::now());
        let (eve, alice) = (Address::repeat_byte(1), Address::repeat_byte(2));
        for _ in 0..REVERTS {
            assert_eq!(reverts.allow(eve, start), Ok(()));
            reverts.count(eve, start);
        }
        assert_eq!(reverts.allow(eve, start + MEMORY - Duration::from_secs(1)), Err(NoCredit::Reverted));
        assert_eq!(reverts.allow(alice, start), Ok(()));
        assert_eq!(reverts.allow(eve, start + MEMORY), Ok(()));
        reverts.count(alice, start + MEMORY);
        assert_eq!(reverts.0.len(), 1, "forgotten");
    }
}
