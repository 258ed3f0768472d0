//! One refund, across as many processes as it takes: something is sold, given back by a process that is stopped, carried on
//! by one that may be stopped, too, and in the end ordered again until it is back.

use super::life::{PAUSE, Restart, World};
use super::process::{Coverage, Fate, Process};
use super::{BOTH, CrashBench, Depth, Plan, Stop, stopped_at};
use crate::server::observe::Sale;
use crate::server::refund::{RefundOrder, RefundState};
use crate::server::{Builder, Mpp, ledger};
use crate::testing::Client;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Longer than all the patience here.
const KEPT: Duration = Duration::from_secs(100 * 24 * 60 * 60);
/// How many pauses a refund may be pending.
const PATIENCE: usize = 30;
/// How many processes of one run are stopped.
const MOST_STOPS: usize = 2;

/// What [`refund_safety`] found.
///
/// The example is [there](refund_safety).
#[derive(Debug, Clone, Default)]
#[must_use = "a report fails no test until it is asserted"]
pub struct RefundReport {
    coverage: Coverage,
    runs: usize,
    stops: usize,
    breaches: Vec<String>,
}

impl RefundReport {
    /// How many refunds there were.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// How often a process was stopped.
    pub fn stops(&self) -> usize {
        self.stops
    }

    /// What went wrong: money that went back twice or never, a ledger that says something else, and operations at which
    /// nothing was ever stopped.
    pub fn breaches(&self) -> &[String] {
        &self.breaches
    }

    /// Asserts that nothing went wrong.
    ///
    /// # Panics
    /// With the list of what did.
    #[track_caller]
    pub fn assert_safe(&self) {
        assert!(self.breaches.is_empty(), "{self}");
    }
}

impl fmt::Display for RefundReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refunds, {} stops, {} breaches", self.runs, self.stops, self.breaches.len())?;
        for breach in &self.breaches {
            write!(f, "\n  - {breach}")?;
        }
        for (name, [before, after]) in self.coverage.iter() {
            write!(f, "\n  {before:>5} before, {after:>5} after  {name}")?;
        }
        Ok(())
    }
}

/// Sells something, and stops the process that gives the money back at every operation of its store and its network,
/// before and after each, and the next one, which recovers or is told again, at whatever nobody was stopped at yet. Then the
/// order is repeated until it is back. In every run the money has to go back exactly once, and the ledger has to say so.
///
/// [`CrashBench::refunds`] counts, so the bench has to have it, and a method that is configured for refunds.
///
/// ```
/// # use mpp::method::sandbox::Wallet;
/// # use mpp::method::{ClientMethod, Proof};
/// # use mpp::protocol::{Challenge, Timestamp};
/// # use mpp::routing::{Router, get};
/// # use mpp::store::MemoryStore;
/// # use mpp::testing::{Client, CrashBench, Process};
/// # use mpp::{Amount, Clock, Mpp, Paid, Sandbox};
/// # use std::sync::Arc;
/// # use std::sync::atomic::{AtomicU64, Ordering};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
/// # async fn thing(_: Paid) -> &'static str { "the thing" }
/// # struct PlayMoney { wallet: Wallet, books: Arc<MemoryStore>, signed: AtomicU64 }
/// # impl CrashBench for PlayMoney {
/// #     type Method = Sandbox;
/// #     async fn method(&self, process: &Process, clock: Arc<dyn Clock>) -> Sandbox {
/// #         let sandbox = Sandbox::new().with_store(process.store(self.books.clone())).with_clock(clock);
/// #         sandbox.account(&self.wallet.did(), Amount::whole(1_000_000)).refunds()
/// #     }
/// #     fn client(&self, mpp: Mpp) -> Client { Client::new(Router::new().route("/thing", get(thing)).with_state(mpp)) }
/// #     async fn pay(&self, challenge: &Challenge) -> Proof {
/// #         self.signed.fetch_add(1, Ordering::SeqCst);
/// #         self.wallet.pay(challenge).await.unwrap()
/// #     }
/// #     async fn payments(&self) -> u64 {
/// #         let till = Sandbox::new().with_store(self.books.clone()).till().await.unwrap();
/// #         (till.to_base_units(6).unwrap().get() / 50_000) as u64
/// #     }
/// #     async fn refunds(&self) -> u64 { self.signed.load(Ordering::SeqCst) - self.payments().await }
/// # }
/// use mpp::testing::refund_safety;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// # let wallet = Wallet::generate();
/// let report = refund_safety(&PlayMoney { wallet, books: Arc::default(), signed: AtomicU64::new(0) }).await;
/// report.assert_safe();
/// # }
/// ```
pub async fn refund_safety<B: CrashBench>(bench: &B) -> RefundReport {
    let world = World::new(bench);
    let mut report = RefundReport::default();
    let mut plans = VecDeque::from([Plan::WHOLE]);
    while let Some(plan) = plans.pop_front() {
        // What a second stop was planned for may have been met meanwhile.
        if plan.is_superfluous(&report.coverage) {
            continue;
        }
        let mut processes = Vec::new();
        let verdict = give_back(&world.another(), &plan, &mut processes).await;
        let Plan { stops, restart } = plan;
        processes.iter().for_each(Process::kill);
        report.runs += 1;
        report.stops += processes.iter().filter_map(stopped_at).count();
        for process in &processes {
            report.coverage.note(process);
        }
        if let Err(breach) = verdict {
            let at: Vec<_> = processes.iter().filter_map(stopped_at).collect();
            report.breaches.push(format!("{breach} (stopped {}; {restart:?})", at.join(", then ")));
        }
        // Whatever the process after the last stop did is to be stopped at, too.
        let Some(next) = processes.get(stops.len()).filter(|_| stops.len() < MOST_STOPS) else { continue };
        let names = next.operations();
        for (at, name) in names.iter().enumerate() {
            let nth = names[..at].iter().filter(|before| *before == name).count();
            for fate in [Fate::DiesBefore, Fate::DiesAfter] {
                let stop = Stop { name: name.clone(), nth, fate };
                let stops: Vec<_> = stops.iter().cloned().chain([stop]).collect();
                if stops.len() == 1 {
                    let restarts = match bench.depth() {
                        Depth::EveryRecovery => &BOTH[..],
                        // In turns, for the sake of time.
                        Depth::NewOperations => std::slice::from_ref(&BOTH[at % 2]),
                    };
                    plans.extend(
                        restarts.iter().map(|restart| Plan { stops: stops.clone(), restart: *restart }),
                    );
                } else if !report.coverage.has(name, fate) {
                    plans.push_back(Plan { stops, restart });
                }
            }
        }
    }
    if report.stops == 0 {
        report.breaches.push("no process was stopped".to_owned());
    }
    report.breaches.extend(report.coverage.left_out());
    report
}

/// One sale and its refund.
async fn give_back<B: CrashBench>(
    world: &World<'_, B>,
    plan: &Plan,
    processes: &mut Vec<Process>,
) -> Result<(), String> {
    let sale = sell(world).await?;
    let before = world.bench.refunds().await;
    let order = RefundOrder::rest(&sale);
    for stop in plan.stops.iter().cloned().map(Some).chain([None]) {
        let process = Process::stopping(stop);
        let first = processes.is_empty();
        processes.push(process.clone());
        let (mpp, _) = world.server_with(&process, keeping).await;
        let work = async {
            // The first one is told to, the others find it or are told again.
            if first || plan.restart == Restart::ByClient {
                mpp.refund(&order).await.map(drop).map_err(|error| format!("not ordered: {error}"))?;
            } else {
                mpp.recover().await.map(drop).map_err(|error| format!("`recover` failed: {error}"))?;
            }
            process.quiet().await;
            Ok::<_, String>(())
        };
        tokio::select! {
            biased;
            done = work => done?,
            () = process.death() => {}
        }
        world.pause(PAUSE).await;
    }
    let process = Process::immortal();
    let (mpp, _) = world.server_with(&process, keeping).await;
    processes.push(process);
    until_back(world, &mpp, &order).await?;
    mpp.drain();
    mpp.drained().await;
    let back = world.bench.refunds().await - before;
    if back != 1 {
        return Err(format!("the money went back {back} times"));
    }
    // Not in a process of the refund: that it is looked at is no part of it.
    let (auditor, _) = world.server_with(&Process::immortal(), keeping).await;
    let entry = entries(&auditor).await?.pop().ok_or("the payment has left the ledger")?;
    match entry.refunded() {
        Some(back) if back == sale.amount => Ok(()),
        Some(back) => Err(format!("the ledger says {back} of {} is back", sale.amount)),
        None => Err("the refunds of the payment cannot be read".to_owned()),
    }
}

/// Something that was paid for and delivered.
async fn sell<B: CrashBench>(world: &World<'_, B>) -> Result<Sale, String> {
    let ticket = world.ticket().await;
    let (mpp, client): (Mpp, Client) = world.server_with(&Process::immortal(), keeping).await;
    world.until_answered(&client, &ticket).await?;
    mpp.drain();
    mpp.drained().await;
    let entry = entries(&mpp).await?.pop().ok_or("what was sold is not in the ledger")?;
    Ok(entry.sale)
}

async fn entries(mpp: &Mpp) -> Result<Vec<ledger::LedgerEntry>, String> {
    let page = mpp.ledger().page(&ledger::Query::new(), None).await;
    page.map(|page| page.entries).map_err(|error| format!("the ledger: {error}"))
}

/// Orders it again as an operator would, until it is back.
async fn until_back<B: CrashBench>(
    world: &World<'_, B>,
    mpp: &Mpp,
    order: &RefundOrder,
) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..PATIENCE {
        match mpp.refund(order).await {
            Ok(refund) if matches!(refund.state, RefundState::Refunded { .. }) => return Ok(()),
            Ok(refund) => last = format!("{:?}", refund.state),
            Err(error) => last = error.to_string(),
        }
        world.pause(PAUSE).await;
    }
    Err(format!("never back: {last}"))
}

fn keeping(builder: Builder) -> Builder {
    builder.ledger_retention(KEPT)
}
