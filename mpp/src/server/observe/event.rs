//! What happens to payments, as values for hooks: never a credential, never the path, query or body of one request.

use super::super::journal::{Ending, Entry, Line};
use super::super::refund::Refund;
use crate::protocol::{Amount, BaseUnits, ProblemType, Timestamp};
use axum::http::StatusCode;
use std::time::Duration;

/// One step of a payment, for [`Builder::on_event`](crate::Builder::on_event).
///
/// Events tell what the journal already holds: losing one loses no money, and hearing one changes nothing. Several
/// processes on one store each tell what they did themselves.
///
/// ```
/// use mpp::observe::Event;
///
/// fn page_somebody(event: &Event) -> Option<String> {
///     match event {
///         Event::RefundDue { sale, runs } => {
///             Some(format!("{} {} of {} were not delivered in {runs} runs", sale.amount, sale.currency, sale.operation))
///         }
///         _ => None,
///     }
/// }
/// # drop(page_somebody);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A 402 was answered.
    ChallengeIssued {
        /// Verb and route template: `GET /weather/{city}`. For a fallback or a layer verb and name.
        operation: String,
        /// Why: [`PaymentRequired`](ProblemType::PaymentRequired), or what was wrong with a credential.
        reason: ProblemType,
        /// The id of the first challenge.
        challenge_id: String,
        /// How many ways to pay it offers.
        offers: usize,
    },
    /// Money moved, finally. Also told when that is found out later, by another process.
    PaymentSettled {
        /// What was paid for, and how.
        sale: Sale,
        /// How long the payment network took to say so.
        took: Duration,
    },
    /// The response of a paid request was committed, before its first byte left.
    Delivered {
        /// What was paid for, and how.
        sale: Sale,
        /// Which run of the handler it was, from 1.
        run: u32,
        /// The status of the response.
        status: StatusCode,
    },
    /// A handler's run ended without a delivery. The same credential opens the route again.
    DeliveryFailed {
        /// What was paid for, and how.
        sale: Sale,
        /// Which run of the handler it was, from 1.
        run: u32,
        /// What happened.
        failure: Failure,
    },
    /// A payment was taken and will not be delivered any more: the operator owes the payer a refund.
    RefundDue {
        /// What was paid for, and how.
        sale: Sale,
        /// How often the handler has run.
        runs: u32,
    },
    /// A [refund](crate::Mpp::refund) has come to its end: the money is back, or it failed.
    Refund {
        /// What was paid for, and how.
        sale: Sale,
        /// What was ordered, and how it ended.
        refund: Refund,
    },
}

/// Why a run of a handler delivered nothing.
///
/// ```
/// use mpp::observe::Failure;
/// assert_ne!(Failure::Dropped, Failure::Withheld);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The handler answered with this status, a 4xx or 5xx.
    Status(StatusCode),
    /// There was no response: the handler panicked, or the client hung up before.
    Dropped,
    /// There was one, and the store could not record its delivery.
    Withheld,
}

/// A settled payment: what was sold, for how much, and who paid. The operation is the route's template, never the path,
/// query or body of the request.
///
/// ```
/// use mpp::observe::Sale;
///
/// fn line(sale: &Sale) -> String {
///     format!("{} {} {} by {} ({})", sale.operation, sale.amount, sale.currency, sale.method, sale.reference)
/// }
/// # drop(line);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sale {
    /// Id of the challenge that was paid: the name of this payment here.
    pub challenge_id: String,
    /// Verb and route template: `GET /weather/{city}`. For a fallback or a layer verb and name.
    pub operation: String,
    /// The payment method.
    pub method: String,
    /// How much, in units of the currency.
    pub amount: Amount,
    /// The currency as the price names it: `usdc`.
    pub currency: String,
    /// How much, in base units of what the method moved.
    pub base_units: BaseUnits,
    /// What the method moved: a token's address, an ISO 4217 code.
    pub asset: String,
    /// Who paid, as the method established it.
    pub payer: Option<String>,
    /// The method's reference, as on the receipt: a transaction hash, a payment intent.
    pub reference: String,
    /// The merchant's own reference, as on the receipt.
    pub external_id: Option<String>,
    /// When it was settled.
    pub settled_at: Timestamp,
}

impl Sale {
    /// The settled payment of an entry; `None` for one that is not settled.
    pub(crate) fn of(challenge_id: &str, entry: &Entry) -> Option<Self> {
        Line::of(entry, Ending::Open).map(|line| Self::on(challenge_id.to_owned(), line))
    }

    /// As the ledger has it.
    pub(crate) fn on(challenge_id: String, line: Line) -> Self {
        let base_units = BaseUnits::new(line.bill.units);
        Self {
            challenge_id,
            operation: line.bill.operation,
            method: line.method,
            amount: base_units.to_amount(line.bill.decimals),
            currency: line.bill.currency,
            base_units,
            asset: line.bill.asset,
            payer: line.payer,
            reference: line.reference,
            external_id: line.external_id,
            settled_at: Timestamp::from_unix(line.settled_at),
        }
    }
}
