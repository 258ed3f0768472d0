//! What may not be paid is not, and the error says which rule it was.

use crate::world::{Act, HOME, Has, Told, World, challenges, change, edited, text, url};
use http::Request;
use mpp::client::{Budget, Decision, Error, Event, NotPaid, Policy, Proposal, Refusal, Scope};
use mpp::method::sandbox::Wallet;
use mpp::method::{ClientMethod, Cost, PayError, Proof, Shortfall, Step};
use mpp::protocol::{Challenge, MethodName};
use mpp::{Amount, ManualClock};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn dollars() -> Budget {
    Budget::total("usdc", Amount::whole(1))
}

/// The reasons of a request that was not paid.
async fn refused(world: &World, path: &str) -> NotPaid {
    match world.get(path).await {
        Err(Error::NotPaid(refused)) => *refused,
        other => panic!("paid? {other:?}"),
    }
}

#[tokio::test]
async fn each_limit_refuses_what_would_exceed_it_and_says_so() {
    let day = Duration::from_secs(86_400);
    for (budget, paid, scope) in [
        (Budget::total("usdc", Amount::cents(12)), 2, Scope::Total),
        (Budget::total("usdc", Amount::whole(1)).per_request(Amount::cents(4)), 0, Scope::Request),
        (Budget::total("usdc", Amount::whole(1)).per_origin(Amount::cents(5)), 1, Scope::Origin),
        (Budget::per_window("usdc", day, Amount::cents(10)), 2, Scope::Window(day)),
    ] {
        let world = World::new(Policy::new(budget));
        for _ in 0..paid {
            world.get("/weather").await.unwrap();
        }
        let refused = refused(&world, "/weather").await;
        assert!(
            refused.is_because(|why| matches!(why, Refusal::Limit(broken) if broken.scope == scope)),
            "{refused}"
        );
        assert_eq!(world.till().await, Amount::cents(5) * paid);
    }
}

#[tokio::test]
async fn a_window_moves_on_and_a_total_does_not() {
    let hour = Duration::from_secs(3600);
    let world = World::new(Policy::new(Budget::per_window("usdc", hour, Amount::cents(5))));
    world.get("/weather").await.unwrap();
    world.clock.advance(hour);
    refused(&world, "/weather").await;
    world.clock.advance(Duration::from_secs(1));
    world.get("/weather").await.unwrap();
    assert_eq!(world.till().await, Amount::cents(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_together_stay_within_the_limit() {
    let world = Arc::new(World::new(Policy::new(Budget::total("usdc", Amount::cents(25)))));
    let requests: Vec<_> = (0..40)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.get("/weather").await.is_ok() })
        })
        .collect();
    let mut paid = 0;
    for request in requests {
        paid += usize::from(request.await.unwrap());
    }
    assert_eq!(paid, 5);
    assert_eq!(world.till().await, Amount::cents(25));
}

#[tokio::test]
async fn what_a_policy_does_not_name_is_not_paid() {
    type Rule = fn(&Refusal) -> bool;
    let cases: [(Policy, Rule); 6] = [
        (Policy::new(dollars()).origins(["https://other.example"]), |why| {
            matches!(why, Refusal::OriginNotAllowed(_))
        }),
        (Policy::new(dollars()).origins([]), |why| matches!(why, Refusal::OriginNotAllowed(_))),
        (Policy::new(dollars()).methods(["tempo"]), |why| matches!(why, Refusal::MethodNotAllowed(_))),
        (Policy::new(dollars()).networks(["eip155:1"]), |why| matches!(why, Refusal::NetworkNotAllowed(_))),
        (Policy::new(dollars()).recipients(["somebody"]), |why| {
            matches!(why, Refusal::RecipientNotAllowed(_))
        }),
        (Policy::new(Budget::total("eurc", Amount::whole(1))), |why| {
            matches!(why, Refusal::CurrencyNotAllowed(_))
        }),
    ];
    for (policy, rule) in cases {
        let world = World::new(policy);
        let refused = refused(&world, "/weather").await;
        assert!(refused.is_because(rule), "{refused}");
        assert_eq!(world.till().await, Amount::ZERO);
        assert!(world.client.ledger().entries().await.unwrap().is_empty());
    }
    let everything = Policy::new(dollars())
        .origins([HOME])
        .methods(["sandbox"])
        .networks(["sandbox"])
        .recipients(["till"]);
    assert_eq!(text(World::new(everything).get("/weather").await.unwrap()).await, "sunny");
}

#[tokio::test]
async fn only_origins_that_the_policy_names_are_told_how_they_can_be_paid() {
    let named = World::new(Policy::unlimited().origins([HOME]));
    named.get("/weather").await.unwrap();
    assert_eq!(named.server.headers(0)["accept-payment"], "sandbox/charge");
    for policy in [Policy::unlimited(), Policy::unlimited().origins(["https://other.example"])] {
        let world = World::new(policy);
        let _ = world.get("/weather").await;
        assert!(!world.server.headers(0).contains_key("accept-payment"));
    }
    // Who says it is not overruled.
    let request = Request::get(url("/weather")).header("accept-payment", "sandbox/*");
    named.send(request, "").await.unwrap();
    let said: Vec<_> = named.server.headers(2).get_all("accept-payment").iter().cloned().collect();
    assert_eq!(said, ["sandbox/*"]);
}

#[tokio::test]
async fn a_server_is_told_of_every_method_once_that_the_policy_allows_and_a_wallet_pays() {
    let wallet = Wallet::generate();
    let home = || Policy::unlimited().origins([HOME]);
    for (policy, told) in
        [(home(), "sandbox/charge, stripe/charge"), (home().methods(["stripe"]), "stripe/charge")]
    {
        let (first, second) = (wallet.clone(), wallet.for_method(MethodName::from_static("stripe")));
        let again = wallet.clone();
        let world = World::paying(wallet.clone(), policy, |builder| {
            builder.method(first).method(second).method(again)
        });
        let _ = world.get("/weather").await;
        assert_eq!(world.server.headers(0)["accept-payment"], told);
    }
    let none = mpp::client::Client::builder(home(), mpp::client::MemoryLedger::new()).build().unwrap_err();
    assert_eq!(none.problems().len(), 1, "nothing to pay with: {none}");
}

#[tokio::test]
async fn an_offer_that_the_policy_refuses_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let world = World::with(Policy::unlimited().methods(["tempo"]), |builder| {
        builder.observe(move |event: &Event<'_>| log.lock().unwrap().push(format!("{event:?}")))
    });
    refused(&world, "/weather").await;
    let told = told.lock().unwrap();
    assert!(
        matches!(&told[..], [first, second] if first.starts_with("Challenged") && second.starts_with("Refused")),
        "{told:?}"
    );
}

#[test]
fn an_error_of_ours_is_found_behind_others() {
    #[derive(Debug)]
    struct Around(Error);
    impl std::fmt::Display for Around {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("around")
        }
    }
    impl std::error::Error for Around {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    assert!(matches!(Error::find(&Around(Error::BodyNotReplayable)), Some(Error::BodyNotReplayable)));
    assert!(Error::find(&std::fmt::Error).is_none());
}

#[tokio::test]
async fn the_approver_sees_the_worst_case_and_is_not_asked_what_the_limits_refuse() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let policy = Policy::new(dollars()).approved_by(move |proposal: &Proposal<'_>| {
        log.lock().unwrap().push(format!("{} {} {}", proposal.origin, proposal.resource, proposal.cost));
        if proposal.resource == "GET /moody" {
            Decision::Denied("not in this mood".into())
        } else {
            Decision::Approved
        }
    });
    let world = World::new(policy);
    world.get("/weather?secret=1").await.unwrap();
    refused(&world, "/dear").await;
    let denied = refused(&world, "/moody").await;
    assert!(denied.is_because(|why| *why == Refusal::Denied("not in this mood".into())), "{denied}");
    assert_eq!(
        *asked.lock().unwrap(),
        ["https://api.example.com GET /weather 0.05 usdc", "https://api.example.com GET /moody 0.02 usdc"]
    );
    assert_eq!(world.till().await, Amount::cents(5));
}

#[tokio::test]
async fn a_challenge_that_expires_while_a_person_thinks_is_not_paid() {
    let clock = Arc::new(ManualClock::at(crate::world::START));
    let thinking = clock.clone();
    let policy = Policy::new(dollars()).approved_by(move |_: &Proposal<'_>| {
        thinking.advance(Duration::from_secs(600));
        Decision::Approved
    });
    let world = World::with(policy, |builder| builder.clock(clock));
    assert!(refused(&world, "/weather").await.is_because(|why| *why == Refusal::Expired));
    assert!(world.client.ledger().entries().await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_is_asked_to_approve_what_is_over() {
    let clock = Arc::new(ManualClock::at(crate::world::START));
    clock.advance(Duration::from_secs(600));
    let policy = Policy::new(dollars()).approved_by(|_: &Proposal<'_>| panic!("it is too late to ask"));
    let world = World::with(policy, |builder| builder.clock(clock));
    assert!(refused(&world, "/weather").await.is_because(|why| *why == Refusal::Expired));
}

/// A wallet that asks a slow node what its account has.
struct Slow {
    inner: Wallet,
    clock: Arc<ManualClock>,
}

impl ClientMethod for Slow {
    fn name(&self) -> &MethodName {
        self.inner.name()
    }

    fn cost(&self, challenge: &Challenge) -> Result<Cost, PayError> {
        self.inner.cost(challenge)
    }

    fn afford<'a>(&'a self, _: &'a Challenge, _: &'a Cost) -> Step<'a, Result<(), Shortfall>> {
        self.clock.advance(Duration::from_secs(600));
        Step::ready(Ok(()))
    }

    fn pay<'a>(&'a self, _: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
        panic!("it is too late to pay")
    }
}

#[tokio::test]
async fn a_challenge_that_expires_while_a_node_is_asked_is_not_paid() {
    let clock = Arc::new(ManualClock::at(crate::world::START));
    let wallet = Wallet::generate();
    let slow = Slow { inner: wallet.clone(), clock: clock.clone() };
    let world = World::paying(wallet, Policy::new(dollars()), |builder| builder.clock(clock).method(slow));
    assert!(refused(&world, "/weather").await.is_because(|why| *why == Refusal::Expired));
    assert!(world.client.ledger().entries().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_proof_of_identity_costs_nothing_and_is_for_this_host_alone() {
    let world = World::new(Policy::new(dollars()));
    assert_eq!(text(world.get("/me").await.unwrap()).await, world.wallet.did());
    world.server.will([change(|response| edited(response, |offer| offer.realm = "example.com".into()))]);
    let refused = refused(&world, "/me").await;
    assert!(refused.is_because(|why| matches!(why, Refusal::RealmForeign { .. })), "{refused}");
}

#[tokio::test]
async fn the_first_wallet_is_preferred_and_an_own_selection_overrules_it() {
    let both = |response: http::Response<axum::body::Body>| {
        let mut copy = challenges(response.headers()).remove(0);
        copy.method = MethodName::from_static("stripe");
        let own = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let merged = format!("{}, {own}", copy.to_header_value());
        let mut response = response;
        response.headers_mut().insert("www-authenticate", merged.parse().unwrap());
        response
    };
    let wallet = Wallet::generate();
    let cards = wallet.for_method(MethodName::from_static("stripe"));
    for (select, sent) in [(None, "sandbox"), (Some("stripe"), "stripe")] {
        let (first, second) = (wallet.clone(), cards.clone());
        let world = World::paying(wallet.clone(), Policy::unlimited(), |builder| {
            let builder = builder.method(first).method(second);
            match select {
                Some(name) => builder.select(move |offers| {
                    offers.iter().position(|offer| offer.challenge.method.as_str() == name)
                }),
                None => builder,
            }
        });
        world.server.will([change(both), Act::LoseRequest]);
        let error = world.get("/weather").await.unwrap_err();
        assert_eq!(error.unsettled().unwrap().payment.challenge().method.as_str(), sent);
    }
}

#[tokio::test]
async fn a_selection_of_no_offer_or_of_one_that_is_not_there_pays_nothing() {
    for selected in [None, Some(1), Some(usize::MAX)] {
        let world = World::with(Policy::unlimited(), |builder| builder.select(move |_| selected));
        let refused = refused(&world, "/weather").await;
        assert!(refused.is_because(|why| matches!(why, Refusal::NotSelected)), "{refused}");
        assert_eq!(world.till().await, Amount::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_account_does_not_hold_is_refused_before_anybody_is_asked_or_anything_entered() {
    let asked = Arc::new(Mutex::new(0));
    let policy = || {
        let count = asked.clone();
        Policy::new(dollars()).approved_by(move |_: &Proposal<'_>| {
            *count.lock().unwrap() += 1;
            Decision::Approved
        })
    };
    let world = |has| {
        let wallet = Wallet::generate();
        let told = Told { has, ..Told::around(&wallet) };
        World::paying(wallet, policy(), |builder| builder.method(told))
    };
    let poor = world(Has::Only(49_999));
    let refused = refused(&poor, "/weather").await;
    assert!(refused.is_because(|why| matches!(why, Refusal::Shortfall(_))), "{refused}");
    assert!(
        refused.to_string().contains("it needs 0.05 usdc, and the account has 0.049999 usdc"),
        "{refused}"
    );
    assert_eq!(*asked.lock().unwrap(), 0);
    assert!(poor.client.ledger().entries().await.unwrap().is_empty());
    // What is over a limit is over it whatever there is.
    assert!(self::refused(&poor, "/dear").await.is_because(|why| matches!(why, Refusal::Limit(_))));

    // A node that says nothing is not in the way for ever, and nothing it could have said is made up.
    assert_eq!(text(world(Has::NoAnswer).get("/weather").await.unwrap()).await, "sunny");
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_window_begins_with_the_payment_and_not_with_the_question() {
    let clock = Arc::new(ManualClock::at(crate::world::START));
    let thinking = clock.clone();
    let minute = Duration::from_secs(60);
    let policy = Policy::new(Budget::per_window("usdc", minute, Amount::cents(5))).approved_by(
        move |_: &Proposal<'_>| {
            thinking.advance(Duration::from_secs(50));
            Decision::Approved
        },
    );
    let world = World::with(policy, |builder| builder.clock(clock.clone()));
    world.get("/weather").await.unwrap();
    clock.advance(Duration::from_secs(15));
    refused(&world, "/weather").await;
    clock.advance(minute);
    world.get("/weather").await.unwrap();
}
