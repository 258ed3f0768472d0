//! A block, as far as payments care: which one and when.

use crate::protocol::Timestamp;
use alloy::primitives::U64;
use serde::Deserialize;

/// Number and time of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Head {
    number: U64,
    timestamp: U64,
}

impl Head {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number.to()
    }

    /// Its time.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_unix(i64::try_from(self.timestamp.to::<u64>()).unwrap_or(i64::MAX))
    }
}
