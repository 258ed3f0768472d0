//! Nothing secret leaves: the TRACE log of everything, every response, and `Debug` of every public type are searched for
//! the server's secrets, credentials, proofs and sealed plans, raw, in hexadecimal, decimal and base64.
#![cfg(feature = "testing")]

mod common;
#[path = "common/lab.rs"]
mod lab;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use common::{Fault, Network, PLAN_SECRET, Script, Wired, credential};
use lab::*;
use mpp::method::sandbox::Wallet;
use mpp::method::{ClientMethod, CredentialCx, OfferCx, SettleCx, SettlementPlan, Verified};
use mpp::protocol::{Challenge, Credential, CredentialBuf, SecretRing, Timestamp};
use mpp::store::{Keep, Key, MemoryStore, Quota, Version, Versioned, Write};
use mpp::testing::{Client, Response};
use mpp::{Mpp, Sandbox, Secret};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span;

/// Everything any crate has to say, and every panic.
static LOG: Mutex<String> = Mutex::new(String::new());

fn log(text: &str) {
    LOG.lock().unwrap().push_str(text);
}

struct Everything;

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Everything {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = format!("\nspan {} {}", span.metadata().target(), span.metadata().name());
        span.record(&mut Fields(&mut line));
        log(&line);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = String::new();
        values.record(&mut Fields(&mut line));
        log(&line);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = format!("\n{} {}", event.metadata().level(), event.metadata().target());
        event.record(&mut Fields(&mut line));
        log(&line);
    }

    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// From here on everything is logged.
fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        tracing::subscriber::set_global_default(Everything).expect("the first one");
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            log(&format!("\npanic {info}"));
            print(info);
        }));
    });
}

/// What must not be found.
#[derive(Default)]
struct Needles(Vec<(&'static str, String)>);

impl Needles {
    /// Some bytes in every spelling, wherever they stand in what was encoded.
    fn bytes(&mut self, what: &'static str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        self.0.push((what, hex.to_uppercase()));
        self.0.push((what, hex));
        self.0.push((what, format!("{bytes:?}").trim_matches(['[', ']']).to_owned()));
        self.0.push((what, format!("{bytes:#04x?}").split_whitespace().collect()));
        for shift in 0..3 {
            // Whole groups of three only: what stands before and after changes the characters at the edges.
            let inner = &bytes[shift..shift + (bytes.len() - shift) / 3 * 3];
            self.0.push((what, URL_SAFE_NO_PAD.encode(inner)));
            self.0.push((what, STANDARD_NO_PAD.encode(inner)));
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.0.push((what, text.to_owned()));
        }
    }

    fn text(&mut self, what: &'static str, text: &str) {
        self.bytes(what, text.as_bytes());
    }

    fn secret(&mut self, secret: &Secret) {
        let hex = secret.expose_hex();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        self.bytes("the secret", &bytes);
        for key in SecretRing::new(secret.clone()).keys_for("mpp settlement plan v1") {
            self.bytes("the key of the plans", key.as_bytes());
        }
    }

    #[track_caller]
    fn assert_absent(&self, place: &str, hay: &str) {
        for (what, needle) in &self.0 {
            assert!(needle.len() >= 8, "a needle that says something");
            assert!(!hay.contains(needle.as_str()), "{what} (as {needle}) in {place}:\n{hay}");
        }
    }
}

/// A response, head and body, with what is marked sensitive too.
fn whole(response: &Response) -> String {
    let mut text = format!("{} {:?}\n", response.status(), response);
    for (name, value) in response.headers() {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes())).unwrap();
        // A receipt is base64url of JSON: what it holds must not be hidden from the search.
        if let Ok(json) = URL_SAFE_NO_PAD.decode(value.as_bytes()) {
            text.push_str(&String::from_utf8_lossy(&json));
        }
    }
    text.push_str(&response.text());
    text
}

/// One server, everything that was sent to it and everything that came back.
struct Watch {
    lab: Lab,
    needles: Needles,
    said: String,
}

const PROOF: &str = "proof-0b5c7a19-";

impl Watch {
    fn new() -> Self {
        listen();
        let lab = Lab::new();
        let mut needles = Needles::default();
        needles.secret(&lab.secret);
        needles.text("the plan", PLAN_SECRET);
        needles.text("the proof", PROOF);
        Self { lab, needles, said: String::new() }
    }

    fn credential(&mut self, challenge: &Challenge, proof: &str) -> String {
        let line = credential(challenge, &format!("{PROOF}{proof}"));
        self.needles.0.push(("the credential", line["Payment ".len()..].to_owned()));
        line
    }

    async fn quote(&mut self, verb: Method, uri: &str) -> Challenge {
        let response = self.lab.client.request(verb, uri).unpaid().await;
        self.said.push_str(&whole(&response));
        first(&response)
    }

    async fn present(&mut self, verb: Method, uri: &str, line: &str) -> u16 {
        let request = self.lab.client.request(verb, uri).header("authorization", line);
        self.said.push_str(&format!("{request:?}"));
        let response = request.send().await;
        self.said.push_str(&whole(&response));
        settle_down().await;
        response.status().as_u16()
    }

    async fn get(&mut self, uri: &str, proof: &str) -> (String, u16) {
        let challenge = self.quote(Method::GET, uri).await;
        let line = self.credential(&challenge, proof);
        let status = self.present(Method::GET, uri, &line).await;
        (line, status)
    }

    fn finish(mut self) {
        for value in self.lab.store.written.lock().unwrap().iter() {
            // The plan is the last long member of an entry that is not settled, lease and counters follow it.
            let settled = value.windows(9).any(|part| part == b"reference");
            if value.len() > 150 && !settled {
                self.needles.bytes("a sealed plan", &value[value.len() - 64..value.len() - 40]);
            }
        }
        assert!(self.needles.0.iter().any(|(what, _)| *what == "a sealed plan"));
        self.needles.assert_absent("a response or request", &self.said);
        let debug = format!("{:?} {:?}", self.lab.mpp, self.lab.client);
        self.needles.assert_absent("Debug", &debug);
        let log = LOG.lock().unwrap().clone();
        self.needles.assert_absent("the log", &log);
    }
}

#[tokio::test(start_paused = true)]
async fn accepted_and_refused_payments_leave_no_secret_in_log_or_response() {
    let mut watch = Watch::new();
    let (line, status) = watch.get("/cheap", "1").await;
    assert_eq!(status, 200);
    assert_eq!(watch.present(Method::GET, "/cheap", &line).await, 402, "used");
    let (_, status) = watch.get("/cheap", "1").await;
    assert_eq!(status, 402, "the proof was used elsewhere");
    assert_eq!(watch.get("/whoami", "2").await.1, 200);
    assert_eq!(watch.get("/held", "3").await.1, 200);
    assert_eq!(watch.get("/units/7", "4").await.1, 200);
    assert_eq!(watch.get("/elsewhere", "5").await.1, 303);
    assert_eq!(watch.get("/says-402", "6").await.1, 500);
    assert_eq!(watch.get("/held-status/500", "7").await.1, 500);

    // Refused: other route, verb, body; malformed; forged; expired; two at once; unknown method.
    let challenge = watch.quote(Method::GET, "/cheap").await;
    let line = watch.credential(&challenge, "8");
    for uri in ["/dear", "/cheap2", "/units/1", "/members", "/thing/2", "/nowhere"] {
        assert!(watch.present(Method::GET, uri, &line).await >= 400, "{uri}");
    }
    assert_eq!(watch.present(Method::POST, "/cheap", &line).await, 402);
    assert_eq!(watch.present(Method::HEAD, "/cheap", &line).await, 402);
    assert_eq!(watch.present(Method::GET, "/cheap", &format!("{line}, {line}")).await, 400);
    assert_eq!(watch.present(Method::GET, "/cheap", &line[..line.len() - 9]).await, 402);
    let mut forged = challenge.clone();
    forged.id = "A".repeat(43);
    let line = watch.credential(&forged, "9");
    assert_eq!(watch.present(Method::GET, "/cheap", &line).await, 402);
    forged.method = mpp::protocol::MethodName::from_static("unknown");
    let line = watch.credential(&forged, "10");
    assert_eq!(watch.present(Method::GET, "/cheap", &line).await, 400);
    let line = watch.credential(&challenge, "11");
    watch.lab.clock.advance(Duration::from_secs(300));
    assert_eq!(watch.present(Method::GET, "/cheap", &line).await, 402);
    watch.finish();
}

#[tokio::test(start_paused = true)]
async fn failing_networks_and_stores_leave_no_secret_in_log_or_response() {
    let mut watch = Watch::new();
    for (script, statuses) in [
        (Script::Decline, [402, 402]),
        (Script::LoseAnswer, [503, 503]),
        (Script::Panic, [503, 503]),
        (Script::Hang, [503, 503]),
        (Script::Unreachable, [503, 503]),
    ] {
        for (uri, status) in ["/cheap", "/held"].into_iter().zip(statuses) {
            if uri == "/held" && script == Script::Panic {
                continue;
            }
            watch.lab.network.will(script);
            let (line, got) = watch.get(uri, &format!("{script:?}{uri}")).await;
            assert_eq!(got, status, "{script:?} {uri}");
            watch.lab.network.will(Script::Settle);
            watch.lab.clock.advance(Duration::from_secs(91));
            assert_eq!(watch.present(Method::GET, uri, &line).await, 200, "{script:?} {uri}");
        }
    }
    for (capture, release) in [
        (Script::Decline, Script::Settle),
        (Script::LoseAnswer, Script::Settle),
        (Script::Settle, Script::Unreachable),
    ] {
        *watch.lab.network.capture.lock().unwrap() = capture;
        *watch.lab.network.release.lock().unwrap() = release;
        for code in [200, 500] {
            watch.get(&format!("/held-status/{code}"), &format!("{capture:?}{release:?}{code}")).await;
        }
    }
    *watch.lab.network.capture.lock().unwrap() = Script::Settle;
    *watch.lab.network.release.lock().unwrap() = Script::Settle;
    for fault in [Fault::Dies, Fault::Refuses, Fault::LosesAnswer] {
        for operation in 0..8 {
            let challenge = watch.quote(Method::GET, "/cheap").await;
            let line = watch.credential(&challenge, &format!("{fault:?}{operation}"));
            watch.lab.store.after(operation, fault);
            watch.present(Method::GET, "/cheap", &line).await;
            watch.lab.store.heal();
        }
    }
    assert!(!watch.said.contains(common::INTERNALS), "what a network says is for the operator");
    watch.finish();
}

#[tokio::test(start_paused = true)]
async fn handlers_that_fail_or_panic_leave_no_secret_in_log_or_response() {
    let mut watch = Watch::new();
    for uri in ["/panics", "/held-panics"] {
        let challenge = watch.quote(Method::GET, uri).await;
        let line = watch.credential(&challenge, uri);
        assert!(watch.lab.send(uri, &line).await.is_err());
        settle_down().await;
    }
    watch.lab.bench.failures.store(9, Ordering::SeqCst);
    let (line, _) = watch.get("/flaky", "1").await;
    for _ in 0..4 {
        watch.present(Method::GET, "/flaky", &line).await;
    }
    assert!(LOG.lock().unwrap().contains("the handler is out of order"), "panics are searched too");
    assert!(LOG.lock().unwrap().contains("this server takes test money"), "and said at start-up");
    let ledger = LOG.lock().unwrap().matches("mpp::ledger").count();
    assert_eq!(ledger, 1, "one entry says that a refund is due, however often the credential comes back");
    watch.finish();
}

#[tokio::test(start_paused = true)]
async fn a_wallets_key_and_a_sandboxs_books_stay_where_they_are() {
    listen();
    let mut needles = Needles::default();
    let seed = [0xA7, 0x13, 0x5D, 0xE2, 0x99, 0x41, 0x07, 0xC8].repeat(4);
    needles.bytes("the wallet's seed", &seed);
    let wallet = Wallet::from_seed(seed.try_into().unwrap());
    let (secret, sandbox) =
        (Secret::generate(), Sandbox::named("tempo").account(&wallet.did(), mpp::Amount::whole(1)));
    needles.secret(&secret);
    let mpp = Mpp::builder("https://api.example.com")
        .secret(secret)
        .method(sandbox.clone())
        .method(Wired(Network::new("stripe")))
        .allow_test_money()
        .build()
        .unwrap();
    let bench = Lab::new().bench;
    let client =
        Client::new(router().with_state(App { mpp: mpp.clone(), bench })).with_wallet(wallet.clone());
    let line = client.get("/cheap").credential("tempo").await;
    let token = &line["Payment ".len()..];
    needles.0.push(("the credential", token.to_owned()));
    let parsed = CredentialBuf::decode(token).unwrap();
    let parsed = parsed.parse().unwrap().to_credential().unwrap();
    let signature = parsed.payload["signature"].as_str().unwrap();
    needles.0.push(("the signature", signature.to_owned()));
    let mut said = format!("{wallet:?} {sandbox:?} {mpp:?} {client:?} {parsed:?}");
    for _ in 0..2 {
        said.push_str(&whole(&client.get("/cheap").presenting(&line).await));
    }
    let poor = client.clone().with_wallet(Wallet::from_seed([9; 32]));
    said.push_str(&whole(&poor.get("/cheap").paying("tempo").await));
    let proof = wallet
        .for_method(mpp::protocol::MethodName::from_static("tempo"))
        .pay(&parsed.challenge)
        .await
        .unwrap();
    said.push_str(&format!("{proof:?}"));
    needles.assert_absent("a response or Debug", &said);
    needles.assert_absent("the log", &LOG.lock().unwrap());
}

#[test]
fn debug_of_every_type_that_holds_a_secret_says_only_that_it_does() {
    let secret = Secret::generate();
    let mut needles = Needles::default();
    needles.secret(&secret);
    needles.text("the proof", PROOF);
    needles.text("the plan", PLAN_SECRET);
    let ring = SecretRing::new(secret.clone()).also(secret.clone());
    let lab = Lab::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let challenge = runtime.block_on(lab.challenge("/cheap"));
    let line = credential(&challenge, PROOF);
    let token = &line["Payment ".len()..];
    needles.0.push(("the credential", token.to_owned()));
    let buffer = CredentialBuf::decode(token).unwrap();
    let view = buffer.parse().unwrap();
    let whole: Credential = view.to_credential().unwrap();
    let charge = challenge.charge().unwrap();
    let now = Timestamp::from_unix(START);
    let plan = SettlementPlan(serde_json::json!({ "secret": PLAN_SECRET, "proof": PROOF }));
    let cx = CredentialCx::new(&challenge, &charge, &whole.payload, now, now);
    let verified = Verified { payer: None, proof_keys: vec![PROOF.to_owned()], plan: plan.clone() };
    let value = format!("{PROOF}{PLAN_SECRET}").into_bytes();
    let write = Write { value: value.clone(), keep: Keep::Live };
    let versioned = Versioned { version: Version(1), value };
    let key = Key::new(Quota::Paid, "proof", PROOF);
    let currency = mpp::method::MethodCurrency { id: "usdc".into(), decimals: 6, minimum: charge.amount };
    let request = lab.client.get("/cheap").header("authorization", &line);
    let authorization = mpp::protocol::authorization::split(&line);
    let price = mpp::price!(amount = "0.01", currency = "usdc", methods(tempo));
    let settle = SettleCx::new(&challenge.id, &plan, now);
    let text = [
        format!(
            "{secret:?} {ring:?} {:?} {:?}",
            ring.derive("a", b"b"),
            ring.keys_for("mpp settlement plan v1")
        ),
        format!("{:?}", ring.prefix("r", "m", "i", "q")),
        format!("{buffer:?} {view:?} {whole:?} {whole:#?} {authorization:?} {:?}", whole.fingerprint()),
        format!(
            "{cx:?} {settle:?} {plan:?} {verified:?} {verified:#?} {:?}",
            OfferCx::new(charge.amount, &currency)
        ),
        format!("{write:?} {versioned:?} {:?} {key:?}", mpp::store::Cas::Conflict(Some(versioned.clone()))),
        format!("{:?} {:?} {:?}", lab.mpp, lab.builder(), lab.client),
        format!("{request:?} {price:?} {:?} {:?}", lab.mpp.layer(price.clone()), router()),
        format!("{:?} {:?}", MemoryStore::new(), Arc::new(MemoryStore::new())),
        format!("{:?}", mpp::method::Step::ready(PROOF)),
    ];
    for text in text {
        needles.assert_absent("Debug", &text);
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let mut needles = Needles::default();
    needles.bytes("x", b"0123456789abcdef");
    for hidden in [
        "..0123456789abcdef..".to_owned(),
        "30313233343536373839616263646566".to_owned(),
        format!("{:?}", [&b"\x01\x02"[..], b"0123456789abcdef"].concat()),
        STANDARD_NO_PAD.encode("{\"a\":\"0123456789abcdef\"}"),
        URL_SAFE_NO_PAD.encode("?0123456789abcdef>>"),
        URL_SAFE_NO_PAD.encode("??0123456789abcdef"),
    ] {
        let found = std::panic::catch_unwind(|| needles.assert_absent("here", &hidden));
        assert!(found.is_err(), "{hidden}");
    }
}
