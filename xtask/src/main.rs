//! The project's own commands: `cargo xtask test`, `cargo xtask bench`, `cargo xtask crash`, `cargo xtask fuzz`,
//! `cargo xtask guard`, `cargo xtask mutants`, `cargo xtask miri`.
//!
//! `test` is the one test command of this repository; `.ci/run` calls it and nothing else. It installs what
//! the tests need, runs the stages of [`stages`] one after another and ends with one line, `N passed, N
//! failed`. The others are for maintainers: `bench` measures everything and writes `benches/RESULTS.md`, `crash`
//! kills servers for longer than a test run does, `fuzz` gives every parser ten million inputs, `guard` counts the
//! instructions of the hot paths, `mutants` removes every check of the gate, the pipeline and the client in turn and reports
//! the ones no test misses, `miri` looks for undefined behaviour beneath the protocol core.

mod bench;
mod crash;
mod fuzz;
mod guard;
mod miri;
mod mutants;
mod run;
mod stages;
mod tally;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Tests, benchmarks and mutants of this repository"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up and run every check, and end with one line: `N passed, N failed`
    Test(stages::Selection),
    /// Run the benchmarks, and write benches/RESULTS.md and its plots
    Bench(bench::Options),
    /// Run the crash tests for long: storms of faults, killed shops, replicas on one database
    Crash(crash::Options),
    /// Run the fuzz targets (needs a nightly toolchain and a C++ compiler)
    Fuzz(fuzz::Options),
    /// Count the instructions of the hot paths and hold them against the committed counts (needs valgrind)
    Guard(guard::Options),
    /// Remove every check of the gate, the pipeline and the client in turn; a test must fail each time
    Mutants(mutants::Options),
    /// Run the protocol core's unit tests under Miri (needs a nightly toolchain with that component)
    Miri,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Workspace::load().map_err(Error::from).and_then(|workspace| match cli.command {
        Command::Test(selection) => stages::test(&workspace, &selection),
        Command::Bench(options) => bench::bench(&workspace, &options),
        Command::Crash(options) => crash::crash(&workspace, &options),
        Command::Fuzz(options) => fuzz::fuzz(&workspace, &options),
        Command::Guard(options) => guard::guard(&workspace, &options),
        Command::Mutants(options) => mutants::mutants(&workspace, &options),
        Command::Miri => miri::miri(&workspace),
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What stops a command before it can give a verdict.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Workspace(#[from] workspace::WorkspaceError),
    #[error(transparent)]
    Run(#[from] run::RunError),
    #[error("interrupted")]
    Interrupted,
    #[error("fuzzing needs `rustup toolchain install nightly`, and a C++ compiler for libFuzzer")]
    NoFuzz,
    #[error("{0}")]
    Fuzz(String),
    #[error("this needs Miri: `rustup component add --toolchain nightly miri rust-src`")]
    NoMiri,
    #[error(transparent)]
    Guard(#[from] guard::GuardError),
    #[error(transparent)]
    Mutants(#[from] mutants::MutantsError),
    #[error("cannot start cargo: {0}")]
    Crash(std::io::Error),
    #[error(transparent)]
    Bench(#[from] bench::BenchError),
}
