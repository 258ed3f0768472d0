//! The answer in `Authorization: Payment` (core draft, "Credentials"): a payer's echo of a challenge with the proof.
//!
//! A server reads one without copying it: [`CredentialBuf`] owns the decoded JSON, [`CredentialRef`] borrows from it,
//! so that a forged credential costs little. A client builds a [`Credential`] and writes it. Credentials are spent like
//! money: none of these types prints a payload or a payer.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::binding::Slots;
use super::{
    Challenge, Intent, MAX_CREDENTIAL_CHARS, MethodName, Timestamp, TimestampError, b64, jcs, plain,
};

/// A decoded credential: the JSON that [`CredentialRef`] borrows from.
///
/// ```
/// use mpp::protocol::CredentialBuf;
///
/// let token = mpp::protocol::b64::encode(
///     r#"{"challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"},"payload":{}}"#,
/// );
/// let buffer = CredentialBuf::decode(&token)?;
/// assert_eq!(buffer.parse()?.challenge.method, "tempo");
/// # Ok::<(), mpp::protocol::CredentialError>(())
/// ```
#[derive(Clone)]
pub struct CredentialBuf {
    json: Vec<u8>,
}

impl CredentialBuf {
    /// Decodes what follows `Payment ` in the header: at most 64 KiB, checked first; base64url, also tolerated with
    /// padding or in the standard alphabet.
    ///
    /// # Errors
    /// [`CredentialError::TooLarge`], [`CredentialError::Empty`] and [`CredentialError::NotBase64`].
    ///
    /// ```
    /// use mpp::protocol::{CredentialBuf, CredentialError};
    /// assert_eq!(CredentialBuf::decode("?!").unwrap_err(), CredentialError::NotBase64);
    /// assert_eq!(CredentialBuf::decode(&"A".repeat(70_000)).unwrap_err(), CredentialError::TooLarge);
    /// ```
    pub fn decode(token: &str) -> Result<CredentialBuf, CredentialError> {
        let token = token.trim_ascii();
        if token.len() > MAX_CREDENTIAL_CHARS {
            return Err(CredentialError::TooLarge);
        }
        if token.is_empty() {
            return Err(CredentialError::Empty);
        }
        let json = b64::decode_lenient(token).map_err(|_| CredentialError::NotBase64)?;
        Ok(CredentialBuf { json })
    }

    /// Reads the JSON. Members that are not known are ignored, known ones that occur twice are refused.
    ///
    /// # Errors
    /// [`CredentialError::NotJson`], [`CredentialError::Member`] when a required member is missing or one occurs twice, and
    /// [`CredentialError::Shape`] when one is of another type.
    ///
    /// ```
    /// use mpp::protocol::{CredentialBuf, CredentialError};
    /// let empty = CredentialBuf::decode("e30")?; // {}
    /// assert_eq!(empty.parse().unwrap_err(), CredentialError::Member("challenge"));
    /// # Ok::<(), CredentialError>(())
    /// ```
    pub fn parse(&self) -> Result<CredentialRef<'_>, CredentialError> {
        // Strangers can have this done for nothing: `simdutf8` is several times as fast as the standard library here.
        let json = simdutf8::basic::from_utf8(&self.json).map_err(|_| CredentialError::NotJson)?;
        if let Some(credential) = plain::read(json) {
            debug_assert!(serde_json::from_str(json).is_ok_and(|general| credential.is(&general)));
            return Ok(credential);
        }
        let credential: CredentialRef<'_> =
            serde_json::from_str(json).map_err(|error| CredentialError::of(&error))?;
        if !credential.payload.get().starts_with('{') {
            return Err(CredentialError::Member("payload"));
        }
        Ok(credential)
    }
}

impl fmt::Debug for CredentialBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialBuf(..)")
    }
}

/// A credential as received, borrowed from its [`CredentialBuf`].
///
/// ```
/// # use mpp::protocol::CredentialBuf;
/// # let token = mpp::protocol::b64::encode(
/// #     r#"{"challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"},"payload":{"k":1}}"#,
/// # );
/// let buffer = CredentialBuf::decode(&token)?;
/// let credential = buffer.parse()?;
/// assert_eq!(credential.payload.get(), r#"{"k":1}"#);
/// assert_eq!(credential.to_credential()?.payload["k"], 1);
/// # Ok::<(), mpp::protocol::CredentialError>(())
/// ```
#[derive(Deserialize)]
pub struct CredentialRef<'a> {
    /// The echoed challenge.
    #[serde(borrow)]
    pub challenge: ChallengeRef<'a>,
    /// Who pays: by recommendation a DID.
    #[serde(borrow, default, deserialize_with = "optional_text")]
    pub source: Option<Cow<'a, str>>,
    /// The proof, in the payment method's own form. Always an object.
    #[serde(borrow)]
    pub payload: RawPayload<'a>,
}

impl CredentialRef<'_> {
    /// Whether two readings say the same.
    pub(super) fn is(&self, other: &CredentialRef<'_>) -> bool {
        self.challenge == other.challenge
            && self.source == other.source
            && self.payload.get() == other.payload.get()
    }

    /// An owned copy.
    ///
    /// # Errors
    /// [`CredentialError::Member`] when the echoed method or intent is no name, or the payload has a member twice at any
    /// depth: such a payload has two readings.
    ///
    /// ```
    /// use mpp::protocol::CredentialBuf;
    /// # let token = mpp::protocol::b64::encode(
    /// #     r#"{"challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"},"payload":{"k":1}}"#,
    /// # );
    /// let buffer = CredentialBuf::decode(&token)?;
    /// let kept = buffer.parse()?.to_credential()?; // outlives the buffer
    /// assert_eq!(kept.challenge.id, "a");
    /// # Ok::<(), mpp::protocol::CredentialError>(())
    /// ```
    pub fn to_credential(&self) -> Result<Credential, CredentialError> {
        let payload = jcs::parse_object(self.payload.get().as_bytes());
        let payload = payload.map_err(|_| CredentialError::Member("payload"))?;
        Ok(Credential {
            challenge: self.challenge.to_challenge()?,
            source: self.source.as_deref().map(str::to_owned),
            payload,
        })
    }
}

impl fmt::Debug for CredentialRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialRef").field("challenge_id", &self.challenge.id).finish_non_exhaustive()
    }
}

/// The JSON of a credential's payload, as received.
///
/// ```
/// # use mpp::protocol::{CredentialBuf, RawPayload};
/// let payload: RawPayload<'_> = serde_json::from_str(r#"{"hash": "0xabc"}"#).unwrap();
/// assert_eq!(payload.get(), r#"{"hash": "0xabc"}"#);
/// assert!(!format!("{payload:?}").contains("0xabc"));
/// ```
#[derive(Clone, Copy)]
pub struct RawPayload<'a>(pub(super) &'a str);

impl<'a> RawPayload<'a> {
    /// The text: JSON, without the white space around it.
    ///
    /// ```
    /// # use mpp::protocol::RawPayload;
    /// let payload: RawPayload<'_> = serde_json::from_str(" {} ").unwrap();
    /// assert_eq!(payload.get(), "{}");
    /// ```
    pub fn get(&self) -> &'a str {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawPayload<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawPayload<'a>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| RawPayload(raw.get()))
    }
}

impl fmt::Debug for RawPayload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawPayload(..)")
    }
}

/// The challenge a credential echoes, exactly as received. Nothing here is trusted before
/// [`SecretRing::verify`](super::SecretRing::verify) accepts its [`slots`](ChallengeRef::slots).
///
/// ```
/// use mpp::protocol::ChallengeRef;
///
/// let echo: ChallengeRef =
///     serde_json::from_str(r#"{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"}"#).unwrap();
/// assert_eq!(echo.slots().request, "e30");
/// assert_eq!(echo.slots().expires, "");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ChallengeRef<'a> {
    /// The id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The realm.
    #[serde(borrow)]
    pub realm: Cow<'a, str>,
    /// The payment method's name.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The intent.
    #[serde(borrow)]
    pub intent: Cow<'a, str>,
    /// Base64url text.
    #[serde(borrow)]
    pub request: Cow<'a, str>,
    /// RFC 3339. In this and the other optional members an empty text counts as absent, as it does in the binding.
    #[serde(borrow, default, deserialize_with = "optional_parameter")]
    pub expires: Option<Cow<'a, str>>,
    /// RFC 9530.
    #[serde(borrow, default, deserialize_with = "optional_parameter")]
    pub digest: Option<Cow<'a, str>>,
    /// Base64url text.
    #[serde(borrow, default, deserialize_with = "optional_parameter")]
    pub opaque: Option<Cow<'a, str>>,
    /// For people; many clients do not echo it.
    #[serde(borrow, default, deserialize_with = "optional_parameter")]
    pub description: Option<Cow<'a, str>>,
}

impl ChallengeRef<'_> {
    /// The bound parameters, as received.
    ///
    /// ```
    /// use mpp::protocol::{CredentialBuf, NotOurs, Secret, SecretRing};
    /// # let token = mpp::protocol::b64::encode(
    /// #     r#"{"challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"},"payload":{"k":1}}"#,
    /// # );
    /// let buffer = CredentialBuf::decode(&token)?;
    /// let echo = buffer.parse()?.challenge;
    /// let ring = SecretRing::new(Secret::generate());
    /// assert_eq!(ring.verify(&echo.slots(), &echo.id), Err(NotOurs));
    /// # Ok::<(), mpp::protocol::CredentialError>(())
    /// ```
    pub fn slots(&self) -> Slots<'_> {
        Slots {
            realm: &self.realm,
            method: &self.method,
            intent: &self.intent,
            request: &self.request,
            expires: self.expires.as_deref().unwrap_or_default(),
            digest: self.digest.as_deref().unwrap_or_default(),
            opaque: self.opaque.as_deref().unwrap_or_default(),
        }
    }

    /// When the challenge ends; none if it does not say.
    ///
    /// # Errors
    /// [`TimestampError`] when it says something that is no RFC 3339 time.
    ///
    /// ```
    /// # use mpp::protocol::CredentialBuf;
    /// # let token = mpp::protocol::b64::encode(
    /// #     r#"{"challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"},"payload":{"k":1}}"#,
    /// # );
    /// let buffer = CredentialBuf::decode(&token)?;
    /// assert_eq!(buffer.parse()?.challenge.expires_at(), Ok(None));
    /// # Ok::<(), mpp::protocol::CredentialError>(())
    /// ```
    pub fn expires_at(&self) -> Result<Option<Timestamp>, TimestampError> {
        self.expires.as_deref().map(Timestamp::parse).transpose()
    }

    /// An owned copy.
    ///
    /// # Errors
    /// [`CredentialError::Member`] when the method or intent is no name, or a required member is empty.
    ///
    /// ```
    /// # use mpp::protocol::{CredentialBuf, Intent};
    /// # let token = mpp::protocol::b64::encode(
    /// #     r#"{"challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"},"payload":{"k":1}}"#,
    /// # );
    /// let buffer = CredentialBuf::decode(&token)?;
    /// assert_eq!(buffer.parse()?.challenge.to_challenge()?.intent, Intent::CHARGE);
    /// # Ok::<(), mpp::protocol::CredentialError>(())
    /// ```
    pub fn to_challenge(&self) -> Result<Challenge, CredentialError> {
        for (name, text) in [("id", &self.id), ("realm", &self.realm), ("request", &self.request)] {
            if text.is_empty() {
                return Err(CredentialError::Member(name));
            }
        }
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Ok(Challenge {
            id: self.id.clone().into_owned(),
            realm: self.realm.clone().into_owned(),
            method: MethodName::parse(&self.method).map_err(|_| CredentialError::Member("method"))?,
            intent: Intent::parse(&self.intent).map_err(|_| CredentialError::Member("intent"))?,
            request: self.request.clone().into_owned(),
            expires: owned(&self.expires),
            digest: owned(&self.digest),
            opaque: owned(&self.opaque),
            description: owned(&self.description),
        })
    }
}

/// A credential that owns its parts: what a client sends, and what a server keeps.
///
/// ```
/// use mpp::protocol::{Challenge, Credential};
///
/// let offers = Challenge::parse_all([
///     r#"Payment id="x7Tg", realm="api.example.com", method="tempo", intent="charge", request="e30""#,
/// ]).offers;
/// let credential = Credential {
///     challenge: offers[0].clone(),
///     source: None,
///     payload: [("hash".to_owned(), "0xabc".into())].into_iter().collect(),
/// };
/// assert!(credential.to_header_value().starts_with("Payment ey"));
/// assert!(!format!("{credential:?}").contains("0xabc"));
/// ```
#[derive(Clone, PartialEq, Serialize)]
pub struct Credential {
    /// The challenge this answers.
    pub challenge: Challenge,
    /// Who pays: by recommendation a DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The proof.
    pub payload: Map<String, Value>,
}

impl Credential {
    /// The value of the `Authorization` header. A secret: it is the payment.
    ///
    /// ```
    /// use mpp::protocol::{Challenge, Credential, CredentialBuf};
    /// # let challenge = Challenge::parse_all([
    /// #     r#"Payment id="x7Tg", realm="api.example.com", method="tempo", intent="charge", request="e30""#,
    /// # ]).offers.remove(0);
    /// let payload = [("hash".to_owned(), "0xabc".into())].into_iter().collect();
    /// let credential = Credential { challenge, source: None, payload };
    /// let header = credential.to_header_value();
    /// let read = CredentialBuf::decode(header.strip_prefix("Payment ").unwrap())?;
    /// assert!(read.parse()?.to_credential()? == credential);
    /// # Ok::<(), mpp::protocol::CredentialError>(())
    /// ```
    pub fn to_header_value(&self) -> String {
        format!("Payment {}", b64::encode(jcs::canonical(self)))
    }

    /// What tells this credential from every other one for the same challenge.
    ///
    /// ```
    /// use mpp::protocol::{Challenge, Credential};
    /// # let challenge = Challenge::parse_all([
    /// #     r#"Payment id="x7Tg", realm="api.example.com", method="tempo", intent="charge", request="e30""#,
    /// # ]).offers.remove(0);
    /// let pay = |hash: &str| Credential {
    ///     challenge: challenge.clone(),
    ///     source: None,
    ///     payload: [("hash".to_owned(), hash.into())].into_iter().collect(),
    /// };
    /// assert_eq!(pay("0xabc").fingerprint(), pay("0xabc").fingerprint());
    /// assert_ne!(pay("0xabc").fingerprint(), pay("0xdef").fingerprint());
    /// ```
    pub fn fingerprint(&self) -> Fingerprint {
        #[derive(Serialize)]
        struct Fingerprinted<'a> {
            payload: &'a Map<String, Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            source: Option<&'a str>,
        }
        let fingerprinted = Fingerprinted { payload: &self.payload, source: self.source.as_deref() };
        Fingerprint(Sha256::digest(jcs::canonical(&fingerprinted)).into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("challenge_id", &self.challenge.id).finish_non_exhaustive()
    }
}

/// SHA-256 of the canonical JSON of a credential's payload and source. Compared in constant time.
///
/// ```
/// # use mpp::protocol::Fingerprint;
/// assert_eq!(Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([1; 32]));
/// ```
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// One read back from a store.
    ///
    /// ```
    /// # use mpp::protocol::Fingerprint;
    /// let stored = [7; 32];
    /// assert_eq!(Fingerprint::from_bytes(stored).as_bytes(), &stored);
    /// ```
    pub const fn from_bytes(bytes: [u8; 32]) -> Fingerprint {
        Fingerprint(bytes)
    }

    /// The 32 bytes, for a store.
    ///
    /// ```
    /// # use mpp::protocol::Fingerprint;
    /// assert_eq!(Fingerprint::from_bytes([7; 32]).as_bytes(), &[7; 32]);
    /// ```
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Fingerprint) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// Why text is not a credential. Says nothing about what the text was.
///
/// ```
/// # use mpp::protocol::{CredentialBuf, CredentialError};
/// assert_eq!(CredentialBuf::decode("!").unwrap_err(), CredentialError::NotBase64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// `Payment` with nothing after it.
    #[error("the credential is empty")]
    Empty,
    /// More than 64 KiB.
    #[error("the credential is larger than 64 KiB")]
    TooLarge,
    /// Not base64url.
    #[error("the credential is not base64url")]
    NotBase64,
    /// Not JSON.
    #[error("the credential is not JSON")]
    NotJson,
    /// This member is missing, occurs twice or has no usable value: `challenge`, `payload`, or one of the challenge's.
    #[error("the credential's `{0}` is missing, occurs twice or has no usable value")]
    Member(&'static str),
    /// Something is of the wrong type.
    #[error(
        "the credential is not an object with `challenge` and `payload` as texts and objects in their places"
    )]
    Shape,
}

impl CredentialError {
    /// What the reader of JSON found. It quotes the sender where a type is wrong; only names that are ours are taken from it.
    fn of(error: &serde_json::Error) -> CredentialError {
        const MEMBERS: [&str; 12] = [
            "challenge",
            "payload",
            "source",
            "id",
            "realm",
            "method",
            "intent",
            "request",
            "expires",
            "digest",
            "opaque",
            "description",
        ];
        if !error.is_data() {
            return CredentialError::NotJson;
        }
        let text = error.to_string();
        let field = ["missing field `", "duplicate field `"].iter().find_map(|what| text.strip_prefix(what));
        let named = field.and_then(|rest| rest.split('`').next());
        let own = named.and_then(|named| MEMBERS.into_iter().find(|own| *own == named));
        own.map_or(CredentialError::Shape, CredentialError::Member)
    }
}

/// A string that is borrowed where its JSON has no escapes. (`Option<Cow<str>>` by itself always copies.)
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        #[derive(Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|text| Text(text.0))
    }
}

fn optional_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0))
}

fn optional_parameter<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(optional_text(deserializer)?.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const CHALLENGE: &str =
        r#""challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"}"#;

    fn read(json: &str) -> Result<Credential, CredentialError> {
        CredentialBuf::decode(&b64::encode(json))?.parse()?.to_credential()
    }

    fn example() -> Credential {
        read(&format!(r#"{{{CHALLENGE},"source":"did:key:zPAYER","payload":{{"proof":"PROOF"}}}}"#)).unwrap()
    }

    #[test]
    fn tokens_are_read_in_every_base64_peers_send() {
        let json = format!(r#"{{{CHALLENGE},"payload":{{"a":"???>>>"}}}}"#);
        let engines: [&dyn Fn(&str) -> String; 3] = [
            &|json| b64::encode(json),
            &|json| base64::engine::general_purpose::URL_SAFE.encode(json),
            &|json| base64::engine::general_purpose::STANDARD.encode(json),
        ];
        for encode in engines {
            let buffer = CredentialBuf::decode(&encode(&json)).unwrap();
            assert_eq!(buffer.parse().unwrap().payload.get(), r#"{"a":"???>>>"}"#);
        }
    }

    #[test]
    fn a_token_over_the_limit_is_refused_before_it_is_decoded() {
        let token = "!".repeat(MAX_CREDENTIAL_CHARS + 1);
        assert_eq!(CredentialBuf::decode(&token).unwrap_err(), CredentialError::TooLarge);
        assert_eq!(CredentialBuf::decode("  ").unwrap_err(), CredentialError::Empty);
    }

    #[test]
    fn each_mistake_is_named() {
        use CredentialError::*;
        for (json, error) in [
            ("", Empty),
            ("\0", NotJson),
            ("{", NotJson),
            ("\u{feff}{}", NotJson),
            ("{}", Member("challenge")),
            ("[]", Shape),
            (r#"{"payload":{}}"#, Member("challenge")),
            (&format!("{{{CHALLENGE}}}"), Member("payload")),
            (&format!(r#"{{{CHALLENGE},"payload":[]}}"#), Member("payload")),
            (&format!(r#"{{{CHALLENGE},"payload":"x"}}"#), Member("payload")),
            (&format!(r#"{{{CHALLENGE},"payload":null}}"#), Member("payload")),
            (&format!(r#"{{{CHALLENGE},{CHALLENGE},"payload":{{}}}}"#), Member("challenge")),
            (&format!(r#"{{{CHALLENGE},"payload":{{}},"payload":{{}}}}"#), Member("payload")),
            (&format!(r#"{{{CHALLENGE},"source":1,"payload":{{}}}}"#), Shape),
            (
                &format!(r#"{{{CHALLENGE},"source":"missing field `id`","payload":{{}},"source":"x"}}"#),
                Member("source"),
            ),
            (&format!(r#"{{{CHALLENGE},"payload":{{"a":{{"b":1,"b":2}}}}}}"#), Member("payload")),
            (&format!(r#"{{{CHALLENGE},"payload":{{}}}} x"#), NotJson),
            (
                &format!(r#"{{{},"payload":{{}}}}"#, CHALLENGE.replace("\"id\":\"a\"", "\"id\":\"\"")),
                Member("id"),
            ),
            (&format!(r#"{{{},"payload":{{}}}}"#, CHALLENGE.replace("\"id\"", "\"realm\"")), Member("realm")),
            (&format!(r#"{{{},"payload":{{}}}}"#, CHALLENGE.replace("tempo", "Tempo")), Member("method")),
            (&format!(r#"{{{},"payload":{{}}}}"#, CHALLENGE.replace("\"e30\"", "{}")), Shape),
        ] {
            assert_eq!(read(json).unwrap_err(), error, "{json}");
        }
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        let json = format!(
            r#"{{{},"source":"s","payload":{{}},"new":{{"source":1}}}}"#,
            CHALLENGE.replace("\"r\"", r#""\u0072","expires":"e","digest":null,"opaque":"""#)
        );
        let buffer = CredentialBuf::decode(&b64::encode(json)).unwrap();
        let credential = buffer.parse().unwrap();
        assert!(matches!(credential.challenge.id, Cow::Borrowed("a")));
        assert!(matches!(credential.challenge.expires, Some(Cow::Borrowed("e"))));
        assert!(matches!(credential.source, Some(Cow::Borrowed("s"))));
        assert!(matches!(&credential.challenge.realm, Cow::Owned(realm) if realm == "r"));
        assert_eq!((credential.challenge.digest.clone(), credential.challenge.opaque.clone()), (None, None));
        assert_eq!(credential.challenge.slots().opaque, "");
    }

    #[test]
    fn nothing_prints_a_payload_or_a_payer() {
        let credential = example();
        let header = credential.to_header_value();
        let buffer = CredentialBuf::decode(&header["Payment ".len()..]).unwrap();
        let printed =
            format!("{credential:?} {buffer:?} {:?} {:?}", buffer.parse().unwrap(), credential.fingerprint());
        assert!(
            !printed.contains("PROOF")
                && !printed.contains("PAYER")
                && printed.contains("challenge_id: \"a\"")
        );
    }

    #[test]
    fn the_fingerprint_is_of_payload_and_source_and_nothing_else() {
        let one = example();
        let mut other = example();
        other.challenge.id = "b".into();
        assert_eq!(one.fingerprint(), other.fingerprint());
        other.source = None;
        assert_ne!(one.fingerprint(), other.fingerprint());
        let mut another = example();
        another.payload.insert("proof".into(), json!("other"));
        assert_ne!(one.fingerprint(), another.fingerprint());
        let jcs = r#"{"payload":{"proof":"PROOF"},"source":"did:key:zPAYER"}"#;
        assert_eq!(*one.fingerprint().as_bytes(), <[u8; 32]>::from(Sha256::digest(jcs)));
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same_credential(
            id in ".{1,20}", realm in ".{1,20}", description in proptest::option::of(".{1,20}"),
            source in proptest::option::of(".*"), payload: std::collections::BTreeMap<String, (String, i32)>,
        ) {
            let credential = Credential {
                challenge: Challenge { id, realm, description, ..example().challenge },
                source,
                payload: payload.into_iter().map(|(name, value)| (name, json!(value))).collect(),
            };
            let header = credential.to_header_value();
            let buffer = CredentialBuf::decode(header.strip_prefix("Payment ").unwrap()).unwrap();
            let read = buffer.parse().unwrap().to_credential().unwrap();
            prop_assert_eq!(read.fingerprint(), credential.fingerprint());
            prop_assert!(read == credential);
        }

        #[test]
        fn reading_never_panics(token in ".*", json: Vec<u8>, payload in r#"[\[\]{}":,a0-9.eE\\-]{0,40}"#) {
            let _ = CredentialBuf::decode(&token).map(|buffer| buffer.parse().is_ok());
            let _ = CredentialBuf::decode(&b64::encode(&json)).map(|buffer| buffer.parse().is_ok());
            if let Ok(credential) = read(&format!(r#"{{{CHALLENGE},"payload":{{"a":{payload}}}}}"#)) {
                credential.fingerprint();
                credential.to_header_value();
            }
        }
    }
}
