//! What a price passes on: `split(platform = "0.01", author = "2.5%")`.
//!
//! The annotation names payees; a configured method maps the names to accounts. The parts of one price become
//! [`Share`]s in base units of the method's own currency, each rounded down, and what is left, at least one base unit, is
//! the method's own recipient's. A part that comes to less than one base unit is left out: nobody is sent nothing.
//!
//! On the wire the parts are the method's business (`methodDetails.splits` in draft-tempo-charge-00).

use super::spec::{OfferSpec, Price};
#[cfg(feature = "server")]
use crate::method::Share;
use crate::protocol::{Amount, AmountError, BaseUnits};
use std::fmt;

/// One part of a price, and whose it is.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, routing::{Router, get}};
/// #[mpp::charge(amount = "0.10", currency = "usdc", methods(tempo), split(platform = "0.01", author = "2.5%"))]
/// async fn article(_: Paid) {}
///
/// let app: Router<Mpp> = Router::new().route("/article", get(article));
/// let splits = app.mounted()[0].spec.splits;
/// assert_eq!(splits.iter().map(ToString::to_string).collect::<Vec<_>>(), ["platform 0.01", "author 2.5%"]);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitSpec {
    /// The name the method's configuration maps to an account.
    pub payee: &'static str,
    /// How much of the price.
    pub part: Part,
}

/// How much of a price goes to one payee.
///
/// ```
/// use mpp::{Amount, pricing::Part};
/// assert_eq!(Part::Amount(Amount::cents(1)).to_string(), "0.01");
/// assert_eq!(Part::Millionths(25_000).to_string(), "2.5%");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// So much, in the currency of the offer, whatever the price comes to.
    Amount(Amount),
    /// So many millionths of the price, rounded down to base units: 2.5 % are 25,000.
    Millionths(u32),
}

const WHOLE: u128 = 1_000_000;

impl Part {
    /// Base units of a price of `of` in a currency of that many decimals.
    pub(super) const fn units(self, of: BaseUnits, decimals: u8) -> Result<BaseUnits, AmountError> {
        match self {
            Self::Amount(amount) => amount.to_base_units(decimals),
            Self::Millionths(share) => {
                let (wholes, rest, share) = (of.get() / WHOLE, of.get() % WHOLE, share as u128);
                // Under a hundred per cent, so neither product is larger than `of` or WHOLE * WHOLE.
                Ok(BaseUnits::new(wholes * share + rest * share / WHOLE))
            }
        }
    }
}

impl SplitSpec {
    /// `splits`, held against every offer they apply to. Evaluated in const context by the macros, for what they cannot
    /// see themselves: the decimals of a `Currency` constant, offers of shared terms.
    ///
    /// # Panics
    /// In const evaluation, so at compile time: when a part is finer than a currency, or nothing would be left.
    #[doc(hidden)]
    pub const fn checked(offers: &[OfferSpec], splits: &'static [Self]) -> &'static [Self] {
        let mut o = 0;
        while o < offers.len() {
            let decimals = offers[o].currency.decimals;
            let price = match offers[o].price {
                Price::Fixed(amount) => match amount.to_base_units(decimals) {
                    Ok(units) => Some(units),
                    // `OfferSpec::fixed` has reported it.
                    Err(_) => None,
                },
                Price::Computed => None,
            };
            let mut given = BaseUnits::ZERO;
            let mut i = 0;
            while i < splits.len() {
                let of = match price {
                    Some(units) => units,
                    None => BaseUnits::ZERO,
                };
                given = match splits[i].part.units(of, decimals) {
                    Ok(units) => match given.checked_add(units) {
                        Some(sum) => sum,
                        None => panic!("the parts of `split` are too large"),
                    },
                    Err(_) => {
                        panic!(
                            "a part of `split` has more decimal places than the currency of one of its methods"
                        )
                    }
                };
                i += 1;
            }
            if let Some(price) = price {
                assert!(
                    given.get() < price.get(),
                    "`split` gives away the whole price of one of its methods: nothing is left for the recipient"
                );
            }
            o += 1;
        }
        splits
    }
}

impl fmt::Display for SplitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.payee, self.part)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => write!(f, "{amount}"),
            // Ten thousand millionths are one per cent.
            Self::Millionths(share) => write!(f, "{}%", Amount::new((*share).into(), 4)),
        }
    }
}

/// The parts of a price of `units`, at least one base unit each, in the order they were written.
#[cfg(feature = "server")]
pub(crate) fn shares(
    splits: &'static [SplitSpec],
    units: BaseUnits,
    decimals: u8,
) -> Result<Vec<Share<'static>>, SplitError> {
    let mut shares = Vec::with_capacity(splits.len());
    let mut given = BaseUnits::ZERO;
    for SplitSpec { payee, part } in splits {
        let units = part.units(units, decimals).map_err(|why| SplitError::Uncountable { payee, why })?;
        given = given.checked_add(units).ok_or(SplitError::NothingLeft)?;
        if !units.is_zero() {
            shares.push(Share { payee, units });
        }
    }
    // The recipient's own part is at least one base unit.
    if !splits.is_empty() && given >= units {
        return Err(SplitError::NothingLeft);
    }
    Ok(shares)
}

/// Why a price cannot be split.
#[cfg(feature = "server")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    /// The parts are as much as the price or more.
    #[error("the parts of `split` are as much as the price: nothing is left for the recipient")]
    NothingLeft,
    /// A part is finer than the currency.
    #[error("the part of `{payee}` cannot be counted in this currency: {why}")]
    Uncountable { payee: &'static str, why: AmountError },
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const THIRD: SplitSpec = SplitSpec { payee: "third", part: Part::Millionths(333_333) };
    const CENT: SplitSpec = SplitSpec { payee: "cent", part: Part::Amount(Amount::cents(1)) };

    fn units(splits: &'static [SplitSpec], of: u128) -> Result<Vec<(&'static str, u128)>, SplitError> {
        let shares = shares(splits, BaseUnits::new(of), 2)?;
        Ok(shares.iter().map(|share| (share.payee, share.units.get())).collect())
    }

    #[test]
    fn parts_are_rounded_down_and_those_of_nothing_are_left_out() {
        assert_eq!(units(&[THIRD, CENT], 10), Ok(vec![("third", 3), ("cent", 1)]));
        assert_eq!(units(&[THIRD, CENT], 3), Ok(vec![("cent", 1)]));
        assert_eq!(units(&[], 0), Ok(vec![]));
    }

    #[test]
    fn at_least_one_base_unit_is_left_for_the_recipient() {
        assert_eq!(units(&[CENT], 2), Ok(vec![("cent", 1)]));
        assert_eq!(units(&[CENT], 1), Err(SplitError::NothingLeft));
        assert_eq!(units(&[CENT], 0), Err(SplitError::NothingLeft));
        assert_eq!(units(&[CENT, THIRD, CENT], 3), Ok(vec![("cent", 1), ("cent", 1)]));
        assert_eq!(units(&[CENT, CENT, CENT], 3), Err(SplitError::NothingLeft));
    }

    #[test]
    fn a_part_finer_than_the_currency_is_never_rounded() {
        const MILL: SplitSpec = SplitSpec { payee: "mill", part: Part::Amount(Amount::new(1, 3)) };
        assert!(matches!(units(&[MILL], 100), Err(SplitError::Uncountable { payee: "mill", .. })));
    }

    proptest! {
        #[test]
        fn a_percentage_of_anything_is_exact_to_the_base_unit(of: u128, share in 0u32..1_000_000) {
            let units = Part::Millionths(share).units(BaseUnits::new(of), 0).unwrap().get();
            // By remainders, because the product may not fit: of * share = units * WHOLE + r, 0 <= r < WHOLE.
            let modulus = (1u128 << 61) - 1;
            let mul = |a: u128, b: u128| (a % modulus) * (b % modulus) % modulus;
            let r = (mul(of, share.into()) + modulus - mul(units, WHOLE)) % modulus;
            prop_assert!(r < WHOLE);
            prop_assert!(units <= of);
        }
    }
}
