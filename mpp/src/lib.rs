//! Declarative pricing for the Machine Payments Protocol (HTTP 402).
//!
//! A price is declared once, on the handler:
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use mpp::{Paid, Receipt};
//!
//! /// Current weather for a city.
//! #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
//! async fn weather(paid: Paid<Receipt>) -> String {
//!     format!("sunny, paid with {}", paid.reference)
//! }
//! # }
//! ```
//!
//! and that one declaration is the challenge, the verification and the price list. A request without a payment is answered
//! 402 with one challenge per offer; a program pays one of them and asks again; the handler runs, and its response carries
//! the receipt (draft-httpauth-payment-00 section 4.1). A priced handler has no way in but its gate.
//!
//! # A server
//!
//! Written for play money, which needs no network. Real money differs in one line, `.method(Tempo::new(…))`, and a
//! [store][`store`] that survives a restart.
//!
//! ```no_run
//! # #[cfg(feature = "testing")] {
//! use mpp::routing::{Router, get};
//! use mpp::{Mpp, Paid, Sandbox, Secret};
//!
//! #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
//! async fn weather(_: Paid) -> &'static str { "sunny" }
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let mpp = Mpp::builder("https://api.example.com")
//!     .secret(Secret::generate())
//!     .method(Sandbox::new().open_to_all(mpp::Amount::whole(100)))
//!     .allow_test_money()
//!     .build()?; // reports every wrong price of the program at once
//! mpp.check().await?; // asks every payment network whether it is there
//!
//! let app: axum::Router = Router::new().route("/weather", get(weather)).with_state(mpp).into_axum();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app).await?;
//! # Ok(()) }
//! # }
//! ```
//!
//! # Where to look
//!
//! | to | see |
//! | --- | --- |
//! | price a handler: fixed, computed, free tiers, several methods | [`#[charge]`][`charge`], [`terms!`], [`Amount`], [`Currency`] |
//! | know in the handler that it is paid for, by whom, and in which run | [`Paid`], [`Receipt`], [`Hold`] |
//! | price what cannot be annotated | [`price!`], [`Mpp::layer`], [`Mpp::wrap`] |
//! | mount priced handlers and see what is mounted where | [`routing`] |
//! | configure methods, secrets, the store, time limits | [`Mpp::builder`], [`Builder`] |
//! | watch it: hooks, log, metrics, health and readiness | [`observe`], [`Builder::on_event`], [`Mpp::health`] |
//! | know what was sold, and what is owed | [`ledger`] |
//! | give a payment back | [`Mpp::refund`], [`refund`] |
//! | pay for what others price | [`client`] |
//! | test without money | [`testing`] |
//! | list the prices of a program | [`registry`], [`pricing`] |
//! | publish OpenAPI, `llms.txt` and the other documents | [`discovery`] |
//! | read about this library and the linked prices from a program | [`describe`], [`describe_item`], [`describe_contract`] |
//! | add a payment method | [`method`], [`method::ServerMethod`] |
//! | add a store | [`store`] |
//! | read and write the protocol itself | [`protocol`] |
//!
//! Arrows between the modules point one way: [`server`] uses [`pricing`], [`store`] and [`method`], which use [`protocol`],
//! which uses nothing: no I/O, no async, no web framework.
//!
//! # Cargo features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `server` | yes | the macros, the gate, [`routing`], [`Mpp`], the pipeline and the memory store, on axum 0.8 |
//! | `openapi` | yes | [`discovery`]: OpenAPI 3.1, `llms.txt` (brings in utoipa) |
//! | `reference` | | an interactive page beside the documents (Swagger UI, from the binary) |
//! | `sandbox` | | play money with real balances and signatures; no network |
//! | `tempo` | | the `tempo` method: stablecoins on Tempo (brings in alloy) |
//! | `evm` | | the `evm` method: tokens and native coins on any EVM chain (brings in alloy) |
//! | `stripe` | | the `stripe` method: cards by shared payment token (brings in reqwest, no chain) |
//! | `client` | | [`client`]: pays, within a policy (brings in reqwest with rustls, no web framework) |
//! | `redb` | | the embedded durable store, `mpp::store::RedbStore` |
//! | `redis` | | the shared store on Redis or Valkey, `mpp::store::RedisStore` |
//! | `postgres` | | the shared store on PostgreSQL, `mpp::store::PostgresStore` |
//! | `metrics` | | [metrics][`observe`] through the `metrics` crate, for any exporter |
//! | `testing` | | the [testing kit][`testing`]; for `[dev-dependencies]` |
//!
//! Features add and never change. Without any there are [`protocol`], [`pricing`]'s data and the traits of [`method`].
//!
//! # Drafts
//!
//! draft-httpauth-payment-00 (the scheme; "core" in these pages), draft-payment-intent-charge-00 ("charge"),
//! draft-tempo-charge-00, draft-evm-charge-00, draft-stripe-charge-00, RFC 9457 (problems), RFC 9530 (body digests), RFC 8785 (canonical JSON).
//!
// What a feature adds is linked to the table of features in documentation without it.
#![cfg_attr(not(feature = "server"), doc = "[`charge`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`terms!`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`price!`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Paid`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Hold`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Mpp`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Mpp::layer`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Mpp::wrap`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Mpp::builder`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Builder`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Builder::on_event`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Mpp::health`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`ledger`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`observe`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`refund`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`Mpp::refund`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`routing`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`registry`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`store`]: #cargo-features")]
#![cfg_attr(not(feature = "server"), doc = "[`server`]: #cargo-features")]
#![cfg_attr(not(feature = "openapi"), doc = "[`discovery`]: #cargo-features")]
#![cfg_attr(not(feature = "openapi"), doc = "[`describe`]: #cargo-features")]
#![cfg_attr(not(feature = "openapi"), doc = "[`describe_item`]: #cargo-features")]
#![cfg_attr(not(feature = "openapi"), doc = "[`describe_contract`]: #cargo-features")]
#![cfg_attr(not(feature = "client"), doc = "[`client`]: #cargo-features")]
#![cfg_attr(not(feature = "testing"), doc = "[`testing`]: #cargo-features")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The macros write `::mpp::…`; this makes them work inside this crate too.
extern crate self as mpp;

#[cfg(any(feature = "tempo", feature = "evm"))]
mod chain;
#[cfg(feature = "client")]
pub mod client;
mod clock;
#[cfg(any(feature = "testing", feature = "openapi"))]
mod diff;
#[cfg(feature = "openapi")]
pub mod discovery;
pub mod method;
#[cfg(any(feature = "tempo", feature = "evm", feature = "stripe", feature = "client"))]
mod outbound;
pub mod pricing;
pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "tempo", feature = "evm", feature = "stripe", feature = "client", feature = "redis"))]
mod tls;

#[cfg(feature = "server")]
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use clock::{Clock, ManualClock, SystemClock};
pub use pricing::{PriceSpec, Terms};
pub use protocol::{Amount, Currency, Receipt, Secret, SecretRing};

#[cfg(feature = "openapi")]
pub use discovery::library::{describe, describe_contract, describe_item};
#[cfg(feature = "evm")]
pub use method::evm::Evm;
#[cfg(all(feature = "sandbox", feature = "server"))]
pub use method::sandbox::Sandbox;
#[cfg(feature = "stripe")]
pub use method::stripe::Stripe;
#[cfg(feature = "tempo")]
pub use method::tempo::Tempo;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/charge.md")]
pub use mpp_macros::charge;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/price.md")]
pub use mpp_macros::price;
#[cfg(feature = "server")]
#[doc = include_str!("../docs/terms.md")]
pub use mpp_macros::terms;
#[cfg(feature = "server")]
pub use pricing::registry;
#[cfg(feature = "server")]
pub use server::{
    BuildError, Builder, Head, Hold, LayerPrice, Mpp, Paid, PaymentLayer, ledger, observe, refund, routing,
};

/// The README's Rust blocks, compiled and run.
#[cfg(all(
    doctest,
    feature = "testing",
    feature = "openapi",
    feature = "tempo",
    feature = "evm",
    feature = "redb",
    feature = "client"
))]
#[doc = include_str!("../../README.md")]
mod readme {}
