//! The price list as a file under review: a price change shows up as a diff.

use crate::pricing::{OfferSpec, Price, PriceSpec};
use crate::routing::Router;
use std::path::Path;

/// Every mounted price, one line each, sorted: verb, path, offers, handler.
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
    all.join(" · ")
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
/// When they differ, with both lists.
#[track_caller]
pub fn assert_price_list<S>(file: impl AsRef<Path>, router: &Router<S>)
where
    S: Clone + Send + Sync + 'static,
{
    let file = file.as_ref();
    let actual = price_list(router);
    if std::env::var_os("MPP_BLESS").is_some() {
        if let Err(e) = std::fs::write(file, &actual) {
            panic!("{}: {e}", file.display());
        }
        return;
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        actual == expected,
        "the prices are not those of {} (MPP_BLESS=1 accepts them)\n--- the file\n{expected}--- the router\n{actual}",
        file.display()
    );
}
