//! The wire types and rules of the Machine Payments Protocol, and nothing else.
//!
//! Everything here is pure: no I/O, no async runtime, no web framework, no clock. Text goes in, typed values come out,
//! and what cannot be right cannot be held. The server, the client and every payment method are built on this module;
//! it depends on none of them and compiles without a single Cargo feature.
//!
//! Where to find what (`core` is draft-httpauth-payment-00, `charge` is draft-payment-intent-charge-00):
//!
//! | file | what | draft |
//! | --- | --- | --- |
//! | [`challenge`] | the offer in `WWW-Authenticate` | core, "Challenge" |
//! | [`credential`] | the answer in `Authorization` | core, "Credentials" |
//! | [`authorization`] | finding that answer among other schemes | RFC 9110 section 11 |
//! | [`receipt`] | the proof in `Payment-Receipt` | core, "Payment-Receipt Header" |
//! | [`binding`] | secrets, and the HMAC that makes a challenge ours | core, "Challenge Binding" |
//! | [`prepared`] | a challenge that is issued over and over | core, "Challenge" |
//! | [`accept`] | what a client says it can pay with | core, "Client Payment Preferences" |
//! | [`problem`] | what a refusal says | core, "Error Handling"; RFC 9457 |
//! | [`charge`] | the request of a one-time payment | charge |
//! | [`amount`], [`currency`] | prices as people write them, money as networks count it | charge |
//! | [`name`], [`timestamp`], [`digest`], [`did`], [`opaque`] | the small values inside | core |
//! | [`jcs`], [`b64`] | the two encodings | RFC 8785, RFC 4648 |
//!
//! Nothing received can panic here, and every decoder has a size limit that is checked before it decodes.

pub mod accept;
pub mod amount;
pub mod authorization;
pub mod b64;
pub mod binding;
pub mod challenge;
pub mod charge;
pub mod credential;
pub mod currency;
pub mod did;
pub mod digest;
mod finite;
pub mod jcs;
#[cfg(feature = "server")]
mod lasting;
mod mac;
pub mod name;
pub mod opaque;
mod plain;
pub mod prepared;
pub mod problem;
pub mod receipt;
mod sorted;
pub mod timestamp;

pub use self::accept::{AcceptError, AcceptPayment};
pub use self::amount::{Amount, AmountError, BaseUnits, BaseUnitsError};
pub use self::authorization::{Authorization, PaymentElement};
pub use self::binding::{
    BoundPrefix, ChallengeId, ChallengeIdError, DerivedKey, FreshSlots, NotOurs, Secret, SecretError,
    SecretRing, Slots,
};
pub use self::challenge::{Challenge, ChallengeError, Challenges, write_quoted};
pub use self::charge::{ChargeRequest, RequestError};
pub use self::credential::{
    ChallengeRef, Credential, CredentialBuf, CredentialError, CredentialRef, Fingerprint, RawPayload,
};
pub use self::currency::Currency;
pub use self::did::{Did, DidError, PublicKey};
pub use self::digest::{BodyDigest, BodyHasher, DigestError};
pub use self::jcs::{JcsError, to_jcs};
pub use self::name::{Intent, MethodName, NameError, Realm};
pub use self::opaque::{Opaque, OpaqueError};
pub use self::prepared::PreparedChallenge;
#[cfg(feature = "server")]
pub(crate) use self::problem::Detail;
pub use self::problem::{Problem, ProblemType, ReceivedProblem};
pub use self::receipt::{Receipt, ReceiptError};
pub use self::timestamp::{Rfc3339, Timestamp, TimestampError};

/// The media type of a [`Problem`] body (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Largest encoded `request` or `opaque` parameter that is decoded, in characters ([`RequestError::TooLarge`],
/// [`OpaqueError::TooLarge`]).
pub const MAX_REQUEST_CHARS: usize = 16 * 1024;
/// Largest encoded credential that is decoded, in characters ([`CredentialError::TooLarge`]).
pub const MAX_CREDENTIAL_CHARS: usize = 64 * 1024;
/// Largest encoded receipt that is decoded, in characters ([`ReceiptError::TooLarge`]).
pub const MAX_RECEIPT_CHARS: usize = 16 * 1024;
