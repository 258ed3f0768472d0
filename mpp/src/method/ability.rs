//! What a method can do beyond being paid. Start-up refuses prices that ask more of it.

use crate::protocol::Amount;

/// Whether a method moves real money.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{Money, ServerMethod}};
/// assert_eq!(Sandbox::named("tempo").money(), Money::Test);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Money {
    /// Real.
    Real,
    /// Play money; the builder wants `.allow_test_money()`.
    Test,
}

/// Whether a method can reserve funds and take them later.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{Holding, ServerMethod}};
/// assert_eq!(Sandbox::new().holding(), Holding::Supported);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It really can.
    Supported,
    /// It cannot: `capture = "success"` is refused at start-up.
    Unsupported,
}

/// Whether a method can pay the network's fees for its payers.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{ServerMethod, Sponsoring}};
/// assert_eq!(Sandbox::new().sponsoring(), Sponsoring::NoFees);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sponsoring {
    /// There is no fee a payer could be asked for: cards, test money, networks where the server always pays.
    NoFees,
    /// Payers pay: no sponsor is configured.
    Unconfigured,
    /// The sponsor pays.
    Open,
    /// A sponsor is configured and has stopped, for now: its budget is spent, or it was abused. Offers go out unsponsored.
    Paused,
}

/// What a sponsor may spend on network fees in the current window of time.
///
/// ```
/// use mpp::{Amount, method::SponsorBudget};
/// let budget = SponsorBudget { left: Amount::cents(20), total: Amount::whole(25) };
/// assert!(budget.left < budget.total);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SponsorBudget {
    /// What is left, in units of the fee token.
    pub left: Amount,
    /// All of it.
    pub total: Amount,
}

/// Whether one payment of a method can go to several recipients.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// use mpp::{Sandbox, method::{ServerMethod, Splitting}};
/// assert_eq!(Sandbox::new().splitting(), Splitting::Legs(10));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splitting {
    /// It can, to this many besides the recipient.
    Legs(usize),
    /// It cannot: a price with a `split` is refused at start-up.
    Unsupported,
}
