//! The names in a challenge: payment method, intent and realm (core draft, "Method Identifier Format", "Intent
//! Identifiers", "Required Parameters").

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest method or intent name, in characters.
const MAX_NAME: usize = 64;
/// Longest realm, in characters; a host name has at most 253.
const MAX_REALM: usize = 255;

/// The name of a payment method, such as `tempo`.
///
/// A name this side configures is strict, one to 64 of `a`-`z`, as the core draft says. A name that was received may
/// also have digits, `:`, `_` and `-` after the first letter, because deployed peers send such names.
///
/// ```
/// use mpp::protocol::MethodName;
///
/// const TEMPO: MethodName = MethodName::from_static("tempo");
/// assert_eq!(TEMPO, *"tempo");
/// assert!(MethodName::parse("x402-evm").is_ok());
/// assert!(MethodName::configured("x402-evm").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodName(Cow<'static, str>);

impl MethodName {
    /// A strict name known at compile time.
    ///
    /// # Panics
    /// If it is not one to 64 of `a`-`z`; in a `const` that is a compile error.
    ///
    /// ```compile_fail
    /// # use mpp::protocol::MethodName;
    /// const WRONG: MethodName = MethodName::from_static("Tempo");
    /// # &WRONG;
    /// ```
    ///
    /// ```
    /// # use mpp::protocol::MethodName;
    /// assert_eq!(MethodName::from_static("stripe").as_str(), "stripe");
    /// ```
    pub const fn from_static(name: &'static str) -> MethodName {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= MAX_NAME, "a method name has 1 to 64 letters");
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at].is_ascii_lowercase(), "a method name is lowercase ASCII letters only");
            at += 1;
        }
        MethodName(Cow::Borrowed(name))
    }

    /// A strict name known at run time, from configuration.
    ///
    /// # Errors
    /// [`NameError::Method`]: anything but 1 to 64 lowercase ASCII letters.
    ///
    /// ```
    /// # use mpp::protocol::MethodName;
    /// assert!(MethodName::configured("tempo").is_ok() && MethodName::configured("tempo2").is_err());
    /// ```
    pub fn configured(name: &str) -> Result<MethodName, NameError> {
        let good = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase());
        if good { Ok(MethodName(Cow::Owned(name.to_owned()))) } else { Err(NameError::Method) }
    }

    /// A name as received: `[a-z][a-z0-9:_-]*`, at most 64 characters.
    ///
    /// # Errors
    /// [`NameError::Method`]: anything else.
    ///
    /// ```
    /// # use mpp::protocol::MethodName;
    /// assert!(MethodName::parse("tempo").is_ok() && MethodName::parse("Tempo").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<MethodName, NameError> {
        if is_received_method(name) {
            Ok(MethodName(Cow::Owned(name.to_owned())))
        } else {
            Err(NameError::Method)
        }
    }

    /// The name.
    ///
    /// ```
    /// # use mpp::protocol::MethodName;
    /// assert_eq!(MethodName::from_static("tempo").as_str(), "tempo");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An intent: what kind of payment is asked for.
///
/// ```
/// use mpp::protocol::Intent;
/// assert_eq!(Intent::parse("charge"), Ok(Intent::CHARGE));
/// assert!(Intent::parse("charge v2").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intent(Cow<'static, str>);

impl Intent {
    /// A one-time payment (draft-payment-intent-charge-00).
    pub const CHARGE: Intent = Intent(Cow::Borrowed("charge"));
    /// Metered payments over a funded channel.
    pub const SESSION: Intent = Intent(Cow::Borrowed("session"));
    /// Recurring payments (draft-payment-intent-subscription-00).
    pub const SUBSCRIPTION: Intent = Intent(Cow::Borrowed("subscription"));

    /// One to 64 letters, digits and `-`.
    ///
    /// # Errors
    /// [`NameError::Intent`]: anything else.
    ///
    /// ```
    /// # use mpp::protocol::Intent;
    /// assert_eq!(Intent::parse("charge-v2").unwrap().as_str(), "charge-v2");
    /// ```
    pub fn parse(name: &str) -> Result<Intent, NameError> {
        if let Some(known) =
            [Intent::CHARGE, Intent::SESSION, Intent::SUBSCRIPTION].into_iter().find(|i| *i == *name)
        {
            return Ok(known);
        }
        let good = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if good { Ok(Intent(Cow::Owned(name.to_owned()))) } else { Err(NameError::Intent) }
    }

    /// The name.
    ///
    /// ```
    /// # use mpp::protocol::Intent;
    /// assert_eq!(Intent::SESSION.as_str(), "session");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The realm this server issues challenges for; its public host name.
///
/// Visible ASCII without `|`, `"` and `\`: the first is the separator of the binding (a realm that contained it could
/// stand for another realm and method), the others would need escaping in every header.
///
/// ```
/// use mpp::protocol::Realm;
/// assert_eq!(Realm::parse("api.example.com").unwrap().as_str(), "api.example.com");
/// assert!(Realm::parse("a|b").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm(Cow<'static, str>);

impl Realm {
    /// Reads a realm of 1 to 255 characters.
    ///
    /// # Errors
    /// [`NameError::Realm`]: another length, or another character than the type allows.
    ///
    /// ```
    /// # use mpp::protocol::Realm;
    /// assert!(Realm::parse("").is_err() && Realm::parse("a b").is_err());
    /// ```
    pub fn parse(realm: &str) -> Result<Realm, NameError> {
        let good = (1..=MAX_REALM).contains(&realm.len())
            && realm.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'|' | b'"' | b'\\'));
        if good { Ok(Realm(Cow::Owned(realm.to_owned()))) } else { Err(NameError::Realm) }
    }

    /// The realm.
    ///
    /// ```
    /// # use mpp::protocol::Realm;
    /// assert_eq!(Realm::parse("localhost").unwrap().as_str(), "localhost");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn is_received_method(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b':' | b'_' | b'-'))
}

macro_rules! a_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<$name, NameError> {
                $name::parse(name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let name = Cow::<'de, str>::deserialize(deserializer)?;
                $name::parse(&name).map_err(serde::de::Error::custom)
            }
        }
    };
}

a_name!(MethodName);
a_name!(Intent);
a_name!(Realm);

/// Why text is not a name of its kind.
///
/// ```
/// # use mpp::protocol::{MethodName, NameError};
/// assert_eq!(MethodName::parse(""), Err(NameError::Method));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a [`MethodName`].
    #[error("a payment method's name is 1 to 64 lowercase ASCII letters")]
    Method,
    /// Not an [`Intent`].
    #[error("an intent is 1 to 64 ASCII letters, digits and `-`")]
    Intent,
    /// Not a [`Realm`].
    #[error("a realm is 1 to 255 visible ASCII characters without `|`, `\"` and `\\`")]
    Realm,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_configured_method_is_strict_and_a_received_one_lenient() {
        for both in ["tempo", "a", "z".repeat(64).as_str()] {
            assert!(MethodName::configured(both).is_ok() && MethodName::parse(both).is_ok(), "{both}");
        }
        for received in ["x402", "evm:8453", "a_b", "a-b"] {
            assert!(
                MethodName::configured(received).is_err() && MethodName::parse(received).is_ok(),
                "{received}"
            );
        }
        for neither in ["", "Tempo", "1a", "-a", "a b", "a|b", "té", "z".repeat(65).as_str()] {
            assert!(
                MethodName::configured(neither).is_err() && MethodName::parse(neither).is_err(),
                "{neither}"
            );
        }
    }

    #[test]
    fn no_realm_contains_the_separator_of_the_binding() {
        for wrong in ["", "a|b", "a\"b", "a\\b", "a b", "a\tb", "a\r\nb", "é", "a".repeat(256).as_str()] {
            assert_eq!(Realm::parse(wrong), Err(NameError::Realm), "{wrong}");
        }
        assert!(Realm::parse("api.example.com").is_ok() && Realm::parse("[::1]").is_ok());
    }

    #[test]
    fn names_are_strings_in_json() {
        assert_eq!(serde_json::to_string(&Intent::CHARGE).unwrap(), r#""charge""#);
        assert_eq!(serde_json::from_str::<Intent>(r#""session""#).unwrap(), Intent::SESSION);
        assert!(serde_json::from_str::<MethodName>(r#""Tempo""#).is_err());
    }

    proptest! {
        #[test]
        fn a_name_that_parses_is_the_text_it_was_parsed_from(text in "\\PC*") {
            if let Ok(name) = MethodName::parse(&text) { prop_assert_eq!(name.as_str(), text.as_str()); }
            if let Ok(name) = Intent::parse(&text) { prop_assert_eq!(name.as_str(), text.as_str()); }
            if let Ok(name) = Realm::parse(&text) { prop_assert_eq!(name.as_str(), text.as_str()); }
        }
    }
}
