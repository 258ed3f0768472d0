//! Giving a payment back: what the ledger asks of a payment network, and what it answers.
//!
//! A method that can refund says so ([`ServerMethod::refunding`](super::ServerMethod::refunding)), and only after its own
//! configuration named the key or account that pays. A refund has two steps, as a settlement has: a *plan* is made, which
//! moves nothing, and journaled; then the plan is *carried out*, any number of times, by any process, with the effect of
//! one. What makes that so is the method's: an idempotency key, or a signed transaction that a chain takes once.
//!
//! The drafts leave refunds to the server's operator (draft-httpauth-payment-00 section 11.4 asks only that one credential
//! buys one delivery). Who orders them: [`Mpp::refund`](crate::Mpp::refund).

use crate::protocol::{BaseUnits, Timestamp};
use serde_json::Value;
use std::fmt;

/// Whether a method gives payments back.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{Refunding, ServerMethod}};
/// assert_eq!(Sandbox::new().refunding(), Refunding::Unconfigured);
/// assert_eq!(Sandbox::new().refunds().refunding(), Refunding::Configured);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refunding {
    /// It cannot.
    Unsupported,
    /// It could: nobody has configured what it would pay from.
    Unconfigured,
    /// It does, when the operator orders it.
    Configured,
}

/// A refund to be planned.
///
/// ```
/// use mpp::method::RefundCx;
/// use mpp::protocol::{BaseUnits, Timestamp};
///
/// let cx = RefundCx {
///     reference: "pi_123",
///     asset: "usd",
///     ..RefundCx::new("r7Tg", BaseUnits::new(50), Timestamp::from_unix(1_800_000_000))
/// };
/// assert_eq!((cx.units.get(), cx.payer), (50, None));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RefundCx<'a> {
    /// Id of this refund and no other, 32 characters of base64url. An idempotency key: two orders never have the same.
    pub refund_id: &'a str,
    /// How the method called the payment: [`Payment::reference`](super::Payment::reference).
    pub reference: &'a str,
    /// Who paid, as the method established it when it verified the payment.
    pub payer: Option<&'a str>,
    /// What the method calls the money: a token's address, an ISO 4217 code.
    pub asset: &'a str,
    /// How much to give back; never zero, and with all other refunds of the payment never more than was paid.
    pub units: BaseUnits,
    /// Now, by the server's clock.
    pub now: Timestamp,
}

impl<'a> RefundCx<'a> {
    /// A refund of so much, of a payment about which nothing is known yet.
    ///
    /// ```
    /// # use mpp::method::RefundCx;
    /// # use mpp::protocol::{BaseUnits, Timestamp};
    /// let cx = RefundCx::new("r7Tg", BaseUnits::new(50), Timestamp::from_unix(1_800_000_000));
    /// assert_eq!(cx.reference, "");
    /// ```
    pub fn new(refund_id: &'a str, units: BaseUnits, now: Timestamp) -> Self {
        Self { refund_id, reference: "", payer: None, asset: "", units, now }
    }
}

/// What [`ServerMethod::refund`](super::ServerMethod::refund) works from: written into the journal (sealed) before anything
/// is handed out, so that another process can carry it on.
///
/// May hold a signed transaction; `Debug` never prints it.
///
/// ```
/// use mpp::method::RefundPlan;
/// let plan = RefundPlan(serde_json::json!({ "raw": "0x76…" }));
/// assert_eq!(format!("{plan:?}"), "RefundPlan(..)");
/// ```
#[derive(Clone, PartialEq)]
pub struct RefundPlan(pub Value);

impl fmt::Debug for RefundPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefundPlan(..)")
    }
}

/// What became of a refund.
///
/// ```
/// use mpp::method::RefundOutcome;
///
/// /// What a card processor's answer means.
/// fn read(status: u16, reference: &str) -> RefundOutcome {
///     match status {
///         200 => RefundOutcome::Refunded { reference: reference.into() },
///         400 => RefundOutcome::Failed { why: "the payment was refunded elsewhere".into() },
///         // It may have been made: only asking again tells.
///         status => RefundOutcome::Pending { reference: None, detail: format!("status {status}") },
///     }
/// }
/// assert!(matches!(read(500, "re_1"), RefundOutcome::Pending { .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The money went back.
    Refunded {
        /// Transaction hash, refund id.
        reference: String,
    },
    /// It did not, and by this plan it never will.
    Failed {
        /// For the operator; no secrets.
        why: String,
    },
    /// Under way, or nobody knows yet: the same plan is carried out again later.
    Pending {
        /// What it will be known by, if that is certain already.
        reference: Option<String>,
        /// For the operator's log; no secrets.
        detail: String,
    },
}
