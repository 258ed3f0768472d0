//! Finding the payment in `Authorization` (RFC 9110 section 11.6.2; core draft, "Credentials").
//!
//! A request may be authenticated and paid: `Authorization: Bearer x` and `Authorization: Payment y`, in two lines or,
//! after some proxies, joined by a comma. The payment is taken out; everything else stays byte for byte what it was.

use std::borrow::Cow;
use std::fmt;

/// One `Authorization` value, taken apart.
///
/// ```
/// use mpp::protocol::authorization::{self, PaymentElement};
///
/// let split = authorization::split("Bearer abc==, payment eyJ9");
/// assert_eq!(split.payment, PaymentElement::One("eyJ9"));
/// assert_eq!(split.rest.as_deref(), Some("Bearer abc=="));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// The payment.
    pub payment: PaymentElement<'a>,
    /// The elements of other schemes, as they were; none if there were none.
    pub rest: Option<Cow<'a, str>>,
}

/// The Payment elements of one `Authorization` value: what follows the scheme of each, empty where nothing does. `Debug`
/// prints no token. The usual case, one, costs no allocation.
///
/// ```
/// use mpp::protocol::authorization::{PaymentElement, split};
/// assert_eq!(split("Payment a, Payment b").payment, PaymentElement::Several(vec!["a", "b"]));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum PaymentElement<'a> {
    /// Nobody pays here.
    None,
    /// A credential.
    One(&'a str),
    /// More than one, which is an error in a request (CORE-46).
    Several(Vec<&'a str>),
}

impl<'a> PaymentElement<'a> {
    /// All of them.
    ///
    /// ```
    /// use mpp::protocol::authorization::split;
    /// assert_eq!(split("Bearer x, Payment a").payment.as_slice(), ["a"]);
    /// ```
    pub fn as_slice(&self) -> &[&'a str] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    fn push(&mut self, token: &'a str) {
        match self {
            Self::None => *self = Self::One(token),
            Self::One(first) => *self = Self::Several(vec![*first, token]),
            Self::Several(several) => several.push(token),
        }
    }
}

/// Takes the Payment elements out of a header value. Linear in its length.
///
/// A comma inside a quoted string separates nothing. Parameters that follow a Payment element (`Payment a, b=c`) belong
/// to it and are dropped with it. A value without a Payment element comes back whole.
///
/// ```
/// use mpp::protocol::authorization::{PaymentElement, split};
///
/// assert_eq!(split("Payment").payment, PaymentElement::One(""));
/// let digest = r#"Digest username="Payment x, y", realm="z""#;
/// assert_eq!(split(digest).payment, PaymentElement::None);
/// assert_eq!(split(digest).rest.as_deref(), Some(digest));
/// ```
pub fn split(value: &str) -> Authorization<'_> {
    if memchr::memchr(b',', value.as_bytes()).is_none() {
        return single(value);
    }
    let mut payment = PaymentElement::None;
    // Runs of neighbouring elements that stay, so that they stay together exactly as they were.
    let mut kept: Vec<(usize, usize)> = Vec::new();
    let mut owner = Owner::Other;
    let mut run_continues = Run::Broken;
    for (start, end) in elements(value) {
        let element = &value[start..end];
        match scheme_of(element) {
            Scheme::Payment(token) => {
                payment.push(token);
                owner = Owner::Payment;
            }
            Scheme::Other => owner = Owner::Other,
            Scheme::Parameter => {}
        }
        match (owner, run_continues) {
            (Owner::Payment, _) => run_continues = Run::Broken,
            (Owner::Other, Run::Open) => {
                if let Some(last) = kept.last_mut() {
                    last.1 = end;
                }
            }
            (Owner::Other, Run::Broken) => {
                kept.push((start, end));
                run_continues = Run::Open;
            }
        }
    }
    let rest = match kept.as_slice() {
        _ if payment == PaymentElement::None => (!value.is_empty()).then_some(Cow::Borrowed(value)),
        [] => None,
        [(start, end)] => Some(Cow::Borrowed(&value[*start..*end])),
        runs => Some(Cow::Owned(
            runs.iter().map(|(start, end)| &value[*start..*end]).collect::<Vec<_>>().join(", "),
        )),
    };
    Authorization { payment, rest }
}

/// Without a comma there is one element: what nearly every client sends, and every forger may.
fn single(value: &str) -> Authorization<'_> {
    match scheme_of(value.trim_matches([' ', '\t'])) {
        Scheme::Payment(token) => Authorization { payment: PaymentElement::One(token), rest: None },
        Scheme::Other | Scheme::Parameter => Authorization {
            payment: PaymentElement::None,
            rest: (!value.is_empty()).then_some(Cow::Borrowed(value)),
        },
    }
}

impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization").field("payment", &self.payment).finish_non_exhaustive()
    }
}

impl fmt::Debug for PaymentElement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(..)",
            Self::Several(_) => "Several(..)",
        })
    }
}

#[derive(Clone, Copy)]
enum Owner {
    Payment,
    Other,
}

#[derive(Clone, Copy)]
enum Run {
    Open,
    Broken,
}

enum Scheme<'a> {
    Payment(&'a str),
    Other,
    /// `name=value`: a parameter of whatever came before.
    Parameter,
}

fn scheme_of(element: &str) -> Scheme<'_> {
    let ends = |byte: u8| matches!(byte, b' ' | b'\t' | b'=');
    let word_ends = element.bytes().position(ends).unwrap_or(element.len());
    let (word, rest) = element.split_at(word_ends);
    let value = rest.trim_start_matches([' ', '\t']);
    if value.starts_with('=') {
        return Scheme::Parameter;
    }
    if word.eq_ignore_ascii_case("Payment") { Scheme::Payment(value) } else { Scheme::Other }
}

/// Where each non-empty element starts and ends, without the white space around it.
fn elements(value: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < value.len() {
            let start = at;
            let end = element_end(value.as_bytes(), start);
            at = end + 1;
            let element = value[start..end].trim_matches([' ', '\t']);
            if !element.is_empty() {
                let skipped =
                    value[start..end].len() - value[start..end].trim_start_matches([' ', '\t']).len();
                return Some((start + skipped, start + skipped + element.len()));
            }
        }
        None
    })
}

/// The next comma that is not in a quoted string, or the end. A quote opens a string only after `=`: elsewhere it is a
/// stray byte of some token, and must not hide what follows it.
fn element_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut last = b' ';
    while at < bytes.len() {
        match bytes[at] {
            b',' => return at,
            b'"' if last == b'=' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                last = b'"';
            }
            b' ' | b'\t' => {}
            other => last = other,
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PaymentElement::{One, Several};
    use super::*;

    #[test]
    fn payments_are_taken_out_and_the_rest_stays_as_it_was() {
        for (value, payment, rest) in [
            ("", PaymentElement::None, None),
            ("Bearer abc", PaymentElement::None, Some("Bearer abc")),
            (" Bearer  abc == , ", PaymentElement::None, Some(" Bearer  abc == , ")),
            ("Payment eyJ9", One("eyJ9"), None),
            ("payment   eyJ9  ", One("eyJ9"), None),
            ("PAYMENT\teyJ9", One("eyJ9"), None),
            ("Payment", One(""), None),
            ("Payment ,", One(""), None),
            ("Bearer a.b-c==, Payment x", One("x"), Some("Bearer a.b-c==")),
            ("Payment x, Bearer  a.b-c==", One("x"), Some("Bearer  a.b-c==")),
            ("Payment x,Payment y", Several(vec!["x", "y"]), None),
            ("Bearer a, Payment x, Basic b=", One("x"), Some("Bearer a, Basic b=")),
            (
                r#"Digest username="Payment q, \", Payment r", uri="/",  qop=auth, Payment x"#,
                One("x"),
                Some(r#"Digest username="Payment q, \", Payment r", uri="/",  qop=auth"#),
            ),
            ("Payment id=\"a\", realm=\"b, Payment c\", Bearer z", One("id=\"a\""), Some("Bearer z")),
            ("Digest a=b, payment = c", PaymentElement::None, Some("Digest a=b, payment = c")),
            ("Digest a=b, payment=c, Payment x", One("x"), Some("Digest a=b, payment=c")),
            ("PaymentX y", PaymentElement::None, Some("PaymentX y")),
            ("Bearer a\"b, Payment x", One("x"), Some("Bearer a\"b")),
            // A stray quote after a quoted string opens no other.
            ("Digest a=\"b\"\", Payment x", One("x"), Some("Digest a=\"b\"\"")),
        ] {
            let split = split(value);
            assert_eq!(split.payment, payment, "{value}");
            assert_eq!(split.rest.as_deref(), rest, "{value}");
        }
    }

    #[test]
    fn splitting_prints_no_token() {
        assert_eq!(
            format!("{:?}", split("Payment eyJ9, Bearer abc")),
            "Authorization { payment: One(..), .. }"
        );
    }

    proptest! {
        #[test]
        fn a_payment_is_found_at_any_place(
            before in prop::collection::vec("(Bearer|Basic) [a-zA-Z0-9._~+/-]{1,20}={0,2}", 0..3),
            token in "[a-zA-Z0-9_-]{1,40}",
            after in prop::collection::vec("Digest a=\"[ -!#-\\[\\]-~]{0,20}\",b=c", 0..3),
        ) {
            let payment = format!("Payment {token}");
            let value = before.iter().chain([&payment]).chain(&after).cloned().collect::<Vec<_>>().join(", ");
            let found = split(&value);
            prop_assert_eq!(found.payment, One(token.as_str()));
            let rest = before.iter().chain(&after).cloned().collect::<Vec<_>>().join(", ");
            prop_assert_eq!(found.rest.as_deref().unwrap_or_default(), rest);
        }

        #[test]
        fn splitting_never_panics_and_leaves_no_payment(value in r#"(Payment|Bearer|é|[ \t,="\\a-c]){0,30}"#, any in ".*") {
            split(&any);
            let found = split(&value);
            if let (One(_) | Several(_), Some(rest)) = (&found.payment, &found.rest) {
                prop_assert_eq!(split(rest).payment, PaymentElement::None, "{:?} left {:?}", value, rest);
            }
        }
    }
}
