//! What annotations say, and what they mean under a configuration.
//!
//! A [`PriceSpec`] is written by a macro and never changes. A `Plan` is a spec resolved against the configured
//! payment methods: the offers that can really be made, prepared so that a challenge costs next to nothing. Reports,
//! documents and reviews read specs: those of the whole program from `mpp::registry()`, or those a
//! `mpp::routing::Router` has mounted.
//!
//! On the wire an offer is a challenge (draft-httpauth-payment-00 section 5.1) with a charge request
//! (draft-payment-intent-charge-00) in it.

#[cfg(feature = "server")]
mod plan;
#[cfg(feature = "server")]
mod registry;
#[cfg(feature = "server")]
mod shape;
mod spec;
mod split;
mod terms;

#[cfg(feature = "server")]
pub(crate) use plan::{Configuration, Findings, Offer, Plan, Ready};
#[cfg(feature = "server")]
pub use registry::{Registered, registry};
#[cfg(feature = "openapi")]
pub(crate) use shape::{Body, FORM, JSON, PathParameters};
#[cfg(feature = "server")]
#[doc(hidden)]
pub use shape::{Probe, Shape, probes};
pub use spec::{Binding, Capture, Honor, Location, OfferSpec, Order, Price, PriceSpec, Replay, Slot, Tier};
#[cfg(feature = "server")]
pub(crate) use split::SplitError;
pub use split::{Part, SplitSpec};
pub use terms::{TermSpec, Terms};

use crate::protocol::Currency;

/// The currency a method of the user's own knows by `name`. Evaluated in const context by the macros.
///
/// # Panics
/// In const evaluation, so at compile time: when the method does not know it.
#[doc(hidden)]
pub const fn currency_of(known: &'static [Currency], name: &str) -> Currency {
    let mut i = 0;
    while i < known.len() {
        if same(known[i].name, name) {
            return known[i];
        }
        i += 1;
    }
    panic!("the payment method does not know this currency (see its `PaymentMethod::CURRENCIES`)")
}

/// A currency for people: the code where the method has one (`usd`), else the name the annotation uses.
#[cfg(feature = "server")]
pub(crate) fn money<'a>(currency: &'a str, offer: &OfferSpec) -> &'a str {
    let is_code = currency.len() <= 5 && currency.bytes().all(|b| b.is_ascii_alphabetic());
    if is_code { currency } else { offer.currency.name }
}

/// `==` on strings is not const.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
