//! Several configurations: two in one process, successors, services, methods switched off, prices start-up did not see.

use crate::common::{Fault, Network, Script, Terms, Wired, credential};
use crate::lab::*;
use axum::http::Method;
use mpp::ledger::Query;
use mpp::protocol::{Challenge, Secret, SecretRing};
use mpp::store::{Keep, Key, Limits, MemoryStore, Quota, StoreError, Write};
use mpp::testing::Client;
use mpp::{Builder, Mpp, Paid};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A configuration of its own: a network, a secret, a store.
fn mpp(network: &Arc<Network>) -> Mpp {
    Mpp::builder("http://localhost:3000")
        .secret(Secret::generate())
        .method(Wired(network.clone()))
        .switched_off("stripe")
        .allow_test_money()
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn two_configurations_in_one_process_have_their_own_methods_prices_and_secrets() {
    let lab = Lab::new();
    // The other one takes tempo only, in a currency of three decimals.
    let network = Network::on("tempo", Terms { decimals: Some(3), ..Terms::default() });
    let other = lab.client_of(&mpp(&network));
    lab.client.get("/both").unpaid().await.assert_offers(["tempo 0.6 usdc", "stripe 0.6 usdc"]);
    let theirs = first(&other.get("/both").unpaid().await);
    assert_eq!(theirs.charge().unwrap().amount.get(), 600);
    assert_eq!(
        (theirs.realm.as_str(), other.get("/both").unpaid().await.challenges().offers.len()),
        ("localhost", 1)
    );
    let (mine, theirs) = (credential(&lab.challenge("/both").await, "tx1"), credential(&theirs, "tx1"));
    lab.client.get("/both").presenting(&theirs).await.assert_problem("invalid-challenge");
    other.get("/both").presenting(&mine).await.assert_problem("invalid-challenge");
    other.get("/both").presenting(&theirs).await.assert_ok();
    lab.client.get("/both").presenting(&mine).await.assert_ok();
    assert_eq!((lab.network.payments(), network.payments()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_successor_honours_its_predecessors_fixed_prices_until_they_expire() {
    let coarse = Network::on("tempo", Terms { recipient: 9, ..Terms::default() });
    // Challenges of the predecessor live longer than those of its successor.
    let lab = Lab::on(Network::new("tempo"), |b| b.challenge_lifetime(Duration::from_secs(900)));
    let old: Vec<_> =
        [lab.challenge("/cheap").await, lab.challenge("/cheap").await, lab.challenge("/cheap").await].into();
    let computed = credential(&lab.challenge("/units/1").await, "tx9");
    let successor = lab.successor(&lab.mpp, coarse);
    let client = lab.client_of(&successor);
    let now = first(&client.get("/cheap").unpaid().await);
    assert_ne!(now.request, old[0].request, "it asks for something else now");
    client.get("/cheap").presenting(&credential(&old[0], "tx1")).await.assert_ok();
    client.get("/cheap").presenting(&credential(&now, "tx2")).await.assert_ok();
    client.get("/units/1").presenting(&computed).await.assert_problem("invalid-challenge");
    client.get("/dear").presenting(&credential(&old[1], "tx3")).await.assert_problem("invalid-challenge");
    // Through a second successor, whose price is the first one's again.
    let finer = Network::on("tempo", Terms { recipient: 3, ..Terms::default() });
    let client = lab.client_of(&lab.successor(&successor, finer));
    lab.clock.advance(Duration::from_secs(899));
    client.get("/cheap").presenting(&credential(&old[1], "tx4")).await.assert_ok();
    lab.clock.advance(Duration::from_secs(1));
    client.get("/cheap").presenting(&credential(&old[2], "tx5")).await.assert_problem("payment-expired");
}

#[tokio::test(start_paused = true)]
async fn without_replaces_a_changed_price_refuses_the_old_challenge() {
    let lab = Lab::new();
    let old = credential(&lab.challenge("/cheap").await, "tx1");
    let client = {
        let network = Network::on("tempo", Terms { recipient: 9, ..Terms::default() });
        let mpp = Mpp::builder("https://api.example.com")
            .secret(lab.secret.clone())
            .method(Wired(network))
            .method(Wired(lab.cards.clone()))
            .allow_test_money()
            .clock(lab.clock.clone())
            .shared_store(lab.store.clone())
            .build()
            .unwrap();
        lab.client_of(&mpp)
    };
    let response = client.get("/cheap").presenting(&old).await;
    response.assert_problem("invalid-challenge");
    assert_eq!(response.json()["detail"], "this challenge is not what this resource charges");
}

#[tokio::test(start_paused = true)]
async fn a_retired_request_is_good_for_no_longer_than_its_configuration_lasted() {
    // A credential minted by the old instance after the new one took over, with the same secret: its request is retired.
    let lab = Lab::new();
    let network = Network::on("tempo", Terms { recipient: 9, ..Terms::default() });
    let successor = lab.successor(&lab.mpp, network);
    let client = lab.client_of(&successor);
    lab.clock.advance(Duration::from_secs(299));
    let late = lab.challenge("/cheap").await;
    client.get("/cheap").presenting(&credential(&late, "tx1")).await.assert_ok();
    lab.clock.advance(Duration::from_secs(1));
    client.get("/cheap").presenting(&credential(&late, "tx1")).await.assert_problem("invalid-challenge");
    let later = lab.challenge("/cheap").await;
    client.get("/cheap").presenting(&credential(&later, "tx2")).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn services_that_share_a_secret_and_a_store_refuse_each_others_credentials() {
    let lab = Lab::new();
    let client = |builder: Builder| lab.client_of(&builder.build().unwrap());
    let service = |name| client(lab.builder().service(name));
    let (a, b, none) = (service("a"), service("b"), client(lab.builder()));
    let paid = credential(&first(&a.get("/cheap").unpaid().await), "tx1");
    for other in [&b, &none] {
        other.get("/cheap").presenting(&paid).await.assert_problem("invalid-challenge");
    }
    let unnamed = credential(&lab.challenge("/cheap").await, "tx2");
    a.get("/cheap").presenting(&unnamed).await.assert_problem("invalid-challenge");
    a.get("/cheap").presenting(&paid).await.assert_ok();
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn secrets_are_rotated_in_three_deployments() {
    let mut lab = Lab::new();
    let (old, new) = (lab.secret.clone(), Secret::generate());
    let under_old = credential(&lab.challenge("/cheap").await, "tx1");
    lab.restart_with(|b| b.secrets(SecretRing::new(old.clone()).also(new.clone())));
    let signed_by_old = credential(&lab.challenge("/cheap").await, "tx2");
    lab.client.get("/cheap").presenting(&under_old).await.assert_ok();
    lab.restart_with(|b| b.secrets(SecretRing::new(new.clone()).also(old.clone())));
    let signed_by_new = credential(&lab.challenge("/cheap").await, "tx3");
    lab.client.get("/cheap").presenting(&signed_by_old).await.assert_ok();
    lab.restart_with(|b| b.secret(new.clone()));
    lab.client.get("/cheap").presenting(&signed_by_new).await.assert_ok();
    lab.client.get("/cheap").presenting(&under_old).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn while_two_replicas_on_one_store_rotate_their_secret_no_payment_is_refused() {
    let lab = Lab::with_real_money(Limits::default());
    let (old, new) = (lab.secret.clone(), Secret::generate());
    let rings = || {
        let ring = SecretRing::new;
        [
            ring(old.clone()),
            ring(old.clone()).also(new.clone()),
            ring(new.clone()).also(old.clone()),
            ring(new.clone()),
        ]
    };
    let replica = |deployment: usize| {
        let ring = rings().into_iter().nth(deployment).unwrap();
        lab.builder().single_process_volatile_store().secrets(ring).build().unwrap()
    };
    // Replica by replica, deployment by deployment.
    let rollout = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)];
    let (mut proof, mut paid) = (0, 0);
    let mut outstanding: Vec<Challenge> = Vec::new();
    let mut undelivered: Option<String> = None;
    let mut unknown: Option<String> = None;
    let mut kept: Option<String> = None;
    let mut never_asked_again: Option<Challenge> = None;
    for (step, (a, b)) in rollout.into_iter().enumerate() {
        let servers = [replica(a), replica(b)];
        let replicas = servers.each_ref().map(|server| lab.client_of(server));
        let mut next = |challenge: &Challenge| {
            proof += 1;
            credential(challenge, &format!("tx{proof}"))
        };
        let at = format!("step {step}");
        // What was quoted before the step, and what is quoted by one replica and paid at the other.
        for (n, challenge) in std::mem::take(&mut outstanding).iter().enumerate() {
            let response = replicas[n % 2].get("/cheap").presenting(&next(challenge)).await;
            assert_eq!(response.status(), 200, "{at}: {}", response.text());
            paid += 1;
        }
        for (quoting, paying) in [(0, 1), (1, 0)] {
            let quoted = first(&replicas[quoting].get("/cheap").unpaid().await);
            let response = replicas[paying].get("/cheap").presenting(&next(&quoted)).await;
            assert_eq!(response.status(), 200, "{at}: {}", response.text());
            paid += 1;
            outstanding.push(first(&replicas[quoting].get("/cheap").unpaid().await));
        }
        // What was paid before the step, and not delivered, not known to be paid, or delivered and lost.
        if let Some(credential) = undelivered.take() {
            let response = replicas[1].get("/flaky").presenting(&credential).await;
            assert_eq!(response.status(), 200, "{at}: {}", response.text());
        }
        if let Some(credential) = unknown.take() {
            let response = replicas[0].get("/cheap").presenting(&credential).await;
            assert_eq!(response.status(), 200, "{at}: {}", response.text());
        }
        if let Some(credential) = kept.take() {
            let again = replicas[1].get("/again").presenting(&credential).await;
            assert_eq!(again.status(), 201, "{at}: {}", again.text());
        }
        lab.bench.failures.store(1, Ordering::SeqCst);
        let failing = next(&first(&replicas[0].get("/flaky").unpaid().await));
        assert_eq!(replicas[0].get("/flaky").presenting(&failing).await.status(), 500, "{at}");
        undelivered = Some(failing);
        lab.network.will(Script::LoseAnswer);
        let quoted = first(&replicas[1].get("/cheap").unpaid().await);
        let lost = next(&quoted);
        replicas[1].get("/cheap").presenting(&lost).await.assert_problem("unavailable");
        unknown = Some(lost);
        lab.network.will(Script::Settle);
        let delivered = next(&first(&replicas[0].get("/again").unpaid().await));
        assert_eq!(replicas[0].get("/again").presenting(&delivered).await.status(), 201, "{at}");
        kept = Some(delivered);
        paid += 3;
        settle_down().await;
        // Of one payment nobody learns anything for as long as the old secret is there: sealed by it, and its client gone.
        if (a, b) == (1, 1) {
            unknown = None;
            never_asked_again = Some(quoted);
        }
        // The old secret goes when nothing that was issued under it is worth anything any more, and a sweep was made since.
        if (a, b) == (2, 2) {
            for (uri, credential) in [("/flaky", undelivered.take()), ("/cheap", unknown.take())] {
                replicas[1].get(uri).presenting(&credential.unwrap()).await.assert_ok();
            }
            lab.clock.advance(Duration::from_secs(300 + 600 + 60));
            outstanding.clear();
            kept = None;
            lab.network.will(Script::Hang);
            assert_eq!(servers[0].recover().await, Ok(0));
            lab.network.will(Script::Settle);
        }
    }
    assert_eq!((lab.network.payments(), lab.network.worst()), (paid, 1));
    // The network answers at last.
    lab.clock.advance(Duration::from_secs(120));
    let server = replica(3);
    server.recover().await.unwrap();
    settle_down().await;
    let owed = all(&server.ledger(), &Query::new().undelivered()).await;
    let id = never_asked_again.unwrap().id;
    assert!(owed.iter().any(|entry| entry.sale.challenge_id == id), "{owed:?}");
}

/// Through the three deployments, with a sweep in each.
async fn rotate(lab: &mut Lab, change: impl Fn(Builder) -> Builder) {
    let (old, new) = (lab.secret.clone(), Secret::generate());
    for ring in [SecretRing::new(old.clone()).also(new.clone()), SecretRing::new(new.clone()).also(old)] {
        lab.restart_with(|builder| change(builder).secrets(ring));
        lab.clock.advance(Duration::from_secs(300 + 600 + 60));
        lab.mpp.recover().await.unwrap();
        settle_down().await;
    }
    lab.secret = new;
    lab.restart_with(|builder| builder.single_process_volatile_store());
    lab.clock.advance(Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_payment_of_unknown_outcome_is_not_lost_when_the_secret_is_rotated() {
    let mut lab = Lab::with_real_money(Limits::default());
    lab.network.will(Script::LoseRequest);
    let challenge = lab.challenge("/cheap").await;
    lab.client.get("/cheap").presenting(&credential(&challenge, "tx1")).await.assert_problem("unavailable");
    settle_down().await;
    rotate(&mut lab, Builder::single_process_volatile_store).await;
    // The transaction is mined now.
    lab.network.moved.lock().unwrap().insert(challenge.id.to_string(), 1);
    lab.network.will(Script::Settle);
    assert_eq!(lab.mpp.recover().await, Ok(1));
    settle_down().await;
    let owed = all(&lab.mpp.ledger(), &Query::new().undelivered()).await;
    assert_eq!(owed.len(), 1, "the money moved, and the ledger knows nothing of it");
}

#[tokio::test(start_paused = true)]
async fn a_payment_whose_method_is_switched_off_outlives_a_rotation_of_the_secret() {
    let mut lab = Lab::with_real_money(Limits::default());
    lab.network.will(Script::LoseAnswer);
    lab.pay("/cheap", "tx1").await.1.assert_problem("unavailable");
    settle_down().await;
    let (store, cards, clock) = (lab.shelf.clone(), lab.cards.clone(), lab.clock.clone());
    rotate(&mut lab, |_| {
        Mpp::builder("https://api.example.com")
            .switched_off("tempo")
            .method(Wired(cards.clone()))
            .allow_test_money()
            .clock(clock.clone())
            .shared_store(store.clone())
            .single_process_volatile_store()
    })
    .await;
    assert_eq!(lab.network.resolved.load(Ordering::SeqCst), 0);
    assert_eq!(lab.mpp.recover().await, Ok(1), "it is back, and looks up what was paid");
}

#[tokio::test(start_paused = true)]
async fn funds_that_could_not_be_given_back_are_when_the_secret_has_been_rotated() {
    let mut lab = Lab::with_real_money(Limits::default());
    let paid = credential(&lab.challenge("/held").await, "tx1");
    // Read, claim, proof, holding, held: it dies when the capture is to be journaled.
    lab.store.after(5, Fault::Dies);
    lab.client.get("/held").presenting(&paid).await.assert_problem("unavailable");
    settle_down().await;
    *lab.network.release.lock().unwrap() = Script::Unreachable;
    rotate(&mut lab, Builder::single_process_volatile_store).await;
    assert_eq!(lab.network.released.lock().unwrap().len(), 0);
    *lab.network.release.lock().unwrap() = Script::Settle;
    assert_eq!(lab.mpp.recover().await, Ok(1));
    assert_eq!((lab.network.released.lock().unwrap().len(), lab.network.payments()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_method_remembers_outlives_a_rotation_of_the_secret() {
    let mut lab = Lab::with_real_money(Limits::default());
    lab.network.will(Script::Note);
    lab.pay("/cheap", "tx1").await.1.assert_ok();
    rotate(&mut lab, Builder::single_process_volatile_store).await;
    lab.pay("/cheap", "tx2").await.1.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_page_that_no_secret_opens_is_told_and_keeps_none_of_the_others_waiting() {
    let mut lab = Lab::with_real_money(Limits::default());
    let key = Key::new(Quota::Paid, "note/a", "page");
    let write = Write { value: vec![7; 100], keep: Keep::Live };
    lab.shelf.cas(&key, None, Some(write)).await.unwrap();
    lab.network.will(Script::Note);
    lab.pay("/cheap", "tx1").await.1.assert_ok();
    let (old, new) = (lab.secret.clone(), Secret::generate());
    lab.restart_with(|b| b.single_process_volatile_store().secrets(SecretRing::new(new.clone()).also(old)));
    assert!(matches!(lab.mpp.recover().await, Err(StoreError::Unreadable(_))));
    lab.restart_with(|b| b.single_process_volatile_store().secret(new));
    assert_eq!(lab.mpp.recover().await, Ok(0), "nobody looks at pages when there is one secret");
    lab.pay("/cheap", "tx2").await.1.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_price_whose_methods_are_all_switched_off_is_a_503_without_a_challenge_or_a_free_pass() {
    let lab = Lab::new();
    let off = Mpp::builder("https://api.example.com")
        .secret(lab.secret.clone())
        .switched_off("tempo")
        .method(Wired(lab.cards.clone()))
        .allow_test_money()
        .shared_store(lab.store.clone())
        .clock(lab.clock.clone())
        .build()
        .unwrap();
    let client = lab.client_of(&off);
    client.get("/both").unpaid().await.assert_offers(["stripe 0.6 usdc"]);
    for verb in [Method::GET, Method::HEAD] {
        let response = client.request(verb, "/cheap").unpaid().await;
        assert_eq!(response.status(), 503);
        assert!(response.header("retry-after").is_some() && response.challenges().offers.is_empty());
    }
    // A credential of before: the method is not there.
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    client.get("/cheap").presenting(&paid).await.assert_problem("method-unsupported");
    assert!(
        off.warnings().iter().any(|w| w.contains("::cheap` (") && w.contains("switched off")),
        "{:?}",
        off.warnings()
    );
}

mod elsewhere {
    use super::*;

    #[mpp::charge(amount = "0.04", currency = "usdc", methods(tempo))]
    pub(super) async fn late(_: Paid) -> &'static str {
        "late"
    }
}

#[tokio::test(start_paused = true)]
async fn a_price_that_start_up_ignored_is_enforced_all_the_same_or_answers_500() {
    let lab = Lab::new();
    let mounted = |mpp: &Mpp| {
        let app = mpp::routing::Router::new().route("/late", mpp::routing::get(elsewhere::late));
        Client::new(app.with_state(mpp.clone()))
    };
    let module = concat!(module_path!(), "::elsewhere");
    let mpp = lab.builder().ignore_module(module).build().unwrap();
    // A price that is left out does not shift the others.
    lab.client_of(&mpp).get("/dear").unpaid().await.assert_offers(["tempo 1 usdc"]);
    lab.client_of(&mpp).get("/both").unpaid().await.assert_offers(["tempo 0.6 usdc", "stripe 0.6 usdc"]);
    let client = mounted(&mpp);
    let challenge = first(&client.get("/late").unpaid().await);
    client.get("/late").presenting(&credential(&challenge, "tx1")).await.assert_ok();
    client.get("/late").presenting(&credential(&challenge, "tx1")).await.assert_problem("invalid-challenge");
    assert_eq!(lab.network.payments(), 1);

    // Nothing in this configuration can resolve it.
    let none = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .store(MemoryStore::new())
        .ignore_module(module_path!().split("::").next().unwrap())
        .build()
        .unwrap();
    for _ in 0..2 {
        let response = mounted(&none).get("/late").unpaid().await;
        response.assert_problem("internal");
        assert!(response.challenges().offers.is_empty());
        assert!(!response.text().contains("tempo"), "the configuration is nobody's business");
    }
}

#[test]
fn a_module_prefix_ends_at_a_path_segment() {
    // `…::else` is no prefix of `…::elsewhere`, so its price is still checked.
    let module = concat!(module_path!(), "::else");
    let report =
        Mpp::builder("https://api.example.com").secret(Secret::generate()).ignore_module(module).build();
    let report = report.unwrap_err().to_string();
    assert!(report.contains("::elsewhere::late`"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_price_on_a_plain_axum_router_charges_all_the_same() {
    let lab = Lab::new();
    let app =
        axum::Router::new().route("/late", axum::routing::get(elsewhere::late)).with_state(lab.mpp.clone());
    let client = Client::new(app);
    let challenge = first(&client.get("/late").unpaid().await);
    client.get("/late").presenting(&credential(&challenge, "tx1")).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_priced_fallback_charges_under_its_name_and_the_literal_path() {
    let lab = Lab::new();
    let quote = lab.client.get("/no/such/path").unpaid().await;
    quote.assert_offers(["tempo 0.02 usdc"]);
    let opaque = mpp::protocol::Opaque::decode(first(&quote).opaque.as_deref().unwrap()).unwrap();
    assert_eq!(opaque.get("op"), Some("GET anything_else /no/such/path"));
    let paid = credential(&first(&quote), "tx1");
    lab.client.get("/no/such").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(lab.client.get("/no/such/path").presenting(&paid).await.text(), "fallback 1");
    // However long the path is.
    let long = format!("/{}", "x".repeat(5_000));
    let challenge = lab.challenge(&long).await;
    assert!(challenge.opaque.as_ref().unwrap().len() < 200, "bound by its hash: header lines are short");
    let paid = credential(&challenge, "tx2");
    lab.client.get(&format!("{long}y")).presenting(&paid).await.assert_problem("invalid-challenge");
    lab.client.get(&long).presenting(&paid).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_nested_route_is_scoped_by_its_whole_path() {
    let lab = Lab::new();
    let nested = lab.challenge("/v1/cheap").await;
    let opaque = mpp::protocol::Opaque::decode(nested.opaque.as_deref().unwrap()).unwrap();
    assert_eq!(opaque.get("op"), Some("GET /v1/cheap"));
    lab.client
        .get("/cheap")
        .presenting(&credential(&nested, "tx1"))
        .await
        .assert_problem("invalid-challenge");
    lab.client.get("/v1/cheap").presenting(&credential(&nested, "tx1")).await.assert_ok();
    let template = lab.challenge("/city/oslo").await;
    let opaque = mpp::protocol::Opaque::decode(template.opaque.as_deref().unwrap()).unwrap();
    assert_eq!(opaque.get("op"), Some("GET /city/{city}"));
    assert_eq!(lab.network.verified.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn routers_are_merged_and_layered_as_axum_does_it() {
    let lab = Lab::new();
    let get = mpp::routing::get;
    let priced = mpp::routing::Router::new().route("/late", get(elsewhere::late));
    let free = axum::Router::new().route("/free", axum::routing::post(|body: String| async move { body }));
    let app = mpp::routing::Router::new()
        .route("/own", get(elsewhere::late))
        .merge(priced)
        .merge(free)
        .layer(axum::extract::DefaultBodyLimit::max(3));
    assert_eq!(app.mounted().iter().map(|m| m.path.as_str()).collect::<Vec<_>>(), ["/own", "/late"]);
    let client = Client::new(app.with_state(lab.mpp.clone()));
    for uri in ["/own", "/late"] {
        client.get(uri).unpaid().await.assert_offers(["tempo 0.04 usdc"]);
        client.get(uri).body("long").unpaid().await.assert_problem("body-too-large");
    }
    assert_eq!(client.post("/free").body("abc").unpaid().await.text(), "abc");
    assert_eq!(client.post("/free").body("long").unpaid().await.status(), 413);
}
