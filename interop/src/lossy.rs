//! A node behind a gateway that loses broadcasts or the answers to them, always or when told (whoever broadcasts is told 502),
//! or lets another transaction overtake them.

use crate::Chain;
use crate::answer::http_client;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A gateway; it lives as long as the test's runtime.
#[derive(Debug)]
pub struct Lossy {
    /// Where it listens.
    pub url: String,
    broadcasts: Arc<AtomicUsize>,
    next: Arc<Mutex<Option<Loses>>>,
    gone: Arc<AtomicBool>,
    before: Arc<Mutex<Option<String>>>,
}

/// What is lost of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loses {
    /// It never arrives.
    Request,
    /// It arrives, and nobody hears of it.
    Answer,
    /// It arrives, and then the node is gone until its [restart](Lossy::restart).
    Everything,
}

#[derive(Clone)]
struct Gateway {
    node: String,
    http: reqwest::Client,
    broadcasts: Arc<AtomicUsize>,
    always: Option<Loses>,
    next: Arc<Mutex<Option<Loses>>>,
    gone: Arc<AtomicBool>,
    before: Arc<Mutex<Option<String>>>,
}

impl Lossy {
    /// In front of `chain`: every answer to a broadcast is lost.
    pub async fn start(chain: &Chain) -> Self {
        Self::that(Some(Loses::Answer), chain).await
    }

    /// In front of `chain`: loses what it is told to.
    pub async fn obedient(chain: &Chain) -> Self {
        Self::that(None, chain).await
    }

    async fn that(always: Option<Loses>, chain: &Chain) -> Self {
        let (broadcasts, next, before) = (Arc::<AtomicUsize>::default(), Arc::default(), Arc::default());
        let gone = Arc::<AtomicBool>::default();
        let gateway = Gateway {
            node: chain.url.clone(),
            http: http_client(),
            broadcasts: Arc::clone(&broadcasts),
            always,
            next: Arc::clone(&next),
            gone: Arc::clone(&gone),
            before: Arc::clone(&before),
        };
        let app = axum::Router::new().fallback(forward).with_state(gateway);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, broadcasts, next, before, gone }
    }

    /// The next broadcast has this transaction just before it.
    pub fn overtake(&self, raw: String) {
        *self.before.lock().expect("nobody panics while holding it") = Some(raw);
    }

    /// This is lost of the next broadcast.
    pub fn next(&self, loses: Loses) {
        *self.next.lock().expect("nobody panics while holding it") = Some(loses);
    }

    /// The node is back.
    pub fn restart(&self) {
        self.gone.store(false, Ordering::SeqCst);
    }

    /// How many transactions went through.
    pub fn broadcasts(&self) -> usize {
        self.broadcasts.load(Ordering::SeqCst)
    }
}

async fn forward(State(gateway): State<Gateway>, Json(question): Json<Value>) -> Response {
    let broadcast =
        question["method"].as_str().is_some_and(|method| method.starts_with("eth_sendRawTransaction"));
    let before = || gateway.before.lock().expect("nobody panics while holding it").take();
    if let Some(raw) = broadcast.then(before).flatten() {
        let sync =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransactionSync", "params": [raw] });
        drop(gateway.http.post(&gateway.node).json(&sync).send().await);
    }
    let told = || gateway.next.lock().expect("nobody panics while holding it").take();
    let loses = if broadcast { told().or(gateway.always) } else { None };
    if loses == Some(Loses::Request) || gateway.gone.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let answer = match gateway.http.post(&gateway.node).json(&question).send().await {
        Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
        Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
    };
    if broadcast {
        gateway.broadcasts.fetch_add(1, Ordering::SeqCst);
        gateway.gone.store(loses == Some(Loses::Everything), Ordering::SeqCst);
    }
    match loses {
        None => Json(answer).into_response(),
        Some(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
