//! What became of a payment of our own, as the payer reads it from the chain. Looks, and never pays.
//!
//! A transaction that is not on the chain never will be once finalized time is past its `validBefore`; of a sponsored one
//! the hash is not known to the payer, so that it is found by its memo, which names the challenge. That it is not there and
//! how far time has got are asked in one round trip, so of one node: what is missing at a node that is behind another one's
//! finalized block would say nothing, and whoever believes it pays twice.

use super::client::{TempoWallet, VALID_FOR};
use super::request::Ask;
use super::server::receipt_of;
use super::settle::SETTLED_FOR;
use super::{envelope, memo};
use crate::chain::{Call, Head, TxReceipt, block};
use crate::method::{Fate, Proof};
use crate::protocol::{Challenge, Timestamp};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{B256, hex};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempo_alloy::contracts::precompiles::ITIP20;
use tempo_alloy::primitives::AASigned;

/// How many blocks are searched for a payment whose hash is not known: minutes, an hour, half a day.
const SEARCHED: [u64; 3] = [1_000, 10_000, 100_000];

impl TempoWallet {
    /// What became of a payment of this wallet.
    pub(super) async fn fate_of(&self, challenge: &Challenge, proof: &Proof) -> Fate {
        let member = |name: &str| proof.payload.get(name).and_then(Value::as_str).unwrap_or_default();
        // A proof moves nothing.
        if member("type") == "proof" {
            return Fate::Never;
        }
        // A node of another chain knows nothing of it, which is not to say that it never happened.
        if self.on_the_right_chain().await.is_err() {
            return Fate::Unknown;
        }
        match member("type") {
            "hash" => match member("hash").parse() {
                Ok(hash) => self.fate_of_hash(hash, None).await,
                Err(_) => Fate::Unknown,
            },
            "transaction" => match sent(member("signature")) {
                Some(Sent { hash: Some(hash), valid_before }) => {
                    self.fate_of_hash(hash, Some(valid_before)).await
                }
                // The sponsor's signature makes another hash of it; the transfer names the challenge.
                Some(Sent { hash: None, valid_before }) => {
                    self.fate_of_sponsored(challenge, valid_before).await
                }
                None => Fate::Unknown,
            },
            _ => Fate::Unknown,
        }
    }

    async fn fate_of_hash(&self, hash: B256, valid_before: Option<u64>) -> Fate {
        let Some((finalized, receipt)) = self.asked_of_one_node::<Option<TxReceipt>>(receipt_of(hash)).await
        else {
            return Fate::Unknown;
        };
        match receipt.filter(|receipt| receipt.transaction_hash == hash) {
            Some(receipt) if receipt.succeeded() => Fate::Paid { reference: format!("{hash:#x}") },
            // Its nonce is used.
            Some(_) => Fate::Never,
            None if void(finalized, valid_before) => Fate::Never,
            None => Fate::Unknown,
        }
    }

    async fn fate_of_sponsored(&self, challenge: &Challenge, valid_before: u64) -> Fate {
        let Ok(ask) = challenge.charge().map_err(drop).and_then(|r| Ask::parse(&r).map_err(drop)) else {
            return Fate::Unknown;
        };
        let memo = ask.memo.unwrap_or_else(|| memo::anonymous(&challenge.realm, &challenge.id));
        let Some((number, _)) = self.block("finalized").await else { return Fate::Unknown };
        // It cannot have been mined before it was signed.
        let Some(earliest) =
            self.block_before(number, valid_before.saturating_sub(2 * VALID_FOR.as_secs())).await
        else {
            return Fate::Unknown;
        };
        let filter = json!([{
            "fromBlock": format!("{earliest:#x}"), "toBlock": "latest", "address": ask.token,
            "topics": [
                <ITIP20::TransferWithMemo as alloy::sol_types::SolEvent>::SIGNATURE_HASH,
                self.account.into_word(), ask.recipient.into_word(), memo,
            ],
        }]);
        let search = Call::new("eth_getLogs", filter);
        let Some((finalized, logs)) = self.asked_of_one_node::<Vec<FoundLog>>(search).await else {
            return Fate::Unknown;
        };
        match logs.first() {
            Some(log) => Fate::Paid { reference: format!("{:#x}", log.transaction_hash) },
            None if void(finalized, Some(valid_before)) => Fate::Never,
            None => Fate::Unknown,
        }
    }

    /// The answer, and the last final block of the node that gave it; `None` when there is no answer.
    async fn asked_of_one_node<T: DeserializeOwned>(&self, question: Call) -> Option<(Option<Head>, T)> {
        let [finalized, answer] = self.rpc.read_all([block("finalized"), question]).await.ok()?;
        Some((finalized.into_result().ok().flatten(), answer.into_result().ok()?))
    }

    /// A block before this time, not further from `number` than a node searches the logs of; the first block is before any.
    async fn block_before(&self, number: u64, time: u64) -> Option<u64> {
        for span in SEARCHED {
            let Some(earliest) = number.checked_sub(span) else { return Some(0) };
            if self.block(&format!("{earliest:#x}")).await?.1
                <= Timestamp::from_unix(i64::try_from(time).ok()?)
            {
                return Some(earliest);
            }
        }
        None
    }

    async fn block(&self, which: &str) -> Option<(u64, Timestamp)> {
        let head: Option<Head> = self.rpc.read(block(which)).await.ok()?;
        head.map(|head| (head.number(), head.time()))
    }
}

/// The only member of a log that is used here.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundLog {
    transaction_hash: B256,
}

/// Whether a transaction that is not on the chain never will be.
fn void(finalized: Option<Head>, valid_before: Option<u64>) -> bool {
    match (finalized, valid_before.and_then(|at| i64::try_from(at).ok())) {
        (Some(head), Some(at)) => head.time() >= Timestamp::from_unix(at) + SETTLED_FOR,
        (None, _) | (_, None) => false,
    }
}

/// What a `transaction` credential of ours was.
struct Sent {
    /// `None` while the fee payer's signature is missing.
    hash: Option<B256>,
    valid_before: u64,
}

fn sent(signature: &str) -> Option<Sent> {
    let raw = hex::decode(signature).ok()?;
    let (signed, hash) = match envelope::read(&raw) {
        Some((signed, _)) => (signed, None),
        None => {
            let signed = AASigned::decode_2718(&mut raw.as_slice()).ok()?;
            let hash = *signed.hash();
            (signed, Some(hash))
        }
    };
    Some(Sent { hash, valid_before: signed.tx().valid_before?.get() })
}
