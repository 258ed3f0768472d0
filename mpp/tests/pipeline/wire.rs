//! Bytes on a socket, as no client library would send them: smuggled, folded, doubled, too many, too large.
//!
//! What counts is what the gate sees, so this is a real server on a real port; the rest of this program calls the router.

use crate::common::credential;
use crate::lab::*;
use crate::replay::open_tap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

struct Server {
    lab: Lab,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let lab = Lab::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = lab.app().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { lab, address }
    }

    /// Everything that comes back when these bytes are sent. Hangs up when so many answers are there: earlier, and the server
    /// would stop working on the others.
    async fn say(&self, bytes: &[u8], answers: usize) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that has read enough closes: what it said before that counts.
        let _ = stream.write_all(bytes).await;
        let mut heard = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(20), async {
            while complete(&heard) < answers && stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
            }
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut heard).await;
        });
        reading.await.unwrap_or_else(|_| panic!("no answer: {}", String::from_utf8_lossy(&heard)));
        String::from_utf8_lossy(&heard).into_owned()
    }

    async fn statuses<const N: usize>(&self, bytes: &[u8], expected: [u16; N]) {
        let heard = self.say(bytes, N).await;
        assert_eq!(statuses(&heard), expected, "{heard}");
    }

    /// Refused one way or another, with nothing sold, nothing broken, and the next client served.
    async fn refuses(&self, what: &str, bytes: &[u8]) {
        let runs = self.lab.network.payments();
        let heard = self.say(bytes, 1).await;
        let statuses = statuses(&heard);
        assert!(statuses.iter().all(|status| (400..500).contains(status)), "{what}: {heard}");
        assert!(!heard.to_ascii_lowercase().contains("payment-receipt"), "{what}");
        assert_eq!(self.lab.network.payments(), runs, "{what}");
        self.statuses(b"GET /cheap HTTP/1.1\r\nHost: x\r\n\r\n", [402]).await;
    }

    /// A credential that pays for this, for once.
    async fn paid(&self, uri: &str, proof: &str) -> String {
        credential(&self.lab.challenge(uri).await, proof)
    }

    async fn paid_for_body(&self, body: &'static str, proof: &str) -> String {
        credential(&first(&self.lab.client.post("/raw").body(body).unpaid().await), proof)
    }
}

/// How many whole responses there are.
fn complete(mut heard: &[u8]) -> usize {
    let mut count = 0;
    while let Some(end) = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&heard[..end]).to_ascii_lowercase();
        let length = head.split("content-length:").nth(1).map_or(0, |rest| {
            rest.lines().next().and_then(|line| line.trim().parse::<usize>().ok()).expect("a length")
        });
        let Some(rest) = heard.get(end + 4 + length..) else { break };
        (heard, count) = (rest, count + 1);
    }
    count
}

/// Of every response in what was heard.
fn statuses(heard: &str) -> Vec<u16> {
    let lines = heard.split("HTTP/1.").skip(1);
    lines.map(|rest| rest[2..5].parse().unwrap_or_else(|_| panic!("{heard}"))).collect()
}

#[tokio::test]
async fn pipelined_requests_are_judged_one_by_one() {
    let server = Server::start().await;
    let paid = server.paid("/cheap", "tx1").await;
    let get = |more: &str| format!("GET /cheap HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let forged = get("Authorization: Payment eyJjaGFsbGVuZ2UiOnt9fQ\r\n");
    let pays = get(&format!("Authorization: {paid}\r\n"));
    let all = [get(""), forged, pays.clone(), get(""), pays].concat();
    server.statuses(all.as_bytes(), [402, 402, 200, 402, 402]).await;
    assert_eq!(server.lab.network.payments(), 1);
}

#[tokio::test]
async fn a_request_inside_the_body_of_another_is_not_one() {
    let server = Server::start().await;
    let paid = server.paid("/cheap", "tx1").await;
    let inner = format!("GET /cheap HTTP/1.1\r\nHost: x\r\nAuthorization: {paid}\r\n\r\n");
    // A body of exactly that length: one request.
    let length = inner.len();
    let outer = format!("POST /raw HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{inner}");
    server.statuses(outer.as_bytes(), [402]).await;
    let chunked = format!(
        "POST /raw HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n"
    );
    server.statuses(chunked.as_bytes(), [402]).await;
    assert_eq!(server.lab.network.payments(), 0);
}

#[tokio::test]
async fn a_body_whose_length_is_said_in_two_ways_has_one_length_or_is_refused() {
    let server = Server::start().await;
    let paid = server.paid_for_body("hello", "tx1").await;
    let head = format!("POST /raw HTTP/1.1\r\nHost: x\r\nAuthorization: {paid}\r\n");
    // `hello` is what was paid for; whatever else is made of these bytes is another body.
    for framing in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "Content-Length: 5, 6\r\n\r\nhello!",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 5 \r\nContent-Length: 4\r\n\r\nhello",
        "Content-Length: -1\r\n\r\nhello",
        "Content-Length: 99999999999999999999\r\n\r\nhello",
        "Content-Length: 6\r\n\r\nhello!",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nhello",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello!",
        "Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ] {
        server.refuses(framing, format!("{head}{framing}").as_bytes()).await;
    }
    let good = format!("{head}Transfer-Encoding: chunked\r\n\r\n2;ext=\"5\"\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
    // Cut off: the client is gone before its body is there.
    server.say(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhell").as_bytes(), 0).await;
    server.statuses(good.as_bytes(), [200]).await;
    assert_eq!(server.lab.network.payments(), 1);
}

#[tokio::test]
async fn a_payment_is_found_in_one_place_only() {
    let server = Server::start().await;
    let paid = server.paid("/cheap", "tx1").await;
    let token = paid.strip_prefix("Payment ").unwrap();
    let other = server.paid("/cheap", "tx2").await;
    let get = |head: String| format!("GET /cheap HTTP/1.1\r\nHost: x\r\n{head}\r\n");
    for (what, head) in [
        ("two lines", format!("Authorization: {paid}\r\nAuthorization: {other}\r\n")),
        ("the same twice", format!("Authorization: {paid}\r\nAuthorization: {paid}\r\n")),
        ("two in one line", format!("Authorization: {paid}, {other}\r\n")),
        ("another name's value", format!("Proxy-Authorization: {paid}\r\nCookie: authorization={paid}\r\n")),
        ("folded", format!("Authorization: Payment\r\n {token}\r\n")),
        ("folded by a tab", format!("X: y\r\n\tAuthorization: {paid}\r\n")),
        ("a space before the colon", format!("Authorization : {paid}\r\n")),
        ("a nul in the name", format!("Authorization\0: {paid}\r\n")),
        ("a nul in the value", format!("Authorization: {paid}\0\r\n")),
        ("a lone carriage return", format!("X: y\rAuthorization: {paid}\r\n")),
        ("bytes beyond ASCII", format!("Authorization: \u{ff}, Payment\u{a0}{token}\r\n")),
        ("inside quotes", format!("Authorization: Digest nonce=\"a, {paid}\"\r\n")),
        ("a comma in it", format!("Authorization: Payment {}, {}\r\n", &token[..40], &token[40..])),
    ] {
        server.refuses(what, get(head).as_bytes()).await;
    }
    let trailer = format!(
        "POST /raw HTTP/1.1\r\nHost: x\r\nTrailer: Authorization\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: {paid}\r\n\r\n"
    );
    server.refuses("a trailer", trailer.as_bytes()).await;
    let target = format!("GET /cheap?authorization={token} HTTP/1.1\r\nHost: x\r\n\r\n");
    server.refuses("the query", target.as_bytes()).await;
    // Spelt as the standard allows, beside others.
    let good = get(format!("X-Before: y\r\naUTHORIZATION:  \t{paid} \t\r\nAuthorization: Bearer ann\r\n"));
    server.statuses(good.as_bytes(), [200]).await;
}

#[tokio::test]
async fn a_payment_for_one_path_opens_no_other_spelling() {
    let server = Server::start().await;
    let paid = server.paid("/cheap", "tx1").await;
    for target in [
        "//cheap",
        "/cheap/",
        "/./cheap",
        "/dear/../cheap",
        "/%63heap",
        "/CHEAP",
        "/cheap%00",
        "/cheap;x",
        "/cheap%2f",
        "/v1/cheap",
        "/cheap%3Fa",
        "/dear",
        "/dear?/cheap",
        "http://api.example.com/dear",
        "/cheap\\",
        "*",
    ] {
        server
            .refuses(
                target,
                format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {paid}\r\n\r\n").as_bytes(),
            )
            .await;
    }
    for verb in ["POST", "get", "PUT", "CONNECT", "TRACE", "GETX", "OPTIONS"] {
        let request = format!(
            "{verb} /cheap HTTP/1.1\r\nHost: x\r\nAuthorization: {paid}\r\nX-HTTP-Method-Override: GET\r\n\r\n"
        );
        server.refuses(verb, request.as_bytes()).await;
    }
    // The same resource in absolute form is the same resource, once.
    let absolute =
        format!("GET http://elsewhere.example/cheap HTTP/1.1\r\nHost: x\r\nAuthorization: {paid}\r\n\r\n");
    server.statuses(absolute.as_bytes(), [200]).await;
    server.refuses("again", format!("GET /cheap HTTP/1.0\r\nAuthorization: {paid}\r\n\r\n").as_bytes()).await;
}

#[tokio::test]
async fn too_much_of_anything_is_refused_and_the_next_client_is_served() {
    let server = Server::start().await;
    let get = |head: &str| format!("GET /cheap HTTP/1.1\r\nHost: x\r\n{head}\r\n");
    let line = |name: &str, value: &str| format!("{name}: {value}\r\n");
    let payment = |length: usize| line("Authorization", &format!("Payment {}", "A".repeat(length)));
    let flood = (0..2_000).map(|n| line(&format!("x-{n}"), "y")).collect::<String>();
    let payments = (0..60).map(|_| payment(64)).collect::<String>();
    let accept = vec!["tempo/charge;q=0.5"; 20_000].join(", ");
    for (what, head) in [
        ("a credential of 65 KiB", payment(65 * 1024)),
        ("a credential of 4 MiB", payment(4 * 1024 * 1024)),
        ("2,000 headers", flood),
        ("60 credentials", payments),
        ("preferences of 400 KB", line("Accept-Payment", &accept)),
        ("a header that does not end", format!("X: {}", "a".repeat(2 * 1024 * 1024))),
        ("commas", line("Authorization", &",".repeat(100_000))),
        ("quotes", line("Authorization", &"\"".repeat(100_001))),
    ] {
        server.refuses(what, get(&head).as_bytes()).await;
    }
    server
        .refuses(
            "a long target",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)).as_bytes(),
        )
        .await;
    for not_http in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        server.refuses("not HTTP/1.1", not_http).await;
    }
}

#[tokio::test]
async fn a_body_that_is_not_read_before_the_payment_is_not_asked_for_either() {
    let server = Server::start().await;
    let unbound =
        "POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
    server.statuses(unbound.as_bytes(), [402]).await;
    let bound = "POST /raw HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    server.statuses(bound.as_bytes(), [100, 402]).await;
}

#[tokio::test]
async fn a_stream_that_is_kept_arrives_whole_and_is_not_ended_by_a_pause() {
    // A server asks the body whether this was all, after each of its frames: what says so too early cuts it off.
    let server = Server::start().await;
    let feed = open_tap(&server.lab);
    let paid = server.paid("/stream", "tx1").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /stream HTTP/1.0\r\nAuthorization: {paid}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let mut until = async |end: &str| {
        let reading = async {
            while !heard.ends_with(end.as_bytes()) {
                assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "cut off before {end:?}");
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), reading).await;
        waited.unwrap_or_else(|_| panic!("never heard {end:?}"));
    };
    until("\r\n\r\n").await;
    for part in ["one ", "two ", "three"] {
        feed.send(Ok(part.into())).unwrap();
        until(part).await;
    }
    drop(feed);
    assert_eq!(stream.read_buf(&mut heard).await.unwrap(), 0, "and then it is over");
}
