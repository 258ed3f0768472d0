//! The router's documents: [`Router::publish`] and what goes with it. What they say is [`discovery`](crate::discovery)'s.

use super::Mpp;
use super::builder::BuildError;
use super::routing::Router;
use crate::discovery::{Documents, Info, Published};

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// Serves what is mounted as documents: `/openapi.json`, `/llms.txt`, `/llms-full.txt`, `/describe`, and a reference page where
    /// `info` asks for one ([`discovery`](crate::discovery)). Call it on the outermost router, after the routes; what is mounted later
    /// is looked at by [`try_into_axum`](Self::try_into_axum).
    ///
    /// The documents are built once. Inside a tokio runtime that begins as soon as the router is finished, in the background, so that
    /// what is worth saying about them (`mpp::startup` in the log; [`Documents::warnings`]) is said at start-up; without one,
    /// the first request for a document begins it.
    ///
    /// # Errors
    /// [`BuildError`] with everything that is wrong with `info`; two operations with one id that somebody wrote
    /// (`operation_id` of `#[utoipa::path]`; an id that is only the handler's name is qualified with verb and path), or at one verb
    /// and path of the document; a price where a document is served; and every priced handler of the program
    /// that is not mounted here (unless its module is ignored, or `info` [allows](Info::allow_unmounted) it). A free route where
    /// a document is served is one, too, but axum names only the first of those.
    ///
    /// # Panics
    /// [`nest`](Self::nest) and [`merge`](Self::merge) do when they are given a published router, whose documents would be incomplete.
    ///
    /// ```standalone_crate
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, routing::{Router, get}, testing};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mpp::discovery::Info;
    ///
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn weather(_: Paid) -> &'static str { "sunny" }
    ///
    /// let mpp = testing::mpp();
    /// let app = Router::new().route("/weather", get(weather));
    /// let app = app.publish(&mpp, Info::new("Weather", "1.0.0")).unwrap().with_state(mpp);
    /// let client = testing::Client::new(app);
    /// assert!(client.get("/llms.txt").unpaid().await.text().contains("GET /weather"));
    /// # });
    /// # }
    /// ```
    pub fn publish(mut self, mpp: &Mpp, info: Info) -> Result<Self, BuildError> {
        if self.published.is_some() {
            return Err(BuildError::new(vec!["`publish` was called twice on one router".to_owned()]));
        }
        let (published, inner) = Published::new(mpp, info, &self.mounted, self.inner)?;
        (self.inner, self.published) = (inner, Some(published));
        Ok(self)
    }

    /// What [`publish`](Self::publish) would serve, now: to be written to a file, or looked at by a test.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
    /// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// # async fn weather(_: Paid) -> &'static str { "sunny" }
    /// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
    /// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1.0.0"));
    /// assert_eq!(documents.openapi()["paths"]["/weather"]["get"]["operationId"], "weather");
    /// # }
    /// ```
    pub fn documents(&self, mpp: &Mpp, info: &Info) -> Documents {
        Documents::build(mpp, info, &self.mounted)
    }
}
