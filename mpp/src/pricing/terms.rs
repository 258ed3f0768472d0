//! Terms shared by several prices: `mpp::terms!` and `terms = path`.

use super::spec::OfferSpec;
use crate::protocol::{Amount, Currency};

/// Who can be paid, and in which currency, without the amount: the part several prices share.
///
/// Made by `mpp::terms!` and used by `#[mpp::charge(amount = "…", terms = path)]`. Merging and the check of
/// decimal places happen in const evaluation, also across crates.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// pub const STANDARD: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo, stripe(amount = "0.50", currency = "usd")));
/// assert_eq!(STANDARD.len(), 2);
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Terms(&'static [TermSpec]);

/// One method of [`Terms`].
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct TermSpec {
    pub method: &'static str,
    pub currency: Currency,
    /// Its own amount, instead of the price's.
    pub amount: Option<Amount>,
}

impl Terms {
    #[doc(hidden)]
    pub const fn new(terms: &'static [TermSpec]) -> Self {
        Self(terms)
    }

    /// How many methods these terms name.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// const CHAIN: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo));
    /// assert_eq!(CHAIN.len(), 1);
    /// # }
    /// ```
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether they name none; `terms!` refuses that.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// const CHAIN: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo));
    /// assert!(!CHAIN.is_empty());
    /// # }
    /// ```
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The offers of a fixed price. `N` is [`len`](Self::len).
    #[doc(hidden)]
    pub const fn fixed<const N: usize>(&self, amount: Amount) -> [OfferSpec; N] {
        let mut offers = [OfferSpec::computed("", Currency::USD); N];
        let mut i = 0;
        while i < N {
            let term = self.0[i];
            let amount = match term.amount {
                Some(own) => own,
                None => amount,
            };
            offers[i] = OfferSpec::fixed(term.method, term.currency, amount);
            i += 1;
        }
        offers
    }

    /// The offers of a computed price. `N` is [`len`](Self::len).
    #[doc(hidden)]
    pub const fn computed<const N: usize>(&self) -> [OfferSpec; N] {
        let mut offers = [OfferSpec::computed("", Currency::USD); N];
        let mut i = 0;
        while i < N {
            let term = self.0[i];
            offers[i] = match term.amount {
                Some(own) => OfferSpec::fixed(term.method, term.currency, own),
                None => OfferSpec::computed(term.method, term.currency),
            };
            i += 1;
        }
        offers
    }
}
