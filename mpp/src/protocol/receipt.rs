//! The receipt in `Payment-Receipt` (core draft, "Payment-Receipt Header").

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{MAX_RECEIPT_CHARS, MethodName, Timestamp, b64, jcs};

/// Proof that a payment was made. Receipts exist only for payments that succeeded.
///
/// ```
/// use mpp::protocol::{MethodName, Receipt, Timestamp};
///
/// let paid = Receipt::new(MethodName::from_static("tempo"), "0xabc", Timestamp::from_unix(1_700_000_000));
/// assert_eq!(Receipt::parse_header(&paid.to_header_value()).unwrap(), paid);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The payment method used.
    pub method: MethodName,
    /// The method's reference: a transaction hash, a payment intent.
    pub reference: String,
    /// When it was settled.
    pub timestamp: Timestamp,
    /// The challenge that was answered.
    pub challenge_id: Option<String>,
    /// The merchant's reference, from the request.
    pub external_id: Option<String>,
    /// Members a method adds, and those of a received receipt that are not known here. A name that is a field above is
    /// not written.
    pub extra: Map<String, Value>,
}

const OWN_MEMBERS: [&str; 6] = ["status", "method", "reference", "timestamp", "challengeId", "externalId"];

impl Receipt {
    /// A receipt with nothing optional.
    ///
    /// ```
    /// # use mpp::protocol::{MethodName, Receipt, Timestamp};
    /// let receipt = Receipt::new(MethodName::from_static("stripe"), "pi_123", Timestamp::from_unix(1_800_000_000));
    /// assert_eq!((receipt.challenge_id, receipt.external_id), (None, None));
    /// ```
    pub fn new(method: MethodName, reference: impl Into<String>, timestamp: Timestamp) -> Receipt {
        Receipt {
            method,
            reference: reference.into(),
            timestamp,
            challenge_id: None,
            external_id: None,
            extra: Map::new(),
        }
    }

    /// The header's value: base64url of the canonical JSON.
    ///
    /// ```
    /// # use mpp::protocol::{MethodName, Receipt, Timestamp, b64};
    /// let receipt = Receipt::new(MethodName::from_static("tempo"), "0xabc", Timestamp::from_unix(1_800_000_000));
    /// let json = b64::decode(&receipt.to_header_value()).unwrap();
    /// assert!(json.starts_with(br#"{"method":"tempo","reference":"0xabc","status":"success","#));
    /// ```
    pub fn to_header_value(&self) -> String {
        Self::header_value(&self.to_json())
    }

    /// The canonical JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        if self.extra.is_empty() {
            // The members that a receipt has by itself are strings, and are written in order.
            return serde_json::to_vec(self).expect("strings are JSON");
        }
        jcs::canonical(self)
    }

    /// The header's value, of [`to_json`](Self::to_json).
    pub(crate) fn header_value(json: &[u8]) -> String {
        b64::encode(json)
    }

    /// Reads a header's value of at most 16 KiB.
    ///
    /// # Errors
    /// [`ReceiptError`]: over 16 KiB, not base64url, not JSON, or not the receipt of a payment that succeeded.
    ///
    /// ```
    /// # use mpp::protocol::{Receipt, ReceiptError, b64};
    /// let header = b64::encode(
    ///     r#"{"status":"success","method":"tempo","reference":"0xabc","timestamp":"2026-11-21T10:00:00Z","block":7}"#,
    /// );
    /// assert_eq!(Receipt::parse_header(&header)?.extra["block"], 7);
    /// # Ok::<(), ReceiptError>(())
    /// ```
    pub fn parse_header(value: &str) -> Result<Receipt, ReceiptError> {
        let value = value.trim();
        if value.len() > MAX_RECEIPT_CHARS {
            return Err(ReceiptError::TooLarge);
        }
        let json = b64::decode_lenient(value).map_err(|_| ReceiptError::NotBase64)?;
        match jcs::parse(&json).map_err(|_| ReceiptError::NotJson)? {
            Value::Object(members) => Self::of(members).map_err(|_| ReceiptError::NotAReceipt),
            _ => Err(ReceiptError::NotAReceipt),
        }
    }

    fn of(mut members: Map<String, Value>) -> serde_json::Result<Receipt> {
        if members.remove("status").as_ref().and_then(Value::as_str) != Some("success") {
            return Err(serde_json::Error::custom("a receipt's status is `success`"));
        }
        Ok(Receipt {
            method: required(&mut members, "method")?,
            reference: required(&mut members, "reference")?,
            timestamp: required(&mut members, "timestamp")?,
            challenge_id: optional(&mut members, "challengeId")?,
            external_id: optional(&mut members, "externalId")?,
            extra: members,
        })
    }
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        // In the order of canonical JSON, which then is as it is written.
        if let Some(id) = &self.challenge_id {
            members.serialize_entry("challengeId", id)?;
        }
        if let Some(id) = &self.external_id {
            members.serialize_entry("externalId", id)?;
        }
        members.serialize_entry("method", &self.method)?;
        members.serialize_entry("reference", &self.reference)?;
        members.serialize_entry("status", "success")?;
        members.serialize_entry("timestamp", &self.timestamp)?;
        for (name, value) in &self.extra {
            if !OWN_MEMBERS.contains(&name.as_str()) {
                members.serialize_entry(name, value)?;
            }
        }
        members.end()
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Receipt, D::Error> {
        Receipt::of(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn required<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    name: &'static str,
) -> serde_json::Result<T> {
    optional(members, name)?.ok_or_else(|| serde_json::Error::missing_field(name))
}

/// A null member counts as absent.
fn optional<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    name: &str,
) -> serde_json::Result<Option<T>> {
    members.remove(name).filter(|value| !value.is_null()).map(T::deserialize).transpose()
}

/// Why a header's value is not a [`Receipt`].
///
/// ```
/// # use mpp::protocol::{Receipt, ReceiptError};
/// assert_eq!(Receipt::parse_header("e30"), Err(ReceiptError::NotAReceipt));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// More than 16 KiB.
    #[error("the receipt is larger than 16 KiB")]
    TooLarge,
    /// Not base64url.
    #[error("the receipt is not base64url")]
    NotBase64,
    /// Not JSON, or an object with the same member twice.
    #[error("the receipt is not JSON")]
    NotJson,
    /// A required member is missing or wrong, or the status is not `success`.
    #[error("the receipt lacks a member or is not of a success")]
    NotAReceipt,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(json: &str) -> Result<Receipt, ReceiptError> {
        Receipt::parse_header(&b64::encode(json))
    }

    const TEMPO: &str =
        r#"{"method":"tempo","status":"success","reference":"0xabc","timestamp":"2026-11-20T10:09:36.141Z"}"#;

    #[test]
    fn the_receipt_of_a_deployed_peer_is_read() {
        let receipt = read(TEMPO).unwrap();
        assert_eq!(receipt.reference, "0xabc");
        assert_eq!(receipt.timestamp.to_string(), "2026-11-20T10:09:36Z");
        assert_eq!(receipt.extra, Map::new());
    }

    #[test]
    fn members_that_are_not_known_survive() {
        let receipt =
            read(&TEMPO.replace('}', r#","chainId":4217,"challengeId":"c","externalId":null}"#)).unwrap();
        assert_eq!((receipt.challenge_id.as_deref(), receipt.external_id.as_deref()), (Some("c"), None));
        assert_eq!(receipt.extra, json!({"chainId": 4217}).as_object().unwrap().clone());
        assert_eq!(Receipt::parse_header(&receipt.to_header_value()), Ok(receipt));
    }

    #[test]
    fn a_method_cannot_overwrite_a_member_of_its_own() {
        let mut receipt = read(TEMPO).unwrap();
        receipt.extra.insert("status".into(), "failed".into());
        receipt.extra.insert("challengeId".into(), "forged".into());
        let read = Receipt::parse_header(&receipt.to_header_value()).unwrap();
        assert_eq!((read.challenge_id, read.extra), (None, Map::new()));
    }

    #[test]
    fn each_mistake_is_named() {
        use ReceiptError::*;
        for (json, error) in [
            ("[]".to_owned(), NotAReceipt),
            (TEMPO.replace("success", "failed"), NotAReceipt),
            (TEMPO.replace(r#""status":"success","#, ""), NotAReceipt),
            (TEMPO.replace(r#""reference":"0xabc","#, ""), NotAReceipt),
            (TEMPO.replace("\"tempo\"", "5"), NotAReceipt),
            (TEMPO.replace("2026", "yesterday"), NotAReceipt),
            (TEMPO.replace('}', r#","reference":"0xdef"}"#), NotJson),
            (TEMPO.replace('}', ""), NotJson),
        ] {
            assert_eq!(read(&json).unwrap_err(), error, "{json}");
        }
        assert_eq!(Receipt::parse_header("!").unwrap_err(), NotBase64);
        assert_eq!(Receipt::parse_header(&"!".repeat(MAX_RECEIPT_CHARS + 1)).unwrap_err(), TooLarge);
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same_receipt(
            method in "[a-z]{1,20}", reference in ".*", unix in any::<i64>(), challenge_id in proptest::option::of(".*"),
            external_id in proptest::option::of(".*"), extra: std::collections::BTreeMap<String, String>,
        ) {
            let receipt = Receipt {
                challenge_id,
                external_id,
                extra: extra.into_iter().map(|(name, value)| (format!("x-{name}"), Value::from(value))).collect(),
                ..Receipt::new(method.parse().unwrap(), reference, Timestamp::from_unix(unix))
            };
            prop_assert_eq!(&Receipt::parse_header(&receipt.to_header_value()), &Ok(receipt.clone()));
            let plain = Receipt { extra: Map::new(), ..receipt };
            prop_assert_eq!(plain.to_json(), jcs::canonical(&plain));
        }

        #[test]
        fn reading_never_panics(value in ".*", json: Vec<u8>) {
            let _ = (Receipt::parse_header(&value), Receipt::parse_header(&b64::encode(json)));
        }
    }
}
