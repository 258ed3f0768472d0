//! What makes a challenge ours: secrets, and the HMAC over a challenge's seven slots (core draft, "Challenge Binding").
//!
//! `id = base64url(HMAC-SHA256(secret, realm|method|intent|request|expires|digest|opaque))`, an absent optional slot is
//! empty. The server keeps no list of challenges it issued: an id that verifies is one it made, for exactly these
//! parameters. Secrets come in a ring, so that one can be replaced while challenges under the old one are still alive.

use std::fmt;

use arrayvec::ArrayString;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use smallvec::SmallVec;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

#[cfg(feature = "server")]
use super::lasting::Lasting;
use super::mac::MacState;

/// Fewest bytes of a secret.
const MIN_SECRET: usize = 32;

/// A secret that challenges are bound with: at least 32 bytes, wiped when dropped, never printed.
///
/// ```
/// use mpp::protocol::Secret;
///
/// let secret = Secret::generate();
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::from_hex(&secret.expose_hex()).is_ok());
/// assert!(Secret::from_bytes("too short").is_err());
/// ```
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// These bytes as they are. Peers of other SDKs that are configured with a string use its UTF-8 bytes.
    ///
    /// # Errors
    /// [`SecretError::TooShort`]: fewer than 32 bytes.
    ///
    /// ```
    /// # use mpp::protocol::Secret;
    /// assert!(Secret::from_bytes([7; 32]).is_ok());
    /// ```
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Secret, SecretError> {
        // Wrapped first: a secret that is refused is wiped too.
        let secret = Secret(bytes.into());
        if secret.0.len() < MIN_SECRET {
            return Err(SecretError::TooShort { bytes: secret.0.len() });
        }
        Ok(secret)
    }

    /// An even number of hexadecimal digits, at least 64; white space around them (a file's last newline) is ignored.
    ///
    /// # Errors
    /// [`SecretError::NotHex`] for anything else, [`SecretError::TooShort`] for fewer digits.
    ///
    /// ```
    /// # use mpp::protocol::Secret;
    /// assert!(Secret::from_hex(&"0f".repeat(32)).is_ok());
    /// assert!(Secret::from_hex("not hex").is_err());
    /// ```
    pub fn from_hex(text: &str) -> Result<Secret, SecretError> {
        let text = text.trim().as_bytes();
        if !text.len().is_multiple_of(2) {
            return Err(SecretError::NotHex);
        }
        // The exact capacity: growing would leave unwiped copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
        for pair in text.chunks_exact(2) {
            match (hex_digit(pair[0]), hex_digit(pair[1])) {
                (Some(high), Some(low)) => bytes.push(high << 4 | low),
                _ => return Err(SecretError::NotHex),
            }
        }
        Secret::from_bytes(std::mem::take(&mut *bytes))
    }

    /// 32 fresh bytes from a cryptographic generator that the operating system seeds.
    ///
    /// ```
    /// # use mpp::protocol::Secret;
    /// assert_ne!(*Secret::generate().expose_hex(), *Secret::generate().expose_hex());
    /// ```
    pub fn generate() -> Secret {
        let mut bytes = vec![0; MIN_SECRET];
        rand::rng().fill_bytes(&mut bytes);
        Secret(bytes)
    }

    /// The secret in hexadecimal, for writing it to where secrets are kept. The text is wiped when dropped.
    ///
    /// ```
    /// # use mpp::protocol::Secret;
    /// assert_eq!(*Secret::from_bytes([1; 32]).unwrap().expose_hex(), "01".repeat(32));
    /// ```
    pub fn expose_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 2));
        for byte in &self.0 {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        text
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why something is not a [`Secret`].
///
/// ```
/// let error = mpp::Secret::from_bytes([0; 16]).unwrap_err(); // `Debug` says it in words: it is what `main` prints
/// assert!(format!("{error:?}").starts_with("a secret has at least 32 bytes, this one has 16;"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Fewer than 32 bytes.
    #[error("a secret has at least 32 bytes, this one has {bytes}; `mpp secret` prints a new one")]
    TooShort {
        /// How many there were.
        bytes: usize,
    },
    /// Not hexadecimal, or half a byte.
    #[error("the secret is not hexadecimal; `mpp secret` prints a new one")]
    NotHex,
}

impl fmt::Debug for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The seven bound parameters of a challenge, as they are on the wire. An absent optional one is empty.
///
/// ```
/// use mpp::protocol::{Secret, SecretRing, Slots};
///
/// let ring = SecretRing::new(Secret::generate());
/// let slots = Slots {
///     realm: "api.example.com",
///     method: "tempo",
///     intent: "charge",
///     request: "e30",
///     expires: "2026-11-21T10:05:00Z",
///     ..Slots::default()
/// };
/// let id = ring.id(&slots);
/// assert!(ring.verify(&slots, id.as_str()).is_ok());
/// assert!(ring.verify(&Slots { expires: "2027-01-01T00:00:00Z", ..slots }, id.as_str()).is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots<'a> {
    /// Slot 0.
    pub realm: &'a str,
    /// Slot 1.
    pub method: &'a str,
    /// Slot 2.
    pub intent: &'a str,
    /// Slot 3: the base64url text, not what it decodes to.
    pub request: &'a str,
    /// Slot 4.
    pub expires: &'a str,
    /// Slot 5.
    pub digest: &'a str,
    /// Slot 6: the base64url text.
    pub opaque: &'a str,
}

impl<'a> Slots<'a> {
    fn in_order(&self) -> [&'a str; 7] {
        [self.realm, self.method, self.intent, self.request, self.expires, self.digest, self.opaque]
    }
}

/// The secrets of a server. The first signs; all verify.
///
/// Rotation is three deployments: `[old, new]`, so that every instance knows the new one; `[new, old]`; and `[new]` once
/// the longest-lived challenge under the old one is over.
///
/// ```
/// use mpp::protocol::{Secret, SecretRing, Slots};
///
/// let (old, new) = (Secret::generate(), Secret::generate());
/// let before = SecretRing::new(old.clone());
/// let after = SecretRing::new(new).also(old);
///
/// let slots = Slots { realm: "example.com", method: "tempo", intent: "charge", request: "e30", ..Slots::default() };
/// assert!(after.verify(&slots, before.id(&slots).as_str()).is_ok());
/// assert!(before.verify(&slots, after.id(&slots).as_str()).is_err());
/// ```
#[derive(Clone)]
pub struct SecretRing {
    // Never empty. Keyed states, so that no request pays for the key schedule.
    keys: Vec<MacState>,
}

impl SecretRing {
    /// A ring of one secret.
    ///
    /// ```
    /// # use mpp::protocol::{Secret, SecretRing};
    /// assert_eq!(format!("{:?}", SecretRing::new(Secret::generate())), "SecretRing(1 secrets)");
    /// ```
    pub fn new(first: Secret) -> SecretRing {
        SecretRing { keys: vec![MacState::keyed(&first.0)] }
    }

    /// Adds a secret that verifies but does not sign: the next one, or the last one.
    ///
    /// ```
    /// # use mpp::protocol::{Secret, SecretRing};
    /// let ring = SecretRing::new(Secret::generate()).also(Secret::generate());
    /// assert_eq!(format!("{ring:?}"), "SecretRing(2 secrets)");
    /// ```
    #[must_use]
    pub fn also(mut self, secret: Secret) -> SecretRing {
        self.keys.push(MacState::keyed(&secret.0));
        self
    }

    /// The id of a challenge with these parameters, by the first secret.
    ///
    /// Slots that contain `|` are ambiguous (the separator would be part of a value); an id computed over such slots
    /// [never verifies](SecretRing::verify).
    ///
    /// ```
    /// use mpp::protocol::{Secret, SecretRing, Slots};
    ///
    /// let ring = SecretRing::new(Secret::generate());
    /// let slots = Slots { realm: "example.com", method: "tempo", intent: "charge", request: "e30", ..Slots::default() };
    /// assert_eq!(ring.id(&slots).as_str().len(), 43, "32 bytes in base64url");
    /// ```
    pub fn id(&self, slots: &Slots<'_>) -> ChallengeId {
        ChallengeId::of(mac(&self.keys[0], slots))
    }

    /// Whether one of the secrets made this id for these parameters. Tries every secret and compares in constant time.
    ///
    /// # Errors
    /// [`NotOurs`] when none did, or when a slot contains the separator `|`: every verified input then has exactly six
    /// of them, so that no two sets of slots share one.
    ///
    /// ```
    /// use mpp::protocol::{Secret, SecretRing, Slots};
    ///
    /// let ring = SecretRing::new(Secret::generate());
    /// let cheap = Slots { realm: "example.com", method: "tempo", intent: "charge", request: "e30", ..Slots::default() };
    /// let id = ring.id(&cheap);
    /// assert!(ring.verify(&cheap, id.as_str()).is_ok());
    /// assert!(ring.verify(&Slots { request: "e31", ..cheap }, id.as_str()).is_err(), "another request, another id");
    /// ```
    pub fn verify(&self, slots: &Slots<'_>, id: &str) -> Result<(), NotOurs> {
        let ours = self
            .keys
            .iter()
            .fold(Choice::from(0), |ours, key| ours | ChallengeId::of(mac(key, slots)).is(id));
        judge(ours, &slots.in_order())
    }

    /// Absorbs the four slots that are the same for every challenge of a fixed offer, once.
    ///
    /// ```
    /// use mpp::protocol::{FreshSlots, Secret, SecretRing, Slots};
    ///
    /// let ring = SecretRing::new(Secret::generate());
    /// let offer = ring.prefix("example.com", "tempo", "charge", "e30");
    /// let slots = Slots { realm: "example.com", method: "tempo", intent: "charge", request: "e30", opaque: "e30", ..Slots::default() };
    /// assert_eq!(offer.id(&FreshSlots::new("", "", "e30")), ring.id(&slots));
    /// ```
    pub fn prefix(&self, realm: &str, method: &str, intent: &str, request: &str) -> BoundPrefix {
        let absorbed = self.keys.iter().map(|key| {
            let mut state = key.clone();
            for slot in [realm, method, intent, request] {
                state.absorb(slot.as_bytes());
                state.absorb(b"|");
            }
            state
        });
        BoundPrefix {
            states: absorbed.collect(),
            #[cfg(feature = "server")]
            lasting: None,
        }
    }

    /// A ring for another purpose or context, one derived secret per secret, in the same order. What one ring signs the
    /// other does not verify. `label` says what for; `context` is what sets this ring apart (a process's boot id).
    ///
    /// ```
    /// use mpp::protocol::{Secret, SecretRing, Slots};
    ///
    /// let ring = SecretRing::new(Secret::generate());
    /// let slots = Slots { realm: "example.com", method: "tempo", intent: "charge", request: "e30", ..Slots::default() };
    /// let id = ring.derive("boot", b"1").id(&slots);
    /// assert!(ring.derive("boot", b"1").verify(&slots, id.as_str()).is_ok());
    /// assert!(ring.derive("boot", b"2").verify(&slots, id.as_str()).is_err());
    /// ```
    #[must_use]
    pub fn derive(&self, label: &str, context: &[u8]) -> SecretRing {
        let derived = |key| MacState::keyed(&derived_key(key, b"ring", label, context).0);
        SecretRing { keys: self.keys.iter().map(derived).collect() }
    }

    /// A key per secret for sealing what is stored, the first secret's first: seal with the first, open with any.
    ///
    /// ```
    /// use mpp::protocol::{Secret, SecretRing};
    ///
    /// let ring = SecretRing::new(Secret::generate()).also(Secret::generate());
    /// let keys = ring.keys_for("stored responses");
    /// assert_eq!(keys.len(), 2);
    /// assert_ne!(keys[0].as_bytes(), ring.keys_for("plans")[0].as_bytes());
    /// ```
    pub fn keys_for(&self, label: &str) -> Vec<DerivedKey> {
        self.keys.iter().map(|key| derived_key(key, b"key", label, b"")).collect()
    }
}

impl fmt::Debug for SecretRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretRing({} secrets)", self.keys.len())
    }
}

/// Some other server's challenge, or a changed one of ours: the id does not belong to the parameters.
///
/// ```
/// # use mpp::protocol::{NotOurs, Secret, SecretRing, Slots};
/// assert_eq!(SecretRing::new(Secret::generate()).verify(&Slots::default(), "forged"), Err(NotOurs));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the challenge was not issued by this server")]
pub struct NotOurs;

/// A fixed offer's share of the binding; see [`SecretRing::prefix`].
///
/// ```
/// # use mpp::protocol::{FreshSlots, Secret, SecretRing};
/// let offer = SecretRing::new(Secret::generate()).prefix("example.com", "tempo", "charge", "e30");
/// assert_ne!(offer.id(&FreshSlots::new("2026-11-21T10:05:00Z", "", "e30")), offer.id(&FreshSlots::new("2026-11-21T10:05:01Z", "", "e30")));
/// ```
#[derive(Clone)]
pub struct BoundPrefix {
    // One per secret of the ring, in its order; never empty.
    states: SmallVec<[MacState; 1]>,
    // Of the first of them, for an offer that lasts and whose block its challenges complete alike.
    #[cfg(feature = "server")]
    pub(super) lasting: Option<Lasting>,
}

impl BoundPrefix {
    /// For an offer that is made as long as the server lives, see [`Lasting`].
    #[cfg(feature = "server")]
    pub(super) fn lasting(self) -> BoundPrefix {
        BoundPrefix { lasting: Lasting::of(&self.states[0]), ..self }
    }

    /// The id of one challenge of this offer, by the first secret.
    ///
    /// ```
    /// # use mpp::protocol::{FreshSlots, Secret, SecretRing};
    /// let offer = SecretRing::new(Secret::generate()).prefix("example.com", "tempo", "charge", "e30");
    /// let id = offer.id(&FreshSlots::new("2026-11-21T10:05:00Z", "", ""));
    /// assert!(offer.verify("2026-11-21T10:05:00Z", "", "", id.as_str()).is_ok());
    /// ```
    pub fn id(&self, fresh: &FreshSlots) -> ChallengeId {
        #[cfg(feature = "server")]
        if let Some(lasting) = self.lasting {
            return ChallengeId::of(lasting.code(&self.states[0], fresh.text.as_bytes()));
        }
        ChallengeId::of(self.states[0].code([fresh.text.as_bytes()]))
    }

    /// As [`SecretRing::verify`], for an echoed challenge whose first four slots are this offer's.
    ///
    /// # Errors
    /// [`NotOurs`] when no secret made this id, or when a slot contains the separator `|`.
    ///
    /// ```
    /// # use mpp::protocol::{FreshSlots, Secret, SecretRing};
    /// let offer = SecretRing::new(Secret::generate()).prefix("example.com", "tempo", "charge", "e30");
    /// let id = offer.id(&FreshSlots::new("2026-11-21T10:05:00Z", "", "e30"));
    /// assert!(offer.verify("2026-11-21T10:05:00Z", "", "e30", id.as_str()).is_ok());
    /// assert!(offer.verify("2026-11-21T10:05:01Z", "", "e30", id.as_str()).is_err());
    /// ```
    pub fn verify(&self, expires: &str, digest: &str, opaque: &str, id: &str) -> Result<(), NotOurs> {
        let ours = self
            .states
            .iter()
            .fold(Choice::from(0), |ours, state| ours | finish(state, expires, digest, opaque).is(id));
        judge(ours, &[expires, digest, opaque])
    }
}

/// Ours, and no slot has a separator in it. Looked for last: a forged id needs no second reason.
fn judge(ours: Choice, slots: &[&str]) -> Result<(), NotOurs> {
    let ambiguous = || slots.iter().any(|slot| memchr::memchr(b'|', slot.as_bytes()).is_some());
    if bool::from(ours) && !ambiguous() { Ok(()) } else { Err(NotOurs) }
}

fn finish(state: &MacState, expires: &str, digest: &str, opaque: &str) -> ChallengeId {
    let (expires, digest, opaque) = (expires.as_bytes(), digest.as_bytes(), opaque.as_bytes());
    ChallengeId::of(match digest {
        // What nearly every challenge is.
        [] => state.code([expires, b"||", opaque]),
        _ => state.code([expires, b"|", digest, b"|", opaque]),
    })
}

impl fmt::Debug for BoundPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundPrefix(..)")
    }
}

/// The slots that differ from challenge to challenge: expires, digest and opaque, as they are on the wire. An absent one is
/// empty.
///
/// They are the same for all offers of one answer, and written once for them, as they are bound: joined by `|`.
///
/// ```
/// use mpp::protocol::FreshSlots;
/// let fresh = FreshSlots::new("2026-11-21T10:05:00Z", "", "e30");
/// assert_eq!((fresh.expires(), fresh.digest(), fresh.opaque()), ("2026-11-21T10:05:00Z", "", "e30"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshSlots {
    text: String,
    /// How long the first two are.
    expires: usize,
    digest: usize,
}

impl FreshSlots {
    /// These three.
    ///
    /// ```
    /// # use mpp::protocol::FreshSlots;
    /// assert_eq!(FreshSlots::new("", "", "e30").opaque(), "e30");
    /// ```
    pub fn new(expires: &str, digest: &str, opaque: &str) -> FreshSlots {
        FreshSlots::ending_in(expires, digest, opaque.len(), |text| text.push_str(opaque))
    }

    /// With an opaque that is written in its place, of about so many bytes.
    pub(crate) fn ending_in(
        expires: &str,
        digest: &str,
        length: usize,
        opaque: impl FnOnce(&mut String),
    ) -> FreshSlots {
        let mut text = String::with_capacity(expires.len() + digest.len() + "||".len() + length);
        text.push_str(expires);
        text.push('|');
        text.push_str(digest);
        text.push('|');
        opaque(&mut text);
        FreshSlots { text, expires: expires.len(), digest: digest.len() }
    }

    /// Slot 4.
    ///
    /// ```
    /// # use mpp::protocol::FreshSlots;
    /// assert_eq!(FreshSlots::new("2026-11-21T10:05:00Z", "", "").expires(), "2026-11-21T10:05:00Z");
    /// ```
    pub fn expires(&self) -> &str {
        &self.text[..self.expires]
    }

    /// Slot 5.
    ///
    /// ```
    /// # use mpp::protocol::FreshSlots;
    /// assert_eq!(FreshSlots::new("", "sha-256=:e30=:", "").digest(), "sha-256=:e30=:");
    /// ```
    pub fn digest(&self) -> &str {
        &self.text[self.expires + 1..][..self.digest]
    }

    /// Slot 6.
    ///
    /// ```
    /// # use mpp::protocol::FreshSlots;
    /// assert_eq!(FreshSlots::new("", "", "e30").opaque(), "e30");
    /// ```
    pub fn opaque(&self) -> &str {
        &self.text[self.expires + self.digest + 2..]
    }
}

/// The id of a challenge of ours: base64url of 32 bytes, 43 characters.
///
/// A challenge received from another server may have any id; that is a string. This is one this side made, or one read
/// back from a store.
///
/// ```
/// use mpp::protocol::{ChallengeId, Secret, SecretRing, Slots};
///
/// let id = SecretRing::new(Secret::generate()).id(&Slots::default());
/// assert_eq!(id.as_str().len(), 43);
/// assert_eq!(ChallengeId::parse(id.as_str()), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChallengeId(ArrayString<43>);

impl ChallengeId {
    /// Reads exactly 43 characters that are the base64url of 32 bytes.
    ///
    /// # Errors
    /// [`ChallengeIdError`]: anything else.
    ///
    /// ```
    /// # use mpp::protocol::ChallengeId;
    /// assert!(ChallengeId::parse("X6v1eo7fJ76gAxqY0xN9Jd__4lUyDDYmriryOM-5FO4").is_ok());
    /// assert!(ChallengeId::parse("X6v1eo7fJ76gAxqY0xN9Jd__4lUyDDYmriryOM-5FO5").is_err(), "stray bits");
    /// ```
    pub fn parse(text: &str) -> Result<ChallengeId, ChallengeIdError> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => ArrayString::from(text).map(ChallengeId).map_err(|_| ChallengeIdError),
            _ => Err(ChallengeIdError),
        }
    }

    /// The 43 characters.
    ///
    /// ```
    /// # use mpp::protocol::{Secret, SecretRing, Slots};
    /// assert!(SecretRing::new(Secret::generate()).id(&Slots::default()).as_str().is_ascii());
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this id, in a time that depends on its length alone. By words: byte by byte takes a tenth of what a
    /// forged credential costs.
    fn is(&self, text: &str) -> Choice {
        if text.len() != self.0.len() {
            return Choice::from(0);
        }
        let ((ours, our_rest), (theirs, their_rest)) = (words(self.0.as_bytes()), words(text.as_bytes()));
        let differences =
            ours.zip(theirs).fold(our_rest ^ their_rest, |all, (ours, theirs)| all | (ours ^ theirs));
        differences.ct_eq(&0)
    }

    fn of(mac: [u8; 32]) -> ChallengeId {
        let mut text = [0; 43];
        let id = base64_simd::URL_SAFE_NO_PAD.encode_as_str(&mac, base64_simd::Out::from_slice(&mut text));
        ChallengeId(ArrayString::from(id).expect("32 bytes are 43 characters of base64"))
    }
}

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChallengeId({})", self.as_str())
    }
}

impl AsRef<str> for ChallengeId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for ChallengeId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

/// The text is not the id of a challenge of ours.
///
/// ```
/// # use mpp::protocol::{ChallengeId, ChallengeIdError};
/// assert_eq!(ChallengeId::parse("x7Tg2pLqR9mKvNwY3hBcZa"), Err(ChallengeIdError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a challenge id of 43 base64url characters")]
pub struct ChallengeIdError;

/// A key derived from a [`SecretRing`]: wiped when dropped, never printed.
///
/// ```
/// # use mpp::protocol::{Secret, SecretRing};
/// let keys = SecretRing::new(Secret::generate()).keys_for("plans");
/// assert_eq!(format!("{:?}", keys[0]), "DerivedKey(..)");
/// ```
#[derive(Clone)]
pub struct DerivedKey([u8; 32]);

impl DerivedKey {
    /// The key itself.
    ///
    /// ```
    /// # use mpp::protocol::{Secret, SecretRing};
    /// assert_eq!(SecretRing::new(Secret::generate()).keys_for("plans")[0].as_bytes().len(), 32);
    /// ```
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for DerivedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(..)")
    }
}

/// Eight bytes each as a number, and what is left.
fn words(bytes: &[u8]) -> (impl Iterator<Item = u64>, u64) {
    let (whole, rest) = bytes.as_chunks();
    let rest = rest.iter().fold(0, |rest, byte| rest << 8 | u64::from(*byte));
    (whole.iter().map(|word| u64::from_le_bytes(*word)), rest)
}

fn mac(key: &MacState, slots: &Slots<'_>) -> [u8; 32] {
    let [first, others @ ..] = slots.in_order();
    let others = others.iter().flat_map(|slot| [&b"|"[..], slot.as_bytes()]);
    key.code([first.as_bytes()].into_iter().chain(others))
}

/// HMAC over kind, label and context. The leading NUL keeps it apart from challenge inputs, which begin with a realm;
/// lengths keep the parts apart.
fn derived_key(key: &MacState, kind: &[u8], label: &str, context: &[u8]) -> DerivedKey {
    let parts = [kind, label.as_bytes(), context];
    let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
    let parts = lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]);
    DerivedKey(key.code([&b"\0mpp derived"[..]].into_iter().chain(parts)))
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::b64;
    use super::*;

    /// The shared vectors use secrets that are too short to be configured.
    fn ring(secret: &str) -> SecretRing {
        SecretRing::new(Secret(secret.into()))
    }

    #[test]
    fn an_id_that_differs_in_one_character_or_in_length_is_not_ours() {
        let ring = SecretRing::new(Secret::generate());
        let slots = Slots { realm: "r", method: "m", intent: "charge", request: "e30", ..Slots::default() };
        let (id, offer) = (ring.id(&slots), ring.prefix("r", "m", "charge", "e30"));
        for at in 0..id.as_str().len() {
            let mut other = id.as_str().to_owned().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8(other).unwrap();
            assert!(
                ring.verify(&slots, &other).is_err() && offer.verify("", "", "", &other).is_err(),
                "{at}"
            );
        }
        for other in ["", &id.as_str()[..42], &format!("{id}A"), &format!("{id}\0")] {
            assert!(ring.verify(&slots, other).is_err(), "{other}");
        }
        assert!(ring.verify(&slots, id.as_str()).is_ok() && offer.verify("", "", "", id.as_str()).is_ok());
    }

    #[test]
    fn ids_agree_with_the_vectors_every_sdk_shares() {
        let ring = ring("test-vector-secret");
        let amount = b64::encode(r#"{"amount":"1000000"}"#);
        let pi = b64::encode(r#"{"pi":"pi_3abc123XYZ"}"#);
        let deposit = b64::encode(r#"{"deposit":"dep_456","pi":"pi_3abc123XYZ"}"#);
        let digest = "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE";
        let expires = "2025-01-06T12:00:00Z";
        let base = Slots {
            realm: "api.example.com",
            method: "tempo",
            intent: "charge",
            request: &amount,
            ..Slots::default()
        };
        for (slots, id) in [
            (base, "X6v1eo7fJ76gAxqY0xN9Jd__4lUyDDYmriryOM-5FO4"),
            (Slots { expires, ..base }, "ChPX33RkKSZoSUyZcu8ai4hhkvjZJFkZVnvWs5s0iXI"),
            (Slots { digest, ..base }, "JHB7EFsPVb-xsYCo8LHcOzeX1gfXWVoUSzQsZhKAfKM"),
            (Slots { expires, digest, ..base }, "m39jbWWCIfmfJZSwCfvKFFtBl0Qwf9X4nOmDb21peLA"),
            (Slots { opaque: &pi, ..base }, "rxzKZ2qjXvinqCH96RORTZEPs1KXsA-0AUjrCAPFOWc"),
            (Slots { opaque: &pi, expires, ..base }, "KAfoMrA4fnzS1DPWN_cUv_b3_yHxCizdp6OhH7gluMY"),
            (Slots { opaque: "e30", ..base }, "vb4IyH-0LdJ3s7L0QAw8jIzcZkyxksPhIvEfmHmzA9k"),
            (Slots { opaque: &deposit, ..base }, "aKskU8sadR5ZuFbUCsIwhO-ENxuVpTw17FdwHEXsJDk"),
            (Slots { request: "e30", ..base }, "yLN7yChAejW9WNmb54HpJIWpdb1WWXeA3_aCx4dxmkU"),
            (Slots { intent: "session", ..base }, "aAY7_IEDzsznNYplhOSE8cERQxvjFcT4Lcn-7FHjLVE"),
            (Slots { method: "stripe", ..base }, "o0ra2sd7HcB4Ph0Vns69gRDUhSj5WNOnUopcDqKPLz4"),
            (
                Slots { expires, digest: "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", ..base },
                "lY96TQ3rR3uyB5A2eXXsYDR2w0zNgOcIK3wJu6Xnwto",
            ),
        ] {
            assert_eq!(ring.id(&slots).as_str(), id);
            assert_eq!(ring.verify(&slots, id), Ok(()));
            let offer = ring.prefix(slots.realm, slots.method, slots.intent, slots.request);
            assert_eq!(offer.id(&FreshSlots::new(slots.expires, slots.digest, slots.opaque)).as_str(), id);
        }
    }

    #[test]
    fn text_beyond_ascii_is_bound_as_utf_8() {
        let request = super::super::to_jcs(&serde_json::json!({
            "amount": "100",
            "currency": "EUR",
            "recipient": "0x1111111111111111111111111111111111111111",
            "description": "Payment for café ☕",
        }));
        let request = b64::encode(request.unwrap());
        let slots = Slots {
            realm: "api.example.com",
            method: "tempo",
            intent: "charge",
            request: &request,
            ..Slots::default()
        };
        assert_eq!(ring("unicode-test-key").id(&slots), *"1_GKJqATKvVnIUY3f8MFq48bMs18JHz_3CBK8pu52yA");
    }

    const SLOTS: Slots<'_> = Slots {
        realm: "api.example.com",
        method: "tempo",
        intent: "charge",
        request: "e30",
        expires: "2026-11-21T10:05:00Z",
        digest: "sha-256=:x:",
        opaque: "e31",
    };

    #[test]
    fn a_change_of_any_slot_or_of_the_id_is_noticed() {
        let ring = SecretRing::new(Secret::generate());
        let id = ring.id(&SLOTS);
        for changed in [
            Slots { realm: "api.example.org", ..SLOTS },
            Slots { method: "stripe", ..SLOTS },
            Slots { intent: "session", ..SLOTS },
            Slots { request: "e31", ..SLOTS },
            Slots { expires: "", ..SLOTS },
            Slots { digest: "", ..SLOTS },
            Slots { opaque: "", ..SLOTS },
            Slots { expires: SLOTS.digest, digest: SLOTS.expires, ..SLOTS },
        ] {
            assert_eq!(ring.verify(&changed, id.as_str()), Err(NotOurs));
        }
        for forged in ["", "x", &id.as_str()[..42], &format!("{id}A"), &id.as_str().to_lowercase()] {
            assert_eq!(ring.verify(&SLOTS, forged), Err(NotOurs));
        }
    }

    #[test]
    fn slots_with_the_separator_never_verify() {
        let ring = SecretRing::new(Secret::generate());
        let one = Slots { realm: "a|b", method: "c", ..SLOTS };
        let other = Slots { realm: "a", method: "b|c", ..SLOTS };
        let id = ring.id(&one);
        assert_eq!(id, ring.id(&other), "this is why");
        assert_eq!(ring.verify(&one, id.as_str()), Err(NotOurs));
        assert_eq!(ring.verify(&other, id.as_str()), Err(NotOurs));
    }

    #[test]
    fn a_secret_can_be_replaced_in_three_deployments() {
        let (old, new) = (Secret::generate(), Secret::generate());
        let deployments = [
            SecretRing::new(old.clone()),
            SecretRing::new(old.clone()).also(new.clone()),
            SecretRing::new(new.clone()).also(old),
            SecretRing::new(new),
        ];
        for pair in deployments.windows(2) {
            for (signer, verifier) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                assert_eq!(verifier.verify(&SLOTS, signer.id(&SLOTS).as_str()), Ok(()));
            }
        }
        assert_eq!(deployments[3].verify(&SLOTS, deployments[0].id(&SLOTS).as_str()), Err(NotOurs));
    }

    #[test]
    fn derived_rings_and_keys_are_apart_from_each_other_and_from_the_ring() {
        let ring = SecretRing::new(Secret::generate()).also(Secret::generate());
        let rings = [
            ring.clone(),
            ring.derive("boot", b""),
            ring.derive("boot", b"1"),
            ring.derive("boo", b"t1"),
            ring.derive("", b"boot1"),
        ];
        let ids: HashSet<_> = rings.iter().map(|ring| ring.id(&SLOTS)).collect();
        assert_eq!(ids.len(), rings.len());
        let keys: HashSet<_> =
            ["a", "b"].iter().flat_map(|label| ring.keys_for(label)).map(|key| *key.as_bytes()).collect();
        assert_eq!(keys.len(), 4);
        assert_eq!(ring.derive("boot", b"1").id(&SLOTS), ring.derive("boot", b"1").id(&SLOTS));
    }

    /// Computed by Python's `hmac`. A version that derived others could not open the plans of the one before it.
    #[test]
    fn derived_keys_and_rings_are_those_of_earlier_versions() {
        let ring = ring("test-vector-secret");
        assert_eq!(
            ring.keys_for("label")[0].as_bytes()[..8],
            [0x60, 0xe6, 0x19, 0x52, 0x3c, 0x1a, 0x0a, 0x5a]
        );
        let slots = Slots {
            realm: "api.example.com",
            method: "tempo",
            intent: "charge",
            request: "e30",
            ..Slots::default()
        };
        let id = ring.derive("label", b"context").id(&slots);
        assert_eq!(id.as_str(), "xzFWGqNxCAF24OSsaCYDYO79gfsHW8QtvGG7sgin8FA");
    }

    #[test]
    fn secrets_have_a_least_length_and_a_hexadecimal_form() {
        assert_eq!(Secret::from_bytes([0; 31]).unwrap_err(), SecretError::TooShort { bytes: 31 });
        assert_eq!(Secret::from_hex(&"ab".repeat(31)).unwrap_err(), SecretError::TooShort { bytes: 31 });
        for wrong in ["abc", "zz", "é", "0x00"] {
            assert_eq!(Secret::from_hex(wrong).unwrap_err(), SecretError::NotHex, "{wrong}");
        }
        let text = format!("  {}\n", "0A".repeat(32));
        assert_eq!(*Secret::from_hex(&text).unwrap().expose_hex(), "0a".repeat(32));
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::from_bytes(*b"0123456789abcdef0123456789abcdef").unwrap();
        let ring = SecretRing::new(secret.clone()).also(secret.clone());
        let printed = format!(
            "{secret:?} {ring:?} {:?} {:?} {:?}",
            ring.prefix("r", "m", "i", "q"),
            ring.keys_for("a"),
            ring.derive("b", b"c"),
        );
        assert_eq!(
            printed,
            "Secret(..) SecretRing(2 secrets) BoundPrefix(..) [DerivedKey(..), DerivedKey(..)] SecretRing(2 secrets)"
        );
    }

    proptest! {
        #[test]
        fn an_id_verifies_for_its_slots_and_parses(slots in proptest::array::uniform7("[^|]{0,20}")) {
            let ring = ring("any").also(Secret::generate());
            let [realm, method, intent, request, expires, digest, opaque] = &slots;
            let slots = Slots { realm, method, intent, request, expires, digest, opaque };
            let id = ring.id(&slots);
            prop_assert_eq!((ring.verify(&slots, id.as_str()), ChallengeId::parse(id.as_str())), (Ok(()), Ok(id)));
            let (offer, fresh) = (ring.prefix(realm, method, intent, request), FreshSlots::new(expires, digest, opaque));
            prop_assert_eq!(offer.id(&fresh), id);
            #[cfg(feature = "server")]
            prop_assert_eq!(offer.lasting().id(&fresh), id);
        }

        #[test]
        fn reading_ids_and_secrets_never_panics(text in ".*") {
            let _ = (ChallengeId::parse(&text), Secret::from_hex(&text));
            prop_assert!(ring("any").verify(&SLOTS, &text).is_err());
        }
    }
}
