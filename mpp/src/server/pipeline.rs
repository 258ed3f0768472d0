//! The pipeline: from a request's head to an open gate (draft-httpauth-payment-00 section 11).
//!
//! A [`Visit`] is one request on its way through a price:
//!
//! 1. [`Visit::open`]: the credential leaves the headers (more than one is a 400), its size, shape and HMAC are judged
//!    from the head alone (`judging.rs`). A forged credential is remembered and answered only in its turn.
//! 2. [`Visit::read_body`], where a body is bound: it is read under the framework's limit and a deadline, and digested. With
//!    that, or at the end of the first step, the request is known: a credential is held against it, and where nothing after
//!    this can change the answer it is given at once.
//! 3. The caller runs the handler's own extractors: 401, 404 and 422 come before money.
//! 4. [`Visit::resume`]: a credential the journal knows opens the route again, waits for the one that is using it, or gets
//!    the response that was kept for it ([`super::replay`]; `resuming.rs`).
//! 5. [`Visit::decide`]: with the request's price (`quoting.rs`), free or a challenge (402; `asking.rs`).
//! 6. [`Visit::redeem`]: verification, claims and settlement (`redeeming.rs`).
//!
//! What every unpaid request goes through is not async, and what only a paying one needs is boxed by the caller: the
//! future of a refusal stays small, because it is copied.
//!
//! From the first claim to a terminal payment state the work runs on a detached task ([`super::settlement`]).
//! [`Exit`](super::settlement::Exit) is the way out.

mod asking;
mod judging;
mod quoting;
mod redeeming;
mod resuming;

use self::judging::Authentic;
use super::Mpp;
use super::authorization;
use super::body::{self, Held, Reader};
use super::gate::Quote;
use super::known::Known;
use super::page;
use super::paid::{Delivery, Proved};
use super::peer::Client;
use super::respond::{ACCEPT_PAYMENT, Answer};
use super::scope::{Scope, Target};
pub(crate) use super::settlement::Exit;
use crate::pricing::{Binding, Honor, Order, Plan, PriceSpec, Tier};
use crate::protocol::{BodyDigest, ProblemType};
use crate::store::StoreError;
use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use http_body::Body as _;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// What a client is told to wait when we cannot tell now.
const RETRY: Duration = Duration::from_secs(2);

/// One request on its way through a price. It borrows what every request needs: to count three more owners and forget them again is
/// a good part of what is left of a refusal's time.
pub(crate) struct Visit<'m> {
    mpp: &'m Mpp,
    plan: Known<'m, Plan>,
    scope: Known<'m, Scope>,
    /// For a computed price: which request exactly.
    target: Option<Target>,
    digest: Option<BodyDigest>,
    /// `None` for a client that asks for nothing in particular: a visit is moved about, so it is kept small.
    wishes: Option<Box<Wishes>>,
    presented: Presented,
    /// Who is counted, where rates are limited.
    counted: Option<Client>,
    /// Whether there is a body that has to be bound. Asked once: a body may come to its end before it is read.
    binds_body: bool,
    /// The room its body takes.
    held: Option<Box<Held>>,
}

/// How a client would like to be answered.
struct Wishes {
    /// `Accept-Payment`.
    payment: Option<HeaderValue>,
    /// Where the resource is, for a client that is a person.
    reader: Option<String>,
}

impl Wishes {
    #[inline(never)] // nearly every price has one offer, and nearly every client is a program
    fn of(mpp: &Mpp, plan: &Plan, req: &Request) -> Option<Box<Self>> {
        let payment = if is_choice(plan) { accept_payment(req.headers()) } else { None };
        let reader = page::is_wanted(req.headers()).then(|| mpp.address(original_uri(req)));
        (payment.is_some() || reader.is_some()).then(|| Box::new(Self { payment, reader }))
    }
}

/// What the request has shown.
enum Presented {
    /// Nothing.
    Nothing,
    /// A credential that will be refused, in its turn.
    Refused(Refused),
    /// A credential for a challenge of ours. For which route, request and body it was issued has not been looked at: it is
    /// worth nothing yet.
    Unplaced(Box<Authentic>),
    /// One that was issued for this route, request and body.
    Authentic(Box<Authentic>),
    /// One for another route, request or body. It will be refused; what its `Idempotency-Key` stands for is said first.
    Misplaced(Box<Authentic>, Refused),
}

const USED: Refused = Refused {
    kind: ProblemType::InvalidChallenge,
    detail: Cow::Borrowed("this challenge has been used already"),
};

struct Refused {
    kind: ProblemType,
    detail: Cow<'static, str>,
}

impl Refused {
    fn new(kind: ProblemType, detail: &'static str) -> Self {
        Self { kind, detail: Cow::Borrowed(detail) }
    }
}

/// An open gate.
pub(crate) struct Admission {
    pub(crate) proved: Proved,
    pub(crate) delivery: Delivery,
    pub(crate) exit: Exit,
}

/// Marks a request that a layer has already priced.
#[derive(Clone, Copy)]
pub(crate) struct Layered;

impl<'m> Visit<'m> {
    /// From the head. The request is left intact but for the Payment credential. Without a body that has to be bound it is
    /// [identified](Self::identify) here, where the visit has not been moved yet.
    ///
    /// # Errors
    /// 400 for two credentials, 429 for a client that has had its share of refusals, 500 for our own faults; and those of
    /// [`identify`](Self::identify).
    pub(crate) fn open(mpp: &'m Mpp, spec: &'static PriceSpec, req: &mut Request) -> Result<Self, Answer> {
        let early = |answer| told_early(mpp, spec, answer);
        if req.extensions().get::<Layered>().is_some() {
            return Err(early(two_prices(spec)));
        }
        let plan = mpp.plan(spec).map_err(early)?;
        let credential = authorization::take(req.headers_mut()).map_err(early)?;
        // axum's `get` also answers HEAD: it is quoted the price of GET and never spends.
        let head = *req.method() == Method::HEAD;
        let verb = if head { &Method::GET } else { req.method() };
        let scope = match (&plan, req.extensions().get::<MatchedPath>()) {
            (&Known::Lent(plan), Some(path)) => plan.scopes.matched(verb, path.as_str(), mpp.service()),
            _ => Known::Shared(passing_scope(mpp, spec, verb, req)),
        };
        let target = plan.is_computed.then(|| target(spec, verb, req));
        let presented = match credential.filter(|_| !head) {
            None => Presented::Nothing,
            Some(credential) => mpp.present(&credential, &plan, verb, req).map_err(early)?,
        };
        let has_wishes = is_choice(&plan) || page::is_wanted(req.headers());
        let wishes = if has_wishes { Wishes::of(mpp, &plan, req) } else { None };
        let counted = mpp.0.rates.is_some().then(|| mpp.0.proxies.client(req.extensions(), req.headers()));
        let binds_body = spec.binding == Binding::Body && !req.body().is_end_stream();
        let (digest, held) = (None, None);
        let mut visit =
            Self { mpp, plan, scope, target, digest, wishes, presented, counted, binds_body, held };
        visit.check_rate().map_err(|answer| visit.told(answer))?;
        if !binds_body {
            visit.identify()?;
        }
        Ok(visit)
    }

    /// Whether there is a body that has to be bound. It is to be [read](Self::read_body) before anything else: until then no
    /// credential is worth anything.
    pub(crate) fn binds_body(&self) -> bool {
        self.binds_body
    }

    /// Reads the body under its limits, digests it, and puts it back. Now the request is [identified](Self::identify).
    ///
    /// # Errors
    /// 408, 413, 429, 503 and 400; and those of [`identify`](Self::identify).
    pub(crate) async fn read_body(&mut self, req: Request) -> Result<Request, Answer> {
        let inner = &self.mpp.0;
        let reader = if self.is_paying() { Reader::Payer } else { Reader::Stranger };
        let client = inner.proxies.client(req.extensions(), req.headers());
        let held = self.held.insert(Box::new(inner.bodies.open(client, reader)));
        let read = body::read(req, inner.body_deadline, held).await;
        let (req, digest) = read.map_err(|answer| self.told(answer))?;
        self.digest = digest;
        self.identify()?;
        Ok(req)
    }

    /// Head and body are known. `challenge = "first"` answers here, and so does a handler without other arguments, whose request
    /// need not be taken apart for nothing. A credential is held against the route, request and body its challenge was issued
    /// for.
    ///
    /// # Errors
    /// What [`decide`](Self::decide) would answer, for the first two.
    fn identify(&mut self) -> Result<(), Answer> {
        self.hold_against().map_err(|answer| self.told(answer))
    }

    fn hold_against(&mut self) -> Result<(), Answer> {
        let spec = self.plan.spec;
        // Nothing in the request makes it free, or cost something else.
        let is_fixed = spec.tier != Tier::FreeIf && !self.plan.is_computed;
        match &self.presented {
            Presented::Nothing if is_fixed && (spec.is_bare || spec.order == Order::ChallengeFirst) => {
                return Err(self.unpaid(&self.quote(&Quote::Fixed)?));
            }
            Presented::Refused(refused) if is_fixed && spec.is_bare => {
                return Err(self.refuse(&self.quote(&Quote::Fixed)?, refused.kind, refused.detail.clone()));
            }
            _ => {}
        }
        if let Presented::Unplaced(_) = &self.presented
            && let Presented::Unplaced(mut authentic) =
                std::mem::replace(&mut self.presented, Presented::Nothing)
        {
            bind_digest(&mut authentic.request, self.digest);
            self.presented = match self.misplaced(&authentic) {
                Some(why) => {
                    Presented::Misplaced(authentic, Refused::new(ProblemType::InvalidChallenge, why))
                }
                None => Presented::Authentic(authentic),
            };
        }
        Ok(())
    }

    /// Why a credential is not one for this route, request and body.
    fn misplaced(&self, authentic: &Authentic) -> Option<&'static str> {
        let challenge = &authentic.credential.challenge;
        let in_scope =
            challenge.opaque.as_deref().is_some_and(|opaque| self.scope.covers(opaque, self.target.as_ref()));
        let same_body = match (&challenge.digest, self.digest) {
            (None, None) => true,
            (Some(bound), Some(body)) => BodyDigest::parse(bound).is_ok_and(|bound| bound == body),
            (Some(_), None) | (None, Some(_)) => false,
        };
        match (in_scope, same_body) {
            (true, true) => None,
            (false, _) => Some("this challenge was issued for another route or request"),
            (true, false) => Some("this challenge was issued for another request body"),
        }
    }

    /// Tells observers of an answer instead of the resource.
    fn told(&self, answer: Answer) -> Answer {
        self.mpp.0.observers.answered(Some(self.scope.shown()), Some(self.plan.spec.name), &answer);
        answer
    }

    /// Whether there is a credential that the journal may know.
    pub(crate) fn is_paying(&self) -> bool {
        match &self.presented {
            Presented::Unplaced(_) | Presented::Authentic(_) => true,
            Presented::Misplaced(authentic, _) => authentic.key.is_some(),
            Presented::Nothing | Presented::Refused(_) => false,
        }
    }

    /// What the journal knows. `Some` opens the route again, whatever the clock and today's price say; `None` leaves the
    /// request to [`decide`](Self::decide).
    ///
    /// # Errors
    /// The response that was kept for this credential; 409 and 503, without a challenge: money may have moved.
    pub(crate) async fn resume(&mut self) -> Result<Option<Admission>, Answer> {
        self.look_up().await.map_err(|answer| self.told(answer))
    }

    /// Free, or a challenge; `None` leaves a credential to [`redeem`](Self::redeem).
    ///
    /// # Errors
    /// 402 with fresh challenges, or another status of the table in [`server`](super).
    pub(crate) fn decide(&self, quote: &Quote) -> Result<Option<Admission>, Answer> {
        self.free_or_paying(quote).map_err(|answer| self.told(answer))
    }

    fn free_or_paying(&self, quote: &Quote) -> Result<Option<Admission>, Answer> {
        if *quote == Quote::Free && self.plan.spec.tier == Tier::FreeIf {
            let (proved, delivery) = (Proved::Free, Delivery::default());
            return Ok(Some(Admission { proved, delivery, exit: Exit::free() }));
        }
        match &self.presented {
            Presented::Nothing => Err(self.unpaid(&self.quote(quote)?)),
            Presented::Refused(refused) | Presented::Misplaced(_, refused) => {
                Err(self.refuse(&self.quote(quote)?, refused.kind, refused.detail.clone()))
            }
            Presented::Unplaced(_) => Err(self.unplaced()),
            Presented::Authentic(_) => Ok(None),
        }
    }

    /// Somebody went on without the body. Nothing is taken and nothing delivered.
    #[cold]
    fn unplaced(&self) -> Answer {
        let spec = self.plan.spec;
        tracing::error!(target: "mpp", price = spec.name, at = %spec.location, "a body that has to be bound was not read");
        Answer::fault(ProblemType::Internal, "this request could not be judged")
    }

    /// Verifies, claims and settles.
    ///
    /// # Errors
    /// 402 with fresh challenges, or another status of the table in [`server`](super).
    pub(crate) async fn redeem(&self, quote: &Quote) -> Result<Admission, Answer> {
        self.take_payment(quote).await.map_err(|answer| self.told(answer))
    }
}

/// Of one offer there is no order.
fn is_choice(plan: &Plan) -> bool {
    plan.offers.len() > 1
}

/// Tells observers of an answer that comes before a visit.
#[cold]
fn told_early(mpp: &Mpp, spec: &PriceSpec, answer: Answer) -> Answer {
    mpp.0.observers.answered(None, Some(spec.name), &answer);
    answer
}

/// The scope where axum matched no route, or of a price that start-up did not see. Nobody remembers it.
#[inline(never)] // for the sake of routes, whose code then lies closer together
fn passing_scope(mpp: &Mpp, spec: &PriceSpec, verb: &Method, req: &Request) -> Arc<Scope> {
    Arc::new(match req.extensions().get::<MatchedPath>() {
        Some(path) => Scope::new(verb, path.as_str(), mpp.service()),
        None => Scope::literal(verb, spec.name, original_uri(req).path(), mpp.service()),
    })
}

/// Which request a computed price is for.
#[inline(never)] // for the sake of fixed prices
fn target(spec: &PriceSpec, verb: &Method, req: &Request) -> Target {
    let bound = match spec.honor {
        Honor::Recomputed => &[][..],
        Honor::Quoted(headers) => headers,
    };
    Target::new(verb, original_uri(req), req.headers(), bound)
}

/// What the client asked for, wherever the route is nested.
fn original_uri(req: &Request) -> &Uri {
    req.extensions().get::<OriginalUri>().map_or(req.uri(), |OriginalUri(uri)| uri)
}

#[cold]
fn two_prices(spec: &PriceSpec) -> Answer {
    tracing::error!(target: "mpp", price = spec.name, at = %spec.location, "this price is under a priced layer: two prices on one request");
    Answer::fault(ProblemType::Internal, "two prices on one request")
}

/// `Accept-Payment`; several lines are one list (RFC 9110 section 5.3).
fn accept_payment(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(ACCEPT_PAYMENT).iter();
    let first = lines.next()?;
    let mut all = Vec::new();
    for line in lines {
        if all.is_empty() {
            all.extend_from_slice(first.as_bytes());
        }
        all.push(b',');
        all.extend_from_slice(line.as_bytes());
    }
    if all.is_empty() { Some(first.clone()) } else { HeaderValue::from_bytes(&all).ok() }
}

/// Adds the body's digest to the identity of a request.
fn bind_digest(request: &mut [u8; 32], digest: Option<BodyDigest>) {
    if let Some(digest) = digest {
        let mut hash = Sha256::new();
        hash.update(*request);
        hash.update(digest.as_bytes());
        *request = hash.finalize().into();
    }
}

fn store_trouble(error: &StoreError) -> Answer {
    tracing::error!(target: "mpp", %error, "the store failed");
    Answer::unavailable(RETRY, "payments cannot be recorded right now; send the same credential again")
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::{self, Client};
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::http::header::AUTHORIZATION;
    use axum::routing::any;
    use http_body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll};
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_credential_is_worth_nothing_before_the_body_that_it_may_be_bound_to_is_read() {
        let (mpp, price) = (
            testing::mpp(),
            crate::price!(crate = crate, amount = "0.01", currency = "usdc", methods(tempo)),
        );
        let spec = price.spec();
        let client = Client::new(Router::new().fallback(async || "sold").layer(mpp.layer(price)));
        let credential = client.post("/").body("an order").credential("tempo").await;
        let request = Request::post("/").header(AUTHORIZATION, credential);
        let mut request = request.body(Body::from("an order")).unwrap();
        let mut visit =
            Visit::open(&mpp, spec, &mut request).unwrap_or_else(|_| panic!("a body comes first"));
        assert!(visit.binds_body() && visit.is_paying());
        let why = |answer: Option<Answer>| answer.and_then(|answer| answer.kind());
        assert_eq!(why(visit.resume().await.err()), Some(ProblemType::Internal));
        assert_eq!(why(visit.decide(&Quote::Fixed).err()), Some(ProblemType::Internal));
        assert!(visit.redeem(&Quote::Fixed).await.is_err());

        assert!(visit.read_body(request).await.is_ok());
        assert!(visit.resume().await.is_ok_and(|known| known.is_none()), "nobody knows it");
        assert!(visit.decide(&Quote::Fixed).is_ok_and(|decided| decided.is_none()), "it may pay");
        assert!(visit.redeem(&Quote::Fixed).await.is_ok());
    }

    /// A body that is not over when it is first asked, and is when it is asked again.
    #[derive(Default)]
    struct Ending {
        was_asked: AtomicBool,
    }

    impl http_body::Body for Ending {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            self.was_asked.swap(true, Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_body_that_comes_to_its_end_meanwhile_does_not_open_another_route() {
        let price = crate::price!(crate = crate, amount = "0.01", currency = "usdc", methods(tempo));
        let sold = || any(async || "sold");
        let routes = Router::new().route("/one", sold()).route("/other", sold());
        let router = routes.layer(testing::mpp().layer(price));
        let client = Client::new(router.clone());
        let credential = client.post("/one").credential("tempo").await;
        for (path, status) in [("/other", 402), ("/one", 200)] {
            let request = Request::post(path).header(AUTHORIZATION, &credential);
            let request = request.body(Body::new(Ending::default())).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path}");
        }
    }
}
