//! The server: the gate, the routers, the layer, and the one pipeline they go through.
//!
//! [`Mpp`] is a configuration: methods, secrets, store, clock and a [plan](crate::pricing) per price. It goes into the
//! router's state; priced handlers find it there. A handler is mounted with [`routing`], takes [`Paid`], and what cannot be
//! annotated is wrapped with [`Mpp::layer`] or [`Mpp::wrap`]. All of them go through one pipeline, in this order:
//!
//! | what happens | if not | draft-httpauth-payment-00 |
//! | --- | --- | --- |
//! | at most one Payment credential, taken out of the request | 400 | 5.2 |
//! | its challenge was issued here, unchanged | 402 `invalid-challenge`, `malformed-credential` | 5.1.2, 8.2 |
//! | the body is read, and is the one that was quoted | 413, 408, 402 | 5.1.3 |
//! | the handler's other extractors accept the request | their response: 401, 404, 422 | 4.2, 4.3 |
//! | it is paid, or free | 402 with a challenge per offer, `no-store` | 5.1, 11.10 |
//! | the payment verifies, is claimed once and settled | 402; 409 while a copy is under way; 503 if nobody can know | 11.3, 11.5 |
//! | the handler succeeds | its own response; the same credential opens the route again | 11.4 |
//! | a copy of a delivered request gets its response again, if it was to be kept | 402, or 409 with an `Idempotency-Key` | 11.4 |
//! | the delivery is recorded, before the first byte leaves | 503 | 11.5 |
//! | the receipt goes out with a 2xx, `private` | | 5.3 |
//!
//! Refusals are problem documents (RFC 9457); a browser that is asked to pay gets a page instead, with the same status and
//! challenges. After money may have moved the answer is never 402, because clients pay those; what is delivered
//! is used up (402), also where the process died, or lost its store, before the response was sent.

mod authorization;
mod body;
mod builder;
mod drain;
#[doc(hidden)]
pub mod gate;
mod health;
mod journal;
mod known;
#[doc(hidden)]
pub mod layer;
pub mod ledger;
pub mod observe;
pub(crate) mod page;
#[doc(hidden)]
pub mod paid;
mod peer;
pub(crate) mod pipeline;
#[cfg(feature = "openapi")]
mod publishing;
mod rate;
mod recovery;
pub mod refund;
mod replay;
mod respond;
pub mod routing;
pub(crate) mod scope;
mod serving;
mod settlement;

pub use builder::{BuildError, Builder};
pub use health::{Health, Part};
#[cfg(feature = "testing")]
pub(crate) use journal::{ENTRY, state_of};
pub use layer::{Head, LayerPrice, PaymentLayer, PaymentService};
pub use paid::{Hold, Paid};
pub use peer::TrustedProxies;
pub use rate::{Rate, RateLimits};

use crate::clock::Clock;
use crate::method::{MethodProblem, Money, ServerMethod};
use crate::pricing::{Configuration, Findings, Plan, PriceSpec};
use crate::protocol::{ProblemType, Realm, SecretRing, Timestamp};
use crate::store::seal::Sealer;
use crate::store::{Notebook, Quota};
use body::BodyBudget;
use health::Readiness;
use journal::Journal;
use known::Known;
use observe::Observers;
use rate::RateLimiter;
use replay::Shelf;
use respond::Answer;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use url::Url;

/// A configuration: what this server can be paid with, and how.
///
/// Cheap to clone; put it into the router's state. Several can live in one process, each with its own plans.
///
/// ```standalone_crate
/// # #[cfg(feature = "testing")] {
/// use mpp::{Mpp, Paid, Sandbox, Secret, routing::{Router, get}};
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
/// async fn weather(_: Paid) -> &'static str { "sunny" }
///
/// let mpp = Mpp::builder("https://api.example.com")
///     .secret(Secret::generate())
///     .method(Sandbox::new())
///     .allow_test_money()
///     .build()?;
/// let app: axum::Router = Router::new().route("/weather", get(weather)).with_state(mpp).into_axum();
/// # drop(app);
/// # }
/// # Ok::<(), mpp::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Mpp(Arc<Inner>);

struct Inner {
    public_url: Url,
    realm: Realm,
    service: Option<String>,
    /// As configured.
    secrets: SecretRing,
    /// What challenges are bound with: the secrets, or over a volatile store their derivation for this boot.
    ring: SecretRing,
    sealer: Arc<Sealer>,
    shelf: Shelf,
    methods: Vec<Arc<dyn ServerMethod>>,
    switched_off: Vec<String>,
    journal: Journal,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    max_runs: u32,
    settlements: Arc<Semaphore>,
    /// Held while a refund is ordered.
    refunds: tokio::sync::Mutex<()>,
    settle_timeout: Duration,
    body_deadline: Duration,
    bodies: BodyBudget,
    proxies: TrustedProxies,
    rates: Option<RateLimiter>,
    waits: Waits,
    observers: Observers,
    readiness: Readiness,
    /// By `PriceSpec::slot`; `None` for ignored modules.
    plans: Vec<Option<Arc<Plan>>>,
    /// Prices the linker kept from the registry, by address.
    late: RwLock<HashMap<usize, Arc<Plan>>>,
    warnings: Vec<String>,
}

impl Mpp {
    /// Starts a configuration. `public_url` is where clients reach this server, e.g. `https://api.example.com`: the realm
    /// of its challenges is that host.
    ///
    /// ```
    /// use mpp::{Mpp, Secret};
    /// let builder = Mpp::builder("https://api.example.com").secret(Secret::generate());
    /// # drop(builder);
    /// ```
    pub fn builder(public_url: impl Into<String>) -> Builder {
        Builder::new(public_url.into())
    }

    /// Asks every payment method whether its network is there and the right one.
    ///
    /// # Errors
    /// A [`BuildError`] with one sentence per method that cannot be used.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::testing;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// // At start-up, after `build` and before the port opens.
    /// let mpp = testing::mpp();
    /// assert_eq!(mpp.check().await, Ok(()));
    /// # });
    /// # }
    /// ```
    pub async fn check(&self) -> Result<(), BuildError> {
        let mut problems = Vec::new();
        for method in &self.0.methods {
            if let Err(MethodProblem(text)) = method.check().await {
                problems.push(format!("method `{}`: {text}", method.name()));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(BuildError { problems }) }
    }

    /// How many events were dropped because a [hook](Builder::on_event) was too slow for them.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// assert_eq!(mpp::testing::mpp().dropped_events(), 0);
    /// # }
    /// ```
    pub fn dropped_events(&self) -> u64 {
        self.0.observers.dropped()
    }

    /// Takes no more payments, from now on: this process is about to end. What is under way goes on.
    ///
    /// A credential that nobody works on yet, and a request that would be asked to pay, are answered 503 with `Retry-After`
    /// and without a challenge: nothing is claimed any more, and nobody pays a server that is leaving. A copy of a delivery
    /// that was kept is still sent. [`drained`](Self::drained) says when everything is over. Configurations that this one
    /// [replaced](Builder::replaces) take no more either.
    ///
    /// ```
    /// async fn serve(
    ///     listener: tokio::net::TcpListener,
    ///     app: axum::Router,
    ///     mpp: mpp::Mpp,
    ///     // for example `async { let _ = tokio::signal::ctrl_c().await; }`, with tokio's feature `signal`
    ///     asked_to_stop: impl Future<Output = ()> + Send + 'static,
    /// ) -> std::io::Result<()> {
    ///     let leaving = mpp.clone();
    ///     let stop = async move {
    ///         asked_to_stop.await;
    ///         leaving.drain();
    ///     };
    ///     axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    ///     mpp.drained().await;
    ///     Ok(())
    /// }
    /// ```
    pub fn drain(&self) {
        self.0.journal.doors().close();
    }

    /// Returns when [`drain`](Self::drain) was called and nothing that was paid for is under way: no settlement, no handler,
    /// no delivery or kept response being recorded, here and in the configurations that this one [replaced](Builder::replaces).
    ///
    /// It waits for as long as a handler takes, and where the store does not say whether a delivery is committed, until it does or the
    /// credential is over (its challenge's expiry plus the grace period; little more than an hour at most). A process that cannot, ends:
    /// what was under way is in the journal, and the next process goes on with it.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mpp = mpp::testing::mpp();
    /// mpp.drain();
    /// mpp.drained().await; // nothing was under way
    /// # });
    /// # }
    /// ```
    pub async fn drained(&self) {
        self.0.journal.doors().deserted().await;
    }

    /// The realm of the challenges: the host of the public URL.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// assert_eq!(mpp::testing::mpp().realm(), "test.example");
    /// # }
    /// ```
    pub fn realm(&self) -> &str {
        self.0.realm.as_str()
    }

    /// The name that sets this service apart from others of the same realm.
    pub(crate) fn service(&self) -> Option<&str> {
        self.0.service.as_deref()
    }

    /// The public base URL.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// assert_eq!(mpp::testing::mpp().public_url(), "https://test.example/");
    /// # }
    /// ```
    pub fn public_url(&self) -> &str {
        self.0.public_url.as_str()
    }

    /// What start-up found worth saying: offers below a minimum, prices left without an offer, sponsored fees that nobody
    /// pays.
    ///
    /// ```standalone_crate
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, Sandbox, Secret};
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
    /// async fn weather(_: Paid) -> &'static str { "sunny" }
    ///
    /// // Cards cannot be charged five cents; the price stays payable by the other method.
    /// let mpp = Mpp::builder("https://api.example.com")
    ///     .secret(Secret::generate())
    ///     .method(Sandbox::named("tempo"))
    ///     .method(Sandbox::named("stripe").minimum("0.50"))
    ///     .allow_test_money()
    ///     .build()
    ///     .unwrap();
    /// assert!(mpp.warnings()[0].contains("0.05 usdc is below the minimum of `stripe`"));
    /// # }
    /// ```
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The pages of `method`.
    fn notebook(&self, method: &dyn ServerMethod) -> Notebook {
        let quota = if method.money() == Money::Test { Quota::Free } else { Quota::Paid };
        let (store, clock) = (self.0.journal.store().clone(), self.0.clock.clone());
        Notebook::new(store, self.0.sealer.clone(), method.name(), quota, clock)
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The plan of a price: an array index, or for a price the registry missed a look-up by address.
    pub(crate) fn plan(&self, spec: &'static PriceSpec) -> Result<Known<'_, Plan>, Answer> {
        match spec.slot.get().and_then(|slot| self.0.plans.get(slot)) {
            Some(Some(plan)) => Ok(Known::Lent(plan)),
            Some(None) | None => self.late_plan(spec).map(Known::Shared),
        }
    }

    /// Whether a price is of a module that start-up was told to [ignore](Builder::ignore_module).
    #[cfg(feature = "openapi")]
    pub(crate) fn ignores(&self, spec: &PriceSpec) -> bool {
        spec.slot.get().and_then(|slot| self.0.plans.get(slot)).is_some_and(Option::is_none)
    }

    /// Whether a client can be told to come back later ([`Builder::rate_limits`]).
    #[cfg(feature = "openapi")]
    pub(crate) fn limits_rates(&self) -> bool {
        self.0.rates.is_some()
    }

    /// Resolves a price that start-up did not see. It is enforced all the same, or answers 500: never a free pass.
    #[cold]
    fn late_plan(&self, spec: &'static PriceSpec) -> Result<Arc<Plan>, Answer> {
        let address = std::ptr::from_ref(spec).addr();
        if let Some(plan) = self.0.late.read().unwrap_or_else(PoisonError::into_inner).get(&address) {
            return Ok(plan.clone());
        }
        let cx = Configuration {
            realm: &self.0.realm,
            ring: &self.0.ring,
            methods: &self.0.methods,
            switched_off: &self.0.switched_off,
        };
        let mut report = Findings::default();
        let plan = Arc::new(Plan::resolve(spec, &cx, &mut report));
        if !report.problems.is_empty() {
            for problem in &report.problems {
                tracing::error!(target: "mpp::startup", "a price that start-up did not check was reached: {problem}");
            }
            return Err(Answer::fault(ProblemType::Internal, "this price is not configured"));
        }
        self.0.late.write().unwrap_or_else(PoisonError::into_inner).insert(address, plan.clone());
        Ok(plan)
    }
}

impl fmt::Debug for Mpp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<_> = self.0.methods.iter().map(|m| m.name().to_string()).collect();
        f.debug_struct("Mpp")
            .field("realm", &self.0.realm.as_str())
            .field("methods", &methods)
            .finish_non_exhaustive()
    }
}

/// How many requests wait for another one's payment, by challenge id: at most two each.
#[derive(Default)]
struct Waits(Mutex<HashMap<String, u8>>);

impl Waits {
    const PER_PAYMENT: u8 = 2;

    /// A place in the queue, or `None` when it is full.
    fn enter<'a>(&'a self, id: &str) -> Option<Waiting<'a>> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waits.entry(id.to_owned()).or_default();
        if *count >= Self::PER_PAYMENT {
            return None;
        }
        *count += 1;
        Some(Waiting { waits: self, id: id.to_owned() })
    }
}

/// A place in the queue; given back when dropped.
struct Waiting<'a> {
    waits: &'a Waits,
    id: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waits.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                waits.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_may_wait_for_a_payment_and_nothing_of_them_is_left_when_they_are_gone() {
        let waits = Waits::default();
        let (first, second) = (waits.enter("a"), waits.enter("a"));
        assert!(first.is_some() && second.is_some() && waits.enter("a").is_none());
        assert!(waits.enter("b").is_some(), "each payment has its own places");
        drop(first);
        let third = waits.enter("a");
        assert!(third.is_some() && waits.enter("a").is_none());
        drop((second, third));
        assert!(waits.0.lock().unwrap().is_empty());
    }
}
