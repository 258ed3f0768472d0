//! The receipt in `Payment-Receipt` (core draft, "Payment-Receipt Header").

use std::borrow::Cow;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{MAX_RECEIPT_CHARS, MethodName, Timestamp, b64, jcs, to_jcs};

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
    pub fn to_header_value(&self) -> String {
        b64::encode(to_jcs(self).expect("strings and JSON values are JSON"))
    }

    /// Reads a header's value of at most 16 KiB.
    pub fn parse_header(value: &str) -> Result<Receipt, ReceiptError> {
        let value = value.trim();
        if value.len() > MAX_RECEIPT_CHARS {
            return Err(ReceiptError::TooLarge);
        }
        let json = b64::decode_lenient(value).map_err(|_| ReceiptError::NotBase64)?;
        let members = jcs::parse(&json).map_err(|_| ReceiptError::NotJson)?;
        serde_json::from_value(members).map_err(|_| ReceiptError::NotAReceipt)
    }
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("status", "success")?;
        members.serialize_entry("method", &self.method)?;
        members.serialize_entry("reference", &self.reference)?;
        members.serialize_entry("timestamp", &self.timestamp)?;
        if let Some(id) = &self.challenge_id {
            members.serialize_entry("challengeId", id)?;
        }
        if let Some(id) = &self.external_id {
            members.serialize_entry("externalId", id)?;
        }
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
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Members<'a> {
            #[serde(borrow)]
            status: Cow<'a, str>,
            method: MethodName,
            reference: String,
            timestamp: Timestamp,
            challenge_id: Option<String>,
            external_id: Option<String>,
            #[serde(flatten)]
            extra: Map<String, Value>,
        }
        let members = Members::deserialize(deserializer)?;
        if members.status != "success" {
            return Err(D::Error::custom("a receipt's status is `success`"));
        }
        Ok(Receipt {
            method: members.method,
            reference: members.reference,
            timestamp: members.timestamp,
            challenge_id: members.challenge_id,
            external_id: members.external_id,
            extra: members.extra,
        })
    }
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
