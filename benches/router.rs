//! What a priced route costs over a free one, through the whole axum router, in time and in allocations.
//!
//! Every case is one request from the router's `call` to the response; nothing touches a socket. Run it with
//! `cargo xtask bench`, which holds it on one core and prints the differences; `benches/peers` has the same cases beside
//! those of other libraries. What is paid is paid with the sandbox, so that what is measured is this library and not a network.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use divan::{AllocProfiler, Bencher};

use server::{Server, authorized, get, order};

#[path = "shared/ours.rs"]
mod ours;
#[path = "shared/server.rs"]
mod server;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Measures one request again and again; checks once that it is answered as it should be.
fn measure(bencher: Bencher, server: &Server, status: StatusCode, request: impl Fn() -> Request<Body>) {
    assert_eq!(server.call(request()).status(), status);
    bencher.with_inputs(request).bench_local_values(|request| server.call(request));
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn free_handler(bencher: Bencher) {
    measure(bencher, &Server::of(ours::router), StatusCode::OK, || get("/free"));
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn constant_402(bencher: Bencher) {
    measure(bencher, &Server::of(ours::constant), StatusCode::PAYMENT_REQUIRED, || get("/constant"));
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn challenge_one_method(bencher: Bencher) {
    measure(bencher, &Server::of(ours::router), StatusCode::PAYMENT_REQUIRED, || get("/one"));
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn challenge_two_methods(bencher: Bencher) {
    measure(bencher, &Server::of(ours::router), StatusCode::PAYMENT_REQUIRED, || get("/two"));
}

/// The price depends on a body of 1 KB, which is read, bound to the challenge and given to the handler's extractor.
#[divan::bench(sample_count = 300, sample_size = 64)]
fn computed_price(bencher: Bencher) {
    measure(bencher, &Server::of(ours::router), StatusCode::PAYMENT_REQUIRED, || order("/computed"));
}

/// A request that `free_if` lets through.
#[divan::bench(sample_count = 300, sample_size = 64)]
fn free_tier(bencher: Bencher) {
    measure(bencher, &Server::of(ours::router), StatusCode::OK, || get("/tier?pages=1"));
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn forged_credential(bencher: Bencher) {
    let server = Server::of(ours::router);
    let value = ours::forged(&server, "/one");
    measure(bencher, &server, StatusCode::PAYMENT_REQUIRED, || authorized("/one", &value));
}

/// A payment: verified, claimed, settled, journaled, delivered with a receipt. Every call spends a credential
/// of its own.
#[divan::bench(sample_count = 100, sample_size = 8)]
fn valid_credential(bencher: Bencher) {
    let server = Server::of(ours::router);
    measure(bencher, &server, StatusCode::OK, || authorized("/sandbox", &ours::credential(&server)));
}
