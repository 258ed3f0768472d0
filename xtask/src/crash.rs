//! `cargo xtask crash`: the long crash runs, of which `cargo xtask test` makes a short one each time.
//!
//! Storms of faults in process, shops that are killed, three shops on one database, and servers that are stopped at every
//! operation. What came out the last time is in `mpp/tests/CRASH.md`.

use std::process::{Command, ExitCode};

use crate::Error;
use crate::workspace::{Workspace, cargo};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Purchases in a storm of faults, in process
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    storms: u64,
    /// Repeats one storm alone
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Shops that are killed in the middle of a payment (`kill -9`)
    #[arg(long, value_name = "N", default_value_t = 200)]
    runs: u64,
    /// Requests in play money to three shops on one database that are killed now and then; a twenty-fifth more on a chain
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    requests: u64,
}

/// Runs them one after the other, and shows what they say.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn crash(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    let mut storms = tests(workspace, "mpp", "crash");
    storms.env("MPP_CRASH_RUNS", options.storms.to_string());
    if let Some(seed) = options.seed {
        storms.env("MPP_CRASH_SEED", seed.to_string()).arg("storm");
        return run(&mut storms);
    }
    let mut kills = tests(workspace, "interop", "kill");
    kills.env("MPP_KILL_RUNS", options.runs.to_string());
    let mut replicas = tests(workspace, "interop", "replicas");
    replicas.env("MPP_REPLICA_REQUESTS", options.requests.to_string()).arg("--test-threads=1");
    let mut verdict = ExitCode::SUCCESS;
    for mut command in [storms, tests(workspace, "interop", "stopped"), kills, replicas] {
        if run(&mut command)? != ExitCode::SUCCESS {
            verdict = ExitCode::FAILURE;
        }
    }
    Ok(verdict)
}

fn tests(workspace: &Workspace, package: &str, name: &str) -> Command {
    let mut command = cargo();
    command.current_dir(workspace.root()).env("MPP_XTASK", "1");
    // The feature set of the tests, so that nothing is built twice.
    command.args(["test", "--package", package, "--all-features", "--test", name, "--", "--nocapture"]);
    command
}

fn run(command: &mut Command) -> Result<ExitCode, Error> {
    let status = command.status().map_err(Error::Crash)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
