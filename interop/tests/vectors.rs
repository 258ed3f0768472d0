//! Golden vectors are computed again by their scripts, which share no code with what they check.

use std::path::Path;
use std::process::Command;

#[test]
fn the_script_of_stripes_golden_vectors_prints_the_committed_file() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mpp/tests/fixtures");
    let script = Command::new("python3").arg(fixtures.join("stripe-vectors.py")).output();
    let Ok(output) = script else {
        interop::missing("there is no python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let committed = std::fs::read_to_string(fixtures.join("stripe-vectors.json")).expect("the vectors");
    let printed = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    assert_eq!(printed.lines().collect::<Vec<_>>(), committed.lines().collect::<Vec<_>>());
}

#[test]
fn the_script_of_the_evm_golden_vectors_prints_the_committed_file() {
    if interop::lab().is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output =
        Command::new("node").current_dir(folder).arg("evm-vectors.mjs").output().expect("there is node");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let committed = std::fs::read_to_string(folder.join("../mpp/tests/fixtures/evm-vectors.json"));
    let printed = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        committed.expect("the vectors").lines().collect::<Vec<_>>()
    );
}

#[test]
fn viem_computes_the_golden_vectors_of_tempo_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    if interop::lab().is_none() {
        return;
    }
    let output =
        Command::new("node").current_dir(folder).arg("tempo_vectors.mjs").output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fixture = folder.join("../mpp/tests/fixtures/tempo-vectors.json");
    let committed = std::fs::read_to_string(fixture).expect("the vectors");
    let printed = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    assert_eq!(printed.lines().collect::<Vec<_>>(), committed.lines().collect::<Vec<_>>());
}
