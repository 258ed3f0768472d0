//! A client that calls a router in process and pays with test money.
//!
//! It goes the whole way of the protocol: the challenge is parsed from `WWW-Authenticate` (draft-httpauth-payment-00
//! section 5.1), the wallet signs, the credential travels in `Authorization` (5.2). Only the socket is missing.

use crate::method::ClientMethod;
use crate::method::sandbox::Wallet;
use crate::protocol::{Challenge, Challenges, Credential, Currency, ProblemType, Receipt};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

/// Calls a router in process; see the [module](crate::testing). Clones share the router and its state.
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
/// assert_eq!(client.get("/weather").unpaid().await.status(), 402);
/// assert_eq!(client.get("/weather").paying("tempo").await.text(), "sunny");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    router: Router,
    wallet: Wallet,
}

impl Client {
    /// A client of this router that pays with the kit's [`wallet`](super::wallet).
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// // A plain axum router will do as well.
    /// let app = axum::Router::new().route("/weather", axum::routing::get(weather)).with_state(testing::mpp());
    /// assert_eq!(testing::Client::new(app).get("/weather").unpaid().await.status(), 402);
    /// # }
    /// ```
    pub fn new(router: impl Into<crate::routing::Router>) -> Self {
        Self { router: router.into().into_axum(), wallet: super::wallet() }
    }

    /// Pays with another wallet.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// use mpp::method::sandbox::Wallet;
    ///
    /// let stranger = client.with_wallet(Wallet::generate());
    /// stranger.get("/weather").paying("tempo").await.assert_problem("verification-failed");
    /// # }
    /// ```
    pub fn with_wallet(mut self, wallet: Wallet) -> Self {
        self.wallet = wallet;
        self
    }

    /// A `GET`.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// assert_eq!(client.get("/weather?unit=kelvin").unpaid().await.status(), 402);
    /// # }
    /// ```
    pub fn get(&self, uri: &str) -> Request {
        self.request(Method::GET, uri)
    }

    /// A `POST`.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
    /// # async fn echo(_: Paid, body: String) -> String { body }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/echo", post(echo)).with_state(testing::mpp()));
    /// assert_eq!(client.post("/echo").body("hello").paying("tempo").await.text(), "hello");
    /// # }
    /// ```
    pub fn post(&self, uri: &str) -> Request {
        self.request(Method::POST, uri)
    }

    /// Any verb.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// use axum::http::Method;
    /// assert_eq!(client.request(Method::DELETE, "/weather").unpaid().await.status(), 405);
    /// # }
    /// ```
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
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
/// let request = client.get("/weather").header("accept-language", "de");
/// // A request can be sent more than once.
/// assert_eq!(request.clone().unpaid().await.status(), 402);
/// assert_eq!(request.paying("tempo").await.status(), 200);
/// # }
/// ```
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
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let request = client.get("/weather").header("accept-payment", "stripe/charge");
    /// request.unpaid().await.assert_offers(["tempo 0.05 usdc"]); // no match: everything is offered
    /// # }
    /// ```
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let mut value: HeaderValue = value.parse().expect("a header value");
        // A request is printable; what it pays with is not.
        value.set_sensitive(name == header::AUTHORIZATION);
        self.headers.append(name, value);
        self
    }

    /// A body as it is.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
    /// # async fn echo(_: Paid, body: String) -> String { body }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/echo", post(echo)).with_state(testing::mpp()));
    /// let answer = client.post("/echo").body("hello").paying("tempo").await;
    /// assert_eq!(answer.body().as_ref(), b"hello");
    /// # }
    /// ```
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body, with its `Content-Type`.
    ///
    /// # Panics
    /// When the value cannot be JSON.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
    /// # async fn echo(_: Paid, body: String) -> String { body }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/echo", post(echo)).with_state(testing::mpp()));
    /// let answer = client.post("/echo").json(&serde_json::json!({ "words": 3 })).paying("tempo").await;
    /// assert_eq!(answer.json()["words"], 3);
    /// # }
    /// ```
    pub fn json(mut self, value: &impl serde::Serialize) -> Self {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = serde_json::to_vec(value).expect("a value that is JSON").into();
        self
    }

    /// Sends it as it is, without paying.
    ///
    /// # Panics
    /// When the URI is none.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let bearer = client.get("/weather").header("authorization", "Bearer me");
    /// assert_eq!(bearer.send().await.status(), 402);
    /// # }
    /// ```
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

    /// Sends it without paying: [`send`](Self::send), by the name a test reads best.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// client.get("/weather").unpaid().await.assert_offers(["tempo 0.05 usdc"]);
    /// # }
    /// ```
    pub async fn unpaid(self) -> Response {
        self.send().await
    }

    /// Sends it with an `Authorization` line.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let credential = client.get("/weather").credential("tempo").await;
    /// assert_eq!(client.get("/weather").presenting(&credential).await.status(), 200);
    /// // One payment, one delivery.
    /// client.get("/weather").presenting(&credential).await.assert_problem("invalid-challenge");
    /// # }
    /// ```
    pub async fn presenting(self, authorization: &str) -> Response {
        self.header("authorization", authorization).send().await
    }

    /// Asks for the price, pays it by `method`, and sends the request again.
    ///
    /// # Panics
    /// When `method` is not offered, or the kit's wallet cannot answer the challenge.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let bought = client.get("/weather").paying("tempo").await;
    /// assert_eq!(bought.receipt().method.as_str(), "tempo");
    /// # }
    /// ```
    pub async fn paying(self, method: &str) -> Response {
        let credential = self.clone().credential(method).await;
        self.presenting(&credential).await
    }

    /// As [`paying`](Self::paying) by the first offer, from a wallet without money.
    ///
    /// # Panics
    /// When nothing is offered, or a wallet cannot answer the challenge.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// client.get("/weather").declining().await.assert_problem("verification-failed");
    /// # }
    /// ```
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
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let quoted = client.get("/weather").credential("tempo").await;
    /// assert!(quoted.starts_with("Payment "));
    /// # }
    /// ```
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
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
/// let answer = client.get("/weather").paying("tempo").await;
/// assert_eq!(answer.status(), 200);
/// assert_eq!(answer.header("cache-control"), Some("private"));
/// assert_eq!(answer.text(), "sunny");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Response {
    /// The status.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// assert_eq!(client.get("/weather").unpaid().await.status(), 402);
    /// # }
    /// ```
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// assert!(client.get("/weather").unpaid().await.headers().contains_key("www-authenticate"));
    /// # }
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// One header's first value, if it is text.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// assert_eq!(client.get("/weather").unpaid().await.header("cache-control"), Some("no-store"));
    /// # }
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// assert_eq!(client.get("/weather").paying("tempo").await.body().len(), 5);
    /// # }
    /// ```
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text; what is not UTF-8 is replaced.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// assert_eq!(client.get("/weather").paying("tempo").await.text(), "sunny");
    /// # }
    /// ```
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let problem = client.get("/weather").unpaid().await.json();
    /// assert_eq!(problem["title"], "Payment Required");
    /// # }
    /// ```
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The challenges offered, in order; none when this is no 402.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let offered = client.get("/weather").unpaid().await.challenges();
    /// assert_eq!(offered.offers[0].realm, "test.example");
    /// # }
    /// ```
    pub fn challenges(&self) -> Challenges {
        let lines = self.headers.get_all(header::WWW_AUTHENTICATE);
        Challenge::parse_all(lines.iter().filter_map(|line| line.to_str().ok()))
    }

    /// The receipt.
    ///
    /// # Panics
    /// When there is none, or it cannot be read.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let receipt = client.get("/weather").paying("tempo").await.receipt();
    /// assert!(receipt.reference.starts_with("sandbox-"));
    /// # }
    /// ```
    pub fn receipt(&self) -> Receipt {
        let value = self.header("payment-receipt").expect("a Payment-Receipt header");
        Receipt::parse_header(value).expect("a receipt")
    }

    /// Asserts a 402 that offers exactly this, in this order: method, amount in units of the currency, currency. A currency
    /// nobody here knows by name is counted in base units.
    ///
    /// # Panics
    /// When it does not.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe(amount = "0.50", currency = "usd")))]
    /// # async fn report(_: Paid) {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/report", get(report)).with_state(testing::mpp()));
    /// client.get("/report").unpaid().await.assert_offers(["tempo 0.05 usdc", "stripe 0.5 usd"]);
    /// # }
    /// ```
    #[track_caller]
    pub fn assert_offers<'a>(&self, expected: impl IntoIterator<Item = &'a str>) {
        assert_eq!(self.status, StatusCode::PAYMENT_REQUIRED, "{}", self.text());
        let offered: Vec<String> = self.challenges().offers.iter().map(describe).collect();
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(offered, expected);
    }

    /// Asserts a problem (RFC 9457) of this type, with the status the type has. `slug` is the end of its URI.
    ///
    /// # Panics
    /// When it is something else.
    ///
    /// ```
    /// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
    /// let garbage = client.get("/weather").presenting("Payment e30").await;
    /// garbage.assert_problem("malformed-credential");
    /// # }
    /// ```
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
