//! The README of the `mpp` command is true: every command in it is run, and prints what it says.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[path = "../../xtask/tests/console/mod.rs"]
mod console;

#[test]
fn every_command_of_the_readme_prints_what_the_readme_says() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let markdown = std::fs::read_to_string(manifest.join("README.md")).expect("the README");
    let folder = tempfile::tempdir().expect("a folder for what the commands write");
    // The chapter about a real chain is checked where there is one: interop/tests/mpp_pay.rs.
    let (before, after) = markdown.split_once("\n## Paying a shop on a real chain\n").expect("the chapter");
    let (_, after) = after.split_once("\n## ").expect("a chapter after it");
    let mut sessions = [before, after].map(console::sessions).concat();
    let demo = Demo::start(&folder.path().join("home"));
    // The installed command is called `mpp`; this one is the same, started through cargo. Its server has the port that was
    // free, and its home is not that of whoever runs the tests.
    for session in &mut sessions {
        let command = session.command.replace("cargo run --quiet -p mpp-cli --", "mpp");
        session.command =
            format!("export MPP_HOME=home; {}", command.replace("127.0.0.1:4020", &demo.address));
        let promised = session.promised.iter().map(|line| line.replace("127.0.0.1:4020", &demo.address));
        session.promised = promised.collect();
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_mpp"));
    console::check(&sessions, folder.path(), binary.parent().expect("the folder of the binary"));
}

/// The server that the README's reader has started; it stops with the test.
struct Demo {
    server: Child,
    address: String,
}

impl Demo {
    fn start(home: &Path) -> Demo {
        let mut server = Command::new(env!("CARGO_BIN_EXE_mpp"))
            .args(["demo", "--port", "0"])
            .env("MPP_HOME", home)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the demo starts");
        let mut url = String::new();
        BufReader::new(server.stdout.take().expect("a pipe"))
            .read_line(&mut url)
            .expect("it says where it is");
        Demo { server, address: url.trim().trim_start_matches("http://").to_owned() }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
