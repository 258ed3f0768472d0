//! Overload: strangers flood a server with requests that pay nothing, and payers have to get through.
//!
//! `cargo bench -p mpp-benches --bench overload` runs a real server on loopback and, in the same process, on the same cores,
//! everybody else: harder than a flood from outside. First it measures how many 402s and refusals a second the server can sustain, with
//! as many requests waiting as saturate it. Then ten times as many wait at every moment (more cannot be offered: a connection takes no
//! more than its buffers hold until the server has read), while ten payers a second come, are asked to pay, pay, and are served.
//! Printed: how many of them were served within five seconds, and what all that took in memory.

use axum::Router;
use axum::serve::ListenerExt as _;
use mpp::method::ClientMethod as _;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{Challenge, Credential};
use mpp::routing::get;
use mpp::{Amount, Mpp, Paid, Sandbox, Secret};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// Connections that saturate the server, and how many times as many flood it.
const SATURATING: usize = 32;
const TIMES: usize = 10;
/// Requests of a stranger that are under way at once, per connection.
const BATCH: usize = 16;
const PAYERS_PER_SECOND: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(5);

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn weather(_: Paid) -> &'static str {
    "sunny, 21 degrees\n"
}

fn main() {
    let seconds = if std::env::args().any(|arg| arg == "--quick") { 3 } else { 20 };
    let wallet = Wallet::generate();
    // Two threads serve; the strangers and the payers have their own, so that none of them waits in the server's queue.
    let (serving, flooding, paying) = (runtime(2), runtime(2), runtime(1));
    let address = serving.block_on(serve(&wallet));
    let forged = serving.block_on(forged(address));

    let sustained =
        flooding.block_on(flood(address, &forged, SATURATING, Duration::from_secs(seconds.min(5)))).rate();
    println!("sustained            {sustained:>10.0} answers a second, {SATURATING} connections");

    let before = resident();
    let strangers = flooding.spawn({
        let forged = forged.clone();
        async move { flood(address, &forged, SATURATING * TIMES, Duration::from_secs(seconds)).await }
    });
    let served = paying.block_on(payers(address, &wallet, Duration::from_secs(seconds)));
    let strangers = paying.block_on(strangers).expect("the flood ends by itself");
    println!(
        "flood                {:>10.0} answers a second, {} connections with {BATCH} requests each",
        strangers.rate(),
        SATURATING * TIMES
    );
    let (came, in_time) = (served.len(), served.iter().flatten().filter(|took| **took <= PATIENCE).count());
    let mut took: Vec<Duration> = served.into_iter().flatten().collect();
    took.sort_unstable();
    let at = |share: usize| {
        took.get((took.len() * share / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    println!(
        "payers               {came:>10} came, {in_time} served within {} s: {} %",
        PATIENCE.as_secs(),
        in_time * 100 / came.max(1)
    );
    println!("from asking to served{:>10.0?} median, {:.0?} for the slowest hundredth", at(50), at(99));
    println!(
        "memory               {:>10} KiB more than before the flood",
        resident().saturating_sub(before) / 1024
    );
}

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime")
}

async fn serve(wallet: &Wallet) -> SocketAddr {
    let mpp = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(Sandbox::new().account(&wallet.did(), Amount::whole(1_000_000)))
        .allow_test_money()
        .build()
        .expect("the price of this file can be paid");
    let app: Router = mpp::routing::Router::new().route("/", get(weather)).with_state(mpp).into_axum();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| at_once(stream));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    at_once(&stream);
    Ok(stream)
}

/// What is written goes out. Otherwise a batch waits 40 ms for the other side to acknowledge the one before, and what is measured is
/// that wait.
fn at_once(stream: &TcpStream) {
    // A connection that is gone already is found out when it is read.
    let _ = stream.set_nodelay(true);
}

/// A batch of a stranger's requests: every other one has a credential for a challenge that was never issued.
async fn forged(address: SocketAddr) -> Arc<Vec<u8>> {
    let mut stream = connect(address).await.expect("the server is there");
    let (_, challenge) = ask(&mut stream, "").await.expect("an answer");
    let mut challenge = challenge.expect("a challenge");
    challenge.id = "A".repeat(challenge.id.len());
    let credential =
        Credential { challenge, source: None, payload: serde_json::Map::new() }.to_header_value();
    let pair = request("") + &request(&format!("authorization: {credential}\r\n"));
    Arc::new(pair.repeat(BATCH / 2).into_bytes())
}

/// What a flood came to.
struct Flood {
    answers: u64,
    lasted: Duration,
}

impl Flood {
    fn rate(&self) -> f64 {
        self.answers as f64 / self.lasted.as_secs_f64()
    }
}

async fn flood(address: SocketAddr, batch: &Arc<Vec<u8>>, connections: usize, time: Duration) -> Flood {
    let (answers, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let started = Instant::now();
    for _ in 0..connections {
        let (batch, answers, over) = (batch.clone(), answers.clone(), over.clone());
        tokio::spawn(async move {
            let mut stream = connect(address).await?;
            let mut heard = vec![0; 64 * 1024];
            while !over.load(Ordering::Relaxed) {
                stream.write_all(&batch).await?;
                let mut missing = BATCH;
                while missing > 0 {
                    let length = stream.read(&mut heard).await?;
                    if length == 0 {
                        return Ok(());
                    }
                    let ended = bodies(&heard[..length]).min(missing);
                    answers.fetch_add(ended as u64, Ordering::Relaxed);
                    missing -= ended;
                }
            }
            std::io::Result::Ok(())
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    Flood { answers: answers.load(Ordering::Relaxed), lasted: started.elapsed() }
}

/// Ends of answers: nothing but the body of a problem has this brace, whatever the pieces it arrives in.
fn bodies(heard: &[u8]) -> usize {
    heard.iter().filter(|byte| **byte == b'}').count()
}

/// How long each of them took from the first request to the response; `None` for who was not served at all.
async fn payers(address: SocketAddr, wallet: &Wallet, time: Duration) -> Vec<Option<Duration>> {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / PAYERS_PER_SECOND);
    let started = Instant::now();
    let mut coming = Vec::new();
    while started.elapsed() < time {
        clock.tick().await;
        let wallet = wallet.clone();
        let came = Instant::now();
        let paid = async move { buy(address, &wallet).await.map(|()| came.elapsed()) };
        coming.push(tokio::spawn(tokio::time::timeout(PATIENCE * 2, paid)));
    }
    let mut served = Vec::new();
    for payer in coming {
        served.push(payer.await.ok().and_then(Result::ok).flatten());
    }
    served
}

/// As a client would: a new connection, the price, the payment.
async fn buy(address: SocketAddr, wallet: &Wallet) -> Option<()> {
    let mut stream = connect(address).await.ok()?;
    let (402, Some(challenge)) = ask(&mut stream, "").await? else { return None };
    let proof = wallet.pay(&challenge).await.ok()?;
    let credential = Credential { challenge, source: proof.source, payload: proof.payload };
    let header = format!("authorization: {}\r\n", credential.to_header_value());
    (ask(&mut stream, &header).await?.0 == 200).then_some(())
}

fn request(header: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: api.example.com\r\n{header}\r\n")
}

/// One request and its answer: the status, and the challenge if there is one.
async fn ask(stream: &mut TcpStream, header: &str) -> Option<(u16, Option<Challenge>)> {
    stream.write_all(request(header).as_bytes()).await.ok()?;
    let mut heard = Vec::new();
    loop {
        if stream.read_buf(&mut heard).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&heard);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length: usize = field("content-length: ")?.parse().ok()?;
        if body.len() < length {
            continue;
        }
        let challenge = field("www-authenticate: ").map(|line| Challenge::parse_all([line]).offers.remove(0));
        return Some((head.get(9..12)?.parse().ok()?, challenge));
    }
}

/// Bytes of this process in memory; 0 where the system does not say.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
