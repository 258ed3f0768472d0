//! `cargo xtask fuzz`, and the stage of that name: every target of `fuzz/` for so many executions.
//!
//! The targets need a nightly compiler, and libFuzzer one of C++; where either is missing the stage is skipped, and counted so.
//! cargo-fuzz is installed. The stage leaves the payment methods out, because their chains' libraries would be compiled once more;
//! the command runs them too, for as long as `fuzz/README.md` says they were run.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::Error;
use crate::run::Step;
use crate::tally::Counting;
use crate::tools;
use crate::workspace::{Workspace, nightly};

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
/// When a compiler is missing, cargo-fuzz cannot be installed, or a target failed.
pub(crate) fn fuzz(workspace: &Workspace, options: &Options) -> Result<ExitCode, Error> {
    if !can_build() {
        return Err(Error::NoFuzz);
    }
    let (program, install) = tools::CARGO_FUZZ.program(workspace);
    if let Some(mut install) = install {
        succeeds(&mut install.command, "cargo-fuzz cannot be installed")?;
    }
    let fuzzer = Fuzzer { workspace, program };
    succeeds(&mut fuzzer.build(&["--features", "methods"]), "the targets do not build")?;
    for target in PROTOCOL.into_iter().chain(METHODS) {
        if !options.targets.is_empty() && !options.targets.iter().any(|wanted| wanted == target) {
            continue;
        }
        let mut run = fuzzer.run(target, options.runs, &["--features", "methods"]);
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

fn succeeds(command: &mut Command, otherwise: &str) -> Result<(), Error> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Error::Fuzz(otherwise.to_owned())),
    }
}

/// The steps of the stage.
pub(crate) fn steps(workspace: &Workspace) -> Vec<Step> {
    if !can_build() {
        let mut why = Command::new("echo");
        why.arg("not run: needs a nightly toolchain and a C++ compiler");
        return vec![Step::new(why, Counting::Skipped, Duration::from_secs(60))];
    }
    let (program, install) = tools::CARGO_FUZZ.program(workspace);
    let fuzzer = Fuzzer { workspace, program };
    let build = Step::new(fuzzer.build(&[]), Counting::Setup, Duration::from_secs(10 * 60));
    let runs = PROTOCOL.into_iter().map(|target| {
        Step::new(fuzzer.run(target, SHORT, &[]), Counting::Check, Duration::from_secs(3 * 60))
    });
    install.into_iter().chain([build]).chain(runs).collect()
}

/// cargo-fuzz, under nightly.
struct Fuzzer<'a> {
    workspace: &'a Workspace,
    program: OsString,
}

impl Fuzzer<'_> {
    fn build(&self, more: &[&str]) -> Command {
        let mut build = self.command();
        build.args(["build", "--sanitizer", "none"]).args(more);
        build
    }

    /// One target. What it finds goes to the scratch folder, so that a run leaves the repository as it was; the committed seeds
    /// are read.
    fn run(&self, target: &str, runs: u64, more: &[&str]) -> Command {
        let found = self.workspace.scratch("fuzz-corpus").join(target);
        // cargo-fuzz says it better than we would if the folder cannot be made.
        let _ = std::fs::create_dir_all(&found);
        let mut run = self.command();
        run.args(["run", "--sanitizer", "none"]).args(more).arg(target).arg(found);
        run.arg(Path::new("fuzz/corpus").join(target)).args(["--", LONGEST, "-timeout=10"]);
        run.arg(format!("-runs={runs}"));
        run
    }

    fn command(&self) -> Command {
        let mut command = nightly(&self.program);
        command.current_dir(self.workspace.root());
        command.env("CARGO_TARGET_DIR", self.workspace.scratch("fuzz"));
        command
    }
}

fn can_build() -> bool {
    let cxx = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    [nightly("cargo"), Command::new(cxx)].into_iter().all(|mut compiler| {
        compiler.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        compiler.status().is_ok_and(|status| status.success())
    })
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
