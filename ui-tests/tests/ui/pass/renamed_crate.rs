//! The library under another name: `crate = …` in every macro.
#![deny(warnings)]

extern crate mpp as renamed;

use renamed::Paid;
use renamed::routing::{Router, get};

const STANDARD: renamed::Terms = renamed::terms!(currency = "usdc", methods(tempo), crate = renamed);

#[renamed::charge(amount = "0.05", terms = STANDARD, crate = renamed)]
async fn weather(_: Paid) {}

#[renamed::charge(amount = "0.05", currency = "usdc", methods(tempo), crate = renamed)]
#[utoipa::path(get, path = "/documented")]
async fn documented(_: Paid) {}

fn main() {
    let price = renamed::price!(amount = "0.05", currency = "usdc", methods(tempo), name = "proxy", crate = renamed);
    assert_eq!(price.spec().name, "proxy");
    let app: Router<renamed::Mpp> =
        Router::new().route("/weather", get(weather)).route("/documented", get(documented));
    assert_eq!(app.mounted().len(), 2);
}
