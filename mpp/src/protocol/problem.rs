//! What a refusal says: RFC 9457 problem details (core draft, "Error Handling"; the session drafts' error tables).
//!
//! The server writes a [`Problem`], a client reads a [`ReceivedProblem`]; the one list of types is [`ProblemType`].

use std::borrow::Cow;
use std::time::Duration;

use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::{Map, Value};

/// Largest problem body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

macro_rules! problem_types {
    ($($(#[$doc:meta])* $variant:ident = $uri:literal, $title:literal, $status:literal;)*) => {
        /// The kinds of refusal: every one of the drafts, and this project's own for statuses the drafts leave open.
        ///
        /// The drafts' types are `https://paymentauth.org/problems/…`; this project's own are `urn:mpp:problem:…`, names
        /// and not addresses, each documented at its variant.
        ///
        /// ```
        /// use mpp::protocol::ProblemType;
        /// assert_eq!(ProblemType::MethodUnsupported.status(), 400);
        /// assert_eq!(ProblemType::PaymentRequired.uri(), "https://paymentauth.org/problems/payment-required");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ProblemType {
            $($(#[$doc])* $variant,)*
        }

        impl ProblemType {
            /// Every type.
            pub const ALL: &'static [ProblemType] = &[$(ProblemType::$variant,)*];

            /// The `type` member.
            ///
            /// ```
            /// # use mpp::protocol::ProblemType;
            /// assert_eq!(ProblemType::InProgress.uri(), "urn:mpp:problem:in-progress");
            /// ```
            pub const fn uri(self) -> &'static str {
                match self { $(ProblemType::$variant => $uri,)* }
            }

            /// The `title` member.
            ///
            /// ```
            /// # use mpp::protocol::ProblemType;
            /// assert_eq!(ProblemType::PaymentExpired.title(), "Payment Expired");
            /// ```
            pub const fn title(self) -> &'static str {
                match self { $(ProblemType::$variant => $title,)* }
            }

            /// A body up to its `detail`, whose first quote is in it.
            const fn json_head(self) -> &'static str {
                match self {
                    $(ProblemType::$variant => concat!(
                        "{\"type\":\"", $uri, "\",\"title\":\"", $title, "\",\"status\":", $status, ",\"detail\":\""
                    ),)*
                }
            }

            /// The HTTP status it is answered with.
            ///
            /// ```
            /// # use mpp::protocol::ProblemType;
            /// assert_eq!(ProblemType::Unavailable.status(), 503);
            /// ```
            pub const fn status(self) -> u16 {
                match self { $(ProblemType::$variant => $status,)* }
            }
        }
    };
}

problem_types! {
    /// No credential.
    PaymentRequired = "https://paymentauth.org/problems/payment-required", "Payment Required", 402;
    /// The amount is too low.
    PaymentInsufficient = "https://paymentauth.org/problems/payment-insufficient", "Payment Insufficient", 402;
    /// An authentic challenge, past its end.
    PaymentExpired = "https://paymentauth.org/problems/payment-expired", "Payment Expired", 402;
    /// The proof does not verify.
    VerificationFailed = "https://paymentauth.org/problems/verification-failed", "Verification Failed", 402;
    /// A payment method that is not accepted here.
    MethodUnsupported = "https://paymentauth.org/problems/method-unsupported", "Method Unsupported", 400;
    /// A credential that cannot be read.
    MalformedCredential = "https://paymentauth.org/problems/malformed-credential", "Malformed Credential", 402;
    /// A challenge that is not ours, not for this, or was used.
    InvalidChallenge = "https://paymentauth.org/problems/invalid-challenge", "Invalid Challenge", 402;

    /// A voucher's signature does not verify.
    SessionInvalidSignature = "https://paymentauth.org/problems/session/invalid-signature", "Invalid Signature", 402;
    /// A voucher is signed by somebody else.
    SessionSignerMismatch = "https://paymentauth.org/problems/session/signer-mismatch", "Signer Mismatch", 402;
    /// A voucher is over the channel's deposit.
    SessionAmountExceedsDeposit = "https://paymentauth.org/problems/session/amount-exceeds-deposit", "Amount Exceeds Deposit", 402;
    /// A voucher adds less than the smallest step.
    SessionDeltaTooSmall = "https://paymentauth.org/problems/session/delta-too-small", "Delta Too Small", 402;
    /// The session's challenge is not known.
    SessionChallengeNotFound = "https://paymentauth.org/problems/session/challenge-not-found", "Challenge Not Found", 402;
    /// What is authorized does not cover the request.
    SessionInsufficientBalance = "https://paymentauth.org/problems/session/insufficient-balance", "Insufficient Balance", 402;
    /// No such channel.
    SessionChannelNotFound = "https://paymentauth.org/problems/session/channel-not-found", "Channel Not Found", 410;
    /// The channel is closed.
    SessionChannelFinalized = "https://paymentauth.org/problems/session/channel-finalized", "Channel Finalized", 410;
    /// A transaction was reverted on chain.
    SessionTransactionReverted = "https://paymentauth.org/problems/session/transaction-reverted", "Transaction Reverted", 409;

    /// Own: the request itself is wrong, for example two Payment credentials. Correct it; nothing was taken.
    BadRequest = "urn:mpp:problem:bad-request", "Bad Request", 400;
    /// Own: the request's body did not arrive in time. Nothing was taken.
    RequestTimeout = "urn:mpp:problem:request-timeout", "Request Timeout", 408;
    /// Own: another request with the same credential is being answered. Ask again after `Retry-After` with the same one.
    InProgress = "urn:mpp:problem:in-progress", "Payment In Progress", 409;
    /// Own: the `Idempotency-Key` belongs to another request or payment. Nothing was taken now; a new purchase takes a new key.
    IdempotencyConflict = "urn:mpp:problem:idempotency-conflict", "Idempotency Conflict", 409;
    /// Own: this payment has bought its response, which cannot be sent again: it was not kept, or for another `Idempotency-Key`.
    /// Nothing was taken now; who wants another one makes a new purchase.
    AlreadyAnswered = "urn:mpp:problem:already-answered", "Already Answered", 409;
    /// Own: the request's body is larger than this resource reads. Nothing was taken.
    BodyTooLarge = "urn:mpp:problem:body-too-large", "Body Too Large", 413;
    /// Own: the price of exactly this request is out of the resource's range. Ask for less; nothing was taken.
    PriceOutOfRange = "urn:mpp:problem:price-out-of-range", "Price Out Of Range", 422;
    /// Own: this client has had its share of answers that cost it nothing. Ask again after `Retry-After`; a credential that
    /// was sent along was not claimed, and can be sent again.
    RateLimited = "urn:mpp:problem:rate-limited", "Too Many Requests", 429;
    /// Own: a fault of the server. If a credential was sent, send the same one again: it is not spent twice.
    Internal = "urn:mpp:problem:internal", "Internal Error", 500;
    /// Own: payment cannot be taken, or its outcome cannot be known, right now. Send the same credential again after
    /// `Retry-After`.
    Unavailable = "urn:mpp:problem:unavailable", "Payment Unavailable", 503;
}

impl ProblemType {
    /// The type with this `type` member.
    ///
    /// ```
    /// # use mpp::protocol::ProblemType;
    /// let kind = ProblemType::by_uri("https://paymentauth.org/problems/payment-expired");
    /// assert_eq!(kind, Some(ProblemType::PaymentExpired));
    /// assert_eq!(ProblemType::by_uri("about:blank"), None);
    /// ```
    pub fn by_uri(uri: &str) -> Option<ProblemType> {
        ProblemType::ALL.iter().copied().find(|kind| kind.uri() == uri)
    }

    /// The body of a problem of this type without further members: what a server answers most, so written by hand.
    ///
    /// ```
    /// use mpp::protocol::{Problem, ProblemType};
    /// let kind = ProblemType::InvalidChallenge;
    /// assert_eq!(kind.to_json("used \"up\"", Some("x7Tg")), Problem::new(kind, "used \"up\"").with_challenge("x7Tg").to_json());
    /// ```
    pub fn to_json(self, detail: &str, challenge_id: Option<&str>) -> String {
        self.body(Detail::from(detail), challenge_id.map(json_text))
    }

    /// As [`to_json`](Self::to_json), with a challenge of our own: nothing in its id is escaped.
    #[cfg(feature = "server")]
    pub(crate) fn to_json_with(
        self,
        detail: Detail<'_>,
        challenge_id: Option<&super::ChallengeId>,
    ) -> String {
        self.body(detail, challenge_id.map(|id| Cow::Borrowed(id.as_str())))
    }

    /// Type, title and status are shared, static text. The rest is not: a 402 names its challenge (core draft, "Problem Details"), so
    /// that there is no body to share.
    fn body(self, detail: Detail<'_>, id: Option<Cow<'_, str>>) -> String {
        let detail = if detail.is_plain { Cow::Borrowed(detail.text) } else { json_text(detail.text) };
        let id = id.filter(|_| self.carries_challenge());
        let id_len = id.as_deref().map_or(0, |id| ",\"challengeId\":\"\"".len() + id.len());
        let head = self.json_head();
        // Exactly as long as the body, so that it is not copied when it becomes one.
        let mut json = String::with_capacity(head.len() + detail.len() + "\"}".len() + id_len);
        json.push_str(head);
        json.push_str(&detail);
        json.push('"');
        if let Some(id) = id {
            json.push_str(",\"challengeId\":\"");
            json.push_str(&id);
            json.push('"');
        }
        json.push('}');
        json
    }

    /// Whether the response with this problem offers a challenge: only then does the body name one.
    ///
    /// ```
    /// # use mpp::protocol::ProblemType;
    /// assert!(ProblemType::PaymentExpired.carries_challenge());
    /// assert!(!ProblemType::Unavailable.carries_challenge(), "nobody is asked to pay again");
    /// ```
    pub const fn carries_challenge(self) -> bool {
        matches!(self.status(), 402 | 410) || matches!(self, ProblemType::SessionTransactionReverted)
    }
}

/// A refusal.
///
/// ```
/// use mpp::protocol::{Problem, ProblemType};
///
/// let problem = Problem::new(ProblemType::PaymentRequired, "This costs 0.05 usdc.").with_challenge("x7Tg");
/// assert_eq!(
///     problem.to_json(),
///     r#"{"type":"https://paymentauth.org/problems/payment-required","title":"Payment Required","status":402,"detail":"This costs 0.05 usdc.","challengeId":"x7Tg"}"#,
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What kind; decides type, title and status.
    pub kind: ProblemType,
    /// One sentence for people about this occurrence. Never internals, never secrets.
    pub detail: Cow<'static, str>,
    /// The id of the first challenge offered with it. Written only for kinds that offer one.
    pub challenge_id: Option<String>,
    /// For the `Retry-After` header, which counts whole seconds; not part of the body.
    pub retry_after: Option<Duration>,
    /// Members the kind adds, such as `channelId`. A standard member's name is not written.
    pub members: Map<String, Value>,
}

const OWN_MEMBERS: [&str; 6] = ["type", "title", "status", "detail", "instance", "challengeId"];

impl Problem {
    /// A problem of this kind.
    ///
    /// ```
    /// # use mpp::protocol::{Problem, ProblemType};
    /// let problem = Problem::new(ProblemType::PaymentExpired, "the challenge expired a minute ago");
    /// assert_eq!(problem.challenge_id, None);
    /// ```
    pub fn new(kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { kind, detail: detail.into(), challenge_id: None, retry_after: None, members: Map::new() }
    }

    /// Names the challenge offered with it.
    ///
    /// ```
    /// # use mpp::protocol::{Problem, ProblemType};
    /// let problem = Problem::new(ProblemType::PaymentExpired, "too late").with_challenge("x7Tg");
    /// assert!(problem.to_json().contains(r#""challengeId":"x7Tg""#));
    /// ```
    #[must_use]
    pub fn with_challenge(mut self, id: impl Into<String>) -> Problem {
        self.challenge_id = Some(id.into());
        self
    }

    /// Says when to come back.
    ///
    /// ```
    /// # use mpp::protocol::{Problem, ProblemType};
    /// # use std::time::Duration;
    /// let busy = Problem::new(ProblemType::Unavailable, "the node is out of reach").retry_after(Duration::from_secs(5));
    /// assert_eq!(busy.retry_after_seconds(), Some(5));
    /// ```
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Problem {
        self.retry_after = Some(after);
        self
    }

    /// Adds a member. A standard member's name is not written.
    ///
    /// ```
    /// # use mpp::protocol::{Problem, ProblemType};
    /// let problem = Problem::new(ProblemType::SessionChannelNotFound, "no such channel").member("channelId", "0xabc");
    /// assert!(problem.to_json().ends_with(r#""channelId":"0xabc"}"#));
    /// ```
    #[must_use]
    pub fn member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Problem {
        self.members.insert(name.into(), value.into());
        self
    }

    /// The HTTP status.
    ///
    /// ```
    /// # use mpp::protocol::{Problem, ProblemType};
    /// assert_eq!(Problem::new(ProblemType::PriceOutOfRange, "at most 1000 units").status(), 422);
    /// ```
    pub fn status(&self) -> u16 {
        self.kind.status()
    }

    /// The value of `Retry-After`: whole seconds, rounded up, at least one.
    ///
    /// ```
    /// # use mpp::protocol::{Problem, ProblemType};
    /// # use std::time::Duration;
    /// let soon = Problem::new(ProblemType::InProgress, "being answered").retry_after(Duration::from_millis(1500));
    /// assert_eq!(soon.retry_after_seconds(), Some(2));
    /// ```
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let after = self.retry_after?;
        Some(after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1))
    }

    /// The body, [`application/problem+json`](super::PROBLEM_JSON).
    ///
    /// ```
    /// # use mpp::protocol::{Problem, ProblemType, ReceivedProblem};
    /// let body = Problem::new(ProblemType::InvalidChallenge, "used already").to_json();
    /// let received = ReceivedProblem::parse(body.as_bytes()).unwrap();
    /// assert_eq!(received.status, Some(402));
    /// ```
    pub fn to_json(&self) -> String {
        if self.members.is_empty() {
            return self.kind.to_json(&self.detail, self.challenge_id.as_deref());
        }
        let mut json = Vec::with_capacity(256);
        self.write(&mut serde_json::Serializer::new(&mut json)).expect("strings and JSON values are JSON");
        String::from_utf8(json).expect("JSON is UTF-8")
    }

    fn write(&self, serializer: &mut serde_json::Serializer<&mut Vec<u8>>) -> Result<(), serde_json::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", self.kind.uri())?;
        members.serialize_entry("title", self.kind.title())?;
        members.serialize_entry("status", &self.kind.status())?;
        members.serialize_entry("detail", &self.detail)?;
        if let Some(id) = self.challenge_id.as_ref().filter(|_| self.kind.carries_challenge()) {
            members.serialize_entry("challengeId", id)?;
        }
        for (name, value) in &self.members {
            if !OWN_MEMBERS.contains(&name.as_str()) {
                members.serialize_entry(name, value)?;
            }
        }
        members.end()
    }
}

/// What a problem says of its occurrence.
#[derive(Clone, Copy)]
pub(crate) struct Detail<'a> {
    pub(crate) text: &'a str,
    /// Whether it is known that nothing in it is escaped.
    is_plain: bool,
}

impl<'a> From<&'a str> for Detail<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, is_plain: false }
    }
}

impl Detail<'static> {
    /// A sentence of ours, which the compiler looks at where it is a `const`, so that nobody has to for each request.
    #[cfg(feature = "server")]
    pub(crate) const fn plain(text: &'static str) -> Self {
        assert!(is_plain(text), "something in this is escaped in JSON");
        Self { text, is_plain: true }
    }
}

/// Whether this is, as it is, what stands between the quotes of a JSON string.
const fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut plain) = (0, true);
    // Without a way out in the middle the compiler looks at many bytes at once.
    while at < bytes.len() {
        let b = bytes[at];
        plain &= matches!(b, b' '..=b'~') & (b != b'"') & (b != b'\\');
        at += 1;
    }
    plain
}

/// What stands between the quotes of a JSON string. Nearly every text is plain.
fn json_text(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let quoted = Value::from(text).to_string();
    Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
}

/// A problem some server sent, read leniently: whatever is missing or strange is left out.
///
/// ```
/// use mpp::protocol::{ProblemType, ReceivedProblem};
///
/// let body = br#"{"type":"https://paymentauth.org/problems/invalid-challenge","detail":"used"}"#;
/// let problem = ReceivedProblem::parse(body).unwrap();
/// assert_eq!(problem.kind(), Some(ProblemType::InvalidChallenge));
/// assert_eq!(problem.detail.as_deref(), Some("used"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedProblem {
    /// The `type` member; `about:blank` when there is none (RFC 9457 section 3.1.1).
    pub type_uri: String,
    /// The `title` member.
    pub title: Option<String>,
    /// The `status` member, where it is a status.
    pub status: Option<u16>,
    /// The `detail` member. The server's text: not to be trusted, only to be shown.
    pub detail: Option<String>,
    /// The `challengeId` member.
    pub challenge_id: Option<String>,
    /// Everything else.
    pub members: Map<String, Value>,
}

impl ReceivedProblem {
    /// Reads a body of at most 64 KiB; none if it is not a JSON object.
    ///
    /// ```
    /// # use mpp::protocol::ReceivedProblem;
    /// let problem = ReceivedProblem::parse(br#"{"status":"many","balance":3}"#).unwrap();
    /// assert_eq!((problem.type_uri.as_str(), problem.status), ("about:blank", None));
    /// assert_eq!(problem.members["balance"], 3);
    /// assert!(ReceivedProblem::parse(b"<html>").is_none());
    /// ```
    pub fn parse(body: &[u8]) -> Option<ReceivedProblem> {
        if body.len() > MAX_BODY {
            return None;
        }
        let mut members: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (type_uri, title, detail, challenge_id) =
            (text("type"), text("title"), text("detail"), text("challengeId"));
        let status = members
            .remove("status")
            .and_then(|status| u16::try_from(status.as_u64()?).ok())
            .filter(|status| (100..600).contains(status));
        Some(ReceivedProblem {
            type_uri: type_uri.unwrap_or_else(|| "about:blank".to_owned()),
            title,
            status,
            detail,
            challenge_id,
            members,
        })
    }

    /// The type, if it is one of [`ProblemType`].
    ///
    /// ```
    /// # use mpp::protocol::{ProblemType, ReceivedProblem};
    /// let problem = ReceivedProblem::parse(br#"{"type":"urn:mpp:problem:in-progress"}"#).unwrap();
    /// assert_eq!(problem.kind(), Some(ProblemType::InProgress));
    /// ```
    pub fn kind(&self) -> Option<ProblemType> {
        ProblemType::by_uri(&self.type_uri)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_is_found_by_its_uri_and_has_a_status() {
        let uris: HashSet<_> = ProblemType::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(uris.len(), ProblemType::ALL.len());
        for kind in ProblemType::ALL {
            assert_eq!(ProblemType::by_uri(kind.uri()), Some(*kind));
            assert!((400..600).contains(&kind.status()) && !kind.title().is_empty());
        }
        assert_eq!(ProblemType::by_uri("about:blank"), None);
    }

    #[test]
    fn only_a_problem_with_a_challenge_names_one() {
        for kind in ProblemType::ALL {
            let json = Problem::new(*kind, "x").with_challenge("secret-id").to_json();
            assert_eq!(json.capacity(), json.len(), "what is over would be counted");
            assert_eq!(json.contains("secret-id"), kind.carries_challenge(), "{kind:?}");
        }
        assert!(
            !ProblemType::Unavailable.carries_challenge() && !ProblemType::InProgress.carries_challenge()
        );
        assert!(!Problem::new(ProblemType::PaymentRequired, "x").to_json().contains("challengeId"));
    }

    #[test]
    fn members_are_added_but_never_overwrite() {
        let problem = Problem::new(ProblemType::SessionInsufficientBalance, "top up")
            .member("requiredTopUp", "50")
            .member("status", 200)
            .member("challengeId", "forged");
        let kind = ProblemType::SessionInsufficientBalance;
        let mut expected = json!({
            "type": kind.uri(), "title": "Insufficient Balance", "status": 402, "detail": "top up", "requiredTopUp": "50",
        });
        let body = |problem: &Problem| serde_json::from_str::<Value>(&problem.to_json()).unwrap();
        assert_eq!(body(&problem), expected);
        expected["challengeId"] = "x7Tg".into();
        assert_eq!(body(&problem.with_challenge("x7Tg")), expected);
        // A kind that offers no challenge names none.
        let gone =
            Problem::new(ProblemType::Unavailable, "later").with_challenge("x7Tg").member("node", "down");
        assert!(body(&gone).get("challengeId").is_none());
    }

    #[test]
    fn the_longest_body_that_is_read_is_64_kib() {
        let body =
            |length: usize| format!(r#"{{"detail":"{}"}}"#, "x".repeat(length - r#"{"detail":""}"#.len()));
        assert!(ReceivedProblem::parse(body(MAX_BODY).as_bytes()).is_some());
        assert!(ReceivedProblem::parse(body(MAX_BODY + 1).as_bytes()).is_none());
    }

    #[test]
    fn the_wait_is_in_whole_seconds_and_never_none_at_all() {
        let seconds =
            |after| Problem::new(ProblemType::Unavailable, "later").retry_after(after).retry_after_seconds();
        assert_eq!(seconds(Duration::ZERO), Some(1));
        assert_eq!(seconds(Duration::from_millis(1_001)), Some(2));
        assert_eq!(seconds(Duration::from_secs(5)), Some(5));
        assert_eq!(Problem::new(ProblemType::Unavailable, "later").retry_after_seconds(), None);
    }

    #[test]
    fn strange_members_of_a_received_problem_are_left_out() {
        let body = json!({"type": 5, "title": null, "status": 70_000, "detail": ["x"], "hint": "pay"});
        let problem = ReceivedProblem::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!((problem.type_uri.as_str(), problem.kind()), ("about:blank", None));
        assert_eq!((problem.title, problem.status, problem.detail), (None, None, None));
        assert_eq!(problem.members, json!({"hint": "pay"}).as_object().unwrap().clone());
        assert_eq!(ReceivedProblem::parse(b"<html>"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_received(detail: String, id: String, index in any::<prop::sample::Index>()) {
            let kind = *index.get(ProblemType::ALL);
            let json = Problem::new(kind, detail.clone()).with_challenge(id.clone()).to_json();
            let received = ReceivedProblem::parse(json.as_bytes()).unwrap();
            prop_assert_eq!(received.kind(), Some(kind));
            prop_assert_eq!(received.status, Some(kind.status()));
            prop_assert_eq!(received.detail, Some(detail));
            prop_assert_eq!(received.challenge_id, kind.carries_challenge().then_some(id));
        }

        #[test]
        fn receiving_never_panics(body: Vec<u8>) {
            let _ = ReceivedProblem::parse(&body);
        }
    }
}
