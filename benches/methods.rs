//! What a payment method does with a credential before it asks its network anything. Run it with `cargo xtask bench`.
//!
//! A case is one `verify`, from an authentic challenge and a decoded payload to the plan that is journaled.

use divan::{AllocProfiler, Bencher};
use mpp::Stripe;
use mpp::method::{CredentialCx, OfferCx, ServerMethod};
use mpp::protocol::{Amount, Challenge, Intent, Timestamp};
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
