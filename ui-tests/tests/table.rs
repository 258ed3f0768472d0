//! The table in the README is complete, and so are the files it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// About sessions and subscriptions, which are not in this release.
const NOT_YET: [u32; 3] = [45, 46, 64];
/// Checked by `tests/fixtures.rs`.
const FIXTURES: [u32; 2] = [33, 79];
const LAST: u32 = 79;

#[test]
fn every_diagnostic_of_the_design_has_its_case() {
    let table = numbered();
    let expected: Vec<u32> = (1..=LAST).filter(|n| !NOT_YET.contains(n)).collect();
    assert_eq!(table.keys().copied().collect::<Vec<_>>(), expected);
    for (number, case) in &table {
        if FIXTURES.contains(number) {
            assert!(exists(&format!("fixtures/{case}.rs")), "{number}: fixtures/{case}.rs is missing");
        } else {
            assert_case(case);
        }
    }
}

#[test]
fn every_case_is_in_the_table() {
    let numbered: BTreeSet<String> = numbered().into_values().collect();
    let more: BTreeSet<String> = rows().into_iter().filter_map(|row| case(&row[0])).collect();
    for case in &more {
        assert_case(case);
    }
    for file in files("tests/ui/fail") {
        let case = file.split('.').next().unwrap_or_default().to_owned();
        assert!(numbered.contains(&case) || more.contains(&case), "{case} is not in the README");
    }
}

#[test]
fn one_mistake_is_one_error() {
    let mistakes = |case: &str| match case {
        "several_mistakes_at_once" => 5,
        "const_unsafe_extern" => 3,
        "body_error_is_where_it_was_written" => 2,
        _ => 1,
    };
    for file in files("tests/ui/fail").into_iter().filter(|file| file.ends_with(".stderr")) {
        let case = file.trim_end_matches(".stderr");
        let said = std::fs::read_to_string(here(&format!("tests/ui/fail/{file}"))).expect("it was listed");
        let errors = said.lines().filter(|line| line.starts_with("error")).count();
        assert_eq!(errors, mistakes(case), "{case}:\n{said}");
    }
}

#[test]
fn the_macros_know_the_currencies_of_the_protocol() {
    let source =
        std::fs::read_to_string(here("../mpp-macros/src/currency.rs")).expect("the macros are beside us");
    let list =
        source.split_once("const KNOWN: &[(&str, u8)] = &[").and_then(|(_, rest)| rest.split_once("];"));
    let listed: Vec<String> = list
        .expect("the list")
        .0
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .split("), ")
        .map(|entry| entry.trim_matches([' ', '(', ')', ',']).to_owned())
        .collect();
    let known: Vec<String> =
        mpp::Currency::KNOWN.iter().map(|c| format!("\"{}\", {}", c.name, c.decimals)).collect();
    assert_eq!(listed, known);
}

fn numbered() -> BTreeMap<u32, String> {
    let entry = |row: Vec<String>| Some((row.first()?.parse().ok()?, case(row.get(1)?)?));
    rows().into_iter().filter_map(entry).collect()
}

/// The cells of every table row of the README.
fn rows() -> Vec<Vec<String>> {
    let readme = std::fs::read_to_string(here("README.md")).expect("the README is there");
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    readme.lines().filter(|line| line.starts_with("| ")).map(cells).collect()
}

/// `` `name` `` in a cell of its own.
fn case(cell: &str) -> Option<String> {
    let name = cell.strip_prefix('`')?.strip_suffix('`')?;
    name.chars().all(|c| c.is_ascii_lowercase() || c == '_').then(|| name.to_owned())
}

fn assert_case(case: &str) {
    for extension in ["rs", "stderr"] {
        assert!(exists(&format!("tests/ui/fail/{case}.{extension}")), "{case}.{extension} is missing");
    }
}

fn files(folder: &str) -> Vec<String> {
    std::fs::read_dir(here(folder))
        .expect("the folder is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

fn exists(path: &str) -> bool {
    here(path).exists()
}

fn here(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
