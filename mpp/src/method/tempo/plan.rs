//! What is journaled between `verify` and `settle`: enough for another process to finish, nothing it would have to
//! look up in today's configuration.

use super::request::Ask;
use crate::method::SettlementPlan;
use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

/// How a verified credential is settled.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Plan {
    /// Broadcast it.
    Transaction(Broadcast),
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
    pub(super) payer: Address,
    pub(super) token: Address,
    pub(super) recipient: Address,
    pub(super) amount: U256,
    pub(super) memo: B256,
    pub(super) chain_id: u64,
    pub(super) valid_before: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
}

impl Broadcast {
    /// The effect.
    pub(super) fn ask(&self) -> Ask {
        Ask { amount: self.amount, token: self.token, recipient: self.recipient, chain_id: self.chain_id }
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
