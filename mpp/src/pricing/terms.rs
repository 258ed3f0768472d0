//! Terms shared by several prices: `mpp::terms!` and `terms = path`.

use super::spec::{OfferSpec, Replay};
use super::split::SplitSpec;
use crate::method::Fees;
use crate::protocol::{Amount, Currency};

/// Who can be paid, and in which currency, without the amount: the part several prices share.
///
/// Made by `mpp::terms!` and used by `#[mpp::charge(amount = "…", terms = path)]`. Merging and the check of
/// decimal places happen in const evaluation, also across crates. Who pays the network's fee, who gets a part and
/// whether a delivery is answered again can be among them.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// pub const STANDARD: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo, stripe(amount = "0.50", currency = "usd")));
/// assert_eq!(STANDARD.len(), 2);
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    terms: &'static [TermSpec],
    fees: Fees,
    replay: Replay,
    splits: &'static [SplitSpec],
}

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
        Self { terms, fees: Fees::Payer, replay: Replay::Refused, splits: &[] }
    }

    /// `fees = "sponsored"`.
    #[doc(hidden)]
    pub const fn sponsored(self) -> Self {
        Self { fees: Fees::Sponsored, ..self }
    }

    /// `replay = "response"`.
    #[doc(hidden)]
    pub const fn replayed(self) -> Self {
        Self { replay: Replay::Response, ..self }
    }

    /// `split(…)`.
    #[doc(hidden)]
    pub const fn split(self, splits: &'static [SplitSpec]) -> Self {
        Self { splits, ..self }
    }

    /// Who pays the network's fee, if a price does not say it itself.
    #[doc(hidden)]
    pub const fn fees(&self) -> Fees {
        self.fees
    }

    /// What a delivered credential gets, if a price does not say it itself.
    #[doc(hidden)]
    pub const fn replay(&self) -> Replay {
        self.replay
    }

    /// The split of a price with these offers and perhaps a `split` of its own.
    ///
    /// # Panics
    /// In const evaluation, so at compile time: when both say who gets a part, and as [`SplitSpec::checked`].
    #[doc(hidden)]
    pub const fn splits(&self, offers: &[OfferSpec], own: &'static [SplitSpec]) -> &'static [SplitSpec] {
        assert!(
            own.is_empty() || self.splits.is_empty(),
            "the terms of this price have a `split` already; write it in one place"
        );
        SplitSpec::checked(offers, if own.is_empty() { self.splits } else { own })
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
        self.terms.len()
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
        self.terms.is_empty()
    }

    /// The offers of a fixed price. `N` is [`len`](Self::len).
    #[doc(hidden)]
    pub const fn fixed<const N: usize>(&self, amount: Amount) -> [OfferSpec; N] {
        let mut offers = [OfferSpec::computed("", Currency::USD); N];
        let mut i = 0;
        while i < N {
            let term = self.terms[i];
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
            let term = self.terms[i];
            offers[i] = match term.amount {
                Some(own) => OfferSpec::fixed(term.method, term.currency, own),
                None => OfferSpec::computed(term.method, term.currency),
            };
            i += 1;
        }
        offers
    }
}
