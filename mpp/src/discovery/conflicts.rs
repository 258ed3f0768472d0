//! What no two operations of a document can share, an id (OpenAPI 3.1 section 4.8.10) and a place, and what a published
//! service keeps for itself. Found at start-up, before anything of the document is built.
//!
//! Two handlers of one name in two modules are common, so an id that nobody wrote is no conflict: it is qualified with
//! verb and path. One that somebody wrote is never changed.

use super::catalogue::{Placed, Template, placed};
use super::place::{VERBS, is_called, mark, operation_at};
use crate::pricing::PriceSpec;
use crate::routing::Mounted;
use axum::http::Method;
use std::collections::{HashMap, HashSet};
use utoipa::openapi::OpenApi;

/// The paths at which documents are served.
pub(super) struct Own(Vec<(String, &'static str)>);

impl Own {
    pub(super) fn new(paths: impl IntoIterator<Item = &'static str>) -> Self {
        Self(paths.into_iter().map(|path| (nameless(path), path)).collect())
    }

    /// The one that is the same as `path` to a router: what parameters are called does not matter.
    pub(super) fn at(&self, path: &str) -> Option<&'static str> {
        let first = |path: &str| path.bytes().skip(1).position(|b| b == b'/').map_or(path.len(), |at| at + 1);
        let begin = &path[..first(path)];
        // Almost no route gets beyond this.
        if !self.0.iter().any(|(_, own)| own[..first(own)] == *begin) {
            return None;
        }
        let path = nameless(path);
        self.0.iter().find(|(own, _)| *own == path).map(|(_, own)| *own)
    }
}

/// Every conflict, each with both places.
pub(super) fn conflicts(base: Option<&OpenApi>, mounted: &[Mounted], own: &Own) -> Vec<String> {
    let placed = placed(mounted);
    let mut conflicts = collisions(base, &placed);
    conflicts.extend(reserved(&placed, own));
    conflicts.extend(renamed(base, &placed));
    conflicts.extend(duplicates(base, &placed));
    conflicts
}

/// The id that `#[utoipa::path]` or the given document says, if it is not the handler's name: then somebody wrote it.
pub(super) fn written_id(
    base: Option<&OpenApi>,
    verb: &Method,
    path: &str,
    spec: &PriceSpec,
) -> Option<String> {
    let given = base
        .and_then(|base| base.paths.paths.get(path))
        .and_then(|item| operation_at(item, verb))
        .and_then(|operation| operation.operation_id.clone());
    let id = given.or_else(|| spec.operation_id.and_then(|id| id()));
    id.filter(|id| id != spec.name && !id.is_empty())
}

/// An operation of the given document.
pub(super) struct Given<'d> {
    pub(super) id: &'d str,
    verb: Method,
    path: &'d str,
}

/// The ids of the given document's operations that are not among the priced ones.
pub(super) fn given_ids(base: Option<&OpenApi>, priced: impl Fn(&Method, &str) -> bool) -> Vec<Given<'_>> {
    let items = base.into_iter().flat_map(|base| &base.paths.paths);
    let mut given = Vec::new();
    for (path, item) in items {
        for verb in VERBS {
            let id = operation_at(item, &verb).and_then(|operation| operation.operation_id.as_deref());
            if let Some(id) = id.filter(|_| !priced(&verb, path)) {
                given.push(Given { id, verb, path });
            }
        }
    }
    given
}

/// Two prices at one verb and path of the document, whatever axum makes of them.
fn collisions(base: Option<&OpenApi>, placed: &[Placed]) -> Vec<String> {
    let mut conflicts = Vec::new();
    let mut places: HashMap<(&str, &str), &Placed> = HashMap::with_capacity(placed.len());
    for price in placed {
        if let Some(first) = places.insert((price.verb.as_str(), &price.template.path), price) {
            conflicts.push(format!(
                "{} and {} are one operation of the document; mount one of them elsewhere",
                called(first),
                called(price)
            ));
        }
        let item = base.and_then(|base| base.paths.paths.get(&price.template.path));
        let marked = item.and_then(|item| operation_at(item, &price.verb)).and_then(mark);
        if let Some(other) = marked.filter(|mark| !is_called(price.spec, mark)) {
            conflicts.push(format!(
                "{} is mounted where the given document has `{other}`, which has another price",
                called(price)
            ));
        }
    }
    conflicts
}

/// Prices where documents are served: axum would refuse the second route without saying whose it is.
fn reserved(placed: &[Placed], own: &Own) -> Vec<String> {
    let problem = |price: &Placed| {
        let path = own.at(&price.template.path)?;
        Some(format!("{} is where `publish` serves `{path}`; mount it elsewhere", called(price)))
    };
    placed.iter().filter_map(problem).collect()
}

/// Prices at a path that the given document has under other names of parameters: two paths of one template are no document
/// (OpenAPI 3.1 section 4.8.8.1), and which of them is priced could not be said.
fn renamed(base: Option<&OpenApi>, placed: &[Placed]) -> Vec<String> {
    let given = base.into_iter().flat_map(|base| base.paths.paths.keys()).filter(|path| path.contains('{'));
    let given: HashMap<String, &String> = given.map(|path| (nameless(path), path)).collect();
    if given.is_empty() {
        return Vec::new();
    }
    let other = |price: &Placed| {
        let path =
            given.get(&nameless(&price.template.path)).filter(|path| ***path != price.template.path)?;
        Some(format!(
            "{} is `{path}` in the given document; call its parameters the same in both",
            called(price)
        ))
    };
    placed.iter().filter_map(other).collect()
}

/// A path whose parameters have no names, which is how routers compare them.
fn nameless(path: &str) -> String {
    let Template { path, names, .. } = Template::of(path);
    names.iter().fold(path, |path, name| path.replace(&format!("{{{name}}}"), "{}"))
}

/// Ids that somebody wrote, twice.
fn duplicates(base: Option<&OpenApi>, placed: &[Placed]) -> Vec<String> {
    let written = |price: &Placed| written_id(base, &price.verb, &price.template.path, price.spec);
    let places: HashSet<(&str, &str)> =
        placed.iter().map(|price| (price.verb.as_str(), price.template.path.as_str())).collect();
    // The same handler mounted twice has one id, which is qualified then.
    let mut owners: HashMap<String, (Option<&'static PriceSpec>, String)> = HashMap::new();
    let mut conflicts = Vec::new();
    let given = given_ids(base, |verb, path| places.contains(&(verb.as_str(), path)));
    let given = given.into_iter().map(|given| {
        (given.id.to_owned(), None, format!("`{} {}` of the given document", given.verb, given.path))
    });
    let priced =
        placed.iter().filter_map(|price| written(price).map(|id| (id, Some(price.spec), called(price))));
    for (id, spec, owner) in given.chain(priced) {
        match owners.get(&id) {
            Some((Some(first), _)) if spec.is_some_and(|spec| std::ptr::eq(spec, *first)) => {}
            Some((_, first)) => conflicts.push(format!(
                "{first} and {owner} have the operation id `{id}`; give one of them another `operation_id`"
            )),
            None => drop(owners.insert(id, (spec, owner))),
        }
    }
    conflicts
}

/// `GET /weather/{city}` with the handler and where its price stands.
fn called(price: &Placed) -> String {
    let Placed { verb, template, spec, .. } = price;
    format!("`{verb} {}` (`{}::{}`, {})", template.path, spec.module, spec.name, spec.location)
}
