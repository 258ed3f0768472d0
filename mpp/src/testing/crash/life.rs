//! One purchase, across as many processes as it takes: a client with one credential that it repeats until it is answered, and
//! what became of its money.

use super::process::{Fate, Process};
use super::{CrashBench, Plan};
use crate::clock::ManualClock;
use crate::pricing::registry;
use crate::protocol::{Credential, Secret};
use crate::server::{Builder, Mpp};
use crate::store::{MemoryStore, Store};
use crate::testing::{Client, Response};
use axum::http::StatusCode;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Longer than all the patience here, so that no challenge ends in the middle of a run.
const LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);
/// Renewed after a third of it in real time, which is longer than a run takes on a slow machine: a renewal would be an
/// operation that the clock decides about.
const LEASE: Duration = Duration::from_secs(180);
/// Longer than a lease and a call together: what a dead process left can be taken over.
pub(super) const PAUSE: Duration = Duration::from_secs(180 + 61);
/// How many pauses an outcome may stay unknown.
const PATIENCE: usize = 30;

/// The bench, and what outlives a process.
pub(super) struct World<'b, B> {
    pub(super) bench: &'b B,
    pub(super) clock: Arc<ManualClock>,
    pub(super) shelf: Arc<dyn Store>,
    secret: Secret,
    purchases: Arc<AtomicUsize>,
    /// A server that nothing happens to: it sells the challenges, and is asked once more in the end.
    shop: OnceCell<Client>,
}

/// Who comes first to what a dead process left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// The client, with its credential; of a refund the operator, with the same order.
    ByClient,
    /// [`Mpp::recover`], at the start.
    BySweeper,
}

/// What became of a purchase.
pub(super) struct Life {
    pub(super) processes: Vec<Process>,
    pub(super) verdict: Result<Ending, String>,
}

/// The ways a purchase may end: in each the money has moved once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// The client has its success.
    Delivered,
    /// The success was committed, and the process died before the first byte left.
    Unsent,
    /// Nothing had moved and nothing could; a new credential was paid and delivered.
    Afresh,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delivered => "delivered",
            Self::Unsent => "committed and never sent",
            Self::Afresh => "refused unpaid and bought afresh",
        })
    }
}

/// A credential, and what was there before it was paid.
pub(super) struct Ticket {
    pub(super) header: String,
    pub(super) name: String,
    before: u64,
}

impl<'b, B: CrashBench> World<'b, B> {
    pub(super) fn new(bench: &'b B) -> Self {
        let clock = Arc::new(ManualClock::at(bench.now()));
        let shelf = Arc::new(MemoryStore::new().with_clock(clock.clone()));
        let (secret, purchases) = (Secret::generate(), Arc::default());
        Self { bench, clock, shelf, secret, purchases, shop: OnceCell::new() }
    }

    /// The same world for another purchase, with nothing journaled: a sweeper finds what belongs to its own run alone.
    pub(super) fn another(&self) -> Self {
        let shelf = Arc::new(MemoryStore::new().with_clock(self.clock.clone()));
        let (clock, secret, purchases) = (self.clock.clone(), self.secret.clone(), self.purchases.clone());
        Self { bench: self.bench, clock, shelf, secret, purchases, shop: OnceCell::new() }
    }

    pub(super) async fn shop(&self) -> &Client {
        self.shop.get_or_init(async || self.server(&Process::immortal()).await.1).await
    }

    /// A server in this process.
    pub(super) async fn server(&self, process: &Process) -> (Mpp, Client) {
        self.server_with(process, |builder| builder).await
    }

    /// The same, whose configuration is changed by `change`.
    pub(super) async fn server_with(
        &self,
        process: &Process,
        change: impl FnOnce(Builder) -> Builder,
    ) -> (Mpp, Client) {
        let method = self.bench.method(process, self.clock.clone()).await;
        let builder = Mpp::builder("https://test.example")
            .secret(self.secret.clone())
            .method(method)
            .clock(self.clock.clone())
            .shared_store(process.store(self.shelf.clone()))
            .challenge_lifetime(LIFETIME)
            .grace(LIFETIME)
            .lease(LEASE)
            // A run that a crash cut off counts as well.
            .max_runs(u32::MAX)
            .allow_test_money()
            .single_process_volatile_store();
        // Prices of the program around the test may name methods that are not here.
        let ignoring = |builder: Builder, module: &'static str| builder.ignore_module(module);
        let builder = registry().iter().map(|spec| spec.module).fold(builder, ignoring);
        let built = change(builder).build();
        let mpp = built.unwrap_or_else(|report| panic!("{report}"));
        (mpp.clone(), self.bench.client(mpp))
    }

    /// A challenge and its honest answer.
    pub(super) async fn ticket(&self) -> Ticket {
        let client = self.shop().await;
        let number = self.purchases.fetch_add(1, Ordering::SeqCst);
        let name = format!("payment-{number}");
        let unpaid = self.bench.request(client, &name).unpaid().await;
        let offers = unpaid.challenges().offers;
        let [challenge] = &offers[..] else {
            panic!("a price that one method takes, not HTTP {} {}", unpaid.status(), unpaid.text())
        };
        let before = self.bench.payments().await;
        let proof = self.bench.pay(challenge).await;
        let credential =
            Credential { challenge: challenge.clone(), source: proof.source, payload: proof.payload };
        Ticket { header: credential.to_header_value(), name, before }
    }

    pub(super) async fn paid(&self, ticket: &Ticket) -> u64 {
        self.bench.payments().await - ticket.before
    }

    pub(super) async fn pause(&self, by: Duration) {
        self.clock.advance(by);
        self.bench.wait(by).await;
    }

    pub(super) async fn present(&self, client: &Client, ticket: &Ticket) -> Response {
        self.bench.request(client, &ticket.name).presenting(&ticket.header).await
    }

    /// Presents a credential as a patient client would: again after every 409 and 503, and never after another answer.
    ///
    /// # Errors
    /// A sentence about an answer that must not be given, or none at all.
    pub(super) async fn until_answered(&self, client: &Client, ticket: &Ticket) -> Result<Response, String> {
        let mut last = String::new();
        for _ in 0..PATIENCE {
            let response = self.present(client, ticket).await;
            match response.status() {
                StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {
                    if !response.challenges().offers.is_empty() {
                        return Err(format!("{} with a challenge", response.status()));
                    }
                    last = response.text();
                    self.pause(PAUSE).await;
                }
                StatusCode::OK | StatusCode::PAYMENT_REQUIRED => return Ok(response),
                odd => return Err(format!("answered {odd} {}", response.text())),
            }
        }
        Err(format!("the outcome stays unknown for good: {last}"))
    }

    /// One purchase with these stops.
    pub(super) async fn live(&self, plan: &Plan) -> Life {
        let mut processes = Vec::new();
        let verdict = self.purchase(plan, &mut processes).await;
        // What still runs in them has nothing more to do.
        processes.iter().for_each(Process::kill);
        Life { processes, verdict }
    }

    async fn purchase(&self, plan: &Plan, processes: &mut Vec<Process>) -> Result<Ending, String> {
        let ticket = self.ticket().await;
        let mut answer = None;
        let stops = plan.stops.iter().cloned().map(Some).chain([None]);
        for (number, stop) in stops.enumerate() {
            let process = Process::stopping(stop);
            processes.push(process.clone());
            let sweeps = number > 0 && plan.restart == Restart::BySweeper;
            let served = self.serve(&process, &ticket, sweeps, &mut answer);
            tokio::select! {
                biased;
                served = served => served?,
                () = process.death() => {}
            }
            if !process.is_dead() {
                break;
            }
            // The next one waits until the leases of the dead one have run out.
            self.pause(PAUSE).await;
        }
        match answer {
            Some(answer) => self.judged(&ticket, &answer, processes).await,
            None => Err("never answered".to_owned()),
        }
    }

    /// What happens in one process, if it lives.
    async fn serve(
        &self,
        process: &Process,
        ticket: &Ticket,
        sweeps: bool,
        answer: &mut Option<Response>,
    ) -> Result<(), String> {
        let (mpp, client) = self.server(process).await;
        if sweeps {
            mpp.recover().await.map_err(|error| format!("`recover` failed: {error}"))?;
            process.quiet().await;
        }
        if answer.is_none() {
            *answer = Some(self.until_answered(&client, ticket).await?);
        }
        process.quiet().await;
        Ok(())
    }

    /// The client is done: is its money?
    pub(super) async fn judged(
        &self,
        ticket: &Ticket,
        answer: &Response,
        processes: &[Process],
    ) -> Result<Ending, String> {
        let paid = self.paid(ticket).await;
        let ending = match (answer.status(), paid) {
            (StatusCode::OK, 1) => Ending::Delivered,
            (StatusCode::OK, paid) => return Err(format!("delivered, and paid {paid} times")),
            (_, 1) if processes.iter().any(died_committed) => Ending::Unsent,
            (_, 1) => {
                return Err(format!("402 after money moved, the client would pay again: {}", answer.text()));
            }
            (_, 0) => self.afresh(ticket).await?,
            (_, paid) => return Err(format!("402, and paid {paid} times")),
        };
        self.is_over(ticket, answer).await?;
        Ok(ending)
    }

    /// Nothing was paid, so it is bought once more.
    async fn afresh(&self, refused: &Ticket) -> Result<Ending, String> {
        let ticket = self.ticket().await;
        let answer = self.until_answered(self.shop().await, &ticket).await?;
        self.pause(PAUSE).await;
        match (answer.status(), self.paid(refused).await) {
            (StatusCode::OK, 1) => Ok(Ending::Afresh),
            (status, paid) => {
                Err(format!("402, then {status} for a new credential, and paid {paid} times in all"))
            }
        }
    }

    /// Whatever comes later with the same credential pays nothing and is no second delivery.
    async fn is_over(&self, ticket: &Ticket, answer: &Response) -> Result<(), String> {
        let paid = self.paid(ticket).await;
        let again = self.present(self.shop().await, ticket).await;
        let is_copy = answer.status() == StatusCode::OK
            && again.status() == StatusCode::OK
            && again.body() == answer.body();
        if again.status() != StatusCode::PAYMENT_REQUIRED && !is_copy {
            return Err(format!("the same credential once more: {} {}", again.status(), again.text()));
        }
        match self.paid(ticket).await {
            same if same == paid => Ok(()),
            more => Err(format!("the same credential once more moved money: {paid}, then {more}")),
        }
    }
}

/// Whether this process committed a delivery and died before it had been sent. One that lives has no such excuse.
fn died_committed(process: &Process) -> bool {
    let done = |fate| !matches!(fate, Fate::DiesBefore | Fate::Refused);
    process.is_dead() && process.trace().iter().any(|op| op.name.starts_with(DELIVERED) && done(op.fate))
}

/// The operation that commits a delivery.
const DELIVERED: &str = "write entry: delivered";
