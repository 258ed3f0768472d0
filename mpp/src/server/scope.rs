//! What a challenge is good for, written into its `opaque` (draft-httpauth-payment-00 section 5.1.2).
//!
//! `opaque` is the JCS of a string map: `n`, a 104-bit random nonce in base64url; `op`, the operation as `"GET /weather/{city}"`; `s`,
//! the service's name if it has one; `t`, for a computed price the hash of verb, path, query and bound headers. It is one
//! of the seven bound slots, so a credential says truthfully which route it was issued for.
//!
//! The nonce comes first and is 18 characters long, so that the base64 of all that follows it does not depend on it and
//! is prepared once per price and template.

use super::known::Known;
use crate::protocol::b64;
use axum::http::{HeaderMap, Method, Uri};
use base64_simd::{Out, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// base64url of `{"n":"`.
const BEFORE_NONCE: &str = "eyJuIjoi";
/// Characters of base64url that 18 characters of nonce take.
const NONCE: usize = 24;
/// Operations longer than this (literal paths of fallbacks) are bound by their hash.
const LONGEST_OPERATION: usize = 256;

const STANDARD: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// One operation of one price.
pub(crate) struct Scope {
    verb: Method,
    template: String,
    /// For logs, hooks and the ledger: verb and template, or verb and name; never the path of one request.
    shown: String,
    /// JSON from the end of the nonce up to, but without, the closing brace.
    members: String,
    /// base64url of `members` and `}`.
    tail: String,
}

/// The scopes a price has been reached under: as many as the program mounts it on routes, and no literal path. Nearly every price is
/// mounted once: its scope is found without a lock, and is part of its plan.
#[derive(Default)]
pub(crate) struct Scopes {
    first: OnceLock<Scope>,
    /// By template; the verbs of one are few.
    others: RwLock<HashMap<Box<str>, Vec<Arc<Scope>>>>,
}

impl Scopes {
    /// The scope of a template axum matched.
    pub(crate) fn matched(&self, verb: &Method, template: &str, service: Option<&str>) -> Known<'_, Scope> {
        match self.first.get() {
            Some(first) if first.is_of(verb, template) => Known::Lent(first),
            _ => self.another(verb, template, service),
        }
    }

    #[inline(never)]
    fn another(&self, verb: &Method, template: &str, service: Option<&str>) -> Known<'_, Scope> {
        // A made-up verb is a stranger's choice: never remembered.
        let is_remembered = STANDARD.contains(verb);
        if is_remembered {
            let first = self.first.get_or_init(|| Scope::new(verb, template, service));
            if first.is_of(verb, template) {
                return Known::Lent(first);
            }
        }
        let of = |verbs: &Vec<Arc<Scope>>| verbs.iter().find(|scope| scope.verb == *verb).cloned();
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(scope) = others.get(template).and_then(of) {
            return Known::Shared(scope);
        }
        drop(others);
        let scope = Arc::new(Scope::new(verb, template, service));
        if !is_remembered {
            return Known::Shared(scope);
        }
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        let verbs = others.entry(template.into()).or_default();
        // Another request may have been here in between.
        Known::Shared(of(verbs).unwrap_or_else(|| {
            verbs.push(scope.clone());
            scope
        }))
    }
}

impl Scope {
    /// The scope of a template.
    pub(crate) fn new(verb: &Method, template: &str, service: Option<&str>) -> Self {
        Self::shown_as(operation(verb, template), verb, template, service)
    }

    /// Without a template, as under a fallback or layer: the name and the literal path.
    pub(crate) fn literal(verb: &Method, name: &str, path: &str, service: Option<&str>) -> Self {
        Self::shown_as(operation(verb, name), verb, &format!("{name} {path}"), service)
    }

    fn shown_as(shown: String, verb: &Method, template: &str, service: Option<&str>) -> Self {
        let operation = operation(verb, template);
        let mut members = format!("\",\"op\":{}", json_string(&operation));
        if let Some(service) = service {
            members.push_str(",\"s\":");
            members.push_str(&json_string(service));
        }
        let tail = b64::encode(format!("{members}}}"));
        Self { verb: verb.clone(), template: template.to_owned(), shown, members, tail }
    }

    fn is_of(&self, verb: &Method, template: &str) -> bool {
        self.verb == *verb && self.template == template
    }

    /// The operation, as operators see it: `GET /weather/{city}`, or a verb and the name of a layer.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The verb.
    pub(crate) fn verb(&self) -> &str {
        self.verb.as_str()
    }

    /// The bytes that [`write_opaque`](Self::write_opaque) writes at most, for a route without a target exactly.
    pub(crate) fn opaque_len(&self, target: Option<&Target>) -> usize {
        // A hash in base64url, and its name.
        let target = target.map_or(0, |target| (target.0.len() + 8) * 4 / 3 + 4);
        BEFORE_NONCE.len() + NONCE + self.tail.len() + target
    }

    /// `opaque` of a fresh challenge.
    pub(crate) fn write_opaque(&self, target: Option<&Target>, opaque: &mut String) {
        // One draw: an array of bytes would take a word of the generator for each of them.
        let random = rand::random::<u128>().to_le_bytes();
        let mut nonce = [0; 18];
        let nonce = URL_SAFE_NO_PAD.encode(&random[..13], Out::from_slice(&mut nonce));
        opaque.push_str(BEFORE_NONCE);
        b64::encode_into(nonce, opaque);
        match target {
            None => opaque.push_str(&self.tail),
            Some(target) => opaque.push_str(&self.tail_with(target)),
        }
    }

    /// Whether an authentic `opaque` was issued for this operation and target.
    pub(crate) fn covers(&self, opaque: &str, target: Option<&Target>) -> bool {
        let Some(rest) = opaque.strip_prefix(BEFORE_NONCE).and_then(|o| o.get(NONCE..)) else { return false };
        match target {
            None => rest == self.tail,
            Some(target) => rest == self.tail_with(target),
        }
    }

    #[inline(never)]
    fn tail_with(&self, target: &Target) -> String {
        b64::encode(format!("{},\"t\":\"{}\"}}", self.members, target.0))
    }
}

/// `t`: SHA-256 of verb, path, query and the bound headers, base64url.
pub(crate) struct Target(String);

impl Target {
    pub(crate) fn new(verb: &Method, uri: &Uri, headers: &HeaderMap, bound: &[&str]) -> Self {
        let mut hash = Sha256::new();
        hash_request(&mut hash, verb, uri);
        for name in bound {
            for value in headers.get_all(*name) {
                hash.update(b"\n");
                hash.update(name.as_bytes());
                hash.update(b":");
                hash.update((value.len() as u64).to_be_bytes());
                hash.update(value.as_bytes());
            }
        }
        Self(b64::encode(hash.finalize()))
    }
}

/// Verb, path and query, unambiguously: none of them contains a line feed.
pub(crate) fn hash_request(hash: &mut Sha256, verb: &Method, uri: &Uri) {
    hash.update(verb.as_str());
    hash.update(b"\n");
    hash.update(uri.path());
    hash.update(b"\n");
    // No query and an empty one are different requests.
    hash.update(if uri.query().is_some() { b"?" } else { b"-" });
    hash.update(uri.query().unwrap_or_default());
}

/// Verb and template; a long one is named by its hash.
fn operation(verb: &Method, template: &str) -> String {
    let operation = format!("{verb} {template}");
    if operation.len() <= LONGEST_OPERATION {
        return operation;
    }
    format!("{verb} sha-256:{}", b64::encode(Sha256::digest(template)))
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{FreshSlots, Opaque};

    impl Scope {
        fn opaque(&self, target: Option<&Target>) -> String {
            let mut opaque = String::new();
            self.write_opaque(target, &mut opaque);
            assert!(opaque.len() <= self.opaque_len(target), "an allocation more");
            opaque
        }
    }

    #[test]
    fn opaque_is_the_jcs_of_a_flat_map_with_a_fresh_nonce() {
        let scope = Scope::new(&Method::GET, "/weather/{city}", Some("eu \"1\""));
        let target =
            Target::new(&Method::GET, &Uri::from_static("/weather/oslo?d=1"), &HeaderMap::new(), &[]);
        for target in [None, Some(&target)] {
            let text = scope.opaque(target);
            assert_ne!(text, scope.opaque(target));
            assert!(scope.covers(&text, target));
            let map = Opaque::decode(&text).unwrap();
            assert_eq!(map.get("op"), Some("GET /weather/{city}"));
            assert_eq!(map.get("s"), Some("eu \"1\""));
            assert_eq!(map.get("n").unwrap().len(), 18);
            assert_eq!(map.get("t").is_some(), target.is_some());
            assert_eq!(text, map.encode(), "canonical as written");
        }
    }

    #[test]
    fn a_million_ids_of_two_instances_with_one_secret_at_one_moment_are_all_different() {
        let secret = crate::protocol::Secret::generate();
        let instance = || {
            let ring = crate::protocol::SecretRing::new(secret.clone());
            (Scope::new(&Method::GET, "/a", None), ring.prefix("api.example.com", "tempo", "charge", "e30"))
        };
        let instances = [instance(), instance()];
        let mut ids = std::collections::HashSet::with_capacity(1_000_000);
        for n in 0..1_000_000 {
            let (scope, prefix) = &instances[n % 2];
            let id = prefix.id(&FreshSlots::new("2027-01-15T08:05:00Z", "", &scope.opaque(None)));
            assert!(ids.insert(id), "the same id twice");
        }
    }

    #[test]
    fn a_scope_covers_no_other_verb_template_service_or_target() {
        let get = Scope::new(&Method::GET, "/a", None);
        let opaque = get.opaque(None);
        assert!(!Scope::new(&Method::POST, "/a", None).covers(&opaque, None));
        assert!(!Scope::new(&Method::GET, "/b", None).covers(&opaque, None));
        assert!(!Scope::new(&Method::GET, "/a", Some("x")).covers(&opaque, None));
        let target =
            |uri: &'static str| Target::new(&Method::GET, &Uri::from_static(uri), &HeaderMap::new(), &[]);
        assert!(!get.covers(&opaque, Some(&target("/a"))));
        let bound = get.opaque(Some(&target("/a?n=1")));
        assert!(get.covers(&bound, Some(&target("/a?n=1"))));
        for other in ["/a?n=2", "/a", "/a?", "/a/?n=1"] {
            assert!(!get.covers(&bound, Some(&target(other))), "{other}");
        }
        for garbage in ["", "eyJuIjoi", "é", "eyJuIjoiAAAAAAAAAAAAAAAAAAAAAAAé"] {
            assert!(!get.covers(garbage, None));
        }
    }

    #[test]
    fn bound_headers_are_part_of_the_target() {
        let uri = Uri::from_static("/a");
        let mut headers = HeaderMap::new();
        headers.insert("x-tier", "gold".parse().unwrap());
        let gold = Target::new(&Method::GET, &uri, &headers, &["x-tier"]).0;
        headers.insert("x-tier", "free".parse().unwrap());
        assert_ne!(gold, Target::new(&Method::GET, &uri, &headers, &["x-tier"]).0);
        assert_eq!(
            Target::new(&Method::GET, &uri, &headers, &[]).0,
            Target::new(&Method::GET, &uri, &HeaderMap::new(), &[]).0
        );
    }

    #[test]
    fn two_bound_headers_are_not_mistaken_for_each_other() {
        let target = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            Target::new(&Method::GET, &Uri::from_static("/a"), &headers, &["x-a", "x-b"]).0
        };
        let different = [
            target(&[]),
            target(&[("x-a", "1")]),
            target(&[("x-b", "1")]),
            target(&[("x-a", "1"), ("x-a", "1")]),
            target(&[("x-a", "1"), ("x-b", "1")]),
            target(&[("x-a", "1, 1")]),
        ];
        let distinct: std::collections::HashSet<_> = different.iter().collect();
        assert_eq!(distinct.len(), different.len());
    }

    /// A challenge and a journal entry outlive the program that wrote them: the next version of it reads their hashes.
    #[test]
    fn a_target_is_the_same_in_every_version() {
        let mut headers = HeaderMap::new();
        headers.append("x-tier", "gold".parse().unwrap());
        headers.append("x-tier", "free".parse().unwrap());
        let target = |verb, uri, headers| Target::new(&verb, &Uri::from_static(uri), headers, &["x-tier"]).0;
        let bound = target(Method::POST, "/a?n=1", &headers);
        assert_eq!(bound, "m3I8l9NT6Bb_VzMfuBjZBnF_WSzoIbYF0ljorLkosqM");
        let plain = target(Method::GET, "/a", &HeaderMap::new());
        assert_eq!(plain, "09wQE7LyT6wUxXoPRrYuW82GRgjx_25D5nTebjfs3e4");
    }

    #[test]
    fn an_operation_of_256_characters_is_written_out_and_a_longer_one_is_named_by_its_hash() {
        let path = format!("/{}", "a".repeat(LONGEST_OPERATION - "GET /".len()));
        assert_eq!(operation(&Method::GET, &path), format!("GET {path}"));
        assert!(operation(&Method::GET, &format!("{path}a")).starts_with("GET sha-256:"));
    }

    #[test]
    fn every_template_is_remembered_once_and_no_invented_verb() {
        let scopes = Scopes::default();
        let remembered = || {
            let others = scopes.others.read().unwrap();
            usize::from(scopes.first.get().is_some()) + others.values().map(Vec::len).sum::<usize>()
        };
        let invented = Method::from_bytes(b"PURGE").unwrap();
        let scope = scopes.matched(&invented, "/a", None);
        assert!(scope.covers(&scope.opaque(None), None));
        assert_eq!(remembered(), 0);
        for _ in 0..2 {
            for n in 0..300 {
                for verb in [Method::GET, Method::POST] {
                    let template = format!("/{n}");
                    let scope = scopes.matched(&verb, &template, None);
                    assert_eq!((&scope.verb, &scope.template), (&verb, &template));
                }
            }
            assert_eq!(remembered(), 600);
        }
        scopes.matched(&invented, "/1", None);
        assert_eq!(remembered(), 600);
    }
}
