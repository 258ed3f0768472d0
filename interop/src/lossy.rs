//! A node behind a gateway: one that loses the answers to broadcasts (everything arrives, but whoever broadcasts is told
//! 502), or one that is faster (another transaction arrives just before).

use crate::Chain;
use crate::answer::http_client;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A gateway; it lives as long as the test's runtime.
#[derive(Debug)]
pub struct Lossy {
    /// Where it listens.
    pub url: String,
    broadcasts: Arc<AtomicUsize>,
    before: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Gateway {
    node: String,
    http: reqwest::Client,
    broadcasts: Arc<AtomicUsize>,
    before: Arc<Mutex<Vec<String>>>,
    answers: Answers,
}

/// What becomes of the answer to a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Lost,
    Kept,
}

impl Lossy {
    /// In front of `chain`.
    pub async fn start(chain: &Chain) -> Self {
        Self::gateway(chain, Answers::Lost).await
    }

    /// In front of `chain`, and faster than whoever broadcasts: see [`overtake`](Self::overtake).
    pub async fn faster(chain: &Chain) -> Self {
        Self::gateway(chain, Answers::Kept).await
    }

    /// The next broadcast has this transaction just before it.
    pub fn overtake(&self, raw: String) {
        self.before.lock().expect("nobody panics while holding it").push(raw);
    }

    async fn gateway(chain: &Chain, answers: Answers) -> Self {
        let broadcasts = Arc::<AtomicUsize>::default();
        let before = Arc::<Mutex<Vec<String>>>::default();
        let gateway = Gateway {
            node: chain.url.clone(),
            http: http_client(),
            broadcasts: Arc::clone(&broadcasts),
            before: Arc::clone(&before),
            answers,
        };
        let app = axum::Router::new().fallback(forward).with_state(gateway);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, broadcasts, before }
    }

    /// How many transactions went through.
    pub fn broadcasts(&self) -> usize {
        self.broadcasts.load(Ordering::SeqCst)
    }
}

async fn forward(State(gateway): State<Gateway>, Json(question): Json<Value>) -> Response {
    let broadcast =
        question["method"].as_str().is_some_and(|method| method.starts_with("eth_sendRawTransaction"));
    let before = || gateway.before.lock().expect("nobody panics while holding it").pop();
    if let Some(raw) = broadcast.then(before).flatten() {
        let sync =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransactionSync", "params": [raw] });
        drop(gateway.http.post(&gateway.node).json(&sync).send().await);
    }
    let answer = match gateway.http.post(&gateway.node).json(&question).send().await {
        Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
        Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
    };
    if broadcast {
        gateway.broadcasts.fetch_add(1, Ordering::SeqCst);
        if gateway.answers == Answers::Lost {
            return StatusCode::BAD_GATEWAY.into_response();
        }
    }
    Json(answer).into_response()
}
