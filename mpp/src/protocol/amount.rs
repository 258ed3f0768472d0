//! Prices as people write them ([`Amount`]) and money as networks count it ([`BaseUnits`]).
//!
//! An [`Amount`] is an exact decimal: `0.05` is 5 at scale 2 and never a float. It is what an annotation says and what
//! a price expression computes. At the edge it becomes [`BaseUnits`], the integer that goes on the wire (charge draft,
//! `amount`: a string of base units). Arithmetic on an `Amount` never wraps and never panics: a result that does not
//! fit stays out of range through everything that follows, and cannot become base units.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Mul, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most decimal places an [`Amount`] or a currency can have.
pub const MAX_DECIMALS: u8 = 38;

/// An exact, non-negative decimal amount of some currency.
///
/// Two amounts are equal when their values are: `0.5` equals `0.50`. Sums, differences and products that do not fit in
/// 38 digits or would be negative yield an amount that [is out of range](Amount::is_overflow) and stays so; it is
/// greater than every other amount, so that it also fails every upper bound.
///
/// ```
/// use mpp::protocol::{Amount, BaseUnits};
///
/// let per_word = Amount::micros(50);
/// let price = Amount::cents(5) + per_word * 12;
/// assert_eq!(price.to_string(), "0.0506");
/// assert_eq!(price.to_base_units(6), Ok(BaseUnits::new(50_600)));
/// assert!((Amount::ZERO - per_word).is_overflow());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    // Normalised: no trailing zero digit unless the scale is 0, and (0, 0) when out of range. Equality is derived
    // from that.
    units: u128,
    scale: u8,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Exact,
    OutOfRange,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount { units: 0, scale: 0, state: State::Exact };

    const OUT_OF_RANGE: Amount = Amount { units: 0, scale: 0, state: State::OutOfRange };

    /// `units` divided by ten to the `scale`. A scale over [`MAX_DECIMALS`] gives an amount out of range.
    ///
    /// ```
    /// use mpp::protocol::Amount;
    /// const FIVE_CENTS: Amount = Amount::new(5, 2);
    /// assert_eq!(FIVE_CENTS.to_string(), "0.05");
    /// ```
    pub const fn new(mut units: u128, mut scale: u8) -> Amount {
        if scale > MAX_DECIMALS {
            return Amount::OUT_OF_RANGE;
        }
        while scale > 0 && units.is_multiple_of(10) {
            units /= 10;
            scale -= 1;
        }
        Amount { units, scale, state: State::Exact }
    }

    /// Millionths: `micros(50)` is `0.00005`.
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// assert_eq!(Amount::micros(50), Amount::new(50, 6));
    /// ```
    pub const fn micros(millionths: u128) -> Amount {
        Amount::new(millionths, 6)
    }

    /// Hundredths: `cents(5)` is `0.05`.
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// assert_eq!(Amount::cents(5), Amount::new(5, 2));
    /// ```
    pub const fn cents(hundredths: u128) -> Amount {
        Amount::new(hundredths, 2)
    }

    /// Whole units: `whole(3)` is `3`.
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// assert_eq!(Amount::whole(3), Amount::cents(300));
    /// ```
    pub const fn whole(units: u128) -> Amount {
        Amount::new(units, 0)
    }

    /// Reads a plain decimal: digits, at most one `.` with digits on both sides, no leading zero, no sign, no grouping,
    /// no exponent, at most 38 decimal places.
    ///
    /// # Errors
    /// [`AmountError`]: anything else, and what does not fit into 128 bits.
    ///
    /// ```
    /// # use mpp::protocol::{Amount, AmountError};
    /// assert_eq!(Amount::parse("0.050"), Ok(Amount::cents(5)));
    /// assert_eq!(Amount::parse("1,000"), Err(AmountError::Unexpected(',')));
    /// assert_eq!(Amount::parse(".5"), Err(AmountError::NoLeadingDigit));
    /// ```
    pub fn parse(text: &str) -> Result<Amount, AmountError> {
        if text.is_empty() {
            return Err(AmountError::Empty);
        }
        let mut units: u128 = 0;
        let mut whole_digits = 0usize;
        let mut decimals: Option<u8> = None;
        for (position, c) in text.chars().enumerate() {
            match c {
                '0'..='9' => {
                    match &mut decimals {
                        Some(count) if *count == MAX_DECIMALS => {
                            return Err(AmountError::TooPrecise { decimals: MAX_DECIMALS });
                        }
                        Some(count) => *count += 1,
                        None if whole_digits == 1 && units == 0 => return Err(AmountError::LeadingZero),
                        None => whole_digits += 1,
                    }
                    units = units
                        .checked_mul(10)
                        .and_then(|units| units.checked_add(u128::from(c as u32 - '0' as u32)))
                        .ok_or(AmountError::TooLarge)?;
                }
                '.' if decimals.is_some() => return Err(AmountError::TwoPoints),
                '.' if whole_digits == 0 => return Err(AmountError::NoLeadingDigit),
                '.' => decimals = Some(0),
                '-' if position == 0 => return Err(AmountError::Negative),
                'e' | 'E' if position > 0 => return Err(AmountError::Exponent),
                other => return Err(AmountError::Unexpected(other)),
            }
        }
        match decimals {
            Some(0) => Err(AmountError::TrailingPoint),
            decimals => Ok(Amount::new(units, decimals.unwrap_or(0))),
        }
    }

    /// Whether a computation left the range of amounts (too large, or below zero).
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// let lost = Amount::whole(u128::MAX) * 2u32;
    /// assert!(lost.is_overflow() && (lost - Amount::whole(1)).is_overflow());
    /// ```
    pub const fn is_overflow(self) -> bool {
        matches!(self.state, State::OutOfRange)
    }

    /// Whether this is exactly nothing.
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// assert!(Amount::cents(0).is_zero() && !Amount::cents(1).is_zero());
    /// ```
    pub const fn is_zero(self) -> bool {
        self.units == 0 && !self.is_overflow()
    }

    /// The digits without the decimal point; 0 when out of range. With [`scale`](Amount::scale) the normal form of the
    /// value: `0.50` has units 5 and scale 1.
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// assert_eq!((Amount::cents(50).units(), Amount::cents(50).scale()), (5, 1));
    /// ```
    pub const fn units(self) -> u128 {
        self.units
    }

    /// How many of the digits are decimal places; see [`units`](Amount::units).
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// assert_eq!(Amount::micros(1).scale(), 6);
    /// ```
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// Whether [`to_base_units`](Amount::to_base_units) with this many decimals succeeds. For checks at compile time.
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// const _: () = assert!(Amount::cents(5).fits(6) && !Amount::micros(1).fits(2));
    /// ```
    pub const fn fits(self, decimals: u8) -> bool {
        self.to_base_units(decimals).is_ok()
    }

    /// The integer a network with this many decimals counts in. Never rounds.
    ///
    /// # Errors
    /// [`AmountError::TooPrecise`] when the value has more decimal places, [`AmountError::Overflow`] when it is out of
    /// range or its base units are.
    ///
    /// ```
    /// # use mpp::protocol::{Amount, AmountError, BaseUnits};
    /// assert_eq!(Amount::cents(5).to_base_units(6), Ok(BaseUnits::new(50_000)));
    /// assert_eq!(Amount::micros(5).to_base_units(2), Err(AmountError::TooPrecise { decimals: 2 }));
    /// ```
    pub const fn to_base_units(self, decimals: u8) -> Result<BaseUnits, AmountError> {
        if self.is_overflow() {
            return Err(AmountError::Overflow);
        }
        if self.scale > decimals {
            return Err(AmountError::TooPrecise { decimals });
        }
        if self.units == 0 {
            return Ok(BaseUnits::ZERO);
        }
        match 10u128.checked_pow((decimals - self.scale) as u32) {
            Some(factor) => match self.units.checked_mul(factor) {
                Some(units) => Ok(BaseUnits(units)),
                None => Err(AmountError::Overflow),
            },
            None => Err(AmountError::Overflow),
        }
    }

    /// The smallest amount with at most this many decimal places that is not less than this one.
    ///
    /// ```
    /// # use mpp::protocol::Amount;
    /// assert_eq!(Amount::micros(10_001).round_up(2), Amount::cents(2));
    /// assert_eq!(Amount::cents(2).round_up(2), Amount::cents(2));
    /// ```
    pub const fn round_up(self, decimals: u8) -> Amount {
        if self.is_overflow() || self.scale <= decimals {
            return self;
        }
        // The scale is at most 38, and ten to the 38 fits in 128 bits.
        let factor = 10u128.pow((self.scale - decimals) as u32);
        Amount::new(self.units.div_ceil(factor), decimals)
    }

    /// Both values at the larger of the two scales.
    fn aligned(self, other: Amount) -> Option<(u128, u128, u8)> {
        if self.is_overflow() || other.is_overflow() {
            return None;
        }
        let scale = self.scale.max(other.scale);
        let widen = |amount: Amount| match amount.units {
            0 => Some(0),
            units => 10u128.checked_pow(u32::from(scale - amount.scale))?.checked_mul(units),
        };
        Some((widen(self)?, widen(other)?, scale))
    }

    fn times(self, factor: u128) -> Amount {
        if self.is_overflow() {
            return self;
        }
        match self.units.checked_mul(factor) {
            Some(units) => Amount::new(units, self.scale),
            None => Amount::OUT_OF_RANGE,
        }
    }
}

impl Default for Amount {
    fn default() -> Amount {
        Amount::ZERO
    }
}

impl fmt::Display for Amount {
    /// The shortest plain decimal of the value; `out of range` when it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_overflow() {
            return f.pad("out of range");
        }
        if self.scale == 0 {
            return f.pad(&self.units.to_string());
        }
        let scale = usize::from(self.scale);
        let digits = format!("{:0>width$}", self.units, width = scale + 1);
        let (whole, decimals) = digits.split_at(digits.len() - scale);
        f.pad(&format!("{whole}.{decimals}"))
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({self})")
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Amount, AmountError> {
        Amount::parse(text)
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Amount) -> Ordering {
        match (self.is_overflow(), other.is_overflow()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let (one, ten_to) = (10u128.pow(u32::from(self.scale)), 10u128.pow(u32::from(other.scale)));
                // Whole parts first, so that values too far apart to be aligned are still ordered.
                (self.units / one).cmp(&(other.units / ten_to)).then_with(|| {
                    let scale = self.scale.max(other.scale);
                    let decimals = |amount: &Amount, unit: u128| {
                        amount.units % unit * 10u128.pow(u32::from(scale - amount.scale))
                    };
                    decimals(self, one).cmp(&decimals(other, ten_to))
                })
            }
        }
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        match self.aligned(other).and_then(|(a, b, scale)| Some((a.checked_add(b)?, scale))) {
            Some((units, scale)) => Amount::new(units, scale),
            None => Amount::OUT_OF_RANGE,
        }
    }
}

impl Sub for Amount {
    type Output = Amount;

    fn sub(self, other: Amount) -> Amount {
        match self.aligned(other).and_then(|(a, b, scale)| Some((a.checked_sub(b)?, scale))) {
            Some((units, scale)) => Amount::new(units, scale),
            None => Amount::OUT_OF_RANGE,
        }
    }
}

macro_rules! multiply_by {
    ($($integer:ty),*) => {$(
        impl Mul<$integer> for Amount {
            type Output = Amount;

            fn mul(self, factor: $integer) -> Amount {
                match u128::try_from(factor) {
                    Ok(factor) => self.times(factor),
                    Err(_) => Amount::OUT_OF_RANGE,
                }
            }
        }
    )*};
}

// `i32` so that `price * 3` compiles: an integer literal with several candidates falls back to it.
multiply_by!(u8, u16, u32, u64, u128, usize, i32);

impl Sum for Amount {
    fn sum<I: Iterator<Item = Amount>>(amounts: I) -> Amount {
        amounts.fold(Amount::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Amount> for Amount {
    fn sum<I: Iterator<Item = &'a Amount>>(amounts: I) -> Amount {
        amounts.copied().sum()
    }
}

/// Why text is not an [`Amount`], or an `Amount` is not a number of base units.
///
/// ```
/// use mpp::protocol::{Amount, AmountError};
/// assert_eq!(Amount::parse("-1").unwrap_err().to_string(), "amount is negative; a price cannot be");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// No digits at all.
    #[error("amount is empty; write a plain decimal such as \"0.05\"")]
    Empty,
    /// A minus sign.
    #[error("amount is negative; a price cannot be")]
    Negative,
    /// A character that is neither a digit nor the decimal point.
    #[error(
        "amount contains `{0}`; write a plain decimal such as \"0.05\" (no grouping, `.` as decimal point)"
    )]
    Unexpected(char),
    /// Scientific notation.
    #[error("amount uses an exponent; write a plain decimal such as \"0.05\"")]
    Exponent,
    /// `.5`
    #[error("amount has no digit before the `.`")]
    NoLeadingDigit,
    /// `5.`
    #[error("amount ends with `.`")]
    TrailingPoint,
    /// `05`
    #[error("amount has a leading zero")]
    LeadingZero,
    /// `1.2.3`
    #[error("amount has two decimal points")]
    TwoPoints,
    /// More digits than 128 bits hold.
    #[error("amount is too large")]
    TooLarge,
    /// More decimal places than the currency has.
    #[error("the amount has more than {decimals} decimal places")]
    TooPrecise {
        /// How many decimal places there may be.
        decimals: u8,
    },
    /// The amount, or its base units, left the range of numbers.
    #[error("the amount is out of range")]
    Overflow,
}

/// A number of the smallest units of a currency: what `amount` carries on the wire, as a decimal string.
///
/// ```
/// use mpp::protocol::BaseUnits;
///
/// let price: BaseUnits = "50000".parse()?;
/// assert_eq!(serde_json::to_string(&price).unwrap(), r#""50000""#);
/// assert_eq!(price.checked_sub(BaseUnits::new(60_000)), None);
/// assert!("0050".parse::<BaseUnits>().is_err());
/// # Ok::<(), mpp::protocol::BaseUnitsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseUnits(u128);

impl BaseUnits {
    /// Nothing.
    pub const ZERO: BaseUnits = BaseUnits(0);

    /// This many base units.
    ///
    /// ```
    /// # use mpp::protocol::BaseUnits;
    /// assert_eq!(BaseUnits::new(7).to_string(), "7");
    /// ```
    pub const fn new(units: u128) -> BaseUnits {
        BaseUnits(units)
    }

    /// Reads `^(0|[1-9][0-9]*)$`, the only form the drafts allow.
    ///
    /// # Errors
    /// [`BaseUnitsError`]: anything else, and what does not fit into 128 bits.
    ///
    /// ```
    /// # use mpp::protocol::BaseUnits;
    /// assert_eq!(BaseUnits::parse("0"), Ok(BaseUnits::ZERO));
    /// for wrong in ["", "01", "-1", "+1", "1.0", "1e3", " 1"] {
    ///     assert!(BaseUnits::parse(wrong).is_err());
    /// }
    /// ```
    pub fn parse(text: &str) -> Result<BaseUnits, BaseUnitsError> {
        let digits = text.as_bytes();
        if digits.is_empty()
            || !digits.iter().all(u8::is_ascii_digit)
            || (digits[0] == b'0' && digits.len() > 1)
        {
            return Err(BaseUnitsError::NotPlain);
        }
        text.parse().map(BaseUnits).map_err(|_| BaseUnitsError::TooLarge)
    }

    /// The number.
    ///
    /// ```
    /// # use mpp::protocol::BaseUnits;
    /// assert_eq!(BaseUnits::new(7).get(), 7);
    /// ```
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Whether this is nothing.
    ///
    /// ```
    /// # use mpp::protocol::BaseUnits;
    /// assert!(BaseUnits::ZERO.is_zero());
    /// ```
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, unless it does not fit.
    ///
    /// ```
    /// # use mpp::protocol::BaseUnits;
    /// assert_eq!(BaseUnits::new(1).checked_add(BaseUnits::new(2)), Some(BaseUnits::new(3)));
    /// ```
    pub const fn checked_add(self, other: BaseUnits) -> Option<BaseUnits> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(BaseUnits(units)),
            None => None,
        }
    }

    /// The difference, unless it is negative.
    ///
    /// ```
    /// # use mpp::protocol::BaseUnits;
    /// assert_eq!(BaseUnits::new(1).checked_sub(BaseUnits::new(2)), None);
    /// ```
    pub const fn checked_sub(self, other: BaseUnits) -> Option<BaseUnits> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(BaseUnits(units)),
            None => None,
        }
    }

    /// The product, unless it does not fit.
    ///
    /// ```
    /// # use mpp::protocol::BaseUnits;
    /// assert_eq!(BaseUnits::new(2).checked_mul(3), Some(BaseUnits::new(6)));
    /// ```
    pub const fn checked_mul(self, factor: u128) -> Option<BaseUnits> {
        match self.0.checked_mul(factor) {
            Some(units) => Some(BaseUnits(units)),
            None => None,
        }
    }

    /// The amount these units are in a currency with this many decimals.
    ///
    /// ```
    /// # use mpp::protocol::{Amount, BaseUnits};
    /// assert_eq!(BaseUnits::new(50_000).to_amount(6), Amount::cents(5));
    /// ```
    pub const fn to_amount(self, decimals: u8) -> Amount {
        Amount::new(self.0, decimals)
    }
}

impl fmt::Display for BaseUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for BaseUnits {
    type Err = BaseUnitsError;

    fn from_str(text: &str) -> Result<BaseUnits, BaseUnitsError> {
        BaseUnits::parse(text)
    }
}

impl From<u64> for BaseUnits {
    fn from(units: u64) -> BaseUnits {
        BaseUnits(units.into())
    }
}

impl From<u128> for BaseUnits {
    fn from(units: u128) -> BaseUnits {
        BaseUnits(units)
    }
}

impl Serialize for BaseUnits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BaseUnits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BaseUnits, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        BaseUnits::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Why text is not a number of [`BaseUnits`].
///
/// ```
/// # use mpp::protocol::{BaseUnits, BaseUnitsError};
/// assert_eq!(BaseUnits::parse("1.5"), Err(BaseUnitsError::NotPlain));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseUnitsError {
    /// Something other than digits, or a leading zero.
    #[error("base units are a plain decimal integer without sign or leading zero")]
    NotPlain,
    /// More than 128 bits.
    #[error("base units do not fit in 128 bits")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_wrong_amount_is_refused_by_name() {
        let cases = [
            ("", AmountError::Empty),
            ("-1", AmountError::Negative),
            ("1,000", AmountError::Unexpected(',')),
            ("$5", AmountError::Unexpected('$')),
            (" 5", AmountError::Unexpected(' ')),
            ("+5", AmountError::Unexpected('+')),
            ("٥", AmountError::Unexpected('٥')),
            ("5e3", AmountError::Exponent),
            ("5E-3", AmountError::Exponent),
            (".5", AmountError::NoLeadingDigit),
            ("5.", AmountError::TrailingPoint),
            ("05", AmountError::LeadingZero),
            ("00.5", AmountError::LeadingZero),
            ("1.2.3", AmountError::TwoPoints),
            ("340282366920938463463374607431768211456", AmountError::TooLarge),
        ];
        for (text, error) in cases {
            assert_eq!(Amount::parse(text), Err(error), "{text}");
        }
        assert_eq!(
            Amount::parse(&format!("0.{}", "0".repeat(39))),
            Err(AmountError::TooPrecise { decimals: 38 })
        );
    }

    #[test]
    fn equal_values_are_equal_however_written() {
        assert_eq!(Amount::parse("0.50"), Amount::parse("0.5"));
        assert_eq!(Amount::new(500, 3), Amount::new(5, 1));
        assert_eq!(Amount::new(0, 9), Amount::ZERO);
        assert_eq!(Amount::parse("340282366920938463463374607431768211455"), Ok(Amount::whole(u128::MAX)));
    }

    #[test]
    fn an_amount_out_of_range_stays_out_of_range() {
        let lost = Amount::ZERO - Amount::cents(1);
        let nothing = 0u32;
        for amount in [
            lost,
            lost + Amount::whole(1),
            lost * nothing,
            lost - lost,
            lost.round_up(2),
            Amount::whole(1) * -1,
            Amount::whole(u128::MAX) + Amount::whole(1),
            Amount::whole(10u128.pow(38)) + Amount::new(1, 38),
            Amount::new(1, 39),
            [lost, Amount::ZERO].into_iter().sum(),
        ] {
            assert!(amount.is_overflow());
            assert_eq!(amount.to_base_units(38), Err(AmountError::Overflow));
            assert!(amount > Amount::whole(u128::MAX) && !amount.is_zero() && !amount.fits(6));
            assert_eq!(amount.to_string(), "out of range");
        }
    }

    #[test]
    fn conversion_to_base_units_never_rounds() {
        assert_eq!(Amount::parse("0.000001").unwrap().to_base_units(6), Ok(BaseUnits::new(1)));
        assert_eq!(Amount::parse("0.0000010").unwrap().to_base_units(6), Ok(BaseUnits::new(1)));
        assert_eq!(
            Amount::parse("0.0000001").unwrap().to_base_units(6),
            Err(AmountError::TooPrecise { decimals: 6 })
        );
        assert_eq!(Amount::whole(u128::MAX).to_base_units(1), Err(AmountError::Overflow));
        assert_eq!(Amount::whole(1).to_base_units(200), Err(AmountError::Overflow));
        assert_eq!(Amount::ZERO.to_base_units(200), Ok(BaseUnits::ZERO));
    }

    #[test]
    fn far_apart_values_are_ordered() {
        assert!(Amount::whole(u128::MAX) > Amount::new(u128::MAX, 38));
        assert!(
            Amount::new(u128::MAX, 38) > Amount::whole(3) && Amount::new(u128::MAX, 38) < Amount::whole(4)
        );
    }

    #[test]
    fn base_units_are_plain_integers() {
        for wrong in ["", "01", "00", "-1", "+1", "1.0", "1e3", " 1", "1 ", "0x1", "١"] {
            assert_eq!(BaseUnits::parse(wrong), Err(BaseUnitsError::NotPlain), "{wrong}");
        }
        assert_eq!(
            BaseUnits::parse("340282366920938463463374607431768211456"),
            Err(BaseUnitsError::TooLarge)
        );
        assert!(serde_json::from_str::<BaseUnits>("5").is_err());
        assert_eq!(serde_json::from_str::<BaseUnits>(r#""\u0035""#).unwrap(), BaseUnits::new(5));
    }

    fn amounts() -> impl Strategy<Value = Amount> {
        (any::<u128>(), 0u32..128, 0u8..=38)
            .prop_map(|(units, shift, scale)| Amount::new(units >> shift, scale))
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_amount(amount in amounts()) {
            prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
        }

        #[test]
        fn base_units_and_back_is_the_same_amount(units in any::<u128>(), decimals in 0u8..=38) {
            prop_assert_eq!(BaseUnits::new(units).to_amount(decimals).to_base_units(decimals), Ok(BaseUnits::new(units)));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = (Amount::parse(&text), BaseUnits::parse(&text));
        }

        #[test]
        fn parsing_nearly_amounts_never_panics(text in "[-+]?[0-9]{0,45}[.,]?[0-9]{0,45}[eE]?") {
            if let Ok(amount) = Amount::parse(&text) {
                prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
            }
        }

        #[test]
        fn arithmetic_agrees_with_integers(a in any::<u64>(), b in any::<u64>(), scale in 0u8..=18, factor in any::<u32>()) {
            let (x, y) = (Amount::new(a.into(), scale), Amount::new(b.into(), scale));
            prop_assert_eq!(x + y, Amount::new(u128::from(a) + u128::from(b), scale));
            prop_assert_eq!(x * factor, Amount::new(u128::from(a) * u128::from(factor), scale));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!((x - y).is_overflow(), a < b);
        }

        #[test]
        fn order_is_total_and_agrees_with_equality(a in amounts(), b in amounts(), c in amounts()) {
            prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn rounding_up_gives_the_next_amount_that_fits(amount in amounts(), decimals in 0u8..=38) {
            let rounded = amount.round_up(decimals);
            prop_assert!(rounded >= amount && rounded.scale() <= decimals);
            let step = Amount::new(1, decimals);
            prop_assert!((rounded - step).is_overflow() || rounded - step < amount);
        }
    }
}
