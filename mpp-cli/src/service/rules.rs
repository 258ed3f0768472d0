//! The rules of draft-payment-discovery-00 for a document, each with its requirement.

use super::report::Report;
use serde_json::Value;

/// Registries read no more of a document, and list no more categories of a service.
const CRAWLED: usize = 64 * 1024;
const CATEGORIES: usize = 5;
const PLACE: &str = "openapi.json";

/// Checks a document of that many bytes.
pub(super) fn check(document: &Value, bytes: usize, report: &mut Report) {
    let text = |value: &Value| value.as_str().is_some_and(|t| !t.is_empty());
    let version = document["openapi"].as_str().unwrap_or_default();
    report.must(PLACE, "DISC-02: is OpenAPI 3", version.starts_with("3."), || {
        format!("`openapi` is `{version}`")
    });
    let named = text(&document["info"]["title"]) && text(&document["info"]["version"]);
    report.must(PLACE, "DISC-02: has a title and a version", named, || document["info"].to_string());
    report.should(PLACE, "is no larger than registries read", bytes <= CRAWLED, || {
        format!("{bytes} bytes, and they read {CRAWLED}")
    });
    service(&document["x-service-info"], report);
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (verb, operation) in item.as_object().into_iter().flatten() {
            let declares = operation["responses"].get("402").is_some();
            if operation.get("x-payment-info").is_some() || declares {
                operations += 1;
                priced(&format!("{} {path}", verb.to_ascii_uppercase()), verb, operation, declares, report);
            }
        }
    }
    report.must(PLACE, "DISC-03: lists priced operations", operations > 0, || "it lists none".to_owned());
}

fn service(info: &Value, report: &mut Report) {
    if info.is_null() {
        return;
    }
    let categories = &info["categories"];
    if !categories.is_null() {
        let all: Option<Vec<&str>> =
            categories.as_array().map(|c| c.iter().filter_map(Value::as_str).collect());
        let count = categories.as_array().map_or(0, Vec::len);
        let strings = all.as_ref().is_some_and(|strings| strings.len() == count);
        report.must(PLACE, "DISC-06: categories are strings", strings, || categories.to_string());
        let style = |c: &&str| c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let tidy = count <= CATEGORIES && all.is_some_and(|all| all.iter().all(style));
        report.should(PLACE, "DISC-06: categories are few, lower case, with hyphens", tidy, || {
            categories.to_string()
        });
    }
    for (name, link) in info["docs"].as_object().into_iter().flatten() {
        let absolute = link.as_str().is_some_and(|link| url::Url::parse(link).is_ok());
        report.must(PLACE, "DISC-07: links are URIs", absolute, || format!("`{name}` is {link}"));
    }
}

fn priced(call: &str, verb: &str, operation: &Value, declares: bool, report: &mut Report) {
    report
        .must(call, "DISC-03: declares a 402", declares, || "there is no `402` in its responses".to_owned());
    let info = &operation["x-payment-info"];
    report.must(call, "DISC-03: has x-payment-info", info.is_object(), || info.to_string());
    let Some(members) = info.as_object() else { return };
    let offers: Vec<&Value> = match info["offers"].as_array() {
        Some(offers) => {
            report.must(call, "DISC-04: `offers` stands alone", members.len() == 1, || info.to_string());
            offers.iter().collect()
        }
        None => vec![info],
    };
    report.must(call, "DISC-04: has an offer", !offers.is_empty(), || "`offers` is empty".to_owned());
    for offer in offers {
        report.must(call, "DISC-05: offers are as the draft has them", is_offer(offer), || offer.to_string());
    }
    if matches!(verb, "post" | "put" | "patch") {
        let body = operation["requestBody"].is_object();
        report.should(call, "DISC-08: describes its body", body, || "there is no `requestBody`".to_owned());
    }
}

/// The draft's JSON Schema of an offer.
fn is_offer(offer: &Value) -> bool {
    const MEMBERS: [&str; 5] = ["intent", "method", "amount", "currency", "description"];
    let Some(members) = offer.as_object() else { return false };
    let optional = |name: &str| members.get(name).is_none_or(Value::is_string);
    let amount = match members.get("amount") {
        Some(Value::Null) => true,
        Some(Value::String(digits)) => {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain && (digits == "0" || !digits.starts_with('0'))
        }
        _ => false,
    };
    members.keys().all(|name| MEMBERS.contains(&name.as_str()))
        && matches!(offer["intent"].as_str(), Some("charge" | "session"))
        && offer["method"].is_string()
        && amount
        && optional("currency")
        && optional("description")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_offer_is_what_the_drafts_schema_says() {
        let offer = |amount: Value| json!({ "intent": "charge", "method": "tempo", "amount": amount });
        for good in [json!(null), json!("0"), json!("500")] {
            assert!(is_offer(&offer(good)));
        }
        for bad in [json!(500), json!("05"), json!("-1"), json!("1.5"), json!("")] {
            assert!(!is_offer(&offer(bad.clone())), "{bad}");
        }
        assert!(
            !is_offer(&json!({ "intent": "charge", "method": "tempo" })),
            "the amount may be null, not missing"
        );
        assert!(!is_offer(&json!({ "intent": "gift", "method": "tempo", "amount": "1" })));
        assert!(!is_offer(
            &json!({ "intent": "charge", "method": "tempo", "amount": "1", "recipient": "0x" })
        ));
    }
}
