//! The `mpp` command.
//!
//! `mpp secret` makes what a server binds its challenges with; `mpp decode` says in plain words what a header
//! of the Machine Payments Protocol means. Neither touches the network, a configuration file or an
//! environment variable.
//!
//! Exit codes: 0 done, 1 the input is not what the command reads (one sentence on standard error), 2 wrong
//! usage.

mod decode;
mod input;
mod secret;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "mpp", version, about = "Tools for the Machine Payments Protocol (HTTP 402)")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Secret(secret::Options),
    Decode(decode::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Secret(options) => Ok(secret::run(&options)),
        Command::Decode(options) => decode::run(&options),
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
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "mpp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a command prints.
#[derive(Default)]
struct Answer {
    /// For standard output.
    out: zeroize::Zeroizing<String>,
    /// For standard error; the command succeeded all the same.
    warnings: String,
}
