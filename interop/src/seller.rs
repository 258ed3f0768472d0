//! Servers on other people's SDKs, to be paid by our own client: `server.mjs` on npm `mppx`, `server.py` on PyPI `pympp`.

use crate::chain::PATH_USD;
use crate::process::{Process, Running};
use crate::sdk::python_program;
use crate::stripe::{PROFILE, SECRET_KEY, StandIn};
use crate::{CHAIN_ID, Chain, DEV_KEYS, EvmChain, Lab, fresh_address, missing};
use tokio::process::Command;

/// What the server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    /// `node:http`.
    Node,
    /// npm `hono`, which merges header lines.
    Hono,
    /// npm `express`.
    Express,
}

/// A server; stopped when dropped.
#[derive(Debug)]
pub struct Seller {
    /// Where it is.
    pub url: String,
    /// Whom it is paid to on a chain; nobody else uses that address.
    pub recipient: String,
    process: Running,
}

impl Lab {
    /// Starts a server that takes cards at this stand-in, and Tempo where there is a chain.
    pub async fn seller(&self, framework: Framework, stripe: &StandIn, chain: Option<&Chain>) -> Seller {
        self.seller_on(framework, stripe, chain, None).await
    }

    /// Starts a server that takes this chain's token, on plain node.
    pub async fn evm_seller(&self, stripe: &StandIn, chain: &EvmChain) -> Seller {
        self.seller_on(Framework::Node, stripe, Some(&chain.node), Some(&chain.token)).await
    }

    /// Starts a server on `pympp` that takes Tempo; `None`, as for the lab itself, where it is not installed.
    pub async fn python_seller(&self, chain: &Chain) -> Option<Seller> {
        let Some(python) = python_program("python") else {
            missing("PyPI `pympp` is not installed (see interop/README.md)");
            return None;
        };
        let recipient = fresh_address();
        let mut command = Command::new(python);
        let chain_id = CHAIN_ID.to_string();
        command.current_dir(&self.folder);
        command.args(["server.py", &chain.url, &chain_id, PATH_USD, &recipient, DEV_KEYS[1]]);
        let mut process = Process::start("the pympp server", &mut command);
        let url = process.line_after("listening on ").await;
        Some(Seller { url, recipient, process: process.ignore_output() })
    }

    async fn seller_on(
        &self,
        framework: Framework,
        stripe: &StandIn,
        chain: Option<&Chain>,
        token: Option<&str>,
    ) -> Seller {
        let name = match framework {
            Framework::Node => "node",
            Framework::Hono => "hono",
            Framework::Express => "express",
        };
        let recipient = fresh_address();
        let mut command = Command::new("node");
        command.current_dir(&self.folder).args(["server.mjs", name, &stripe.url, SECRET_KEY, PROFILE]);
        if let Some(chain) = chain {
            command.args([&chain.url, &CHAIN_ID.to_string(), &recipient]).args(token);
        }
        let mut process = Process::start("the mppx server", &mut command);
        let url = process.line_after("listening on ").await;
        Seller { url, recipient, process: process.ignore_output() }
    }
}

impl Seller {
    /// The URL of one of its routes.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What it has written to its standard error.
    pub fn log(&self) -> String {
        self.process.said()
    }
}
