//! Each key by itself does what it says to the price, and nothing else.
#![deny(warnings)]
#![forbid(unsafe_code)]

use mpp::routing::{Router, get};
use mpp::{Amount, Currency, Hold, Mpp, Paid, PriceSpec, Receipt, Terms};

const GOLD: Currency = Currency::new("gold", 3);
const STANDARD: Terms = mpp::terms!(currency = "usdc", methods(tempo, stripe(amount = "0.50", currency = "usd")));

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
async fn plain(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
async fn the_line_of_the_card(_: Paid) {}

#[mpp::charge(amount = "0.125", currency = GOLD, methods(tempo))]
async fn own_currency(_: Paid) {}

#[mpp::charge(amount = "0.05", terms = STANDARD)]
async fn terms(_: Paid) {}

#[mpp::charge(amount = Amount::cents(5), terms = crate::STANDARD)]
async fn computed_terms(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), free_if = false)]
async fn free_if(_: Paid<Option<Receipt>>) {}

#[mpp::charge(amount = Amount::cents(5), currency = "usdc", methods(tempo), up_to = "2.00")]
async fn up_to(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), description = "one city")]
async fn description(_: Paid) {}

#[mpp::charge(amount = "0", currency = "usdc", methods(tempo), proof = true)]
async fn proof(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), challenge = "first")]
async fn challenge_first(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "success")]
async fn capture(_: Paid<Hold>) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), settle = "before")]
async fn settle(_: Paid) {}

#[mpp::charge(amount = Amount::cents(5), currency = "usdc", methods(tempo), honor = "quote", bind("X-Tier"))]
async fn honor(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), digest = false)]
async fn digest(_: Paid, body: axum::body::Body) {
    drop(body);
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), state = Mpp)]
async fn state(_: axum::http::Method, _: Paid) {}

/// Said where the price is.
///
/// And more.
#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), crate = mpp)]
async fn documented(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), fees = "sponsored")]
async fn fees(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), split(platform = "0.01", r#type = "2.5%"))]
async fn split(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), external_id = "sku-42")]
async fn external_id(_: Paid) {}

const MARKET: Terms = mpp::terms!(currency = GOLD, methods(tempo), fees = "sponsored", split(platform = "0.001"));

#[mpp::charge(amount = "0.05", terms = MARKET)]
async fn market(_: Paid) {}

#[mpp::charge(amount = Amount::cents(5), terms = STANDARD, split(platform = "0.01"), fees = "sponsored")]
async fn terms_and_more(_: Paid) {}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), replay = "response")]
async fn replay(_: Paid) {}

const LENIENT: Terms = mpp::terms!(currency = "usdc", methods(tempo), replay = "response");

#[mpp::charge(amount = "0.05", terms = LENIENT)]
async fn replay_of_terms(_: Paid) {}

#[mpp::charge(amount = "0.05", terms = STANDARD, replay = "response")]
async fn terms_and_replay(_: Paid) {}

fn main() {
    let app: Router<Mpp> = Router::new()
        .route("/0", get(plain))
        .route("/1", get(the_line_of_the_card))
        .route("/2", get(own_currency))
        .route("/3", get(terms))
        .route("/4", get(computed_terms))
        .route("/5", get(free_if))
        .route("/6", get(up_to))
        .route("/7", get(description))
        .route("/8", get(proof))
        .route("/9", get(challenge_first))
        .route("/10", get(capture))
        .route("/11", get(settle))
        .route("/12", get(honor))
        .route("/13", get(digest))
        .route("/14", get(state))
        .route("/15", get(documented))
        .route("/16", get(fees))
        .route("/17", get(split))
        .route("/18", get(external_id))
        .route("/19", get(market))
        .route("/20", get(terms_and_more))
        .route("/21", get(replay))
        .route("/22", get(replay_of_terms))
        .route("/23", get(terms_and_replay));
    let layered = mpp::price!(amount = "0.05", currency = "usdc", methods(tempo), replay = "response");
    assert_eq!(differences(layered.spec()), "offers replay=Response");
    let said = |i: usize| differences(app.mounted()[i].spec);
    let fixed = "offers";
    assert_eq!(said(0), fixed);
    assert_eq!(said(1), fixed);
    assert_eq!(app.mounted()[1].spec.offers.len(), 2);
    assert_eq!(app.mounted()[2].spec.offers[0].currency.name, "gold");
    assert_eq!(app.mounted()[3].spec.offers.len(), 2);
    assert!(!app.mounted()[3].spec.is_computed());
    assert!(app.mounted()[4].spec.is_computed());
    assert_eq!(said(5), "offers tier=FreeIf");
    assert_eq!(said(6), "offers up_to=2");
    assert_eq!(said(7), "offers description=one city");
    assert_eq!(said(8), "offers tier=Proof");
    assert_eq!(said(9), "offers order=ChallengeFirst");
    assert_eq!(said(10), "offers capture=OnSuccess");
    assert_eq!(said(11), fixed);
    assert_eq!(said(12), "offers honor=Quoted([\"x-tier\"])");
    assert_eq!(said(13), "offers binding=None");
    assert_eq!(said(14), fixed);
    assert_eq!(said(16), "offers fees=Sponsored");
    assert_eq!(said(17), "offers split=platform 0.01, type 2.5%");
    assert_eq!(said(18), "offers external_id=sku-42");
    assert_eq!(said(19), "offers fees=Sponsored split=platform 0.001");
    assert_eq!(said(20), "offers fees=Sponsored split=platform 0.01");
    for lenient in [21, 22, 23] {
        assert_eq!(said(lenient), "offers replay=Response");
    }
    assert_eq!(app.mounted()[15].spec.docs, "Said where the price is.\n\nAnd more.");
    assert_eq!(app.mounted()[15].spec.summary(), "Said where the price is.");
    let location = app.mounted()[0].spec.location;
    assert!(location.file.ends_with("every_key_alone.rs"));
    assert_eq!(location.line, line_of("#[mpp::charge"));
}

fn line_of(text: &str) -> u32 {
    let line = include_str!("every_key_alone.rs").lines().position(|l| l.starts_with(text));
    u32::try_from(line.expect("this file has one") + 1).expect("it is short")
}

/// What a price says beyond its name and place.
fn differences(spec: &PriceSpec) -> String {
    let default = PriceSpec::NEW;
    let mut out = Vec::new();
    if !spec.offers.is_empty() {
        out.push("offers".to_owned());
    }
    if let Some(text) = spec.description {
        out.push(format!("description={text}"));
    }
    if spec.tier != default.tier {
        out.push(format!("tier={:?}", spec.tier));
    }
    if let Some(ceiling) = spec.up_to {
        out.push(format!("up_to={ceiling}"));
    }
    if spec.binding != default.binding {
        out.push(format!("binding={:?}", spec.binding));
    }
    if spec.order != default.order {
        out.push(format!("order={:?}", spec.order));
    }
    if spec.capture != default.capture {
        out.push(format!("capture={:?}", spec.capture));
    }
    if spec.honor != default.honor {
        out.push(format!("honor={:?}", spec.honor));
    }
    if spec.replay != default.replay {
        out.push(format!("replay={:?}", spec.replay));
    }
    if spec.fees != default.fees {
        out.push(format!("fees={:?}", spec.fees));
    }
    if !spec.splits.is_empty() {
        let parts: Vec<_> = spec.splits.iter().map(ToString::to_string).collect();
        out.push(format!("split={}", parts.join(", ")));
    }
    if let Some(reference) = spec.external_id {
        out.push(format!("external_id={reference}"));
    }
    out.join(" ")
}
