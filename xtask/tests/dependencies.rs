//! What each feature set brings in, read from `cargo tree`: the protocol core stays free of I/O, and a server
//! that takes no payments on a chain does not compile alloy.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Names of every package in the normal and build dependencies of `mpp` with exactly these features.
fn packages(features: &str) -> BTreeSet<String> {
    let root =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where we are")).join("..");
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["tree", "--package", "mpp", "--no-default-features", "--features", features])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Those of `packages` that are one of `families`: the crate itself or one whose name starts with it and a
/// hyphen.
fn of_families<'a>(packages: &'a BTreeSet<String>, families: &[&str]) -> Vec<&'a str> {
    let belongs = |name: &str| {
        families.iter().any(|family| {
            name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    packages.iter().map(String::as_str).filter(|name| belongs(name)).collect()
}

const NONE: [&str; 0] = [];
const CHAINS: [&str; 6] = ["alloy", "tempo", "tempo-alloy", "aws-lc-sys", "aws-lc-rs", "k256"];

#[test]
fn the_protocol_core_without_features_has_no_io_and_no_web_framework() {
    let core = packages("");
    assert!(core.contains("serde"), "the tree was not read: {core:?}");
    let families = ["tokio", "axum", "hyper", "reqwest", "alloy", "tower", "http", "rustls", "mpp-macros"];
    assert_eq!(of_families(&core, &families), NONE);
}

#[test]
fn a_server_with_the_sandbox_or_with_stripe_has_no_chain_in_it() {
    for features in ["server,sandbox", "server,stripe", "server,sandbox,stripe", "server,redb", "testing"] {
        let server = packages(features);
        assert!(server.contains("axum"), "the tree of `{features}` was not read: {server:?}");
        assert_eq!(of_families(&server, &CHAINS), NONE, "with the features {features}");
    }
}

#[test]
fn documents_are_a_feature_of_their_own() {
    let families = ["utoipa", "utoipa-gen"];
    assert_eq!(of_families(&packages("server,sandbox"), &families), NONE);
    assert_eq!(of_families(&packages("openapi"), &families), families);
}

#[test]
fn stripe_brings_one_http_client_and_the_others_none() {
    let stripe = packages("stripe");
    for needed in ["reqwest", "rustls", "ring"] {
        assert!(stripe.contains(needed), "{needed}: {stripe:?}");
    }
    assert_eq!(of_families(&stripe, &["openssl-sys", "native-tls", "h2", "aws-lc-rs"]), NONE);
    for features in ["server,sandbox", "server,redb", "testing"] {
        assert_eq!(of_families(&packages(features), &["reqwest", "hyper-rustls"]), NONE, "with {features}");
    }
}

#[test]
fn the_sandbox_alone_brings_signatures_and_no_network() {
    let sandbox = packages("sandbox");
    assert!(sandbox.contains("ed25519-dalek"), "{sandbox:?}");
    assert_eq!(of_families(&sandbox, &["hyper", "reqwest", "alloy", "rustls"]), NONE);
}

#[test]
fn a_client_brings_one_http_client_and_neither_a_web_framework_nor_a_chain() {
    for features in ["client", "client,sandbox"] {
        let client = packages(features);
        for needed in ["reqwest", "reqwest-middleware", "rustls", "ring"] {
            assert!(client.contains(needed), "{needed}: {client:?}");
        }
        let server = ["axum", "mpp-macros", "inventory", "openssl-sys", "native-tls", "h2", "aws-lc-rs"];
        assert_eq!(of_families(&client, &server), NONE, "with {features}");
        assert_eq!(of_families(&client, &CHAINS), NONE, "with {features}");
    }
}

#[test]
fn evm_brings_alloy_and_nothing_of_tempo() {
    let evm = packages("evm");
    assert!(!of_families(&evm, &["alloy"]).is_empty(), "{evm:?}");
    assert_eq!(of_families(&evm, &["tempo", "tempo-alloy", "aws-lc-sys", "aws-lc-rs", "openssl-sys"]), NONE);
}

#[test]
fn tempo_is_what_brings_the_chain_in() {
    // The other direction of the tests above: they would pass over a tree that never names a chain.
    let tempo = packages("tempo");
    assert!(!of_families(&tempo, &["alloy"]).is_empty(), "{tempo:?}");
}

#[test]
fn the_assets_of_the_reference_page_come_with_its_feature_alone() {
    assert_eq!(of_families(&packages("server,openapi"), &["utoipa-swagger-ui", "zip", "regex"]), NONE);
    assert!(
        packages("reference").contains("utoipa-swagger-ui-vendored"),
        "from a crate, not from the network"
    );
}
