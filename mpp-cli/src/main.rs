//! The `mpp` command.
//!
//! `mpp secret` makes what a server binds its challenges with; `mpp decode` says in plain words what a header
//! of the Machine Payments Protocol means; the other commands read what a service publishes, and check it. No command
//! reads a configuration file or an environment variable, and only those that are given a URL touch the network.
//!
//! Exit codes: 0 done, 1 the input is not what the command reads (one sentence on standard error) or a check found
//! something, 2 wrong usage.

mod decode;
mod input;
mod secret;
mod service;

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
    Openapi(service::documents::OpenApi),
    Llms(service::documents::Llms),
    Manifest(service::documents::Manifest),
    Describe(service::documents::Describe),
    Validate(service::validate::Options),
    Register(service::register::Options),
}

fn main() -> ExitCode {
    let outcome: Result<Answer, Box<dyn std::error::Error>> = match Cli::parse().command {
        Command::Secret(options) => Ok(secret::run(&options)),
        Command::Decode(options) => decode::run(&options).map_err(Into::into),
        Command::Openapi(options) => service::documents::openapi(&options).map_err(Into::into),
        Command::Llms(options) => service::documents::llms(&options).map_err(Into::into),
        Command::Manifest(options) => service::documents::manifest(&options).map_err(Into::into),
        Command::Describe(options) => service::documents::describe_service(&options).map_err(Into::into),
        Command::Validate(options) => service::validate::run(&options).map_err(Into::into),
        Command::Register(options) => service::register::run(&options).map_err(Into::into),
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
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "mpp: {}", harmless(&error.to_string()));
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
    /// Success, but for a check that found something.
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
