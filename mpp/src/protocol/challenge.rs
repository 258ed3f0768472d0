//! The offer in `WWW-Authenticate: Payment` (core draft, "Challenge"): the type, how it is written, and how any number of
//! them is found in what a server sent.
//!
//! A 402 carries one challenge per way to pay, in one header line or many, possibly among challenges of other schemes.
//! One that is broken does not spoil the others: it is reported beside them.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::binding::Slots;
use super::{
    ChargeRequest, Intent, MAX_REQUEST_CHARS, MethodName, Opaque, OpaqueError, RequestError, Timestamp,
    TimestampError, b64, jcs,
};

/// Most characters of `WWW-Authenticate`, over all its lines, that are read.
const MAX_TOTAL: usize = 128 * 1024;
/// Most challenges of any scheme that are read.
const MAX_CHALLENGES: usize = 64;
/// Most parameters of one challenge.
const MAX_PARAMETERS: usize = 32;

/// One offer: what to pay for this resource, and how.
///
/// Serialised, it is the `challenge` member of a credential. Values are kept as they were on the wire, because the id is
/// bound to exactly that text.
///
/// ```
/// use mpp::protocol::Challenge;
///
/// let header = r#"Payment id="x7Tg", realm="api.example.com", method="tempo", intent="charge", request="e30""#;
/// let found = Challenge::parse_all([header]);
/// assert_eq!(found.offers[0].realm, "api.example.com");
/// assert_eq!(found.offers[0].to_header_value(), header);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Echoed unchanged; bound to everything below except the description.
    pub id: String,
    /// The protection space: the server's host name.
    pub realm: String,
    /// The payment method.
    pub method: MethodName,
    /// The kind of payment.
    pub intent: Intent,
    /// Base64url of the payment request's canonical JSON.
    pub request: String,
    /// RFC 3339; when the offer ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// RFC 9530; the digest of the request body the offer is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Base64url; the server's own, returned unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
    /// For people. Never relied on, and not bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What was found in a server's `WWW-Authenticate` lines.
///
/// ```
/// use mpp::protocol::Challenge;
///
/// let found = Challenge::parse_all([r#"Bearer realm="x", Payment id="""#]);
/// assert!(found.offers.is_empty());
/// assert_eq!(found.refused.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenges {
    /// The well-formed Payment challenges, in the server's order.
    pub offers: Vec<Challenge>,
    /// Why each of the others is none.
    pub refused: Vec<ChallengeError>,
}

impl Challenge {
    /// The value of one `WWW-Authenticate` line. ASCII only: anything else is written as `\uXXXX` in a quoted string, as
    /// deployed peers do.
    ///
    /// ```
    /// use mpp::protocol::{Challenge, Intent, MethodName};
    ///
    /// let challenge = Challenge {
    ///     id: "x7Tg".into(),
    ///     realm: "api.example.com".into(),
    ///     method: MethodName::from_static("tempo"),
    ///     intent: Intent::CHARGE,
    ///     request: "e30".into(),
    ///     expires: None,
    ///     digest: None,
    ///     opaque: None,
    ///     description: Some("one \"café\"".into()),
    /// };
    /// assert!(challenge.to_header_value().ends_with(r#"request="e30", description="one \"caf\u00e9\"""#));
    /// ```
    pub fn to_header_value(&self) -> String {
        let mut line = String::with_capacity(256 + self.request.len());
        line.push_str("Payment ");
        let parameters = [
            ("id", Some(self.id.as_str())),
            ("realm", Some(self.realm.as_str())),
            ("method", Some(self.method.as_str())),
            ("intent", Some(self.intent.as_str())),
            ("request", Some(self.request.as_str())),
            ("description", self.description.as_deref()),
            ("digest", self.digest.as_deref()),
            ("expires", self.expires.as_deref()),
            ("opaque", self.opaque.as_deref()),
        ];
        for (position, (name, value)) in
            parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).enumerate()
        {
            if position > 0 {
                line.push_str(", ");
            }
            line.push_str(name);
            line.push('=');
            write_quoted(&mut line, value);
        }
        line
    }

    /// Finds every Payment challenge in these header lines: several per line, quoted or bare values, any case of scheme
    /// and parameter names, other schemes in between.
    ///
    /// Reads at most 128 KiB and 64 challenges; what lies beyond is reported as one
    /// [`TooLarge`](ChallengeError::TooLarge).
    ///
    /// ```
    /// use mpp::protocol::Challenge;
    ///
    /// let found = Challenge::parse_all([
    ///     r#"Bearer realm="x", Payment id="a", realm="r", method="stripe", intent="charge", request="e30""#,
    ///     r#"payment ID=b, realm=r, method=tempo, intent=charge, request=e30"#,
    ///     r#"Payment id="c""#,
    /// ]);
    /// let methods: Vec<_> = found.offers.iter().map(|offer| offer.method.as_str()).collect();
    /// assert_eq!(methods, ["stripe", "tempo"]);
    /// assert_eq!(found.refused.len(), 1, "the third lacks its required parameters");
    /// ```
    pub fn parse_all<'a>(lines: impl IntoIterator<Item = &'a str>) -> Challenges {
        let mut found = Challenges::default();
        let mut total = 0usize;
        let mut count = 0usize;
        for line in lines {
            total = total.saturating_add(line.len());
            if total > MAX_TOTAL {
                found.refused.push(ChallengeError::TooLarge);
                break;
            }
            let mut reader = Reader { rest: line };
            let mut open: Option<Draft> = None;
            while let Some(item) = reader.next() {
                match item {
                    Item::Scheme(scheme) | Item::SchemeWithToken(scheme) => {
                        found.close(open.take());
                        count += 1;
                        if count > MAX_CHALLENGES {
                            found.refused.push(ChallengeError::TooLarge);
                            return found;
                        }
                        let draft = open.insert(Draft::new(scheme));
                        if matches!(item, Item::SchemeWithToken(_)) {
                            draft.refuse(ChallengeError::Syntax);
                        }
                    }
                    Item::Parameter(name, value) => {
                        if let Some(draft) = &mut open {
                            draft.parameter(name, value);
                        }
                    }
                    Item::Junk => {
                        if let Some(draft) = &mut open {
                            draft.refuse(ChallengeError::Syntax);
                        }
                    }
                }
            }
            found.close(open);
        }
        found
    }

    /// When the offer ends; none if it does not say.
    ///
    /// # Errors
    /// [`TimestampError`] when `expires` is no RFC 3339 time. Such a challenge is not payable.
    ///
    /// ```
    /// # use mpp::protocol::Challenge;
    /// let header = r#"Payment id="x7Tg", realm="api.example.com", method="tempo", intent="charge", request="e30", expires="2026-11-21T10:05:00Z""#;
    /// let challenge = &Challenge::parse_all([header]).offers[0];
    /// assert_eq!(challenge.expires_at().unwrap().unwrap().to_rfc3339().as_str(), "2026-11-21T10:05:00Z");
    /// ```
    pub fn expires_at(&self) -> Result<Option<Timestamp>, TimestampError> {
        self.expires.as_deref().map(Timestamp::parse).transpose()
    }

    /// The payment request of a `charge`.
    ///
    /// # Errors
    /// [`RequestError::OtherIntent`] for another intent than `charge`, and what [`ChargeRequest::decode`] refuses.
    ///
    /// ```
    /// # use mpp::protocol::{BaseUnits, Challenge, ChargeRequest};
    /// let request = ChargeRequest::new(BaseUnits::new(50_000), "usd").encode();
    /// let header = format!(r#"Payment id="x7Tg", realm="r", method="tempo", intent="charge", request="{request}""#);
    /// let offers = Challenge::parse_all([header.as_str()]).offers;
    /// assert_eq!(offers[0].charge().unwrap().amount, BaseUnits::new(50_000));
    /// ```
    pub fn charge(&self) -> Result<ChargeRequest, RequestError> {
        if self.intent != Intent::CHARGE {
            return Err(RequestError::OtherIntent);
        }
        ChargeRequest::decode(&self.request)
    }

    /// What the server wrote into `opaque`; none if it did not.
    ///
    /// # Errors
    /// [`OpaqueError`] when `opaque` is not the base64url of a flat map of strings. Only the server that wrote it needs to care.
    ///
    /// ```
    /// # use mpp::protocol::{Challenge, Opaque};
    /// let opaque = Opaque::from_iter([("op", "GET /weather")]).encode();
    /// let header = format!(
    ///     r#"Payment id="x7Tg", realm="r", method="tempo", intent="charge", request="e30", opaque="{opaque}""#
    /// );
    /// let offers = Challenge::parse_all([header.as_str()]).offers;
    /// assert_eq!(offers[0].opaque_map().unwrap().unwrap().get("op"), Some("GET /weather"));
    /// ```
    pub fn opaque_map(&self) -> Result<Option<Opaque>, OpaqueError> {
        self.opaque.as_deref().map(Opaque::decode).transpose()
    }

    /// The bound parameters (core draft, "Challenge Binding"); an absent one is empty.
    ///
    /// ```
    /// # use mpp::protocol::Challenge;
    /// let header = r#"Payment id="x7Tg", realm="api.example.com", method="tempo", intent="charge", request="e30""#;
    /// let challenge = &Challenge::parse_all([header]).offers[0];
    /// assert_eq!(challenge.slots().realm, "api.example.com");
    /// assert_eq!(challenge.slots().digest, "");
    /// ```
    pub fn slots(&self) -> Slots<'_> {
        Slots {
            realm: &self.realm,
            method: self.method.as_str(),
            intent: self.intent.as_str(),
            request: &self.request,
            expires: self.expires.as_deref().unwrap_or_default(),
            digest: self.digest.as_deref().unwrap_or_default(),
            opaque: self.opaque.as_deref().unwrap_or_default(),
        }
    }
}

/// Appends a value as a quoted string (RFC 9110 section 5.6.4): `"` and `\` escaped, everything that is not printable
/// ASCII as `\uXXXX`, so that no value can end its string, its line or its header.
///
/// ```
/// let mut line = String::from("description=");
/// mpp::protocol::write_quoted(&mut line, "a \"café\"\r\n");
/// assert_eq!(line, r#"description="a \"caf\u00e9\"\u000d\u000a""#);
/// ```
pub fn write_quoted(line: &mut String, value: &str) {
    line.push('"');
    // Nearly every value is plain; copy it whole.
    if value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
        line.push_str(value);
    } else {
        for c in value.chars() {
            match c {
                '"' | '\\' => line.extend(['\\', c]),
                ' '..='~' => line.push(c),
                c => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(line, "\\u{unit:04x}").expect("writing to a string succeeds");
                    }
                }
            }
        }
    }
    line.push('"');
}

/// Why a Payment challenge in a header is refused.
///
/// ```
/// use mpp::protocol::{Challenge, ChallengeError};
/// let found = Challenge::parse_all([r#"Payment id="a", id="b""#]);
/// assert_eq!(found.refused, [ChallengeError::Duplicate("id")]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// Not a list of parameters.
    #[error("a payment challenge does not follow the header's grammar")]
    Syntax,
    /// A required parameter is missing or empty.
    #[error("a payment challenge has no `{0}`")]
    Missing(&'static str),
    /// A parameter occurs twice.
    #[error("a payment challenge has `{0}` twice")]
    Duplicate(&'static str),
    /// A parameter is not what it must be.
    #[error("a payment challenge has an invalid `{0}`")]
    Invalid(&'static str),
    /// More characters, challenges or parameters than are read.
    #[error("a payment challenge, or the list of them, is too large")]
    TooLarge,
}

impl Challenges {
    fn close(&mut self, draft: Option<Draft>) {
        match draft.map(Draft::finish) {
            Some(Some(Ok(challenge))) => self.offers.push(challenge),
            Some(Some(Err(error))) => self.refused.push(error),
            Some(None) | None => {}
        }
    }
}

/// A challenge whose parameters are being read. One of another scheme is read and forgotten.
struct Draft<'a> {
    scheme: &'a str,
    seen: usize,
    values: [Option<String>; KNOWN.len()],
    refused: Option<ChallengeError>,
}

const KNOWN: [&str; 9] =
    ["id", "realm", "method", "intent", "request", "expires", "digest", "opaque", "description"];

impl<'a> Draft<'a> {
    fn new(scheme: &'a str) -> Draft<'a> {
        Draft { scheme, seen: 0, values: Default::default(), refused: None }
    }

    fn is_payment(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Payment")
    }

    fn refuse(&mut self, error: ChallengeError) {
        self.refused.get_or_insert(error);
    }

    fn parameter(&mut self, name: &str, value: Value<'_>) {
        if !self.is_payment() || self.refused.is_some() {
            return;
        }
        self.seen += 1;
        if self.seen > MAX_PARAMETERS {
            return self.refuse(ChallengeError::TooLarge);
        }
        // CORE-19: parameters that are not known are ignored, and never bound.
        let Some(position) = KNOWN.iter().position(|known| known.eq_ignore_ascii_case(name)) else { return };
        if self.values[position].is_some() {
            return self.refuse(ChallengeError::Duplicate(KNOWN[position]));
        }
        self.values[position] = Some(value.text());
    }

    /// None for a challenge of another scheme.
    fn finish(self) -> Option<Result<Challenge, ChallengeError>> {
        if !self.is_payment() {
            return None;
        }
        Some(match self.refused {
            Some(error) => Err(error),
            None => complete(self.values),
        })
    }
}

fn complete(values: [Option<String>; KNOWN.len()]) -> Result<Challenge, ChallengeError> {
    let [id, realm, method, intent, request, expires, digest, opaque, description] = values;
    let required = |value: Option<String>, name| {
        value.filter(|value| !value.is_empty()).ok_or(ChallengeError::Missing(name))
    };
    // CORE-06: an empty id is no id.
    let challenge = Challenge {
        id: required(id, "id")?,
        realm: required(realm, "realm")?,
        method: required(method, "method")?.parse().map_err(|_| ChallengeError::Invalid("method"))?,
        intent: required(intent, "intent")?.parse().map_err(|_| ChallengeError::Invalid("intent"))?,
        request: required(request, "request")?,
        expires,
        digest,
        opaque,
        description,
    };
    let too_large = |text: &str| text.len() > MAX_REQUEST_CHARS;
    if too_large(&challenge.request) || challenge.opaque.as_deref().is_some_and(too_large) {
        return Err(ChallengeError::TooLarge);
    }
    let json = b64::decode_lenient(&challenge.request).map_err(|_| ChallengeError::Invalid("request"))?;
    jcs::parse_object(&json).map_err(|_| ChallengeError::Invalid("request"))?;
    if challenge.expires_at().is_err() {
        return Err(ChallengeError::Invalid("expires"));
    }
    Ok(challenge)
}

/// One item of the comma-separated list (RFC 9110 section 11.6.1).
enum Item<'a> {
    Scheme(&'a str),
    /// `Scheme dG9rZW4=`, which other schemes may have.
    SchemeWithToken(&'a str),
    Parameter(&'a str, Value<'a>),
    /// Anything else up to the next comma.
    Junk,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Bare(&'a str),
    /// What is between the quotes, still escaped.
    Quoted(&'a str),
}

impl Value<'_> {
    fn text(self) -> String {
        match self {
            Value::Bare(text) => text.to_owned(),
            Value::Quoted(escaped) => unescape(escaped),
        }
    }
}

/// Splits a header line into items; every byte is looked at once.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Item<'a>> {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
        if self.rest.is_empty() {
            return None;
        }
        let start = self.rest;
        let name = self.take_while(is_token);
        if name.is_empty() {
            return Some(self.junk());
        }
        let spaces = self.take_while(|b| matches!(b, b' ' | b'\t'));
        if self.rest.starts_with('=') {
            return Some(self.value_of(name));
        }
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Some(Item::Scheme(name));
        }
        if spaces.is_empty() {
            self.rest = start;
            return Some(self.junk());
        }
        if let Some(length) = token68(self.rest) {
            self.rest = &self.rest[length..];
            return Some(Item::SchemeWithToken(name));
        }
        // The first parameter follows; the next call reads it.
        Some(Item::Scheme(name))
    }

    /// After a name and before its `=`.
    fn value_of(&mut self, name: &'a str) -> Item<'a> {
        self.rest = self.rest[1..].trim_start_matches([' ', '\t']);
        let value = if let Some(quoted) = self.rest.strip_prefix('"') {
            let Some(end) = closing_quote(quoted) else {
                self.rest = "";
                return Item::Junk;
            };
            self.rest = &quoted[end + 1..];
            Value::Quoted(&quoted[..end])
        } else {
            Value::Bare(self.take_while(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'"' | b'\\')))
        };
        self.take_while(|b| matches!(b, b' ' | b'\t'));
        if self.rest.is_empty() || self.rest.starts_with(',') {
            Item::Parameter(name, value)
        } else {
            self.junk()
        }
    }

    /// Skips to the next comma outside quotes.
    fn junk(&mut self) -> Item<'a> {
        loop {
            self.take_while(|b| !matches!(b, b',' | b'"'));
            match self.rest.strip_prefix('"') {
                Some(quoted) => match closing_quote(quoted) {
                    Some(end) => self.rest = &quoted[end + 1..],
                    None => self.rest = "",
                },
                None => return Item::Junk,
            }
        }
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        // `accept` takes all bytes of multi-byte characters or none, so that the cut is on a character boundary.
        let length = self.rest.bytes().position(|b| !accept(b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// The length of the token68 this starts with, if that is all there is before a comma or the end.
fn token68(text: &str) -> Option<usize> {
    let body = text
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
        .count();
    let length = body + text[body..].bytes().take_while(|b| *b == b'=').count();
    let after = text[length..].trim_start_matches([' ', '\t']);
    (body > 0 && (after.is_empty() || after.starts_with(','))).then_some(length)
}

/// Where the quoted string that starts here ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let closes = !escaped && b == b'"';
        escaped = !escaped && b == b'\\';
        closes
    })
}

/// Undoes [`write_quoted`] and every RFC 9110 quoted-pair.
fn unescape(escaped: &str) -> String {
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some((c, after)) = unicode_escape(rest) {
            text.push(c);
            rest = after;
        } else if let Some(c) = rest.chars().next() {
            text.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    text.push_str(rest);
    text
}

/// Reads `uXXXX`, or two of them that are a surrogate pair, after the backslash.
fn unicode_escape(text: &str) -> Option<(char, &str)> {
    let (first, rest) = code_unit(text)?;
    if let Some(c) = char::from_u32(u32::from(first)) {
        return Some((c, rest));
    }
    let (second, rest) = code_unit(rest.strip_prefix('\\')?)?;
    let c = char::decode_utf16([first, second]).next()?.ok()?;
    Some((c, rest))
}

fn code_unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.strip_prefix('u')?.split_at_checked(4)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Challenge {
        Challenge {
            id: "x7Tg2pLqR9mKvNwY3hBcZa".into(),
            realm: "api.example.com".into(),
            method: MethodName::from_static("tempo"),
            intent: Intent::CHARGE,
            request: ChargeRequest::new(super::super::BaseUnits::new(5), "usd").encode(),
            expires: Some("2026-11-21T10:05:00Z".into()),
            digest: None,
            opaque: Some("e30".into()),
            description: None,
        }
    }

    fn offers(line: &str) -> Vec<Challenge> {
        let found = Challenge::parse_all([line]);
        assert_eq!(found.refused, [], "{line}");
        found.offers
    }

    fn refusal(line: &str) -> ChallengeError {
        let found = Challenge::parse_all([line]);
        assert_eq!(found.offers, [], "{line}");
        assert_eq!(found.refused.len(), 1, "{line}");
        found.refused[0]
    }

    #[test]
    fn the_header_has_the_order_peers_expect() {
        let mut challenge = example();
        challenge.description = Some("five".into());
        challenge.digest = Some("sha-256=:x:".into());
        let line = challenge.to_header_value();
        let positions: Vec<_> = [
            "id=",
            "realm=",
            "method=",
            "intent=",
            "request=",
            "description=",
            "digest=",
            "expires=",
            "opaque=",
        ]
        .iter()
        .map(|name| line.find(name).unwrap())
        .collect();
        assert!(positions.is_sorted() && line.starts_with("Payment id=\""));
    }

    #[test]
    fn challenges_are_found_however_the_lines_were_joined() {
        let (one, two) = (example(), Challenge { id: "second".into(), ..example() });
        let (a, b) = (one.to_header_value(), two.to_header_value());
        let bearer = r#"Bearer realm="Payment id=\"no\", x", error=none"#;
        for lines in [
            vec![a.clone(), b.clone()],
            vec![format!("{a}, {b}")],
            vec![format!("{a},{b}")],
            vec![format!("{bearer}, {a}, {b}")],
            vec![format!("{a}, {bearer}, {b}, Basic")],
            vec![format!("Negotiate dG9rZW4=, {a}, Negotiate, {b}, NTLM YWJj")],
            vec![bearer.into(), format!(",, {a} ,\t, {b},")],
            vec!["Custom a=b, c = \"d\"".into(), a.replace("Payment", "pAyMeNt"), b.replace(", ", "\t, ")],
            vec![a.replace('=', " = "), b.replace("id=", "ID=").replace("realm=", "Realm=")],
        ] {
            // Spaces around `=` would change a value that has one; none of these does.
            let found = Challenge::parse_all(lines.iter().map(String::as_str));
            assert_eq!(found.offers, [one.clone(), two.clone()], "{lines:?}");
            assert_eq!(found.refused, [], "{lines:?}");
        }
    }

    #[test]
    fn bare_values_and_unknown_parameters_are_read() {
        let found = offers(
            "Payment id=a, realm=api.example.com, method=tempo, intent=charge, request=e30=, expires=2026-11-21T10:05:00Z, \
             colour=\"red, or so\", header=x",
        );
        assert_eq!(found[0].expires.as_deref(), Some("2026-11-21T10:05:00Z"));
        assert_eq!(found[0].request, "e30=");
    }

    #[test]
    fn one_bad_challenge_does_not_spoil_the_others() {
        let good = example().to_header_value();
        let bad = [
            r#"Payment id="""#,
            "Payment",
            "Payment dG9rZW4=",
            r#"Payment id="a", id="b""#,
            r#"Payment id="a" realm="b""#,
            r#"Payment id=a"b", c"#,
        ];
        for bad in bad {
            for line in [format!("{bad}, {good}"), format!("{good}, {bad}"), format!("{good}, {bad}, {good}")]
            {
                let found = Challenge::parse_all([line.as_str()]);
                assert_eq!(found.refused.len(), 1, "{line}");
                assert!(
                    !found.offers.is_empty() && found.offers.iter().all(|offer| *offer == example()),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let with = |name: &str, value: &str| {
            let mut line = String::from("Payment ");
            for (known, good) in
                [("id", "a"), ("realm", "r"), ("method", "tempo"), ("intent", "charge"), ("request", "e30")]
            {
                line.push_str(&format!("{known}=\"{}\", ", if known == name { value } else { good }));
            }
            line + "x=y"
        };
        assert_eq!(offers(&with("none", "")).len(), 1);
        for name in ["id", "realm", "method", "intent", "request"] {
            assert_eq!(refusal(&with(name, "")), ChallengeError::Missing(name));
            assert_eq!(
                refusal(&(with("none", "") + &format!(", {name}=z"))),
                ChallengeError::Duplicate(name)
            );
        }
        assert_eq!(refusal(&with("method", "Tempo")), ChallengeError::Invalid("method"));
        assert_eq!(refusal(&with("intent", "a b")), ChallengeError::Invalid("intent"));
        for request in ["!", "W10", "e30e30", "eyJhIjoxLCJhIjoyfQ"] {
            assert_eq!(refusal(&with("request", request)), ChallengeError::Invalid("request"), "{request}");
        }
        assert_eq!(refusal(&with("request", &"e30".repeat(6000))), ChallengeError::TooLarge);
        assert_eq!(refusal(&(with("none", "") + ", expires=tomorrow")), ChallengeError::Invalid("expires"));
        assert_eq!(refusal(&(with("none", "") + ", expires=\"2026")), ChallengeError::Syntax);
    }

    #[test]
    fn a_server_cannot_make_us_read_without_bound() {
        let good = example().to_header_value();
        let flood = vec![good.as_str(); 10_000];
        let found = Challenge::parse_all(flood);
        assert!(found.offers.len() <= MAX_CHALLENGES);
        assert_eq!(found.refused, [ChallengeError::TooLarge]);

        let long = "A".repeat(MAX_TOTAL + 1);
        assert_eq!(Challenge::parse_all([long.as_str()]).refused, [ChallengeError::TooLarge]);

        let parameters: String = (0..100).map(|n| format!(", p{n}=1")).collect();
        assert_eq!(refusal(&(good + &parameters)), ChallengeError::TooLarge);

        let schemes = "a ".repeat(50_000);
        assert!(Challenge::parse_all([schemes.as_str()]).offers.is_empty());
    }

    #[test]
    fn text_beyond_ascii_is_escaped_and_read_back() {
        let description = "a \"café\" ☕ 😀 \\ \\u0041 \r\n\t";
        let challenge = Challenge { description: Some(description.into()), ..example() };
        let line = challenge.to_header_value();
        assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')), "{line}");
        assert_eq!(offers(&line), [challenge]);
    }

    #[test]
    fn a_broken_escape_is_an_ordinary_quoted_pair() {
        for (escaped, text) in [
            (r"\u12", "u12"),
            (r"\u12zz", "u12zz"),
            (r"\ud83d", "ud83d"),
            (r"\ud83d\u0041", "ud83dA"),
            (r"\u+041", "u+041"),
            (r"\é", "é"),
            (r"\\u0041", r"\u0041"),
            (r"\u00e9é", "éé"),
        ] {
            assert_eq!(unescape(escaped), text);
        }
    }

    #[test]
    fn the_echo_in_a_credential_has_the_names_of_the_draft() {
        let json = serde_json::to_value(example()).unwrap();
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["expires", "id", "intent", "method", "opaque", "realm", "request"]);
        assert_eq!(serde_json::from_value::<Challenge>(json).unwrap(), example());
    }

    #[test]
    fn a_challenge_gives_its_parts_as_types() {
        let challenge = example();
        assert_eq!(challenge.expires_at(), Ok(Some(Timestamp::parse("2026-11-21T10:05:00Z").unwrap())));
        assert_eq!(challenge.charge().unwrap().amount, super::super::BaseUnits::new(5));
        assert_eq!(challenge.opaque_map(), Ok(Some(Opaque::default())));
        let session = Challenge { intent: Intent::SESSION, expires: None, opaque: None, ..challenge };
        assert_eq!(session.charge(), Err(RequestError::OtherIntent));
        assert_eq!((session.expires_at(), session.opaque_map()), (Ok(None), Ok(None)));
    }

    prop_compose! {
        fn challenges()(
            id in "\\PC{1,50}", realm in ".{1,30}", method in "[a-z][a-z0-9:_-]{0,20}", intent in "[A-Za-z0-9-]{1,20}",
            amount in any::<u64>(), currency in ".{0,10}", expires in proptest::option::of(any::<i64>()),
            digest in proptest::option::of(".{0,30}"), opaque in proptest::option::of("[A-Za-z0-9_-]{0,40}"),
            description in proptest::option::of(".{0,30}"),
        ) -> Challenge {
            Challenge {
                id, realm,
                method: method.parse().unwrap(),
                intent: intent.parse().unwrap(),
                request: ChargeRequest::new(amount.into(), currency).encode(),
                expires: expires.map(|unix| Timestamp::from_unix(unix).to_string()),
                digest, opaque, description,
            }
        }
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_challenges(
            challenges in prop::collection::vec(challenges(), 0..5), others in "[A-Za-z]{1,8}( [A-Za-z]{1,5}=\"[^\"\\\\]{0,20}\")?",
        ) {
            let written: Vec<String> = challenges.iter().map(Challenge::to_header_value).collect();
            let separate = Challenge::parse_all(written.iter().map(String::as_str));
            prop_assert_eq!(&separate.offers, &challenges);
            prop_assert!(separate.refused.is_empty());
            prop_assume!(!others.to_ascii_lowercase().starts_with("payment"));
            let joined = std::iter::once(others).chain(written).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(Challenge::parse_all([joined.as_str()]).offers, challenges);
        }

        #[test]
        fn parsing_never_panics(lines: Vec<String>) {
            let _ = Challenge::parse_all(lines.iter().map(String::as_str));
        }

        #[test]
        fn parsing_nearly_challenges_never_panics(line in r#"(Payment|Bearer|id|realm|request|é|[ \t,="\\|.u0-9a-f]){0,40}"#) {
            let found = Challenge::parse_all([line.as_str()]);
            for offer in &found.offers {
                let again = offer.to_header_value();
                prop_assert_eq!(&Challenge::parse_all([again.as_str()]).offers[0], offer);
            }
        }
    }
}
