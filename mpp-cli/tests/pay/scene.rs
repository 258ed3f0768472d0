use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

use crate::between::Between;

/// A home of its own, and a server that takes play money. Both are gone when the test ends.
pub(crate) struct Scene {
    _folder: TempDir,
    /// Not there yet.
    pub(crate) home: PathBuf,
    server: Option<Child>,
    pub(crate) url: String,
}

impl Scene {
    pub(crate) fn set() -> Scene {
        let mut scene = Scene::nobody();
        let mut command = mpp(&scene.home);
        command.args(["demo", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().expect("the demo starts");
        let mut url = String::new();
        BufReader::new(server.stdout.take().expect("a pipe"))
            .read_line(&mut url)
            .expect("the demo says where it is");
        (scene.server, scene.url) = (Some(server), url.trim().to_owned());
        scene
    }

    /// A home alone.
    pub(crate) fn nobody() -> Scene {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Scene { home: folder.path().join("home"), _folder: folder, server: None, url: String::new() }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        mpp(&self.home).args(args).stdin(Stdio::null()).output().expect("the command runs")
    }

    /// Starts the command, and reads what it says.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = mpp(&self.home);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the command starts")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Somebody between the command and the server, who does this; and where that is.
    pub(crate) fn between<T: Send + 'static>(
        &self,
        acts: impl FnOnce(&Between) -> T + Send + 'static,
    ) -> (String, JoinHandle<T>) {
        let between = Between::before(self.url.trim_start_matches("http://"));
        (between.url(), std::thread::spawn(move || acts(&between)))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::create_dir_all(&self.home).expect("a home");
        let path = self.home.join(name);
        std::fs::write(&path, text).expect("the home is writable");
        path.to_str().expect("a text path").to_owned()
    }

    /// State and amount of every payment in the ledger.
    pub(crate) fn ledger(&self) -> Vec<(String, String)> {
        let document = document(&self.run(&["ledger", "--json"]));
        let payments = document["payments"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        payments.iter().map(|one| (text(&one["outcome"]["state"]), text(&one["spent"][0]["units"]))).collect()
    }

    /// Where a payment without a delivery is kept.
    pub(crate) fn kept(&self, entry: &str) -> PathBuf {
        self.home.join(format!("unsettled/{entry}.json"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

pub(crate) fn mpp(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpp"));
    command.env("MPP_HOME", home);
    command
}

pub(crate) fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

pub(crate) fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

/// The one JSON document that is the whole of standard output.
pub(crate) fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}{}", out(output), err(output)))
}

/// The entry that a failure says can be asked for again.
pub(crate) fn entry_in(output: &Output) -> String {
    let told = err(output);
    let named = told.split("--resume ").nth(1).and_then(|rest| rest.split('`').next());
    named.unwrap_or_else(|| panic!("{told}")).to_owned()
}

pub(crate) fn paid(units: &str) -> (String, String) {
    ("paid".to_owned(), units.to_owned())
}
