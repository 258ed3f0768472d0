//! What the shop answers, decoded without this project's own code.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use std::sync::Once;

/// An answer of the shop.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// `Payment-Receipt`, decoded.
    pub receipt: Option<Value>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// The body.
    pub body: String,
    /// All statuses of an exchange, where the client made more than one request.
    pub statuses: Vec<u64>,
}

impl Answer {
    /// The last part of a problem's `type`.
    pub fn problem(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["type"].as_str().unwrap_or_default().rsplit(['/', ':']).next().unwrap_or_default().to_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// `reference` of the receipt.
    pub fn reference(&self) -> String {
        let receipt = self.receipt.as_ref().unwrap_or_else(|| panic!("no receipt: {self:?}"));
        receipt["reference"].as_str().expect("a reference").to_owned()
    }

    pub(crate) fn of_fetch(said: &Value) -> Self {
        let header = |name: &str| said["headers"][name].as_str().map(ToOwned::to_owned);
        Self {
            status: said["status"].as_u64().and_then(|s| u16::try_from(s).ok()).expect("a status"),
            challenge: header("www-authenticate"),
            receipt: header("payment-receipt").map(|text| decoded(&text)),
            cache_control: header("cache-control"),
            body: said["body"].as_str().unwrap_or_default().to_owned(),
            statuses: said["statuses"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
        }
    }
}

/// A client of its own for every caller: each test has its own runtime, and a pooled connection belongs to one.
/// Making one takes longer than many a request.
pub fn http_client() -> reqwest::Client {
    static TLS: Once = Once::new();
    // reqwest wants a provider even for plain http. This is a program's place to choose one, not a library's.
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::new()
}

/// One request to the shop.
pub async fn ask(verb: &str, url: &str, authorization: Option<&str>, body: Option<&Value>) -> Answer {
    let client = http_client();
    let mut request = client.request(verb.parse().expect("a verb"), url);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.unwrap_or_else(|e| panic!("{verb} {url}: {e}"));
    read(response).await.unwrap_or_else(|e| panic!("{verb} {url}: {e}"))
}

/// As [`ask`], of a shop that may be killed meanwhile: `None` when no whole answer came.
pub async fn try_ask(
    verb: &str,
    url: &str,
    authorization: Option<&str>,
    headers: &[(&str, String)],
) -> Option<Answer> {
    try_ask_by(&http_client(), verb, url, authorization, headers).await
}

/// As [`try_ask`], by a client that is there already.
pub async fn try_ask_by(
    client: &reqwest::Client,
    verb: &str,
    url: &str,
    authorization: Option<&str>,
    headers: &[(&str, String)],
) -> Option<Answer> {
    let mut request = client.request(verb.parse().expect("a verb"), url);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    read(request.send().await.ok()?).await.ok()
}

async fn read(response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let header = |name: &str| {
        response.headers().get(name).map(|v| v.to_str().expect("header values are ASCII").to_owned())
    };
    // Each offer has a line of its own.
    let offers: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    let offers: Vec<_> = offers.iter().map(|v| v.to_str().expect("header values are ASCII")).collect();
    let challenge = (!offers.is_empty()).then(|| offers.join(", "));
    let (receipt, cache_control) = (header("payment-receipt"), header("cache-control"));
    Ok(Answer {
        status: response.status().as_u16(),
        challenge,
        receipt: receipt.map(|text| decoded(&text)),
        cache_control,
        body: response.text().await?,
        statuses: Vec::new(),
    })
}

fn decoded(text: &str) -> Value {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url without padding");
    serde_json::from_slice(&json).expect("JSON")
}
