//! Giving payments back, when the operator orders it: [`Mpp::refund`].
//!
//! Nothing here happens by itself. A method gives nothing back before its own configuration named what it pays from
//! (`Tempo::refunds_from`, `Evm::refunds_from`, `Stripe::refunds`), and then only what is ordered. To refund automatically what
//! could not be delivered, order it from a hook on [`Event::RefundDue`](super::observe::Event::RefundDue).
//!
//! Money goes back to whoever paid, as the method established it when it verified the payment: the account a transfer came
//! from, the card that was charged. Of a payment, orders together never exceed what was paid, and only one is under way at a
//! time. Each is committed with its plan before a network hears of it (`orders.rs`), so a crash, a lost answer or a second
//! process repeats an order and never the payment.
//!
//! | state | when |
//! | --- | --- |
//! | [`Pending`](RefundState::Pending) | committed; on its way, or nobody knows yet. [`Mpp::recover`] carries it on |
//! | [`Refunded`](RefundState::Refunded) | the network says that the money went back |
//! | [`Failed`](RefundState::Failed) | it did not and will not; the same order again makes a new attempt |
//!
//! A pending order whose plan no secret of the server opens any more is [`RefundError::Unreadable`], one whose method is not
//! configured any more [`RefundError::NoSuchMethod`]. It ends with what a person found out: [`Mpp::close_refund`].
//!
//! An undelivered payment that is to be refunded opens its route no more. When all of it is back it is
//! [`Delivery::Refunded`](super::ledger::Delivery::Refunded) in the ledger, and its credential is used up.

mod closing;
mod orders;

pub use closing::Finding;
pub(super) use orders::resume;

use super::Mpp;
use super::journal::{OrderState, Ordered};
use super::observe::Sale;
use crate::method::MethodProblem;
use crate::protocol::{Amount, BaseUnits, Timestamp};
use crate::store::StoreError;
use serde::{Deserialize, Serialize};

/// What to give back of which payment.
///
/// ```
/// use mpp::{Amount, Mpp, observe::Sale, refund::{Refund, RefundError, RefundOrder}};
///
/// /// A quarter of the price, for a page that came late.
/// async fn sorry(mpp: &Mpp, sale: &Sale) -> Result<Refund, RefundError> {
///     let quarter = Amount::parse("0.0125").expect("an amount");
///     mpp.refund(&RefundOrder::part(sale, quarter, "ticket 4711")).await
/// }
/// # drop(sorry);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundOrder {
    challenge_id: String,
    settled_at: Timestamp,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Rest,
    Part { amount: Amount, name: String },
}

impl RefundOrder {
    /// All of the payment that is not back yet. Ordered again, it is the same refund.
    ///
    /// ```
    /// use mpp::{Mpp, observe::Event, refund::RefundOrder};
    ///
    /// /// Gives back what can not be delivered any more. A hook has a thread of its own, so it hands the order over.
    /// fn refund_what_is_due(mpp: Mpp, runtime: tokio::runtime::Handle) -> impl FnMut(&Event) {
    ///     move |event| {
    ///         if let Event::RefundDue { sale, .. } = event {
    ///             let (mpp, order) = (mpp.clone(), RefundOrder::rest(sale));
    ///             runtime.spawn(async move {
    ///                 if let Err(error) = mpp.refund(&order).await {
    ///                     eprintln!("not refunded: {error}");
    ///                 }
    ///             });
    ///         }
    ///     }
    /// }
    /// # drop(refund_what_is_due);
    /// ```
    pub fn rest(sale: &Sale) -> Self {
        Self::of(sale, Wanted::Rest)
    }

    /// A part of the payment. `name` tells this order from others of the payment, so that ordered again after a lost answer
    /// it is the same refund: a ticket's number, 1 to 100 characters, no personal data.
    ///
    /// ```
    /// # use mpp::{Amount, observe::Sale, refund::RefundOrder};
    /// fn half(sale: &Sale) -> RefundOrder { RefundOrder::part(sale, Amount::cents(2), "half") }
    /// # drop(half);
    /// ```
    pub fn part(sale: &Sale, amount: Amount, name: impl Into<String>) -> Self {
        Self::of(sale, Wanted::Part { amount, name: name.into() })
    }

    fn of(sale: &Sale, wanted: Wanted) -> Self {
        Self { challenge_id: sale.challenge_id.clone(), settled_at: sale.settled_at, wanted }
    }
}

/// An order and how it stands.
///
/// ```
/// use mpp::refund::{Refund, RefundState};
///
/// fn line(refund: &Refund) -> String {
///     match &refund.state {
///         RefundState::Refunded { reference } => format!("{} is back: {reference}", refund.amount),
///         RefundState::Failed { why } => format!("{} is not back: {why}", refund.amount),
///         _ => format!("{} is on its way", refund.amount),
///     }
/// }
/// # drop(line);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refund {
    /// Of the order; `None` for the rest.
    pub name: Option<String>,
    /// How much, in units of the payment's currency.
    pub amount: Amount,
    /// When it was ordered.
    pub ordered_at: Timestamp,
    /// How it stands.
    pub state: RefundState,
    /// Who says so.
    pub said_by: SaidBy,
}

/// On whose word a refund stands as it does.
///
/// ```
/// use mpp::refund::SaidBy;
/// assert_eq!(SaidBy::Operator.name(), "operator");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SaidBy {
    /// The payment network's, as far as it has been asked.
    Network,
    /// A person's, who [closed](Mpp::close_refund) what nobody could carry on.
    Operator,
}

impl SaidBy {
    /// In a word.
    ///
    /// ```
    /// # use mpp::refund::SaidBy;
    /// assert_eq!(SaidBy::Network.name(), "network");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Operator => "operator",
        }
    }
}

/// How a refund stands.
///
/// ```
/// use mpp::refund::RefundState;
/// assert_eq!(RefundState::Failed { why: "the card is closed".into() }.name(), "failed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefundState {
    /// Under way, or nobody knows yet.
    Pending {
        /// What it will be known by, where that is certain already: a transaction's hash.
        reference: Option<String>,
    },
    /// The money went back.
    Refunded {
        /// Transaction hash, Stripe's refund id.
        reference: String,
    },
    /// It did not, and will not without a new order.
    Failed {
        /// For the operator.
        why: String,
    },
}

impl RefundState {
    /// In a word.
    ///
    /// ```
    /// # use mpp::refund::RefundState;
    /// assert_eq!(RefundState::Pending { reference: None }.name(), "pending");
    /// ```
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Refunded { .. } => "refunded",
            Self::Failed { .. } => "failed",
        }
    }
}

impl Refund {
    pub(super) fn of(order: &Ordered, decimals: u8) -> Self {
        Self {
            name: (!order.name.is_empty()).then(|| order.name.clone()),
            amount: BaseUnits::new(order.units).to_amount(decimals),
            ordered_at: Timestamp::from_unix(order.at),
            state: match &order.state {
                OrderState::Planned { reference, .. } => {
                    RefundState::Pending { reference: reference.clone() }
                }
                OrderState::Refunded { reference } => RefundState::Refunded { reference: reference.clone() },
                OrderState::Failed { why } => RefundState::Failed { why: why.clone() },
            },
            said_by: order.said_by,
        }
    }
}

/// Why nothing was ordered, or carried on. No money has moved for this order by this call.
///
/// ```
/// use mpp::{Amount, refund::RefundError};
/// let error = RefundError::TooMuch { left: Amount::cents(3) };
/// assert_eq!(error.to_string(), "more than is left of the payment: 0.03");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefundError {
    /// The store knows no payment with this challenge id (any more), or it moved no money.
    #[error("no such payment is known: it was never settled, or its line has left the ledger")]
    NoSuchPayment,
    /// Its method is not configured here. Should an order be pending and the method be gone for good, [`Mpp::close_refund`] ends it.
    #[error("the payment method `{0}` is not configured")]
    NoSuchMethod(String),
    /// Its method cannot give payments back.
    #[error("the payment method `{0}` cannot give payments back")]
    Unsupported(String),
    /// Its method could, and nobody has said from what.
    #[error("refunds of the payment method `{0}` are not configured")]
    Unconfigured(String),
    /// Its handler is running; refund it when that has failed, or is delivered.
    #[error("the payment is just being delivered")]
    BeingDelivered,
    /// Another order of this payment is pending.
    #[error("another refund of this payment is under way")]
    Underway,
    /// More than is left.
    #[error("more than is left of the payment: {left}")]
    TooMuch {
        /// What is left.
        left: Amount,
    },
    /// Nothing, or a fraction of the smallest unit.
    #[error("not an amount of this currency")]
    Amount,
    /// A part's name is empty or too long.
    #[error("a partial refund needs a name of 1 to {MAX_NAME} characters")]
    Name,
    /// The name stands for a refund of another amount.
    #[error("a refund of this name was ordered before, of {0}")]
    NameTaken(Amount),
    /// The payment has as many orders as are kept.
    #[error("the payment has been refunded in {MAX_ORDERS} parts already")]
    TooMany,
    /// It was ordered before, and none of the configured secrets opens its plan: the one that sealed it was rotated away.
    /// Whether the money went back is for a person to find out, and for [`Mpp::close_refund`] to be told.
    #[error(
        "the plan of this refund cannot be opened: its secret was rotated away; look for it and close it"
    )]
    Unreadable,
    /// There is nothing to [close](Mpp::close_refund): it is over, was never ordered, or can be carried on.
    #[error("this refund is not stuck: it is over, was never ordered, or this server can carry it on")]
    NotStuck,
    /// The method made no plan.
    #[error(transparent)]
    Refused(#[from] MethodProblem),
    /// The server is [draining](Mpp::drain).
    #[error("this server is about to end")]
    Draining,
    /// The store failed. Whether the order was committed is not known: order it again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const MAX_NAME: usize = 100;
const MAX_ORDERS: usize = 100;

impl Mpp {
    /// Gives a payment back, or a part of it, to whoever paid. Only by a method whose configuration allows it.
    ///
    /// Returns how the order stands after its first attempt. What is [pending](RefundState::Pending) then is carried on by
    /// [`recover`](Self::recover), and by the same order again. Dropped half-way, the order is carried on likewise if it was
    /// committed. Orders of one process are made one after the other.
    ///
    /// # Errors
    /// [`RefundError`]; after [`RefundError::Store`] it may have been ordered, and what is [`RefundError::Unreadable`] was.
    ///
    /// ```standalone_crate
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Amount, Mpp, Paid, Sandbox, Secret, method::{ClientMethod, sandbox::Wallet}, protocol::Credential};
    /// # use mpp::{routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// use mpp::{ledger::Query, refund::{RefundOrder, RefundState}};
    ///
    /// # let alice = Wallet::generate();
    /// # let sandbox = Sandbox::new().account(&alice.did(), Amount::whole(1)).refunds();
    /// # let mpp = Mpp::builder("https://api.example.com").secret(Secret::generate()).method(sandbox.clone())
    /// #     .allow_test_money().ledger_retention(Duration::from_secs(3600)).build().unwrap();
    /// # let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp.clone()));
    /// # let challenge = client.get("/weather").unpaid().await.challenges().offers.remove(0);
    /// # let proof = alice.pay(&challenge).await.unwrap();
    /// # let paid = Credential { challenge, source: proof.source, payload: proof.payload };
    /// # client.get("/weather").presenting(&paid.to_header_value()).await;
    /// let sold = mpp.ledger().page(&Query::new(), None).await.unwrap();
    /// let sale = &sold.entries[0].sale;
    ///
    /// let refund = mpp.refund(&RefundOrder::part(sale, Amount::cents(2), "ticket 4711")).await.unwrap();
    /// assert!(matches!(refund.state, RefundState::Refunded { .. }));
    /// // The same order again is the same refund; what is left can be given back, too.
    /// assert_eq!(mpp.refund(&RefundOrder::part(sale, Amount::cents(2), "ticket 4711")).await, Ok(refund));
    /// assert_eq!(mpp.refund(&RefundOrder::rest(sale)).await.unwrap().amount, Amount::cents(3));
    /// assert_eq!(sandbox.balance(&alice.did()).await.unwrap(), Some(Amount::whole(1)));
    /// # });
    /// # }
    /// ```
    pub async fn refund(&self, order: &RefundOrder) -> Result<Refund, RefundError> {
        let _pass = self.0.journal.doors().enter().ok_or(RefundError::Draining)?;
        // Plans are made one after the other: a key that signs transactions by a counter signs none twice.
        let _turn = self.0.refunds.lock().await;
        orders::make(self, order).await
    }
}
