//! The adapter to `reqwest`, as a middleware of `reqwest-middleware`.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, StatusCode};
use http_body_util::Empty;
use reqwest::{Body, Request, Response};
use reqwest_middleware::{Middleware, Next};
use url::Url;

use super::Client;
use super::engine::{ACCEPT_PAYMENT, Exchange, Failure, Sent};
use super::error::Asked;
use super::origin::Origin;
use super::redirects;
use crate::protocol::ReceivedProblem;

/// The most that is read of a refusal's body, and for how long: a server may drip it.
pub(super) const PROBLEM_BYTES: usize = 64 * 1024;
pub(super) const PROBLEM_TIME: Duration = Duration::from_secs(5);

/// A body that nobody wants is read for its connection's sake; a new connection costs about as much.
pub(super) const DISCARD_TIME: Duration = Duration::from_millis(200);

/// Pays for requests of a `reqwest-middleware` client; from [`Client::middleware`].
///
/// Bodies that `reqwest` can send again (bytes, text, JSON, forms) are; a stream is refused before anything is paid
/// ([`BodyNotReplayable`](super::Error::BodyNotReplayable)). Errors of this middleware are found in a
/// `reqwest_middleware::Error` by [`Error::find`](super::Error::find). A response that was paid for has
/// [`Paid`](super::Paid) in its extensions.
///
/// ```
/// # fn wrap(client: mpp::client::Client, own: reqwest::Client) {
/// let http = reqwest_middleware::ClientBuilder::new(own).with(client.middleware()).build();
/// # }
/// ```
#[derive(Clone)]
pub struct PayMiddleware {
    client: Client,
    redirects: Redirects,
}

/// Redirects that the client below has not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// Followed here: the client below is our own.
    Followed,
    /// Its owner wants to see them.
    HandedOn,
}

impl PayMiddleware {
    pub(super) fn new(client: Client, redirects: Redirects) -> PayMiddleware {
        PayMiddleware { client, redirects }
    }
}

#[async_trait::async_trait]
impl Middleware for PayMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, reqwest_middleware::Error> {
        let template = match request.try_clone() {
            Some(copy) => Template::Repeatable(copy),
            None => Template::Once {
                method: request.method().clone(),
                url: request.url().clone(),
                headers: request.headers().clone(),
            },
        };
        let redirects = self.redirects;
        let mut exchange = Call { unsent: Some(request), template, redirects, next, extensions };
        self.client.drive(&mut exchange).await.map_err(|failure| match failure {
            Failure::Transport(error) => error,
            Failure::Client(error) => reqwest_middleware::Error::middleware(error),
        })
    }
}

struct Call<'a> {
    /// For the first sending.
    unsent: Option<Request>,
    template: Template,
    redirects: Redirects,
    next: Next<'a>,
    extensions: &'a mut Extensions,
}

/// What is known of a request once it was sent.
enum Template {
    /// A copy.
    Repeatable(Request),
    /// Its body was a stream, and is gone.
    Once { method: Method, url: Url, headers: HeaderMap },
}

impl Call<'_> {
    /// Goes on from a response to what was sent with `with`.
    async fn follow(
        &mut self,
        mut response: Response,
        with: Sent<'_>,
    ) -> Result<Response, reqwest_middleware::Error> {
        let Some(mut sent) = self.template.again().map(|request| prepare(request, with)) else {
            return Ok(response);
        };
        for _ in 0..redirects::MOST {
            let Some(next) = redirects::next(sent, response.status(), response.headers()) else { break };
            // A stream is gone; the caller sees where it should have been sent.
            let Some(copy) = next.try_clone() else { break };
            Self::discard(response).await;
            response = self.next.clone().run(copy, self.extensions).await?;
            sent = next;
        }
        Ok(response)
    }
}

impl Template {
    /// The request; a stream is replaced by one that holds nothing.
    fn again(&self) -> Option<Request> {
        match self {
            Template::Repeatable(request) => request.try_clone(),
            Template::Once { method, url, headers } => {
                let mut request = Request::new(method.clone(), url.clone());
                *request.headers_mut() = headers.clone();
                *request.body_mut() = Some(Body::wrap(Empty::<Bytes>::new()));
                Some(request)
            }
        }
    }
}

impl Exchange for Call<'_> {
    type Response = Response;
    type Error = reqwest_middleware::Error;

    fn is_to(&self, origin: &Origin) -> bool {
        match &self.template {
            Template::Repeatable(request) => origin.is_of_url(request.url()),
            Template::Once { url, .. } => origin.is_of_url(url),
        }
    }

    fn method(&self) -> &Method {
        match &self.template {
            Template::Repeatable(request) => request.method(),
            Template::Once { method, .. } => method,
        }
    }

    fn headers(&self) -> &HeaderMap {
        match &self.template {
            Template::Repeatable(request) => request.headers(),
            Template::Once { headers, .. } => headers,
        }
    }

    fn url(&self) -> Option<Url> {
        Some(match &self.template {
            Template::Repeatable(request) => request.url().clone(),
            Template::Once { url, .. } => url.clone(),
        })
    }

    async fn send(&mut self, with: Sent<'_>) -> Result<Response, reqwest_middleware::Error> {
        let request = match (self.unsent.take(), &self.template) {
            (Some(request), _) => request,
            (None, Template::Repeatable(request)) => request.try_clone().ok_or_else(gone)?,
            (None, Template::Once { .. }) => return Err(gone()),
        };
        let response = self.next.clone().run(prepare(request, with), self.extensions).await?;
        match self.redirects {
            Redirects::Followed if redirects::is_redirect(&response) => self.follow(response, with).await,
            _ => Ok(response),
        }
    }

    async fn asked(&mut self, url: Url) -> Option<Asked> {
        let Template::Repeatable(request) = &self.template else { return None };
        let body = match request.body() {
            Some(body) => Bytes::copy_from_slice(body.as_bytes()?),
            None => Bytes::new(),
        };
        // A redirect may turn a POST into a GET on its way; sent to where it was sent before, it goes the same way again.
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let url = if is_read { url } else { request.url().clone() };
        Some(Asked { method: request.method().clone(), url, headers: request.headers().clone(), body })
    }

    fn answered_by(response: &Response) -> Option<&Url> {
        Some(response.url())
    }

    fn status(response: &Response) -> StatusCode {
        response.status()
    }

    fn response_headers(response: &Response) -> &HeaderMap {
        response.headers()
    }

    fn extensions_mut(response: &mut Response) -> &mut Extensions {
        response.extensions_mut()
    }

    async fn problem(mut response: Response) -> Option<ReceivedProblem> {
        let body = tokio::time::timeout(PROBLEM_TIME, read(&mut response)).await.ok().flatten()?;
        ReceivedProblem::parse(&body)
    }

    async fn discard(mut response: Response) {
        let _ = tokio::time::timeout(DISCARD_TIME, read(&mut response)).await;
    }
}

/// A body that ends, and is not too large.
pub(super) async fn read(response: &mut Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.ok()? {
        if body.len() + part.len() > PROBLEM_BYTES {
            return None;
        }
        body.extend_from_slice(&part);
    }
    Some(body)
}

fn prepare(mut request: Request, with: Sent<'_>) -> Request {
    match with {
        Sent::Unpaid(None) => {}
        Sent::Unpaid(Some(accept)) => {
            request.headers_mut().insert(ACCEPT_PAYMENT, accept.clone());
        }
        Sent::Paid(payment, asked) => {
            *request.url_mut() = asked.url.clone();
            *request.headers_mut() = asked.headers.clone();
            payment.attach_to(&asked.method, request.headers_mut());
        }
    }
    request
}

/// A stream was to be sent twice: the engine asks first, so this does not happen.
fn gone() -> reqwest_middleware::Error {
    reqwest_middleware::Error::middleware(super::Error::BodyNotReplayable)
}

impl fmt::Debug for PayMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PayMiddleware").field(&self.client).finish()
    }
}
