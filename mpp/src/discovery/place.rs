//! Which operations of a given document are priced, and where an operation stands in a path item.

use super::catalogue::placed;
use super::openapi::MARK;
use crate::pricing::{PriceSpec, registry};
use crate::routing::Mounted;
use axum::http::Method;
use std::collections::{HashMap, HashSet};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

/// What routers can mount; the others are no verbs of OpenAPI 3.1.
pub(super) const VERBS: [Method; 8] = [
    Method::GET,
    Method::PUT,
    Method::POST,
    Method::DELETE,
    Method::OPTIONS,
    Method::HEAD,
    Method::PATCH,
    Method::TRACE,
];

/// The operation of a verb.
pub(super) fn slot<'a>(item: &'a mut PathItem, verb: &Method) -> &'a mut Option<Operation> {
    match *verb {
        Method::PUT => &mut item.put,
        Method::POST => &mut item.post,
        Method::DELETE => &mut item.delete,
        Method::OPTIONS => &mut item.options,
        Method::HEAD => &mut item.head,
        Method::PATCH => &mut item.patch,
        Method::TRACE => &mut item.trace,
        _ => &mut item.get,
    }
}

/// As [`slot`], to look at.
pub(super) fn operation_at<'a>(item: &'a PathItem, verb: &Method) -> Option<&'a Operation> {
    match *verb {
        Method::PUT => item.put.as_ref(),
        Method::POST => item.post.as_ref(),
        Method::DELETE => item.delete.as_ref(),
        Method::OPTIONS => item.options.as_ref(),
        Method::HEAD => item.head.as_ref(),
        Method::PATCH => item.patch.as_ref(),
        Method::TRACE => item.trace.as_ref(),
        _ => item.get.as_ref(),
    }
}

/// The price that `#[mpp::charge]` above `#[utoipa::path]` says an operation has: `module::handler`.
pub(super) fn mark(operation: &Operation) -> Option<&str> {
    operation.extensions.as_ref()?.get(MARK)?.as_str()
}

/// What a given document adds to what is mounted.
#[derive(Default)]
pub(super) struct Marked {
    /// Priced handlers on routers that are not ours, found by their mark.
    pub(super) mounted: Vec<Mounted>,
    pub(super) warnings: Vec<String>,
}

/// Finds the priced operations of `document` beyond those already `mounted`.
pub(super) fn marked(document: &OpenApi, mounted: &[Mounted]) -> Marked {
    let mut marked = Marked::default();
    let placed = placed(mounted);
    let places: HashSet<(&str, &Method)> =
        placed.iter().map(|price| (price.template.path.as_str(), &price.verb)).collect();
    let mut prices: HashMap<&str, Vec<&'static PriceSpec>> = HashMap::new();
    for spec in registry().iter().copied() {
        prices.entry(spec.name).or_default().push(spec);
    }
    for (path, item) in &document.paths.paths {
        for verb in VERBS {
            let Some(operation) = operation_at(item, &verb) else { continue };
            if places.contains(&(path.as_str(), &verb)) {
                continue;
            }
            match mark(operation) {
                Some(mark) => {
                    match named(&prices, mark.rsplit("::").next()).find(|spec| is_called(spec, mark)) {
                        Some(spec) => {
                            marked.mounted.push(Mounted { method: Some(verb), path: path.clone(), spec });
                        }
                        None => marked
                            .warnings
                            .push(format!("`{verb} {path}` is marked as `{mark}`, which has no price")),
                    }
                }
                None => {
                    let twin = named(&prices, operation.operation_id.as_deref()).next();
                    marked.warnings.extend(twin.map(|spec| {
                        format!(
                            "`{verb} {path}` is documented as free and has the name of a price (`{}::{}`, {}); if it is \
                             that handler, write `#[mpp::charge]` above `#[utoipa::path]`",
                            spec.module, spec.name, spec.location
                        )
                    }));
                }
            }
        }
    }
    marked
}

/// The prices of a name.
fn named<'p>(
    prices: &'p HashMap<&str, Vec<&'static PriceSpec>>,
    name: Option<&str>,
) -> impl Iterator<Item = &'static PriceSpec> + use<'p> {
    name.and_then(|name| prices.get(name)).into_iter().flatten().copied()
}

pub(super) fn is_called(spec: &PriceSpec, mark: &str) -> bool {
    mark.strip_prefix(spec.module).and_then(|m| m.strip_prefix("::")) == Some(spec.name)
}
