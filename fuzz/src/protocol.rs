//! The parsers of the protocol: what was read is written, read again, and is the same.

use mpp::protocol::authorization::{PaymentElement, split};
use mpp::protocol::{
    AcceptPayment, Amount, BaseUnits, BodyDigest, Challenge, Credential, CredentialBuf, Did, Receipt,
    Timestamp, b64, jcs as strict, to_jcs,
};
use std::collections::HashSet;

/// A target, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target here.
pub const TARGETS: [Target; 10] = [
    ("accept_payment", accept_payment),
    ("amount", amount),
    ("authorization", authorization),
    ("challenge_list", challenge_list),
    ("credential", credential),
    ("did", did),
    ("digest", digest),
    ("jcs", jcs),
    ("receipt", receipt),
    ("timestamp", timestamp),
];

const OFFERS: [(&str, &str); 4] =
    [("tempo", "charge"), ("tempo", "session"), ("stripe", "charge"), ("evm", "subscription")];

/// `Accept-Payment`: what parses is written and parses again, the same; a ranking names each offer at most once.
pub fn accept_payment(data: &[u8]) {
    let Ok(accept) = AcceptPayment::parse(text(data)) else { return };
    let ranked = accept.rank(OFFERS);
    let unique: HashSet<_> = ranked.iter().collect();
    assert!(unique.len() == ranked.len() && ranked.iter().all(|index| *index < OFFERS.len()));
    if let Ok(again) = AcceptPayment::parse(&accept.to_string()) {
        assert_eq!(again, accept);
    }
}

/// Amounts and base units: what parses is written and parses again, the same, and arithmetic keeps its laws.
pub fn amount(data: &[u8]) {
    let text = text(data);
    let (left, right) = text.split_once(' ').unwrap_or((text, "1"));
    if let Ok(units) = BaseUnits::parse(left) {
        assert_eq!(units.to_string(), left);
    }
    let (Ok(left), Ok(right)) = (Amount::parse(left), Amount::parse(right)) else { return };
    assert_eq!(Amount::parse(&left.to_string()), Ok(left));
    let sum = left + right;
    if !sum.is_overflow() {
        assert!(sum >= left && sum >= right);
        assert_eq!(sum - right, left);
    }
    if left < right {
        assert!((left - right).is_overflow());
    }
    for decimals in [0, 2, 6, 18, 38] {
        let rounded = left.round_up(decimals);
        assert!(rounded >= left);
        if let Ok(units) = left.to_base_units(decimals) {
            assert_eq!(units.to_amount(decimals), left);
            assert_eq!(rounded, left);
        }
    }
}

/// `Authorization` with several schemes: no payment is left behind, and nothing else is touched.
pub fn authorization(data: &[u8]) {
    let value = text(data);
    let found = split(value);
    match &found.rest {
        Some(rest) if found.payment == PaymentElement::None => assert_eq!(rest, value),
        Some(rest) => {
            let again = split(rest);
            assert!(again.payment == PaymentElement::None);
            assert_eq!(again.rest.as_deref(), Some(rest.as_ref()));
        }
        None => {}
    }
}

/// `WWW-Authenticate` lines: whatever is found is written and found again, the same.
pub fn challenge_list(data: &[u8]) {
    let found = Challenge::parse_all(text(data).lines());
    let written: Vec<String> = found.offers.iter().map(Challenge::to_header_value).collect();
    for line in &written {
        assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')), "a header is printable ASCII");
    }
    let again = Challenge::parse_all(written.iter().map(String::as_str));
    // Escaping can make a list longer than is read; nothing else may be lost.
    if again.refused.is_empty() {
        assert_eq!(again.offers, found.offers);
        let joined = written.join(", ");
        assert_eq!(Challenge::parse_all([joined.as_str()]).offers, found.offers);
    }
    for offer in &found.offers {
        let _ = (offer.expires_at(), offer.charge(), offer.opaque_map());
    }
}

/// `Authorization: Payment`: as a token, and as the JSON inside one.
pub fn credential(data: &[u8]) {
    fn read(token: &str) -> Option<Credential> {
        let buffer = CredentialBuf::decode(token).ok()?;
        let credential = buffer.parse().ok()?;
        let _ = credential.challenge.expires_at();
        credential.to_credential().ok()
    }
    if let Ok(token) = std::str::from_utf8(data) {
        read(token);
    }
    let Some(credential) = read(&b64::encode(data)) else { return };
    let header = credential.to_header_value();
    // The canonical form of everything but huge escapes is no longer than what was read.
    if let Some(again) = read(header.strip_prefix("Payment ").expect("it starts so")) {
        assert_eq!(again.to_header_value(), header);
        assert_eq!(again.fingerprint(), credential.fingerprint());
    }
}

/// Payers' identifiers: a DID is written as it was read.
pub fn did(data: &[u8]) {
    let text = text(data);
    if let Ok(did) = Did::parse(text) {
        assert_eq!(did.to_string(), text);
    }
}

/// The `digest` parameter.
pub fn digest(data: &[u8]) {
    if let Ok(digest) = BodyDigest::parse(text(data)) {
        assert_eq!(BodyDigest::parse(&digest.to_string()), Ok(digest));
    }
}

/// Canonical JSON: the canonical form of a canonical form is itself, and means the same.
pub fn jcs(data: &[u8]) {
    let Ok(value) = strict::parse(data) else { return };
    let canonical = to_jcs(&value).expect("a parsed value is finite");
    let again = strict::parse(&canonical).expect("canonical JSON is strict JSON");
    assert_eq!(to_jcs(&again).expect("still finite"), canonical);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&canonical).expect("JSON"), again);
}

/// `Payment-Receipt`: as a header value, and as the JSON inside one.
pub fn receipt(data: &[u8]) {
    if let Ok(value) = std::str::from_utf8(data) {
        let _ = Receipt::parse_header(value);
    }
    let Ok(receipt) = Receipt::parse_header(&b64::encode(data)) else { return };
    let header = receipt.to_header_value();
    if let Ok(again) = Receipt::parse_header(&header) {
        assert_eq!(again.to_header_value(), header);
    }
}

/// RFC 3339: what parses is written in UTC and parses again, the same.
pub fn timestamp(data: &[u8]) {
    if let Ok(moment) = Timestamp::parse(text(data)) {
        assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        assert_eq!(Timestamp::from_unix(moment.unix()), moment);
    }
}

/// The text that an input begins with: all of it, or up to the first byte that is none.
fn text(data: &[u8]) -> &str {
    data.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}
