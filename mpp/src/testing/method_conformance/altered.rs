//! Through the pipeline: credentials with one change, with more in them, and with nonsense.

use super::stand::{Stand, Ticket};
use super::{Found, MethodBench, caught};
use crate::method::{Rejection, ServerMethod, Settlement};
use crate::protocol::{Challenge, Credential, Intent, MethodName, b64};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

pub(super) async fn echoes_are_bound<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let before = stand.since(&ticket).await;
    for (what, challenge) in changed_challenges(&ticket.challenge) {
        let credential = Credential { challenge, ..ticket.credential() };
        refused(stand, &ticket, before, &format!("with another {what}"), &credential, &mut found).await;
    }
    still_pays(stand, &ticket, &mut found).await;
    found
}

pub(super) async fn payloads_are_bound<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let before = stand.since(&ticket).await;
    let members = Value::Object(ticket.proof.payload.clone());
    for (path, what, changed) in changes(&members) {
        let top = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let Value::Object(payload) = changed else { continue };
        if stand.bench.unbound().contains(&top) {
            continue;
        }
        let credential = Credential { payload, ..ticket.credential() };
        refused(stand, &ticket, before, &format!("with `payload{path}` {what}"), &credential, &mut found)
            .await;
    }
    still_pays(stand, &ticket, &mut found).await;
    found
}

/// Refused with a 402 (400 where a slot is not one of ours at all), nothing moved, nobody served.
async fn refused<B: MethodBench>(
    stand: &Stand<'_, B>,
    ticket: &Ticket,
    before: super::stand::Since,
    what: &str,
    credential: &Credential,
    found: &mut Found,
) {
    let response = stand.present(&stand.client, &credential.to_header_value()).await;
    let since = stand.since(ticket).await;
    if !matches!(response.status(), StatusCode::PAYMENT_REQUIRED | StatusCode::BAD_REQUEST) {
        found.push(format!("a credential {what} is answered {}", response.status()));
    }
    if since != before {
        found.push(format!("a credential {what} moved money or was served: {since:?}"));
    }
}

/// After all that was refused, the honest credential is as good as it was.
async fn still_pays<B: MethodBench>(stand: &Stand<'_, B>, ticket: &Ticket, found: &mut Found) {
    let status = stand.until_answered(&stand.client, &ticket.header(), found).await;
    let payments = stand.since(ticket).await.payments;
    if (status, payments) != (StatusCode::OK, Some(1)) {
        found.push(format!("the honest credential, after those: HTTP {status}, {payments:?} payments"));
    }
}

pub(super) async fn unknown_members<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let ticket = stand.ticket().await;
    let mut credential = ticket.credential();
    credential.payload.insert("xOfTheFuture".to_owned(), json!({ "a": [1, null, "ü"] }));
    let status = stand.until_answered(&stand.client, &credential.to_header_value(), &mut found).await;
    let payments = stand.since(&ticket).await.payments;
    if (status, payments) != (StatusCode::OK, Some(1)) {
        found.push(format!("with a member nobody knows: HTTP {status}, {payments:?} payments"));
    }
    found
}

pub(super) async fn garbage_is_refused<B: MethodBench>(stand: &Stand<'_, B>) -> Found {
    let mut found = Found::new();
    let mut ticket = stand.ticket().await;
    let before = stand.since(&ticket).await;
    for payload in senseless(&ticket.proof.payload, stand.bench.unbound()) {
        let shown = Value::Object(payload.clone()).to_string().chars().take(80).collect::<String>();
        ticket.proof.payload = payload;
        let verified = caught(async { stand.method.verify(&ticket.cx(stand.now())).await }).await;
        let rejection = match verified {
            Err(panic) => {
                found.push(format!("`verify` panics on {shown}: {panic}"));
                continue;
            }
            Ok(Err(rejection)) => rejection,
            Ok(Ok(verified)) => {
                let cx = ticket.settle(&verified.plan, stand.now());
                match caught(async { stand.method.settle(&cx).await }).await {
                    Ok(Settlement::Declined(rejection)) => rejection,
                    other => {
                        found.push(format!("{shown} verifies, and `settle` ends {other:?}"));
                        continue;
                    }
                }
            }
        };
        match rejection {
            Rejection::Refused { kind, .. } if kind.status() < 500 => {}
            other => found.push(format!("{shown} is the payer's mistake, not {other:?}")),
        }
    }
    if stand.since(&ticket).await != before {
        found.push("senseless payloads moved money".to_owned());
    }
    found
}

/// Every slot of a challenge that is echoed, and every member of its request, each changed alone.
fn changed_challenges(honest: &Challenge) -> Vec<(String, Challenge)> {
    let text = |text: &str| near(text).into_iter().next().unwrap_or_else(|| "x".to_owned());
    let mut all: Vec<(String, Challenge)> = vec![
        ("id".into(), Challenge { id: text(&honest.id), ..honest.clone() }),
        ("realm".into(), Challenge { realm: "api.example.org".into(), ..honest.clone() }),
        ("method".into(), Challenge { method: MethodName::from_static("another"), ..honest.clone() }),
        ("intent".into(), Challenge { intent: Intent::SESSION, ..honest.clone() }),
        ("digest".into(), Challenge { digest: Some("sha-256=:AAAA:".into()), ..honest.clone() }),
        ("expires".into(), Challenge { expires: Some("2099-01-01T00:00:00Z".into()), ..honest.clone() }),
        ("expires (none)".into(), Challenge { expires: None, ..honest.clone() }),
        ("opaque (none)".into(), Challenge { opaque: None, ..honest.clone() }),
    ];
    if let Some(opaque) = &honest.opaque {
        all.push(("opaque".into(), Challenge { opaque: Some(text(opaque)), ..honest.clone() }));
    }
    let request = b64::decode(&honest.request).ok().and_then(|json| serde_json::from_slice(&json).ok());
    for (path, what, changed) in changes(&request.unwrap_or(Value::Null)) {
        let request = b64::encode(changed.to_string());
        all.push((format!("request ({path} {what})"), Challenge { request, ..honest.clone() }));
    }
    all
}

/// `value` with each of its leaves changed alone: where, how, and the result.
fn changes(value: &Value) -> Vec<(String, &'static str, Value)> {
    let mut all = Vec::new();
    for path in leaves(value, String::new()) {
        let leaf = value.pointer(&path).cloned().unwrap_or_default();
        let mut others: Vec<(&'static str, Value)> = match &leaf {
            Value::String(text) => near(text).into_iter().map(|text| ("changed", text.into())).collect(),
            Value::Number(number) => vec![("changed", (number.as_u64().unwrap_or(0) ^ 1).into())],
            Value::Bool(yes) => vec![("changed", (!yes).into())],
            _ => vec![("changed", "x".into())],
        };
        others.push(("of another kind", json!({ "x": 1 })));
        for (what, other) in others {
            let mut changed = value.clone();
            if let Some(place) = changed.pointer_mut(&path) {
                *place = other;
                all.push((path.clone(), what, changed));
            }
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let mut without = value.clone();
        let removed = match without.pointer_mut(parent) {
            Some(Value::Object(members)) => members.remove(&unescaped(name)).is_some(),
            Some(Value::Array(items)) => name.parse::<usize>().is_ok_and(|at| {
                let there = at < items.len();
                if there {
                    items.remove(at);
                }
                there
            }),
            _ => false,
        };
        if removed {
            all.push((path, "gone", without));
        }
    }
    all
}

/// The paths of everything that is neither an object nor an array, and of empty ones.
fn leaves(value: &Value, path: String) -> Vec<String> {
    match value {
        Value::Object(members) if !members.is_empty() => members
            .iter()
            .flat_map(|(name, member)| leaves(member, format!("{path}/{}", escaped(name))))
            .collect(),
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().flat_map(|(at, item)| leaves(item, format!("{path}/{at}"))).collect()
        }
        _ => vec![path],
    }
}

/// Texts that differ in one character of the same kind: at the start, in the middle, and near the end (the last
/// character of base64 may have bits that mean nothing).
fn near(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut places = vec![0, characters.len() / 2, characters.len().saturating_sub(2)];
    places.dedup();
    let mut all: Vec<String> = places
        .into_iter()
        .filter(|place| *place < characters.len())
        .map(|place| {
            let mut changed = characters.clone();
            changed[place] = match changed[place] {
                '9' => '0',
                'f' => 'a',
                'z' => 'y',
                'F' => 'A',
                'Z' => 'Y',
                other if other.is_ascii_alphanumeric() => char::from(other as u8 + 1),
                _ => 'x',
            };
            changed.into_iter().collect()
        })
        .collect();
    all.push(String::new());
    all
}

/// Payloads that nobody means, also under the names that the method reads.
fn senseless(honest: &Map<String, Value>, unbound: &[&str]) -> Vec<Map<String, Value>> {
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}\u{feff}\u{202e}'\"\\%00"),
        json!("ü".repeat(5_000)),
        json!("0x"),
        json!("../../etc"),
        json!([]),
        json!({}),
        deep,
    ];
    let mut all = vec![Map::new(), Map::from_iter([("type".to_owned(), json!("nonsense"))])];
    for value in &values {
        all.push(honest.keys().map(|name| (name.clone(), value.clone())).collect());
        for name in honest.keys().filter(|name| !unbound.contains(&name.as_str())) {
            let mut one = honest.clone();
            one.insert(name.clone(), value.clone());
            all.push(one);
        }
    }
    all
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}
