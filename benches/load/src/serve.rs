//! The servers that are measured, each with one thread: what axum does alone, what it does with the bytes of a 402 that was made
//! beforehand, and a price of this library.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use mpp::{Mpp, Paid, Secret, Tempo};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;

/// What to serve.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// axum's own hello-world
    Hello,
    /// The 402 in this file, head and body as they were received, again and again
    Constant {
        /// Where it is
        answer: PathBuf,
    },
    /// A fixed price on the chain at this node
    Priced {
        /// The node; it is asked nothing before somebody pays
        node: String,
        /// Who is paid
        recipient: String,
        /// The chain
        chain: u64,
    },
}

/// Serves until the standard input ends.
pub(crate) fn serve(what: What) {
    let app = match what {
        What::Hello => Router::new().route("/", axum::routing::get(async || "Hello, World!")),
        What::Constant { answer } => constant(&answer),
        What::Priced { node, recipient, chain } => priced(&node, &recipient, chain),
    };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("listening on http://{}", listener.local_addr().expect("it is bound"));
        axum::serve(listener, app).await.expect("it serves");
    });
}

fn constant(answer: &Path) -> Router {
    let heard = std::fs::read(answer).expect("the answer");
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(&heard).expect("an HTTP answer") else {
        panic!("half an answer");
    };
    let status = StatusCode::from_u16(response.code.expect("a status")).expect("a status");
    let body = Bytes::copy_from_slice(&heard[head..]);
    // Those that the server writes itself would be there twice.
    let written = |name: &str| ["date", "content-length"].iter().any(|own| name.eq_ignore_ascii_case(own));
    let parse = |header: &httparse::Header<'_>| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).expect("a name");
        (name, HeaderValue::from_bytes(header.value).expect("a value"))
    };
    let headers: HeaderMap =
        response.headers.iter().filter(|header| !written(header.name)).map(parse).collect();
    let (headers, path) = (Arc::new(headers), "/");
    let handler = async move || {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = HeaderMap::clone(&headers);
        response
    };
    Router::new().route(path, axum::routing::get(handler))
}

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn weather(_: Paid) -> &'static str {
    "sunny, 21 degrees\n"
}

fn priced(node: &str, recipient: &str, chain: u64) -> Router {
    let mpp = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(Tempo::new(recipient).rpc(node).chain_id(chain))
        .single_process_volatile_store()
        .ignore_module("load::growth") // this program's other prices, in another process
        .build()
        .expect("the price of this file can be paid");
    mpp::routing::Router::new().route("/", mpp::routing::get(weather)).with_state(mpp).into_axum()
}
