//! This library and the prices linked into this program, in the same three levels as a service: for whoever, or whatever,
//! writes a server with it.
//!
//! Topics are the entrances of the library; prices are read from the registry, so they are there before anything is
//! mounted or configured.

use super::describe::{Description, UnknownItem, nearest};
use crate::pricing::{OfferSpec, Price, PriceSpec, Tier, registry};
use serde_json::{Value, json};

/// An entrance of the library.
struct Topic {
    name: &'static str,
    summary: &'static str,
    /// How it is written.
    usage: &'static str,
    /// All of it; empty where the summary and the usage are.
    reference: &'static str,
}

const TOPICS: &[Topic] = &[
    Topic {
        name: "charge",
        summary: "a price on an axum handler",
        usage: r#"#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))] async fn weather(paid: mpp::Paid) -> String"#,
        reference: include_str!("../../docs/charge.md"),
    },
    Topic {
        name: "price",
        summary: "a price for a service that cannot be annotated",
        usage: r#"router.layer(mpp.layer(mpp::price!(amount = "0.002", currency = "usdc", methods(tempo), name = "search")))"#,
        reference: include_str!("../../docs/price.md"),
    },
    Topic {
        name: "terms",
        summary: "methods and currencies that several prices share",
        usage: r#"const STANDARD: mpp::Terms = mpp::terms!(currency = "usdc", methods(tempo, stripe));"#,
        reference: include_str!("../../docs/terms.md"),
    },
    Topic {
        name: "Paid",
        summary: "the argument that proves a request is paid for: who, by what, in which run",
        usage: "async fn report(paid: mpp::Paid<mpp::Receipt>) -> String { paid.reference.clone() }",
        reference: "",
    },
    Topic {
        name: "Mpp",
        summary: "the configuration: methods, secret, store; `build` reports every problem of every price at once",
        usage: r#"let mpp = mpp::Mpp::builder("https://api.example.com").secret(secret).method(method).store(store).build()?;"#,
        reference: "",
    },
    Topic {
        name: "routing",
        summary: "a router that remembers which price is mounted where",
        usage: r#"mpp::routing::Router::new().route("/weather", mpp::routing::get(weather)).with_state(mpp).into_axum()"#,
        reference: "",
    },
    Topic {
        name: "publish",
        summary: "OpenAPI, llms.txt and describe from what is mounted",
        usage: r#"router.publish(&mpp, mpp::discovery::Info::new("Weather", "1.0.0"))?"#,
        reference: "",
    },
    Topic {
        name: "testing",
        summary: "test money for every method a price names, and a client that pays with it (feature `testing`)",
        usage: r#"mpp::testing::Client::new(router.with_state(mpp::testing::mpp())).get("/weather").paying("tempo").await"#,
        reference: "",
    },
];

/// The overview: what this library does, and every price linked into this program.
///
/// ```
/// let overview = mpp::describe();
/// assert!(overview.text(400).contains("charge: a price on an axum handler"));
/// assert_eq!(overview.json()["topics"][0]["name"], "charge");
/// ```
pub fn describe() -> Description {
    let head = vec![format!("mpp {}: prices on HTTP handlers (HTTP 402)", env!("CARGO_PKG_VERSION"))];
    let topics = TOPICS.iter().map(|topic| format!("{}: {}", topic.name, topic.summary));
    let prices = registry().iter().map(|price| format!("{}: {}", price.name, costs(price)));
    let json = json!({
        "level": "overview",
        "topics": TOPICS.iter().map(|t| json!({ "name": t.name, "summary": t.summary })).collect::<Vec<_>>(),
        "prices": registry().iter().map(|p| json!({
            "name": p.name, "module": p.module, "summary": p.summary(), "price": costs(p),
        })).collect::<Vec<_>>(),
    });
    Description::new(json, head, topics.chain(prices).collect())
}

/// One topic of the library, or one price of this program by its handler's name.
///
/// # Errors
/// [`UnknownItem`], with the nearest names.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// /// Current weather.
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// async fn weather_today(_: mpp::Paid) -> &'static str { "sunny" }
///
/// assert!(mpp::describe_item("weather_today").unwrap().text(100).contains("0.05 usdc by tempo"));
/// assert!(mpp::describe_item("terms").unwrap().text(100).contains("mpp::terms!"));
/// assert_eq!(mpp::describe_item("chrage").unwrap_err().nearest()[0], "charge");
/// # }
/// ```
pub fn describe_item(name: &str) -> Result<Description, UnknownItem> {
    described(name, Depth::Item)
}

/// All there is to know of a topic or price: its reference, or its terms and where it stands.
///
/// # Errors
/// [`UnknownItem`], with the nearest names.
///
/// ```
/// let charge = mpp::describe_contract("charge").unwrap();
/// assert!(charge.text(usize::MAX).contains("methods("));
/// assert_eq!(charge.json()["level"], "contract");
/// ```
pub fn describe_contract(name: &str) -> Result<Description, UnknownItem> {
    described(name, Depth::Contract)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Item,
    Contract,
}

impl Depth {
    fn name(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::Contract => "contract",
        }
    }
}

fn described(name: &str, depth: Depth) -> Result<Description, UnknownItem> {
    if let Some(topic) = TOPICS.iter().find(|topic| topic.name == name) {
        return Ok(of_topic(topic, depth));
    }
    if let Some(price) = registry().iter().find(|price| price.name == name) {
        return Ok(of_price(price, depth));
    }
    let names = TOPICS.iter().map(|t| t.name).chain(registry().iter().map(|p| p.name));
    Err(UnknownItem::new("topic or price", name, nearest(name, names.map(str::to_owned).collect())))
}

fn of_topic(topic: &Topic, depth: Depth) -> Description {
    let mut json = json!({
        "level": depth.name(), "name": topic.name, "summary": topic.summary, "usage": topic.usage,
    });
    let mut lines = vec![topic.usage.to_owned()];
    if depth == Depth::Contract {
        lines.extend(topic.reference.lines().map(str::to_owned));
        json["reference"] = topic.reference.into();
    }
    Description::new(json, vec![format!("{}: {}", topic.name, topic.summary)], lines)
}

fn of_price(price: &'static PriceSpec, depth: Depth) -> Description {
    let offers: Vec<Value> = price
        .offers
        .iter()
        .map(|offer| json!({ "method": offer.method, "currency": offer.currency.name, "price": cost(price, offer) }))
        .collect();
    let mut json = json!({
        "level": depth.name(), "name": price.name, "summary": price.summary(), "offers": offers,
    });
    let mut lines = vec![costs(price)];
    if depth == Depth::Contract {
        lines.push(format!("at {} in {}", price.location, price.module));
        lines.extend(price.docs.lines().map(str::to_owned));
        json["at"] = price.location.to_string().into();
        json["module"] = price.module.into();
        json["docs"] = price.docs.into();
        json["description"] = price.description.into();
        json["externalId"] = price.external_id.into();
        json["splits"] = price.splits.iter().map(ToString::to_string).collect();
    }
    Description::new(json, vec![format!("{}: {}", price.name, price.summary())], lines)
}

/// As the annotation says it; what a method makes of it depends on the configuration.
fn costs(price: &PriceSpec) -> String {
    let ways: Vec<_> = price.offers.iter().map(|o| format!("{} by {}", cost(price, o), o.method)).collect();
    let free = if price.tier == Tier::FreeIf { "; free for some requests" } else { "" };
    ways.join(" or ") + free
}

fn cost(price: &PriceSpec, offer: &OfferSpec) -> String {
    let currency = offer.currency.name;
    match (offer.price, price.up_to) {
        (Price::Fixed(amount), _) => format!("{amount} {currency}"),
        (Price::Computed, Some(ceiling)) => format!("up to {ceiling} {currency}"),
        (Price::Computed, None) => format!("computed, in {currency}"),
    }
}
