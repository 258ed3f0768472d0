//! What no server can save on a payment of the sandbox: base64 and JSON of the credential, one HMAC, one signature, one record
//! that it was used. The parts are what the libraries of the field do for it and nothing else, each by itself and all of them
//! together, so that a whole payment can be held against their sum from the same run.

use std::cell::RefCell;
use std::collections::HashSet;

use divan::{Bencher, black_box};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mpp::protocol::{Did, PublicKey};
use mpp_peers::proof::message;
use serde::Deserialize;
use sha2::Sha256;

use super::ours;
use super::server::Server;

/// A credential as it is on the wire, borrowed from its decoded text.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    challenge: Echo<'a>,
    source: &'a str,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Echo<'a> {
    id: &'a str,
    realm: &'a str,
    method: &'a str,
    intent: &'a str,
    request: &'a str,
    expires: &'a str,
    opaque: &'a str,
}

#[derive(Deserialize)]
struct Payload<'a> {
    r#type: &'a str,
    account: &'a str,
    signature: &'a str,
}

/// A server that knows nothing but how to check.
struct Parts {
    key: Hmac<Sha256>,
    used: RefCell<HashSet<String>>,
    sandbox: Server,
}

impl Parts {
    fn new() -> Parts {
        let key = Hmac::new_from_slice(&[7; 32]).expect("HMAC takes a key of any length");
        Parts { key, used: RefCell::default(), sandbox: Server::of(ours::router) }
    }

    /// The value of `Authorization`, without its scheme.
    fn token(&self) -> String {
        let value = ours::credential(&self.sandbox);
        value.strip_prefix("Payment ").expect("the scheme").to_owned()
    }

    /// The seven slots, from a key that is prepared.
    fn bound(&self, echo: &Echo<'_>) -> [u8; 32] {
        let mut state = self.key.clone();
        let slots = [echo.realm, echo.method, echo.intent, echo.request, echo.expires, "", echo.opaque];
        for slot in slots {
            state.update(slot.as_bytes());
            state.update(b"|");
        }
        state.finalize().into_bytes().into()
    }

    /// Whoever pays is known only now: their key is part of what is read.
    fn is_signed(&self, wire: &Wire<'_>) -> bool {
        let Ok(Did::Key(PublicKey::Ed25519(key))) = Did::parse(wire.payload.account) else { return false };
        let Ok(key) = VerifyingKey::from_bytes(&key) else { return false };
        let echo = &wire.challenge;
        let message = message(&[echo.realm, echo.method, echo.id, echo.request]);
        let mut signature = [0; 64];
        let into = base64_simd::Out::from_slice(&mut signature);
        let decoded = base64_simd::URL_SAFE_NO_PAD.decode(wire.payload.signature.as_bytes(), into);
        decoded.is_ok_and(|signature| signature.len() == 64)
            && key.verify_strict(&message, &Signature::from_bytes(&signature)).is_ok()
    }
}

fn decoded(token: &str) -> Vec<u8> {
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).expect("our own base64url")
}

fn read(json: &[u8]) -> Wire<'_> {
    let text = simdutf8::basic::from_utf8(json).expect("our own UTF-8");
    serde_json::from_str(text).expect("our own JSON, without an escape")
}

/// The sum, as one step after the other.
#[divan::bench(sample_count = 100, sample_size = 8)]
fn all_of_a_payment(bencher: Bencher) {
    let parts = Parts::new();
    bencher.with_inputs(|| parts.token()).bench_local_refs(|token| {
        let json = decoded(token);
        let wire = read(&json);
        black_box(parts.bound(&wire.challenge));
        assert!(wire.payload.r#type == "transfer" && wire.source == wire.payload.account);
        assert!(parts.is_signed(&wire));
        assert!(parts.used.borrow_mut().insert(wire.challenge.id.to_owned()));
    });
}

#[divan::bench(sample_count = 100, sample_size = 64)]
fn base64_and_json(bencher: Bencher) {
    let token = Parts::new().token();
    bencher.bench_local(|| {
        let json = decoded(black_box(&token));
        black_box(read(&json).challenge.id.len())
    });
}

#[divan::bench(sample_count = 100, sample_size = 64)]
fn hmac_of_seven_slots(bencher: Bencher) {
    let parts = Parts::new();
    let json = decoded(&parts.token());
    let wire = read(&json);
    bencher.bench_local(|| parts.bound(black_box(&wire.challenge)));
}

#[divan::bench(sample_count = 100, sample_size = 8)]
fn one_signature(bencher: Bencher) {
    let parts = Parts::new();
    let json = decoded(&parts.token());
    let wire = read(&json);
    bencher.bench_local(|| assert!(parts.is_signed(black_box(&wire))));
}
