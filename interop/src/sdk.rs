//! Stripe's own SDKs, which check the stand-in from outside: `stripe_outside.mjs` (npm) and `stripe_outside.py` (PyPI).

use crate::process::Process;
use crate::stripe::{SECRET_KEY, StandIn};
use crate::{Lab, missing};
use serde_json::Value;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The version of Stripe's API that knows shared payment tokens.
const VERSION: &str = "2026-07-29.preview";

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// npm `stripe`.
    Node,
    /// PyPI `stripe`.
    Python,
}

/// A running SDK; stopped when dropped.
#[derive(Debug)]
pub struct Sdk {
    /// Which.
    pub language: Language,
    process: Process,
}

/// The error an SDK has made of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkError {
    /// The class, without `Stripe` before it: `CardError`.
    pub class: String,
    /// The HTTP status.
    pub status: Option<u64>,
    /// `code`, `decline_code` and `param`; empty where there is none.
    pub code: String,
    /// See `code`.
    pub decline_code: String,
    /// See `code`.
    pub param: String,
}

impl Lab {
    /// Starts an SDK; `None`, as for the lab itself, where it is not installed.
    pub fn stripe_sdk(&self, language: Language, stripe: &StandIn) -> Option<Sdk> {
        let (name, mut command) = match language {
            Language::Node => {
                let mut command = Command::new("node");
                command.arg("stripe_outside.mjs");
                ("npm stripe", command)
            }
            Language::Python => {
                let Some(python) = python() else {
                    missing("PyPI `stripe` is not installed (see interop/README.md)");
                    return None;
                };
                let mut command = Command::new(python);
                command.arg("stripe_outside.py");
                ("PyPI stripe", command)
            }
        };
        command.current_dir(&self.folder).args([&stripe.url, SECRET_KEY, VERSION]);
        Some(Sdk { language, process: Process::start(name, &mut command) })
    }
}

impl Sdk {
    /// One call: the object Stripe answered, or the SDK's error.
    ///
    /// # Panics
    /// When the SDK fails in another way than by an error of its own.
    pub async fn ask(&mut self, question: Value) -> Result<Value, SdkError> {
        let line = format!("{question}\n");
        self.process.input().write_all(line.as_bytes()).await.expect("the SDK listens");
        let mut said: Value = serde_json::from_str(&self.process.line().await).expect("the SDK speaks JSON");
        let error = said["error"].take();
        if error.is_null() {
            return Ok(said["object"].take());
        }
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        Err(SdkError {
            class: text("class").trim_start_matches("Stripe").to_owned(),
            status: error["status"].as_u64(),
            code: text("code"),
            decline_code: text("decline_code"),
            param: text("param"),
        })
    }
}

/// The interpreter of the environment that `cargo xtask test` makes beside the built programs.
fn python() -> Option<PathBuf> {
    python_program("python")
}

/// A program of that environment.
pub(crate) fn python_program(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    // target/debug/deps/this-test
    let target = own.ancestors().nth(3)?;
    [format!("bin/{name}"), format!("Scripts/{name}.exe")]
        .map(|file| target.join("interop-python").join(file))
        .into_iter()
        .find(|file| file.is_file())
}
