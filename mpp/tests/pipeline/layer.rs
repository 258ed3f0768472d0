//! `mpp.layer(price!(…))` and `mpp.wrap(route, price!(…))`: the same pipeline for what cannot be annotated.

use crate::common::{Network, credential};
use crate::lab::*;
use axum::extract::Extension;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use mpp::routing::Router;
use mpp::testing::Client;
use mpp::{Amount, Head, Paid, Receipt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Somebody else's service: it says what it was sent, and pretends to have been paid itself.
async fn upstream(
    method: Method,
    headers: HeaderMap,
    paid: Option<Extension<Paid<Receipt>>>,
    body: String,
) -> impl IntoResponse {
    let authorization: Vec<_> =
        headers.get_all("authorization").iter().map(|v| v.to_str().unwrap()).collect();
    let attempt = paid.map(|paid| paid.attempt());
    let saw = format!("{method} {authorization:?} {attempt:?} {}", body.len());
    ([("payment-receipt", "forged".to_owned()), ("x-saw", saw.clone())], saw)
}

fn service() -> axum::Router {
    axum::Router::new()
        .route("/item/{id}", axum::routing::any(upstream))
        .route("/other", axum::routing::any(upstream))
        .fallback(upstream)
}

fn fixed(lab: &Lab) -> Client {
    let price = mpp::price!(amount = "0.02", currency = "usdc", methods(tempo), name = "search");
    Client::new(service().layer(lab.mpp.layer(price)))
}

#[tokio::test(start_paused = true)]
async fn a_layer_charges_for_everything_below_it_and_replaces_upstreams_receipt() {
    let lab = Lab::new();
    let client = fixed(&lab);
    client.get("/item/1").unpaid().await.assert_offers(["tempo 0.02 usdc"]);
    let paid = credential(&first(&client.post("/item/1").body("hello").unpaid().await), "tx1");
    client.post("/item/1").body("hullo").presenting(&paid).await.assert_problem("invalid-challenge");
    let response =
        client.post("/item/1").body("hello").header("authorization", "Bearer x").presenting(&paid).await;
    assert_eq!(
        response.text(),
        r#"POST ["Bearer x"] Some(1) 5"#,
        "the credential is gone, the body is whole"
    );
    assert!(response.receipt().reference.starts_with("paid-"));
    assert_eq!(response.headers().get_all("payment-receipt").iter().count(), 1);
    assert_eq!(response.header("cache-control"), Some("private"));
    client.post("/item/1").body("hello").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_layer_is_scoped_by_the_matched_route_or_by_its_name_and_the_literal_path() {
    let lab = Lab::new();
    let client = fixed(&lab);
    // The same template: any item.
    let item = credential(&first(&client.get("/item/1").unpaid().await), "tx1");
    client.get("/other").presenting(&item).await.assert_problem("invalid-challenge");
    client.get("/item/1/x").presenting(&item).await.assert_problem("invalid-challenge");
    client.request(Method::PUT, "/item/1").presenting(&item).await.assert_problem("invalid-challenge");
    assert_eq!(client.get("/item/2").presenting(&item).await.status(), 200);
    // No template: exactly this path.
    let nowhere = client.get("/no/where").unpaid().await;
    let opaque = mpp::protocol::Opaque::decode(first(&nowhere).opaque.as_deref().unwrap()).unwrap();
    assert_eq!(opaque.get("op"), Some("GET search /no/where"));
    let paid = credential(&first(&nowhere), "tx2");
    client.get("/no/where/else").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(client.get("/no/where?q=1").presenting(&paid).await.status(), 200);
    // Another layer of the same price but another name.
    let price = mpp::price!(amount = "0.02", currency = "usdc", methods(tempo), name = "lookup");
    let other = Client::new(service().layer(lab.mpp.layer(price)));
    let paid = credential(&first(&client.get("/no/where").unpaid().await), "tx3");
    other.get("/no/where").presenting(&paid).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn only_a_cors_preflight_passes_a_layer_and_without_its_body() {
    let lab = Lab::new();
    let client = fixed(&lab);
    let preflight = || {
        client
            .request(Method::OPTIONS, "/item/1")
            .header("origin", "https://a.example")
            .header("access-control-request-method", "POST")
            .body("smuggled")
    };
    let response = preflight().unpaid().await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (200, ""));
    assert_eq!(
        (response.header("x-saw"), response.header("payment-receipt")),
        (Some("OPTIONS [] None 0"), None)
    );
    let options = || client.request(Method::OPTIONS, "/item/1");
    options().unpaid().await.assert_problem("payment-required");
    options().header("origin", "https://a.example").unpaid().await.assert_problem("payment-required");
    options()
        .header("access-control-request-method", "GET")
        .unpaid()
        .await
        .assert_problem("payment-required");
    let get = client
        .get("/item/1")
        .header("origin", "https://a.example")
        .header("access-control-request-method", "GET");
    get.unpaid().await.assert_problem("payment-required");
    // A credential on a preflight is neither spent nor passed on.
    let paid = credential(&first(&options().unpaid().await), "tx1");
    assert_eq!(preflight().presenting(&paid).await.header("x-saw"), Some("OPTIONS [] None 0"));
    assert_eq!(lab.network.payments(), 0);
    assert_eq!(options().presenting(&paid).await.text(), "OPTIONS [] Some(1) 0");
}

#[tokio::test(start_paused = true)]
async fn a_layers_price_is_computed_from_the_head_without_the_credential() {
    let lab = Lab::new();
    let price = mpp::price!(
        amount = |head: &Head| -> Result<Amount, StatusCode> {
            assert!(!head.headers().contains_key("authorization"), "the credential is no part of the head");
            assert!(head.extensions().get::<axum::extract::MatchedPath>().is_some());
            match head.uri().path() {
                "/item/0" => Err(StatusCode::GONE),
                path => Ok(Amount::micros(10)
                    * path.len() as u32
                    * if *head.method() == Method::POST { 2 } else { 1 }),
            }
        },
        currency = "usdc",
        methods(tempo),
        name = "metered",
    );
    let client = Client::new(service().layer(lab.mpp.layer(price)));
    client.get("/item/1").unpaid().await.assert_offers(["tempo 0.00007 usdc"]);
    client.post("/item/1").unpaid().await.assert_offers(["tempo 0.00014 usdc"]);
    assert_eq!(client.get("/item/0").unpaid().await.status(), 410);
    let paid = credential(&first(&client.get("/item/1").unpaid().await), "tx1");
    client.get("/item/2").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(client.get("/item/1").presenting(&paid).await.text(), "GET [] Some(1) 0");
}

#[tokio::test(start_paused = true)]
async fn a_layer_with_a_free_tier_says_which_it_was() {
    async fn tier(Extension(paid): Extension<Paid<Option<Receipt>>>) -> impl IntoResponse {
        ([("payment-receipt", "forged")], format!("paid {} {}", paid.is_some(), paid.attempt()))
    }
    let lab = Lab::new();
    let price = mpp::price!(
        amount = "0.01",
        currency = "usdc",
        methods(tempo),
        name = "tiered",
        free_if = |head: &Head| head.headers().contains_key("x-member"),
    );
    let app = axum::Router::new().route("/", axum::routing::get(tier)).layer(lab.mpp.layer(price));
    let client = Client::new(app);
    let free = client.get("/").header("x-member", "1").send().await;
    assert_eq!(free.text(), "paid false 0");
    assert!(
        free.header("payment-receipt").is_none(),
        "upstream's receipt is dropped from a free response too"
    );
    let paid = credential(&first(&client.get("/").unpaid().await), "tx1");
    assert_eq!(client.get("/").presenting(&paid).await.text(), "paid true 1");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_failed_is_asked_again_for_the_same_payment() {
    let lab = Lab::new();
    let runs = Arc::new(AtomicU32::new(0));
    let seen = runs.clone();
    let flaky = move |Extension(paid): Extension<Paid<Receipt>>| async move {
        match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Err(StatusCode::BAD_GATEWAY),
            1 => Err(StatusCode::PAYMENT_REQUIRED),
            _ => Ok(format!("run {}", paid.attempt())),
        }
    };
    let price = mpp::price!(amount = "0.01", currency = "usdc", methods(tempo));
    let client =
        Client::new(axum::Router::new().route("/", axum::routing::get(flaky)).layer(lab.mpp.layer(price)));
    let paid = credential(&first(&client.get("/").unpaid().await), "tx1");
    assert_eq!(client.get("/").presenting(&paid).await.status(), 502);
    let own = client.get("/").presenting(&paid).await;
    own.assert_problem("internal");
    assert!(own.challenges().offers.is_empty(), "an upstream's 402 never reaches a client that paid");
    assert_eq!(client.get("/").presenting(&paid).await.text(), "run 3");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_prices_on_one_request_are_a_500_with_a_name_and_the_payment_is_not_lost() {
    let lab = Lab::new();
    let price = || mpp::price!(amount = "0.02", currency = "usdc", methods(tempo), name = "outer");
    let free = || axum::Router::new().route("/cheap", axum::routing::any(upstream));
    for client in [
        Client::new(lab.app().layer(lab.mpp.layer(price()))),
        Client::new(free().layer(lab.mpp.layer(price())).layer(lab.mpp.layer(price()))),
    ] {
        let paid = credential(
            &first(&client.get("/cheap").unpaid().await),
            &format!("tx{}", lab.network.payments()),
        );
        let response = client.get("/cheap").presenting(&paid).await;
        response.assert_problem("internal");
        assert_eq!(response.json()["detail"], "two prices on one request");
        assert!(response.challenges().offers.is_empty() && response.header("payment-receipt").is_none());
        // It buys what it was paid for once there is one price.
        let mended = Client::new(free().layer(lab.mpp.layer(price())));
        mended.get("/cheap").presenting(&paid).await.assert_ok();
        assert_eq!(lab.network.worst(), 1);
    }
    assert_eq!(lab.network.payments(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_route_charges_and_is_listed_like_a_priced_handler() {
    let lab = Lab::new();
    let legacy = axum::routing::get(|| async { "as it always was" }).post(|| async { "posted" });
    let price = mpp::price!(amount = "0.03", currency = "usdc", methods(tempo, stripe), name = "legacy");
    let spec = price.spec();
    let router: Router<mpp::Mpp> = Router::new()
        .route("/legacy", lab.mpp.wrap(legacy, price))
        .route("/free", axum::routing::get(|| async { "free" }));
    let mounted = router.mounted();
    assert_eq!(mounted.len(), 1);
    assert_eq!(
        (mounted[0].path.as_str(), mounted[0].method.clone(), mounted[0].spec.name),
        ("/legacy", None, "legacy")
    );
    assert!(!router.unmounted().iter().any(|other| std::ptr::eq(*other, spec)));
    let client = Client::new(router.with_state(lab.mpp.clone()));
    assert_eq!(client.get("/free").unpaid().await.text(), "free");
    let quote = client.get("/legacy").unpaid().await;
    quote.assert_offers(["tempo 0.03 usdc", "stripe 0.03 usdc"]);
    client
        .post("/legacy")
        .presenting(&credential(&first(&quote), "tx1"))
        .await
        .assert_problem("invalid-challenge");
    assert_eq!(
        client.get("/legacy").presenting(&credential(&first(&quote), "tx1")).await.text(),
        "as it always was"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_on_a_layered_service_gives_the_payment_back() {
    let lab = Lab::new();
    let (door, inside) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (door.clone(), inside.clone());
    let slow = move |Extension(paid): Extension<Paid<Receipt>>| async move {
        count.fetch_add(1, Ordering::SeqCst);
        wait.acquire().await.unwrap().forget();
        format!("run {}", paid.attempt())
    };
    let price = mpp::price!(amount = "0.01", currency = "usdc", methods(tempo), name = "slow");
    let client =
        Client::new(axum::Router::new().route("/", axum::routing::get(slow)).layer(lab.mpp.layer(price)));
    let paid = credential(&first(&client.get("/").unpaid().await), "tx1");
    let (other, token) = (client.clone(), paid.clone());
    let request = tokio::spawn(async move { other.get("/").presenting(&token).await });
    until(|| inside.load(Ordering::SeqCst) > 0).await;
    request.abort();
    settle_down().await;
    door.add_permits(1);
    assert_eq!(client.get("/").presenting(&paid).await.text(), "run 2");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_another_configuration_has_its_own_secret_and_methods() {
    let (lab, other) = (Lab::new(), Lab::on(Network::new("tempo"), |b| b));
    let (one, two) = (fixed(&lab), fixed(&other));
    let paid = credential(&first(&one.get("/other").unpaid().await), "tx1");
    two.get("/other").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(one.get("/other").presenting(&paid).await.status(), 200);
}

#[test]
#[should_panic(expected = "`cheap` (")]
fn a_priced_layer_over_a_priced_handler_is_stopped_at_start_up() {
    let lab = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { Lab::new() });
    let price = mpp::price!(amount = "0.01", currency = "usdc", methods(tempo), name = "over");
    drop(router().layer(lab.mpp.layer(price)));
}

#[tokio::test(start_paused = true)]
async fn a_layers_price_that_rose_after_the_payment_does_not_matter() {
    let lab = Lab::new();
    let (cents, runs) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)));
    let (today, seen) = (cents.clone(), runs.clone());
    let flaky = move || async move {
        if seen.fetch_add(1, Ordering::SeqCst) == 0 { Err(StatusCode::BAD_GATEWAY) } else { Ok("bought") }
    };
    let price = mpp::price!(
        amount = move |_| Amount::cents(today.load(Ordering::SeqCst).into()),
        currency = "usdc",
        methods(tempo),
        name = "volatile",
    );
    let client =
        Client::new(axum::Router::new().route("/", axum::routing::get(flaky)).layer(lab.mpp.layer(price)));
    let paid = credential(&first(&client.get("/").unpaid().await), "tx1");
    assert_eq!(client.get("/").presenting(&paid).await.status(), 502);
    cents.store(900, Ordering::SeqCst);
    assert_eq!(client.get("/").presenting(&paid).await.text(), "bought");
    assert_eq!(lab.network.payments(), 1);
}
