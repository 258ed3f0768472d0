//! Stripe tokens from a backend of the payer's own, over a socket.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use mpp::method::stripe::{StripeWallet, TokenBackend};
use mpp::method::{ClientMethod as _, PayError};
use mpp::protocol::{Challenge, b64};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A backend that answers as it is told; what it was asked is kept.
struct Backend {
    url: String,
    asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
}

impl Backend {
    async fn answering(answer: fn() -> Response) -> Backend {
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let log = asked.clone();
        let route = axum::routing::post(async move |headers: HeaderMap, Json(body): Json<Value>| {
            log.lock().unwrap().push((headers, body));
            answer()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tokens", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/tokens", route)).await });
        Backend { url, asked }
    }
}

fn challenge() -> Challenge {
    let request = json!({ "amount": "150", "currency": "usd",
        "methodDetails": { "networkId": "profile_1Abc", "paymentMethodTypes": ["card"], "metadata": { "order": "7" } } });
    let line = format!(
        r#"Payment id="x7Tg", realm="api.example.com", method="stripe", intent="charge", request="{}", expires="2027-01-15T08:05:00Z""#,
        b64::encode(request.to_string())
    );
    Challenge::parse_all([line.as_str()]).offers.remove(0)
}

#[tokio::test]
async fn a_backend_is_asked_once_for_exactly_what_the_challenge_asks() {
    let backend =
        Backend::answering(|| Json(json!({ "spt": "spt_1Abc", "more": true })).into_response()).await;
    let tokens =
        TokenBackend::new(&backend.url).unwrap().bearer("let-me-in").unwrap().payment_method("pm_card_visa");
    let proof = StripeWallet::new(tokens).pay(&challenge()).await.unwrap();
    assert_eq!(proof.payload["spt"], "spt_1Abc");
    let asked = backend.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].0["authorization"], "Bearer let-me-in");
    let expected = json!({ "amount": "150", "currency": "usd", "networkId": "profile_1Abc", "paymentMethodTypes": ["card"],
        "expiresAt": 1_800_000_300, "metadata": { "order": "7" }, "paymentMethod": "pm_card_visa" });
    assert_eq!(asked[0].1, expected);
}

#[tokio::test]
async fn a_backend_that_fails_takes_nothing_and_its_words_stay_with_it() {
    let answers: [fn() -> Response; 5] = [
        || (StatusCode::PAYMENT_REQUIRED, "sk_live_secret").into_response(),
        || StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        || "sk_live_secret".into_response(),
        || Json(json!({ "spt": "sk_live_secret" })).into_response(),
        || "x".repeat(100_000).into_response(),
    ];
    for answer in answers {
        let backend = Backend::answering(answer).await;
        let wallet = StripeWallet::new(TokenBackend::new(&backend.url).unwrap());
        let error = wallet.pay(&challenge()).await.unwrap_err();
        assert!(matches!(error, PayError::Declined(_)), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let nobody = StripeWallet::new(TokenBackend::new("http://127.0.0.1:1/tokens").unwrap());
    assert!(matches!(nobody.pay(&challenge()).await, Err(PayError::Declined(_))));
}
