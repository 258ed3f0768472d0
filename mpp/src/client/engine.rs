//! One request, paid for where that is asked and allowed: the state machine behind both adapters.
//!
//! ```text
//! send ──► not 402 ─────────────────────────────────────────► the response, untouched
//!   └────► 402 ─► checks, policy, ledger, wallet ─► credential
//!                   └► refused: NotPaid                 │
//!            ┌──────────────────────────────────────────┘
//!            ▼
//!          send ─► 1xx-3xx ────────────────────────────────► delivered: the response, with `Paid`
//!            ├───► most 4xx ─────────────────────────────────► not delivered: the response, with `Paid`; the credential is kept
//!            ├───► 409, 503 and their like with Retry-After ─► wait, send the same one
//!            ├───► the same without, or for too long ────────► OutcomeUnknown
//!            ├───► no answer ────────────────────────────────► OutcomeUnknown
//!            └───► 402 ─► did it provably not happen? ─► no ─► Rejected
//!                          └► yes, and the policy allows another: from the top
//! ```
//!
//! After a credential exists, every path that is not a delivery keeps it and none pays again unasked. The answers that
//! generic retry layers repeat (408, 425, 429, 5xx) come out as errors, so that such a layer does not buy the same thing
//! twice by sending what looks like a new request. Any other 4xx is an answer, so its caller gets it as it is; the core draft
//! has one of its own for a payment that is good and opens nothing (403, CORE-01), servers of this library settle before a
//! handler that then finds nothing (404), and others refuse the request before they look at the payment (400, 422). So such an
//! answer says nothing about the money: the ledger has `Unknown`, and what is asked for again is asked for with the same
//! credential.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use tracing::Instrument as _;
use url::Url;

use super::Client;
use super::error::{Asked, BoxError, Cause, Error, Unsettled};
use super::event::Event;
use super::ledger::{EntryId, Outcome};
use super::offers::Offers;
use super::open::{Driving, drive};
use super::origin::Origin;
use super::payment::{Paid, Payment};
use super::purchase::Earlier;
use super::refusal::{NotPaid, Refusal, RefusedOffer};
use crate::method::Fate;
use crate::protocol::{Challenge, Challenges, ProblemType, ReceivedProblem, Timestamp};

/// How often and how long the same credential is sent again because the server says so.
const ROUNDS: u32 = 8;
/// The shortest wait: a server that says 0 is not asked in a loop.
const SHORTEST: Duration = Duration::from_millis(250);
/// The longest a wallet is waited for when it looks a payment up.
const LOOK: Duration = Duration::from_secs(10);
/// Why a payment was given back to the limits.
const NEVER: &str = "it was not taken, and never will be";

/// One request as an adapter sends it. Each sending is of the same request.
pub(super) trait Exchange: Send {
    type Response: Send;
    type Error: Into<BoxError> + Send;

    /// Whether the request goes to this origin. Cheap: asked for every request.
    fn is_to(&self, origin: &Origin) -> bool;

    fn method(&self) -> &Method;

    /// The request's headers.
    fn headers(&self) -> &HeaderMap;

    /// The URL of the request.
    fn url(&self) -> Option<Url>;

    /// Sends it as it is, with what is added.
    fn send(&mut self, with: Sent<'_>) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;

    /// The request, if it can be sent again.
    fn asked(&mut self, url: Url) -> impl Future<Output = Option<Asked>> + Send;

    /// Where the response came from, after redirects; none when the transport follows none.
    fn answered_by(response: &Self::Response) -> Option<&Url>;

    fn status(response: &Self::Response) -> StatusCode;

    fn response_headers(response: &Self::Response) -> &HeaderMap;

    fn extensions_mut(response: &mut Self::Response) -> &mut Extensions;

    /// The problem in the body, bounded in size and time.
    fn problem(response: Self::Response) -> impl Future<Output = Option<ReceivedProblem>> + Send;

    /// Reads what is there of a body that nobody wants, so that its connection can be used again.
    fn discard(response: Self::Response) -> impl Future<Output = ()> + Send;
}

/// What is added to a request.
#[derive(Clone, Copy)]
pub(super) enum Sent<'a> {
    /// The first sending: perhaps what the client can pay with.
    Unpaid(Option<&'a HeaderValue>),
    /// With a credential, to where the challenge came from.
    Paid(&'a Payment, &'a Asked),
}

/// Why there is no response.
pub(super) enum Failure<E> {
    /// The transport's own error, before anything was paid.
    Transport(E),
    Client(Error),
}

impl<E> From<Error> for Failure<E> {
    fn from(error: Error) -> Failure<E> {
        Failure::Client(error)
    }
}

impl Client {
    pub(super) async fn drive<X: Exchange>(
        &self,
        exchange: &mut X,
    ) -> Result<X::Response, Failure<X::Error>> {
        if has_credential(exchange.headers()) {
            return Box::pin(self.send_again(exchange)).await;
        }
        let accept = self.accept(exchange);
        let response = exchange.send(Sent::Unpaid(accept.as_ref())).await.map_err(Failure::Transport)?;
        if X::status(&response) != StatusCode::PAYMENT_REQUIRED {
            return Ok(response);
        }
        // A price is asked of these and paid by GET: no server delivers anything for them.
        if matches!(*exchange.method(), Method::HEAD | Method::OPTIONS | Method::TRACE) {
            return Ok(response);
        }
        // Rare, and large: not in the future of every request.
        let span = tracing::info_span!(target: "mpp::client", "payment", url = exchange.url().map(|url| shown(&url)));
        Box::pin(self.answer(exchange, response)).instrument(span).await
    }

    /// What the client can pay with: told to those origins alone that the policy names.
    fn accept<X: Exchange>(&self, exchange: &X) -> Option<HeaderValue> {
        let allowed = self.inner.policy.origins.as_deref()?;
        let told =
            !exchange.headers().contains_key(ACCEPT_PAYMENT) && allowed.iter().any(|it| exchange.is_to(it));
        told.then(|| self.inner.accept.clone()).flatten()
    }

    async fn answer<X: Exchange>(
        &self,
        exchange: &mut X,
        response: X::Response,
    ) -> Result<X::Response, Failure<X::Error>> {
        let challenges = read_challenges(X::response_headers(&response));
        if challenges.offers.is_empty() && challenges.refused.is_empty() {
            // A 402 of another kind.
            return Ok(response);
        }
        let Some(url) = exchange.url() else { return Ok(response) };
        let Ok(from) = Origin::of(&url) else { return Ok(response) };
        let url = X::answered_by(&response).cloned().unwrap_or(url);
        let Ok(origin) = Origin::of(&url) else { return Ok(response) };
        X::discard(response).await;
        self.tell(Event::Challenged { origin: &origin, offers: challenges.offers.len() });
        if origin != from {
            let why = Refusal::Redirected { from, to: origin.clone() };
            return Err(Error::from(refuse_all(origin, challenges, why)).into());
        }
        let Some(asked) = exchange.asked(url).await else { return Err(Error::BodyNotReplayable.into()) };
        let asked = Arc::new(asked);
        if let Some(driving) = self.inner.open.resume(&asked, &self.inner.volatile, self.inner.clock.now()) {
            // It was paid for before, and nobody knows whether it was delivered: ask with that.
            return self.deliver(exchange, driving, None).await;
        }
        let driving = self.buy(&origin, &asked, challenges, None).await?;
        self.deliver(exchange, driving, Some(&origin)).await
    }

    async fn buy(
        &self,
        origin: &Origin,
        asked: &Arc<Asked>,
        challenges: Challenges,
        earlier: Option<&Earlier>,
    ) -> Result<Driving, Error> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let offers = Offers::of(challenges.offers, origin, asked, &inner.policy, &inner.wallets, now);
        self.purchase(origin, asked, offers, challenges.refused, earlier).await
    }

    /// Sends a payment until there is an answer. `buyer` is where a further challenge may be paid.
    async fn deliver<X: Exchange>(
        &self,
        exchange: &mut X,
        mut driving: Driving,
        buyer: Option<&Origin>,
    ) -> Result<X::Response, Failure<X::Error>> {
        let mut repayments = self.inner.policy.repayments;
        loop {
            let open = driving.0.clone();
            let (payment, asked) = (&open.payment, &open.asked);
            // Not even with what was paid for it meanwhile.
            if !payment.may_be_sent(self.inner.clock.now()) {
                return Err(self.lost(&driving, Cause::Late).await.into());
            }
            payment.mark_sent();
            let response = match self.send_patiently(exchange, payment, asked).await {
                Ok(response) => response,
                Err(cause) => return Err(self.unanswered(&driving, cause).await.into()),
            };
            let status = X::status(&response);
            if status != StatusCode::PAYMENT_REQUIRED {
                return Ok(self.answered::<X>(payment, asked, response).await);
            }
            // Where a redirect led out of the origin a stranger answers: its word counts for nothing, and it is not paid.
            // Whoever was paid has refused nothing, and the credential can be sent again.
            let stranger =
                X::answered_by(&response).is_some_and(|by| Origin::of(by) != Origin::of(&asked.url));
            let challenges = read_challenges(X::response_headers(&response));
            let problem = X::problem(response).await;
            if stranger {
                return Err(self.lost(&driving, Cause::Status { status, problem: None }).await.into());
            }
            match (look_up(payment, problem.as_ref()).await, buyer) {
                (Fate::Never, Some(origin)) if repayments > 0 && !challenges.offers.is_empty() => {
                    repayments -= 1;
                    let earlier = Earlier(payment.cost().clone());
                    self.release(payment.entry(), NEVER.into()).await;
                    self.inner.open.end(payment.entry());
                    driving = self.buy(origin, asked, challenges, Some(&earlier)).await?;
                }
                (fate, _) => return Err(self.rejected(&driving, fate, status, problem).await.into()),
            }
        }
    }

    /// Sends one credential, again where the server asks for that.
    async fn send_patiently<X: Exchange>(
        &self,
        exchange: &mut X,
        payment: &Payment,
        asked: &Asked,
    ) -> Result<X::Response, Cause> {
        let mut left = self.inner.patience;
        for attempt in 1.. {
            self.tell(Event::Sending { entry: payment.entry(), attempt });
            let response = exchange.send(Sent::Paid(payment, asked)).await;
            let response = response.map_err(|error| Cause::Lost(error.into()))?;
            let status = X::status(&response);
            if !comes_back(status) {
                return Ok(response);
            }
            let now = self.inner.clock.now();
            let after = retry_after(X::response_headers(&response), now).map(|after| after.max(SHORTEST));
            match after.filter(|after| attempt < ROUNDS && *after <= left) {
                Some(after) => {
                    left -= after;
                    X::discard(response).await;
                    self.tell(Event::Waiting { entry: payment.entry(), status, after });
                    tokio::time::sleep(after).await;
                }
                None => {
                    let problem = X::problem(response).await;
                    return Err(Cause::Status { status, problem });
                }
            }
        }
        // The loop counts to `ROUNDS`.
        Err(Cause::Abandoned)
    }

    /// An answer that its caller gets: with what was paid for, or with an error.
    async fn answered<X: Exchange>(
        &self,
        payment: &Payment,
        asked: &Arc<Asked>,
        mut response: X::Response,
    ) -> X::Response {
        let (entry, status) = (payment.entry(), X::status(&response));
        let paid = Paid::of(payment.clone(), asked.clone(), X::response_headers(&response));
        if status.is_client_error() {
            self.conclude(entry, &Outcome::Unknown).await;
            self.tell(Event::Undelivered { entry, status });
        } else {
            let receipt = paid.receipt.as_ref().ok();
            self.tell(Event::Delivered { entry, status, receipt });
            let reference = receipt.map(|receipt| receipt.reference.clone());
            self.conclude(entry, &Outcome::Paid { reference }).await;
            self.inner.open.end(entry);
        }
        X::extensions_mut(&mut response).insert(paid);
        response
    }

    /// There is no answer that a caller could use. Nearly always that says nothing about the money; a key that stands for another
    /// purchase does, if the wallet takes the server's word for it.
    async fn unanswered(&self, driving: &Driving, cause: Cause) -> Error {
        match cause {
            Cause::Status { status, problem: Some(problem) }
                if problem.kind() == Some(ProblemType::IdempotencyConflict)
                    && look_up(&driving.0.payment, Some(&problem)).await == Fate::Never =>
            {
                self.rejected(driving, Fate::Never, status, Some(problem)).await
            }
            cause => self.lost(driving, cause).await,
        }
    }

    async fn lost(&self, driving: &Driving, cause: Cause) -> Error {
        let open = &driving.0;
        self.conclude(open.payment.entry(), &Outcome::Unknown).await;
        self.tell(Event::Unsettled { entry: open.payment.entry() });
        let (payment, asked) = (open.payment.clone(), Asked::clone(&open.asked));
        Error::OutcomeUnknown(Box::new(Unsettled { payment, cause, fate: Fate::Unknown, asked }))
    }

    async fn rejected(
        &self,
        driving: &Driving,
        fate: Fate,
        status: StatusCode,
        problem: Option<ReceivedProblem>,
    ) -> Error {
        let open = &driving.0;
        let entry = open.payment.entry();
        // The server has had its chance; the next request for the same thing is a new decision.
        self.inner.open.end(entry);
        match &fate {
            Fate::Never => self.release(entry, NEVER.into()).await,
            Fate::Paid { reference } => {
                self.conclude(entry, &Outcome::Paid { reference: Some(reference.clone()) }).await;
                self.tell(Event::Unsettled { entry });
            }
            Fate::Unknown => {
                self.conclude(entry, &Outcome::Unknown).await;
                self.tell(Event::Unsettled { entry });
            }
        }
        let cause = Cause::Status { status, problem };
        let (payment, asked) = (open.payment.clone(), Asked::clone(&open.asked));
        Error::Rejected(Box::new(Unsettled { payment, cause, fate, asked }))
    }

    /// A request that brings its own credential: sent as it is, and never paid for.
    async fn send_again<X: Exchange>(&self, exchange: &mut X) -> Result<X::Response, Failure<X::Error>> {
        let origin = exchange.url().and_then(|url| Origin::of(&url).ok());
        if let Some(origin) = origin.filter(|origin| !origin.is_private()) {
            let why = Refusal::Insecure(origin.clone());
            return Err(Error::from(refuse_all(origin, Challenges::default(), why)).into());
        }
        let values = exchange.headers().get_all(header::AUTHORIZATION);
        let open = values.iter().find_map(|value| self.inner.open.find(value.as_bytes()));
        match open.as_ref().and_then(drive) {
            Some(driving) => self.deliver(exchange, driving, None).await,
            // Somebody else's payment, or one that is being sent already: theirs to follow.
            None => exchange.send(Sent::Unpaid(None)).await.map_err(Failure::Transport),
        }
    }

    pub(super) async fn release(&self, entry: EntryId, why: String) {
        self.conclude(entry, &Outcome::Released { why }).await;
        self.tell(Event::Released { entry });
    }

    /// Writes an outcome down. If that fails the entry goes on counting, which is safe; the response is not withheld for it.
    pub(super) async fn conclude(&self, entry: EntryId, outcome: &Outcome) {
        let now = self.inner.clock.now();
        if let Err(error) = self.inner.ledger.conclude(&entry, outcome, now).await {
            tracing::warn!(target: "mpp::client", %entry, %error, "the ledger did not take the outcome");
        }
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        event.trace();
        if let Some(observer) = &self.inner.observer {
            observer(&event);
        }
    }
}

pub(super) const ACCEPT_PAYMENT: http::HeaderName = http::HeaderName::from_static("accept-payment");

/// Every Payment challenge of every header line. A quoted text may have any bytes above ASCII (RFC 9110 section 5.6.4), and
/// one of another offer in the same line says nothing about the rest.
pub(super) fn read_challenges(headers: &HeaderMap) -> Challenges {
    let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    Challenge::parse_all(lines.iter().map(|line| &**line))
}

/// A URL for people and logs: its query may hold secrets, and so may what stands before its host.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// All offers refused by a rule that is not about the offers.
pub(super) fn refuse_all(origin: Origin, challenges: Challenges, why: Refusal) -> NotPaid {
    let mut methods: Vec<_> = challenges.offers.into_iter().map(|offer| offer.method).collect();
    if methods.is_empty() {
        methods.push(crate::protocol::MethodName::from_static("payment"));
    }
    let offers = methods.into_iter().map(|method| RefusedOffer { method, cost: None, why: why.clone() });
    NotPaid { origin, offers: offers.collect(), malformed: challenges.refused }
}

/// Whether a request already carries a Payment credential, alone or among others.
fn has_credential(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| {
        let Ok(value) = value.to_str() else { return false };
        value.split(',').any(|item| {
            let item = item.trim_start();
            item.len() > 8 && item.as_bytes()[..8].eq_ignore_ascii_case(b"payment ")
        })
    })
}

/// Answers that say nothing about the payment but that it should be asked again.
fn comes_back(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3). A date is the server's, so it is held against the server's own
/// clock where the response shows it; one that is past is now.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|digit| digit.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let here = headers.get(header::DATE).and_then(|date| http_date(date.to_str().ok()?));
    Some(http_date(text)?.since(here.unwrap_or(now)))
}

/// A date of HTTP, in any of its three forms.
fn http_date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text.trim()).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix(i64::try_from(since.as_secs()).ok()?))
}

/// What became of a payment that was answered with 402.
async fn look_up(payment: &Payment, refusal: Option<&ReceivedProblem>) -> Fate {
    let (wallet, challenge, proof) = (payment.wallet(), payment.challenge(), payment.proof());
    let look = match refusal {
        Some(refusal) => wallet.fate_after(challenge, proof, refusal),
        None => wallet.fate(challenge, proof),
    };
    tokio::time::timeout(LOOK, look).await.unwrap_or(Fate::Unknown)
}
