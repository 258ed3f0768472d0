//! `mpp wallet balance`: what the account of a key has, as the nodes say that it pays through.
//!
//! An account is public, so that no password is needed. A node that serves another chain than was said is refused: its
//! numbers would be of other money.

use mpp::protocol::BaseUnits;
use serde_json::{Value, json};
use url::Url;

use crate::Answer;
use crate::chains::{Flags, Money, Node};
use crate::config::Config;
use crate::failure::Failure;
use crate::home::Home;
use crate::keys::{KeyFile, Kind};
use crate::service::{http_client, is_loopback};
use crate::terminal;

/// `balanceOf(address)` of a token.
const BALANCE_OF: &str = "0x70a08231";
/// Most bytes of a node's answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The key's name; the one of the configuration when left out
    name: Option<String>,
    #[command(flatten)]
    chains: Flags,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(options: &Options, home: &Home) -> Result<Answer, Failure> {
    let config = Config::load(home)?;
    let path = match (&options.name, &config.wallet.key_file) {
        (Some(name), _) => home.path(&crate::wallet::key_path(name)?),
        (None, Some(configured)) => crate::wallet::find_key(home, configured),
        (None, None) => {
            return Err(Failure::failed("whose balance? Say a key's name; `mpp wallet list` has them"));
        }
    };
    let key = KeyFile::read(&path)?;
    if key.kind != Kind::Evm {
        return Err(Failure::failed(
            "play money is counted by each server for itself; only a key of kind `evm` has a balance",
        ));
    }
    let mut rows = Vec::new();
    for node in options.chains.of(&config.wallet).nodes(&key.address)? {
        let ledger = Ledger::of(&node)?;
        ledger.check_chain(node.chain).await?;
        for money in &node.monies {
            let units = ledger.balance(&node.account, money).await?;
            let amount = BaseUnits::new(units).to_amount(money.decimals).to_string();
            rows.push([format!("eip155:{}", node.chain), money.name.clone(), amount]);
        }
    }
    let out = if options.json {
        let balances: Vec<_> = rows
            .iter()
            .map(
                |[chain, currency, amount]| json!({ "chain": chain, "currency": currency, "amount": amount }),
            )
            .collect();
        format!("{}\n", json!({ "address": key.address, "balances": balances }))
    } else {
        terminal::table(["chain", "currency", "balance"], &rows)
    };
    Ok(Answer::text(out))
}

/// A chain's ledger, as one node tells it.
struct Ledger {
    url: Url,
    http: reqwest::Client,
}

impl Ledger {
    fn of(node: &Node) -> Result<Self, Failure> {
        // Never with the URL itself: a node's often has a key in it.
        let refused =
            || Failure::failed("a node is asked at an https URL, or at an http one on this machine");
        let url = Url::parse(&node.url).map_err(|_| refused())?;
        let host = url.host_str().unwrap_or_default();
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(host)) {
            return Err(refused());
        }
        Ok(Self { url, http: http_client()? })
    }

    async fn check_chain(&self, expected: u64) -> Result<(), Failure> {
        match self.number("eth_chainId", json!([])).await? {
            served if served == u128::from(expected) => Ok(()),
            served => Err(self.wrong(&format!("serves the chain {served}, not {expected}"))),
        }
    }

    /// Base units of `money` that `account` has.
    async fn balance(&self, account: &str, money: &Money) -> Result<u128, Failure> {
        let Some(contract) = &money.contract else {
            return self.number("eth_getBalance", json!([account, "latest"])).await;
        };
        let data = format!("{BALANCE_OF}{:0>64}", account.trim_start_matches("0x"));
        self.number("eth_call", json!([{ "to": contract, "data": data }, "latest"])).await
    }

    async fn number(&self, method: &str, params: Value) -> Result<u128, Failure> {
        let silent = |_| self.wrong("does not answer");
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response = self.http.post(self.url.clone()).json(&question).send().await.map_err(silent)?;
        if !response.status().is_success() {
            return Err(self.wrong(&format!("answers {}", response.status())));
        }
        let mut text = Vec::new();
        while let Some(part) = response.chunk().await.map_err(silent)? {
            if text.len() + part.len() > MAX_ANSWER {
                return Err(self.wrong("answers too much"));
            }
            text.extend_from_slice(&part);
        }
        number_in(&text).ok_or_else(|| self.wrong(&format!("has no number for {method}")))
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::failed(format!("the node at {} {what}", self.url.host_str().unwrap_or_default()))
    }
}

/// The number that is the result of a JSON-RPC answer.
fn number_in(answer: &[u8]) -> Option<u128> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let digits = answer.get("result")?.as_str()?.strip_prefix("0x")?;
    // The parser alone would take a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u128::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_answer_is_a_number_or_nothing() {
        let word = format!("{{\"result\":\"0x{:064x}\"}}", 1_000_000);
        assert_eq!(number_in(word.as_bytes()), Some(1_000_000));
        assert_eq!(number_in(br#"{"result":"0x0"}"#), Some(0));
        let too_large = format!("{{\"result\":\"0x{}\"}}", "f".repeat(64));
        for wrong in [
            r#"{"result":"0x"}"#,
            r#"{"result":"0x+1"}"#,
            r#"{"result":"12"}"#,
            r#"{"result":12}"#,
            r#"{"error":{"code":-32000,"message":"0x1"}}"#,
            "[]",
            "no JSON",
            &too_large,
        ] {
            assert_eq!(number_in(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
