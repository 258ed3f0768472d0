//! What a method is offered for: its currency, the amount, who bears the network's fees and who else gets a part.
//!
//! All of it goes into the `request` of a challenge (draft-httpauth-payment-00 section 5.1, draft-payment-intent-charge-00): a
//! [`ServerMethod`](super::ServerMethod) makes that of an [`OfferCx`], which the price made of its annotation.

use crate::protocol::BaseUnits;

/// A currency as one configured method takes it.
///
/// ```
/// use mpp::{method::MethodCurrency, protocol::BaseUnits};
///
/// // What an annotation calls `usdc`, as a card processor takes it: dollars and cents, at least fifty of them.
/// let dollars = MethodCurrency { id: "usd".into(), decimals: 2, minimum: BaseUnits::new(50) };
/// assert_eq!(dollars.minimum.to_amount(dollars.decimals).to_string(), "0.5");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodCurrency {
    /// What `request.currency` says: a token address, an ISO 4217 code.
    pub id: String,
    /// Decimal places of one unit: 6 for a TIP-20 token, 2 for `usd` on cards.
    pub decimals: u8,
    /// The smallest amount the method can charge, in base units.
    pub minimum: BaseUnits,
}

/// What an offer is made from. Amounts are already base units of the method's own currency.
///
/// ```
/// use mpp::method::{MethodCurrency, OfferCx};
/// use mpp::protocol::{BaseUnits, ChargeRequest};
///
/// /// What `ServerMethod::offer` makes of it.
/// fn offer(cx: &OfferCx<'_>) -> ChargeRequest {
///     ChargeRequest {
///         description: cx.description.map(str::to_owned),
///         ..ChargeRequest::new(cx.amount, &cx.currency.id)
///     }
/// }
///
/// let usd = MethodCurrency { id: "usd".into(), decimals: 2, minimum: BaseUnits::new(1) };
/// assert_eq!(offer(&OfferCx::new(BaseUnits::new(50), &usd)).currency, "usd");
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OfferCx<'a> {
    /// Base units; zero for an identity proof.
    pub amount: BaseUnits,
    /// The method's own currency.
    pub currency: &'a MethodCurrency,
    /// `description` of the annotation.
    pub description: Option<&'a str>,
    /// Who pays the network's fee. [`Fees::Sponsored`] only of a method that said it [can](super::ServerMethod::sponsoring).
    pub fees: Fees,
    /// Parts of `amount` that go to others; the rest, at least one base unit, goes to the method's own recipient. Only
    /// of a method that said it [can](super::ServerMethod::splitting).
    pub splits: &'a [Share<'a>],
}

impl<'a> OfferCx<'a> {
    /// An offer of `amount` base units of `currency`.
    ///
    /// ```
    /// # use mpp::{method::{MethodCurrency, OfferCx}, protocol::BaseUnits};
    /// let usd = MethodCurrency { id: "usd".into(), decimals: 2, minimum: BaseUnits::new(1) };
    /// assert_eq!(OfferCx::new(BaseUnits::new(50), &usd).description, None);
    /// ```
    pub fn new(amount: BaseUnits, currency: &'a MethodCurrency) -> Self {
        Self { amount, currency, description: None, fees: Fees::Payer, splits: &[] }
    }
}

/// Who pays the network's own fee of a payment (gas), which is not part of the price.
///
/// ```
/// use mpp::method::Fees;
/// assert_eq!(Fees::default(), Fees::Payer);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fees {
    /// Whoever pays the price.
    #[default]
    Payer,
    /// The server.
    Sponsored,
}

/// A part of a price that goes to somebody else than the method's own recipient.
///
/// ```
/// use mpp::{method::Share, protocol::BaseUnits};
/// let share = Share { payee: "platform", units: BaseUnits::new(500) };
/// assert_eq!(share.payee, "platform");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share<'a> {
    /// A name the annotation uses and the method's configuration maps to an account.
    pub payee: &'a str,
    /// How much of the amount, in base units of the method's currency; never zero.
    pub units: BaseUnits,
}
