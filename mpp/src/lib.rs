//! Declarative pricing for the Machine Payments Protocol (HTTP 402).
//!
//! A price is declared once, on the handler:
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use mpp::{Paid, Receipt};
//!
//! /// Current weather for a city.
//! #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
//! async fn weather(paid: Paid<Receipt>) -> String {
//!     format!("sunny, paid with {}", paid.reference)
//! }
//! # }
//! ```
//!
//! and that one declaration is the challenge, the verification and the price list.
//!
//! # Layers
//! - [`protocol`]: wire types and rules. No I/O, no async, no web framework.
//! - [`pricing`]: what annotations say.
//! - [`method`]: payment methods, one folder each.
//! - [`store`]: versioned key-value stores with compare-and-swap.
//! - [`server`]: the gate, the routers, the layer and the one pipeline.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The macros write `::mpp::…`; this makes them work inside this crate too.
extern crate self as mpp;

#[cfg(feature = "tempo")]
mod chain;
mod clock;
pub mod method;
#[cfg(any(feature = "tempo", feature = "stripe"))]
mod outbound;
pub mod pricing;
pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "server")]
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use clock::{Clock, ManualClock, SystemClock};
pub use pricing::{PriceSpec, Terms};
pub use protocol::{Amount, Currency, Receipt, Secret, SecretRing};

#[cfg(all(feature = "sandbox", feature = "server"))]
pub use method::sandbox::Sandbox;
#[cfg(feature = "stripe")]
pub use method::stripe::Stripe;
#[cfg(feature = "tempo")]
pub use method::tempo::Tempo;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/charge.md")]
pub use mpp_macros::charge;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/price.md")]
pub use mpp_macros::price;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/terms.md")]
pub use mpp_macros::terms;
#[cfg(feature = "server")]
pub use pricing::registry;
#[cfg(feature = "server")]
pub use server::{BuildError, Builder, Head, Hold, Mpp, Paid, routing};

/// The README's Rust blocks, compiled and run.
#[cfg(all(doctest, feature = "testing", feature = "tempo", feature = "redb"))]
#[doc = include_str!("../../README.md")]
mod readme {}
