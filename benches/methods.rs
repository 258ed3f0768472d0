//! What a payment method does with a credential before it asks its network anything. Run it with `cargo xtask bench`.
//!
//! A case is one `verify`, from an authentic challenge and a decoded payload to the plan that is journaled.

use divan::{AllocProfiler, Bencher};
use mpp::method::tempo::Sponsor;
use mpp::method::{CredentialCx, OfferCx, Rejection, ServerMethod};
use mpp::protocol::{Amount, Challenge, Intent, Timestamp};
use mpp::{Stripe, Tempo};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

/// A shared payment token for fifty cents: read, put into the form, and given its keys.
#[divan::bench(sample_count = 300, sample_size = 64)]
fn stripe_verify(bencher: Bencher) {
    let payload = Map::from_iter([("spt".to_owned(), json!("spt_1N4Zv32eZvKYlo2CPhVPkJlW"))]);
    let stripe = Stripe::new("sk_test_51VerySecretIndeed").network_id("profile_1MqDcVKA5fEO2tZvKQm9g8Yj");
    verify(bencher, &stripe, "usd", "0.50", &payload);
}

/// A signed transaction of one transfer: decoded, held against the challenge, its signer recovered. It names another payer,
/// which is the last thing found out before the node would be asked.
#[divan::bench(sample_count = 100, sample_size = 16)]
fn tempo_transaction(bencher: Bencher) {
    before_the_network(bencher, "plain", "raw");
}

/// The same with one part for somebody else, and waiting for a fee payer: the sponsor's policy is held against it too.
#[divan::bench(sample_count = 100, sample_size = 16)]
fn tempo_sponsored_split(bencher: Bencher) {
    before_the_network(bencher, "sponsoredSplit", "envelope");
}

fn before_the_network(bencher: Bencher, case: &str, spelling: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../mpp/tests/fixtures/tempo-vectors.json");
    let vectors: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let inputs = &vectors["inputs"];
    let tempo = Tempo::new(&text(&inputs["recipient"]))
        .chain_id(31337)
        .rpc("http://127.0.0.1:1")
        .payee("platform", &text(&inputs["platform"]))
        .sponsor(Sponsor::local(&text(&inputs["sponsorKey"])));
    let challenge = Challenge {
        id: text(&inputs["challengeId"]),
        realm: text(&inputs["realm"]),
        method: tempo.name().clone(),
        intent: Intent::CHARGE,
        request: text(&vectors["requests"][case]["encoded"]),
        expires: None,
        digest: None,
        opaque: None,
        description: None,
    };
    let request = challenge.charge().expect("a charge");
    let payload = Map::from_iter([
        ("type".to_owned(), json!("transaction")),
        ("signature".to_owned(), vectors["transactions"][case][spelling].clone()),
    ]);
    let mut cx = CredentialCx::new(&challenge, &request, &payload, NOW + Duration::from_secs(300), NOW);
    let somebody_else = format!("did:pkh:eip155:31337:{}", text(&inputs["sponsor"]));
    cx.source = Some(&somebody_else);
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let refused = runtime.block_on(tempo.verify(&cx)).expect_err("it is somebody else's");
    assert_eq!(refused, Rejection::failed("the transaction is not signed by the account in `source`"));
    bencher.bench_local(|| runtime.block_on(tempo.verify(&cx)));
}

fn verify(
    bencher: Bencher,
    method: &impl ServerMethod,
    currency: &str,
    amount: &str,
    payload: &Map<String, Value>,
) {
    let currency = method.currency(currency).expect("the method knows it");
    let amount = Amount::parse(amount).and_then(|amount| amount.to_base_units(currency.decimals));
    let request = method.offer(&OfferCx::new(amount.expect("it is exact"), &currency)).expect("an offer");
    let challenge = Challenge {
        id: "x7Tg2pLqR9mKvXwYzA4bNcDe5fGhJkLm8nPqRsTuVwX".into(),
        realm: "api.example.com".into(),
        method: method.name().clone(),
        intent: Intent::CHARGE,
        request: request.encode(),
        expires: None,
        digest: None,
        opaque: None,
        description: None,
    };
    let cx = CredentialCx::new(&challenge, &request, payload, NOW + Duration::from_secs(300), NOW);
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    assert!(runtime.block_on(method.verify(&cx)).is_ok());
    bencher.bench_local(|| runtime.block_on(method.verify(&cx)));
}
