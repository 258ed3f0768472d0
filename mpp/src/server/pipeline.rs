//! The pipeline: from a request's head to an open gate, in the order of ARCHITECTURE section 4.
//!
//! A [`Visit`] is one request on its way through a price:
//!
//! 1. [`Visit::open`]: the credential leaves the headers (more than one is a 400), its size, shape and HMAC are judged
//!    from the head alone. A forged credential is remembered and answered only in its turn.
//! 2. [`Visit::read_body`]: the body is read under the framework's limit and a deadline, and digested.
//! 3. The caller runs the handler's own extractors: 401, 404 and 422 come before money.
//! 4. [`Visit::resume`]: a credential the journal knows opens the route again, waits for the one that is using it, or gets
//!    the response that was kept for it ([`super::replay`]).
//! 5. [`Visit::decide`]: with the request's price, free or a challenge (402).
//! 6. [`Visit::redeem`]: verification, claims and settlement.
//!
//! What every unpaid request goes through is not async, and what only a paying one needs is boxed by the caller: the
//! future of a refusal stays small, because it is copied.
//!
//! From the first claim to a terminal payment state the work runs on a detached task ([`super::settlement`]).
//! [`Exit`](super::settlement::Exit) is the way out.

use super::Mpp;
use super::authorization;
use super::body::{self, Held, Reader};
use super::gate::Quote;
use super::journal::{
    Bill, DeliveryState, Entry, Found, JournalError, NewClaim, PaymentState, Record, Taken,
};
use super::observe::TARGET;
use super::page::{self, Page};
use super::paid::{Delivery, Proved};
use super::peer::Client;
use super::rate::Drawn;
use super::replay::IdempotencyKey;
use super::respond::{ACCEPT_PAYMENT, Answer, Challenges, as_page};
use super::scope::{Scope, Target, hash_request};
pub(crate) use super::settlement::Exit;
use super::settlement::{self, After, Outcome};
use crate::method::{CredentialCx, Money, Rejection, Verified};
use crate::pricing::{
    Binding, Capture, Honor, Offer, Order, Plan, Prepared, PriceSpec, Replay, SplitError, Tier,
};
use crate::protocol::{
    AcceptPayment, Amount, BaseUnits, BodyDigest, ChargeRequest, Credential, CredentialBuf, CredentialError,
    Fingerprint, FreshSlots, Intent, Problem, ProblemType, Timestamp,
};
use crate::store::{Quota, StoreError, Version};
use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use http_body::Body as _;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// How long a copy of a credential in use waits for its twin.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a credential may lose a race before it is told to come back.
const RACES: usize = 4;
/// What a client is told to wait when we cannot tell now.
const RETRY: Duration = Duration::from_secs(2);

/// One request on its way through a price.
pub(crate) struct Visit {
    mpp: Mpp,
    plan: Arc<Plan>,
    scope: Arc<Scope>,
    /// For a computed price: which request exactly.
    target: Option<Target>,
    digest: Option<BodyDigest>,
    /// `None` for a client that asks for nothing in particular: a visit is moved about, so it is kept small.
    wishes: Option<Box<Wishes>>,
    presented: Presented,
    /// Who is counted, where rates are limited.
    counted: Option<Client>,
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

/// What the request has shown.
enum Presented {
    /// Nothing.
    Nothing,
    /// A credential that will be refused, in its turn.
    Refused(Refused),
    /// A credential for a challenge of ours.
    Authentic(Box<Authentic>),
    /// One for another route, request or body. It will be refused; what its `Idempotency-Key` stands for is said first.
    Misplaced(Box<Authentic>, Refused),
}

const NOT_OURS: Refused = Refused {
    kind: ProblemType::InvalidChallenge,
    detail: Cow::Borrowed("this challenge was not issued by this server"),
};

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

struct Authentic {
    credential: Credential,
    fingerprint: Fingerprint,
    charge: Arc<ChargeRequest>,
    quota: Quota,
    /// SHA-256 of verb, path, query and body digest.
    request: [u8; 32],
    key: Option<IdempotencyKey>,
    /// The peer, for fair shares.
    client: String,
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

impl Visit {
    /// From the head. The request is left intact but for the Payment credential.
    ///
    /// # Errors
    /// 400 for two credentials, 429 for a client that has had its share of refusals, 500 for our own faults.
    pub(crate) fn open(
        mpp: Mpp,
        spec: &'static PriceSpec,
        req: &mut Request,
        unmatched: Option<&str>,
    ) -> Result<Self, Answer> {
        let early = |answer: Answer| {
            mpp.0.observers.answered(None, Some(spec.name), &answer);
            answer
        };
        if req.extensions().get::<Layered>().is_some() {
            tracing::error!(target: "mpp", price = spec.name, at = %spec.location, "this price is under a priced layer: two prices on one request");
            return Err(early(Answer::fault(ProblemType::Internal, "two prices on one request")));
        }
        let plan = mpp.plan(spec).map_err(early)?;
        let credential = authorization::take(req.headers_mut()).map_err(early)?;
        // axum's `get` also answers HEAD: it is quoted the price of GET and never spends.
        let head = *req.method() == Method::HEAD;
        let verb = if head { &Method::GET } else { req.method() };
        let uri = req.extensions().get::<OriginalUri>().map_or(req.uri(), |OriginalUri(uri)| uri);
        let service = mpp.0.service.as_deref();
        let scope = match (req.extensions().get::<MatchedPath>(), unmatched) {
            (Some(path), _) => plan.scopes.matched(verb, path.as_str(), service),
            (None, layer) => Arc::new(Scope::literal(verb, layer.unwrap_or(spec.name), uri.path(), service)),
        };
        let target = spec.is_computed().then(|| {
            let bound = match spec.honor {
                Honor::Recomputed => &[][..],
                Honor::Quoted(headers) => headers,
            };
            Target::new(verb, uri, req.headers(), bound)
        });
        let presented = match credential.filter(|_| !head) {
            None => Presented::Nothing,
            Some(credential) => {
                let key = IdempotencyKey::of(&mpp, verb, req.headers()).map_err(early)?;
                mpp.judge(credential, key, &plan, verb, uri, req)
            }
        };
        let payment = accept_payment(req.headers());
        let reader = page::is_wanted(req.headers()).then(|| mpp.address(uri));
        let wishes = (payment.is_some() || reader.is_some()).then(|| Box::new(Wishes { payment, reader }));
        let counted = mpp.0.rates.is_some().then(|| mpp.0.proxies.client(req.extensions(), req.headers()));
        let visit = Self { mpp, plan, scope, target, digest: None, wishes, presented, counted, held: None };
        visit.check_rate().map_err(|answer| visit.told(answer))?;
        Ok(visit)
    }

    /// Whether there is a body that has to be bound.
    pub(crate) fn binds_body(&self, req: &Request) -> bool {
        self.plan.spec.binding == Binding::Body && !req.body().is_end_stream()
    }

    /// Reads the body under its limits, digests it, and puts it back.
    ///
    /// # Errors
    /// 408, 413, 429, 503 and 400.
    pub(crate) async fn read_body(&mut self, req: Request) -> Result<Request, Answer> {
        let inner = &self.mpp.0;
        let reader = if self.is_paying() { Reader::Payer } else { Reader::Stranger };
        let client = inner.proxies.client(req.extensions(), req.headers());
        let held = self.held.insert(Box::new(inner.bodies.open(client, reader)));
        let read = body::read(req, inner.body_deadline, held).await;
        let (req, digest) = read.map_err(|answer| self.told(answer))?;
        self.digest = digest;
        Ok(req)
    }

    /// Head and body are known: `challenge = "first"` answers here, and a credential is held against the route, request
    /// and body its challenge was issued for.
    ///
    /// # Errors
    /// 402 for `challenge = "first"`.
    pub(crate) fn identify(&mut self) -> Result<(), Answer> {
        self.hold_against().map_err(|answer| self.told(answer))
    }

    fn hold_against(&mut self) -> Result<(), Answer> {
        let spec = self.plan.spec;
        match &mut self.presented {
            Presented::Nothing
                if spec.order == Order::ChallengeFirst
                    && spec.tier != Tier::FreeIf
                    && !spec.is_computed() =>
            {
                Err(self.unpaid(&self.quote(&Quote::Fixed)?))
            }
            Presented::Authentic(authentic) => {
                bind_digest(&mut authentic.request, self.digest);
                self.check_scope();
                Ok(())
            }
            Presented::Nothing | Presented::Refused(_) | Presented::Misplaced(..) => Ok(()),
        }
    }

    fn check_scope(&mut self) {
        let Presented::Authentic(authentic) = &self.presented else { return };
        let challenge = &authentic.credential.challenge;
        let in_scope =
            challenge.opaque.as_deref().is_some_and(|opaque| self.scope.covers(opaque, self.target.as_ref()));
        let same_body = match (&challenge.digest, self.digest) {
            (None, None) => true,
            (Some(bound), Some(body)) => BodyDigest::parse(bound).is_ok_and(|bound| bound == body),
            (Some(_), None) | (None, Some(_)) => false,
        };
        let why = match (in_scope, same_body) {
            (true, true) => return,
            (false, _) => "this challenge was issued for another route or request",
            (true, false) => "this challenge was issued for another request body",
        };
        if let Presented::Authentic(authentic) = std::mem::replace(&mut self.presented, Presented::Nothing) {
            let refused = Refused::new(ProblemType::InvalidChallenge, why);
            self.presented = Presented::Misplaced(authentic, refused);
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
            Presented::Authentic(_) => true,
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

    async fn look_up(&mut self) -> Result<Option<Admission>, Answer> {
        let authentic = match &self.presented {
            Presented::Authentic(authentic) => authentic,
            Presented::Misplaced(authentic, _) => {
                return match self.key_holder(authentic).await? {
                    Some(_) => Err(key_in_use()),
                    None => Ok(None),
                };
            }
            Presented::Nothing | Presented::Refused(_) => return Ok(None),
        };
        let (journal, id) = (&self.mpp.0.journal, authentic.credential.challenge.id.as_str());
        let found = journal.find(authentic.quota, id).await;
        match found.map_err(|e| store_trouble(&e))? {
            None => match self.key_holder(authentic).await? {
                Some(holder) if holder != id => Err(key_in_use()),
                Some(_) | None => Ok(None),
            },
            Some(found) => match self.existing(authentic, found).await? {
                Standing::Open(admission) => Ok(Some(admission)),
                Standing::Vacant => Ok(None),
                Standing::Used => {
                    self.presented = Presented::Refused(USED);
                    Ok(None)
                }
            },
        }
    }

    /// An entry stands under this challenge: deliver, wait, take over, or refuse.
    async fn existing(&self, authentic: &Authentic, mut found: Found) -> Result<Standing, Answer> {
        let (mpp, quota, id) = (&self.mpp, authentic.quota, authentic.credential.challenge.id.as_str());
        let patience = tokio::time::Instant::now() + PATIENCE;
        let mut place = None;
        loop {
            let Some(entry) = authentic.own_entry(&found.record) else {
                return self.over(authentic, &found.record).await;
            };
            let (version, mut entry) = (found.version, entry.clone());
            let now = mpp.now();
            if entry.lease.is_live(now) {
                // At most two copies wait, and not for long; the others come back later.
                if place.is_none() {
                    place = mpp.0.waits.enter(id);
                }
                let changed = mpp.0.journal.changed(quota, id, version);
                if place.is_none() || tokio::time::timeout_at(patience, changed).await.is_err() {
                    return Err(Answer::in_progress());
                }
            } else {
                // Before the key is taken: nothing at all is claimed any more.
                if mpp.0.journal.doors().are_closed() {
                    return Err(Answer::closed());
                }
                // A key that came with a later attempt only.
                if let Some(key) = authentic.key.as_ref().map(IdempotencyKey::proof)
                    && !entry.proof_keys.iter().any(|proof| proof == key)
                {
                    let holder = mpp.0.journal.hold(quota, key, id, entry.expires, now).await;
                    if holder.map_err(|e| store_trouble(&e))?.is_some() {
                        return Err(key_in_use());
                    }
                    entry.proof_keys.push(key.to_owned());
                }
                if let Some(outcome) = self.take_over(quota, id, version, entry, now).await {
                    return match self.conclude(outcome, None)? {
                        Some(admission) => Ok(Standing::Open(admission)),
                        None => Ok(Standing::Vacant),
                    };
                }
            }
            match mpp.0.journal.find(quota, id).await.map_err(|e| store_trouble(&e))? {
                Some(next) => found = next,
                // Rolled back meanwhile: a request like any other.
                None => return Ok(Standing::Vacant),
            }
        }
    }

    /// The entry is closed, or another credential's or request's: answered again with what was kept, or refused.
    async fn over(&self, authentic: &Authentic, record: &Record) -> Result<Standing, Answer> {
        let id = authentic.credential.challenge.id.as_str();
        let holder = self.key_holder(authentic).await?;
        let own = match record {
            Record::Kept(kept) if authentic.is_own(&kept.fingerprint, &kept.target) => Some(kept),
            _ => None,
        };
        let Some(kept) = own else {
            return if holder.is_some() { Err(key_in_use()) } else { Ok(Standing::Used) };
        };
        let by_key = holder.as_deref() == Some(id);
        if !by_key && self.plan.spec.replay == Replay::Refused {
            return Ok(Standing::Used);
        }
        let expires = authentic.credential.challenge.expires_at().ok().flatten();
        let in_time = expires.is_some_and(|expires| self.mpp.now() <= expires + self.mpp.0.journal.grace());
        match self.mpp.0.shelf.open(id, kept).filter(|_| in_time) {
            Some(again) => Err(again),
            None if by_key => Err(Answer::conflict(
                "the request of this Idempotency-Key was answered, and the response is not kept",
            )),
            None => Ok(Standing::Used),
        }
    }

    /// The challenge that holds the `Idempotency-Key` of this request.
    async fn key_holder(&self, authentic: &Authentic) -> Result<Option<String>, Answer> {
        let Some(key) = &authentic.key else { return Ok(None) };
        self.mpp.0.journal.holder(authentic.quota, key.proof()).await.map_err(|e| store_trouble(&e))
    }

    /// Nobody works on this entry: do. Paid for and undelivered is delivered; anything else is finished first. `None` when
    /// somebody else was quicker.
    async fn take_over(
        &self,
        quota: Quota,
        id: &str,
        version: Version,
        entry: Entry,
        now: Timestamp,
    ) -> Option<Outcome> {
        let mpp = &self.mpp;
        let journal = &mpp.0.journal;
        if matches!(entry.payment, PaymentState::Settled(_)) {
            if entry.delivery == DeliveryState::RefundDue {
                return Some(Outcome::RefundDue);
            }
            if settlement::is_over(mpp, &entry, now) {
                return match journal.refund_due(quota, id, version, entry.clone(), now).await {
                    Ok(()) => {
                        mpp.0.observers.refund_due(id, &entry);
                        Some(Outcome::RefundDue)
                    }
                    Err(JournalError::Lost(_)) => None,
                    Err(JournalError::Store(e)) => Some(Outcome::Store(e)),
                };
            }
        }
        let method = mpp.0.methods.iter().find(|m| m.name().as_str() == entry.method).cloned();
        let Some(method) = method else {
            tracing::error!(target: "mpp", method = entry.method, "a payment is open whose method is no longer configured");
            return Some(Outcome::Unknown);
        };
        let Some(pass) = journal.doors().enter() else { return Some(Outcome::Closed) };
        match journal.take_over(quota, id.to_owned(), version, entry, now).await {
            Ok(Taken::Settled(claim)) => Some(settlement::redeliver(mpp, claim)),
            Ok(taken) => {
                Some(settlement::detached(mpp, pass, None, method, settlement::Work::Recover(taken)).await)
            }
            Err(JournalError::Lost(_)) => None,
            Err(JournalError::Store(e)) => Some(Outcome::Store(e)),
        }
    }

    /// Free, or a challenge; `None` leaves a credential to [`redeem`](Self::redeem).
    ///
    /// # Errors
    /// 402 with fresh challenges, or the other statuses of ARCHITECTURE section 5.
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
            Presented::Authentic(_) => Ok(None),
        }
    }

    /// Verifies, claims and settles.
    ///
    /// # Errors
    /// 402 with fresh challenges, or the other statuses of ARCHITECTURE section 5.
    pub(crate) async fn redeem(&self, quote: &Quote) -> Result<Admission, Answer> {
        self.take_payment(quote).await.map_err(|answer| self.told(answer))
    }

    async fn take_payment(&self, quote: &Quote) -> Result<Admission, Answer> {
        let quoted = self.quote(quote);
        let Presented::Authentic(authentic) = &self.presented else { return Err(self.unpaid(&quoted?)) };
        let quoted = match quoted {
            Ok(quoted) => quoted,
            // Today's price cannot be offered. What was quoted before still stands if it covers that price, or was promised.
            Err(answer) => match self.paid_offer(authentic, self.mpp.now()) {
                Ok(offer) if self.check_price(authentic, offer, quote).is_ok() => Offered::new(),
                Ok(_) | Err(_) => return Err(answer),
            },
        };
        for _ in 0..RACES {
            let redeemed = self
                .settle(authentic, quote, &quoted)
                .await
                .map_err(|refused| self.reject(&quoted, refused))?;
            let admission = match redeemed {
                Outcome::Existing(found) => match self.existing(authentic, found).await? {
                    Standing::Open(admission) => Some(admission),
                    Standing::Vacant => None,
                    Standing::Used => return Err(self.refuse(&quoted, USED.kind, USED.detail)),
                },
                outcome => self.conclude(outcome, Some(&quoted))?,
            };
            if let Some(admission) = admission {
                return Ok(admission);
            }
        }
        Err(Answer::in_progress())
    }

    /// An authentic credential without an entry.
    async fn settle(
        &self,
        authentic: &Authentic,
        quote: &Quote,
        quoted: &[Quoted<'_>],
    ) -> Result<Outcome, Rejection> {
        let refused = |kind, detail: &'static str| Rejection::Refused { kind, detail: Cow::Borrowed(detail) };
        let challenge = &authentic.credential.challenge;
        let now = self.mpp.now();
        let Ok(Some(expires)) = challenge.expires_at() else {
            return Err(refused(ProblemType::InvalidChallenge, "this challenge has no expiry"));
        };
        if now >= expires {
            return Err(refused(ProblemType::PaymentExpired, "this challenge has expired"));
        }
        let offer = self.paid_offer(authentic, now)?;
        self.check_price(authentic, offer, quote)?;

        let mut cx =
            CredentialCx::new(challenge, &authentic.charge, &authentic.credential.payload, expires, now);
        cx.source = authentic.credential.source.as_deref();
        cx.client = &authentic.client;
        let (id, operation, method) = (&*challenge.id, self.scope.shown(), offer.name.as_str());
        let span = tracing::info_span!(target: TARGET, "verify", challenge = id, method);
        let verified = offer.method.verify(&cx).instrument(span).await;
        let outcome = match &verified {
            Ok(_) => "verified",
            Err(Rejection::Refused { .. }) => "refused",
            Err(Rejection::Unavailable { .. }) => "unavailable",
        };
        tracing::debug!(target: TARGET, challenge = id, operation, method, outcome, "verify");
        let Verified { payer, mut proof_keys, plan } = verified?;
        // Namespaced, and claimed in one order by everybody.
        for key in &mut proof_keys {
            key.insert(0, ':');
            key.insert_str(0, offer.name.as_str());
        }
        proof_keys.extend(authentic.key.as_ref().map(|key| key.proof().to_owned()));
        proof_keys.sort_unstable();
        proof_keys.dedup();
        let fault = |detail: &str| Rejection::unavailable(RETRY, detail);
        let plain = serde_json::to_vec(&plan.0).map_err(|_| fault("the settlement plan is not JSON"))?;
        let sealed_plan = self
            .mpp
            .0
            .sealer
            .seal(&challenge.id, &plain)
            .ok_or_else(|| fault("the plan could not be sealed"))?;
        let claim = Box::new(NewClaim {
            quota: authentic.quota,
            id: challenge.id.clone(),
            fingerprint: authentic.fingerprint,
            target: authentic.request,
            expires,
            method: offer.name.to_string(),
            bill: Bill {
                operation: operation.to_owned(),
                units: authentic.charge.amount.get(),
                decimals: offer.currency.decimals,
                currency: self.plan.spec.offers[offer.index].currency.name.to_owned(),
                asset: offer.currency.id.clone(),
            },
            payer,
            external_id: authentic.charge.external_id.clone(),
            proof_keys,
            sealed_plan,
        });
        let work = settlement::Work::Settle { claim, plan, capture: self.plan.spec.capture };
        let Some(pass) = self.mpp.0.journal.doors().enter() else { return Ok(Outcome::Closed) };
        Ok(settlement::detached(&self.mpp, pass, self.fresh(quoted), offer.method.clone(), work).await)
    }

    /// The offer whose challenge this is: the echoed request must be what this price asks for this request, now or a moment
    /// ago. A method may have an offer in each of several currencies.
    fn paid_offer(&self, authentic: &Authentic, now: Timestamp) -> Result<&Offer, Rejection> {
        let challenge = &authentic.credential.challenge;
        let other = |detail| Rejection::Refused {
            kind: ProblemType::InvalidChallenge,
            detail: Cow::Borrowed(detail),
        };
        let of_the_method = || {
            self.plan
                .offers
                .iter()
                .filter(|o| o.name == challenge.method && challenge.intent == Intent::CHARGE)
        };
        if of_the_method().next().is_none() {
            return Err(other("this challenge is not one of this resource's offers"));
        }
        of_the_method()
            .find(|o| o.asks(&challenge.request, authentic.charge.amount, self.plan.spec, now))
            .ok_or_else(|| other("this challenge is not what this resource charges"))
    }

    /// A computed price: the quoted amount is held against today's.
    fn check_price(&self, authentic: &Authentic, offer: &Offer, quote: &Quote) -> Result<(), Rejection> {
        if offer.fixed.is_some() {
            return Ok(());
        }
        // By the price itself, not by what can be offered: a price that fell below the method's minimum is covered too.
        let covered = match self.plan.spec.honor {
            Honor::Quoted(_) => true,
            Honor::Recomputed => {
                self.computed(offer, quote).is_ok_and(|today| authentic.charge.amount >= today)
            }
        };
        if covered {
            Ok(())
        } else {
            Err(Rejection::Refused {
                kind: ProblemType::PaymentInsufficient,
                detail: Cow::Borrowed("the price of this request has risen since this challenge was issued"),
            })
        }
    }

    /// An open gate, or the answer; `None` when the credential turned out to be free to start again.
    fn conclude(&self, outcome: Outcome, quoted: Option<&[Quoted<'_>]>) -> Result<Option<Admission>, Answer> {
        match outcome {
            Outcome::Paid(run) => Ok(Some(run.admit(self.after()))),
            Outcome::Vacant => Ok(None),
            Outcome::Rejected(rejection) => match quoted {
                Some(quoted) => Err(self.reject(&self.unsponsored(quoted), rejection)),
                // Found out while resuming, before this request was priced: nothing moved, so it starts again.
                None => Ok(None),
            },
            Outcome::Existing(_) => Err(Answer::in_progress()),
            Outcome::KeyInUse => Err(key_in_use()),
            Outcome::Closed => Err(Answer::closed()),
            Outcome::Busy => {
                Err(Answer::unavailable(RETRY, "too many payments are being settled; try again"))
            }
            Outcome::Unknown => Err(Answer::unavailable(
                RETRY,
                "the outcome of this payment is not known yet; send the same credential again",
            )),
            Outcome::RefundDue => Err(Answer::unavailable(
                Duration::from_secs(3600),
                "this payment could not be delivered; the operator has been told that a refund is due",
            )),
            Outcome::Store(e) => Err(store_trouble(&e)),
        }
    }

    /// What becomes of the response to this request.
    fn after(&self) -> After {
        let keyed = matches!(&self.presented, Presented::Authentic(authentic) if authentic.key.is_some());
        if keyed || self.plan.spec.replay == Replay::Response { After::Kept } else { After::Forgotten }
    }

    /// The same offers, with the network's fee on the payer. After a settlement that came to nothing the sponsor has spent
    /// money, or does not want to: whoever pays its own fee is welcome to try again.
    fn unsponsored<'q>(&self, quoted: &[Quoted<'q>]) -> Offered<'q> {
        let inner = &self.mpp.0;
        let plain = |q: &Quoted<'q>| {
            let prepared = q.offer.unsponsored(&q.prepared, self.plan.spec, &inner.realm, &inner.ring)?;
            Some(Quoted { offer: q.offer, prepared })
        };
        quoted.iter().filter_map(plain).collect()
    }

    /// What this request costs, per offer that can be made now; empty when there is none.
    fn quote<'p>(&'p self, quote: &Quote) -> Result<Offered<'p>, Answer> {
        let spec = self.plan.spec;
        let inner = &self.mpp.0;
        let mut quoted = Offered::new();
        for offer in &self.plan.offers {
            if !offer.method.available() {
                continue;
            }
            let prepared = match &offer.fixed {
                Some(fixed) => Cow::Borrowed(fixed.form(offer.fees())),
                None => {
                    let units = self.computed(offer, quote)?;
                    if units < offer.currency.minimum {
                        continue;
                    }
                    if let Err(SplitError::NothingLeft) = offer.shares(units, spec) {
                        return Err(self.out_of_range(
                            "the price of this request is too small to be split as this resource splits it",
                        ));
                    }
                    match offer.prepare(units, offer.fees(), spec, &inner.realm, &inner.ring) {
                        Ok(prepared) => Cow::Owned(prepared),
                        Err(why) => {
                            tracing::error!(target: "mpp", price = spec.name, at = %spec.location, "an offer could not be made: {why}");
                            continue;
                        }
                    }
                }
            };
            quoted.push(Quoted { offer, prepared });
        }
        Ok(quoted)
    }

    /// Base units of a computed price.
    fn computed(&self, offer: &Offer, quote: &Quote) -> Result<BaseUnits, Answer> {
        let spec = self.plan.spec;
        let amount: Option<Amount> = match quote {
            Quote::Computed(amount) => Some(*amount),
            Quote::Each(amounts) => amounts.get(offer.index).copied().flatten(),
            Quote::Fixed | Quote::Free => None,
        };
        let out_of_range = |why| self.out_of_range(why);
        let Some(amount) = amount else {
            tracing::error!(target: "mpp", price = spec.name, at = %spec.location, "the price expression yielded no amount for an offer");
            return Err(Answer::fault(ProblemType::Internal, "this request could not be priced"));
        };
        if amount.is_overflow() {
            return Err(out_of_range("the price of this request is too large to be counted"));
        }
        if amount.is_zero() {
            // A charge that charges nothing is a slip of the price function; `free_if` says it on purpose.
            return Err(out_of_range(
                "the price of this request came to zero, and this resource is not free",
            ));
        }
        if spec.up_to.is_some_and(|ceiling| amount > ceiling) {
            return Err(out_of_range(
                "the price of this request is above what this resource charges at most",
            ));
        }
        offer.base_units(amount).map_err(|_| {
            out_of_range("the price of this request is not a whole number of the currency's smallest unit")
        })
    }

    /// The answer when a price expression yields what cannot be charged.
    fn out_of_range(&self, why: &'static str) -> Answer {
        let spec = self.plan.spec;
        tracing::error!(target: "mpp", price = spec.name, at = %spec.location, why, "a computed price is out of range");
        Answer::problem(ProblemType::PriceOutOfRange, why)
    }

    /// The 402 of a request without a credential.
    fn unpaid(&self, quoted: &[Quoted<'_>]) -> Answer {
        if quoted.is_empty() {
            return nothing_to_offer();
        }
        self.ask(quoted, ProblemType::PaymentRequired, "This resource has to be paid for.")
    }

    /// The answer to a credential that is not accepted: a fresh challenge if the problem is a 402.
    fn refuse(&self, quoted: &[Quoted<'_>], kind: ProblemType, detail: Cow<'static, str>) -> Answer {
        if kind.status() != 402 {
            let answer = || Answer::from_problem(&Problem::new(kind, detail));
            return self.draw(Drawn::Refusal).err().unwrap_or_else(answer);
        }
        // A 402 always carries a challenge.
        if quoted.is_empty() {
            return nothing_to_offer();
        }
        self.ask(quoted, kind, &detail)
    }

    /// A 402: a problem for programs, a page for people.
    fn ask(&self, quoted: &[Quoted<'_>], kind: ProblemType, detail: &str) -> Answer {
        // Nobody is asked to pay a server that will not take it.
        if self.mpp.0.journal.doors().are_closed() {
            return Answer::closed();
        }
        let drawn = if kind == ProblemType::PaymentRequired { Drawn::Challenge } else { Drawn::Refusal };
        if let Err(limited) = self.draw(drawn) {
            return limited;
        }
        let answer = Answer::challenge(kind, detail, self.challenges(quoted));
        match self.wishes.as_ref().and_then(|wishes| wishes.reader.as_ref()) {
            None => answer,
            Some(url) => as_page(answer, self.page(quoted, kind, detail, url)),
        }
    }

    /// Counts an answer, where rates are limited.
    ///
    /// # Errors
    /// The 429 that is sent instead.
    fn draw(&self, what: Drawn) -> Result<(), Answer> {
        let (Some(rates), Some(client)) = (&self.mpp.0.rates, self.counted) else { return Ok(()) };
        rates.draw(what, client).map_err(limited)
    }

    /// A client that has had its share is told before its body is read and its request is looked at. Not where it may be
    /// free, and never one with an authentic credential.
    fn check_rate(&self) -> Result<(), Answer> {
        let (Some(rates), Some(client)) = (&self.mpp.0.rates, self.counted) else { return Ok(()) };
        match self.presented {
            _ if self.plan.spec.tier == Tier::FreeIf => Ok(()),
            Presented::Nothing => rates.peek(Drawn::Challenge, client).map_err(limited),
            Presented::Refused(_) => rates.peek(Drawn::Refusal, client).map_err(limited),
            Presented::Authentic(_) | Presented::Misplaced(..) => Ok(()),
        }
    }

    #[cold]
    fn page(&self, quoted: &[Quoted<'_>], kind: ProblemType, detail: &str, url: &str) -> String {
        let expires = (self.mpp.now() + self.mpp.0.lifetime).to_rfc3339();
        let page = Page {
            realm: self.mpp.realm(),
            url,
            verb: self.scope.verb(),
            spec: self.plan.spec,
            kind,
            detail,
            expires: expires.as_str(),
            offers: quoted.iter().map(|q| (q.offer, q.prepared.challenge.request())).collect(),
        };
        page.html()
    }

    fn reject(&self, quoted: &[Quoted<'_>], rejection: Rejection) -> Answer {
        match rejection {
            Rejection::Refused { kind, detail } => self.refuse(quoted, kind, detail),
            Rejection::Unavailable { retry_after, detail } => {
                tracing::warn!(target: "mpp", price = self.plan.spec.name, detail, "a payment could not be judged");
                Answer::unavailable(
                    retry_after,
                    "this payment cannot be checked right now; send the same credential again",
                )
            }
        }
    }

    /// One header per offer, best first by the client's `Accept-Payment`, and the id of the first.
    fn challenges(&self, quoted: &[Quoted<'_>]) -> Challenges {
        let expires = (self.mpp.now() + self.mpp.0.lifetime).to_rfc3339_shared();
        let digest = self.digest.map(|d| d.to_string()).unwrap_or_default();
        let (scope, target) = (&self.scope, self.target.as_ref());
        let opaque = |text: &mut String| scope.write_opaque(target, text);
        let fresh = FreshSlots::ending_in(&expires, &digest, scope.opaque_len(target), opaque);
        let mut challenges = Challenges::for_offers(quoted.len());
        let mut write = |offer: &Quoted<'_>| {
            let (id, line) = offer.prepared.challenge.issue(&fresh);
            challenges.push(id, line);
        };
        match self.ranking(quoted) {
            Some(order) => order.into_iter().filter_map(|i| quoted.get(i)).for_each(&mut write),
            None => quoted.iter().for_each(&mut write),
        }
        challenges
    }

    /// The headers of a 402, with its challenges.
    #[cfg(feature = "testing")]
    pub(crate) fn challenge_headers(&self, quote: &Quote) -> Result<HeaderMap, Answer> {
        Ok(self.challenges(&self.quote(quote)?).into_headers())
    }

    /// The client's order of preference; `None` for ours (no header, a malformed one, or no match).
    fn ranking(&self, quoted: &[Quoted<'_>]) -> Option<Vec<usize>> {
        let accept = AcceptPayment::parse(self.wishes.as_ref()?.payment.as_ref()?.to_str().ok()?).ok()?;
        let order = accept.rank(quoted.iter().map(|q| (q.offer.name.as_str(), Intent::CHARGE.as_str())));
        (!order.is_empty()).then_some(order)
    }

    /// A refusal prepared for later: a declined capture has to be answered when this visit is over.
    fn fresh(&self, quoted: &[Quoted<'_>]) -> Option<Challenges> {
        (self.plan.spec.capture == Capture::OnSuccess && !quoted.is_empty()).then(|| self.challenges(quoted))
    }
}

/// The offers of one request. Nearly every price has one or two, which are no reason to allocate.
type Offered<'p> = SmallVec<[Quoted<'p>; 2]>;

/// An offer and what it asks for this request.
struct Quoted<'p> {
    offer: &'p Offer,
    prepared: Cow<'p, Prepared>,
}

/// What an existing entry means for a request.
enum Standing {
    /// The route is open.
    Open(Admission),
    /// The entry is gone: a request like any other.
    Vacant,
    /// Delivered, or another credential's.
    Used,
}

impl Authentic {
    /// The entry, if it belongs to the very same credential and request.
    fn own_entry<'e>(&self, record: &'e Record) -> Option<&'e Entry> {
        let Record::Open(entry) = record else { return None };
        self.is_own(&entry.fingerprint, &entry.target).then_some(&**entry)
    }

    /// Whether this is the same credential, constant time, for the same request.
    fn is_own(&self, fingerprint: &[u8; 32], target: &[u8; 32]) -> bool {
        Fingerprint::from_bytes(*fingerprint) == self.fingerprint && *target == self.request
    }
}

impl Mpp {
    /// The public address of a request's target.
    #[cold]
    fn address(&self, uri: &Uri) -> String {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        format!("{}{target}", self.public_url().trim_end_matches('/'))
    }

    /// Size, shape and HMAC of a credential, from the head alone.
    fn judge(
        &self,
        credential: Result<CredentialBuf, CredentialError>,
        key: Option<IdempotencyKey>,
        plan: &Plan,
        verb: &Method,
        uri: &Uri,
        req: &Request,
    ) -> Presented {
        // Which part of it cannot be read, in our own words: that tells a stranger nothing but what was sent.
        let malformed = |error: CredentialError| {
            let detail = Cow::Owned(error.to_string());
            Presented::Refused(Refused { kind: ProblemType::MalformedCredential, detail })
        };
        let buffer = match credential {
            Ok(buffer) => buffer,
            Err(error) => return malformed(error),
        };
        // By reference: it is large.
        let parsed = buffer.parse();
        let credential = match &parsed {
            Ok(credential) => credential,
            Err(error) => return malformed(*error),
        };
        let echo = &credential.challenge;
        let method = self.0.methods.iter().find(|m| m.name().as_str() == echo.method);
        let Some(method) = method else {
            return Presented::Refused(Refused::new(
                ProblemType::MethodUnsupported,
                "this payment method is not accepted here",
            ));
        };
        let slots = echo.slots();
        // Another service with the same secret has another realm.
        if slots.realm != self.0.realm.as_str() {
            return Presented::Refused(NOT_OURS);
        }
        // The HMAC of this route's own fixed offer has absorbed most of the input already.
        let own = (slots.intent == Intent::CHARGE.as_str())
            .then(|| plan.offers.iter().filter(|offer| slots.method == offer.name.as_str()))
            .and_then(|mut offers| offers.find_map(|offer| offer.fixed.as_ref()?.form_of(slots.request)));
        let verified = match own {
            Some(fixed) => fixed.challenge.verify(slots.expires, slots.digest, slots.opaque, &echo.id),
            None => self.0.ring.verify(&slots, &echo.id),
        };
        if verified.is_err() {
            return Presented::Refused(NOT_OURS);
        }
        // Authentic: only now is it worth copying.
        let credential = match credential.to_credential() {
            Ok(credential) => credential,
            Err(error) => return malformed(error),
        };
        let charge = match own {
            Some(fixed) => fixed.charge.clone(),
            None => match credential.challenge.charge() {
                Ok(charge) => Arc::new(charge),
                Err(_) => {
                    return Presented::Refused(Refused::new(
                        ProblemType::InvalidChallenge,
                        "this challenge is not one of this resource's offers",
                    ));
                }
            },
        };
        let quota =
            if method.money() == Money::Test || charge.amount.is_zero() { Quota::Free } else { Quota::Paid };
        let mut hash = Sha256::new();
        hash_request(&mut hash, verb, uri);
        let client = self.0.proxies.client(req.extensions(), req.headers()).to_string();
        Presented::Authentic(Box::new(Authentic {
            fingerprint: credential.fingerprint(),
            credential,
            charge,
            quota,
            request: hash.finalize().into(),
            key,
            client,
        }))
    }
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

/// Too many answers that cost the client nothing.
fn limited(wait: Duration) -> Answer {
    Answer::limited(wait, "too many requests that were not paid for; wait before asking again")
}

/// There is a price, and no method that can take it now.
fn nothing_to_offer() -> Answer {
    Answer::unavailable(Duration::from_secs(60), "no payment method is available for this resource")
}

/// The key stands for something else.
fn key_in_use() -> Answer {
    Answer::conflict(
        "this Idempotency-Key belongs to another request or payment; nothing was taken for this one",
    )
}

fn store_trouble(error: &StoreError) -> Answer {
    tracing::error!(target: "mpp", %error, "the store failed");
    Answer::unavailable(RETRY, "payments cannot be recorded right now; send the same credential again")
}
