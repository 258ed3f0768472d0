//! One purchase with many faults: the store and the network refuse, lose answers, are down for a while and take their time, copies of
//! the credential come at once and to several replicas, clients hang up, processes die. All of it follows from a seed.

use super::CrashBench;
use super::life::{Ending, PAUSE, Ticket, World};
use super::process::{Fate, Process};
use crate::server::Mpp;
use crate::testing::{Client, Response};
use axum::http::StatusCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt;
use std::time::Duration;
use tokio::task::JoinSet;

/// Buys one thing in a storm of faults that follows from `seed`; then the storm is over, and the client repeats its
/// credential until it is answered. The same checks as [`crash_safety`](super::crash_safety).
///
/// Runs on a tokio runtime with time enabled. On one of a single thread whose time is paused, and with a network that is in
/// the same process, the same seed gives the same run.
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
/// use mpp::testing::crash_storm;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let bench = PlayMoney { wallet: Wallet::generate(), books: Arc::default() };
/// crash_storm(&bench, 7).await.assert_safe();
/// # }
/// ```
pub async fn crash_storm<B: CrashBench>(bench: &B, seed: u64) -> StormReport {
    let world = World::new(bench);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut storm = Storm {
        world: &world,
        severity: rng.random_range(1..=4),
        rng,
        replicas: Vec::new(),
        processes: Vec::new(),
        success: None,
    };
    let verdict = storm.purchase().await;
    let fates = storm.processes.iter().flat_map(|process| process.trace().clone());
    let (mut stops, mut faults) = (0, 0);
    for operation in fates {
        match operation.fate {
            Fate::DiesBefore | Fate::DiesAfter => stops += 1,
            Fate::Refused | Fate::AnswerLost | Fate::Slow(_) => faults += 1,
            Fate::Done => {}
        }
    }
    StormReport { seed, stops, faults, verdict }
}

/// How a [`crash_storm`] ended.
///
/// The example is [there](crash_storm).
#[derive(Debug, Clone)]
#[must_use = "a report fails no test until it is asserted"]
pub struct StormReport {
    seed: u64,
    stops: usize,
    faults: usize,
    verdict: Result<Ending, String>,
}

impl StormReport {
    /// How often a process was stopped at an operation.
    pub fn stops(&self) -> usize {
        self.stops
    }

    /// How many operations went wrong without the death of a process.
    pub fn faults(&self) -> usize {
        self.faults
    }

    /// What went wrong with the money, if anything did.
    pub fn breach(&self) -> Option<&str> {
        self.verdict.as_ref().err().map(String::as_str)
    }

    /// Whether the success was committed and never sent; see [`CrashReport::unsent`](super::CrashReport::unsent).
    pub fn is_unsent(&self) -> bool {
        self.verdict == Ok(Ending::Unsent)
    }

    /// Whether the credential was refused for good, no money had moved, and a new one was paid.
    pub fn is_afresh(&self) -> bool {
        self.verdict == Ok(Ending::Afresh)
    }

    /// Asserts that nothing went wrong.
    ///
    /// # Panics
    /// With the seed and what did.
    #[track_caller]
    pub fn assert_safe(&self) {
        assert!(self.verdict.is_ok(), "{self}");
    }
}

impl fmt::Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {} stops, {} other faults: ", self.seed, self.stops, self.faults)?;
        match &self.verdict {
            Ok(ending) => ending.fmt(f),
            Err(breach) => f.write_str(breach),
        }
    }
}

struct Storm<'w, 'b, B> {
    world: &'w World<'b, B>,
    rng: StdRng,
    /// One to four.
    severity: u32,
    replicas: Vec<(Process, Mpp, Client)>,
    /// All there ever were.
    processes: Vec<Process>,
    /// The first success a client has.
    success: Option<Response>,
}

impl<B: CrashBench> Storm<'_, '_, B> {
    async fn purchase(&mut self) -> Result<Ending, String> {
        let ticket = self.world.ticket().await;
        for _ in 0..self.rng.random_range(1..=MOST_ROUNDS) {
            self.restart().await;
            if let Some(answer) = self.round(&ticket).await? {
                return self.judged(&ticket, &answer).await;
            }
            let pause = [0, 5, 31, 91][self.rng.random_range(0..4)];
            self.world.pause(Duration::from_secs(pause)).await;
            self.sweep().await;
        }
        // The storm is over.
        self.replicas.iter().for_each(|(process, ..)| process.kill());
        self.world.pause(PAUSE).await;
        let last = Process::immortal();
        self.processes.push(last.clone());
        let (mpp, client) = self.world.server(&last).await;
        mpp.recover().await.map_err(|error| format!("`recover` failed: {error}"))?;
        last.quiet().await;
        let answer = match self.success.take() {
            Some(answer) => answer,
            None => self.world.until_answered(&client, &ticket).await?,
        };
        last.quiet().await;
        self.judged(&ticket, &answer).await
    }

    async fn judged(&self, ticket: &Ticket, answer: &Response) -> Result<Ending, String> {
        self.replicas.iter().for_each(|(process, ..)| process.kill());
        self.world.judged(ticket, answer, &self.processes).await
    }

    /// Up to three replicas, new ones for the dead.
    async fn restart(&mut self) {
        self.replicas.retain(|(process, ..)| !process.is_dead());
        let wanted = self.rng.random_range(1..=3);
        while self.replicas.len() < wanted {
            let mut weather =
                Weather { rng: StdRng::from_rng(&mut self.rng), severity: self.severity, down: 0 };
            let process = Process::judged(move |_| weather.fate());
            self.processes.push(process.clone());
            let server = tokio::select! {
                biased;
                server = self.world.server(&process) => Some(server),
                () = process.death() => None,
            };
            if let Some((mpp, client)) = server {
                self.replicas.push((process, mpp, client));
            }
        }
    }

    /// Some copies of the credential at once. An answer that ends the purchase for an honest client.
    async fn round(&mut self, ticket: &Ticket) -> Result<Option<Response>, String> {
        let copies = self.rng.random_range(1..=3);
        let mut answers = JoinSet::new();
        for _ in 0..copies {
            let (process, _, client) = &self.replicas[self.rng.random_range(0..self.replicas.len())];
            let (process, client) = (process.clone(), client.clone());
            let request = self.world.bench.request(&client, &ticket.name);
            let header = ticket.header.clone();
            let patience = if self.rng.random_ratio(1, 8) { self.rng.random_range(0..60) } else { u32::MAX };
            answers.spawn(async move {
                tokio::select! {
                    biased;
                    response = request.presenting(&header) => Some(response),
                    () = process.death() => None,
                    () = turns(patience) => None,
                }
            });
        }
        let mut refused = None;
        while let Some(answer) = answers.join_next().await {
            let answer = answer.map_err(|panic| format!("a request panicked: {panic}"))?;
            let Some(answer) = answer else { continue };
            match answer.status() {
                StatusCode::OK => match &self.success {
                    Some(first) if first.body() != answer.body() => {
                        return Err(format!("delivered twice: {}, {}", first.text(), answer.text()));
                    }
                    Some(_) => {}
                    None => self.success = Some(answer),
                },
                StatusCode::PAYMENT_REQUIRED => refused = Some(answer),
                StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {
                    if !answer.challenges().offers.is_empty() {
                        return Err(format!("{} with a challenge", answer.status()));
                    }
                }
                odd => return Err(format!("answered {odd} {}", answer.text())),
            }
        }
        // A lone client that is told 402 pays again.
        Ok(refused.filter(|_| copies == 1 && self.success.is_none()))
    }

    /// A replica cleans up, if it lives to.
    async fn sweep(&mut self) {
        if self.rng.random_ratio(1, 2) {
            return;
        }
        let Some((process, mpp, _)) = self.replicas.first() else { return };
        tokio::select! {
            biased;
            // What it could not do, the next one does.
            swept = mpp.recover() => drop(swept),
            () = process.death() => {}
        }
    }
}

/// What a process goes through.
struct Weather {
    rng: StdRng,
    /// One to four.
    severity: u32,
    /// Operations that will fail before its connections are there again.
    down: u32,
}

impl Weather {
    fn fate(&mut self) -> Fate {
        if self.down > 0 {
            self.down -= 1;
            return Fate::Refused;
        }
        if self.rng.random_range(0..40) >= self.severity * 2 {
            return Fate::Done;
        }
        match self.rng.random_range(0..6) {
            0 => Fate::Refused,
            1 => {
                // Half of the time it is more than this one answer: a database that restarts.
                self.down = self.rng.random_range(0..2) * self.rng.random_range(1..8);
                Fate::AnswerLost
            }
            2 => Fate::DiesBefore,
            3 => Fate::DiesAfter,
            _ => Fate::Slow(self.rng.random_range(1..100)),
        }
    }
}

/// Lets others run this often; without end at the most.
async fn turns(number: u32) {
    if number == u32::MAX {
        std::future::pending::<()>().await;
    }
    for _ in 0..number {
        tokio::task::yield_now().await;
    }
}

const MOST_ROUNDS: usize = 5;
