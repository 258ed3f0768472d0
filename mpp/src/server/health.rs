//! Health and readiness: whether this process runs, and whether it can take payments right now.
//!
//! `/healthz` answers 200 as long as the process answers at all: an orchestrator restarts it otherwise. `/readyz` asks the
//! store and every payment network, and answers 503 while one of them is out of reach, and once the server
//! [drains](Mpp::drain), so that requests go elsewhere. Its
//! body names the parts and whether they are ready; why they are not is in the log, because it may name addresses.
//!
//! Answers are kept for a few seconds and asked for once at a time, on a task that outlives who asks: whoever can reach
//! `/readyz` cannot make this server ask its networks more often than that, also not by hanging up.

use super::Mpp;
use crate::method::MethodProblem;
use crate::protocol::Timestamp;
use crate::store::{Key, Quota};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tracing::Instrument as _;

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(5);
/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a server can take payments, part by part. Made by [`Mpp::health`].
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let health = mpp::testing::mpp().health().await;
/// assert!(health.is_ready());
/// assert_eq!(health.parts()[0].name, "store");
/// # });
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    parts: Vec<Part>,
}

/// One thing a server needs to take payments.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// for part in mpp::testing::mpp().health().await.parts() {
///     if let Some(problem) = &part.problem {
///         eprintln!("{}: {problem}", part.name);
///     }
/// }
/// # });
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// `store`, the name of a payment method, or `server` once it [drains](Mpp::drain).
    pub name: String,
    /// Why it is not ready, in a sentence for the operator: it may name addresses.
    pub problem: Option<String>,
}

impl Health {
    /// Whether every part is.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// assert!(mpp::testing::mpp().health().await.is_ready());
    /// # });
    /// # }
    /// ```
    pub fn is_ready(&self) -> bool {
        self.parts.iter().all(|part| part.problem.is_none())
    }

    /// The store first, then the methods as they were configured.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// assert!(mpp::testing::mpp().health().await.parts().iter().any(|part| part.name == "sandbox"));
    /// # });
    /// # }
    /// ```
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// None of its parts counts.
    fn down(why: &str) -> Self {
        Self { parts: vec![Part { name: "server".to_owned(), problem: Some(why.to_owned()) }] }
    }

    /// What strangers may see.
    fn to_json(&self) -> String {
        let parts: serde_json::Map<_, _> =
            self.parts.iter().map(|part| (part.name.clone(), part.problem.is_none().into())).collect();
        serde_json::json!({ "ready": self.is_ready(), "parts": parts }).to_string()
    }
}

/// The last answer, and when it was given.
#[derive(Default)]
pub(super) struct Readiness(Arc<Mutex<Option<(Timestamp, Health)>>>);

impl Mpp {
    /// Asks the store and every payment network whether they can be reached. An answer is kept for five seconds, each part
    /// has five seconds to answer.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// assert!(mpp::testing::mpp().health().await.is_ready());
    /// # });
    /// # }
    /// ```
    pub async fn health(&self) -> Health {
        if self.0.journal.doors().are_closed() {
            return Health::down("it is about to end and takes no more payments");
        }
        let mut last = self.0.readiness.0.clone().lock_owned().await;
        let now = self.now();
        if let Some((at, health)) = last.as_ref()
            && now.since(*at) < FRESH
            && *at <= now
        {
            return health.clone();
        }
        let mpp = self.clone();
        let asking = async move {
            let health = mpp.ask(now).await;
            *last = Some((now, health.clone()));
            health
        };
        tokio::spawn(asking.in_current_span()).await.unwrap_or_else(|panic| {
            tracing::error!(target: "mpp", %panic, "asking the store and the networks failed");
            Health::down("asking the store and the networks failed; the log says why")
        })
    }

    async fn ask(&self, now: Timestamp) -> Health {
        let store = Part { name: "store".to_owned(), problem: self.store_problem().await };
        let mut parts = vec![store];
        for method in &self.0.methods {
            let problem = match tokio::time::timeout(PATIENCE, method.ready(now)).await {
                Ok(Ok(())) if method.available() => None,
                Ok(Ok(())) => Some("it cannot be paid right now".to_owned()),
                Ok(Err(MethodProblem(text))) => Some(text),
                Err(_) => Some("no answer in time".to_owned()),
            };
            parts.push(Part { name: method.name().to_string(), problem });
        }
        for part in &parts {
            if let Some(problem) = &part.problem {
                tracing::warn!(target: "mpp", part = part.name, problem, "not ready to take payments");
            }
        }
        Health { parts }
    }

    async fn store_problem(&self) -> Option<String> {
        // Any key will do: what counts is that the backend answers.
        let key = Key::new(Quota::Free, "health", "");
        match tokio::time::timeout(PATIENCE, self.0.journal.store().get(&key)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        }
    }

    /// `GET /healthz` and `GET /readyz`, to be merged into the application's router, or served on a port of their own.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mpp = mpp::testing::mpp();
    /// let app = axum::Router::new().merge(mpp.health_routes());
    /// let client = mpp::testing::Client::new(app);
    /// assert_eq!(client.get("/healthz").unpaid().await.status(), 200);
    /// assert!(client.get("/readyz").unpaid().await.text().contains(r#""ready":true"#));
    /// # });
    /// # }
    /// ```
    pub fn health_routes<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        let mpp = self.clone();
        let ready = move || {
            let mpp = mpp.clone();
            async move { answer(&mpp.health().await) }
        };
        axum::Router::new()
            .route("/healthz", get(|| async { ([(header::CACHE_CONTROL, "no-store")], "ok\n") }))
            .route("/readyz", get(ready))
    }
}

fn answer(health: &Health) -> Response {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, health.to_json()).into_response()
}
