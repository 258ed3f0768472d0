//! What a sponsor signs for, and how much of it.
//!
//! Whoever pays other people's fees is drained by whoever finds a transaction that costs a lot and pays nothing. So a
//! transaction is signed for only if it makes exactly the transfers asked for (`pull.rs`), stays under every cap here, and
//! its worst fee fits into the budgets (`budget.rs`).

use super::super::tokens;
use crate::chain::parse_address;
use crate::method::{MethodProblem, Rejection};
use crate::protocol::{Amount, Timestamp};
use alloy::primitives::{Address, U256};
use std::time::Duration;
use tempo_alloy::primitives::TempoTransaction;
use tempo_alloy::primitives::transaction::calc_gas_balance_spending;

/// What a [`Sponsor`](super::Sponsor) signs for. The defaults suit payments of a few transfers.
///
/// Amounts are in US dollars, as fees on Tempo are: every fee token has six decimals. Gas prices are in attodollars
/// (10⁻¹⁸ dollars) for each unit of gas.
///
/// ```
/// use mpp::Amount;
/// use mpp::method::tempo::{Sponsor, SponsorPolicy};
/// use std::time::Duration;
///
/// let policy = SponsorPolicy::new()
///     .max_fee(Amount::cents(2))
///     .fee_tokens(["0x20c0000000000000000000000000000000000000"])
///     .budget(Duration::from_secs(24 * 60 * 60), Amount::cents(20), Amount::whole(25));
/// let sponsor = Sponsor::hosted("https://fees.example.org/v1/key").policy(policy);
/// # drop(sponsor);
/// ```
#[derive(Debug, Clone)]
pub struct SponsorPolicy {
    max_gas: u64,
    max_fee_per_gas: u128,
    max_priority_fee_per_gas: u128,
    /// Base units.
    max_fee: u64,
    max_validity: Duration,
    fee_tokens: Vec<Address>,
    allowed: Vec<Extra>,
    budget: Budget,
    wrong: Vec<MethodProblem>,
}

/// What may be spent in a window of time, in base units of a fee token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Budget {
    pub(super) window: Duration,
    pub(super) per_payer: u64,
    pub(super) total: u64,
    pub(super) reverted_per_client: u64,
    pub(super) reverted_total: u64,
}

/// What a sponsored transaction may carry besides its transfers. Nothing, unless the policy [allows](SponsorPolicy::allow) it.
///
/// ```
/// use mpp::method::tempo::{Extra, SponsorPolicy};
/// let policy = SponsorPolicy::new().allow(Extra::KeyAuthorization);
/// # drop(policy);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extra {
    /// An EIP-2930 access list: gas for nothing, in most cases.
    AccessList,
    /// EIP-7702 authorizations: the sponsor pays for setting accounts up.
    AuthorizationList,
    /// A new access key for the payer's account, usable from then on: the sponsor pays for storing it.
    KeyAuthorization,
}

impl Default for SponsorPolicy {
    fn default() -> Self {
        Self {
            max_gas: 2_000_000,
            max_fee_per_gas: 100_000_000_000,
            max_priority_fee_per_gas: 10_000_000_000,
            max_fee: 50_000,
            max_validity: Duration::from_secs(5 * 60),
            fee_tokens: vec![tokens::PATH_USD],
            allowed: Vec::new(),
            budget: Budget {
                window: Duration::from_secs(60 * 60),
                per_payer: 500_000,
                total: 10_000_000,
                reverted_per_client: 50_000,
                reverted_total: 500_000,
            },
            wrong: Vec::new(),
        }
    }
}

impl SponsorPolicy {
    /// At most 2,000,000 gas at 100 gwei (10 gwei of it as a tip) and 0.05 dollars for one transaction, in pathUSD; in an
    /// hour, 0.50 for one payer and 10.00 in all, of which 0.05 for reverted transactions of one client and 0.50 in all.
    ///
    /// ```
    /// # use mpp::method::tempo::SponsorPolicy;
    /// let policy = SponsorPolicy::new();
    /// # drop(policy);
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The most gas a transaction may ask for. A payment takes 300,000 to 900,000, and each part of others about
    /// 300,000 more where the recipient's balance is new.
    ///
    /// ```
    /// # use mpp::method::tempo::SponsorPolicy;
    /// let policy = SponsorPolicy::new().max_gas(1_000_000);
    /// # drop(policy);
    /// ```
    pub fn max_gas(mut self, gas: u64) -> Self {
        self.max_gas = gas;
        self
    }

    /// The highest price of gas it may offer, and the highest part of that for the block's proposer.
    ///
    /// ```
    /// # use mpp::method::tempo::SponsorPolicy;
    /// let gwei = 1_000_000_000;
    /// let policy = SponsorPolicy::new().max_fee_per_gas(50 * gwei, 2 * gwei);
    /// # drop(policy);
    /// ```
    pub fn max_fee_per_gas(mut self, attodollars: u128, priority: u128) -> Self {
        self.max_fee_per_gas = attodollars;
        self.max_priority_fee_per_gas = priority;
        self
    }

    /// The most one transaction may cost: its gas times its price.
    ///
    /// ```
    /// # use mpp::{Amount, method::tempo::SponsorPolicy};
    /// let policy = SponsorPolicy::new().max_fee(Amount::cents(1));
    /// # drop(policy);
    /// ```
    pub fn max_fee(mut self, dollars: Amount) -> Self {
        self.max_fee = self.units("max_fee", dollars);
        self
    }

    /// How long from now a transaction may stay valid (never beyond its challenge). Until then its fee is reserved.
    ///
    /// ```
    /// # use mpp::method::tempo::SponsorPolicy;
    /// # use std::time::Duration;
    /// let policy = SponsorPolicy::new().max_validity(Duration::from_secs(60));
    /// # drop(policy);
    /// ```
    pub fn max_validity(mut self, window: Duration) -> Self {
        self.max_validity = window;
        self
    }

    /// The TIP-20 tokens that fees are paid in, instead of pathUSD. A local sponsor pays with the first; a hosted one may
    /// choose any of them.
    ///
    /// ```
    /// # use mpp::method::tempo::SponsorPolicy;
    /// let policy = SponsorPolicy::new().fee_tokens(["0x20c0000000000000000000000000000000000001"]);
    /// # drop(policy);
    /// ```
    pub fn fee_tokens<'t>(mut self, addresses: impl IntoIterator<Item = &'t str>) -> Self {
        self.fee_tokens.clear();
        for address in addresses {
            match parse_address(address) {
                Ok(token) => self.fee_tokens.push(token),
                Err(e) => {
                    self.wrong.push(MethodProblem(format!("the sponsor's fee token is not usable: {e}")));
                }
            }
        }
        if self.fee_tokens.is_empty() && self.wrong.is_empty() {
            self.wrong.push(MethodProblem("the sponsor has no token to pay fees with".into()));
        }
        self
    }

    /// What may be spent within `window`: for one payer, and in all. The worst fee is reserved before anything is signed.
    /// When the total is spent, offers go out unsponsored until the window ends, or until transactions of this process turned
    /// out to cost so much less than was reserved for them that another one fits.
    ///
    /// ```
    /// # use mpp::{Amount, method::tempo::SponsorPolicy};
    /// # use std::time::Duration;
    /// let policy = SponsorPolicy::new().budget(Duration::from_secs(600), Amount::cents(10), Amount::whole(1));
    /// # drop(policy);
    /// ```
    pub fn budget(mut self, window: Duration, per_payer: Amount, total: Amount) -> Self {
        self.budget.window = window;
        self.budget.per_payer = self.units("budget of one payer", per_payer);
        self.budget.total = self.units("total budget", total);
        self
    }

    /// How much of the budget may go to transactions that were mined and reverted, so that they cost a fee and paid
    /// nothing: of one client (its network address, or the payer where that is unknown), and in all. A client above its
    /// limit gets nothing signed for the rest of the window; above the total, offers go out unsponsored.
    ///
    /// What has been signed for counts as reverted for its client until the network says otherwise, with the most it can
    /// cost: a client never passes its limit by as much as one fee, and `per_client` divided by that is also how many
    /// sponsored payments of one client can be under way. The total counts what has been mined; the
    /// [budgets](Self::budget) hold exactly.
    ///
    /// ```
    /// # use mpp::{Amount, method::tempo::SponsorPolicy};
    /// let policy = SponsorPolicy::new().reverted(Amount::cents(2), Amount::cents(50));
    /// # drop(policy);
    /// ```
    pub fn reverted(mut self, per_client: Amount, total: Amount) -> Self {
        self.budget.reverted_per_client = self.units("limit for reverted transactions", per_client);
        self.budget.reverted_total = self.units("total limit for reverted transactions", total);
        self
    }

    /// Signs for transactions that carry this as well.
    ///
    /// ```
    /// # use mpp::method::tempo::{Extra, SponsorPolicy};
    /// let policy = SponsorPolicy::new().allow(Extra::AccessList);
    /// # drop(policy);
    /// ```
    pub fn allow(mut self, extra: Extra) -> Self {
        self.allowed.push(extra);
        self
    }

    pub(in super::super) fn allows(&self, extra: Extra) -> bool {
        self.allowed.contains(&extra)
    }

    pub(in super::super) fn budget_of_window(&self) -> Budget {
        self.budget
    }

    pub(in super::super) fn payable_in(&self) -> &[Address] {
        &self.fee_tokens
    }

    /// The static rules. What the transaction does has been checked already.
    pub(in super::super) fn check(&self, tx: &TempoTransaction, now: Timestamp) -> Result<(), Rejection> {
        let refused = |why: &'static str| Err(Rejection::failed(why));
        if !tx.is_expiring_nonce_tx() || tx.nonce != 0 {
            // The chain then knows a copy by what the payer signed, whoever pays its fee.
            return refused(
                "a sponsored transaction has to use the expiring nonce key (2^256 - 1) with nonce 0",
            );
        }
        if tx.gas_limit == 0 || tx.gas_limit > self.max_gas {
            return refused("the transaction asks for more gas than the sponsor pays for");
        }
        if tx.max_fee_per_gas > self.max_fee_per_gas {
            return refused("the transaction offers more for gas than the sponsor pays");
        }
        if tx.max_priority_fee_per_gas > self.max_priority_fee_per_gas
            || tx.max_priority_fee_per_gas > tx.max_fee_per_gas
        {
            return refused("the transaction offers a higher priority fee than the sponsor pays");
        }
        if most(tx) > U256::from(self.max_fee) {
            return refused("the transaction may cost more than the sponsor pays for one");
        }
        let latest = (now + self.max_validity).unix();
        if tx.valid_before.is_none_or(|before| i64::try_from(before.get()).map_or(true, |b| b > latest)) {
            return refused("the transaction's `validBefore` is further away than the sponsor signs for");
        }
        Ok(())
    }

    /// Contradictions and unusable settings.
    pub(in super::super) fn problems(&self) -> Vec<MethodProblem> {
        let mut problems = self.wrong.clone();
        let Budget { window, per_payer, total, .. } = self.budget;
        if window.as_secs() == 0 {
            problems.push(MethodProblem("the sponsor's budget needs a window of at least a second".into()));
        }
        if self.max_fee > per_payer || per_payer > total {
            problems.push(MethodProblem(
                "the sponsor's budgets contradict each other: the fee of one transaction has to fit into the budget of \
                 one payer, and that into the total"
                    .into(),
            ));
        }
        problems
    }

    fn units(&mut self, what: &str, dollars: Amount) -> u64 {
        let units = dollars.to_base_units(tokens::DECIMALS).ok().and_then(|u| u64::try_from(u.get()).ok());
        units.unwrap_or_else(|| {
            self.wrong.push(MethodProblem(format!(
                "the sponsor's {what} has to be an amount of at most {} decimals",
                tokens::DECIMALS
            )));
            0
        })
    }
}

/// The most `tx` can cost, in base units of a fee token.
pub(in super::super) fn most(tx: &TempoTransaction) -> U256 {
    calc_gas_balance_spending(tx.gas_limit, tx.max_fee_per_gas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    const NOW: i64 = 1_800_000_000;

    fn good() -> TempoTransaction {
        TempoTransaction {
            nonce_key: U256::MAX,
            gas_limit: 500_000,
            max_fee_per_gas: 100_000_000_000,
            max_priority_fee_per_gas: 10_000_000_000,
            valid_before: NonZeroU64::new(NOW as u64 + 300),
            ..Default::default()
        }
    }

    #[test]
    fn every_cap_holds_at_its_edge_and_not_beyond() {
        let check = |tx: &TempoTransaction| SponsorPolicy::new().check(tx, Timestamp::from_unix(NOW));
        // Exactly at the caps of price, tip, fee (500,000 gas at 100 gwei are 0.05 dollars) and validity.
        assert_eq!(check(&good()), Ok(()));
        type Spoil = fn(&mut TempoTransaction);
        let table: [(&str, Spoil); 11] = [
            ("expiring nonce", |tx| tx.nonce_key = U256::ZERO),
            ("expiring nonce", |tx| tx.nonce = 1),
            ("more gas", |tx| tx.gas_limit = 0),
            ("more gas", |tx| {
                (tx.gas_limit, tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (2_000_001, 1, 0)
            }),
            ("offers more for gas", |tx| tx.max_fee_per_gas += 1),
            ("priority fee", |tx| tx.max_priority_fee_per_gas += 1),
            ("priority fee", |tx| tx.max_fee_per_gas = 1),
            ("may cost more", |tx| tx.gas_limit += 1),
            ("may cost more", |tx| tx.gas_limit = 2_000_000),
            ("further away", |tx| tx.valid_before = NonZeroU64::new(NOW as u64 + 301)),
            ("further away", |tx| tx.valid_before = None),
        ];
        for (expected, spoil) in table {
            let mut tx = good();
            spoil(&mut tx);
            let Err(Rejection::Refused { detail, .. }) = check(&tx) else { panic!("{expected}") };
            assert!(detail.contains(expected), "{expected}: {detail}");
        }
        let mut endless = good();
        endless.valid_before = NonZeroU64::new(u64::MAX);
        assert!(check(&endless).is_err());
    }

    #[test]
    fn what_the_operator_sets_holds_instead_of_the_defaults() {
        let check = |policy: SponsorPolicy| policy.check(&good(), Timestamp::from_unix(NOW)).is_ok();
        let (gwei, new) = (1_000_000_000, SponsorPolicy::new);
        assert_eq!([499_999, 500_000].map(|gas| check(new().max_gas(gas))), [false, true]);
        let prices = [(100 * gwei - 1, 10 * gwei), (100 * gwei, 10 * gwei - 1), (100 * gwei, 10 * gwei)];
        let prices = prices.map(|(price, tip)| check(new().max_fee_per_gas(price, tip)));
        assert_eq!(prices, [false, false, true]);
        assert_eq!([49_999, 50_000].map(|fee| check(new().max_fee(Amount::micros(fee)))), [false, true]);
        let validity = |seconds| check(new().max_validity(Duration::from_secs(seconds)));
        assert_eq!([299, 300].map(validity), [false, true]);

        let tokens =
            ["0x20c0000000000000000000000000000000000001", "0x20c0000000000000000000000000000000000002"];
        let policy = new().fee_tokens(tokens).allow(Extra::AccessList);
        assert_eq!(policy.problems(), []);
        assert_eq!(policy.payable_in(), tokens.map(|token| parse_address(token).unwrap()), "and in no other");
        let allowed = [Extra::AccessList, Extra::AuthorizationList, Extra::KeyAuthorization];
        assert_eq!(allowed.map(|extra| policy.allows(extra)), [true, false, false]);
    }

    #[test]
    fn a_tip_may_be_all_of_the_price() {
        let tx = TempoTransaction { max_fee_per_gas: 10_000_000_000, ..good() };
        assert_eq!(SponsorPolicy::new().check(&tx, Timestamp::from_unix(NOW)), Ok(()));
    }

    #[test]
    fn contradictions_are_reported_at_start() {
        assert_eq!(SponsorPolicy::new().problems(), []);
        let hour = Duration::from_secs(3600);
        let one = Amount::micros(50_000);
        let one_payment = SponsorPolicy::new().max_fee(one).budget(hour, one, one);
        assert_eq!(one_payment.problems(), [], "a budget for one transaction");
        let unreadable = SponsorPolicy::new().fee_tokens(["0x20"]).problems();
        assert!(
            unreadable[0].to_string().starts_with("the sponsor's fee token is not usable"),
            "{unreadable:?}"
        );
        for wrong in [
            SponsorPolicy::new().budget(hour, Amount::whole(2), Amount::whole(1)),
            SponsorPolicy::new().max_fee(Amount::whole(1)),
            SponsorPolicy::new().budget(Duration::ZERO, Amount::whole(1), Amount::whole(1)),
            SponsorPolicy::new().fee_tokens(["0x20"]),
            SponsorPolicy::new().fee_tokens([]),
            SponsorPolicy::new().max_fee(Amount::new(1, 7)),
        ] {
            assert_eq!(wrong.problems().len(), 1, "{wrong:?}");
        }
    }
}
