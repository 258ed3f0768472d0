//! The README of the `mpp` command is true: every command in it is run, and prints what it says.

use std::path::Path;

#[path = "../../xtask/tests/console/mod.rs"]
mod console;

#[test]
fn every_command_of_the_readme_prints_what_the_readme_says() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let markdown = std::fs::read_to_string(manifest.join("README.md")).expect("the README");
    let folder = std::env::temp_dir().join(format!("mpp-readme-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for what the commands write");
    let mut sessions = console::sessions(&markdown);
    // The installed command is called `mpp`; this one is the same, started through cargo.
    for session in &mut sessions {
        session.command = session.command.replace("cargo run --quiet -p mpp-cli --", "mpp");
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_mpp"));
    console::check(&sessions, &folder, binary.parent().expect("the folder of the binary"));
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}
