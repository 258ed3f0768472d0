//! Transaction receipts, reduced to what a payment is recognised by.
//!
//! Only these members are read, so that a node with newer ones (Tempo adds some with every fork) stays readable.

use crate::protocol::Timestamp;
#[cfg(feature = "tempo")]
use alloy::primitives::U128;
use alloy::primitives::{Address, B256, Bytes, U64, U256, keccak256};
use serde::Deserialize;

/// What became of a mined transaction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TxReceipt {
    /// The transaction.
    pub(crate) transaction_hash: B256,
    /// Its block.
    pub(crate) block_number: U64,
    status: U64,
    #[cfg(feature = "tempo")]
    #[serde(default)]
    gas_used: Option<U64>,
    #[cfg(feature = "tempo")]
    #[serde(default)]
    effective_gas_price: Option<U128>,
    /// What its calls said, in order.
    pub(crate) logs: Vec<TxLog>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TxLog {
    /// The contract that said it.
    pub(crate) address: Address,
    /// Signature and indexed members.
    pub(crate) topics: Vec<B256>,
    /// The other members.
    pub(crate) data: Bytes,
    #[serde(default)]
    block_timestamp: Option<U64>,
}

impl TxReceipt {
    /// How much of a token left an account, by the token's `Transfer` events (ERC-20, TIP-20).
    pub(crate) fn moved(&self, token: Address, from: Address) -> U256 {
        let event = keccak256("Transfer(address,address,uint256)");
        let moves = |log: &&TxLog| {
            log.address == token && log.topics.len() == 3 && log.topics[..2] == [event, from.into_word()]
        };
        let amounts = self
            .logs
            .iter()
            .filter(moves)
            .filter_map(|log| U256::try_from_be_slice(&log.data).filter(|_| log.data.len() == 32));
        amounts.fold(U256::ZERO, |sum, amount| sum.saturating_add(amount))
    }

    /// Whether it was executed to its end; a reverted transaction moved nothing but its fee.
    pub(crate) fn succeeded(&self) -> bool {
        self.status == U64::from(1)
    }

    /// Gas it used, and the price of a unit, if the node says both.
    #[cfg(feature = "tempo")]
    pub(crate) fn gas(&self) -> Option<(u64, u128)> {
        Some((self.gas_used?.to(), self.effective_gas_price?.to()))
    }

    /// When, if the node says so in the logs; else the block has to be asked.
    pub(crate) fn block_time(&self) -> Option<Timestamp> {
        let seconds = self.logs.iter().find_map(|log| log.block_timestamp)?;
        i64::try_from(seconds.to::<u64>()).ok().map(Timestamp::from_unix)
    }
}
