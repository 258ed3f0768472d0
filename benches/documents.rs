//! What documents cost: starting a large service without its document, building the document once, and serving it, beside
//! axum's own part of the same.
//!
//! Measured on one core of a shared machine (AMD EPYC, 2026), the fastest of 20 runs: 10,000 priced routes start in 16 ms, 14 MB and
//! 145,000 allocations, two thirds of which are axum's; their documents take half a second, in the background of the start; a
//! document is served in 1.0 µs.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use divan::{AllocProfiler, Bencher, black_box};
use mpp::discovery::Info;
use mpp::routing::get;
use mpp::{Mpp, Paid, testing};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Current weather.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
async fn weather(_: Paid) -> &'static str {
    "sunny, 21 degrees\n"
}

const ROUTES: usize = 10_000;

fn paths(routes: usize) -> Vec<String> {
    (0..routes).map(|n| format!("/weather/{n}")).collect()
}

fn info() -> Info {
    Info::new("Weather", "1").allow_unmounted()
}

/// A published service with so many routes.
fn published(mpp: &Mpp, paths: &[String]) -> Router {
    let routes = paths.iter().fold(mpp::routing::Router::new(), |app, path| app.route(path, get(weather)));
    routes.publish(mpp, info()).expect("nothing is wrong with it").with_state(mpp.clone()).into_axum()
}

/// The baseline: the same handlers on axum's own router, which charges for them as well but lists nothing.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn start_10_000_routes_of_axum(bencher: Bencher) {
    let (mpp, paths) = (testing::mpp(), paths(ROUTES));
    bencher.bench_local(|| {
        let routes =
            paths.iter().fold(Router::new(), |app, path| app.route(path, axum::routing::get(weather)));
        routes.with_state::<()>(mpp.clone())
    });
}

/// To the moment in which it could be served; the document is not built for that.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn start_10_000_priced_routes(bencher: Bencher) {
    let (mpp, paths) = (testing::mpp(), paths(ROUTES));
    bencher.bench_local(|| published(&mpp, &paths));
}

/// The same inside a runtime, which begins to build the document at that moment, on another thread.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn start_10_000_priced_routes_in_a_runtime(bencher: Bencher) {
    let (mpp, paths) = (testing::mpp(), paths(ROUTES));
    let runtime = || Builder::new_current_thread().enable_all().build().expect("a runtime");
    bencher.with_inputs(runtime).bench_local_values(|runtime| {
        let entered = runtime.enter();
        let router = published(&mpp, &paths);
        drop(entered);
        // Dropped outside of what is measured: that waits for the document.
        (router, runtime)
    });
}

/// Once in the life of a process, in the background of its start.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn build_the_documents_of_10_000_routes(bencher: Bencher) {
    let (mpp, paths) = (testing::mpp(), paths(ROUTES));
    let app =
        paths.iter().fold(mpp::routing::Router::<Mpp>::new(), |app, path| app.route(path, get(weather)));
    bencher.bench_local(|| app.documents(&mpp, &info()));
}

/// A server without a socket.
struct Server {
    router: Router,
    runtime: Runtime,
}

impl Server {
    fn of(router: Router) -> Server {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Server { router, runtime }
    }

    fn call(&self, path: &'static str) -> Response<Body> {
        let request = Request::get(path).body(Body::empty()).expect("a valid request");
        let answer: Result<_, Infallible> = self.runtime.block_on(self.router.clone().call(request));
        match answer {
            Ok(response) => response,
        }
    }
}

/// The baseline: a handler that answers the very bytes of the document, and does nothing for them.
#[divan::bench(sample_count = 300, sample_size = 64)]
fn serve_static_file(bencher: Bencher) {
    let documents = Server::of(published(&testing::mpp(), &paths(100)));
    let (mut head, body) = documents.call("/openapi.json").into_parts();
    let file = documents.runtime.block_on(to_bytes(body, usize::MAX)).expect("it is in memory");
    head.headers.remove(header::CONTENT_LENGTH); // axum writes it
    let headers = Arc::new(head.headers);
    let serve = async move |_: HeaderMap| {
        let mut response = Response::new(Body::from(file));
        *response.headers_mut() = HeaderMap::clone(&headers);
        response
    };
    let server = Server::of(Router::new().route("/file", axum::routing::get(serve)));
    assert_eq!(server.call("/file").status(), StatusCode::OK);
    bencher.bench_local(|| black_box(server.call("/file")));
}

#[divan::bench(sample_count = 300, sample_size = 64)]
fn serve_document(bencher: Bencher) {
    let mpp = testing::mpp();
    let server = Server::of(published(&mpp, &paths(100)));
    assert_eq!(server.call("/openapi.json").status(), StatusCode::OK);
    bencher.bench_local(|| black_box(server.call("/openapi.json")));
}
