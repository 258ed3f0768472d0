//! Ending a refund that no server can carry on: [`Mpp::close_refund`].
//!
//! An order is in the journal with its plan, sealed by a secret of the server. Is that secret gone before the order has come to
//! its end (a leak; a rotation without a sweep of [`Mpp::recover`]), nobody can ask the network about it any more. It stays pending,
//! whatever happened to the money, and while it is pending nothing else of the payment is given back. The same is true of an order
//! whose payment method is gone from the configuration. A person can look: at Stripe, or on the chain. What was found is written where the network's own word would stand, in one step with everything that
//! follows from it, and is [marked](super::SaidBy::Operator) as what it is.

use super::super::Mpp;
use super::super::journal::{BookOf, JournalError, OrderState};
use super::orders::{self, TURNS};
use super::{Refund, RefundError, RefundOrder, SaidBy};
use crate::store::Quota;

/// What became of a refund, as a person found out.
///
/// ```
/// use mpp::refund::Finding;
/// let found = Finding::Refunded { reference: "re_3PqXbW2eZvKYlo2C1f4kR8Ba".into() };
/// assert_ne!(found, Finding::NotRefunded { why: "Stripe knows of no refund of this payment".into() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The money went back.
    Refunded {
        /// How it can be found again: a transaction's hash, Stripe's refund id.
        reference: String,
    },
    /// It did not, and cannot any more: what may still be mined, or be made with a key that still counts, is no finding.
    NotRefunded {
        /// For the ledger.
        why: String,
    },
}

impl Finding {
    fn state(&self) -> OrderState {
        match self {
            Self::Refunded { reference } => OrderState::Refunded { reference: reference.clone() },
            Self::NotRefunded { why } => OrderState::Failed { why: why.clone() },
        }
    }
}

impl Mpp {
    /// Ends a refund whose plan none of this server's secrets opens, or whose method it does not have, with what a person found
    /// out about it: the way out of [`RefundError::Unreadable`], and of [`RefundError::NoSuchMethod`] for good.
    ///
    /// The finding is journaled, told to hooks, log and metrics, and in the ledger, as the word of the
    /// [operator](SaidBy::Operator). After [`Finding::NotRefunded`] the same order makes a new attempt, which pays: be sure that
    /// the first one cannot any more, by no other server that still has the old secret or the method, nor by this one once a
    /// method that was switched off is back. The same finding again changes nothing.
    ///
    /// # Errors
    /// [`RefundError::NotStuck`] for an order that is over, was never made, or that this server can carry on itself;
    /// [`RefundError::NameTaken`] when the order under this name is of another amount. After [`RefundError::Store`] it may be
    /// written: close it again.
    ///
    /// ```
    /// use mpp::refund::{Finding, Refund, RefundError, RefundOrder, RefundState};
    /// use mpp::{Mpp, ledger::LedgerEntry};
    ///
    /// /// Looks for every refund of a payment that nobody can carry on.
    /// async fn close_what_is_stuck(mpp: &Mpp, entry: &LedgerEntry) -> Result<(), RefundError> {
    ///     // Of those that are pending: one that has failed would be ordered anew, and paid.
    ///     let is_pending = |refund: &&Refund| matches!(refund.state, RefundState::Pending { .. });
    ///     // (A book that cannot be read has none that could be closed.)
    ///     for refund in entry.refunds.iter().flatten().filter(is_pending) {
    ///         let order = match &refund.name {
    ///             None => RefundOrder::rest(&entry.sale),
    ///             Some(name) => RefundOrder::part(&entry.sale, refund.amount, name),
    ///         };
    ///         // The second is a method that is gone for good here, and not switched off for a while.
    ///         if let Err(RefundError::Unreadable | RefundError::NoSuchMethod(_)) = mpp.refund(&order).await {
    ///             mpp.close_refund(&order, look_for(refund)).await?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    ///
    /// fn look_for(refund: &Refund) -> Finding {
    ///     // A person has to.
    /// #   let _ = refund;
    ///     Finding::NotRefunded { why: "not on the chain, and its nonce is used (ticket 4711)".into() }
    /// }
    /// # drop(close_what_is_stuck);
    /// ```
    pub async fn close_refund(&self, order: &RefundOrder, found: Finding) -> Result<Refund, RefundError> {
        let _pass = self.0.journal.doors().enter().ok_or(RefundError::Draining)?;
        let _turn = self.0.refunds.lock().await;
        for quota in [Quota::Paid, Quota::Free] {
            let id = order.challenge_id.clone();
            let of = BookOf { quota, settled_at: order.settled_at.unix(), id };
            if self.0.journal.refunds(&of).await?.is_some() {
                return close(self, &of, order, &found).await;
            }
        }
        Err(RefundError::NotStuck)
    }
}

async fn close(mpp: &Mpp, of: &BookOf, order: &RefundOrder, found: &Finding) -> Result<Refund, RefundError> {
    for _ in 0..TURNS {
        let Some((version, mut book)) = mpp.0.journal.refunds(of).await? else {
            return Err(RefundError::NotStuck);
        };
        let (decimals, (name, asked)) = (book.decimals, orders::read(order, &book)?);
        let has_method = orders::method(mpp, &book.method).is_ok();
        let there = book.orders.iter_mut().find(|there| there.name == name).ok_or(RefundError::NotStuck)?;
        if asked.is_some_and(|asked| asked != there.units) {
            return Err(RefundError::NameTaken(orders::amount(decimals, there.units)));
        }
        if there.said_by == SaidBy::Operator && there.state == found.state() {
            return Ok(Refund::of(there, decimals));
        }
        let can_go_on = || has_method && orders::plan_of(mpp, of, there).is_some();
        if !matches!(there.state, OrderState::Planned { .. }) || can_go_on() {
            return Err(RefundError::NotStuck);
        }
        (there.state, there.said_by) = (found.state(), SaidBy::Operator);
        let refund = Refund::of(there, decimals);
        match orders::write_end(mpp, of, version, &book, &refund).await {
            Ok(()) => return Ok(refund),
            Err(JournalError::Lost(_)) => {}
            Err(JournalError::Store(error)) => return Err(error.into()),
        }
    }
    Err(orders::contended().into())
}
