//! The line between a process that can be stopped (`mpp::testing::Process`) and a network that is asked over HTTP: every
//! request is one operation of the process, by the name of what it asks.

use crate::answer::http_client;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mpp::testing::Process;
use serde_json::Value;

/// Stands between the methods of one batch in the name of its operation.
pub const BESIDE: &str = " + ";

/// A line; it lives as long as its process.
#[derive(Debug)]
pub struct Line {
    /// What the process takes for the network.
    pub url: String,
}

/// What the lines of one test ask the network with.
#[derive(Debug, Clone)]
pub struct Http(reqwest::Client);

impl Default for Http {
    fn default() -> Self {
        Self(http_client())
    }
}

#[derive(Clone)]
struct Ends {
    process: Process,
    network: String,
    door: String,
    http: reqwest::Client,
}

impl Line {
    /// From `process` to the node at `url`.
    pub async fn to_node(process: &Process, url: &str, http: &Http) -> Self {
        // A port that was free may be one that somebody still asks, of a line that is gone.
        Self::open(format!("/{:016x}", rand::random::<u64>()), process, url, http).await
    }

    /// From `process` to the API at `url`, whose address has no path; all it has is under `/v1`.
    pub async fn to_api(process: &Process, url: &str, http: &Http) -> Self {
        Self::open(String::new(), process, url, http).await
    }

    async fn open(door: String, process: &Process, url: &str, http: &Http) -> Self {
        let (process, network) = (process.clone(), url.trim_end_matches('/').to_owned());
        let ends = Ends { process: process.clone(), network, door: door.clone(), http: http.0.clone() };
        let app = axum::Router::new().fallback(forward).with_state(ends);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}{door}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app) => drop(served),
                () = process.death() => {}
            }
        });
        Self { url }
    }
}

async fn forward(State(ends): State<Ends>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let path = target.strip_prefix(&ends.door);
    let Some(path) = path.filter(|path| !ends.door.is_empty() || path.starts_with("/v1/")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let name = match serde_json::from_slice::<Value>(&body) {
        Ok(questions) => rpc_name(&questions),
        Err(_) => format!("{} {}", head.method, path_name(path)),
    };
    let target = format!("{}{path}", ends.network);
    let call = async {
        let mut asked = ends.http.request(head.method, target).body(body);
        for (name, value) in head.headers.iter().filter(|(name, _)| *name != "host") {
            asked = asked.header(name, value);
        }
        let answer = asked.send().await.ok()?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Some((status, headers, answer.bytes().await.ok()?))
    };
    match ends.process.call(&name, call).await {
        Ok(Some((status, headers, bytes))) => answer(status, &headers, bytes),
        Ok(None) | Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

fn answer(status: StatusCode, headers: &axum::http::HeaderMap, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let kept = headers.iter().filter(|(name, _)| *name != "transfer-encoding" && *name != "content-length");
    response.headers_mut().extend(kept.map(|(name, value)| (name.clone(), value.clone())));
    response
}

/// The methods of a JSON-RPC call or batch, each as often as it is called: whoever counts calls reads them from here.
fn rpc_name(questions: &Value) -> String {
    let method = |question: &Value| question["method"].as_str().unwrap_or("?").to_owned();
    match questions {
        Value::Array(batch) => batch.iter().map(method).collect::<Vec<_>>().join(BESIDE),
        one => method(one),
    }
}

/// A path without the ids in it: `/v1/payment_intents/pi_123/capture` is `/v1/payment_intents/…/capture`.
fn path_name(path: &str) -> String {
    let is_id = |part: &str| part.split_once('_').is_some_and(|(kind, _)| kind.len() <= 4);
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<_> = path.split('/').map(|part| if is_id(part) { "…" } else { part }).collect();
    parts.join("/")
}

const MAX_BODY: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_batch_is_named_by_all_of_its_calls_and_none_of_them_hides_another() {
        let call = |method: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
        assert_eq!(rpc_name(&call("eth_call")), "eth_call");
        let batch = json!([call("eth_call"), call("eth_call"), call("eth_chainId")]);
        assert_eq!(rpc_name(&batch), "eth_call + eth_call + eth_chainId");
    }
}
