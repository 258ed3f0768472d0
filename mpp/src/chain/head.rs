//! A block, as far as payments care: which one and when.

use crate::protocol::Timestamp;
use alloy::primitives::{U64, U128};
use serde::Deserialize;

/// Number and time of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    number: U64,
    timestamp: U64,
    #[serde(default)]
    base_fee_per_gas: Option<U128>,
}

impl Head {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number.to()
    }

    /// The price of gas without which nothing is mined, if the chain has one.
    pub(crate) fn base_fee(&self) -> Option<u128> {
        self.base_fee_per_gas.map(|fee| fee.to())
    }

    /// Its time.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_unix(i64::try_from(self.timestamp.to::<u64>()).unwrap_or(i64::MAX))
    }
}
