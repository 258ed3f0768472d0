//! A router that remembers which price is mounted where, so that documents follow the routes.
//!
//! A thin wrapper: every call goes to axum's own router. It keeps a *list* of mounts, because the same prefix may
//! be nested twice and axum serves both. Enforcement does not depend on it: a priced handler on a plain
//! `axum::Router` charges all the same, it is only not listed. What is mounted is also what a challenge is good for: its
//! `opaque` (draft-httpauth-payment-00 section 5.1.2) names verb and path template.

use super::Mpp;
use super::builder::BuildError;
use super::gate::{Gate, Gated, Priced};
use super::layer::PaymentLayer;
#[cfg(feature = "openapi")]
use crate::discovery::Published;
use crate::pricing::{PriceSpec, registry};
use axum::extract::FromRef;
use axum::handler::Handler;
use axum::http::Method;
use std::convert::Infallible;
use tower::{Layer, Service};

/// The argument list of a handler that carries a price.
///
/// `Handler<T, S>` infers `T` from the function; this trait then reads the price type out of it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "this handler has no price",
    label = "not annotated with `#[mpp::charge(…)]`",
    note = "annotate it, or mount it with `axum::routing` if it is meant to be free"
)]
pub trait PricedArguments {
    /// The price.
    fn spec() -> &'static PriceSpec;
}

impl<M, P: Priced, A, K> PricedArguments for (Gated<M>, Gate<P, A, K>) {
    fn spec() -> &'static PriceSpec {
        P::SPEC
    }
}

/// With one implementation only, rustc would infer the arguments from *this* trait and report a signature mismatch
/// instead of the sentence above.
#[doc(hidden)]
#[derive(Debug)]
pub enum NotAHandler {}

impl PricedArguments for NotAHandler {
    fn spec() -> &'static PriceSpec {
        <super::gate::Poisoned as Priced>::SPEC
    }
}

/// A router state that holds an [`Mpp`]. Implemented for every `S` with `Mpp: FromRef<S>`.
///
/// `How` and `State` (always `Self`) are there for the diagnostics: [`get`] binds the handler to `State`, because rustc says
/// nothing of a bound on a type that it could not find. A state without `Mpp` is one error then, and not axum's about
/// the handler as well. Rustc only looks whether an implementation applies where it has two to choose from.
///
/// ```
/// #[derive(Clone)]
/// struct App { mpp: mpp::Mpp }
/// impl axum::extract::FromRef<App> for mpp::Mpp {
///     fn from_ref(app: &App) -> Self { app.mpp.clone() }
/// }
/// fn wants(_: impl mpp::routing::HasMpp) {}
/// # fn check(app: App) { wants(app) }
/// ```
#[diagnostic::on_unimplemented(
    message = "the router state `{Self}` holds no `mpp::Mpp`",
    note = "give the router its state, `.with_state(mpp)`; a state of your own needs a field `mpp: mpp::Mpp` and \
            `#[derive(axum::extract::FromRef)]`"
)]
pub trait HasMpp<How = ByFromRef> {
    /// `Self`.
    type State;
}

/// How a state holds its [`Mpp`]: by [`FromRef`].
#[doc(hidden)]
#[derive(Debug)]
pub enum ByFromRef {}

#[diagnostic::do_not_recommend]
impl<S> HasMpp<ByFromRef> for S
where
    Mpp: FromRef<S>,
{
    type State = S;
}

/// How no state holds an [`Mpp`].
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

#[diagnostic::do_not_recommend]
impl<S> HasMpp<Never> for S
where
    Never: FromRef<S>,
    S: From<Never>,
{
    type State = S;
}

/// A second implementation, so that rustc does not conclude `S = Mpp` from `Mpp: FromRef<S>` when the program has
/// none of its own; the error would then blame the wrong type.
#[doc(hidden)]
#[derive(Debug)]
pub enum SomeOtherState {}

impl FromRef<SomeOtherState> for Mpp {
    fn from_ref(state: &SomeOtherState) -> Self {
        match *state {}
    }
}

/// Priced handlers by verb, for one path. Verbs without a handler answer 405, as axum does.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, routing::{MethodRouter, get}};
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(_: Paid) -> &'static str { "sunny" }
/// let route: MethodRouter<Mpp> = get(weather);
/// # }
/// ```
#[must_use = "a method router does nothing until it is mounted"]
pub struct MethodRouter<S = ()> {
    inner: axum::routing::MethodRouter<S>,
    prices: Vec<(Option<Method>, &'static PriceSpec)>,
}

impl<S> std::fmt::Debug for MethodRouter<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MethodRouter").field("prices", &self.prices.len()).finish_non_exhaustive()
    }
}

impl<S> MethodRouter<S> {
    pub(super) fn priced(
        inner: axum::routing::MethodRouter<S>,
        prices: Vec<(Option<Method>, &'static PriceSpec)>,
    ) -> Self {
        Self { inner, prices }
    }
}

impl<S> From<axum::routing::MethodRouter<S>> for MethodRouter<S> {
    fn from(inner: axum::routing::MethodRouter<S>) -> Self {
        Self { inner, prices: Vec::new() }
    }
}

macro_rules! verbs {
    ($($verb:ident $method:expr, $says:literal;)*) => {
        $(
            #[doc = concat!("A route on which a priced handler answers ", $says, ".")]
            ///
            /// ```
            /// # #[cfg(feature = "testing")] {
            /// # use mpp::{Mpp, Paid, routing::MethodRouter};
            /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
            /// async fn priced(_: Paid) -> &'static str { "paid for" }
            #[doc = concat!("let route: MethodRouter<Mpp> = mpp::routing::", stringify!($verb), "(priced);")]
            /// # }
            /// ```
            pub fn $verb<H, T, S, How>(handler: H) -> MethodRouter<S>
            where
                S: HasMpp<How, State = S> + Clone + Send + Sync + 'static,
                H: Handler<T, S::State>,
                T: PricedArguments + 'static,
            {
                MethodRouter { inner: axum::routing::$verb(handler), prices: vec![($method, T::spec())] }
            }
        )*
    };
}

verbs! {
    get Some(Method::GET), "GET (and challenges HEAD)";
    post Some(Method::POST), "POST";
    put Some(Method::PUT), "PUT";
    patch Some(Method::PATCH), "PATCH";
    delete Some(Method::DELETE), "DELETE";
    options Some(Method::OPTIONS), "OPTIONS";
    trace Some(Method::TRACE), "TRACE";
    any None, "every verb; every verb but HEAD charges";
}

macro_rules! chained {
    ($($verb:ident $method:ident)*) => {
        impl<S: Clone + Send + Sync + 'static> MethodRouter<S> {
            $(
                #[doc = concat!("Adds a priced handler for ", stringify!($method), ".")]
                ///
                /// # Panics
                /// As axum's, when the route answers this verb already.
                ///
                /// ```
                /// # #[cfg(feature = "testing")] {
                /// # use mpp::{Mpp, Paid, routing::{Router, options}};
                /// # #[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
                /// # async fn first(_: Paid) {}
                /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
                /// async fn priced(_: Paid) -> &'static str { "paid for" }
                ///
                #[doc = concat!("let app: Router<Mpp> = Router::new().route(\"/\", options(first).", stringify!($verb), "(priced));")]
                #[doc = concat!("assert_eq!(app.mounted()[1].method.as_ref().unwrap(), \"", stringify!($method), "\");")]
                /// # }
                /// ```
                pub fn $verb<H, T, How>(mut self, handler: H) -> Self
                where
                    S: HasMpp<How, State = S>,
                    H: Handler<T, S::State>,
                    T: PricedArguments + 'static,
                {
                    self.inner = self.inner.$verb(handler);
                    self.prices.push((Some(Method::$method), T::spec()));
                    self
                }
            )*
        }
    };
}

chained! { get GET post POST put PUT patch PATCH delete DELETE }

/// A price and where it is mounted.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
/// let mounted = &app.mounted()[0];
/// assert_eq!(mounted.method.as_ref().map(|verb| verb.as_str()), Some("GET"));
/// assert_eq!((mounted.path.as_str(), mounted.spec.name), ("/weather", "weather"));
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Mounted {
    /// The verb; `None` for every verb.
    pub method: Option<Method>,
    /// The full path as axum serves it, with nesting: `/v1/weather/{city}`.
    pub path: String,
    /// The price.
    pub spec: &'static PriceSpec,
}

/// An [`axum::Router`] that knows the prices mounted on it.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use mpp::{Mpp, Paid, routing::{Router, get}};
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(_: Paid) -> &'static str { "sunny" }
///
/// let app: Router<Mpp> = Router::new()
///     .route("/weather", get(weather))
///     .route("/health", axum::routing::get(|| async { "ok" }));
/// assert_eq!(app.mounted()[0].path, "/weather");
/// # }
/// ```
#[must_use = "a router does nothing until it is served"]
pub struct Router<S = ()> {
    pub(super) inner: axum::Router<S>,
    pub(super) mounted: Vec<Mounted>,
    #[cfg(feature = "openapi")]
    pub(super) published: Option<Published>,
}

impl<S> std::fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("mounted", &self.mounted).finish_non_exhaustive()
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// An empty router.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let app: Router<Mpp> = Router::new();
    /// assert!(app.mounted().is_empty());
    /// # }
    /// ```
    pub fn new() -> Self {
        axum::Router::new().into()
    }

    /// Adds a route: priced handlers with [`get`] and friends, free ones with `axum::routing`.
    ///
    /// # Panics
    /// As [`axum::Router::route`]: a path that is malformed, or overlaps another one.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let app: Router<Mpp> = Router::new()
    ///     .route("/weather", get(weather))
    ///     .route("/health", axum::routing::get(|| async { "ok" }));
    /// assert_eq!(app.mounted().len(), 1);
    /// # }
    /// ```
    pub fn route(mut self, path: &str, route: impl Into<MethodRouter<S>>) -> Self {
        let MethodRouter { inner, prices } = route.into();
        let before = self.mounted.len();
        for (method, spec) in prices {
            self.mounted.push(Mounted { method, path: path.to_owned(), spec });
        }
        if self.is_taken(before) {
            return self;
        }
        // A price there has just been found, so this is a free one.
        #[cfg(feature = "openapi")]
        if let Some(published) = self.published.as_mut().filter(|published| published.serves(path)) {
            self.inner = published.add_beside(self.inner, path, inner);
            return self;
        }
        self.inner = self.inner.route(path, inner);
        self
    }

    /// Nests a router under a prefix. The same prefix may be used more than once.
    ///
    /// # Panics
    /// As [`axum::Router::nest`]: an empty prefix, or one with a wildcard.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let v1: Router<Mpp> = Router::new().route("/weather", get(weather));
    /// let app = Router::new().nest("/v1", v1);
    /// assert_eq!(app.mounted()[0].path, "/v1/weather");
    /// # }
    /// ```
    pub fn nest(mut self, prefix: &str, other: impl Into<Self>) -> Self {
        let (other, before) = (other.into().unpublished(), self.mounted.len());
        self.mounted.extend(other.mounted.into_iter().map(|m| Mounted { path: join(prefix, &m.path), ..m }));
        if !self.is_taken(before) {
            self.inner = self.inner.nest(prefix, other.inner);
        }
        self
    }

    /// Merges a router, one of ours or a plain axum one.
    ///
    /// # Panics
    /// As [`axum::Router::merge`]: when both have the same route, or both a fallback.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let free = axum::Router::new().route("/health", axum::routing::get(|| async { "ok" }));
    /// let app: Router<Mpp> = Router::new().route("/weather", get(weather)).merge(free);
    /// assert_eq!(app.mounted().len(), 1);
    /// # }
    /// ```
    pub fn merge(mut self, other: impl Into<Self>) -> Self {
        let (other, before) = (other.into().unpublished(), self.mounted.len());
        self.mounted.extend(other.mounted);
        if !self.is_taken(before) {
            self.inner = self.inner.merge(other.inner);
        }
        self
    }

    /// The handler for requests no route matches. A priced fallback charges under the literal path; it is not
    /// [listed](Self::mounted).
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let client = testing::Client::new(Router::new().fallback(weather).with_state(testing::mpp()));
    /// client.get("/any/where").unpaid().await.assert_offers(["tempo 0.05 usdc"]);
    /// # });
    /// # }
    /// ```
    pub fn fallback<H, T>(mut self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.inner = self.inner.fallback(handler);
        self
    }

    /// Wraps every route so far; see [`axum::Router::layer`].
    ///
    /// # Panics
    /// At start-up, as axum does for overlapping routes: when the layer is a price ([`Mpp::layer`]) and a route below it has
    /// one already. On a plain `axum::Router` such a request answers 500 instead.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// use axum::extract::DefaultBodyLimit;
    ///
    /// let app: Router<Mpp> = Router::new().route("/weather", get(weather)).layer(DefaultBodyLimit::max(64 * 1024));
    /// # }
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service: Service<axum::extract::Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<axum::extract::Request>>::Response: axum::response::IntoResponse + 'static,
        <L::Service as Service<axum::extract::Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<axum::extract::Request>>::Future: Send + 'static,
    {
        if std::any::TypeId::of::<L>() == std::any::TypeId::of::<PaymentLayer>()
            && let Some(priced) = self.mounted.first()
        {
            panic!(
                "`{}` ({}) has a price of its own and is under a priced layer: a request would have two prices",
                priced.spec.name, priced.spec.location
            );
        }
        self.inner = self.inner.layer(layer);
        self
    }

    /// Provides the state: an [`Mpp`], or [what holds one](HasMpp).
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let app = Router::new().route("/weather", get(weather)).with_state(testing::mpp());
    /// assert_eq!(testing::Client::new(app).get("/weather").unpaid().await.status(), 402);
    /// # });
    /// # }
    /// ```
    pub fn with_state<S2: Clone + Send + Sync + 'static>(self, state: S) -> Router<S2> {
        Router {
            inner: self.inner.with_state(state),
            mounted: self.mounted,
            #[cfg(feature = "openapi")]
            published: self.published,
        }
    }

    /// Every price on this router, in the order of mounting.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
    /// for price in app.mounted() {
    ///     println!("{:?} {}: {}", price.method, price.path, price.spec.summary());
    /// }
    /// assert_eq!(app.mounted().len(), 1);
    /// # }
    /// ```
    pub fn mounted(&self) -> &[Mounted] {
        &self.mounted
    }

    /// Prices linked into this program but mounted nowhere on this router.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// #[mpp::charge(amount = "0.10", currency = "usdc", methods(tempo))]
    /// async fn forgotten(_: Paid) {}
    ///
    /// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
    /// assert!(app.unmounted().iter().any(|price| price.name == "forgotten"));
    /// # }
    /// ```
    pub fn unmounted(&self) -> Vec<&'static PriceSpec> {
        registry()
            .iter()
            .copied()
            .filter(|spec| !self.mounted.iter().any(|m| std::ptr::eq(m.spec, *spec)))
            .collect()
    }

    /// The axum router, to be served.
    ///
    /// # Panics
    /// With the report of [`try_into_axum`](Self::try_into_axum), at start-up, as axum does for overlapping routes. Only
    /// where something was mounted after `publish`, which reports what was mounted before.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{MethodRouter, Router, get, post}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let app: axum::Router = Router::new().route("/weather", get(weather)).with_state(testing::mpp()).into_axum();
    /// # }
    /// ```
    pub fn into_axum(self) -> axum::Router<S> {
        match self.try_into_axum() {
            Ok(router) => router,
            Err(report) => panic!("{report}"),
        }
    }

    /// As [`into_axum`](Self::into_axum), for a program that ends with the report.
    ///
    /// # Errors
    /// [`BuildError`] with what [`publish`](Self::publish) would have said of the routes that were mounted after it: one where a document
    /// is served, and operations that share an id or a place.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let mpp = testing::mpp();
    /// let app = Router::new().publish(&mpp, Info::new("Weather", "1").allow_unmounted())?;
    /// let report = app.route("/llms.txt", get(weather)).with_state::<()>(mpp).try_into_axum().unwrap_err();
    /// assert!(report.problems()[0].contains("is where `publish` serves `/llms.txt`"));
    /// # }
    /// # Ok::<(), mpp::BuildError>(())
    /// ```
    pub fn try_into_axum(self) -> Result<axum::Router<S>, BuildError> {
        #[cfg(feature = "openapi")]
        if let Some(published) = self.published {
            published.finish(self.mounted)?;
        }
        Ok(self.inner)
    }

    /// Whether one of the prices that were just added stands where a document is served. axum would panic over the first; left out
    /// here, all of them are in the report.
    fn is_taken(&self, before: usize) -> bool {
        #[cfg(feature = "openapi")]
        if let Some(published) = &self.published {
            return self.mounted[before..].iter().any(|m| published.serves(&m.path));
        }
        let _ = before;
        false
    }

    /// A router below a prefix or beside others: only the outermost one knows everything its documents have to say.
    fn unpublished(self) -> Self {
        #[cfg(feature = "openapi")]
        assert!(
            self.published.is_none(),
            "a published router was nested or merged: its documents would be incomplete; publish the outermost one"
        );
        self
    }
}

impl<S: Clone + Send + Sync + 'static> From<axum::Router<S>> for Router<S> {
    fn from(inner: axum::Router<S>) -> Self {
        Self {
            inner,
            mounted: Vec::new(),
            #[cfg(feature = "openapi")]
            published: None,
        }
    }
}

/// The path of a nested route, as axum joins it.
fn join(prefix: &str, path: &str) -> String {
    if prefix.ends_with('/') {
        format!("{prefix}{}", path.trim_start_matches('/'))
    } else if path == "/" {
        prefix.to_owned()
    } else {
        format!("{prefix}{path}")
    }
}
