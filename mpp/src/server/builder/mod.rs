//! `Mpp::builder`: the configuration, checked whole.
//!
//! [`Builder::build`] reports every problem of every price at once, before a port opens. The library reads no
//! environment variables and no files; what it needs, it is given. What the settings mean on the wire is in
//! draft-httpauth-payment-00: the realm and `expires` in section 5.1, secrets in 5.1.2, TLS in 11.2.
//!
//! | file | what |
//! | --- | --- |
//! | `mod.rs` | who is paid, by what, where it is kept, and what has to be allowed |
//! | `limits.rs` | how long, how often and how much |
//! | `check.rs` | `build` |
//! | `report.rs` | what it found |

mod check;
mod limits;
mod report;

pub use report::BuildError;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Mpp;
use super::observe::{Event, Hook};
use super::peer::TrustedProxies;
use super::rate::RateLimits;
use crate::clock::{Clock, SystemClock};
use crate::method::ServerMethod;
use crate::protocol::{Secret, SecretRing};
use crate::store::Store;
use limits::{BODY_BUDGET, GRACE, KEPT_RESPONSE, KEPT_RESPONSES, LEASE, LIFETIME};

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

    /// A ring of secrets: the first signs and seals, all verify and open. Rotate in three deployments: `[old, new]`,
    /// `[new, old]`, and `[new]` after the longest challenge lifetime plus grace and a sweep of [`Mpp::recover`] since then that
    /// returned `Ok`: it seals with the first what lasts longer, as payments of unknown outcome may. `SECURITY.md` has all of it.
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

    /// Where claims, journals and leases are kept. Default: a bounded [`MemoryStore`](crate::store::MemoryStore).
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

    /// Accepts methods that deal in [test money](crate::method::Money::Test).
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
    /// secrets and the store are the predecessor's unless others are given. A successor that [drains](Mpp::drain) closes and
    /// waits for its predecessor too; the other way round nothing happens.
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
    /// A line takes one key of the store until then, and counts against its [`Limits`](crate::store::Limits), which say how
    /// many bytes that is.
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
}
