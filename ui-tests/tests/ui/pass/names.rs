//! Handlers may be called anything, live in any module, be re-exported and be mounted more than once.
#![deny(warnings)]

use mpp::Mpp;
use mpp::routing::{Router, get};

mod prices {
    use mpp::Paid;

    macro_rules! called {
        ($($name:ident)*) => {
            $(
                #[allow(non_snake_case)]
                #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
                pub(crate) async fn $name(_: axum::http::Uri, _: Paid) {}
            )*
        };
    }

    called! { config state gate args paid exit response Gate Response core __gate }

    /// The name of the library.
    #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    pub(crate) async fn mpp(_: Paid) {}
}

mod v1 {
    #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    pub(crate) async fn weather(_: mpp::Paid) {}
}

mod v2 {
    #[mpp::charge(amount = "0.06", currency = "usdc", methods(tempo))]
    pub(crate) async fn weather(_: mpp::Paid) {}

    pub(crate) use weather as forecast;
}

use v2::forecast as prediction;

fn main() {
    use prices::*;
    let app: Router<Mpp> = Router::new()
        .route("/0", get(config))
        .route("/1", get(state))
        .route("/2", get(gate))
        .route("/3", get(args))
        .route("/4", get(paid))
        .route("/5", get(exit))
        .route("/6", get(response))
        .route("/7", get(Gate))
        .route("/8", get(Response))
        .route("/9", get(prices::core))
        .route("/10", get(__gate))
        .route("/11", get(prices::mpp))
        .nest("/v1", Router::new().route("/weather", get(v1::weather)))
        .nest("/v2", Router::new().route("/weather", get(v2::weather)))
        .nest("/v2", Router::new().route("/again", get(prediction).post(v2::forecast)));
    let weather: Vec<_> = app.mounted().iter().filter(|m| m.spec.name == "weather").collect();
    let paths: Vec<_> = weather.iter().map(|m| m.path.as_str()).collect();
    assert_eq!(paths, ["/v1/weather", "/v2/weather", "/v2/again", "/v2/again"]);
    let modules: Vec<_> = weather.iter().map(|m| m.spec.module.rsplit("::").next()).collect();
    assert_eq!(modules, [Some("v1"), Some("v2"), Some("v2"), Some("v2")]);
    assert!(app.unmounted().is_empty());
}
