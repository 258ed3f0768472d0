//! Whoever watches is told of every step, under the names that `mpp::observe` lists, and can do no harm.

use crate::common::{Fault, Network, Script, credential};
use crate::lab::*;
use mpp::Amount;
use mpp::observe::{Event, Failure};
use mpp::protocol::ProblemType;
use mpp::store::{Keep, Key, Quota, Write};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;
use tracing::Instrument as _;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// One event or span: what it is called, and its fields.
type Line = (String, BTreeMap<String, String>);

/// A span and the one it is in.
type Span = (String, Option<String>);

thread_local! {
    /// Who listens to this thread: a test and all its tasks.
    static LISTENER: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// One for the whole program: what `tracing` remembers of who wants what is not made for one per test.
struct Exchange;

/// Everything of the target `mpp::payment` (and the ledger's) that this thread says.
#[derive(Clone, Default)]
struct Log {
    events: Arc<Mutex<Vec<Line>>>,
    spans: Arc<Mutex<Vec<Span>>>,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Exchange {
    fn on_new_span(&self, _: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let span = cx.span(id).expect("it was just made");
        if span.metadata().target() == "mpp::payment" || span.name() == "request" {
            let parent = span.parent().map(|parent| parent.name().to_owned());
            tell(|log| log.spans.lock().unwrap().push((span.name().to_owned(), parent)));
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if ["mpp::payment", "mpp::ledger"].contains(&event.metadata().target())
            || event.metadata().fields().field("key").is_some()
        {
            let mut fields = BTreeMap::new();
            event.record(&mut Fields(&mut fields));
            let message = fields.remove("message").expect("every step has a name");
            tell(|log| log.events.lock().unwrap().push((message, fields)));
        }
    }
}

fn tell(line: impl FnOnce(&Log)) {
    LISTENER.with_borrow(|listener| {
        if let Some(log) = listener {
            line(log);
        }
    });
}

impl Log {
    fn listen() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing_subscriber::registry().with(Exchange).init());
        LISTENER.with_borrow_mut(|listener| listener.insert(Self::default()).clone())
    }

    /// What was said since the last time, one line each: the step, its outcome, reason, run and status.
    fn steps(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.events.lock().unwrap());
        let shown = |(step, fields): &Line| {
            let told =
                ["outcome", "reason", "run", "runs", "status"].iter().filter_map(|name| fields.get(*name));
            [step].into_iter().chain(told).cloned().collect::<Vec<_>>().join(" ")
        };
        lines.iter().map(shown).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_every_step_of_a_paid_request_in_order() {
    let log = Log::listen();
    let lab = Lab::new();
    let request = tracing::info_span!("request");
    let (_, response) = lab.pay("/city/oslo?secret=1", "tx1").instrument(request).await;
    response.assert_ok();
    let spans = log.spans.lock().unwrap().clone();
    let events = log.events.lock().unwrap().clone();
    assert_eq!(
        log.steps(),
        [
            "challenge payment-required",
            "verify verified",
            "claim claimed",
            "settle settled",
            "deliver delivered 1 200",
        ]
    );
    let spans: Vec<_> = spans.iter().map(|(name, parent)| (name.as_str(), parent.as_deref())).collect();
    assert_eq!(
        spans,
        [
            ("request", None),
            ("verify", Some("request")),
            ("claim", Some("request")),
            ("settle", Some("claim")),
            ("deliver", Some("request")),
        ],
        "what the detached task does belongs to the request that began it"
    );

    let names = |step: usize| events[step].1.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names(0), ["challenge", "offers", "operation", "price", "reason"]);
    assert_eq!(names(1), ["challenge", "method", "operation", "outcome"]);
    assert_eq!(names(2), ["challenge", "method", "operation", "outcome"]);
    assert_eq!(
        names(3),
        ["amount", "challenge", "currency", "method", "operation", "outcome", "reference", "seconds"]
    );
    assert_eq!(names(4), ["challenge", "method", "operation", "outcome", "run", "status"]);
    let value = |step: usize, name: &str| events[step].1[name].as_str();
    assert_eq!((value(3, "amount"), value(3, "currency"), value(3, "method")), ("0.01", "usdc", "tempo"));
    for (step, fields) in &events {
        assert_eq!(fields["operation"], "GET /city/{city}", "{step}: the template, never the path");
        assert_eq!(
            fields["challenge"],
            value(0, "challenge"),
            "{step}: one name from the 402 to the receipt"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_refusals_redeliveries_and_failures() {
    let log = Log::listen();
    let lab = Lab::new();
    let (paid, _) = lab.pay("/cheap", "tx1").await;
    log.steps();
    lab.client.get("/cheap").presenting(&paid).await;
    assert_eq!(log.steps(), ["refuse invalid-challenge 402"]);
    lab.pay("/cheap", "tx1").await;
    assert_eq!(
        log.steps(),
        ["challenge payment-required", "verify verified", "claim used", "refuse verification-failed 402"]
    );

    lab.network.will(Script::Decline);
    lab.pay("/cheap", "tx2").await;
    assert_eq!(log.steps()[2..], ["claim claimed", "settle declined", "refuse verification-failed 402"]);

    lab.network.will(Script::LoseAnswer);
    let (paid, _) = lab.pay("/cheap", "tx3").await;
    assert_eq!(log.steps()[2..], ["claim claimed", "settle unknown", "refuse unavailable 503"]);
    lab.network.will(Script::Settle);
    lab.client.get("/cheap").presenting(&paid).await.assert_ok();
    assert_eq!(log.steps(), ["settle settled", "deliver delivered 1 200"], "it was found");

    lab.bench.failures.store(9, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx4").await;
    assert_eq!(log.steps()[3..], ["settle settled", "deliver failed 1 500"]);
    for run in 2..=3 {
        lab.client.get("/flaky").presenting(&paid).await;
        assert_eq!(log.steps(), [format!("redeliver {run}"), format!("deliver failed {run} 500")]);
    }
    for again in [&["refund due 3", "refuse unavailable 503"][..], &["refuse unavailable 503"]] {
        lab.client.get("/flaky").presenting(&paid).await;
        assert_eq!(log.steps(), again);
    }

    lab.bench.failures.store(0, Ordering::SeqCst);
    lab.pay("/held", "tx5").await;
    assert_eq!(log.steps()[2..], ["claim claimed", "hold held", "settle settled", "deliver delivered 1 200"]);
    lab.pay("/held-status/500", "tx6").await;
    assert_eq!(log.steps()[2..], ["claim claimed", "hold held", "release released"]);
    *lab.network.capture.lock().unwrap() = Script::Decline;
    lab.pay("/held", "tx7").await;
    assert_eq!(log.steps()[3..], ["hold held", "settle declined", "refuse verification-failed 402"]);

    let paid = credential(&lab.challenge("/cheap").await, "tx8");
    lab.store.after(OPERATIONS_BEFORE_COMMIT, Fault::Dies);
    lab.client.get("/cheap").presenting(&paid).await.assert_problem("unavailable");
    assert_eq!(log.steps()[3..], ["settle settled", "deliver withheld 1"]);
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_a_refusal_before_anything_is_known_of_the_request_and_one_that_asks_for_a_payment() {
    let log = Log::listen();
    let lab = Lab::new();
    let twice =
        lab.client.get("/cheap").header("authorization", "Payment a").header("authorization", "Payment b");
    assert_eq!(twice.unpaid().await.status(), 400);
    let (step, fields) = log.events.lock().unwrap().pop().expect("a refusal is told");
    assert_eq!(
        (step.as_str(), fields["price"].as_str(), fields["status"].as_str()),
        ("refuse", "cheap", "400")
    );
    assert!(!fields.contains_key("operation"), "the route is looked at later: {fields:?}");
    assert!(!fields.contains_key("offers"), "and it asks for no payment: {fields:?}");
    lab.client.get("/cheap").presenting("Payment x").await.assert_problem("malformed-credential");
    let (step, fields) = log.events.lock().unwrap().pop().expect("a refusal is told");
    assert_eq!((step.as_str(), fields["status"].as_str(), fields["offers"].as_str()), ("refuse", "402", "1"));
    assert!(fields.contains_key("challenge"), "{fields:?}");
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_a_claim_that_came_too_late_and_one_whose_key_is_taken() {
    let log = Log::listen();
    let lab = Lab::on(Network::new("tempo"), |b| b.challenge_lifetime(Duration::from_secs(1)));
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    let mut request = Box::pin(lab.client.get("/cheap").presenting(&paid));
    // The clock moves on between the claim of the challenge and that of the proof.
    while lab.store.operations.load(Ordering::SeqCst) < 3 {
        tokio::select! {
            biased;
            response = &mut request => panic!("too early: {}", response.text()),
            () = tokio::task::yield_now() => {}
        }
    }
    lab.clock.advance(Duration::from_secs(1));
    request.await.assert_problem("payment-expired");
    assert_eq!(log.steps()[2..], ["claim expired", "refuse payment-expired 402"]);

    let ordering = |proof: &'static str| {
        let client = lab.client.clone();
        tokio::spawn(async move {
            let paid = credential(&first(&client.post("/order").unpaid().await), proof);
            client.post("/order").header("idempotency-key", "one-order").presenting(&paid).await.status()
        })
    };
    let both = [ordering("tx2"), ordering("tx3")];
    for order in both {
        order.await.unwrap();
    }
    let steps = log.steps();
    let count = |step: &str| steps.iter().filter(|other| *other == step).count();
    assert_eq!((count("claim claimed"), count("claim key-used")), (1, 1), "{steps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_is_told_as_a_lost_delivery_only_if_its_handler_has_begun() {
    let log = Log::listen();
    let (lab, events) = watched();
    let paid = credential(&lab.challenge("/slow").await, "tx1");
    lab.network.close_turnstile();
    let send = || lab.send("/slow", &paid);
    let request = send();
    until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
    request.abort();
    lab.network.turnstile.add_permits(1);
    until(|| lab.network.payments() == 1).await;
    settle_down().await;
    assert_eq!(log.steps().last().unwrap(), "settle settled", "no handler ran, so nothing was dropped");

    let request = send();
    until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
    request.abort();
    settle_down().await;
    assert_eq!(log.steps(), ["redeliver 1", "deliver dropped 1"]);
    let [Event::ChallengeIssued { .. }, Event::PaymentSettled { sale, .. }, lost] =
        [next(&events), next(&events), next(&events)]
    else {
        panic!()
    };
    assert_eq!(lost, Event::DeliveryFailed { sale, run: 1, failure: Failure::Dropped });
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_captured_is_told_as_settled_and_a_capture_without_an_answer_as_unknown() {
    let log = Log::listen();
    let (lab, events) = watched();
    lab.pay("/held", "tx1").await.1.assert_ok();
    let [
        Event::ChallengeIssued { challenge_id, .. },
        Event::PaymentSettled { sale, .. },
        Event::Delivered { .. },
    ] = [next(&events), next(&events), next(&events)]
    else {
        panic!()
    };
    assert_eq!((sale.challenge_id, sale.operation.as_str()), (challenge_id, "GET /held"));
    log.steps();

    *lab.network.capture.lock().unwrap() = Script::LoseAnswer;
    lab.pay("/held", "tx2").await.1.assert_problem("unavailable");
    assert_eq!(log.steps()[3..], ["hold held", "settle unknown"]);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_told_by_its_name_and_not_by_the_path_that_was_asked_for() {
    let log = Log::listen();
    let (lab, events) = watched();
    let (_, response) = lab.pay("/private/of/alice", "tx1").await;
    response.assert_ok();
    let lines = format!("{:?}", log.events.lock().unwrap());
    assert!(lines.contains("anything_else") && !lines.contains("alice"), "{lines}");
    let told: Vec<Event> = (0..3).map(|_| next(&events)).collect();
    let told = format!("{told:?}");
    assert!(told.contains("anything_else") && !told.contains("alice"), "{told}");
}

/// A lab, and what its hook is told.
fn watched() -> (Lab, Receiver<Event>) {
    let (teller, events) = mpsc::channel();
    let lab = Lab::on(Network::new("tempo"), |builder| {
        builder.on_event(move |event| {
            teller.send(event.clone()).ok();
        })
    });
    (lab, events)
}

#[track_caller]
fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(Duration::from_secs(20)).expect("an event")
}

#[tokio::test(start_paused = true)]
async fn hooks_are_told_of_challenges_settlements_deliveries_failures_and_refunds() {
    let (lab, events) = watched();
    lab.bench.failures.store(3, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx1").await;
    let Event::ChallengeIssued { operation, reason, challenge_id, offers, .. } = next(&events) else {
        panic!()
    };
    assert_eq!((operation.as_str(), reason, offers), ("GET /flaky", ProblemType::PaymentRequired, 1));
    let Event::PaymentSettled { sale, .. } = next(&events) else { panic!() };
    assert_eq!(
        (&*sale.operation, &*sale.method, sale.amount, &*sale.currency, sale.base_units.get()),
        ("GET /flaky", "tempo", Amount::cents(1), "usdc", 10_000)
    );
    assert_eq!((sale.challenge_id.as_str(), sale.settled_at.unix()), (challenge_id.as_str(), START));
    assert!(!sale.reference.is_empty());
    let failed = |run| Event::DeliveryFailed {
        sale: sale.clone(),
        run,
        failure: Failure::Status(axum::http::StatusCode::INTERNAL_SERVER_ERROR),
    };
    assert_eq!(next(&events), failed(1));
    for run in 2..=3 {
        lab.client.get("/flaky").presenting(&paid).await;
        assert_eq!(next(&events), failed(run));
    }
    lab.client.get("/flaky").presenting(&paid).await;
    assert_eq!(next(&events), Event::RefundDue { sale: sale.clone(), runs: 3 });

    lab.pay("/cheap", "tx2").await;
    assert!(matches!(next(&events), Event::ChallengeIssued { .. }));
    assert!(matches!(next(&events), Event::PaymentSettled { .. }));
    let Event::Delivered { sale: delivered, run, status } = next(&events) else { panic!() };
    assert_eq!((delivered.operation.as_str(), run, status.as_u16()), ("GET /cheap", 1, 200));
    assert!(events.try_recv().is_err(), "and of nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_refund_is_told_also_when_the_credential_never_comes_back() {
    let (lab, events) = watched();
    lab.bench.failures.store(1, Ordering::SeqCst);
    lab.pay("/flaky", "tx1").await;
    assert_eq!(lab.mpp.recover().await, Ok(0), "it may still come back");
    lab.clock.advance(Duration::from_secs(300 + 601));
    assert_eq!(lab.mpp.recover().await, Ok(1));
    assert_eq!(lab.mpp.recover().await, Ok(0), "once");
    let told: Vec<Event> = (0..4).map(|_| next(&events)).collect();
    assert!(
        matches!(&told[3], Event::RefundDue { sale, runs: 1 } if sale.operation == "GET /flaky"),
        "{told:?}"
    );
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_or_panics_touches_no_payment_and_no_other_hook() {
    let (open, door) = mpsc::channel::<()>();
    let (teller, events) = mpsc::channel();
    let mut calls = 0;
    let lab = Lab::on(Network::new("tempo"), |builder| {
        builder
            .on_event(move |_| {
                // Until the test is over.
                door.recv().ok();
            })
            .on_event(move |event| {
                calls += 1;
                teller.send(event.clone()).ok();
                assert!(calls % 2 == 0, "a hook of the operator's that is broken");
            })
    });
    for proof in 0..400 {
        let (_, response) = lab.pay("/cheap", &proof.to_string()).await;
        response.assert_ok();
        for _ in 0..3 {
            next(&events); // the one that panics is told all the same
        }
    }
    // One is in the hook's hands, a queue is full, the rest is gone.
    let dropped = 3 * 400 - 1024;
    assert!([dropped, dropped - 1].contains(&lab.mpp.dropped_events()), "{}", lab.mpp.dropped_events());
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn every_entry_that_nobody_can_read_is_told_with_its_key() {
    let log = Log::listen();
    let lab = Lab::new();
    for name in ["one", "two", "three"] {
        let garbage = Write { value: vec![0xff; 9], keep: Keep::Live };
        lab.shelf.cas(&Key::new(Quota::Paid, "entry", name), None, Some(garbage)).await.unwrap();
    }
    lab.mpp.recover().await.unwrap_err();
    let events = log.events.lock().unwrap();
    let told: Vec<_> = events.iter().filter_map(|(_, fields)| fields.get("key").cloned()).collect();
    assert_eq!(told, ["paid/entry/one", "paid/entry/three", "paid/entry/two"]);
}

/// It may have no room for thousands.
#[tokio::test(start_paused = true)]
async fn a_full_store_is_told_of_once() {
    let lab = crate::recovery::full_store().await;
    let log = Log::listen();
    lab.mpp.recover().await.unwrap_err();
    let events = log.events.lock().unwrap();
    assert_eq!(events.iter().filter(|(_, fields)| fields.contains_key("key")).count(), 1);
}

#[cfg(feature = "metrics")]
mod metrics {
    use super::*;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
    use mpp::ledger::Query;
    use mpp::method::{Money, SponsorBudget};
    use mpp::refund::RefundOrder;

    /// A lab whose configuration is built under a recorder.
    fn metered(network: Arc<Network>) -> (Lab, Snapshotter) {
        let recorder = DebuggingRecorder::new();
        let lab = ::metrics::with_local_recorder(&recorder, || Lab::on(network, |builder| builder));
        (lab, recorder.snapshotter())
    }

    /// Every series that is not zero, as an exporter would show it.
    fn shown(snapshotter: &Snapshotter) -> Vec<String> {
        let line = |(key, _, described, value): (metrics_util::CompositeKey, _, Option<_>, DebugValue)| {
            assert!(described.is_some(), "{} is not described", key.key().name());
            let labels: Vec<_> =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(0) => return None,
                DebugValue::Counter(n) => n.to_string(),
                DebugValue::Gauge(n) if n.0 == 0.0 => return None,
                DebugValue::Gauge(n) => n.to_string(),
                DebugValue::Histogram(seen) if seen.is_empty() => return None,
                DebugValue::Histogram(seen) => format!("{} times", seen.len()),
            };
            Some(format!("{}{{{}}} {value}", key.key().name(), labels.join(",")))
        };
        let mut lines: Vec<_> = snapshotter.snapshot().into_vec().into_iter().filter_map(line).collect();
        lines.sort();
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_count_refusals_by_reason_settlements_and_deliveries() {
        let (lab, snapshotter) = metered(Network::new("tempo"));
        assert_eq!(shown(&snapshotter), [""; 0], "every series exists from the start, at zero");
        let (paid, _) = lab.pay("/cheap", "tx1").await;
        lab.client.get("/cheap").presenting(&paid).await;
        lab.network.will(Script::LoseRequest);
        lab.pay("/cheap", "tx2").await;
        assert_eq!(
            shown(&snapshotter),
            [
                "mpp_deliveries_total{outcome=delivered} 1",
                "mpp_refusals_total{reason=invalid-challenge,status=402} 1",
                "mpp_refusals_total{reason=payment-required,status=402} 2",
                "mpp_refusals_total{reason=unavailable,status=503} 1",
                "mpp_settlement_seconds{method=tempo} 2 times",
                "mpp_settlements_total{method=tempo,outcome=settled} 1",
                "mpp_settlements_total{method=tempo,outcome=unknown} 1",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_tell_what_is_under_way_and_what_is_owed() {
        let (lab, snapshotter) = metered(Network::with_money("tempo", Money::Test));
        let gauges = || -> Vec<_> {
            let lines = shown(&snapshotter).into_iter();
            let others = ["_total{", "_seconds{", "mpp_store_"];
            lines.filter(|line| !others.iter().any(|other| line.contains(other))).collect()
        };
        lab.network.close_turnstile();
        let paid = credential(&lab.challenge("/cheap").await, "tx1");
        let request = lab.send("/cheap", &paid);
        until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
        lab.mpp.recover().await.unwrap();
        assert_eq!(gauges(), ["mpp_claims_open{} 1", "mpp_settlements_running{} 1"]);
        lab.network.turnstile.add_permits(9);
        request.await.unwrap().assert_ok();
        // The recorder tells what changed since it was asked last.
        assert_eq!(gauges(), ["mpp_settlements_running{} -1"]);

        lab.bench.failures.store(9, Ordering::SeqCst);
        let (paid, _) = lab.pay("/flaky", "tx2").await;
        lab.mpp.recover().await.unwrap();
        assert_eq!(gauges(), ["mpp_undelivered_payments{} 1"]);
        for _ in 0..3 {
            lab.client.get("/flaky").presenting(&paid).await;
        }
        lab.mpp.recover().await.unwrap();
        let lines = shown(&snapshotter);
        assert!(lines.contains(&"mpp_refunds_due_total{} 1".to_owned()), "{lines:?}");
        assert!(lines.contains(&"mpp_refunds_due{} 1".to_owned()), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_tell_how_full_the_store_is() {
        let (lab, snapshotter) = metered(Network::new("tempo"));
        let room = || -> Vec<_> {
            shown(&snapshotter).into_iter().filter(|line| line.contains("mpp_store_")).collect()
        };
        lab.network.will(Script::LoseRequest);
        lab.pay("/cheap", "tx1").await;
        lab.mpp.recover().await.unwrap();
        assert_eq!(
            room(),
            [
                "mpp_store_keys_limit{quota=free} 100000",
                "mpp_store_keys_limit{quota=paid} 1000000",
                // The entry of a payment that nobody knows the end of, and the claim of its proof.
                "mpp_store_keys{quota=free} 2",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_count_refunds_by_their_end_and_none_that_is_pending() {
        let recorder = DebuggingRecorder::new();
        let keeping = |builder: mpp::Builder| builder.ledger_retention(Duration::from_secs(3600));
        let lab = ::metrics::with_local_recorder(&recorder, || Lab::on(Network::new("tempo"), keeping));
        let snapshotter = recorder.snapshotter();
        let refunds = || -> Vec<_> {
            shown(&snapshotter).into_iter().filter(|line| line.starts_with("mpp_refunds_total")).collect()
        };
        lab.pay("/cheap", "tx1").await.1.assert_ok();
        settle_down().await;
        let sold = lab.mpp.ledger().page(&Query::new(), None).await.unwrap();
        let order = RefundOrder::rest(&sold.entries[0].sale);
        for (script, told) in [
            (Script::LoseRequest, &[][..]),
            (Script::Decline, &["mpp_refunds_total{outcome=failed} 1"]),
            (Script::Settle, &["mpp_refunds_total{outcome=refunded} 1"]),
        ] {
            *lab.network.refund.lock().unwrap() = script;
            lab.mpp.refund(&order).await.unwrap();
            assert_eq!(refunds(), told, "{script:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_count_what_a_slow_hook_was_not_told() {
        let recorder = DebuggingRecorder::new();
        let (open, door) = mpsc::channel::<()>();
        let slow = |builder: mpp::Builder| {
            builder.on_event(move |_| {
                door.recv().ok();
            })
        };
        let lab = ::metrics::with_local_recorder(&recorder, || Lab::on(Network::new("tempo"), slow));
        for _ in 0..1_100 {
            lab.client.get("/cheap").unpaid().await;
        }
        let dropped = lab.mpp.dropped_events();
        assert!(dropped > 0);
        let lines = shown(&recorder.snapshotter());
        assert!(lines.contains(&format!("mpp_events_dropped_total{{}} {dropped}")), "{lines:?}");
        drop(open);
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_tell_what_a_sponsor_may_still_spend() {
        let recorder = DebuggingRecorder::new();
        // Not only while it is built: that a method has a budget shows at the first recovery.
        let _installed = ::metrics::set_default_local_recorder(&recorder);
        let (lab, snapshotter) = (Lab::new(), recorder.snapshotter());
        lab.mpp.recover().await.unwrap();
        let sponsors = || -> Vec<_> {
            shown(&snapshotter).into_iter().filter(|line| line.contains("_sponsor_")).collect()
        };
        assert_eq!(sponsors(), [""; 0], "nobody sponsors, so there is no series");
        let budget = SponsorBudget { left: Amount::micros(12_500_000), total: Amount::whole(25) };
        *lab.network.budget.lock().unwrap() = Some(budget);
        lab.mpp.recover().await.unwrap();
        assert_eq!(
            sponsors(),
            ["mpp_sponsor_budget_left{method=tempo} 12.5", "mpp_sponsor_budget_total{method=tempo} 25"]
        );
    }
}

/// The operator is to hear of it, whatever becomes of the store's answer.
#[tokio::test(start_paused = true)]
async fn a_refund_is_told_as_due_though_the_answer_to_its_write_is_lost() {
    let (tell, events) = mpsc::channel();
    let lab = Lab::on(Network::new("tempo"), move |builder| {
        builder.max_runs(1).on_event(move |event| drop(tell.send(event.clone())))
    });
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, failed) = lab.pay("/flaky", "tx1").await;
    assert_eq!(failed.status(), 500);
    settle_down().await;
    lab.store.after(1, Fault::LosesAnswer);
    lab.client.get("/flaky").presenting(&paid).await.assert_problem("unavailable");
    lab.mpp.recover().await.unwrap();
    let due = std::iter::from_fn(|| events.recv_timeout(Duration::from_secs(5)).ok())
        .any(|event| matches!(event, Event::RefundDue { runs: 1, .. }));
    assert!(due);
}
