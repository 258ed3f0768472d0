//! The drift test: what documents advertise is what challenges ask.
//!
//! Clients compare the two and believe the challenge (draft-payment-discovery-00 section 4); a service whose documents
//! say something else loses them. The operations are read from the document, so a new route is covered without a new test.

use super::Client;
use crate::protocol::Challenge;
use axum::http::Method;
use serde_json::{Map, Value};
use std::fmt;

/// How deep a sample of a schema goes.
const DEEPEST: usize = 16;

/// Calls every priced operation of an OpenAPI document without paying, with the document's own examples, and asserts that
/// the challenges are exactly the advertised offers: method, intent, currency and amount, in the same order. A computed
/// amount (`null`) may be any. Returns how many operations were called.
///
/// # Panics
/// With every operation whose challenges differ, and every one that could not be called: those need an example
/// ([`Info::example`](crate::discovery::Info::example), or `example = …` on the schema).
///
/// ```
/// # use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
/// async fn weather(axum::extract::Path(city): axum::extract::Path<String>, _: Paid) -> String { city }
///
/// let mpp = testing::mpp();
/// let app = Router::new().route("/weather/{city}", get(weather));
/// let documents = app.documents(&mpp, &Info::new("Weather", "1").example("city", "oslo"));
/// let client = testing::Client::new(app.with_state(mpp));
/// assert_eq!(testing::assert_advertised(&client, documents.openapi()).await, 1);
/// # }
/// ```
pub async fn assert_advertised(client: &Client, openapi: &Value) -> usize {
    let mut called = 0;
    let mut differences = Vec::new();
    for (path, item) in openapi["paths"].as_object().into_iter().flatten() {
        for (verb, operation) in item.as_object().into_iter().flatten() {
            let Some(offers) = operation["x-payment-info"]["offers"].as_array() else { continue };
            let line = format!("{} {path}", verb.to_ascii_uppercase());
            called += 1;
            let response = match sample(client, openapi, path, &verb.to_ascii_uppercase(), operation) {
                Ok(request) => request.unpaid().await,
                Err(why) => {
                    differences.push(format!("{line}: {why}"));
                    continue;
                }
            };
            if response.status() != 402 {
                differences.push(format!(
                    "{line}: {} instead of 402 for the documented example: {}",
                    response.status(),
                    response.text()
                ));
                continue;
            }
            let advertised: Vec<_> = offers.iter().map(Terms::advertised).collect();
            let issued: Vec<_> = response.challenges().offers.iter().map(Terms::issued).collect();
            if advertised != issued {
                differences.push(format!("{line}: advertised {advertised:?}, issued {issued:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "documents and challenges differ:\n{}", differences.join("\n"));
    called
}

/// What an offer asks for.
struct Terms {
    method: String,
    intent: String,
    currency: String,
    /// `None` for any amount.
    amount: Option<String>,
}

impl Terms {
    fn advertised(offer: &Value) -> Self {
        let text = |member: &str| offer[member].as_str().unwrap_or_default().to_owned();
        Self {
            method: text("method"),
            intent: text("intent"),
            currency: text("currency"),
            amount: offer["amount"].as_str().map(str::to_owned),
        }
    }

    fn issued(challenge: &Challenge) -> Self {
        let charge = challenge.charge().ok();
        Self {
            method: challenge.method.to_string(),
            intent: challenge.intent.to_string(),
            currency: charge.as_ref().map(|c| c.currency.clone()).unwrap_or_default(),
            amount: charge.map(|c| c.amount.to_string()),
        }
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        let amounts = match (&self.amount, &other.amount) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        amounts
            && (&self.method, &self.intent, &self.currency) == (&other.method, &other.intent, &other.currency)
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.amount.as_deref().unwrap_or("any amount");
        write!(f, "{}/{} {amount} {}", self.method, self.intent, self.currency)
    }
}

/// The request a document tells how to make.
fn sample(
    client: &Client,
    openapi: &Value,
    path: &str,
    verb: &str,
    operation: &Value,
) -> Result<super::Request, String> {
    let mut uri = path.to_owned();
    let mut query = Vec::new();
    let mut headers = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (parameter["name"].as_str().unwrap_or_default(), parameter["in"].as_str());
        let example =
            [&parameter["example"], &parameter["schema"]["example"], &parameter["schema"]["default"]];
        let given = example.into_iter().find(|v| !v.is_null()).map(plain);
        let required = parameter["required"] == Value::Bool(true);
        let value = match given {
            Some(value) => value,
            None if place == Some("path") => {
                return Err(format!("the path parameter `{name}` has no example"));
            }
            None if required => plain(&value_of(&parameter["schema"], openapi, 0)),
            None => continue,
        };
        match place {
            Some("path") => uri = uri.replace(&format!("{{{name}}}"), &escaped(&value)),
            Some("query") => query.push(format!("{}={}", escaped(name), escaped(&value))),
            Some("header") => headers.push((name.to_owned(), value)),
            _ => {}
        }
    }
    if !query.is_empty() {
        uri = format!("{uri}?{}", query.join("&"));
    }
    let verb: Method = verb.parse().map_err(|_| "no HTTP verb".to_owned())?;
    let mut request = client.request(verb, &uri);
    for (name, value) in headers {
        request = request.header(&name, &value);
    }
    let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
    match content.and_then(|content| content.iter().next()) {
        Some((media, content)) if media == "application/json" => Ok(request.json(&body_of(content, openapi))),
        Some((media, content)) if media == "application/x-www-form-urlencoded" => {
            let value = body_of(content, openapi);
            let fields = value.as_object().cloned().unwrap_or_default();
            let fields: Vec<_> =
                fields.iter().map(|(k, v)| format!("{}={}", escaped(k), escaped(&plain(v)))).collect();
            Ok(request.header("content-type", media).body(fields.join("&")))
        }
        Some((media, _)) => Ok(request.header("content-type", media).body("example")),
        None => Ok(request),
    }
}

fn body_of(content: &Value, openapi: &Value) -> Value {
    match &content["example"] {
        Value::Null => value_of(&content["schema"], openapi, 0),
        example => example.clone(),
    }
}

/// A value of a schema: its example, its default, or the least that has its required members.
fn value_of(schema: &Value, openapi: &Value, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|t| t.strip_prefix('#')) {
        return value_of(openapi.pointer(target).unwrap_or(&Value::Null), openapi, depth + 1);
    }
    for given in
        [&schema["const"], &schema["example"], &schema["default"], &schema["examples"][0], &schema["enum"][0]]
    {
        if !given.is_null() {
            return given.clone();
        }
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(first) = schema[several].as_array().and_then(|all| all.first()) {
            return value_of(first, openapi, depth + 1);
        }
    }
    if let Some(all) = schema["allOf"].as_array() {
        let mut merged = Map::new();
        for part in all {
            if let Value::Object(members) = value_of(part, openapi, depth + 1) {
                merged.extend(members);
            }
        }
        return Value::Object(merged);
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => Value::from("example"),
        Some("integer" | "number") => match &schema["minimum"] {
            Value::Null => Value::from(1),
            least => least.clone(),
        },
        Some("boolean") => Value::Bool(true),
        Some("array") => Value::Array(Vec::new()),
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let member =
                |name: &str| (name.to_owned(), value_of(&schema["properties"][name], openapi, depth + 1));
            Value::Object(required.map(member).collect())
        }
        _ => Value::Object(Map::new()),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Percent-encoded, all but the unreserved characters of RFC 3986.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
