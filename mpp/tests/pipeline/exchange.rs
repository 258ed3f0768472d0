//! One exchange: challenge, credential, receipt, and every way a credential is refused.

use crate::common::credential;
use crate::lab::*;
use axum::http::Method;
use mpp::protocol::{Challenge, b64};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn an_unpaid_request_gets_a_challenge_and_touches_nothing() {
    let lab = Lab::new();
    let response = lab.client.get("/cheap").unpaid().await;
    response.assert_offers(["tempo 0.01 usdc"]);
    response.assert_problem("payment-required");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert!(response.header("payment-receipt").is_none());
    let challenge = first(&response);
    assert_eq!(challenge.realm, "api.example.com");
    assert_eq!(response.json()["challengeId"], challenge.id);
    assert_eq!(challenge.expires_at().unwrap().unwrap().unix(), START + 300);
    assert_eq!(lab.store.operations.load(Ordering::SeqCst), 0, "CORE-37: the 402 path modifies nothing");
}

#[tokio::test(start_paused = true)]
async fn a_payment_opens_the_route_once_and_comes_with_a_receipt() {
    let lab = Lab::new();
    let (paid, response) = lab.pay("/cheap", "tx1").await;
    assert_eq!(response.status(), 200, "{}", response.text());
    let receipt = response.receipt();
    assert_eq!(response.text(), format!("run 1 of {} by Some(\"did:example:payer\")", receipt.reference));
    assert_eq!(response.header("cache-control"), Some("private"));
    let again = lab.client.get("/cheap").presenting(&paid).await;
    again.assert_problem("invalid-challenge");
    assert_eq!(again.challenges().offers.len(), 1, "with a fresh challenge");
    assert!(again.header("payment-receipt").is_none());
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_credential_opens_no_other_route_verb_or_body() {
    let lab = Lab::new();
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    for (verb, uri) in [(Method::GET, "/dear"), (Method::GET, "/cheap2"), (Method::POST, "/cheap")] {
        lab.client.request(verb, uri).presenting(&paid).await.assert_problem("invalid-challenge");
    }
    lab.client
        .request(Method::GET, "/cheap")
        .body("x")
        .presenting(&paid)
        .await
        .assert_problem("invalid-challenge");
    assert_eq!(lab.network.payments(), 0);
    assert_eq!(lab.client.get("/cheap").presenting(&paid).await.status(), 200, "and was not used up by that");
}

#[tokio::test(start_paused = true)]
async fn a_challenge_for_a_body_is_paid_with_that_body_only() {
    let lab = Lab::new();
    let say = |text: &str| serde_json::json!({ "say": text });
    let challenge = first(&lab.client.post("/echo").json(&say("hello")).unpaid().await);
    assert!(challenge.digest.as_deref().unwrap().starts_with("sha-256=:"));
    let paid = credential(&challenge, "tx1");
    lab.client.post("/echo").json(&say("other")).presenting(&paid).await.assert_problem("invalid-challenge");
    let response = lab.client.post("/echo").json(&say("hello")).presenting(&paid).await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (200, "hello"));
}

#[tokio::test(start_paused = true)]
async fn expired_tampered_forged_and_garbage_credentials_have_their_own_problem_and_pay_nothing() {
    let lab = Lab::new();
    let challenge = lab.challenge("/cheap").await;
    let no_payload = b64::encode(
        r#"{"challenge":{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30"}}"#,
    );
    for (garbage, part) in [
        ("Payment".to_owned(), "is empty"),
        ("Payment !".to_owned(), "not base64url"),
        (format!("Payment {}", b64::encode("geheim")), "not JSON"),
        ("Payment e30".to_owned(), "`challenge`"),
        ("payment bnVsbA".to_owned(), "not an object"),
        (format!("Payment {no_payload}"), "`payload`"),
    ] {
        let refused = lab.client.get("/cheap").presenting(&garbage).await;
        refused.assert_problem("malformed-credential");
        assert!(refused.text().contains(part) && !refused.text().contains("geheim"), "{}", refused.text());
    }
    let change = |f: &dyn Fn(&mut Challenge)| {
        let mut other = challenge.clone();
        f(&mut other);
        credential(&other, "tx1")
    };
    let dear = lab.challenge("/dear").await.request;
    let forged: [(&str, String); 10] = [
        ("intent", change(&|c| c.intent = mpp::protocol::Intent::SESSION)),
        ("method", change(&|c| c.method = mpp::protocol::MethodName::from_static("stripe"))),
        ("id", change(&|c| c.id = "A".repeat(43))),
        ("realm", change(&|c| c.realm = "evil.example.com".to_owned())),
        ("request", change(&|c| c.request = dear.clone())),
        ("expires", change(&|c| c.expires = Some("2099-01-01T00:00:00Z".to_owned()))),
        ("no expires", change(&|c| c.expires = None)),
        ("digest", change(&|c| c.digest = Some("sha-256=:AAAA:".to_owned()))),
        ("opaque", change(&|c| c.opaque = Some("e30".to_owned()))),
        ("no opaque", change(&|c| c.opaque = None)),
    ];
    for (what, forged) in &forged {
        let response = lab.client.get("/cheap").presenting(forged).await;
        response.assert_problem("invalid-challenge");
        assert_eq!(response.challenges().offers.len(), 1, "{what}");
    }
    let unknown = change(&|c| c.method = mpp::protocol::MethodName::from_static("lightning"));
    let response = lab.client.get("/cheap").presenting(&unknown).await;
    response.assert_problem("method-unsupported");
    assert!(response.challenges().offers.is_empty());

    let paid = credential(&challenge, "tx1");
    lab.clock.advance(Duration::from_secs(300));
    lab.client.get("/cheap").presenting(&paid).await.assert_problem("payment-expired");
    assert_eq!(lab.network.payments(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_does_not_verify_or_was_used_elsewhere_is_refused_with_a_fresh_challenge() {
    let lab = Lab::new();
    let challenge = lab.challenge("/cheap").await;
    let mut empty = mpp::protocol::Credential { challenge, source: None, payload: serde_json::Map::new() };
    empty.payload.insert("other".to_owned(), 1.into());
    lab.client.get("/cheap").presenting(&empty.to_header_value()).await.assert_problem("verification-failed");
    lab.pay("/cheap", "tx1").await.1.assert_ok();
    let (second, response) = lab.pay("/cheap", "tx1").await;
    response.assert_problem("verification-failed");
    assert_eq!(lab.network.payments(), 1);
    // The claim was rolled back: the challenge itself is not used up.
    lab.client.get("/cheap").presenting(&second).await.assert_problem("verification-failed");
}
