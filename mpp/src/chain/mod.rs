//! What every EVM-like chain needs: talking JSON-RPC, reading receipts, telling who an address is, and waiting for a
//! transaction without letting one client wait at everybody's expense.
//!
//! Payment methods use this module; it knows none of them but the words of their trait, no HTTP of ours and no store. Nothing here prints an RPC
//! URL beyond scheme, host and port, because the rest of it is often an API key.

mod account;
#[cfg(test)]
pub(crate) mod fake;
mod head;
mod node;
mod patience;
mod receipt;
mod refund;
mod rpc;

pub(crate) use account::{did_of, parse_address, parse_hex, payer_of, usable_account};
pub(crate) use head::Head;
#[cfg(feature = "evm")]
pub(crate) use node::chain_id;
pub(crate) use node::{Node, RETRY, Wait, block, chain_served_at, served_by, unusable};
#[cfg(feature = "evm")]
pub(crate) use receipt::TxLog;
pub(crate) use receipt::TxReceipt;
pub(crate) use refund::{refund_ended, told};
pub(crate) use rpc::{Answer, Call, NodeError, Reach, Rpc, RpcError};
