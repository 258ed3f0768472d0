//! Unpaid requests over loopback: what a price costs a server that is otherwise as busy as it can be, and what its clients wait.
//!
//! The servers run at the same time, all on core 0, of which only the one that is asked uses any; the generator has core 1. They are
//! asked in turn, round after round, each round in an order of its own, so that whatever else happens on the machine meets all of
//! them and nobody always comes after the same one. What counts is the processor time of the server per request, user and system:
//! unlike the rate it does not depend on the generator.
//!
//! A virtual machine is now faster and now slower, for seconds at a time. So turns are short and rounds are many: the two turns of
//! which a ratio is made lie within a second, and the median of many such ratios hardly depends on any of them.

use crate::generator::{Answered, Latency, Load, Model, complete, run};
use crate::process::{Server, on_core, pinned, serving};
use crate::{Effort, report};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const CONNECTIONS: usize = 32;
/// Requests a second in the open model.
const RATE: f64 = 5_000.0;
/// For the one server that cannot do as many: nobody's queue may grow without end.
const RATE_OF_NODE: f64 = RATE / 10.0;
const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// Who is to be paid, in every challenge; nobody ever pays.
const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const CHAIN: &str = "42431";
/// A node that nobody asks.
const NODE: &str = "http://127.0.0.1:1";

/// Of the order of turns, so that another run has the same.
const SEED: u64 = 402;

/// One of the servers.
struct Contender {
    name: &'static str,
    path: &'static str,
    expected: u16,
    server: Server,
    closed: Turns,
    open: Turns,
}

/// When a server is asked in one of the models, and what came of it.
struct Turns {
    model: Model,
    /// Its turn comes once in so many rounds.
    every: usize,
    lasting: Duration,
    /// Nanoseconds of processor time of the server for each request, by round.
    cost: BTreeMap<usize, f64>,
    /// Requests a second, of each turn.
    rate: Vec<f64>,
    /// Of each turn, half and 99% of the answers: what they took at most.
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Of all turns together: one of them has too few answers for its last thousandth to say anything.
    latency: Latency,
    /// Bytes of an answer.
    size: usize,
}

/// Measures them all and reports.
pub(crate) fn measure(effort: Effort, peer: Option<&Path>) {
    stay_on(GENERATOR_CORE);
    let (_folder, mut contenders) = contenders(peer);
    for contender in &contenders {
        // Caches, and just-in-time compilers.
        contender.run(Model::Closed, effort.choose(Duration::from_secs(2), Duration::from_millis(300)));
    }
    let mut random = StdRng::seed_from_u64(SEED);
    for round in 0..effort.choose(120, 7) {
        let mut all_take_turns = |of: fn(&mut Contender) -> &mut Turns| {
            let mut order: Vec<&mut Contender> = contenders.iter_mut().collect();
            order.retain_mut(|contender| of(contender).is_due(round));
            order.shuffle(&mut random);
            for contender in order {
                let (model, lasting) = (of(contender).model, of(contender).lasting);
                let (answered, cost) = contender.run(model, lasting);
                of(contender).add(round, &answered, cost);
            }
        };
        all_take_turns(|contender| &mut contender.closed);
        all_take_turns(|contender| &mut contender.open);
    }
    let constant = contenders.iter().find(|contender| contender.name == CONSTANT).expect("it is there");
    contenders.iter().for_each(|contender| contender.report(&constant.closed.cost));
}

impl Turns {
    fn new(model: Model, every: usize, lasting: Duration) -> Self {
        let [rate, p50, p99] = [const { Vec::new() }; 3];
        Self {
            model,
            every,
            lasting,
            cost: BTreeMap::new(),
            rate,
            p50,
            p99,
            latency: Latency::default(),
            size: 0,
        }
    }

    fn is_due(&self, round: usize) -> bool {
        round.is_multiple_of(self.every)
    }

    fn add(&mut self, round: usize, answered: &Answered, cost: Duration) {
        self.cost.insert(round, cost.as_nanos() as f64 / answered.answers as f64);
        self.rate.push(answered.per_second());
        self.p50.push(answered.latency.quantile(0.5));
        self.p99.push(answered.latency.quantile(0.99));
        self.latency.add(&answered.latency);
        self.size = answered.size;
    }

    fn costs(&self) -> Vec<f64> {
        self.cost.values().copied().collect()
    }
}

const CONSTANT: &str = "axum, constant 402";

fn contenders(peer: Option<&Path>) -> (TempDir, Vec<Contender>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = |name, path, expected, command| Contender {
        name,
        path,
        expected,
        server: Server::start(command),
        closed: Turns::new(Model::Closed, 1, Duration::from_millis(200)),
        open: Turns::new(Model::Open { rate: RATE }, 6, Duration::from_secs(1)),
    };
    let hello = start("axum, hello world", "/", 200, serving(Some(SERVER_CORE), &["hello"]));
    let ours = start("ours", "/", 402, serving(Some(SERVER_CORE), &["priced", NODE, RECIPIENT, CHAIN]));
    let answer = folder.path().join("answer");
    std::fs::write(&answer, ours.answer()).expect("a temporary file");
    let answer = answer.to_str().expect("a path in UTF-8");
    let constant = start(CONSTANT, "/", 402, serving(Some(SERVER_CORE), &["constant", answer]));
    let mut contenders = vec![hello, constant, ours];
    match peer {
        Some(program) => {
            for (name, path) in [("official SDK, extractor", "/extractor"), ("official SDK, layer", "/layer")]
            {
                contenders.push(start(name, path, 402, on_core(SERVER_CORE, program)));
            }
        }
        None => report::skipped("the official SDK: its server was not built"),
    }
    match hono() {
        Some(command) => {
            let node = start("npm mppx on hono", "/charge", 402, command);
            // Fewer turns, and longer: it collects garbage now and then, and every turn is to have its share.
            contenders.push(Contender {
                closed: Turns::new(Model::Closed, 6, Duration::from_secs(1)),
                open: Turns::new(Model::Open { rate: RATE_OF_NODE }, 6, Duration::from_secs(3)),
                ..node
            });
        }
        None => report::skipped("npm mppx: not installed (cd interop && npm install --no-package-lock)"),
    }
    (folder, contenders)
}

/// The server of the interop tests, which has a price on Tempo among others; `None` where npm's packages are not installed.
fn hono() -> Option<Command> {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop");
    if !interop.join("node_modules/mppx").exists() || !interop.join("node_modules/hono").exists() {
        return None;
    }
    let node = Command::new("node").arg("--version").stderr(Stdio::null()).output().ok()?;
    report::version(&format!("node {}", String::from_utf8_lossy(&node.stdout).trim()));
    for package in ["mppx", "hono", "@hono/node-server"] {
        report::version(&format!("{package} {}", pinned(package)));
    }
    let mut command = on_core(SERVER_CORE, "node");
    // Its Stripe and its chain are asked nothing either.
    command.current_dir(interop).env("NODE_ENV", "production");
    command.args(["server.mjs", "hono", NODE, "sk_test_nobody", "profile_nobody", NODE, CHAIN, RECIPIENT]);
    Some(command)
}

impl Contender {
    fn request(&self) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\n\r\n", self.path, self.server.address)
            .into_bytes()
    }

    /// One answer, as it comes over the wire.
    fn answer(&self) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.server.address).expect("the server is there");
        stream.write_all(&self.request()).expect("it takes a request");
        let (mut heard, mut part) = (Vec::new(), [0; 4096]);
        while complete(&heard).is_none() {
            let length = stream.read(&mut part).expect("it answers");
            assert_ne!(length, 0, "{} answers half", self.name);
            heard.extend(&part[..length]);
        }
        heard
    }

    /// What was answered, and the processor time of the server for all of it.
    fn run(&self, model: Model, lasting: Duration) -> (Answered, Duration) {
        let request = self.request();
        let (server, expected) = (self.server.address, self.expected);
        let before = self.server.used();
        let load = Load { server, request: &request, expected, connections: CONNECTIONS, model, lasting };
        let answered = run(&load);
        (answered, self.server.used().saturating_sub(before))
    }

    fn report(&self, constant: &BTreeMap<usize, f64>) {
        report::values(self.name, "rate", &self.closed.rate);
        report::values(self.name, "cpu", &self.closed.costs());
        // Round by round, each beside its neighbour of the same moment.
        let ratio = |(round, cost): (&usize, &f64)| Some(cost / constant.get(round)?);
        let ratios: Vec<f64> = self.closed.cost.iter().filter_map(ratio).collect();
        report::values(self.name, "cpu over constant", &ratios);
        report::values(self.name, "open cpu", &self.open.costs());
        for (model, turns) in [("closed", &self.closed), ("open", &self.open)] {
            let last = [turns.latency.quantile(0.999)];
            for (name, values) in [("p50", &turns.p50[..]), ("p99", &turns.p99), ("p99.9", &last)] {
                report::values(self.name, &format!("{model} {name}"), values);
            }
        }
        if let Model::Open { rate } = self.open.model {
            report::values(self.name, "open rate", &[rate]);
        }
        report::values(self.name, "size", &[self.closed.size as f64]);
    }
}

/// Holds this process on one core, where the system can: it keeps the time of requests that are due by spinning.
fn stay_on(core: usize) {
    let own = std::process::id().to_string();
    let command = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &own])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !command.is_ok_and(|status| status.success()) {
        report::skipped(
            "cores of their own for the servers and the generator: there is no `taskset`, or only one core",
        );
    }
}
