//! The `opaque` parameter: a flat map of strings the server gives out and gets back unchanged (core draft, `opaque`).

use std::collections::BTreeMap;

use super::{MAX_REQUEST_CHARS, b64, jcs};

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
    ///
    /// ```
    /// # use mpp::protocol::Opaque;
    /// let opaque = Opaque::from_iter([("op", "GET /weather")]);
    /// assert_eq!((opaque.get("op"), opaque.get("n")), (Some("GET /weather"), None));
    /// ```
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a value, instead of the one that was there.
    ///
    /// ```
    /// # use mpp::protocol::Opaque;
    /// let mut opaque = Opaque::default();
    /// opaque.insert("op", "GET /weather");
    /// assert_eq!(opaque.get("op"), Some("GET /weather"));
    /// ```
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Keys and values, sorted by key.
    ///
    /// ```
    /// # use mpp::protocol::Opaque;
    /// let opaque = Opaque::from_iter([("op", "GET /"), ("n", "b1f0")]);
    /// assert_eq!(opaque.iter().collect::<Vec<_>>(), [("n", "b1f0"), ("op", "GET /")]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The parameter: base64url of the canonical JSON (RFC 8785).
    ///
    /// ```
    /// # use mpp::protocol::{Opaque, b64};
    /// let opaque = Opaque::from_iter([("op", "GET /"), ("n", "b1f0")]);
    /// assert_eq!(b64::decode(&opaque.encode()).unwrap(), br#"{"n":"b1f0","op":"GET /"}"#);
    /// ```
    pub fn encode(&self) -> String {
        b64::encode(jcs::canonical(&self.0))
    }

    /// Reads a parameter of at most 16 KiB. Values must be strings.
    ///
    /// # Errors
    /// [`OpaqueError`]: over 16 KiB, not base64url, or not a JSON object of strings in which every name occurs once.
    ///
    /// ```
    /// # use mpp::protocol::{Opaque, OpaqueError, b64};
    /// assert_eq!(Opaque::decode("e30"), Ok(Opaque::default()));
    /// assert_eq!(Opaque::decode(&b64::encode(r#"{"n":1}"#)), Err(OpaqueError::NotAMap));
    /// ```
    pub fn decode(text: &str) -> Result<Opaque, OpaqueError> {
        if text.len() > MAX_REQUEST_CHARS {
            return Err(OpaqueError::TooLarge);
        }
        let json = b64::decode_lenient(text).map_err(|_| OpaqueError::NotBase64)?;
        let members = jcs::parse_object(&json).map_err(|_| OpaqueError::NotAMap)?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writing_agrees_with_the_canonical_form() {
        let opaque: Opaque =
            [("pi", "pi_3abc123XYZ"), ("deposit", "dep_456\n\u{7f}\"é")].into_iter().collect();
        assert_eq!(opaque.encode(), b64::encode(super::super::to_jcs(&opaque.0).unwrap()));
        assert_eq!(Opaque::default().encode(), "e30");
    }

    #[test]
    fn only_flat_maps_of_strings_are_read() {
        for wrong in
            [r#"[]"#, r#""a""#, r#"{"a":1}"#, r#"{"a":{}}"#, r#"{"a":null}"#, r#"{"a":"b","a":"c"}"#, "{"]
        {
            assert_eq!(Opaque::decode(&b64::encode(wrong)), Err(OpaqueError::NotAMap), "{wrong}");
        }
        assert_eq!(Opaque::decode("{}"), Err(OpaqueError::NotBase64));
        assert_eq!(Opaque::decode(&"A".repeat(MAX_REQUEST_CHARS + 1)), Err(OpaqueError::TooLarge));
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_same_map(pairs: std::collections::BTreeMap<String, String>) {
            let opaque: Opaque = pairs.into_iter().collect();
            prop_assert_eq!(Opaque::decode(&opaque.encode()), Ok(opaque.clone()));
            prop_assert_eq!(opaque.encode(), b64::encode(super::super::to_jcs(&opaque.0).unwrap()));
        }
    }
}
