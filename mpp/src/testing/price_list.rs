//! The price list as a file under review: a price change shows up as a diff.
//!
//! It lists what a [`Router`] has mounted, so a route that lost its price shows up too.

use super::golden;
use crate::method::Fees;
use crate::pricing::{OfferSpec, Price, PriceSpec, Tier};
use crate::routing::Router;
use std::path::Path;

/// Every mounted price, one line each, sorted: verb, path, offers with what is passed on of them, handler.
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
///
/// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
/// assert_eq!(testing::price_list(&app), "GET /weather   tempo 0.05 usdc   weather\n");
/// ```
pub fn price_list<S>(router: &Router<S>) -> String
where
    S: Clone + Send + Sync + 'static,
{
    let mut lines: Vec<[String; 3]> = router
        .mounted()
        .iter()
        .map(|m| {
            let verb = m.method.as_ref().map_or("ANY", |method| method.as_str());
            [format!("{verb} {}", m.path), offers(m.spec), m.spec.name.to_owned()]
        })
        .collect();
    lines.sort();
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    lines.iter().map(|[path, offers, name]| format!("{path:first$}   {offers:second$}   {name}\n")).collect()
}

fn offers(spec: &PriceSpec) -> String {
    let all: Vec<_> = spec.offers.iter().map(|offer| line(spec, offer)).collect();
    let mut text = all.join(" · ");
    if !spec.splits.is_empty() {
        let parts: Vec<_> = spec.splits.iter().map(ToString::to_string).collect();
        text += &format!(" · of which {}", parts.join(", "));
    }
    if spec.fees == Fees::Sponsored {
        text += " · fees sponsored";
    }
    if let Some(reference) = spec.external_id {
        text += &format!(" · as {reference}");
    }
    if spec.tier == Tier::FreeIf {
        text += " · or free";
    }
    text
}

fn line(spec: &PriceSpec, offer: &OfferSpec) -> String {
    let amount = match (offer.price, spec.up_to) {
        (Price::Fixed(amount), _) => amount.to_string(),
        (Price::Computed, Some(ceiling)) => format!("up to {ceiling}"),
        (Price::Computed, None) => "computed".to_owned(),
    };
    format!("{} {amount} {}", offer.method, offer.currency.name)
}

/// Asserts that the price list of `router` is what `file` says. With the environment variable `MPP_BLESS` set, writes the
/// file instead.
///
/// # Panics
/// When they differ, with the lines that do.
///
/// ```
/// # use mpp::{Amount, Mpp, Paid, Receipt, routing::{Router, get, post}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # let file = std::env::temp_dir().join(format!("mpp-doc-prices-{}.txt", std::process::id()));
/// # std::fs::write(&file, "GET /weather   tempo 0.05 usdc   weather\n").unwrap();
///
/// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
/// // A file in the repository: `concat!(env!("CARGO_MANIFEST_DIR"), "/prices.txt")`.
/// testing::assert_price_list(&file, &app);
/// # std::fs::remove_file(file).unwrap();
/// ```
#[track_caller]
pub fn assert_price_list<S>(file: impl AsRef<Path>, router: &Router<S>)
where
    S: Clone + Send + Sync + 'static,
{
    golden::assert_file(file.as_ref(), &price_list(router), "the prices");
}
