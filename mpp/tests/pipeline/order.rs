//! What comes first: authentication, validation, the challenge, the money.

use crate::common::credential;
use crate::lab::*;
use std::sync::atomic::Ordering;

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_valid_is_told_so_before_it_is_asked_for_money() {
    let lab = Lab::new();
    let invalid = lab.client.post("/echo").header("content-type", "application/json").body("{}");
    for response in [invalid.clone().unpaid().await, lab.client.post("/echo").unpaid().await] {
        assert!(response.status().is_client_error() && response.status() != 402, "{}", response.status());
        assert!(response.challenges().offers.is_empty());
    }
    assert_eq!(invalid.unpaid().await.status(), 422);
    assert_eq!(lab.client.get("/members").unpaid().await.status(), 401, "and not authenticated: 401");
    let member = lab.client.get("/members").header("authorization", "Bearer ann");
    member.clone().unpaid().await.assert_offers(["tempo 0.01 usdc"]);
    // A credential does not make up for a missing login.
    let paid = credential(&first(&member.clone().unpaid().await), "tx1");
    assert_eq!(lab.client.get("/members").presenting(&paid).await.status(), 401);
    assert_eq!(lab.network.payments(), 0);
    let response = member.header("authorization", &paid).send().await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (200, "ann"));
}

#[tokio::test(start_paused = true)]
async fn a_forged_credential_is_answered_only_in_its_turn() {
    let lab = Lab::new();
    let forged = "Payment e30";
    assert_eq!(lab.client.get("/members").presenting(forged).await.status(), 401);
    assert_eq!(lab.client.get("/thing/2").presenting(forged).await.status(), 404);
    assert_eq!(lab.client.get("/units/0").presenting(forged).await.status(), 422);
    assert_eq!(lab.client.get("/tiered?member=true").presenting(forged).await.text(), "true false");
    lab.client.get("/tiered?member=false").presenting(forged).await.assert_problem("malformed-credential");
    assert_eq!(lab.store.operations.load(Ordering::SeqCst), 0, "and costs the store nothing");
}

#[tokio::test(start_paused = true)]
async fn a_challenge_first_price_quotes_anything_and_charges_for_nothing_invalid() {
    let lab = Lab::new();
    let json = |body: &'static str| {
        lab.client.post("/catalogue").header("content-type", "application/json").body(body)
    };
    lab.client.post("/catalogue").unpaid().await.assert_offers(["tempo 0.01 usdc"]);
    json("not json").unpaid().await.assert_offers(["tempo 0.01 usdc"]);
    let invalid = credential(&first(&json("{}").unpaid().await), "tx1");
    assert_eq!(json("{}").presenting(&invalid).await.status(), 422, "paying for nonsense is refused, unpaid");
    assert_eq!((lab.network.payments(), lab.store.operations.load(Ordering::SeqCst)), (0, 0));
    let valid = credential(&first(&json(r#"{"say":"hi"}"#).unpaid().await), "tx2");
    assert_eq!(json(r#"{"say":"hi"}"#).presenting(&valid).await.text(), "hi");
    // A refused credential is answered in its turn, after the extractors.
    assert_eq!(json("{}").presenting("Payment e30").await.status(), 422);
}

#[tokio::test(start_paused = true)]
async fn what_is_free_costs_nothing_and_spends_no_credential() {
    let lab = Lab::new();
    let challenge = first(&lab.client.get("/tiered?member=false").unpaid().await);
    let paid = credential(&challenge, "tx1");
    let free = lab.client.get("/tiered?member=true").presenting(&paid).await;
    assert_eq!((free.status().as_u16(), free.text().as_str()), (200, "true false"));
    assert!(free.header("payment-receipt").is_none() && free.header("cache-control").is_none());
    assert_eq!(lab.network.payments(), 0);
    let bought = lab.client.get("/tiered?member=false").presenting(&paid).await;
    assert_eq!(bought.text(), "false true");
    bought.receipt();
}

#[tokio::test(start_paused = true)]
async fn an_identity_proof_asks_for_nothing_and_is_good_once() {
    let lab = Lab::new();
    let challenge = lab.challenge("/whoami").await;
    assert_eq!(challenge.charge().unwrap().amount, mpp::protocol::BaseUnits::ZERO);
    let proof = credential(&challenge, "me");
    assert_eq!(lab.client.get("/whoami").presenting(&proof).await.text(), "did:example:payer");
    lab.client.get("/whoami").presenting(&proof).await.assert_problem("invalid-challenge");
}
