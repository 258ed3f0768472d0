//! What a client says it can pay with: `Accept-Payment` (core draft, "Client Payment Preferences").
//!
//! The header filters and orders the offers of a 402. It never limits which credential is accepted.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::{Intent, MethodName};

const MAX_CHARS: usize = 2048;
const MAX_RANGES: usize = 64;
/// Quality in thousandths, as RFC 9110 writes at most three decimals.
const FULL: u16 = 1000;

/// A parsed `Accept-Payment`.
///
/// ```
/// use mpp::protocol::AcceptPayment;
///
/// let accept: AcceptPayment = "stripe/charge, tempo/*;q=0.5, evm/charge;q=0".parse()?;
/// let offers = [("tempo", "charge"), ("evm", "charge"), ("stripe", "charge")];
/// assert_eq!(accept.rank(offers), [2, 0]);
/// # Ok::<(), mpp::protocol::AcceptError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptPayment {
    ranges: Vec<Range>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    method: Option<MethodName>,
    intent: Option<Intent>,
    quality: u16,
}

impl AcceptPayment {
    /// Says that exactly these can be paid, all equally well: which is offered first is for the server to say.
    ///
    /// ```
    /// use mpp::protocol::{AcceptPayment, Intent, MethodName};
    ///
    /// let accept = AcceptPayment::for_methods([(MethodName::from_static("tempo"), Intent::CHARGE)]);
    /// assert_eq!(accept.to_string(), "tempo/charge");
    /// ```
    pub fn for_methods(methods: impl IntoIterator<Item = (MethodName, Intent)>) -> AcceptPayment {
        let range = |(method, intent)| Range { method: Some(method), intent: Some(intent), quality: FULL };
        AcceptPayment { ranges: methods.into_iter().map(range).collect() }
    }

    /// Reads a header's value of at most 2 KiB and 64 ranges.
    ///
    /// # Errors
    /// Anything that is not `#( (method / "*") "/" (intent / "*") [ ";q=" qvalue ] )` with at least one range. A server
    /// may then ignore the header.
    ///
    /// ```
    /// use mpp::protocol::{AcceptError, AcceptPayment};
    ///
    /// assert!(AcceptPayment::parse("tempo/charge, */*;q=0.1").is_ok());
    /// assert_eq!(AcceptPayment::parse("cash"), Err(AcceptError::Malformed));
    /// ```
    pub fn parse(text: &str) -> Result<AcceptPayment, AcceptError> {
        if text.len() > MAX_CHARS {
            return Err(AcceptError::TooLarge);
        }
        let mut ranges = Vec::new();
        for element in text.split(',').map(|element| element.trim_matches([' ', '\t'])) {
            if element.is_empty() {
                continue;
            }
            if ranges.len() == MAX_RANGES {
                return Err(AcceptError::TooLarge);
            }
            ranges.push(Range::parse(element).ok_or(AcceptError::Malformed)?);
        }
        if ranges.is_empty() { Err(AcceptError::Malformed) } else { Ok(AcceptPayment { ranges }) }
    }

    /// Which of these offers (method, intent) the client accepts, by their positions, best first: by quality, then in the
    /// given order. For each offer the most specific range that matches it decides.
    ///
    /// ```
    /// use mpp::protocol::AcceptPayment;
    ///
    /// let accept = AcceptPayment::parse("tempo/charge;q=0.5, stripe/*")?;
    /// let offers = [("tempo", "charge"), ("evm", "charge"), ("stripe", "charge")];
    /// assert_eq!(accept.rank(offers), [2, 0], "stripe, then tempo; evm is not accepted");
    /// # Ok::<(), mpp::protocol::AcceptError>(())
    /// ```
    pub fn rank<'o>(&self, offers: impl IntoIterator<Item = (&'o str, &'o str)>) -> Vec<usize> {
        let mut ranked: Vec<(Reverse<u16>, usize)> = offers
            .into_iter()
            .enumerate()
            .filter_map(|(index, (method, intent))| Some((Reverse(self.quality(method, intent)?), index)))
            .filter(|(Reverse(quality), _)| *quality > 0)
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, index)| index).collect()
    }

    /// None when no range matches. Of equally specific ranges the one with the higher quality decides.
    fn quality(&self, method: &str, intent: &str) -> Option<u16> {
        self.ranges
            .iter()
            .filter(|range| range.method.as_ref().is_none_or(|name| *name == *method))
            .filter(|range| range.intent.as_ref().is_none_or(|name| *name == *intent))
            .map(|range| (u8::from(range.method.is_some()) + u8::from(range.intent.is_some()), range.quality))
            .max()
            .map(|(_, quality)| quality)
    }
}

impl Range {
    fn parse(element: &str) -> Option<Range> {
        let (range, quality) = match element.split_once(';') {
            Some((range, weight)) => {
                let weight = weight.trim_start_matches([' ', '\t']);
                let value = weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?;
                (range.trim_end_matches([' ', '\t']), parse_quality(value)?)
            }
            None => (element, FULL),
        };
        let (method, intent) = range.split_once('/')?;
        let method = if method == "*" { None } else { Some(MethodName::parse(method).ok()?) };
        let intent = if intent == "*" { None } else { Some(Intent::parse(intent).ok()?) };
        Some(Range { method, intent, quality })
    }
}

impl fmt::Display for AcceptPayment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.ranges.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            let method = range.method.as_ref().map_or("*", MethodName::as_str);
            let intent = range.intent.as_ref().map_or("*", Intent::as_str);
            write!(f, "{method}/{intent}")?;
            if range.quality < FULL {
                let decimals = format!("{:03}", range.quality);
                match decimals.trim_end_matches('0') {
                    "" => f.write_str(";q=0")?,
                    decimals => write!(f, ";q=0.{decimals}")?,
                }
            }
        }
        Ok(())
    }
}

impl FromStr for AcceptPayment {
    type Err = AcceptError;

    fn from_str(text: &str) -> Result<AcceptPayment, AcceptError> {
        AcceptPayment::parse(text)
    }
}

/// Why text is not an `Accept-Payment` value.
///
/// ```
/// # use mpp::protocol::{AcceptError, AcceptPayment};
/// assert_eq!(AcceptPayment::parse("tempo"), Err(AcceptError::Malformed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// More than 2 KiB or 64 ranges.
    #[error("Accept-Payment is too large")]
    TooLarge,
    /// Not a list of ranges.
    #[error("Accept-Payment is not a list such as `tempo/charge, */session;q=0.5`")]
    Malformed,
}

/// `0`, `1`, or either with up to three decimals (RFC 9110 section 12.4.2).
fn parse_quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(FULL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFERS: [(&str, &str); 4] =
        [("tempo", "charge"), ("tempo", "session"), ("stripe", "charge"), ("evm", "charge")];

    #[test]
    fn offers_are_filtered_and_ordered_by_the_most_specific_range() {
        for (header, ranked) in [
            ("*/*", &[0, 1, 2, 3][..]),
            ("tempo/charge", &[0]),
            ("solana/charge, tempo/charge;q=0.1, stripe/charge;q=0.9", &[2, 0]),
            ("*/*;q=0.1, tempo/*;q=0.5, tempo/charge;q=0", &[1, 2, 3]),
            ("*/charge, tempo/*;q=0.5", &[0, 2, 3, 1]),
            ("tempo/*;q=0, */charge", &[0, 2, 3]),
            ("tempo/charge;q=0.2, tempo/charge;q=0.7, evm/charge;q=0.5", &[0, 3]),
            ("lightning/charge", &[]),
            ("*/*;q=0", &[]),
        ] {
            assert_eq!(AcceptPayment::parse(header).unwrap().rank(OFFERS), ranked, "{header}");
        }
    }

    #[test]
    fn the_grammar_is_kept() {
        for good in [
            "tempo/charge , ,stripe/charge ;q=1.000",
            "tempo/charge; q=0.",
            "*/*;Q=0.25",
            "x402:evm/charge-v2",
            "\ttempo/charge\t",
        ] {
            assert!(AcceptPayment::parse(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            " , ",
            "tempo",
            "tempo/",
            "/charge",
            "*",
            "Tempo/charge",
            "tempo/charge/x",
            "tempo/charge;q=1.1",
            "tempo/charge;q=2",
            "tempo/charge;q=0.0001",
            "tempo/charge;q=-0",
            "tempo/charge;q=",
            "tempo/charge;q=.5",
            "tempo/charge;v=1",
            "tempo/charge;q=1;q=1",
            "tempo/charge stripe/charge",
            "t*/charge",
        ] {
            assert_eq!(AcceptPayment::parse(wrong), Err(AcceptError::Malformed), "{wrong}");
        }
    }

    #[test]
    fn a_long_header_is_refused() {
        assert_eq!(AcceptPayment::parse(&",".repeat(MAX_CHARS + 1)), Err(AcceptError::TooLarge));
        assert_eq!(AcceptPayment::parse(&"a/b,".repeat(MAX_RANGES + 1)), Err(AcceptError::TooLarge));
        assert!(AcceptPayment::parse(&"a/b,".repeat(MAX_RANGES)).is_ok());
    }

    #[test]
    fn a_client_says_what_it_can_pay_with() {
        let accept = AcceptPayment::for_methods([
            (MethodName::from_static("tempo"), Intent::CHARGE),
            (MethodName::from_static("stripe"), Intent::CHARGE),
        ]);
        assert_eq!(accept.to_string(), "tempo/charge, stripe/charge");
    }

    fn accepts() -> impl Strategy<Value = AcceptPayment> {
        let range = (proptest::option::of("[a-z]{1,8}"), proptest::option::of("[a-zA-Z0-9-]{1,8}"), 0..=FULL);
        let range = range.prop_map(|(method, intent, quality)| Range {
            method: method.map(|name| name.parse().unwrap()),
            intent: intent.map(|name| name.parse().unwrap()),
            quality,
        });
        prop::collection::vec(range, 1..20).prop_map(|ranges| AcceptPayment { ranges })
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_preferences(accept in accepts()) {
            prop_assert_eq!(AcceptPayment::parse(&accept.to_string()), Ok(accept));
        }

        #[test]
        fn parsing_never_panics(text in ".*", near in "(tempo|charge|[*/;q=0-9., é]){0,30}") {
            for text in [text, near] {
                if let Ok(accept) = AcceptPayment::parse(&text) {
                    accept.rank(OFFERS);
                }
            }
        }
    }
}
