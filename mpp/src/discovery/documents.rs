//! The finished documents of one router under one configuration. How they are served is in `publication.rs`.

use super::catalogue::{Operation, operations, placed};
use super::describe::{Description, describe};
use super::info::Info;
use super::place::{VERBS, marked, operation_at, slot};
use super::prepared::{JSON, Prepared, TEXT};
use super::{llms, manifest, openapi};
use crate::Mpp;
use crate::routing::Mounted;
use axum::body::Bytes;
use axum::http::Method;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::OnceLock;
use utoipa::openapi::OpenApi;

/// Registries read no more of a document (draft-payment-discovery-00 appendix A.1).
const CRAWLED: usize = 64 * 1024;
/// Operations named in the warning about it.
const LARGEST: usize = 5;

/// What is mounted, as documents. Made by [`Router::documents`](crate::routing::Router::documents).
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
///
/// /// Current weather.
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(_: Paid) -> &'static str { "sunny" }
///
/// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
/// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1"));
/// let operation = &documents.openapi()["paths"]["/weather"]["get"];
/// assert_eq!(operation["summary"], "Current weather.");
/// assert_eq!(operation["x-payment-info"]["offers"][0]["amount"], "50000");
/// assert!(documents.llms().contains("Costs 0.05 usdc by tempo."));
/// # }
/// ```
#[derive(Clone)]
pub struct Documents {
    openapi: Value,
    json: Prepared,
    llms: Prepared,
    llms_full: Prepared,
    manifest: Value,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

impl Documents {
    pub(crate) fn build(mpp: &Mpp, info: &Info, mounted: &[Mounted]) -> Self {
        let found = info.base.as_ref().map(|base| marked(base, mounted)).unwrap_or_default();
        let all: Vec<Mounted> = mounted.iter().chain(&found.mounted).cloned().collect();
        let operations = operations(mpp, &shown(info, all.iter()), info.base.as_ref());
        let base = info.base.clone().map(|base| without_unlisted(base, &all, &operations));
        let openapi::Built { document, mut warnings } =
            openapi::build(mpp, info, base.unwrap_or_default(), &operations);
        warnings.extend(found.warnings);
        let json = Prepared::new(JSON, document.to_string());
        warnings.extend(too_large(&json.bytes, &document, &operations));
        let llms = Prepared::new(TEXT, llms::index(mpp, info, &operations));
        let llms_full = Prepared::new(TEXT, llms::full(mpp, info, &operations, &document));
        let manifest = manifest::of(mpp, &operations);
        Self { openapi: document, json, llms, llms_full, manifest, warnings }
    }

    /// The OpenAPI 3.1 document (draft-payment-discovery-00 section 3). Members are sorted: the same router has the same
    /// document in every process.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, discovery::Info, routing::Router, testing};
    /// let app: Router<Mpp> = Router::new();
    /// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1.2.0"));
    /// assert_eq!(documents.openapi()["openapi"], "3.1.0");
    /// assert_eq!(documents.openapi()["info"]["version"], "1.2.0");
    /// # }
    /// ```
    pub fn openapi(&self) -> &Value {
        &self.openapi
    }

    /// `/llms.txt`: an index for language models, a line per operation.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, discovery::Info, routing::Router, testing};
    /// let app: Router<Mpp> = Router::new();
    /// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1"));
    /// assert!(documents.llms().starts_with("# Weather\n"));
    /// # }
    /// ```
    pub fn llms(&self) -> &str {
        self.llms.text()
    }

    /// `/llms-full.txt`: every operation with its parameters, and how to pay.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, discovery::Info, routing::Router, testing};
    /// let app: Router<Mpp> = Router::new();
    /// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1"));
    /// assert!(documents.llms_full().contains("## How to pay"));
    /// # }
    /// ```
    pub fn llms_full(&self) -> &str {
        self.llms_full.text()
    }

    /// Every price with its offers, terms and policy, sorted: for review, and for the diff between two deployments. Not
    /// published.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn weather(_: Paid) -> &'static str { "sunny" }
    ///
    /// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
    /// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1"));
    /// let price = &documents.manifest()["prices"][0];
    /// assert_eq!((&price["verb"], &price["path"]), (&"GET".into(), &"/weather".into()));
    /// assert_eq!((&price["offers"][0]["price"], &price["policy"]["capture"]), (&"0.05 usdc".into(), &"before".into()));
    /// # }
    /// ```
    pub fn manifest(&self) -> &Value {
        &self.manifest
    }

    /// What is worth saying: a document too large for registries, path parameters without an example, schemas of one name.
    /// A published router logs them.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn forecast(axum::extract::Path(city): axum::extract::Path<String>, _: Paid) -> String { city }
    ///
    /// let app: Router<Mpp> = Router::new().route("/forecast/{city}", get(forecast));
    /// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1"));
    /// assert!(documents.warnings()[0].contains("`city` of `forecast`"));
    /// # }
    /// ```
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// What is not hidden.
pub(super) fn shown<'m>(info: &Info, mounted: impl Iterator<Item = &'m Mounted>) -> Vec<Mounted> {
    mounted.filter(|mounted| !info.hidden.contains(mounted.spec.name)).cloned().collect()
}

/// What a server keeps of its documents: the bytes it sends. As values they are more than ten times as large.
pub(super) struct Served {
    pub(super) json: Prepared,
    pub(super) llms: Prepared,
    pub(super) llms_full: Prepared,
    /// `/describe`, as JSON and as text of any length.
    pub(super) overview: Prepared,
    pub(super) lines: Description,
    parsed: OnceLock<Value>,
}

impl Served {
    pub(super) fn new(documents: Documents) -> Self {
        let described = describe(&documents.openapi);
        let overview = Prepared::new(JSON, described.json().to_string());
        let Documents { json, llms, llms_full, .. } = documents;
        Self { json, llms, llms_full, overview, lines: described.text_alone(), parsed: OnceLock::new() }
    }

    /// The document as a value, if somebody has asked for it.
    pub(super) fn parsed(&self) -> Option<&Value> {
        self.parsed.get()
    }

    /// As [`parsed`](Self::parsed), for the first who asks. Not on a thread of the executor.
    pub(super) fn parse(&self) -> &Value {
        // These bytes were made from a value.
        self.parsed.get_or_init(|| serde_json::from_slice(&self.json.bytes).unwrap_or_default())
    }
}

/// The given document without the priced operations that are not listed: what is hidden, and what cannot be paid for now, is not
/// documented as free, either.
fn without_unlisted(mut base: OpenApi, all: &[Mounted], operations: &[Operation]) -> OpenApi {
    let listed: HashSet<(&str, &Method)> =
        operations.iter().map(|operation| (operation.template.path.as_str(), &operation.verb)).collect();
    for price in placed(all) {
        let path = &price.template.path;
        if listed.contains(&(path.as_str(), &price.verb)) {
            continue;
        }
        if let Some(item) = base.paths.paths.get_mut(path) {
            *slot(item, &price.verb) = None;
            if VERBS.iter().all(|verb| operation_at(item, verb).is_none()) {
                base.paths.paths.remove(path);
            }
        }
    }
    base
}

fn too_large(bytes: &Bytes, document: &Value, operations: &[Operation]) -> Option<String> {
    if bytes.len() <= CRAWLED {
        return None;
    }
    let mut sizes: Vec<(usize, String)> = operations
        .iter()
        .map(|operation| {
            let verb = operation.verb.as_str().to_ascii_lowercase();
            (document["paths"][&operation.template.path][&verb].to_string().len(), operation.line())
        })
        .collect();
    sizes.sort_by(|a, b| b.cmp(a));
    let largest: Vec<_> =
        sizes.iter().take(LARGEST).map(|(size, line)| format!("{line} ({size} bytes)")).collect();
    Some(format!(
        "the OpenAPI document has {} bytes, and registries read {CRAWLED}; the largest operations are {}; \
         `Info::slim` leaves out what clients can do without",
        bytes.len(),
        largest.join(", ")
    ))
}
