//! What the macros expand to. Not public API: no name here is stable.
#![allow(missing_docs, reason = "re-exports of documented items, hidden from the documentation")]

pub use crate::method::PaymentMethod;
pub use crate::method::marker;
pub use crate::pricing::{
    Binding, Capture, Honor, Location, OfferSpec, Order, PriceSpec, Registered, TermSpec, Terms, Tier, currency_of,
};
pub use crate::protocol::{Amount, Currency};
pub use crate::server::gate::{Gate, IntoAmount, Poisoned, PriceOf, Priced, Quote, Refusal};
pub use crate::server::layer::{HeadQuote, LayerPrice};
pub use crate::server::paid::{Always, Evidence, Maybe, Reserved};
pub use axum::extract::{FromRequest, FromRequestParts};
pub use axum::response::Response;
pub use inventory;
