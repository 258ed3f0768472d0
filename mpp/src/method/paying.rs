//! The paying side of a method: what a payment costs, paying it, and what became of it.
//!
//! A wallet is a [`ClientMethod`]. Whoever pays with it asks for the [`Cost`] first, decides, and only then lets it sign;
//! a spend policy never has to understand a request's `methodDetails` (CORE-40, CHG-10: amount, currency and recipient
//! are verified before a payment is authorised; `description` never is).

use super::Step;
use crate::protocol::{BaseUnits, Challenge, MethodName, ReceivedProblem};
use serde_json::{Map, Value};
use std::fmt;

/// The paying side of a method: turns a challenge into the proof that goes into the credential.
///
/// ```
/// use mpp::method::{ClientMethod, PayError, Proof, Step};
/// use mpp::protocol::{Challenge, MethodName};
///
/// /// The voucher in somebody's pocket.
/// struct Pocket {
///     name: MethodName,
///     code: String,
/// }
///
/// impl ClientMethod for Pocket {
///     fn name(&self) -> &MethodName {
///         &self.name
///     }
///
///     fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
///         if challenge.method != self.name {
///             return Step::ready(Err(PayError::Unsupported("this wallet has vouchers only".into())));
///         }
///         let payload = [("code".to_owned(), self.code.as_str().into())].into_iter().collect();
///         Step::ready(Ok(Proof { payload, source: None }))
///     }
/// }
/// ```
pub trait ClientMethod: Send + Sync + 'static {
    /// The method it can pay.
    fn name(&self) -> &MethodName;

    /// What paying this challenge would cost at worst, and who would get it: what a spend policy decides on, before
    /// anything is signed. Pure and cheap: no network, no signature.
    ///
    /// Nothing in it may be taken from the challenge on trust: the network is the one this wallet pays on, a currency has a
    /// [name](Asset::name) only if the wallet itself knows that token, and fees are the most this wallet would sign for.
    /// The default knows the shared fields of a charge and nothing of its currency.
    ///
    /// # Errors
    /// [`PayError::Unsupported`] when this wallet would not pay the challenge at all: another network, a request it does not
    /// understand, splits that exceed the amount.
    fn cost(&self, challenge: &Challenge) -> Result<Cost, PayError> {
        if challenge.method != *self.name() {
            return Err(PayError::Unsupported(format!(
                "it is for the payment method `{}`, this wallet pays `{}`",
                challenge.method,
                self.name()
            )));
        }
        let request = challenge.charge().map_err(|error| PayError::Unsupported(error.to_string()))?;
        let asset = Asset::unknown(challenge.method.as_str(), request.currency);
        let payees = request.recipient.map(|account| Payee { account, units: request.amount });
        Ok(Cost::new(request.amount, asset).paid_to(payees))
    }

    /// Whether the account has what this costs, as far as that can be known without paying. Looks, and signs nothing.
    ///
    /// Asked after the limits and before anybody has to approve, so that nobody approves what cannot be paid. What cannot be
    /// known (no node, no answer, a card) is not in the way: [`pay`](Self::pay) finds out.
    ///
    /// # Errors
    /// [`Shortfall`] when the account certainly has less than the amount, the network's fees left aside.
    fn afford<'a>(&'a self, _challenge: &'a Challenge, _cost: &'a Cost) -> Step<'a, Result<(), Shortfall>> {
        Step::ready(Ok(()))
    }

    /// Pays, or authorises, what the challenge asks. The caller has already decided that it wants to.
    ///
    /// # Errors
    /// [`PayError::Unsupported`] and [`PayError::Declined`] before anything was signed or sent, [`PayError::Failed`]
    /// afterwards.
    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>>;

    /// What became of a payment whose credential was refused or whose answer was lost. Looks, and never pays.
    ///
    /// [`Fate::Never`] lets the caller pay another challenge for the same thing, so it needs proof that holds from now on:
    /// the authorisation has lapsed unused, the transaction was reverted. What a server says is none.
    fn fate<'a>(&'a self, _challenge: &'a Challenge, _proof: &'a Proof) -> Step<'a, Fate> {
        Step::ready(Fate::Unknown)
    }

    /// As [`fate`](Self::fate), of a payment that the server answered with 402 and this problem.
    ///
    /// The default ignores the problem: a server's word proves nothing about money that others keep. Play money is kept by the
    /// very server that is paid, so there its refusal is the fact.
    fn fate_after<'a>(
        &'a self,
        challenge: &'a Challenge,
        proof: &'a Proof,
        _refusal: &'a ReceivedProblem,
    ) -> Step<'a, Fate> {
        self.fate(challenge, proof)
    }
}

/// What a payment costs at worst, as the payer's own wallet knows it.
///
/// ```
/// use mpp::method::{Asset, Cost, Payee};
/// use mpp::protocol::BaseUnits;
///
/// let usdc = Asset::known("eip155:4217", "0x20c0000000000000000000000000000000000000", "usdc", 6);
/// let seller = Payee { account: "0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00".into(), units: BaseUnits::new(50_000) };
/// let cost = Cost::new(BaseUnits::new(50_000), usdc.clone())
///     .paid_to([seller])
///     .fee(BaseUnits::new(2_000), usdc);
/// assert_eq!(cost.to_string(), "0.05 usdc + at most 0.002 usdc in fees");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// The price in base units, splits included; zero for a proof of identity.
    pub amount: BaseUnits,
    /// What it is paid in.
    pub asset: Asset,
    /// Everybody who gets a part of the amount. Empty when the method has no notion of it.
    pub payees: Vec<Payee>,
    /// The most that the network takes on top, per asset.
    pub fees: Vec<(BaseUnits, Asset)>,
}

impl Cost {
    /// A price without fees, paid to nobody in particular.
    ///
    /// ```
    /// # use mpp::{method::{Asset, Cost}, protocol::BaseUnits};
    /// let free = Cost::new(BaseUnits::ZERO, Asset::known("stripe", "usd", "usd", 2));
    /// assert!(free.amount.is_zero() && free.fees.is_empty());
    /// ```
    pub fn new(amount: BaseUnits, asset: Asset) -> Self {
        Self { amount, asset, payees: Vec::new(), fees: Vec::new() }
    }

    /// Adds who gets it.
    ///
    /// ```
    /// # use mpp::{method::{Asset, Cost, Payee}, protocol::BaseUnits};
    /// let till = Payee { account: "till".into(), units: BaseUnits::new(5) };
    /// let cost = Cost::new(BaseUnits::new(5), Asset::unknown("sandbox", "usdc")).paid_to([till]);
    /// assert_eq!(cost.payees.len(), 1);
    /// ```
    #[must_use]
    pub fn paid_to(mut self, payees: impl IntoIterator<Item = Payee>) -> Self {
        self.payees.extend(payees);
        self
    }

    /// Adds the most that may be taken in fees.
    ///
    /// ```
    /// # use mpp::{method::{Asset, Cost}, protocol::BaseUnits};
    /// let ether = Asset::known("eip155:1", "native", "eth", 18);
    /// let cost = Cost::new(BaseUnits::new(5), Asset::unknown("eip155:1", "0xabc")).fee(BaseUnits::new(21_000), ether);
    /// assert_eq!(cost.fees.len(), 1);
    /// ```
    #[must_use]
    pub fn fee(mut self, most: BaseUnits, asset: Asset) -> Self {
        self.fees.push((most, asset));
        self
    }
}

/// `0.05 usdc + at most 0.002 usdc in fees`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asset.write_amount(f, self.amount)?;
        for (units, asset) in &self.fees {
            f.write_str(" + at most ")?;
            asset.write_amount(f, *units)?;
            f.write_str(" in fees")?;
        }
        Ok(())
    }
}

/// A currency on one network, as the payer's own wallet knows it.
///
/// ```
/// use mpp::method::Asset;
/// let usdc = Asset::known("eip155:8453", "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913", "usdc", 6);
/// assert_eq!(usdc.name.as_deref(), Some("usdc"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Asset {
    /// Where it lives: the CAIP-2 id of a chain (`eip155:4217`), else the method's name.
    pub network: String,
    /// What `request.currency` calls it, in one spelling (addresses in lowercase).
    pub id: String,
    /// What people call it, if the wallet vouches for that. A server's word is not enough.
    pub name: Option<String>,
    /// Decimal places of one unit, if the wallet knows them.
    pub decimals: Option<u8>,
}

impl Asset {
    /// One that the wallet knows by itself.
    ///
    /// ```
    /// # use mpp::method::Asset;
    /// assert_eq!(Asset::known("stripe", "usd", "usd", 2).decimals, Some(2));
    /// ```
    pub fn known(
        network: impl Into<String>,
        id: impl Into<String>,
        name: impl Into<String>,
        decimals: u8,
    ) -> Self {
        Self { network: network.into(), id: id.into(), name: Some(name.into()), decimals: Some(decimals) }
    }

    /// One that only the challenge names: a spend policy has to allow it by its id.
    ///
    /// ```
    /// # use mpp::method::Asset;
    /// assert_eq!(Asset::unknown("eip155:1", "0xabc").name, None);
    /// ```
    pub fn unknown(network: impl Into<String>, id: impl Into<String>) -> Self {
        Self { network: network.into(), id: id.into(), name: None, decimals: None }
    }

    /// An amount with the currency's name, or base units with its id.
    fn write_amount(&self, f: &mut fmt::Formatter<'_>, units: BaseUnits) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or(&self.id);
        match self.decimals {
            Some(decimals) => write!(f, "{} {name}", units.to_amount(decimals)),
            None => write!(f, "{units} base units of {name}"),
        }
    }
}

/// Somebody who gets a part of a payment.
///
/// ```
/// use mpp::{method::Payee, protocol::BaseUnits};
/// let platform = Payee { account: "0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00".into(), units: BaseUnits::new(500) };
/// assert!(!platform.units.is_zero());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payee {
    /// The account in the method's own form: an address, a seller's id.
    pub account: String,
    /// How much of the amount, in base units.
    pub units: BaseUnits,
}

/// An account that has less than a payment costs.
///
/// ```
/// use mpp::{method::{Asset, Shortfall}, protocol::BaseUnits};
/// let usdc = Asset::known("eip155:8453", "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913", "usdc", 6);
/// let short = Shortfall { asset: usdc, needs: BaseUnits::new(50_000), has: BaseUnits::new(1_000) };
/// assert_eq!(short.to_string(), "it needs 0.05 usdc, and the account has 0.001 usdc");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// What is short.
    pub asset: Asset,
    /// How much the payment needs, in base units.
    pub needs: BaseUnits,
    /// How much there is.
    pub has: BaseUnits,
}

impl Shortfall {
    /// An account that has `has` of what costs `needs`; an error when that is too little.
    #[cfg(any(feature = "tempo", feature = "evm"))]
    pub(crate) fn check(asset: &Asset, needs: BaseUnits, has: BaseUnits) -> Result<(), Shortfall> {
        if has < needs { Err(Shortfall { asset: asset.clone(), needs, has }) } else { Ok(()) }
    }
}

impl std::error::Error for Shortfall {}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it needs ")?;
        self.asset.write_amount(f, self.needs)?;
        f.write_str(", and the account has ")?;
        self.asset.write_amount(f, self.has)
    }
}

/// What became of a payment, as the payer can tell.
///
/// ```
/// use mpp::method::Fate;
///
/// /// A transfer that names the second after which it is void.
/// fn fate(found: Option<&str>, chain_time: i64, valid_before: i64) -> Fate {
///     match found {
///         Some(hash) => Fate::Paid { reference: hash.to_owned() },
///         None if chain_time >= valid_before => Fate::Never,
///         None => Fate::Unknown,
///     }
/// }
/// assert_eq!(fate(None, 10, 20), Fate::Unknown);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The money moved.
    Paid {
        /// The network's reference: a transaction hash.
        reference: String,
    },
    /// It did not and cannot any more.
    Never,
    /// Neither is certain.
    Unknown,
}

/// What [`ClientMethod::pay`] yields: the method-specific part of a credential.
///
/// ```
/// use mpp::method::Proof;
///
/// let payload = [("hash".to_owned(), "0x9f3c".into())].into_iter().collect();
/// let proof = Proof { payload, source: Some("did:pkh:eip155:4217:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00".into()) };
/// assert!(!format!("{proof:?}").contains("0x9f3c"), "it is as good as money");
/// ```
#[derive(Clone)]
pub struct Proof {
    /// `payload` of the credential.
    pub payload: Map<String, Value>,
    /// `source` of the credential: the payer's DID.
    pub source: Option<String>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why a challenge could not be paid.
///
/// ```
/// use mpp::method::PayError;
/// let error = PayError::Failed("the node did not say what became of it".into());
/// assert_eq!(error.to_string(), "the payment failed: the node did not say what became of it");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayError {
    /// The challenge is for another method, another network, or says something the method does not understand.
    #[error("this challenge cannot be paid: {0}")]
    Unsupported(String),
    /// The account, its owner or the network refused before anything was signed or sent: nothing can be taken.
    #[error("the payment was declined: {0}")]
    Declined(String),
    /// The payment went wrong after something was signed or sent: it may still happen.
    #[error("the payment failed: {0}")]
    Failed(String),
}
