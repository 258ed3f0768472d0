//! The stand-in for Stripe, checked from outside: what Stripe's own SDKs (npm and PyPI `stripe`) make of its answers is what
//! they make of Stripe's.

use interop::stripe::{Mischief, PROFILE, StandIn};
use interop::{Language, Sdk, SdkError, lab};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;
const CREATE: &str = "POST /v1/payment_intents";

/// A stand-in with one SDK before it.
struct Scene {
    stand_in: StandIn,
    sdk: Sdk,
}

/// One scene for each SDK that is installed.
async fn scenes() -> Vec<Scene> {
    let Some(lab) = lab() else { return Vec::new() };
    let mut scenes = Vec::new();
    for language in [Language::Node, Language::Python] {
        let stand_in = StandIn::start(NOW).await;
        scenes.extend(lab.stripe_sdk(language, &stand_in).map(|sdk| Scene { stand_in, sdk }));
    }
    scenes
}

impl Scene {
    /// A token, as its payer's backend makes it.
    async fn token(&mut self, card: &str) -> String {
        let params = json!({
            "payment_method": card,
            "usage_limits": { "currency": "usd", "max_amount": 100, "expires_at": NOW + 3600 },
            "seller_details": { "network_id": PROFILE },
        });
        let token = self.sdk.ask(json!({ "op": "token", "params": params })).await.expect("a token");
        assert_eq!(token["object"], "shared_payment.granted_token");
        token["id"].as_str().expect("an id").to_owned()
    }

    async fn create(&mut self, params: Value, key: &str, retries: u32) -> Result<Value, SdkError> {
        self.sdk.ask(json!({ "op": "create", "params": params, "key": key, "retries": retries })).await
    }

    /// A charge of a dollar on a new token of this card.
    async fn charge(&mut self, card: &str) -> Result<Value, SdkError> {
        let token = self.token(card).await;
        self.create(charge(&token), &token, 0).await
    }

    async fn on(&mut self, op: &str, intent: &Value) -> Result<Value, SdkError> {
        self.sdk.ask(json!({ "op": op, "id": intent["id"] })).await
    }
}

/// What a server of machine payments sends.
fn charge(token: &str) -> Value {
    json!({
        "amount": 100, "currency": "usd", "confirm": true, "shared_payment_granted_token": token,
        "automatic_payment_methods": { "enabled": true, "allow_redirects": "never" },
        "metadata": { "challenge_id": "kept", "mpp_payment": token },
    })
}

fn with(mut params: Value, name: &str, value: Value) -> Value {
    params[name] = value;
    params
}

#[track_caller]
fn assert_error(result: Result<Value, SdkError>, class: &str, status: u64, code: &str) -> SdkError {
    let error = result.expect_err("an error");
    assert_eq!(
        (error.class.as_str(), error.status, error.code.as_str()),
        (class, Some(status), code),
        "{error:?}"
    );
    error
}

#[tokio::test]
async fn a_payment_intent_is_made_read_found_and_listed() {
    for mut scene in scenes().await {
        let intent = scene.charge("pm_card_visa").await.expect("a payment");
        assert_eq!((&intent["object"], &intent["status"]), (&json!("payment_intent"), &json!("succeeded")));
        assert_eq!(
            (&intent["amount_received"], &intent["metadata"]["challenge_id"]),
            (&json!(100), &json!("kept"))
        );
        assert_eq!(scene.on("retrieve", &intent).await.expect("the same")["id"], intent["id"]);
        let query = format!(
            "metadata['mpp_payment']:'{}'",
            intent["metadata"]["mpp_payment"].as_str().expect("a mark")
        );
        let found = scene.sdk.ask(json!({ "op": "search", "query": query })).await.expect("a result");
        assert_eq!((&found["object"], &found["data"][0]["id"]), (&json!("search_result"), &intent["id"]));
        let listed = scene.sdk.ask(json!({ "op": "list" })).await.expect("a list");
        assert_eq!((&listed["object"], &listed["data"][0]["id"]), (&json!("list"), &intent["id"]));
        assert_eq!(scene.stand_in.taken(), 100);
    }
}

#[tokio::test]
async fn a_key_repeats_its_answer_and_takes_no_other_parameters() {
    for mut scene in scenes().await {
        let token = scene.token("pm_card_visa").await;
        let first = scene.create(charge(&token), "key-1", 0).await.expect("a payment");
        let again = scene.create(charge(&token), "key-1", 0).await.expect("the same answer");
        assert_eq!(first, again);
        let other = with(charge(&token), "amount", json!(99));
        assert_error(scene.create(other, "key-1", 0).await, "IdempotencyError", 400, "");
        // Under another key the token is used up.
        let used = scene.create(charge(&token), "key-2", 0).await;
        assert_error(used, "InvalidRequestError", 400, "shared_payment_token_used");
        assert_eq!((scene.stand_in.intents().len(), scene.stand_in.taken()), (1, 100));
    }
}

#[tokio::test]
async fn a_declined_card_is_a_card_error_with_its_reason() {
    for mut scene in scenes().await {
        for (card, code, decline) in [
            ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
            ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ] {
            let error = assert_error(scene.charge(card).await, "CardError", 402, code);
            assert_eq!(error.decline_code, decline);
        }
        assert_eq!(scene.stand_in.taken(), 0);
    }
}

#[tokio::test]
async fn a_wrong_request_names_its_parameter() {
    for mut scene in scenes().await {
        let token = scene.token("pm_card_visa").await;
        for (params, code, param) in [
            (with(charge(&token), "amont", json!(1)), "parameter_unknown", "amont"),
            (with(charge(&token), "amount", json!(49)), "amount_too_small", "amount"),
            (with(charge(&token), "amount", json!("1.5")), "parameter_invalid_integer", "amount"),
            (json!({ "currency": "usd" }), "parameter_missing", "amount"),
        ] {
            let wrong = scene.create(params, &format!("key-{code}"), 0).await;
            let error = assert_error(wrong, "InvalidRequestError", 400, code);
            assert_eq!(error.param, param);
        }
        let nothing = scene.on("retrieve", &json!({ "id": "pi_none" })).await;
        assert_error(nothing, "InvalidRequestError", 404, "resource_missing");
        // What was wrong with a request is not kept for its key.
        assert!(scene.create(charge(&token), "key-amount_too_small", 0).await.is_ok());
    }
}

#[tokio::test]
async fn a_wrong_secret_key_is_an_authentication_error() {
    for mut scene in scenes().await {
        let refused = scene.sdk.ask(json!({ "op": "list", "secret": "sk_test_wrong" })).await;
        assert_error(refused, "AuthenticationError", 401, "");
    }
}

#[tokio::test]
async fn a_hold_is_captured_or_cancelled_and_neither_twice() {
    for mut scene in scenes().await {
        for (op, other, status) in [("capture", "cancel", "succeeded"), ("cancel", "capture", "canceled")] {
            let token = scene.token("pm_card_visa").await;
            let params = with(charge(&token), "capture_method", json!("manual"));
            let held = scene.create(params, &token, 0).await.expect("a hold");
            assert_eq!(
                (&held["status"], &held["amount_capturable"]),
                (&json!("requires_capture"), &json!(100))
            );
            assert_eq!(scene.on(op, &held).await.expect("it may")["status"], status);
            for again in [op, other] {
                let late = scene.on(again, &held).await;
                assert_error(late, "InvalidRequestError", 400, "payment_intent_unexpected_state");
            }
        }
        assert_eq!(scene.stand_in.taken(), 100);
    }
}

#[tokio::test]
async fn trouble_is_the_error_it_is_at_stripe() {
    for mut scene in scenes().await {
        for (mischief, class, status) in [
            (Mischief::Refused(429), "RateLimitError", 429),
            (Mischief::Refused(500), "APIError", 500),
            (Mischief::Refused(503), "APIError", 503),
            (Mischief::Refused(409), "APIError", 409),
        ] {
            let token = scene.token("pm_card_visa").await;
            scene.stand_in.next(CREATE, mischief.clone());
            let error = scene.create(charge(&token), &token, 0).await.expect_err("trouble");
            assert_eq!(
                (error.class.as_str(), error.status),
                (class, Some(status)),
                "{mischief:?}: {error:?}"
            );
        }
        assert_eq!(scene.stand_in.taken(), 0);
    }
}

#[tokio::test]
async fn what_an_sdk_repeats_by_itself_is_paid_once() {
    for mut scene in scenes().await {
        for (mischief, asked) in [
            (Mischief::Refused(409), 2),
            (Mischief::Refused(503), 2),
            (Mischief::LostRequest, 2),
            (Mischief::LostAnswer, 2),
        ] {
            let token = scene.token("pm_card_visa").await;
            let (before, taken) = (scene.stand_in.asked(CREATE), scene.stand_in.taken());
            scene.stand_in.next(CREATE, mischief.clone());
            let intent = scene.create(charge(&token), &token, 2).await.expect("a payment in the end");
            assert_eq!(intent["status"], "succeeded", "{mischief:?}");
            assert_eq!(
                (scene.stand_in.asked(CREATE) - before, scene.stand_in.taken() - taken),
                (asked, 100),
                "{mischief:?} before {:?}",
                scene.sdk.language
            );
        }
        // A failure that is kept for its key is repeated too: the SDK gives up, and the payment has been made.
        let token = scene.token("pm_card_visa").await;
        let taken = scene.stand_in.taken();
        scene.stand_in.next(CREATE, Mischief::FailedAfter(500));
        let failed = scene.create(charge(&token), &token, 1).await;
        assert_error(failed, "APIError", 500, "");
        assert_eq!(scene.stand_in.taken() - taken, 100);
    }
}

#[tokio::test]
async fn a_refund_is_made_once_for_its_key_and_never_above_what_was_paid() {
    for mut scene in scenes().await {
        let intent = scene.charge("pm_card_visa").await.expect("a payment");
        let part = |amount: u64| json!({ "payment_intent": intent["id"], "amount": amount, "metadata": { "a": "b" } });
        let mut refund = async |params: Value, key: &str| {
            scene.sdk.ask(json!({ "op": "refund", "params": params, "key": key })).await
        };
        let first = refund(part(40), "refund-1").await.expect("a refund");
        assert_eq!((&first["object"], &first["status"]), (&json!("refund"), &json!("succeeded")));
        assert_eq!((&first["amount"], &first["currency"]), (&json!(40), &json!("usd")));
        assert_eq!(refund(part(40), "refund-1").await.expect("the same answer"), first);
        assert_error(refund(part(61), "refund-2").await, "InvalidRequestError", 400, "");
        assert_error(
            refund(with(part(1), "amont", json!(1)), "refund-3").await,
            "InvalidRequestError",
            400,
            "parameter_unknown",
        );
        // Without an amount it is the rest.
        let rest = refund(json!({ "payment_intent": intent["id"] }), "refund-4").await.expect("a refund");
        assert_eq!(rest["amount"], 60);
        assert_error(
            refund(part(1), "refund-5").await,
            "InvalidRequestError",
            400,
            "charge_already_refunded",
        );
        let ask = json!({ "op": "refunds", "params": { "payment_intent": intent["id"], "limit": 1 } });
        let newest = scene.sdk.ask(ask).await.expect("a list");
        assert_eq!((&newest["data"][0]["id"], &newest["has_more"]), (&rest["id"], &json!(true)));
        let read = scene.sdk.ask(json!({ "op": "refunded", "id": first["id"] })).await.expect("it is there");
        assert_eq!(read, first);
    }
}
