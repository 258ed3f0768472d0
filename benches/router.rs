//! What a priced route costs over a free one, through the whole axum router, in time and in allocations.
//!
//! Every case is one request from the router's `call` to the response; nothing touches a socket. Run it with
//! `cargo xtask bench`, which holds it on one core and prints the differences. The sandbox stands for the
//! payment method, so that what is measured is this library and not a network.

use std::cell::RefCell;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use divan::{AllocProfiler, Bencher};
use mpp::method::ClientMethod as _;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{Challenge, Credential};
use mpp::routing::get;
use mpp::{Amount, Mpp, Paid, Sandbox, Secret};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const BODY: &str = "sunny, 21 degrees\n";

/// The baseline: the same handler without a price.
async fn free() -> &'static str {
    BODY
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn one_method(_: Paid) -> &'static str {
    BODY
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
async fn two_methods(_: Paid) -> &'static str {
    BODY
}

static WALLET: LazyLock<Wallet> = LazyLock::new(Wallet::generate);

fn router() -> Router {
    let purse = |name| Sandbox::named(name).account(&WALLET.did(), Amount::whole(1_000_000_000));
    let mpp = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(purse("sandbox"))
        .method(purse("tempo"))
        .method(purse("stripe").currency("usdc", "usd", 2))
        .allow_test_money()
        .build()
        .expect("the prices of this file can be paid");
    mpp::routing::Router::new()
        .route("/one", get(one_method))
        .route("/two", get(two_methods))
        .route("/free", axum::routing::get(free))
        .with_state(mpp)
        .into_axum()
}

/// One server on one thread, called directly.
struct Server {
    runtime: Runtime,
    router: RefCell<Router>,
}

impl Server {
    fn new() -> Server {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let router = runtime.block_on(async { router() });
        Server { runtime, router: RefCell::new(router) }
    }

    fn call(&self, request: Request<Body>) -> Response<Body> {
        let mut router = self.router.borrow_mut();
        let Ok(response) = self.runtime.block_on(router.call(request));
        response
    }

    /// A credential nobody has used, that pays for `/one`.
    fn credential(&self) -> Credential {
        let unpaid = self.call(request("/one"));
        let line = unpaid.headers()[header::WWW_AUTHENTICATE].to_str().expect("an ASCII header");
        let challenge = Challenge::parse_all([line]).offers.remove(0);
        let proof = self.runtime.block_on(WALLET.pay(&challenge)).expect("the account is funded");
        Credential { challenge, source: proof.source, payload: proof.payload }
    }
}

fn request(path: &'static str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a valid request")
}

fn with_credential(path: &'static str, value: &str) -> Request<Body> {
    let mut request = request(path);
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("an ASCII header"));
    request
}

/// Measures `path` without a credential; checks once that it answers what it should.
fn unpaid(bencher: Bencher, path: &'static str, status: StatusCode) {
    let server = Server::new();
    assert_eq!(server.call(request(path)).status(), status);
    bencher.with_inputs(|| request(path)).bench_local_values(|request| server.call(request));
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn free_handler(bencher: Bencher) {
    unpaid(bencher, "/free", StatusCode::OK);
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn challenge_one_method(bencher: Bencher) {
    unpaid(bencher, "/one", StatusCode::PAYMENT_REQUIRED);
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn challenge_two_methods(bencher: Bencher) {
    unpaid(bencher, "/two", StatusCode::PAYMENT_REQUIRED);
}

/// Well formed, and not ours: what an attacker can send without paying anything.
#[divan::bench(sample_count = 300, sample_size = 64)]
fn forged_credential(bencher: Bencher) {
    let server = Server::new();
    let mut credential = server.credential();
    credential.challenge.id = "A".repeat(credential.challenge.id.len());
    let value = credential.to_header_value();
    assert_eq!(server.call(with_credential("/one", &value)).status(), StatusCode::PAYMENT_REQUIRED);
    bencher
        .with_inputs(|| with_credential("/one", &value))
        .bench_local_values(|request| server.call(request));
}

/// A payment: verified, claimed, settled, journaled, delivered with a receipt. Every call spends a credential
/// of its own.
#[divan::bench(sample_count = 100, sample_size = 8)]
fn valid_credential(bencher: Bencher) {
    let server = Server::new();
    let value = server.credential().to_header_value();
    assert_eq!(server.call(with_credential("/one", &value)).status(), StatusCode::OK);
    bencher
        .with_inputs(|| with_credential("/one", &server.credential().to_header_value()))
        .bench_local_values(|request| server.call(request));
}
