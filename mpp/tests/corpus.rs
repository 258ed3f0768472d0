//! Every input that fuzzing has kept (`fuzz/corpus`) once more, through the functions of its target: what was found to be
//! worth trying is tried by everybody, without a nightly compiler.
#![cfg(all(feature = "testing", feature = "evm", feature = "stripe", feature = "tempo"))]

#[expect(unreachable_pub, reason = "a part of the library of `fuzz/`")]
#[path = "../../fuzz/src/methods/mod.rs"]
mod methods;
#[expect(unreachable_pub, reason = "a part of the library of `fuzz/`")]
#[path = "../../fuzz/src/protocol.rs"]
mod protocol;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// The files of a folder, or its folders.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn replay(targets: &[protocol::Target]) {
    for (name, target) in targets {
        let inputs = entries(&corpora().join(name));
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            assert!(catch_unwind(|| target(&bytes)).is_ok(), "{name} fails on {}", input.display());
        }
    }
}

#[test]
fn every_corpus_is_replayed() {
    let targets = protocol::TARGETS.into_iter().chain(methods::TARGETS);
    let replayed: BTreeSet<_> = targets.map(|(name, _)| name.to_owned()).collect();
    let name = |folder: PathBuf| folder.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(replayed, entries(&corpora()).into_iter().map(name).collect::<BTreeSet<_>>());
}

#[test]
fn what_fuzzing_kept_of_the_protocol_is_read_as_its_targets_say() {
    replay(&protocol::TARGETS);
}

#[test]
fn what_fuzzing_kept_of_the_payment_methods_is_refused_or_paid_as_its_targets_say() {
    replay(&methods::TARGETS);
}
