//! A node behind a gateway that loses the answers to broadcasts: everything arrives, but whoever broadcasts is told 502.

use crate::Chain;
use crate::answer::http_client;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A gateway; it lives as long as the test's runtime.
#[derive(Debug)]
pub struct Lossy {
    /// Where it listens.
    pub url: String,
    broadcasts: Arc<AtomicUsize>,
    outage: Arc<AtomicUsize>,
}

/// Nothing is wrong but the answers to broadcasts.
const UP: usize = 0;
/// The next broadcast is the last thing that comes through.
const FAILING: usize = 1;
/// Nothing comes through.
const DOWN: usize = 2;

#[derive(Clone)]
struct Gateway {
    node: String,
    http: reqwest::Client,
    broadcasts: Arc<AtomicUsize>,
    outage: Arc<AtomicUsize>,
}

impl Lossy {
    /// In front of `chain`.
    pub async fn start(chain: &Chain) -> Self {
        let broadcasts = Arc::<AtomicUsize>::default();
        let outage = Arc::<AtomicUsize>::default();
        let gateway = Gateway {
            node: chain.url.clone(),
            http: http_client(),
            broadcasts: Arc::clone(&broadcasts),
            outage: Arc::clone(&outage),
        };
        let app = axum::Router::new().fallback(forward).with_state(gateway);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, broadcasts, outage }
    }

    /// The node crashes once it has taken the next transaction.
    pub fn crash_after_the_next_broadcast(&self) {
        self.outage.store(FAILING, Ordering::SeqCst);
    }

    /// It is back.
    pub fn restart(&self) {
        self.outage.store(UP, Ordering::SeqCst);
    }

    /// How many transactions went through.
    pub fn broadcasts(&self) -> usize {
        self.broadcasts.load(Ordering::SeqCst)
    }
}

async fn forward(State(gateway): State<Gateway>, Json(question): Json<Value>) -> Response {
    if gateway.outage.load(Ordering::SeqCst) == DOWN {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let answer = match gateway.http.post(&gateway.node).json(&question).send().await {
        Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
        Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
    };
    if question["method"].as_str().is_some_and(|method| method.starts_with("eth_sendRawTransaction")) {
        gateway.broadcasts.fetch_add(1, Ordering::SeqCst);
        if gateway.outage.load(Ordering::SeqCst) == FAILING {
            gateway.outage.store(DOWN, Ordering::SeqCst);
        }
        return StatusCode::BAD_GATEWAY.into_response();
    }
    Json(answer).into_response()
}
