//! The README is true: its commands run and print what it shows, its feature table is the manifest's, its
//! links lead somewhere. (Its Rust blocks are documentation tests of `mpp`.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

mod console;

fn root() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where we are")).join("..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The lines of the fenced blocks of this language.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == language,
            None if inside => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// What cargo knows of the package `mpp`: its feature names.
fn features() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let mpp = packages.iter().find(|package| package["name"] == "mpp").expect("the package `mpp`");
    mpp["features"].as_object().expect("features").keys().cloned().collect()
}

#[test]
fn what_the_readme_tells_to_type_prints_what_it_shows() {
    for file in ["README.md", "CONTRIBUTING.md"] {
        console::check(&console::sessions(&read(file)), &root(), &root());
    }
}

#[test]
fn the_two_commands_exist() {
    // `quickstart` is run by the test above; running `xtask test` in a test of xtask would never end.
    assert_eq!(blocks(&read("README.md"), "sh"), ["cargo run -p quickstart", "cargo xtask test"]);
    let help =
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(["test", "--help"]).output().expect("xtask runs");
    assert!(help.status.success());
    assert!(read(".cargo/config.toml").contains("xtask = \"run --quiet --package xtask --\""));
}

#[test]
fn the_feature_table_is_the_manifests() {
    let readme = read("README.md");
    let rows = readme.lines().skip_while(|line| !line.starts_with("| feature |")).skip(2);
    let listed: BTreeSet<String> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.split('`').nth(1).map(str::to_owned))
        .collect();
    let mut there = features();
    assert!(there.remove("default"));
    assert_eq!(listed, there);
}

#[test]
fn the_dependency_line_names_a_git_source_and_features_that_exist() {
    let block = blocks(&read("README.md"), "toml");
    let line = block.iter().find(|line| line.starts_with("mpp = ")).expect("a dependency on mpp");
    assert!(line.contains("git = \""), "crates.io's `mpp` is another library: {line}");
    let (_, named) = line.split_once("features = [").expect("features");
    let named: Vec<&str> = named.split('"').skip(1).step_by(2).collect();
    let there = features();
    assert!(
        !named.is_empty() && named.iter().all(|feature| there.contains(*feature)),
        "{named:?} of {there:?}"
    );
}

#[test]
fn the_dependency_lines_name_every_crate_that_the_code_of_the_readme_uses() {
    let readme = read("README.md");
    let toml = blocks(&readme, "toml");
    let dependencies = toml.iter().skip_while(|line| *line != "[dependencies]").skip(1);
    let mut known: BTreeSet<String> = dependencies
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()))
        .collect();
    assert!(known.len() > 3, "{known:?}");
    known.extend(["std", "crate", "self"].map(str::to_owned));
    let mut code = blocks(&readme, "rust");
    code.extend(blocks(&readme, "rust,no_run"));
    let code: Vec<_> = code.iter().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
    };
    let imported: BTreeSet<_> =
        code.iter().filter(|line| line.starts_with("use ")).flat_map(|line| words(line)).collect();
    for line in &code {
        let is_import = line.starts_with("use ");
        // Every path begins with a crate or with something imported: what stands before the first `::`.
        for (end, _) in line.match_indices("::") {
            let before = &line[..end];
            let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
            let (rest, root) = before.split_at(start);
            let is_inner = rest.ends_with("::")
                || rest.ends_with('.')
                || root.is_empty()
                || root.starts_with(char::is_uppercase);
            let is_known = known.contains(root) || (!is_import && imported.contains(root));
            assert!(
                is_inner || is_known || (is_import && rest.contains('{')),
                "`{root}` of `{line}` is not installed"
            );
        }
    }
}

#[test]
fn links_within_the_repository_lead_to_files() {
    for file in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "mpp-cli/README.md"] {
        let text = read(file);
        let folder = root().join(file);
        let folder = folder.parent().expect("a file is in a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let local = !target.starts_with("http") && !target.starts_with('#');
            assert!(!local || folder.join(target).exists(), "{file} links to {target}");
        }
    }
}

#[test]
fn paths_the_documents_speak_of_exist() {
    for file in ["README.md", "CONTRIBUTING.md", "SECURITY.md"] {
        for word in read(file).split('`').skip(1).step_by(2) {
            let top = word.split('/').next().unwrap_or_default();
            let is_path = word.contains('/')
                && !word.contains([' ', '<', '*', ':'])
                && ["mpp", "xtask", "examples", "ui-tests", "benches", "interop"].contains(&top);
            assert!(!is_path || root().join(word).exists(), "{file} speaks of {word}");
        }
    }
}

#[test]
fn the_example_of_a_method_of_ones_own_is_as_short_as_the_readme_says() {
    let lines = read("examples/custom-method/src/lib.rs").lines().count();
    assert!(lines < 150, "{lines} lines");
    assert!(
        read("README.md").contains(&format!("in {lines} lines")),
        "the README says another number than {lines}"
    );
}

#[test]
fn the_example_of_a_method_of_ones_own_uses_nothing_that_is_not_public() {
    let source = read("examples/custom-method/src/lib.rs");
    assert!(!source.contains("__private") && !read("examples/custom-method/Cargo.toml").contains("path ="));
}
