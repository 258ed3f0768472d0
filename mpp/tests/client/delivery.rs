//! What is paid for arrives, once, whatever happens on the way.

use crate::world::{Act, Told, World, answer, change, text, url};
use http::{HeaderName, Request, StatusCode};
use mpp::Amount;
use mpp::client::{Cause, Error, Event, NoReceipt, Outcome, Paid, Policy};
use mpp::method::sandbox::Wallet;
use mpp::method::{Fate, PayError};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn world() -> World {
    World::new(Policy::unlimited())
}

#[tokio::test]
async fn a_402_is_paid_and_the_response_comes_with_its_receipt() {
    let world = world();
    let response = world.get("/weather").await.unwrap();
    let paid = response.extensions().get::<Paid>().unwrap().clone();
    assert_eq!(text(response).await, "sunny");
    assert_eq!(paid.payment.cost().to_string(), "0.05 usdc");
    assert!(paid.receipt.unwrap().reference.starts_with("sandbox-"));
    assert_eq!(world.till().await, Amount::cents(5));
    assert_eq!(world.server.requests(), 2);
    let entry = world.client.ledger().entries().await.unwrap().remove(0);
    assert_eq!(entry.resource.as_deref(), Some("GET /weather"));
    assert_eq!(entry.realm.as_deref(), Some("api.example.com"));
    assert_eq!(entry.method.unwrap().as_str(), "sandbox");
}

#[tokio::test]
async fn what_costs_nothing_passes_untouched() {
    let world = world();
    let response = world.get("/free").await.unwrap();
    assert!(response.extensions().get::<Paid>().is_none());
    assert_eq!(text(response).await, "nothing");
    assert!(world.server.headers(0).is_empty(), "nobody is told anything");
    assert_eq!(world.get("/nowhere").await.unwrap().status(), StatusCode::NOT_FOUND);
    // A 402 of another protocol is not ours either.
    world.server.will([Act::Answer(answer(402, &[("www-authenticate", "L402 macaroon=x")]))]);
    assert_eq!(world.get("/weather").await.unwrap().status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(world.till().await, Amount::ZERO);
}

#[tokio::test]
async fn a_body_is_sent_again_and_a_key_tells_the_repetition_from_a_second_order() {
    let world = world();
    assert_eq!(text(world.post("/echo", "hello").await.unwrap()).await, "hello 1");
    let key = HeaderName::from_static("idempotency-key");
    assert!(!world.server.headers(0).contains_key(&key), "a server that answers for nothing is not bothered");
    assert_eq!(world.server.headers(1)[&key].len(), 32);
    // The caller's own key is left alone, and a GET needs none.
    let request = Request::post(url("/echo")).header(&key, "mine");
    world.send(request, "x").await.unwrap();
    assert_eq!(world.server.headers(3)[&key], "mine");
    world.get("/weather").await.unwrap();
    assert!(!world.server.headers(5).contains_key(&key));
}

#[tokio::test]
async fn another_credential_of_the_caller_stays_in_the_one_authorization_line() {
    let world = world();
    let request = Request::get(url("/weather")).header("authorization", "Bearer me");
    assert_eq!(world.send(request, "").await.unwrap().status(), StatusCode::OK);
    let headers = world.server.headers(1);
    let lines: Vec<_> = headers.get_all("authorization").iter().collect();
    assert_eq!(lines.len(), 1, "servers that read one line read the first");
    assert!(lines[0].to_str().unwrap().starts_with("Bearer me, Payment "));
    assert!(lines[0].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_come_back_gets_the_same_credential() {
    let world = world();
    let busy = |status| Act::Answer(answer(status, &[("retry-after", "2")]));
    world.server.will([Act::Pass, busy(409), busy(503)]);
    assert_eq!(text(world.get("/weather").await.unwrap()).await, "sunny");
    assert_eq!(world.till().await, Amount::cents(5));
    let sent = |request| world.server.headers(request)["authorization"].clone();
    assert!(sent(1) == sent(2) && sent(2) == sent(3));
}

#[tokio::test(start_paused = true)]
async fn a_date_to_come_back_at_is_held_against_the_servers_own_clock() {
    // It is Friday, 15 January 2027, eight o'clock.
    let tomorrow = ("date", "Sat, 16 Jan 2027 08:00:00 GMT");
    for (headers, millis) in [
        (vec![("retry-after", "Fri, 15 Jan 2027 08:00:05 GMT")], 5_000),
        (vec![("retry-after", "Friday, 15-Jan-27 08:00:05 GMT")], 5_000),
        (vec![("retry-after", "Fri Jan 15 08:00:05 2027")], 5_000),
        (vec![("retry-after", "Sat, 16 Jan 2027 08:00:07 GMT"), tomorrow], 7_000),
        (vec![("retry-after", "Fri, 15 Jan 2027 08:00:05 GMT"), ("date", "soon")], 5_000),
        // Past: now, which is not at once.
        (vec![("retry-after", "Fri, 15 Jan 2027 07:43:20 GMT")], 250),
        (vec![("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")], 250),
    ] {
        let world = world();
        world.server.will([Act::Pass, Act::Answer(answer(503, &headers))]);
        let begun = tokio::time::Instant::now();
        assert_eq!(text(world.get("/weather").await.unwrap()).await, "sunny");
        assert_eq!(begun.elapsed().as_millis(), millis, "{headers:?}");
    }
    for nonsense in ["Fri, 15 Jan 2027", "-5", "+5", "1e3", "soon", "Sat, 16 Jan 2027 08:00:00 GMT"] {
        let world = world();
        world.server.will([Act::Pass, Act::Answer(answer(503, &[("retry-after", nonsense)]))]);
        let error = world.get("/weather").await.unwrap_err();
        assert!(matches!(&error, Error::OutcomeUnknown(_)), "{nonsense}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_never_ready_ends_in_an_unknown_outcome_and_the_credential_still_buys() {
    for (status, after) in [(503, "5"), (503, "100000"), (409, "0"), (500, ""), (502, "x"), (429, "")] {
        let world = world();
        let headers: &[_] = if after.is_empty() { &[] } else { &[("retry-after", after)] };
        world
            .server
            .will(std::iter::once(Act::Pass).chain((0..8).map(|_| Act::Answer(answer(status, headers)))));
        let error = world.get("/weather").await.unwrap_err();
        let Error::OutcomeUnknown(unsettled) = &error else { panic!("{error}") };
        assert!(matches!(unsettled.cause, Cause::Status { .. }), "{error}");
        assert!(world.server.requests() <= 9, "not for ever");
        world.server.will([]);
        while world.server.requests() < 9 {
            // Uses up what is left of the script.
            let _ = world.get("/free").await;
        }
        assert_eq!(text(world.retry(&error).await.unwrap()).await, "sunny");
        assert_eq!(world.till().await, Amount::cents(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_waited_for_as_long_as_the_client_has_patience_in_all() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let world = World::with(Policy::unlimited(), |builder| {
        builder.patience(Duration::from_secs(10)).observe(move |event: &Event<'_>| {
            if let Event::Waiting { status, after, .. } = event {
                log.lock().unwrap().push((status.as_u16(), after.as_secs()));
            }
        })
    });
    let busy = || Act::Answer(answer(503, &[("retry-after", "5")]));
    world.server.will(std::iter::once(Act::Pass).chain((0..8).map(|_| busy())));
    let started = tokio::time::Instant::now();
    let error = world.get("/weather").await.unwrap_err();
    assert!(matches!(&error, Error::OutcomeUnknown(_)), "{error}");
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert_eq!(world.server.requests(), 4, "unpaid, at once, and after each wait");
    assert_eq!(*told.lock().unwrap(), [(503, 5), (503, 5)]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_credential() {
    let world = world();
    world.server.will([Act::Pass, Act::LoseAnswer]);
    let error = world.get("/weather").await.unwrap_err();
    assert!(matches!(&error, Error::OutcomeUnknown(_)), "{error}");
    assert_eq!(world.client.ledger().entries().await.unwrap()[0].outcome, Outcome::Unknown);
    assert_eq!(world.till().await, Amount::cents(5), "it was taken");
    // It was delivered into the void; the server says so, and nothing is paid again.
    let again = world.retry(&error).await.unwrap_err();
    assert!(matches!(&again, Error::Rejected(_)), "{again}");
    assert_eq!(world.till().await, Amount::cents(5));
}

#[tokio::test]
async fn a_request_that_was_lost_with_its_credential_is_paid_once_also_after_the_expiry() {
    let world = world();
    world.server.will([Act::Pass, Act::LoseRequest]);
    let error = world.get("/weather").await.unwrap_err();
    assert_eq!(world.till().await, Amount::ZERO);
    assert_eq!(text(world.retry(&error).await.unwrap()).await, "sunny");
    assert_eq!(world.till().await, Amount::cents(5));
    assert!(world.client.unsettled().is_empty());

    world.server.will([Act::Pass, Act::LoseRequest]);
    let error = world.get("/weather").await.unwrap_err();
    world.clock.advance(Duration::from_secs(3600));
    // It was sent in time, so it may be sent; that this server no longer takes it is its right.
    let late = world.retry(&error).await.unwrap_err();
    assert!(matches!(&late, Error::Rejected(_)), "{late}");
    assert_eq!(world.server.requests(), 6, "it was sent");
    assert_eq!(world.till().await, Amount::cents(5));
}

#[tokio::test]
async fn the_next_request_for_the_same_thing_uses_what_was_paid_already() {
    let world = world();
    world.server.will([Act::Pass, Act::LoseRequest]);
    world.post("/echo", "hello").await.unwrap_err();
    assert_eq!(world.client.unsettled().len(), 1);
    // Another body is another thing.
    assert_eq!(text(world.post("/echo", "hullo").await.unwrap()).await, "hullo 1");
    let paid = world.server.headers(1)["authorization"].clone();
    assert_eq!(text(world.post("/echo", "hello").await.unwrap()).await, "hello 1");
    let resent = world.server.requests() - 1;
    assert_eq!(world.server.headers(resent)["authorization"], paid);
    assert_eq!(world.till().await, Amount::cents(2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_waiting_does_not_lose_what_it_paid_for() {
    let world = world();
    world.server.will([Act::Pass, Act::Hang]);
    let impatient = tokio::time::timeout(Duration::from_secs(1), world.get("/moody")).await;
    assert!(impatient.is_err());
    let kept = world.client.unsettled();
    assert!(matches!(kept[0].cause, Cause::Abandoned));
    // The first run had failed, unseen: the same payment buys the second.
    assert_eq!(text(world.get("/moody").await.unwrap()).await, "better now");
    assert_eq!(world.till().await, Amount::cents(2));
}

#[tokio::test]
async fn a_handler_that_failed_is_run_again_for_the_same_payment() {
    let world = world();
    let error = world.get("/moody").await.unwrap_err();
    let Error::OutcomeUnknown(unsettled) = &error else { panic!("{error}") };
    assert!(matches!(unsettled.cause, Cause::Status { status: StatusCode::INTERNAL_SERVER_ERROR, .. }));
    assert_eq!(text(world.retry(&error).await.unwrap()).await, "better now");
    assert_eq!(world.till().await, Amount::cents(2));
    let entries = world.client.ledger().entries().await.unwrap();
    assert!(matches!(&entries[0].outcome, Outcome::Paid { reference: Some(_) }));
}

#[tokio::test]
async fn an_answer_that_is_no_delivery_is_asked_for_again_a_few_times_and_then_bought_anew() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let world = World::with(Policy::unlimited(), |builder| {
        builder.observe(move |event: &Event<'_>| match event {
            Event::Delivered { status, .. } => log.lock().unwrap().push(("delivered", status.as_u16())),
            Event::Undelivered { status, .. } => log.lock().unwrap().push(("undelivered", status.as_u16())),
            _ => {}
        })
    });
    // Each time the credential does not arrive, and the answer is not the goods.
    for (round, status) in [404, 403, 422, 400].into_iter().enumerate() {
        world.server.will([Act::Pass, Act::Answer(answer(status, &[]))]);
        let response = world.get("/weather").await.unwrap();
        assert_eq!(response.status(), status);
        let entries = world.client.ledger().entries().await.unwrap();
        assert_eq!(entries.len(), 1, "round {round}");
        assert_eq!(entries[0].outcome, Outcome::Unknown, "it may have been taken");
        assert_eq!(world.client.unsettled().len(), 1, "it is kept");
        let kept = response.extensions().get::<Paid>().expect("it was paid for").request();
        assert_eq!(kept.headers()["authorization"], world.server.headers(1)["authorization"]);
    }
    assert_eq!(text(world.get("/weather").await.unwrap()).await, "sunny");
    assert_eq!(world.client.ledger().entries().await.unwrap().len(), 2);
    assert_eq!(world.till().await, Amount::cents(5));
    let not = |status| ("undelivered", status);
    assert_eq!(*told.lock().unwrap(), [not(404), not(403), not(422), not(400), ("delivered", 200)]);
}

#[tokio::test]
async fn a_handler_that_found_nothing_was_paid_and_can_be_asked_again_with_the_same_payment() {
    let world = world();
    let response = world.get("/picky").await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(world.till().await, Amount::cents(2), "it was settled before the handler ran");
    assert!(response.headers().get("payment-receipt").is_none());
    assert_eq!(text(world.get("/picky").await.unwrap()).await, "found");
    assert_eq!(world.till().await, Amount::cents(2));
    let entries = world.client.ledger().entries().await.unwrap();
    assert!(matches!(&entries[..], [entry] if matches!(entry.outcome, Outcome::Paid { .. })), "{entries:?}");
    assert!(world.client.unsettled().is_empty());
}

#[tokio::test]
async fn a_price_that_is_asked_by_head_is_not_paid() {
    let world = world();
    let response = world.send(Request::head(url("/weather")), "").await.unwrap();
    assert_eq!(
        response.status(),
        StatusCode::PAYMENT_REQUIRED,
        "the caller wanted to know, and nobody would deliver"
    );
    assert_eq!(world.server.requests(), 1);
    assert!(world.client.ledger().entries().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wallet_that_declines_frees_the_limits_and_one_that_failed_does_not() {
    for (fails, counts) in [
        (PayError::Declined("the account is empty".into()), false),
        (PayError::Unsupported("not this one".into()), false),
        (PayError::Failed("the node did not answer".into()), true),
    ] {
        let wallet = Wallet::generate();
        let told = Told { fails: Some(fails), ..Told::around(&wallet) };
        let steps = Arc::new(Mutex::new(Vec::new()));
        let log = steps.clone();
        let world = World::paying(wallet, Policy::unlimited(), |builder| {
            builder
                .method(told)
                .observe(move |event: &Event<'_>| log.lock().unwrap().push(format!("{event:?}")))
        });
        let error = world.get("/weather").await.unwrap_err();
        let steps: Vec<_> = steps
            .lock()
            .unwrap()
            .iter()
            .map(|event| event.split([' ', '(']).next().unwrap().to_owned())
            .collect();
        let expected: &[&str] = if counts { &["Unsettled"] } else { &["Released", "Refused"] };
        assert_eq!(steps, [&["Challenged", "Paying"], expected].concat());
        assert_eq!(matches!(error, Error::Wallet { .. }), counts, "{error}");
        let outcome = world.client.ledger().entries().await.unwrap().remove(0).outcome;
        assert_eq!((outcome.counts(), outcome == Outcome::Unknown), (counts, counts));
        assert_eq!(world.server.requests(), 1, "nothing is sent");
    }
}

#[tokio::test]
async fn play_money_that_its_server_refuses_is_not_spent() {
    // An account that was never opened there, and one that is empty.
    let stranger = Wallet::generate();
    for (wallet, paths) in [(stranger, vec!["/weather"]), (Wallet::generate(), vec!["/dear"; 21])] {
        let is_known = paths.len() > 1;
        let payer = if is_known { wallet.clone() } else { Wallet::generate() };
        let world = World::paying(wallet, Policy::unlimited(), |builder| builder.method(payer));
        let (last, before) = paths.split_last().unwrap();
        for path in before {
            world.get(path).await.unwrap();
        }
        let till = world.till().await;
        let error = world.get(last).await.unwrap_err();
        let Error::Rejected(unsettled) = &error else { panic!("{error}") };
        assert_eq!(unsettled.fate, Fate::Never, "{error}");
        assert!(error.to_string().contains("nothing was paid"), "{error}");
        let entries = world.client.ledger().entries().await.unwrap();
        assert!(matches!(entries.last().unwrap().outcome, Outcome::Released { .. }), "{entries:?}");
        assert_eq!(world.till().await, till);
        assert!(world.client.unsettled().is_empty());
    }
}

#[tokio::test]
async fn a_second_purchase_under_one_key_is_refused_with_the_servers_reason_and_play_money_is_not_spent() {
    let world = world();
    let ask = async || world.send(Request::post(url("/echo")).header("idempotency-key", "mine"), "x").await;
    assert_eq!(text(ask().await.unwrap()).await, "x 1");
    let error = ask().await.unwrap_err();
    let Error::Rejected(unsettled) = &error else { panic!("{error}") };
    assert_eq!(unsettled.fate, Fate::Never);
    assert!(
        error.to_string().contains("409") && error.to_string().contains("this Idempotency-Key"),
        "{error}"
    );
    assert_eq!(world.till().await, Amount::cents(1));
    let entries = world.client.ledger().entries().await.unwrap();
    assert!(matches!(entries[1].outcome, Outcome::Released { .. }), "{entries:?}");
    assert!(world.client.unsettled().is_empty());
}

#[tokio::test]
async fn a_wallet_that_is_slower_than_the_challenge_lives_sends_nothing() {
    let wallet = Wallet::generate();
    let mut told = Told::around(&wallet);
    let clock = Arc::new(mpp::ManualClock::at(crate::world::START));
    told.takes = Some((clock.clone(), Duration::from_secs(3600)));
    let world = World::paying(wallet, Policy::unlimited(), |builder| builder.method(told).clock(clock));
    let error = world.get("/weather").await.unwrap_err();
    let Error::OutcomeUnknown(unsettled) = &error else { panic!("{error}") };
    assert!(matches!(unsettled.cause, Cause::Late));
    assert_eq!(world.server.requests(), 1);
}

#[tokio::test]
async fn an_offer_whose_wallet_declines_gives_way_to_the_next() {
    let wallet = Wallet::generate();
    let empty = Told { fails: Some(PayError::Declined("empty".into())), ..Told::around(&wallet) };
    let tries = empty.paid.clone();
    let good = wallet.clone();
    let world = World::paying(wallet, Policy::unlimited(), |builder| {
        builder.method(empty).method(good.for_method("tempo".parse().unwrap()))
    });
    // The same offer twice, once under another method's name, which this server would not know.
    world.server.will([change(|response| {
        let mut copy = crate::world::challenges(response.headers()).remove(0);
        copy.method = "tempo".parse().unwrap();
        let mut response = response;
        response.headers_mut().append("www-authenticate", copy.to_header_value().parse().unwrap());
        response
    })]);
    let response = world.get("/weather").await.unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    let paid = response.extensions().get::<Paid>().unwrap();
    assert_eq!(paid.payment.challenge().method.as_str(), "tempo", "the second one was paid and sent");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "and this server does not know it");
}

#[tokio::test]
async fn a_response_without_a_good_receipt_is_delivered_and_says_so() {
    let world = world();
    world.server.will([
        Act::Pass,
        change(|mut response| {
            response.headers_mut().insert("payment-receipt", "garbage!".parse().unwrap());
            response
        }),
    ]);
    let response = world.get("/weather").await.unwrap();
    let receipt = response.extensions().get::<Paid>().unwrap().receipt.clone();
    assert!(matches!(receipt, Err(NoReceipt::Malformed(_))), "{receipt:?}");
    assert_eq!(text(response).await, "sunny");
}

#[tokio::test]
async fn every_step_is_told_and_no_step_tells_a_secret() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let world = World::with(Policy::unlimited(), |builder| {
        builder.observe(move |event: &Event<'_>| log.lock().unwrap().push(format!("{event:?}")))
    });
    world.get("/weather").await.unwrap();
    let told = told.lock().unwrap();
    let steps: Vec<&str> = told.iter().map(|event| event.split([' ', '(']).next().unwrap()).collect();
    assert_eq!(steps, ["Challenged", "Paying", "Sending", "Delivered"]);
    let authorization = world.server.headers(1).remove("authorization").unwrap();
    assert!(authorization.is_sensitive(), "who prints headers does not print it");
    let credential = authorization.to_str().unwrap()[8..].to_owned();
    for event in told.iter() {
        assert!(!event.contains(&credential[..20]) && !event.contains("signature"), "{event}");
    }
}

#[tokio::test]
async fn what_was_paid_in_one_name_is_not_resumed_in_another() {
    // Whatever the header is called by which a server knows its users.
    for name in ["authorization", "cookie", "x-api-key", "x-tenant"] {
        let world = world();
        let ask = async |who| world.send(Request::get(url("/weather")).header(name, who), "").await;
        world.server.will([Act::Pass, Act::LoseRequest]);
        ask("me=1").await.unwrap_err();
        assert_eq!(text(ask("me=2").await.unwrap()).await, "sunny");
        let arrived = |request| world.server.headers(request);
        assert!(arrived(3)[name].to_str().unwrap().starts_with("me=2"), "{name}");
        assert_eq!(text(ask("me=1").await.unwrap()).await, "sunny");
        assert_eq!(arrived(5)[name], arrived(1)[name]);
        assert_eq!(arrived(5)["authorization"], arrived(1)["authorization"], "what the first one paid");
        assert_eq!(world.till().await, Amount::cents(10));
    }
}

#[tokio::test]
async fn what_differs_in_its_trace_alone_is_the_same_request() {
    let own = HeaderName::from_static("x-attempt");
    let world = World::with(Policy::unlimited(), |builder| builder.volatile_headers([own]));
    let ask = async |trace: &str, attempt: &str| {
        let request = Request::get(url("/weather")).header("traceparent", trace).header("x-api-key", "me");
        world.send(request.header("x-attempt", attempt), "").await
    };
    world.server.will([Act::Pass, Act::LoseRequest]);
    ask("one", "1").await.unwrap_err();
    assert_eq!(text(ask("another", "2").await.unwrap()).await, "sunny");
    assert_eq!(world.client.ledger().entries().await.unwrap().len(), 1, "it was bought once");
    assert_eq!(world.till().await, Amount::cents(5));
}

#[tokio::test]
async fn what_broke_off_can_be_asked_for_again_with_what_was_paid() {
    let world = world();
    let response = world.send(Request::post(url("/echo")).header("x-mine", "1"), "hello").await.unwrap();
    let again = response.extensions().get::<Paid>().unwrap().request();
    assert_eq!((again.method().as_str(), again.uri().to_string()), ("POST", url("/echo")));
    assert_eq!((again.body().as_ref(), &again.headers()["x-mine"]), (&b"hello"[..], &"1".parse().unwrap()));
    let sent = world.server.headers(1);
    for name in ["authorization", "idempotency-key"] {
        assert_eq!(again.headers()[name], sent[name]);
    }
}
