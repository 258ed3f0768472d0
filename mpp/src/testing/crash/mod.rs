//! Crash safety, as a test: a server that is stopped at every operation, and money that moves once all the same.
//!
//! [`crash_safety`] buys one thing again and again. Each time it stops the server at another operation of its store or
//! its network, before it is done and after, starts it again over what survives, and lets the client repeat its
//! credential; the servers that clean up after a dead one are stopped too. Then it counts the money.
//! [`crash_storm`] does the same with many faults at once, which follow from a seed.
//!
//! | file | what is there |
//! | --- | --- |
//! | `process.rs` | a process that can be stopped, and the names of its operations |
//! | `life.rs` | one purchase, across as many processes as it takes, and the verdict on it |
//! | `refund.rs` | a purchase that is given back by processes that are stopped |
//! | `storm.rs` | purchases with many faults, copies and replicas |

mod life;
mod process;
mod refund;
mod storm;

pub(super) use process::Fate;
pub use process::{CutOff, Process};
pub use refund::{RefundReport, refund_safety};
pub use storm::{StormReport, crash_storm};

use self::life::{Ending, Life, Restart, World};
use self::process::Coverage;
use crate::clock::{Clock, SystemClock};
use crate::method::{Proof, ServerMethod};
use crate::protocol::{Challenge, Timestamp};
use crate::server::Mpp;
use crate::testing::{Client, Request};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Something for sale, a payment method, and a payer: what [`crash_safety`] needs.
///
/// ```
/// use mpp::method::sandbox::Wallet;
/// use mpp::method::{ClientMethod, Proof};
/// use mpp::protocol::Challenge;
/// use mpp::routing::{Router, get};
/// use mpp::store::MemoryStore;
/// use mpp::testing::{Client, CrashBench, Process};
/// use mpp::{Amount, Clock, Mpp, Paid, Sandbox};
/// use std::sync::Arc;
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
/// async fn thing(_: Paid) -> &'static str {
///     "the thing"
/// }
///
/// struct PlayMoney {
///     wallet: Wallet,
///     /// The network of play money: it survives every process.
///     books: Arc<MemoryStore>,
/// }
///
/// impl CrashBench for PlayMoney {
///     type Method = Sandbox;
///
///     async fn method(&self, process: &Process, clock: Arc<dyn Clock>) -> Sandbox {
///         let sandbox = Sandbox::new().with_store(process.store(self.books.clone())).with_clock(clock);
///         sandbox.account(&self.wallet.did(), Amount::whole(1_000_000))
///     }
///
///     fn client(&self, mpp: Mpp) -> Client {
///         Client::new(Router::new().route("/thing", get(thing)).with_state(mpp))
///     }
///
///     async fn pay(&self, challenge: &Challenge) -> Proof {
///         self.wallet.pay(challenge).await.expect("a wallet with money")
///     }
///
///     async fn payments(&self) -> u64 {
///         let till = Sandbox::new().with_store(self.books.clone()).till().await.expect("the books");
///         u64::try_from(till.to_base_units(6).expect("cents").get() / 50_000).expect("a few")
///     }
/// }
/// ```
pub trait CrashBench: Send + Sync {
    /// The method that takes the money.
    type Method: ServerMethod;

    /// The method in this process: the configuration and network it always has, and nothing in memory. Every call to that
    /// network has to go through `process`, so that it can be stopped there.
    fn method(&self, process: &Process, clock: Arc<dyn Clock>) -> impl Future<Output = Self::Method> + Send;

    /// A client of what is for sale under this configuration, at a price this method alone takes.
    fn client(&self, mpp: Mpp) -> Client;

    /// The request that is paid for; `payment` is the same in all its repetitions, and no other's.
    fn request(&self, client: &Client, _payment: &str) -> Request {
        client.get("/thing")
    }

    /// Answers a challenge honestly, from money nobody has spent yet.
    fn pay(&self, challenge: &Challenge) -> impl Future<Output = Proof> + Send;

    /// How often the price has been paid so far, counted where the money is.
    fn payments(&self) -> impl Future<Output = u64> + Send;

    /// How often the price has gone back so far, counted where the money is; for [`refund_safety`], which needs a method that
    /// is configured for refunds.
    fn refunds(&self) -> impl Future<Output = u64> + Send {
        std::future::ready(0)
    }

    /// The network's time at the start.
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Lets the network's time go on by this much. By default nothing happens.
    fn wait(&self, _by: Duration) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// How far second crashes go.
    fn depth(&self) -> Depth {
        Depth::EveryRecovery
    }
}

/// At which operations those servers are stopped that clean up after a dead one.
///
/// ```
/// assert_ne!(mpp::testing::Depth::EveryRecovery, mpp::testing::Depth::NewOperations);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// At every operation of every recovery that differs from the others.
    EveryRecovery,
    /// At the operations nobody was stopped at yet: for a network that takes its time.
    NewOperations,
}

/// Stops a server at every operation of a paid request, and at those of its recovery, before and after each; the client
/// repeats its credential until it is answered. In every run money has to move exactly once.
///
/// Runs on a tokio runtime with time enabled.
///
/// ```
/// # use mpp::method::sandbox::Wallet;
/// # use mpp::method::{ClientMethod, Proof};
/// # use mpp::protocol::Challenge;
/// # use mpp::routing::{Router, get};
/// # use mpp::store::MemoryStore;
/// # use mpp::testing::{Client, CrashBench, Process};
/// # use mpp::{Amount, Clock, Mpp, Paid, Sandbox};
/// # use std::sync::Arc;
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
/// # async fn thing(_: Paid) -> &'static str { "the thing" }
/// # struct PlayMoney { wallet: Wallet, books: Arc<MemoryStore> }
/// # impl CrashBench for PlayMoney {
/// #     type Method = Sandbox;
/// #     async fn method(&self, process: &Process, clock: Arc<dyn Clock>) -> Sandbox {
/// #         let sandbox = Sandbox::new().with_store(process.store(self.books.clone())).with_clock(clock);
/// #         sandbox.account(&self.wallet.did(), Amount::whole(1_000_000))
/// #     }
/// #     fn client(&self, mpp: Mpp) -> Client { Client::new(Router::new().route("/thing", get(thing)).with_state(mpp)) }
/// #     async fn pay(&self, challenge: &Challenge) -> Proof { self.wallet.pay(challenge).await.unwrap() }
/// #     async fn payments(&self) -> u64 {
/// #         let till = Sandbox::new().with_store(self.books.clone()).till().await.unwrap();
/// #         (till.to_base_units(6).unwrap().get() / 50_000) as u64
/// #     }
/// # }
/// use mpp::testing::crash_safety;
///
/// # #[tokio::main]
/// # async fn main() {
/// let report = crash_safety(&PlayMoney { wallet: Wallet::generate(), books: Arc::default() }).await;
/// report.assert_safe();
/// println!("{report}"); // the runs, and every operation a process was stopped at
/// # }
/// ```
pub async fn crash_safety<B: CrashBench>(bench: &B) -> CrashReport {
    let world = World::new(bench);
    let mut report = CrashReport::default();
    // The first purchase may open accounts on the network, which no other does.
    if let Err(breach) = world.live(&Plan::WHOLE).await.verdict {
        report.breaches.push(format!("{breach} (without a stop)"));
        return report;
    }
    let mut plans = Plans::default();
    while let Some(plan) = plans.queue.pop_front() {
        if bench.depth() == Depth::NewOperations && plan.is_superfluous(&report.coverage) {
            continue;
        }
        let life = world.another().live(&plan).await;
        for process in &life.processes {
            report.coverage.note(process);
        }
        plans.follow(&plan, &life, bench.depth(), &report.coverage);
        report.take(&plan, life);
    }
    report.breaches.extend(report.coverage.left_out());
    report
}

/// Where the processes of one run are stopped, one after the other; the last one is not.
#[derive(Debug, Clone)]
struct Plan {
    stops: Vec<Stop>,
    restart: Restart,
}

/// An operation, by its name and how many of that name came before it: a node may be asked more or less often for news.
#[derive(Debug, Clone)]
struct Stop {
    name: String,
    nth: usize,
    fate: Fate,
}

impl Plan {
    const WHOLE: Self = Self { stops: Vec::new(), restart: Restart::ByClient };

    /// Whether a second crash has been made elsewhere since this was planned.
    fn is_superfluous(&self, covered: &Coverage) -> bool {
        self.stops.len() > 1 && self.stops.last().is_some_and(|stop| covered.has(&stop.name, stop.fate))
    }
}

/// What is still to be tried.
struct Plans {
    queue: VecDeque<Plan>,
    /// Recoveries that were taken apart.
    recoveries: BTreeSet<Vec<String>>,
    /// How often a stop at an operation was tried, by its name and whether after it.
    tried: BTreeMap<(String, bool), usize>,
}

impl Default for Plans {
    fn default() -> Self {
        Self { queue: [Plan::WHOLE].into(), recoveries: BTreeSet::new(), tried: BTreeMap::new() }
    }
}

impl Plans {
    /// What a life shows that has to be stopped too.
    fn follow(&mut self, plan: &Plan, life: &Life, depth: Depth, covered: &Coverage) {
        let Some(last) = life.processes.last().filter(|process| stopped_at(process).is_none()) else {
            return;
        };
        let names = last.operations();
        // A recovery that was met before holds nothing new.
        let fresh = plan.stops.len() != 1 || self.recoveries.insert(names.clone());
        let all = plan.stops.is_empty() || (plan.stops.len() == 1 && fresh && depth == Depth::EveryRecovery);
        let mut before = BTreeMap::<String, usize>::new();
        for (at, name) in names.into_iter().enumerate() {
            let nth = before.entry(name.clone()).or_default();
            for fate in [Fate::DiesBefore, Fate::DiesAfter] {
                let tried = self.tried.entry((name.clone(), fate == Fate::DiesAfter)).or_default();
                if !all
                    && (covered.has(&name, fate) || *tried >= MOST_TRIES || plan.stops.len() >= MOST_STOPS)
                {
                    continue;
                }
                *tried += 1;
                let mut stops = plan.stops.clone();
                stops.push(Stop { name: name.clone(), nth: *nth, fate });
                let restarts = match (plan.stops.is_empty(), depth) {
                    (true, Depth::EveryRecovery) => &BOTH[..],
                    // In turns, for the sake of time.
                    (true, Depth::NewOperations) => std::slice::from_ref(&BOTH[at % 2]),
                    (false, _) => std::slice::from_ref(&plan.restart),
                };
                let plans = restarts.iter().map(|restart| Plan { stops: stops.clone(), restart: *restart });
                self.queue.extend(plans);
            }
            *nth += 1;
        }
    }
}

const BOTH: [Restart; 2] = [Restart::ByClient, Restart::BySweeper];
/// An operation that only comes now and then may be missed.
const MOST_TRIES: usize = 6;
/// How many processes of one run are stopped.
const MOST_STOPS: usize = 3;

/// What [`crash_safety`] found.
///
/// The example is [there](crash_safety).
#[derive(Debug, Clone, Default)]
#[must_use = "a report fails no test until it is asserted"]
pub struct CrashReport {
    coverage: Coverage,
    runs: usize,
    stops: usize,
    endings: BTreeMap<Ending, usize>,
    breaches: Vec<String>,
}

impl CrashReport {
    fn take(&mut self, plan: &Plan, life: Life) {
        self.runs += 1;
        self.stops += life.processes.iter().filter_map(stopped_at).count();
        match life.verdict {
            Ok(ending) => *self.endings.entry(ending).or_default() += 1,
            Err(breach) => {
                let at: Vec<_> = life.processes.iter().filter_map(stopped_at).collect();
                self.breaches.push(format!("{breach} (stopped {}; {:?})", at.join(", then "), plan.restart));
            }
        }
    }

    /// How many purchases there were.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// How often a process was stopped.
    pub fn stops(&self) -> usize {
        self.stops
    }

    /// Runs in which the process died after the success was committed and before it was sent, so that the credential
    /// alone was refused as used. An `Idempotency-Key` or `replay = "response"` makes them none.
    pub fn unsent(&self) -> usize {
        self.endings.get(&Ending::Unsent).copied().unwrap_or_default()
    }

    /// Runs in which the credential was refused for good, no money had moved, and a new one was paid.
    pub fn afresh(&self) -> usize {
        self.endings.get(&Ending::Afresh).copied().unwrap_or_default()
    }

    /// What went wrong: money that moved twice or for nothing, and operations at which nothing was ever stopped.
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

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs, {} stops:", self.runs, self.stops)?;
        for (ending, count) in &self.endings {
            write!(f, " {count} {ending};")?;
        }
        write!(f, " {} breaches", self.breaches.len())?;
        for breach in self.breaches.iter().take(MOST_BREACHES) {
            write!(f, "\n  - {breach}")?;
        }
        for (name, [before, after]) in self.coverage.iter() {
            write!(f, "\n  {before:>5} before, {after:>5} after  {name}")?;
        }
        Ok(())
    }
}

/// Of something that is broken everywhere a few examples say enough.
const MOST_BREACHES: usize = 12;

/// The operation at which a process died.
fn stopped_at(process: &Process) -> Option<String> {
    let trace = process.trace();
    trace.iter().enumerate().find_map(|(number, operation)| match operation.fate {
        Fate::DiesBefore => Some(format!("before {number} `{}`", operation.name)),
        Fate::DiesAfter => Some(format!("after {number} `{}`", operation.name)),
        _ => None,
    })
}
