//! The digest that ties a challenge to a request body (core draft, "Request Body Digest Binding"; RFC 9530).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::b64;

/// Longest `digest` parameter that is read.
const MAX_CHARS: usize = 1024;

/// The SHA-256 of a request body.
///
/// ```
/// use mpp::protocol::BodyDigest;
///
/// let digest = BodyDigest::of(br#"{"hello": "world"}"#);
/// assert_eq!(digest.to_string(), "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
/// assert_eq!("sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE".parse(), Ok(digest));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// The digest of a whole body.
    ///
    /// ```
    /// use mpp::protocol::BodyDigest;
    /// assert_ne!(BodyDigest::of(b"{}"), BodyDigest::of(b"{ }"));
    /// ```
    pub fn of(body: &[u8]) -> BodyDigest {
        BodyDigest(Sha256::digest(body).into())
    }

    /// A digest known by its bytes.
    ///
    /// ```
    /// # use mpp::protocol::BodyDigest;
    /// assert_eq!(BodyDigest::from_bytes([0; 32]).to_string(), "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    /// ```
    pub const fn from_bytes(bytes: [u8; 32]) -> BodyDigest {
        BodyDigest(bytes)
    }

    /// The 32 bytes.
    ///
    /// ```
    /// # use mpp::protocol::BodyDigest;
    /// assert_eq!(BodyDigest::of(b"").as_bytes()[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    /// ```
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Starts a digest of a body that arrives in parts.
    ///
    /// ```
    /// # use mpp::protocol::BodyDigest;
    /// assert_eq!(BodyDigest::hasher().finish(), BodyDigest::of(b""));
    /// ```
    pub fn hasher() -> BodyHasher {
        BodyHasher(Sha256::new())
    }

    /// Reads the `sha-256` member of an RFC 9530 dictionary, `sha-256=:…:`, or the bare `sha-256=…` deployed peers send.
    /// Other algorithms beside it are ignored.
    ///
    /// # Errors
    /// [`DigestError::NoSha256`] when there is no such member, [`DigestError::Malformed`] when it is not 32 bytes, occurs
    /// twice, or the whole is over 1024 characters.
    ///
    /// ```
    /// use mpp::protocol::{BodyDigest, DigestError};
    /// let digest = BodyDigest::of(b"hello");
    /// assert_eq!(BodyDigest::parse(&format!("sha-512=:YQ==:, {digest}")), Ok(digest));
    /// assert_eq!(BodyDigest::parse("sha-512=:YQ==:"), Err(DigestError::NoSha256));
    /// ```
    pub fn parse(text: &str) -> Result<BodyDigest, DigestError> {
        if text.len() > MAX_CHARS {
            return Err(DigestError::Malformed);
        }
        let mut found = None;
        for member in text.split(',') {
            let Some((algorithm, value)) = member.split_once('=') else { continue };
            if !algorithm.trim().eq_ignore_ascii_case("sha-256") {
                continue;
            }
            if found.replace(read_value(value)?).is_some() {
                return Err(DigestError::Malformed);
            }
        }
        found.ok_or(DigestError::NoSha256)
    }
}

impl fmt::Display for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha-256=:{}:", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigest({self})")
    }
}

impl FromStr for BodyDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<BodyDigest, DigestError> {
        BodyDigest::parse(text)
    }
}

/// A [`BodyDigest`] in the making.
///
/// ```
/// use mpp::protocol::BodyDigest;
///
/// let mut hasher = BodyDigest::hasher();
/// hasher.update(b"he");
/// hasher.update(b"llo");
/// assert_eq!(hasher.finish(), BodyDigest::of(b"hello"));
/// ```
#[derive(Clone, Default)]
pub struct BodyHasher(Sha256);

impl BodyHasher {
    /// The next part of the body.
    ///
    /// ```
    /// # use mpp::protocol::BodyDigest;
    /// let mut hasher = BodyDigest::hasher();
    /// ["stre", "amed"].iter().for_each(|part| hasher.update(part.as_bytes()));
    /// assert_eq!(hasher.finish(), BodyDigest::of(b"streamed"));
    /// ```
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all parts.
    ///
    /// ```
    /// # use mpp::protocol::BodyDigest;
    /// let mut hasher = BodyDigest::hasher();
    /// hasher.update(b"whole");
    /// assert_eq!(hasher.finish(), BodyDigest::of(b"whole"));
    /// ```
    pub fn finish(self) -> BodyDigest {
        BodyDigest(self.0.finalize().into())
    }
}

impl fmt::Debug for BodyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyHasher(..)")
    }
}

/// Why text holds no [`BodyDigest`].
///
/// ```
/// # use mpp::protocol::{BodyDigest, DigestError};
/// assert_eq!(BodyDigest::parse("sha-512=:AA==:"), Err(DigestError::NoSha256));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// No `sha-256` member.
    #[error("the digest has no sha-256 member")]
    NoSha256,
    /// A `sha-256` member that is not the base64 of 32 bytes, or two of them.
    #[error("the sha-256 digest is malformed")]
    Malformed,
}

fn read_value(value: &str) -> Result<BodyDigest, DigestError> {
    let value = value.trim();
    let encoded = match value.strip_prefix(':') {
        // After the closing colon only structured-field parameters may follow; they mean nothing here.
        Some(rest) => match rest.split_once(':') {
            Some((encoded, after)) if after.is_empty() || after.trim_start().starts_with(';') => encoded,
            _ => return Err(DigestError::Malformed),
        },
        None => value,
    };
    let bytes = b64::decode_lenient(encoded).map_err(|_| DigestError::Malformed)?;
    bytes.try_into().map(BodyDigest).map_err(|_| DigestError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELLO: &str = "X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE";

    #[test]
    fn every_deployed_form_is_read() {
        let expected = BodyDigest::of(br#"{"hello": "world"}"#);
        for text in [
            format!("sha-256=:{HELLO}=:"),
            format!("sha-256=:{HELLO}:"),
            format!("sha-256={HELLO}"),
            format!("sha-256={HELLO}="),
            format!("SHA-256 = :{HELLO}=: "),
            format!("sha-512=:AAAA:, sha-256=:{HELLO}=:;p=1, md5=x"),
        ] {
            assert_eq!(BodyDigest::parse(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for text in ["", "sha-512=:AAAA:", "sha-256", "xsha-256=:AAAA:"] {
            assert_eq!(BodyDigest::parse(text), Err(DigestError::NoSha256), "{text}");
        }
        for text in [
            "sha-256=".to_owned(),
            "sha-256=::".to_owned(),
            "sha-256=:AAAA:".to_owned(),
            format!("sha-256=:{HELLO}"),
            format!("sha-256=:{HELLO}=:x"),
            format!("sha-256=:{HELLO}A=:"),
            format!("sha-256=:{HELLO}=:, sha-256=:{HELLO}=:"),
            " ".repeat(MAX_CHARS + 1),
        ] {
            assert_eq!(BodyDigest::parse(&text), Err(DigestError::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_digest(body: Vec<u8>, cut in any::<prop::sample::Index>()) {
            let digest = BodyDigest::of(&body);
            prop_assert_eq!(BodyDigest::parse(&digest.to_string()), Ok(digest));
            let (first, second) = body.split_at(cut.index(body.len() + 1));
            let mut hasher = BodyDigest::hasher();
            hasher.update(first);
            hasher.update(second);
            prop_assert_eq!(hasher.finish(), digest);
        }

        #[test]
        fn parsing_never_panics(text in ".*", near in "(sha-256=|[:;,= é]|AAAA){0,20}") {
            let _ = (BodyDigest::parse(&text), BodyDigest::parse(&near));
        }
    }
}
