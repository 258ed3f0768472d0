//! Watching payments: hooks, log events and spans, metrics. Names and fields on this page are stable.
//!
//! There is one place for each step of a payment that tells of it, and it tells all three: the hooks of
//! [`Builder::on_event`](crate::Builder::on_event), whoever subscribes to `tracing`, and (feature `metrics`) the recorder
//! of the `metrics` crate. What is told is named by the route's template. Nothing of it is ever a credential, a key, a
//! settlement plan, or the path, query or body of one request.
//!
//! # Log
//!
//! `tracing` events of the target `mpp::payment`. The message is the step. `challenge` is the challenge id: the one name a
//! payment has from the 402 to its receipt.
//!
//! | step | level | fields |
//! | --- | --- | --- |
//! | `challenge` | debug | `operation`, `price`, `reason` = `payment-required`, `challenge` (of the first offer), `offers` |
//! | `refuse` | debug | `operation`, `price`, `reason`, `status`; with status 402 also `challenge`, `offers` |
//! | `verify` | debug | `challenge`, `operation`, `method`, `outcome` = `verified`, `refused`, `unavailable` |
//! | `claim` | debug | `challenge`, `operation`, `method`, `outcome` = `claimed`, `used`, `key-used`, `expired` |
//! | `hold` | info, warn | `challenge`, `operation`, `method`, `outcome` = `held`, `declined`, `unknown` |
//! | `settle` | info, warn | `challenge`, `operation`, `method`, `outcome` = `settled`, `declined`, `unknown`; `seconds`; settled: `amount`, `currency`, `reference`; unknown: `detail` |
//! | `release` | info, warn | `challenge`, `operation`, `method`, `outcome` = `released`, `unknown` |
//! | `replay` | info | `operation`, `price`: a kept response was sent once more |
//! | `redeliver` | info | `challenge`, `operation`, `method`, `run` |
//! | `deliver` | info, warn | `challenge`, `operation`, `method`, `run`, `outcome` = `delivered`, `failed`, `dropped`, `withheld`; `status` |
//! | `refund due` | error | `challenge`, `operation`, `method`, `amount`, `currency`, `reference`, `runs`; target `mpp::ledger` |
//! | `refund ordered` | info | `challenge`, `method`, `amount`, `refund` (its id at the method); target `mpp::ledger` |
//! | `refund pending` | warn | `challenge`, `detail`; target `mpp::ledger` |
//! | `refund` | info, error | `challenge`, `method`, `amount`, `outcome` = `refunded`, `failed`, `said_by` = `network`, `operator`; refunded: `reference`; failed: `why`; target `mpp::ledger` |
//!
//! Steps that take time have a span of the level info and the same target, with `challenge` and `method`: `verify`,
//! `claim` (around everything from the first claim on), `settle`, `resolve`, `hold`, `capture`, `release`, `deliver`.
//! Those of the detached work are children of the request's own span. `reason` is the last part of the problem type's URI.
//!
//! # Metrics
//!
//! With the feature `metrics`. The recorder has to be installed before [`Builder::build`](crate::Builder::build).
//!
//! | name | kind | labels | |
//! | --- | --- | --- | --- |
//! | `mpp_refusals_total` | counter | `reason`, `status` | answers instead of the resource; `status="402"`: challenges by reason |
//! | `mpp_settlements_total` | counter | `method`, `outcome` = `settled`, `declined`, `unknown` | |
//! | `mpp_settlement_seconds` | histogram | `method` | how long the network took |
//! | `mpp_settlements_running` | gauge | | settlements under way in this process |
//! | `mpp_deliveries_total` | counter | `outcome` = `delivered`, `failed`, `withheld` | runs of paid handlers |
//! | `mpp_refunds_due_total` | counter | | payments given up |
//! | `mpp_refunds_total` | counter | `outcome`: `refunded`, `failed` | refunds that came to their end |
//! | `mpp_events_dropped_total` | counter | | events a slow hook was not told |
//! | `mpp_claims_open` | gauge | | claimed and not settled, in the store |
//! | `mpp_undelivered_payments` | gauge | | settled and not delivered, in the store |
//! | `mpp_refunds_due` | gauge | | refunds that are due, in the store |
//! | `mpp_store_keys`, `mpp_store_keys_limit` | gauge | `quota` = `paid`, `free` | keys in the store, and how many fit; see [`Limits`](crate::store::Limits) |
//! | `mpp_sponsor_budget_left`, `mpp_sponsor_budget_total` | gauge | `method` | units of the fee token, in this window |
//!
//! The gauges of what is in the store (and the budgets) are set by [`Mpp::recover`](crate::Mpp::recover), which looks at
//! all of it anyway: call it every minute. It also warns (target `mpp`, `the store is filling up`, with `quota`, `keys` and `limit`) of a
//! store that is four fifths full.

mod event;
mod hooks;
#[cfg(feature = "metrics")]
mod meters;

pub use event::{Event, Failure, Sale};
pub(super) use hooks::Hook;

use super::journal::{DeliveryState, Entry, PaymentState};
use super::refund::{Refund, RefundState};
use super::respond::Answer;
use crate::protocol::{ChallengeId, ProblemType, Receipt};
use crate::store::{Quota, Usage};
use axum::http::StatusCode;
use hooks::Hooks;
#[cfg(feature = "metrics")]
use meters::Meters;
use std::time::Duration;

/// The target of the log.
pub(super) const TARGET: &str = "mpp::payment";

/// Who is told.
pub(super) struct Observers {
    hooks: Hooks,
    #[cfg(feature = "metrics")]
    meters: Meters,
}

/// What a payment network said of a settlement.
#[derive(Clone, Copy)]
pub(super) enum Verdict<'a> {
    Settled(&'a Receipt),
    Declined,
    /// Why nobody knows.
    Unknown(&'a str),
}

/// What a sweep over the journal counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Claimed, and not settled.
    pub(super) claims: usize,
    /// Settled, and not delivered.
    pub(super) undelivered: usize,
    /// Given up.
    pub(super) refunds_due: usize,
}

impl Standing {
    pub(super) fn count(&mut self, entry: &Entry) {
        match (&entry.payment, entry.delivery) {
            (PaymentState::Settled(_), DeliveryState::RefundDue) => self.refunds_due += 1,
            (PaymentState::Settled(_), _) => self.undelivered += 1,
            _ => self.claims += 1,
        }
    }
}

impl Observers {
    /// # Errors
    /// When the system has no thread left for a hook.
    pub(super) fn start<'a>(
        hooks: Vec<Hook>,
        methods: impl Iterator<Item = &'a str>,
    ) -> std::io::Result<Self> {
        #[cfg(not(feature = "metrics"))]
        drop(methods);
        Ok(Self {
            hooks: Hooks::start(hooks)?,
            #[cfg(feature = "metrics")]
            meters: Meters::new(methods),
        })
    }

    /// Events that hooks were too slow for.
    pub(super) fn dropped(&self) -> u64 {
        self.hooks.dropped()
    }

    fn tell(&self, event: &Event) {
        let _dropped = self.hooks.tell(event);
        #[cfg(feature = "metrics")]
        if _dropped > 0 {
            self.meters.dropped(_dropped);
        }
    }

    /// An answer instead of the resource: a challenge, or a refusal. On the path of every unpaid request, so it allocates
    /// for listeners only. The operation is not known where a request is refused before it is matched, the price where
    /// its handler has run.
    pub(super) fn answered(&self, operation: Option<&str>, price: Option<&str>, answer: &Answer) {
        let Some(kind) = answer.kind() else {
            tracing::info!(target: TARGET, operation, price, "replay");
            return;
        };
        #[cfg(feature = "metrics")]
        self.meters.refused(kind);
        // As text only inside of what is skipped when nobody listens.
        let first = answer.first();
        if kind == ProblemType::PaymentRequired {
            tracing::debug!(target: TARGET, operation, price, reason = slug(kind), challenge = first.map(ChallengeId::as_str), offers = answer.offers(), "challenge");
        } else if first.is_some() {
            tracing::debug!(target: TARGET, operation, price, reason = slug(kind), status = kind.status(), challenge = first.map(ChallengeId::as_str), offers = answer.offers(), "refuse");
        } else {
            tracing::debug!(target: TARGET, operation, price, reason = slug(kind), status = kind.status(), "refuse");
        }
        if let Some(challenge) = first.filter(|_| self.hooks.listen()) {
            self.tell(&Event::ChallengeIssued {
                operation: operation.unwrap_or_default().to_owned(),
                reason: kind,
                challenge_id: challenge.to_string(),
                offers: answer.offers(),
            });
        }
    }

    /// What the network said of a settlement.
    pub(super) fn settlement(&self, id: &str, entry: &Entry, verdict: Verdict<'_>, took: Duration) {
        #[cfg(feature = "metrics")]
        self.meters.settlement(&entry.method, verdict, took);
        let Entry { bill, method, .. } = entry;
        let (operation, seconds) = (&*bill.operation, took.as_secs_f64());
        match verdict {
            Verdict::Settled(Receipt { reference, .. }) => {
                let amount = bill.amount();
                tracing::info!(target: TARGET, challenge = id, operation, method, outcome = "settled", seconds, %amount, currency = bill.currency, reference, "settle");
            }
            Verdict::Declined => {
                tracing::info!(target: TARGET, challenge = id, operation, method, outcome = "declined", seconds, "settle");
            }
            Verdict::Unknown(detail) => {
                tracing::warn!(target: TARGET, challenge = id, operation, method, outcome = "unknown", seconds, detail, "settle");
            }
        }
    }

    /// A payment is in the journal as settled.
    pub(super) fn settled(&self, id: &str, entry: &Entry, took: Duration) {
        if self.hooks.listen()
            && let Some(sale) = Sale::of(id, entry)
        {
            self.tell(&Event::PaymentSettled { sale, took });
        }
    }

    /// A delivery is in the journal.
    pub(super) fn delivered(&self, id: &str, entry: &Entry, status: StatusCode) {
        #[cfg(feature = "metrics")]
        self.meters.delivered();
        let run = entry.attempts;
        tracing::info!(target: TARGET, challenge = id, operation = entry.bill.operation, method = entry.method, run, outcome = "delivered", status = status.as_u16(), "deliver");
        if self.hooks.listen()
            && let Some(sale) = Sale::of(id, entry)
        {
            self.tell(&Event::Delivered { sale, run, status });
        }
    }

    /// A run of a paid handler ended otherwise.
    pub(super) fn undelivered(&self, id: &str, entry: &Entry, failure: Failure) {
        #[cfg(feature = "metrics")]
        self.meters.failed(failure);
        let (outcome, status) = match failure {
            Failure::Status(status) => ("failed", Some(status.as_u16())),
            Failure::Dropped => ("dropped", None),
            Failure::Withheld => ("withheld", None),
        };
        let run = entry.attempts;
        tracing::warn!(target: TARGET, challenge = id, operation = entry.bill.operation, method = entry.method, run, outcome, status, "deliver");
        if self.hooks.listen()
            && let Some(sale) = Sale::of(id, entry)
        {
            self.tell(&Event::DeliveryFailed { sale, run, failure });
        }
    }

    /// A payment is in the journal as given up.
    pub(super) fn refund_due(&self, id: &str, entry: &Entry) {
        // A proof of identity cost nothing.
        if entry.bill.units == 0 {
            return;
        }
        #[cfg(feature = "metrics")]
        self.meters.refund_due();
        let runs = entry.attempts;
        let sale = Sale::of(id, entry);
        let (amount, reference) = (entry.bill.amount(), sale.as_ref().map(|sale| sale.reference.as_str()));
        tracing::error!(target: "mpp::ledger", challenge = id, operation = entry.bill.operation, method = entry.method, %amount, currency = entry.bill.currency, reference, runs, "refund due");
        if let Some(sale) = sale.filter(|_| self.hooks.listen()) {
            self.tell(&Event::RefundDue { sale, runs });
        }
    }

    /// A refund is in the journal as made, or as failed.
    pub(super) fn refund(&self, id: &str, sale: Option<Sale>, refund: &Refund) {
        #[cfg(feature = "metrics")]
        self.meters.refund(&refund.state);
        let (amount, method) = (refund.amount, sale.as_ref().map(|sale| sale.method.as_str()));
        let said_by = refund.said_by.name();
        match &refund.state {
            RefundState::Refunded { reference } => {
                tracing::info!(target: "mpp::ledger", challenge = id, method, %amount, reference, outcome = "refunded", said_by, "refund");
            }
            RefundState::Failed { why } => {
                tracing::error!(target: "mpp::ledger", challenge = id, method, %amount, why, outcome = "failed", said_by, "refund");
            }
            RefundState::Pending { .. } => return,
        }
        if let Some(sale) = sale.filter(|_| self.hooks.listen()) {
            self.tell(&Event::Refund { sale, refund: refund.clone() });
        }
    }

    /// One settlement more under way in this process, until the guard is dropped.
    pub(super) fn settling(&self) -> Underway<'_> {
        #[cfg(feature = "metrics")]
        self.meters.settling(1.0);
        Underway(self)
    }

    /// How full the store is.
    pub(super) fn usage(&self, quota: Quota, usage: Usage) {
        #[cfg(feature = "metrics")]
        self.meters.usage(quota, usage);
        if usage.is_high() {
            let Usage { keys, limit } = usage;
            tracing::warn!(target: "mpp", quota = quota.name(), keys, limit, "the store is filling up");
        }
    }

    #[cfg(feature = "metrics")]
    pub(super) fn standing(&self, standing: &Standing) {
        self.meters.standing(standing);
    }

    #[cfg(feature = "metrics")]
    pub(super) fn budget(&self, method: &str, budget: &crate::method::SponsorBudget) {
        self.meters.budget(method, budget);
    }
}

/// A settlement under way.
pub(super) struct Underway<'a>(#[cfg_attr(not(feature = "metrics"), expect(dead_code))] &'a Observers);

#[cfg(feature = "metrics")]
impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.meters.settling(-1.0);
    }
}

/// The last part of a problem type's URI: its name in logs and metrics.
pub(super) fn slug(kind: ProblemType) -> &'static str {
    let uri = kind.uri();
    uri.rsplit(['/', ':']).next().unwrap_or(uri)
}
