//! The request of a one-time payment (draft-payment-intent-charge-00, "Request Schema").

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{BaseUnits, MAX_REQUEST_CHARS, b64, jcs, to_jcs};

/// What a `charge` challenge asks for.
///
/// ```
/// use mpp::protocol::{BaseUnits, ChargeRequest};
///
/// let request = ChargeRequest { recipient: Some("0xabc".into()), ..ChargeRequest::new(BaseUnits::new(50_000), "usd") };
/// assert_eq!(ChargeRequest::decode(&request.encode()).unwrap(), request);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChargeRequest {
    /// How much, in base units.
    pub amount: BaseUnits,
    /// Of what: an ISO 4217 code in lowercase, a token address, or what the method defines.
    pub currency: String,
    /// Who is paid, in the method's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// For people. Never relied on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The merchant's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What the method needs beyond that.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_object")]
    pub method_details: Option<Map<String, Value>>,
}

impl ChargeRequest {
    /// A request with nothing optional.
    pub fn new(amount: BaseUnits, currency: impl Into<String>) -> ChargeRequest {
        ChargeRequest {
            amount,
            currency: currency.into(),
            recipient: None,
            description: None,
            external_id: None,
            method_details: None,
        }
    }

    /// The `request` parameter: base64url of the canonical JSON.
    pub fn encode(&self) -> String {
        b64::encode(to_jcs(self).expect("strings and JSON values are JSON"))
    }

    /// Reads a `request` parameter of at most 16 KiB. Members that are not in the draft are ignored.
    pub fn decode(text: &str) -> Result<ChargeRequest, RequestError> {
        if text.len() > MAX_REQUEST_CHARS {
            return Err(RequestError::TooLarge);
        }
        let json = b64::decode_lenient(text).map_err(|_| RequestError::NotBase64)?;
        serde_json::from_slice(&json).map_err(|_| RequestError::NotARequest)
    }
}

/// Why text is not the `request` of a charge.
///
/// ```
/// # use mpp::protocol::{ChargeRequest, RequestError};
/// assert_eq!(ChargeRequest::decode("e30"), Err(RequestError::NotARequest));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// More than 16 KiB.
    #[error("the payment request is larger than 16 KiB")]
    TooLarge,
    /// Not base64url.
    #[error("the payment request is not base64url")]
    NotBase64,
    /// Not a JSON object with a well-formed `amount` and `currency`.
    #[error("the payment request is not a charge request")]
    NotARequest,
    /// The challenge has another intent than the request was read for.
    #[error("the challenge is not for a charge")]
    OtherIntent,
}

fn optional_object<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Map<String, Value>>, D::Error> {
    struct Object(Map<String, Value>);
    impl<'de> Deserialize<'de> for Object {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
            jcs::strict_object(deserializer).map(Object)
        }
    }
    Ok(Option::<Object>::deserialize(deserializer)?.map(|object| object.0))
}
