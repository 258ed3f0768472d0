//! What a credential is worth by itself: its size, its shape and its HMAC, from the head alone (draft-httpauth-payment-00
//! sections 5.1.2 and 5.2).

use super::{Presented, Refused, original_uri};
use crate::method::Money;
use crate::pricing::Plan;
use crate::protocol::{
    ChargeRequest, Credential, CredentialBuf, CredentialError, Fingerprint, Intent, ProblemType,
};
use crate::server::Mpp;
use crate::server::journal::{Entry, Record};
use crate::server::replay::IdempotencyKey;
use crate::server::respond::Answer;
use crate::server::scope::hash_request;
use crate::store::Quota;
use axum::extract::Request;
use axum::http::Method;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::Arc;

const NOT_OURS: Refused = Refused {
    kind: ProblemType::InvalidChallenge,
    detail: Cow::Borrowed("this challenge was not issued by this server"),
};

pub(super) struct Authentic {
    pub(super) credential: Credential,
    pub(super) fingerprint: Fingerprint,
    pub(super) charge: Arc<ChargeRequest>,
    pub(super) quota: Quota,
    /// SHA-256 of verb, path, query and body digest.
    pub(super) request: [u8; 32],
    pub(super) key: Option<IdempotencyKey>,
    /// The peer, for fair shares.
    pub(super) client: String,
}

impl Authentic {
    /// The entry, if it belongs to the very same credential and request.
    pub(super) fn own_entry<'e>(&self, record: &'e Record) -> Option<&'e Entry> {
        let Record::Open(entry) = record else { return None };
        self.is_own(&entry.fingerprint, &entry.target).then_some(&**entry)
    }

    /// Whether a record may be this credential's delivery, and may still be taken back.
    pub(super) fn may_be_taken_back(&self, record: &Record) -> bool {
        match record {
            Record::Delivered(_) => true,
            Record::Kept(kept) => kept.response.is_none() && self.is_own(&kept.fingerprint, &kept.target),
            Record::Open(_) | Record::Released | Record::Listed(_) | Record::Refunded => false,
        }
    }

    /// Whether this is the same credential, constant time, for the same request.
    pub(super) fn is_own(&self, fingerprint: &[u8; 32], target: &[u8; 32]) -> bool {
        Fingerprint::from_bytes(*fingerprint) == self.fingerprint && *target == self.request
    }
}

impl Mpp {
    /// What a request with a credential has shown, from the head alone.
    ///
    /// # Errors
    /// 400 for an `Idempotency-Key` that is none, and for several.
    #[inline(never)] // most requests have none: what every request goes through stays close together
    pub(super) fn present(
        &self,
        credential: &Result<CredentialBuf, CredentialError>,
        plan: &Plan,
        verb: &Method,
        req: &Request,
    ) -> Result<Presented, Answer> {
        let key = IdempotencyKey::of(self, verb, req.headers())?;
        Ok(self.judge(credential, key, plan, verb, req))
    }

    /// Size, shape and HMAC of a credential.
    fn judge(
        &self,
        credential: &Result<CredentialBuf, CredentialError>,
        key: Option<IdempotencyKey>,
        plan: &Plan,
        verb: &Method,
        req: &Request,
    ) -> Presented {
        // Which part of it cannot be read, in our own words: that tells a stranger nothing but what was sent.
        let malformed = |error: CredentialError| {
            let detail = Cow::Owned(error.to_string());
            Presented::Refused(Refused { kind: ProblemType::MalformedCredential, detail })
        };
        let buffer = match credential {
            Ok(buffer) => buffer,
            Err(error) => return malformed(*error),
        };
        // By reference: it is large.
        let parsed = buffer.parse();
        let credential = match &parsed {
            Ok(credential) => credential,
            Err(error) => return malformed(*error),
        };
        let echo = &credential.challenge;
        let method = self.0.methods.iter().find(|m| m.name().as_str() == echo.method);
        let Some(method) = method else {
            return Presented::Refused(Refused::new(
                ProblemType::MethodUnsupported,
                "this payment method is not accepted here",
            ));
        };
        let slots = echo.slots();
        // Another service with the same secret has another realm.
        if slots.realm != self.0.realm.as_str() {
            return Presented::Refused(NOT_OURS);
        }
        // The HMAC of this route's own fixed offer has absorbed most of the input already.
        let own = (slots.intent == Intent::CHARGE.as_str())
            .then(|| plan.offers.iter().filter(|offer| slots.method == offer.name.as_str()))
            .and_then(|mut offers| offers.find_map(|offer| offer.fixed.as_ref()?.form_of(slots.request)));
        let verified = match own {
            Some(fixed) => fixed.challenge.verify(slots.expires, slots.digest, slots.opaque, &echo.id),
            None => self.0.ring.verify(&slots, &echo.id),
        };
        if verified.is_err() {
            return Presented::Refused(NOT_OURS);
        }
        // Authentic: only now is it worth copying.
        let credential = match credential.to_credential() {
            Ok(credential) => credential,
            Err(error) => return malformed(error),
        };
        let charge = match own {
            Some(fixed) => fixed.charge.clone(),
            None => match credential.challenge.charge() {
                Ok(charge) => Arc::new(charge),
                Err(_) => {
                    return Presented::Refused(Refused::new(
                        ProblemType::InvalidChallenge,
                        "this challenge is not one of this resource's offers",
                    ));
                }
            },
        };
        let quota =
            if method.money() == Money::Test || charge.amount.is_zero() { Quota::Free } else { Quota::Paid };
        let mut hash = Sha256::new();
        hash_request(&mut hash, verb, original_uri(req));
        let client = self.0.proxies.client(req.extensions(), req.headers()).to_string();
        Presented::Unplaced(Box::new(Authentic {
            fingerprint: credential.fingerprint(),
            credential,
            charge,
            quota,
            request: hash.finalize().into(),
            key,
            client,
        }))
    }
}
