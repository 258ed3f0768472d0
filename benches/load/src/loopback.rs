//! Unpaid requests over loopback: what a price costs a server that is otherwise as busy as it can be, and what its clients wait.
//!
//! The servers run at the same time, all on core 0, of which only the one that is asked uses any; the generator has core 1. They are
//! asked in turn, round after round, so that whatever else happens on the machine meets all of them. What counts is the processor
//! time of the server per request, user and system: unlike the rate it does not depend on the generator.

use crate::generator::{Answered, Load, Model, complete, run};
use crate::process::{Server, on_core, pinned, serving};
use crate::{Effort, report};
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

/// One of the servers.
struct Contender {
    name: &'static str,
    path: &'static str,
    expected: u16,
    rate: f64,
    server: Server,
    /// Of each round.
    closed: Vec<Run>,
    open: Vec<Run>,
}

struct Run {
    answered: Answered,
    /// Processor time of the server for each request.
    cost: Duration,
}

/// Measures them all and reports.
pub(crate) fn measure(effort: Effort, peer: Option<&Path>) {
    stay_on(GENERATOR_CORE);
    let (_folder, mut contenders) = contenders(peer);
    let rounds = effort.choose(11, 3);
    let (closed, open) = effort.choose(
        (Duration::from_millis(1200), Duration::from_millis(1000)),
        (Duration::from_millis(300), Duration::from_millis(300)),
    );
    for contender in &contenders {
        contender.run(Model::Closed, effort.choose(Duration::from_secs(2), Duration::from_millis(300))); // caches, and just-in-time compilers
    }
    for round in 0..rounds {
        for place in 0..contenders.len() {
            // Nobody always comes after the same one.
            let count = contenders.len();
            let contender = &mut contenders[(place + round) % count];
            let run = contender.run(Model::Closed, closed);
            contender.closed.push(run);
            let run = contender.run(Model::Open { rate: contender.rate }, open);
            contender.open.push(run);
        }
    }
    let constant = contenders.iter().position(|contender| contender.name == CONSTANT).expect("it is there");
    let reference: Vec<Duration> = contenders[constant].closed.iter().map(|run| run.cost).collect();
    contenders.iter().for_each(|contender| contender.report(&reference));
}

const CONSTANT: &str = "axum, constant 402";

fn contenders(peer: Option<&Path>) -> (TempDir, Vec<Contender>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = |name, path, expected, command| {
        let server = Server::start(command);
        Contender { name, path, expected, rate: RATE, server, closed: Vec::new(), open: Vec::new() }
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
            contenders.push(Contender { rate: RATE_OF_NODE, ..node });
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

    fn run(&self, model: Model, lasting: Duration) -> Run {
        let request = self.request();
        let (server, expected) = (self.server.address, self.expected);
        let before = self.server.used();
        let load = Load { server, request: &request, expected, connections: CONNECTIONS, model, lasting };
        let answered = run(&load);
        let used = self.server.used().saturating_sub(before);
        // In a short run a slow server may not come to a single answer.
        let answers = u32::try_from(answered.answers.max(1)).expect("fewer than four billion");
        Run { cost: used / answers, answered }
    }

    fn report(&self, reference: &[Duration]) {
        let of = |runs: &[Run], value: &dyn Fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
        let cost = |run: &Run| run.cost.as_nanos() as f64;
        report::values(self.name, "rate", &of(&self.closed, &|run| run.answered.per_second()));
        report::values(self.name, "cpu", &of(&self.closed, &cost));
        // Round by round, each beside its neighbour of the same moment.
        let ratios =
            self.closed.iter().zip(reference).map(|(run, other)| cost(run) / other.as_nanos() as f64);
        report::values(self.name, "cpu over constant", &ratios.collect::<Vec<_>>());
        for (model, runs) in [("closed", &self.closed), ("open", &self.open)] {
            for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                let metric = format!("{model} {name}");
                report::values(self.name, &metric, &of(runs, &|run| run.answered.quantile(share)));
            }
        }
        report::values(self.name, "open rate", &[self.rate]);
        report::values(self.name, "size", &of(&self.closed[..1], &|run| run.answered.size as f64));
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
