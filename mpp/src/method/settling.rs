//! Moving the money: the plan that is journaled before, and how it ended.
//!
//! [`settle`](super::ServerMethod::settle), [`hold`](super::ServerMethod::hold), [`release`](super::ServerMethod::release) and
//! [`resolve`](super::ServerMethod::resolve) work from a [`SettlementPlan`] alone, so that another process can go on with it after
//! a crash (draft-httpauth-payment-00 section 11.5).

use std::fmt;

use serde_json::{Map, Value};

use super::Rejection;
use crate::protocol::Timestamp;
#[cfg(feature = "server")]
use crate::store::Notebook;

/// What [`ServerMethod::settle`](super::ServerMethod::settle) and [`ServerMethod::resolve`](super::ServerMethod::resolve) work from: written into the journal (sealed) before
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
    /// Nobody knows yet. The claims stay; [`ServerMethod::resolve`](super::ServerMethod::resolve) will be asked.
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
