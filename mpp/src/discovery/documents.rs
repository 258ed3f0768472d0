//! The finished documents of one router under one configuration, and how they are served.
//!
//! They are built once, at the first request for one of them, off the executor's threads: starting costs nothing, and
//! serving is a copy of prepared bytes. `ETag` and `If-None-Match` (RFC 9110 section 13.1.2), `Cache-Control`
//! (DISC-09) and CORS (DISC-11) are the same for all.

use super::catalogue::{Operation, operations};
use super::describe::{contract, describe, describe_item};
use super::info::{Info, Unmounted};
use super::place::marked;
use super::{llms, manifest, openapi};
use crate::pricing::{PriceSpec, registry};
use crate::protocol::b64;
use crate::routing::Mounted;
use crate::{BuildError, Mpp};
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

/// Registries read no more of a document (draft-payment-discovery-00 appendix A.1).
const CRAWLED: usize = 64 * 1024;
/// Operations named in the warning about it.
const LARGEST: usize = 5;
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

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
        let shown = |m: &&Mounted| !info.hidden.contains(m.spec.name);
        let all: Vec<_> = mounted.iter().chain(&found.mounted).filter(shown).cloned().collect();
        let operations = operations(mpp, &all);
        let openapi::Built { document, mut warnings } = openapi::build(mpp, info, &operations);
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

/// A document as it is sent.
#[derive(Clone)]
struct Prepared {
    bytes: Bytes,
    content_type: &'static str,
    etag: HeaderValue,
}

impl Prepared {
    fn new(content_type: &'static str, text: String) -> Self {
        let hash = b64::encode(Sha256::digest(text.as_bytes()));
        // 32 characters of base64url and two quotes.
        let etag =
            HeaderValue::try_from(format!("\"{}\"", &hash[..32])).unwrap_or(HeaderValue::from_static("\"\""));
        Self { bytes: Bytes::from(text), content_type, etag }
    }

    fn text(&self) -> &str {
        // Made from a `String`.
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    fn respond(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        open_to_browsers(headers);
        if self.is_known(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        *response.body_mut() = Body::from(self.bytes.clone());
        response
    }

    /// `If-None-Match` names it; comparison is weak (RFC 9110 section 13.1.2).
    fn is_known(&self, request: &HeaderMap) -> bool {
        let lines = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes())
    }
}

/// A browser on another origin may read the documents, and the headers of a payment where it meets them.
fn open_to_browsers(headers: &mut HeaderMap) {
    const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, WWW-Authenticate, Payment-Receipt"),
    );
    headers.insert(CORP, HeaderValue::from_static("cross-origin"));
}

/// Which document.
#[derive(Clone, Copy)]
enum Which {
    OpenApi,
    Llms,
    LlmsFull,
}

/// A router's documents, once somebody asks.
pub(crate) struct Publication {
    mpp: Mpp,
    info: Info,
    /// Set when the router is finished.
    mounted: OnceLock<Vec<Mounted>>,
    documents: OnceLock<Documents>,
}

impl Publication {
    /// # Errors
    /// Everything that is wrong with `info`, and every price that is mounted nowhere.
    pub(crate) fn new(mpp: &Mpp, info: Info, mounted: &[Mounted]) -> Result<Arc<Self>, BuildError> {
        let mut problems = info.problems();
        if info.unmounted == Unmounted::Problem {
            let found = info.base.as_ref().map(|base| marked(base, mounted)).unwrap_or_default();
            problems.extend(unmounted(mpp, mounted.iter().chain(&found.mounted)));
        }
        if !problems.is_empty() {
            return Err(BuildError::new(problems));
        }
        Ok(Arc::new(Self { mpp: mpp.clone(), info, mounted: OnceLock::new(), documents: OnceLock::new() }))
    }

    /// Everything that will be mounted.
    pub(crate) fn finish(&self, mounted: Vec<Mounted>) {
        // A router is finished once: it is consumed.
        let _ = self.mounted.set(mounted);
    }

    /// The routes that serve the documents.
    pub(crate) fn mount<S: Clone + Send + Sync + 'static>(
        self: &Arc<Self>,
        mut router: axum::Router<S>,
    ) -> axum::Router<S> {
        let routes = [
            ("/openapi.json", Which::OpenApi),
            ("/llms.txt", Which::Llms),
            ("/llms-full.txt", Which::LlmsFull),
        ];
        for (path, which) in routes {
            router = router.route(path, self.route(which));
        }
        let (all, one) = (self.clone(), self.clone());
        router
            .route(
                "/describe",
                get(move |query: RawQuery, headers: HeaderMap| all.describe(None, query, headers))
                    .options(preflight),
            )
            .route(
                "/describe/{operation}",
                get(move |Path(name): Path<String>, query: RawQuery, headers: HeaderMap| {
                    one.describe(Some(name), query, headers)
                })
                .options(preflight),
            )
    }

    fn route<S: Clone + Send + Sync + 'static>(self: &Arc<Self>, which: Which) -> MethodRouter<S> {
        let publication = self.clone();
        get(move |headers: HeaderMap| async move { publication.serve(which, &headers).await })
            .options(preflight)
    }

    /// `/describe` and `/describe/{operation}`.
    async fn describe(
        self: Arc<Self>,
        name: Option<String>,
        RawQuery(query): RawQuery,
        headers: HeaderMap,
    ) -> Response<Body> {
        let documents = match self.ready().await {
            Ok(documents) => documents,
            Err(fault) => return fault,
        };
        let query = query.unwrap_or_default();
        let asked = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
        };
        let described = match (&name, asked("level").as_deref()) {
            (None, _) => Ok(describe(&documents.openapi)),
            (Some(name), Some("contract")) => contract(&documents.openapi, name),
            (Some(name), _) => describe_item(&documents.openapi, name),
        };
        let described = match described {
            Ok(described) => described,
            Err(unknown) => return refusal(StatusCode::NOT_FOUND, &unknown.to_string()),
        };
        match asked("text").map(|tokens| tokens.parse::<usize>()) {
            None => Prepared::new(JSON, described.json().to_string()).respond(&headers),
            Some(Ok(tokens)) => Prepared::new(TEXT, described.text(tokens)).respond(&headers),
            Some(Err(_)) => refusal(StatusCode::BAD_REQUEST, "`text` is a number of tokens"),
        }
    }

    async fn serve(self: Arc<Self>, which: Which, request: &HeaderMap) -> Response<Body> {
        let documents = match self.ready().await {
            Ok(documents) => documents,
            Err(fault) => return fault,
        };
        let prepared = match which {
            Which::OpenApi => &documents.json,
            Which::Llms => &documents.llms,
            Which::LlmsFull => &documents.llms_full,
        };
        prepared.respond(request)
    }

    /// The documents, built off the executor's threads if need be.
    async fn ready(self: &Arc<Self>) -> Result<&Documents, Response<Body>> {
        if self.documents.get().is_none() {
            let publication = self.clone();
            let built = tokio::task::spawn_blocking(move || {
                publication.built();
            });
            if built.await.is_err() {
                // A schema of the user's panicked; the next request tries again.
                tracing::error!(target: "mpp", "the documents could not be built");
                return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "the document could not be made"));
            }
        }
        Ok(self.built())
    }

    fn built(&self) -> &Documents {
        self.documents.get_or_init(|| {
            let mounted = self.mounted.get().map(Vec::as_slice).unwrap_or_default();
            let documents = Documents::build(&self.mpp, &self.info, mounted);
            for warning in &documents.warnings {
                tracing::warn!(target: "mpp::startup", "{warning}");
            }
            documents
        })
    }
}

/// A problem about a document, for browsers on other origins, too.
fn refusal(status: StatusCode, detail: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    open_to_browsers(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn preflight() -> Response<Body> {
    let mut preflight = Response::new(Body::empty());
    *preflight.status_mut() = StatusCode::NO_CONTENT;
    let headers = preflight.headers_mut();
    open_to_browsers(headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    preflight
}

/// Priced handlers nobody can reach through this router, unless their module is ignored.
fn unmounted<'m>(mpp: &Mpp, mounted: impl Iterator<Item = &'m Mounted>) -> Vec<String> {
    let mounted: HashSet<*const PriceSpec> = mounted.map(|m| std::ptr::from_ref(m.spec)).collect();
    registry()
        .iter()
        // A `price!` belongs to a layer, which has no operations of its own to document.
        .filter(|spec| spec.is_handler && !mpp.ignores(spec))
        .filter(|spec| !mounted.contains(&std::ptr::from_ref(**spec)))
        .map(|spec| {
            format!(
                "`{}::{}` ({}) has a price and is not mounted with `mpp::routing` before `publish`, so no document would \
                 list it; mount it, `.ignore_module(…)`, or `Info::allow_unmounted`",
                spec.module, spec.name, spec.location
            )
        })
        .collect()
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
