//! What the macros expand to. Not public API: no name here is stable.
#![allow(missing_docs, reason = "re-exports of documented items, hidden from the documentation")]

pub use crate::method::PaymentMethod;
pub use crate::method::marker;
pub use crate::pricing::{
    Binding, Capture, Honor, Location, OfferSpec, Order, PriceSpec, Registered, TermSpec, Terms, Tier,
    currency_of,
};
pub use crate::protocol::{Amount, Currency};
pub use crate::server::gate::{Gate, IntoAmount, Poisoned, PriceOf, Priced, Quote, Refusal};
pub use crate::server::layer::{HeadQuote, LayerPrice};
pub use crate::server::paid::{Always, Evidence, Maybe, Reserved};
pub use axum::extract::{FromRequest, FromRequestParts};
pub use axum::response::{IntoResponse, Response};
pub use inventory;

/// Tells the closures of a `price!` what they are called with.
///
/// What comes out is callable whatever went in, so that something that is no closure is one error.
pub mod head {
    use super::{Amount, IntoAmount, Refusal};
    use crate::Head;

    pub fn amount<T, F>(price: F) -> impl Fn(&Head) -> Result<Amount, Refusal> + Send + Sync + 'static
    where
        T: IntoAmount,
        F: Fn(&Head) -> T + Send + Sync + 'static,
    {
        move |head| price(head).into_amount()
    }

    pub fn free_if<F>(free: F) -> impl Fn(&Head) -> bool + Send + Sync + 'static
    where
        F: Fn(&Head) -> bool + Send + Sync + 'static,
    {
        free
    }
}
