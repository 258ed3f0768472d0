//! A local Tempo chain, and what happened on it.

use crate::answer::http_client;
use crate::process::{Process, Running};
use crate::{CHAIN_ID, Lab};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

/// pathUSD, which anvil's dev accounts hold.
const PATH_USD: &str = "0x20c0000000000000000000000000000000000000";
/// `TransferWithMemo(address,address,uint256,bytes32)`.
const TRANSFER_WITH_MEMO: &str = "0x57bc7354aa85aed339e000bccffabbc529466af35f0772c8f8ee1145927de7f0";

/// A chain; stopped when dropped.
#[derive(Debug)]
pub struct Chain {
    /// Its JSON-RPC.
    pub url: String,
    _process: Running,
    http: reqwest::Client,
}

/// A transfer, as the token's log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Base units.
    pub amount: u128,
    /// The transaction.
    pub hash: String,
    /// The memo.
    pub memo: String,
}

impl Lab {
    /// Starts a chain.
    pub async fn chain(&self) -> Chain {
        // T4 is the newest fork this anvil knows and the default, T0, is too old. Interval mining keeps the head's time
        // fresh, which expiring transactions are judged by; mixed mining mines at once as well.
        let fixed =
            ["--network", "tempo", "--hardfork", "T4", "--block-time", "1", "--mixed-mining", "--port", "0"];
        let mut command = Command::new(&self.anvil);
        command.args(fixed).args(["--chain-id", &CHAIN_ID.to_string()]);
        let mut process = Process::start("anvil", &mut command);
        let url = format!("http://{}", process.line_after("Listening on ").await);
        Chain { url, _process: process.ignore_output(), http: http_client() }
    }
}

impl Chain {
    /// The payments to `recipient` so far, in order.
    pub async fn payments_to(&self, recipient: &str) -> Vec<Transfer> {
        let padded = format!("0x{:0>64}", recipient.trim_start_matches("0x").to_lowercase());
        let filter = json!({
            "fromBlock": "0x0", "address": PATH_USD, "topics": [TRANSFER_WITH_MEMO, null, padded],
        });
        let logs = self.rpc("eth_getLogs", json!([filter])).await;
        let logs = logs.as_array().expect("a list of logs").iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        logs.map(|log| Transfer {
            amount: u128::from_str_radix(text(&log["data"]).trim_start_matches("0x"), 16).expect("an amount"),
            hash: text(&log["transactionHash"]),
            memo: text(&log["topics"][3]),
        })
        .collect()
    }

    /// Sets the chain's time ahead, block by block, so that what is final (64 blocks behind) moves with it.
    pub async fn advance(&self, by: Duration) {
        self.rpc("anvil_mine", json!([format!("{:#x}", by.as_secs()), "0x1"])).await;
    }

    /// Asks the node.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.http.post(&self.url).json(&question).send().await.expect("the chain answers");
        let mut answer: Value = answer.json().await.expect("the chain speaks JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }
}

/// An address nobody has paid yet, so that its payments are this test's.
pub fn fresh_address() -> String {
    let bytes: [u8; 20] = rand::random();
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
