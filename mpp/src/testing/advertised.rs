//! The drift test: what documents advertise is what challenges ask.
//!
//! Clients compare the two and believe the challenge (draft-payment-discovery-00 section 4); a service whose documents
//! say something else loses them. The operations are read from the document, so a new route is covered without a new test.

use super::Client;
use crate::discovery::{Sample, samples};
use serde_json::Value;

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
    let mut differences = Vec::new();
    let samples = samples(openapi);
    for sample in &samples {
        match sample {
            Ok(sample) => differences.extend(difference(client, sample).await),
            Err(missing) => differences.push(missing.to_string()),
        }
    }
    assert!(differences.is_empty(), "documents and challenges differ:\n{}", differences.join("\n"));
    samples.len()
}

async fn difference(client: &Client, sample: &Sample) -> Option<String> {
    let mut request = client.request(sample.verb.clone(), &sample.target).body(sample.body.clone());
    for (name, value) in &sample.headers {
        request = request.header(name, value);
    }
    let response = request.unpaid().await;
    let (call, status) = (&sample.call, response.status());
    if status != 402 {
        let text = response.text();
        return Some(format!("{call}: {status} instead of 402 for the documented example: {text}"));
    }
    sample.compare(&response.challenges().offers).err().map(|difference| format!("{call}: {difference}"))
}
