//! Requests an OpenAPI document tells how to make: for tests, validators and registries.
//!
//! A sample of a priced operation is its path and query with the documented examples, and a body that is the documented
//! example or the least its schema allows. What is issued for it can be held against what is advertised
//! (draft-payment-discovery-00 section 4).

use crate::protocol::Challenge;
use axum::http::Method;
use serde_json::{Map, Value};
use std::fmt;

/// How deep a sample of a schema goes, and how many schemas it looks at: a document may be anybody's, and one that
/// refers to itself ten times over would never end.
const DEEPEST: usize = 16;
const MOST: usize = 10_000;

/// A request for a priced operation, without a payment.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, discovery::{Info, samples}, routing::{Router, get}, testing};
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(axum::extract::Path(city): axum::extract::Path<String>, _: Paid) -> String { city }
///
/// let app: Router<Mpp> = Router::new().route("/weather/{city}", get(weather));
/// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1").example("city", "são paulo"));
/// let sample = samples(documents.openapi()).remove(0).unwrap();
/// assert_eq!((sample.verb.as_str(), sample.target.as_str()), ("GET", "/weather/s%C3%A3o%20paulo"));
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sample {
    /// `GET /weather/{city}`.
    pub call: String,
    /// The verb.
    pub verb: Method,
    /// Path and query, percent-encoded.
    pub target: String,
    /// Header names and values, `content-type` among them.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    advertised: Vec<Terms>,
}

/// Why no request can be made for an operation.
///
/// ```
/// # use serde_json::json;
/// let document = json!({ "paths": { "/weather/{city}": { "get": {
///     "parameters": [{ "name": "city", "in": "path", "required": true }],
///     "x-payment-info": { "intent": "charge", "method": "tempo", "amount": "5" },
/// } } } });
/// let missing = mpp::discovery::samples(&document).remove(0).unwrap_err();
/// assert_eq!(missing.to_string(), "GET /weather/{city}: the path parameter `city` has no example");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: the path parameter `{parameter}` has no example")]
pub struct NoSample {
    /// `GET /weather/{city}`.
    pub call: String,
    /// The parameter.
    pub parameter: String,
}

/// What is advertised and what is issued differ.
///
/// ```
/// # use serde_json::json;
/// let document = json!({ "paths": { "/weather": { "get": {
///     "x-payment-info": { "intent": "charge", "method": "tempo", "amount": "5", "currency": "usd" },
/// } } } });
/// let sample = mpp::discovery::samples(&document).remove(0).unwrap();
/// let difference = sample.compare(&[]).unwrap_err();
/// assert_eq!(difference.to_string(), "advertised [tempo/charge 5 usd], issued []");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("advertised {advertised}, issued {issued}")]
pub struct Difference {
    advertised: String,
    issued: String,
}

impl Sample {
    /// Holds the challenges issued for this request against what is advertised: method, intent, currency and amount, in
    /// the same order. A computed amount (`null`) may be any, a currency that is not advertised too.
    ///
    /// # Errors
    /// A [`Difference`].
    ///
    /// ```
    /// # use serde_json::json;
    /// let document = json!({ "paths": { "/free": { "get": { "x-payment-info": { "offers": [] } } } } });
    /// let sample = mpp::discovery::samples(&document).remove(0).unwrap();
    /// assert_eq!(sample.compare(&[]), Ok(()));
    /// ```
    pub fn compare(&self, issued: &[Challenge]) -> Result<(), Difference> {
        let issued: Vec<_> = issued.iter().map(Terms::issued).collect();
        let same = self.advertised.len() == issued.len()
            && self.advertised.iter().zip(&issued).all(|(advertised, issued)| advertised.covers(issued));
        if same {
            return Ok(());
        }
        let (advertised, issued) = (format!("{:?}", self.advertised), format!("{issued:?}"));
        Err(Difference { advertised, issued })
    }
}

/// A sample of every operation of a document that has `x-payment-info`, in the order of its paths.
///
/// ```
/// # use serde_json::json;
/// let document = json!({ "paths": { "/free": { "get": {} } } });
/// assert!(mpp::discovery::samples(&document).is_empty());
/// ```
pub fn samples(openapi: &Value) -> Vec<Result<Sample, NoSample>> {
    let mut samples = Vec::new();
    for (path, item) in openapi["paths"].as_object().into_iter().flatten() {
        for (verb, operation) in item.as_object().into_iter().flatten() {
            let Ok(verb) = verb.to_ascii_uppercase().parse::<Method>() else { continue };
            if operation["x-payment-info"].is_object() {
                samples.push(sample(openapi, path, verb, operation));
            }
        }
    }
    samples
}

/// What an offer asks for.
#[derive(Clone)]
struct Terms {
    method: String,
    intent: String,
    /// `None` for any.
    currency: Option<String>,
    /// `None` for any.
    amount: Option<String>,
}

impl Terms {
    fn advertised(offer: &Value) -> Self {
        let text = |member: &str| offer[member].as_str().map(str::to_owned);
        Self {
            method: text("method").unwrap_or_default(),
            intent: text("intent").unwrap_or_default(),
            currency: text("currency"),
            amount: text("amount"),
        }
    }

    fn issued(challenge: &Challenge) -> Self {
        let charge = challenge.charge().ok();
        Self {
            method: challenge.method.to_string(),
            intent: challenge.intent.to_string(),
            currency: charge.as_ref().map(|c| c.currency.clone()),
            amount: charge.map(|c| c.amount.to_string()),
        }
    }

    fn covers(&self, issued: &Self) -> bool {
        let fits = |advertised: &Option<String>, issued: &Option<String>| {
            advertised.is_none() || advertised == issued
        };
        (&self.method, &self.intent) == (&issued.method, &issued.intent)
            && fits(&self.currency, &issued.currency)
            && fits(&self.amount, &issued.amount)
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, currency) = (self.amount.as_deref(), self.currency.as_deref());
        let (amount, currency) = (amount.unwrap_or("any amount"), currency.unwrap_or("of any currency"));
        write!(f, "{}/{} {amount} {currency}", self.method, self.intent)
    }
}

fn sample(openapi: &Value, path: &str, verb: Method, operation: &Value) -> Result<Sample, NoSample> {
    let call = format!("{verb} {path}");
    let mut target = path.to_owned();
    let mut query = Vec::new();
    let mut headers = Vec::new();
    for parameter in parameters(openapi, path, operation) {
        let (name, place) = (parameter["name"].as_str().unwrap_or_default(), parameter["in"].as_str());
        let value = match given(parameter, openapi).map(plain) {
            Some(value) => value,
            None if place == Some("path") => return Err(NoSample { call, parameter: name.to_owned() }),
            None if parameter["required"] == Value::Bool(true) => {
                plain(&value_of(&parameter["schema"], openapi))
            }
            None => continue,
        };
        match place {
            Some("path") => target = target.replace(&format!("{{{name}}}"), &escaped(&value)),
            Some("query") => query.push(format!("{}={}", escaped(name), escaped(&value))),
            Some("header") => headers.push((name.to_owned(), value)),
            _ => {}
        }
    }
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let mut body = Vec::new();
    let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
    if let Some((media, content)) = content.and_then(|content| content.iter().next()) {
        headers.push(("content-type".to_owned(), media.clone()));
        let value = body_of(content, openapi);
        body = match media.as_str() {
            "application/json" => value.to_string().into_bytes(),
            "application/x-www-form-urlencoded" => {
                let fields = value.as_object().into_iter().flatten();
                let fields: Vec<_> =
                    fields.map(|(k, v)| format!("{}={}", escaped(k), escaped(&plain(v)))).collect();
                fields.join("&").into_bytes()
            }
            _ => plain(&value).into_bytes(),
        };
    }
    let info = &operation["x-payment-info"];
    // DISC-04: the shorthand is one offer.
    let advertised = match info["offers"].as_array() {
        Some(offers) => offers.iter().map(Terms::advertised).collect(),
        None => vec![Terms::advertised(info)],
    };
    Ok(Sample { call, verb, target, headers, body, advertised })
}

/// The parameters of an operation: its own, and those of its path that it does not have itself.
fn parameters<'d>(openapi: &'d Value, path: &str, operation: &'d Value) -> Vec<&'d Value> {
    let listed = |holder: &'d Value| {
        let parameters = holder["parameters"].as_array().into_iter().flatten();
        parameters.map(|parameter| resolved(parameter, openapi)).collect::<Vec<_>>()
    };
    let mut all = listed(operation);
    for shared in listed(&openapi["paths"][path]) {
        if !all.iter().any(|own| (&own["name"], &own["in"]) == (&shared["name"], &shared["in"])) {
            all.push(shared);
        }
    }
    all
}

/// What a reference refers to. One that refers to another is no parameter and no schema that has an example.
fn resolved<'d>(value: &'d Value, openapi: &'d Value) -> &'d Value {
    match value["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
        Some(target) => openapi.pointer(target).unwrap_or(&Value::Null),
        None => value,
    }
}

/// A value that the document itself gives for a parameter.
fn given<'d>(parameter: &'d Value, openapi: &'d Value) -> Option<&'d Value> {
    let named = parameter["examples"].as_object().and_then(|examples| examples.values().next());
    let named = named.map_or(&Value::Null, |example| &resolved(example, openapi)["value"]);
    let schema = resolved(&parameter["schema"], openapi);
    let said = [&parameter["example"], named, &schema["example"], &schema["examples"][0], &schema["default"]];
    said.into_iter().chain([&schema["const"], &schema["enum"][0]]).find(|value| !value.is_null())
}

fn body_of(content: &Value, openapi: &Value) -> Value {
    match &content["example"] {
        Value::Null => value_of(&content["schema"], openapi),
        example => example.clone(),
    }
}

/// A value of a schema: its example, its default, or the least that has its required members.
fn value_of(schema: &Value, openapi: &Value) -> Value {
    Sampler { openapi, left: MOST }.value(schema, 0)
}

struct Sampler<'d> {
    openapi: &'d Value,
    left: usize,
}

impl Sampler<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > DEEPEST || self.left == 0 {
            return Value::Null;
        }
        self.left -= 1;
        if let Some(target) = schema["$ref"].as_str().and_then(|t| t.strip_prefix('#')) {
            return self.value(self.openapi.pointer(target).unwrap_or(&Value::Null), depth + 1);
        }
        for given in [
            &schema["const"],
            &schema["example"],
            &schema["default"],
            &schema["examples"][0],
            &schema["enum"][0],
        ] {
            if !given.is_null() {
                return given.clone();
            }
        }
        for several in ["oneOf", "anyOf"] {
            if let Some(first) = schema[several].as_array().and_then(|all| all.first()) {
                return self.value(first, depth + 1);
            }
        }
        if let Some(all) = schema["allOf"].as_array() {
            let mut merged = Map::new();
            for part in all {
                if let Value::Object(members) = self.value(part, depth + 1) {
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
                    |name: &str| (name.to_owned(), self.value(&schema["properties"][name], depth + 1));
                Value::Object(required.map(member).collect())
            }
            _ => Value::Object(Map::new()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_that_refers_to_itself_many_times_ends() {
        let itself = json!({ "$ref": "#/components/schemas/A" });
        let body = json!({ "content": { "application/json": { "schema": itself } } });
        for schema in [
            json!({ "allOf": vec![itself.clone(); 10] }),
            json!({ "type": "object", "required": ["a", "b", "c", "d", "e", "f"], "properties":
                { "a": itself, "b": itself, "c": itself, "d": itself, "e": itself, "f": itself } }),
        ] {
            let document = json!({
                "components": { "schemas": { "A": schema } },
                "paths": { "/x": { "post": { "x-payment-info": { "offers": [] }, "requestBody": body } } },
            });
            assert!(samples(&document).remove(0).is_ok());
        }
    }

    #[test]
    fn a_body_is_the_least_its_schema_allows_in_whatever_form() {
        for (media, schema, body) in [
            ("application/json", json!({ "type": "string" }), "\"example\""),
            ("application/x-www-form-urlencoded", json!({ "example": { "a b": "c&d" } }), "a%20b=c%26d"),
            ("text/plain", json!({ "type": "string" }), "example"),
            ("text/plain", json!({ "type": "string", "enum": ["poem"] }), "poem"),
        ] {
            let document = json!({ "paths": { "/x": { "post": {
                "x-payment-info": { "offers": [] }, "requestBody": { "content": { media: { "schema": schema } } },
            } } } });
            let sample = samples(&document).remove(0).unwrap();
            assert_eq!(String::from_utf8_lossy(&sample.body), body, "{media}");
        }
    }

    #[test]
    fn parameters_are_found_where_openapi_lets_them_stand_and_called_by_what_the_document_says() {
        let document = json!({
            "components": {
                "parameters": { "City": { "name": "city", "in": "path", "required": true, "schema": { "$ref": "#/components/schemas/City" } } },
                "schemas": { "City": { "type": "string", "enum": ["são paulo", "oslo"] } },
            },
            "paths": { "/{city}/{day}": {
                "parameters": [
                    { "$ref": "#/components/parameters/City" },
                    { "name": "day", "in": "path", "required": true, "example": "never" },
                    { "name": "unit", "in": "query", "examples": { "si": { "value": "k" } } },
                ],
                "get": {
                    "parameters": [
                        { "name": "day", "in": "path", "required": true, "schema": { "examples": ["today"] } },
                        { "name": "page", "in": "query", "schema": { "type": "integer" } },
                        { "$ref": "#/components/parameters/Nowhere" },
                    ],
                    "x-payment-info": { "offers": [] },
                },
            } },
        });
        let sample = samples(&document).remove(0).unwrap();
        assert_eq!(sample.target, "/s%C3%A3o%20paulo/today?unit=k");
    }
}
