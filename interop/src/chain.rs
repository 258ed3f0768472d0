//! A local Tempo chain, and what happened on it.

use crate::answer::http_client;
use crate::process::{Process, Running};
use crate::{CHAIN_ID, Lab};
use alloy::hex;
use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use std::time::Duration;
use tempo_alloy::contracts::precompiles::{ACCOUNT_KEYCHAIN_ADDRESS, IAccountKeychain};
use tokio::process::Command;

/// pathUSD, which anvil's dev accounts hold.
pub(crate) const PATH_USD: &str = "0x20c0000000000000000000000000000000000000";
/// `balanceOf(address)` and `transfer(address,uint256)`.
const BALANCE_OF: &str = "0x70a08231";
const TRANSFER: &str = "0xa9059cbb";
/// Anvil's first account.
const RICH: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// `TransferWithMemo(address,address,uint256,bytes32)`.
const TRANSFER_WITH_MEMO: &str = "0x57bc7354aa85aed339e000bccffabbc529466af35f0772c8f8ee1145927de7f0";

/// A chain; stopped when dropped.
#[derive(Debug)]
pub struct Chain {
    /// Its JSON-RPC.
    pub url: String,
    process: Running,
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
        let flags =
            ["--network", "tempo", "--hardfork", "T4", "--block-time", "1", "--mixed-mining", "--port", "0"];
        self.chain_with(&flags).await
    }

    /// Starts a chain whose blocks are final two blocks later, for [`Chain::skip`].
    pub async fn quick_chain(&self) -> Chain {
        let tempo = ["--network", "tempo", "--hardfork", "T4", "--block-time", "1", "--mixed-mining"];
        let flags = [&tempo[..], &["--slots-in-an-epoch", "1", "--port", "0"]].concat();
        self.chain_with(&flags).await
    }

    /// Starts a chain with these flags.
    pub(crate) async fn chain_with(&self, flags: &[&str]) -> Chain {
        let mut command = Command::new(&self.anvil);
        command.args(flags).args(["--chain-id", &CHAIN_ID.to_string()]);
        // By default every block's state stays on disk for good once the process is killed: gigabytes for each chain.
        command.args(["--prune-history", "128"]);
        let mut process = Process::start("anvil", &mut command);
        let url = format!("http://{}", process.line_after("Listening on ").await);
        Chain { url, process: process.ignore_output(), http: http_client() }
    }
}

impl Chain {
    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

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

    /// What an account has, in base units of pathUSD.
    pub async fn balance(&self, account: &str) -> u128 {
        let data = format!("{BALANCE_OF}{:0>64}", account.trim_start_matches("0x"));
        let answer = self.rpc("eth_call", json!([{ "to": PATH_USD, "data": data }, "latest"])).await;
        let text = answer.as_str().expect("an amount").trim_start_matches("0x").to_owned();
        u128::from_str_radix(&text, 16).expect("an amount")
    }

    /// Gives an account so many base units of pathUSD, from anvil's first one.
    pub async fn fund(&self, account: &str, units: u128) {
        let data = format!("{TRANSFER}{:0>64}{units:064x}", account.trim_start_matches("0x"));
        let transaction = json!({ "from": RICH, "to": PATH_USD, "data": data });
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await;
        let receipt = self.mined(hash.as_str().expect("a hash")).await;
        assert_eq!(receipt["status"], "0x1", "{receipt}");
    }

    /// Lets `key` sign in the name of a dev account, without end, and spend so many base units of pathUSD: any, if none.
    pub async fn authorize_key(&self, account: &str, key: &str, limit: Option<u64>) {
        let token = PATH_USD.parse().expect("an address");
        let limits =
            limit.map(|units| IAccountKeychain::TokenLimit { token, amount: U256::from(units), period: 0 });
        let config = IAccountKeychain::KeyRestrictions {
            expiry: u64::MAX,
            enforceLimits: limit.is_some(),
            limits: limits.into_iter().collect(),
            allowAnyCalls: true,
            allowedCalls: Vec::new(),
        };
        let call = IAccountKeychain::authorizeKey_1Call {
            keyId: key.parse().expect("an address"),
            signatureType: IAccountKeychain::SignatureType::Secp256k1,
            config,
        };
        let data = hex::encode_prefixed(call.abi_encode());
        let transaction = json!({ "from": account, "to": ACCOUNT_KEYCHAIN_ADDRESS, "data": data });
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await;
        let receipt = self.mined(hash.as_str().expect("a hash")).await;
        assert_eq!(receipt["status"], "0x1", "{receipt}");
    }

    /// The receipt of a transaction that was broadcast; waits for it.
    pub async fn mined(&self, hash: &str) -> Value {
        for _ in 0..100 {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                return receipt;
            }
            // A chain is a process with a clock of its own.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{hash} is not mined");
    }

    /// The time of its newest block.
    pub async fn now(&self) -> u64 {
        let head = self.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
        let text = head["timestamp"].as_str().expect("a time").trim_start_matches("0x").to_owned();
        u64::from_str_radix(&text, 16).expect("a time")
    }

    /// Sets the chain's time ahead, block by block, so that what is final (64 blocks behind) moves with it.
    pub async fn advance(&self, by: Duration) {
        self.rpc("anvil_mine", json!([format!("{:#x}", by.as_secs()), "0x1"])).await;
    }

    /// Sets the time of a [quick chain](Lab::quick_chain) ahead, and what is final with it.
    pub async fn skip(&self, by: Duration) {
        self.rpc("evm_increaseTime", json!([by.as_secs()])).await;
        self.rpc("anvil_mine", json!(["0x3"])).await;
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
