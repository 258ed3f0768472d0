//! A server on npm `mppx`: `server.mjs`, to be paid by our own client.

use crate::process::{Process, Running};
use crate::stripe::{PROFILE, SECRET_KEY, StandIn};
use crate::{CHAIN_ID, Chain, EvmChain, Lab, fresh_address};
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
