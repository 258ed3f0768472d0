//! `Paid<T>`: the proof, in a handler's hands, that this request was paid for.
//!
//! Nothing but a gate or a layer makes one, after settlement (draft-httpauth-payment-00 section 11.4: no side effects for
//! those who have not paid). It is the second key of an annotated handler: without the annotation it is no extractor.

use crate::protocol::Receipt;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use std::ops::Deref;

/// Proof that this request was paid for. Only a gate or a layer can make one.
///
/// `T` says what was proved and must fit the price: [`Receipt`] for a price that always charges,
/// `Option<Receipt>` for one with `free_if`, [`Hold`] for one with `capture = "success"`.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::{Paid, Receipt};
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(paid: Paid<Receipt>) -> String {
///     format!("sunny; paid by {:?} in {}", paid.payer(), paid.reference)
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Paid<T = Receipt> {
    evidence: T,
    delivery: Delivery,
}

/// Which delivery of which payment this is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery {
    pub(crate) id: Option<String>,
    pub(crate) payer: Option<String>,
    pub(crate) attempt: u32,
}

impl<T> Paid<T> {
    pub(crate) fn new(evidence: T, delivery: Delivery) -> Self {
        Self { evidence, delivery }
    }

    /// Who paid, as the payment method established it; usually a DID. `None` when nothing was charged or the
    /// method does not know.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Hold, Paid, routing::{Router, get}, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// #[mpp::charge(amount = "0", currency = "pathusd", methods(tempo), proof = true)]
    /// async fn whoami(paid: Paid) -> String {
    ///     paid.payer().unwrap_or("nobody").to_owned()
    /// }
    ///
    /// let client = testing::Client::new(Router::new().route("/whoami", get(whoami)).with_state(testing::mpp()));
    /// assert_eq!(client.get("/whoami").paying("tempo").await.text(), testing::wallet().did());
    /// # });
    /// # }
    /// ```
    pub fn payer(&self) -> Option<&str> {
        self.delivery.payer.as_deref()
    }

    /// Which run of the handler for this payment this is: 1 for the first, more after a failed or lost run.
    /// 0 when the request was let through unpaid.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Hold, Paid, routing::{Router, get}, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use axum::http::StatusCode;
    ///
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn flaky(paid: Paid) -> Result<String, StatusCode> {
    ///     if paid.attempt() == 1 { Err(StatusCode::BAD_GATEWAY) } else { Ok(format!("run {}", paid.attempt())) }
    /// }
    ///
    /// let client = testing::Client::new(Router::new().route("/flaky", get(flaky)).with_state(testing::mpp()));
    /// let credential = client.get("/flaky").credential("tempo").await;
    /// assert_eq!(client.get("/flaky").presenting(&credential).await.status(), 502);
    /// assert_eq!(client.get("/flaky").presenting(&credential).await.text(), "run 2");
    /// # });
    /// # }
    /// ```
    pub fn attempt(&self) -> u32 {
        self.delivery.attempt
    }

    /// The same for every run of one payment: the natural idempotency key for the handler's own side effects.
    /// `None` when the request was let through unpaid.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Hold, Paid, routing::{Router, get}, testing};
    /// # fn render_once(_key: &str) -> &'static str { "an image" }
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn render(paid: Paid) -> &'static str {
    ///     render_once(paid.delivery_id().unwrap_or_default())
    /// }
    /// # }
    /// ```
    pub fn delivery_id(&self) -> Option<&str> {
        self.delivery.id.as_deref()
    }
}

impl<T> Deref for Paid<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.evidence
    }
}

/// Funds reserved for this request (`capture = "success"`): captured after the handler's success, before the first
/// byte leaves; released when it fails.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::{Hold, Paid};
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "success")]
/// async fn render(hold: Paid<Hold>) -> Result<String, axum::http::StatusCode> {
///     Ok(format!("reserved by {}", hold.method()))
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Hold {
    method: String,
}

impl Hold {
    pub(crate) fn new(method: impl Into<String>) -> Self {
        Self { method: method.into() }
    }

    /// The payment method that holds the funds.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Hold, Paid, routing::{Router, get}, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "success")]
    /// async fn render(hold: Paid<Hold>) -> String {
    ///     hold.method().to_owned()
    /// }
    ///
    /// let client = testing::Client::new(Router::new().route("/render", get(render)).with_state(testing::mpp()));
    /// assert_eq!(client.get("/render").paying("sandbox").await.text(), "sandbox");
    /// # });
    /// # }
    /// ```
    pub fn method(&self) -> &str {
        &self.method
    }
}

/// What the pipeline proved about a request.
#[doc(hidden)]
#[derive(Debug)]
pub enum Proved {
    Settled(Box<Receipt>),
    Held(Hold),
    Free,
    Nothing,
}

/// Every request pays.
#[doc(hidden)]
#[derive(Debug)]
pub enum Always {}
/// `free_if = …` may let a request through.
#[doc(hidden)]
#[derive(Debug)]
pub enum Maybe {}
/// `capture = "success"`: reserved, not yet taken.
#[doc(hidden)]
#[derive(Debug)]
pub enum Reserved {}

/// The evidence a price of this kind yields.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`Paid<{Self}>` does not fit this price",
    label = "not the proof this price produces",
    note = "a price that always charges gives `Paid<Receipt>`; one with `free_if = …` gives `Paid<Option<Receipt>>`; one with `capture = \"success\"` gives `Paid<Hold>`"
)]
pub trait Evidence<Kind>: Sized + Send {
    /// `None` when the pipeline proved something else, which a gate answers with 500: never a free pass.
    fn from_proved(proved: Proved) -> Option<Self>;
}

impl Evidence<Always> for Receipt {
    fn from_proved(proved: Proved) -> Option<Self> {
        match proved {
            Proved::Settled(receipt) => Some(*receipt),
            Proved::Held(_) | Proved::Free | Proved::Nothing => None,
        }
    }
}

impl Evidence<Maybe> for Option<Receipt> {
    fn from_proved(proved: Proved) -> Option<Self> {
        match proved {
            Proved::Settled(receipt) => Some(Some(*receipt)),
            Proved::Free => Some(None),
            Proved::Held(_) | Proved::Nothing => None,
        }
    }
}

impl Evidence<Always> for Option<Receipt> {
    fn from_proved(proved: Proved) -> Option<Self> {
        <Receipt as Evidence<Always>>::from_proved(proved).map(Some)
    }
}

impl Evidence<Reserved> for Hold {
    fn from_proved(proved: Proved) -> Option<Self> {
        match proved {
            Proved::Held(hold) => Some(hold),
            // Captured by a run whose response was lost: this run only has to deliver.
            Proved::Settled(receipt) => Some(Hold::new(receipt.method.as_str())),
            Proved::Free | Proved::Nothing => None,
        }
    }
}

/// Never implemented. rustc prints its name when `Paid` is used without a price ("the trait
/// `AnnotatedWithMppCharge` is not implemented for `Paid`").
#[doc(hidden)]
pub trait AnnotatedWithMppCharge {}

impl<S: Send + Sync, T> FromRequestParts<S> for Paid<T>
where
    Paid<T>: AnnotatedWithMppCharge,
{
    type Rejection = StatusCode;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // The bound has no implementation, so this is never compiled for any `T`; and it fails closed.
        Err(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
