//! Headless Chromium, one page at a time.

use crate::{fresh_address, missing};
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// An installed Chromium.
#[derive(Debug)]
pub struct Browser {
    program: PathBuf,
}

/// A page as it was shown.
#[derive(Debug)]
pub struct Shown {
    /// Its elements, serialized after loading.
    pub dom: String,
    /// What the browser had to say.
    pub console: String,
    /// A PNG.
    pub screenshot: Vec<u8>,
}

/// Chromium, or `None` where it is not installed: then the test is skipped and says so.
///
/// # Panics
/// Under `cargo xtask test`, when it is missing.
pub fn browser() -> Option<Browser> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        missing("chromium is not installed");
    }
    found.map(|program| Browser { program })
}

impl Browser {
    /// Opens a page in a fresh profile.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn open(&self, url: &str) -> Shown {
        let folder = std::env::temp_dir().join(format!("chromium-{}", fresh_address()));
        let picture = folder.join("page.png");
        let screenshot = format!("--screenshot={}", picture.display());
        let dom = self.run(&folder, &["--dump-dom", url]).await;
        let _ = self.run(&folder, &[&screenshot, "--window-size=900,1200", url]).await;
        let shown =
            Shown { dom: dom.0, console: dom.1, screenshot: std::fs::read(&picture).expect("a screenshot") };
        drop(std::fs::remove_dir_all(&folder));
        shown
    }

    async fn run(&self, folder: &std::path::Path, arguments: &[&str]) -> (String, String) {
        let mut command = Command::new(&self.program);
        // Tests may run as root, where the sandbox does not start.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display()));
        command.args(arguments).kill_on_drop(true);
        let ended = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&ended.stdout), text(&ended.stderr))
    }
}
