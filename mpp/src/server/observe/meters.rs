//! Metrics, through the `metrics` crate, for whatever exporter the program installs.
//!
//! Handles are made once, when the configuration is built, so that counting costs an atomic addition and every series
//! exists from the start. Names and labels are listed in [`observe`](super); labels come from small fixed sets, never from
//! a request.

use super::super::refund::RefundState;
use super::Standing;
use crate::method::SponsorBudget;
use crate::protocol::ProblemType;
use crate::store::{Quota, Usage};
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use std::sync::OnceLock;
use std::time::Duration;

/// The handles of a configuration.
pub(super) struct Meters {
    /// By position in [`ProblemType::ALL`].
    refusals: Vec<Counter>,
    methods: Vec<MethodMeters>,
    delivered: Counter,
    failed: Counter,
    withheld: Counter,
    refunds_due: Counter,
    refunded: Counter,
    refund_failed: Counter,
    dropped: Counter,
    settling: Gauge,
    /// By [`Quota`]: the keys, and how many fit.
    usage: [[Gauge; 2]; 2],
    claims: Gauge,
    undelivered: Gauge,
    owed: Gauge,
}

struct MethodMeters {
    name: String,
    settled: Counter,
    declined: Counter,
    unknown: Counter,
    seconds: Histogram,
    /// Only of methods that have a budget.
    budget: OnceLock<[Gauge; 2]>,
}

impl Meters {
    pub(super) fn new<'a>(methods: impl Iterator<Item = &'a str>) -> Self {
        describe();
        let refusal = |kind: &ProblemType| {
            let status = kind.status().to_string();
            counter!("mpp_refusals_total", "reason" => super::slug(*kind), "status" => status)
        };
        let delivery = |outcome: &'static str| counter!("mpp_deliveries_total", "outcome" => outcome);
        Self {
            refusals: ProblemType::ALL.iter().map(refusal).collect(),
            methods: methods.map(MethodMeters::new).collect(),
            delivered: delivery("delivered"),
            failed: delivery("failed"),
            withheld: delivery("withheld"),
            refunds_due: counter!("mpp_refunds_due_total"),
            refunded: counter!("mpp_refunds_total", "outcome" => "refunded"),
            refund_failed: counter!("mpp_refunds_total", "outcome" => "failed"),
            dropped: counter!("mpp_events_dropped_total"),
            settling: gauge!("mpp_settlements_running"),
            usage: [Quota::Paid, Quota::Free].map(|quota| {
                ["mpp_store_keys", "mpp_store_keys_limit"].map(|name| gauge!(name, "quota" => quota.name()))
            }),
            claims: gauge!("mpp_claims_open"),
            undelivered: gauge!("mpp_undelivered_payments"),
            owed: gauge!("mpp_refunds_due"),
        }
    }

    pub(super) fn refused(&self, kind: ProblemType) {
        if let Some(counter) = self.refusals.get(kind as usize) {
            counter.increment(1);
        }
    }

    pub(super) fn settlement(&self, method: &str, verdict: super::Verdict<'_>, took: Duration) {
        let Some(meters) = self.methods.iter().find(|meters| meters.name == method) else { return };
        match verdict {
            super::Verdict::Settled(_) => meters.settled.increment(1),
            super::Verdict::Declined => meters.declined.increment(1),
            super::Verdict::Unknown(_) => meters.unknown.increment(1),
        }
        meters.seconds.record(took.as_secs_f64());
    }

    pub(super) fn settling(&self, by: f64) {
        self.settling.increment(by);
    }

    pub(super) fn delivered(&self) {
        self.delivered.increment(1);
    }

    pub(super) fn failed(&self, failure: super::Failure) {
        match failure {
            super::Failure::Withheld => self.withheld.increment(1),
            super::Failure::Status(_) | super::Failure::Dropped => self.failed.increment(1),
        }
    }

    pub(super) fn refund_due(&self) {
        self.refunds_due.increment(1);
    }

    pub(super) fn refund(&self, state: &RefundState) {
        match state {
            RefundState::Refunded { .. } => self.refunded.increment(1),
            RefundState::Failed { .. } => self.refund_failed.increment(1),
            RefundState::Pending { .. } => {}
        }
    }

    pub(super) fn dropped(&self, events: u64) {
        self.dropped.increment(events);
    }

    pub(super) fn standing(&self, standing: &Standing) {
        self.claims.set(standing.claims as f64);
        self.undelivered.set(standing.undelivered as f64);
        self.owed.set(standing.refunds_due as f64);
    }

    pub(super) fn usage(&self, quota: Quota, usage: Usage) {
        let [keys, limit] = &self.usage[quota.index()];
        keys.set(usage.keys as f64);
        limit.set(usage.limit as f64);
    }

    pub(super) fn budget(&self, method: &str, budget: &SponsorBudget) {
        let Some(meters) = self.methods.iter().find(|meters| meters.name == method) else { return };
        let [left, total] = meters.budget.get_or_init(|| {
            let name = meters.name.clone();
            [
                gauge!("mpp_sponsor_budget_left", "method" => name.clone()),
                gauge!("mpp_sponsor_budget_total", "method" => name),
            ]
        });
        left.set(units(budget.left));
        total.set(units(budget.total));
    }
}

impl MethodMeters {
    fn new(name: &str) -> Self {
        let settlement = |outcome: &'static str| counter!("mpp_settlements_total", "method" => name.to_owned(), "outcome" => outcome);
        Self {
            name: name.to_owned(),
            settled: settlement("settled"),
            declined: settlement("declined"),
            unknown: settlement("unknown"),
            seconds: histogram!("mpp_settlement_seconds", "method" => name.to_owned()),
            budget: OnceLock::new(),
        }
    }
}

/// A gauge is a float: good enough to look at, and only for that.
fn units(amount: crate::protocol::Amount) -> f64 {
    amount.to_string().parse().unwrap_or(f64::NAN)
}

fn describe() {
    metrics::describe_counter!(
        "mpp_refusals_total",
        "Answers of the payment gate instead of the resource, by problem type; status 402 asks for a payment"
    );
    metrics::describe_counter!("mpp_settlements_total", "Settlements, by method and outcome");
    metrics::describe_histogram!(
        "mpp_settlement_seconds",
        Unit::Seconds,
        "How long a payment network took to answer a settlement"
    );
    metrics::describe_counter!("mpp_deliveries_total", "Runs of handlers that were paid for, by outcome");
    metrics::describe_counter!("mpp_refunds_due_total", "Payments that were given up: a refund is due");
    metrics::describe_counter!("mpp_refunds_total", "Refunds that came to their end, by outcome");
    metrics::describe_counter!("mpp_events_dropped_total", "Events that a slow hook was not told");
    metrics::describe_gauge!("mpp_settlements_running", "Settlements under way in this process");
    metrics::describe_gauge!(
        "mpp_claims_open",
        "Payments in the store that are claimed and not settled, at the last recovery"
    );
    metrics::describe_gauge!(
        "mpp_undelivered_payments",
        "Payments in the store that are settled and not delivered, at the last recovery"
    );
    metrics::describe_gauge!(
        "mpp_refunds_due",
        "Payments in the store that wait for a refund, at the last recovery"
    );
    metrics::describe_gauge!("mpp_store_keys", "Keys in the store, by quota, at the last recovery");
    metrics::describe_gauge!("mpp_store_keys_limit", "How many keys of a quota the store takes");
    metrics::describe_gauge!(
        "mpp_sponsor_budget_left",
        "What is left of a sponsor's budget in this window, in units of its fee token"
    );
    metrics::describe_gauge!(
        "mpp_sponsor_budget_total",
        "A sponsor's budget of a window, in units of its fee token"
    );
}
