//! Stripe behind [`ServerMethod`]: what is asked of it, in which order, and what its answers mean for a payment.
//!
//! `verify` asks nothing: a token is proved by paying with it. `settle` creates one PaymentIntent, or captures a hold.

use super::api::{Api, ApiProblem, CallError, Created, Freshness, Intent, Mode, RETRY, Status, Verdict};
use super::plan::{Funds, Plan, proof_key};
use super::request::{Ask, Payload, method_details};
use super::{Stripe, money};
use crate::method::{
    CredentialCx, Held, Holding, MethodCurrency, MethodName, MethodProblem, OfferCx, Payment, RefundCx,
    RefundOutcome, RefundPlan, Refunding, Rejection, ServerMethod, SettleCx, Settlement, Step, Verified,
};
use crate::protocol::{BaseUnits, ChargeRequest, Timestamp};

impl ServerMethod for Stripe {
    fn name(&self) -> &MethodName {
        &self.name
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        let money = money::by_name(name)?;
        let configured = self.minimums.iter().find(|(code, _)| code == money.code).map(|(_, least)| *least);
        Some(MethodCurrency {
            id: money.code.to_owned(),
            decimals: money.decimals,
            minimum: configured.unwrap_or_else(|| BaseUnits::new(money.minimum.into())),
        })
    }

    fn currencies(&self) -> Vec<String> {
        let mut names: Vec<_> = money::names().map(str::to_owned).collect();
        names.sort();
        names
    }

    fn holding(&self) -> Holding {
        Holding::Supported
    }

    fn problems(&self) -> Vec<MethodProblem> {
        let mut problems = self.wrong.clone();
        if self.network_id.is_none() && !problems.iter().any(|p| p.0.starts_with("the network id")) {
            problems
                .push(MethodProblem("no network id is configured; call `.network_id(\"profile_…\")`".into()));
        }
        match self.api() {
            // A wrong key is among the problems already.
            Ok(_) | Err(ApiProblem::NoKey) => {}
            Err(problem) => problems.push(MethodProblem(problem.to_string())),
        }
        problems.extend(self.connect.problems());
        problems
    }

    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::boxed(async move {
            let api = self.api().map_err(|problem| MethodProblem(problem.to_string()))?;
            api.greet(&self.version, self.connect.account.as_deref()).await.map_err(|error| {
                MethodProblem(match error {
                    CallError::Refused(refusal) if matches!(refusal.status, 401 | 403) => {
                        format!("Stripe at {} does not let this secret key read PaymentIntents", api.shown())
                    }
                    error => format!("Stripe at {} cannot be used: {error}", api.shown()),
                })
            })?;
            if self.key.mode == Mode::Test {
                tracing::warn!(target: "mpp::startup", "stripe: the secret key is of test mode; no real money is taken");
            }
            Ok(())
        })
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        let problem = |text: String| Err(MethodProblem(text));
        let Some(network_id) = &self.network_id else {
            return problem("there is no usable network id".into());
        };
        let Some(money) = money::by_code(&cx.currency.id) else {
            return problem(format!("the currency {:?} is not known", cx.currency.id));
        };
        let amount = match u64::try_from(cx.amount.get()) {
            Ok(0) => return problem("cards cannot pay nothing: an identity proof is not possible".into()),
            Ok(amount) if amount <= money::MOST => amount,
            _ => {
                return problem(format!(
                    "Stripe takes at most {} in the smallest unit of {}",
                    money::MOST,
                    money.code
                ));
            }
        };
        if !amount.is_multiple_of(money.step) {
            let step = BaseUnits::new(money.step.into()).to_amount(money.decimals);
            return problem(format!("Stripe charges multiples of {step} {}", money.code));
        }
        self.connect.fields(amount)?;
        Ok(ChargeRequest {
            method_details: Some(method_details(network_id, &self.types)),
            ..ChargeRequest::new(cx.amount, money.code)
        })
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        Step::ready(self.read(cx))
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        let Some(plan) = Plan::read(cx.plan) else { return Step::ready(unreadable()) };
        Step::boxed(async move {
            let api = match self.api() {
                Ok(api) => api,
                // A hold stays where it is until somebody can talk to Stripe.
                Err(problem) if plan.held.is_some() => return unknown(problem),
                Err(problem) => return nothing_sent(problem),
            };
            match &plan.held {
                Some(id) => capture(api, &plan, id).await,
                None => charge(api, &plan).await,
            }
        })
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        let Some(plan) = Plan::read(cx.plan) else { return Step::ready(unreadable()) };
        Step::boxed(async move {
            match self.api() {
                Ok(api) => match &plan.held {
                    Some(id) => give_up(api, &plan, id).await,
                    None => resolve(api, &plan, cx.now).await,
                },
                Err(problem) => unknown(problem),
            }
        })
    }

    fn hold<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Held> {
        let Some(plan) = Plan::read(cx.plan) else {
            return Step::ready(Held::Unknown { detail: UNREADABLE.to_owned() });
        };
        Step::boxed(async move {
            match self.api() {
                Ok(api) => reserve(api, plan).await,
                Err(problem) => Held::Declined(Rejection::unavailable(RETRY, format!("stripe: {problem}"))),
            }
        })
    }

    fn release<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Result<(), Rejection>> {
        let Some(plan) = Plan::read(cx.plan) else {
            return Step::ready(Err(Rejection::unavailable(RETRY, UNREADABLE)));
        };
        Step::boxed(async move {
            let api =
                self.api().map_err(|problem| Rejection::unavailable(RETRY, format!("stripe: {problem}")))?;
            release(api, &plan, cx.now).await
        })
    }

    fn refunding(&self) -> Refunding {
        self.refunding
    }

    fn plan_refund<'a>(&'a self, cx: &'a RefundCx<'a>) -> Step<'a, Result<RefundPlan, MethodProblem>> {
        Step::ready(self.plan_back(cx))
    }

    fn refund<'a>(&'a self, plan: &'a RefundPlan, now: Timestamp) -> Step<'a, RefundOutcome> {
        Step::boxed(self.give_back(plan, now))
    }
}

impl Stripe {
    /// `verify`: id and expiry have been checked by the pipeline before this looks at the token (SC-03).
    fn read(&self, cx: &CredentialCx<'_>) -> Result<Verified, Rejection> {
        let ask = Ask::read(cx.request, self.network_id.as_deref())?;
        let payload = Payload::read(cx.payload, cx.request)?;
        let plan = Plan::new(cx, &ask, &payload, &self.connect, &self.version)
            // An older configuration offered this with other Connect settings.
            .map_err(|problem| Rejection::unavailable(RETRY, format!("stripe: {problem}")))?;
        // Stripe does not say who pays.
        Ok(Verified { payer: None, proof_keys: vec![proof_key(payload.token)], plan: plan.write() })
    }
}

/// The first and, but for `resolve`, only POST.
async fn charge(api: &Api, plan: &Plan) -> Settlement {
    match api.create(plan, Funds::Taken).await {
        Ok(Created { answer: Freshness::Replayed, .. }) => Settlement::Declined(used_before()),
        Ok(Created { intent, answer: Freshness::Fresh }) => judge(api, plan, intent).await,
        Err(error) => match refused_at_first(&error) {
            Some(rejection) => Settlement::Declined(rejection),
            None => unknown(error),
        },
    }
}

/// The outcome of a payment whose POST may or may not have arrived.
async fn resolve(api: &Api, plan: &Plan, now: Timestamp) -> Settlement {
    if plan.is_repeatable(now) {
        match api.create(plan, Funds::Taken).await {
            Ok(Created { intent, answer: Freshness::Fresh }) => return judge(api, plan, intent).await,
            // Our own journal says that we asked: the answer is ours. It is also old.
            Ok(Created { intent, answer: Freshness::Replayed }) => {
                return match api.read(plan, &intent.id).await {
                    Ok(intent) => judge(api, plan, intent).await,
                    Err(error) => unknown(error),
                };
            }
            Err(CallError::Refused(refusal)) => {
                if let Verdict::Declined(rejection) = refusal.verdict() {
                    return Settlement::Declined(rejection);
                }
                // Stripe also replays its own failures: only a look tells what came of them.
            }
            Err(error) => return unknown(error),
        }
    }
    match api.find(plan).await {
        Ok(Some(intent)) => judge(api, plan, intent).await,
        Ok(None) => {
            unknown("no PaymentIntent of this payment is known to Stripe's search (yet); it needs a person")
        }
        Err(error) => unknown(error),
    }
}

/// What a PaymentIntent means for its payment. One that rests without being paid is cancelled.
async fn judge(api: &Api, plan: &Plan, intent: Intent) -> Settlement {
    if !intent.belongs_to(plan) {
        return unknown(format_args!(
            "{} is not the PaymentIntent that was asked for; it needs a person",
            intent.id
        ));
    }
    match intent.status {
        Status::Succeeded => settled(plan, intent.id),
        Status::Canceled => Settlement::Declined(Rejection::failed("the payment was cancelled")),
        Status::Processing => unknown(format_args!("{} is still processing", intent.id)),
        Status::Unheard => unknown(format_args!("{} is in a state this release does not know", intent.id)),
        Status::RequiresAction => {
            cancelled(
                api,
                plan,
                &intent.id,
                "the payment needs an action of the cardholder, which cannot be asked for here",
            )
            .await
        }
        Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresCapture => {
            cancelled(api, plan, &intent.id, "Stripe did not take the payment").await
        }
    }
}

/// Cancels, and believes only Stripe that it is done.
async fn cancelled(api: &Api, plan: &Plan, id: &str, why: &'static str) -> Settlement {
    let now = match api.cancel(plan, id).await {
        Ok(intent) if intent.status == Status::Canceled => Ok(intent),
        _ => api.read(plan, id).await,
    };
    match now {
        Ok(intent) if !intent.belongs_to(plan) => unknown(format_args!("{id} is not what was asked for")),
        Ok(intent) if intent.status == Status::Canceled => Settlement::Declined(Rejection::failed(why)),
        Ok(intent) if intent.status == Status::Succeeded => settled(plan, intent.id),
        Ok(_) => unknown(format_args!("{id} could not be cancelled yet")),
        Err(error) => unknown(error),
    }
}

/// `capture = "success"`: authorises.
async fn reserve(api: &Api, mut plan: Plan) -> Held {
    let intent = match api.create(&plan, Funds::Reserved).await {
        Ok(Created { answer: Freshness::Replayed, .. }) => return Held::Declined(used_before()),
        Ok(Created { intent, answer: Freshness::Fresh }) => intent,
        Err(error) => {
            return match refused_at_first(&error) {
                Some(rejection) => Held::Declined(rejection),
                None => Held::Unknown { detail: format!("stripe: {error}") },
            };
        }
    };
    if intent.status == Status::RequiresCapture && intent.belongs_to(&plan) {
        plan.held = Some(intent.id);
        return Held::Held(plan.write());
    }
    match judge(api, &plan, intent).await {
        Settlement::Declined(rejection) => Held::Declined(rejection),
        // Money that was to be reserved was taken: recovery finds it, and a person.
        Settlement::Settled(payment) => {
            Held::Unknown { detail: format!("stripe: {} was taken instead of held", payment.reference) }
        }
        Settlement::Unknown { detail } => Held::Unknown { detail },
    }
}

/// Takes a hold, after the handler's success.
async fn capture(api: &Api, plan: &Plan, id: &str) -> Settlement {
    let refusal = match api.capture(plan, id).await {
        Ok(intent) if intent.belongs_to(plan) && intent.status == Status::Succeeded => {
            return settled(plan, intent.id);
        }
        Ok(_) => None,
        Err(CallError::Refused(refusal)) => Some(refusal),
        // It may be under way: recovery cancels the hold, or finds it captured.
        Err(error) => return unknown(error),
    };
    match api.read(plan, id).await {
        Ok(intent) if !intent.belongs_to(plan) => unknown(format_args!("{id} is not what was held")),
        Ok(intent) => match (intent.status, refusal.map(|refusal| refusal.verdict())) {
            (Status::Succeeded, _) => settled(plan, intent.id),
            (Status::Canceled, _) => Settlement::Declined(Rejection::failed(LAPSED)),
            // Refused for good, and still reserved.
            (Status::RequiresCapture, Some(Verdict::Declined(_))) => cancelled(api, plan, id, LAPSED).await,
            _ => unknown(format_args!("{id} is not captured yet")),
        },
        Err(error) => unknown(error),
    }
}

/// A capture that was interrupted: nothing was delivered for it, so what is still reserved is given back.
async fn give_up(api: &Api, plan: &Plan, id: &str) -> Settlement {
    match api.read(plan, id).await {
        Ok(intent) => judge(api, plan, intent).await,
        Err(error) => unknown(error),
    }
}

/// Gives a hold back, or what may have become one.
async fn release(api: &Api, plan: &Plan, now: Timestamp) -> Result<(), Rejection> {
    let unavailable = |error: CallError| Rejection::unavailable(RETRY, format!("stripe: {error}"));
    let intent = match &plan.held {
        Some(id) => api.read(plan, id).await.map_err(unavailable)?,
        None if plan.is_repeatable(now) => match api.create(plan, Funds::Reserved).await {
            Ok(Created { intent, .. }) => api.read(plan, &intent.id).await.map_err(unavailable)?,
            Err(CallError::Refused(refusal)) if matches!(refusal.verdict(), Verdict::Declined(_)) => {
                return Ok(());
            }
            Err(CallError::Refused(_)) => match api.find(plan).await.map_err(unavailable)? {
                Some(intent) => intent,
                None => return Err(Rejection::unavailable(RETRY, "stripe: a hold is not found yet")),
            },
            Err(error) => return Err(unavailable(error)),
        },
        None => match api.find(plan).await.map_err(unavailable)? {
            Some(intent) => intent,
            None => return Ok(()),
        },
    };
    match judge(api, plan, intent).await {
        Settlement::Declined(_) => Ok(()),
        Settlement::Settled(payment) => {
            Err(Rejection::unavailable(RETRY, format!("stripe: the hold {} was captured", payment.reference)))
        }
        Settlement::Unknown { detail } => Err(Rejection::unavailable(RETRY, detail)),
    }
}

/// What an error of the first POST for a key proves: a rejection if nothing moved.
fn refused_at_first(error: &CallError) -> Option<Rejection> {
    match error {
        CallError::NotSent => Some(Rejection::unavailable(RETRY, format!("stripe: {error}"))),
        CallError::Lost | CallError::Garbled(_) => None,
        CallError::Refused(refusal) => match refusal.verdict() {
            Verdict::Declined(rejection) => Some(rejection),
            Verdict::NotLetIn => Some(Rejection::unavailable(RETRY, format!("stripe: {error}"))),
            Verdict::Open => None,
        },
    }
}

const LAPSED: &str = "the reserved funds could not be taken; nothing was paid";
const UNREADABLE: &str = "stripe: the journaled plan is of another release and is not understood";

fn used_before() -> Rejection {
    Rejection::failed("this shared payment token was used for this challenge before; ask for a new challenge")
}

fn settled(plan: &Plan, reference: String) -> Settlement {
    Settlement::Settled(Payment { external_id: plan.external_id.clone(), ..Payment::new(reference) })
}

fn nothing_sent(why: impl std::fmt::Display) -> Settlement {
    Settlement::Declined(Rejection::unavailable(RETRY, format!("stripe: {why}")))
}

fn unknown(why: impl std::fmt::Display) -> Settlement {
    Settlement::Unknown { detail: format!("stripe: {why}") }
}

fn unreadable() -> Settlement {
    Settlement::Unknown { detail: UNREADABLE.to_owned() }
}
