//! Over sockets, with `reqwest`: redirects, connections that break, streams.

use crate::world::{START, server};
use axum::extract::Path;
use axum::response::Redirect;
use axum::routing::any;
use http::HeaderMap;
use mpp::client::{Budget, Cause, Client, Error, MemoryLedger, Paid, Policy, Refusal};
use mpp::method::sandbox::Wallet;
use mpp::{Amount, ManualClock, Sandbox};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server on a free port, which ends with the test.
struct Shop {
    base: String,
    /// The same server under its other name, which is another origin.
    other: String,
    /// The headers that arrived at `/seen`.
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    sandbox: Sandbox,
    client: Client,
    http: reqwest_middleware::ClientWithMiddleware,
}

impl Shop {
    async fn open(policy: Policy) -> Shop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let wallet = Wallet::generate();
        let clock = Arc::new(ManualClock::at(START));
        let server = server(&base, &wallet, &clock);
        let other = base.replace("127.0.0.1", "localhost");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, elsewhere) = (seen.clone(), other.clone());
        let see = async move |headers: HeaderMap| {
            log.lock().unwrap().push(headers);
            "seen"
        };
        let away = async move |Path(path): Path<String>| Redirect::temporary(&format!("{elsewhere}/{path}"));
        let redirects = axum::Router::new()
            .route(
                "/here/{path}",
                any(async |Path(path): Path<String>| Redirect::temporary(&format!("/{path}"))),
            )
            .route("/away/{path}", any(away))
            .route("/get/{path}", any(async |Path(path): Path<String>| Redirect::to(&format!("/{path}"))))
            .route("/broken", any(async || (http::StatusCode::UNPROCESSABLE_ENTITY, "no such unit\n")))
            .route("/again", any(async || Redirect::temporary("/again")))
            .route("/twice", any(async || Redirect::temporary("/here/weather")))
            .route("/seen", any(see));
        let router = server.router().merge(redirects);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client =
            Client::builder(policy, MemoryLedger::new()).method(wallet).clock(clock).build().unwrap();
        let http = client.http().unwrap();
        Shop { base, other, seen, sandbox: server.sandbox.clone(), client, http }
    }

    /// The client with a policy that names this server, so that it is told how it can be paid.
    async fn known() -> Shop {
        let mut shop = Shop::open(policy()).await;
        let clock = Arc::new(ManualClock::at(START));
        let wallet = Wallet::generate();
        shop.sandbox.fund(&wallet.did(), Amount::whole(10)).await.unwrap();
        let policy = policy().origins([shop.base.as_str()]);
        shop.client =
            Client::builder(policy, MemoryLedger::new()).method(wallet).clock(clock).build().unwrap();
        shop.http = shop.client.http().unwrap();
        shop
    }

    /// What arrived at `/seen` last.
    fn arrived(&self) -> HeaderMap {
        self.seen.lock().unwrap().pop().expect("something arrived")
    }

    async fn till(&self) -> Amount {
        self.sandbox.till().await.unwrap()
    }
}

fn policy() -> Policy {
    Policy::new(Budget::total("usdc", Amount::whole(1)))
}

fn our(error: &reqwest_middleware::Error) -> &Error {
    Error::find(error).unwrap_or_else(|| panic!("not ours: {error}"))
}

#[tokio::test]
async fn a_request_over_a_socket_is_paid_and_says_so() {
    let shop = Shop::open(policy()).await;
    let response = shop.http.get(format!("{}/weather", shop.base)).send().await.unwrap();
    assert!(response.extensions().get::<Paid>().unwrap().receipt.is_ok());
    assert_eq!(response.text().await.unwrap(), "sunny");
    let echoed = shop.http.post(format!("{}/echo", shop.base)).body("hello").send().await.unwrap();
    assert_eq!(echoed.text().await.unwrap(), "hello 1");
    assert_eq!(shop.till().await, Amount::cents(6));
}

#[tokio::test]
async fn a_402_with_a_long_page_and_its_payment_go_over_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let request = r#"{"amount":"50000","currency":"usdc","methodDetails":{"testMoney":true}}"#;
    let challenge = format!(
        r#"Payment id="x7Tg", realm="127.0.0.1", method="sandbox", intent="charge", request="{}", expires="{}""#,
        mpp::protocol::b64::encode(request),
        (START + std::time::Duration::from_secs(300)).to_rfc3339().as_str()
    );
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let challenge = challenge.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 16 * 1024];
                while let Ok(length @ 1..) = near.read(&mut head).await {
                    let paid = String::from_utf8_lossy(&head[..length]).contains("Payment ");
                    let (status, page) =
                        if paid { ("200 OK", "sunny".to_owned()) } else { ("402 -", "x".repeat(60_000)) };
                    let length = page.len();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nwww-authenticate: {challenge}\r\ncontent-length: {length}\r\n\r\n{page}"
                    );
                    near.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let clock = Arc::new(ManualClock::at(START));
    let client = Client::builder(policy(), MemoryLedger::new())
        .method(Wallet::generate())
        .clock(clock)
        .build()
        .unwrap();
    let response = client.http().unwrap().get(url).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "sunny");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_and_paid_and_one_to_another_origin_is_not() {
    let shop = Shop::open(policy()).await;
    let response = shop.http.get(format!("{}/here/weather", shop.base)).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "sunny");
    let error = shop.http.get(format!("{}/away/weather", shop.base)).send().await.unwrap_err();
    let Error::NotPaid(refused) = our(&error) else { panic!("{error}") };
    assert!(refused.is_because(|why| matches!(why, Refusal::Redirected { .. })), "{refused}");
    assert_eq!(shop.till().await, Amount::cents(5));
}

#[tokio::test]
async fn what_a_request_carries_for_one_origin_does_not_travel_to_another() {
    let shop = Shop::known().await;
    let personal = ["accept-payment", "authorization", "cookie", "idempotency-key", "referer"];
    let ask = async |path: &str| {
        let request = shop.http.get(format!("{}{path}", shop.base)).header("authorization", "Bearer me");
        let response = request.header("cookie", "me=1").header("x-mine", "1").send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "seen", "{path}");
        shop.arrived()
    };
    let arrived = ask("/here/seen").await;
    assert_eq!([&arrived["accept-payment"], &arrived["authorization"]], ["sandbox/charge", "Bearer me"]);
    let arrived = ask("/away/seen").await;
    assert!(personal.iter().all(|name| !arrived.contains_key(*name)), "{arrived:?}");
    assert_eq!(arrived["x-mine"], "1");
    // What was paid for may be had elsewhere; the credential stays.
    let authority = shop.other.strip_prefix("http://").unwrap().to_owned();
    let response = shop.http.get(format!("{}/elsewhere/{authority}", shop.base)).send().await.unwrap();
    assert!(response.extensions().get::<Paid>().is_some());
    assert_eq!((response.text().await.unwrap().as_str(), shop.till().await), ("seen", Amount::cents(3)));
    let arrived = shop.arrived();
    assert!(personal.iter().all(|name| !arrived.contains_key(*name)), "{arrived:?}");
    // Who says how it can pay is not overruled, neither when only the price is asked for.
    let seen = |path: &str| format!("{}{path}", shop.base).parse::<reqwest::Url>().unwrap();
    assert!(shop.client.quote(&seen("/seen")).await.unwrap().is_free());
    assert_eq!(shop.arrived()["accept-payment"], "sandbox/charge");
    let mut said = reqwest::Request::new(http::Method::GET, seen("/seen"));
    said.headers_mut().insert("accept-payment", "sandbox/*".parse().unwrap());
    shop.client.quote_request(said).await.unwrap();
    assert_eq!(shop.arrived()["accept-payment"], "sandbox/*");
    let unnamed = Shop::open(policy()).await;
    unnamed.client.quote(&format!("{}/seen", unnamed.base).parse().unwrap()).await.unwrap();
    assert!(!unnamed.arrived().contains_key("accept-payment"));
    // Neither is a stranger told.
    let quote = shop.client.quote(&format!("{}/away/seen", shop.base).parse().unwrap()).await.unwrap();
    assert!(quote.is_free() && !shop.arrived().contains_key("accept-payment"));
}

#[tokio::test]
async fn redirects_end_somewhere_and_take_a_body_along_where_the_verb_goes() {
    let shop = Shop::open(policy()).await;
    let post = async |path: &str| {
        let request = shop.http.post(format!("{}{path}", shop.base)).body("hello");
        request.send().await.unwrap()
    };
    // The body is sent to where it is asked for, and once more with the payment.
    assert_eq!(post("/here/echo").await.text().await.unwrap(), "hello 1");
    // By 303 it is asked for by GET: `/echo` has none.
    assert_eq!(post("/get/echo").await.status(), 405);
    // What is paid for goes the same way.
    assert_eq!(post("/get/weather").await.text().await.unwrap(), "sunny");
    let lost = shop.http.get(format!("{}/again", shop.base)).send().await.unwrap();
    assert_eq!(lost.status(), 307, "the last of ten");
    // A stream cannot be sent to a second place.
    let stream = reqwest::Body::wrap(http_body_util::StreamBody::new(Once(Some("hello".into()))));
    let moved = shop.http.post(format!("{}/here/seen", shop.base)).body(stream).send().await.unwrap();
    assert_eq!(moved.status(), 307);
    assert_eq!(shop.seen.lock().unwrap().len(), 0);
    // Where the body is not asked for the rest goes on.
    let stream = reqwest::Body::wrap(http_body_util::StreamBody::new(Once(Some("hello".into()))));
    let request = shop.http.post(format!("{}/get/seen", shop.base)).header("x-mine", "1").body(stream);
    assert_eq!(request.send().await.unwrap().text().await.unwrap(), "seen");
    assert_eq!(shop.arrived()["x-mine"], "1");
    assert_eq!(shop.till().await, Amount::cents(6));
}

#[tokio::test]
async fn a_stream_is_refused_before_anything_is_paid() {
    let shop = Shop::open(policy()).await;
    let stream = reqwest::Body::wrap(http_body_util::StreamBody::new(Once(Some("hello".into()))));
    let error = shop.http.post(format!("{}/echo", shop.base)).body(stream).send().await.unwrap_err();
    assert!(matches!(our(&error), Error::BodyNotReplayable), "{error}");
    assert_eq!(shop.till().await, Amount::ZERO);
    assert!(shop.client.ledger().entries().await.unwrap().is_empty());
}

/// A stream of one piece.
struct Once(Option<bytes::Bytes>);

impl futures_core::Stream for Once {
    type Item = Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_after_the_credential_was_sent_leaves_a_payment_that_still_buys() {
    let shop = Shop::open(policy()).await;
    // Somebody in between, who lets the first exchange through and cuts the second one after its head.
    let upstream = shop.base.strip_prefix("http://").unwrap().to_owned();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", proxy.local_addr().unwrap());
    tokio::spawn(async move {
        let mut exchanges = 0;
        while let Ok((mut near, _)) = proxy.accept().await {
            let mut head = vec![0; 16 * 1024];
            let length = near.read(&mut head).await.unwrap();
            exchanges += 1;
            if exchanges == 2 {
                continue; // dropped: the connection is reset
            }
            let mut far = tokio::net::TcpStream::connect(&upstream).await.unwrap();
            // One exchange per connection.
            let head =
                String::from_utf8_lossy(&head[..length]).replacen("\r\n", "\r\nconnection: close\r\n", 1);
            far.write_all(head.as_bytes()).await.unwrap();
            let _ = tokio::io::copy(&mut far, &mut near).await;
        }
    });
    let error = shop.http.get(format!("{base}/weather")).send().await.unwrap_err();
    let unsettled = our(&error).unsettled().unwrap_or_else(|| panic!("{error}"));
    assert!(matches!(unsettled.cause, Cause::Lost(_)), "{error}");
    assert_eq!(shop.till().await, Amount::ZERO);
    let response = unsettled.retry(&shop.http).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "sunny");
    assert_eq!(shop.till().await, Amount::cents(5));
    assert!(shop.client.unsettled().is_empty());
}

#[tokio::test]
async fn a_quote_tells_prices_and_verdicts_and_pays_nothing() {
    let shop = Shop::open(policy()).await;
    let quote =
        async |path: &str| shop.client.quote(&format!("{}{path}", shop.base).parse().unwrap()).await.unwrap();
    let weather = quote("/weather").await;
    assert_eq!(weather.best().unwrap().cost.as_ref().unwrap().to_string(), "0.05 usdc");
    let dear = quote("/dear").await;
    assert!(dear.best().is_none());
    assert!(matches!(dear.offers[0].verdict, Err(Refusal::Limit(_))));
    assert!(quote("/free").await.is_free());
    // What is neither is said to be neither, in the server's words.
    let nowhere = quote("/nowhere").await;
    assert!(!nowhere.is_free() && !nowhere.is_priced() && nowhere.best().is_none());
    assert_eq!((nowhere.status.as_u16(), nowhere.said), (404, None));
    let untaken = quote("/broken").await;
    assert!(!untaken.is_free() && !untaken.is_priced());
    assert_eq!((untaken.status.as_u16(), untaken.said.as_deref()), (422, Some("no such unit")));
    let away = quote("/away/weather").await;
    assert!(matches!(away.offers[0].verdict, Err(Refusal::Redirected { .. })));
    assert_eq!(shop.till().await, Amount::ZERO);
    assert!(shop.client.ledger().entries().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_quote_has_what_can_be_paid_first_the_cheapest_before_others_and_then_every_refusal() {
    let shop = Shop::open(policy()).await;
    let url = |path: &str| format!("{}{path}", shop.base).parse::<reqwest::Url>().unwrap();
    let offer = async |method: http::Method, path: &str| {
        let quote = shop.client.quote_request(reqwest::Request::new(method, url(path))).await.unwrap();
        quote.offers.into_iter().next().expect("an offer").challenge
    };
    let weather = offer(http::Method::GET, "/twice").await;
    let paid = offer(http::Method::POST, "/echo").await;
    let elsewhere = offer(http::Method::GET, "/elsewhere/x").await;
    let mut unknown = weather.clone();
    unknown.method = "tempo".parse().unwrap();
    let dear = offer(http::Method::GET, "/dear").await;
    let mut lines: Vec<_> =
        [&unknown, &weather, &elsewhere, &paid, &dear].map(|offer| offer.to_header_value()).to_vec();
    lines.push(r#"Payment id="x", realm="127.0.0.1""#.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = format!("http://{}/", listener.local_addr().unwrap()).parse::<reqwest::Url>().unwrap();
    let answer = async move || {
        let lines = lines.into_iter().map(|line| (http::header::WWW_AUTHENTICATE, line));
        (http::StatusCode::PAYMENT_REQUIRED, axum::response::AppendHeaders(lines.collect::<Vec<_>>()))
    };
    let router = axum::Router::new().route("/", any(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    shop.client.pay(&there, &paid).await.unwrap();

    let quote = shop.client.quote(&there).await.unwrap();
    let told: Vec<_> =
        quote.offers.iter().map(|offer| (&offer.challenge.id, offer.verdict.is_ok())).collect();
    let expected = [(&elsewhere, true), (&weather, true), (&paid, false), (&dear, false), (&unknown, false)];
    assert_eq!(told, expected.map(|(offer, payable)| (&offer.id, payable)));
    assert!(matches!(quote.offers[2].verdict, Err(Refusal::PaidAlready)));
    assert!(matches!(quote.offers[4].verdict, Err(Refusal::NoWallet(_))));
    assert_eq!(quote.malformed.len(), 1);
}

#[tokio::test]
async fn a_payment_by_hand_is_entered_for_the_verb_it_is_for() {
    let shop = Shop::open(policy()).await;
    let quote = shop.client.quote(&format!("{}/weather", shop.base).parse().unwrap()).await.unwrap();
    let challenge = &quote.best().unwrap().challenge;
    shop.client.pay_for(http::Method::POST, &quote.url, challenge, "x").await.unwrap();
    let entries = shop.client.ledger().entries().await.unwrap();
    assert_eq!(entries[0].resource.as_deref(), Some("POST /weather"));
    assert!(shop.client.unsettled().is_empty(), "whoever asked for it sends it");
}

#[tokio::test]
async fn a_challenge_from_elsewhere_is_paid_by_hand_and_its_outcome_written_down() {
    let shop = Shop::open(policy()).await;
    let url = format!("{}/weather", shop.base);
    let quote = shop.client.quote(&url.parse().unwrap()).await.unwrap();
    let payment = shop.client.pay(&quote.url, &quote.best().unwrap().challenge).await.unwrap();
    let plain = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(no_tls()).build().unwrap();
    let mut request = plain.get(&url).build().unwrap();
    payment.attach(request.headers_mut());
    let response = plain.execute(request).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "sunny");
    shop.client.accepted(&payment, None).await.unwrap();
    let entries = shop.client.ledger().entries().await.unwrap();
    assert_eq!(entries[0].outcome, mpp::client::Outcome::Paid { reference: None });
    assert!(!format!("{payment:?}").contains(&payment.authorization().to_str().unwrap()[10..30]));
}

#[tokio::test]
async fn the_word_of_a_stranger_behind_a_redirect_counts_for_nothing_after_a_payment() {
    let shop = Shop::open(policy().pay_again(3)).await;
    // A 402 of the shop's own, told by somebody else: that the payment did not happen, and what else to pay.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = listener.local_addr().unwrap().to_string();
    let url = format!("{}/elsewhere/{stranger}", shop.base);
    let quote = shop.client.quote(&url.parse().unwrap()).await.unwrap();
    let offer = quote.best().unwrap().challenge.to_header_value();
    let refusal = r#"{"type":"https://paymentauth.org/problems/verification-failed","status":402}"#;
    let answer = async move || {
        let headers = [("www-authenticate", offer), ("content-type", "application/problem+json".into())];
        (http::StatusCode::PAYMENT_REQUIRED, headers, refusal)
    };
    let router = axum::Router::new().route("/seen", any(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let error = shop.http.get(url).send().await.unwrap_err();
    assert!(matches!(our(&error), Error::OutcomeUnknown(_)), "{error}");
    let entries = shop.client.ledger().entries().await.unwrap();
    assert_eq!(entries.len(), 1, "nothing else was paid");
    assert!(entries[0].outcome.counts(), "it was paid, whatever a stranger says");
    assert_eq!(shop.till().await, Amount::cents(3));
}

fn no_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}
