//! A challenge that is issued over and over: what does not change is written and hashed once (core draft, "The Payment
//! Challenge" and "Challenge Binding").
//!
//! Four of the seven bound slots (realm, method, intent, request) are the same for every challenge of a fixed price, and
//! so is most of the header. [`PreparedChallenge`] holds the HMAC state that has absorbed those slots and the text between
//! the id and the expiry. What is left per challenge is one HMAC finish and one buffer of exactly the right size, which
//! becomes the header value as it is. The other three slots ([`FreshSlots`]) are written once for all offers of an answer.

use std::fmt;

use super::{
    BoundPrefix, ChallengeId, FreshSlots, Intent, MethodName, NotOurs, Realm, SecretRing, write_quoted,
};

/// A challenge but for its id, digest, expiry and opaque.
///
/// ```
/// use mpp::protocol::{
///     BaseUnits, Challenge, ChargeRequest, FreshSlots, Intent, MethodName, PreparedChallenge, Realm, Secret, SecretRing,
/// };
///
/// let ring = SecretRing::new(Secret::generate());
/// let request = ChargeRequest::new(BaseUnits::new(50_000), "usd").encode();
/// let (realm, method) = (Realm::parse("api.example.com")?, MethodName::from_static("tempo"));
/// let prepared = PreparedChallenge::new(&ring, &realm, &method, &Intent::CHARGE, request, None);
///
/// let (id, header) = prepared.issue(&FreshSlots::new("2026-11-21T10:05:00Z", "", "e30"));
/// let challenge = Challenge::parse_all([header.as_str()]).offers.remove(0);
/// assert_eq!(challenge.id, id.as_str());
/// assert!(ring.verify(&challenge.slots(), &challenge.id).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PreparedChallenge {
    request: String,
    prefix: BoundPrefix,
    /// `", realm="…", method="…", intent="…", request="…"[, description="…"]`
    head: String,
}

impl PreparedChallenge {
    /// The challenge that asks for `request` (base64url of the canonical JSON), signed by the ring's first secret and
    /// verified by all of them.
    ///
    /// ```
    /// # use mpp::protocol::{FreshSlots, Intent, MethodName, PreparedChallenge, Realm, Secret, SecretRing};
    /// let ring = SecretRing::new(Secret::generate());
    /// let (realm, method) = (Realm::parse("api.example.com")?, MethodName::from_static("tempo"));
    /// let prepared = PreparedChallenge::new(&ring, &realm, &method, &Intent::CHARGE, "e30".into(), Some("a forecast"));
    /// assert!(prepared.issue(&FreshSlots::new("2026-11-21T10:05:00Z", "", "e30")).1.contains(r#"description="a forecast""#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        ring: &SecretRing,
        realm: &Realm,
        method: &MethodName,
        intent: &Intent,
        request: String,
        description: Option<&str>,
    ) -> PreparedChallenge {
        let prefix = ring.prefix(realm.as_str(), method.as_str(), intent.as_str(), &request);
        let mut head = String::with_capacity(request.len() + 96);
        head.push_str("\", realm=");
        write_quoted(&mut head, realm.as_str());
        for (name, value) in [("method", method.as_str()), ("intent", intent.as_str()), ("request", &request)]
        {
            head.push_str(", ");
            head.push_str(name);
            head.push_str("=\"");
            head.push_str(value);
            head.push('"');
        }
        if let Some(description) = description {
            head.push_str(", description=");
            write_quoted(&mut head, description);
        }
        PreparedChallenge { request, prefix, head }
    }

    /// The same, for a price that does not depend on the request: a block that it shares with the challenges of the same second is
    /// hashed once for them.
    #[cfg(feature = "server")]
    pub(crate) fn lasting(self) -> PreparedChallenge {
        PreparedChallenge { prefix: self.prefix.lasting(), ..self }
    }

    #[cfg(all(test, feature = "testing"))]
    pub(crate) fn is_lasting(&self) -> bool {
        self.prefix.lasting.is_some()
    }

    /// The `request` parameter.
    ///
    /// ```
    /// # use mpp::protocol::{FreshSlots, Intent, MethodName, PreparedChallenge, Realm, Secret, SecretRing};
    /// # let ring = SecretRing::new(Secret::generate());
    /// # let (realm, method) = (Realm::parse("api.example.com")?, MethodName::from_static("tempo"));
    /// let prepared = PreparedChallenge::new(&ring, &realm, &method, &Intent::CHARGE, "e30".into(), None);
    /// assert_eq!(prepared.request(), "e30");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The bytes of the part of the header that is the same every time.
    #[cfg(feature = "server")]
    pub(crate) fn fixed_len(&self) -> usize {
        self.head.len()
    }

    /// One challenge: its id, and the value of its `WWW-Authenticate` header.
    ///
    /// The header is visible ASCII if the fresh slots are; they are written as they are, so that they must not contain `"` or
    /// `|`. The three this library writes (RFC 3339, RFC 9530, base64url) never do.
    ///
    /// ```
    /// # use mpp::protocol::{FreshSlots, Intent, MethodName, PreparedChallenge, Realm, Secret, SecretRing};
    /// # let ring = SecretRing::new(Secret::generate());
    /// # let (realm, method) = (Realm::parse("api.example.com")?, MethodName::from_static("tempo"));
    /// let prepared = PreparedChallenge::new(&ring, &realm, &method, &Intent::CHARGE, "e30".into(), None);
    /// let (id, header) = prepared.issue(&FreshSlots::new("2026-11-21T10:05:00Z", "", "e30"));
    /// assert!(header.starts_with(&format!(r#"Payment id="{id}", realm="api.example.com", method="tempo""#)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn issue(&self, fresh: &FreshSlots) -> (ChallengeId, String) {
        let id = self.prefix.id(fresh);
        let (expires, digest, opaque) = (fresh.expires(), fresh.digest(), fresh.opaque());
        let digest_len = if digest.is_empty() { 0 } else { ", digest=\"\"".len() + digest.len() };
        let fixed = "Payment id=\", expires=\"\", opaque=\"\"".len();
        let length = fixed + id.as_str().len() + self.head.len() + digest_len + expires.len() + opaque.len();
        // Exactly as long as the line: what is over would be copied away when the text becomes a header value. And pushed part
        // by part, not joined: what has a known length is then stored without a call.
        let mut line = String::with_capacity(length);
        line.push_str("Payment id=\"");
        line.push_str(id.as_str());
        line.push_str(&self.head);
        if !digest.is_empty() {
            line.push_str(", digest=\"");
            line.push_str(digest);
            line.push('"');
        }
        line.push_str(", expires=\"");
        line.push_str(expires);
        line.push_str("\", opaque=\"");
        line.push_str(opaque);
        line.push('"');
        debug_assert_eq!(line.len(), length);
        (id, line)
    }

    /// As [`SecretRing::verify`], for an echoed challenge whose realm, method, intent and request are this one's.
    ///
    /// # Errors
    /// [`NotOurs`] when no secret made this id, or when a slot contains the separator `|`.
    ///
    /// ```
    /// # use mpp::protocol::{FreshSlots, Intent, MethodName, PreparedChallenge, Realm, Secret, SecretRing};
    /// # let ring = SecretRing::new(Secret::generate());
    /// # let (realm, method) = (Realm::parse("api.example.com")?, MethodName::from_static("tempo"));
    /// let prepared = PreparedChallenge::new(&ring, &realm, &method, &Intent::CHARGE, "e30".into(), None);
    /// let (id, _) = prepared.issue(&FreshSlots::new("2026-11-21T10:05:00Z", "", "e30"));
    /// assert!(prepared.verify("2026-11-21T10:05:00Z", "", "e30", id.as_str()).is_ok());
    /// assert!(prepared.verify("2027-11-21T10:05:00Z", "", "e30", id.as_str()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self, expires: &str, digest: &str, opaque: &str, id: &str) -> Result<(), NotOurs> {
        self.prefix.verify(expires, digest, opaque, id)
    }
}

impl fmt::Debug for PreparedChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedChallenge").field("request", &self.request).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Challenge, Secret};

    #[test]
    fn the_header_is_the_one_that_a_challenge_of_these_parts_writes() {
        let ring = SecretRing::new(Secret::generate());
        let (realm, method) = (Realm::parse("api.example.com").unwrap(), MethodName::from_static("tempo"));
        for description in [None, Some("a \"café\"")] {
            let prepared =
                PreparedChallenge::new(&ring, &realm, &method, &Intent::CHARGE, "e30".into(), description);
            for digest in ["", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"] {
                let (id, header) = prepared.issue(&FreshSlots::new("2026-11-21T10:05:00Z", digest, "e30"));
                let challenge = Challenge {
                    id: id.to_string(),
                    realm: realm.to_string(),
                    method: method.clone(),
                    intent: Intent::CHARGE,
                    request: "e30".into(),
                    expires: Some("2026-11-21T10:05:00Z".into()),
                    digest: (!digest.is_empty()).then(|| digest.into()),
                    opaque: Some("e30".into()),
                    description: description.map(str::to_owned),
                };
                assert_eq!(header, challenge.to_header_value());
                assert_eq!(header.capacity(), header.len(), "what is over would be copied away");
                assert!(ring.verify(&challenge.slots(), &challenge.id).is_ok());
            }
        }
    }
}
