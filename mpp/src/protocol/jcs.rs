//! Canonical JSON (RFC 8785) out, strict JSON in.
//!
//! Everything hashed or bound is canonical JSON, so there must be exactly one reading of it: floats that are no numbers
//! and members that occur twice are refused here, on the way out and on the way in.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::finite::{self, NotFinite};
use super::sorted::sorted;

/// The canonical JSON of a value. Integers beyond 2^53 are rounded, as RFC 8785 prescribes: write them as strings.
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
    finite::check(value).map_err(|error| match error {
        NotFinite::Float => JcsError::NotANumber,
        NotFinite::Value => JcsError::NotJson,
    })?;
    write(value).map_err(|_| JcsError::NotJson)
}

/// The canonical JSON of one of our own types, whose serialisation cannot fail: they hold strings, and JSON values whose
/// numbers are finite (`serde_json` makes no others).
pub(super) fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    write(value).expect("strings and JSON values are JSON")
}

/// The quick way is a second pass over text that was just written, in a cache that still has it: less than a serializer that buffers
/// members to sort them ([`sorted`](super::sorted) says how much). `serde_jcs` writes what it leaves.
fn write<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    // Longer than most of what is written, so that it does not grow.
    let mut json = Vec::with_capacity(512);
    serde_json::to_writer(&mut json, value)?;
    match sorted(&json) {
        Some(canonical) => Ok(canonical),
        None => serde_jcs::to_vec(value),
    }
}

/// Reads JSON that has one reading: no object, at any depth, has a member twice, and every number is finite.
///
/// # Errors
/// [`JcsError::Duplicate`] for a repeated member, [`JcsError::NotANumber`] for a number beyond the range of floats,
/// [`JcsError::NotJson`] for anything else that is not JSON or is nested more than 128 deep.
///
/// ```
/// use mpp::protocol::jcs;
/// assert!(jcs::parse(br#"{"a":{"b":1}}"#).is_ok());
/// assert!(jcs::parse(br#"{"a":{"b":1,"b":2}}"#).is_err());
/// ```
pub fn parse(json: &[u8]) -> Result<Value, JcsError> {
    let value: Value = serde_json::from_slice(json).map_err(|_| JcsError::NotJson)?;
    // A second walk over the text, because a `Value` has already forgotten what occurred twice. It is JSON by now, so
    // that this can fail for no other reason.
    serde_json::from_slice::<NoDuplicates>(json).map_err(|_| JcsError::Duplicate)?;
    // Only where some crate switches on serde_json's `arbitrary_precision` can a number be out of range here.
    if all_finite(&value) { Ok(value) } else { Err(JcsError::NotANumber) }
}

/// [`parse`] for what must be an object.
pub(super) fn parse_object(json: &[u8]) -> Result<Map<String, Value>, JcsError> {
    match parse(json)? {
        Value::Object(members) => Ok(members),
        _ => Err(JcsError::NotJson),
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
    /// NaN, an infinity, or a number of that size.
    #[error("a number is not finite")]
    NotANumber,
    /// An object with the same member twice.
    #[error("an object has the same member twice")]
    Duplicate,
    /// Not JSON.
    #[error("not JSON")]
    NotJson,
}

fn all_finite(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(f64::is_finite),
        Value::Array(elements) => elements.iter().all(all_finite),
        Value::Object(members) => members.values().all(all_finite),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Reads nothing but checks that no object has a member twice.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NoDuplicates, D::Error> {
        deserializer.deserialize_any(NoDuplicates)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = NoDuplicates;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<NoDuplicates, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<NoDuplicates, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<NoDuplicates, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<NoDuplicates, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<NoDuplicates, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<NoDuplicates, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<NoDuplicates, A::Error> {
        while elements.next_element::<NoDuplicates>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NoDuplicates, A::Error> {
        // Borrowed and compared at the end: hashing a copy of every name took more than reading the text.
        let mut names = Vec::new();
        while let Some(Name(name)) = members.next_key()? {
            names.push(name);
            members.next_value::<NoDuplicates>()?;
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("repeated member"));
        }
        Ok(self)
    }
}

/// The name of a member, borrowed from the text unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &impl Serialize) -> String {
        String::from_utf8(to_jcs(value).unwrap()).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8785_is_canonicalised() {
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
        )
        .unwrap();
        assert_eq!(
            text(&value),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    #[test]
    fn members_are_sorted_by_utf_16() {
        assert_eq!(
            text(&json!({"\u{fb33}": 1, "\u{1f600}": 2, "a": 3})),
            "{\"a\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn what_is_not_finite_is_refused_at_any_depth() {
        #[derive(Serialize)]
        struct Deep {
            list: Vec<Option<(f64, f32)>>,
        }
        assert!(to_jcs(&Deep { list: vec![None, Some((1.0, 1.0))] }).is_ok());
        assert_eq!(to_jcs(&Deep { list: vec![Some((f64::NAN, 1.0))] }), Err(JcsError::NotANumber));
        assert_eq!(to_jcs(&Deep { list: vec![Some((1.0, f32::INFINITY))] }), Err(JcsError::NotANumber));
        assert_eq!(
            to_jcs(&std::collections::BTreeMap::from([("a", f64::NEG_INFINITY)])),
            Err(JcsError::NotANumber)
        );
    }

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        assert_eq!(parse(br#"{"a":1,"\u0061":2}"#), Err(JcsError::Duplicate));
        assert_eq!(parse(br#"[[{"a":{"b":[],"b":[]}}]]"#), Err(JcsError::Duplicate));
        assert_eq!(parse(br#"[{"a":1},{"a":1}]"#), Ok(json!([{"a": 1}, {"a": 1}])));
    }

    #[test]
    fn deep_nesting_and_huge_numbers_are_refused_without_a_panic() {
        assert_eq!(parse("[".repeat(100_000).as_bytes()), Err(JcsError::NotJson));
        assert!(parse(b"1e999").is_err());
        assert!(parse(b"[1] 2").is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_of_the_canonical_form_is_itself(value in values()) {
            let once = to_jcs(&value).unwrap();
            prop_assert_eq!(to_jcs(&parse(&once).unwrap()).unwrap(), once);
        }

        #[test]
        fn parsing_never_panics(json: Vec<u8>, near in r#"[\[\]{}":,a0-9.eE\\u-]{0,40}"#) {
            let _ = parse(&json);
            if let Ok(value) = parse(near.as_bytes()) {
                canonical(&value);
            }
        }
    }
}
