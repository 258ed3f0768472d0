//! Finding the payment in `Authorization` (RFC 9110 section 11.6.2; core draft, "Credentials").
//!
//! A request may be authenticated and paid: `Authorization: Bearer x` and `Authorization: Payment y`, in two lines or,
//! after some proxies, joined by a comma. The payment is taken out; everything else stays byte for byte what it was.

use std::borrow::Cow;
use std::fmt;

/// One `Authorization` value, taken apart.
///
/// ```
/// use mpp::protocol::authorization;
///
/// let split = authorization::split("Bearer abc==, payment eyJ9");
/// assert_eq!(split.payments, ["eyJ9"]);
/// assert_eq!(split.rest.as_deref(), Some("Bearer abc=="));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// What follows the scheme of each Payment element; empty where nothing does. More than one is an error (CORE-46).
    pub payments: Vec<&'a str>,
    /// The elements of other schemes, as they were; none if there were none.
    pub rest: Option<Cow<'a, str>>,
}

/// Takes the Payment elements out of a header value. Linear in its length.
///
/// A comma inside a quoted string separates nothing. Parameters that follow a Payment element (`Payment a, b=c`) belong
/// to it and are dropped with it. A value without a Payment element comes back whole.
///
/// ```
/// use mpp::protocol::authorization::split;
///
/// assert_eq!(split("Payment").payments, [""]);
/// let digest = r#"Digest username="Payment x, y", realm="z""#;
/// assert!(split(digest).payments.is_empty());
/// assert_eq!(split(digest).rest.as_deref(), Some(digest));
/// ```
pub fn split(value: &str) -> Authorization<'_> {
    let mut payments = Vec::new();
    // Runs of neighbouring elements that stay, so that they stay together exactly as they were.
    let mut kept: Vec<(usize, usize)> = Vec::new();
    let mut owner = Owner::Other;
    let mut run_continues = Run::Broken;
    for (start, end) in elements(value) {
        let element = &value[start..end];
        match scheme_of(element) {
            Scheme::Payment(token) => {
                payments.push(token);
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
        _ if payments.is_empty() => (!value.is_empty()).then_some(Cow::Borrowed(value)),
        [] => None,
        [(start, end)] => Some(Cow::Borrowed(&value[*start..*end])),
        runs => Some(Cow::Owned(
            runs.iter().map(|(start, end)| &value[*start..*end]).collect::<Vec<_>>().join(", "),
        )),
    };
    Authorization { payments, rest }
}

impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization").field("payments", &self.payments.len()).finish_non_exhaustive()
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
    let word_ends = element.find([' ', '\t', '=']).unwrap_or(element.len());
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
