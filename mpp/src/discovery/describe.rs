//! Progressive discovery: a service in three levels, so that a program reads no more than it needs.
//!
//! [`describe`] is the overview, a line per priced operation; [`describe_item`] one operation with its offers, parameters
//! and errors; [`contract`] all there is to know about it, schemas included. Each reads an OpenAPI document with
//! `x-payment-info`, ours or anybody's, and can be had as JSON or as text within a budget of tokens. A published router
//! serves them at `/describe` and `/describe/{operation}`.
//!
//! As all documents they are advice; the 402 decides (draft-payment-discovery-00 section 4).

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// Characters that make a token, about, in English and in JSON.
const TOKEN: usize = 4;
/// Names are compared with an unknown one in services of at most so many operations.
const COMPARED: usize = 1_000;
/// Longer names are nobody's typing error.
const LONGEST_NAME: usize = 64;
/// How many of the nearest names are told.
const NEAREST: usize = 3;

/// One level of a service's description.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, discovery::{self, Info}, routing::{Router, get}, testing};
/// /// Current weather.
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(_: Paid) -> &'static str { "sunny" }
///
/// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
/// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1"));
/// let overview = discovery::describe(documents.openapi());
/// assert_eq!(overview.json()["operations"][0]["name"], "weather");
/// assert!(overview.text(100).contains("weather: GET /weather, 0.05 usdc by tempo. Current weather."));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    json: Value,
    /// What every reader should see.
    head: Vec<String>,
    /// The rest, most useful first.
    lines: Vec<String>,
}

impl Description {
    pub(super) fn new(json: Value, head: Vec<String>, lines: Vec<String>) -> Self {
        Self { json, head, lines }
    }

    /// Without the value, for who keeps it to be read as text.
    pub(super) fn text_alone(self) -> Self {
        Self { json: Value::Null, ..self }
    }

    /// As a value: `level` is `overview`, `item` or `contract`.
    ///
    /// ```
    /// let nothing = mpp::discovery::describe(&serde_json::json!({ "info": { "title": "Nothing" } }));
    /// assert_eq!(nothing.json()["level"], "overview");
    /// assert_eq!(nothing.json()["service"]["title"], "Nothing");
    /// ```
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// As text of at most about `tokens` tokens (four characters each). What does not fit is counted, not cut in the
    /// middle of a line. The first line is always there.
    ///
    /// ```
    /// let document = serde_json::json!({ "info": { "title": "Nothing", "version": "1" } });
    /// assert_eq!(mpp::discovery::describe(&document).text(0), "Nothing 1\n");
    /// ```
    pub fn text(&self, tokens: usize) -> String {
        let budget = tokens.saturating_mul(TOKEN);
        let mut out = String::new();
        let mut used = 0;
        let all = self.head.iter().chain(&self.lines);
        for (at, line) in all.enumerate() {
            let left = self.head.len() + self.lines.len() - at;
            // Room for the line that says how many are missing.
            let reserve = if left > 1 { 32 } else { 0 };
            let length = line.chars().count() + 1;
            if at > 0 && used + length + reserve > budget {
                if used + reserve <= budget {
                    out.push_str(&format!("… {left} more lines\n"));
                }
                break;
            }
            out.push_str(line);
            out.push('\n');
            used += length;
        }
        out
    }
}

/// There is nothing of that name.
///
/// ```
/// # use serde_json::json;
/// let document = json!({ "paths": { "/weather": { "get": { "operationId": "weather", "x-payment-info": { "offers": [] } } } } });
/// let unknown = mpp::discovery::describe_item(&document, "wether").unwrap_err();
/// assert_eq!(unknown.nearest(), ["weather"]);
/// assert_eq!(unknown.to_string(), "there is no operation `wether`; did you mean `weather`?");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownItem {
    what: &'static str,
    name: String,
    nearest: Vec<String>,
}

impl UnknownItem {
    pub(super) fn new(what: &'static str, name: &str, nearest: Vec<String>) -> Self {
        Self { what, name: name.to_owned(), nearest }
    }

    /// Names that look like it, the nearest first; at most three.
    ///
    /// ```
    /// let unknown = mpp::discovery::describe_item(&serde_json::json!({}), "weather").unwrap_err();
    /// assert!(unknown.nearest().is_empty());
    /// ```
    pub fn nearest(&self) -> &[String] {
        &self.nearest
    }
}

impl fmt::Display for UnknownItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.name.chars().take(LONGEST_NAME).collect();
        write!(f, "there is no {} `{name}`", self.what)?;
        let quoted: Vec<_> = self.nearest.iter().map(|n| format!("`{n}`")).collect();
        if quoted.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", quoted.join(" or ")) }
    }
}

impl std::error::Error for UnknownItem {}

/// The overview: the service, and a line per priced operation.
///
/// ```
/// let document = serde_json::json!({
///     "info": { "title": "Weather", "version": "1" },
///     "paths": { "/weather": { "get": {
///         "operationId": "weather",
///         "x-payment-info": { "offers": [{ "intent": "charge", "method": "tempo", "amount": null }] },
///     } } },
/// });
/// let overview = mpp::discovery::describe(&document);
/// assert_eq!(overview.json()["operations"][0]["call"], "GET /weather");
/// ```
pub fn describe(openapi: &Value) -> Description {
    let info = &openapi["info"];
    let mut head = vec![format!("{} {}", text(info, "title"), text(info, "version")).trim().to_owned()];
    head.extend(info["description"].as_str().map(one_line));
    let operations: Vec<_> = operations(openapi).collect();
    let lines = operations.iter().map(|o| {
        let summary = o.value["summary"].as_str().map(|s| format!(" {}", one_line(s))).unwrap_or_default();
        format!("{}: {}, {}.{summary}", o.name, o.call(), o.price())
    });
    let lines = lines.collect();
    let listed = operations.iter().map(
        |o| json!({ "name": o.name, "call": o.call(), "summary": o.value["summary"], "price": o.price() }),
    );
    let json = json!({
        "level": "overview",
        "service": { "title": info["title"], "version": info["version"], "description": info["description"] },
        "operations": listed.collect::<Vec<_>>(),
    });
    Description { json, head, lines }
}

/// One operation, by its `operationId` or as `GET /path`: offers, parameters, body and errors.
///
/// # Errors
/// [`UnknownItem`], with the nearest names.
///
/// ```
/// # use serde_json::json;
/// let document = json!({ "paths": { "/weather": { "get": {
///     "operationId": "weather",
///     "parameters": [{ "name": "city", "in": "query", "schema": { "type": "string" } }],
///     "x-payment-info": { "intent": "charge", "method": "tempo", "amount": "5", "currency": "usd" },
/// } } } });
/// let item = mpp::discovery::describe_item(&document, "GET /weather").unwrap();
/// assert_eq!(item.json()["parameters"][0]["type"], "string");
/// assert_eq!(item.json()["offers"][0]["amount"], "5");
/// ```
pub fn describe_item(openapi: &Value, name: &str) -> Result<Description, UnknownItem> {
    let operation = find(openapi, name)?;
    let (members, head, lines) = item(&operation, openapi);
    Ok(Description { json: level("item", members), head, lines })
}

/// All there is to know of one operation: what [`describe_item`] says, its texts, and every schema it refers to.
///
/// # Errors
/// [`UnknownItem`], with the nearest names.
///
/// ```
/// # use serde_json::json;
/// let document = json!({
///     "paths": { "/print": { "post": {
///         "operationId": "print",
///         "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } },
///         "x-payment-info": { "offers": [{ "intent": "charge", "method": "tempo", "amount": "5" }] },
///     } } },
///     "components": { "schemas": { "Order": { "type": "object" }, "Other": {} } },
/// });
/// let contract = mpp::discovery::contract(&document, "print").unwrap();
/// assert_eq!(contract.json()["schemas"], json!({ "Order": { "type": "object" } }));
/// ```
pub fn contract(openapi: &Value, name: &str) -> Result<Description, UnknownItem> {
    let operation = find(openapi, name)?;
    let (mut members, head, mut lines) = item(&operation, openapi);
    if let Some(description) = operation.value["description"].as_str() {
        lines.splice(0..0, description.lines().map(str::to_owned));
        members.insert("description".to_owned(), description.into());
    }
    let schemas = schemas(operation.value, openapi);
    for (name, schema) in &schemas {
        lines.push(format!("schema {name}: {schema}"));
    }
    members.insert("url".to_owned(), openapi["servers"][0]["url"].clone());
    members.insert("requestBody".to_owned(), operation.value["requestBody"].clone());
    members.insert("responses".to_owned(), operation.value["responses"].clone());
    members.insert("security".to_owned(), operation.value["security"].clone());
    members.insert("schemas".to_owned(), Value::Object(schemas));
    Ok(Description { json: level("contract", members), head, lines })
}

/// A priced operation of a document.
struct Priced<'d> {
    name: String,
    verb: String,
    path: &'d str,
    value: &'d Value,
}

impl Priced<'_> {
    fn call(&self) -> String {
        format!("{} {}", self.verb, self.path)
    }

    /// The offers; the shorthand is one offer (DISC-04).
    fn offers(&self) -> Vec<&Value> {
        let info = &self.value["x-payment-info"];
        match info["offers"].as_array() {
            Some(offers) => offers.iter().collect(),
            None => vec![info],
        }
    }

    fn price(&self) -> String {
        let offers = self.offers();
        let ways: Vec<_> = offers.iter().map(|o| format!("{} by {}", price(o), text(o, "method"))).collect();
        if ways.is_empty() { "no offer".to_owned() } else { ways.join(" or ") }
    }
}

/// What people call it where there is a description, else base units.
fn price(offer: &Value) -> String {
    match (offer["description"].as_str(), offer["amount"].as_str()) {
        (Some(description), _) => one_line(description),
        (None, Some(amount)) => format!("{amount} base units of {}", text(offer, "currency")),
        (None, None) => "an amount that depends on the request".to_owned(),
    }
}

fn operations(openapi: &Value) -> impl Iterator<Item = Priced<'_>> {
    let paths = openapi["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().filter(|(_, value)| value["x-payment-info"].is_object()).map(
            move |(verb, value)| {
                let verb = verb.to_ascii_uppercase();
                let name =
                    value["operationId"].as_str().map_or_else(|| format!("{verb} {path}"), str::to_owned);
                Priced { name, verb, path, value }
            },
        )
    })
}

fn find<'d>(openapi: &'d Value, name: &str) -> Result<Priced<'d>, UnknownItem> {
    let wanted = |o: &Priced<'_>| o.name == name || o.path == name || o.call() == name;
    operations(openapi).find(wanted).ok_or_else(|| {
        let names: Vec<String> = operations(openapi).map(|o| o.name).take(COMPARED + 1).collect();
        UnknownItem::new("operation", name, nearest(name, names))
    })
}

fn item(operation: &Priced<'_>, openapi: &Value) -> (Map<String, Value>, Vec<String>, Vec<String>) {
    let value = operation.value;
    let mut head = vec![format!("{}: {}", operation.name, operation.call())];
    head.extend(value["summary"].as_str().map(one_line));
    let mut lines = Vec::new();
    for offer in operation.offers() {
        lines.push(format!("price: {} by {}", price(offer), text(offer, "method")));
    }
    let parameters: Vec<Value> =
        value["parameters"].as_array().into_iter().flatten().map(parameter).collect();
    for p in &parameters {
        let need = if p["required"] == Value::Bool(true) { "required" } else { "optional" };
        let example =
            if p["example"].is_null() { String::new() } else { format!(", for example {}", p["example"]) };
        lines.push(format!(
            "{} parameter {}: {}, {need}{example}",
            text(p, "in"),
            text(p, "name"),
            text(p, "type")
        ));
    }
    let media = |content: &Value| -> Vec<String> {
        content.as_object().into_iter().flatten().map(|(media, _)| media.clone()).collect()
    };
    let body = media(&value["requestBody"]["content"]);
    if !body.is_empty() {
        lines.push(format!("body: {}", body.join(" or ")));
    }
    let result = media(&value["responses"]["200"]["content"]);
    if !result.is_empty() {
        lines.push(format!("result: {}", result.join(" or ")));
    }
    let mut errors = Vec::new();
    for (status, response) in value["responses"].as_object().into_iter().flatten() {
        if status.starts_with(['2', '3']) {
            continue;
        }
        let own = response["description"].as_str();
        let referred = response["$ref"].as_str().and_then(|r| openapi.pointer(r.strip_prefix('#')?));
        let description = own.or_else(|| referred?["description"].as_str()).unwrap_or_default();
        lines.push(format!("{status}: {}", one_line(description)));
        errors.push(json!({ "status": status, "description": description }));
    }
    let members = json!({
        "name": operation.name, "call": operation.call(), "summary": value["summary"],
        "offers": operation.offers(), "parameters": parameters, "body": body, "result": result, "errors": errors,
    });
    let Value::Object(members) = members else { return (Map::new(), head, lines) };
    (members, head, lines)
}

fn parameter(value: &Value) -> Value {
    let kind = match &value["schema"]["type"] {
        Value::String(kind) => kind.as_str(),
        _ => "any",
    };
    let example = [&value["example"], &value["schema"]["example"], &value["schema"]["default"]];
    let example = example.into_iter().find(|e| !e.is_null()).cloned().unwrap_or_default();
    json!({
        "name": value["name"], "in": value["in"], "required": value["required"] == Value::Bool(true), "type": kind,
        "description": value["description"], "example": example,
    })
}

fn level(name: &str, mut members: Map<String, Value>) -> Value {
    members.insert("level".to_owned(), name.into());
    Value::Object(members)
}

/// Every schema `value` refers to, and those refer to.
fn schemas(value: &Value, openapi: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    let mut wanted = BTreeSet::new();
    super::openapi::references(value, &mut wanted);
    while let Some(name) = wanted.pop_first() {
        let schema = &openapi["components"]["schemas"][&name];
        if found.contains_key(&name) || schema.is_null() {
            continue;
        }
        super::openapi::references(schema, &mut wanted);
        found.insert(name, schema.clone());
    }
    found
}

/// The names nearest to an unknown one, if they are near at all.
pub(super) fn nearest(name: &str, names: Vec<String>) -> Vec<String> {
    if name.chars().count() > LONGEST_NAME || names.len() > COMPARED {
        return Vec::new();
    }
    let asked = name.to_lowercase();
    let length = asked.chars().count();
    let mut near: Vec<(usize, String)> = names
        .into_iter()
        .filter_map(|known| {
            let letters = known.chars().count();
            let nearest = letters.div_ceil(3);
            // Anybody may ask for anything, so what cannot be near is not measured.
            let may_be = letters <= LONGEST_NAME && letters.abs_diff(length) <= nearest;
            let distance = may_be.then(|| distance(&asked, &known.to_lowercase()))?;
            (distance <= nearest).then_some((distance, known))
        })
        .collect();
    near.sort();
    near.into_iter().take(NEAREST).map(|(_, known)| known).collect()
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("ü", "u")), (3, 3, 1));
    }

    #[test]
    fn a_budget_is_kept_and_what_is_missing_is_counted() {
        let lines: Vec<String> = (0..100).map(|n| format!("line number {n}")).collect();
        let description = Description { json: Value::Null, head: vec!["title".to_owned()], lines };
        for tokens in [0, 1, 10, 20, 50, 100, 1_000] {
            let text = description.text(tokens);
            assert!(text.starts_with("title\n"));
            assert!(text.chars().count() <= (tokens * TOKEN).max("title\n".len()), "{tokens}: {text}");
            let shown = text.lines().filter(|l| l.starts_with("line number")).count();
            let missing =
                text.lines().find_map(|l| l.strip_prefix("… ")?.strip_suffix(" more lines")?.parse().ok());
            assert!(tokens < 15 || shown + missing.unwrap_or(0) == 100, "{tokens}: {text}");
        }
    }
}
