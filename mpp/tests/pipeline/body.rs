//! Bodies: too large, too slow, broken, streamed, empty.

use crate::common::credential;
use crate::lab::*;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Response, StatusCode};
use http_body::Frame;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::ServiceExt;

/// A body that sends some bytes, and then stalls, breaks or ends.
struct Stream {
    /// The last one first.
    chunks: Vec<Bytes>,
    end: End,
}

/// A body that sends this, and then nothing more.
pub(crate) fn stalling(bytes: Vec<u8>) -> Body {
    Body::new(Stream { chunks: vec![bytes.into()], end: End::Stalls })
}

enum End {
    Stalls,
    Breaks,
    Ends,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match (self.chunks.pop(), &self.end) {
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            (None, End::Stalls) => Poll::Pending,
            (None, End::Breaks) => Poll::Ready(Some(Err(std::io::Error::other("the connection was reset")))),
            (None, End::Ends) => Poll::Ready(None),
        }
    }
}

async fn post(
    lab: &Lab,
    uri: &str,
    chunks: &[&'static [u8]],
    end: End,
    authorization: Option<&str>,
) -> Response<Body> {
    let mut request = Request::post(uri).header("content-type", "application/json");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let body =
        Body::new(Stream { chunks: chunks.iter().rev().copied().map(Bytes::from_static).collect(), end });
    lab.app().oneshot(request.body(body).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_frameworks_limit_is_a_413_before_any_challenge() {
    let lab = Lab::new();
    for size in [2 * 1024 * 1024 + 1, 3 * 1024 * 1024] {
        let response = lab.client.post("/echo").body(vec![b'x'; size]).unpaid().await;
        response.assert_problem("body-too-large");
        assert!(response.challenges().offers.is_empty());
    }
    // The limit is the framework's own, and counts what arrives, not what is announced.
    let app = lab.app().layer(DefaultBodyLimit::max(10));
    for (chunks, status) in [(&[&b"12345"[..], b"67890"][..], 402), (&[b"12345", b"67890", b"1"], 413)] {
        let chunks = chunks.iter().copied().map(Bytes::from_static).collect();
        let body = Body::new(Stream { chunks, end: End::Ends });
        let request = Request::post("/raw").header("content-length", "1").body(body).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_a_408_and_pays_nothing() {
    let lab = Lab::on(crate::common::Network::new("tempo"), |b| b.body_deadline(Duration::from_secs(9)));
    let started = tokio::time::Instant::now();
    let response = post(&lab, "/echo", &[b"{"], End::Stalls, None).await;
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(started.elapsed().as_secs(), 9);
    assert!(!response.headers().contains_key("www-authenticate"));
    let paid = credential(
        &first(&lab.client.post("/echo").json(&serde_json::json!({"say": "x"})).unpaid().await),
        "t",
    );
    assert_eq!(post(&lab, "/echo", &[b"{"], End::Stalls, Some(&paid)).await.status(), 408);
    assert_eq!((lab.network.payments(), lab.store.operations.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_400() {
    let lab = Lab::new();
    let response = post(&lab, "/echo", &[b"{\"say\":"], End::Breaks, None).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(!response.headers().contains_key("www-authenticate"));
    assert!(!text(response).await.contains("reset"), "no internals");
}

#[tokio::test(start_paused = true)]
async fn a_body_in_pieces_is_the_same_as_one_in_one_piece() {
    let lab = Lab::new();
    let challenge =
        first(&lab.client.post("/echo").json(&serde_json::json!({ "say": "hello" })).unpaid().await);
    let paid = credential(&challenge, "tx1");
    let response =
        post(&lab, "/echo", &[b"{\"say\"", b":\"hel", b"", b"lo\"}"], End::Ends, Some(&paid)).await;
    assert_eq!(text(response).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_is_no_body() {
    let lab = Lab::new();
    let none = lab.client.post("/raw").unpaid().await;
    assert_eq!(first(&none).digest, None);
    let response = post(&lab, "/raw", &[b""], End::Ends, Some(&credential(&first(&none), "tx1"))).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_unbound_body_streams_past_the_gate_and_is_not_part_of_the_price() {
    let lab = Lab::new();
    let challenge = first(&lab.client.post("/upload").body("one").unpaid().await);
    assert_eq!(challenge.digest, None);
    // Not read before the challenge: a body that never ends does not hold the 402 up.
    assert_eq!(post(&lab, "/upload", &[b"x"], End::Stalls, None).await.status(), 402);
    let response =
        post(&lab, "/upload", &[b"some", b"thing"], End::Ends, Some(&credential(&challenge, "tx1"))).await;
    assert_eq!(text(response).await, "9");
}

#[tokio::test(start_paused = true)]
async fn a_challenge_with_a_digest_is_not_paid_by_a_request_without_a_body() {
    let lab = Lab::new();
    let with = credential(&first(&lab.client.post("/raw").body("x").unpaid().await), "tx1");
    lab.client.post("/raw").presenting(&with).await.assert_problem("invalid-challenge");
    let without = credential(&first(&lab.client.post("/raw").unpaid().await), "tx2");
    lab.client.post("/raw").body("x").presenting(&without).await.assert_problem("invalid-challenge");
    assert_eq!(lab.network.payments(), 0);
}

/// A request for `/raw` from one client, with these bytes of its body and no end.
fn stalls(lab: &Lab, host: u8, bytes: usize) -> tokio::task::JoinHandle<u16> {
    let mut request = Request::post("/raw").body(stalling(vec![b'x'; bytes])).unwrap();
    let peer = std::net::SocketAddr::from(([192, 0, 2, host], 4711));
    request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    let app = lab.app();
    tokio::spawn(async move { app.oneshot(request).await.unwrap().status().as_u16() })
}

#[tokio::test(start_paused = true)]
async fn bodies_that_nobody_has_paid_for_share_one_budget() {
    let lab = Lab::on(crate::common::Network::new("tempo"), |b| b.unpaid_body_budget(4_000));
    let paid = credential(&first(&lab.client.post("/raw").body("x").unpaid().await), "tx1");
    let slow = [stalls(&lab, 1, 600), stalls(&lab, 1, 400), stalls(&lab, 2, 1_000)];
    settle_down().await;
    assert_eq!(stalls(&lab, 1, 1).await.unwrap(), 429, "one client has a quarter");
    let third = stalls(&lab, 3, 1_000);
    settle_down().await;
    assert_eq!(stalls(&lab, 4, 1).await.unwrap(), 503, "strangers leave a quarter");
    let response = lab.client.post("/raw").body("x").presenting(&paid).await;
    assert_eq!(response.status(), 200, "for those who pay");
    assert!(slow.iter().all(|request| !request.is_finished()));
    // Whoever hangs up makes room at once, and the deadline makes it for the others.
    third.abort();
    settle_down().await;
    let fourth = stalls(&lab, 4, 1_000);
    settle_down().await;
    assert!(!fourth.is_finished());
    for request in slow {
        assert_eq!(request.await.unwrap(), 408);
    }
    assert_eq!(lab.client.post("/raw").body(vec![b'x'; 1_000]).unpaid().await.status(), 402);
    assert_eq!(lab.client.post("/raw").body(vec![b'x'; 1_001]).unpaid().await.status(), 413);
}

#[tokio::test(start_paused = true)]
async fn where_the_frameworks_limit_is_switched_off_the_budget_is_one() {
    let lab = Lab::on(crate::common::Network::new("tempo"), |b| b.unpaid_body_budget(4_000));
    let app = lab.app().layer(DefaultBodyLimit::disable());
    for (size, status) in [(1_000, 402), (1_001, 413), (5_000_000, 413)] {
        let request = Request::post("/raw").body(Body::from(vec![b'x'; size])).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_room_of_a_body_is_free_again_when_its_request_is_answered() {
    let lab = Lab::on(crate::common::Network::new("tempo"), |b| b.unpaid_body_budget(4_000));
    for n in 0..20 {
        let body = vec![b'x'; 1_000];
        let challenge = first(&lab.client.post("/raw").body(body.clone()).unpaid().await);
        let paid = credential(&challenge, &format!("tx{n}"));
        assert_eq!(lab.client.post("/raw").body(body).presenting(&paid).await.status(), 200);
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_in_front_decompresses_is_digested_and_limited_at_the_size_it_has_then() {
    let lab = Lab::new();
    let app = lab.app().layer(tower_http::decompression::RequestDecompressionLayer::new());
    let send = |body: Vec<u8>, encoding: Option<&str>, paid: Option<&str>| {
        let mut request = Request::post("/echo").header("content-type", "application/json");
        for (name, value) in [("content-encoding", encoding), ("authorization", paid)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        app.clone().oneshot(request.body(Body::from(body)).unwrap())
    };
    let plain = br#"{"say":"hello"}"#.to_vec();
    let unpaid = send(gzip(&plain), Some("gzip"), None).await.unwrap();
    let line = unpaid.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let challenge = mpp::protocol::Challenge::parse_all([line.as_str()]).offers.remove(0);
    assert_eq!(challenge.digest, Some(mpp::protocol::BodyDigest::of(&plain).to_string()), "of what it means");
    let paid = credential(&challenge, "tx1");
    // The compressed bytes themselves, unannounced, are another body, and no JSON.
    assert_eq!(send(gzip(&plain), None, Some(&paid)).await.unwrap().status(), 400);
    assert_eq!(send(gzip(b"{\"say\":\"other\"}"), Some("gzip"), Some(&paid)).await.unwrap().status(), 402);
    assert_eq!(text(send(plain, None, Some(&paid)).await.unwrap()).await, "hello");

    let bomb = gzip(&vec![b' '; 16 * 1024 * 1024]);
    assert!(bomb.len() < 200_000, "a hundredth of what it becomes");
    let burst = send(bomb, Some("gzip"), None).await.unwrap();
    assert_eq!(burst.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // Broken, cut off, and not what it says.
    let whole = gzip(b"{\"say\":\"hello\"}");
    for broken in [&whole[..whole.len() - 9], &b"not gzip at all"[..]] {
        assert_eq!(
            send(broken.to_vec(), Some("gzip"), None).await.unwrap().status(),
            StatusCode::BAD_REQUEST
        );
    }
    assert_eq!(lab.network.payments(), 1);
}
