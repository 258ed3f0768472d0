//! `settle` and `hold` that are stopped before they end, and faults of the network. However they end, the money has
//! moved once or not at all, and another process finds out which.

use super::stand::{Stand, Ticket};
use super::{Found, MethodBench};
use crate::method::{Held, Holding, ServerMethod, Settlement, SettlementPlan};
use std::pin::Pin;
use std::task::{Context, Poll};

/// When a call is stopped: at which of its polls, counted from zero. Every early one, because a method without a network
/// takes a step at each; then rarer ones, because a method with a network is polled on while its answer travels.
fn points(most: usize) -> impl Iterator<Item = usize> {
    let all = (0..EVERY).chain((0..DOUBLINGS).map(|doublings| EVERY << doublings));
    all.step_by((EVERY + DOUBLINGS).div_ceil(most.max(1)))
}

const EVERY: usize = 24;
const DOUBLINGS: usize = 12;

/// A call whose answer travels may be over sooner this time than the last: so many in a row that ended before they could be
/// stopped say that it takes no longer.
#[derive(Default)]
struct Ended(usize);

impl Ended {
    /// Whether there is nothing left to stop.
    fn after(&mut self, met: Met) -> bool {
        self.0 = if met == Met::Stopped { 0 } else { self.0 + 1 };
        self.0 == 4
    }
}

/// What a stop met with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// A call under way.
    Stopped,
    /// One that was over.
    Over,
}

/// What becomes of a call that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// It is gone, with its process.
    Dropped,
    /// Its process was suspended, and goes on after another one has looked.
    Resumed,
}

pub(super) async fn stopped_settlements<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    for stopped in [Stopped::Dropped, Stopped::Resumed] {
        let mut ended = Ended::default();
        for point in points(stand.bench.most_stops()) {
            let ticket = stand.ticket().await;
            let plan = stand.verified(&ticket).await.plan;
            let what = format!("`settle` {stopped:?} at its poll number {point}").to_lowercase();
            if ended.after(settle_stopped(stand, &ticket, &plan, stopped, point, &what, &mut found).await) {
                break;
            }
        }
    }
    if stand.method.holding() == Holding::Supported {
        let mut ended = Ended::default();
        for point in points(stand.bench.most_stops()) {
            let ticket = stand.ticket().await;
            let verified = stand.verified(&ticket).await;
            let held = stand.method.hold(&ticket.settle(&verified.plan, stand.now())).await;
            let Held::Held(plan) = held else {
                found.push(format!("an honest payment is not held: {held:?}"));
                break;
            };
            let what = format!("a capture dropped at its poll number {point}");
            if ended.after(
                settle_stopped(stand, &ticket, &plan, Stopped::Dropped, point, &what, &mut found).await,
            ) {
                break;
            }
        }
    }
    found
}

async fn settle_stopped<B: MethodBench>(
    stand: &Stand<'_, B>,
    ticket: &Ticket,
    plan: &SettlementPlan,
    stopped: Stopped,
    point: usize,
    what: &str,
    found: &mut Found,
) -> Met {
    let cx = ticket.settle(plan, stand.now());
    let mut settling = Box::pin(stand.method.settle(&cx));
    if (UpTo { future: settling.as_mut(), polls: point }).await.is_some() {
        return Met::Over;
    }
    stand.stopped();
    match stopped {
        Stopped::Dropped => {
            drop(settling);
            tells_the_truth(stand, ticket, plan, what, found).await;
        }
        Stopped::Resumed => {
            let first = stand.resolved(ticket, plan, found).await;
            // Whatever it says now is of no interest to anybody, only what it does.
            drop(tokio::time::timeout(LATE, settling).await);
            stand.wait().await;
            let payments = stand.since(ticket).await.payments;
            match first {
                Some(Err(_)) if payments != Some(0) => {
                    found.push(format!(
                        "{what}: declined by `resolve`, then {payments:?} payments when it went on"
                    ));
                }
                Some(Ok(_)) if payments != Some(1) => {
                    found.push(format!(
                        "{what}: settled by `resolve`, then {payments:?} payments when it went on"
                    ));
                }
                _ => {}
            }
        }
    }
    Met::Stopped
}

/// Another process finds out, and then the payer tries again.
async fn tells_the_truth<B: MethodBench>(
    stand: &Stand<'_, B>,
    ticket: &Ticket,
    plan: &SettlementPlan,
    what: &str,
    found: &mut Found,
) {
    let Some(outcome) = stand.resolved(ticket, plan, found).await else { return };
    // What was under way has arrived by now.
    stand.wait().await;
    let payments = stand.since(ticket).await.payments;
    let expected = Some(u128::from(outcome.is_ok()));
    if payments != expected {
        found
            .push(format!("{what}: `resolve` says {}, {payments:?} payments arrived", said(outcome.is_ok())));
        return;
    }
    if outcome.is_ok() {
        if let Some(Err(_)) = stand.resolved(ticket, plan, found).await {
            found.push(format!("{what}: settled, and declined when asked again"));
        }
        return;
    }
    // The claims were released: the same credential may come again.
    let again = stand.another_method().await;
    let Ok(verified) = again.verify(&ticket.cx(stand.now())).await else { return };
    let cx = ticket.settle(&verified.plan, stand.now());
    let settled = match again.settle(&cx).await {
        Settlement::Settled(_) => Some(true),
        Settlement::Declined(_) => Some(false),
        Settlement::Unknown { .. } => {
            stand.resolved(ticket, &verified.plan, found).await.map(|outcome| outcome.is_ok())
        }
    };
    stand.wait().await;
    let payments = stand.since(ticket).await.payments;
    if let Some(settled) = settled
        && payments != Some(u128::from(settled))
    {
        found.push(format!("{what}: tried again it is {}, {payments:?} payments arrived", said(settled)));
    }
}

pub(super) async fn stopped_holds<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    if stand.method.holding() == Holding::Unsupported {
        return found;
    }
    let mut ended = Ended::default();
    for point in points(stand.bench.most_stops()) {
        let ticket = stand.ticket().await;
        let plan = stand.verified(&ticket).await.plan;
        let cx = ticket.settle(&plan, stand.now());
        let mut holding = Box::pin(stand.method.hold(&cx));
        let over = (UpTo { future: holding.as_mut(), polls: point }).await.is_some();
        drop(holding);
        if ended.after(if over { Met::Over } else { Met::Stopped }) {
            break;
        }
        if over {
            continue;
        }
        stand.stopped();
        given_back(stand, &ticket, &plan, &format!("`hold` dropped at its poll number {point}"), &mut found)
            .await;
    }
    for fault in stand.bench.faults() {
        let ticket = stand.ticket().await;
        let plan = stand.verified(&ticket).await.plan;
        stand.bench.inject(fault).await;
        match stand.method.hold(&ticket.settle(&plan, stand.now())).await {
            Held::Held(plan) => {
                given_back(stand, &ticket, &plan, &format!("`hold` with {fault}"), &mut found).await
            }
            Held::Declined(_) => {}
            Held::Unknown { .. } => {
                given_back(stand, &ticket, &plan, &format!("`hold` with {fault}"), &mut found).await;
            }
        }
        if stand.since(&ticket).await.payments != Some(0) {
            found.push(format!("a hold with {fault} took money"));
        }
    }
    found
}

/// From the plan that is journaled, a hold nobody knows the end of can be released, and then takes nothing.
async fn given_back<B: MethodBench>(
    stand: &Stand<'_, B>,
    ticket: &Ticket,
    plan: &SettlementPlan,
    what: &str,
    found: &mut Found,
) {
    let other = stand.another_method().await;
    let mut last = None;
    for _ in 0..super::stand::PATIENCE {
        match other.release(&ticket.settle(plan, stand.now())).await {
            Ok(()) => {
                last = None;
                break;
            }
            Err(rejection) => last = Some(rejection),
        }
        stand.wait().await;
    }
    if let Some(rejection) = last {
        found.push(format!("{what} is never released: {rejection:?}"));
    }
    if stand.since(ticket).await.payments != Some(0) {
        found.push(format!("{what} took money"));
    }
}

pub(super) async fn faults<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    for fault in stand.bench.faults() {
        let ticket = stand.ticket().await;
        let plan = stand.verified(&ticket).await.plan;
        stand.bench.inject(fault).await;
        let settled = stand.method.settle(&ticket.settle(&plan, stand.now())).await;
        let what = format!("`settle` with {fault}");
        if let Settlement::Unknown { .. } = settled {
            tells_the_truth(stand, &ticket, &plan, &what, &mut found).await;
        } else {
            stand.wait().await;
            let (settled, payments) =
                (matches!(settled, Settlement::Settled(_)), stand.since(&ticket).await.payments);
            if payments != Some(u128::from(settled)) {
                found.push(format!("{what} is {}, {payments:?} payments arrived", said(settled)));
            }
        }

        // And as a client of the server sees it.
        let ticket = stand.ticket().await;
        stand.bench.inject(fault).await;
        let first = stand.present(&stand.client, &ticket.header()).await;
        if first.status() != 402 && first.status() != 200 && !first.challenges().offers.is_empty() {
            found.push(format!("{fault}: {} with a challenge", first.status()));
        }
        if first.status() == 402 && stand.since(&ticket).await.payments != Some(0) {
            found.push(format!("{fault}: a 402 after money moved; the client would pay again"));
        }
        let status = match first.status().as_u16() {
            409 | 503 => {
                stand.wait().await;
                stand.until_answered(&stand.client, &ticket.header(), &mut found).await.as_u16()
            }
            status => status,
        };
        let payments = stand.since(&ticket).await.payments;
        if payments != Some(u128::from(status == 200)) {
            found.push(format!("{fault}: HTTP {status} in the end, {payments:?} payments arrived"));
        }
    }
    found
}

fn said(settled: bool) -> &'static str {
    if settled { "settled" } else { "declined" }
}

/// Polls a future up to its n-th poll that yields nothing, counted from zero, and as often as others get their turn in
/// between; `None` if it got there.
struct UpTo<'a, F> {
    future: Pin<&'a mut F>,
    polls: usize,
}

impl<F: Future> Future for UpTo<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => {
                self.polls -= 1;
                // A call to a network waits once from here, and is at many places meanwhile.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// A bound for a call that went on too late, not a time anything takes.
const LATE: std::time::Duration = std::time::Duration::from_secs(30);
