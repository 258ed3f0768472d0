//! The `opaque` parameter: a flat map of strings the server gives out and gets back unchanged (core draft, `opaque`).

use std::collections::BTreeMap;

use super::{MAX_REQUEST_CHARS, b64, jcs, to_jcs};

/// What a server wrote into `opaque`.
///
/// ```
/// use mpp::protocol::Opaque;
///
/// let opaque: Opaque = [("op", "GET /weather/{city}"), ("n", "b1f0")].into_iter().collect();
/// let text = opaque.encode();
/// assert_eq!(Opaque::decode(&text).unwrap().get("n"), Some("b1f0"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opaque(BTreeMap<String, String>);

impl Opaque {
    /// The value under this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a value.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The base64url of the canonical JSON.
    pub fn encode(&self) -> String {
        b64::encode(to_jcs(&self.0).expect("a map of strings is JSON"))
    }

    /// Reads a parameter of at most 16 KiB. Values must be strings.
    pub fn decode(text: &str) -> Result<Opaque, OpaqueError> {
        if text.len() > MAX_REQUEST_CHARS {
            return Err(OpaqueError::TooLarge);
        }
        let json = b64::decode_lenient(text).map_err(|_| OpaqueError::NotBase64)?;
        let serde_json::Value::Object(members) = jcs::parse(&json).map_err(|_| OpaqueError::NotAMap)? else {
            return Err(OpaqueError::NotAMap);
        };
        let pair = |(key, value)| match value {
            serde_json::Value::String(value) => Ok((key, value)),
            _ => Err(OpaqueError::NotAMap),
        };
        members.into_iter().map(pair).collect::<Result<_, _>>().map(Opaque)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Opaque {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Opaque {
        Opaque(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// Why text is not an `opaque` parameter.
///
/// ```
/// # use mpp::protocol::{Opaque, OpaqueError};
/// assert_eq!(Opaque::decode("W10"), Err(OpaqueError::NotAMap));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpaqueError {
    /// More than 16 KiB.
    #[error("`opaque` is larger than 16 KiB")]
    TooLarge,
    /// Not base64url.
    #[error("`opaque` is not base64url")]
    NotBase64,
    /// Not a JSON object whose values are strings.
    #[error("`opaque` is not a flat map of strings")]
    NotAMap,
}
