//! What a settlement may cost, and what it is offered for.

use std::time::Duration;

/// The most that one settlement may cost the settlement key. Above it nothing is sent and the client is told to come back.
///
/// ```
/// use mpp::method::evm::GasPolicy;
///
/// // At most 150,000 gas at 3 gwei: 0.00045 ETH.
/// let policy = GasPolicy {
///     gas: 150_000,
///     fee_per_gas: 3_000_000_000,
///     priority_fee_per_gas: 1_000_000_000,
///     ..GasPolicy::default()
/// };
/// assert!(policy.fee_per_gas < GasPolicy::default().fee_per_gas);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GasPolicy {
    /// Gas limit. A transfer with a signature takes some 70,000 to 110,000.
    pub gas: u64,
    /// Most for a unit of gas, in wei, base fee and priority fee together; also after replacements.
    pub fee_per_gas: u128,
    /// Most for a unit of gas to the block's proposer, in wei.
    pub priority_fee_per_gas: u128,
    /// When a transaction that is not mined is replaced with one that pays more, if that stays within the rest of the policy.
    pub replace_after: Duration,
}

impl Default for GasPolicy {
    /// 300,000 gas at 300 gwei, 60 gwei of it to the proposer; replaced after 15 seconds.
    fn default() -> Self {
        Self {
            gas: 300_000,
            fee_per_gas: 300_000_000_000,
            priority_fee_per_gas: 60_000_000_000,
            replace_after: Duration::from_secs(15),
        }
    }
}

/// What is paid for a unit of gas, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fees {
    pub(super) max: u128,
    pub(super) priority: u128,
}

impl GasPolicy {
    /// The limit for a call that took `estimate`: with room for what changes until it is mined. `None` above the policy.
    pub(super) fn limit(&self, estimate: u64) -> Option<u64> {
        (estimate <= self.gas).then(|| estimate.saturating_add(estimate / 4).min(self.gas))
    }

    /// What is offered at this base fee: room for six full blocks in a row. `None` above the policy.
    pub(super) fn fees(&self, base: u128, suggested: u128) -> Option<Fees> {
        let priority = suggested.min(self.priority_fee_per_gas);
        let needed = base.checked_add(priority)?;
        (needed <= self.fee_per_gas).then(|| Fees {
            max: base.saturating_mul(2).saturating_add(priority).min(self.fee_per_gas),
            priority,
        })
    }

    /// What replaces a transaction that was offered `old`: at least an eighth more of both, which nodes ask for, and enough for
    /// today. `None` when the policy does not allow that.
    pub(super) fn bumped(&self, old: Fees, today: Fees) -> Option<Fees> {
        let least = |fee: u128| fee.saturating_add(fee.div_ceil(8)).saturating_add(1);
        let more = |fee: u128| least(fee).saturating_add(fee / 8);
        let max = more(old.max).max(today.max).min(self.fee_per_gas);
        let priority = more(old.priority).max(today.priority).min(self.priority_fee_per_gas).min(max);
        (max >= least(old.max) && priority >= least(old.priority)).then_some(Fees { max, priority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: GasPolicy = GasPolicy {
        gas: 100_000,
        fee_per_gas: 1_000,
        priority_fee_per_gas: 100,
        replace_after: Duration::ZERO,
    };

    #[test]
    fn nothing_is_ever_offered_above_the_policy() {
        assert_eq!(POLICY.limit(60_000), Some(75_000));
        assert_eq!(POLICY.limit(90_000), Some(100_000));
        assert_eq!(POLICY.limit(100_001), None);
        assert_eq!(POLICY.fees(100, 10), Some(Fees { max: 210, priority: 10 }));
        assert_eq!(POLICY.fees(600, 500), Some(Fees { max: 1_000, priority: 100 }));
        assert_eq!(POLICY.fees(900, 100), Some(Fees { max: 1_000, priority: 100 }));
        assert_eq!(POLICY.fees(901, 100), None);
        assert_eq!(POLICY.fees(u128::MAX, 1), None);
    }

    #[test]
    fn a_replacement_pays_an_eighth_more_or_is_not_made() {
        let today = Fees { max: 100, priority: 5 };
        let first = POLICY.bumped(Fees { max: 210, priority: 10 }, today).unwrap();
        assert!(first.max * 8 > 210 * 9 && first.priority * 8 > 10 * 9, "{first:?}");
        // Today's fees count when they are higher.
        let dear = POLICY.bumped(Fees { max: 210, priority: 10 }, Fees { max: 800, priority: 80 });
        assert_eq!(dear, Some(Fees { max: 800, priority: 80 }));
        // Up to the policy, and then no more.
        let (mut fees, mut times) = (Fees { max: 210, priority: 10 }, 0);
        while let Some(next) = POLICY.bumped(fees, today) {
            assert!(next.max <= POLICY.fee_per_gas && next.priority <= POLICY.priority_fee_per_gas);
            (fees, times) = (next, times + 1);
        }
        assert!((5..20).contains(&times), "{times}");
        // Zero can be raised too.
        assert!(POLICY.bumped(Fees { max: 8, priority: 0 }, Fees { max: 8, priority: 0 }).is_some());
    }
}
