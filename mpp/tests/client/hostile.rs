//! Servers that want more than they said. What they get is counted in their own till.

use crate::world::{Act, Told, World, answer, change, edited, text, url};
use http::Request;
use http::header::WWW_AUTHENTICATE;
use mpp::Amount;
use mpp::client::{Budget, Cause, Error, Event, Outcome, Policy, Refusal, RefusedOffer};
use mpp::method::Fate;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{BaseUnits, BodyDigest, Challenge};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn policy() -> Policy {
    Policy::new(Budget::total("usdc", Amount::whole(1)).per_request(Amount::cents(10)))
}

fn careful() -> World {
    World::new(policy())
}

fn priced(offer: &mut Challenge, units: u128) {
    let mut request = offer.charge().unwrap();
    request.amount = BaseUnits::new(units);
    offer.request = request.encode();
}

fn paid_to(offer: &mut Challenge, account: &str) {
    let mut request = offer.charge().unwrap();
    request.recipient = Some(account.to_owned());
    offer.request = request.encode();
}

/// The rule that refused everything that was offered.
async fn refused(world: &World, path: &str) -> Vec<Refusal> {
    match world.get(path).await {
        Err(Error::NotPaid(refused)) => refused.offers.into_iter().map(|offer| offer.why).collect(),
        other => panic!("paid? {other:?}"),
    }
}

#[tokio::test]
async fn a_402_after_a_payment_is_not_paid_again_however_friendly() {
    let world = careful();
    // The server takes the money, and says that it did not.
    let fresh = world.server.issue("/weather").await;
    world.server.will([Act::Pass, change(|_| fresh)]);
    let error = world.get("/weather").await.unwrap_err();
    assert!(matches!(&error, Error::Rejected(_)), "{error}");
    assert_eq!(world.till().await, Amount::cents(5));
    assert_eq!(world.server.requests(), 2);
    assert_eq!(world.client.ledger().entries().await.unwrap()[0].outcome, Outcome::Unknown);
}

#[tokio::test]
async fn an_endless_402_gets_one_payment_per_request_and_never_more_than_the_limit() {
    let world = careful();
    let mut paid = 0;
    for _ in 0..30 {
        let fresh = world.server.issue("/weather").await;
        world.server.will([Act::Pass, change(|_| fresh)]);
        match world.get("/weather").await.unwrap_err() {
            Error::Rejected(_) => paid += 1,
            Error::NotPaid(_) => drop(world.get("/free").await), // uses up the script
            other => panic!("{other}"),
        }
    }
    assert_eq!(paid, 20);
    assert_eq!(world.till().await, Amount::whole(1));
}

#[tokio::test]
async fn a_further_challenge_is_paid_only_if_the_first_payment_provably_never_happens_and_the_policy_allows_it()
 {
    let never = || Fate::Never;
    for (fate, further, paid) in [
        (never(), 1, 2),
        (never(), 0, 1),
        (Fate::Unknown, 1, 1),
        (Fate::Paid { reference: "0xabc".into() }, 1, 1),
    ] {
        let wallet = Wallet::generate();
        let told = Told { fate: fate.clone(), ..Told::around(&wallet) };
        let count = told.paid.clone();
        let world = World::paying(wallet, policy().pay_again(further), |builder| builder.method(told));
        let fresh = world.server.issue("/weather").await;
        world.server.will([Act::Pass, Act::Answer(fresh)]);
        let answer = world.get("/weather").await;
        assert_eq!(count.load(Ordering::SeqCst), paid, "{fate:?}, {further}");
        let entries = world.client.ledger().entries().await.unwrap();
        match answer {
            Ok(response) => assert_eq!(text(response).await, "sunny"),
            Err(error) => assert!(matches!(error, Error::Rejected(_)), "{error}"),
        }
        assert_eq!(entries[0].outcome.counts(), fate != never());
    }
}

#[tokio::test]
async fn no_more_further_challenges_are_paid_than_the_policy_allows_and_what_lapsed_is_forgotten() {
    for (refusals, paid) in [(1, 2), (2, 3), (5, 3)] {
        let wallet = Wallet::generate();
        let told = Told { fate: Fate::Never, ..Told::around(&wallet) };
        let count = told.paid.clone();
        let world = World::paying(wallet, policy().pay_again(2), |builder| builder.method(told));
        world.server.will([Act::Pass]);
        for _ in 0..refusals {
            let fresh = world.server.issue("/weather").await;
            world.server.will([Act::Answer(fresh)]);
        }
        let bought = world.get("/weather").await.is_ok();
        assert_eq!(bought, refusals <= 2);
        assert_eq!(count.load(Ordering::SeqCst), paid, "{refusals} refusals");
        assert!(world.client.unsettled().is_empty(), "a payment that lapsed is not sent again");
    }
}

#[tokio::test]
async fn a_rejection_is_entered_and_told_as_the_wallet_knows_it() {
    let reference = || "0xabc".to_owned();
    for (fate, outcome, event) in [
        (Fate::Never, None, "Released"),
        (Fate::Unknown, Some(Outcome::Unknown), "Unsettled"),
        (
            Fate::Paid { reference: reference() },
            Some(Outcome::Paid { reference: Some(reference()) }),
            "Unsettled",
        ),
    ] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let wallet = Wallet::generate();
        let method = Told { fate, ..Told::around(&wallet) };
        let world = World::paying(wallet, policy(), |builder| {
            builder
                .method(method)
                .observe(move |event: &Event<'_>| log.lock().unwrap().push(format!("{event:?}")))
        });
        let fresh = world.server.issue("/weather").await;
        world.server.will([Act::Pass, Act::Answer(fresh)]);
        assert!(matches!(world.get("/weather").await.unwrap_err(), Error::Rejected(_)));
        let entered = world.client.ledger().entries().await.unwrap().remove(0).outcome;
        match outcome {
            Some(outcome) => assert_eq!(entered, outcome),
            None => assert!(!entered.counts(), "{entered:?}"),
        }
        let told = told.lock().unwrap();
        assert!(told.last().unwrap().starts_with(event), "{told:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_told_as_a_payment_without_a_delivery() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let world = World::with(policy(), |builder| {
        builder.observe(move |event: &Event<'_>| log.lock().unwrap().push(format!("{event:?}")))
    });
    world.server.will([Act::Pass, Act::LoseAnswer]);
    world.get("/weather").await.unwrap_err();
    assert!(told.lock().unwrap().last().unwrap().starts_with("Unsettled"));
}

#[tokio::test]
async fn a_server_that_is_not_ready_has_not_refused_the_payment_whatever_the_wallet_says() {
    let wallet = Wallet::generate();
    let told = Told { fate: Fate::Never, ..Told::around(&wallet) };
    let world = World::paying(wallet, policy(), |builder| builder.method(told));
    let problem = r#"{"type": "https://paymentauth.org/problems/unavailable", "status": 503}"#;
    let busy = http::Response::builder()
        .status(503)
        .header("content-type", "application/problem+json")
        .body(problem.into())
        .unwrap();
    world.server.will([Act::Pass, Act::Answer(busy)]);
    let error = world.get("/weather").await.unwrap_err();
    let Error::OutcomeUnknown(unsettled) = &error else { panic!("{error}") };
    assert!(matches!(&unsettled.cause, Cause::Status { problem: Some(_), .. }), "{:?}", unsettled.cause);
    assert_eq!(world.client.ledger().entries().await.unwrap()[0].outcome, Outcome::Unknown);
    assert_eq!(world.client.unsettled().len(), 1, "the credential can be sent again");
}

#[tokio::test]
async fn a_further_challenge_may_not_cost_more_nor_go_to_somebody_else() {
    let edits: [fn(&mut Challenge); 2] = [|offer| priced(offer, 50_001), |offer| paid_to(offer, "thief")];
    for edit in edits {
        let wallet = Wallet::generate();
        let told = Told { fate: Fate::Never, ..Told::around(&wallet) };
        let count = told.paid.clone();
        let world = World::paying(wallet, policy().pay_again(3), |builder| builder.method(told));
        let fresh = edited(world.server.issue("/weather").await, edit);
        world.server.will([Act::Pass, Act::Answer(fresh)]);
        assert_eq!(refused(&world, "/weather").await, [Refusal::Changed]);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn the_same_challenge_is_not_paid_twice() {
    let world = careful();
    let first = world.server.issue("/weather").await;
    let copy =
        answer(402, &[(WWW_AUTHENTICATE.as_str(), first.headers()[WWW_AUTHENTICATE].to_str().unwrap())]);
    world.server.will([Act::Answer(first)]);
    assert_eq!(text(world.get("/weather").await.unwrap()).await, "sunny");
    world.server.will([Act::Answer(copy)]);
    assert_eq!(refused(&world, "/weather").await, [Refusal::PaidAlready]);
    assert_eq!(world.till().await, Amount::cents(5));
}

#[tokio::test]
async fn a_challenge_of_somebody_else_is_not_paid() {
    let world = careful();
    world.server.will([change(|response| edited(response, |offer| offer.realm = "bank.example".into()))]);
    assert!(matches!(refused(&world, "/weather").await[..], [Refusal::RealmForeign { .. }]));
}

#[tokio::test]
async fn what_has_expired_lives_too_long_or_for_ever_is_not_paid() {
    let now = crate::world::START;
    let ends = |time: mpp::protocol::Timestamp| Some(time.to_rfc3339().as_str().to_owned());
    for (expires, rule) in [
        (ends(now - Duration::from_secs(1)), Refusal::Expired),
        (
            ends(now + Duration::from_secs(86_400)),
            Refusal::ValidTooLong { longest: Duration::from_secs(3600) },
        ),
        (
            Some("9999-12-31T23:59:59Z".to_owned()),
            Refusal::ValidTooLong { longest: Duration::from_secs(3600) },
        ),
        (None, Refusal::Endless),
    ] {
        let world = careful();
        world
            .server
            .will([change(move |response| edited(response, |offer| offer.expires.clone_from(&expires)))]);
        assert_eq!(refused(&world, "/weather").await, [rule]);
        assert_eq!(world.till().await, Amount::ZERO);
    }
    // The server's five minutes are too long for who says so.
    let world = World::new(policy().longest_validity(Duration::from_secs(299)));
    let longest = Duration::from_secs(299);
    assert_eq!(refused(&world, "/weather").await, [Refusal::ValidTooLong { longest }]);
}

#[tokio::test]
async fn an_offer_for_another_body_is_not_paid() {
    let world = careful();
    let digest = BodyDigest::of(b"another order").to_string();
    world
        .server
        .will([change(move |response| edited(response, |offer| offer.digest = Some(digest.clone())))]);
    let error = world.post("/echo", "my order").await.unwrap_err();
    let Error::NotPaid(refused) = &error else { panic!("{error}") };
    assert!(refused.is_because(|why| *why == Refusal::Digest));
}

#[tokio::test]
async fn absurd_amounts_are_over_the_limit_and_not_an_overflow() {
    for units in [100_001, u128::MAX - 1, u128::MAX] {
        let world = careful();
        world.server.will([change(move |response| edited(response, |offer| priced(offer, units)))]);
        assert!(matches!(refused(&world, "/weather").await[..], [Refusal::Limit(_)]));
    }
}

#[tokio::test]
async fn bad_offers_beside_a_good_one_do_not_spoil_it() {
    let world = careful();
    world.server.will([change(|response| {
        let good = response.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        let dear = edited(response, |offer| {
            offer.id = "dear".into();
            priced(offer, 99_000_000);
        });
        let dear = dear.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        // Foreign schemes, a merged line, an empty id, no request, garbage, another method, another intent.
        let broken = r#"Payment id="", realm="r", method="sandbox", intent="charge", request="e30""#;
        let other = r#"Payment id="z", realm="api.example.com", method="lightning", intent="charge", request="e30", expires="2027-01-15T08:02:00Z""#;
        let session = r#"Payment id="s", realm="api.example.com", method="sandbox", intent="session", request="e30", expires="2027-01-15T08:02:00Z""#;
        let lines = [
            format!(r#"Bearer realm="Payment id=", {dear}"#),
            format!("{broken}, payment id=x, {other}"),
            format!("{session}, {good}, Digest nonce=\"unfinished"),
        ];
        let headers: Vec<_> = lines.iter().map(|line| ("www-authenticate", line.as_str())).collect();
        answer(402, &headers)
    })]);
    assert_eq!(text(world.get("/weather").await.unwrap()).await, "sunny");
    assert_eq!(world.till().await, Amount::cents(5));
}

#[tokio::test]
async fn a_challenge_of_a_megabyte_and_ten_thousand_offers_are_read_up_to_a_point() {
    let world = careful();
    world.server.will([change(|response| edited(response, |offer| offer.request = "A".repeat(1 << 20)))]);
    let error = world.get("/weather").await.unwrap_err();
    let Error::NotPaid(refused) = &error else { panic!("{error}") };
    assert!(refused.offers.is_empty() && refused.malformed.len() == 1, "{error}");

    world.server.will([change(|mut response| {
        let mut offer = crate::world::challenges(response.headers()).remove(0);
        response.headers_mut().remove(WWW_AUTHENTICATE);
        priced(&mut offer, 99_000_000);
        for number in 0..10_000 {
            offer.id = format!("offer-{number}");
            response.headers_mut().append(WWW_AUTHENTICATE, offer.to_header_value().parse().unwrap());
        }
        response
    })]);
    let error = world.get("/weather").await.unwrap_err();
    let Error::NotPaid(refused) = &error else { panic!("{error}") };
    assert!(refused.offers.len() <= 64, "{}", refused.offers.len());
    assert_eq!(world.till().await, Amount::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_drips_does_not_hold_the_caller() {
    let world = careful();
    let drip = futures_drip();
    world.server.will([Act::Pass, Act::Answer(drip)]);
    let error =
        tokio::time::timeout(Duration::from_secs(6), world.get("/weather")).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");
}

/// A 402 whose body never ends.
fn futures_drip() -> http::Response<axum::body::Body> {
    struct Drip;
    impl http_body::Body for Drip {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
    answer(402, &[]).map(|_| axum::body::Body::new(Drip))
}

#[tokio::test]
async fn plain_http_is_refused_before_anything_is_signed_and_before_a_credential_is_sent() {
    let wallet = Wallet::generate();
    let told = Told::around(&wallet);
    let count = told.paid.clone();
    let world = World::paying(wallet, policy(), |builder| builder.method(told));
    let request = Request::get("http://api.example.com/weather");
    let error = world.send(request, "").await.unwrap_err();
    let Error::NotPaid(refused) = &error else { panic!("{error}") };
    assert!(matches!(refused.offers[..], [RefusedOffer { why: Refusal::Insecure(_), .. }]), "{refused}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
    // One's own credential neither.
    let request =
        Request::get("http://api.example.com/weather").header("authorization", "Bearer x, PAYMENT abcdefgh");
    let error = world.send(request, "").await.unwrap_err();
    let Error::NotPaid(refused) = &error else { panic!("{error}") };
    assert!(matches!(refused.offers[..], [RefusedOffer { why: Refusal::Insecure(_), .. }]), "{refused}");
    assert_eq!(world.server.requests(), 1);
}

#[tokio::test]
async fn a_credential_of_the_callers_own_is_sent_as_it_is_and_a_402_to_it_is_handed_on() {
    let world = careful();
    let request = Request::get(url("/weather")).header("authorization", "Payment e30");
    let response = world.send(request, "").await.unwrap();
    assert_eq!(response.status(), 402, "it is theirs to follow");
    assert_eq!(world.server.requests(), 1);
    assert_eq!(world.till().await, Amount::ZERO);
}

#[tokio::test]
async fn what_a_server_says_is_escaped_in_what_we_say() {
    let world = careful();
    world.server.will([change(|response| edited(response, |offer| offer.realm = "a\u{1b}[2J\nb".into()))]);
    let error = world.get("/weather").await.unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && !error.contains('\n'), "{error:?}");
}

#[tokio::test]
async fn a_text_that_is_not_ascii_does_not_hide_the_offers_beside_it() {
    for foreign in [&b"Caf\xe9"[..], "Caf\u{e9}".as_bytes()] {
        let world = careful();
        let foreign = foreign.to_vec();
        world.server.will([change(move |mut response| {
            let own = response.headers_mut().remove("www-authenticate").unwrap();
            let line = [b"Basic realm=\"", &foreign[..], b"\", ", own.as_bytes()].concat();
            let line = http::HeaderValue::from_bytes(&line).unwrap();
            response.headers_mut().insert("www-authenticate", line);
            response
        })]);
        assert_eq!(text(world.get("/weather").await.unwrap()).await, "sunny");
    }
}
