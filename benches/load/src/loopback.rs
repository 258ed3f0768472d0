//! Unpaid requests over loopback: what a price costs a server that is otherwise as busy as it can be, and what its clients wait.
//!
//! The servers run at the same time, all on core 0, of which only the one that is asked uses any; the generator has core 1. They are
//! asked in turn, round after round, each round in an order of its own, so that whatever else happens on the machine meets all of
//! them and nobody always comes after the same one. What counts is the processor time of the server per request, user and system:
//! unlike the rate it does not depend on the generator.
//!
//! A virtual machine is now faster and now slower, for seconds at a time. So turns are short and rounds are many: the two turns of
//! which a ratio is made lie within a second, and the median of many such ratios hardly depends on any of them. What does not change
//! from round to round is where a server's memory happens to lie, which is worth several percent. So all servers are started anew for
//! every few rounds, and what is reported is one value for each such run.

use crate::generator::{Answered, Latency, Load, Model, complete, run};
use crate::process::{Server, on_core, pinned, serving};
use crate::{Effort, report};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
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

/// How often everybody is asked between two starts.
const ROUNDS: usize = 6;

/// How a server is started, and started again.
type Start = Box<dyn Fn() -> Command>;

/// One of the servers.
struct Contender {
    name: &'static str,
    path: &'static str,
    expected: u16,
    command: Start,
    server: Server,
    /// For caches, and just-in-time compilers.
    warming: Duration,
    closed: Turns,
    open: Turns,
}

/// When a server is asked in one of the models, and what came of it.
struct Turns {
    model: Model,
    /// Its turn comes once in so many rounds, in the last of them.
    every: usize,
    lasting: Duration,
    taken: Vec<Turn>,
    /// Of all turns together: one of them has too few answers for its last thousandth to say anything.
    latency: Latency,
}

/// One turn.
struct Turn {
    /// How often the servers had been started before.
    run: usize,
    round: usize,
    /// Nanoseconds of processor time of the server for each request.
    cost: f64,
    /// Requests a second.
    rate: f64,
    /// Half and 99% of the answers: what they took at most.
    p50: f64,
    p99: f64,
    /// Bytes of an answer.
    size: usize,
}

/// Measures them all and reports.
pub(crate) fn measure(effort: Effort, peer: Option<&Path>) {
    stay_on(GENERATOR_CORE);
    let (_folder, mut contenders) = contenders(peer);
    let mut random = StdRng::seed_from_u64(SEED);
    for run in 0..effort.choose(20, 1) {
        if run > 0 {
            contenders.iter_mut().for_each(Contender::start_anew);
        }
        for contender in &contenders {
            contender.run(Model::Closed, effort.choose(contender.warming, Duration::from_millis(300)));
        }
        for round in 0..ROUNDS {
            let mut all_take_turns = |of: fn(&mut Contender) -> &mut Turns| {
                let mut order: Vec<&mut Contender> = contenders.iter_mut().collect();
                order.retain_mut(|contender| (round + 1).is_multiple_of(of(contender).every));
                order.shuffle(&mut random);
                for contender in order {
                    let (model, lasting) = (of(contender).model, of(contender).lasting);
                    let (answered, cost) = contender.run(model, lasting);
                    of(contender).add((run, round), &answered, cost);
                }
            };
            all_take_turns(|contender| &mut contender.closed);
            all_take_turns(|contender| &mut contender.open);
        }
    }
    let constant = contenders.iter().find(|contender| contender.name == CONSTANT).expect("it is there");
    contenders.iter().for_each(|contender| contender.report(&constant.closed));
}

impl Turns {
    fn new(model: Model, every: usize, lasting: Duration) -> Self {
        Self { model, every, lasting, taken: Vec::new(), latency: Latency::default() }
    }

    fn add(&mut self, (run, round): (usize, usize), answered: &Answered, cost: Duration) {
        self.taken.push(Turn {
            run,
            round,
            cost: cost.as_nanos() as f64 / answered.answers as f64,
            rate: answered.per_second(),
            p50: answered.latency.quantile(0.5),
            p99: answered.latency.quantile(0.99),
            size: answered.size,
        });
        self.latency.add(&answered.latency);
    }

    /// What was done in this round of this run.
    fn at(&self, run: usize, round: usize) -> Option<&Turn> {
        self.taken.iter().find(|turn| (turn.run, turn.round) == (run, round))
    }

    /// For each run the median of its turns.
    fn by_run(&self, of: impl Fn(&Turn) -> Option<f64>) -> Vec<f64> {
        let of_run = |turns: &[Turn]| median(turns.iter().filter_map(&of).collect());
        self.taken.chunk_by(|a, b| a.run == b.run).filter_map(of_run).collect()
    }
}

/// Of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

const CONSTANT: &str = "axum, constant 402";

fn contenders(peer: Option<&Path>) -> (TempDir, Vec<Contender>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = |name, path, expected, command: Start| Contender {
        name,
        path,
        expected,
        server: Server::start(command()),
        command,
        warming: Duration::from_millis(500),
        closed: Turns::new(Model::Closed, 1, Duration::from_millis(200)),
        open: Turns::new(Model::Open { rate: RATE }, ROUNDS, Duration::from_secs(1)),
    };
    let own = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Box::new(move || serving(Some(SERVER_CORE), &args)) as Start
    };
    let hello = start("axum, hello world", "/", 200, own(&["hello"]));
    let ours = start("ours", "/", 402, own(&["priced", NODE, RECIPIENT, CHAIN]));
    let answer = folder.path().join("answer");
    std::fs::write(&answer, ours.answer()).expect("a temporary file");
    let answer = answer.to_str().expect("a path in UTF-8");
    let constant = start(CONSTANT, "/", 402, own(&["constant", answer]));
    let mut contenders = vec![hello, constant, ours];
    match peer {
        Some(program) => {
            for (name, path) in [("official SDK, extractor", "/extractor"), ("official SDK, layer", "/layer")]
            {
                let program = program.to_owned();
                contenders.push(start(name, path, 402, Box::new(move || on_core(SERVER_CORE, &program))));
            }
        }
        None => report::skipped("the official SDK: its server was not built"),
    }
    match hono() {
        Some(command) => {
            let node = start("npm mppx on hono", "/charge", 402, command);
            // Fewer turns, and longer: it collects garbage now and then, and every turn is to have its share.
            contenders.push(Contender {
                warming: Duration::from_secs(2),
                closed: Turns::new(Model::Closed, ROUNDS, Duration::from_secs(1)),
                open: Turns::new(Model::Open { rate: RATE_OF_NODE }, ROUNDS, Duration::from_secs(3)),
                ..node
            });
        }
        None => report::skipped("npm mppx: not installed (cd interop && npm install --no-package-lock)"),
    }
    (folder, contenders)
}

/// The server of the interop tests, which has a price on Tempo among others; `None` where npm's packages are not installed.
fn hono() -> Option<Start> {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop");
    if !interop.join("node_modules/mppx").exists() || !interop.join("node_modules/hono").exists() {
        return None;
    }
    let node = Command::new("node").arg("--version").stderr(Stdio::null()).output().ok()?;
    report::version(&format!("node {}", String::from_utf8_lossy(&node.stdout).trim()));
    for package in ["mppx", "hono", "@hono/node-server"] {
        report::version(&format!("{package} {}", pinned(package)));
    }
    Some(Box::new(move || {
        let mut command = on_core(SERVER_CORE, "node");
        // Its Stripe and its chain are asked nothing either.
        command.current_dir(&interop).env("NODE_ENV", "production");
        command.args([
            "server.mjs",
            "hono",
            NODE,
            "sk_test_nobody",
            "profile_nobody",
            NODE,
            CHAIN,
            RECIPIENT,
        ]);
        command
    }))
}

impl Contender {
    fn start_anew(&mut self) {
        self.server = Server::start((self.command)());
    }

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

    fn report(&self, constant: &Turns) {
        let Self { name, closed, open, .. } = self;
        report::values(name, "rate", &closed.by_run(|turn| Some(turn.rate)));
        report::values(name, "cpu", &closed.by_run(|turn| Some(turn.cost)));
        // Round by round, each beside its neighbour of the same moment.
        let ratio = |turn: &Turn| Some(turn.cost / constant.at(turn.run, turn.round)?.cost);
        report::values(name, "cpu over constant", &closed.by_run(ratio));
        report::values(name, "open cpu", &open.by_run(|turn| Some(turn.cost)));
        for (model, turns) in [("closed", closed), ("open", open)] {
            report::values(name, &format!("{model} p50"), &turns.by_run(|turn| Some(turn.p50)));
            report::values(name, &format!("{model} p99"), &turns.by_run(|turn| Some(turn.p99)));
            report::values(name, &format!("{model} p99.9"), &[turns.latency.quantile(0.999)]);
        }
        if let Model::Open { rate } = open.model {
            report::values(name, "open rate", &[rate]);
        }
        report::values(name, "size", &closed.by_run(|turn| Some(turn.size as f64)));
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
