//! The payloads of the payment methods: what no node was asked about is not paid.
//!
//! The methods have no node here, so `verify` ends where the network would be asked: everything before that is the parser.

mod evm;
mod sandbox;
mod stripe;
mod tempo;

pub use evm::{evm_payload, evm_transaction};
pub use sandbox::sandbox_payload;
pub use stripe::stripe_payload;
pub use tempo::{tempo_payload, tempo_transaction};

use mpp::method::{CredentialCx, Rejection, ServerMethod, Verified};
use mpp::protocol::{Challenge, ChargeRequest, Intent, Timestamp};
use serde_json::{Map, Value};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A target, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target here.
pub const TARGETS: [Target; 6] = [
    ("evm_payload", evm_payload),
    ("evm_transaction", evm_transaction),
    ("sandbox_payload", sandbox_payload),
    ("stripe_payload", stripe_payload),
    ("tempo_payload", tempo_payload),
    ("tempo_transaction", tempo_transaction),
];

/// A challenge of a method, as it would come out of the pipeline.
struct Case {
    challenge: Challenge,
    request: ChargeRequest,
    expires: Timestamp,
    now: Timestamp,
}

impl Case {
    /// `request` is in base64url; the challenge has four minutes left.
    fn new(method: &impl ServerMethod, id: &str, realm: &str, request: &str, now: Timestamp) -> Self {
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
        Self { challenge, request, expires: now + Duration::from_secs(240), now }
    }

    /// What the method says to a payload, from whoever the payload's own member `source` says: the payer is part of the
    /// credential, and a parser of its own.
    fn verify(
        &self,
        method: &impl ServerMethod,
        payload: &Map<String, Value>,
    ) -> Result<Verified, Rejection> {
        let mut cx = CredentialCx::new(&self.challenge, &self.request, payload, self.expires, self.now);
        cx.source = payload.get("source").and_then(Value::as_str);
        now(method.verify(&cx))
    }

    /// A method that has no node cannot say yes.
    fn assert_refused(&self, method: &impl ServerMethod, payload: &Map<String, Value>) {
        assert!(self.verify(method, payload).is_err(), "nobody was asked whether this is paid");
    }
}

/// What a future says that has nothing to wait for.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

/// A payload that is the JSON of the input.
fn payload(json: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(json).ok()
}

/// A payload with the input as its signed transaction.
fn transaction(raw: &[u8]) -> Map<String, Value> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    let digits = raw.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    let signature: String = ['0', 'x'].into_iter().chain(digits).collect();
    Map::from_iter([("type".to_owned(), "transaction".into()), ("signature".to_owned(), signature.into())])
}

/// The golden vectors of a method.
fn vectors(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// A text in them.
fn text<'v>(vectors: &'v Value, pointer: &str) -> &'v str {
    vectors.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}"))
}
