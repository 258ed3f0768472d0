//! The copy of the repository that holds every mutant, and its one build.
//!
//! A mutant the compiler refuses is left out, and the copy is built again: a refused mutant is no mutant.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Mutant, MutantsError, sites};
use crate::workspace::{FeatureSet, Workspace, cargo};

/// How often mutants are left out before the rest is given up: the compiler checks types before it checks moves.
const BUILDS: u32 = 12;

/// Cargo names what it builds by package and settings, not by folder. With a setting of its own, the copy never passes
/// for the repository, nor the repository for the copy.
const APART: &str = "profile.dev.package.mpp.codegen-units=15";

/// A test program.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// `pipeline`, or `unit tests`.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// The copy.
pub(super) struct Tree {
    pub(super) root: PathBuf,
}

impl Tree {
    /// Copies what is in the repository or about to be, with the times of change: what is not mutated is not compiled
    /// again.
    pub(super) fn copy(workspace: &Workspace) -> Result<Tree, MutantsError> {
        let root = workspace.scratch("mutants").join("tree");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace.root())
            .output()?;
        for file in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            let (from, to) = (workspace.root().join(file), root.join(file));
            if !from.is_file() {
                continue; // removed, and not committed yet
            }
            fs::create_dir_all(to.parent().unwrap_or(&root))?;
            fs::copy(&from, &to)?;
            fs::File::options().write(true).open(&to)?.set_modified(fs::metadata(&from)?.modified()?)?;
        }
        Ok(Tree { root })
    }

    /// Builds the tests with every mutant in them. The mutants that do not compile are taken out of `mutants`.
    pub(super) fn build(
        &self,
        workspace: &Workspace,
        mutants: &mut Vec<Mutant>,
        tests: &[&str],
    ) -> Result<Vec<Program>, MutantsError> {
        let runtime = format!("\n{}", include_str!("runtime.rs"));
        let library = self.root.join("mpp/src/lib.rs");
        fs::write(&library, fs::read_to_string(&library)? + &runtime)?;
        for _ in 0..BUILDS {
            self.write(workspace, mutants)?;
            let output = self
                .cargo(workspace)
                .args(["--config", APART, "test", "--no-run", "--message-format", "json", "--lib"])
                .args(workspace.select(FeatureSet::Full))
                .args(tests.iter().flat_map(|test| ["--test", test]))
                .output()?;
            let stdout = String::from_utf8_lossy(&output.stdout);
            let messages: Vec<Value> =
                stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if output.status.success() {
                return Ok(messages.iter().filter_map(|message| self.program(message, tests)).collect());
            }
            let refused = refused(&messages, mutants);
            if refused.is_empty() {
                let errors = messages.iter().filter_map(|message| message["message"]["rendered"].as_str());
                return Err(MutantsError::Build(errors.collect()));
            }
            let left_out = mutants.iter().filter(|mutant| refused.contains(&mutant.id));
            left_out.for_each(|mutant| println!("  does not compile: {}", mutant.line()));
            mutants.retain(|mutant| !refused.contains(&mutant.id));
        }
        Err(MutantsError::Build(format!("not in {BUILDS} builds")))
    }

    /// Cargo for the copy: it builds where the repository builds, so that the dependencies are there already.
    fn cargo(&self, workspace: &Workspace) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root).stderr(Stdio::null()).env("CARGO_INCREMENTAL", "0");
        command.env("CARGO_TARGET_DIR", workspace.scratch(""));
        command
    }

    /// A test program of `mpp` that was asked for: other members have tests of the same names.
    fn program(&self, message: &Value, tests: &[&str]) -> Option<Program> {
        let path = PathBuf::from(message["executable"].as_str()?);
        let manifest = message["manifest_path"].as_str()?;
        let name = message["target"]["name"].as_str()?;
        let kind = message["target"]["kind"][0].as_str()?;
        if Path::new(manifest) != self.root.join("mpp/Cargo.toml") {
            return None;
        }
        match kind {
            "test" if tests.contains(&name) => Some(Program { name: name.to_owned(), path }),
            "lib" => Some(Program { name: "unit tests".to_owned(), path }),
            _ => None,
        }
    }

    fn write(&self, workspace: &Workspace, mutants: &[Mutant]) -> Result<(), MutantsError> {
        for file in mutants.iter().map(|mutant| &mutant.file).collect::<BTreeSet<_>>() {
            let of_file = mutants.iter().filter(|mutant| mutant.file == *file);
            let source = fs::read_to_string(workspace.root().join(file))?;
            let text = sites::write(&source, of_file.map(|mutant| (mutant.id, &mutant.site.change)));
            fs::write(self.root.join(file), text)?;
        }
        Ok(())
    }
}

/// The mutants on the lines the compiler complains about. Negations fit everywhere, so what is beside one goes first.
fn refused(messages: &[Value], mutants: &[Mutant]) -> BTreeSet<u32> {
    let mut refused = BTreeSet::new();
    for error in messages.iter().map(|message| &message["message"]).filter(|error| error["level"] == "error")
    {
        let spans = error["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let hit = |mutant: &&Mutant| {
            spans.iter().any(|span| {
                let line = |name: &str| span[name].as_u64().unwrap_or(0) as usize;
                let (first, last) = mutant.site.lines;
                span["file_name"] == mutant.file && line("line_start") <= last && line("line_end") >= first
            })
        };
        let hits: Vec<&Mutant> = mutants.iter().filter(hit).collect();
        let likely = hits.iter().filter(|mutant| !mutant.site.change.always_fits());
        let likely: Vec<u32> = likely.map(|mutant| mutant.id).collect();
        refused.extend(if likely.is_empty() {
            hits.iter().map(|mutant| mutant.id).collect()
        } else {
            likely
        });
    }
    refused
}
