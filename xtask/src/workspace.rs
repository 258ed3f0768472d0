//! Where things are, and the two feature sets everything is built in.
//!
//! Building the same crates under many feature sets is what makes a test run slow, so there are exactly two:
//! *slim*, what `quickstart`, `ui-tests` and the macros need (no alloy), and *full*, every other member with
//! all features.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The members that are built slim; every other member is built with all features.
const SLIM: [&str; 3] = ["quickstart", "mpp-macros", "ui-tests"];

/// This repository, as `cargo metadata` describes it.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    /// Names of the members, in the order of the manifest.
    members: Vec<String>,
    integration_tests: Vec<TestTarget>,
}

/// One file of a member's `tests/` folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestTarget {
    pub(crate) package: String,
    pub(crate) name: String,
}

/// Which of the two builds a step uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeatureSet {
    Slim,
    Full,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    #[error("start me through cargo: `cargo xtask …`")]
    NotThroughCargo,
    #[error("cannot run `cargo metadata`: {0}")]
    Spawn(#[from] std::io::Error),
    #[error("`cargo metadata` failed:\n{0}")]
    Failed(String),
    #[error("cannot read the output of `cargo metadata`: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`cargo metadata` says nothing of `{0}`")]
    Missing(&'static str),
}

impl Workspace {
    pub(crate) fn load() -> Result<Workspace, WorkspaceError> {
        // Said by `cargo run`. Not the folder this was compiled in: clones may share one target folder.
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .ok_or(WorkspaceError::NotThroughCargo)?;
        let root = own.parent().unwrap_or(Path::new(".")).to_path_buf();
        let output =
            cargo().args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&root).output()?;
        if !output.status.success() {
            return Err(WorkspaceError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Workspace::parse(root, &serde_json::from_slice(&output.stdout)?)
    }

    fn parse(root: PathBuf, metadata: &Value) -> Result<Workspace, WorkspaceError> {
        let target =
            metadata["target_directory"].as_str().ok_or(WorkspaceError::Missing("target_directory"))?;
        let packages = metadata["packages"].as_array().ok_or(WorkspaceError::Missing("packages"))?;
        let mut members = Vec::new();
        let mut integration_tests = Vec::new();
        for package in packages {
            let name = package["name"].as_str().ok_or(WorkspaceError::Missing("packages[].name"))?;
            members.push(name.to_owned());
            for target in package["targets"].as_array().into_iter().flatten() {
                let is_test =
                    target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
                if let (true, Some(test)) = (is_test, target["name"].as_str()) {
                    integration_tests.push(TestTarget { package: name.to_owned(), name: test.to_owned() });
                }
            }
        }
        Ok(Workspace { root, target: PathBuf::from(target), members, integration_tests })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where logs and installed tools go: below cargo's target folder, so that `cargo clean` removes them
    /// too.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    pub(crate) fn integration_tests(&self) -> &[TestTarget] {
        &self.integration_tests
    }

    /// The `-p …` and feature arguments that select a set. Every cargo call of a set passes exactly these:
    /// another selection would unify features differently and compile the dependencies once more.
    pub(crate) fn select(&self, set: FeatureSet) -> Vec<String> {
        let mut args = Vec::new();
        for member in self.members.iter().filter(|member| set_of(member) == Some(set)) {
            args.push("--package".to_owned());
            args.push(member.clone());
        }
        if set == FeatureSet::Full {
            args.push("--all-features".to_owned());
        }
        args
    }
}

/// The set a member belongs to. `xtask` is in neither: it is built and tested as it runs.
pub(crate) fn set_of(member: &str) -> Option<FeatureSet> {
    match member {
        "xtask" => None,
        member if SLIM.contains(&member) => Some(FeatureSet::Slim),
        _ => Some(FeatureSet::Full),
    }
}

/// The cargo that runs us (set by `cargo run`), so that a pinned toolchain stays pinned.
///
/// What `cargo run` says of *this* package is taken out: the build script of `ring` looks at `CARGO_PKG_NAME` and its
/// like, so every change between `cargo xtask …` and plain `cargo …` would compile ring and all that stands on it again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    command
}

/// A program that finds the nightly toolchain.
pub(crate) fn nightly(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).arg(program);
    // Of this toolchain, not of that one.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Workspace {
        let metadata = json!({
            "target_directory": "/somewhere/target",
            "packages": [
                { "name": "mpp", "targets": [
                    { "name": "mpp", "kind": ["lib"] },
                    { "name": "pipeline", "kind": ["test"] },
                ]},
                { "name": "mpp-macros", "targets": [{ "name": "mpp_macros", "kind": ["proc-macro"] }] },
                { "name": "xtask", "targets": [{ "name": "xtask", "kind": ["bin"] }] },
                { "name": "shop", "targets": [] },
            ],
        });
        Workspace::parse(PathBuf::from("/somewhere"), &metadata).expect("the example is well formed")
    }

    #[test]
    fn every_member_but_xtask_is_in_exactly_one_set() {
        let workspace = example();
        assert_eq!(workspace.select(FeatureSet::Slim), ["--package", "mpp-macros"]);
        assert_eq!(
            workspace.select(FeatureSet::Full),
            ["--package", "mpp", "--package", "shop", "--all-features"]
        );
    }

    #[test]
    fn integration_tests_are_found_and_libraries_are_not_among_them() {
        let found = example().integration_tests;
        assert_eq!(found, [TestTarget { package: "mpp".to_owned(), name: "pipeline".to_owned() }]);
    }

    #[test]
    fn metadata_without_a_target_folder_is_an_error_that_says_so() {
        let error = Workspace::parse(PathBuf::new(), &json!({ "packages": [] })).err().expect("an error");
        assert_eq!(error.to_string(), "`cargo metadata` says nothing of `target_directory`");
    }
}
