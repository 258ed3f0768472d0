//! The `mpp` command.
//!
//! `mpp pay` sends a request and pays for it, `mpp quote` says what that would cost, `mpp ledger` what was spent (or with
//! `--server` what a server has taken); `mpp wallet`
//! keeps keys, `mpp config` the limits, and `mpp demo` is a server to try it all against. `mpp secret` makes what a server binds
//! its challenges with; `mpp decode` says in plain words what a header of the Machine Payments Protocol means. `mpp openapi`,
//! `llms`, `manifest`, `describe`, `validate` and `register` read and check what a service publishes, and do not pay (but for
//! `validate --pay`). These touch neither a configuration file nor an environment variable, and the network only where they are
//! given a URL.
//!
//! Exit codes: 0 done, 1 it failed (one sentence on standard error), a check found something or not all could be read, 2 wrong usage, 3 not paid, 4 paid and not delivered,
//! 22 the server answered with an error and `--fail` was given. With `--json`, which every command has, standard output is one
//! JSON document: the answer, or the failure.

#[cfg(feature = "chains")]
mod balance;
#[cfg(feature = "chains")]
mod chains;
mod config;
mod decode;
mod demo;
mod failure;
mod home;
mod input;
mod interrupt;
mod keys;
mod ledger;
mod man;
mod pay;
mod progress;
mod purse;
mod quote;
mod request;
mod secret;
mod service;
mod shell;
#[cfg(feature = "stores")]
mod takings;
mod terminal;
mod unsettled;
mod wallet;

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{Code, Failure};

#[derive(Parser)]
#[command(name = "mpp", version, about = "Tools for the Machine Payments Protocol (HTTP 402)")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pay(Box<pay::Options>),
    Quote(Box<quote::Options>),
    Ledger(ledger::Options),
    Wallet(wallet::Options),
    Config(config::Options),
    Demo(demo::Options),
    Secret(secret::Options),
    Decode(decode::Options),
    Openapi(service::documents::OpenApi),
    Llms(service::documents::Llms),
    Manifest(service::documents::Manifest),
    Describe(service::documents::Describe),
    Validate(Box<service::validate::Options>),
    Register(service::register::Options),
    Completions(shell::Options),
    Man(man::Options),
}

impl Command {
    /// Whether a program reads what is printed: then it reads failures too.
    fn is_for_a_program(&self) -> bool {
        match self {
            Command::Pay(options) => options.json,
            Command::Quote(options) => options.json,
            Command::Ledger(options) => options.format.json,
            Command::Wallet(options) => options.json(),
            Command::Config(options) => options.json,
            Command::Demo(options) => options.json,
            Command::Secret(options) => options.json,
            Command::Decode(options) => options.json,
            Command::Describe(options) => options.json,
            Command::Validate(options) => options.json,
            Command::Register(options) => options.json,
            Command::Openapi(options) => options.json,
            Command::Llms(options) => options.json,
            Command::Manifest(options) => options.json,
            Command::Completions(options) => options.json,
            Command::Man(options) => options.json,
        }
    }
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return misused(&error),
    };
    let is_for_a_program = command.is_for_a_program();
    let outcome = match command {
        Command::Pay(options) => online(pay::run(&options)).map(|()| Answer::default()),
        Command::Quote(options) => online(quote::run(&options)).map(|()| Answer::default()),
        Command::Ledger(options) => online(ledger::run(&options)),
        Command::Demo(options) => online(demo::run(&options)).map(|()| Answer::default()),
        Command::Wallet(options) => online(wallet::run(&options)),
        Command::Config(options) => config::run(&options),
        Command::Secret(options) => Ok(secret::run(&options)),
        Command::Decode(options) => decode::run(&options).map_err(Failure::from),
        Command::Openapi(options) => service::documents::openapi(&options).map_err(Failure::from),
        Command::Llms(options) => service::documents::llms(&options).map_err(Failure::from),
        Command::Manifest(options) => service::documents::manifest(&options).map_err(Failure::from),
        Command::Describe(options) => service::documents::describe_service(&options).map_err(Failure::from),
        Command::Validate(options) => service::validate::run(&options),
        Command::Register(options) => service::register::run(&options).map_err(Failure::from),
        Command::Completions(options) => Ok(shell::run(&options)),
        Command::Man(options) => man::run(&options),
    };
    match outcome {
        Ok(answer) => {
            let written = std::io::stdout().lock().write_all(answer.out.as_bytes());
            let warned = std::io::stderr().lock().write_all(answer.warnings.as_bytes());
            // A reader that has seen enough (`mpp decode … | head -1`) closes the pipe; that is not our
            // failure.
            match written.and(warned) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
                _ => answer.exit,
            }
        }
        Err(failure) => {
            if is_for_a_program {
                let _ = writeln!(std::io::stdout().lock(), "{}", failure.json());
            }
            let _ = writeln!(std::io::stderr().lock(), "mpp: {failure}");
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Wrong usage, or a question about the usage.
fn misused(error: &clap::Error) -> ExitCode {
    let is_wrong = error.use_stderr();
    // What was meant is not known; what was written is.
    let mut written = std::env::args_os().take_while(|argument| argument != "--");
    if is_wrong && written.any(|argument| argument == "--json") {
        let _ = writeln!(std::io::stdout().lock(), "{}", Failure::misused(error).json());
    }
    let _ = error.print();
    ExitCode::from(if is_wrong { Code::Usage as u8 } else { 0 })
}

/// Runs what needs the network or the disk in the background.
fn online<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(work)
}

/// What a command prints.
#[derive(Default)]
struct Answer {
    /// For standard output.
    out: zeroize::Zeroizing<String>,
    /// For standard error, beside what is printed.
    warnings: String,
    /// Success, but for a check that found something, or a ledger that could not be read to the full.
    exit: ExitCode,
}

impl Answer {
    /// A success that prints this.
    fn text(text: String) -> Self {
        Self { out: harmless(&text).into(), ..Self::default() }
    }
}

/// Text of somebody else's, for a terminal: what would move the cursor or turn the writing around is written as JSON
/// writes it, so that JSON stays JSON.
fn harmless(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() || turns(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
