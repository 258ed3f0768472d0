//! Looking at a credential: what a method is shown, what it finds, and why it says no.
//!
//! [`verify`](super::ServerMethod::verify) has no side effects (draft-httpauth-payment-00 section 11.3): it says what would pay,
//! and by which single-use keys, which the pipeline claims before anything is settled.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::SettlementPlan;
use crate::protocol::{Challenge, ChargeRequest, ProblemType, Timestamp};

/// An authentic credential for one of this method's own offers, with everything a method may look at.
///
/// The challenge has been issued by this server for this route, is unexpired and matches the request's body.
///
/// ```
/// # #[cfg(all(feature = "sandbox", feature = "server"))] {
/// # use mpp::method::{ClientMethod, CredentialCx, MethodCurrency, OfferCx, ServerMethod, SettleCx, Settlement, sandbox::Wallet};
/// # use mpp::protocol::{BaseUnits, Challenge, Intent, Timestamp};
/// # use mpp::{Amount, Clock, Sandbox, SystemClock};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let alice = Wallet::generate();
/// # let method = Sandbox::new().account(&alice.did(), Amount::whole(10));
/// # let usdc = ServerMethod::currency(&method, "usdc").unwrap();
/// # let request = method.offer(&OfferCx::new(BaseUnits::new(50_000), &usdc)).unwrap();
/// # let challenge = Challenge {
/// #     id: "x7Tg".into(),
/// #     realm: "api.example.com".into(),
/// #     method: method.name().clone(),
/// #     intent: Intent::CHARGE,
/// #     request: request.encode(),
/// #     expires: None,
/// #     digest: None,
/// #     opaque: None,
/// #     description: None,
/// # };
/// # let proof = alice.pay(&challenge).await.unwrap();
/// # let now = SystemClock.now();
/// # let expires = now + std::time::Duration::from_secs(300);
/// let credential = CredentialCx::new(&challenge, &request, &proof.payload, expires, now);
/// let verified = method.verify(&credential).await.unwrap();
/// assert_eq!(verified.payer, Some(alice.did()));
/// assert!(!format!("{credential:?}").contains("signature"));
/// # });
/// # }
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct CredentialCx<'a> {
    /// The challenge as echoed; its HMAC has been verified.
    pub challenge: &'a Challenge,
    /// The decoded `request` of that challenge.
    pub request: &'a ChargeRequest,
    /// The method-specific proof.
    pub payload: &'a Map<String, Value>,
    /// The payer the credential names (usually a DID); unverified.
    pub source: Option<&'a str>,
    /// When the challenge expires.
    pub expires: Timestamp,
    /// Now, by the server's clock.
    pub now: Timestamp,
    /// Who asks, for fair shares of scarce work: the peer's IPv4 address or IPv6 /64 network, or empty when unknown. Behind a
    /// reverse proxy it is the proxy, unless the server was told which ones to
    /// [trust](crate::Builder::trusted_proxies).
    pub client: &'a str,
}

impl fmt::Debug for CredentialCx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The payload authorises a payment: never printed.
        f.debug_struct("CredentialCx").field("challenge", &self.challenge.id).finish_non_exhaustive()
    }
}

impl<'a> CredentialCx<'a> {
    /// For tests of a method outside the pipeline.
    ///
    /// ```
    /// # #[cfg(all(feature = "sandbox", feature = "server"))] {
    /// # use mpp::method::{ClientMethod, CredentialCx, MethodCurrency, OfferCx, ServerMethod, SettleCx, Settlement, sandbox::Wallet};
    /// # use mpp::protocol::{BaseUnits, Challenge, Intent, Timestamp};
    /// # use mpp::{Amount, Clock, Sandbox, SystemClock};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// // An offer, paid by a wallet, as the method would see it behind the pipeline.
    /// let alice = Wallet::generate();
    /// let method = Sandbox::new().account(&alice.did(), Amount::whole(10));
    /// let usdc = ServerMethod::currency(&method, "usdc").unwrap();
    /// let request = method.offer(&OfferCx::new(BaseUnits::new(50_000), &usdc)).unwrap();
    /// let challenge = Challenge {
    ///     id: "x7Tg".into(),
    ///     realm: "api.example.com".into(),
    ///     method: method.name().clone(),
    ///     intent: Intent::CHARGE,
    ///     request: request.encode(),
    ///     expires: None,
    ///     digest: None,
    ///     opaque: None,
    ///     description: None,
    /// };
    /// let proof = alice.pay(&challenge).await.unwrap();
    /// let now = SystemClock.now();
    /// let expires = now + std::time::Duration::from_secs(300);
    /// let credential = CredentialCx::new(&challenge, &request, &proof.payload, expires, now);
    /// let verified = method.verify(&credential).await.unwrap();
    /// assert_eq!(credential.source, None);
    /// # });
    /// # }
    /// ```
    pub fn new(
        challenge: &'a Challenge,
        request: &'a ChargeRequest,
        payload: &'a Map<String, Value>,
        expires: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self { challenge, request, payload, source: None, expires, now, client: "" }
    }
}

/// A credential that would pay, and what has to be claimed before it does.
///
/// ```
/// use mpp::method::{SettlementPlan, Verified};
/// use serde_json::json;
///
/// // Whatever challenge it is shown for, a transaction pays once: its hash is claimed beside the challenge id.
/// let verified = Verified {
///     payer: Some("did:pkh:eip155:4217:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00".into()),
///     proof_keys: vec!["0x9f3c".into()],
///     plan: SettlementPlan(json!({ "transaction": "0x9f3c" })),
/// };
/// assert!(!format!("{verified:?}").contains("0x9f3c"));
/// ```
#[derive(Clone)]
pub struct Verified {
    /// Who pays, as the method established it (not as the credential claims).
    pub payer: Option<String>,
    /// Single-use keys of the proof besides the challenge id: a transaction hash, a token id. Canonical spelling, of any
    /// length; the store has a hash of each.
    pub proof_keys: Vec<String>,
    /// All that `settle` needs.
    pub plan: SettlementPlan,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key may be a token that pays.
        f.debug_struct("Verified")
            .field("payer", &self.payer)
            .field("proof_keys", &self.proof_keys.len())
            .finish_non_exhaustive()
    }
}

/// Why a credential was not accepted.
///
/// ```
/// use mpp::{method::Rejection, protocol::ProblemType};
///
/// let too_little = Rejection::Refused {
///     kind: ProblemType::PaymentInsufficient,
///     detail: "the transfer is of 0.01, the challenge asks for 0.05".into(),
/// };
/// assert_ne!(too_little, Rejection::failed("the signature is not the payer's"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Rejection {
    /// The client's fault or misfortune: answered with this problem and, where the type is a 402, a fresh challenge.
    Refused {
        /// The problem type.
        kind: ProblemType,
        /// One sentence for the client; no secrets, no internals.
        detail: Cow<'static, str>,
    },
    /// Our side cannot tell now (RPC down, store trouble): 503 without a challenge.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// For the operator's log; never sent to a client.
        detail: String,
    },
}

impl Rejection {
    /// The proof does not verify: 402 `verification-failed`.
    ///
    /// ```
    /// # use mpp::{method::Rejection, protocol::ProblemType};
    /// let Rejection::Refused { kind, .. } = Rejection::failed("no such transaction") else { panic!() };
    /// assert_eq!(kind, ProblemType::VerificationFailed);
    /// ```
    pub fn failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { kind: ProblemType::VerificationFailed, detail: detail.into() }
    }

    /// The payload is not of the method's shape: 402 `malformed-credential`.
    ///
    /// ```
    /// # use mpp::{method::Rejection, protocol::ProblemType};
    /// let Rejection::Refused { kind, .. } = Rejection::malformed("`hash` is not a text") else { panic!() };
    /// assert_eq!(kind, ProblemType::MalformedCredential);
    /// ```
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { kind: ProblemType::MalformedCredential, detail: detail.into() }
    }

    /// We cannot tell: 503 with `Retry-After`, and no challenge. `detail` is for the operator only.
    ///
    /// ```
    /// # use mpp::method::Rejection;
    /// # use std::time::Duration;
    /// let later = Rejection::unavailable(Duration::from_secs(5), "the node is ten minutes behind");
    /// assert!(matches!(later, Rejection::Unavailable { .. }));
    /// ```
    pub fn unavailable(retry_after: Duration, detail: impl Into<String>) -> Self {
        Self::Unavailable { retry_after, detail: detail.into() }
    }
}
