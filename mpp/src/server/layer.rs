//! Prices for what cannot be annotated: `mpp.layer(price!(…))` and `mpp.wrap(route, price!(…))`.
//!
//! The layer goes through the same pipeline as a gate. It hands the evidence to the service as an extension
//! (`Extension<Paid<Receipt>>`, or `Extension<Paid<Option<Receipt>>>` with `free_if`), takes the credential out of the
//! request, lets the head of a CORS preflight pass (no body in, no body out; draft-httpauth-payment-00 section 11.11),
//! and drops a `Payment-Receipt` that came from upstream.

use super::gate::{Quote, Refusal};
use super::paid::{Evidence, Paid};
use super::pipeline::{Admission, Layered, Visit};
use super::respond::deliver;
use super::routing::MethodRouter;
use super::{Mpp, authorization};
use crate::pricing::{PriceSpec, Tier};
use crate::protocol::Receipt;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// The head of a request, as a layer's price expression sees it. The Payment credential has been taken out.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::Amount;
/// let price = mpp::price!(
///     amount = |req: &mpp::Head| Amount::micros(10 * req.uri().path().len() as u128),
///     currency = "usdc",
///     methods(tempo),
/// );
/// # drop(price);
/// # }
/// ```
#[derive(Debug)]
pub struct Head(Parts);

impl Head {
    /// The verb.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Amount, Head, Mpp, routing::Router, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let price = mpp::price!(
    ///     amount = |req: &Head| if req.method() == "GET" { Amount::cents(1) } else { Amount::cents(5) },
    ///     currency = "usdc",
    ///     methods(tempo),
    /// );
    /// let free = axum::Router::new().route("/{*path}", axum::routing::any(|| async { "done" }));
    /// let client = testing::Client::new(free.layer(testing::mpp().layer(price)));
    /// client.post("/notes").unpaid().await.assert_offers(["tempo 0.05 usdc"]);
    /// # });
    /// # }
    /// ```
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The target, as the layer sees it.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Amount, Head, Mpp, routing::Router, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let price = mpp::price!(
    ///     amount = |req: &Head| Amount::micros(10) * req.uri().path().len() as u32,
    ///     currency = "usdc",
    ///     methods(tempo),
    /// );
    /// let free = axum::Router::new().route("/{*path}", axum::routing::any(|| async { "done" }));
    /// let client = testing::Client::new(free.layer(testing::mpp().layer(price)));
    /// client.get("/abc").unpaid().await.assert_offers(["tempo 0.00004 usdc"]);
    /// # });
    /// # }
    /// ```
    pub fn uri(&self) -> &Uri {
        &self.0.uri
    }

    /// The headers.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Amount, Head, Mpp, routing::Router, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let price = mpp::price!(
    ///     amount = "0.01",
    ///     free_if = |req| req.headers().contains_key("x-member"),
    ///     currency = "usdc",
    ///     methods(tempo),
    /// );
    /// let free = axum::Router::new().route("/{*path}", axum::routing::any(|| async { "done" }));
    /// let client = testing::Client::new(free.layer(testing::mpp().layer(price)));
    /// assert_eq!(client.get("/notes").header("x-member", "7").unpaid().await.text(), "done");
    /// # });
    /// # }
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// What outer layers found out about the request.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Amount, Head, Mpp, routing::Router, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// #[derive(Clone)]
    /// struct Member;
    ///
    /// let price = mpp::price!(
    ///     amount = "0.01",
    ///     free_if = |req| req.extensions().get::<Member>().is_some(),
    ///     currency = "usdc",
    ///     methods(tempo),
    /// );
    /// let free = axum::Router::new().route("/{*path}", axum::routing::any(|| async { "done" }));
    /// let client = testing::Client::new(free.layer(testing::mpp().layer(price)).layer(axum::Extension(Member)));
    /// assert_eq!(client.get("/notes").unpaid().await.text(), "done");
    /// # });
    /// # }
    /// ```
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }
}

/// A price made by [`price!`](crate::price): what it says, and how it follows from a request's head.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// let price = mpp::price!(amount = "0.002", currency = "usdc", methods(tempo), name = "search");
/// assert_eq!(price.spec().name, "search");
/// # }
/// ```
#[derive(Clone)]
pub struct LayerPrice {
    spec: &'static PriceSpec,
    quote: HeadQuote,
}

impl fmt::Debug for LayerPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerPrice").field("spec", &self.spec.name).finish_non_exhaustive()
    }
}

impl LayerPrice {
    #[doc(hidden)]
    pub fn new(spec: &'static PriceSpec, quote: HeadQuote) -> Self {
        Self { spec, quote }
    }

    /// What the price says.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// let price = mpp::price!(amount = "0.002", currency = "usdc", methods(tempo), name = "index", description = "Index");
    /// assert_eq!(price.spec().description, Some("Index"));
    /// # }
    /// ```
    pub fn spec(&self) -> &'static PriceSpec {
        self.spec
    }
}

/// A price expression over a request's head.
type PriceOfHead = dyn Fn(&Head) -> Result<Quote, Refusal> + Send + Sync;

/// How a layer's price follows from a request's head.
#[doc(hidden)]
#[derive(Clone)]
pub enum HeadQuote {
    Fixed,
    Computed(Arc<PriceOfHead>),
}

impl HeadQuote {
    #[doc(hidden)]
    pub fn computed(quote: impl Fn(&Head) -> Result<Quote, Refusal> + Send + Sync + 'static) -> Self {
        Self::Computed(Arc::new(quote))
    }
}

impl Mpp {
    /// A layer that charges for every request of the service below it, before that service is asked: a path or verb it
    /// does not have is paid for, too, and then answered 404 or 405. `route_layer` of axum's `Router` leaves unknown paths
    /// alone, and that of its `MethodRouter` unknown verbs.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Sandbox, Secret};
    /// # fn check(mpp: &Mpp, upstream: axum::Router) -> axum::Router {
    /// upstream.layer(mpp.layer(mpp::price!(amount = "0.002", currency = "usdc", methods(tempo), name = "search")))
    /// # }
    /// # }
    /// ```
    pub fn layer(&self, price: LayerPrice) -> PaymentLayer {
        PaymentLayer { mpp: self.clone(), price }
    }

    /// One route of somebody else's handlers, charged for and listed like a priced handler. Every verb is charged for,
    /// also one the route does not have, because axum does not tell `any` from "405".
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, routing::Router};
    /// # fn check(mpp: &Mpp) -> Router<Mpp> {
    /// let legacy = axum::routing::get(|| async { "as it always was" });
    /// Router::new().route("/legacy", mpp.wrap(legacy, mpp::price!(amount = "0.01", currency = "usdc", methods(tempo))))
    /// # }
    /// # }
    /// ```
    pub fn wrap<S>(&self, route: axum::routing::MethodRouter<S>, price: LayerPrice) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let spec = price.spec;
        MethodRouter::priced(route.layer(self.layer(price)), vec![(None, spec)])
    }
}

/// Made by [`Mpp::layer`].
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Amount, Head, Mpp, routing::Router, testing};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let layer = testing::mpp().layer(mpp::price!(amount = "0.002", currency = "usdc", methods(tempo), name = "proxied"));
/// let upstream = axum::Router::new().route("/search", axum::routing::get(|| async { "ten hits" }));
/// let client = testing::Client::new(upstream.layer(layer));
/// assert_eq!(client.get("/search").paying("tempo").await.text(), "ten hits");
/// # });
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PaymentLayer {
    mpp: Mpp,
    price: LayerPrice,
}

impl<S> Layer<S> for PaymentLayer {
    type Service = PaymentService<S>;

    fn layer(&self, inner: S) -> PaymentService<S> {
        PaymentService { inner, mpp: self.mpp.clone(), price: self.price.clone() }
    }
}

/// A service that has to be paid for; made by [`PaymentLayer`], where the example is.
#[derive(Debug, Clone)]
pub struct PaymentService<S> {
    inner: S,
    mpp: Mpp,
    price: LayerPrice,
}

impl<S> Service<Request> for PaymentService<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse + Send,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        // The service that was polled ready is the one to call.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let (mpp, price) = (self.mpp.clone(), self.price.clone());
        Box::pin(async move {
            if is_preflight(&req) {
                let (mut parts, _) = req.into_parts();
                // Never passed on, and never spent on a preflight.
                if let Err(answer) = authorization::take(&mut parts.headers) {
                    return Ok(answer.into());
                }
                let Ok(response) = inner.call(Request::from_parts(parts, Body::empty())).await;
                return Ok(head_of(response.into_response()));
            }
            match price.admit(&mpp, req).await {
                Err(answer) => Ok(answer),
                Ok((req, exit)) => {
                    let Ok(response) = inner.call(req).await;
                    Ok(exit.close(response.into_response()).await)
                }
            }
        })
    }
}

impl LayerPrice {
    async fn admit(&self, mpp: &Mpp, mut req: Request) -> Result<(Request, super::pipeline::Exit), Response> {
        let mut visit = Visit::open(mpp, self.spec, &mut req)?;
        if visit.binds_body() {
            req = Box::pin(visit.read_body(req)).await?;
        }
        let (parts, body) = req.into_parts();
        let mut head = Head(parts);
        let resumed = if visit.is_paying() { Box::pin(visit.resume()).await? } else { None };
        let admission = match resumed {
            Some(admission) => admission,
            None => {
                let quote = match &self.quote {
                    HeadQuote::Fixed => Quote::Fixed,
                    HeadQuote::Computed(quote) => quote(&head).map_err(Refusal::into_response)?,
                };
                match visit.decide(&quote)? {
                    Some(admission) => admission,
                    None => Box::pin(visit.redeem(&quote)).await?,
                }
            }
        };
        let Admission { proved, delivery, exit } = admission;
        let extensions = &mut head.0.extensions;
        let proved = match self.spec.tier {
            Tier::FreeIf => <Option<Receipt> as Evidence<super::paid::Maybe>>::from_proved(proved)
                .map(|evidence| drop(extensions.insert(Paid::new(evidence, delivery)))),
            Tier::Always | Tier::Proof => <Receipt as Evidence<super::paid::Always>>::from_proved(proved)
                .map(|evidence| drop(extensions.insert(Paid::new(evidence, delivery)))),
        };
        if proved.is_none() {
            return Err(exit.mismatch());
        }
        extensions.insert(Layered);
        Ok((Request::from_parts(head.0, body), exit))
    }
}

/// What an unpaid preflight may learn: status and headers. A service that answers every verb alike would hand out what
/// is to be paid for.
fn head_of(response: Response) -> Response {
    let (mut parts, _) = deliver(response, None).into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}

/// A CORS preflight: the only request that passes a layer unpaid, and only its head passes.
fn is_preflight(req: &Request) -> bool {
    req.method() == Method::OPTIONS
        && req.headers().contains_key(header::ORIGIN)
        && req.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::{self, Client};
    use axum::routing::any;

    #[tokio::test]
    async fn a_preflight_reads_nothing_of_what_a_service_that_answers_every_verb_sells() {
        let price = crate::price!(crate = crate, amount = "0.01", currency = "usdc", methods(tempo));
        // As a proxy answers: its upstream has said how long the body is.
        let headers = [("access-control-allow-methods", "GET"), ("content-length", "8")];
        let sold = any(move || async move { (headers, "for sale") });
        let client = Client::new(axum::Router::new().route("/", sold).layer(testing::mpp().layer(price)));
        let preflight = client.request(Method::OPTIONS, "/");
        let preflight = preflight.header("origin", "https://a.example");
        let response = preflight.header("access-control-request-method", "GET").unpaid().await;
        assert_eq!((response.status().as_u16(), response.text().as_str()), (200, ""));
        assert_eq!(response.header("access-control-allow-methods"), Some("GET"));
        assert_eq!(response.header("content-length"), Some("0"));
        assert_eq!(client.get("/").paying("tempo").await.text(), "for sale");
    }
}
