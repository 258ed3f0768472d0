//! A client that calls a router in process and pays with test money.

use crate::method::ClientMethod;
use crate::method::sandbox::Wallet;
use crate::protocol::{Challenge, Challenges, Credential, Currency, ProblemType, Receipt};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

/// Calls a router in process; see the [module](crate::testing).
#[derive(Debug, Clone)]
pub struct Client {
    router: Router,
    wallet: Wallet,
}

impl Client {
    /// A client of this router that pays with the kit's [`wallet`](super::wallet).
    pub fn new(router: impl Into<crate::routing::Router>) -> Self {
        Self { router: router.into().into_axum(), wallet: super::wallet() }
    }

    /// Pays with another wallet.
    pub fn with_wallet(mut self, wallet: Wallet) -> Self {
        self.wallet = wallet;
        self
    }

    /// A `GET`.
    pub fn get(&self, uri: &str) -> Request {
        self.request(Method::GET, uri)
    }

    /// A `POST`.
    pub fn post(&self, uri: &str) -> Request {
        self.request(Method::POST, uri)
    }

    /// Any verb.
    pub fn request(&self, method: Method, uri: &str) -> Request {
        Request {
            client: self.clone(),
            method,
            uri: uri.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}

/// A request that has not been sent.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    client: Client,
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// Adds a header line.
    ///
    /// # Panics
    /// When it is not a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let mut value: HeaderValue = value.parse().expect("a header value");
        // A request is printable; what it pays with is not.
        value.set_sensitive(name == header::AUTHORIZATION);
        self.headers.append(name, value);
        self
    }

    /// A body as it is.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body.
    pub fn json(mut self, value: &impl serde::Serialize) -> Self {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = serde_json::to_vec(value).expect("a value that is JSON").into();
        self
    }

    /// Sends it as it is.
    pub async fn send(self) -> Response {
        let mut request = axum::http::Request::new(Body::from(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri.parse().expect("a URI");
        *request.headers_mut() = self.headers;
        let Ok(response) = self.client.router.oneshot(request).await;
        let (parts, body) = response.into_parts();
        // A body that breaks off is a response that never arrived whole.
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        Response { status: parts.status, headers: parts.headers, body }
    }

    /// Sends it without paying.
    pub async fn unpaid(self) -> Response {
        self.send().await
    }

    /// Sends it with an `Authorization` line.
    pub async fn presenting(self, authorization: &str) -> Response {
        self.header("authorization", authorization).send().await
    }

    /// Asks for the price, pays it by `method`, and sends the request again.
    ///
    /// # Panics
    /// When `method` is not offered, or the kit's wallet cannot answer the challenge.
    pub async fn paying(self, method: &str) -> Response {
        let credential = self.clone().credential(method).await;
        self.presenting(&credential).await
    }

    /// As [`paying`](Self::paying) by the first offer, from a wallet without money.
    pub async fn declining(self) -> Response {
        let offers = self.clone().unpaid().await.challenges();
        let challenge = offers.offers.first().expect("an offer").clone();
        let credential = pay(&Wallet::from_seed([0; 32]), challenge).await;
        self.presenting(&credential).await
    }

    /// Asks for the price and makes the credential for it, as the value of an `Authorization` header, without sending it.
    ///
    /// # Panics
    /// When `method` is not offered, or the kit's wallet cannot answer the challenge.
    pub async fn credential(self, method: &str) -> String {
        let wallet = self.client.wallet.clone();
        let offers = self.unpaid().await.challenges().offers;
        let Some(challenge) = offers.iter().find(|c| c.method.as_str() == method) else {
            let offered: Vec<_> = offers.iter().map(|c| c.method.as_str()).collect();
            panic!("`{method}` is not offered (offered: {offered:?})");
        };
        pay(&wallet, challenge.clone()).await
    }
}

async fn pay(wallet: &Wallet, challenge: Challenge) -> String {
    let payer = wallet.for_method(challenge.method.clone());
    let proof = payer.pay(&challenge).await.expect("a challenge the wallet understands");
    Credential { challenge, source: proof.source, payload: proof.payload }.to_header_value()
}

/// A response, whole.
#[derive(Debug, Clone)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// One header's first value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The challenges offered.
    pub fn challenges(&self) -> Challenges {
        let lines = self.headers.get_all(header::WWW_AUTHENTICATE);
        Challenge::parse_all(lines.iter().filter_map(|line| line.to_str().ok()))
    }

    /// The receipt.
    ///
    /// # Panics
    /// When there is none, or it cannot be read.
    pub fn receipt(&self) -> Receipt {
        let value = self.header("payment-receipt").expect("a Payment-Receipt header");
        Receipt::parse_header(value).expect("a receipt")
    }

    /// Asserts a 402 that offers exactly this, in this order: `"tempo 0.05 usdc"`.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn assert_offers<'a>(&self, expected: impl IntoIterator<Item = &'a str>) {
        assert_eq!(self.status, StatusCode::PAYMENT_REQUIRED, "{}", self.text());
        let offered: Vec<String> = self.challenges().offers.iter().map(describe).collect();
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(offered, expected);
    }

    /// Asserts a problem of this type, with its status: `"verification-failed"`.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn assert_problem(&self, slug: &str) {
        let found: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let uri = found["type"].as_str().unwrap_or("(not a problem)");
        assert_eq!(uri.rsplit(['/', ':']).next(), Some(slug), "{} {}", self.status, self.text());
        if let Some(kind) = ProblemType::by_uri(uri) {
            assert_eq!(self.status.as_u16(), kind.status(), "the status of {uri}");
        }
    }
}

/// `tempo 0.05 usdc`, or base units of a currency nobody here knows.
fn describe(challenge: &Challenge) -> String {
    match challenge.charge() {
        Ok(charge) => {
            let decimals = Currency::by_name(&charge.currency).map_or(0, |c| c.decimals);
            format!("{} {} {}", challenge.method, charge.amount.to_amount(decimals), charge.currency)
        }
        Err(_) => format!("{} (a request that cannot be read)", challenge.method),
    }
}
