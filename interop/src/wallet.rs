//! A payer on npm `mppx`: `wallet.mjs`, which stays alive.

use crate::answer::Answer;
use crate::process::Process;
use crate::stripe::{SECRET_KEY, StandIn};
use crate::{CHAIN_ID, Chain, EvmChain, Lab};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How it pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It signs, the shop broadcasts.
    Pull,
    /// It broadcasts and sends the hash.
    Push,
    /// By an EIP-3009 signature.
    Evm,
    /// By a Stripe token on this test card, like `pm_card_visa`.
    Card(&'static str),
}

/// A payer; stopped when dropped.
#[derive(Debug)]
pub struct Wallet {
    process: Process,
    account: u32,
}

impl Lab {
    /// Starts a payer with anvil's dev accounts.
    pub fn wallet(&self, chain: &Chain) -> Wallet {
        let mut command = Command::new("node");
        command.current_dir(&self.folder).args(["wallet.mjs", &chain.url, &CHAIN_ID.to_string()]);
        Wallet { process: Process::start("the wallet", &mut command), account: 0 }
    }

    /// Starts a payer with anvil's dev accounts on an EVM chain.
    pub fn evm_wallet(&self, chain: &EvmChain) -> Wallet {
        self.wallet(&chain.node)
    }

    /// Starts a payer with test cards at this stand-in, and with anvil's dev accounts where there is a chain.
    pub fn card_wallet(&self, chain: Option<&Chain>, stripe: &StandIn) -> Wallet {
        let rpc = chain.map_or("http://127.0.0.1:1", |chain| &chain.url);
        let mut command = Command::new("node");
        command.current_dir(&self.folder).args(["wallet.mjs", rpc, &CHAIN_ID.to_string()]);
        command.args([&stripe.url, SECRET_KEY]);
        Wallet { process: Process::start("the wallet", &mut command), account: 0 }
    }
}

impl Wallet {
    /// Pays from this account of anvil's mnemonic from now on. Only the first ten have money.
    pub fn pay_from(&mut self, account: u32) {
        self.account = account;
    }

    /// `mppx` fetches: asks, pays, asks again.
    pub async fn fetch(&mut self, verb: &str, url: &str, body: Option<&Value>, mode: Mode) -> Answer {
        let body = body.map(Value::to_string);
        let said = self
            .ask(json!({ "op": "fetch", "url": url, "method": verb, "body": body, "mode": mode.name(), "account": self.account }))
            .await;
        Answer::of_fetch(&said)
    }

    /// The `Authorization` with which `mppx` answers a challenge (the value of `WWW-Authenticate`). By push the money
    /// has moved then.
    pub async fn credential(&mut self, challenge: &str, mode: Mode) -> String {
        let said = self.ask(json!({ "op": "credential", "challenge": challenge, "mode": mode.name(), "account": self.account })).await;
        said["authorization"].as_str().unwrap_or_else(|| panic!("no credential: {said}")).to_owned()
    }

    /// A Permit2 payload for a challenge, signed by viem as wallets sign typed data.
    pub async fn permit2(&mut self, challenge: &Value, request: &Value) -> Value {
        self.ask(json!({ "op": "permit2", "challenge": challenge, "request": request })).await["payload"]
            .take()
    }

    /// Sets the payer's clock ahead, as far as the [chain's](Chain::advance).
    pub async fn advance(&mut self, by: Duration) {
        self.ask(json!({ "op": "advance", "seconds": by.as_secs() })).await;
    }

    async fn ask(&mut self, question: Value) -> Value {
        let line = format!("{question}\n");
        self.process.input().write_all(line.as_bytes()).await.expect("the wallet listens");
        let said: Value = serde_json::from_str(&self.process.line().await).expect("the wallet speaks JSON");
        assert!(said.get("error").is_none(), "the wallet could not: {said}");
        said
    }
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Evm => "evm",
            Self::Card(card) => card,
        }
    }
}
