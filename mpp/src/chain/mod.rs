//! What every EVM-like chain needs: talking JSON-RPC, reading receipts, telling who an address is, and waiting for a
//! transaction without letting one client wait at everybody's expense.
//!
//! Payment methods use this module; it knows none of them, no HTTP of ours and no store. Nothing here prints an RPC
//! URL beyond scheme, host and port, because the rest of it is often an API key.

mod account;
#[cfg(test)]
pub(crate) mod fake;
mod freshness;
#[cfg(feature = "tempo")]
mod head;
mod patience;
mod receipt;
mod rpc;

pub(crate) use account::{did_of, parse_address, parse_hex, payer_of};
pub(crate) use freshness::keeps_up;
#[cfg(feature = "tempo")]
pub(crate) use head::Head;
pub(crate) use patience::Patience;
#[cfg(feature = "evm")]
pub(crate) use receipt::TxLog;
pub(crate) use receipt::TxReceipt;
pub(crate) use rpc::{Answer, Call, NodeError, Reach, Rpc, RpcError};
