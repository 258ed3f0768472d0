//! `Mpp::builder`: the configuration, checked whole.
//!
//! [`Builder::build`] reports every problem of every price at once, before a port opens. The library reads no
//! environment variables and no files; what it needs, it is given.

use super::journal::Journal;
use super::seal::Sealer;
use super::{Inner, Mpp, Waits};
use crate::clock::{Clock, SystemClock};
use crate::method::{MethodProblem, Money, ServerMethod};
use crate::pricing::{Configuration, Findings, Plan, registry};
use crate::protocol::{MethodName, Realm, Secret, SecretRing};
use crate::store::{Durability, MemoryStore, Store};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use url::{Host, Url};

/// How long a challenge can be paid, unless configured: five minutes, as every deployed server does.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How long after that an undelivered payment still opens the route.
const GRACE: Duration = Duration::from_secs(10 * 60);
/// How long a dead process keeps others away from an entry.
const LEASE: Duration = Duration::from_secs(30);
/// Below this a lease of whole seconds may be over before its first heartbeat.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// Builds an [`Mpp`]; see [`Mpp::builder`].
///
/// ```
/// # #[cfg(feature = "sandbox")] {
/// use mpp::{Mpp, Sandbox, Secret};
///
/// let mpp = Mpp::builder("https://api.example.com")
///     .secret(Secret::generate())
///     .method(Sandbox::new())
///     .allow_test_money()
///     .build();
/// # drop(mpp);
/// # }
/// ```
#[must_use = "call `build`"]
pub struct Builder {
    public_url: String,
    ring: Option<SecretRing>,
    methods: Vec<Arc<dyn ServerMethod>>,
    switched_off: Vec<String>,
    ignored: Vec<String>,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    service: Option<String>,
    lifetime: Duration,
    grace: Duration,
    lease: Duration,
    max_runs: u32,
    max_settlements: usize,
    settle_timeout: Duration,
    body_deadline: Duration,
    test_money: Permission,
    insecure: Permission,
    volatile: Permission,
    predecessor: Option<Mpp>,
}

/// An explicit permission for something that is refused by default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permission {
    Refused,
    Granted,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<_> = self.methods.iter().map(|m| m.name().to_string()).collect();
        f.debug_struct("Builder")
            .field("public_url", &self.public_url)
            .field("methods", &methods)
            .field("switched_off", &self.switched_off)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(public_url: String) -> Self {
        Self {
            public_url,
            ring: None,
            methods: Vec::new(),
            switched_off: Vec::new(),
            ignored: Vec::new(),
            store: None,
            clock: Arc::new(SystemClock),
            service: None,
            lifetime: LIFETIME,
            grace: GRACE,
            lease: LEASE,
            max_runs: 3,
            max_settlements: 1024,
            settle_timeout: Duration::from_secs(60),
            body_deadline: Duration::from_secs(30),
            test_money: Permission::Refused,
            insecure: Permission::Refused,
            volatile: Permission::Refused,
            predecessor: None,
        }
    }

    /// The secret that binds challenges to this server; shared by all its replicas.
    pub fn secret(self, secret: Secret) -> Self {
        self.secrets(SecretRing::new(secret))
    }

    /// A ring of secrets: the first signs, all verify. Rotate in three deployments: `[old, new]`, `[new, old]`, and
    /// `[new]` after the longest challenge lifetime plus grace.
    pub fn secrets(mut self, ring: SecretRing) -> Self {
        self.ring = Some(ring);
        self
    }

    /// A payment method that can be paid.
    pub fn method(mut self, method: impl ServerMethod) -> Self {
        self.methods.push(Arc::new(method));
        self
    }

    /// Runs without a method that prices name: its offers are left out, and a price left without any answers 503.
    pub fn switched_off(mut self, method: impl Into<String>) -> Self {
        self.switched_off.push(method.into());
        self
    }

    /// Exempts the prices of a linked library that is not mounted, by module path prefix. If one is reached after all, it
    /// is resolved then, and answers 500 when that fails.
    pub fn ignore_module(mut self, module: impl Into<String>) -> Self {
        self.ignored.push(module.into());
        self
    }

    /// Where claims, journals and leases are kept. Default: a bounded [`MemoryStore`].
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// As [`store`](Self::store), for a store that is shared with something else.
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Another source of time, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A name mixed into every challenge, for services that share a secret but not their routes.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// How long a challenge can be paid, at least a second. Default: 5 minutes.
    pub fn challenge_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How long after its challenge expired a settled but undelivered payment still opens the route. Default: 10 minutes.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a process that died keeps others away from its payments, at least 3 seconds. Default: 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often a handler may run for one payment before it is delivered. Default: 3.
    pub fn max_runs(mut self, runs: u32) -> Self {
        self.max_runs = runs.max(1);
        self
    }

    /// How many settlements may be under way at once; more are answered 503. Default: 1024.
    pub fn max_settlements(mut self, settlements: usize) -> Self {
        self.max_settlements = settlements.max(1);
        self
    }

    /// How long a payment network may take before its answer counts as lost. Default: 60 seconds.
    pub fn settle_timeout(mut self, timeout: Duration) -> Self {
        self.settle_timeout = timeout;
        self
    }

    /// How long a client may take to send the body of a priced request. Default: 30 seconds.
    pub fn body_deadline(mut self, deadline: Duration) -> Self {
        self.body_deadline = deadline;
        self
    }

    /// Accepts methods that deal in test money.
    pub fn allow_test_money(mut self) -> Self {
        self.test_money = Permission::Granted;
        self
    }

    /// Accepts a public URL that is plain http beyond loopback. Payment credentials travel in the clear then.
    pub fn allow_insecure(mut self) -> Self {
        self.insecure = Permission::Granted;
        self
    }

    /// Says that this is the only process and that losing the journal on a restart is acceptable: required for
    /// real money on a store that does not survive the process.
    pub fn single_process_volatile_store(mut self) -> Self {
        self.volatile = Permission::Granted;
        self
    }

    /// Replaces a running configuration: its outstanding challenges for fixed prices are honoured until they expire. The
    /// secrets and the store are the predecessor's unless others are given.
    pub fn replaces(mut self, predecessor: &Mpp) -> Self {
        self.predecessor = Some(predecessor.clone());
        self
    }

    /// Resolves every linked price against this configuration. No network: see [`Mpp::check`].
    ///
    /// # Errors
    /// A [`BuildError`] that lists every problem, with the file and line of each price concerned.
    pub fn build(self) -> Result<Mpp, BuildError> {
        let mut problems = Vec::new();
        let public = self.public(&mut problems);
        let inherited = self.predecessor.as_ref().map(|old| old.0.journal.store().clone());
        let store = self.store.clone().or(inherited).unwrap_or_else(|| Arc::new(MemoryStore::new()));
        self.check_methods(store.durability(), &mut problems);
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
        let expired_at =
            self.clock.now() + self.predecessor.as_ref().map_or(self.lifetime, |old| old.0.lifetime);
        for spec in registry() {
            if self.ignored.iter().any(|m| covers(m, spec.module)) {
                plans.push(None);
                continue;
            }
            let mut plan = Plan::resolve(spec, &cx, &mut report);
            if let Some(old) = self.predecessor.as_ref().and_then(|old| old.plan(spec).ok()) {
                plan.retire(&old, expired_at);
            }
            plans.push(Some(Arc::new(plan)));
        }
        problems.extend(report.problems);
        let public_url = match public {
            Some((public_url, _)) if problems.is_empty() => public_url,
            _ => return Err(BuildError { problems }),
        };
        for warning in &report.warnings {
            tracing::warn!(target: "mpp::startup", "{warning}");
        }
        if self.methods.iter().any(|m| m.money() == Money::Test) {
            tracing::warn!(target: "mpp::startup", "this server takes test money");
        }
        let sealer = Sealer::new(&secrets);
        Ok(Mpp(Arc::new(Inner {
            public_url,
            realm,
            service: self.service,
            secrets,
            ring,
            sealer,
            methods: self.methods,
            switched_off: self.switched_off,
            journal: Journal::new(store, self.lease, self.settle_timeout, self.grace),
            clock: self.clock,
            lifetime: self.lifetime,
            max_runs: self.max_runs,
            settlements: Arc::new(Semaphore::new(self.max_settlements)),
            settle_timeout: self.settle_timeout,
            body_deadline: self.body_deadline,
            waits: Waits::default(),
            plans,
            late: RwLock::new(HashMap::new()),
            warnings: report.warnings,
        })))
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
        let Some(host) = url.host() else {
            problems.push(format!("the public URL `{url}` names no host"));
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

/// Every problem of a configuration.
///
/// Its `Display` is the report: one numbered line a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    pub(super) problems: Vec<String>,
}

impl BuildError {
    /// The problems, one sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "1 problem in the prices of this program:")?,
            n => write!(f, "{n} problems in the prices of this program:")?,
        }
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "\n  {}. {problem}", i + 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildError {}
