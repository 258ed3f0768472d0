//! What was spent: the ledger that holds limits across requests, processes and restarts.
//!
//! A payment is entered *before* anything is signed ([`Ledger::reserve`], atomically with the check of every limit), and
//! concluded afterwards ([`Ledger::conclude`]). What is not concluded counts as spent, and so does what ended unknown: only
//! a payment that provably cannot happen is given back. So a crash, a lost answer or a hostile server can make a limit
//! seem used up, and can never make it larger.
//!
//! | ledger | for |
//! | --- | --- |
//! | [`FileLedger`] | programs and agents: an append-only file, shared by processes, that survives them |
//! | [`MemoryLedger`] | tests, and programs whose limits may start anew with them |

mod books;
mod file;
mod memory;

pub use file::FileLedger;
pub use memory::MemoryLedger;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::budget::{BrokenLimit, Budget};
use super::origin::Origin;
use crate::method::{Asset, Cost, Step};
use crate::protocol::{BaseUnits, Challenge, MethodName, Timestamp};

/// Where a paying client writes down what it spends.
///
/// # Contract
/// - [`reserve`](Self::reserve) is atomic over everybody who shares the ledger: of two payments that together break a limit
///   one is refused. When it returns `Ok` the entry is durable, as far as this ledger is.
/// - Every entry counts in every limit that covers it until it is concluded as [`Outcome::Released`].
/// - An error of `reserve` means that nothing may be paid.
///
/// ```
/// use mpp::client::{Budget, Entry, Ledger, MemoryLedger, Outcome};
/// use mpp::{Amount, method::{Asset, Cost}, protocol::{BaseUnits, Timestamp}};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let ledger = MemoryLedger::new();
/// let budget = [Budget::total("usdc", Amount::cents(8))];
/// let cost = Cost::new(BaseUnits::new(50_000), Asset::known("sandbox", "usdc", "usdc", 6));
/// let origin: mpp::client::Origin = "https://api.example.com".parse().unwrap();
/// let now = Timestamp::from_unix(1_800_000_000);
///
/// let first = Entry::new(origin.clone(), &cost, now);
/// ledger.reserve(&first, &budget).await.unwrap();
/// // A second one would come to 0.10 …
/// let second = Entry::new(origin, &cost, now);
/// assert!(ledger.reserve(&second, &budget).await.is_err());
/// // … unless the first turns out not to have happened.
/// ledger.conclude(&first.id, &Outcome::Released { why: "never signed".into() }, now).await.unwrap();
/// ledger.reserve(&second, &budget).await.unwrap();
/// # });
/// ```
pub trait Ledger: Send + Sync + 'static {
    /// Enters a payment if every limit of these budgets holds with it.
    ///
    /// # Errors
    /// [`ReserveError::Limit`] for the first limit it would break, [`ReserveError::Challenge`] when its challenge is in the
    /// ledger already and was not released, [`ReserveError::Ledger`] when the ledger cannot tell.
    fn reserve<'a>(&'a self, entry: &'a Entry, budgets: &'a [Budget]) -> Step<'a, Result<(), ReserveError>>;

    /// What `reserve` would say now, without entering anything.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    fn check<'a>(&'a self, entry: &'a Entry, budgets: &'a [Budget]) -> Step<'a, Result<(), ReserveError>>;

    /// Writes down how a payment ended. One that was paid stays paid.
    ///
    /// # Errors
    /// [`LedgerError`]; the payment then goes on counting as spent.
    fn conclude<'a>(
        &'a self,
        id: &'a EntryId,
        outcome: &'a Outcome,
        at: Timestamp,
    ) -> Step<'a, Result<(), LedgerError>>;

    /// Every entry, oldest first.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    fn entries(&self) -> Step<'_, Result<Vec<Entry>, LedgerError>>;
}

/// One payment in a ledger. Nothing in it is secret, and nothing in it pays.
///
/// ```
/// use mpp::client::{Entry, Outcome};
/// # use mpp::{method::{Asset, Cost}, protocol::{BaseUnits, Timestamp}};
/// # let cost = Cost::new(BaseUnits::new(50_000), Asset::known("sandbox", "usdc", "usdc", 6));
/// let origin = "https://api.example.com".parse().unwrap();
/// let entry = Entry::new(origin, &cost, Timestamp::from_unix(1_800_000_000));
/// assert_eq!(entry.outcome, Outcome::Open);
/// assert_eq!(entry.spent[0].to_string(), "0.05 usdc");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its name in this ledger.
    pub id: EntryId,
    /// When it was reserved.
    pub at: Timestamp,
    /// Who was asked.
    pub origin: Origin,
    /// What for: the verb and the path, without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The protection space of the challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// The payment method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodName>,
    /// The challenge that was paid. No two entries of an origin that were not released have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_id: Option<String>,
    /// Who gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payees: Vec<String>,
    /// The price and the most in fees.
    pub spent: Vec<Spent>,
    /// How it ended, so far.
    #[serde(default)]
    pub outcome: Outcome,
}

impl Entry {
    /// A payment that is about to be made.
    ///
    /// ```
    /// # use mpp::{client::Entry, method::{Asset, Cost}, protocol::{BaseUnits, Timestamp}};
    /// # let cost = Cost::new(BaseUnits::new(50_000), Asset::known("sandbox", "usdc", "usdc", 6));
    /// # let now = Timestamp::from_unix(1_800_000_000);
    /// let origin: mpp::client::Origin = "https://api.example.com".parse().unwrap();
    /// assert_ne!(Entry::new(origin.clone(), &cost, now).id, Entry::new(origin, &cost, now).id);
    /// ```
    pub fn new(origin: Origin, cost: &Cost, at: Timestamp) -> Entry {
        let fees = cost.fees.iter().map(|(units, asset)| Spent::new(*units, asset.clone()));
        let price = Spent::new(cost.amount, cost.asset.clone());
        Entry {
            id: EntryId::random(),
            at,
            origin,
            resource: None,
            realm: None,
            method: None,
            challenge_id: None,
            payees: cost.payees.iter().map(|payee| payee.account.clone()).collect(),
            spent: std::iter::once(price).chain(fees).collect(),
            outcome: Outcome::Open,
        }
    }

    /// Says which challenge it answers, and for what.
    ///
    /// ```
    /// # use mpp::{client::Entry, method::{Asset, Cost}, protocol::{BaseUnits, Challenge, Timestamp}};
    /// # let cost = Cost::new(BaseUnits::new(50_000), Asset::known("sandbox", "usdc", "usdc", 6));
    /// # let now = Timestamp::from_unix(1_800_000_000);
    /// let header = r#"Payment id="x7Tg", realm="api.example.com", method="sandbox", intent="charge", request="e30""#;
    /// let challenge = &Challenge::parse_all([header]).offers[0];
    /// let entry = Entry::new("https://api.example.com".parse().unwrap(), &cost, now).answering(challenge, "GET /weather");
    /// assert_eq!(entry.challenge_id.as_deref(), Some("x7Tg"));
    /// ```
    #[must_use]
    pub fn answering(mut self, challenge: &Challenge, resource: impl Into<String>) -> Entry {
        self.resource = Some(resource.into());
        self.realm = Some(challenge.realm.clone());
        self.method = Some(challenge.method.clone());
        self.challenge_id = Some(challenge.id.clone());
        self
    }
}

/// The name of an entry: 16 random bytes, in hexadecimal.
///
/// ```
/// use mpp::client::EntryId;
/// let id: EntryId = "000102030405060708090a0b0c0d0e0f".parse()?;
/// assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0e0f");
/// # Ok::<(), mpp::client::EntryIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u128);

impl EntryId {
    fn random() -> EntryId {
        EntryId(rand::random())
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({self})")
    }
}

impl std::str::FromStr for EntryId {
    type Err = EntryIdError;

    fn from_str(text: &str) -> Result<EntryId, EntryIdError> {
        let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let digits = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        digits.map(EntryId).ok_or(EntryIdError)
    }
}

impl Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Text that is not an [`EntryId`].
///
/// ```
/// # use mpp::client::{EntryId, EntryIdError};
/// assert_eq!("x".parse::<EntryId>(), Err(EntryIdError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of the ledger is named by 32 hexadecimal digits")]
pub struct EntryIdError;

/// An amount of one asset.
///
/// ```
/// use mpp::{client::Spent, method::Asset, protocol::BaseUnits};
/// let spent = Spent::new(BaseUnits::new(7), Asset::unknown("eip155:1", "0xabc"));
/// assert_eq!(spent.to_string(), "7 base units of 0xabc");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Spent {
    /// How much.
    pub units: BaseUnits,
    /// The asset's id on its network.
    pub asset: String,
    /// The network.
    pub network: String,
    /// What the wallet calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Decimal places, if the wallet knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
}

impl Spent {
    /// This much of that.
    ///
    /// ```
    /// # use mpp::{client::Spent, method::Asset, protocol::BaseUnits};
    /// let spent = Spent::new(BaseUnits::new(50), Asset::known("stripe", "usd", "usd", 2));
    /// assert_eq!(spent.to_string(), "0.5 usd");
    /// ```
    pub fn new(units: BaseUnits, asset: Asset) -> Spent {
        Spent { units, asset: asset.id, network: asset.network, name: asset.name, decimals: asset.decimals }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or(&self.asset);
        match self.decimals {
            Some(decimals) => write!(f, "{} {name}", self.units.to_amount(decimals)),
            None => write!(f, "{} base units of {name}", self.units),
        }
    }
}

/// How a payment ended, as far as the payer knows.
///
/// ```
/// use mpp::client::Outcome;
/// assert!(Outcome::Unknown.counts() && !Outcome::Released { why: "never signed".into() }.counts());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// It was entered, and nothing is known of it: it is under way, or its process ended.
    #[default]
    Open,
    /// The server accepted it.
    Paid {
        /// The reference of the receipt, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// It may have happened.
    Unknown,
    /// It did not happen and cannot any more.
    Released {
        /// How that is known.
        why: String,
    },
}

impl Outcome {
    /// Whether a payment that ended so uses up limits.
    ///
    /// ```
    /// # use mpp::client::Outcome;
    /// assert!(Outcome::Open.counts());
    /// ```
    pub fn counts(&self) -> bool {
        !matches!(self, Outcome::Released { .. })
    }

    /// What remains when `later` is learnt after this. A payment that was made does not come undone.
    fn then(&mut self, later: &Outcome) {
        let stays = match (&self, later) {
            (Outcome::Paid { reference }, Outcome::Paid { reference: later }) => {
                reference.is_some() || later.is_none()
            }
            (Outcome::Paid { .. }, _) | (_, Outcome::Open) => true,
            (Outcome::Released { .. }, Outcome::Unknown) => true,
            _ => false,
        };
        if !stays {
            self.clone_from(later);
        }
    }
}

/// Why a payment was not entered.
///
/// ```
/// # use mpp::client::ReserveError;
/// let error = ReserveError::Challenge;
/// assert_eq!(error.to_string(), "this challenge was paid already");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// A limit does not hold.
    #[error("{0}")]
    Limit(Box<BrokenLimit>),
    /// The origin's challenge of this id is in the ledger already: paying it again would be paying twice.
    #[error("this challenge was paid already")]
    Challenge,
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a ledger cannot be used. Nothing is paid then.
///
/// ```
/// # use mpp::client::LedgerError;
/// let error = LedgerError::Corrupt { line: 7 };
/// assert_eq!(error.to_string(), "the ledger is damaged at line 7; repair or move the file");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It cannot be read or written.
    #[error("the ledger cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// A line is not what a ledger writes.
    #[error("the ledger is damaged at line {line}; repair or move the file")]
    Corrupt {
        /// Counted from 1.
        line: u64,
    },
    /// It was written by a later version.
    #[error("the ledger was written by a later version of this program")]
    Version,
    /// The file was removed, replaced or shortened while it was in use.
    #[error("the ledger's file was replaced while it was in use; start again")]
    Replaced,
    /// The entry is larger than a ledger keeps.
    #[error("the payment is too large to be entered")]
    TooLarge,
    /// No entry has this id.
    #[error("the ledger has no entry {0}")]
    Missing(EntryId),
    /// Another kind of ledger's trouble.
    #[error("the ledger cannot be used: {0}")]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_that_was_made_does_not_come_undone() {
        let paid = Outcome::Paid { reference: Some("0xabc".into()) };
        let released = Outcome::Released { why: "lapsed".into() };
        for later in [Outcome::Open, Outcome::Unknown, released.clone(), Outcome::Paid { reference: None }] {
            let mut outcome = paid.clone();
            outcome.then(&later);
            assert_eq!(outcome, paid);
        }
        for earlier in [Outcome::Open, Outcome::Unknown, released] {
            let mut outcome = earlier;
            outcome.then(&paid);
            assert_eq!(outcome, paid, "what was thought impossible and happened counts");
        }
    }
}
