//! Whether a node keeps up with its chain: one that has fallen behind cannot say what was paid.

use super::Rpc;
use crate::method::MethodProblem;
use crate::protocol::Timestamp;
use std::time::Duration;

/// Whether a node with this newest block keeps up with its chain. One that mines on demand only, as on a developer's
/// machine, does not while nothing happens on it.
///
/// # Errors
/// How old the block is, for the operator.
pub(crate) fn keeps_up(
    rpc: &Rpc,
    (number, time): (u64, Timestamp),
    now: Timestamp,
    most: Duration,
) -> Result<(), MethodProblem> {
    if time + most >= now {
        return Ok(());
    }
    Err(MethodProblem(format!(
        "the RPC node at {} has fallen behind: its newest block, {number}, is {} seconds old",
        rpc.shown(),
        now.since(time).as_secs()
    )))
}
