//! The testing kit: test money for every method a price names, and a client that pays with it.
//!
//! Belongs in `[dev-dependencies]` with the feature `testing`. Without it nothing outside this crate can make a
//! `Paid` or call a priced handler without paying.
//!
//! | to | use |
//! | --- | --- |
//! | configure a server that takes test money for every price | [`mpp()`], [`builder`] |
//! | buy from it, in process and through the whole protocol | [`Client`] |
//! | call a priced handler directly | [`gate`] |
//! | notice when a price changes | [`assert_price_list`], `assert_manifest` (with `openapi`) |
//! | be sure that documents and challenges agree | `assert_advertised` (with `openapi`) |
//! | test a payment method of your own | [`method_conformance`] |
//! | stop a server at every operation of a payment, or of a refund | [`crash_safety`], [`crash_storm`], [`refund_safety`] |
//! | test a store of your own | [`store_conformance`], [`shared_store_conformance`], [`store_outage_conformance`] |
//! | have test money | [`sandbox`], [`wallet`] |
//!
//! Everything here panics where a test should fail; nothing here belongs in a server.
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use mpp::{Paid, Receipt, routing::{Router, get}, testing};
//!
//! #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
//! async fn weather(paid: Paid<Receipt>) -> String {
//!     format!("sunny, paid by {}", paid.method)
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
//! client.get("/weather").unpaid().await.assert_offers(["tempo 0.05 usdc"]);
//! let bought = client.get("/weather").paying("tempo").await;
//! assert_eq!(bought.status(), 200);
//! assert_eq!(bought.receipt().method.as_str(), "tempo");
//! client.get("/weather").declining().await.assert_problem("verification-failed");
//! # });
//! # }
//! ```

#[cfg(feature = "openapi")]
mod advertised;
mod client;
mod crash;
mod golden;
#[doc(hidden)]
#[allow(missing_docs, reason = "not public API")]
pub mod hot_path;
#[cfg(feature = "openapi")]
mod manifest;
mod method_conformance;
mod price_list;
mod store_conformance;

#[cfg(feature = "openapi")]
pub use advertised::assert_advertised;
pub use client::{Client, Request, Response};
pub use crash::{
    CrashBench, CrashReport, CutOff, Depth, Process, RefundReport, StormReport, crash_safety, crash_storm,
    refund_safety,
};
#[cfg(feature = "openapi")]
pub use manifest::assert_manifest;
pub use method_conformance::{Breach, Conformance, MethodBench, MethodRule, method_conformance};
pub use price_list::{assert_price_list, price_list};
pub use store_conformance::{
    StoreSetup, shared_store_conformance, store_conformance, store_outage_conformance,
};

use crate::clock::{Clock, SystemClock};
use crate::method::sandbox::{Sandbox, Wallet};
use crate::pricing::registry;
use crate::protocol::{Amount, MethodName, Receipt, Secret, Timestamp};
use crate::server::gate::{Gate, PriceOf};
use crate::server::paid::{Delivery, Evidence, Paid};
use crate::server::pipeline::Exit;
use crate::server::{Builder, Mpp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the kit's own wallet starts with, in each currency and at each method.
const OPENING: Amount = Amount::whole(1_000_000);

/// A server configuration on which every method any linked price names is played by a sandbox, with the kit's
/// [`wallet`] funded. The public URL is `https://test.example`.
///
/// # Panics
/// When the prices of the program do not add up; the message is the start-up report.
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(testing::mpp()));
/// assert_eq!(client.get("/weather").paying("tempo").await.status(), 200);
/// # }
/// ```
pub fn mpp() -> Mpp {
    match builder(Arc::new(SystemClock)).build() {
        Ok(mpp) => mpp,
        Err(report) => panic!("{report}"),
    }
}

/// As [`mpp()`], before `build`: to change the clock, the store or anything else.
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use mpp::{ManualClock, protocol::Timestamp};
/// use std::{sync::Arc, time::Duration};
///
/// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
/// let mpp = testing::builder(clock.clone()).build().unwrap();
/// let client = testing::Client::new(Router::new().route("/weather", get(weather)).with_state(mpp));
/// let credential = client.get("/weather").credential("tempo").await;
/// clock.advance(Duration::from_secs(5 * 60 + 1));
/// client.get("/weather").presenting(&credential).await.assert_problem("payment-expired");
/// # }
/// ```
pub fn builder(clock: Arc<dyn Clock>) -> Builder {
    let names: BTreeSet<&str> = registry()
        .iter()
        .flat_map(|price| price.offers)
        .map(|offer| offer.method)
        .chain(["sandbox"])
        .collect();
    let builder = Mpp::builder("https://test.example")
        .secret(Secret::generate())
        .clock(clock.clone())
        .store(crate::store::MemoryStore::new().with_clock(clock.clone()))
        .allow_test_money();
    names.into_iter().fold(builder, |builder, name| builder.method(sandbox(name, clock.clone())))
}

/// A sandbox that plays the payment method `name`, with the kit's [`wallet`] funded: a million units.
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use mpp::SystemClock;
/// use std::sync::Arc;
///
/// // Kept here to look at the books; clones share them.
/// let tempo = testing::sandbox("tempo", Arc::new(SystemClock));
/// assert_eq!(tempo.balance(&testing::wallet().did()).await.unwrap(), Some(Amount::whole(1_000_000)));
/// assert_eq!(tempo.till().await.unwrap(), Amount::ZERO);
/// # }
/// ```
pub fn sandbox(name: &str, clock: Arc<dyn Clock>) -> Sandbox {
    Sandbox::named(name).with_clock(clock).account(&wallet().did(), OPENING)
}

/// The wallet the kit's client pays with: the same one in every test.
///
/// ```
/// assert!(mpp::testing::wallet().did().starts_with("did:key:z6Mk"));
/// ```
pub fn wallet() -> Wallet {
    Wallet::from_seed([7; 32])
}

/// A priced handler's only argument, for calling it directly: no HTTP, no payment, still type-checked.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use axum::extract::Path;
/// use mpp::{Paid, Receipt, testing};
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather(Path(city): Path<String>, paid: Paid<Receipt>) -> String {
///     format!("sunny in {city}, paid by {}", paid.method)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let response = weather(testing::gate((Path("oslo".to_owned()),), Receipt::test())).await;
/// assert_eq!(response.status(), 200);
/// # });
/// # }
/// ```
pub fn gate<P, A, T>(args: A, evidence: T) -> Gate<P, A, T>
where
    P: PriceOf<A>,
    T: Evidence<P::Kind>,
{
    let delivery = Delivery { id: Some("test".to_owned()), payer: Some(wallet().did()), attempt: 1 };
    Gate::new(args, Paid::new(evidence, delivery), Exit::free())
}

impl Receipt {
    /// A receipt for tests: method `sandbox`, reference `test`, 1970.
    ///
    /// ```
    /// let receipt = mpp::Receipt::test();
    /// assert_eq!((receipt.method.as_str(), receipt.reference.as_str()), ("sandbox", "test"));
    /// ```
    pub fn test() -> Self {
        Self::new(MethodName::from_static("sandbox"), "test", Timestamp::from_unix(0))
    }
}
