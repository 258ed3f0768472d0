//! The adapter to tower: any service that takes `http::Request`s.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use tower::{Layer, Service, ServiceExt as _};
use url::Url;

use super::Client;
use super::engine::{ACCEPT_PAYMENT, Exchange, Failure, Sent};
use super::error::{Asked, BoxError};
use super::middleware::{DISCARD_TIME, PROBLEM_BYTES, PROBLEM_TIME};
use super::origin::Origin;
use crate::protocol::ReceivedProblem;

/// Pays for requests of a tower service; from [`Client::layer`].
///
/// Requests have absolute URIs: of a relative one nobody knows whom it pays, and a 402 to it is handed on. Bodies are
/// `Clone`: what cannot be sent twice does not compile, instead of failing after the first time. The service's errors come
/// out as [`BoxError`], among them [`client::Error`](super::Error) to be downcast to.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use http_body_util::Full;
/// use mpp::client::{Client, MemoryLedger, Paid, Policy};
/// use mpp::routing::{Router, get};
/// use mpp::testing;
/// use tower::{Layer as _, ServiceExt as _};
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(_: mpp::Paid) -> &'static str { "sunny" }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // A server in this process, and a client that pays it.
/// let server = Router::new().route("/weather", get(weather)).with_state(testing::mpp()).into_axum();
/// let wallet = testing::wallet().for_method(mpp::protocol::MethodName::from_static("tempo"));
/// let client = Client::builder(Policy::unlimited(), MemoryLedger::new()).method(wallet).build().unwrap();
///
/// let paying = client.layer().layer(server);
/// let request = http::Request::get("https://test.example/weather").body(Full::<bytes::Bytes>::default()).unwrap();
/// let response = paying.oneshot(request).await.unwrap();
/// assert_eq!(response.status(), 200);
/// assert!(response.extensions().get::<Paid>().unwrap().receipt.is_ok());
/// # }
/// # }
/// ```
#[derive(Clone)]
pub struct PayLayer {
    client: Client,
}

impl PayLayer {
    pub(super) fn new(client: Client) -> PayLayer {
        PayLayer { client }
    }
}

impl<S> Layer<S> for PayLayer {
    type Service = Pay<S>;

    fn layer(&self, inner: S) -> Pay<S> {
        Pay { inner, client: self.client.clone() }
    }
}

/// The service of a [`PayLayer`].
#[derive(Clone)]
pub struct Pay<S> {
    inner: S,
    client: Client,
}

impl<S, B, R> Service<Request<B>> for Pay<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Clone + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was made ready is used; its clone is made ready for the next request.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let client = self.client.clone();
        Box::pin(async move {
            let mut call = Call { again: ready.clone(), ready: Some(ready), request };
            client.drive(&mut call).await.map_err(|failure| match failure {
                Failure::Transport(error) => error.into(),
                Failure::Client(error) => error.into(),
            })
        })
    }
}

struct Call<S, B> {
    /// For the first sending.
    ready: Option<S>,
    again: S,
    request: Request<B>,
}

impl<S, B, R> Exchange for Call<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Clone + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<R>;
    type Error = S::Error;

    fn is_to(&self, origin: &Origin) -> bool {
        origin.is_of(self.request.uri())
    }

    fn method(&self) -> &Method {
        self.request.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    fn url(&self) -> Option<Url> {
        Url::parse(&self.request.uri().to_string()).ok()
    }

    fn send(&mut self, with: Sent<'_>) -> impl Future<Output = Result<Response<R>, S::Error>> + Send {
        let mut request = self.request.clone();
        match with {
            Sent::Unpaid(None) => {}
            Sent::Unpaid(Some(accept)) => {
                request.headers_mut().insert(ACCEPT_PAYMENT, accept.clone());
            }
            Sent::Paid(payment, asked) => {
                *request.headers_mut() = asked.headers.clone();
                payment.attach_to(&asked.method, request.headers_mut());
            }
        }
        let (ready, again) = (self.ready.take(), self.again.clone());
        async move {
            match ready {
                Some(mut service) => service.call(request).await,
                None => again.oneshot(request).await,
            }
        }
    }

    async fn asked(&mut self, url: Url) -> Option<Asked> {
        let (method, headers) = (self.request.method().clone(), self.request.headers().clone());
        // In memory, since it can be cloned.
        let body = self.request.body().clone().collect().await.ok()?.to_bytes();
        Some(Asked { method, url, headers, body })
    }

    fn answered_by(_: &Response<R>) -> Option<&Url> {
        None
    }

    fn status(response: &Response<R>) -> StatusCode {
        response.status()
    }

    fn response_headers(response: &Response<R>) -> &HeaderMap {
        response.headers()
    }

    fn extensions_mut(response: &mut Response<R>) -> &mut Extensions {
        response.extensions_mut()
    }

    async fn problem(response: Response<R>) -> Option<ReceivedProblem> {
        let text = tokio::time::timeout(PROBLEM_TIME, read(response)).await.ok().flatten()?;
        ReceivedProblem::parse(&text)
    }

    async fn discard(response: Response<R>) {
        let _ = tokio::time::timeout(DISCARD_TIME, read(response)).await;
    }
}

/// A body that ends, and is not too large.
async fn read<R: Body>(response: Response<R>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut body = std::pin::pin!(response.into_body());
    while let Some(frame) = body.frame().await {
        let Ok(mut part) = frame.ok()?.into_data() else { continue };
        if text.len() + part.remaining() > PROBLEM_BYTES {
            return None;
        }
        text.extend_from_slice(&part.copy_to_bytes(part.remaining()));
    }
    Some(text)
}

impl fmt::Debug for PayLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PayLayer").field(&self.client).finish()
    }
}

impl<S> fmt::Debug for Pay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pay").field("client", &self.client).finish_non_exhaustive()
    }
}
