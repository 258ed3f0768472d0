//! Functions of every shape.
#![deny(warnings, unused_qualifications, missing_docs, unreachable_pub, missing_debug_implementations)]

use axum::extract::{Multipart, Path, Request, State};
use axum::http::StatusCode;
use axum::{Json, response::IntoResponse};
use mpp::routing::{Router, any, get, post};
use mpp::{Mpp, Paid, Receipt};

#[derive(serde::Deserialize)]
struct Point {
    x: u8,
    y: u8,
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn patterns(Path((a, mut b)): Path<(u8, u8)>, _: axum::http::Uri, Json(Point { x, y: _ }): Json<Point>, mut paid: Paid) -> String {
    b += a + x;
    paid = paid.clone();
    format!("{b} {}", paid.reference)
}

#[mpp::charge(amount = mpp::Amount::cents(u128::from(*a + point.y)), currency = "usdc", methods(tempo))]
async fn patterns_in_a_price(Path((a, mut b)): Path<(u8, u8)>, Json(ref point @ Point { x: _, y: _ }): Json<Point>, _: Paid) -> String {
    b += point.x;
    b.to_string()
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn generic<T, const N: usize>(State(_state): State<T>, _: Paid) -> String
where
    T: Clone + Send + Sync + 'static,
{
    N.to_string()
}

#[mpp::charge(amount = price(state), currency = "usdc", methods(tempo), free_if = state.as_ref().is_empty())]
async fn generic_price<T: AsRef<str> + Clone + Send + Sync + 'static>(State(state): State<T>, _: Paid<Option<Receipt>>) {}

fn price<T: AsRef<str>>(state: &T) -> mpp::Amount {
    mpp::Amount::cents(state.as_ref().len() as u128)
}

#[derive(Clone, axum::extract::FromRef)]
struct Text {
    mpp: Mpp,
    text: String,
}

/// Visible in the crate.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
pub(crate) async fn visible(_: Paid<Receipt>) -> impl IntoResponse {
    (StatusCode::CREATED, "made")
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn fallible(_: Paid) -> Result<Json<u8>, StatusCode> {
    let n: u8 = "7".parse().map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(n))
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), state = Mpp)]
async fn whole_request(_: Paid, req: Request) -> String {
    req.uri().to_string()
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), state = Mpp)]
async fn upload(_: Paid, files: Multipart) {
    drop(files);
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn no_other_argument(_paid: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[allow(unused_variables)]
async fn allowed(Path(id): Path<u64>, _: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[expect(unused_variables, reason = "to see that it is fulfilled")]
async fn expected(Path(id): Path<u64>, _: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[expect(dead_code, reason = "mounted nowhere")]
async fn unused(_: Paid) {}

#[cfg(any())]
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn absent(_: Paid) -> NoSuchType {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[cfg(any())]
async fn absent_below(_: Paid) -> NoSuchType {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn r#type(_: Paid) {}

fn main() {
    #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    async fn local(_: Paid) {}

    let text = Router::<Text>::new().route("/generic", get(generic_price::<String>));
    assert_eq!(text.mounted()[0].spec.name, "generic_price");
    let app = Router::<Mpp>::new()
        .route("/patterns/{a}/{b}", post(patterns))
        .route("/price/{a}/{b}", post(patterns_in_a_price))
        .route("/generic", get(generic::<Mpp, 3>))
        .route("/visible", get(visible))
        .route("/fallible", get(fallible))
        .route("/request", any(whole_request))
        .route("/upload", post(upload))
        .route("/none", get(no_other_argument))
        .route("/allowed/{id}", get(allowed))
        .route("/expected/{id}", get(expected))
        .route("/type", get(r#type))
        .route("/local", get(local));
    assert_eq!(app.mounted()[10].spec.name, "type");
    assert_eq!(app.mounted()[11].spec.name, "local");
    let names: Vec<_> = mpp::registry().iter().map(|s| s.name).collect();
    assert!(names.contains(&"unused"));
    assert!(!names.iter().any(|n| n.starts_with("absent")));
}
