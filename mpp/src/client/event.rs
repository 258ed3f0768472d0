//! What a paying client does, told as it happens. Never a credential, never a key.

use std::time::Duration;

use http::StatusCode;

use super::ledger::EntryId;
use super::origin::Origin;
use super::refusal::RefusedOffer;
use crate::method::Cost;
use crate::protocol::Receipt;

/// One step of a payment, for [`Builder::observe`](super::Builder::observe). The same steps are `tracing` events of the
/// target `mpp::client`.
///
/// ```
/// use mpp::client::{Client, Event, MemoryLedger, Policy};
/// # use mpp::method::sandbox::Wallet;
/// let client = Client::builder(Policy::unlimited(), MemoryLedger::new())
///     .method(Wallet::generate())
///     .observe(|event: &Event<'_>| {
///         if let Event::Paying { cost, origin, .. } = event {
///             println!("paying {cost} to {origin} …");
///         }
///     })
///     .build();
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A server asks for a payment.
    Challenged {
        /// Which.
        origin: &'a Origin,
        /// How many offers it makes that can be read.
        offers: usize,
    },
    /// An offer is not paid.
    Refused(&'a RefusedOffer),
    /// The wallet is about to sign; the ledger has the entry.
    Paying {
        /// The entry.
        entry: EntryId,
        /// Whom.
        origin: &'a Origin,
        /// How much at worst.
        cost: &'a Cost,
    },
    /// The credential is being sent.
    Sending {
        /// The entry.
        entry: EntryId,
        /// 1 for the first time.
        attempt: u32,
    },
    /// The server asks to come back with the same credential.
    Waiting {
        /// The entry.
        entry: EntryId,
        /// 409 or 503.
        status: StatusCode,
        /// How long.
        after: Duration,
    },
    /// What was paid for is there: a response of 1xx, 2xx or 3xx.
    Delivered {
        /// The entry.
        entry: EntryId,
        /// Its status.
        status: StatusCode,
        /// The receipt, if there is a good one.
        receipt: Option<&'a Receipt>,
    },
    /// The server answered a payment with a 4xx that is no 402: it has an answer, and that is not what was paid for. Whether the
    /// money was taken is not known, and the credential is kept.
    Undelivered {
        /// The entry.
        entry: EntryId,
        /// The answer's status.
        status: StatusCode,
    },
    /// There is no answer, and the payment may have been made.
    Unsettled {
        /// The entry.
        entry: EntryId,
    },
    /// The payment did not happen, provably, and was given back to the limits.
    Released {
        /// The entry.
        entry: EntryId,
    },
}

impl Event<'_> {
    /// The `tracing` event of this step.
    pub(super) fn trace(&self) {
        const TARGET: &str = "mpp::client";
        match self {
            Event::Challenged { origin, offers } => {
                tracing::debug!(target: TARGET, %origin, offers, "a payment is asked for");
            }
            Event::Refused(offer) => tracing::debug!(target: TARGET, %offer, "offer refused"),
            Event::Paying { entry, origin, cost } => {
                tracing::info!(target: TARGET, %entry, %origin, %cost, "paying");
            }
            Event::Sending { entry, attempt } => {
                tracing::debug!(target: TARGET, %entry, attempt, "sending the credential");
            }
            Event::Waiting { entry, status, after } => {
                let seconds = after.as_secs_f32();
                tracing::debug!(target: TARGET, %entry, %status, seconds, "waiting to send the same credential again");
            }
            Event::Delivered { entry, status, receipt } => {
                let reference = receipt.map(|receipt| receipt.reference.as_str());
                tracing::info!(target: TARGET, %entry, %status, reference = ?reference, "delivered");
            }
            Event::Undelivered { entry, status } => {
                tracing::warn!(target: TARGET, %entry, %status, "paid, and answered with an error");
            }
            Event::Unsettled { entry } => tracing::warn!(target: TARGET, %entry, "paid and not delivered"),
            Event::Released { entry } => tracing::info!(target: TARGET, %entry, "the payment did not happen"),
        }
    }
}
