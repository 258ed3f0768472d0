//! The server: the gate, the routers, the layer, and the one pipeline they go through.
//!
//! [`Mpp`] is a configuration: methods, secrets, store, clock and a [plan](crate::pricing) per price. It goes into the
//! router's state; priced handlers find it there.

mod authorization;
mod builder;
#[doc(hidden)]
pub mod gate;
mod journal;
#[doc(hidden)]
pub mod layer;
#[doc(hidden)]
pub mod paid;
pub(crate) mod pipeline;
mod respond;
pub mod routing;
pub(crate) mod scope;
mod seal;
mod settlement;

pub use builder::{BuildError, Builder};
pub use layer::Head;
pub use paid::{Hold, Paid};

use crate::clock::Clock;
use crate::method::{MethodProblem, ServerMethod};
use crate::pricing::{Configuration, Findings, Plan, PriceSpec};
use crate::protocol::{ProblemType, Realm, SecretRing, Timestamp};
use journal::Journal;
use respond::Answer;
use seal::Sealer;
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
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::{Mpp, Paid, Sandbox, Secret, routing::{Router, get}};
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
/// async fn weather(_: Paid) -> &'static str { "sunny" }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mpp = Mpp::builder("https://api.example.com")
///     .secret(Secret::generate())
///     .method(Sandbox::new())
///     .allow_test_money()
///     .ignore_module("other_examples")
///     .build()?;
/// let app: axum::Router = Router::new().route("/weather", get(weather)).with_state(mpp).into_axum();
/// # drop(app); Ok(()) }
/// # }
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
    sealer: Sealer,
    methods: Vec<Arc<dyn ServerMethod>>,
    switched_off: Vec<String>,
    journal: Journal,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    max_runs: u32,
    settlements: Arc<Semaphore>,
    settle_timeout: Duration,
    body_deadline: Duration,
    waits: Waits,
    /// By `PriceSpec::slot`; `None` for ignored modules.
    plans: Vec<Option<Arc<Plan>>>,
    /// Prices the linker kept from the registry, by address.
    late: RwLock<HashMap<usize, Arc<Plan>>>,
    warnings: Vec<String>,
}

impl Mpp {
    /// Starts a configuration. `public_url` is where clients reach this server, e.g. `https://api.example.com`: the realm
    /// of its challenges is that host.
    pub fn builder(public_url: impl Into<String>) -> Builder {
        Builder::new(public_url.into())
    }

    /// Asks every payment method whether its network is there and the right one.
    ///
    /// # Errors
    /// A [`BuildError`] with one sentence per method that cannot be used.
    pub async fn check(&self) -> Result<(), BuildError> {
        let mut problems = Vec::new();
        for method in &self.0.methods {
            if let Err(MethodProblem(text)) = method.check().await {
                problems.push(format!("method `{}`: {text}", method.name()));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(BuildError { problems }) }
    }

    /// The realm of the challenges: the host of the public URL.
    pub fn realm(&self) -> &str {
        self.0.realm.as_str()
    }

    /// The public base URL.
    pub fn public_url(&self) -> &str {
        self.0.public_url.as_str()
    }

    /// What start-up found worth saying: offers below a minimum, prices left without an offer.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The plan of a price: an array index, or for a price the registry missed a look-up by address.
    fn plan(&self, spec: &'static PriceSpec) -> Result<Arc<Plan>, Answer> {
        match spec.slot.get().and_then(|slot| self.0.plans.get(slot)) {
            Some(Some(plan)) => Ok(plan.clone()),
            Some(None) | None => self.late_plan(spec),
        }
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
