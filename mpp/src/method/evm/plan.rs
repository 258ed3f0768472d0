//! What is journaled between `verify` and `settle`: enough for another process to finish, nothing it would have to
//! look up in today's configuration. The nonce of the settlement key is not in it: signatures are single use by themselves.

use crate::method::SettlementPlan;
use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

/// How a verified credential is settled.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Plan {
    /// Call a contract with the payer's signature.
    Submit(Submit),
    /// Broadcast the payer's transaction.
    Broadcast(Broadcast),
    /// The money is here already.
    Hash(Done),
}

/// The one transfer that has to come of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Effect {
    pub(super) chain_id: u64,
    /// `None` for the chain's own coin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Address>,
    pub(super) payer: Address,
    pub(super) recipient: Address,
    pub(super) amount: U256,
    /// For the receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
}

/// A call that the settlement key makes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Submit {
    pub(super) effect: Effect,
    pub(super) to: Address,
    pub(super) data: Bytes,
    /// What it took when it was tried; `None` when the signature was used already, so that there is nothing to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gas: Option<u64>,
    pub(super) guard: Guard,
    /// The signature is void from then on, in unix seconds.
    pub(super) deadline: u64,
    /// A block shortly before it was verified: where looking for events starts.
    pub(super) seen_at: u64,
}

/// What makes the signature single use on the chain.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub(super) enum Guard {
    /// `authorizationState(payer, nonce)` of the token.
    Authorization { nonce: B256 },
    /// A bit of `nonceBitmap(payer, …)` of Permit2, which only `spender` can use.
    Permit2 { nonce: U256, spender: Address },
}

/// A transaction to broadcast.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Broadcast {
    pub(super) effect: Effect,
    pub(super) raw: Bytes,
    pub(super) hash: B256,
    pub(super) nonce: u64,
    pub(super) binding: Binding,
}

/// Whether a transaction names its challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Binding {
    /// Its input ends in the challenge hash.
    Bound,
    /// It is a plain transfer.
    Unbound,
}

/// A transaction that is on the chain.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) hash: B256,
    pub(super) chain_id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
}

impl Plan {
    /// For the journal.
    pub(super) fn write(&self) -> SettlementPlan {
        SettlementPlan(serde_json::to_value(self).expect("hashes, addresses and strings are JSON"))
    }

    /// From the journal; `None` if a plan of another release is not understood.
    pub(super) fn read(plan: &SettlementPlan) -> Option<Self> {
        Self::deserialize(&plan.0).ok()
    }
}
