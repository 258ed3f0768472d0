//! What is for sale, told to programs, registries and people (draft-payment-discovery-00).
//!
//! A price stands on its handler, and a route in the router. Documents are made from the two, and from nothing else: what is
//! mounted is listed, with the offers its challenges carry. [`Router::publish`](crate::routing::Router::publish) serves
//! them:
//!
//! | path | for | |
//! | --- | --- | --- |
//! | `/openapi.json` | programs, registries | OpenAPI 3.1 with `x-payment-info` and `x-service-info` |
//! | `/llms.txt` | language models | an index, a line per operation |
//! | `/llms-full.txt` | language models | every operation in words, and how to pay |
//! | `/describe` | programs with little room | an overview; `?text=TOKENS` as text of that length |
//! | `/describe/{operation}` | the same | one operation; `?level=contract` for all of it |
//! | `/reference` | people | an interactive page ([`Info::reference_page`], feature `reference`) |
//!
//! ```standalone_crate
//! # #[cfg(feature = "testing")] {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use axum::{Json, extract::Path};
//! use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
//!
//! #[derive(serde::Serialize, utoipa::ToSchema)]
//! struct Weather {
//!     /// Degrees Celsius.
//!     temperature: f32,
//! }
//!
//! /// Current weather for a city.
//! #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
//! async fn weather(Path(city): Path<String>, _: Paid) -> Json<Weather> {
//!     # drop(city);
//!     Json(Weather { temperature: 21.0 })
//! }
//!
//! let mpp = testing::mpp();
//! let app = Router::new()
//!     .route("/weather/{city}", get(weather))
//!     .publish(&mpp, Info::new("Weather", "1.0.0").category("data").example("city", "oslo"))?
//!     .with_state(mpp);
//!
//! let document: serde_json::Value =
//!     serde_json::from_str(&testing::Client::new(app).get("/openapi.json").unpaid().await.text()).unwrap();
//! let operation = &document["paths"]["/weather/{city}"]["get"];
//! assert_eq!(operation["x-payment-info"]["offers"][1]["method"], "stripe");
//! let result = &operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
//! assert_eq!(result, "#/components/schemas/Weather");
//! # Ok::<(), mpp::BuildError>(())
//! # }).unwrap();
//! # }
//! ```
//!
//! Schemas come from the handler's own types where they have one (`utoipa::ToSchema`, `utoipa::IntoParams`, utoipa 6); a
//! type without one is documented by its media type alone. `#[utoipa::path]` on the same handler wins over that.
//!
//! For reviews there is the manifest, with the terms of every price ([`Documents::manifest`]); a test keeps it in the repository
//! (`testing::assert_manifest`), so that a changed price is a diff somebody reads. It is not published.
//!
//! What the documents say is advice: the 402 decides (DISC-01, DISC-10).

mod catalogue;
mod conflicts;
mod describe;
mod documents;
mod info;
pub(crate) mod library;
mod llms;
mod manifest;
mod openapi;
mod place;
mod prepared;
mod publication;
#[cfg(feature = "reference")]
mod reference;
mod sample;

pub use describe::{Description, UnknownItem, contract, describe, describe_item};
pub use documents::Documents;
pub use info::Info;
pub(crate) use publication::Published;
pub use sample::{Difference, NoSample, Sample, samples};

#[doc(hidden)]
pub use crate::diff::diff as line_diff;
