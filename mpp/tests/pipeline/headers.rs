//! `Authorization`, `Accept-Payment`, verbs, receipts and caching: what goes in and out of the gate.

use crate::common::{Network, credential};
use crate::lab::*;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};
use mpp::server::TrustedProxies;
use mpp::testing::Response;
use std::sync::atomic::Ordering;
use tower::ServiceExt;

#[tokio::test(start_paused = true)]
async fn the_payment_leaves_authorization_before_the_handler_and_the_rest_stays_marked_sensitive() {
    let lab = Lab::new();
    for (n, (lines, rest)) in [
        (&["Bearer abc, {}"][..], "[Bearer abc true]"),
        (&["{}, Bearer abc"], "[Bearer abc true]"),
        (&["Bearer abc", "{}"], "[Bearer abc true]"),
        (&["{}", "Bearer abc"], "[Bearer abc true]"),
        (&["{}"], ""),
        (
            &["Basic YTpi, {}, Bearer abc", "Digest username=\"Payment x, y\", realm=\"z\""],
            "[Basic YTpi, Bearer abc true][Digest username=\"Payment x, y\", realm=\"z\" true]",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for scheme in ["Payment ", "payment ", "PAYMENT "] {
            let paid = credential(&lab.challenge("/headers").await, &format!("tx{n}{scheme}"));
            let token = paid.strip_prefix("Payment ").expect("the scheme");
            let request = lines.iter().fold(lab.client.get("/headers"), |request, line| {
                request.header("authorization", &line.replace("{}", &format!("{scheme}{token}")))
            });
            let response = request.send().await;
            assert_eq!((response.status().as_u16(), response.text().as_str()), (200, rest), "{lines:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_beyond_ascii_hide_no_payment_and_are_not_lost() {
    let lab = Lab::new();
    for (n, other) in [&b"Basic \xff\xe9"[..], "Basic é".as_bytes()].into_iter().enumerate() {
        let paid = credential(&lab.challenge("/headers").await, &format!("tx{n}"));
        let line = [other, b", ", paid.as_bytes()].concat();
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/headers".parse().unwrap();
        request.headers_mut().insert("authorization", HeaderValue::from_bytes(&line).unwrap());
        let response = lab.app().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "the payment was found");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(text, format!("[{} true]", String::from_utf8_lossy(other)));
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_one_payment_is_a_400_that_touches_nothing() {
    let lab = Lab::new();
    let one = credential(&lab.challenge("/cheap").await, "tx1");
    let two = credential(&lab.challenge("/cheap").await, "tx2");
    for lines in [
        vec![format!("{one}, {two}")],
        vec![one.clone(), two.clone()],
        vec![one.clone(), one.clone()],
        vec![format!("Bearer x, {one}"), format!("Basic y, payment {}", &two[8..])],
        vec![one.clone(), "Payment".to_owned()],
        vec!["Payment x, Payment y".to_owned()],
    ] {
        let request = lines.iter().fold(lab.client.get("/cheap"), |r, line| r.header("authorization", line));
        let response = request.send().await;
        response.assert_problem("bad-request");
        assert!(response.challenges().offers.is_empty());
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(
        (lab.store.operations.load(Ordering::SeqCst), lab.network.verified.load(Ordering::SeqCst)),
        (0, 0)
    );
    lab.client.get("/cheap").presenting(&one).await.assert_ok();
    lab.client.get("/cheap").presenting(&two).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn a_quoted_string_that_says_payment_is_no_payment() {
    let lab = Lab::new();
    let line = "Digest username=\"a, Payment e30\", realm=\"Payment x\"";
    lab.client.get("/cheap").presenting(line).await.assert_problem("payment-required");
}

#[tokio::test(start_paused = true)]
async fn head_is_quoted_the_price_of_get_and_never_spends() {
    let lab = Lab::new();
    for uri in ["/cheap", "/units/3"] {
        let head = || lab.client.request(Method::HEAD, uri);
        let quote = first(&head().unpaid().await);
        let paid = credential(&quote, uri);
        let response = head().presenting(&paid).await;
        assert_eq!(response.status(), 402, "a credential on HEAD is ignored");
        assert_eq!(lab.network.payments(), 0);
        lab.client.get(uri).presenting(&paid).await.assert_ok();
        lab.network.moved.lock().unwrap().clear();
    }
    // And after a failed delivery HEAD does not deliver either.
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, _) = lab.pay("/flaky", "tx1").await;
    assert_eq!(lab.client.request(Method::HEAD, "/flaky").presenting(&paid).await.status(), 402);
    assert_eq!(lab.client.get("/flaky").presenting(&paid).await.text(), "run 2");
}

#[tokio::test(start_paused = true)]
async fn every_verb_through_any_charges_under_its_own_scope() {
    let lab = Lab::new();
    for verb in [Method::OPTIONS, Method::TRACE, Method::DELETE, Method::from_bytes(b"PURGE").unwrap()] {
        let ask = |verb: &Method| {
            lab.client
                .request(verb.clone(), "/raw")
                .header("origin", "https://a.example")
                .header("access-control-request-method", "GET")
        };
        let paid = credential(&first(&ask(&verb).unpaid().await), verb.as_str());
        ask(&Method::PUT).presenting(&paid).await.assert_problem("invalid-challenge");
        ask(&verb).presenting(&paid).await.assert_ok();
    }
    assert_eq!(lab.network.payments(), 4);
}

#[tokio::test(start_paused = true)]
async fn receipts_come_with_2xx_only_and_every_delivery_uses_the_payment_up() {
    let lab = Lab::new();
    for code in [200, 201, 202, 204, 206, 299, 300, 301, 303, 304, 307, 101] {
        let uri = format!("/status/{code}");
        let (paid, response) = lab.pay(&uri, &uri).await;
        assert_eq!(response.status(), code);
        if (200..300).contains(&code) {
            let receipt = response.receipt();
            assert_eq!(receipt.method.as_str(), "tempo");
            assert_eq!(receipt.external_id.as_deref(), Some("order-7"));
            assert_eq!(receipt.extra["network"], "tempo");
            assert_eq!(receipt.timestamp.unix(), START);
            assert_eq!(response.headers().get_all("payment-receipt").iter().count(), 1);
            assert!(response.headers()["payment-receipt"].is_sensitive());
            assert_eq!(response.header("cache-control"), Some("max-age=60, private"));
        } else {
            assert!(response.header("payment-receipt").is_none(), "{code}: not even somebody else's");
            assert_eq!(response.header("cache-control"), Some("public, max-age=60"), "{code}");
        }
        assert_eq!(response.header("x-own"), Some("kept"));
        lab.client.get(&uri).presenting(&paid).await.assert_problem("invalid-challenge");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_pass_unchanged_without_a_receipt_and_leave_the_payment_to_its_credential() {
    let lab = Lab::new();
    for code in [100, 400, 401, 404, 409, 429, 500, 503, 599] {
        let uri = format!("/status/{code}");
        let (paid, response) = lab.pay(&uri, &uri).await;
        assert_eq!((response.status().as_u16(), response.text().as_str()), (code, "body"));
        assert!(response.header("payment-receipt").is_none());
        assert_eq!(lab.client.get(&uri).presenting(&paid).await.status(), code, "the route opens again");
        assert_eq!(lab.network.worst(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handlers_own_402_after_the_payment_becomes_a_500_and_the_payment_stays() {
    let lab = Lab::new();
    let (paid, response) = lab.pay("/says-402", "tx1").await;
    response.assert_problem("internal");
    assert!(response.challenges().offers.is_empty() && response.json().get("challengeId").is_none());
    lab.client.get("/says-402").presenting(&paid).await.assert_problem("internal");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_a_delivery() {
    let lab = Lab::new();
    let (paid, response) = lab.pay("/elsewhere", "tx1").await;
    assert_eq!((response.status().as_u16(), response.header("location")), (303, Some("/there")));
    lab.client.get("/elsewhere").presenting(&paid).await.assert_problem("invalid-challenge");
}

async fn offers(lab: &Lab, accept: &[&str]) -> Vec<String> {
    let request = accept.iter().fold(lab.client.get("/both"), |r, line| r.header("accept-payment", line));
    let response: Response = request.unpaid().await;
    assert_eq!(response.json()["challengeId"], first(&response).id, "the problem names the first offer");
    response.challenges().offers.iter().map(|c| c.method.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn accept_payment_filters_and_ranks_and_is_ignored_when_it_makes_no_sense() {
    let lab = Lab::new();
    let all = ["tempo", "stripe"];
    assert_eq!(offers(&lab, &[]).await, all);
    assert_eq!(offers(&lab, &["stripe/charge"]).await, ["stripe"]);
    assert_eq!(offers(&lab, &["stripe/*, tempo/charge;q=0.5"]).await, ["stripe", "tempo"]);
    assert_eq!(offers(&lab, &["*/*;q=0.1, stripe/charge"]).await, ["stripe", "tempo"]);
    assert_eq!(offers(&lab, &["tempo/charge;q=0, */*"]).await, ["stripe"]);
    assert_eq!(offers(&lab, &["evm/charge"]).await, all, "no match: everything");
    assert_eq!(offers(&lab, &["stripe/session"]).await, all, "no match: everything");
    assert_eq!(offers(&lab, &["tempo/charge;q=0, stripe/*;q=0"]).await, all, "no match: everything");
    for malformed in ["", "stripe", "stripe/charge;q=7", "stripe/charge;;", ",,", "é/*"] {
        assert_eq!(offers(&lab, &[malformed]).await, all, "{malformed}");
    }
    assert_eq!(
        offers(&lab, &["tempo/charge;q=0.5", "stripe/charge"]).await,
        ["stripe", "tempo"],
        "lines are one list"
    );
}

#[tokio::test(start_paused = true)]
async fn accept_payment_does_not_limit_which_credential_is_accepted() {
    let lab = Lab::new();
    let challenge = lab.challenge("/both").await;
    assert_eq!(challenge.method.as_str(), "tempo");
    let only_cards = lab.client.get("/both").header("accept-payment", "stripe/charge");
    let response = only_cards.presenting(&credential(&challenge, "tx1")).await;
    assert_eq!((response.status().as_u16(), response.text().as_str()), (200, "tempo"));
}

#[tokio::test(start_paused = true)]
async fn a_method_is_told_who_asks() {
    let lab = Lab::on(Network::new("tempo"), |b| b);
    asks_from(&lab, "tx1", [192, 0, 2, 7], &["198.51.100.1"]).await;
    lab.pay("/cheap", "tx2").await.1.assert_ok();
    assert_eq!(*lab.network.clients.lock().unwrap(), ["192.0.2.7", ""]);
}

#[tokio::test(start_paused = true)]
async fn behind_a_trusted_proxy_a_method_is_told_whom_the_proxy_saw() {
    let proxies = TrustedProxies::x_forwarded_for(["192.0.2.0/28"]);
    let lab = Lab::on(Network::new("tempo"), |b| b.trusted_proxies(proxies));
    asks_from(&lab, "tx1", [192, 0, 2, 7], &["6.6.6.6", "198.51.100.1, 192.0.2.8"]).await;
    asks_from(&lab, "tx2", [192, 0, 2, 7], &["6.6.6.6, nobody"]).await;
    asks_from(&lab, "tx3", [192, 0, 2, 99], &["6.6.6.6"]).await;
    assert_eq!(*lab.network.clients.lock().unwrap(), ["198.51.100.1", "192.0.2.7", "192.0.2.99"]);
}

/// Pays for `/cheap` over a connection from `peer`, under these lines of `X-Forwarded-For`.
async fn asks_from(lab: &Lab, tx: &str, peer: [u8; 4], forwarded_for: &[&'static str]) {
    let paid = credential(&lab.challenge("/cheap").await, tx);
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/cheap".parse().unwrap();
    request.headers_mut().insert("authorization", paid.parse().unwrap());
    for line in forwarded_for {
        request.headers_mut().append("x-forwarded-for", line.parse().unwrap());
    }
    let peer = std::net::SocketAddr::from((peer, 4711));
    request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    assert_eq!(lab.app().oneshot(request).await.unwrap().status(), 200);
}
