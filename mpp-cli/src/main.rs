//! The `mpp` command.
//!
//! `mpp pay` sends a request and pays for it, `mpp quote` says what that would cost, `mpp ledger` what was spent; `mpp wallet`
//! keeps keys, `mpp config` the limits, and `mpp demo` is a server to try it all against. `mpp secret` makes what a server binds
//! its challenges with; `mpp decode` says in plain words what a header of the Machine Payments Protocol means. Those two
//! touch neither the network nor a configuration file nor an environment variable.
//!
//! Exit codes: 0 done, 1 it failed (one sentence on standard error), 2 wrong usage, 3 not paid, 4 paid and not delivered,
//! 22 the server answered with an error and `--fail` was given.

mod config;
mod decode;
mod demo;
mod failure;
mod home;
mod input;
mod keys;
mod ledger;
mod pay;
mod quote;
mod request;
mod secret;
mod shell;
mod terminal;
mod wallet;

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

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
    Completions(shell::Completions),
    Man(shell::Man),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Pay(options) => online(pay::run(&options)).map(|()| Answer::default()),
        Command::Quote(options) => online(quote::run(&options)).map(|()| Answer::default()),
        Command::Ledger(options) => online(ledger::run(&options)),
        Command::Demo(options) => online(demo::run(&options)).map(|()| Answer::default()),
        Command::Wallet(options) => wallet::run(&options),
        Command::Config(options) => config::run(&options),
        Command::Secret(options) => Ok(secret::run(&options)),
        Command::Decode(options) => decode::run(&options).map_err(Failure::from),
        Command::Completions(options) => Ok(shell::completions(&options)),
        Command::Man(options) => shell::man(&options),
    };
    match outcome {
        Ok(answer) => {
            let written = std::io::stdout().lock().write_all(answer.out.as_bytes());
            let warned = std::io::stderr().lock().write_all(answer.warnings.as_bytes());
            // A reader that has seen enough (`mpp decode … | head -1`) closes the pipe; that is not our
            // failure.
            match written.and(warned) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
                _ => ExitCode::SUCCESS,
            }
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr().lock(), "mpp: {failure}");
            ExitCode::from(failure.code as u8)
        }
    }
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
    /// For standard error; the command succeeded all the same.
    warnings: String,
}
