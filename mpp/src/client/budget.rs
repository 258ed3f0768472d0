//! How much may be spent: budgets over currencies, and the limits a ledger holds them to.

use std::fmt;
use std::time::Duration;

use super::ledger::Spent;
use super::origin::Origin;
use crate::method::Asset;
use crate::protocol::{Amount, BaseUnits};

/// How much of one money may be spent. Several currencies in one budget count as one money, at par.
///
/// A budget is begun with what bounds the whole loss, whatever a server does: a total, or an amount per window of time.
/// Narrower limits are added. What counts is the worst case: the price with its splits, and the most that the network may
/// take in fees.
///
/// ```
/// use mpp::{Amount, client::Budget};
/// use std::time::Duration;
///
/// let dollars = Budget::per_window("usdc", Duration::from_secs(24 * 3600), Amount::whole(5))
///     .also("usd")
///     .per_request(Amount::cents(10))
///     .per_origin(Amount::whole(20));
/// assert_eq!(dollars.to_string(), "usdc, usd: at most 5 in 24 h, 0.1 per request, 20 per origin");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    monies: Vec<Money>,
    limits: Vec<(Scope, Amount)>,
}

/// A currency that a budget covers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Money {
    /// By the name that a wallet vouches for.
    Named(String),
    /// By its id on a network, with the decimals that the policy's author says it has.
    Token { network: String, id: String, decimals: u8 },
}

/// What a limit adds up.
///
/// ```
/// use mpp::client::Scope;
/// assert_eq!(Scope::Window(std::time::Duration::from_secs(90 * 60)).to_string(), "in 90 min");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// One payment.
    Request,
    /// Everything that was ever paid to the origin.
    Origin,
    /// Everything that was paid in the last such time, at whatever time it is asked.
    Window(Duration),
    /// Everything that was ever paid.
    Total,
}

impl Budget {
    /// At most this much, ever.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// assert_eq!(Budget::total("usdc", Amount::whole(20)).to_string(), "usdc: at most 20 in total");
    /// ```
    pub fn total(currency: impl Into<String>, most: Amount) -> Budget {
        Budget { monies: vec![Money::Named(currency.into())], limits: vec![(Scope::Total, most)] }
    }

    /// At most this much within any span of time of this length.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// # use std::time::Duration;
    /// let hourly = Budget::per_window("usdc", Duration::from_secs(3600), Amount::whole(1));
    /// assert_eq!(hourly.to_string(), "usdc: at most 1 in 60 min");
    /// ```
    pub fn per_window(currency: impl Into<String>, window: Duration, most: Amount) -> Budget {
        Budget { monies: vec![Money::Named(currency.into())], limits: vec![(Scope::Window(window), most)] }
    }

    /// Adds a currency that counts as the same money.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// let dollars = Budget::total("usdc", Amount::whole(20)).also("usd");
    /// assert!(dollars.to_string().starts_with("usdc, usd:"));
    /// ```
    #[must_use]
    pub fn also(mut self, currency: impl Into<String>) -> Budget {
        self.monies.push(Money::Named(currency.into()));
        self
    }

    /// Adds a token that no wallet knows by name. That it is worth as much as the others, and has these decimals, is the
    /// word of whoever writes the policy.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// let own = Budget::total("usdc", Amount::whole(20))
    ///     .token("eip155:31337", "0x5fbdb2315678afecb367f032d93f642f64180aa3", 6);
    /// assert!(own.to_string().contains("0x5fbdb2315678afecb367f032d93f642f64180aa3"));
    /// ```
    #[must_use]
    pub fn token(mut self, network: impl Into<String>, id: impl Into<String>, decimals: u8) -> Budget {
        self.monies.push(Money::Token { network: network.into(), id: id.into(), decimals });
        self
    }

    /// At most this much for one payment.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// let budget = Budget::total("usdc", Amount::whole(20)).per_request(Amount::cents(10));
    /// assert_eq!(budget.to_string(), "usdc: at most 20 in total, 0.1 per request");
    /// ```
    #[must_use]
    pub fn per_request(self, most: Amount) -> Budget {
        self.limit(Scope::Request, most)
    }

    /// At most this much to any one origin, ever.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// let budget = Budget::total("usdc", Amount::whole(20)).per_origin(Amount::whole(2));
    /// assert_eq!(budget.to_string(), "usdc: at most 20 in total, 2 per origin");
    /// ```
    #[must_use]
    pub fn per_origin(self, most: Amount) -> Budget {
        self.limit(Scope::Origin, most)
    }

    /// Adds a limit of any scope; every one has to hold.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Scope}};
    /// # use std::time::Duration;
    /// let budget = Budget::total("usdc", Amount::whole(20))
    ///     .limit(Scope::Window(Duration::from_secs(60)), Amount::cents(50));
    /// assert_eq!(budget.to_string(), "usdc: at most 20 in total, 0.5 in 60 s");
    /// ```
    #[must_use]
    pub fn limit(mut self, scope: Scope, most: Amount) -> Budget {
        self.limits.push((scope, most));
        self
    }

    /// Every limit, in the order in which they were set.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// let budget = Budget::total("usdc", Amount::whole(20)).per_origin(Amount::whole(2));
    /// assert_eq!(budget.limits().count(), 2);
    /// ```
    pub fn limits(&self) -> impl Iterator<Item = Limit<'_>> {
        self.limits.iter().map(|(scope, most)| Limit { budget: self, scope: *scope, most: *most })
    }

    /// Base units of an asset in this budget's money; none if the budget does not cover the asset. Of a currency whose
    /// decimals nobody knows no amount is known either: it is out of range, and over every limit.
    fn amount(
        &self,
        network: &str,
        id: &str,
        name: Option<&str>,
        decimals: Option<u8>,
        units: BaseUnits,
    ) -> Option<Amount> {
        self.monies.iter().find_map(|money| match money {
            Money::Named(own) => {
                let covered = name == Some(own.as_str());
                covered.then(|| decimals.map_or(OUT_OF_RANGE, |decimals| units.to_amount(decimals)))
            }
            Money::Token { network: at, id: own, decimals } => {
                let covered = at == network && is_same_account(own, id);
                covered.then(|| units.to_amount(*decimals))
            }
        })
    }

    pub(super) fn covers(&self, asset: &Asset) -> bool {
        self.amount(&asset.network, &asset.id, asset.name.as_deref(), asset.decimals, BaseUnits::ZERO)
            .is_some()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.monies.iter().map(|money| match money {
            Money::Named(name) => name.as_str(),
            Money::Token { id, .. } => id.as_str(),
        })
    }
}

/// Larger than every limit.
const OUT_OF_RANGE: Amount = Amount::new(0, u8::MAX);

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.names().enumerate() {
            write!(f, "{}{name}", if position == 0 { "" } else { ", " })?;
        }
        for (position, (scope, most)) in self.limits.iter().enumerate() {
            write!(f, "{}{most} {scope}", if position == 0 { ": at most " } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Request => f.write_str("per request"),
            Scope::Origin => f.write_str("per origin"),
            Scope::Total => f.write_str("in total"),
            Scope::Window(window) => match window.as_secs() {
                seconds if seconds >= 2 * 3600 && seconds.is_multiple_of(3600) => {
                    write!(f, "in {} h", seconds / 3600)
                }
                seconds if seconds >= 120 && seconds.is_multiple_of(60) => {
                    write!(f, "in {} min", seconds / 60)
                }
                seconds => write!(f, "in {seconds} s"),
            },
        }
    }
}

/// One limit, as a [`Ledger`](super::Ledger) is asked to hold it.
///
/// ```
/// use mpp::{Amount, client::{Budget, Scope}};
/// let budget = Budget::total("usdc", Amount::whole(20)).per_request(Amount::cents(10));
/// let limit = budget.limits().last().unwrap();
/// assert_eq!((limit.scope(), limit.most()), (Scope::Request, Amount::cents(10)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limit<'a> {
    budget: &'a Budget,
    scope: Scope,
    most: Amount,
}

impl Limit<'_> {
    /// What it adds up.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Scope}};
    /// let budget = Budget::total("usdc", Amount::whole(1));
    /// assert_eq!(budget.limits().next().unwrap().scope(), Scope::Total);
    /// ```
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The most it allows.
    ///
    /// ```
    /// # use mpp::{Amount, client::Budget};
    /// let budget = Budget::total("usdc", Amount::whole(1));
    /// assert_eq!(budget.limits().next().unwrap().most(), Amount::whole(1));
    /// ```
    pub fn most(&self) -> Amount {
        self.most
    }

    /// What a payment counts for under this limit; zero if its money is another.
    ///
    /// ```
    /// use mpp::client::{Budget, Spent};
    /// use mpp::{Amount, method::Asset, protocol::BaseUnits};
    /// let budget = Budget::total("usdc", Amount::whole(1));
    /// let limit = budget.limits().next().unwrap();
    /// let usdc = Spent::new(BaseUnits::new(50_000), Asset::known("sandbox", "usdc", "usdc", 6));
    /// let euro = Spent::new(BaseUnits::new(50_000), Asset::known("sandbox", "eurc", "eurc", 6));
    /// assert_eq!(limit.counts(&[usdc, euro]), Amount::cents(5));
    /// ```
    pub fn counts(&self, spent: &[Spent]) -> Amount {
        spent.iter().map(|spent| self.counts_sum(spent, Some(spent.units.get()))).sum()
    }

    /// What a sum of one asset counts for; one that did not fit is over every limit.
    pub(super) fn counts_sum(&self, asset: &Spent, sum: Option<u128>) -> Amount {
        let units = BaseUnits::new(sum.unwrap_or(0));
        match self.budget.amount(&asset.network, &asset.asset, asset.name.as_deref(), asset.decimals, units) {
            Some(_) if sum.is_none() => OUT_OF_RANGE,
            // Nothing is nothing, whatever its decimals.
            Some(_) if units.is_zero() => Amount::ZERO,
            Some(amount) => amount,
            None => Amount::ZERO,
        }
    }

    /// The limit as its own value, for what outlives the policy.
    pub(super) fn to_broken(self, origin: &Origin, would_be: Amount) -> BrokenLimit {
        BrokenLimit {
            budget: self.budget.names().collect::<Vec<_>>().join(", "),
            scope: self.scope,
            most: self.most,
            would_be,
            origin: origin.clone(),
        }
    }
}

/// A limit that a payment would have broken.
///
/// ```
/// use mpp::client::{BrokenLimit, Budget, Entry, Ledger, MemoryLedger, ReserveError};
/// use mpp::{Amount, method::{Asset, Cost}, protocol::{BaseUnits, Timestamp}};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let budget = [Budget::total("usdc", Amount::cents(4))];
/// let cost = Cost::new(BaseUnits::new(50_000), Asset::known("sandbox", "usdc", "usdc", 6));
/// let entry = Entry::new("https://api.example.com".parse().unwrap(), &cost, Timestamp::from_unix(1_800_000_000));
/// let refused = MemoryLedger::new().reserve(&entry, &budget).await;
/// let Err(ReserveError::Limit(broken)) = refused else { panic!("over the limit") };
/// assert_eq!(broken.to_string(), "the limit of 0.04 usdc in total would be exceeded: 0.05");
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenLimit {
    /// The currencies of the budget.
    pub budget: String,
    /// What the limit adds up.
    pub scope: Scope,
    /// The most it allows.
    pub most: Amount,
    /// What it would have come to.
    pub would_be: Amount,
    /// Who would have been paid.
    pub origin: Origin,
}

impl fmt::Display for BrokenLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit of {} {} {}", self.most, self.budget, self.scope)?;
        if self.scope == Scope::Origin {
            write!(f, " ({})", self.origin)?;
        }
        write!(f, " would be exceeded: {}", self.would_be)
    }
}

/// Whether two texts name one account or token: addresses in hexadecimal are the same in any case, all other texts only
/// when they are equal.
pub(super) fn is_same_account(one: &str, other: &str) -> bool {
    let is_hex = |text: &str| {
        text.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    one == other || (is_hex(one) && is_hex(other) && one.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(units: u128, asset: Asset) -> [Spent; 1] {
        [Spent::new(BaseUnits::new(units), asset)]
    }

    fn count(budget: Budget, spent: &[Spent]) -> Amount {
        budget.limits().next().unwrap().counts(spent)
    }

    #[test]
    fn currencies_of_one_budget_count_at_par_whatever_their_decimals() {
        let budget = Budget::total("usdc", Amount::whole(1)).also("usd");
        assert_eq!(
            count(budget.clone(), &spent(50_000, Asset::known("n", "0xa", "usdc", 6))),
            Amount::cents(5)
        );
        assert_eq!(
            count(budget.clone(), &spent(5, Asset::known("stripe", "usd", "usd", 2))),
            Amount::cents(5)
        );
        assert_eq!(count(budget, &spent(5, Asset::known("n", "0xb", "eurc", 6))), Amount::ZERO);
    }

    #[test]
    fn a_token_whose_name_only_the_server_says_is_covered_by_its_id_alone() {
        let asset = Asset::unknown("eip155:1", "0xAbC0");
        assert!(!Budget::total("usdc", Amount::whole(1)).covers(&asset));
        let token = Budget::total("usdc", Amount::whole(1)).token("eip155:1", "0xabc0", 18);
        assert!(token.covers(&asset));
        assert!(!token.covers(&Asset::unknown("eip155:8453", "0xabc0")), "another chain, another token");
        assert_eq!(count(token, &spent(10_u128.pow(17), asset)), Amount::new(1, 1));
    }

    #[test]
    fn an_amount_of_unknown_decimals_is_over_every_limit() {
        let mut asset = Asset::known("n", "0xa", "usdc", 6);
        asset.decimals = None;
        assert!(count(Budget::total("usdc", Amount::whole(1)), &spent(1, asset)) > Amount::new(u128::MAX, 0));
        let absurd = Asset::known("n", "0xa", "usdc", u8::MAX);
        assert!(count(Budget::total("usdc", Amount::whole(1)), &spent(1, absurd)).is_overflow());
    }

    #[test]
    fn accounts_that_are_not_hexadecimal_are_told_apart_by_case() {
        assert!(is_same_account("0xAB", "0xab"));
        assert!(!is_same_account("9xQeWvG8", "9xqewvg8"));
        assert!(!is_same_account("0xzz", "0xZZ"));
        assert!(!is_same_account("0xab", "0XAB"), "that is no address");
    }

    #[test]
    fn a_window_is_said_in_the_unit_that_fits_and_only_a_limit_per_origin_names_one() {
        let said = |seconds| Scope::Window(Duration::from_secs(seconds)).to_string();
        for (seconds, text) in [
            (60, "in 60 s"),
            (120, "in 2 min"),
            (121, "in 121 s"),
            (3600, "in 60 min"),
            (7199, "in 7199 s"),
            (7200, "in 2 h"),
            (7260, "in 121 min"),
        ] {
            assert_eq!(said(seconds), text);
        }
        let broken = |scope| {
            let origin = "https://api.example.com".parse().unwrap();
            let (most, would_be) = (Amount::cents(5), Amount::cents(6));
            BrokenLimit { budget: "usdc".into(), scope, most, would_be, origin }.to_string()
        };
        assert!(broken(Scope::Origin).contains("(https://api.example.com)"));
        assert!(!broken(Scope::Total).contains("example"));
    }
}
