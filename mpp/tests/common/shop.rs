//! A shop with every kind of price, and what its handlers saw.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use mpp::routing::{Router, any, get, post};
use mpp::{Amount, Hold, Mpp, Paid, Receipt};
use serde::Deserialize;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What the handlers do, and what they saw.
pub struct Bench {
    pub runs: AtomicU32,
    /// Handlers fail until this many runs.
    pub failures: AtomicU32,
    /// Price of a unit, in micros.
    pub unit: AtomicU64,
    /// Slow handlers wait here.
    pub door: Semaphore,
    pub inside: AtomicUsize,
    pub seen: Mutex<Vec<String>>,
    /// What the next stream is fed from.
    pub tap: Mutex<Option<Tap>>,
}

#[derive(Clone)]
pub struct App {
    pub mpp: Mpp,
    pub bench: Arc<Bench>,
}

impl FromRef<App> for Mpp {
    fn from_ref(app: &App) -> Self {
        app.mpp.clone()
    }
}

impl FromRef<App> for Arc<Bench> {
    fn from_ref(app: &App) -> Self {
        app.bench.clone()
    }
}

pub type Shared = State<Arc<Bench>>;

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn cheap(paid: Paid<Receipt>) -> String {
    format!("run {} of {} by {:?}", paid.attempt(), paid.reference, paid.payer())
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn cheap_too(_: Paid) -> &'static str {
    "posted"
}

#[mpp::charge(amount = "1.00", currency = "usdc", methods(tempo))]
pub async fn dear(_: Paid) -> &'static str {
    "dear"
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn city(Path(city): Path<String>, _: Paid) -> String {
    city
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn flaky(State(bench): Shared, paid: Paid) -> Result<String, StatusCode> {
    bench.runs.fetch_add(1, Ordering::SeqCst);
    bench.seen.lock().unwrap().push(paid.delivery_id().unwrap_or("none").to_owned());
    if bench.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    Ok(format!("run {}", paid.attempt()))
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn panics(State(bench): Shared, _: Paid) -> &'static str {
    if bench.runs.fetch_add(1, Ordering::SeqCst) == 0 {
        panic!("the handler is out of order");
    }
    "recovered"
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn slow(State(bench): Shared, paid: Paid) -> String {
    bench.inside.fetch_add(1, Ordering::SeqCst);
    bench.door.acquire().await.unwrap().forget();
    format!("run {}", paid.attempt())
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn says_402(_: Paid) -> StatusCode {
    StatusCode::PAYMENT_REQUIRED
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn elsewhere(_: Paid) -> Redirect {
    Redirect::to("/there")
}

pub fn units(bench: &Bench, n: u32) -> Result<Amount, StatusCode> {
    if !(1..=1000).contains(&n) {
        return Err(StatusCode::UNPROCESSABLE_ENTITY);
    }
    Ok(Amount::micros(bench.unit.load(Ordering::SeqCst).into()) * n)
}

#[mpp::charge(amount = units(&bench, *n), up_to = "5", currency = "usdc", methods(tempo))]
pub async fn metered(State(bench): Shared, Path(n): Path<u32>, _: Paid) -> String {
    bench.runs.fetch_add(1, Ordering::SeqCst);
    n.to_string()
}

#[mpp::charge(amount = units(&bench, *n), honor = "quote", bind("x-tier"), currency = "usdc", methods(tempo))]
pub async fn quoted(State(bench): Shared, Path(n): Path<u32>, _: Paid) -> String {
    drop(bench);
    n.to_string()
}

#[derive(Deserialize)]
pub struct Echo {
    say: String,
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn echo(Json(body): Json<Echo>, _: Paid) -> String {
    body.say
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn raw(headers: HeaderMap, body: Bytes, _: Paid) -> String {
    let lines: Vec<_> =
        headers.get_all("authorization").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
    format!("{lines:?} {}", body.len())
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), challenge = "first")]
pub async fn catalogue(Json(body): Json<Echo>, _: Paid) -> String {
    body.say
}

#[derive(Deserialize)]
pub struct Tier {
    member: bool,
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), free_if = tier.member)]
pub async fn tiered(Query(tier): Query<Tier>, paid: Paid<Option<Receipt>>) -> String {
    let Tier { member } = tier;
    format!("{member} {}", paid.is_some())
}

#[mpp::charge(amount = "0", proof = true, currency = "usdc", methods(tempo))]
pub async fn whoami(paid: Paid) -> String {
    paid.payer().unwrap_or("nobody").to_owned()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), capture = "success")]
pub async fn held(State(bench): Shared, hold: Paid<Hold>) -> Result<String, StatusCode> {
    if bench.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(format!("{} run {}", hold.method(), hold.attempt()))
}

/// Two methods, in the server's order of preference.
#[mpp::charge(amount = "0.60", currency = "usdc", methods(tempo, stripe))]
pub async fn both(paid: Paid) -> String {
    paid.method.to_string()
}

/// A price of its own per method, computed.
#[mpp::charge(methods(
    tempo(amount = units(&bench, *n), currency = "usdc"),
    stripe(amount = units(&bench, *n), currency = "usdc"),
))]
pub async fn each(State(bench): Shared, Path(n): Path<u32>, paid: Paid) -> String {
    drop(bench);
    format!("{n} {}", paid.method)
}

fn beyond(n: u32) -> Amount {
    Amount::whole(u128::from(u64::MAX)) * u64::MAX * n
}

#[mpp::charge(amount = beyond(*n), currency = "usdc", methods(tempo))]
pub async fn overflowing(Path(n): Path<u32>, _: Paid) -> String {
    n.to_string()
}

/// Finer than six decimals.
#[mpp::charge(amount = Amount::new(1, 9) * *n, currency = "usdc", methods(tempo))]
pub async fn fine(Path(n): Path<u32>, _: Paid) -> String {
    n.to_string()
}

/// A tariff that does not know everything.
fn tariff(id: u32) -> Result<Amount, (StatusCode, &'static str)> {
    if id == 1 { Ok(Amount::cents(1)) } else { Err((StatusCode::NOT_FOUND, "no such thing")) }
}

#[mpp::charge(amount = tariff(*id), currency = "usdc", methods(tempo))]
pub async fn thing(Path(id): Path<u32>, _: Paid) -> String {
    id.to_string()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), digest = false)]
pub async fn upload(body: axum::body::Body, _: Paid) -> String {
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map(|b| b.len());
    bytes.map_or_else(|_| "broke off".to_owned(), |n| n.to_string())
}

/// Whoever logged in.
pub struct User(String);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let mut lines = parts.headers.get_all(header::AUTHORIZATION).iter();
        let bearer = lines.find_map(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        bearer.map(|name| Self(name.to_owned())).ok_or(StatusCode::UNAUTHORIZED)
    }
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn members_only(User(name): User, _: Paid) -> String {
    name
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn headers_seen(headers: HeaderMap, _: Paid) -> String {
    let lines = headers.get_all(header::AUTHORIZATION).iter();
    lines.map(|v| format!("[{} {}]", String::from_utf8_lossy(v.as_bytes()), v.is_sensitive())).collect()
}

/// Answers what it is told to, with headers a paid response must not keep.
#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn status(Path(code): Path<u16>, _: Paid) -> Response {
    let code = StatusCode::from_u16(code).unwrap();
    let headers =
        [("cache-control", "public, max-age=60"), ("payment-receipt", "somebody-elses"), ("x-own", "kept")];
    (code, headers, "body").into_response()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), capture = "success")]
pub async fn held_status(Path(code): Path<u16>, hold: Paid<Hold>) -> Response {
    (StatusCode::from_u16(code).unwrap(), [("x-own", "kept")], format!("by {}", hold.method()))
        .into_response()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), capture = "success")]
pub async fn held_panics(State(bench): Shared, _: Paid<Hold>) -> &'static str {
    bench.runs.fetch_add(1, Ordering::SeqCst);
    panic!("the handler is out of order")
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), capture = "success")]
pub async fn held_slow(State(bench): Shared, hold: Paid<Hold>) -> String {
    bench.inside.fetch_add(1, Ordering::SeqCst);
    bench.door.acquire().await.unwrap().forget();
    format!("run {}", hold.attempt())
}

#[mpp::charge(amount = "0.02", currency = "usdc", methods(tempo))]
pub async fn anything_else(paid: Paid) -> String {
    format!("fallback {}", paid.attempt())
}

/// Answers with everything that must and must not be kept.
fn sold(bench: &Bench) -> Response {
    let run = bench.runs.fetch_add(1, Ordering::SeqCst) + 1;
    if bench.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let headers = [
        ("x-own", "kept"),
        ("set-cookie", "session=1"),
        ("payment-receipt", "somebody-elses"),
        ("cache-control", "public, max-age=60"),
    ];
    (StatusCode::CREATED, headers, format!("sold in run {run}")).into_response()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn order(State(bench): Shared, _: Paid, body: Bytes) -> Response {
    drop(body);
    sold(&bench)
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), replay = "response")]
pub async fn again(State(bench): Shared, _: Paid) -> Response {
    sold(&bench)
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), capture = "success")]
pub async fn held_order(State(bench): Shared, _: Paid<Hold>) -> Response {
    sold(&bench)
}

/// As many bytes.
#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), replay = "response")]
pub async fn sized(Path(bytes): Path<usize>, _: Paid) -> String {
    "x".repeat(bytes)
}

/// What the test sends through the tap, as it comes.
#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo), replay = "response")]
pub async fn stream(State(bench): Shared, _: Paid) -> Response {
    let tap = bench.tap.lock().unwrap().take().expect("the test has opened a tap");
    Response::new(axum::body::Body::new(tap))
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn plain_stream(State(bench): Shared, _: Paid) -> Response {
    let tap = bench.tap.lock().unwrap().take().expect("the test has opened a tap");
    Response::new(axum::body::Body::new(tap))
}

/// The frames of a response.
pub struct Tap(pub tokio::sync::mpsc::UnboundedReceiver<Result<Bytes, std::io::Error>>);

impl http_body::Body for Tap {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(|frame| frame.map(http_body::Frame::data)))
    }
}

pub fn router() -> Router<App> {
    Router::new()
        .route("/cheap", get(cheap).post(cheap_too))
        .route("/cheap2", get(cheap))
        .route("/dear", get(dear))
        .route("/city/{city}", get(city))
        .route("/flaky", get(flaky))
        .route("/panics", get(panics))
        .route("/slow", get(slow))
        .route("/says-402", get(says_402))
        .route("/elsewhere", get(elsewhere))
        .route("/units/{n}", get(metered))
        .route("/quoted/{n}", get(quoted))
        .route("/echo", post(echo))
        .route("/raw", any(raw))
        .route("/catalogue", post(catalogue))
        .route("/tiered", get(tiered))
        .route("/whoami", get(whoami).post(whoami))
        .route("/held", get(held))
        .route("/both", get(both))
        .route("/each/{n}", get(each))
        .route("/overflowing/{n}", get(overflowing))
        .route("/fine/{n}", get(fine))
        .route("/thing/{id}", get(thing))
        .route("/upload", post(upload))
        .route("/members", get(members_only))
        .route("/headers", get(headers_seen))
        .route("/status/{code}", get(status))
        .route("/held-status/{code}", get(held_status))
        .route("/held-panics", get(held_panics))
        .route("/held-slow", get(held_slow))
        .route("/order", post(order).put(order).get(order))
        .route("/again", get(again).post(again))
        .route("/held-order", post(held_order))
        .route("/slow-order", post(slow))
        .route("/sized/{bytes}", get(sized).post(sized))
        .route("/plain-stream", get(plain_stream))
        .route("/stream", get(stream).post(stream))
        .nest("/v1", Router::new().route("/cheap", get(cheap)))
        .fallback(anything_else)
}
