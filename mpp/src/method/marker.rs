//! What `methods(tempo)` expands to: a name and currencies, no dependencies.
//!
//! A marker is present when its method's own feature, `sandbox` (whose accounts can play any method) or `testing` is
//! on. It never makes a method payable.

#[cfg(any(feature = "tempo", feature = "stripe", feature = "sandbox", feature = "testing"))]
use {super::PaymentMethod, crate::protocol::Currency};

/// `tempo`: TIP-20 tokens on Tempo (draft-tempo-charge).
#[cfg(any(feature = "tempo", feature = "sandbox", feature = "testing"))]
#[derive(Debug, Clone, Copy)]
pub struct Tempo;

#[cfg(any(feature = "tempo", feature = "sandbox", feature = "testing"))]
impl PaymentMethod for Tempo {
    const NAME: &'static str = "tempo";
    const CURRENCIES: &'static [Currency] = &[Currency::USDC, Currency::PATHUSD, Currency::ALPHAUSD];
}

/// `stripe`: cards and other Stripe payment methods by shared payment token (draft-stripe-charge).
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
#[cfg(any(feature = "sandbox", feature = "testing"))]
#[derive(Debug, Clone, Copy)]
pub struct Sandbox;

#[cfg(any(feature = "sandbox", feature = "testing"))]
impl PaymentMethod for Sandbox {
    const NAME: &'static str = "sandbox";
    const CURRENCIES: &'static [Currency] = Currency::KNOWN;
}
