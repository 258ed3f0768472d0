//! What a document does not say: operations that it lists as free and that ask for money all the same
//! (draft-payment-discovery-00 section 3; DISC-03).
//!
//! Only `GET` is tried, which changes nothing (RFC 9110 section 9.2.1), and without a credential.

use super::report::Report;
use super::server::{Server, ServerError};
use mpp::discovery::samples;
use reqwest::Method;
use serde_json::{Value, json};

const CHECK: &str = "DISC-03: what costs money is said to";
/// So many are asked; a service is not crawled.
const MOST: usize = 50;

/// Calls the free operations of a document.
pub(super) fn check(server: &Server, document: &Value, report: &mut Report) -> Result<(), ServerError> {
    let free = samples(&as_if_priced(document));
    for sample in free.iter().flatten().take(MOST) {
        let own = sample.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let answered = server.ask(&Method::GET, &sample.target, &own.collect::<Vec<_>>(), &[])?;
        report.must(&sample.call, CHECK, answered.status != 402, || {
            "it has no `x-payment-info` and declares no 402, and answers 402".to_owned()
        });
    }
    // One that has no example of its path cannot be called, which is no fault of a free one.
    let more = free.iter().flatten().count().saturating_sub(MOST);
    if more > 0 {
        report.skip("openapi.json", CHECK, format!("{more} more free operations were not called"));
    }
    Ok(())
}

/// The document's free `GET` operations alone, marked so that there is a sample of each.
fn as_if_priced(document: &Value) -> Value {
    let mut free = document.clone();
    for item in free["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut()) {
        let Some(item) = item.as_object_mut() else { continue };
        item.retain(|name, operation| {
            let priced =
                operation.get("x-payment-info").is_some() || operation.pointer("/responses/402").is_some();
            name == "parameters" || (name == "get" && operation.is_object() && !priced)
        });
        if let Some(operation) = item.get_mut("get") {
            operation["x-payment-info"] = json!({ "offers": [] });
        }
    }
    free
}
