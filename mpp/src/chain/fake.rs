//! A node for unit tests: answers what it is told, forgets to answer when told, and refuses every method nobody
//! scripted. Real chains are in `interop/`; this one exists for what they never do on demand.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// `result`.
    Result(Value),
    /// `error`.
    Error(i64, &'static str),
    /// An HTTP status instead of an answer.
    Status(u16),
    /// The request arrives, nothing ever comes back.
    Silence,
}

pub(crate) type Script = dyn Fn(&str, &Value) -> Option<Reply> + Send + Sync;

/// A running node.
pub(crate) struct FakeNode {
    /// Where it listens.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    rounds: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Shared {
    nodes: Arc<[Box<Script>]>,
    /// Which of them answers the n-th request.
    choose: Arc<dyn Fn(usize) -> usize + Send + Sync>,
    asked: Arc<Mutex<Vec<String>>>,
    rounds: Arc<AtomicUsize>,
}

impl FakeNode {
    /// Starts a node on a free port; `script` gets method and parameters.
    pub(crate) async fn start(
        script: impl Fn(&str, &Value) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::balancing([Box::new(script) as _], |_| 0).await
    }

    /// Starts nodes behind one address: `choose` says which of them answers the n-th request, and all that is in it.
    pub(crate) async fn balancing<const N: usize>(
        nodes: [Box<Script>; N],
        choose: impl Fn(usize) -> usize + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let rounds = Arc::<AtomicUsize>::default();
        let nodes: Arc<[Box<Script>]> = nodes.into_iter().collect();
        let choose = Arc::new(choose);
        let shared = Shared { nodes, choose, asked: Arc::clone(&asked), rounds: Arc::clone(&rounds) };
        let app = axum::Router::new().fallback(answer).with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, asked, rounds }
    }

    /// How many HTTP requests came, whatever was in them.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::SeqCst)
    }

    /// How often `method` was asked.
    pub(crate) fn asked(&self, method: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|m| *m == method).count()
    }
}

async fn answer(State(node): State<Shared>, Json(body): Json<Value>) -> Response {
    let round = node.rounds.fetch_add(1, Ordering::SeqCst);
    let script = &node.nodes[(node.choose)(round)];
    let one = |question: &Value| {
        let method = question["method"].as_str().unwrap_or_default();
        node.asked.lock().unwrap().push(method.to_owned());
        let reply = script(method, &question["params"]).unwrap_or(Reply::Error(-32601, "no such method"));
        (question["id"].clone(), reply)
    };
    let replies: Vec<_> = match &body {
        Value::Array(questions) => questions.iter().map(one).collect(),
        question => vec![one(question)],
    };
    let mut answers = Vec::new();
    for (id, reply) in replies {
        answers.push(match reply {
            Reply::Result(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Reply::Error(code, message) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
            }
            Reply::Status(status) => {
                return axum::http::StatusCode::from_u16(status).unwrap().into_response();
            }
            Reply::Silence => std::future::pending().await,
        });
    }
    match (body.is_array(), answers.pop()) {
        (false, Some(only)) => Json(only).into_response(),
        (_, last) => {
            // Batches may be answered in any order.
            answers.extend(last);
            answers.reverse();
            Json(Value::Array(answers)).into_response()
        }
    }
}
