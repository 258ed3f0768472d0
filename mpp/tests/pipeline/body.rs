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
    chunks: Vec<&'static [u8]>,
    end: End,
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
            (Some(chunk), _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(chunk))))),
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
    let body = Body::new(Stream { chunks: chunks.iter().rev().copied().collect(), end });
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
        let body = Body::new(Stream { chunks: chunks.to_vec(), end: End::Ends });
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
