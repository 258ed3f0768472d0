//! What the paying client costs, in time and in allocations: over a request that costs nothing, and for a 402 that it pays.
//!
//! The other end is a function that answers from memory, so that what is measured is the client: `cargo bench -p mpp-benches
//! --bench client`. Targets: at most 2 µs over a free request, at most 50 µs for a payment with the sandbox's wallet, of which
//! the signature is the larger part.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use http::{Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use mpp::Amount;
use mpp::client::{Budget, Client, MemoryLedger, Policy};
use mpp::method::ClientMethod as _;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{Challenge, ChargeRequest, MethodName, Receipt, Timestamp, b64};
use reqwest::ResponseBuilderExt as _;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, Service};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const URL: &str = "https://api.example.com/weather";
const EXPIRES: &str = "2999-01-01T00:00:00Z";

static WALLET: LazyLock<Wallet> = LazyLock::new(Wallet::generate);

static RECEIPT: LazyLock<String> = LazyLock::new(|| {
    Receipt::new(MethodName::from_static("sandbox"), "sandbox-1", Timestamp::from_unix(0)).to_header_value()
});

/// A `request` of test money, as a server of this library writes it.
static REQUEST: LazyLock<String> = LazyLock::new(|| {
    let json =
        r#"{"amount":"50000","currency":"usdc","methodDetails":{"testMoney":true},"recipient":"till"}"#;
    ChargeRequest::decode(&b64::encode(json)).expect("a request").encode()
});

/// Answers everything with 200, or what has no credential with a challenge that nobody has seen before.
#[derive(Clone, Copy)]
enum Server {
    Free,
    Priced,
}

fn challenge() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let request = REQUEST.as_str();
    format!(
        r#"Payment id="{id:043}", realm="api.example.com", method="sandbox", intent="charge", request="{request}", expires="{EXPIRES}", opaque="eyJuIjoiMTIzNDU2Nzg5MDEyMzQ1NiIsIm9wIjoiR0VUIC93ZWF0aGVyIn0""#
    )
}

impl Server {
    fn answer(self, paid: bool) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from("sunny"));
        match (self, paid) {
            (Server::Free, _) => {}
            (Server::Priced, true) => {
                response.headers_mut().insert("payment-receipt", RECEIPT.parse().expect("a header value"));
            }
            (Server::Priced, false) => {
                *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
                let challenge = challenge().parse().expect("a header value");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }
}

impl Service<Request<Empty<Bytes>>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        ready(Ok(self.answer(request.headers().contains_key(header::AUTHORIZATION))))
    }
}

/// The end of a chain of `reqwest` middleware, in place of the network.
#[async_trait::async_trait]
impl Middleware for Server {
    async fn handle(
        &self,
        request: reqwest::Request,
        _: &mut http::Extensions,
        _: Next<'_>,
    ) -> Result<reqwest::Response, reqwest_middleware::Error> {
        let paid = request.headers().contains_key(header::AUTHORIZATION);
        let (head, _) = self.answer(paid).into_parts();
        // A response that says where it came from, as one from the network does.
        let mut response = Response::builder().url(request.url().clone()).body("sunny").expect("a response");
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response.into())
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn client() -> Client {
    let budget = Budget::total("usdc", Amount::whole(1_000_000_000)).per_request(Amount::cents(5));
    let policy = Policy::new(budget)
        .origins(["https://api.example.com"])
        .longest_validity(std::time::Duration::from_secs(u32::MAX.into()) * 8);
    Client::builder(policy, MemoryLedger::new()).method(WALLET.clone()).build().expect("a client")
}

fn request() -> Request<Empty<Bytes>> {
    Request::get(URL).header("accept", "*/*").body(Empty::new()).expect("a request")
}

fn call<S>(bencher: Bencher, service: S)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>> + Clone,
    S::Error: std::fmt::Debug,
{
    let runtime = runtime();
    let mut service = service;
    assert_eq!(runtime.block_on(service.call(request())).expect("an answer").status(), StatusCode::OK);
    let service = std::cell::RefCell::new(service);
    bencher.with_inputs(request).bench_local_values(|request| {
        runtime.block_on(service.borrow_mut().call(request)).expect("an answer")
    });
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn tower_free_without_the_layer(bencher: Bencher) {
    call(bencher, Server::Free);
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn tower_free(bencher: Bencher) {
    call(bencher, client().layer().layer(Server::Free));
}

#[divan::bench(sample_count = 300, sample_size = 16)]
fn tower_paid(bencher: Bencher) {
    call(bencher, client().layer().layer(Server::Priced));
}

fn reqwest_call(bencher: Bencher, http: ClientWithMiddleware) {
    let runtime = runtime();
    let request = || http.get(URL).header("accept", "*/*").build().expect("a request");
    assert_eq!(runtime.block_on(http.execute(request())).expect("an answer").status(), StatusCode::OK);
    bencher
        .with_inputs(request)
        .bench_local_values(|request| runtime.block_on(http.execute(request)).expect("an answer"));
}

/// A `reqwest` client that is never asked.
fn unasked() -> reqwest::Client {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client")
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn reqwest_free_without_the_middleware(bencher: Bencher) {
    reqwest_call(bencher, ClientBuilder::new(unasked()).with(Server::Free).build());
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn reqwest_free(bencher: Bencher) {
    reqwest_call(
        bencher,
        ClientBuilder::new(unasked()).with(client().middleware()).with(Server::Free).build(),
    );
}

#[divan::bench(sample_count = 300, sample_size = 16)]
fn reqwest_paid(bencher: Bencher) {
    reqwest_call(
        bencher,
        ClientBuilder::new(unasked()).with(client().middleware()).with(Server::Priced).build(),
    );
}

/// The part of a payment that is the wallet's: reading the request and the signature.
#[divan::bench(sample_count = 300, sample_size = 16)]
fn the_wallet_alone(bencher: Bencher) {
    let runtime = runtime();
    let challenge = Challenge::parse_all([challenge().as_str()]).offers.remove(0);
    bencher.bench_local(|| runtime.block_on(WALLET.pay(&challenge)).expect("a signature"));
}
