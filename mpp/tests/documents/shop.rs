//! Routes of every kind, for all tests of this program.

use axum::extract::{Form, FromRef, Path, Query};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use mpp::discovery::Info;
use mpp::routing::{Router, get, post};
use mpp::{Amount, Mpp, Paid, Receipt};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Serialize, Deserialize, ToSchema)]
pub struct Weather {
    /// Degrees Celsius.
    pub temperature: f32,
    pub wind: Wind,
}

#[derive(Serialize, Deserialize, ToSchema)]
pub struct Wind {
    pub knots: u32,
}

#[derive(Deserialize, ToSchema)]
pub struct Prompt {
    #[schema(example = "small")]
    pub model: String,
    pub text: String,
}

#[derive(Deserialize, IntoParams)]
pub struct Pages {
    /// How many pages.
    #[param(minimum = 1, example = 2)]
    pub pages: Option<u32>,
}

/// Not described to utoipa.
#[derive(Serialize, Deserialize)]
pub struct Plain {
    pub text: String,
}

/// Current weather for a city.
///
/// From three stations, updated hourly.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe(amount = "0.50", currency = "usd")))]
pub async fn weather(Path(city): Path<String>, _: Paid<Receipt>) -> Json<Weather> {
    drop(city);
    Json(Weather { temperature: 21.0, wind: Wind { knots: 3 } })
}

/// Completes a prompt.
#[mpp::charge(amount = Amount::cents(1) * prompt.text.len(), up_to = "2.00", currency = "usdc", methods(tempo))]
pub async fn complete(Json(prompt): Json<Prompt>, _: Paid) -> Result<String, axum::http::StatusCode> {
    Ok(prompt.text + &prompt.model)
}

#[mpp::charge(amount = Amount::micros(1_000) * *n, currency = "usdc", methods(tempo))]
pub async fn units(Path(n): Path<u32>, _: Paid) -> String {
    n.to_string()
}

/// The first page is free.
#[mpp::charge(
    amount = "0.01",
    currency = "usdc",
    methods(tempo),
    free_if = pages.pages.is_none_or(|pages| pages < 2)
)]
pub async fn search(Query(pages): Query<Pages>, _: Paid<Option<Receipt>>) -> String {
    format!("{:?}", pages.pages)
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn tile(Path((zoom, x)): Path<(u8, u32)>, _: Paid) -> Vec<u8> {
    vec![zoom, u8::try_from(x).unwrap_or_default()]
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn form(Form(plain): Form<Plain>, _: Paid) -> Json<Plain> {
    Json(plain)
}

/// One method, two currencies.
#[mpp::charge(amount = "0.10", methods(tempo(currency = "usdc"), tempo(currency = "pathusd")))]
pub async fn either_token(_: Paid) {}

#[mpp::charge(
    amount = "0.10",
    currency = "usdc",
    methods(tempo),
    split(author = "70%"),
    fees = "sponsored",
    external_id = "article-42"
)]
pub async fn article(_: Paid) {}

#[mpp::charge(amount = "0", currency = "pathusd", methods(tempo), proof = true)]
pub async fn whoami(_: Paid<Receipt>) {}

fn rate_of(headers: &HeaderMap) -> Amount {
    if headers.contains_key("x-tier") { Amount::cents(1) } else { Amount::cents(5) }
}

#[mpp::charge(amount = rate_of(&headers), currency = "usdc", methods(tempo), honor = "quote", bind("x-tier"))]
pub async fn rate(headers: HeaderMap, _: Paid) -> String {
    headers.len().to_string()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(tempo))]
pub async fn files(Path(rest): Path<String>, _: Paid) -> impl axum::response::IntoResponse {
    rest
}

#[mpp::charge(amount = "0.03", currency = "usdc", methods(tempo))]
pub async fn generic<T: std::fmt::Display + Default + Clone + Send + Sync + 'static>(
    value: Option<Extension<T>>,
    _: Paid,
) -> String {
    value.map(|Extension(v)| v.to_string()).unwrap_or_default()
}

pub mod elsewhere {
    use mpp::Paid;

    /// Re-exported.
    #[mpp::charge(amount = "0.04", currency = "usdc", methods(tempo))]
    pub async fn hidden(_: Paid) -> &'static str {
        "found"
    }
}

pub use elsewhere::hidden as reexported;

/// Charge above, utoipa below.
#[mpp::charge(amount = "0.02", currency = "usdc", methods(tempo))]
#[utoipa::path(get, path = "/above", tag = "orders", responses((status = 200, body = Weather), (status = 418)))]
pub async fn above(_: Paid) -> Json<Weather> {
    Json(Weather { temperature: 0.0, wind: Wind { knots: 0 } })
}

/// Utoipa above, charge below.
#[utoipa::path(get, path = "/below", tag = "orders", responses((status = 200, body = String)))]
#[mpp::charge(amount = "0.02", currency = "usdc", methods(tempo))]
pub async fn below(_: Paid) -> &'static str {
    "below"
}

/// A state that holds more than the configuration.
#[derive(Clone)]
pub struct App {
    pub mpp: Mpp,
}

impl FromRef<App> for Mpp {
    fn from_ref(app: &App) -> Self {
        app.mpp.clone()
    }
}

fn tiles() -> Router<App> {
    Router::new().route("/tiles/{zoom}/{x}", get(tile))
}

fn more() -> Router<App> {
    Router::new().route("/form", post(form))
}

/// Every kind of route: two routers under one prefix, a merged one, a state type, generic and re-exported handlers.
pub fn router(mpp: &Mpp) -> Router<App> {
    let legacy = axum::routing::get(|| async { "as it always was" });
    let price = mpp::price!(amount = "0.02", currency = "usdc", methods(tempo), name = "legacy");
    Router::new()
        .route("/weather/{city}", get(weather))
        .route("/complete", post(complete))
        .route("/units/{n}", get(units))
        .route("/search", get(search))
        .route("/either-token", get(either_token))
        .route("/article", get(article))
        .route("/whoami", get(whoami))
        .route("/rate", get(rate))
        .route("/files/{*path}", get(files))
        .route("/generic/text", get(generic::<String>))
        .route("/generic/number", get(generic::<u64>))
        .route("/again", get(reexported))
        .route("/above", get(above))
        .route("/below", get(below))
        .route("/legacy", mpp.wrap(legacy, price))
        .route("/health", axum::routing::get(|| async { "ok" }))
        .nest("/v1", tiles())
        .nest("/v1", more())
        .merge(Router::new().route("/merged", get(weather_of_today)))
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn weather_of_today(_: Paid) -> &'static str {
    "sunny"
}

pub fn info() -> Info {
    Info::new("Everything", "1.0.0")
        .description("One of each.")
        .category("data")
        .homepage("https://shop.example/home")
        .contact("help@shop.example")
        .logo("https://shop.example/logo.svg")
        .example("city", "oslo")
        .example("n", "7")
        .example("zoom", "3")
        .example("x", "12")
        .example("path", "a")
        .body_example("form", serde_json::json!({ "text": "hello" }))
        .allow_unmounted()
}
