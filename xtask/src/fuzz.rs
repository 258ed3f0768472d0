//! `cargo xtask fuzz`, and the stage of that name: every target of `fuzz/` for so many executions.
//!
//! The targets need a nightly compiler and cargo-fuzz; where one is missing the stage is skipped, and counted so. The stage leaves
//! the payment methods out, because their chains' libraries would be compiled once more; the command runs them too, for as
//! long as `fuzz/README.md` says they were run.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::Error;
use crate::run::Step;
use crate::tally::Counting;
use crate::workspace::Workspace;

/// The parsers of the protocol, and those of the payment methods.
const PROTOCOL: [&str; 10] = [
    "accept_payment",
    "amount",
    "authorization",
    "challenge_list",
    "credential",
    "did",
    "digest",
    "jcs",
    "receipt",
    "timestamp",
];
const METHODS: [&str; 6] = [
    "evm_payload",
    "evm_transaction",
    "sandbox_payload",
    "stripe_payload",
    "tempo_payload",
    "tempo_transaction",
];

/// Executions of each target in the test command: a second or so.
const SHORT: u64 = 50_000;
/// No header is longer that a stranger has to get right.
const LONGEST: &str = "-max_len=1024";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Executions of each target
    #[arg(long, default_value_t = 10_000_000)]
    runs: u64,
    /// Only these targets
    targets: Vec<String>,
}

/// Builds all targets and runs them one after another, until one finds something.
///
/// # Errors
/// When nightly or cargo-fuzz is missing, or a target failed.
pub(crate) fn fuzz(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    if !is_there() {
        return Err(Error::NoFuzz);
    }
    let mut build = cargo_fuzz(workspace);
    build.args(["build", "--sanitizer", "none", "--features", "methods"]);
    if !build.status().is_ok_and(|status| status.success()) {
        return Err(Error::Fuzz("the targets do not build".to_owned()));
    }
    for target in PROTOCOL.into_iter().chain(METHODS) {
        if !options.targets.is_empty() && !options.targets.iter().any(|wanted| wanted == target) {
            continue;
        }
        let mut run = run(workspace, target, options.runs, &["--features", "methods"]);
        run.stderr(Stdio::piped());
        let output = run.output().map_err(|error| Error::Fuzz(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            println!("{text}");
            return Err(Error::Fuzz(format!("`{target}` found something; see above and fuzz/artifacts")));
        }
        let done = text.lines().find(|line| line.contains("DONE")).unwrap_or("no summary");
        println!("{target:<20} {done}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The steps of the stage.
pub(crate) fn steps(workspace: &Workspace) -> Vec<Step> {
    if !is_there() {
        let mut why = Command::new("echo");
        why.arg("not run: needs a nightly toolchain and cargo-fuzz");
        return vec![Step::new(why, Counting::Skipped, Duration::from_secs(60))];
    }
    let mut build = cargo_fuzz(workspace);
    build.args(["build", "--sanitizer", "none"]);
    let build = Step::new(build, Counting::Setup, Duration::from_secs(10 * 60));
    let runs = PROTOCOL.into_iter().map(|target| {
        Step::new(run(workspace, target, SHORT, &[]), Counting::Check, Duration::from_secs(3 * 60))
    });
    std::iter::once(build).chain(runs).collect()
}

/// One target. What it finds goes to the scratch folder, so that a run leaves the repository as it was; the committed seeds
/// are read.
fn run(workspace: &Workspace, target: &str, runs: u64, more: &[&str]) -> Command {
    let found = workspace.scratch("fuzz-corpus").join(target);
    // cargo-fuzz says it better than we would if the folder cannot be made.
    let _ = std::fs::create_dir_all(&found);
    let mut run = cargo_fuzz(workspace);
    run.args(["run", "--sanitizer", "none"]).args(more).arg(target).arg(found);
    run.arg(Path::new("fuzz/corpus").join(target)).args(["--", LONGEST, "-timeout=10"]);
    run.arg(format!("-runs={runs}"));
    run
}

fn cargo_fuzz(workspace: &Workspace) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).current_dir(workspace.root());
    // Of this toolchain, not of that one.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("CARGO_TARGET_DIR", workspace.scratch("fuzz"));
    command
}

fn is_there() -> bool {
    let mut version = Command::new("rustup");
    version.args(["run", "nightly", "cargo", "fuzz", "--version"]).env_remove("RUSTUP_TOOLCHAIN");
    version.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_target_of_the_folder_is_run() {
        let workspace = Workspace::load().expect("this repository");
        let files = std::fs::read_dir(workspace.root().join("fuzz/fuzz_targets")).expect("the targets");
        let stem =
            |file: std::fs::DirEntry| file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let files: BTreeSet<_> = files.filter_map(|file| stem(file.expect("readable"))).collect();
        let named: BTreeSet<_> = PROTOCOL.into_iter().chain(METHODS).map(str::to_owned).collect();
        assert_eq!(named, files);
        for target in named {
            assert!(workspace.root().join("fuzz/corpus").join(&target).is_dir(), "{target} has no seeds");
        }
    }
}
