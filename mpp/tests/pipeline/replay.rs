//! `replay = "response"`, and what is kept of a stream.

use crate::common::{Fault, Network, credential};
use crate::lab::*;
use axum::body::Bytes;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use mpp::testing::Client;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tower::ServiceExt;

pub(crate) type Feed = UnboundedSender<Result<Bytes, std::io::Error>>;

pub(crate) fn open_tap(lab: &Lab) -> Feed {
    let (feed, tap) = unbounded_channel();
    *lab.bench.tap.lock().unwrap() = Some(Tap(tap));
    feed
}

fn pour(feed: &Feed, text: &'static str) {
    feed.send(Ok(Bytes::from_static(text.as_bytes()))).unwrap();
}

/// The response as it comes, for a client that may hang up on its body.
pub(crate) async fn streamed(lab: &Lab, uri: &str, paid: &str) -> axum::response::Response {
    let request =
        Request::get(uri).header(header::AUTHORIZATION, paid).body(axum::body::Body::empty()).unwrap();
    lab.app().oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_last_success_is_sent_again_until_the_grace_period_is_over() {
    let lab = Lab::new();
    let (paid, original) = lab.pay("/again", "tx1").await;
    assert_eq!(original.status(), 201);
    settle_down().await;
    lab.clock.advance(Duration::from_secs(300 + 600));
    for _ in 0..3 {
        let again = lab.client.get("/again").presenting(&paid).await;
        assert_eq!((again.status().as_u16(), again.text().as_str()), (201, "sold in run 1"));
        assert_eq!(again.receipt(), original.receipt());
        assert_eq!(again.header("set-cookie"), None);
    }
    lab.clock.advance(Duration::from_secs(1));
    lab.client.get("/again").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!((lab.network.payments(), lab.bench.runs.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn it_is_sent_to_the_same_credential_for_the_same_request_only() {
    let lab = Lab::new();
    let challenge = lab.challenge("/again").await;
    let paid = credential(&challenge, "tx1");
    assert_eq!(lab.client.get("/again").presenting(&paid).await.status(), 201);
    lab.client.get("/again?n=2").presenting(&paid).await.assert_problem("invalid-challenge");
    lab.client.post("/again").presenting(&paid).await.assert_problem("invalid-challenge");
    let thief = credential(&challenge, "tx2");
    lab.client.get("/again").presenting(&thief).await.assert_problem("invalid-challenge");
    // The same payment under another challenge is the same proof, and used.
    lab.pay("/again", "tx1").await.1.assert_problem("verification-failed");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_a_success_and_is_never_sent_again() {
    let lab = Lab::new();
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, failed) = lab.pay("/again", "tx1").await;
    assert_eq!(failed.status(), 500);
    settle_down().await;
    for _ in 0..2 {
        let again = lab.client.get("/again").presenting(&paid).await;
        assert_eq!((again.status().as_u16(), again.text().as_str()), (201, "sold in run 2"));
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_its_process_died_the_credential_alone_gets_the_one_delivery() {
    for operation in 0.. {
        let mut lab = Lab::new();
        let paid = credential(&lab.challenge("/again").await, "tx1");
        lab.store.after(operation, Fault::LosesAnswer);
        drop(lab.client.get("/again").presenting(&paid).await);
        settle_down().await;
        let unharmed = lab.store.operations.load(Ordering::SeqCst) <= operation;
        lab.restart();
        let answer = lab.until_delivered("/again", &paid).await;
        assert_eq!(answer.status(), 201, "at operation {operation}: {}", answer.text());
        assert_eq!(lab.network.payments(), 1, "at operation {operation}");
        if unharmed {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_kept_is_refused_as_any_used_credential() {
    let lab = Lab::new();
    let uri = format!("/sized/{}", 64 * 1024 + 1);
    let (paid, whole) = lab.pay(&uri, "tx1").await;
    assert_eq!(whole.text().len(), 64 * 1024 + 1);
    lab.client.get(&uri).presenting(&paid).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn a_head_counts_as_much_as_a_body() {
    // "sold in run 1" is 13 bytes; its headers are more than 20.
    for (limit, kept) in [(200, true), (20, false)] {
        let lab = Lab::on(Network::new("tempo"), |b| b.kept_response(limit));
        let (paid, response) = lab.pay("/again", "tx1").await;
        assert_eq!(response.status(), 201);
        let again = lab.client.get("/again").presenting(&paid).await;
        assert_eq!(again.status().as_u16(), if kept { 201 } else { 402 }, "limit {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_switch_of_protocols_is_delivered_and_not_kept() {
    let lab = Lab::new();
    let sold = axum::routing::any(|| async { axum::http::StatusCode::SWITCHING_PROTOCOLS });
    let price = mpp::price!(
        amount = "0.01",
        currency = "usdc",
        methods(tempo),
        replay = "response",
        name = "switched"
    );
    let client = Client::new(axum::Router::new().route("/", sold).layer(lab.mpp.layer(price)));
    let paid = credential(&first(&client.get("/").unpaid().await), "tx1");
    assert_eq!(client.get("/").presenting(&paid).await.status(), 101);
    client.get("/").presenting(&paid).await.assert_problem("invalid-challenge");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_annotated_is_answered_again_too() {
    let lab = Lab::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let upstream = {
        let asked = asked.clone();
        axum::routing::any(move || async move { format!("hit {}", asked.fetch_add(1, Ordering::SeqCst) + 1) })
    };
    let price = mpp::price!(
        amount = "0.01",
        currency = "usdc",
        methods(tempo),
        replay = "response",
        name = "answered-again"
    );
    let client = Client::new(axum::Router::new().route("/", upstream).layer(lab.mpp.layer(price)));
    let paid = credential(&first(&client.get("/").unpaid().await), "tx1");
    for _ in 0..3 {
        assert_eq!(client.get("/").presenting(&paid).await.text(), "hit 1");
    }
    assert_eq!((lab.network.payments(), asked.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_out_as_it_comes_and_is_kept_once_it_has_ended() {
    let lab = Lab::new();
    let feed = open_tap(&lab);
    pour(&feed, "one ");
    let paid = credential(&lab.challenge("/stream").await, "tx1");
    let response = streamed(&lab, "/stream", &paid).await;
    assert_eq!(response.status(), 200, "the head does not wait for the end");
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
    // Under way: delivered, and not to be had twice.
    lab.client.get("/stream").presenting(&paid).await.assert_problem("invalid-challenge");
    pour(&feed, "two ");
    pour(&feed, "three");
    drop(feed);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "two three");
    settle_down().await;
    assert_eq!(lab.client.get("/stream").presenting(&paid).await.text(), "one two three");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_after_99_percent_of_a_stream_gets_all_of_it_again() {
    let lab = Lab::new();
    let feed = open_tap(&lab);
    let paid = credential(&lab.challenge("/stream").await, "tx1");
    let mut body = streamed(&lab, "/stream", &paid).await.into_body();
    for _ in 0..99 {
        pour(&feed, "0123456789");
        assert!(body.frame().await.unwrap().is_ok());
    }
    drop(body);
    pour(&feed, "the end");
    drop(feed);
    settle_down().await;
    let again = lab.client.get("/stream").presenting(&paid).await;
    assert_eq!(again.text(), format!("{}the end", "0123456789".repeat(99)));
    assert!(again.header("payment-receipt").is_some());
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_replay_or_key_a_stream_that_was_hung_up_on_is_over_and_so_is_its_producer() {
    let lab = Lab::new();
    for (uri, rest_is_read) in [("/plain-stream", false), ("/stream", true)] {
        let feed = open_tap(&lab);
        let paid = credential(&lab.challenge(uri).await, uri);
        let body = streamed(&lab, uri, &paid).await.into_body();
        drop(body);
        settle_down().await;
        assert_eq!(feed.send(Ok(Bytes::from_static(b"more"))).is_ok(), rest_is_read, "{uri}");
        drop(feed);
        settle_down().await;
        let again = lab.client.get(uri).presenting(&paid).await;
        assert_eq!(again.status().as_u16(), if rest_is_read { 200 } else { 402 }, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_never_ends_or_grows_too_large_is_not_kept() {
    let lab = Lab::new();
    for (n, how) in ["breaks", "stalls", "grows"].into_iter().enumerate() {
        let feed = open_tap(&lab);
        let paid = credential(&lab.challenge("/stream").await, &format!("tx{n}"));
        let mut body = streamed(&lab, "/stream", &paid).await.into_body();
        pour(&feed, "a part");
        body.frame().await.unwrap().unwrap();
        match how {
            "breaks" => feed.send(Err(std::io::Error::other("the disk is gone"))).unwrap(),
            "grows" => feed.send(Ok(Bytes::from(vec![b'x'; 64 * 1024]))).unwrap(),
            _ => {}
        }
        drop(body);
        settle_down().await;
        if how == "stalls" {
            assert!(!feed.is_closed(), "the rest is waited for");
            tokio::time::sleep(Duration::from_secs(31)).await;
            settle_down().await;
        }
        assert!(feed.is_closed(), "{how}: nobody reads on");
        lab.client.get("/stream").presenting(&paid).await.assert_problem("invalid-challenge");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_kept_leaves_with_its_length_the_first_time_as_well() {
    let lab = Lab::new();
    let (paid, original) = lab.pay("/sized/100", "tx1").await;
    let again = lab.client.get("/sized/100").presenting(&paid).await;
    for response in [original, again] {
        assert_eq!(response.header("content-length"), Some("100"));
    }
    // Half of it is there at once, and how long it will be is known.
    let price = mpp::price!(
        amount = "0.01",
        currency = "usdc",
        methods(tempo),
        replay = "response",
        name = "announced"
    );
    let slow = axum::routing::any(|| async { axum::body::Body::new(Announced { parts: 2, ready: true }) });
    let client = Client::new(axum::Router::new().route("/", slow).layer(lab.mpp.layer(price)));
    let paid = credential(&first(&client.get("/").unpaid().await), "tx2");
    let original = client.get("/").presenting(&paid).await;
    assert_eq!((original.header("content-length"), original.text().as_str()), (Some("8"), "halfhalf"));
}

/// Two halves, each after a moment, whose length is known from the start.
struct Announced {
    parts: u64,
    ready: bool,
}

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if self.parts == 0 {
            return Poll::Ready(None);
        }
        self.ready = !self.ready;
        if self.ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.parts -= 1;
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"half")))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(4 * self.parts)
    }
}
