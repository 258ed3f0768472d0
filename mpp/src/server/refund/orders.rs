//! An order, from its commitment to its end.
//!
//! ```text
//! plan (reads) → refund due (the route is closed) → book (commit point) → network → book → entry closed
//! ```
//!
//! Every arrow is a place to die at. Before the book nothing was handed out and nothing is remembered but that the payment is
//! not delivered any more; after it whoever looks carries the same plan on. What is written after the network answered is
//! written again by whoever asks it again.

use super::super::Mpp;
use super::super::journal::{
    Book, BookOf, DeliveryState, JournalError, OrderState, Ordered, Refundable, Whereabouts,
};
use super::super::observe::Sale;
use super::{MAX_NAME, MAX_ORDERS, Refund, RefundError, RefundOrder, SaidBy, Wanted};
use crate::method::{RefundCx, RefundOutcome, RefundPlan, Refunding, ServerMethod};
use crate::protocol::{Amount, BaseUnits, b64};
use crate::store::{StoreError, Version};
use sha2::{Digest, Sha256};

/// How often somebody else may be faster before it is called trouble.
pub(super) const TURNS: usize = 20;

/// Commits an order and carries it out, or carries on what stands under its name.
pub(super) async fn make(mpp: &Mpp, order: &RefundOrder) -> Result<Refund, RefundError> {
    let journal = &mpp.0.journal;
    for _ in 0..TURNS {
        let payment = journal.refundable(&order.challenge_id, order.settled_at.unix(), mpp.now());
        let Some(payment) = payment.await.map_err(trouble)? else { return Err(RefundError::NoSuchPayment) };
        let of = BookOf {
            quota: payment.quota,
            settled_at: payment.line.settled_at,
            id: order.challenge_id.clone(),
        };
        let there = journal.refunds(&of).await?;
        let (version, mut book) = match there {
            Some((version, book)) => (Some(version), book),
            None => (None, new_book(&payment)),
        };
        let (name, asked) = read(order, &book)?;
        let before = book.orders.iter().position(|there| there.name == name);
        if let Some(there) = before.and_then(|at| book.orders.get(at)) {
            match &there.state {
                OrderState::Refunded { .. } | OrderState::Planned { .. }
                    if asked.is_some_and(|asked| asked != there.units) =>
                {
                    return Err(RefundError::NameTaken(amount(book.decimals, there.units)));
                }
                OrderState::Refunded { .. } => return Ok(Refund::of(there, book.decimals)),
                OrderState::Planned { .. } => return carry_on(mpp, &of, &name).await,
                OrderState::Failed { .. } => {}
            }
        }
        if book.has_pending() {
            return Err(RefundError::Underway);
        }
        let left = book.paid.saturating_sub(book.spoken_for());
        let units = asked.unwrap_or(left);
        if units > left || left == 0 {
            return Err(RefundError::TooMuch { left: amount(book.decimals, left) });
        }
        if book.orders.len() >= MAX_ORDERS && before.is_none() {
            return Err(RefundError::TooMany);
        }
        let attempt = before.and_then(|at| book.orders.get(at)).map_or(0, |failed| failed.attempt + 1);
        let id = refund_id(&of, &name, attempt);
        let plan = plan(mpp, &payment, &id, units).await?;
        if !close_route(mpp, &of, &payment).await? {
            continue;
        }
        // Erased while the plan was made, its refunds are forgotten as well: nobody could say what is left.
        if payment.open.is_none() && !journal.keep_line_again(&of).await? {
            continue;
        }
        let state = OrderState::Planned { plan, reference: None };
        let (at, said_by) = (mpp.now().unix(), SaidBy::Network);
        let ordered = Ordered { name: name.clone(), units, attempt, at, state, said_by };
        match before.and_then(|at| book.orders.get_mut(at)) {
            Some(failed) => *failed = ordered,
            None => book.orders.push(ordered),
        }
        // The commit point: nothing has been handed out before this, and nobody orders it again after it.
        match journal.write_refunds(&of, version, &book).await {
            Ok(_) => {
                let amount = amount(book.decimals, units);
                tracing::info!(target: "mpp::ledger", challenge = of.id, method = book.method, %amount, refund = id, "refund ordered");
                return carry_on(mpp, &of, &name).await;
            }
            Err(JournalError::Lost(_)) => {}
            Err(JournalError::Store(error)) => return Err(error.into()),
        }
    }
    Err(contended().into())
}

/// Carries on what a dead process left, or what was not over when it was last looked at: a book that is not
/// [over](Book::is_over). Whether something came to its end.
pub(in crate::server) async fn resume(mpp: &Mpp, of: BookOf, book: &Book) -> Result<bool, StoreError> {
    let pending = book.orders.iter().find(|order| matches!(order.state, OrderState::Planned { .. }));
    let Some(pending) = pending else {
        // It came back, and its entry was not closed yet.
        close(mpp, &of).await?;
        return Ok(true);
    };
    seal_again(mpp, &of, pending).await?;
    // Should it fail in the end, the payment has to be known to be ordered back again.
    mpp.0.journal.keep_line_again(&of).await?;
    match carry_on(mpp, &of, &pending.name).await {
        Ok(refund) => Ok(!matches!(refund.state, super::RefundState::Pending { .. })),
        Err(RefundError::Store(error)) => Err(error),
        // It needs a person, at every look.
        Err(error @ RefundError::Unreadable) => {
            tracing::error!(target: "mpp::ledger", challenge = of.id, name = pending.name, %error, "a refund is stuck");
            Ok(false)
        }
        // Its method is switched off, for now.
        Err(error) => {
            tracing::warn!(target: "mpp::ledger", challenge = of.id, %error, "a refund is pending and cannot be carried on");
            Ok(false)
        }
    }
}

/// The name and, for a part, the units of an order.
pub(super) fn read(order: &RefundOrder, book: &Book) -> Result<(String, Option<u128>), RefundError> {
    let Wanted::Part { amount, name } = &order.wanted else { return Ok((String::new(), None)) };
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(RefundError::Name);
    }
    match amount.to_base_units(book.decimals) {
        Ok(units) if !units.is_zero() => Ok((name.clone(), Some(units.get()))),
        Ok(_) | Err(_) => Err(RefundError::Amount),
    }
}

fn new_book(payment: &Refundable) -> Book {
    Book {
        method: payment.line.method.clone(),
        paid: payment.line.bill.units,
        decimals: payment.line.bill.decimals,
        orders: Vec::new(),
        payment: if payment.open.is_some() { Whereabouts::Open } else { Whereabouts::Over },
    }
}

/// Has the method make a plan, and seals it.
async fn plan(mpp: &Mpp, payment: &Refundable, id: &str, units: u128) -> Result<Vec<u8>, RefundError> {
    let line = &payment.line;
    let method = method(mpp, &line.method)?;
    match method.refunding() {
        Refunding::Configured => {}
        Refunding::Unconfigured => return Err(RefundError::Unconfigured(line.method.clone())),
        Refunding::Unsupported => return Err(RefundError::Unsupported(line.method.clone())),
    }
    let cx = RefundCx {
        reference: &line.reference,
        payer: line.payer.as_deref(),
        asset: &line.bill.asset,
        ..RefundCx::new(id, BaseUnits::new(units), mpp.now())
    };
    let plan = tokio::time::timeout(mpp.0.settle_timeout, method.plan_refund(&cx))
        .await
        .map_err(|_| crate::method::MethodProblem("the network did not answer in time".into()))??;
    let sealed = serde_json::to_vec(&plan.0).ok().and_then(|plain| mpp.0.sealer.seal(id, &plain));
    sealed.ok_or_else(|| StoreError::Backend("the plan could not be sealed".to_owned()).into())
}

/// Makes sure that an undelivered payment is not delivered any more. `false` when somebody was faster: look again.
async fn close_route(mpp: &Mpp, of: &BookOf, payment: &Refundable) -> Result<bool, RefundError> {
    let Some((version, entry)) = &payment.open else { return Ok(true) };
    if entry.delivery == DeliveryState::RefundDue {
        return Ok(true);
    }
    let now = mpp.now();
    if entry.lease.is_live(now) {
        return Err(RefundError::BeingDelivered);
    }
    match mpp.0.journal.refund_due(of.quota, &of.id, *version, entry.as_ref().clone(), now).await {
        Ok(()) => Ok(true),
        Err(JournalError::Lost(_)) => Ok(false),
        Err(JournalError::Store(error)) => Err(error.into()),
    }
}

/// Has the method carry out what is in the book under this name, and writes down what became of it.
async fn carry_on(mpp: &Mpp, of: &BookOf, name: &str) -> Result<Refund, RefundError> {
    let Some((_, book)) = mpp.0.journal.refunds(of).await? else { return Err(contended().into()) };
    let Some(order) = book.orders.iter().find(|order| order.name == name) else {
        return Err(contended().into());
    };
    if !matches!(order.state, OrderState::Planned { .. }) {
        return Ok(Refund::of(order, book.decimals));
    }
    let method = method(mpp, &book.method)?;
    let plan = plan_of(mpp, of, order).ok_or(RefundError::Unreadable)?;
    let outcome = tokio::time::timeout(mpp.0.settle_timeout, method.refund(&plan, mpp.now())).await;
    let outcome = outcome.unwrap_or_else(|_| RefundOutcome::Pending {
        reference: None,
        detail: "no answer in time".to_owned(),
    });
    record(mpp, of, name, order.attempt, outcome).await
}

/// What a pending order is carried on by. `None` when no secret of this server opens it.
pub(super) fn plan_of(mpp: &Mpp, of: &BookOf, order: &Ordered) -> Option<RefundPlan> {
    let OrderState::Planned { plan: sealed, .. } = &order.state else { return None };
    let plain = mpp.0.sealer.open(&refund_id(of, &order.name, order.attempt), sealed)?;
    serde_json::from_slice(&plain).ok().map(RefundPlan)
}

/// Has the plan of a pending order sealed with the first of the secrets, if it is not: a bank may take longer than a rotation.
async fn seal_again(mpp: &Mpp, of: &BookOf, pending: &Ordered) -> Result<(), StoreError> {
    let OrderState::Planned { plan, .. } = &pending.state else { return Ok(()) };
    let Some(sealed) = mpp.0.sealer.seal_again(&refund_id(of, &pending.name, pending.attempt), plan) else {
        return Ok(());
    };
    let Some((version, mut book)) = mpp.0.journal.refunds(of).await? else { return Ok(()) };
    let is_it = |order: &&mut Ordered| order.name == pending.name && order.attempt == pending.attempt;
    let there = book.orders.iter_mut().find(is_it).map(|order| &mut order.state);
    let Some(OrderState::Planned { plan, .. }) = there else { return Ok(()) };
    *plan = sealed;
    match mpp.0.journal.write_refunds(of, Some(version), &book).await {
        // Whoever was faster wrote its end, or did the same.
        Ok(_) | Err(JournalError::Lost(_)) => Ok(()),
        Err(JournalError::Store(error)) => Err(error),
    }
}

/// What the network said, into the book.
async fn record(
    mpp: &Mpp,
    of: &BookOf,
    name: &str,
    attempt: u32,
    outcome: RefundOutcome,
) -> Result<Refund, RefundError> {
    let journal = &mpp.0.journal;
    for _ in 0..TURNS {
        let Some((version, mut book)) = journal.refunds(of).await? else { return Err(contended().into()) };
        let decimals = book.decimals;
        let order = book.orders.iter_mut().find(|order| order.name == name && order.attempt == attempt);
        let Some(order) = order else { return Err(contended().into()) };
        let OrderState::Planned { plan, reference } = &order.state else {
            // Somebody else asked, and had the answer first.
            return Ok(Refund::of(order, decimals));
        };
        let next = match &outcome {
            RefundOutcome::Refunded { reference } => OrderState::Refunded { reference: reference.clone() },
            RefundOutcome::Failed { why } => OrderState::Failed { why: why.clone() },
            RefundOutcome::Pending { reference: Some(known), .. } if reference.is_none() => {
                OrderState::Planned { plan: plan.clone(), reference: Some(known.clone()) }
            }
            RefundOutcome::Pending { detail, .. } => {
                tracing::warn!(target: "mpp::ledger", challenge = of.id, detail, "refund pending");
                return Ok(Refund::of(order, decimals));
            }
        };
        order.state = next;
        let refund = Refund::of(order, decimals);
        match write_end(mpp, of, version, &book, &refund).await {
            Ok(()) => return Ok(refund),
            Err(JournalError::Lost(_)) => {}
            Err(JournalError::Store(error)) => return Err(error.into()),
        }
    }
    Err(contended().into())
}

/// Writes a book in which this refund has just changed, tells of it, and ends a payment of which everything is back.
pub(super) async fn write_end(
    mpp: &Mpp,
    of: &BookOf,
    expect: Version,
    book: &Book,
    refund: &Refund,
) -> Result<(), JournalError> {
    mpp.0.journal.write_refunds(of, Some(expect), book).await?;
    tell(mpp, of, refund).await;
    if book.is_to_be_closed() {
        close(mpp, of).await.map_err(JournalError::Store)?;
    }
    Ok(())
}

/// Everything is back: the entry ends, and then the book waits for nothing any more.
async fn close(mpp: &Mpp, of: &BookOf) -> Result<(), StoreError> {
    let (journal, now) = (&mpp.0.journal, mpp.now());
    let lost_or = |result: Result<(), JournalError>| match result {
        Ok(()) => Ok(()),
        Err(JournalError::Lost(_)) => Err(contended()),
        Err(JournalError::Store(error)) => Err(error),
    };
    lost_or(journal.close_refunded(of, now).await)?;
    lost_or(journal.archive(of.quota, &of.id, now).await)?;
    let Some((version, mut book)) = journal.refunds(of).await? else { return Ok(()) };
    book.payment = Whereabouts::Over;
    match journal.write_refunds(of, Some(version), &book).await {
        // Whoever was faster did the same.
        Ok(_) | Err(JournalError::Lost(_)) => Ok(()),
        Err(JournalError::Store(error)) => Err(error),
    }
}

/// Log, hooks and metrics.
async fn tell(mpp: &Mpp, of: &BookOf, refund: &Refund) {
    let payment = mpp.0.journal.refundable(&of.id, of.settled_at, mpp.now()).await;
    let sale = payment.ok().flatten().map(|payment| Sale::on(of.id.clone(), payment.line));
    mpp.0.observers.refund(&of.id, sale, refund);
}

pub(super) fn method<'m>(mpp: &'m Mpp, name: &str) -> Result<&'m dyn ServerMethod, RefundError> {
    let method = mpp.0.methods.iter().find(|method| method.name().as_str() == name);
    method.map(|method| &**method).ok_or_else(|| RefundError::NoSuchMethod(name.to_owned()))
}

/// The same for every run of one attempt, and for no other.
fn refund_id(of: &BookOf, name: &str, attempt: u32) -> String {
    let digest = Sha256::new()
        .chain_update(b"mpp refund v1\0")
        .chain_update(&of.id)
        .chain_update([0])
        .chain_update(attempt.to_be_bytes())
        .chain_update(name)
        .finalize();
    b64::encode(&digest[..24])
}

pub(super) fn amount(decimals: u8, units: u128) -> Amount {
    BaseUnits::new(units).to_amount(decimals)
}

fn trouble(error: JournalError) -> RefundError {
    match error {
        JournalError::Store(error) => error.into(),
        JournalError::Lost(_) => contended().into(),
    }
}

pub(super) fn contended() -> StoreError {
    StoreError::Backend("the refunds of this payment are being changed by others".to_owned())
}
