//! Paid requests on a local Tempo chain, from the request that asks for the price to the paid response: how many a second, as more
//! and more payers come, and what each of them costs the server, the chain and the payers.
//!
//! Nothing here is played: anvil mines every transaction, the server of [`serve`](crate::serve) verifies and broadcasts it and waits for
//! its receipt, every payer has a key and an account of its own. All of them share this machine. More payers stop helping when the
//! machine is busy or when they only wait for the chain; whose processor time that is, is reported. What is asked of the node is
//! counted beforehand, one payment at a time, on lines that forward it.
//!
//! This chain becomes slower with every block. So every crowd has one of its own, as old as all others when it begins and when it
//! ends: with the same accounts, each of which has been funded and has paid once, and then with the same number of payments.

use crate::process::{Server, pinned, serving, used};
use crate::{Effort, report};
use alloy::signers::local::PrivateKeySigner;
use interop::{BESIDE, CHAIN_ID, Chain, Http, Lab, Line, fresh_address};
use mpp::method::ClientMethod as _;
use mpp::method::tempo::TempoWallet;
use mpp::protocol::{Challenge, Credential};
use mpp::testing::Process;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Base units of pathUSD on every account: a payment is 10,000 and its fee about as much.
const FUNDS: u128 = 1_000_000_000;

/// Measures and reports.
pub(crate) fn measure(effort: Effort) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match interop::lab() {
            Some(lab) => {
                report::version(&format!("anvil {}", pinned("@foundry-rs/anvil")));
                count_calls(&lab).await;
                payments(&lab, effort).await;
            }
            None => report::skipped(
                "the chain: anvil is not installed (cd interop && npm install --no-package-lock)",
            ),
        }
    });
}

/// What a server and a payer ask their node for one payment, when everything is warm.
async fn count_calls(lab: &Lab) {
    const PAYMENTS: usize = 10;
    let chain = lab.chain().await;
    let (seller, buyer, http) = (Process::immortal(), Process::immortal(), Http::default());
    let of_seller = Line::to_node(&seller, &chain.url, &http).await;
    let of_buyer = Line::to_node(&buyer, &chain.url, &http).await;
    let shop = shop(&of_seller.url);
    let payer = Payer::new(&chain, &of_buyer.url).await;
    payer.pay(&shop).await; // both have asked for the chain's id
    for (who, process) in [("server", &seller), ("payer", &buyer)] {
        let before = process.operations().len();
        for _ in 0..PAYMENTS {
            payer.pay(&shop).await;
        }
        let operations = process.operations();
        let (mut all, mut of_method) = (Asked::default(), BTreeMap::<&str, Asked>::new());
        for request in &operations[before..] {
            let request = request.trim_start_matches("network: ");
            let mut calls = BTreeMap::<&str, usize>::new();
            for method in request.split(BESIDE) {
                *calls.entry(method).or_default() += 1;
            }
            for (method, count) in calls {
                of_method.entry(method).or_default().add(1, count);
            }
            all.add(1, request.split(BESIDE).count());
        }
        all.report(&format!("{who}, everything"), PAYMENTS);
        for (method, asked) in of_method {
            asked.report(&format!("{who}, {method}"), PAYMENTS);
        }
    }
}

/// How often a node was asked.
#[derive(Default)]
struct Asked {
    /// HTTP requests; of a method, those with it.
    requests: usize,
    /// JSON-RPC calls, of which a request can have many.
    calls: usize,
}

impl Asked {
    fn add(&mut self, requests: usize, calls: usize) {
        self.requests += requests;
        self.calls += calls;
    }

    fn report(&self, case: &str, payments: usize) {
        for (metric, count) in [("requests", self.requests), ("calls", self.calls)] {
            report::values(case, metric, &[count as f64 / payments as f64]);
        }
    }
}

/// Of the order of crowds, so that another run has the same.
const SEED: u64 = 402;

async fn payments(lab: &Lab, effort: Effort) {
    let sizes: &[usize] = effort.choose(&[1, 2, 4, 8, 16, 32, 64], &[1, 8]);
    let (rounds, payments) = effort.choose((5, 600), (2, 100));
    let mut crowds: Vec<Crowd> = sizes.iter().map(|&size| Crowd { size, runs: Vec::new() }).collect();
    let accounts = sizes.iter().copied().max().unwrap_or_default();
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..rounds {
        let mut order: Vec<&mut Crowd> = crowds.iter_mut().collect();
        order.shuffle(&mut random);
        for crowd in order {
            let run = crowded(lab, crowd.size, accounts, payments).await;
            crowd.runs.push(run);
        }
    }
    crowds.iter().for_each(Crowd::report);
}

/// So many payers at once.
struct Crowd {
    size: usize,
    /// Of each round.
    runs: Vec<Run>,
}

struct Run {
    /// In order.
    latency: Vec<Duration>,
    lasted: Duration,
    /// Processor time of the server, the chain and the payers.
    used: [Duration; 3],
}

impl Run {
    fn rate(&self) -> f64 {
        self.latency.len() as f64 / self.lasted.as_secs_f64()
    }

    /// The latency that this share of the payments did not exceed, in nanoseconds.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.latency.len() - 1;
        self.latency[(last as f64 * share) as usize].as_nanos() as f64
    }
}

impl Crowd {
    fn report(&self) {
        let values = |metric: &str, of: &dyn Fn(&Run) -> f64| {
            let values: Vec<f64> = self.runs.iter().map(of).collect();
            report::values(&self.size.to_string(), metric, &values);
        };
        values("rate", &Run::rate);
        values("p50", &|run| run.quantile(0.5));
        values("p99", &|run| run.quantile(0.99));
        for (place, who) in ["server", "chain", "payers"].into_iter().enumerate() {
            let each = |run: &Run| run.used[place].as_nanos() as f64 / run.latency.len() as f64;
            values(&format!("{who} cpu"), &each);
        }
        values("chain busy", &|run| run.used[1].as_secs_f64() / run.lasted.as_secs_f64());
        for run in &self.runs {
            report::point("chain", "payments a second", self.size as f64, run.rate());
        }
    }
}

/// So many payments of `size` payers, on a chain of their own with so many accounts.
async fn crowded(lab: &Lab, size: usize, accounts: usize, payments: usize) -> Run {
    let chain = lab.chain().await;
    let shop = Arc::new(shop(&chain.url));
    let mut payers = Vec::new();
    for _ in 0..accounts {
        let payer = Payer::new(&chain, &chain.url).await;
        payer.pay(&shop).await;
        payers.push(payer);
    }
    let used = || [shop.used(), used(chain.process()), used(std::process::id())];
    let (begun, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (before, start) = (used(), Instant::now());
    let mut crowd = JoinSet::new();
    for payer in payers.into_iter().take(size) {
        let (shop, begun, refused) = (Arc::clone(&shop), Arc::clone(&begun), Arc::clone(&refused));
        crowd.spawn(async move {
            let mut latency = Vec::new();
            while begun.fetch_add(1, Ordering::Relaxed) < payments {
                let asked = Instant::now();
                match payer.try_pay(&shop).await {
                    200 => latency.push(asked.elapsed()),
                    _ => _ = refused.fetch_add(1, Ordering::Relaxed),
                }
            }
            latency
        });
    }
    let mut latency = crowd.join_all().await.concat();
    let (lasted, after) = (start.elapsed(), used());
    latency.sort_unstable();
    let refused = refused.load(Ordering::Relaxed);
    if refused > 0 {
        report::skipped(&format!("{refused} payments of {size} payers that were not answered with 200"));
    }
    assert!(!latency.is_empty(), "nobody was served");
    let used = std::array::from_fn(|who| after[who].saturating_sub(before[who]));
    Run { latency, lasted, used }
}

fn shop(node: &str) -> Server {
    Server::start(serving(None, &["priced", node, &fresh_address(), &CHAIN_ID.to_string()]))
}

/// Somebody with an account and a connection.
struct Payer {
    wallet: TempoWallet,
    http: reqwest::Client,
}

impl Payer {
    async fn new(chain: &Chain, node: &str) -> Self {
        let key = PrivateKeySigner::random();
        chain.fund(&key.address().to_string(), FUNDS).await;
        let wallet = TempoWallet::new(key, node, CHAIN_ID).expect("a node on this machine");
        Self { wallet, http: reqwest::Client::new() }
    }

    async fn pay(&self, shop: &Server) {
        assert_eq!(self.try_pay(shop).await, 200, "the payer has funds");
    }

    /// Asks, pays, asks again; the status of the last answer.
    async fn try_pay(&self, shop: &Server) -> u16 {
        let url = format!("http://{}/", shop.address);
        let unpaid = self.http.get(&url).send().await.expect("an answer");
        let line = unpaid.headers()["www-authenticate"].to_str().expect("ASCII").to_owned();
        drop(unpaid.bytes().await);
        let challenge = Challenge::parse_all([line.as_str()]).offers.remove(0);
        let Ok(proof) = self.wallet.pay(&challenge).await else { return 0 };
        let credential =
            Credential { challenge, source: proof.source, payload: proof.payload }.to_header_value();
        let paid = self.http.get(&url).header("authorization", credential).send().await.expect("an answer");
        let status = paid.status().as_u16();
        drop(paid.bytes().await);
        status
    }
}
