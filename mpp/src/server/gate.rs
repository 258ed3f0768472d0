//! The gate: the only argument a priced handler really has.
//!
//! `#[mpp::charge]` turns a handler into a function of one [`Gate`]. Its constructor is `FromRequest`, so there is no
//! other way in: it runs the handler's other extractors, prices the request, and lets the pipeline challenge or
//! settle. All that does not depend on the handler's types is in the pipeline
//! (`pipeline.rs`), whose steps are listed in [`server`](super).

use super::Mpp;
use super::paid::{Evidence, Paid};
use super::pipeline::{Admission, Exit, Visit};
use crate::pricing::PriceSpec;
use crate::protocol::Amount;
use axum::extract::{FromRef, FromRequest, Request};
use axum::response::{IntoResponse, Response};
use std::future::Future;
use std::marker::PhantomData;

/// Implemented by the marker type the macro generates next to the handler.
pub trait Priced: Send + 'static {
    /// [`Always`](super::paid::Always), [`Maybe`](super::paid::Maybe) or [`Reserved`](super::paid::Reserved).
    type Kind: 'static;
    /// The price.
    const SPEC: &'static PriceSpec;
}

/// How one request is priced, given the handler's other arguments, already extracted.
pub trait PriceOf<A>: Priced {
    /// The price of this request, or the response that says why there is none. What the annotation says, unless it computes
    /// one: the compiler looks at this once, and not for every handler.
    fn quote(_args: &A) -> impl Future<Output = Result<Quote, Refusal>> + Send {
        std::future::ready(Ok(Quote::Fixed))
    }
}

/// A response that is not a payment: the user's own error from a price expression.
pub struct Refusal(Box<Response>);

impl Refusal {
    /// From anything that answers a request.
    pub fn new(response: impl IntoResponse) -> Self {
        Self(Box::new(response.into_response()))
    }

    /// The response.
    pub fn into_response(self) -> Response {
        *self.0
    }
}

/// What a request costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quote {
    /// Nothing: `free_if` said so.
    Free,
    /// What the annotation says.
    Fixed,
    /// The same amount for every offer without a fixed price.
    Computed(Amount),
    /// An amount per offer, in the order of the offers; `None` for offers with a fixed price.
    Each(Vec<Option<Amount>>),
}

/// What a price expression may yield.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a price",
    label = "expected `mpp::Amount` or `Result<mpp::Amount, impl IntoResponse>`",
    note = "to let some requests through unpaid use `free_if = …`"
)]
pub trait IntoAmount {
    /// The amount, or the response to send instead of a challenge.
    fn into_amount(self) -> Result<Amount, Refusal>;
}

impl IntoAmount for Amount {
    fn into_amount(self) -> Result<Amount, Refusal> {
        Ok(self)
    }
}

impl<E: IntoResponse> IntoAmount for Result<Amount, E> {
    fn into_amount(self) -> Result<Amount, Refusal> {
        self.map_err(Refusal::new)
    }
}

/// Coherence marker, so that `Gate` can be generic over how its arguments are extracted.
pub struct Gated<M>(PhantomData<M>);

/// `P` names the price, `A` is the handler's other arguments, `T` the evidence it asked for.
pub struct Gate<P, A, T> {
    args: A,
    paid: Paid<T>,
    exit: Exit,
    _price: PhantomData<fn() -> P>,
}

impl<P, A, T> Gate<P, A, T> {
    pub(crate) fn new(args: A, paid: Paid<T>, exit: Exit) -> Self {
        Self { args, paid, exit, _price: PhantomData }
    }

    #[expect(clippy::result_large_err, reason = "what axum wants of an extractor")]
    fn admitted(args: A, admission: Admission) -> Result<Self, Response>
    where
        P: Priced,
        T: Evidence<P::Kind>,
    {
        let Admission { proved, delivery, exit } = admission;
        match T::from_proved(proved) {
            Some(evidence) => Ok(Self::new(args, Paid::new(evidence, delivery), exit)),
            None => Err(exit.mismatch()),
        }
    }

    /// What the wrapped handler is called with, and the way out.
    pub fn open(self) -> (Paid<T>, A, Exit) {
        (self.paid, self.args, self.exit)
    }
}

impl<S, M, P, A, T> FromRequest<S, Gated<M>> for Gate<P, A, T>
where
    S: Send + Sync,
    Mpp: FromRef<S>,
    P: PriceOf<A>,
    A: FromRequest<S, M> + Send,
    T: Evidence<P::Kind>,
{
    type Rejection = Response;

    // axum boxes this future for every request and copies all of it to do so. What the head alone decides, as it does for a bare
    // price, is answered in it; what comes after has a box of its own.
    #[expect(clippy::manual_async_fn, reason = "half the size of an `async fn`, see `enter`")]
    fn from_request(mut req: Request, state: &S) -> impl Future<Output = Result<Self, Response>> + Send {
        async move {
            let mpp = Mpp::from_ref(state);
            let visit = Visit::open(&mpp, P::SPEC, &mut req)?;
            Box::pin(Self::enter(visit, req, state)).await
        }
    }
}

impl<P, A, T> Gate<P, A, T> {
    /// The rest of the way in, for whom the head alone did not refuse.
    // An `async fn` would hold visit and request twice, as arguments and as variables. Of a future of up to 1 KB the box is one
    // that the allocator got back a moment ago.
    #[expect(clippy::manual_async_fn, reason = "two thirds of the size of an `async fn`")]
    fn enter<S, M>(
        mut visit: Visit<'_>,
        mut req: Request,
        state: &S,
    ) -> impl Future<Output = Result<Self, Response>> + Send
    where
        S: Send + Sync,
        P: PriceOf<A>,
        A: FromRequest<S, M> + Send,
        T: Evidence<P::Kind>,
    {
        async move {
            if visit.binds_body() {
                req = Box::pin(visit.read_body(req)).await?;
            }
            let args = A::from_request(req, state).await.map_err(IntoResponse::into_response)?;
            // A credential that already paid opens the route again whatever today's price is.
            if visit.is_paying()
                && let Some(admission) = Box::pin(visit.resume()).await?
            {
                return Self::admitted(args, admission);
            }
            let quote = P::quote(&args).await.map_err(Refusal::into_response)?;
            if let Some(admission) = visit.decide(&quote)? {
                return Self::admitted(args, admission);
            }
            Self::admitted(args, Box::pin(visit.redeem(&quote)).await?)
        }
    }
}

/// The price of a handler whose annotation did not compile: one mistake, one error, none where it is mounted.
pub enum Poisoned {}

impl Priced for Poisoned {
    type Kind = super::paid::Always;
    const SPEC: &'static PriceSpec = {
        static NOT_COMPILED: PriceSpec = PriceSpec { name: "(not compiled)", ..PriceSpec::NEW };
        &NOT_COMPILED
    };
}

impl<A> PriceOf<A> for Poisoned {}
