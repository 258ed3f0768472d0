//! `stripe`: cards and other Stripe payment methods by shared payment token (draft-stripe-charge-00).
//!
//! The payer makes a shared payment token (SPT) at Stripe, limited to this amount, currency and seller, and sends its id.
//! We create and confirm one PaymentIntent with it; amount and currency are always those of the route.
//!
//! | file | what |
//! | --- | --- |
//! | `request.rs` | the challenge's `request` and the credential's payload |
//! | `server.rs` | `verify`, `settle`, `resolve`, `hold`, `release` |
//! | `client.rs` | the paying side: [`StripeWallet`] |
//! | `api.rs` | the calls to Stripe, and what its answers mean |
//! | `plan.rs` | what is journaled: the exact form and its idempotency key |
//! | `refund.rs` | giving a payment back, when the operator orders it |
//! | `money.rs`, `connect.rs` | minor units and minimums per currency, Stripe Connect |
//!
//! # When a payment counts as declined, so that its claims are released
//! - No connection to Stripe could be opened: nothing was handed over.
//! - A definitive 4xx of Stripe's own for this idempotency key: a declined card (402), an invalid request (400, 404), or,
//!   for the first attempt only, a refused secret key (401, 403). Stripe remembers the answer to a key that it has acted on
//!   and gives it again, so a fresh 4xx also says that no earlier copy of the request has moved money.
//! - The PaymentIntent is `canceled`. One that `requires_action` (3-D Secure: nobody is there to answer), or rests in any
//!   other state from which it could still be paid, is cancelled by us, and counts only when Stripe says that it is.
//! - The first answer to a key is a replay: somebody has paid with this token for this challenge before, in a journal that is
//!   not ours. The money of *that* payment may have moved; it buys nothing a second time.
//!
//! Everything else is unknown (503, never 402): timeouts, 5xx, 409, 429, what is not Stripe's JSON, `processing`. It is
//! resolved by repeating the same POST with the same key for 20 hours after the journaled first one, less than the 24
//! hours for which Stripe keeps keys; so it executes at most once. A replayed answer is old, so the PaymentIntent
//! is read again. After 20 hours, or where Stripe replays its own failure, the PaymentIntent is looked up by its metadata
//! and nothing is posted.
//!
//! # Holds
//! `capture = "success"` creates the PaymentIntent with `capture_method=manual`. A hold counts as released when Stripe says
//! that it is `canceled`, or when its creation was declined as above, or when 20 hours later no PaymentIntent has its
//! mark (an authorisation that nobody knows is never captured).

mod api;
mod client;
mod connect;
mod money;
mod plan;
mod refund;
mod request;
mod server;
#[cfg(test)]
mod tests;

pub use self::client::{StripeWallet, TokenBackend, TokenBackendError, TokenSource, TokenWanted};
pub use self::connect::Share;

use self::api::{Api, ApiProblem, SecretKey};
use self::connect::Connect;
use crate::method::{MethodName, MethodProblem, Refunding};
use crate::protocol::{Amount, BaseUnits};
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

/// The version of Stripe's API that is asked for unless configured: shared payment tokens need a preview.
pub const STRIPE_VERSION: &str = "2026-07-29.preview";

const BASE_URL: &str = "https://api.stripe.com";
const TIMEOUT: Duration = Duration::from_secs(15);

/// The `stripe` payment method.
///
/// Wrong settings are no panics: they are reported together, with every other start-up problem, by
/// [`ServerMethod::problems`](crate::method::ServerMethod::problems). The secret key is in no `Debug` output, error or log.
///
/// ```
/// use mpp::{Stripe, method::ServerMethod};
///
/// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1MqDcVKA5fEO2tZvKQm9g8Yj");
/// assert_eq!(stripe.problems(), []);
/// // Cards know dollars and cents, and not less than 50 of them.
/// let usdc = stripe.currency("usdc").unwrap();
/// assert_eq!((usdc.id.as_str(), usdc.decimals, usdc.minimum.get()), ("usd", 2, 50));
///
/// assert_eq!(Stripe::new("pk_test_51Abc").problems().len(), 2); // not a secret key, no network id
/// ```
pub struct Stripe {
    name: MethodName,
    key: SecretKey,
    network_id: Option<String>,
    types: Vec<String>,
    minimums: Vec<(String, BaseUnits)>,
    connect: Connect,
    version: String,
    base_url: String,
    timeout: Duration,
    refunding: Refunding,
    wrong: Vec<MethodProblem>,
    api: OnceLock<Result<Api, ApiProblem>>,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe")
            .field("network_id", &self.network_id)
            .field("payment_method_types", &self.types)
            .field("stripe_version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Stripe {
    /// Takes payments into the Stripe account of this secret (`sk_…`) or restricted (`rk_…`, with read and write access to
    /// PaymentIntents) key.
    pub fn new(secret_key: &str) -> Self {
        let mut wrong = Vec::new();
        let key = SecretKey::new(secret_key).unwrap_or_else(|problem| {
            wrong.push(problem);
            SecretKey::none()
        });
        Self {
            name: MethodName::from_static("stripe"),
            key,
            network_id: None,
            types: vec!["card".to_owned()],
            minimums: Vec::new(),
            connect: Connect::default(),
            version: STRIPE_VERSION.to_owned(),
            base_url: BASE_URL.to_owned(),
            timeout: TIMEOUT,
            refunding: Refunding::Unconfigured,
            wrong,
            api: OnceLock::new(),
        }
    }

    /// The Business Network Profile that payers issue their tokens to (`profile_…`). Required; part of every challenge.
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("a profile");
    /// assert_eq!(stripe.problems()[0].to_string(), "the network id \"a profile\" is not a Stripe profile id");
    /// ```
    pub fn network_id(mut self, profile: &str) -> Self {
        if !profile.is_empty() && profile.len() <= 255 && profile.bytes().all(is_id_byte) {
            self.network_id = Some(profile.to_owned());
        } else {
            self.wrong.push(MethodProblem(format!("the network id {profile:?} is not a Stripe profile id")));
        }
        self
    }

    /// What payers are told they can pay with. Default: `card`. A type that settles later (bank debits) ends
    /// `processing`, and the payer is answered 503 until it has: prefer types that settle at once.
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").payment_method_types(["card", "link"]);
    /// assert_eq!(stripe.problems(), []);
    /// assert_eq!(Stripe::new("sk_test_51Abc").network_id("p").payment_method_types([]).problems().len(), 1);
    /// ```
    pub fn payment_method_types<'a>(mut self, types: impl IntoIterator<Item = &'a str>) -> Self {
        self.types.clear();
        for name in types {
            let well_named = !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !well_named {
                self.wrong.push(MethodProblem(format!("{name:?} is not a Stripe payment method type")));
            } else if !self.types.iter().any(|there| there == name) {
                self.types.push(name.to_owned());
            }
        }
        if self.types.is_empty() {
            self.wrong.push(MethodProblem("no payment method type is left; name one, like \"card\"".into()));
        }
        self
    }

    /// Where Stripe's API is, for regional hosts and tests: https, or http to this machine. Default:
    /// `https://api.stripe.com`.
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").base_url("http://stripe.example.com");
    /// assert_eq!(
    ///     stripe.problems()[0].to_string(),
    ///     "the base URL uses plain http to another machine (stripe.example.com); use https",
    /// );
    /// ```
    pub fn base_url(mut self, url: &str) -> Self {
        self.base_url = url.to_owned();
        self
    }

    /// The version of Stripe's API (`Stripe-Version`, always sent). Default: [`STRIPE_VERSION`].
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").stripe_version("2026-09-30.preview");
    /// assert_eq!(stripe.problems(), []);
    /// ```
    pub fn stripe_version(mut self, version: &str) -> Self {
        if !version.is_empty() && version.len() <= 128 && version.bytes().all(|b| b.is_ascii_graphic()) {
            self.version = version.to_owned();
        } else {
            self.wrong.push(MethodProblem(format!("{version:?} is not a version of Stripe's API")));
        }
        self
    }

    /// The least that is charged in a currency, in its units, instead of Stripe's general minimum (0.50 USD). Your
    /// account may have another.
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").minimum("usd", "0.01");
    /// assert_eq!(stripe.currency("usdc").unwrap().minimum.get(), 1);
    /// let odd = Stripe::new("sk_test_51Abc").network_id("profile_1").minimum("jpy", "0.5");
    /// assert_eq!(odd.problems().len(), 1);
    /// ```
    pub fn minimum(mut self, currency: &str, amount: &str) -> Self {
        let Some(money) = money::by_name(currency) else {
            self.wrong.push(MethodProblem(format!("the minimum: the currency {currency:?} is not known")));
            return self;
        };
        match Amount::parse(amount).and_then(|amount| amount.to_base_units(money.decimals)) {
            Ok(units) => {
                self.minimums.retain(|(code, _)| code != money.code);
                self.minimums.push((money.code.to_owned(), units));
            }
            Err(e) => self.wrong.push(MethodProblem(format!("the minimum of {currency}: {e}"))),
        }
        self
    }

    /// Connect: acts on the connected account `acct_…` (the `Stripe-Account` header; direct charges).
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").account("acct_1Seller");
    /// assert_eq!(stripe.problems(), []);
    /// ```
    pub fn account(mut self, account: &str) -> Self {
        self.connect.account = self.account_named("the account", account);
        self
    }

    /// Connect: the connected account that is the business of record.
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").on_behalf_of("someone");
    /// assert_eq!(
    ///     stripe.problems()[0].to_string(),
    ///     "`on_behalf_of`: \"someone\" is not the id of a connected account (acct_…)",
    /// );
    /// ```
    pub fn on_behalf_of(mut self, account: &str) -> Self {
        self.connect.on_behalf_of = self.account_named("`on_behalf_of`", account);
        self
    }

    /// Connect: transfers this share of each payment to a connected account (destination charges).
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// use mpp::method::stripe::Share;
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").transfer_data("acct_1Seller", Share::Everything);
    /// assert_eq!(stripe.problems(), []);
    /// ```
    pub fn transfer_data(mut self, destination: &str, share: Share) -> Self {
        self.connect.transfer =
            self.account_named("`transfer_data`", destination).map(|account| (account, share));
        self
    }

    /// Connect: the platform's fee on each payment. Needs a connected account, by [`account`](Self::account),
    /// [`transfer_data`](Self::transfer_data) or [`on_behalf_of`](Self::on_behalf_of).
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// use mpp::method::stripe::Share;
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").application_fee(Share::BasisPoints(250));
    /// assert_eq!(stripe.problems().len(), 1); // of whose payments?
    /// assert_eq!(stripe.account("acct_1Seller").problems(), []);
    /// ```
    pub fn application_fee(mut self, fee: Share) -> Self {
        self.connect.fee = Some(fee);
        self
    }

    /// How long one answer of Stripe may take before it counts as lost. Default: 15 seconds. A settlement makes up to three
    /// calls, so keep three times this below the builder's `settle_timeout`.
    ///
    /// ```
    /// # use mpp::{Stripe, method::ServerMethod};
    /// # use std::time::Duration;
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1").timeout(Duration::from_secs(5));
    /// assert_eq!(stripe.problems(), []);
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Gives payments back when the operator [orders](crate::Mpp::refund) it: a restricted key needs write access to Refunds
    /// for that. With Connect, transfers and application fees are taken back in proportion.
    ///
    /// ```
    /// # use mpp::{Stripe, method::{Refunding, ServerMethod}};
    /// let stripe = Stripe::new("sk_test_51Abc").network_id("profile_1");
    /// assert_eq!(stripe.refunding(), Refunding::Unconfigured);
    /// assert_eq!(stripe.refunds().refunding(), Refunding::Configured);
    /// ```
    pub fn refunds(mut self) -> Self {
        self.refunding = Refunding::Configured;
        self
    }

    fn account_named(&mut self, what: &str, account: &str) -> Option<String> {
        let named = account.strip_prefix("acct_").is_some_and(|rest| !rest.is_empty())
            && account.len() <= 255
            && account.bytes().all(is_id_byte);
        if !named {
            let problem = format!("{what}: {account:?} is not the id of a connected account (acct_…)");
            self.wrong.push(MethodProblem(problem));
        }
        named.then(|| account.to_owned())
    }

    /// The connection to Stripe, made when first needed.
    fn api(&self) -> Result<&Api, &ApiProblem> {
        self.api.get_or_init(|| Api::new(&self.base_url, self.key.clone(), self.timeout)).as_ref()
    }
}

/// What the ids of Stripe's objects are made of.
fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
