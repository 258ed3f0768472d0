//! What an annotation says, as plain `const` data: one `static` per price.
//!
//! `#[mpp::charge]` and [`price!`](crate::price) write these values; nothing else makes them. They are read at
//! start-up, when a [`Plan`](super::Plan) is resolved from a spec and a configuration, and by documents and
//! reports. Nothing here is parsed or allocated at run time.

use super::split::SplitSpec;
use crate::method::Fees;
use crate::protocol::{Amount, Currency};
use std::sync::atomic::{AtomicU32, Ordering};

/// One price: a priced handler or a `mpp::price!`.
///
/// Written by the macros; the fields are public so that documents, reports and reviews can read them.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
/// use mpp::{Amount, pricing::Price};
///
/// /// Current weather for a city.
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe))]
/// async fn weather(_: Paid) -> &'static str { "sunny" }
///
/// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
/// let price = app.mounted()[0].spec;
/// assert_eq!((price.name, price.summary()), ("weather", "Current weather for a city."));
/// assert_eq!(price.offers[1].method, "stripe");
/// assert_eq!(price.offers[1].price, Price::Fixed(Amount::cents(5)));
/// # }
/// ```
#[derive(Debug)]
pub struct PriceSpec {
    /// `module_path!()` of the annotation.
    pub module: &'static str,
    /// The handler's name, or the `name` of a `price!`.
    pub name: &'static str,
    /// The handler's doc comment, one line per line; the first that says something is the [summary](Self::summary).
    pub docs: &'static str,
    /// `description = "…"`: shown to payers in the challenge.
    pub description: Option<&'static str>,
    /// Who can be paid and how much, in the server's order of preference.
    pub offers: &'static [OfferSpec],
    /// When a request is let through unpaid.
    pub tier: Tier,
    /// `up_to = "…"`: ceiling for a computed price.
    pub up_to: Option<Amount>,
    /// Whether the request body is bound to the challenge.
    pub binding: Binding,
    /// Whether extractors or the challenge come first for requests without a credential.
    pub order: Order,
    /// When the money moves.
    pub capture: Capture,
    /// What a computed price is compared with at redemption.
    pub honor: Honor,
    /// `replay = "response"`: whether a delivered credential is answered again.
    pub replay: Replay,
    /// `fees = "sponsored"`: who pays the network's own fee, where a method has one.
    pub fees: Fees,
    /// `split(…)`: parts of the price that go to others, in the order they were written.
    pub splits: &'static [SplitSpec],
    /// `external_id = "…"`: the merchant's reference, in the request and the receipt of every payment.
    pub external_id: Option<&'static str>,
    /// Where the annotation stands.
    pub location: Location,
    #[cfg(feature = "server")]
    #[doc(hidden)]
    pub shape: Option<fn(&mut super::Shape)>,
    /// The id `#[utoipa::path]` gives the handler's operation, where there is such an attribute.
    #[cfg(feature = "server")]
    #[doc(hidden)]
    pub operation_id: Option<fn() -> Option<String>>,
    #[doc(hidden)]
    pub is_handler: bool,
    /// The handler takes nothing but its payment: no other argument can refuse a request before the price does.
    #[doc(hidden)]
    pub is_bare: bool,
    #[doc(hidden)]
    pub slot: Slot,
}

impl PriceSpec {
    /// The defaults every annotation starts from; the macros write `PriceSpec { name: …, ..PriceSpec::NEW }`.
    #[doc(hidden)]
    #[allow(clippy::declare_interior_mutable_const, reason = "each use is a fresh static with its own slot")]
    pub const NEW: Self = Self {
        module: "",
        name: "",
        docs: "",
        description: None,
        offers: &[],
        tier: Tier::Always,
        up_to: None,
        binding: Binding::Body,
        order: Order::ValidateFirst,
        capture: Capture::BeforeHandler,
        honor: Honor::Recomputed,
        replay: Replay::Refused,
        fees: Fees::Payer,
        splits: &[],
        external_id: None,
        location: Location { file: "", line: 0, column: 0 },
        #[cfg(feature = "server")]
        shape: None,
        #[cfg(feature = "server")]
        operation_id: None,
        is_handler: false,
        is_bare: false,
        slot: Slot::new(),
    };

    /// The first line of the doc comment that says something, or the empty string.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
    /// /// Current weather.
    /// ///
    /// /// From three stations.
    /// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
    /// async fn weather(_: Paid) {}
    ///
    /// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
    /// assert_eq!(app.mounted()[0].spec.summary(), "Current weather.");
    /// # }
    /// ```
    pub fn summary(&self) -> &'static str {
        self.docs.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("")
    }

    /// Whether any offer's amount depends on the request.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
    /// # use mpp::Amount;
    /// #[mpp::charge(amount = Amount::cents(*n), currency = "usdc", methods(tempo))]
    /// async fn units(axum::extract::Path(n): axum::extract::Path<u128>, _: Paid) {}
    ///
    /// let app: Router<Mpp> = Router::new().route("/units/{n}", get(units));
    /// assert!(app.mounted()[0].spec.is_computed());
    /// # }
    /// ```
    pub fn is_computed(&self) -> bool {
        self.offers.iter().any(|o| matches!(o.price, Price::Computed))
    }

    /// Whether this is a zero-amount identity proof (`proof = true`).
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
    /// #[mpp::charge(amount = "0", currency = "pathusd", methods(tempo), proof = true)]
    /// async fn whoami(_: Paid) {}
    ///
    /// let app: Router<Mpp> = Router::new().route("/whoami", get(whoami));
    /// assert!(app.mounted()[0].spec.is_proof());
    /// # }
    /// ```
    pub fn is_proof(&self) -> bool {
        self.tier == Tier::Proof
    }
}

/// One line of a price: this method, this currency, this much.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo, stripe(amount = "0.50", currency = "usd")))]
/// async fn report(_: Paid) {}
///
/// let app: Router<Mpp> = Router::new().route("/report", get(report));
/// let offers = app.mounted()[0].spec.offers;
/// assert_eq!(offers.iter().map(|offer| (offer.method, offer.currency.name)).collect::<Vec<_>>(), [
///     ("tempo", "usdc"),
///     ("stripe", "usd"),
/// ]);
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OfferSpec {
    /// Name of the payment method, e.g. `tempo`.
    pub method: &'static str,
    /// The currency as the annotation names it; the configured method maps it to its own.
    pub currency: Currency,
    /// Fixed or computed per request.
    pub price: Price,
}

impl OfferSpec {
    /// A fixed price. Evaluated in const context by the macros.
    ///
    /// # Panics
    /// In const evaluation, so at compile time: when the amount has more decimal places than the currency.
    #[doc(hidden)]
    pub const fn fixed(method: &'static str, currency: Currency, amount: Amount) -> Self {
        assert!(
            amount.fits(currency.decimals),
            "the amount has more decimal places than the currency of one of its methods"
        );
        Self { method, currency, price: Price::Fixed(amount) }
    }

    /// A price computed from the handler's arguments.
    #[doc(hidden)]
    pub const fn computed(method: &'static str, currency: Currency) -> Self {
        Self { method, currency, price: Price::Computed }
    }
}

/// How much.
///
/// ```
/// use mpp::{Amount, pricing::Price};
///
/// /// A column of a price list.
/// fn column(price: Price) -> String {
///     match price {
///         Price::Fixed(amount) => amount.to_string(),
///         Price::Computed => "depends".to_owned(),
///     }
/// }
/// assert_eq!(column(Price::Fixed(Amount::cents(5))), "0.05");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// The same for every request.
    Fixed(Amount),
    /// An expression over the request.
    Computed,
}

/// When a request is let through without paying.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
/// use mpp::pricing::Tier;
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), free_if = headers.contains_key("x-member"))]
/// async fn report(headers: axum::http::HeaderMap, paid: Paid<Option<Receipt>>) {}
///
/// let app: Router<Mpp> = Router::new().route("/report", get(report));
/// assert_eq!(app.mounted()[0].spec.tier, Tier::FreeIf);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Never.
    Always,
    /// When `free_if` says so.
    FreeIf,
    /// Never, but nothing is charged either: an identity proof of amount zero.
    Proof,
}

/// Whether the body is bound to the challenge (`digest`, draft-httpauth-payment-00 section 5.1.3).
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
/// use mpp::pricing::Binding;
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), digest = false)]
/// async fn report(_: Paid) {}
///
/// let app: Router<Mpp> = Router::new().route("/report", get(report));
/// assert_eq!(app.mounted()[0].spec.binding, Binding::None);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The body's SHA-256 is part of the challenge whenever there is a body.
    Body,
    /// `digest = false`: for uploads that must stream.
    None,
}

/// What a request without a credential meets first.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
/// use mpp::pricing::Order;
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), challenge = "first")]
/// async fn report(_: Paid) {}
///
/// let app: Router<Mpp> = Router::new().route("/report", get(report));
/// assert_eq!(app.mounted()[0].spec.order, Order::ChallengeFirst);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Extractors (401, 404, 422), then the challenge.
    ValidateFirst,
    /// `challenge = "first"`: the challenge, so that catalogues can probe with an empty request.
    ChallengeFirst,
}

/// When the money moves.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
/// use mpp::pricing::Capture;
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), capture = "success")]
/// async fn report(_: Paid<mpp::Hold>) {}
///
/// let app: Router<Mpp> = Router::new().route("/report", get(report));
/// assert_eq!(app.mounted()[0].spec.capture, Capture::OnSuccess);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// Settled before the handler starts.
    BeforeHandler,
    /// `capture = "success"`: reserved before the handler, captured after its success.
    OnSuccess,
}

/// What a computed price is held against when a credential comes back.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, Receipt, routing::{Router, get}};
/// use mpp::{Amount, pricing::Honor};
///
/// fn today(_: &axum::http::HeaderMap) -> Amount { Amount::cents(5) }
///
/// #[mpp::charge(amount = today(&headers), currency = "usdc", methods(tempo), honor = "quote", bind("x-tier"))]
/// async fn rate(headers: axum::http::HeaderMap, _: Paid) {}
///
/// let app: Router<Mpp> = Router::new().route("/rate", get(rate));
/// assert_eq!(app.mounted()[0].spec.honor, Honor::Quoted(&["x-tier"]));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honor {
    /// The price is computed again; the quoted amount must cover it.
    Recomputed,
    /// `honor = "quote"`: the quoted amount stands. The named request headers are bound to the challenge.
    Quoted(&'static [&'static str]),
}

/// What a credential gets that was delivered already.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{Mpp, Paid, routing::{Router, get}};
/// use mpp::pricing::Replay;
///
/// #[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox), replay = "response")]
/// async fn report(_: Paid) {}
///
/// let app: Router<Mpp> = Router::new().route("/report", get(report));
/// assert_eq!(app.mounted()[0].spec.replay, Replay::Response);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// 402, as for every used credential; an `Idempotency-Key` gets its response.
    Refused,
    /// `replay = "response"`: the last success again, until its challenge's expiry plus the grace period.
    Response,
}

/// Where an annotation stands in the source.
///
/// ```
/// use mpp::pricing::Location;
/// assert_eq!(Location { file: "src/api.rs", line: 27, column: 1 }.to_string(), "src/api.rs:27");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// `file!()`.
    pub file: &'static str,
    /// `line!()`.
    pub line: u32,
    /// `column!()`.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Dense index of a spec in every [`Mpp`](crate::Mpp)'s plan table, assigned once per process by the registry.
#[doc(hidden)]
#[derive(Debug)]
pub struct Slot(AtomicU32);

impl Slot {
    const UNSET: u32 = u32::MAX;

    #[allow(clippy::new_without_default, reason = "used in statics only")]
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self(AtomicU32::new(Self::UNSET))
    }

    /// The index, once the registry has assigned one.
    #[doc(hidden)]
    pub fn get(&self) -> Option<usize> {
        match self.0.load(Ordering::Relaxed) {
            Self::UNSET => None,
            i => Some(i as usize),
        }
    }

    #[cfg(feature = "server")]
    pub(super) fn set(&self, index: usize) {
        // More than 2^32 - 1 prices cannot be linked into one program; the spec would stay late-resolved.
        self.0.store(u32::try_from(index).unwrap_or(Self::UNSET), Ordering::Relaxed);
    }
}
