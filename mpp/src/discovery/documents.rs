//! The finished documents of one router under one configuration, and how they are served.
//!
//! They are built once, at the first request for one of them, off the executor's threads: starting costs nothing, and
//! serving is a copy of prepared bytes (`prepared.rs`).

use super::catalogue::{Operation, operations};
use super::conflicts::conflicts;
use super::describe::{contract, describe, describe_item};
use super::info::{Info, Unmounted};
use super::place::marked;
use super::prepared::{JSON, Prepared, TEXT, preflight, refusal};
use super::{llms, manifest, openapi};
use crate::pricing::{PriceSpec, registry};
use crate::routing::Mounted;
use crate::{BuildError, Mpp};
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{MethodRouter, get};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

/// Registries read no more of a document (draft-payment-discovery-00 appendix A.1).
const CRAWLED: usize = 64 * 1024;
/// Operations named in the warning about it.
const LARGEST: usize = 5;
/// Where documents are served.
const PATHS: [&str; 5] =
    ["/openapi.json", "/llms.txt", "/llms-full.txt", "/describe", "/describe/{operation}"];

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
        let all = shown(info, mounted.iter().chain(&found.mounted));
        let operations = operations(mpp, &all, info.base.as_ref());
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
    /// Everything that is wrong with `info`, every id and place that two operations have, and every price that is mounted
    /// nowhere.
    pub(crate) fn new(mpp: &Mpp, info: Info, mounted: &[Mounted]) -> Result<Arc<Self>, BuildError> {
        let mut problems = info.problems();
        let found = info.base.as_ref().map(|base| marked(base, mounted)).unwrap_or_default();
        let all = || mounted.iter().chain(&found.mounted);
        problems.extend(conflicts(info.base.as_ref(), &shown(&info, all()), &paths(&info)));
        if info.unmounted == Unmounted::Problem {
            problems.extend(unmounted(mpp, all()));
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
        let [openapi, llms, llms_full, describe, describe_one] = PATHS;
        for (path, which) in [(openapi, Which::OpenApi), (llms, Which::Llms), (llms_full, Which::LlmsFull)] {
            router = router.route(path, self.route(which));
        }
        #[cfg(feature = "reference")]
        if self.info.reference {
            router = super::reference::mount(router, &self.mpp, &self.info);
        }
        let (all, one) = (self.clone(), self.clone());
        router
            .route(
                describe,
                get(move |query: RawQuery, headers: HeaderMap| all.describe(None, query, headers))
                    .options(preflight),
            )
            .route(
                describe_one,
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

/// Where this service's documents are.
fn paths(info: &Info) -> Vec<&'static str> {
    #[cfg(feature = "reference")]
    if info.reference {
        return PATHS.into_iter().chain(super::reference::PATHS).collect();
    }
    let _ = info;
    PATHS.to_vec()
}

/// What is not hidden.
fn shown<'m>(info: &Info, mounted: impl Iterator<Item = &'m Mounted>) -> Vec<Mounted> {
    mounted.filter(|mounted| !info.hidden.contains(mounted.spec.name)).cloned().collect()
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
