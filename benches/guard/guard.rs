//! The hot paths, one at a time, for a profiler that counts instructions. Run it with `cargo xtask guard`.
//!
//! `guard CASE` prepares everything, warms up, and then makes so many calls of that case inside [`measured`], which is the
//! only function callgrind collects in. It prints how many calls that were. Without an argument every case is called once:
//! then it only says that they answer what they should.
//!
//! What could differ between two runs is held still: the clock, the secret, the payer's key. Nonces are random, as they must
//! be, but no branch depends on them; what little a signature's bits change is evened out over the calls.

use std::cell::RefCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use mpp::__private::{HeadQuote, LayerPrice};
use mpp::method::ClientMethod as _;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{
    BaseUnits, BodyDigest, Challenge, ChargeRequest, Credential, CredentialBuf, FreshSlots, Intent,
    MethodName, PreparedChallenge, Realm, Receipt, Timestamp, b64, to_jcs,
};
use mpp::routing::{get, post};
use mpp::{Amount, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing};
use sha2::Sha256;
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

#[macro_use]
#[path = "../shared/registered.rs"]
mod registered;

mod ten_prices {
    ten! { price!("sandbox"); }
}

mod a_thousand_prices {
    ten! { ten! { ten! { price!("sandbox"); } } }
}

/// Prices that only some servers have.
const CROWDS: [(usize, &str); 2] =
    [(10, concat!(module_path!(), "::ten_prices")), (1_000, concat!(module_path!(), "::a_thousand_prices"))];

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const BODY: &str = "sunny, 21 degrees\n";
const KILOBYTE: [u8; 1024] = [b'x'; 1024];
/// Calls of a cheap case, and of one that verifies a signature.
const MANY: usize = 256;
const FEW: usize = 64;

/// A name of `instructions.json`, and what makes the calls and says how many they were.
type Case = (&'static str, fn() -> usize);

const CASES: [Case; 18] = [
    ("free_handler", || unpaid("/free", StatusCode::OK)),
    ("challenge_one_method", || unpaid("/one", StatusCode::PAYMENT_REQUIRED)),
    ("challenge_block_remembered", challenge_block_remembered),
    ("challenge_two_methods", || unpaid("/two", StatusCode::PAYMENT_REQUIRED)),
    ("challenge_among_10_prices", || challenge_among(CROWDS[0])),
    ("challenge_among_1000_prices", || challenge_among(CROWDS[1])),
    ("challenge_computed_price", challenge_computed_price),
    ("forged_credential", forged_credential),
    ("valid_credential", valid_credential),
    ("unavoidable_for_a_credential", unavoidable_for_a_credential),
    ("challenge_header", challenge_header),
    ("unavoidable_for_a_header", unavoidable_for_a_header),
    ("credential_parse", credential_parse),
    ("receipt_encode", receipt_encode),
    ("request_encode", request_encode),
    ("jcs", jcs),
    ("digest_1_kb", digest_1_kb),
    ("start", start),
];

fn main() -> ExitCode {
    // cargo adds `--bench` to what it runs.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| CASES.iter().all(|(case, _)| case != name)) {
        let known: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no case `{unknown}`; there are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    for (name, case) in CASES.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        println!("{name} {}", case());
    }
    ExitCode::SUCCESS
}

/// The function callgrind collects in. Answers with the number of calls.
#[inline(never)]
fn measured<I, O>(inputs: Vec<I>, mut call: impl FnMut(I) -> O) -> usize {
    let calls = inputs.len();
    for input in inputs {
        drop(black_box(call(black_box(input))));
    }
    calls
}

/// The same call over and over, after two that are not counted: the first ones fill what is kept.
fn repeated<O>(mut call: impl FnMut() -> O) -> usize {
    for _ in 0..2 {
        drop(black_box(call()));
    }
    measured(vec![(); MANY], |()| call())
}

async fn free() -> &'static str {
    BODY
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn one_method(_: Paid) -> &'static str {
    BODY
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
async fn two_methods(_: Paid) -> &'static str {
    BODY
}

/// A cent per 100 bytes.
fn by_length(body: &Bytes) -> Amount {
    Amount::new(body.len() as u128, 4)
}

#[mpp::charge(amount = by_length(&body), currency = "usdc", methods(sandbox))]
async fn computed(_: Paid, body: Bytes) -> Bytes {
    body
}

fn wallet() -> Wallet {
    Wallet::from_seed([7; 32])
}

fn ring() -> SecretRing {
    SecretRing::new(Secret::from_bytes([3; 32]).expect("32 bytes"))
}

/// Of every realm and challenge but one.
const HOST: &str = "api.example.com";

fn server_configuration(host: &str, crowd: Option<&str>) -> Mpp {
    let purse = |name| Sandbox::named(name).account(&wallet().did(), Amount::whole(1_000_000_000));
    let others = CROWDS.into_iter().filter(|(_, module)| Some(*module) != crowd);
    others
        .fold(Mpp::builder(format!("https://{host}")), |builder, (_, module)| builder.ignore_module(module))
        .secrets(ring())
        .clock(Arc::new(ManualClock::at(NOW)))
        .method(purse("sandbox"))
        .method(purse("tempo"))
        .method(purse("stripe").currency("usdc", "usd", 2))
        .allow_test_money()
        .build()
        .expect("the prices of this file can be paid")
}

/// One server on one thread, called directly.
struct Server {
    runtime: Runtime,
    router: RefCell<Router>,
}

impl Server {
    fn new() -> Server {
        Server::at(HOST)
    }

    fn at(host: &str) -> Server {
        Server::with(|| {
            mpp::routing::Router::new()
                .route("/one", get(one_method))
                .route("/two", get(two_methods))
                .route("/computed", post(computed))
                .route("/free", axum::routing::get(free))
                .with_state(server_configuration(host, None))
                .into_axum()
        })
    }

    fn with(routes: impl FnOnce() -> Router) -> Server {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let router = runtime.block_on(async { routes() });
        Server { runtime, router: RefCell::new(router) }
    }

    fn call(&self, request: Request<Body>) -> Response<Body> {
        let mut router = self.router.borrow_mut();
        let Ok(response) = self.runtime.block_on(router.call(request));
        response
    }

    /// Two calls that are not counted, and the rest.
    fn measured(&self, count: usize, status: StatusCode, request: impl Fn() -> Request<Body>) -> usize {
        for _ in 0..2 {
            assert_eq!(self.call(request()).status(), status);
        }
        measured((0..count).map(|_| request()).collect(), |request| self.call(request))
    }

    /// What `/one` asks for.
    fn challenge(&self) -> Challenge {
        let unpaid = self.call(get_request("/one"));
        let line = unpaid.headers()[header::WWW_AUTHENTICATE].to_str().expect("an ASCII header");
        Challenge::parse_all([line]).offers.remove(0)
    }

    /// A credential nobody has used, that pays for `/one`.
    fn credential(&self) -> Credential {
        let challenge = self.challenge();
        let proof = self.runtime.block_on(wallet().pay(&challenge)).expect("the account is funded");
        Credential { challenge, source: proof.source, payload: proof.payload }
    }
}

fn get_request(path: &'static str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a valid request")
}

fn with_credential(value: &str) -> Request<Body> {
    let mut request = get_request("/one");
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("an ASCII header"));
    request
}

fn unpaid(path: &'static str, status: StatusCode) -> usize {
    Server::new().measured(MANY, status, || get_request(path))
}

/// The same under a name of such a length that the moment at which a challenge expires completes a block of its HMAC.
fn challenge_block_remembered() -> usize {
    let slots = Server::new().challenge();
    let others = format!("|{}|{}|{}|", slots.method, slots.intent, slots.request).len();
    // Fourteen bytes are missing.
    let host = (0..64)
        .map(|more| format!("{}{HOST}", "a".repeat(more)))
        .find(|host| (host.len() + others) % 64 == 50);
    let server = Server::at(&host.expect("one of all lengths"));
    server.measured(MANY, StatusCode::PAYMENT_REQUIRED, || get_request("/one"))
}

/// Ten prices in turn, of however many there are, each on a route of its own: what a 402 costs does not depend on that. Of this host no
/// block of the HMAC is remembered.
fn challenge_among((count, crowd): (usize, &'static str)) -> usize {
    let mpp = server_configuration(HOST, Some(crowd));
    let prices: Vec<_> = mpp::registry().iter().filter(|spec| spec.module == crowd).collect();
    assert_eq!(prices.len(), count, "there are as many as the case says");
    let path = |number: usize| format!("/{number:04}");
    let server = Server::with(|| {
        let routes = mpp::routing::Router::new();
        let routes = prices.iter().enumerate().fold(routes, |routes, (number, spec)| {
            let price = LayerPrice::new(spec, HeadQuote::Fixed);
            routes.route(&path(number), mpp.wrap(axum::routing::get(free), price))
        });
        routes.with_state(mpp.clone()).into_axum()
    });
    // A prime: of a thousand they are no neighbours in the table of routes.
    let asked = |call: usize| path(call % 10 * 7919 % prices.len());
    let request = |call| Request::get(asked(call)).body(Body::empty()).expect("a valid request");
    // The first answer of a route prepares what is kept for it.
    for call in 0..10 {
        assert_eq!(server.call(request(call)).status(), StatusCode::PAYMENT_REQUIRED);
    }
    measured((0..MANY).map(request).collect(), |request| server.call(request))
}

/// Priced by its body of 1 KB, which is read, digested and bound.
fn challenge_computed_price() -> usize {
    let request = || Request::post("/computed").body(Body::from(&KILOBYTE[..])).expect("a valid request");
    Server::new().measured(MANY, StatusCode::PAYMENT_REQUIRED, request)
}

/// Well formed, and not ours: what an attacker can send without paying anything.
fn forged_credential() -> usize {
    let server = Server::new();
    let mut credential = server.credential();
    credential.challenge.id = "A".repeat(credential.challenge.id.len());
    let value = credential.to_header_value();
    server.measured(MANY, StatusCode::PAYMENT_REQUIRED, || with_credential(&value))
}

/// A payment: verified, claimed, settled, journaled, delivered with a receipt. Every call spends a credential of its own.
fn valid_credential() -> usize {
    let server = Server::new();
    server.measured(FEW, StatusCode::OK, || with_credential(&server.credential().to_header_value()))
}

/// What nobody can leave out who takes the same credential: its base64 and JSON, the HMAC of its challenge, one verification
/// of an ed25519 signature, and a nonce. With the same libraries, and no state prepared.
fn unavoidable_for_a_credential() -> usize {
    let server = Server::new();
    let signer = SigningKey::from_bytes(&[7; 32]);
    let inputs = (0..FEW).map(|_| {
        let credential = server.credential();
        let token = credential.to_header_value().trim_start_matches("Payment ").to_owned();
        let message = format!("{}{}", credential.challenge.id, credential.challenge.request).into_bytes();
        let signature = signer.sign(&message).to_bytes();
        (token, message, signature)
    });
    let (key, secret) = (signer.verifying_key().to_bytes(), [3; 32]);
    measured(inputs.collect(), |(token, message, signature)| {
        let buffer = CredentialBuf::decode(&token).expect("base64");
        let credential = buffer.parse().expect("a credential");
        let slots = credential.challenge.slots();
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
        let slots = [
            slots.realm,
            slots.method,
            slots.intent,
            slots.request,
            slots.expires,
            slots.digest,
            slots.opaque,
        ];
        mac.update(slots.join("|").as_bytes());
        let id = b64::encode(mac.finalize().into_bytes());
        let key = VerifyingKey::from_bytes(&key).expect("a point");
        let signed = key.verify_strict(&message, &Signature::from_bytes(&signature));
        assert!(signed.is_ok());
        (id, rand::random::<[u8; 12]>())
    })
}

fn prepared() -> PreparedChallenge {
    let realm = Realm::parse(HOST).expect("a host");
    let (method, intent) = (MethodName::from_static("sandbox"), Intent::CHARGE);
    PreparedChallenge::new(&ring(), &realm, &method, &intent, charge().encode(), None)
}

fn charge() -> ChargeRequest {
    ChargeRequest {
        recipient: Some("0x70997970C51812dc3A010C7d01b50e0d17dc79C8".to_owned()),
        ..ChargeRequest::new(BaseUnits::new(50_000), "0x20c0000000000000000000000000000000000000")
    }
}

const EXPIRES: &str = "2026-11-21T10:05:00Z";
/// As the server writes it: a nonce and an operation.
const OPAQUE: &str = "eyJuIjoiMWYyZTNkNGM1YjZhNzk4OGY2ZTVkNGMzIiwib3AiOiJHRVQgL29uZSJ9";

/// A fixed price: the id and the header line.
fn challenge_header() -> usize {
    let prepared = prepared();
    let fresh = FreshSlots::new(EXPIRES, "", OPAQUE);
    repeated(|| prepared.issue(black_box(&fresh)))
}

/// The bare HMAC over the same bytes, from the same prepared state.
fn unavoidable_for_a_header() -> usize {
    let mut state = Hmac::<Sha256>::new_from_slice(&[3; 32]).expect("any length");
    state.update(format!("{HOST}|sandbox|charge|{}|", charge().encode()).as_bytes());
    let rest = format!("{EXPIRES}||{OPAQUE}");
    repeated(|| {
        let mut state = state.clone();
        state.update(black_box(rest.as_bytes()));
        state.finalize().into_bytes()
    })
}

/// Base64 and JSON of a credential, borrowed.
fn credential_parse() -> usize {
    let value = Server::new().credential().to_header_value();
    let token = value.trim_start_matches("Payment ");
    repeated(|| {
        let buffer = CredentialBuf::decode(black_box(token)).expect("base64");
        let id = buffer.parse().expect("a credential").challenge.id.len();
        (id, buffer)
    })
}

fn receipt_encode() -> usize {
    let receipt =
        Receipt::new(MethodName::from_static("sandbox"), "x7Tg2pLqR9mKvXwYzA4bNcDe5fGhJkLm8nPqRsTuVwX", NOW);
    repeated(|| black_box(&receipt).to_header_value())
}

/// A charge request: canonical JSON and base64.
fn request_encode() -> usize {
    let charge = charge();
    repeated(|| black_box(&charge).encode())
}

/// The same as a value of somebody else's making, which may hold floats that are no numbers.
fn jcs() -> usize {
    let value = serde_json::to_value(charge()).expect("JSON");
    repeated(|| to_jcs(black_box(&value)))
}

fn digest_1_kb() -> usize {
    repeated(|| BodyDigest::of(black_box(&KILOBYTE)).to_string())
}

/// Building a server with the prices of this file, and without the crowds, which are passed over.
fn start() -> usize {
    drop(server_configuration(HOST, None));
    measured(vec![(); FEW], |()| server_configuration(HOST, None))
}
