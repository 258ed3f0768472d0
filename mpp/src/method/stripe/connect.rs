//! Stripe Connect: who else gets a part of a payment (draft-stripe-charge, "Stripe Connect Settlement").
//!
//! All of it comes from the server's configuration: nothing of it is in a challenge, nothing is taken from a client (SC-08).

use crate::method::MethodProblem;
use crate::protocol::BaseUnits;

/// A part of a payment. Never more than the payment: a price that is too small for it is refused when it is offered.
///
/// ```
/// use mpp::method::stripe::Share;
/// let (tenth, fixed) = (Share::BasisPoints(1_000), Share::Units(30));
/// assert_ne!(tenth, fixed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Everything,
    /// Hundredths of a percent of it, rounded down to the currency's smallest unit: 250 is 2.5 %.
    BasisPoints(u16),
    /// This many of the currency's smallest unit, whatever the currency.
    Units(u64),
}

impl Share {
    /// Of `amount`; `None` when it would be more.
    pub(super) fn of(self, amount: u64) -> Option<u64> {
        let share = match self {
            Self::Everything => amount,
            Self::BasisPoints(points) => {
                u64::try_from(u128::from(amount) * u128::from(points) / 10_000).ok()?
            }
            Self::Units(units) => units,
        };
        (share <= amount).then_some(share)
    }
}

/// The Connect settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Connect {
    pub(super) account: Option<String>,
    pub(super) on_behalf_of: Option<String>,
    pub(super) transfer: Option<(String, Share)>,
    pub(super) fee: Option<Share>,
}

impl Connect {
    /// What cannot work whatever the price.
    pub(super) fn problems(&self) -> Vec<MethodProblem> {
        let mut problems = Vec::new();
        let mut problem = |text: &str| problems.push(MethodProblem(text.to_owned()));
        let somebody = self.account.is_some() || self.on_behalf_of.is_some() || self.transfer.is_some();
        if self.fee.is_some() && !somebody {
            problem("an application fee needs a connected account: `.account(…)` or `.transfer_data(…)`");
        }
        let partly = self.transfer.as_ref().is_some_and(|(_, share)| *share != Share::Everything);
        if self.fee.is_some() && partly {
            problem("Stripe takes either an application fee or a share in `transfer_data`, not both");
        }
        if self.fee == Some(Share::Everything) {
            problem("an application fee of everything leaves nothing to the connected account");
        }
        problems
    }

    /// The form fields for a payment of this much (SC-09: between nothing and all of it).
    pub(super) fn fields(&self, amount: u64) -> Result<Vec<(&'static str, String)>, MethodProblem> {
        let too_much = |what: &str| {
            MethodProblem(format!(
                "{what} is more than a price of {} in the smallest unit",
                BaseUnits::new(amount.into())
            ))
        };
        let mut fields = Vec::new();
        if let Some(fee) = self.fee {
            let fee = fee.of(amount).ok_or_else(|| too_much("the application fee"))?;
            fields.push(("application_fee_amount", fee.to_string()));
        }
        if let Some(account) = &self.on_behalf_of {
            fields.push(("on_behalf_of", account.clone()));
        }
        if let Some((destination, share)) = &self.transfer {
            fields.push(("transfer_data[destination]", destination.clone()));
            if *share != Share::Everything {
                let share = share.of(amount).ok_or_else(|| too_much("the share in `transfer_data`"))?;
                fields.push(("transfer_data[amount]", share.to_string()));
            }
        }
        Ok(fields)
    }
}
