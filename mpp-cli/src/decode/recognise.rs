//! Finding out what a text is. A named header line says so itself; everything else is told by its shape.

use mpp::protocol::{
    AcceptPayment, Challenge, ChallengeError, ChargeRequest, Credential, CredentialBuf, Opaque, Receipt,
    ReceivedProblem, authorization, b64, jcs,
};
use serde_json::{Map, Value};

use super::DecodeError;

/// Something of the protocol.
#[derive(Debug)]
pub(crate) enum Thing {
    Challenge(Challenge),
    Credential(Credential),
    Receipt(Receipt),
    Accept(AcceptPayment),
    Request(ChargeRequest),
    Opaque(Opaque),
    Problem(ReceivedProblem),
}

/// Everything a text contained, and why a challenge in it was refused.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) things: Vec<Thing>,
    pub(crate) refused: Vec<ChallengeError>,
}

/// Reads a header's value, header lines, a token or JSON.
///
/// # Errors
/// When nothing in the text can be read; the first reason is given.
pub(crate) fn recognise(text: &str) -> Result<Found, DecodeError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(DecodeError::Empty);
    }
    let lines: Vec<(Header, &str)> = text.lines().filter_map(header_line).collect();
    let mut found = Found::default();
    if lines.is_empty() {
        found.value(text)?;
    } else {
        let offers =
            lines.iter().filter(|(header, _)| *header == Header::WwwAuthenticate).map(|(_, value)| *value);
        found.challenges(offers);
        for (header, value) in lines {
            match header {
                Header::WwwAuthenticate => {}
                Header::Authorization => found.credentials(value)?,
                Header::PaymentReceipt => found.things.push(Thing::Receipt(Receipt::parse_header(value)?)),
                Header::AcceptPayment => found.things.push(Thing::Accept(AcceptPayment::parse(value)?)),
            }
        }
    }
    match (found.things.is_empty(), found.refused.first()) {
        (true, Some(error)) => Err((*error).into()),
        (true, None) => Err(DecodeError::OtherScheme),
        (false, _) => Ok(found),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    WwwAuthenticate,
    Authorization,
    PaymentReceipt,
    AcceptPayment,
}

/// One of the four headers, also as `curl -v` prints it; other lines of a response are passed over.
fn header_line(line: &str) -> Option<(Header, &str)> {
    let line = line.strip_prefix("< ").or_else(|| line.strip_prefix("> ")).unwrap_or(line);
    let (name, value) = line.split_once(':')?;
    let header = match name.trim().to_ascii_lowercase().as_str() {
        "www-authenticate" => Header::WwwAuthenticate,
        "authorization" => Header::Authorization,
        "payment-receipt" => Header::PaymentReceipt,
        "accept-payment" => Header::AcceptPayment,
        _ => return None,
    };
    Some((header, value.trim()))
}

impl Found {
    fn challenges<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        let found = Challenge::parse_all(lines);
        self.things.extend(found.offers.into_iter().map(Thing::Challenge));
        self.refused.extend(found.refused);
    }

    fn credentials(&mut self, value: &str) -> Result<(), DecodeError> {
        for token in authorization::split(value).payment.as_slice() {
            let buffer = CredentialBuf::decode(token)?;
            self.things.push(Thing::Credential(buffer.parse()?.to_credential()?));
        }
        Ok(())
    }

    /// A value without its header's name.
    fn value(&mut self, text: &str) -> Result<(), DecodeError> {
        if text.starts_with('{') {
            self.things.push(json(text.as_bytes())?);
            return Ok(());
        }
        let found = authorization::split(text).payment;
        let payments = found.as_slice();
        if !payments.is_empty() {
            // `Payment <token>` is a credential, `Payment id="…", …` an offer.
            if payments.iter().any(|payment| is_token(payment)) {
                return self.credentials(text);
            }
            self.challenges(text.lines());
            return Ok(());
        }
        if is_token(text)
            && let Ok(decoded) = b64::decode_lenient(text)
            && decoded.starts_with(b"{")
        {
            self.things.push(json(&decoded)?);
            return Ok(());
        }
        let accept = AcceptPayment::parse(text).map_err(|_| DecodeError::Unrecognised)?;
        self.things.push(Thing::Accept(accept));
        Ok(())
    }
}

/// The characters of base64, then nothing but padding.
fn is_token(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+/".contains(&b))
}

/// A JSON object of the protocol, told by its members.
fn json(text: &[u8]) -> Result<Thing, DecodeError> {
    let Ok(Value::Object(members)) = jcs::parse(text) else {
        return Err(DecodeError::OtherJson);
    };
    let has = |names: &[&str]| names.iter().all(|name| members.contains_key(*name));
    if has(&["challenge", "payload"]) {
        let buffer = CredentialBuf::decode(&b64::encode(text))?;
        Ok(Thing::Credential(buffer.parse()?.to_credential()?))
    } else if has(&["status", "reference"]) {
        Ok(Thing::Receipt(Receipt::parse_header(&b64::encode(text))?))
    } else if has(&["id", "realm", "method"]) {
        challenge(&members)
    } else if has(&["amount", "currency"]) {
        ChargeRequest::decode(&b64::encode(text)).map(Thing::Request).map_err(|_| DecodeError::OtherJson)
    } else if has(&["type"]) && (has(&["title"]) || has(&["status"])) {
        ReceivedProblem::parse(text).map(Thing::Problem).ok_or(DecodeError::OtherJson)
    } else if members.is_empty() {
        // Nothing in it says what it is.
        Err(DecodeError::OtherJson)
    } else {
        Opaque::decode(&b64::encode(text)).map(Thing::Opaque).map_err(|_| DecodeError::OtherJson)
    }
}

/// The `challenge` member of a credential on its own. It goes through the header, which checks every member.
fn challenge(members: &Map<String, Value>) -> Result<Thing, DecodeError> {
    let challenge: Challenge =
        serde_json::from_value(Value::Object(members.clone())).map_err(|_| DecodeError::OtherJson)?;
    let checked = Challenge::parse_all([challenge.to_header_value().as_str()]);
    match (checked.offers.is_empty(), checked.refused.first()) {
        (true, Some(error)) => Err((*error).into()),
        _ => Ok(Thing::Challenge(challenge)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str =
        r#"Payment id="x", realm="r", method="tempo", intent="charge", request="eyJhbW91bnQiOiIxIn0""#;

    fn kinds(text: &str) -> Vec<&'static str> {
        let found = recognise(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let kind = |thing: &Thing| match thing {
            Thing::Challenge(_) => "challenge",
            Thing::Credential(_) => "credential",
            Thing::Receipt(_) => "receipt",
            Thing::Accept(_) => "accept",
            Thing::Request(_) => "request",
            Thing::Opaque(_) => "opaque",
            Thing::Problem(_) => "problem",
        };
        found.things.iter().map(kind).collect()
    }

    fn credential() -> String {
        r#"{"challenge":{"id":"x","realm":"r","method":"tempo","intent":"charge","request":"e30"},"payload":{}}"#.to_owned()
    }

    #[test]
    fn several_challenges_in_one_line_are_all_found() {
        assert_eq!(kinds(&format!("{CHALLENGE}, {CHALLENGE}")), ["challenge", "challenge"]);
        assert_eq!(kinds(&format!("Bearer realm=\"x\", {CHALLENGE}")), ["challenge"]);
        assert_eq!(kinds(&format!("{CHALLENGE}\n{CHALLENGE}")), ["challenge", "challenge"]);
    }

    #[test]
    fn a_whole_response_as_curl_prints_it_is_read() {
        let response = format!(
            "HTTP/1.1 402 Payment Required\r\nwww-authenticate: {CHALLENGE}\r\ncontent-length: 3\r\n\r\nx"
        );
        assert_eq!(kinds(&response), ["challenge"]);
        let verbose = format!("> GET / HTTP/1.1\n< HTTP/1.1 402\n< WWW-Authenticate: {CHALLENGE}\n");
        assert_eq!(kinds(&verbose), ["challenge"]);
    }

    #[test]
    fn a_credential_is_told_from_a_challenge_and_found_beside_a_bearer_token() {
        let token = b64::encode(credential());
        assert_eq!(kinds(&format!("Payment {token}")), ["credential"]);
        assert_eq!(kinds(&format!("Authorization: Bearer abc, payment {token}")), ["credential"]);
        assert_eq!(kinds(&token), ["credential"]);
        assert_eq!(kinds(&credential()), ["credential"]);
    }

    #[test]
    fn json_and_tokens_are_told_by_their_members() {
        let receipt =
            r#"{"status":"success","method":"tempo","reference":"0x1","timestamp":"2026-11-21T10:00:00Z"}"#;
        assert_eq!(kinds(receipt), ["receipt"]);
        assert_eq!(kinds(&format!("Payment-Receipt: {}", b64::encode(receipt))), ["receipt"]);
        assert_eq!(kinds(r#"{"amount":"1","currency":"usd"}"#), ["request"]);
        assert_eq!(kinds(r#"{"n":"abc","op":"GET /"}"#), ["opaque"]);
        assert_eq!(kinds(r#"{"type":"about:blank","title":"Conflict","status":409}"#), ["problem"]);
        let challenge = r#"{"id":"x","realm":"r","method":"tempo","intent":"charge","request":"e30"}"#;
        assert_eq!(kinds(challenge), ["challenge"]);
    }

    #[test]
    fn accept_payment_is_recognised_with_and_without_its_name() {
        assert_eq!(kinds("tempo/charge, stripe/*;q=0.5"), ["accept"]);
        assert_eq!(kinds("Accept-Payment: */charge"), ["accept"]);
    }

    #[test]
    fn a_broken_challenge_does_not_hide_the_good_one_beside_it() {
        let found = recognise(&format!("Payment id=\"\", {CHALLENGE}")).expect("one of them is good");
        assert_eq!((found.things.len(), found.refused.len()), (1, 1));
    }

    #[test]
    fn garbage_is_refused_with_the_reason_that_fits_its_shape() {
        let reason = |text: &str| recognise(text).expect_err("garbage").to_string();
        assert_eq!(reason("  "), "there is nothing to decode");
        assert_eq!(reason("Payment id=\"x\""), "a payment challenge has no `realm`");
        assert_eq!(reason("Payment !!!"), "a payment challenge has no `id`");
        assert_eq!(reason("Authorization: Bearer abc"), "this header has no `Payment` in it");
        assert_eq!(reason("Payment aGk"), "the credential is not JSON");
        assert!(reason("hello").starts_with("this is neither"));
        assert!(reason("[1]").starts_with("this is neither"));
        assert!(reason(r#"{"a":1}"#).starts_with("the JSON is neither"));
        assert!(reason("{}").starts_with("the JSON is neither"));
    }
}
