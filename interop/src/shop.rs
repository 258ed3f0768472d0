//! The shop of `examples/shop`, as a process.

use crate::fresh_address;
use crate::process::{Process, Running};
use tokio::process::Command;

/// A shop; stopped when dropped.
#[derive(Debug)]
pub struct Shop {
    /// Where it is.
    pub url: String,
    /// Whom it is paid to; nobody else uses that address.
    pub recipient: String,
    process: Running,
}

impl Shop {
    /// Starts `program` on a free port, with the node at `rpc` and further `flags`.
    pub async fn start(program: &str, rpc: &str, flags: &[&str]) -> Self {
        Self::paid_to(fresh_address(), program, rpc, flags).await
    }

    /// As [`start`](Self::start), for a shop that opens again.
    pub async fn paid_to(recipient: String, program: &str, rpc: &str, flags: &[&str]) -> Self {
        let tempo = ["--tempo-rpc", rpc, "--recipient", &recipient];
        Self::with_flags(program, &[&tempo, flags].concat(), recipient.clone()).await
    }

    /// A shop that takes nothing on Tempo.
    pub async fn without_tempo(program: &str, flags: &[&str]) -> Self {
        Self::with_flags(program, flags, fresh_address()).await
    }

    /// A shop on an EVM chain, whose key settles; paid to a fresh address.
    pub async fn on_evm(program: &str, rpc: &str, token: &str, key_file: &str, flags: &[&str]) -> Self {
        Self::on_evm_again(fresh_address(), program, rpc, token, key_file, flags).await
    }

    /// As [`on_evm`](Self::on_evm), for a shop that opens again.
    pub async fn on_evm_again(
        recipient: String,
        program: &str,
        rpc: &str,
        token: &str,
        key_file: &str,
        flags: &[&str],
    ) -> Self {
        let evm =
            ["--evm-rpc", rpc, "--evm-token", token, "--evm-key-file", key_file, "--recipient", &recipient];
        Self::with_flags(program, &[&evm, flags].concat(), recipient.clone()).await
    }

    /// With `flags` alone; `recipient` is for whoever asks.
    pub async fn with_flags(program: &str, flags: &[&str], recipient: String) -> Self {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        let mut process = Process::start("shop", &mut command);
        let url = process.line_after("shop: listening on ").await;
        Self { url, recipient, process: process.ignore_output() }
    }

    /// The URL of one of its routes.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.said()
    }

    /// Asks it to stop, as an operator does.
    pub async fn terminate(&self) {
        self.process.terminate().await;
    }

    /// Waits for its own end, and whether that was in good order.
    pub async fn ended_well(&mut self) -> bool {
        self.process.end().await.success()
    }

    /// Ends it without warning; returns whom it was paid to.
    pub async fn crash(self) -> String {
        self.process.kill().await;
        self.recipient
    }
}
