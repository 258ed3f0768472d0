//! The request of a one-time payment (draft-payment-intent-charge-00, "Request Schema").

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BaseUnits, MAX_REQUEST_CHARS, b64, jcs};

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method_details: Option<Map<String, Value>>,
}

impl ChargeRequest {
    /// A request with nothing optional.
    ///
    /// ```
    /// use mpp::protocol::{BaseUnits, ChargeRequest};
    /// let five_cents = ChargeRequest::new(BaseUnits::new(50_000), "0x20c0000000000000000000000000000000000000");
    /// assert_eq!(five_cents.recipient, None);
    /// ```
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
    ///
    /// ```
    /// use mpp::protocol::{BaseUnits, ChargeRequest, b64};
    /// let text = ChargeRequest::new(BaseUnits::new(50), "usd").encode();
    /// assert_eq!(b64::decode(&text).unwrap(), br#"{"amount":"50","currency":"usd"}"#);
    /// ```
    pub fn encode(&self) -> String {
        b64::encode(jcs::canonical(self))
    }

    /// Reads a `request` parameter of at most 16 KiB. Members that are not in the draft are ignored.
    ///
    /// # Errors
    /// [`RequestError`]: over 16 KiB, not base64url, or not the JSON of a charge request.
    ///
    /// ```
    /// use mpp::protocol::{BaseUnits, ChargeRequest, b64};
    /// let text = b64::encode(r#"{"amount":"50","currency":"usd","color":"blue"}"#);
    /// assert_eq!(ChargeRequest::decode(&text), Ok(ChargeRequest::new(BaseUnits::new(50), "usd")));
    /// ```
    pub fn decode(text: &str) -> Result<ChargeRequest, RequestError> {
        if text.len() > MAX_REQUEST_CHARS {
            return Err(RequestError::TooLarge);
        }
        let json = b64::decode_lenient(text).map_err(|_| RequestError::NotBase64)?;
        let members = jcs::parse(&json).map_err(|_| RequestError::NotARequest)?;
        serde_json::from_value(members).map_err(|_| RequestError::NotARequest)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(json: &str) -> Result<ChargeRequest, RequestError> {
        ChargeRequest::decode(&b64::encode(json))
    }

    #[test]
    fn a_request_is_canonical_json() {
        let request = ChargeRequest {
            external_id: Some("x1".into()),
            method_details: json!({"chainId": 4217, "a": [1.0]}).as_object().cloned(),
            ..ChargeRequest::new(BaseUnits::new(500), "0x20c0")
        };
        assert_eq!(
            b64::decode(&request.encode()).unwrap(),
            br#"{"amount":"500","currency":"0x20c0","externalId":"x1","methodDetails":{"a":[1],"chainId":4217}}"#
        );
    }

    #[test]
    fn each_mistake_is_named() {
        for wrong in [
            "[]",
            r#"{"amount":"1"}"#,
            r#"{"currency":"usd"}"#,
            r#"{"amount":1,"currency":"usd"}"#,
            r#"{"amount":"01","currency":"usd"}"#,
            r#"{"amount":"1.5","currency":"usd"}"#,
            r#"{"amount":"1","amount":"2","currency":"usd"}"#,
            r#"{"amount":"1","currency":"usd","methodDetails":[]}"#,
            r#"{"amount":"1","currency":"usd","methodDetails":{"a":1,"a":2}}"#,
            r#"{"amount":"1","currency":"usd"} x"#,
        ] {
            assert_eq!(read(wrong), Err(RequestError::NotARequest), "{wrong}");
        }
        assert_eq!(ChargeRequest::decode("!"), Err(RequestError::NotBase64));
        assert_eq!(ChargeRequest::decode(&"!".repeat(MAX_REQUEST_CHARS + 1)), Err(RequestError::TooLarge));
        assert_eq!(
            read(r#"{"amount":"1","currency":"usd","asset":"?","methodDetails":null}"#),
            Ok(ChargeRequest::new(BaseUnits::new(1), "usd"))
        );
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same_request(
            amount in any::<u128>(), currency in ".*", recipient in proptest::option::of(".*"),
            description in proptest::option::of(".*"), details: Option<std::collections::BTreeMap<String, i32>>,
        ) {
            let request = ChargeRequest {
                recipient,
                description,
                method_details: details.map(|map| map.into_iter().map(|(k, v)| (k, v.into())).collect()),
                ..ChargeRequest::new(BaseUnits::new(amount), currency)
            };
            prop_assert_eq!(ChargeRequest::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn reading_never_panics(text in ".*", json: Vec<u8>) {
            let _ = (ChargeRequest::decode(&text), ChargeRequest::decode(&b64::encode(json)));
        }
    }
}
