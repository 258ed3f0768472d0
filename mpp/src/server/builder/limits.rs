//! How long, how often and how much: the numbers of a configuration, and what they are without one.

use std::time::Duration;

use super::Builder;
use crate::server::rate::RateLimits;

/// How long a challenge can be paid, unless configured: five minutes, as every deployed server does.
pub(super) const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How long after that an undelivered payment still opens the route.
pub(super) const GRACE: Duration = Duration::from_secs(10 * 60);
/// How long a dead process keeps others away from an entry.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// What bodies of unpaid requests take at most, all together.
pub(super) const BODY_BUDGET: usize = 256 * 1024 * 1024;
/// The largest response that is kept.
pub(super) const KEPT_RESPONSE: usize = 64 * 1024;
/// How much all kept responses take, of paid requests and again of free proofs and test money.
pub(super) const KEPT_RESPONSES: usize = 64 * 1024 * 1024;

/// Limits.
impl Builder {
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
    /// 429 or 413. The last quarter is kept for requests with an authentic credential, of which one client has a quarter, too; who
    /// finds no room is answered 503. Bodies of prices with `digest = false` are not read here.
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
    /// A larger one is delivered as always and not kept: a copy of its request with a key is answered 409
    /// (`already-answered`), without a challenge.
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
    /// send().await.assert_problem("already-answered");
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
}
