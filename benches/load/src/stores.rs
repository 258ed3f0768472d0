//! Claims in each store: how long one takes when nobody else asks, and how many a second there are when many do.
//!
//! A claim is what makes a payment single: one compare-and-swap that expects nothing under the key. Every key is new, as in life.
//! Redis syncs its log with every write, PostgreSQL and redb with every commit: what they say is written is on the disk.
//!
//! What the disk itself takes for that is measured beside them, because no durable store can be quicker: the same bytes in a file,
//! and one sync for all who ask at once. All of them take turns.

use crate::servers::{Server, ready};
use crate::{Effort, report};
use hdrhistogram::Histogram;
use mpp::store::{
    Cas, Keep, Key, Limits, MemoryStore, PostgresOptions, PostgresStore, Quota, RedbStore, RedisStore, Store,
    Write,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many claim at once; one is the latency of a store that nobody else asks.
const CONCURRENCY: [usize; 3] = [1, 16, 64];
/// About what the journal entry of a payment comes to.
const VALUE: usize = 400;
const FLOOR: &str = "floor: the disk, one sync for all at once";
/// Of the order of turns, so that another run has the same.
const SEED: u64 = 402;
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
    let mut contenders = vec![Contender::new("memory", Place::Store(Arc::new(memory)))];

    let folder = tempfile::tempdir().expect("a temporary folder");
    contenders.push(Contender::new(FLOOR, Place::Disk(Disk::new(folder.path()))));
    let redb = RedbStore::open(folder.path().join("claims.redb")).expect("a temporary file");
    contenders.push(Contender::new("redb, one file", Place::Store(Arc::new(redb))));

    let redis = Server::redis(DURABLE);
    match &redis {
        Some(server) => {
            version("redis-server", "--version");
            let url = format!("redis://127.0.0.1:{}", server.port);
            let store = ready(|| RedisStore::connect(&url)).await;
            contenders.push(Contender::new("Redis", Place::Store(Arc::new(store))));
        }
        None => report::skipped("Redis: `redis-server` is not installed"),
    }
    let postgres = Server::postgres();
    let pooler = postgres.as_ref().and_then(Server::pgbouncer);
    let url = |server: &Server| format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    match &postgres {
        Some(server) => {
            version("postgres", "--version");
            let (url, options) = (url(server), || PostgresOptions::new().direct());
            let store = ready(|| PostgresStore::connect_with(&url, options())).await;
            contenders.push(Contender::new("PostgreSQL", Place::Store(Arc::new(store))));
        }
        None => report::skipped("PostgreSQL: `postgres` is not installed"),
    }
    match &pooler {
        Some(pooler) => {
            version("pgbouncer", "--version");
            // The same database: keys of its own.
            let (url, options) = (url(pooler), || PostgresOptions::new().tenant("pooled"));
            let store = ready(|| PostgresStore::connect_with(&url, options())).await;
            contenders.push(Contender::new("PostgreSQL, pgbouncer", Place::Store(Arc::new(store))));
        }
        None => report::skipped("pgbouncer is not installed"),
    }
    take_turns(&mut contenders, effort).await;
    contenders.iter().for_each(Contender::report);
}

/// All of them in turn, each round in an order of its own: a disk that is slower for a while is slower for all.
async fn take_turns(contenders: &mut [Contender], effort: Effort) {
    let pace = effort.choose(
        Pace { rounds: 5, lasting: Duration::from_millis(1200), most: 40_000 },
        Pace { rounds: 1, lasting: Duration::from_millis(300), most: 5_000 },
    );
    let mut random = StdRng::seed_from_u64(SEED);
    for concurrency in CONCURRENCY {
        for round in 0..pace.rounds {
            let mut order: Vec<&mut Contender> = contenders.iter_mut().collect();
            order.shuffle(&mut random);
            for contender in order {
                let run = match &mut contender.place {
                    Place::Store(store) => claimed(store, concurrency, round, pace).await,
                    Place::Disk(disk) => disk.written(concurrency, pace),
                };
                contender.runs.entry(concurrency).or_default().push(run);
            }
        }
    }
}

/// How often and how long each of them is measured.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rounds: usize,
    lasting: Duration,
    /// Claims of a round: a store in memory keeps every one of them.
    most: usize,
}

struct Contender {
    name: &'static str,
    place: Place,
    /// By how many claimed at once, one for each round.
    runs: BTreeMap<usize, Vec<Claimed>>,
}

/// Where a claim is kept.
enum Place {
    Store(Arc<dyn Store>),
    Disk(Disk),
}

impl Contender {
    fn new(name: &'static str, place: Place) -> Self {
        Self { name, place, runs: BTreeMap::new() }
    }

    fn report(&self) {
        for (concurrency, runs) in &self.runs {
            let values = |metric: &str, of: &dyn Fn(&Claimed) -> f64| {
                let values: Vec<f64> = runs.iter().map(of).collect();
                report::values(self.name, &format!("{concurrency} {metric}"), &values);
            };
            values("rate", &Claimed::rate);
            values("p50", &|run| run.latency.value_at_quantile(0.5) as f64);
            values("p99", &|run| run.latency.value_at_quantile(0.99) as f64);
            for run in runs {
                report::point("stores", self.name, *concurrency as f64, run.rate());
            }
        }
    }
}

/// The disk without a store: a file that is long enough beforehand, as a database's log is (growing one would be written down as well),
/// and `fdatasync` after each write.
struct Disk {
    file: File,
    /// Where the next claim is written.
    next: u64,
}

impl Disk {
    const LENGTH: usize = 16 * 1024 * 1024;

    fn new(folder: &Path) -> Self {
        let file = File::create(folder.join("floor")).expect("a temporary file");
        let filled = file.write_all_at(&vec![0; Self::LENGTH], 0).and_then(|()| file.sync_all());
        filled.expect("there is room on the disk");
        Self { file, next: 0 }
    }

    /// Those who claim at once are written in one piece and share a sync.
    fn written(&mut self, concurrency: usize, pace: Pace) -> Claimed {
        let piece = vec![7; concurrency * (key(concurrency, 0, 0, 0).as_str().len() + VALUE)];
        let (start, mut latency) = (Instant::now(), histogram());
        while start.elapsed() < pace.lasting {
            if self.next + piece.len() as u64 > Self::LENGTH as u64 {
                self.next = 0;
            }
            let asked = Instant::now();
            let written = self.file.write_all_at(&piece, self.next).and_then(|()| self.file.sync_data());
            written.expect("the disk takes it");
            let took = nanoseconds(asked.elapsed());
            latency.record_n(took, concurrency as u64).expect("it grows with what it is given");
            self.next += piece.len() as u64;
        }
        Claimed { latency, lasted: start.elapsed() }
    }
}

struct Claimed {
    latency: Histogram<u64>,
    lasted: Duration,
}

impl Claimed {
    /// Claims a second.
    fn rate(&self) -> f64 {
        self.latency.len() as f64 / self.lasted.as_secs_f64()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("a precision there is")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("less than centuries")
}

/// As long as that of a real claim, whose last part is the id of a challenge; nobody else has it.
fn key(concurrency: usize, round: usize, claimant: usize, number: usize) -> Key {
    Key::new(Quota::Paid, "claim", &format!("{concurrency:04}-{round:04}-{claimant:04}-{number:028}"))
}

async fn claimed(store: &Arc<dyn Store>, concurrency: usize, round: usize, pace: Pace) -> Claimed {
    let taken = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut claimants = JoinSet::new();
    for claimant in 0..concurrency {
        let (store, taken) = (Arc::clone(store), Arc::clone(&taken));
        claimants.spawn(async move {
            let mut latency = histogram();
            while start.elapsed() < pace.lasting {
                let number = taken.fetch_add(1, Ordering::Relaxed);
                if number >= pace.most {
                    break;
                }
                let key = key(concurrency, round, claimant, number);
                let write = Write { value: vec![7; VALUE], keep: Keep::For(Duration::from_secs(900)) };
                let asked = Instant::now();
                let claim = store.cas(&key, None, Some(write)).await.expect("the store answers");
                latency.record(nanoseconds(asked.elapsed())).expect("it grows with what it is given");
                assert!(matches!(claim, Cas::Written(_)), "nobody else has this key");
            }
            latency
        });
    }
    let mut latency = histogram();
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
