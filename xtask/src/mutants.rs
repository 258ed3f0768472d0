//! `cargo xtask mutants`: every check of the gate and the pipeline is removed in turn, and a test must fail
//! each time.
//!
//! A surviving mutant is a check that no test holds. There are about 400, at half a minute each, so this is
//! for maintainers: before a release, and after a change to the files below. `--list` shows what would be
//! changed, `-- --shard 1/8` splits the work, and any other cargo-mutants option may follow `--`.

use std::process::{Command, ExitCode};

use crate::Error;
use crate::workspace::{Workspace, cargo};

/// The rooms in which a removed check lets somebody in unpaid, or twice.
const EXAMINED: [&str; 8] = [
    "mpp/src/protocol/binding.rs",
    "mpp/src/server/authorization.rs",
    "mpp/src/server/gate.rs",
    "mpp/src/server/journal.rs",
    "mpp/src/server/layer.rs",
    "mpp/src/server/pipeline.rs",
    "mpp/src/server/scope.rs",
    "mpp/src/server/settlement.rs",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print the mutants without running any
    #[arg(long)]
    list: bool,
    /// Options for cargo-mutants
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs cargo-mutants; its exit code is ours.
///
/// # Errors
/// When cargo-mutants is not installed.
pub(crate) fn mutants(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    let installed =
        cargo().args(["mutants", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        return Err(Error::NoMutants);
    }
    let mut command: Command = cargo();
    command.current_dir(workspace.root()).args(["mutants", "--package", "mpp", "--no-default-features"]);
    // No payment network: a mutant costs one build, and alloy would be in every one of them.
    command.args(["--features", "testing,redb", "--test-package", "mpp", "--jobs", "1"]);
    command.args(EXAMINED.iter().flat_map(|glob| ["--file", glob]));
    if options.list {
        command.arg("--list");
    }
    command.args(&options.rest);
    let status = command.status().map_err(|_| Error::NoMutants)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
