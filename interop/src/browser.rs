//! Headless Chromium (Debian's), one page at a time: `browser.mjs` drives it with npm `puppeteer-core` and asks `axe-core` what
//! is not accessible.

use crate::{Lab, missing};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(90);

/// An installed Chromium.
#[derive(Debug)]
pub struct Browser {
    program: PathBuf,
    folder: PathBuf,
}

/// What the reader prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// A page as it was shown.
#[derive(Debug, Deserialize)]
pub struct Shown {
    /// Its elements, serialized after loading.
    pub dom: String,
    /// What a reader sees.
    pub text: String,
    /// Every address that was asked for something.
    pub asked: Vec<String>,
    /// What the browser had to say: errors of scripts, and what the page's policy refused.
    pub complaints: Vec<String>,
    /// What axe finds wrong: rule, explanation, elements.
    pub violations: Vec<String>,
    /// Rules of axe that found something and were kept.
    pub checked: usize,
    /// A PNG.
    #[serde(skip)]
    pub screenshot: Vec<u8>,
}

impl Lab {
    /// Chromium, or `None` where it is not installed: then the test is skipped and says so.
    ///
    /// # Panics
    /// Under `cargo xtask test`, when it is missing.
    pub fn browser(&self) -> Option<Browser> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)))
            .find(|file| file.is_file());
        let driver = self.folder().join("node_modules/puppeteer-core").exists();
        if program.is_none() || !driver {
            missing("chromium or npm `puppeteer-core` is not installed");
            return None;
        }
        program.map(|program| Browser { program, folder: self.folder().to_owned() })
    }
}

impl Browser {
    /// Opens a page in a fresh profile, waits until there is an element that `selector` names, clicks on what `clicks` name, one
    /// after the other, and looks at it. The picture is kept in the folder that `MPP_SCREENSHOTS` names, if it does.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn open(&self, url: &str, scheme: Scheme, selector: &str, clicks: &[&str]) -> Shown {
        let picture = tempfile::Builder::new().suffix(".png").tempfile().expect("a temporary file");
        let mut command = Command::new("node");
        command.current_dir(&self.folder).arg("browser.mjs").arg(&self.program).arg(url);
        command.arg(format!("{scheme:?}").to_lowercase()).arg(selector).arg(picture.path()).args(clicks);
        command.kill_on_drop(true);
        let ended = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        let said = String::from_utf8_lossy(&ended.stdout);
        let mut shown: Shown = serde_json::from_str(&said)
            .unwrap_or_else(|e| panic!("{e}: {said}\n{}", String::from_utf8_lossy(&ended.stderr)));
        shown.screenshot = std::fs::read(&picture).expect("a screenshot");
        if let Some(folder) = std::env::var_os("MPP_SCREENSHOTS") {
            let name: String = url
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '/')
                .collect::<String>()
                .replace('/', "-");
            let kept = PathBuf::from(folder).join(format!("{name}-{scheme:?}.png"));
            std::fs::copy(&picture, kept).expect("the folder is there");
        }
        shown
    }
}

impl Shown {
    /// The page asked nobody but `server`, the browser had nothing to complain of but a status, and there is a picture of it.
    ///
    /// # Panics
    /// With what is wrong.
    pub fn assert_sound(&self, server: &str) {
        let elsewhere: Vec<_> =
            self.asked.iter().filter(|url| !url.starts_with(server) && !url.starts_with("data:")).collect();
        assert!(elsewhere.is_empty(), "it asked somebody else: {elsewhere:?}");
        // Chromium reports a status of 400 and above as an error of the page.
        let complaints: Vec<_> = self
            .complaints
            .iter()
            .filter(|said| !said.contains("the server responded with a status of 402"))
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        assert!(self.screenshot.len() > 10_000, "an empty page: {} bytes", self.screenshot.len());
    }
}
