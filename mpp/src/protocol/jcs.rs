//! Canonical JSON (RFC 8785) out, strict JSON in.
//!
//! Everything hashed or bound is canonical JSON, so there must be exactly one reading of it: floats that are no numbers
//! and members that occur twice are refused here, on the way out and on the way in.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The canonical JSON of a value.
///
/// # Errors
/// [`JcsError::NotANumber`] for NaN and the infinities, [`JcsError::NotJson`] for what JSON cannot express.
///
/// ```
/// use mpp::protocol::to_jcs;
/// assert_eq!(to_jcs(&serde_json::json!({"b": 1.0, "a": "é"})).unwrap(), r#"{"a":"é","b":1}"#.as_bytes());
/// assert!(to_jcs(&f64::NAN).is_err());
/// ```
pub fn to_jcs<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JcsError> {
    serde_jcs::to_vec(value).map_err(|_| JcsError::NotJson)
}

/// Reads JSON in which no object, at any depth, has a member twice.
///
/// # Errors
/// [`JcsError::Duplicate`] for a repeated member, [`JcsError::NotJson`] for anything else that is not JSON.
///
/// ```
/// use mpp::protocol::jcs;
/// assert!(jcs::parse(br#"{"a":{"b":1}}"#).is_ok());
/// assert!(jcs::parse(br#"{"a":{"b":1,"b":2}}"#).is_err());
/// ```
pub fn parse(json: &[u8]) -> Result<Value, JcsError> {
    match serde_json::from_slice::<Strict>(json) {
        Ok(Strict(value)) => Ok(value),
        // The only data error `Strict` raises; everything else is a syntax error.
        Err(error) if error.is_data() => Err(JcsError::Duplicate),
        Err(_) => Err(JcsError::NotJson),
    }
}

/// For `#[serde(deserialize_with)]`: an object without repeated members at any depth.
pub(crate) fn strict_object<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    match Strict::deserialize(deserializer)?.0 {
        Value::Object(members) => Ok(members),
        _ => Err(D::Error::custom("expected an object")),
    }
}

/// Why a value has no canonical JSON, or bytes are not strict JSON.
///
/// ```
/// # use mpp::protocol::{jcs, JcsError};
/// assert_eq!(jcs::parse(b"{"), Err(JcsError::NotJson));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JcsError {
    /// NaN or an infinity.
    #[error("a number is NaN or infinite, which JSON cannot express")]
    NotANumber,
    /// An object with the same member twice.
    #[error("an object has the same member twice")]
    Duplicate,
    /// Not JSON.
    #[error("not JSON")]
    NotJson,
}

/// A JSON value that was checked for repeated members while it was read.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(StrictVisitor)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(StrictVisitor)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated member"));
            }
        }
        Ok(Value::Object(object))
    }
}
