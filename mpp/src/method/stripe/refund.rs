//! Giving a payment back: one Refund of the PaymentIntent, to the card that was charged.
//!
//! The plan is the form of the POST, word for word, and its idempotency key, which is the refund's own id. Repeated with
//! that key within 20 hours of the journaled first one it executes at most once, and a fresh 4xx says that it never did.
//! A replayed answer is old, so the Refund is read again. After 20 hours nothing is posted any more: the Refund is looked
//! for among those of the PaymentIntent, by the mark in its metadata; when Stripe has forgotten every key and there is
//! none, there never will be.
//!
//! A Refund is back when Stripe says `succeeded`. Banks may return one days later; Stripe then tells its webhooks, and
//! nobody here.

use super::Stripe;
use super::api::{Api, CallError, Given, RefundStatus, Refusal};
use super::connect::Connect;
use crate::method::{MethodProblem, RefundCx, RefundOutcome, RefundPlan};
use crate::protocol::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use url::form_urlencoded::Serializer;

/// For how long after the first the same POST may be repeated, as in `plan.rs`.
const REPEATABLE: Duration = Duration::from_secs(20 * 60 * 60);
/// When a POST of that time has arrived or never will, and Stripe has forgotten its key.
const FORGOTTEN: Duration = Duration::from_secs(25 * 60 * 60);

/// One Refund to be.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Of the POST.
    pub(super) form: String,
    /// `Idempotency-Key`, and the metadata `mpp_refund`.
    pub(super) key: String,
    /// `Stripe-Version`.
    pub(super) version: String,
    /// `Stripe-Account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// The PaymentIntent.
    pub(super) intent: String,
    pub(super) amount: u64,
    pub(super) currency: String,
    /// Not later than the first POST.
    begun: i64,
}

impl Plan {
    fn new(cx: &RefundCx<'_>, connect: &Connect, version: &str) -> Result<Self, MethodProblem> {
        let problem = |text: &str| MethodProblem(text.to_owned());
        let amount = u64::try_from(cx.units.get()).map_err(|_| problem("Stripe counts no such amount"))?;
        if !cx.reference.starts_with("pi_") {
            return Err(problem("the payment's reference is not a PaymentIntent"));
        }
        let mut form = Serializer::new(String::new());
        form.append_pair("payment_intent", cx.reference)
            .append_pair("amount", &amount.to_string())
            .append_pair("metadata[mpp_refund]", cx.refund_id);
        // What others got of the payment comes back from them, in proportion: it is not for the platform to lend.
        if connect.transfer.is_some() {
            form.append_pair("reverse_transfer", "true");
        }
        if connect.fee.is_some() {
            form.append_pair("refund_application_fee", "true");
        }
        Ok(Self {
            form: form.finish(),
            key: cx.refund_id.to_owned(),
            version: version.to_owned(),
            account: connect.account.clone(),
            intent: cx.reference.to_owned(),
            amount,
            currency: cx.asset.to_owned(),
            begun: cx.now.unix(),
        })
    }

    fn write(&self) -> RefundPlan {
        RefundPlan(serde_json::to_value(self).expect("strings and numbers are JSON"))
    }

    fn read(plan: &RefundPlan) -> Option<Self> {
        Self::deserialize(&plan.0).ok()
    }

    fn is_younger(&self, than: Duration, now: Timestamp) -> bool {
        now < Timestamp::from_unix(self.begun) + than
    }
}

impl Stripe {
    pub(super) fn plan_back(&self, cx: &RefundCx<'_>) -> Result<RefundPlan, MethodProblem> {
        self.api().map_err(|problem| MethodProblem(problem.to_string()))?;
        Plan::new(cx, &self.connect, &self.version).map(|plan| plan.write())
    }

    pub(super) async fn give_back(&self, plan: &RefundPlan, now: Timestamp) -> RefundOutcome {
        let Some(plan) = Plan::read(plan) else {
            return pending(None, "the journaled plan is of another release and is not understood");
        };
        match self.api() {
            Ok(api) if plan.is_younger(REPEATABLE, now) => post(api, &plan).await,
            Ok(api) => look(api, &plan, now).await,
            Err(problem) => pending(None, problem),
        }
    }
}

async fn post(api: &Api, plan: &Plan) -> RefundOutcome {
    let refused = match api.give_back(plan).await {
        Ok(given) => return judge(plan, &given),
        Err(CallError::Refused(refusal)) => refusal,
        Err(error) => return pending(None, error),
    };
    match refused.refuses_refund() {
        Some(why) => RefundOutcome::Failed { why },
        // Stripe also replays its own failures: only a look tells what came of them.
        None => match api.given_back(plan).await {
            Ok(Some(given)) => judge(plan, &given),
            Ok(None) | Err(_) => pending(None, refused),
        },
    }
}

async fn look(api: &Api, plan: &Plan, now: Timestamp) -> RefundOutcome {
    match api.given_back(plan).await {
        Ok(Some(given)) => judge(plan, &given),
        Ok(None) if plan.is_younger(FORGOTTEN, now) => pending(None, "no Refund is there yet"),
        Ok(None) => RefundOutcome::Failed { why: "stripe: the refund never arrived at Stripe".to_owned() },
        Err(error) => pending(None, error),
    }
}

/// What a Refund says.
fn judge(plan: &Plan, given: &Given) -> RefundOutcome {
    let reference = given.id.clone();
    if !given.belongs_to(plan) {
        let detail = format!("{reference} is not the refund that was asked for; it needs a person");
        return pending(None, detail);
    }
    match given.status {
        RefundStatus::Succeeded => RefundOutcome::Refunded { reference },
        RefundStatus::Failed => RefundOutcome::Failed { why: format!("stripe: {reference} has failed") },
        RefundStatus::Canceled => RefundOutcome::Failed { why: format!("stripe: {reference} was cancelled") },
        RefundStatus::Pending | RefundStatus::RequiresAction => {
            let detail = format!("{reference} is under way at Stripe");
            pending(Some(reference), detail)
        }
        RefundStatus::Unheard => {
            let detail = format!("{reference} is in a state this release does not know");
            pending(Some(reference), detail)
        }
    }
}

impl Refusal {
    /// Why there is no Refund of this key and will be none, if that is what the refusal proves.
    fn refuses_refund(&self) -> Option<String> {
        // 401 and 403 say nothing about an earlier copy; 409 and 429 ask for patience, 5xx for a look.
        matches!(self.status, 400 | 402 | 404)
            .then(|| match self.code() {
                "charge_already_refunded" => "stripe: the payment was refunded already, elsewhere".to_owned(),
                _ => format!("stripe: {self}"),
            })
            .filter(|_| self.is_invalid_request())
    }
}

fn pending(reference: Option<String>, why: impl std::fmt::Display) -> RefundOutcome {
    RefundOutcome::Pending { reference, detail: format!("stripe: {why}") }
}
