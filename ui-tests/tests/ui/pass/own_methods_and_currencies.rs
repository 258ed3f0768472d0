//! Payment methods of the user's own, by type, and currencies from outside the list.
#![deny(warnings)]

use mpp::method::PaymentMethod;
use mpp::routing::{Router, get};
use mpp::{Currency, Mpp, Paid};

mod payments {
    use super::*;

    pub(crate) struct Invoice;

    impl PaymentMethod for Invoice {
        const NAME: &'static str = "invoice";
        const CURRENCIES: &'static [Currency] = &[Currency::EUR, Currency::new("gold", 3)];
    }
}

const GOLD: Currency = Currency::new("gold", 3);

#[mpp::charge(amount = "0.125", currency = "gold", methods(crate::payments::Invoice))]
async fn known_to_the_method_only(_: Paid) {}

#[mpp::charge(
    amount = "0.05",
    currency = "usdc",
    methods(tempo, payments::Invoice(amount = "0.04", currency = "eur"), sandbox(currency = crate::GOLD)),
)]
async fn mixed(_: Paid) {}

const SHARED: mpp::Terms = mpp::terms!(currency = "gold", methods(payments::Invoice, sandbox(currency = GOLD)));

#[mpp::charge(amount = "0.001", terms = SHARED)]
async fn by_terms(_: Paid) {}

macro_rules! every_currency {
    ($($name:literal $amount:literal $handler:ident)*) => {
        $(
            #[mpp::charge(amount = $amount, currency = $name, methods(sandbox))]
            async fn $handler(_: Paid) {}
        )*
        fn every_currency() -> Vec<Router<Mpp>> {
            vec![$(Router::new().route("/", get($handler))),*]
        }
    };
}

every_currency! {
    "usdc" "0.000001" a
    "eurc" "0.000001" b
    "pathusd" "0.000001" c
    "alphausd" "0.000001" d
    "eth" "0.000000000000000001" d1
    "pol" "0.000000000000000001" d2
    "avax" "0.000000000000000001" d3
    "usd" "0.01" e
    "eur" "0.01" f
    "gbp" "0.01" g
    "jpy" "1" h
    "sat" "1" i
}

fn main() {
    let app: Router<Mpp> = Router::new()
        .route("/a", get(known_to_the_method_only))
        .route("/b", get(mixed))
        .route("/c", get(by_terms));
    let offers: Vec<_> =
        app.mounted()[1].spec.offers.iter().map(|o| (o.method, o.currency.name)).collect();
    assert_eq!(offers, [("tempo", "usdc"), ("invoice", "eur"), ("sandbox", "gold")]);
    let known: Vec<_> = every_currency().iter().map(|r| r.mounted()[0].spec.offers[0].currency).collect();
    assert_eq!(known, Currency::KNOWN);
}
