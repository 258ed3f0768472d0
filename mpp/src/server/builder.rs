//! `Mpp::builder`: the configuration, checked whole.
//!
//! [`Builder::build`] reports every problem of every price at once, before a port opens. The library reads no
//! environment variables and no files; what it needs, it is given. What the settings mean on the wire is in
//! draft-httpauth-payment-00: the realm and `expires` in section 5.1, secrets in 5.1.2, TLS in 11.2.

use super::body::BodyBudget;
use super::health::Readiness;
use super::journal::Journal;
use super::observe::{Event, Hook, Observers};
use super::peer::TrustedProxies;
use super::rate::{RateLimiter, RateLimits};
use super::replay::Shelf;
use super::{Inner, Mpp, Waits};
use crate::clock::{Clock, SystemClock};
use crate::method::{MethodProblem, Money, ServerMethod};
use crate::pricing::{Configuration, Findings, Plan, registry};
use crate::protocol::{MethodName, Realm, Secret, SecretRing};
use crate::store::seal::Sealer;
use crate::store::{Durability, MemoryStore, Store};
use std::collections::{BTreeSet, HashMap};
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
/// How long a durable store's ledger keeps a payment.
const LEDGER_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// What bodies of unpaid requests take at most, all together.
const BODY_BUDGET: usize = 256 * 1024 * 1024;
/// Below this a lease of whole seconds may be over before its first heartbeat.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// The largest response that is kept.
const KEPT_RESPONSE: usize = 64 * 1024;
/// How much all kept responses take, of paid requests and again of free proofs and test money.
const KEPT_RESPONSES: usize = 64 * 1024 * 1024;

/// Builds an [`Mpp`]; see [`Mpp::builder`].
///
/// ```standalone_crate
/// # #[cfg(feature = "sandbox")] {
/// use mpp::{Mpp, Sandbox, Secret};
/// use std::time::Duration;
///
/// let mpp = Mpp::builder("https://api.example.com")
///     .secret(Secret::generate()) // a server that is restarted or replicated is given one: `mpp secret`
///     .method(Sandbox::new())
///     .allow_test_money()
///     .challenge_lifetime(Duration::from_secs(120))
///     .build()?;
/// assert_eq!(mpp.realm(), "api.example.com");
/// # }
/// # Ok::<(), mpp::BuildError>(())
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
    body_budget: usize,
    kept_response: usize,
    kept_responses: usize,
    proxies: TrustedProxies,
    rates: Option<RateLimits>,
    test_money: Permission,
    insecure: Permission,
    volatile: Permission,
    predecessor: Option<Mpp>,
    hooks: Vec<Hook>,
    ledger: Option<Duration>,
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
            body_budget: BODY_BUDGET,
            kept_response: KEPT_RESPONSE,
            kept_responses: KEPT_RESPONSES,
            proxies: TrustedProxies::none(),
            rates: None,
            test_money: Permission::Refused,
            insecure: Permission::Refused,
            volatile: Permission::Refused,
            predecessor: None,
            hooks: Vec::new(),
            ledger: None,
        }
    }

    /// The secret that binds challenges to this server (draft-httpauth-payment-00 section 5.1.2); shared by all its replicas.
    /// Required.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// let forgotten = Mpp::builder("https://api.example.com").build().unwrap_err();
    /// assert!(forgotten.to_string().contains("no secret"));
    ///
    /// // 64 hexadecimal digits, as `mpp secret` prints them; never in the source of a real server.
    /// let secret = Secret::from_hex("202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f").unwrap();
    /// let builder = Mpp::builder("https://api.example.com").secret(secret);
    /// # drop(builder);
    /// # }
    /// ```
    pub fn secret(self, secret: Secret) -> Self {
        self.secrets(SecretRing::new(secret))
    }

    /// A ring of secrets: the first signs, all verify. Rotate in three deployments: `[old, new]`, `[new, old]`, and
    /// `[new]` after the longest challenge lifetime plus grace.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let (current, next) = (Secret::generate(), Secret::generate());
    /// // The first of three deployments: signs with the current secret, already verifies with the next.
    /// let ring = SecretRing::new(current).also(next);
    /// let builder = Mpp::builder("https://api.example.com").secrets(ring);
    /// # drop(builder);
    /// # }
    /// ```
    pub fn secrets(mut self, ring: SecretRing) -> Self {
        self.ring = Some(ring);
        self
    }

    /// A payment method that can be paid. One of each name.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// let twice = Mpp::builder("https://api.example.com")
    ///     .secret(Secret::generate())
    ///     .method(Sandbox::named("tempo"))
    ///     .method(Sandbox::named("tempo"))
    ///     .allow_test_money();
    /// assert!(twice.build().unwrap_err().to_string().contains("method `tempo` is configured twice"));
    /// # }
    /// ```
    pub fn method(mut self, method: impl ServerMethod) -> Self {
        self.methods.push(Arc::new(method));
        self
    }

    /// As [`method`](Self::method), for a method that is shared with something else.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let barter = Arc::new(Sandbox::named("barter"));
    /// let mpp = builder.shared_method(barter.clone()).build().unwrap();
    /// # }
    /// ```
    pub fn shared_method(mut self, method: Arc<dyn ServerMethod>) -> Self {
        self.methods.push(method);
        self
    }

    /// Runs without a method that prices name: its offers are left out, and a price left without any answers 503.
    ///
    /// ```standalone_crate
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
    /// async fn weather(_: Paid) -> &'static str { "sunny" }
    ///
    /// let mpp = Mpp::builder("https://api.example.com")
    ///     .secret(Secret::generate())
    ///     .method(testing::sandbox("tempo", Arc::new(SystemClock)))
    ///     .allow_test_money()
    ///     .switched_off("stripe")
    ///     .build()
    ///     .unwrap();
    /// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp));
    /// client.get("/weather").unpaid().await.assert_offers(["tempo 0.05 usdc"]);
    /// # });
    /// # }
    /// ```
    pub fn switched_off(mut self, method: impl Into<String>) -> Self {
        self.switched_off.push(method.into());
        self
    }

    /// Exempts the prices of a linked library that is not mounted, by module path prefix. If one is reached after all, it
    /// is resolved then, and answers 500 when that fails.
    ///
    /// ```standalone_crate
    /// # #[cfg(feature = "testing")] {
    /// // Another crate, really: linked for something else than its routes.
    /// mod catalogue {
    ///     #[mpp::charge(amount = "9.00", currency = "usd", methods(stripe))]
    ///     pub async fn everything(_: mpp::Paid) {}
    /// }
    ///
    /// let builder = || mpp::Mpp::builder("https://api.example.com").secret(mpp::Secret::generate());
    /// assert!(builder().build().is_err(), "`stripe` is not configured");
    ///
    /// let module = concat!(module_path!(), "::catalogue"); // "their_crate::api"
    /// assert!(builder().ignore_module(module).build().is_ok());
    /// # }
    /// ```
    pub fn ignore_module(mut self, module: impl Into<String>) -> Self {
        self.ignored.push(module.into());
        self
    }

    /// Where claims, journals and leases are kept. Default: a bounded [`MemoryStore`].
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// use mpp::store::{Limits, MemoryStore};
    ///
    /// let small = MemoryStore::with_limits(Limits { paid: 10_000, free: 1_000 });
    /// let mpp = builder.store(small).build().unwrap();
    /// # }
    /// ```
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// As [`store`](Self::store), for a store that is shared with something else.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// use mpp::store::{MemoryStore, Store};
    ///
    /// let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    /// let mpp = builder.shared_store(store.clone()).build().unwrap();
    /// # }
    /// ```
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Another source of time, for tests.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// let mpp = builder.clock(clock.clone()).build().unwrap();
    /// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp));
    /// let expires = client.get("/weather").unpaid().await.challenges().offers[0].expires_at().unwrap().unwrap();
    /// assert_eq!(expires.since(clock.now()), Duration::from_secs(300));
    /// # });
    /// # }
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A name mixed into every challenge (`s` of its `opaque`), for services that share a secret but not their routes: a
    /// payment for one opens nothing at the other.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.service("forecasts").build().unwrap();
    /// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp));
    /// let challenge = client.get("/weather").unpaid().await.challenges().offers.remove(0);
    /// assert_eq!(challenge.opaque_map().unwrap().unwrap().get("s"), Some("forecasts"));
    /// # });
    /// # }
    /// ```
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// How long a challenge can be paid: its `expires`, in whole seconds, at least one. Default: 5 minutes.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// # let builder = testing::builder(clock.clone());
    /// let mpp = builder.challenge_lifetime(Duration::from_secs(60)).build().unwrap();
    /// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp));
    /// let expires = client.get("/weather").unpaid().await.challenges().offers[0].expires_at().unwrap().unwrap();
    /// assert_eq!(expires.since(clock.now()), Duration::from_secs(60));
    /// # });
    /// # }
    /// ```
    pub fn challenge_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How long after its challenge expired a settled but undelivered payment still opens the route. Default: 10 minutes.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// # let builder = testing::builder(clock.clone());
    /// use axum::http::StatusCode;
    ///
    /// /// Out of order at first.
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn weather(paid: Paid) -> Result<&'static str, StatusCode> {
    ///     if paid.attempt() == 1 { Err(StatusCode::BAD_GATEWAY) } else { Ok("sunny") }
    /// }
    ///
    /// let mpp = builder.grace(Duration::from_secs(3600)).build().unwrap();
    /// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp));
    /// let credential = client.get("/weather").credential("tempo").await;
    /// assert_eq!(client.get("/weather").presenting(&credential).await.status(), 502);
    /// clock.advance(Duration::from_secs(1800)); // the challenge itself is long over
    /// assert_eq!(client.get("/weather").presenting(&credential).await.status(), 200);
    /// # });
    /// # }
    /// ```
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a process that died keeps others away from its payments, at least 3 seconds. Default: 30 seconds.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.lease(Duration::from_secs(10)).build().unwrap();
    /// # }
    /// ```
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often a handler may run for one payment before it is delivered. Default: 3.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// use axum::http::StatusCode;
    ///
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn broken(_: Paid) -> StatusCode { StatusCode::INTERNAL_SERVER_ERROR }
    ///
    /// let mpp = builder.max_runs(1).build().unwrap();
    /// let client = testing::Client::new(Router::new().route("/broken", get(broken)).with_state(mpp));
    /// let credential = client.get("/broken").credential("tempo").await;
    /// assert_eq!(client.get("/broken").presenting(&credential).await.status(), 500);
    /// client.get("/broken").presenting(&credential).await.assert_problem("unavailable"); // and "refund due" in the log
    /// # });
    /// # }
    /// ```
    pub fn max_runs(mut self, runs: u32) -> Self {
        self.max_runs = runs.max(1);
        self
    }

    /// How many settlements may be under way at once; more are answered 503. Default: 1024.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.max_settlements(64).build().unwrap();
    /// # }
    /// ```
    pub fn max_settlements(mut self, settlements: usize) -> Self {
        self.max_settlements = settlements.max(1);
        self
    }

    /// How long a payment network may take before its answer counts as lost: the client gets a 503 without a challenge,
    /// and the method is asked what became of the payment. Default: 60 seconds.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.settle_timeout(Duration::from_secs(20)).build().unwrap();
    /// # }
    /// ```
    pub fn settle_timeout(mut self, timeout: Duration) -> Self {
        self.settle_timeout = timeout;
        self
    }

    /// How long a client may take to send the body of a priced request; 408 after that. Default: 30 seconds.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.body_deadline(Duration::from_secs(10)).build().unwrap();
    /// # }
    /// ```
    pub fn body_deadline(mut self, deadline: Duration) -> Self {
        self.body_deadline = deadline;
        self
    }

    /// How many bytes of bodies are in memory at once for requests that have not paid yet. Default: 256 MiB.
    ///
    /// A body is read before its request is paid for, because the challenge is bound to it, within the framework's limit for
    /// one (`DefaultBodyLimit`, 2 MiB). One client, and one body, gets a quarter of the budget at most: beyond it the answer is
    /// 429 or 413. The last quarter is kept for requests with an authentic credential; who finds no room is answered 503. Bodies of
    /// prices with `digest = false` are not read here.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.unpaid_body_budget(32 * 1024 * 1024).build().unwrap(); // a small machine
    /// # }
    /// ```
    pub fn unpaid_body_budget(mut self, bytes: usize) -> Self {
        self.body_budget = bytes;
        self
    }

    /// Limits how many challenges and refusals one client gets; beyond that it is answered 429 with `Retry-After`, until it
    /// has waited. A credential with the right HMAC is verified and claimed in any case. Default: no limits, because a challenge
    /// costs a microsecond and keeps nothing, and because a server behind a proxy that is not
    /// [named](Self::trusted_proxies) has one client.
    ///
    /// ```standalone_crate
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Paid, SystemClock, routing::{Router, get}, testing};
    /// # use std::{net::SocketAddr, sync::Arc};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// use axum::{Extension, extract::ConnectInfo};
    /// use mpp::server::{Rate, RateLimits};
    ///
    /// let mpp = builder.rate_limits(RateLimits::new().challenges(Rate::per_minute(2))).build().unwrap();
    /// let peer = Extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4711)))); // as a real server has it
    /// let app: axum::Router = Router::new().route("/weather", get(weather)).with_state(mpp).into_axum();
    /// let client = testing::Client::new(app.layer(peer));
    /// for _ in 0..2 {
    ///     assert_eq!(client.get("/weather").unpaid().await.status(), 402);
    /// }
    /// let limited = client.get("/weather").unpaid().await;
    /// assert_eq!((limited.status().as_u16(), limited.header("retry-after")), (429, Some("30")));
    /// # });
    /// # }
    /// ```
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.rates = Some(limits);
        self
    }

    /// The largest response, head and body, that is kept for an `Idempotency-Key` or by `replay = "response"`, in bytes.
    /// Default: 64 KiB; 0 keeps none.
    ///
    /// A larger one is delivered as always and not kept: a copy of its request with the same key is answered 409
    /// (`idempotency-conflict`), without a challenge.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, post}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn render(_: Paid) -> String { "x".repeat(2000) }
    ///
    /// let mpp = builder.kept_response(1000).build().unwrap();
    /// let client = testing::Client::new(Router::new().route("/render", post(render)).with_state(mpp));
    /// let credential = client.post("/render").credential("tempo").await;
    /// let send = || client.post("/render").header("idempotency-key", "order-7").presenting(&credential);
    /// assert_eq!(send().await.status(), 200);
    /// send().await.assert_problem("idempotency-conflict");
    /// # });
    /// # }
    /// ```
    pub fn kept_response(mut self, bytes: usize) -> Self {
        self.kept_response = bytes;
        self
    }

    /// How many bytes of responses this process keeps at a time, for paid requests and as much again for free proofs and
    /// test money. Default: 64 MiB. While there is no room, responses are delivered and not kept.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{SystemClock, testing};
    /// # use std::sync::Arc;
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// let mpp = builder.kept_responses(256 * 1024 * 1024).build().unwrap();
    /// # }
    /// ```
    pub fn kept_responses(mut self, bytes: usize) -> Self {
        self.kept_responses = bytes;
        self
    }

    /// The reverse proxies in front of this server, whose word about who connected to them is taken. Default: none, so
    /// that everybody behind a proxy is one client, with one share of what is limited per client.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(SystemClock));
    /// use mpp::server::TrustedProxies;
    ///
    /// let mpp = builder.trusted_proxies(TrustedProxies::x_forwarded_for(["10.0.0.0/16"])).build().unwrap();
    /// # }
    /// ```
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Accepts methods that deal in [test money](Money::Test).
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// let builder = || Mpp::builder("https://api.example.com").secret(Secret::generate()).method(Sandbox::new());
    /// let complains = |builder: mpp::Builder| builder.build().is_err_and(|report| report.to_string().contains("test money"));
    /// assert!(complains(builder()));
    /// assert!(!complains(builder().allow_test_money()));
    /// # }
    /// ```
    pub fn allow_test_money(mut self) -> Self {
        self.test_money = Permission::Granted;
        self
    }

    /// Accepts a public URL that is plain http beyond loopback. Payment credentials travel in the clear then, against
    /// draft-httpauth-payment-00 section 11.2.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// let builder = || Mpp::builder("http://shop.internal").secret(Secret::generate());
    /// let complains = |builder: mpp::Builder| builder.build().is_err_and(|report| report.to_string().contains("plain http"));
    /// assert!(complains(builder()));
    /// assert!(!complains(builder().allow_insecure()));
    /// # }
    /// ```
    pub fn allow_insecure(mut self) -> Self {
        self.insecure = Permission::Granted;
        self
    }

    /// Says that this is the only process and that losing the journal on a restart is acceptable: required for
    /// real money on a store that does not survive the process.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SecretRing, SystemClock, protocol::Timestamp, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, time::Duration};
    /// # #[cfg(feature = "tempo")] {
    /// # use mpp::Tempo;
    /// let tempo = || Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc("https://rpc.example.org");
    /// let builder = || Mpp::builder("https://api.example.com").secret(Secret::generate()).method(tempo());
    /// let complains = |builder: mpp::Builder| builder.build().is_err_and(|report| report.to_string().contains("forgets"));
    /// assert!(complains(builder()));
    /// assert!(!complains(builder().single_process_volatile_store()));
    /// # }
    /// # }
    /// ```
    pub fn single_process_volatile_store(mut self) -> Self {
        self.volatile = Permission::Granted;
        self
    }

    /// Replaces a running configuration: its outstanding challenges for fixed prices are honoured until they expire. The
    /// secrets and the store are the predecessor's unless others are given.
    ///
    /// ```standalone_crate
    /// # #[cfg(feature = "sandbox")] {
    /// # use mpp::{Mpp, Sandbox, Secret};
    /// # use std::time::Duration;
    /// let sandbox = Sandbox::new();
    /// let builder = || Mpp::builder("https://api.example.com").method(sandbox.clone()).allow_test_money();
    /// let running = builder().secret(Secret::generate()).build()?;
    ///
    /// let next = builder().challenge_lifetime(Duration::from_secs(60)).replaces(&running).build()?;
    /// assert_eq!(next.realm(), running.realm());
    /// # }
    /// # Ok::<(), mpp::BuildError>(())
    /// ```
    pub fn replaces(mut self, predecessor: &Mpp) -> Self {
        self.predecessor = Some(predecessor.clone());
        self
    }

    /// How long the [ledger](crate::ledger) keeps a payment after it was delivered; zero for not at all. Default: 90 days on
    /// a durable store, and not at all on one that forgets anyway. Test money is kept for a day at most.
    ///
    /// A line takes one key of the store, of about 300 bytes.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::testing;
    /// # use std::{sync::Arc, time::Duration};
    /// # let builder = testing::builder(Arc::new(mpp::SystemClock));
    /// let year = Duration::from_secs(365 * 24 * 60 * 60);
    /// let mpp = builder.ledger_retention(year).build().unwrap();
    /// # }
    /// ```
    pub fn ledger_retention(mut self, retention: Duration) -> Self {
        self.ledger = Some(retention);
        self
    }

    /// Tells `hook` what happens to payments, in order: see [`Event`]. May be called several times; each hook has a thread
    /// of its own, so it may block, and a payment never waits for it. When more than 1024 events wait for one hook, further
    /// ones are dropped and [counted](Mpp::dropped_events). A panic ends one call, not the hook.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Paid, routing::{Router, get}, testing};
    /// # use std::{sync::Arc, sync::mpsc};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # let builder = testing::builder(Arc::new(mpp::SystemClock));
    /// use mpp::observe::Event;
    ///
    /// let (till, sold) = mpsc::channel();
    /// let mpp = builder
    ///     .on_event(move |event| {
    ///         if let Event::PaymentSettled { sale, .. } = event {
    ///             till.send(format!("{} {} for {}", sale.amount, sale.currency, sale.operation)).ok();
    ///         }
    ///     })
    ///     .build()
    ///     .unwrap();
    /// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp));
    /// client.get("/weather").paying("tempo").await;
    /// assert_eq!(sold.recv().unwrap(), "0.05 usdc for GET /weather");
    /// # });
    /// # }
    /// ```
    pub fn on_event(mut self, hook: impl FnMut(&Event) + Send + 'static) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }

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
            journal: Journal::new(store, self.lease, self.settle_timeout, self.grace).keeping_lines(lines),
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

/// Every problem of a configuration: what [`Builder::build`] and [`Mpp::check`] found.
///
/// Its `Display` is the report, one numbered line a problem; so is its `Debug`, because that is what a `main` that returns
/// it prints.
///
/// ```
/// let report = mpp::Mpp::builder("api.example.com").build().unwrap_err();
/// assert!(report.to_string().contains("\n  1. the public URL `api.example.com` is not a URL"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BuildError {
    pub(super) problems: Vec<String>,
}

impl BuildError {
    #[cfg(feature = "openapi")]
    pub(crate) fn new(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// The problems, one sentence each.
    ///
    /// ```
    /// let report = mpp::Mpp::builder("api.example.com").build().unwrap_err();
    /// for problem in report.problems() {
    ///     eprintln!("- {problem}");
    /// }
    /// assert!(report.problems()[1].starts_with("no secret"));
    /// ```
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "1 problem in this configuration:")?,
            n => write!(f, "{n} problems in this configuration:")?,
        }
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "\n  {}. {problem}", i + 1)?;
        }
        Ok(())
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BuildError {}
