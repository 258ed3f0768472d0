//! How the documents of a router are served, and what stops a server from serving them.
//!
//! They are built once: in the background as soon as the router is finished, where a runtime is there to do it, else at the
//! first request for one of them. Either way off the executor's threads, so that starting costs nothing; and serving is a
//! copy of prepared bytes (`prepared.rs`).
//!
//! What a document cannot say (two operations of one id, a price where a document is served) is found twice: by
//! `publish` in what is mounted then, and by [`Published::finish`] in what came after it.

use super::conflicts::{Own, conflicts};
use super::describe::{contract, describe_item};
use super::documents::{Documents, Served, shown};
use super::info::{Info, Unmounted};
use super::place::marked;
use super::prepared::{JSON, Prepared, TEXT, preflight, refusal};
use crate::pricing::{PriceSpec, registry};
use crate::routing::Mounted;
use crate::{BuildError, Mpp};
use axum::body::Body;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{MethodRouter, get};
use serde_json::Value;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tracing::dispatcher;

/// Where documents are served.
const PATHS: [&str; 5] =
    ["/openapi.json", "/llms.txt", "/llms-full.txt", "/describe", "/describe/{operation}"];

/// A router's publication, and what was found wrong with what was mounted after it.
pub(crate) struct Published {
    publication: Arc<Publication>,
    /// How many prices `publish` has looked at.
    seen: usize,
    problems: Vec<String>,
}

impl Published {
    /// Adds the documents' routes to `router`, which has these prices.
    ///
    /// # Errors
    /// Everything that is wrong with `info`, every id and place that two operations have, every price that is mounted
    /// nowhere, and the first route that stands where a document is served.
    pub(crate) fn new<S: Clone + Send + Sync + 'static>(
        mpp: &Mpp,
        info: Info,
        mounted: &[Mounted],
        router: axum::Router<S>,
    ) -> Result<(Self, axum::Router<S>), BuildError> {
        let mut problems = info.problems();
        let found = info.base.as_ref().map(|base| marked(base, mounted)).unwrap_or_default();
        let all = || mounted.iter().chain(&found.mounted);
        let own = own(&info);
        problems.extend(conflicts(info.base.as_ref(), &shown(&info, all()), &own));
        if info.unmounted == Unmounted::Problem {
            problems.extend(unmounted(mpp, all()));
        }
        // What is wrong with the priced ones is said already, and axum would stop at the first.
        let taken = mounted.iter().any(|m| own.at(&m.path).is_some());
        let (mpp, mounts) = (mpp.clone(), OnceLock::new());
        let publication = Publication { mpp, info, own, mounted: mounts, served: OnceLock::new() };
        let publication = Arc::new(publication);
        let served = match taken {
            true => None,
            false => publication.mount(router).map_err(|problem| problems.push(problem)).ok(),
        };
        match served {
            Some(router) if problems.is_empty() => {
                Ok((Self { publication, seen: mounted.len(), problems }, router))
            }
            _ => Err(BuildError::new(problems)),
        }
    }

    /// Whether a document is served at a path, whatever its parameters are called.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.publication.own.at(path).is_some()
    }

    /// Adds a free route at a path where a document is served. axum takes it for another verb and panics for the same one,
    /// which is a problem among others here.
    pub(crate) fn add_beside<S: Clone + Send + Sync + 'static>(
        &mut self,
        router: axum::Router<S>,
        path: &str,
        route: axum::routing::MethodRouter<S>,
    ) -> axum::Router<S> {
        let kept = router.clone();
        attempt(|| router.route(path, route)).unwrap_or_else(|why| {
            self.problems.push(in_the_way(path, &why));
            kept
        })
    }

    /// The router is complete: looks at what was mounted after `publish`, and begins to build the documents.
    ///
    /// # Errors
    /// Every conflict among what is mounted, if anything was mounted since.
    pub(crate) fn finish(self, mounted: Vec<Mounted>) -> Result<(), BuildError> {
        let Self { publication, seen, mut problems } = self;
        let info = &publication.info;
        if mounted.len() > seen {
            let found = info.base.as_ref().map(|base| marked(base, &mounted)).unwrap_or_default();
            let all = shown(info, mounted.iter().chain(&found.mounted));
            problems.extend(conflicts(info.base.as_ref(), &all, &publication.own));
        }
        if !problems.is_empty() {
            return Err(BuildError::new(problems));
        }
        // A router is finished once: it is consumed.
        let _ = publication.mounted.set(mounted);
        publication.build_in_background();
        Ok(())
    }
}

/// Which document.
#[derive(Clone, Copy)]
enum Which {
    OpenApi,
    Llms,
    LlmsFull,
}

/// A router's documents.
struct Publication {
    mpp: Mpp,
    info: Info,
    own: Own,
    /// Set when the router is finished.
    mounted: OnceLock<Vec<Mounted>>,
    served: OnceLock<Served>,
}

impl Publication {
    /// Adds the routes that serve the documents.
    ///
    /// # Errors
    /// The first that is there already.
    fn mount<S: Clone + Send + Sync + 'static>(
        self: &Arc<Self>,
        mut router: axum::Router<S>,
    ) -> Result<axum::Router<S>, String> {
        for (path, route) in self.routes() {
            router = attempt(|| router.route(path, route)).map_err(|why| in_the_way(path, &why))?;
        }
        Ok(router)
    }

    fn routes<S: Clone + Send + Sync + 'static>(self: &Arc<Self>) -> Vec<(&'static str, MethodRouter<S>)> {
        let [openapi, llms, llms_full, describe, describe_one] = PATHS;
        let (all, one) = (self.clone(), self.clone());
        let all = move |query: RawQuery, headers: HeaderMap| all.describe(None, query, headers);
        let one = move |Path(name): Path<String>, query: RawQuery, headers: HeaderMap| {
            one.describe(Some(name), query, headers)
        };
        let routes = vec![
            (openapi, self.route(Which::OpenApi)),
            (llms, self.route(Which::Llms)),
            (llms_full, self.route(Which::LlmsFull)),
            (describe, get(all).options(preflight)),
            (describe_one, get(one).options(preflight)),
        ];
        #[cfg(feature = "reference")]
        if self.info.reference {
            let page = super::reference::routes(&self.mpp, &self.info);
            return routes.into_iter().chain(page).collect();
        }
        routes
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
        let served = match self.ready().await {
            Ok(served) => served,
            Err(fault) => return fault,
        };
        let query = query.unwrap_or_default();
        let asked = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
        };
        let tokens = match asked("text").map(|tokens| tokens.parse::<usize>()) {
            None => None,
            Some(Ok(tokens)) => Some(tokens),
            Some(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "`text` is a number of tokens"),
        };
        let Some(name) = name else {
            return match tokens {
                None => served.overview.respond(&headers),
                Some(tokens) => Prepared::new(TEXT, served.lines.text(tokens)).respond(&headers),
            };
        };
        let document = match self.parsed(served).await {
            Ok(document) => document,
            Err(fault) => return fault,
        };
        let described = match asked("level").as_deref() {
            Some("contract") => contract(document, &name),
            _ => describe_item(document, &name),
        };
        match (described, tokens) {
            (Err(unknown), _) => refusal(StatusCode::NOT_FOUND, &unknown.to_string()),
            (Ok(item), None) => Prepared::new(JSON, item.json().to_string()).respond(&headers),
            (Ok(item), Some(tokens)) => Prepared::new(TEXT, item.text(tokens)).respond(&headers),
        }
    }

    async fn serve(self: Arc<Self>, which: Which, request: &HeaderMap) -> Response<Body> {
        let served = match self.ready().await {
            Ok(served) => served,
            Err(fault) => return fault,
        };
        let prepared = match which {
            Which::OpenApi => &served.json,
            Which::Llms => &served.llms,
            Which::LlmsFull => &served.llms_full,
        };
        prepared.respond(request)
    }

    /// The documents, built off the executor's threads if need be.
    async fn ready(self: &Arc<Self>) -> Result<&Served, Response<Body>> {
        if self.served.get().is_none() {
            let publication = self.clone();
            // Waits for whoever builds them already.
            let built = tokio::task::spawn_blocking(move || publication.try_built().is_some());
            if !built.await.unwrap_or(false) {
                return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "the document could not be made"));
            }
        }
        Ok(self.built())
    }

    /// The document as a value, for the first who asks for a part of it.
    async fn parsed<'s>(self: &'s Arc<Self>, served: &'s Served) -> Result<&'s Value, Response<Body>> {
        if served.parsed().is_none() {
            let publication = self.clone();
            let parsed = tokio::task::spawn_blocking(move || {
                publication.built().parse();
            });
            if parsed.await.is_err() {
                return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "the document could not be read"));
            }
        }
        Ok(served.parse())
    }

    /// What is worth saying is said while the server starts, to whoever listens to the log of the thread that starts it.
    fn build_in_background(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let publication = self.clone();
        let log = dispatcher::get_default(Clone::clone);
        runtime.spawn_blocking(move || {
            dispatcher::with_default(&log, || {
                publication.try_built();
            });
        });
    }

    /// `None` where a schema of the user's panicked; who asks next tries again.
    fn try_built(&self) -> Option<&Served> {
        attempt(|| self.built())
            .inspect_err(
                |why| tracing::error!(target: "mpp::startup", "the documents could not be built: {why}"),
            )
            .ok()
    }

    fn built(&self) -> &Served {
        self.served.get_or_init(|| {
            let mounted = self.mounted.get().map(Vec::as_slice).unwrap_or_default();
            let documents = Documents::build(&self.mpp, &self.info, mounted);
            for warning in documents.warnings() {
                tracing::warn!(target: "mpp::startup", "{warning}");
            }
            Served::new(documents)
        })
    }
}

/// Where this service's documents are.
fn own(info: &Info) -> Own {
    #[cfg(feature = "reference")]
    if info.reference {
        return Own::new(PATHS.into_iter().chain(super::reference::PATHS));
    }
    let _ = info;
    Own::new(PATHS)
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

/// Runs what may panic: axum does where routes overlap, of which there is no other way to learn, and a schema of the user's may.
fn attempt<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    // What was halfway changed is dropped with the panic.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

fn in_the_way(path: &str, why: &str) -> String {
    format!("a route of yours is where `publish` serves `{path}`; mount it elsewhere ({why})")
}
