//! Payment methods: what the pipeline asks of a payment network, and nothing it does not.
//!
//! A method knows one payment network. It never sees HTTP, headers or axum, and never another method. The server
//! side is [`ServerMethod`]: the pipeline builds an offer, verifies a credential without side effects, takes the
//! claims, and only then settles, from the journaled [`SettlementPlan`] alone. The paying side is [`ClientMethod`].
//!
//! Every family member has the same shape: `method/<name>/{mod,request,server,client}.rs`.
//!
//! Drafts: draft-httpauth-payment section 6, draft-payment-intent-charge.

pub mod marker;
#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(feature = "stripe")]
pub mod stripe;
#[cfg(feature = "tempo")]
pub mod tempo;

use crate::protocol::{BaseUnits, Challenge, ChargeRequest, Currency, MethodName, ProblemType, Timestamp};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A payment method as annotations name it: `methods(crate::payments::Invoice)`.
///
/// A name and the currencies it can take, known at compile time; no configuration and no network. The built-in
/// markers are in [`marker`]. A marker alone never makes a method payable: a [`ServerMethod`] of the same name has
/// to be configured.
///
/// ```
/// use mpp::{method::PaymentMethod, protocol::Currency};
///
/// /// Invoices by post.
/// pub struct Invoice;
/// impl PaymentMethod for Invoice {
///     const NAME: &'static str = "invoice";
///     const CURRENCIES: &'static [Currency] = &[Currency::EUR];
/// }
/// ```
pub trait PaymentMethod {
    /// The method identifier: lowercase ASCII letters (draft-httpauth-payment section 6.1).
    const NAME: &'static str;
    /// The currencies it knows by name; a configuration may add some.
    const CURRENCIES: &'static [Currency];
}

/// A currency as one configured method takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodCurrency {
    /// What `request.currency` says: a token address, an ISO 4217 code.
    pub id: String,
    /// Decimal places of one unit: 6 for a TIP-20 token, 2 for `usd` on cards.
    pub decimals: u8,
    /// The smallest amount the method can charge, in base units.
    pub minimum: BaseUnits,
}

/// What an offer is made from. Amounts are already base units of the method's own currency.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OfferCx<'a> {
    /// Base units; zero for an identity proof.
    pub amount: BaseUnits,
    /// The method's own currency.
    pub currency: &'a MethodCurrency,
    /// `description` of the annotation.
    pub description: Option<&'a str>,
}

impl<'a> OfferCx<'a> {
    /// An offer of `amount` base units of `currency`.
    pub fn new(amount: BaseUnits, currency: &'a MethodCurrency) -> Self {
        Self { amount, currency, description: None }
    }
}

/// An authentic credential for one of this method's own offers, with everything a method may look at.
///
/// The challenge has been issued by this server for this route, is unexpired and matches the request's body.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct CredentialCx<'a> {
    /// The challenge as echoed; its HMAC has been verified.
    pub challenge: &'a Challenge,
    /// The decoded `request` of that challenge.
    pub request: &'a ChargeRequest,
    /// The method-specific proof.
    pub payload: &'a Map<String, Value>,
    /// The payer the credential names (usually a DID); unverified.
    pub source: Option<&'a str>,
    /// When the challenge expires.
    pub expires: Timestamp,
    /// Now, by the server's clock.
    pub now: Timestamp,
    /// Who asks, for fair shares of scarce work: the peer address, or empty when unknown.
    pub client: &'a str,
}

impl fmt::Debug for CredentialCx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The payload authorises a payment: never printed.
        f.debug_struct("CredentialCx").field("challenge", &self.challenge.id).finish_non_exhaustive()
    }
}

impl<'a> CredentialCx<'a> {
    /// For tests of a method outside the pipeline.
    pub fn new(
        challenge: &'a Challenge,
        request: &'a ChargeRequest,
        payload: &'a Map<String, Value>,
        expires: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self { challenge, request, payload, source: None, expires, now, client: "" }
    }
}

/// A credential that would pay, and what has to be claimed before it does.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Who pays, as the method established it (not as the credential claims).
    pub payer: Option<String>,
    /// Single-use keys of the proof besides the challenge id: a transaction hash, a token id. Canonical spelling.
    pub proof_keys: Vec<String>,
    /// All that `settle` needs.
    pub plan: SettlementPlan,
}

/// What [`ServerMethod::settle`] and [`ServerMethod::resolve`] work from: written into the journal (sealed) before
/// anything is claimed, so that a settlement can be resumed by another process.
///
/// May hold payment authorisations; `Debug` never prints it.
#[derive(Clone, PartialEq)]
pub struct SettlementPlan(pub Value);

impl fmt::Debug for SettlementPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettlementPlan(..)")
    }
}

/// Context of `settle`, `resolve`, `hold` and `release`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SettleCx<'a> {
    /// Id of the challenge being paid; stable across resumptions, so it serves as idempotency key.
    pub challenge_id: &'a str,
    /// The journaled plan.
    pub plan: &'a SettlementPlan,
    /// Now, by the server's clock.
    pub now: Timestamp,
}

impl<'a> SettleCx<'a> {
    /// For tests of a method outside the pipeline.
    pub fn new(challenge_id: &'a str, plan: &'a SettlementPlan, now: Timestamp) -> Self {
        Self { challenge_id, plan, now }
    }
}

/// A payment that is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    /// Method-specific reference for the receipt: transaction hash, payment intent id.
    pub reference: String,
    /// Echo of the request's `externalId`.
    pub external_id: Option<String>,
    /// Further receipt members of the method's draft.
    pub extra: Map<String, Value>,
}

impl Payment {
    /// A payment known by `reference`, with no further receipt members.
    pub fn new(reference: impl Into<String>) -> Self {
        Self { reference: reference.into(), external_id: None, extra: Map::new() }
    }
}

/// How a settlement ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// The money moved, finally.
    Settled(Payment),
    /// It did not and cannot any more: nothing was handed to the network, or finality excludes the payment.
    /// The claims are released.
    Declined(Rejection),
    /// Nobody knows yet. The claims stay; [`ServerMethod::resolve`] will be asked.
    Unknown {
        /// For the operator's log; never sent to a client.
        detail: String,
    },
}

/// How a reservation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    /// Reserved; `settle` captures and `release` cancels from this plan.
    Held(SettlementPlan),
    /// Refused by the network; nothing is reserved.
    Declined(Rejection),
    /// Nobody knows yet.
    Unknown {
        /// For the operator's log; never sent to a client.
        detail: String,
    },
}

/// Why a credential was not accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejection {
    /// The client's fault or misfortune: answered with this problem and, where the type is a 402, a fresh challenge.
    Refused {
        /// The problem type.
        kind: ProblemType,
        /// One sentence for the client; no secrets, no internals.
        detail: Cow<'static, str>,
    },
    /// Our side cannot tell now (RPC down, store trouble): 503 without a challenge.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// For the operator's log; never sent to a client.
        detail: String,
    },
}

impl Rejection {
    /// The proof does not verify: 402 `verification-failed`.
    pub fn failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { kind: ProblemType::VerificationFailed, detail: detail.into() }
    }

    /// The payload is not of the method's shape: 402 `malformed-credential`.
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { kind: ProblemType::MalformedCredential, detail: detail.into() }
    }

    /// We cannot tell: 503.
    pub fn unavailable(retry_after: Duration, detail: impl Into<String>) -> Self {
        Self::Unavailable { retry_after, detail: detail.into() }
    }
}

/// Why a method cannot be used as configured; part of the start-up report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MethodProblem(pub String);

/// Whether a method moves real money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Money {
    /// Real.
    Real,
    /// Play money; the builder wants `.allow_test_money()`.
    Test,
}

/// Whether a method can reserve funds and take them later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It really can.
    Supported,
    /// It cannot: `capture = "success"` is refused at start-up.
    Unsupported,
}

/// The server side of a payment method: the only trait the pipeline knows.
///
/// # Contract
/// - [`offer`](Self::offer) is pure and deterministic: the same input gives the same request.
/// - [`verify`](Self::verify) reads (RPC, store) and never writes, spends or broadcasts.
/// - [`settle`](Self::settle) is called once per claim, from the journaled plan. After a crash or an
///   unknown outcome only [`resolve`](Self::resolve) is asked, which looks the payment up and never pays again.
/// - `Declined` from `settle` or `resolve` means that nothing moved and nothing can: say in the method's module docs how
///   that is known. Every other error after bytes may have left is `Unknown`.
pub trait ServerMethod: Send + Sync + 'static {
    /// The method identifier.
    fn name(&self) -> &MethodName;

    /// Maps a currency name of the annotations to the method's own, as configured.
    fn currency(&self, name: &str) -> Option<MethodCurrency>;

    /// The currency names it maps, for error messages.
    fn currencies(&self) -> Vec<String>;

    /// Real or test money.
    fn money(&self) -> Money {
        Money::Real
    }

    /// Whether it can reserve funds.
    fn holding(&self) -> Holding {
        Holding::Unsupported
    }

    /// Problems of the configuration itself (recipient malformed, limits contradictory). No network.
    fn problems(&self) -> Vec<MethodProblem> {
        Vec::new()
    }

    /// Checks the network at start-up: reachable, the right chain, the right account. Called by `Mpp::check`.
    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::ready(Ok(()))
    }

    /// The `request` of a challenge for this much. For fixed prices it is asked once, at start-up.
    ///
    /// # Errors
    /// When this amount cannot be offered at all; the start-up report shows it.
    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem>;

    /// Whether the method can be paid right now. Cheap: called for every challenge.
    fn available(&self) -> bool {
        true
    }

    /// Checks a credential against the request it was issued for. No side effects.
    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>>;

    /// Moves the money: a direct payment, or the capture of a hold.
    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement>;

    /// Finds out what became of a settlement that crashed or ended unknown. Never pays.
    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement>;

    /// Reserves the funds (`capture = "success"`).
    fn hold<'a>(&'a self, _cx: &'a SettleCx<'a>) -> Step<'a, Held> {
        Step::ready(Held::Declined(Rejection::failed("this payment method cannot reserve funds")))
    }

    /// Cancels a hold. Idempotent; an `Err` is retried.
    fn release<'a>(&'a self, _cx: &'a SettleCx<'a>) -> Step<'a, Result<(), Rejection>> {
        Step::ready(Ok(()))
    }
}

/// The paying side of a method: turns a challenge into the proof that goes into the credential.
pub trait ClientMethod: Send + Sync + 'static {
    /// The method it can pay.
    fn name(&self) -> &MethodName;

    /// Pays, or authorises, what the challenge asks. The caller has already decided that it wants to.
    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>>;
}

/// What [`ClientMethod::pay`] yields: the method-specific part of a credential.
#[derive(Clone)]
pub struct Proof {
    /// `payload` of the credential.
    pub payload: Map<String, Value>,
    /// `source` of the credential: the payer's DID.
    pub source: Option<String>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why a challenge could not be paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayError {
    /// The challenge is for another method, another network, or says something the method does not understand.
    #[error("this challenge cannot be paid: {0}")]
    Unsupported(String),
    /// The account or the network refused.
    #[error("the payment failed: {0}")]
    Failed(String),
}

/// The future of a method or store call: ready at once, or boxed.
///
/// Methods and stores that finish synchronously cost no allocation.
///
/// ```
/// use mpp::method::Step;
/// fn quick(n: u32) -> Step<'static, u32> { Step::ready(n + 1) }
/// fn slow<'a>(s: &'a str) -> Step<'a, usize> { Step::boxed(async move { s.len() }) }
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Step<'a, T>(Inner<'a, T>);

enum Inner<'a, T> {
    Ready(Option<T>),
    Boxed(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<'a, T> Step<'a, T> {
    /// A result that is there already.
    pub fn ready(value: T) -> Self {
        Self(Inner::Ready(Some(value)))
    }

    /// A future.
    pub fn boxed(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self(Inner::Boxed(Box::pin(future)))
    }
}

impl<T: Unpin> Future for Step<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            // A future is not polled again after it was ready; one that is stays pending, as `pending()` would.
            Inner::Ready(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            Inner::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Step<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Step(..)")
    }
}
