//! A client is built from a policy, a ledger and wallets; what is wrong with them is told all at once.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::offers::Candidate;
use super::open::OpenPayments;
use super::{Client, Event, Inner, Ledger, Observer, Policy, Select};
use crate::clock::{Clock, SystemClock};
use crate::method::ClientMethod;
use crate::protocol::{AcceptPayment, Intent};

/// Builds a [`Client`].
///
/// ```
/// use mpp::client::{Client, MemoryLedger, Policy};
/// use mpp::method::sandbox::Wallet;
/// use mpp::protocol::MethodName;
///
/// let wallet = Wallet::generate();
/// let client = Client::builder(Policy::unlimited(), MemoryLedger::new())
///     .method(wallet.for_method(MethodName::from_static("tempo"))) // preferred
///     .method(wallet)
///     .build()?;
/// # Ok::<(), mpp::client::BuildError>(())
/// ```
#[must_use]
pub struct Builder {
    policy: Policy,
    ledger: Arc<dyn Ledger>,
    wallets: Vec<Arc<dyn ClientMethod>>,
    clock: Arc<dyn Clock>,
    select: Option<Select>,
    observer: Option<Observer>,
    patience: Duration,
    volatile: Vec<HeaderName>,
}

impl Builder {
    pub(super) fn new(policy: Policy, ledger: Arc<dyn Ledger>) -> Builder {
        Builder {
            policy,
            ledger,
            wallets: Vec::new(),
            clock: Arc::new(SystemClock),
            select: None,
            observer: None,
            patience: Duration::from_secs(30),
            volatile: Vec::new(),
        }
    }

    /// Adds a wallet. Where a server offers several ways to pay, the wallet that was added first is preferred. There may be
    /// several of one method, for two chains say.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// # use mpp::method::sandbox::Wallet;
    /// let builder = Client::builder(Policy::unlimited(), MemoryLedger::new()).method(Wallet::generate());
    /// ```
    pub fn method(self, wallet: impl ClientMethod) -> Builder {
        self.shared_method(Arc::new(wallet))
    }

    /// As [`method`](Self::method), of a wallet that is used elsewhere too.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// # use mpp::method::sandbox::Wallet;
    /// let wallet = std::sync::Arc::new(Wallet::generate());
    /// let builder = Client::builder(Policy::unlimited(), MemoryLedger::new()).shared_method(wallet.clone());
    /// ```
    pub fn shared_method(mut self, wallet: Arc<dyn ClientMethod>) -> Builder {
        self.wallets.push(wallet);
        self
    }

    /// Chooses among offers that passed the policy, given best first: the index of the one to pay, or none. Asked again
    /// without it when that one could not be paid.
    ///
    /// ```
    /// # use mpp::client::{Candidate, Client, MemoryLedger, Policy};
    /// // Nothing but what costs nothing.
    /// let builder = Client::builder(Policy::unlimited(), MemoryLedger::new())
    ///     .select(|offers: &[Candidate]| offers.iter().position(|offer| offer.cost.amount.is_zero()));
    /// ```
    pub fn select(
        mut self,
        select: impl Fn(&[Candidate]) -> Option<usize> + Send + Sync + 'static,
    ) -> Builder {
        self.select = Some(Box::new(select));
        self
    }

    /// Tells this function every step of every payment. It is called where the payment is made: it should not block.
    ///
    /// ```
    /// # use mpp::client::{Client, Event, MemoryLedger, Policy};
    /// let builder = Client::builder(Policy::unlimited(), MemoryLedger::new())
    ///     .observe(|event: &Event<'_>| println!("{event:?}"));
    /// ```
    pub fn observe(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Builder {
        self.observer = Some(Box::new(observer));
        self
    }

    /// How long, over one request, to wait on the word of a server (`Retry-After`) before the payment is
    /// [unsettled](super::Error::OutcomeUnknown): half a minute, until told otherwise.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// # use std::time::Duration;
    /// let hasty = Client::builder(Policy::unlimited(), MemoryLedger::new()).patience(Duration::ZERO);
    /// ```
    pub fn patience(mut self, patience: Duration) -> Builder {
        self.patience = patience;
        self
    }

    /// Headers of yours that differ from one request to the next without saying who asks, or for what.
    ///
    /// What was paid for and not delivered is asked for again, instead of bought again, by the next request that is the same: its
    /// verb, URL, body and all its headers. Those of the connection (`Content-Length`, …), of the program (`User-Agent`), of
    /// a trace (`traceparent`, `baggage`, `X-Request-Id`, …), `Date` and `Accept-Payment` are left out of the comparison by
    /// themselves. Never name one that stands for a user: the answer to one would be handed to another.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// # use mpp::method::sandbox::Wallet;
    /// use http::HeaderName;
    /// let builder = Client::builder(Policy::unlimited(), MemoryLedger::new())
    ///     .volatile_headers([HeaderName::from_static("x-attempt")]);
    /// ```
    pub fn volatile_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Builder {
        self.volatile.extend(names);
        self
    }

    /// Another clock, for tests.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// # use mpp::{ManualClock, protocol::Timestamp};
    /// # use std::sync::{Arc, OnceLock};
    /// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// let builder = Client::builder(Policy::unlimited(), MemoryLedger::new()).clock(clock);
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Builder {
        self.clock = clock;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`BuildError`] with every problem of the policy, and when there is no wallet.
    ///
    /// ```
    /// use mpp::client::{Client, MemoryLedger, Policy};
    /// let policy = Policy::unlimited().origins(["api.example.com"]);
    /// let error = Client::builder(policy, MemoryLedger::new()).build().unwrap_err();
    /// assert_eq!(error.problems().len(), 2, "no wallet, and no such origin");
    /// ```
    pub fn build(self) -> Result<Client, BuildError> {
        let mut problems = self.policy.problems.clone();
        if self.wallets.is_empty() {
            problems.push("a client that pays needs a wallet: `.method(…)`".to_owned());
        }
        if !problems.is_empty() {
            return Err(BuildError(problems));
        }
        let mut methods: Vec<_> = Vec::new();
        for wallet in &self.wallets {
            let name = wallet.name();
            let allowed = self.policy.methods.as_ref().is_none_or(|allowed| allowed.contains(name));
            if allowed && !methods.iter().any(|(known, _)| known == name) {
                methods.push((name.clone(), Intent::CHARGE));
            }
        }
        let accept = HeaderValue::try_from(AcceptPayment::for_methods(methods).to_string()).ok();
        let inner = Inner {
            policy: self.policy,
            ledger: self.ledger,
            wallets: self.wallets,
            clock: self.clock,
            select: self.select,
            observer: self.observer,
            accept: accept.filter(|accept| !accept.is_empty()),
            patience: self.patience,
            open: OpenPayments::default(),
            volatile: self.volatile,
            http: OnceLock::new(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Why a client cannot be built: every reason.
///
/// ```
/// # use mpp::client::{Client, MemoryLedger, Policy};
/// let error = Client::builder(Policy::unlimited(), MemoryLedger::new()).build().unwrap_err();
/// assert!(error.to_string().contains("needs a wallet"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError(pub(super) Vec<String>);

impl BuildError {
    /// One sentence each.
    ///
    /// ```
    /// # use mpp::client::{Client, MemoryLedger, Policy};
    /// let error = Client::builder(Policy::unlimited(), MemoryLedger::new()).build().unwrap_err();
    /// assert_eq!(error.problems().len(), 1);
    /// ```
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl std::error::Error for BuildError {}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client cannot be built: {}", self.0.join("; "))
    }
}
