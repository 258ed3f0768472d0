//! Cases that trybuild cannot show: another feature set, and a warning that it suppresses.
//!
//! Each fixture is checked as a library of its own, with the lock file of this workspace and without the network.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_method_whose_feature_is_off_is_reported_by_its_name() {
    let said = check("method_feature_off", &["server"]);
    assert_eq!(said.matches("\nerror[").count(), 1, "{said}");
    assert!(said.contains("`Stripe`"), "{said}");
    assert!(said.contains("src/lib.rs:4:58"), "the error stands where the method is named\n{said}");
    assert!(said.contains("feature = \"stripe\""), "rustc names the feature\n{said}");
}

#[test]
fn a_priced_handler_nobody_mounts_is_reported_as_unused() {
    let said = check("unused_handler", &["server", "stripe"]);
    assert_eq!(said.matches("warning: function `weather` is never used").count(), 1, "{said}");
    assert!(said.contains("src/lib.rs:5:10"), "the warning stands at the name\n{said}");
    assert_eq!(said.matches("warning: ").count(), 1, "and nothing else is\n{said}");
}

/// What `cargo check` says about `fixtures/<name>.rs`.
fn check(name: &str, features: &[&str]) -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().expect("this package is in a workspace");
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    let package = scratch.join(name);
    let src = package.join("src");
    std::fs::create_dir_all(&src).expect("the scratch directory can be made");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nmpp = {{ path = {:?}, default-features = false, features = {features:?} }}\n",
        workspace.join("mpp"),
    );
    std::fs::write(package.join("Cargo.toml"), manifest).expect("the manifest can be written");
    std::fs::copy(workspace.join("Cargo.lock"), package.join("Cargo.lock"))
        .expect("the lock file can be copied");
    let source = here.join("fixtures").join(name).with_extension("rs");
    std::fs::copy(source, src.join("lib.rs")).expect("the fixture can be copied");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--color=never"])
        .current_dir(&package)
        // Not the directory of the cargo that runs this test.
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    // So that every diagnostic starts after a line break.
    format!("\n{}", String::from_utf8_lossy(&output.stderr))
}
