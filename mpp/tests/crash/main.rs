//! One payment, one delivery, whatever dies: servers that are stopped at every operation,
//! and storms of faults. With a method on a network the same harness runs in `interop/tests/stopped.rs`; real processes are
//! killed in `interop/tests/kill.rs`. The record of the long runs is `CRASH.md`.
#![cfg(feature = "testing")]

use mpp::method::sandbox::Wallet;
use mpp::method::{
    ClientMethod, CredentialCx, MethodCurrency, MethodProblem, Money, OfferCx, Proof, RefundCx,
    RefundOutcome, RefundPlan, Refunding, Rejection, ServerMethod, SettleCx, Settlement, Step, Verified,
};
use mpp::protocol::{Challenge, ChargeRequest, MethodName, Timestamp};
use mpp::routing::{Router, get};
use mpp::store::MemoryStore;
use mpp::testing::{Client, CrashBench, Process, Request, crash_safety, crash_storm, refund_safety};
use mpp::{Amount, Clock, Hold, Mpp, Paid, Sandbox};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How often a handler has run: no two runs say the same.
static RUNS: AtomicUsize = AtomicUsize::new(0);

fn run() -> String {
    format!("run {}", RUNS.fetch_add(1, Ordering::SeqCst))
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn charged(_: Paid) -> String {
    run()
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "success")]
async fn held(_: Paid<Hold>) -> String {
    run()
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), replay = "response")]
async fn replayed(_: Paid) -> String {
    run()
}

/// Play money, whose network is a store that survives every process.
struct PlayMoney {
    path: &'static str,
    key: Key,
    wallet: Wallet,
    books: Arc<MemoryStore>,
    signed: AtomicU64,
}

impl PlayMoney {
    fn at(path: &'static str) -> Self {
        Self {
            path,
            key: Key::None,
            wallet: Wallet::from_seed([7; 32]),
            books: Arc::default(),
            signed: AtomicU64::new(0),
        }
    }
}

/// Whether requests have an `Idempotency-Key`.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    None,
    OfThePayment,
}

impl CrashBench for PlayMoney {
    type Method = Sandbox;

    async fn method(&self, process: &Process, clock: Arc<dyn Clock>) -> Sandbox {
        let sandbox = Sandbox::new().with_store(process.store(self.books.clone())).with_clock(clock);
        sandbox.account(&self.wallet.did(), Amount::whole(1_000_000)).refunds()
    }

    fn client(&self, mpp: Mpp) -> Client {
        let router = Router::new()
            .route("/charged", get(charged).post(charged))
            .route("/held", get(held))
            .route("/replayed", get(replayed));
        Client::new(router.with_state(mpp))
    }

    fn request(&self, client: &Client, payment: &str) -> Request {
        match self.key {
            Key::None => client.get(self.path),
            Key::OfThePayment => client.post(self.path).header("idempotency-key", payment),
        }
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        self.signed.fetch_add(1, Ordering::SeqCst);
        self.wallet.pay(challenge).await.expect("a wallet with money")
    }

    async fn payments(&self) -> u64 {
        let till = Sandbox::new().with_store(self.books.clone()).till().await.expect("the books");
        u64::try_from(till.to_base_units(6).expect("cents").get() / 50_000).expect("a few")
    }

    /// All that was signed for was paid, when something is given back.
    async fn refunds(&self) -> u64 {
        self.signed.load(Ordering::SeqCst) - self.payments().await
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix(1_800_000_000)
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_stopped_at_any_operation_of_a_charge_takes_the_money_once() {
    let report = crash_safety(&PlayMoney::at("/charged")).await;
    println!("{report}");
    report.assert_safe();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_stopped_at_any_operation_of_a_hold_takes_the_money_once() {
    let report = crash_safety(&PlayMoney::at("/held")).await;
    println!("{report}");
    report.assert_safe();
}

#[tokio::test(start_paused = true)]
async fn with_an_idempotency_key_every_success_that_was_committed_is_sent() {
    let report = crash_safety(&PlayMoney { key: Key::OfThePayment, ..PlayMoney::at("/charged") }).await;
    println!("{report}");
    report.assert_safe();
    assert_eq!(report.unsent(), 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn where_responses_are_replayed_every_success_that_was_committed_is_sent() {
    let report = crash_safety(&PlayMoney::at("/replayed")).await;
    println!("{report}");
    report.assert_safe();
    assert_eq!(report.unsent(), 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_stopped_at_any_operation_of_a_refund_gives_the_money_back_once() {
    let report = refund_safety(&PlayMoney::at("/charged")).await;
    println!("{report}");
    report.assert_safe();
    assert!(report.stops() > 30, "{report}");
}

/// The kit itself: a method that pays again whenever it is asked does not pass.
#[tokio::test(start_paused = true)]
async fn a_method_that_refunds_as_often_as_it_is_asked_is_found_out() {
    let report = refund_safety(&Odd(PlayMoney::at("/charged"), Habit::PaysAgain)).await;
    assert!(report.breaches().iter().any(|breach| breach.starts_with("never back")), "{report}");
}

/// The kit itself: an operation at which no refund was ever stopped is named.
#[tokio::test(start_paused = true)]
async fn an_operation_of_a_refund_at_which_nobody_is_stopped_is_found_out() {
    let report = refund_safety(&Odd(PlayMoney::at("/charged"), Habit::CallsWhatNobodyElseDoes)).await;
    let missing = |breach: &String| breach.starts_with("no run stopped before `network: run ");
    assert!(report.breaches().iter().any(missing), "{report}");
    assert!(report.breaches().iter().all(|breach| breach.starts_with("no run stopped ")), "{report}");
}

/// What a method does when it is asked to give back.
#[derive(Clone, Copy)]
enum Habit {
    PaysAgain,
    CallsWhatNobodyElseDoes,
}

struct Odd(PlayMoney, Habit);

impl CrashBench for Odd {
    type Method = OddMethod;

    async fn method(&self, process: &Process, clock: Arc<dyn Clock>) -> OddMethod {
        OddMethod(self.0.method(process, clock).await, self.1, process.clone())
    }

    fn client(&self, mpp: Mpp) -> Client {
        self.0.client(mpp)
    }

    fn request(&self, client: &Client, payment: &str) -> Request {
        self.0.request(client, payment)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        self.0.pay(challenge).await
    }

    async fn payments(&self) -> u64 {
        self.0.payments().await
    }

    async fn refunds(&self) -> u64 {
        self.0.refunds().await
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

struct OddMethod(Sandbox, Habit, Process);

impl ServerMethod for OddMethod {
    fn name(&self) -> &MethodName {
        ServerMethod::name(&self.0)
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        ServerMethod::currency(&self.0, name)
    }

    fn currencies(&self) -> Vec<String> {
        self.0.currencies()
    }

    fn money(&self) -> Money {
        self.0.money()
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        self.0.offer(cx)
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        self.0.verify(cx)
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        self.0.settle(cx)
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        self.0.resolve(cx)
    }

    fn refunding(&self) -> Refunding {
        self.0.refunding()
    }

    fn plan_refund<'a>(&'a self, cx: &'a RefundCx<'a>) -> Step<'a, Result<RefundPlan, MethodProblem>> {
        self.0.plan_refund(cx)
    }

    fn refund<'a>(&'a self, plan: &'a RefundPlan, now: Timestamp) -> Step<'a, RefundOutcome> {
        let mut plan = plan.clone();
        Step::boxed(async move {
            match self.1 {
                // Another refund each time, as without an idempotency key.
                Habit::PaysAgain => plan.0["refund"] = run().into(),
                Habit::CallsWhatNobodyElseDoes => drop(self.2.call(&run(), async {}).await),
            }
            self.0.refund(&plan, now).await
        })
    }
}

/// `MPP_CRASH_RUNS=10000` for more of them, `MPP_CRASH_SEED=n` for a certain one.
#[test]
fn in_a_storm_of_faults_the_money_moves_once() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("MPP_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MPP_CRASH_RUNS").unwrap_or(500),
    };
    let mut endings = BTreeMap::<_, u64>::new();
    let (mut stops, mut faults, mut breaches) = (0, 0, Vec::new());
    for seed in seeds.clone() {
        let bench = match seed % 4 {
            0 => PlayMoney::at("/charged"),
            1 => PlayMoney::at("/held"),
            2 => PlayMoney::at("/replayed"),
            _ => PlayMoney { key: Key::OfThePayment, ..PlayMoney::at("/charged") },
        };
        let path = bench.path;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let report = runtime.expect("a runtime").block_on(crash_storm(&bench, seed));
        stops += report.stops();
        faults += report.faults();
        *endings.entry((path, report.is_unsent(), report.is_afresh())).or_default() += 1;
        breaches.extend(report.breach().map(|_| report.to_string()));
    }
    println!(
        "{} storms, {stops} stops, {faults} other faults; {endings:?} (path, unsent, afresh)",
        seeds.count()
    );
    assert!(breaches.is_empty(), "{} of them; again with MPP_CRASH_SEED=n: {breaches:#?}", breaches.len());
}
