//! JSON-RPC over HTTP: bounded in time, size and repetition, and silent about what it carries.
//!
//! alloy's own transport is not used, because it writes whole requests and the full URL to the log at TRACE level: a
//! raw transaction authorises a payment and a URL is often an API key. What is used of alloy is its types.
//!
//! Reads are repeated a few times when the node cannot be reached. A write is sent exactly once, and its error says
//! whether anything left this process.

use crate::outbound::{self, ClientError, Wire};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use std::time::Duration;

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Pauses before the second and the third attempt of a read.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// Largest answer that is read. A receipt with a thousand logs has half of it.
const MAX_ANSWER: usize = 1024 * 1024;
/// Longest part of a node's message that goes into a log.
const MAX_MESSAGE: usize = 200;

/// One node.
#[derive(Clone)]
pub(crate) struct Rpc {
    http: reqwest::Client,
    url: reqwest::Url,
    shown: String,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rpc").field(&self.shown).finish()
    }
}

/// Why a URL cannot be used for a node. Never quotes the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    /// Not an absolute http(s) URL.
    #[error("the RPC URL is not an absolute http:// or https:// URL")]
    NotAUrl,
    /// Plain http to a machine that is not this one.
    #[error("the RPC URL uses plain http to another machine ({0}); use https")]
    InTheClear(String),
    /// No client can be built.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What lies between this process and a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Anything: https, or plain http to this machine.
    Anywhere,
    /// A network the operator trusts: plain http will do.
    PrivateNetwork,
}

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: &'static str,
    params: Value,
}

impl Call {
    /// `method(params)`; `params` is a JSON array.
    pub(crate) fn new(method: &'static str, params: Value) -> Self {
        Self { method, params }
    }
}

/// Why a question has no answer. Holds no URL and no parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RpcError {
    /// No connection could be opened: nothing has left this process.
    #[error("no connection to the RPC node could be opened")]
    NotSent,
    /// It may have arrived; no answer came.
    #[error("the RPC node did not answer in time or closed the connection")]
    Lost,
    /// Something in front of the node answered.
    #[error("the RPC endpoint answered HTTP status {0}")]
    Http(u16),
    /// Not JSON-RPC, or not what was asked for.
    #[error("the RPC node's answer was not understood")]
    Garbled,
    /// Larger than [`MAX_ANSWER`].
    #[error("the RPC node's answer was larger than {MAX_ANSWER} bytes")]
    TooLarge,
    /// The node refused.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// A node's refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the RPC node refused: {message} ({code})")]
pub(crate) struct NodeError {
    pub(crate) code: i64,
    /// At most 200 characters, without control characters: the text may echo an attacker's input.
    pub(crate) message: String,
}

impl NodeError {
    /// Whether the EVM ran the call and it failed, so that the caller's input is the cause.
    pub(crate) fn is_revert(&self) -> bool {
        // EIP-1474 leaves the code open; geth, reth and anvil use 3 with revert data, -32000 without.
        self.code == 3 || self.message.to_ascii_lowercase().contains("revert")
    }

    /// Whether the node does not know the method.
    #[cfg(feature = "tempo")]
    pub(crate) fn is_unknown_method(&self) -> bool {
        // JSON-RPC 2.0 and EIP-1474 "method not supported".
        matches!(self.code, -32601 | -32004)
    }
}

impl Rpc {
    /// A node at `url`.
    pub(crate) fn new(url: &str, reach: Reach) -> Result<Self, EndpointError> {
        let url = reqwest::Url::parse(url).map_err(|_| EndpointError::NotAUrl)?;
        let host = url.host_str().ok_or(EndpointError::NotAUrl)?;
        let wire = match url.scheme() {
            "https" => Wire::Tls,
            "http" if reach == Reach::PrivateNetwork || outbound::is_loopback(host) => Wire::Plain,
            "http" => return Err(EndpointError::InTheClear(host.to_owned())),
            _ => return Err(EndpointError::NotAUrl),
        };
        let shown = match url.port() {
            Some(port) => format!("{}://{host}:{port}", url.scheme()),
            None => format!("{}://{host}", url.scheme()),
        };
        Ok(Self { http: outbound::client(wire, TIMEOUT)?, url, shown })
    }

    /// Scheme, host and port.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Asks one question; repeated when the node cannot be reached.
    pub(crate) async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, RpcError> {
        let [answer] = self.read_all([call]).await?;
        answer.into_result()
    }

    /// Asks several questions in one round trip; repeated when the node cannot be reached. A refusal of one leaves
    /// the others answered.
    pub(crate) async fn read_all<const N: usize>(&self, calls: [Call; N]) -> Result<[Answer; N], RpcError> {
        let answers = self.read_many(&calls).await?;
        answers.try_into().map_err(|_| RpcError::Garbled)
    }

    /// As [`read_all`](Self::read_all), where only the caller knows how many there are.
    pub(crate) async fn read_many(&self, calls: &[Call]) -> Result<Vec<Answer>, RpcError> {
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.send(calls, TIMEOUT).await {
                Err(error) if error.is_passing() => error,
                done => return done,
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(error),
            }
        }
    }

    /// Hands something over, once.
    pub(crate) async fn write<T: DeserializeOwned>(
        &self,
        call: Call,
        timeout: Duration,
    ) -> Result<T, RpcError> {
        let mut answers = self.send(&[call], timeout).await?;
        answers.pop().ok_or(RpcError::Garbled)?.into_result()
    }

    async fn send(&self, calls: &[Call], timeout: Duration) -> Result<Vec<Answer>, RpcError> {
        let mut response = self
            .http
            .post(self.url.clone())
            .timeout(timeout)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body_of(calls))
            .send()
            .await
            .map_err(|e| if e.is_connect() { RpcError::NotSent } else { RpcError::Lost })?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| RpcError::Lost)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(RpcError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        match answers_in(&body, calls.len()) {
            // Many nodes send a JSON-RPC error with a 4xx or 5xx status; the error says more.
            Some(answers) => answers,
            None if !status.is_success() => Err(RpcError::Http(status.as_u16())),
            None => Err(RpcError::Garbled),
        }
    }
}

impl RpcError {
    /// Whether asking again may help.
    fn is_passing(&self) -> bool {
        match self {
            Self::NotSent | Self::Lost => true,
            Self::Http(status) => *status == 429 || *status >= 500,
            Self::Garbled | Self::TooLarge | Self::Node(_) => false,
        }
    }
}

/// The answer to one question: a value, or the node's refusal.
#[derive(Debug)]
pub(crate) struct Answer(Result<Box<RawValue>, NodeError>);

impl Answer {
    /// The value as a `T`.
    pub(crate) fn into_result<T: DeserializeOwned>(self) -> Result<T, RpcError> {
        serde_json::from_str(self.0?.get()).map_err(|_| RpcError::Garbled)
    }
}

/// JSON-RPC 2.0: one question as an object, several as an array; the id is the position.
fn body_of(calls: &[Call]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Question<'a> {
        jsonrpc: &'static str,
        id: usize,
        method: &'static str,
        params: &'a Value,
    }
    let questions: Vec<_> = calls
        .iter()
        .enumerate()
        .map(|(id, c)| Question { jsonrpc: "2.0", id, method: c.method, params: &c.params })
        .collect();
    match questions.as_slice() {
        [only] => serde_json::to_vec(only),
        many => serde_json::to_vec(many),
    }
    .expect("JSON values are JSON")
}

/// `None` when the body is not JSON-RPC at all.
fn answers_in(body: &[u8], asked: usize) -> Option<Result<Vec<Answer>, RpcError>> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(default)]
        id: Option<usize>,
        #[serde(default)]
        result: Option<Box<RawValue>>,
        #[serde(default)]
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
    }
    // Told apart by hand: an untagged enum would buffer the value and lose the raw text.
    let alone = body.trim_ascii_start().first() == Some(&b'{');
    let replies: Vec<Reply> =
        if alone { vec![serde_json::from_slice(body).ok()?] } else { serde_json::from_slice(body).ok()? };
    let mut answers: Vec<Option<Answer>> = std::iter::repeat_with(|| None).take(asked).collect();
    for reply in replies {
        let answer = match (reply.error, reply.result) {
            (Some(refusal), _) => Err(NodeError { code: refusal.code, message: shortened(&refusal.message) }),
            (None, Some(result)) => Ok(result),
            // `"result": null` is an answer ("no such receipt"); serde reads it as `None`.
            (None, None) => Ok(RawValue::NULL.to_owned()),
        };
        if alone && asked > 1 {
            // A whole batch was refused with one error.
            return Some(Err(answer.err().map_or(RpcError::Garbled, RpcError::Node)));
        }
        match reply.id.or(alone.then_some(0)).and_then(|id| answers.get_mut(id)) {
            Some(slot @ None) => *slot = Some(Answer(answer)),
            _ => return Some(Err(RpcError::Garbled)),
        }
    }
    let answers: Option<Vec<Answer>> = answers.into_iter().collect();
    Some(answers.ok_or(RpcError::Garbled))
}

fn shortened(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::fake::{FakeNode, Reply};
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn node(script: impl Fn(&str, &Value) -> Option<Reply> + Send + Sync + 'static) -> (FakeNode, Rpc) {
        let node = FakeNode::start(script).await;
        let rpc = Rpc::new(&node.url, Reach::Anywhere).unwrap();
        (node, rpc)
    }

    fn ask(method: &'static str) -> Call {
        Call::new(method, json!([]))
    }

    #[tokio::test]
    async fn a_batch_is_answered_in_any_order_and_one_refusal_leaves_the_rest() {
        let (_node, rpc) = node(|method, _| match method {
            "a" => Some(Reply::Result(json!("first"))),
            "b" => Some(Reply::Error(3, "execution reverted")),
            _ => Some(Reply::Result(Value::Null)),
        })
        .await;
        let [a, b, c] = rpc.read_all([ask("a"), ask("b"), ask("c")]).await.unwrap();
        assert_eq!(a.into_result::<String>().unwrap(), "first");
        assert!(matches!(b.into_result::<String>(), Err(RpcError::Node(e)) if e.is_revert()));
        assert_eq!(c.into_result::<Option<String>>().unwrap(), None);
    }

    #[tokio::test]
    async fn reads_are_repeated_and_writes_are_not() {
        let times = AtomicUsize::new(0);
        let (node, rpc) = node(move |method, _| match (method, times.fetch_add(1, Ordering::SeqCst)) {
            ("read", 0 | 1) => Some(Reply::Status(502)),
            ("read", _) => Some(Reply::Result(json!(1))),
            _ => Some(Reply::Status(502)),
        })
        .await;
        assert_eq!(rpc.read::<u8>(ask("read")).await, Ok(1));
        assert_eq!(rpc.write::<u8>(ask("write"), TIMEOUT).await, Err(RpcError::Http(502)));
        assert_eq!((node.asked("read"), node.asked("write")), (3, 1));
    }

    #[tokio::test]
    async fn an_error_says_whether_anything_was_sent() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let rpc = Rpc::new(&format!("http://{closed}"), Reach::Anywhere).unwrap();
        assert_eq!(rpc.write::<u8>(ask("x"), TIMEOUT).await, Err(RpcError::NotSent));
        let (_node, rpc) = node(|_, _| Some(Reply::Silence)).await;
        assert_eq!(rpc.write::<u8>(ask("x"), Duration::from_millis(50)).await, Err(RpcError::Lost));
    }

    #[test]
    fn nothing_of_an_rpc_url_but_scheme_host_and_port_is_shown() {
        let url = "https://user:s3cret@rpc.example.org:8443/v1/k3y?token=t0ken";
        let rpc = Rpc::new(url, Reach::Anywhere).unwrap();
        assert_eq!(rpc.shown(), "https://rpc.example.org:8443");
        assert_eq!(format!("{rpc:?}"), "Rpc(\"https://rpc.example.org:8443\")");
        for (url, wrong) in [
            ("http://rpc.example.org/k3y", EndpointError::InTheClear("rpc.example.org".into())),
            ("ftp://rpc.example.org", EndpointError::NotAUrl),
            ("rpc.example.org", EndpointError::NotAUrl),
            ("", EndpointError::NotAUrl),
        ] {
            assert_eq!(Rpc::new(url, Reach::Anywhere).err(), Some(wrong));
        }
        Rpc::new("http://[::1]:8545", Reach::Anywhere).unwrap();
        Rpc::new("http://tempo:8545", Reach::PrivateNetwork).unwrap();
    }

    #[test]
    fn answers_nobody_asked_for_are_not_understood() {
        fn read(body: &str) -> Result<Vec<Answer>, RpcError> {
            answers_in(body.as_bytes(), 1).unwrap_or(Err(RpcError::Garbled))
        }
        assert!(read(r#"{"jsonrpc":"2.0","id":0,"result":"0x1"}"#).is_ok());
        assert!(
            read(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#).is_ok()
        );
        for wrong in [
            "",
            "x",
            "{",
            "[]",
            r#"[{"id":1,"result":1}]"#,
            r#"[{"id":0,"result":1},{"id":0,"result":2}]"#,
            r#"{"id":7,"result":1}"#,
            r#"{"id":"0","result":1}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(shortened(&format!("a\n{}", "b".repeat(300))).len(), MAX_MESSAGE);
    }
}
