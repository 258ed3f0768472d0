//! What the fate of a transfer of our own says about the refund that it is.

use crate::method::{MethodProblem, Payment, RefundOutcome, Rejection, Settlement};

/// What a look at the chain, or a broadcast, says of a refund. `reference` is the transfer's hash.
///
/// Only what the chain says is a failure: that nothing could be sent says nothing about an earlier copy.
pub(crate) fn refund_ended(method: &str, settlement: Settlement, reference: String) -> RefundOutcome {
    match settlement {
        Settlement::Settled(Payment { reference, .. }) => RefundOutcome::Refunded { reference },
        Settlement::Declined(Rejection::Refused { detail, .. }) => {
            RefundOutcome::Failed { why: format!("{method}: {detail}") }
        }
        Settlement::Declined(Rejection::Unavailable { detail, .. }) | Settlement::Unknown { detail } => {
            RefundOutcome::Pending { reference: Some(reference), detail }
        }
    }
}

/// Trouble with a node, for the operator.
pub(crate) fn told(rejection: Rejection) -> MethodProblem {
    match rejection {
        Rejection::Refused { detail, .. } => MethodProblem(detail.into_owned()),
        Rejection::Unavailable { detail, .. } => MethodProblem(detail),
    }
}
