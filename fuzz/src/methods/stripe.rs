//! Stripe credentials.

use super::{Case, payload};
use mpp::Stripe;
use mpp::method::{OfferCx, ServerMethod as _};
use mpp::protocol::{BaseUnits, Timestamp};
use serde_json::Value;
use std::sync::LazyLock;

static SHOP: LazyLock<(Stripe, Case)> = LazyLock::new(|| {
    let stripe = Stripe::new("sk_test_51VerySecretIndeed").network_id("profile_1MqDcVKA5fEO2tZvKQm9g8Yj");
    let currency = stripe.currency("usd").expect("dollars");
    let request = stripe.offer(&OfferCx::new(BaseUnits::new(500), &currency)).expect("an offer").encode();
    let case = Case::new(&stripe, "x7Tg", "api.example.com", &request, Timestamp::from_unix(1_800_000_000));
    (stripe, case)
});

/// Payloads: whatever is taken for a token has one proof, so that it is used once.
pub fn stripe_payload(json: &[u8]) {
    let Some(payload) = payload(json) else { return };
    let (stripe, case) = &*SHOP;
    if let Ok(verified) = case.verify(stripe, &payload) {
        let [proof] = &*verified.proof_keys else { panic!("{} proofs", verified.proof_keys.len()) };
        let token = payload.get("spt").and_then(Value::as_str).expect("nothing else is a token");
        assert!(!token.is_empty() && !proof.is_empty());
    }
}
