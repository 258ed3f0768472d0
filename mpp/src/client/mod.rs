//! The paying side: a client that answers 402, within a policy, and never pays for the same thing twice.
//!
//! ```no_run
//! use mpp::Amount;
//! use mpp::client::{Budget, Client, FileLedger, Paid, Policy};
//! use mpp::method::sandbox::Wallet;
//! use std::time::Duration;
//!
//! # async fn buy() -> Result<(), Box<dyn std::error::Error>> {
//! // What may be spent: there is no client without a policy. At par, at most five a day, ten cents at a time.
//! let day = Duration::from_secs(24 * 3600);
//! let budget = Budget::per_window("usdc", day, Amount::whole(5)).also("usd").per_request(Amount::cents(10));
//! let policy = Policy::new(budget).origins(["https://api.example.com"]);
//!
//! // What was spent: survives the program, and is shared by all who open it.
//! let ledger = FileLedger::open("spent.jsonl")?;
//!
//! let client = Client::builder(policy, ledger).method(Wallet::generate()).build()?;
//! let http = client.http()?; // a `reqwest` client, behind its usual face
//!
//! let response = http.get("https://api.example.com/weather").send().await?;
//! if let Some(paid) = response.extensions().get::<Paid>() {
//!     println!("paid {}", paid.payment.cost());
//! }
//! # Ok(()) }
//! ```
//!
//! # Ways to use it
//!
//! | you have | use |
//! | --- | --- |
//! | nothing yet | [`Client::http`]: a `reqwest` client that pays |
//! | a `reqwest` client or other middleware | [`Client::middleware`] for `reqwest-middleware` |
//! | a tower service: hyper, tonic, a router in process | [`Client::layer`] |
//! | a question: what would this cost? | [`Client::quote`]: never pays |
//! | a challenge from elsewhere: MCP, a message | [`Client::pay`], and send [`Payment::authorization`] yourself |
//!
//! # Wallets
//!
//! A wallet is a [`ClientMethod`]: it knows what a challenge costs, whether its account has that, how
//! it is paid and what became of it. There is one per method, each behind its feature: `sandbox::Wallet` (play money),
//! `tempo::TempoWallet` and `evm::EvmWallet` (with anything alloy signs with: a local key, a keystore file, a hardware key; an
//! access key of an account on Tempo), `stripe::StripeWallet` (tokens of a callback or a backend of yours). Give a client
//! several: the first one is preferred where a server offers the choice, and several chains are several wallets.
//!
//! ```
//! # #[cfg(all(feature = "evm", feature = "stripe"))] {
//! use mpp::Amount;
//! use mpp::client::{Budget, Client, MemoryLedger, Policy};
//! use mpp::method::evm::{Chain, EvmWallet, PrivateKeySigner};
//! use mpp::method::stripe::{StripeWallet, TokenBackend};
//!
//! // USDC on Base by signature alone, else by card: dollars together, twenty of them at most.
//! let policy = Policy::new(Budget::total("usdc", Amount::whole(20)).also("usd"));
//! let client = Client::builder(policy, MemoryLedger::new())
//!     .method(EvmWallet::new(Chain::BASE, PrivateKeySigner::random()))
//!     .method(StripeWallet::new(TokenBackend::new("https://me.example.com/tokens")?))
//!     .build()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Policy
//!
//! Every payment passes every rule of the [`Policy`], before anything is signed:
//!
//! - the origin is https or this machine, and one of the [allowed](Policy::origins); a redirect to another origin ends it;
//! - the realm is the origin's host or a parent domain, or [pinned](Policy::pin_realm); for a proof of identity exactly the
//!   host;
//! - the challenge is unexpired and [not valid for too long](Policy::longest_validity); its digest is that of the body;
//! - [method](Policy::methods), [network](Policy::networks) and every [recipient](Policy::recipients), also of splits, are
//!   allowed;
//! - a [`Budget`] covers every asset that is spent, and every limit of it holds with the worst case: price, splits and the
//!   most in fees. The [ledger](Ledger) decides that atomically with the entry, over all requests, processes and restarts;
//! - whoever has to [approve](Policy::approved_by) does.
//!
//! What a wallet says a payment [costs](crate::method::ClientMethod::cost) is what is judged: the wallet knows its
//! network and its tokens, the server's description is never relied on. What the account [certainly
//! lacks](crate::method::ClientMethod::afford) is not tried. A refused payment says which rule refused it ([`Refusal`]).
//!
//! # Never twice
//!
//! A credential pays once, however often it is sent; paying again takes another one. So from the moment a credential exists
//! it is kept until its outcome is known:
//!
//! - 409, 503 and their like with `Retry-After` are waited out and answered with the same credential;
//! - any other 4xx but 402 is handed on and is no delivery: the ledger has it as [unknown](Outcome::Unknown), it counts, and
//!   asking again sends the same credential ([`Paid`]);
//! - a lost answer is [`Error::OutcomeUnknown`], with [`Unsettled::retry`]; so is a caller that stops waiting, whose payment
//!   is in [`Client::unsettled`]. The next request for the same thing (verb, URL, body and headers, but for
//!   those that [say nothing](Builder::volatile_headers) about who asks for what) sends that credential again before anything is bought, at most three times;
//! - a credential that was sent in time may be sent again after its challenge has expired;
//! - a 402 after a payment is [`Error::Rejected`]. A further challenge is paid only if the policy [says so](Policy::pay_again)
//!   and the wallet knows that the first payment can never happen ([`Fate::Never`](crate::method::Fate::Never)): what the
//!   server says is no proof;
//! - a challenge that is in the ledger is not paid again.
//!
//! # Where to look
//!
//! `policy`, `budget`, `ledger`: what may be spent and what was. `offers`, `purchase`: from challenges to a credential.
//! `engine`, `open`: one request until its outcome is known. `middleware`, `layer`, `redirects`: the two adapters. Drafts:
//! draft-httpauth-payment-00 sections 4-6 and 8 (CORE-06, 09, 14, 16, 19, 28, 32-34, 38, 40, 46), draft-payment-intent-charge-00
//! (CHG-05, 06, 10).

mod budget;
mod builder;
mod engine;
mod error;
mod event;
mod explanation;
mod layer;
pub mod ledger;
mod middleware;
mod offers;
mod open;
mod origin;
mod payment;
mod policy;
mod purchase;
mod quote;
mod redirects;
mod refusal;

pub use budget::{BrokenLimit, Budget, Limit, Scope};
pub use builder::{BuildError, Builder};
pub use error::{BoxError, Cause, Error, Unsettled, WalletFailed};
pub use event::Event;
pub use explanation::explanation;
pub use layer::{Pay, PayLayer};
pub use ledger::{
    Entry, EntryId, EntryIdError, FileLedger, Ledger, LedgerError, MemoryLedger, Outcome, ReserveError, Spent,
};
pub use middleware::PayMiddleware;
pub use offers::Candidate;
pub use origin::{Origin, OriginError};
pub use payment::{NoReceipt, Paid, Payment};
pub use policy::{Approve, Decision, Policy, Proposal};
pub use quote::{Quote, QuoteError, QuotedOffer};
pub use refusal::{NotPaid, Refusal, RefusedOffer};

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use crate::clock::Clock;
use crate::method::ClientMethod;
use crate::outbound;
use crate::protocol::{Challenge, Receipt};
use error::Asked;
use middleware::Redirects;
use offers::Offers;
use open::OpenPayments;

/// Pays for requests, within its policy; see the [module](self). Clones share everything.
///
/// ```
/// use mpp::client::{Client, MemoryLedger, Policy};
/// use mpp::method::sandbox::Wallet;
///
/// let client = Client::builder(Policy::unlimited(), MemoryLedger::new()).method(Wallet::generate()).build()?;
/// # Ok::<(), mpp::client::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Policy,
    ledger: Arc<dyn Ledger>,
    /// In the order of preference.
    wallets: Vec<Arc<dyn ClientMethod>>,
    clock: Arc<dyn Clock>,
    select: Option<Select>,
    observer: Option<Observer>,
    /// `Accept-Payment`.
    accept: Option<HeaderValue>,
    /// The most that is waited on a server's word, over one request.
    patience: Duration,
    open: OpenPayments,
    /// Headers that do not tell requests apart, beside those that are known.
    volatile: Vec<HeaderName>,
    http: OnceLock<reqwest::Client>,
}

type Select = Box<dyn Fn(&[Candidate]) -> Option<usize> + Send + Sync>;
type Observer = Box<dyn Fn(&Event<'_>) + Send + Sync>;

/// The longest one exchange takes over the client that is built here.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Client {
    /// A client that may pay what this policy allows, and writes it down in this ledger.
    ///
    /// ```
    /// # use mpp::client::{Budget, Client, MemoryLedger, Policy};
    /// # use mpp::{Amount, method::sandbox::Wallet};
    /// let policy = Policy::new(Budget::total("usdc", Amount::whole(1)));
    /// let client = Client::builder(policy, MemoryLedger::new()).method(Wallet::generate()).build()?;
    /// # Ok::<(), mpp::client::BuildError>(())
    /// ```
    pub fn builder(policy: Policy, ledger: impl Ledger) -> Builder {
        Builder::new(policy, Arc::new(ledger))
    }

    /// A `reqwest` client that pays: TLS by rustls with the platform's certificates, no proxy from the environment, one
    /// minute for an exchange, ten redirects. One that leaves the origin takes no credential along, nor what the client can
    /// pay with. For other settings put [`middleware`](Self::middleware) over a client of your own.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    ///
    /// ```no_run
    /// # async fn buy(client: mpp::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let text = client.http()?.get("https://api.example.com/weather").send().await?.text().await?;
    /// # Ok(()) }
    /// ```
    pub fn http(&self) -> Result<reqwest_middleware::ClientWithMiddleware, BuildError> {
        let plain = self.plain_http()?;
        let paying = PayMiddleware::new(self.clone(), Redirects::Followed);
        Ok(reqwest_middleware::ClientBuilder::new(plain).with(paying).build())
    }

    /// The middleware for `reqwest-middleware`. Put it closest to the network: what is above it sees one request and one
    /// response, and retry layers above it do not see a payment's errors as something to repeat.
    ///
    /// Redirects are your client's. `reqwest` drops `Authorization` where one leaves the origin, but takes `Accept-Payment` along:
    /// give it `redirect::Policy::none()` where that matters, or use [`http`](Self::http).
    ///
    /// ```
    /// # fn wrap(client: mpp::client::Client, own: reqwest::Client) {
    /// let http = reqwest_middleware::ClientBuilder::new(own).with(client.middleware()).build();
    /// # }
    /// ```
    pub fn middleware(&self) -> PayMiddleware {
        PayMiddleware::new(self.clone(), Redirects::HandedOn)
    }

    /// The layer for tower services that take `http::Request`s with absolute URIs and bodies that can be cloned.
    ///
    /// ```
    /// # fn wrap<S>(client: mpp::client::Client, service: S) {
    /// use tower::Layer as _;
    /// let paying = client.layer().layer(service);
    /// # }
    /// ```
    pub fn layer(&self) -> PayLayer {
        PayLayer::new(self.clone())
    }

    /// Pays one challenge, for a transport of your own. Every rule of the policy holds, `url` being who asks. In the ledger it
    /// is a `GET`; [`pay_for`](Self::pay_for) takes the verb.
    ///
    /// Tell the client the outcome with [`accepted`](Self::accepted); until then the payment counts as spent.
    ///
    /// # Errors
    /// [`Error::NotPaid`], [`Error::Ledger`] or [`Error::Wallet`].
    ///
    /// ```
    /// # use mpp::client::{Client, Error, MemoryLedger, Policy};
    /// # use mpp::{method::sandbox::Wallet, protocol::Challenge};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let client = Client::builder(Policy::unlimited(), MemoryLedger::new()).method(Wallet::generate()).build().unwrap();
    /// let line = r#"Payment id="x7Tg", realm="bank.example", method="sandbox", intent="charge", request="e30", expires="2999-01-01T00:00:00Z""#;
    /// let challenge = &Challenge::parse_all([line]).offers[0];
    /// let refused = client.pay(&"https://evil.example".parse().unwrap(), challenge).await;
    /// assert!(matches!(refused, Err(Error::NotPaid(_))));
    /// # });
    /// ```
    pub async fn pay(&self, url: &Url, challenge: &Challenge) -> Result<Payment, Error> {
        self.pay_for(http::Method::GET, url, challenge, bytes::Bytes::new()).await
    }

    /// As [`pay`](Self::pay), for any verb and for a request with a body: a challenge may be for that body only (`digest`). The
    /// verb and the path are what the ledger and whoever approves are told.
    ///
    /// ```no_run
    /// # async fn order(client: mpp::client::Client, challenge: mpp::protocol::Challenge) -> Result<(), mpp::client::Error> {
    /// let url = "https://api.example.com/orders".parse().unwrap();
    /// let payment = client.pay_for(http::Method::POST, &url, &challenge, "two of them").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`pay`](Self::pay).
    pub async fn pay_for(
        &self,
        method: http::Method,
        url: &Url,
        challenge: &Challenge,
        body: impl Into<bytes::Bytes> + Send,
    ) -> Result<Payment, Error> {
        let Ok(origin) = Origin::of(url) else {
            return Err(Error::NoOrigin);
        };
        let asked =
            Arc::new(Asked { method, url: url.clone(), headers: http::HeaderMap::new(), body: body.into() });
        let inner = &self.inner;
        let now = inner.clock.now();
        let offers = Offers::of(vec![challenge.clone()], &origin, &asked, &inner.policy, &inner.wallets, now);
        let driving = self.purchase(&origin, &asked, offers, Vec::new(), None).await?;
        let payment = driving.0.payment.clone();
        // Whoever asked for it sends it, as often as it takes.
        self.inner.open.end(payment.entry());
        Ok(payment)
    }

    /// Writes down that a server accepted a payment that [`pay`](Self::pay) made.
    ///
    /// ```no_run
    /// # async fn done(client: mpp::client::Client, payment: mpp::client::Payment) -> Result<(), mpp::client::LedgerError> {
    /// client.accepted(&payment, None).await?; // and the receipt, if there is one
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`LedgerError`]; the payment goes on counting as spent, as it should.
    pub async fn accepted(&self, payment: &Payment, receipt: Option<&Receipt>) -> Result<(), LedgerError> {
        let reference = receipt.map(|receipt| receipt.reference.clone());
        let outcome = Outcome::Paid { reference };
        self.inner.ledger.conclude(&payment.entry(), &outcome, self.inner.clock.now()).await
    }

    /// Payments whose outcome is not known and that nobody waits for: sent without an answer, or given up by a caller.
    /// [`Unsettled::retry`] asks for what was paid for.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// # use mpp::method::sandbox::Wallet;
    /// # let client = Client::builder(Policy::unlimited(), MemoryLedger::new()).method(Wallet::generate()).build().unwrap();
    /// assert!(client.unsettled().is_empty());
    /// ```
    pub fn unsettled(&self) -> Vec<Unsettled> {
        self.inner.open.idle()
    }

    /// The ledger.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// # use mpp::method::sandbox::Wallet;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let client = Client::builder(Policy::unlimited(), MemoryLedger::new()).method(Wallet::generate()).build().unwrap();
    /// assert!(client.ledger().entries().await.unwrap().is_empty());
    /// # });
    /// ```
    pub fn ledger(&self) -> &dyn Ledger {
        &*self.inner.ledger
    }

    /// The client under [`http`](Self::http), which does not pay.
    fn plain_http(&self) -> Result<reqwest::Client, BuildError> {
        if let Some(client) = self.inner.http.get() {
            return Ok(client.clone());
        }
        // It follows no redirects: `redirects` does, which knows what may travel along.
        let client = outbound::browsing(TIMEOUT).map_err(|error| BuildError(vec![error.to_string()]))?;
        Ok(self.inner.http.get_or_init(|| client).clone())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wallets: Vec<_> = self.inner.wallets.iter().map(|wallet| wallet.name()).collect();
        f.debug_struct("Client")
            .field("wallets", &wallets)
            .field("policy", &self.inner.policy)
            .finish_non_exhaustive()
    }
}
