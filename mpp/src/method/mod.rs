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

mod ability;
#[cfg(feature = "evm")]
pub mod evm;
pub mod marker;
mod offering;
mod paying;
mod refund;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod settling;
mod step;
#[cfg(feature = "stripe")]
pub mod stripe;
#[cfg(feature = "tempo")]
pub mod tempo;
mod verifying;

pub use ability::{Holding, Money, Splitting, SponsorBudget, Sponsoring};
pub use offering::{Fees, MethodCurrency, OfferCx, Share};
pub use paying::{Asset, ClientMethod, Cost, Fate, PayError, Payee, Proof, Shortfall};
pub use refund::{RefundCx, RefundOutcome, RefundPlan, Refunding};
pub use settling::{Held, Payment, SettleCx, Settlement, SettlementPlan};
pub use step::Step;
pub use verifying::{CredentialCx, Rejection, Verified};

use crate::protocol::{ChargeRequest, Currency, MethodName, Timestamp};
#[cfg(feature = "server")]
use crate::store::Notebook;

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

/// Why a method cannot be used as configured; part of the start-up report.
///
/// ```
/// use mpp::method::MethodProblem;
/// assert_eq!(MethodProblem("the recipient is the zero address".into()).to_string(), "the recipient is the zero address");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MethodProblem(pub String);
