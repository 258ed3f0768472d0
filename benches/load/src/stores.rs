//! Claims in each store: how long one takes when nobody else asks, and how many a second there are when many do.
//!
//! A claim is what makes a payment single: one compare-and-swap that expects nothing under the key. Every key is new, as in life.
//! Redis syncs its log with every write, PostgreSQL and redb with every commit: what they say is written is on the disk.

use crate::servers::{Server, ready};
use crate::{Effort, report};
use hdrhistogram::Histogram;
use mpp::store::{
    Cas, Keep, Key, Limits, MemoryStore, PostgresOptions, PostgresStore, Quota, RedbStore, RedisStore, Store,
    Write,
};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many claim at once; one is the latency of a store that nobody else asks.
const CONCURRENCY: [usize; 3] = [1, 16, 64];
/// About what the journal entry of a payment comes to.
const VALUE: usize = 400;
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Measures them all and reports.
pub(crate) fn measure(effort: Effort) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(stores(effort));
}

async fn stores(effort: Effort) {
    let memory = MemoryStore::with_limits(Limits { paid: usize::MAX, free: usize::MAX });
    claims("memory", Arc::new(memory), effort).await;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = RedbStore::open(folder.path().join("claims.redb")).expect("a temporary file");
    claims("redb, one file", Arc::new(store), effort).await;
    drop(folder);

    match Server::redis(DURABLE) {
        Some(server) => {
            version("redis-server", "--version");
            let url = format!("redis://127.0.0.1:{}", server.port);
            claims("Redis", Arc::new(ready(|| RedisStore::connect(&url)).await), effort).await;
        }
        None => report::skipped("Redis: `redis-server` is not installed"),
    }
    match Server::postgres() {
        Some(server) => {
            version("postgres", "--version");
            let direct = PostgresOptions::new().direct();
            let url = |port| format!("postgres://postgres:secret@127.0.0.1:{port}/postgres");
            let (own, options) = (url(server.port), || direct.clone());
            claims(
                "PostgreSQL",
                Arc::new(ready(|| PostgresStore::connect_with(&own, options())).await),
                effort,
            )
            .await;
            match Server::pgbouncer(&server) {
                Some(pooler) => {
                    version("pgbouncer", "--version");
                    let pooled = url(pooler.port);
                    // The same database: keys of its own.
                    let options = || PostgresOptions::new().tenant("pooled");
                    let store = ready(|| PostgresStore::connect_with(&pooled, options())).await;
                    claims("PostgreSQL, pgbouncer", Arc::new(store), effort).await;
                }
                None => report::skipped("pgbouncer is not installed"),
            }
        }
        None => report::skipped("PostgreSQL: `postgres` is not installed"),
    }
}

async fn claims(name: &str, store: Arc<dyn Store>, effort: Effort) {
    let rounds = effort.choose(5, 1);
    let lasting = effort.choose(Duration::from_millis(1200), Duration::from_millis(300));
    // Bounded, because a store in memory keeps every one of them.
    let most = effort.choose(40_000, 5_000);
    for concurrency in CONCURRENCY {
        let (mut rates, mut halves, mut tails) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let run = claimed(&store, concurrency, round, lasting, most).await;
            rates.push(run.len() as f64 / run.lasted.as_secs_f64());
            halves.push(run.latency.value_at_quantile(0.5) as f64);
            tails.push(run.latency.value_at_quantile(0.99) as f64);
        }
        report::values(name, &format!("{concurrency} rate"), &rates);
        report::values(name, &format!("{concurrency} p50"), &halves);
        report::values(name, &format!("{concurrency} p99"), &tails);
        for rate in rates {
            report::point("stores", name, concurrency as f64, rate);
        }
    }
}

struct Claimed {
    latency: Histogram<u64>,
    lasted: Duration,
}

impl Claimed {
    fn len(&self) -> u64 {
        self.latency.len()
    }
}

async fn claimed(
    store: &Arc<dyn Store>,
    concurrency: usize,
    round: usize,
    lasting: Duration,
    most: usize,
) -> Claimed {
    let taken = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut claimants = JoinSet::new();
    for claimant in 0..concurrency {
        let (store, taken) = (Arc::clone(store), Arc::clone(&taken));
        claimants.spawn(async move {
            let mut latency = Histogram::<u64>::new(3).expect("a precision there is");
            while start.elapsed() < lasting {
                let number = taken.fetch_add(1, Ordering::Relaxed);
                if number >= most {
                    break;
                }
                // As long as the id of a challenge.
                let key = Key::new(
                    Quota::Paid,
                    "claim",
                    &format!("{concurrency:04}-{round:04}-{claimant:04}-{number:028}"),
                );
                let write = Write { value: vec![7; VALUE], keep: Keep::For(Duration::from_secs(900)) };
                let asked = Instant::now();
                let claim = store.cas(&key, None, Some(write)).await.expect("the store answers");
                let took = u64::try_from(asked.elapsed().as_nanos()).expect("less than centuries");
                latency.record(took).expect("it grows with what it is given");
                assert!(matches!(claim, Cas::Written(_)), "nobody else has this key");
            }
            latency
        });
    }
    let mut latency = Histogram::<u64>::new(3).expect("a precision there is");
    for of_one in claimants.join_all().await {
        latency.add(of_one).expect("both count the same");
    }
    Claimed { latency, lasted: start.elapsed() }
}

/// What a program says its version is, without the rest of the line.
fn version(program: &str, flag: &str) {
    let folders = ["", "/usr/sbin/"].map(str::to_owned).into_iter();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| format!("{}/bin/", version.path().display()));
    for folder in folders.chain(debian) {
        let Ok(output) = Command::new(format!("{folder}{program}")).arg(flag).output() else { continue };
        let text = String::from_utf8_lossy(&output.stdout);
        let number =
            |word: &&str| word.trim_start_matches("v=").starts_with(|first: char| first.is_ascii_digit());
        if let Some(number) = text.split_whitespace().find(number) {
            return report::version(&format!("{program} {}", number.trim_start_matches("v=")));
        }
    }
}
