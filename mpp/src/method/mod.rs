//! Payment methods: what the pipeline asks of a payment network, and nothing it does not.
//!
//! A method knows one payment network. It never sees HTTP, headers or axum, and never another method. The server
//! side is [`ServerMethod`]: the pipeline builds an offer, verifies a credential without side effects, takes the
//! claims, and only then settles, from the journaled [`SettlementPlan`] alone. The paying side is [`ClientMethod`].
//!
//! Every family member has the same shape: `method/<name>/{mod,request,server,client}.rs`.
//!
//! # The order of a payment
//! [`offer`](ServerMethod::offer) → challenge (402) → [`pay`](ClientMethod::pay) → credential →
//! [`verify`](ServerMethod::verify) → claims → [`settle`](ServerMethod::settle) (or [`hold`](ServerMethod::hold), and later
//! `settle` or [`release`](ServerMethod::release)) → handler. What went wrong in between is asked of
//! [`resolve`](ServerMethod::resolve), which looks and never pays. An operator may give a payment back:
//! [`plan_refund`](ServerMethod::plan_refund), then [`refund`](ServerMethod::refund).
//!
//! Drafts: draft-httpauth-payment-00 sections 6 (methods) and 9.1 (what a method has to define), and
//! draft-payment-intent-charge-00 (what a `charge` request says).

#[cfg(feature = "evm")]
pub mod evm;
pub mod marker;
mod paying;
mod refund;
#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(feature = "stripe")]
pub mod stripe;
#[cfg(feature = "tempo")]
pub mod tempo;

pub use paying::{Asset, ClientMethod, Cost, Fate, PayError, Payee, Proof, Shortfall};
pub use refund::{RefundCx, RefundOutcome, RefundPlan, Refunding};

use crate::protocol::{
    Amount, BaseUnits, Challenge, ChargeRequest, Currency, MethodName, ProblemType, Timestamp,
};
#[cfg(feature = "server")]
use crate::store::Notebook;
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
    /// The method identifier: lowercase ASCII letters (draft-httpauth-payment-00 section 6.1).
    const NAME: &'static str;
    /// The currencies it knows by name; a configuration may add some.
    const CURRENCIES: &'static [Currency];
}

/// A currency as one configured method takes it.
///
/// ```
/// use mpp::{method::MethodCurrency, protocol::BaseUnits};
///
/// // What an annotation calls `usdc`, as a card processor takes it: dollars and cents, at least fifty of them.
/// let dollars = MethodCurrency { id: "usd".into(), decimals: 2, minimum: BaseUnits::new(50) };
/// assert_eq!(dollars.minimum.to_amount(dollars.decimals).to_string(), "0.5");
/// ```
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
///
/// ```
/// use mpp::method::{MethodCurrency, OfferCx};
/// use mpp::protocol::{BaseUnits, ChargeRequest};
///
/// /// What `ServerMethod::offer` makes of it.
/// fn offer(cx: &OfferCx<'_>) -> ChargeRequest {
///     ChargeRequest {
///         description: cx.description.map(str::to_owned),
///         ..ChargeRequest::new(cx.amount, &cx.currency.id)
///     }
/// }
///
/// let usd = MethodCurrency { id: "usd".into(), decimals: 2, minimum: BaseUnits::new(1) };
/// assert_eq!(offer(&OfferCx::new(BaseUnits::new(50), &usd)).currency, "usd");
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OfferCx<'a> {
    /// Base units; zero for an identity proof.
    pub amount: BaseUnits,
    /// The method's own currency.
    pub currency: &'a MethodCurrency,
    /// `description` of the annotation.
    pub description: Option<&'a str>,
    /// Who pays the network's fee. [`Fees::Sponsored`] only of a method that said it [can](ServerMethod::sponsoring).
    pub fees: Fees,
    /// Parts of `amount` that go to others; the rest, at least one base unit, goes to the method's own recipient. Only
    /// of a method that said it [can](ServerMethod::splitting).
    pub splits: &'a [Share<'a>],
}

impl<'a> OfferCx<'a> {
    /// An offer of `amount` base units of `currency`.
    ///
    /// ```
    /// # use mpp::{method::{MethodCurrency, OfferCx}, protocol::BaseUnits};
    /// let usd = MethodCurrency { id: "usd".into(), decimals: 2, minimum: BaseUnits::new(1) };
    /// assert_eq!(OfferCx::new(BaseUnits::new(50), &usd).description, None);
    /// ```
    pub fn new(amount: BaseUnits, currency: &'a MethodCurrency) -> Self {
        Self { amount, currency, description: None, fees: Fees::Payer, splits: &[] }
    }
}

/// Who pays the network's own fee of a payment (gas), which is not part of the price.
///
/// ```
/// use mpp::method::Fees;
/// assert_eq!(Fees::default(), Fees::Payer);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fees {
    /// Whoever pays the price.
    #[default]
    Payer,
    /// The server.
    Sponsored,
}

/// A part of a price that goes to somebody else than the method's own recipient.
///
/// ```
/// use mpp::{method::Share, protocol::BaseUnits};
/// let share = Share { payee: "platform", units: BaseUnits::new(500) };
/// assert_eq!(share.payee, "platform");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share<'a> {
    /// A name the annotation uses and the method's configuration maps to an account.
    pub payee: &'a str,
    /// How much of the amount, in base units of the method's currency; never zero.
    pub units: BaseUnits,
}

/// An authentic credential for one of this method's own offers, with everything a method may look at.
///
/// The challenge has been issued by this server for this route, is unexpired and matches the request's body.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// # use mpp::method::{ClientMethod, CredentialCx, MethodCurrency, OfferCx, ServerMethod, SettleCx, Settlement, sandbox::Wallet};
/// # use mpp::protocol::{BaseUnits, Challenge, Intent, Timestamp};
/// # use mpp::{Amount, Clock, Sandbox, SystemClock};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let alice = Wallet::generate();
/// # let method = Sandbox::new().account(&alice.did(), Amount::whole(10));
/// # let usdc = ServerMethod::currency(&method, "usdc").unwrap();
/// # let request = method.offer(&OfferCx::new(BaseUnits::new(50_000), &usdc)).unwrap();
/// # let challenge = Challenge {
/// #     id: "x7Tg".into(),
/// #     realm: "api.example.com".into(),
/// #     method: method.name().clone(),
/// #     intent: Intent::CHARGE,
/// #     request: request.encode(),
/// #     expires: None,
/// #     digest: None,
/// #     opaque: None,
/// #     description: None,
/// # };
/// # let proof = alice.pay(&challenge).await.unwrap();
/// # let now = SystemClock.now();
/// # let expires = now + std::time::Duration::from_secs(300);
/// let credential = CredentialCx::new(&challenge, &request, &proof.payload, expires, now);
/// let verified = method.verify(&credential).await.unwrap();
/// assert_eq!(verified.payer, Some(alice.did()));
/// assert!(!format!("{credential:?}").contains("signature"));
/// # });
/// # }
/// ```
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
    /// Who asks, for fair shares of scarce work: the peer's IPv4 address or IPv6 /64 network, or empty when unknown. Behind a
    /// reverse proxy it is the proxy, unless the server was told which ones to
    /// [trust](crate::Builder::trusted_proxies).
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
    ///
    /// ```
    /// # #[cfg(all(feature = "sandbox", feature = "server"))] {
    /// # use mpp::method::{ClientMethod, CredentialCx, MethodCurrency, OfferCx, ServerMethod, SettleCx, Settlement, sandbox::Wallet};
    /// # use mpp::protocol::{BaseUnits, Challenge, Intent, Timestamp};
    /// # use mpp::{Amount, Clock, Sandbox, SystemClock};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// // An offer, paid by a wallet, as the method would see it behind the pipeline.
    /// let alice = Wallet::generate();
    /// let method = Sandbox::new().account(&alice.did(), Amount::whole(10));
    /// let usdc = ServerMethod::currency(&method, "usdc").unwrap();
    /// let request = method.offer(&OfferCx::new(BaseUnits::new(50_000), &usdc)).unwrap();
    /// let challenge = Challenge {
    ///     id: "x7Tg".into(),
    ///     realm: "api.example.com".into(),
    ///     method: method.name().clone(),
    ///     intent: Intent::CHARGE,
    ///     request: request.encode(),
    ///     expires: None,
    ///     digest: None,
    ///     opaque: None,
    ///     description: None,
    /// };
    /// let proof = alice.pay(&challenge).await.unwrap();
    /// let now = SystemClock.now();
    /// let expires = now + std::time::Duration::from_secs(300);
    /// let credential = CredentialCx::new(&challenge, &request, &proof.payload, expires, now);
    /// let verified = method.verify(&credential).await.unwrap();
    /// assert_eq!(credential.source, None);
    /// # });
    /// # }
    /// ```
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
///
/// ```
/// use mpp::method::{SettlementPlan, Verified};
/// use serde_json::json;
///
/// // Whatever challenge it is shown for, a transaction pays once: its hash is claimed beside the challenge id.
/// let verified = Verified {
///     payer: Some("did:pkh:eip155:4217:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00".into()),
///     proof_keys: vec!["0x9f3c".into()],
///     plan: SettlementPlan(json!({ "transaction": "0x9f3c" })),
/// };
/// assert!(!format!("{verified:?}").contains("0x9f3c"));
/// ```
#[derive(Clone)]
pub struct Verified {
    /// Who pays, as the method established it (not as the credential claims).
    pub payer: Option<String>,
    /// Single-use keys of the proof besides the challenge id: a transaction hash, a token id. Canonical spelling, of any
    /// length; the store has a hash of each.
    pub proof_keys: Vec<String>,
    /// All that `settle` needs.
    pub plan: SettlementPlan,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key may be a token that pays.
        f.debug_struct("Verified")
            .field("payer", &self.payer)
            .field("proof_keys", &self.proof_keys.len())
            .finish_non_exhaustive()
    }
}

/// What [`ServerMethod::settle`] and [`ServerMethod::resolve`] work from: written into the journal (sealed) before
/// anything is claimed, so that a settlement can be resumed by another process.
///
/// May hold payment authorisations; `Debug` never prints it.
///
/// ```
/// use mpp::method::SettlementPlan;
/// use serde_json::json;
///
/// let plan = SettlementPlan(json!({ "signed_transaction": "0x76…", "until": 1_800_000_000 }));
/// assert_eq!(plan.0["until"], 1_800_000_000);
/// assert_eq!(format!("{plan:?}"), "SettlementPlan(..)");
/// ```
#[derive(Clone, PartialEq)]
pub struct SettlementPlan(pub Value);

impl fmt::Debug for SettlementPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettlementPlan(..)")
    }
}

/// Context of `settle`, `resolve`, `hold` and `release`.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// # use mpp::method::{ClientMethod, CredentialCx, MethodCurrency, OfferCx, ServerMethod, SettleCx, Settlement, sandbox::Wallet};
/// # use mpp::protocol::{BaseUnits, Challenge, Intent, Timestamp};
/// # use mpp::{Amount, Clock, Sandbox, SystemClock};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let alice = Wallet::generate();
/// # let method = Sandbox::new().account(&alice.did(), Amount::whole(10));
/// # let usdc = ServerMethod::currency(&method, "usdc").unwrap();
/// # let request = method.offer(&OfferCx::new(BaseUnits::new(50_000), &usdc)).unwrap();
/// # let challenge = Challenge {
/// #     id: "x7Tg".into(),
/// #     realm: "api.example.com".into(),
/// #     method: method.name().clone(),
/// #     intent: Intent::CHARGE,
/// #     request: request.encode(),
/// #     expires: None,
/// #     digest: None,
/// #     opaque: None,
/// #     description: None,
/// # };
/// # let proof = alice.pay(&challenge).await.unwrap();
/// # let now = SystemClock.now();
/// # let expires = now + std::time::Duration::from_secs(300);
/// # let credential = CredentialCx::new(&challenge, &request, &proof.payload, expires, now);
/// # let verified = method.verify(&credential).await.unwrap();
/// let cx = SettleCx::new(&challenge.id, &verified.plan, now);
/// let Settlement::Settled(payment) = method.settle(&cx).await else { panic!("not settled") };
/// // The same question again, as after a crash: the same payment, and the money moves once.
/// assert_eq!(method.resolve(&cx).await, Settlement::Settled(payment));
/// assert_eq!(method.till().await.unwrap(), Amount::cents(5));
/// # });
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SettleCx<'a> {
    /// Id of the challenge being paid; stable across resumptions, so it serves as idempotency key.
    pub challenge_id: &'a str,
    /// The journaled plan.
    pub plan: &'a SettlementPlan,
    /// Now, by the server's clock.
    pub now: Timestamp,
    /// What the method remembers between payments.
    #[cfg(feature = "server")]
    notebook: Option<&'a Notebook>,
}

impl<'a> SettleCx<'a> {
    /// For tests of a method outside the pipeline.
    ///
    /// ```
    /// # use mpp::method::{SettleCx, SettlementPlan};
    /// # use mpp::protocol::Timestamp;
    /// let plan = SettlementPlan(serde_json::Value::Null);
    /// let cx = SettleCx::new("x7Tg", &plan, Timestamp::from_unix(1_800_000_000));
    /// assert_eq!(cx.challenge_id, "x7Tg");
    /// ```
    pub fn new(challenge_id: &'a str, plan: &'a SettlementPlan, now: Timestamp) -> Self {
        Self {
            challenge_id,
            plan,
            now,
            #[cfg(feature = "server")]
            notebook: None,
        }
    }
}

/// What a method remembers.
#[cfg(feature = "server")]
impl<'a> SettleCx<'a> {
    /// The method's own pages in the server's store. The pipeline always hands them in; a context made by
    /// [`new`](Self::new) has none until [`with_notebook`](Self::with_notebook) gives it some, and a method that needs
    /// them then has to decline.
    ///
    /// ```
    /// # use mpp::method::{SettleCx, SettlementPlan};
    /// # use mpp::protocol::Timestamp;
    /// let plan = SettlementPlan(serde_json::Value::Null);
    /// assert!(SettleCx::new("x7Tg", &plan, Timestamp::from_unix(1_800_000_000)).notebook().is_none());
    /// ```
    pub fn notebook(&self) -> Option<&'a Notebook> {
        self.notebook
    }

    /// With these pages.
    ///
    /// ```
    /// # use mpp::method::{SettleCx, SettlementPlan};
    /// # use mpp::{protocol::Timestamp, store::Notebook};
    /// let (plan, notebook) = (SettlementPlan(serde_json::Value::Null), Notebook::volatile("example"));
    /// let cx = SettleCx::new("x7Tg", &plan, Timestamp::from_unix(1_800_000_000)).with_notebook(&notebook);
    /// assert!(cx.notebook().is_some());
    /// ```
    pub fn with_notebook(mut self, notebook: &'a Notebook) -> Self {
        self.notebook = Some(notebook);
        self
    }
}

/// A payment that is done.
///
/// ```
/// use mpp::method::Payment;
///
/// let mut payment = Payment::new("0x9f3c");
/// payment.extra.insert("blockNumber".into(), 7.into());
/// assert_eq!(payment.external_id, None);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    /// Method-specific reference for the receipt: transaction hash, payment intent id.
    pub reference: String,
    /// The payer's own reference, where the method's credentials carry one. The receipt has it only if the request has no
    /// `externalId`: the merchant's reference is put there without the method.
    pub external_id: Option<String>,
    /// Further receipt members of the method's draft.
    pub extra: Map<String, Value>,
}

impl Payment {
    /// A payment known by `reference`, with no further receipt members.
    ///
    /// ```
    /// # use mpp::method::Payment;
    /// assert_eq!(Payment::new("pi_123").reference, "pi_123");
    /// ```
    pub fn new(reference: impl Into<String>) -> Self {
        Self { reference: reference.into(), external_id: None, extra: Map::new() }
    }
}

/// How a settlement ended.
///
/// ```
/// use mpp::method::{Payment, Rejection, Settlement};
///
/// /// What a card processor's answer means.
/// fn read(status: u16, reference: &str) -> Settlement {
///     match status {
///         200 => Settlement::Settled(Payment::new(reference)),
///         402 => Settlement::Declined(Rejection::failed("the card was declined")),
///         // It may have been charged: only looking it up tells.
///         status => Settlement::Unknown { detail: format!("the processor answered {status}") },
///     }
/// }
/// assert!(matches!(read(500, "pi_123"), Settlement::Unknown { .. }));
/// ```
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
///
/// ```
/// use mpp::method::{Held, SettlementPlan};
///
/// // What is captured or cancelled later is named in the plan.
/// let held = Held::Held(SettlementPlan(serde_json::json!({ "intent": "pi_123" })));
/// assert!(matches!(held, Held::Held(_)));
/// ```
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
///
/// ```
/// use mpp::{method::Rejection, protocol::ProblemType};
///
/// let too_little = Rejection::Refused {
///     kind: ProblemType::PaymentInsufficient,
///     detail: "the transfer is of 0.01, the challenge asks for 0.05".into(),
/// };
/// assert_ne!(too_little, Rejection::failed("the signature is not the payer's"));
/// ```
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
    ///
    /// ```
    /// # use mpp::{method::Rejection, protocol::ProblemType};
    /// let Rejection::Refused { kind, .. } = Rejection::failed("no such transaction") else { panic!() };
    /// assert_eq!(kind, ProblemType::VerificationFailed);
    /// ```
    pub fn failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { kind: ProblemType::VerificationFailed, detail: detail.into() }
    }

    /// The payload is not of the method's shape: 402 `malformed-credential`.
    ///
    /// ```
    /// # use mpp::{method::Rejection, protocol::ProblemType};
    /// let Rejection::Refused { kind, .. } = Rejection::malformed("`hash` is not a text") else { panic!() };
    /// assert_eq!(kind, ProblemType::MalformedCredential);
    /// ```
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { kind: ProblemType::MalformedCredential, detail: detail.into() }
    }

    /// We cannot tell: 503 with `Retry-After`, and no challenge. `detail` is for the operator only.
    ///
    /// ```
    /// # use mpp::method::Rejection;
    /// # use std::time::Duration;
    /// let later = Rejection::unavailable(Duration::from_secs(5), "the node is ten minutes behind");
    /// assert!(matches!(later, Rejection::Unavailable { .. }));
    /// ```
    pub fn unavailable(retry_after: Duration, detail: impl Into<String>) -> Self {
        Self::Unavailable { retry_after, detail: detail.into() }
    }
}

/// Why a method cannot be used as configured; part of the start-up report.
///
/// ```
/// use mpp::method::MethodProblem;
/// assert_eq!(MethodProblem("the recipient is the zero address".into()).to_string(), "the recipient is the zero address");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MethodProblem(pub String);

/// Whether a method moves real money.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{Money, ServerMethod}};
/// assert_eq!(Sandbox::named("tempo").money(), Money::Test);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Money {
    /// Real.
    Real,
    /// Play money; the builder wants `.allow_test_money()`.
    Test,
}

/// Whether a method can reserve funds and take them later.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{Holding, ServerMethod}};
/// assert_eq!(Sandbox::new().holding(), Holding::Supported);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It really can.
    Supported,
    /// It cannot: `capture = "success"` is refused at start-up.
    Unsupported,
}

/// Whether a method can pay the network's fees for its payers.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{ServerMethod, Sponsoring}};
/// assert_eq!(Sandbox::new().sponsoring(), Sponsoring::NoFees);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sponsoring {
    /// There is no fee a payer could be asked for: cards, test money, networks where the server always pays.
    NoFees,
    /// Payers pay: no sponsor is configured.
    Unconfigured,
    /// The sponsor pays.
    Open,
    /// A sponsor is configured and has stopped, for now: its budget is spent, or it was abused. Offers go out unsponsored.
    Paused,
}

/// What a sponsor may spend on network fees in the current window of time.
///
/// ```
/// use mpp::{Amount, method::SponsorBudget};
/// let budget = SponsorBudget { left: Amount::cents(20), total: Amount::whole(25) };
/// assert!(budget.left < budget.total);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SponsorBudget {
    /// What is left, in units of the fee token.
    pub left: Amount,
    /// All of it.
    pub total: Amount,
}

/// Whether one payment of a method can go to several recipients.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{ServerMethod, Splitting}};
/// assert_eq!(Sandbox::new().splitting(), Splitting::Legs(10));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splitting {
    /// It can, to this many besides the recipient.
    Legs(usize),
    /// It cannot: a price with a `split` is refused at start-up.
    Unsupported,
}

/// The server side of a payment method: the only trait the pipeline knows. Configured with `Builder::method`.
///
/// # Contract
/// - [`offer`](Self::offer) is pure and deterministic: the same input gives the same request.
/// - [`verify`](Self::verify) reads (RPC, store) and never writes, spends or broadcasts.
/// - [`settle`](Self::settle) is called once per claim, from the journaled plan. After a crash or an
///   unknown outcome only [`resolve`](Self::resolve) is asked, which looks the payment up and never pays again.
/// - `Declined` from `settle` or `resolve` means that nothing moved and nothing can: say in the method's module docs how
///   that is known. Every other error after bytes may have left is `Unknown`.
/// - The challenge id is claimed by the pipeline. What else must be used once only (a transaction, a token) is named in
///   [`Verified::proof_keys`].
///
/// ```
/// use mpp::method::{
///     CredentialCx, MethodCurrency, MethodProblem, OfferCx, Payment, Rejection, ServerMethod, SettleCx, Settlement,
///     SettlementPlan, Step, Verified,
/// };
/// use mpp::protocol::{BaseUnits, ChargeRequest, MethodName};
/// use std::collections::HashMap;
/// use std::sync::{Mutex, PoisonError};
///
/// /// Vouchers we printed ourselves: each code pays for one request.
/// struct Voucher {
///     name: MethodName,
///     /// Code → id of the challenge it has paid.
///     codes: Mutex<HashMap<String, Option<String>>>,
/// }
///
/// impl Voucher {
///     /// Whether the code has paid this challenge, after `take` had its chance to use it.
///     fn outcome(&self, cx: &SettleCx<'_>, take: impl Fn(&mut Option<String>)) -> Settlement {
///         let code = cx.plan.0.as_str().unwrap_or_default();
///         let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
///         let Some(used_for) = codes.get_mut(code) else {
///             return Settlement::Declined(Rejection::failed("no such voucher"));
///         };
///         take(used_for);
///         if used_for.as_deref() == Some(cx.challenge_id) {
///             Settlement::Settled(Payment::new(code))
///         } else {
///             Settlement::Declined(Rejection::failed("the voucher has not paid this"))
///         }
///     }
/// }
///
/// impl ServerMethod for Voucher {
///     fn name(&self) -> &MethodName {
///         &self.name
///     }
///
///     fn currency(&self, name: &str) -> Option<MethodCurrency> {
///         (name == "eur").then(|| MethodCurrency { id: "eur".into(), decimals: 2, minimum: BaseUnits::new(1) })
///     }
///
///     fn currencies(&self) -> Vec<String> {
///         vec!["eur".into()]
///     }
///
///     fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
///         if cx.amount > BaseUnits::new(100) {
///             return Err(MethodProblem("a voucher is worth at most 1.00 eur".into()));
///         }
///         Ok(ChargeRequest::new(cx.amount, &cx.currency.id))
///     }
///
///     fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
///         let Some(code) = cx.payload.get("code").and_then(|code| code.as_str()) else {
///             return Step::ready(Err(Rejection::malformed("`code` is missing")));
///         };
///         let codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
///         Step::ready(match codes.get(code) {
///             Some(None) => {
///                 let plan = SettlementPlan(code.into());
///                 Ok(Verified { payer: None, proof_keys: vec![code.to_owned()], plan })
///             }
///             Some(Some(_)) | None => Err(Rejection::failed("this voucher is not valid")),
///         })
///     }
///
///     fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
///         Step::ready(self.outcome(cx, |used_for| {
///             used_for.get_or_insert_with(|| cx.challenge_id.to_owned());
///         }))
///     }
///
///     fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
///         Step::ready(self.outcome(cx, |_| {})) // looks, and never takes
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let vouchers = Voucher {
///     name: MethodName::from_static("voucher"),
///     codes: Mutex::new([("SPRING".to_owned(), None)].into()),
/// };
/// let plan = SettlementPlan("SPRING".into());
/// let now = mpp::protocol::Timestamp::from_unix(1_800_000_000);
/// let first = vouchers.settle(&SettleCx::new("challenge-1", &plan, now)).await;
/// assert_eq!(first, Settlement::Settled(Payment::new("SPRING")));
/// let second = vouchers.settle(&SettleCx::new("challenge-2", &plan, now)).await;
/// assert!(matches!(second, Settlement::Declined(_)));
/// # }
/// ```
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

    /// Whether it pays the network's fees for its payers right now. Cheap: asked for every challenge of a sponsored price.
    fn sponsoring(&self) -> Sponsoring {
        Sponsoring::NoFees
    }

    /// Whether one payment can go to several recipients.
    fn splitting(&self) -> Splitting {
        Splitting::Unsupported
    }

    /// Problems of the configuration itself (recipient malformed, limits contradictory). No network.
    fn problems(&self) -> Vec<MethodProblem> {
        Vec::new()
    }

    /// Checks the network at start-up: reachable, the right chain, the right account. Called by `Mpp::check`.
    ///
    /// # Errors
    /// What is wrong, in a sentence for the operator.
    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::ready(Ok(()))
    }

    /// Whether it can be paid right now, asked by `Mpp::health` every few seconds at most: reachable, and not behind.
    ///
    /// # Errors
    /// What is wrong, in a sentence for the operator.
    fn ready(&self, _now: Timestamp) -> Step<'_, Result<(), MethodProblem>> {
        self.check()
    }

    /// The `request` of a challenge for this much. For fixed prices it is asked at start-up only: once, or for a sponsored
    /// price once for each form. For computed ones with a split it is asked there too, so that a payee without an account
    /// is found. `externalId` is added by the caller.
    ///
    /// # Errors
    /// When this amount cannot be offered at all; the start-up report shows it.
    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem>;

    /// Whether the method can be paid right now. Cheap: called for every challenge.
    fn available(&self) -> bool {
        true
    }

    /// Checks a credential against the request it was issued for. No side effects.
    ///
    /// # Errors
    /// [`Rejection::Refused`] for a proof that does not hold, [`Rejection::Unavailable`] when that cannot be told now.
    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>>;

    /// Moves the money: a direct payment, or the capture of a hold.
    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement>;

    /// Finds out what became of a settlement that crashed or ended unknown. Never pays.
    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement>;

    /// Reserves the funds (`capture = "success"`).
    fn hold<'a>(&'a self, _cx: &'a SettleCx<'a>) -> Step<'a, Held> {
        Step::ready(Held::Declined(Rejection::failed("this payment method cannot reserve funds")))
    }

    /// What is left of the budget it pays its payers' network fees from, for the operator's metrics; `None` without one.
    /// Asked by `Mpp::recover`.
    #[cfg(feature = "server")]
    fn sponsor_budget<'a>(
        &'a self,
        _notebook: &'a Notebook,
        _now: Timestamp,
    ) -> Step<'a, Option<SponsorBudget>> {
        Step::ready(None)
    }

    /// Cancels a hold. Idempotent.
    ///
    /// # Errors
    /// When it could not be cancelled now; it is tried again.
    fn release<'a>(&'a self, _cx: &'a SettleCx<'a>) -> Step<'a, Result<(), Rejection>> {
        Step::ready(Ok(()))
    }

    /// Whether it gives payments back: only after its configuration said from what.
    fn refunding(&self) -> Refunding {
        Refunding::Unsupported
    }

    /// Makes the plan of a refund: it reads, and never writes, pays or broadcasts. A plan that is thrown away has no effect.
    ///
    /// # Errors
    /// Why this payment cannot be given back now, in a sentence for the operator.
    fn plan_refund<'a>(&'a self, _cx: &'a RefundCx<'a>) -> Step<'a, Result<RefundPlan, MethodProblem>> {
        Step::ready(Err(MethodProblem("this payment method cannot give payments back".into())))
    }

    /// Carries a journaled plan out, or finds what became of it. Asked any number of times, after crashes, too, and by
    /// several processes at once: all of them together pay once. After `Refunded` or `Failed` it is not asked again.
    fn refund<'a>(&'a self, _plan: &'a RefundPlan, _now: Timestamp) -> Step<'a, RefundOutcome> {
        let detail = "this payment method cannot give payments back".to_owned();
        Step::ready(RefundOutcome::Pending { reference: None, detail })
    }
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
    ///
    /// ```
    /// # use mpp::method::Step;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(Step::ready(1).await, 1);
    /// # }
    /// ```
    pub fn ready(value: T) -> Self {
        Self(Inner::Ready(Some(value)))
    }

    /// A future.
    ///
    /// ```
    /// # use mpp::method::Step;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(Step::boxed(async { 1 }).await, 1);
    /// # }
    /// ```
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
