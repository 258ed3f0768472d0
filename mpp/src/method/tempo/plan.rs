//! What is journaled between `verify` and `settle`: enough for another process to finish, nothing it would have to
//! look up in today's configuration.

use super::request::{Ask, Leg, Modes};
use crate::method::{Fees, SettlementPlan};
use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

/// How a verified credential is settled.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Plan {
    /// Broadcast it.
    Transaction(Broadcast),
    /// Sign for its fee, then broadcast it.
    Sponsored(Box<Sponsored>),
    /// The money is here already.
    Hash {
        hash: B256,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        external_id: Option<String>,
    },
    /// There is no money.
    Proof {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        external_id: Option<String>,
    },
}

/// A transaction to broadcast, and the effect it must have.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Broadcast {
    pub(super) raw: Bytes,
    pub(super) hash: B256,
    #[serde(flatten)]
    pub(super) effect: Effect,
}

/// A transaction that waits for its fee payer, and what the sponsor has to know of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sponsored {
    /// As the payer signed it, with the marker in the fee payer's place.
    pub(super) raw: Bytes,
    /// Whose reverted transactions are counted: a hash of the client's address, or of the payer where that is unknown.
    pub(super) client: B256,
    /// The most the sponsor can be charged, in base units of the fee token.
    pub(super) most: u64,
    #[serde(flatten)]
    pub(super) effect: Effect,
}

/// What a transaction has to do.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Effect {
    pub(super) payer: Address,
    pub(super) token: Address,
    pub(super) recipient: Address,
    /// Of everything, the parts of others included.
    pub(super) amount: U256,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) splits: Vec<Leg>,
    pub(super) memo: B256,
    pub(super) chain_id: u64,
    pub(super) valid_before: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
}

impl Effect {
    /// What has to be found in the receipt.
    pub(super) fn ask(&self) -> Ask {
        Ask {
            amount: self.amount,
            token: self.token,
            recipient: self.recipient,
            chain_id: self.chain_id,
            splits: self.splits.clone(),
            // Neither leaves a trace in a receipt.
            fees: Fees::Payer,
            modes: Modes::Both,
            memo: None,
        }
    }
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
