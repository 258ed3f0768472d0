//! What the targets of the payment methods share: a challenge, and one look at what a method says to a credential for it.
//!
//! The methods have no node here, so `verify` ends where the network would be asked: everything before that is the parser.
#![cfg(feature = "methods")]

use mpp::method::{CredentialCx, Rejection, ServerMethod, Verified};
use mpp::protocol::{Challenge, ChargeRequest, Intent, Timestamp};
use serde_json::{Map, Value};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A challenge of a method, as it would come out of the pipeline.
pub struct Case {
    pub challenge: Challenge,
    pub request: ChargeRequest,
    pub expires: Timestamp,
    pub now: Timestamp,
}

impl Case {
    /// `request` is in base64url; the challenge has four minutes left.
    pub fn new(method: &impl ServerMethod, id: &str, realm: &str, request: &str, now: Timestamp) -> Case {
        let challenge = Challenge {
            id: id.to_owned(),
            realm: realm.to_owned(),
            method: method.name().clone(),
            intent: Intent::CHARGE,
            request: request.to_owned(),
            expires: None,
            digest: None,
            opaque: None,
            description: None,
        };
        let request = challenge.charge().expect("a charge");
        Case { challenge, request, expires: now + Duration::from_secs(240), now }
    }

    /// What the method is asked.
    pub fn credential<'a>(&'a self, payload: &'a Map<String, Value>) -> CredentialCx<'a> {
        CredentialCx::new(&self.challenge, &self.request, payload, self.expires, self.now)
    }

    /// What it says.
    pub fn verify(
        &self,
        method: &impl ServerMethod,
        payload: &Map<String, Value>,
    ) -> Result<Verified, Rejection> {
        now(method.verify(&self.credential(payload)))
    }
}

/// What a future says that has nothing to wait for.
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

/// A method that has no node cannot say yes.
pub fn assert_refused(answer: Result<Verified, Rejection>) {
    assert!(answer.is_err(), "nobody was asked whether this is paid");
}

/// The golden vectors of a method.
pub fn vectors(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// A text in them.
pub fn text<'v>(vectors: &'v Value, pointer: &str) -> &'v str {
    vectors.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}"))
}
