//! Paid requests on a local Tempo chain, from the request that asks for the price to the paid response: how many a second, as more
//! and more payers come, and what each of them costs the server, the chain and the payers.
//!
//! Nothing here is played: anvil mines every transaction, the server of [`serve`](crate::serve) verifies and broadcasts it and waits for
//! its receipt, every payer has a key and an account of its own. All of them share this machine. More payers stop helping when the
//! machine is busy or when they only wait for the chain; whose processor time that is, is reported. The calls of the node are counted
//! beforehand, one payment at a time, on lines that forward them.

use crate::process::{Server, pinned, serving, used};
use crate::{Effort, report};
use alloy::signers::local::PrivateKeySigner;
use interop::{CHAIN_ID, Chain, Http, Lab, Line, fresh_address};
use mpp::method::ClientMethod as _;
use mpp::method::tempo::TempoWallet;
use mpp::protocol::{Challenge, Credential};
use mpp::testing::Process;
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

/// How often a server and a payer ask their node for one payment, when everything is warm.
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
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        for name in &operations[before..] {
            *calls.entry(name.trim_start_matches("network: ")).or_default() += 1;
        }
        let per_payment = |count: usize| count as f64 / PAYMENTS as f64;
        report::values(&format!("{who}, all calls"), "calls", &[per_payment(operations.len() - before)]);
        for (name, count) in calls {
            report::values(&format!("{who}, {name}"), "calls", &[per_payment(count)]);
        }
    }
}

async fn payments(lab: &Lab, effort: Effort) {
    let crowds: &[usize] = effort.choose(&[1, 2, 4, 8, 16, 32, 64], &[1, 8]);
    let lasting = effort.choose(Duration::from_secs(8), Duration::from_secs(2));
    let chain = lab.chain().await;
    let shop = Arc::new(shop(&chain.url));
    let mut payers = Vec::new();
    for &crowd in crowds {
        while payers.len() < crowd {
            let payer = Payer::new(&chain, &chain.url).await;
            payer.pay(&shop).await;
            payers.push(Arc::new(payer));
        }
        let processes = [shop.used(), used(chain.process()), used(std::process::id())];
        let run = crowded(&shop, &payers, lasting).await;
        let spent = [shop.used(), used(chain.process()), used(std::process::id())];
        let case = format!("{crowd}");
        let count = run.latency.len() as f64;
        report::values(&case, "rate", &[count / run.lasted.as_secs_f64()]);
        report::point("chain", "payments a second", crowd as f64, count / run.lasted.as_secs_f64());
        let at = |share: f64| run.latency[((count - 1.0) * share) as usize].as_nanos() as f64;
        report::values(&case, "p50", &[at(0.5)]);
        report::values(&case, "p99", &[at(0.99)]);
        for (who, (before, after)) in ["server", "chain", "payers"].iter().zip(processes.iter().zip(spent)) {
            report::values(
                &case,
                &format!("{who} cpu"),
                &[after.saturating_sub(*before).as_nanos() as f64 / count],
            );
        }
    }
}

struct Crowded {
    /// In order.
    latency: Vec<Duration>,
    lasted: Duration,
}

async fn crowded(shop: &Arc<Server>, payers: &[Arc<Payer>], lasting: Duration) -> Crowded {
    let (start, refused) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut crowd = JoinSet::new();
    for payer in payers {
        let (payer, shop, refused) = (Arc::clone(payer), Arc::clone(shop), Arc::clone(&refused));
        crowd.spawn(async move {
            let mut latency = Vec::new();
            while start.elapsed() < lasting {
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
    latency.sort_unstable();
    let refused = refused.load(Ordering::Relaxed);
    if refused > 0 {
        report::skipped(&format!(
            "{refused} payments of {} payers that were not answered with 200",
            payers.len()
        ));
    }
    assert!(!latency.is_empty(), "nobody was served");
    Crowded { latency, lasted: start.elapsed() }
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
