//! The contract of [`ServerMethod`], as a test that any payment method can be held to.
//!
//! Every method of this crate passes it; a method of your own should too, before money depends on it. Its author describes
//! a [`MethodBench`]: how to make the method, how to pay a challenge, and how to count what has arrived. The kit does the
//! rest through the public trait and through the real pipeline, in process: it pays honestly, in copies, with a proof that
//! was used, with every member of the credential changed; it stops the server at every operation of its store, and
//! `settle` at every step it takes; and each time it counts the money.
//!
//! | file | what is checked there |
//! | --- | --- |
//! | `trait_rules.rs` | on the trait alone: offers, `verify`, `resolve`, holds, secrets |
//! | `interrupted.rs` | `settle` and `hold` that are stopped before they end, and faults of the network |
//! | `served.rs` | through the pipeline: one payment, one delivery, also across crashes |
//! | `altered.rs` | through the pipeline: changed, extended and senseless credentials |
//! | `stand.rs` | the server in process, its clock, and the store that stops |

mod altered;
mod interrupted;
mod served;
mod stand;
mod trait_rules;

use self::stand::Stand;
use crate::clock::{Clock, SystemClock};
use crate::method::{Proof, ServerMethod};
use crate::protocol::{Amount, Challenge, Currency, Timestamp};
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// A payment method on its network, with a payer who has money: what [`method_conformance`] needs.
///
/// ```
/// use mpp::method::sandbox::Wallet;
/// use mpp::method::{ClientMethod, Proof};
/// use mpp::protocol::{Challenge, Currency};
/// use mpp::testing::MethodBench;
/// use mpp::{Amount, Clock, Sandbox};
/// use std::sync::Arc;
///
/// struct PlayMoney {
///     wallet: Wallet,
///     /// Clones share its books: they are the network.
///     sandbox: Sandbox,
/// }
///
/// impl MethodBench for PlayMoney {
///     type Method = Sandbox;
///
///     async fn method(&self, _: Arc<dyn Clock>) -> Sandbox {
///         self.sandbox.clone()
///     }
///
///     fn price(&self) -> (Amount, Currency) {
///         (Amount::cents(5), Currency::USDC)
///     }
///
///     async fn pay(&self, challenge: &Challenge) -> Proof {
///         self.wallet.pay(challenge).await.expect("a wallet with money")
///     }
///
///     async fn taken(&self) -> u128 {
///         let till = self.sandbox.till().await.expect("the books");
///         till.to_base_units(6).expect("cents").get()
///     }
/// }
/// ```
pub trait MethodBench: Send + Sync {
    /// The method under test.
    type Method: ServerMethod + fmt::Debug;

    /// The method as another process of the same server makes it: the same configuration and network, and nothing in
    /// memory. It takes the time from `clock`, if it needs any besides what it is told.
    fn method(&self, clock: Arc<dyn Clock>) -> impl Future<Output = Self::Method> + Send;

    /// What each payment of the test costs: at least the method's minimum, and more than nothing.
    fn price(&self) -> (Amount, Currency);

    /// Answers a challenge of the method honestly, from money nobody has spent yet. Called some hundred times.
    fn pay(&self, challenge: &Challenge) -> impl Future<Output = Proof> + Send;

    /// What has been paid to the method so far, in base units of the price's currency: counted where the money is, never
    /// where the method says it is.
    fn taken(&self) -> impl Future<Output = u128> + Send;

    /// What else `verify` and `offer` must leave as it is, as text that can be compared: requests that spend, rows of a
    /// table. Nothing by default.
    fn traces(&self) -> impl Future<Output = String> + Send {
        std::future::ready(String::new())
    }

    /// Texts nobody may read: keys of the configuration, tokens of payers so far. None by default.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Members of the payload that a payer may choose, so that changing them changes no payment. None by default.
    fn unbound(&self) -> &'static [&'static str] {
        &[]
    }

    /// The network's time at the start. The kit's own clock starts here and moves only when it waits.
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Lets the network's time go on by this much (blocks, an index that catches up). By default nothing happens.
    fn wait(&self, _by: Duration) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Makes the payers so far end what has no end of its own, as they could any day: where a payment is an account's next
    /// transaction, another one takes the place of one that was lost. Called when the outcome of a payment has stayed unknown
    /// for long. By default nothing happens: most payments have an end (an expiry, a deadline), and
    /// [`wait`](Self::wait) reaches it.
    fn abandon(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// At how many points of a call it is stopped at most, for a network on which that takes long.
    fn most_stops(&self) -> usize {
        36
    }

    /// Names of what can go wrong between the method and its network, for [`inject`](Self::inject). None by default.
    fn faults(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The next call that spends goes wrong in this way, once.
    fn inject(&self, _fault: &'static str) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Holds a [`ServerMethod`] to its contract. The result lists what was checked and what was broken;
/// [`assert_kept`](Conformance::assert_kept) fails the test with that list.
///
/// Runs on a tokio runtime with time enabled; a multi-threaded one finds more.
///
/// ```
/// # use mpp::method::sandbox::Wallet;
/// # use mpp::method::{ClientMethod, Proof};
/// # use mpp::protocol::{Challenge, Currency};
/// # use mpp::testing::MethodBench;
/// # use mpp::{Amount, Clock, Sandbox};
/// # use std::sync::Arc;
/// # struct PlayMoney { wallet: Wallet, sandbox: Sandbox }
/// # impl MethodBench for PlayMoney {
/// #     type Method = Sandbox;
/// #     async fn method(&self, _: Arc<dyn Clock>) -> Sandbox { self.sandbox.clone() }
/// #     fn price(&self) -> (Amount, Currency) { (Amount::cents(5), Currency::USDC) }
/// #     async fn pay(&self, challenge: &Challenge) -> Proof { self.wallet.pay(challenge).await.unwrap() }
/// #     async fn taken(&self) -> u128 { self.sandbox.till().await.unwrap().to_base_units(6).unwrap().get() }
/// # }
/// use mpp::testing::method_conformance;
///
/// # #[tokio::main]
/// # async fn main() {
/// let wallet = Wallet::generate();
/// let sandbox = Sandbox::new().account(&wallet.did(), Amount::whole(1_000));
/// method_conformance(&PlayMoney { wallet, sandbox }).await.assert_kept();
/// # }
/// ```
pub async fn method_conformance<B: MethodBench>(bench: &B) -> Conformance {
    let stand = match Stand::set_up(bench).await {
        Ok(stand) => stand,
        Err(detail) => {
            let breaches = vec![Breach { rule: MethodRule::Pays, detail }];
            return Conformance { breaches, checked: vec![MethodRule::Pays], stops: 0 };
        }
    };
    let mut report = Report::default();
    report.check(MethodRule::Pays, served::an_honest_payment_is_delivered(&stand)).await;
    if !report.breaches.is_empty() {
        // Nothing that follows would say more than that.
        return report.finish(&stand);
    }
    report.check(MethodRule::OffersArePure, trait_rules::offers_are_pure(&stand)).await;
    report.check(MethodRule::VerifyIsPure, trait_rules::verify_is_pure(&stand)).await;
    report.check(MethodRule::PayersAreEstablished, trait_rules::payers_are_established(&stand)).await;
    report.check(MethodRule::ResolveOnlyLooks, trait_rules::resolve_only_looks(&stand)).await;
    report.check(MethodRule::HoldsTakeNothing, trait_rules::holds_take_nothing(&stand)).await;
    report.check(MethodRule::PlansAreReadWithCare, trait_rules::plans_are_read_with_care(&stand)).await;
    report.check(MethodRule::SecretsAreKept, trait_rules::secrets_are_kept(&stand)).await;
    report.check(MethodRule::StoppedSettlementsAreFound, interrupted::stopped_settlements(&stand)).await;
    report.check(MethodRule::StoppedHoldsAreGivenBack, interrupted::stopped_holds(&stand)).await;
    report.check(MethodRule::FaultsPayOnce, interrupted::faults(&stand)).await;
    report.check(MethodRule::CopiesPayOnce, served::copies_pay_once(&stand)).await;
    report.check(MethodRule::ProofsPayOneChallenge, served::a_proof_pays_one_challenge(&stand)).await;
    report.check(MethodRule::CrashesPayOnce, served::crashes_pay_once(&stand)).await;
    report.check(MethodRule::EchoesAreBound, altered::echoes_are_bound(&stand)).await;
    report.check(MethodRule::PayloadsAreBound, altered::payloads_are_bound(&stand)).await;
    report.check(MethodRule::UnknownMembersAreIgnored, altered::unknown_members(&stand)).await;
    report.check(MethodRule::GarbageIsRefused, altered::garbage_is_refused(&stand)).await;
    report.finish(&stand)
}

/// A line of the contract of [`ServerMethod`]. `Display` is the line.
///
/// ```
/// use mpp::testing::MethodRule;
/// assert_eq!(MethodRule::CopiesPayOnce.to_string(), "of concurrent copies of a credential one pays and one is delivered");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MethodRule {
    /// An honest payment is delivered, and the money is there.
    Pays,
    /// The same input gives the same offer, for what was asked, and nothing happens.
    OffersArePure,
    /// `verify` gives the same answer again and changes nothing.
    VerifyIsPure,
    /// `Verified::payer` is not what the credential claims.
    PayersAreEstablished,
    /// `resolve` after `settle` yields the same payment and takes nothing.
    ResolveOnlyLooks,
    /// A hold takes nothing until it is captured, once; released, it never will.
    HoldsTakeNothing,
    /// A plan of another release pays nothing and panics nowhere.
    PlansAreReadWithCare,
    /// No secret is in a `Debug` output, an offer or a rejection.
    SecretsAreKept,
    /// A `settle` that was stopped has paid once or not at all, and `resolve` finds out which.
    StoppedSettlementsAreFound,
    /// A `hold` that was stopped can be given back.
    StoppedHoldsAreGivenBack,
    /// A fault of the network costs nobody a second payment.
    FaultsPayOnce,
    /// One payment and one delivery from any number of copies.
    CopiesPayOnce,
    /// A proof that paid for one challenge pays for no other.
    ProofsPayOneChallenge,
    /// A server that dies at any operation of its store costs nobody a second payment.
    CrashesPayOnce,
    /// A credential whose echoed challenge was changed is refused.
    EchoesAreBound,
    /// A credential whose payload was changed is refused.
    PayloadsAreBound,
    /// Members of the payload that nobody knows are ignored.
    UnknownMembersAreIgnored,
    /// Senseless payloads are refused as the payer's mistake.
    GarbageIsRefused,
}

impl fmt::Display for MethodRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pays => "an honest payment is delivered, and the money is there",
            Self::OffersArePure => {
                "`offer` asks for what it is told, the same each time, and changes nothing"
            }
            Self::VerifyIsPure => "`verify` gives the same answer again and changes nothing",
            Self::PayersAreEstablished => "the payer is who has paid, not who the credential says",
            Self::ResolveOnlyLooks => "`resolve` yields the payment that `settle` made, and takes nothing",
            Self::HoldsTakeNothing => {
                "a hold takes nothing until it is captured, once; released, it never will"
            }
            Self::PlansAreReadWithCare => "a plan that is not understood pays nothing and panics nowhere",
            Self::SecretsAreKept => "no secret is in a `Debug` output, an offer or a rejection",
            Self::StoppedSettlementsAreFound => {
                "a `settle` that was stopped has paid once or not at all, and `resolve` finds out which"
            }
            Self::StoppedHoldsAreGivenBack => "a `hold` that was stopped can be given back",
            Self::FaultsPayOnce => "a fault of the network costs nobody a second payment",
            Self::CopiesPayOnce => "of concurrent copies of a credential one pays and one is delivered",
            Self::ProofsPayOneChallenge => "a proof pays for one challenge",
            Self::CrashesPayOnce => {
                "a server that dies at any operation of its store costs nobody a second payment"
            }
            Self::EchoesAreBound => "a credential whose echoed challenge was changed is refused",
            Self::PayloadsAreBound => "a credential whose payload was changed is refused and moves nothing",
            Self::UnknownMembersAreIgnored => "members of the payload that nobody knows are ignored",
            Self::GarbageIsRefused => "senseless payloads are refused as the payer's mistake",
        })
    }
}

/// A line of the contract that a method broke, and how.
///
/// ```
/// use mpp::testing::{Breach, MethodRule};
/// let breach = Breach { rule: MethodRule::CopiesPayOnce, detail: "8 payments for 1 delivery".to_owned() };
/// assert!(breach.to_string().ends_with("one is delivered: 8 payments for 1 delivery"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The line.
    pub rule: MethodRule,
    /// What happened.
    pub detail: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// What [`method_conformance`] found.
///
/// ```
/// # use mpp::method::sandbox::Wallet;
/// # use mpp::method::{ClientMethod, Proof};
/// # use mpp::protocol::{Challenge, Currency};
/// # use mpp::testing::{MethodBench, MethodRule, method_conformance};
/// # use mpp::{Amount, Clock, Sandbox};
/// # use std::sync::Arc;
/// # struct Empty;
/// # impl MethodBench for Empty {
/// #     type Method = Sandbox;
/// #     async fn method(&self, _: Arc<dyn Clock>) -> Sandbox { Sandbox::new() }
/// #     fn price(&self) -> (Amount, Currency) { (Amount::cents(5), Currency::USDC) }
/// #     async fn pay(&self, challenge: &Challenge) -> Proof { Wallet::generate().pay(challenge).await.unwrap() }
/// #     async fn taken(&self) -> u128 { 0 }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // A bench whose payer has no money.
/// let found = method_conformance(&Empty).await;
/// assert_eq!(found.breaches()[0].rule, MethodRule::Pays);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a report fails no test until it is asserted"]
pub struct Conformance {
    breaches: Vec<Breach>,
    checked: Vec<MethodRule>,
    stops: usize,
}

impl Conformance {
    /// What was broken, in the order in which it was found.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// The rules that were broken.
    pub fn broken(&self) -> BTreeSet<MethodRule> {
        self.breaches.iter().map(|breach| breach.rule).collect()
    }

    /// The rules that were checked: all, unless the method cannot be paid at all.
    pub fn checked(&self) -> &[MethodRule] {
        &self.checked
    }

    /// How often a settlement, a hold or the server was stopped in the middle. A method that never waits is stopped only
    /// with the server.
    pub fn stops(&self) -> usize {
        self.stops
    }

    /// Asserts that nothing was broken.
    ///
    /// # Panics
    /// With the list of what was.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.breaches.is_empty(), "{self}");
    }
}

impl fmt::Display for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rules checked, {} stops, {} broken",
            self.checked.len(),
            self.stops,
            self.broken().len()
        )?;
        self.breaches.iter().try_for_each(|breach| write!(f, "\n  - {breach}"))
    }
}

/// How a check ends: the breaches it found.
type Found = Vec<String>;

#[derive(Default)]
struct Report {
    breaches: Vec<Breach>,
    checked: Vec<MethodRule>,
}

impl Report {
    async fn check(&mut self, rule: MethodRule, check: impl Future<Output = Found>) {
        let mut found = caught(check).await.unwrap_or_else(|panic| vec![format!("a panic: {panic}")]);
        found.dedup();
        let more = found.len().saturating_sub(MOST_DETAILS);
        found.truncate(MOST_DETAILS);
        if more > 0 {
            found.push(format!("and {more} more"));
        }
        self.checked.push(rule);
        self.breaches.extend(found.into_iter().map(|detail| Breach { rule, detail }));
    }

    fn finish<B: MethodBench>(self, stand: &Stand<'_, B>) -> Conformance {
        Conformance { breaches: self.breaches, checked: self.checked, stops: stand.stops() }
    }
}

/// The output of a future, or what it panicked with.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        // What a panic leaves half done is the bench's, which is judged by its money alone.
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                std::task::Poll::Ready(Err(text.unwrap_or("(not a text)").to_owned()))
            }
        }
    })
    .await
}

/// Of a rule that is broken everywhere a few examples say enough.
const MOST_DETAILS: usize = 6;
