//! What `methods(tempo)` expands to: a name and currencies, no dependencies.
//!
//! A marker is present when its method's own feature, `sandbox` (whose accounts can play any method) or `testing` is
//! on. It never makes a method payable. The names are the method identifiers of draft-httpauth-payment-00 section 6.1.

#[cfg(any(
    feature = "tempo",
    feature = "evm",
    feature = "stripe",
    feature = "sandbox",
    feature = "testing"
))]
use {super::PaymentMethod, crate::protocol::Currency};

/// `tempo`: TIP-20 tokens on Tempo (draft-tempo-charge).
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::method::{PaymentMethod, marker};
/// assert_eq!(marker::Tempo::NAME, "tempo");
/// let names: Vec<_> = marker::Tempo::CURRENCIES.iter().map(|currency| currency.name).collect();
/// assert_eq!(names, ["usdc", "pathusd", "alphausd"]);
/// # }
/// ```
#[cfg(any(feature = "tempo", feature = "sandbox", feature = "testing"))]
#[derive(Debug, Clone, Copy)]
pub struct Tempo;

#[cfg(any(feature = "tempo", feature = "sandbox", feature = "testing"))]
impl PaymentMethod for Tempo {
    const NAME: &'static str = "tempo";
    const CURRENCIES: &'static [Currency] = &[Currency::USDC, Currency::PATHUSD, Currency::ALPHAUSD];
}

/// `evm`: tokens and native coins on any EVM chain (draft-evm-charge).
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::method::{PaymentMethod, marker};
/// assert_eq!(marker::Evm::NAME, "evm");
/// let names: Vec<_> = marker::Evm::CURRENCIES.iter().map(|currency| currency.name).collect();
/// assert_eq!(names, ["usdc", "eth", "pol", "avax"]);
/// # }
/// ```
#[cfg(any(feature = "evm", feature = "sandbox", feature = "testing"))]
#[derive(Debug, Clone, Copy)]
pub struct Evm;

#[cfg(any(feature = "evm", feature = "sandbox", feature = "testing"))]
impl PaymentMethod for Evm {
    const NAME: &'static str = "evm";
    const CURRENCIES: &'static [Currency] = &[Currency::USDC, Currency::ETH, Currency::POL, Currency::AVAX];
}

/// `stripe`: cards and other Stripe payment methods by shared payment token (draft-stripe-charge).
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::method::{PaymentMethod, marker};
/// assert_eq!(marker::Stripe::NAME, "stripe");
/// let names: Vec<_> = marker::Stripe::CURRENCIES.iter().map(|currency| currency.name).collect();
/// assert_eq!(names, ["usd", "usdc", "eur", "gbp", "jpy"]);
/// # }
/// ```
#[cfg(any(feature = "stripe", feature = "sandbox", feature = "testing"))]
#[derive(Debug, Clone, Copy)]
pub struct Stripe;

#[cfg(any(feature = "stripe", feature = "sandbox", feature = "testing"))]
impl PaymentMethod for Stripe {
    const NAME: &'static str = "stripe";
    const CURRENCIES: &'static [Currency] =
        &[Currency::USD, Currency::USDC, Currency::EUR, Currency::GBP, Currency::JPY];
}

/// `sandbox`: play money under its own name.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::method::{PaymentMethod, marker};
/// assert_eq!(marker::Sandbox::NAME, "sandbox");
/// assert_eq!(marker::Sandbox::CURRENCIES, mpp::Currency::KNOWN);
/// # }
/// ```
#[cfg(any(feature = "sandbox", feature = "testing"))]
#[derive(Debug, Clone, Copy)]
pub struct Sandbox;

#[cfg(any(feature = "sandbox", feature = "testing"))]
impl PaymentMethod for Sandbox {
    const NAME: &'static str = "sandbox";
    const CURRENCIES: &'static [Currency] = Currency::KNOWN;
}
