//! What the macros expand to. Not public API: no name here is stable.
#![allow(missing_docs, reason = "re-exports of documented items, hidden from the documentation")]

pub use crate::method::marker;
pub use crate::method::{Fees, PaymentMethod};
pub use crate::pricing::{
    Binding, Capture, Honor, Location, OfferSpec, Order, Part, PriceSpec, Probe, Registered, Replay, Shape,
    SplitSpec, TermSpec, Terms, Tier, currency_of, probes,
};
pub use crate::protocol::{Amount, Currency};
pub use crate::server::gate::{Gate, IntoAmount, Poisoned, PriceOf, Priced, Quote, Refusal};
pub use crate::server::layer::{HeadQuote, LayerPrice};
pub use crate::server::paid::{Always, Evidence, Maybe, Reserved};
pub use axum::extract::{FromRequest, FromRequestParts};
pub use axum::response::Response;
pub use inventory;

/// Whether the handler asks for the evidence that its price yields.
pub fn fits<T: Evidence<K>, K>() {}

/// Tells the closures of a `price!` what they are called with.
///
/// What comes out has one type whatever went in, so that something that is no closure is one error.
pub mod head {
    use super::{Amount, IntoAmount, Refusal};
    use crate::Head;

    pub type Of<T> = Box<dyn Fn(&Head) -> T + Send + Sync>;

    pub fn amount<T, F>(price: F) -> Of<Result<Amount, Refusal>>
    where
        T: IntoAmount,
        F: Fn(&Head) -> T + Send + Sync + 'static,
    {
        Box::new(move |head| price(head).into_amount())
    }

    pub fn free_if<F>(free: F) -> Of<bool>
    where
        F: Fn(&Head) -> bool + Send + Sync + 'static,
    {
        Box::new(free)
    }
}
