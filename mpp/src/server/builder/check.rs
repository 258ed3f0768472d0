//! `Builder::build`: every linked price against the whole configuration, and every problem of it at once.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use url::{Host, Url};

use super::{BuildError, Builder, Permission};
use crate::method::{MethodProblem, Money};
use crate::pricing::{Configuration, Findings, Plan, registry};
use crate::protocol::{MethodName, Realm, Secret, SecretRing};
use crate::server::body::BodyBudget;
use crate::server::health::Readiness;
use crate::server::journal::Journal;
use crate::server::observe::Observers;
use crate::server::rate::{RateLimiter, RateLimits};
use crate::server::replay::Shelf;
use crate::server::{Inner, Mpp, Waits};
use crate::store::seal::Sealer;
use crate::store::{Durability, MemoryStore};

/// How long a durable store's ledger keeps a payment.
const LEDGER_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Below this a lease of whole seconds may be over before its first heartbeat.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// The end of it.
impl Builder {
    /// Resolves every linked price against this configuration. No network: see [`Mpp::check`].
    ///
    /// # Errors
    /// A [`BuildError`] that lists every problem, with the file and line of each price concerned.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(stripe))]
    /// async fn unsold_report(_: Paid) -> &'static str { "sunny" }
    ///
    /// let report = Mpp::builder("https://api.example.com").secret(Secret::generate()).build().unwrap_err();
    /// let ours = report.problems().iter().find(|problem| problem.contains("::unsold_report` (")).unwrap();
    /// assert!(ours.contains("takes `stripe`, which is not configured (configured: none)"), "{ours}");
    /// # }
    /// ```
    pub fn build(self) -> Result<Mpp, BuildError> {
        let mut problems = Vec::new();
        let public = self.public(&mut problems);
        let inherited = self.predecessor.as_ref().map(|old| old.0.journal.store().clone());
        let store = self.store.clone().or(inherited).unwrap_or_else(|| Arc::new(MemoryStore::new()));
        self.check_methods(store.durability(), &mut problems);
        problems.extend(self.proxies.problems());
        problems.extend(self.rates.iter().flat_map(RateLimits::problems));
        let ring = match (&self.ring, &self.predecessor) {
            (Some(ring), _) => Some(ring.clone()),
            (None, Some(old)) => Some(old.0.secrets.clone()),
            (None, None) => {
                problems.push(
                    "no secret: add `.secret(…)`, at least 32 random bytes (`mpp secret` makes one)".into(),
                );
                None
            }
        };
        if self.lease < SHORTEST_LEASE {
            problems.push(
                "the lease is under 3 seconds: the clock has whole ones, and a third of it is the heartbeat"
                    .into(),
            );
        }
        if self.lifetime < Duration::from_secs(1) {
            problems.push("the challenge lifetime is under a second: `expires` has whole seconds".into());
        }
        // Without a URL or a secret the prices are still checked, under ones that are never used: every problem at once.
        let secrets = ring.unwrap_or_else(|| SecretRing::new(Secret::generate()));
        let realm = match &public {
            Some((_, realm)) => realm.clone(),
            None => Realm::parse("localhost").expect("a host name is a realm"),
        };
        // A volatile store that was made anew has forgotten what was delivered, so the challenges of the one before it
        // must not verify any more.
        let ring = match store.durability() {
            Durability::Durable => secrets.clone(),
            Durability::Volatile { boot } => secrets.derive("mpp boot", &boot),
        };
        let cx = Configuration {
            realm: &realm,
            ring: &ring,
            methods: &self.methods,
            switched_off: &self.switched_off,
        };
        let mut report = Findings::default();
        let mut plans: Vec<Option<Arc<Plan>>> = Vec::with_capacity(registry().len());
        // By the predecessor's own lifetime: its challenges may live longer than ours.
        let now = self.clock.now();
        let expired_at = now + self.predecessor.as_ref().map_or(self.lifetime, |old| old.0.lifetime);
        for spec in registry() {
            if self.ignored.iter().any(|m| covers(m, spec.module)) {
                plans.push(None);
                continue;
            }
            let mut plan = Plan::resolve(spec, &cx, &mut report);
            if let Some(old) = self.predecessor.as_ref().and_then(|old| old.plan(spec).ok()) {
                plan.retire(&old, now, expired_at);
            }
            plans.push(Some(Arc::new(plan)));
        }
        report.warnings.extend(self.switched_off_in_vain());
        problems.extend(report.problems);
        let names = self.methods.iter().map(|method| method.name().as_str());
        let observers = Observers::start(self.hooks, names);
        if let Err(error) = &observers {
            problems.push(format!("a hook got no thread: {error}"));
        }
        let (public_url, observers) = match (public, observers) {
            (Some((public_url, _)), Ok(observers)) if problems.is_empty() => (public_url, observers),
            _ => return Err(BuildError { problems }),
        };
        for warning in &report.warnings {
            tracing::warn!(target: "mpp::startup", "{warning}");
        }
        if self.methods.iter().any(|m| m.money() == Money::Test) {
            tracing::warn!(target: "mpp::startup", "this server takes test money");
        }
        let lines = self.ledger.unwrap_or(match store.durability() {
            Durability::Durable => LEDGER_RETENTION,
            Durability::Volatile { .. } => Duration::ZERO,
        });
        let journal = Journal::new(store, self.lease, self.settle_timeout, self.grace)
            .keeping_lines(lines)
            .after(self.predecessor.as_ref().map(|old| &old.0.journal));
        let sealer = Arc::new(Sealer::new(&secrets));
        let shelf = Shelf::new(&secrets, self.kept_response, self.kept_responses);
        Ok(Mpp(Arc::new(Inner {
            public_url,
            realm,
            service: self.service,
            secrets,
            ring,
            sealer,
            shelf,
            methods: self.methods,
            switched_off: self.switched_off,
            journal,
            clock: self.clock,
            lifetime: self.lifetime,
            max_runs: self.max_runs,
            settlements: Arc::new(Semaphore::new(self.max_settlements)),
            refunds: tokio::sync::Mutex::default(),
            settle_timeout: self.settle_timeout,
            body_deadline: self.body_deadline,
            bodies: BodyBudget::new(self.body_budget),
            proxies: self.proxies,
            rates: self.rates.as_ref().map(RateLimiter::new),
            waits: Waits::default(),
            observers,
            readiness: Readiness::default(),
            plans,
            late: RwLock::new(HashMap::new()),
            warnings: report.warnings,
        })))
    }

    /// Methods that are switched off and that no price names: a typing error, or what is left of a price. Only a warning,
    /// because prices of a library may come and go.
    fn switched_off_in_vain(&self) -> Vec<String> {
        let linked = registry().iter().filter(|spec| !self.ignored.iter().any(|m| covers(m, spec.module)));
        let named: BTreeSet<&str> = linked.flat_map(|spec| spec.offers).map(|offer| offer.method).collect();
        let vain = self.switched_off.iter().filter(|off| !named.contains(off.as_str()));
        let named = match named.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "there are none".to_owned(),
            some => format!("they name {some}"),
        };
        vain.map(|off| format!("`{}` is switched off, and no price names it ({named})", off.escape_debug()))
            .collect()
    }

    fn public(&self, problems: &mut Vec<String>) -> Option<(Url, Realm)> {
        let url = match Url::parse(&self.public_url) {
            Ok(url) => url,
            Err(e) => {
                problems.push(format!(
                    "the public URL `{}` is not a URL ({e}); write e.g. `https://api.example.com`",
                    self.public_url
                ));
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            // Not quoted: the report is in a log.
            problems.push(
                "the public URL has a user or a password in it, and it is published with every document; leave them out".into(),
            );
            return None;
        }
        if url.query().is_some() || url.fragment().is_some() {
            problems.push(format!(
                "the public URL `{url}` has a query or a fragment: paths are appended to it; leave it out"
            ));
            return None;
        }
        let Some(host) = url.host() else {
            // `localhost:3000` is one: a URL of the scheme `localhost`.
            problems.push(format!(
                "the public URL `{url}` names no host; write e.g. `https://api.example.com` or `http://localhost:3000`"
            ));
            return None;
        };
        let loopback = match host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(ip) => IpAddr::V4(ip).is_loopback(),
            Host::Ipv6(ip) => IpAddr::V6(ip).is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback || self.insecure == Permission::Granted => {}
            "http" => problems.push(format!(
                "the public URL `{url}` is plain http: payment credentials would travel in the clear; use https, or \
                 `.allow_insecure()` if something you trust adds TLS on the whole way"
            )),
            other => problems.push(format!("the public URL has the scheme `{other}`; it must be https")),
        }
        match Realm::parse(&host.to_string()) {
            Ok(realm) => Some((url, realm)),
            Err(e) => {
                problems.push(format!("the host of the public URL cannot be a realm: {e}"));
                None
            }
        }
    }

    fn check_methods(&self, durability: Durability, problems: &mut Vec<String>) {
        for (i, method) in self.methods.iter().enumerate() {
            let name = method.name();
            if let Err(e) = MethodName::configured(name.as_str()) {
                problems.push(format!("`{name}` cannot be the name of a payment method: {e}"));
            }
            if let Some(other) = self.methods[..i].iter().find(|m| m.name() == name) {
                problems.push(if other.money() == method.money() {
                    format!("method `{name}` is configured twice")
                } else {
                    format!(
                        "method `{name}` is configured twice, once with test money: take one of them away"
                    )
                });
            }
            if self.switched_off.iter().any(|off| off == name.as_str()) {
                problems.push(format!("method `{name}` is both configured and switched off"));
            }
            if method.money() == Money::Test && self.test_money == Permission::Refused {
                problems
                    .push(format!("method `{name}` deals in test money; `.allow_test_money()` accepts that"));
            }
            if method.money() == Money::Real
                && durability != Durability::Durable
                && self.volatile == Permission::Refused
            {
                problems.push(format!(
                    "method `{name}` takes real money, but the store forgets its payments when the process ends; use \
                     a durable store, or `.single_process_volatile_store()` if that is acceptable"
                ));
            }
            problems.extend(
                method.problems().into_iter().map(|MethodProblem(text)| format!("method `{name}`: {text}")),
            );
        }
    }
}

/// Whether `module` is `prefix` or inside it.
fn covers(prefix: &str, module: &str) -> bool {
    module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
