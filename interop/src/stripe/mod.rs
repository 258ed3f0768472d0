//! A strict stand-in for Stripe's API, as far as machine payments use it: shared payment tokens, PaymentIntents and Refunds.
//!
//! It refuses what Stripe refuses (unknown and repeated parameters, a version without tokens, a token for another seller, too
//! small, expired, revoked or used, a transition that a PaymentIntent's state does not allow, a key with other parameters)
//! and keeps its promises (an answer is kept for its idempotency key for 24 hours, failures included, once the endpoint began
//! to act). It can be told to misbehave: see [`Mischief`]. What it was asked is in [`StandIn::requests`].
//!
//! The clock stands still until a test moves it.
//!
//! | file | what |
//! | --- | --- |
//! | `mod.rs` | the server, the misbehaviour, the idempotency keys |
//! | `books.rs` | tokens, PaymentIntents and what may happen to them |
//! | `form.rs` | forms, read strictly, and Stripe's errors |
//! | `refunds.rs` | refunds of PaymentIntents |

mod books;
mod form;
mod refunds;

pub use self::books::Limits;

use self::books::Books;
use self::form::{Form, Refusal};
use crate::KeyFile;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body::Frame;
use mpp::method::stripe::{StripeWallet, TokenWanted};
use mpp::method::{PayError, Proof};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// The only secret key it knows.
pub const SECRET_KEY: &str = "sk_test_51StandInForTheRealThing";
/// The seller whom tokens have to be for.
pub const PROFILE: &str = "profile_1StandIn";
/// The only connected account it knows.
pub const CONNECTED: &str = "acct_1Connected";

/// Stripe keeps keys for at least this long.
const KEYS_LIVE: i64 = 24 * 60 * 60;
const MAX_BODY: usize = 64 * 1024;

/// A stand-in; it lives as long as the test's runtime.
#[derive(Debug, Clone)]
pub struct StandIn {
    /// Its base URL.
    pub url: String,
    desk: Arc<Mutex<Desk>>,
    door: Arc<Semaphore>,
}

/// How the next request of a kind goes wrong.
#[derive(Debug, Clone)]
pub enum Mischief {
    /// Answered with this status before anything is done: 409 (`idempotency_key_in_use`), 429, 401, 5xx.
    Refused(u16),
    /// Done, and answered with this 5xx, which is kept for the key.
    FailedAfter(u16),
    /// The connection is closed before anything is done.
    LostRequest,
    /// Done, and the connection is closed in the answer.
    LostAnswer,
    /// Done; the answer waits for [`StandIn::open_door`].
    Late,
    /// Done, and answered with this instead of Stripe's JSON.
    Garbled(&'static str),
    /// Done, and answered as if it were a replay.
    SaidToBeReplayed,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `POST /v1/payment_intents`, without the query.
    pub what: String,
    /// The form or the query, decoded, in its order.
    pub form: Vec<(String, String)>,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// `Stripe-Version`.
    pub version: Option<String>,
    /// `Stripe-Account`.
    pub account: Option<String>,
}

impl Seen {
    /// A field of the form.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Desk {
    books: Books,
    keys: HashMap<String, Kept>,
    busy: HashSet<String>,
    seen: Vec<Seen>,
    /// By the start of `METHOD /path`.
    mischief: VecDeque<(&'static str, Mischief)>,
}

/// What is remembered of a key.
#[derive(Debug, Clone)]
struct Kept {
    request: Vec<u8>,
    status: u16,
    body: Value,
    since: i64,
}

impl StandIn {
    /// Starts one on a free port, at `now` (seconds since 1970).
    pub async fn start(now: i64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let desk = Desk { books: Books::at(now), ..Desk::default() };
        let stand_in = Self { url, desk: Arc::new(Mutex::new(desk)), door: Arc::new(Semaphore::new(0)) };
        let app = axum::Router::new().fallback(answer).with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        stand_in
    }

    /// Starts one whose clock stands at the moment of starting.
    pub async fn of_today() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        Self::start(i64::try_from(now).expect("not that late")).await
    }

    /// Gives the account lower minimums than Stripe's general ones.
    pub fn allow_small_amounts(&self) {
        self.desk().books.minimums = books::Minimums::Lower;
    }

    /// Makes a token, as its payer would.
    pub fn token(&self, limits: Limits) -> String {
        self.desk().books.issue(limits)
    }

    /// What a shop is told to take cards here, also for small amounts. The minimum comes last.
    pub fn flags<'a>(&'a self, key: &'a KeyFile) -> [&'a str; 8] {
        [
            "--stripe-url",
            &self.url,
            "--stripe-key-file",
            key.path(),
            "--stripe-network-id",
            PROFILE,
            "--stripe-minimum",
            "0.01",
        ]
    }

    /// A wallet whose backend is this stand-in itself, on such a card.
    pub fn wallet(&self, card: &'static str) -> StripeWallet {
        let stripe = self.clone();
        StripeWallet::new(move |wanted: TokenWanted| {
            let token = stripe.token(Limits::of(wanted.amount, &wanted.currency).with_card(card));
            async move { Ok::<_, PayError>(token) }
        })
    }

    /// The payment of a dollar: a token of that worth.
    pub fn dollar(&self) -> Proof {
        let payload = [("spt".to_owned(), self.token(Limits::of(100, "usd")).into())];
        Proof { payload: payload.into_iter().collect(), source: None }
    }

    /// Revokes one.
    pub fn revoke(&self, token: &str) {
        self.desk().books.revoke(token);
    }

    /// The next request that starts with `what`, like `POST /v1/payment_intents`, goes wrong.
    pub fn next(&self, what: &'static str, mischief: Mischief) {
        self.desk().mischief.push_back((what, mischief));
    }

    /// Lets one late answer out.
    pub fn open_door(&self) {
        self.door.add_permits(1);
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.desk().books.now += i64::try_from(by.as_secs()).expect("a short time");
    }

    /// Lets every Refund be `pending` first.
    pub fn refund_slowly(&self) {
        self.desk().books.slow_refunds = true;
    }

    /// What those that are pending end as: `succeeded`, `failed` or `canceled`.
    pub fn finish_refunds(&self, status: &'static str) {
        self.desk().books.finish_refunds(status);
    }

    /// Every Refund, as it is answered.
    pub fn refunds(&self) -> Vec<Value> {
        self.desk().books.refunds.clone()
    }

    /// What a `processing` payment ends as: `succeeded` or `requires_payment_method`.
    pub fn finish_processing(&self, status: &'static str) {
        self.desk().books.finish_processing(status);
    }

    /// A hold runs out, or somebody cancels it in the dashboard.
    pub fn cancel_all(&self) {
        self.desk().books.cancel_all();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.desk().seen.clone()
    }

    /// How many requests started with `what`.
    pub fn asked(&self, what: &str) -> usize {
        self.desk().seen.iter().filter(|seen| seen.what.starts_with(what)).count()
    }

    /// Every PaymentIntent, oldest first.
    pub fn intents(&self) -> Vec<Value> {
        self.desk().books.intents.clone()
    }

    /// The statuses of every PaymentIntent, oldest first.
    pub fn statuses(&self) -> Vec<String> {
        self.intents().iter().map(|intent| intent["status"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What has been taken, in the smallest unit.
    pub fn taken(&self) -> u64 {
        self.intents().iter().filter_map(|intent| intent["amount_received"].as_u64()).sum()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("nobody panics while holding it")
    }
}

async fn answer(State(stand_in): State<StandIn>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let what = format!("{} {}", head.method, head.uri.path());
    let fields = match head.method {
        Method::POST => body.to_vec(),
        _ => head.uri.query().unwrap_or_default().as_bytes().to_vec(),
    };
    let form = Form::read(&fields);
    let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        what: what.clone(),
        form: form.as_ref().map(|form| form.fields().to_vec()).unwrap_or_default(),
        key: text("idempotency-key"),
        version: text("stripe-version"),
        account: text("stripe-account"),
    };
    let mischief = {
        let mut desk = stand_in.desk();
        desk.seen.push(seen.clone());
        let at = desk.mischief.iter().position(|(start, _)| what.starts_with(start));
        at.and_then(|at| desk.mischief.remove(at)).map(|(_, mischief)| mischief)
    };
    match mischief {
        Some(Mischief::Refused(status)) => return written(&Answered::of(Refusal::trouble(status)), &seen),
        Some(Mischief::LostRequest) => return broken(),
        _ => {}
    }
    let late = matches!(mischief, Some(Mischief::Late));
    let mut answered = stand_in.desk().handle(&head.method, &seen, &head.headers, form, &fields, &mischief);
    if late {
        if let Some(key) = &seen.key {
            stand_in.desk().busy.insert(key.clone());
        }
        if let Ok(turn) = stand_in.door.acquire().await {
            turn.forget();
        }
        if let Some(key) = &seen.key {
            stand_in.desk().busy.remove(key);
        }
    }
    match mischief {
        Some(Mischief::LostAnswer) => broken(),
        Some(Mischief::Garbled(text)) => text.into_response(),
        Some(Mischief::SaidToBeReplayed) => {
            answered.replayed = true;
            written(&answered, &seen)
        }
        _ => written(&answered, &seen),
    }
}

struct Answered {
    status: u16,
    body: Value,
    replayed: bool,
}

impl Answered {
    fn of(refusal: Refusal) -> Self {
        Self { status: refusal.status, body: refusal.body(), replayed: false }
    }
}

impl Desk {
    fn handle(
        &mut self,
        verb: &Method,
        seen: &Seen,
        headers: &HeaderMap,
        form: Result<Form, Refusal>,
        raw: &[u8],
        mischief: &Option<Mischief>,
    ) -> Answered {
        if let Err(refusal) = admitted(headers) {
            return Answered::of(refusal);
        }
        let form = match form {
            Ok(form) => form,
            Err(refusal) => return Answered::of(refusal),
        };
        let Some(key) = seen.key.as_ref().filter(|_| *verb == Method::POST) else {
            return self.act(seen, form).unwrap_or_else(|(refusal, _)| Answered::of(refusal));
        };
        if key.is_empty() || key.len() > 255 {
            return Answered::of(Refusal::invalid(
                "idempotency_key_too_long",
                "",
                "An idempotency key has 1 to 255 characters.",
            ));
        }
        if self.busy.contains(key) {
            return Answered::of(Refusal::trouble(409));
        }
        let request =
            [seen.what.as_bytes(), b"\0", seen.account.as_deref().unwrap_or("").as_bytes(), b"\0", raw]
                .concat();
        if let Some(kept) = self.keys.get(key).filter(|kept| self.books.now - kept.since < KEYS_LIVE) {
            return if kept.request == request {
                Answered { status: kept.status, body: kept.body.clone(), replayed: true }
            } else {
                Answered::of(Refusal::other_parameters())
            };
        }
        let (mut answered, keep) = match self.act(seen, form) {
            Ok(answered) => (answered, Keep::Yes),
            Err((refusal, keep)) => (Answered::of(refusal), keep),
        };
        if let (Some(Mischief::FailedAfter(status)), Keep::Yes) = (mischief, keep) {
            answered = Answered::of(Refusal::trouble(*status));
        }
        if keep == Keep::Yes {
            let kept =
                Kept { request, status: answered.status, body: answered.body.clone(), since: self.books.now };
            self.keys.insert(key.clone(), kept);
        }
        answered
    }

    fn act(&mut self, seen: &Seen, mut form: Form) -> Result<Answered, (Refusal, Keep)> {
        let body = self.books.act(seen, &mut form)?;
        Ok(Answered { status: 200, body, replayed: false })
    }
}

/// Whether an answer is kept for its key: only once the endpoint began to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

fn admitted(headers: &HeaderMap) -> Result<(), Refusal> {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let basic = authorization
        .strip_prefix("Basic ")
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .and_then(|pair| String::from_utf8(pair).ok())
        .and_then(|pair| pair.strip_suffix(':').map(str::to_owned));
    let key = basic.or_else(|| authorization.strip_prefix("Bearer ").map(str::to_owned));
    if key.as_deref() != Some(SECRET_KEY) {
        return Err(Refusal::new(401, "invalid_request_error", "", "", "Invalid API Key provided."));
    }
    match headers.get("stripe-account").map(HeaderValue::as_bytes) {
        None => Ok(()),
        Some(account) if account == CONNECTED.as_bytes() => Ok(()),
        Some(_) => Err(Refusal::new(
            403,
            "invalid_request_error",
            "account_invalid",
            "",
            "The provided key does not have access to this account.",
        )),
    }
}

fn written(answered: &Answered, seen: &Seen) -> Response {
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(&answered.body)).into_response();
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: Option<&str>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    };
    set("idempotency-key", seen.key.as_deref());
    set("stripe-version", seen.version.as_deref());
    set("idempotent-replayed", answered.replayed.then_some("true"));
    response
}

/// An answer whose connection closes before its end.
fn broken() -> Response {
    struct Broken;
    impl HttpBody for Broken {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
        }
    }
    ([("content-type", "application/json")], Body::new(Broken)).into_response()
}

/// A list, as Stripe writes it.
fn list(url: &str, data: Vec<Value>, object: &str) -> Value {
    json!({ "object": object, "url": url, "has_more": false, "data": data })
}
