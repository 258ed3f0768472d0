//! `mppx validate`: what another SDK says of a server, its documents and its payments.

use crate::stripe::{SECRET_KEY, StandIn};
use crate::{CHAIN_ID, Chain, Lab};
use serde_json::Value;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// Each route is paid for, one after the other.
const PATIENCE: Duration = Duration::from_secs(240);

/// What it said.
#[derive(Debug)]
pub struct Verdict {
    /// Checks that passed.
    pub passed: u64,
    /// Errors, as `label: detail`.
    pub failed: Vec<String>,
    /// Warnings and suggestions, in the same form.
    pub warnings: Vec<String>,
    /// Payments it did not make.
    pub skipped: Vec<String>,
    /// The paid routes it found, `GET /charge`.
    pub routes: Vec<String>,
    /// How many payments were answered with a success and a receipt.
    pub payments: usize,
}

impl Lab {
    /// Validates the server at `url`, paying from anvil's first account and with a test card, as far as there are any.
    ///
    /// # Panics
    /// When it does not come to an end.
    pub async fn validate(&self, url: &str, chain: Option<&Chain>, stripe: Option<&StandIn>) -> Verdict {
        let mut command = Command::new("node");
        command.current_dir(self.folder()).args([
            "node_modules/mppx/dist/bin.js",
            "validate",
            url,
            "--yes",
            "-j",
        ]);
        command.env("MPPX_CONFIG", "validate.config.mjs").kill_on_drop(true);
        if let Some(chain) = chain {
            command.env("RPC", &chain.url).env("CHAIN_ID", CHAIN_ID.to_string());
        }
        if let Some(stripe) = stripe {
            command.env("STRIPE_URL", &stripe.url).env("STRIPE_KEY", SECRET_KEY);
        }
        let ended = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        let said = String::from_utf8_lossy(&ended.stdout);
        let json = said.find('{').map_or("", |at| &said[at..]);
        let report: Value = serde_json::from_str(json)
            .unwrap_or_else(|e| panic!("{e}: {said}\n{}", String::from_utf8_lossy(&ended.stderr)));
        Verdict::of(&report)
    }
}

impl Verdict {
    fn of(report: &Value) -> Self {
        let mut verdict = Self {
            passed: 0,
            failed: Vec::new(),
            warnings: Vec::new(),
            skipped: Vec::new(),
            routes: Vec::new(),
            payments: 0,
        };
        verdict.add("discovery", &report["discovery"]["checks"]);
        for endpoint in report["endpoints"].as_array().into_iter().flatten() {
            let text = |member: &str| endpoint[member].as_str().unwrap_or_default();
            let route = format!("{} {}", text("method"), text("path"));
            for phase in ["challenge", "errorHandling", "payment"] {
                verdict.add(&route, &endpoint[phase]);
            }
            verdict.routes.push(route);
        }
        verdict.routes.sort();
        verdict
    }

    fn add(&mut self, place: &str, checks: &Value) {
        for check in checks.as_array().into_iter().flatten() {
            let text = |member: &str| check[member].as_str().unwrap_or_default();
            let line = format!("{place}: {}: {}", text("label"), text("detail"));
            match text("severity") {
                "pass" => {
                    self.passed += 1;
                    self.payments += usize::from(text("label") == "Payment: successful");
                }
                "fail" => self.failed.push(line),
                "skip" => self.skipped.push(line),
                _ => self.warnings.push(line),
            }
        }
    }
}
