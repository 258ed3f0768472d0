//! What a client may pay: the rules every payment has to pass before anything is signed.
//!
//! There is no paying client without one. The rules, in the order in which they are asked:
//!
//! | rule | default |
//! | --- | --- |
//! | the origin is https, or this machine (CORE-33) | always |
//! | [allowed origins](Policy::origins) | any |
//! | the challenge is unexpired (CORE-16), and [not valid for too long](Policy::longest_validity) | one hour |
//! | it says when it expires | unless [allowed](Policy::allow_endless_challenges) |
//! | its digest is that of the request's body (CORE-14) | always |
//! | [methods](Policy::methods) | any |
//! | the realm is the origin's host or a parent domain of it; of a proof of identity exactly the host | unless [pinned](Policy::pin_realm) |
//! | [networks](Policy::networks), [recipients](Policy::recipients) | any |
//! | every asset that is spent, fees included, is covered by a [`Budget`] | always, but for [`unlimited`](Policy::unlimited) |
//! | every limit of every budget that covers it holds | always |
//! | [approval](Policy::approved_by) by a person or a program | not asked |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::origin::Origin;
use crate::method::{Cost, Step};
use crate::protocol::{Challenge, MethodName};

/// The rules a payment has to pass; see the list in the documentation of [`client`](crate::client#policy).
///
/// ```
/// use mpp::Amount;
/// use mpp::client::{Budget, Policy};
/// use std::time::Duration;
///
/// let day = Duration::from_secs(24 * 3600);
/// let policy = Policy::new(Budget::per_window("usdc", day, Amount::whole(5)).per_request(Amount::cents(10)))
///     .origins(["https://api.example.com"])
///     .networks(["eip155:4217"]);
/// ```
#[derive(Clone)]
pub struct Policy {
    pub(super) spending: Spending,
    pub(super) origins: Option<Vec<Origin>>,
    pub(super) realms: Vec<(Origin, String)>,
    pub(super) methods: Option<Vec<MethodName>>,
    pub(super) networks: Option<Vec<String>>,
    pub(super) recipients: Option<Vec<String>>,
    pub(super) longest: Duration,
    pub(super) endless: Endless,
    pub(super) repayments: u32,
    pub(super) approver: Option<Arc<dyn Approve>>,
    /// What was given and cannot be: reported when the client is built.
    pub(super) problems: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Spending {
    Within(Vec<Budget>),
    Unlimited,
}

/// Challenges that never expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endless {
    Refused,
    Allowed,
}

impl Policy {
    /// Payments within this budget, to any origin, until told otherwise.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// let policy = Policy::new(Budget::total("usdc", Amount::whole(20)));
    /// ```
    pub fn new(budget: Budget) -> Policy {
        Policy::spending(Spending::Within(vec![budget]))
    }

    /// Payments of any amount in any currency. Every other rule still holds, and everything is written down.
    ///
    /// ```
    /// # use mpp::client::Policy;
    /// let reckless = Policy::unlimited().origins(["http://localhost:3000"]);
    /// ```
    pub fn unlimited() -> Policy {
        Policy::spending(Spending::Unlimited)
    }

    fn spending(spending: Spending) -> Policy {
        Policy {
            spending,
            origins: None,
            realms: Vec::new(),
            methods: None,
            networks: None,
            recipients: None,
            longest: Duration::from_secs(3600),
            endless: Endless::Refused,
            repayments: 0,
            approver: None,
            problems: Vec::new(),
        }
    }

    /// Adds a budget. Each payment has to be covered by one, and to stay within every one that covers it.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// let policy = Policy::new(Budget::total("usdc", Amount::whole(20)))
    ///     .budget(Budget::total("eurc", Amount::whole(10)));
    /// ```
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Policy {
        match &mut self.spending {
            Spending::Within(budgets) => budgets.push(budget),
            Spending::Unlimited => self.spending = Spending::Within(vec![budget]),
        }
        self
    }

    /// Pays these origins and no other. They are also the only ones that are told what the client can pay with
    /// (`Accept-Payment`).
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).origins(["https://api.example.com", "https://data.example.com"]);
    /// ```
    #[must_use]
    pub fn origins<'a>(mut self, origins: impl IntoIterator<Item = &'a str>) -> Policy {
        for text in origins {
            match text.parse() {
                Ok(origin) => self.origins.get_or_insert_default().push(origin),
                Err(error) => self.problems.push(format!("the allowed origin `{text}` is {error}")),
            }
        }
        // An empty list allows nobody, not everybody.
        self.origins.get_or_insert_default();
        self
    }

    /// Expects this realm of an origin, and no other: for servers whose realm is not their host.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).pin_realm("https://cdn.example.net", "api.example.com");
    /// ```
    #[must_use]
    pub fn pin_realm(mut self, origin: &str, realm: impl Into<String>) -> Policy {
        match origin.parse() {
            Ok(origin) => self.realms.push((origin, realm.into())),
            Err(error) => self.problems.push(format!("the origin `{origin}` of a pinned realm is {error}")),
        }
        self
    }

    /// Pays by these methods and no other.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).methods(["tempo"]);
    /// ```
    #[must_use]
    pub fn methods<'a>(mut self, methods: impl IntoIterator<Item = &'a str>) -> Policy {
        let allowed = self.methods.get_or_insert_default();
        for name in methods {
            match MethodName::parse(name) {
                Ok(method) => allowed.push(method),
                Err(error) => self.problems.push(format!("the allowed method `{name}`: {error}")),
            }
        }
        self
    }

    /// Pays on these networks and no other: CAIP-2 ids of chains, method names where there is no chain.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).networks(["eip155:4217", "stripe"]);
    /// ```
    #[must_use]
    pub fn networks<T: Into<String>>(mut self, networks: impl IntoIterator<Item = T>) -> Policy {
        self.networks.get_or_insert_default().extend(networks.into_iter().map(Into::into));
        self
    }

    /// Pays these accounts and no other; every recipient of a split has to be among them. What names no recipient is not
    /// paid then.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).recipients(["0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00"]);
    /// ```
    #[must_use]
    pub fn recipients<T: Into<String>>(mut self, recipients: impl IntoIterator<Item = T>) -> Policy {
        self.recipients.get_or_insert_default().extend(recipients.into_iter().map(Into::into));
        self
    }

    /// Refuses challenges that are valid for longer than this. What is signed for one may be valid as long.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).longest_validity(std::time::Duration::from_secs(600));
    /// ```
    #[must_use]
    pub fn longest_validity(mut self, longest: Duration) -> Policy {
        self.longest = longest;
        self
    }

    /// Also pays challenges without an end (the core draft has `expires` optional). What is signed for one may be valid for
    /// ever.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).allow_endless_challenges();
    /// ```
    #[must_use]
    pub fn allow_endless_challenges(mut self) -> Policy {
        self.endless = Endless::Allowed;
        self
    }

    /// Within one request, pays up to this many further challenges when a server refuses a payment that provably did not
    /// happen ([`Fate::Never`](crate::method::Fate::Never)). None by default. A further payment may not cost more than the
    /// first, and may not go to anybody else.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let patient = Policy::new(budget).pay_again(2);
    /// ```
    #[must_use]
    pub fn pay_again(mut self, times: u32) -> Policy {
        self.repayments = times;
        self
    }

    /// Asks before every payment, once all other rules have passed.
    ///
    /// ```
    /// # use mpp::{Amount, client::{Budget, Policy}};
    /// use mpp::client::{Decision, Proposal};
    /// # let budget = Budget::total("usdc", Amount::whole(20));
    /// let policy = Policy::new(budget).approved_by(|proposal: &Proposal<'_>| {
    ///     println!("{} wants {}", proposal.origin, proposal.cost);
    ///     Decision::Approved
    /// });
    /// ```
    #[must_use]
    pub fn approved_by(mut self, approver: impl Approve) -> Policy {
        self.approver = Some(Arc::new(approver));
        self
    }

    /// The realm that is expected of an origin by name.
    pub(super) fn pinned(&self, origin: &Origin) -> Option<&str> {
        self.realms.iter().find(|(pinned, _)| pinned == origin).map(|(_, realm)| realm.as_str())
    }

    pub(super) fn budgets(&self) -> &[Budget] {
        match &self.spending {
            Spending::Within(budgets) => budgets,
            Spending::Unlimited => &[],
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("spending", &self.spending)
            .field("origins", &self.origins)
            .field("methods", &self.methods)
            .field("networks", &self.networks)
            .field("recipients", &self.recipients)
            .finish_non_exhaustive()
    }
}

/// Somebody who is asked before each payment: a person at a terminal, an agent's supervisor. Closures that decide at once
/// are one.
///
/// ```
/// use mpp::client::{Approve, Decision, Proposal};
/// use mpp::method::Step;
///
/// /// Asks a service.
/// struct Supervisor;
/// impl Approve for Supervisor {
///     fn decide<'a>(&'a self, proposal: &'a Proposal<'a>) -> Step<'a, Decision> {
///         Step::boxed(async move {
///             if proposal.origin.host() == "api.example.com" {
///                 Decision::Approved
///             } else {
///                 Decision::Denied("nobody knows this server".into())
///             }
///         })
///     }
/// }
/// ```
pub trait Approve: Send + Sync + 'static {
    /// Decides. The challenge may expire meanwhile; it is looked at again afterwards.
    fn decide<'a>(&'a self, proposal: &'a Proposal<'a>) -> Step<'a, Decision>;
}

impl<F: Fn(&Proposal<'_>) -> Decision + Send + Sync + 'static> Approve for F {
    fn decide<'a>(&'a self, proposal: &'a Proposal<'a>) -> Step<'a, Decision> {
        Step::ready(self(proposal))
    }
}

/// A payment somebody is asked about.
///
/// ```
/// use mpp::client::{Decision, Proposal};
/// use mpp::protocol::BaseUnits;
/// /// What is told to a person.
/// fn question(proposal: &Proposal<'_>) -> String {
///     format!("Pay {} to {} by {}?", proposal.cost, proposal.origin, proposal.challenge.method)
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Proposal<'a> {
    /// Who asks for it.
    pub origin: &'a Origin,
    /// The verb and the path.
    pub resource: &'a str,
    /// What it costs at worst and who gets it, as the wallet knows it.
    pub cost: &'a Cost,
    /// The challenge. Its description is the server's text: shown at most, never relied on (CORE-17).
    pub challenge: &'a Challenge,
}

/// What an approver says.
///
/// ```
/// use mpp::client::Decision;
/// assert_ne!(Decision::Approved, Decision::Denied("too dear".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Pay.
    Approved,
    /// Do not, for this reason; it is part of the error.
    Denied(String),
}
