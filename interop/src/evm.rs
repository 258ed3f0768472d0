//! A local Ethereum-like chain with a token and Permit2, and what happened on it.

use crate::chain::Chain;
use crate::{CHAIN_ID, Lab};
use mpp::Evm;
use mpp::method::evm::{CredentialType, EvmWallet, PrivateKeySigner};
use mpp::method::{ClientMethod, Proof};
use mpp::protocol::{Challenge, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use tempo_alloy::contracts::contracts::Permit2;
use tempo_alloy::contracts::{ARACHNID_CREATE2_FACTORY_ADDRESS, PERMIT2_SALT};

/// Creation code of `contracts/Token.sol`.
const TOKEN: &str = include_str!("../contracts/Token.hex");
/// Where Permit2 is on every chain.
const PERMIT2: &str = "0x000000000022d473030f116ddee9f6b43ac78ba3";
/// `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// For how long a [stranger](EvmChain::stranger) signs: less time than a challenge lives, so that the end comes sooner.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
/// The dev account that deploys, so that the nonces of the first ones stay theirs.
const DEPLOYER: &str = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720";

/// Private keys of anvil's first dev accounts: the payer (which is `mppx`'s too), the shop's, and Eve's.
pub const DEV_KEYS: [&str; 3] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];
/// Their addresses.
pub const DEV_ACCOUNTS: [&str; 3] = [
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
];

/// A chain; stopped when dropped.
#[derive(Debug)]
pub struct EvmChain {
    /// The chain itself.
    pub node: Chain,
    /// The token: an EIP-3009 dollar of six decimals, of which payer and Eve have a million.
    pub token: String,
}

impl Lab {
    /// Starts a plain chain (no Tempo) with the token and Permit2, approved by the payer.
    pub async fn evm_chain(&self) -> EvmChain {
        // Interval mining keeps the head's time fresh; mixed mining mines at once as well. With one slot an epoch a block
        // is final two blocks later.
        let flags = ["--block-time", "1", "--mixed-mining", "--slots-in-an-epoch", "1", "--port", "0"];
        let node = self.chain_with(&flags).await;
        let created = send(&node, json!({ "from": DEPLOYER, "data": TOKEN.trim() })).await;
        let token = created["contractAddress"].as_str().expect("the token's address").to_owned();
        let code = [PERMIT2_SALT.as_slice(), &Permit2::BYTECODE].concat();
        let data = code.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        send(&node, json!({ "from": DEPLOYER, "to": ARACHNID_CREATE2_FACTORY_ADDRESS, "data": data })).await;
        let chain = EvmChain { node, token };
        for account in [DEV_ACCOUNTS[0], DEV_ACCOUNTS[2]] {
            chain.mint(account, 1_000_000_000_000).await;
        }
        chain.approve_permit2(DEV_ACCOUNTS[0]).await;
        chain
    }
}

impl EvmChain {
    /// Its JSON-RPC.
    pub fn url(&self) -> &str {
        &self.node.url
    }

    /// Base units and transactions of what the token moved to `recipient`, in order.
    pub async fn payments_to(&self, recipient: &str) -> Vec<(u128, String)> {
        let filter = json!({
            "fromBlock": "0x0", "address": self.token, "topics": [TRANSFER, null, word(recipient)],
        });
        let logs = self.node.rpc("eth_getLogs", json!([filter])).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let read = |log: &Value| {
            let amount = u128::from_str_radix(text(&log["data"]).trim_start_matches("0x"), 16);
            (amount.expect("an amount"), text(&log["transactionHash"]))
        };
        logs.as_array().expect("a list of logs").iter().map(read).collect()
    }

    /// Coins of an account, in wei.
    pub async fn coins(&self, account: &str) -> u128 {
        let text = self.node.rpc("eth_getBalance", json!([account, "latest"])).await;
        let digits = text.as_str().expect("a number").trim_start_matches("0x").to_owned();
        u128::from_str_radix(&digits, 16).expect("a number")
    }

    /// A method that takes the token for `recipient`, settles with a dev account's key and asks the node at `url`.
    pub fn method(&self, recipient: &str, url: &str) -> Evm {
        Evm::new(recipient)
            .chain(CHAIN_ID)
            .rpc(url)
            .eip3009_token("usdc", &self.token, 6)
            .settlement_key(DEV_KEYS[1])
            .settle_within(Duration::from_secs(5))
    }

    /// A new account with a cent of the token and a coin for gas, which can pay once in this way.
    pub async fn stranger(&self, kind: CredentialType) -> PrivateKeySigner {
        let key = PrivateKeySigner::random();
        let account = key.address().to_string();
        self.mint(&account, 10_000).await;
        if kind == CredentialType::Permit2 {
            self.approve_permit2_as(&account).await;
        }
        self.give_coins(&account).await;
        key
    }

    /// Its payment.
    pub async fn pay_as(&self, key: PrivateKeySigner, kind: CredentialType, challenge: &Challenge) -> Proof {
        let wallet = EvmWallet::new(CHAIN_ID, key).rpc(self.url()).expect("a URL");
        let soon = Timestamp::from_unix(self.time().await) + SIGNED_FOR;
        let expires = Some(soon.to_rfc3339().as_str().to_owned());
        let challenge = Challenge { expires, ..challenge.clone() };
        wallet.pays_by(&[kind]).pay(&challenge).await.expect("the wallet can pay")
    }

    /// Gives an account tokens.
    pub async fn mint(&self, to: &str, amount: u128) {
        let data = format!("0x40c10f19{}{amount:064x}", &word(to)[2..]);
        send(&self.node, json!({ "from": DEPLOYER, "to": self.token, "data": data })).await;
    }

    /// A dev account moves tokens.
    pub async fn transfer(&self, from: &str, to: &str, amount: u128) -> String {
        let data = format!("0xa9059cbb{}{amount:064x}", &word(to)[2..]);
        let receipt = send(&self.node, json!({ "from": from, "to": self.token, "data": data })).await;
        receipt["transactionHash"].as_str().expect("a hash").to_owned()
    }

    /// A dev account lets Permit2 move its tokens.
    pub async fn approve_permit2(&self, owner: &str) {
        let data = format!("0x095ea7b3{}{}", &word(PERMIT2)[2..], "f".repeat(64));
        send(&self.node, json!({ "from": owner, "to": self.token, "data": data })).await;
    }

    /// Any account lets Permit2 move its tokens, at no cost to it.
    pub async fn approve_permit2_as(&self, owner: &str) {
        self.node.rpc("anvil_impersonateAccount", json!([owner])).await;
        self.node.rpc("anvil_setBalance", json!([owner, "0xde0b6b3a7640000"])).await;
        self.approve_permit2(owner).await;
    }

    /// Any account uses its next nonce for nothing.
    pub async fn use_nonce(&self, account: &str) {
        self.node.rpc("anvil_impersonateAccount", json!([account])).await;
        send(&self.node, json!({ "from": account, "to": account })).await;
    }

    /// Gives an account a coin, for gas.
    pub async fn give_coins(&self, account: &str) {
        self.node.rpc("anvil_setBalance", json!([account, "0xde0b6b3a7640000"])).await;
    }

    /// An account that has sent nothing yet uses its first nonce for a payment of nothing to itself.
    pub async fn use_first_nonce(&self, account: &str) {
        let sent = self.node.rpc("eth_getTransactionCount", json!([account, "latest"])).await;
        if sent == "0x0" {
            self.node.rpc("anvil_impersonateAccount", json!([account])).await;
            send(&self.node, json!({ "from": account, "to": account, "nonce": "0x0" })).await;
        }
    }

    /// From now on only [`mine`](Self::mine) mines.
    pub async fn hold_blocks(&self) {
        self.node.rpc("evm_setAutomine", json!([false])).await;
        self.node.rpc("evm_setIntervalMining", json!([0])).await;
    }

    /// The newest block's time, in unix seconds.
    pub async fn time(&self) -> i64 {
        let block = self.node.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
        let digits = block["timestamp"].as_str().expect("a number").trim_start_matches("0x").to_owned();
        i64::from_str_radix(&digits, 16).expect("a number")
    }

    /// Sets the chain's time ahead, and what is final (two blocks down) with it.
    pub async fn advance(&self, by: Duration) {
        self.node.rpc("evm_increaseTime", json!([by.as_secs()])).await;
        self.mine(3).await;
    }

    /// Mines this many blocks.
    pub async fn mine(&self, blocks: u64) {
        self.node.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }
}

/// A dev account's transaction, mined.
async fn send(node: &Chain, transaction: Value) -> Value {
    let hash = node.rpc("eth_sendTransaction", json!([transaction])).await;
    for _ in 0..200 {
        let receipt = node.rpc("eth_getTransactionReceipt", json!([hash])).await;
        if !receipt.is_null() {
            assert_eq!(receipt["status"], "0x1", "{receipt}");
            return receipt;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{hash} is not mined on chain {CHAIN_ID}");
}

fn word(address: &str) -> String {
    format!("0x{:0>64}", address.trim_start_matches("0x").to_lowercase())
}
