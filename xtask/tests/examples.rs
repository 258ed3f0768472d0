//! Every example holds its own documents against its own challenges, route by route, from the router it mounts: a route that is
//! added to one is covered by that, and an example that is added without such a test fails here.

use std::fs;
use std::path::{Path, PathBuf};

/// What such a test calls, and what it counts the calls against.
const DRIFT: [&str; 2] = ["testing::assert_advertised(", ".mounted().len()"];

#[test]
fn every_example_holds_what_it_advertises_against_what_it_charges() {
    // Asked at run time: several clones may share one target folder.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where we are");
    let root = Path::new(&own).parent().expect("the repository");
    let folders = fs::read_dir(root.join("examples")).expect("the examples");
    let mut examples: Vec<PathBuf> = folders
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    examples.sort();
    assert!(examples.len() >= 3, "{examples:?}");
    let lacking: Vec<_> = examples.iter().filter(|example| !holds(&sources(example))).collect();
    assert!(
        lacking.is_empty(),
        "these examples have no test that calls `testing::assert_advertised` for every mounted route: {lacking:#?}"
    );
}

#[test]
fn an_example_without_the_test_or_without_the_count_is_found() {
    let good = "let n = testing::assert_advertised(&client, openapi).await; assert_eq!(n, routes().mounted().len());";
    assert!(holds(good));
    assert!(!holds(&good.replace("assert_advertised", "price_list")));
    assert!(!holds(&good.replace("mounted", "skipped")));
}

fn holds(source: &str) -> bool {
    DRIFT.iter().all(|needed| source.contains(needed))
}

/// All Rust of a package.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder of the example") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(&path).expect("a source file"));
        }
    }
    all
}
