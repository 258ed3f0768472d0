//! Rate limits: who gets how many answers that cost nothing, and that payments are not among them.

use crate::body::stalling;
use crate::common::{Network, Script, credential};
use crate::lab::*;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use mpp::protocol::Challenge;
use mpp::server::{Rate, RateLimits, TrustedProxies};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tower::ServiceExt;

const EVE: &str = "192.0.2.7";
const BOB: &str = "198.51.100.9";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    #[track_caller]
    fn assert_limited(&self, seconds: &str) {
        assert_eq!(self.status, 429, "{:?}", self.body);
        assert_eq!(self.headers["retry-after"], seconds);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers["cache-control"], "no-store");
        assert!(!self.headers.contains_key("www-authenticate"), "no challenge");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&"urn:mpp:problem:rate-limited".into(), &429.into())
        );
    }

    fn problem(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        problem["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }
}

fn limits() -> RateLimits {
    RateLimits::new().challenges(Rate::per_minute(6).burst(3)).refusals(Rate::per_minute(2))
}

fn lab() -> Lab {
    Lab::on(Network::new("tempo"), |builder| builder.rate_limits(limits()))
}

async fn send(lab: &Lab, peer: &str, request: axum::http::request::Builder, body: Body) -> Answer {
    let mut request = request.body(body).unwrap();
    if let Ok(address) = peer.parse::<IpAddr>() {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 4711))));
    }
    let (parts, body) = lab.app().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn get(lab: &Lab, peer: &str, uri: &str) -> Answer {
    send(lab, peer, Request::get(uri), Body::empty()).await
}

async fn pay(lab: &Lab, peer: &str, uri: &str, paid: &str) -> Answer {
    send(lab, peer, Request::get(uri).header("authorization", paid), Body::empty()).await
}

async fn exhaust(lab: &Lab, peer: &str) {
    for _ in 0..3 {
        assert_eq!(get(lab, peer, "/cheap").await.status, 402);
    }
    assert_eq!(get(lab, peer, "/cheap").await.status, 429);
}

fn forged(challenge: &Challenge) -> String {
    credential(&Challenge { id: "A".repeat(43), ..challenge.clone() }, "tx")
}

#[tokio::test(start_paused = true)]
async fn without_being_asked_to_nothing_is_limited() {
    let lab = Lab::new();
    let forged = forged(&lab.challenge("/cheap").await);
    for _ in 0..500 {
        assert_eq!(get(&lab, EVE, "/cheap").await.status, 402);
        assert_eq!(pay(&lab, EVE, "/cheap", &forged).await.status, 402);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_too_often_is_told_how_long_to_wait_and_nobody_else_is() {
    let lab = lab();
    exhaust(&lab, EVE).await;
    get(&lab, EVE, "/dear").await.assert_limited("10");
    assert_eq!(get(&lab, BOB, "/cheap").await.status, 402);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(get(&lab, EVE, "/cheap").await.status, 402);
    get(&lab, EVE, "/cheap").await.assert_limited("10");
    let head = send(&lab, EVE, Request::head("/cheap"), Body::empty()).await;
    assert_eq!(head.status, 429, "it shows the price as well");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_counted_apart_from_challenges() {
    let lab = lab();
    let challenge = lab.challenge("/cheap").await;
    let unknown =
        Challenge { method: mpp::protocol::MethodName::from_static("lightning"), ..challenge.clone() };
    let unsupported = credential(&unknown, "tx");
    for (bad, status) in [("Payment !", 402), (unsupported.as_str(), 400)] {
        assert_eq!(pay(&lab, EVE, "/cheap", bad).await.status, status);
    }
    for bad in ["Payment !", &unsupported, &forged(&challenge)] {
        pay(&lab, EVE, "/cheap", bad).await.assert_limited("30");
    }
    assert_eq!(get(&lab, EVE, "/cheap").await.status, 402);
}

#[tokio::test(start_paused = true)]
async fn a_payment_is_taken_from_a_client_that_may_ask_for_nothing_more() {
    let lab = lab();
    let challenge = lab.challenge("/cheap").await;
    exhaust(&lab, EVE).await;
    for status in [402, 402, 429] {
        assert_eq!(pay(&lab, EVE, "/cheap", &forged(&challenge)).await.status, status);
    }
    let paid = credential(&challenge, "tx1");
    assert_eq!(pay(&lab, EVE, "/cheap", &paid).await.status, 200);
    // Also one that was paid for before and is delivered now.
    lab.bench.failures.store(1, Ordering::SeqCst);
    let paid = credential(&lab.challenge("/flaky").await, "tx2");
    assert_eq!(pay(&lab, EVE, "/flaky", &paid).await.status, 500);
    assert_eq!(pay(&lab, EVE, "/flaky", &paid).await.status, 200);
    assert_eq!(lab.network.payments(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_authentic_credential_is_verified_however_often_its_client_was_refused() {
    let lab = lab();
    let challenge = lab.challenge("/cheap").await;
    let empty = mpp::protocol::Credential {
        challenge: challenge.clone(),
        source: None,
        payload: serde_json::Map::new(),
    };
    let empty = empty.to_header_value();
    for _ in 0..2 {
        assert_eq!(pay(&lab, EVE, "/cheap", &empty).await.problem(), "verification-failed");
    }
    for verified in 3..6 {
        pay(&lab, EVE, "/cheap", &empty).await.assert_limited("30");
        assert_eq!(lab.network.verified.load(Ordering::SeqCst), verified, "judged all the same");
    }
    // What cannot be known now is no refusal, and what is declined was claimed first.
    lab.network.will(Script::Unreachable);
    assert_eq!(pay(&lab, EVE, "/cheap", &credential(&challenge, "tx1")).await.status, 503);
    lab.network.will(Script::Decline);
    pay(&lab, EVE, "/cheap", &credential(&challenge, "tx1")).await.assert_limited("30");
    lab.network.will(Script::Settle);
    assert_eq!(pay(&lab, EVE, "/cheap", &credential(&challenge, "tx1")).await.status, 200);
    pay(&lab, EVE, "/cheap", &credential(&challenge, "tx1")).await.assert_limited("30");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_limited_client_is_answered_before_its_body_is_read_and_its_price_computed() {
    let lab = lab();
    exhaust(&lab, EVE).await;
    let started = tokio::time::Instant::now();
    send(&lab, EVE, Request::post("/raw"), stalling(Vec::new())).await.assert_limited("10");
    assert_eq!(started.elapsed(), Duration::ZERO);
    // 422 for anybody else.
    assert_eq!(get(&lab, BOB, "/units/0").await.status, 422);
    assert_eq!(get(&lab, EVE, "/units/0").await.status, 429);
    assert_eq!(get(&lab, EVE, "/members").await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn what_costs_nothing_is_not_limited() {
    let lab = lab();
    exhaust(&lab, EVE).await;
    for _ in 0..9 {
        assert_eq!(get(&lab, EVE, "/tiered?member=true").await.status, 200);
        assert_eq!(pay(&lab, EVE, "/tiered?member=true", "Payment !").await.status, 200);
    }
    get(&lab, EVE, "/tiered?member=false").await.assert_limited("10");
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_challenge_are_not_counted() {
    let lab = lab();
    for _ in 0..9 {
        assert_eq!(get(&lab, EVE, "/members").await.status, 401);
        assert_eq!(get(&lab, EVE, "/units/0").await.status, 422);
        lab.network.available.store(false, Ordering::SeqCst);
        assert_eq!(get(&lab, EVE, "/cheap").await.status, 503);
        lab.network.available.store(true, Ordering::SeqCst);
    }
    exhaust(&lab, EVE).await;
}

#[tokio::test(start_paused = true)]
async fn clients_whose_peer_is_not_known_are_not_one_client() {
    let lab = lab();
    for _ in 0..99 {
        assert_eq!(get(&lab, "unknown", "/cheap").await.status, 402);
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_is_one_client_and_so_is_who_a_trusted_proxy_names() {
    let lab = lab();
    for host in 1..=3 {
        assert_eq!(get(&lab, &format!("2001:db8::{host}"), "/cheap").await.status, 402);
    }
    get(&lab, "2001:db8::4", "/cheap").await.assert_limited("10");
    assert_eq!(get(&lab, "2001:db8:0:1::4", "/cheap").await.status, 402);

    let behind = |builder: mpp::Builder| {
        builder.rate_limits(limits()).trusted_proxies(TrustedProxies::x_forwarded_for([BOB]))
    };
    let lab = Lab::on(Network::new("tempo"), behind);
    for (n, status) in [402, 402, 402, 429].into_iter().enumerate() {
        // The client writes what it likes; the proxy appends the truth.
        let hops = format!("203.0.113.{n}, {EVE}");
        let answer =
            send(&lab, BOB, Request::get("/cheap").header("x-forwarded-for", hops), Body::empty()).await;
        assert_eq!(answer.status, status);
    }
    let other = Request::get("/cheap").header("x-forwarded-for", "203.0.113.1");
    assert_eq!(send(&lab, BOB, other, Body::empty()).await.status, 402);
}

#[tokio::test(start_paused = true)]
async fn a_layer_limits_like_a_handler_and_with_it() {
    let lab = lab();
    let price = mpp::price!(amount = "0.01", currency = "usdc", methods(tempo), name = "proxied");
    let sold =
        axum::Router::new().route("/", axum::routing::get(|| async { "sold" })).layer(lab.mpp.layer(price));
    let ask = || async {
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((EVE.parse::<IpAddr>().unwrap(), 1))));
        sold.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!((ask().await, ask().await), (StatusCode::PAYMENT_REQUIRED, StatusCode::PAYMENT_REQUIRED));
    assert_eq!(get(&lab, EVE, "/cheap").await.status, 402);
    assert_eq!(ask().await, StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn a_rate_of_nothing_is_a_start_up_problem() {
    for nothing in [Rate::per_second(0), Rate::per_minute(5).burst(0)] {
        let limits = RateLimits::new().refusals(nothing);
        let report = mpp::testing::builder(clock()).rate_limits(limits).build().unwrap_err();
        assert!(report.to_string().contains("nobody would get any refusals"), "{report}");
    }
}
