//! The receiving side: offers (draft-payment-intent-charge-00), checks signatures, and has the books moved.
//!
//! Checks of a credential change nothing; `settle`, `hold` and `release` change the books of `ledger.rs`, from the
//! journaled plan alone. All of them ask the books, which may be in any store: their steps are boxed futures, also where the store
//! is in memory and they end at once.

use super::SANDBOX;
use super::ledger::{DECIMALS, FundError, Ledger, MOST_UNITS, Order, Outcome, Reason, Trouble};
use super::request::{Payload, Signed, is_test_money, method_details};
use crate::clock::Clock;
use crate::method::{
    CredentialCx, Held, Holding, MethodCurrency, MethodProblem, Money, OfferCx, Payment, RefundCx,
    RefundOutcome, RefundPlan, Refunding, Rejection, ServerMethod, SettleCx, Settlement, SettlementPlan,
    Splitting, Step, Verified,
};
use crate::protocol::{
    Amount, BaseUnits, ChargeRequest, Currency, Did, MethodName, ProblemType, PublicKey, Timestamp, b64,
};
use crate::store::{Limits, MemoryStore, Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Play money: a payment method that needs no network, with accounts the operator fills.
///
/// Clones share their accounts, so that one can be given to the builder and one kept to look at the books. The builder
/// wants `.allow_test_money()`.
///
/// ```
/// use mpp::method::sandbox::Wallet;
/// use mpp::{Amount, Sandbox};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::method::sandbox::SandboxError> {
/// let sandbox = Sandbox::named("tempo");
/// let alice = Wallet::generate();
/// sandbox.fund(&alice.did(), Amount::whole(10)).await?;
/// assert_eq!(sandbox.balance(&alice.did()).await?, Some(Amount::whole(10)));
/// assert_eq!(sandbox.till().await?, Amount::ZERO);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sandbox {
    currencies: Vec<Listed>,
    minimum: Amount,
    problems: Vec<MethodProblem>,
    ledger: Ledger,
    store: Books,
    refunding: Refunding,
}

/// Whose store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Books {
    Own,
    Given,
}

/// A currency: what prices call it, what requests call it, and its precision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    name: String,
    id: String,
    decimals: u8,
}

impl Sandbox {
    /// The method `sandbox`, with a store of its own in memory.
    ///
    /// ```
    /// use mpp::{Sandbox, method::ServerMethod};
    /// assert_eq!(*Sandbox::new().name(), *"sandbox");
    /// ```
    pub fn new() -> Self {
        Self {
            currencies: Currency::KNOWN
                .iter()
                .map(|known| Listed::new(known.name, known.name, known.decimals))
                .collect(),
            minimum: Amount::ZERO,
            problems: Vec::new(),
            ledger: Ledger::new(Arc::new(own_store()), SANDBOX),
            store: Books::Own,
            refunding: Refunding::Unconfigured,
        }
    }

    /// Plays the payment method of this name with test money: its currencies are called as the real method calls them.
    /// What is not a method's name is reported when the server is built.
    ///
    /// ```
    /// use mpp::{Sandbox, method::ServerMethod};
    ///
    /// let stripe = Sandbox::named("stripe");
    /// assert_eq!(*stripe.name(), *"stripe");
    /// // Cards know dollars and cents.
    /// let usdc = ServerMethod::currency(&stripe, "usdc").unwrap();
    /// assert_eq!((usdc.id.as_str(), usdc.decimals), ("usd", 2));
    /// ```
    pub fn named(method: &str) -> Self {
        let mut sandbox = Self::new();
        match MethodName::configured(method) {
            Ok(name) => sandbox.ledger.method = name,
            Err(error) => {
                // Not under the default name: beside another sandbox it would be reported as a second one.
                sandbox.ledger.method = MethodName::from_static("unnamed");
                sandbox.problem(format!("a sandbox cannot be named `{}`: {error}", method.escape_debug()))
            }
        }
        PLAYED
            .iter()
            .filter(|played| played.method == method)
            .fold(sandbox, |sandbox, played| sandbox.currency(played.name, played.id, played.decimals))
    }

    /// Takes the currency that prices call `name` as `id`, with this many decimals; replaces what it was taken as
    /// before. Every [known currency](Currency::KNOWN) is taken under its own name unless said otherwise.
    ///
    /// ```
    /// use mpp::{Sandbox, method::ServerMethod};
    /// let sandbox = Sandbox::new().currency("credits", "credits", 0);
    /// assert!(sandbox.problems().is_empty());
    /// assert_eq!(ServerMethod::currency(&sandbox, "credits").unwrap().decimals, 0);
    /// ```
    #[must_use]
    pub fn currency(mut self, name: &str, id: &str, decimals: u8) -> Self {
        if decimals > DECIMALS {
            self.problem(format!(
                "the currency `{name}` has {decimals} decimals; a sandbox counts up to {DECIMALS}"
            ));
        }
        let listed = Listed::new(name, id, decimals);
        match self.currencies.iter_mut().find(|there| there.name == name) {
            Some(there) => *there = listed,
            None => self.currencies.push(listed),
        }
        self
    }

    /// Refuses to charge less than this many units of any currency, as real methods do. A text that is not an amount
    /// is reported when the server is built.
    ///
    /// ```
    /// use mpp::{Sandbox, method::ServerMethod};
    /// let sandbox = Sandbox::named("stripe").minimum("0.50");
    /// assert_eq!(ServerMethod::currency(&sandbox, "usd").unwrap().minimum.get(), 50);
    /// ```
    #[must_use]
    pub fn minimum(mut self, amount: &str) -> Self {
        match Amount::parse(amount) {
            Ok(minimum) => self.minimum = minimum,
            Err(error) => self.problem(format!("the sandbox's minimum: {error}")),
        }
        self
    }

    /// Opens an account with this many units: what it holds until it is first paid from or funded. In a durable store
    /// that was another run's matter, so a restart does not fill it again. A DID that is no account, or an amount it
    /// cannot hold, is reported when the server is built.
    ///
    /// ```
    /// use mpp::{Amount, Sandbox, method::sandbox::Wallet};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let alice = Wallet::generate();
    /// let sandbox = Sandbox::new().account(&alice.did(), Amount::whole(10));
    /// assert_eq!(sandbox.balance(&alice.did()).await.unwrap(), Some(Amount::whole(10)));
    /// # }
    /// ```
    #[must_use]
    pub fn account(mut self, account: &str, balance: Amount) -> Self {
        match account_name(account).and_then(|account| Ok((account, in_range(balance)?))) {
            Ok((account, units)) => self.ledger.open(account, units),
            Err(error) => self.problem(error.to_string()),
        }
        self
    }

    /// Opens an account with this many units for everybody who pays, at first sight: for a demonstration that any newcomer can
    /// try. Anybody can make keys without end, so it limits nothing. An amount that no account can hold is reported when the
    /// server is built.
    ///
    /// ```
    /// use mpp::{Amount, Sandbox, method::sandbox::Wallet};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let sandbox = Sandbox::new().open_to_all(Amount::whole(100));
    /// let newcomer = Wallet::generate();
    /// assert_eq!(sandbox.balance(&newcomer.did()).await.unwrap(), Some(Amount::whole(100)));
    /// # }
    /// ```
    #[must_use]
    pub fn open_to_all(mut self, balance: Amount) -> Self {
        match in_range(balance) {
            Ok(units) => self.ledger.open_to_all(units),
            Err(error) => self.problem(error.to_string()),
        }
        self
    }

    /// Keeps accounts and payments in this store instead of one of its own: durable ones survive a restart.
    ///
    /// ```
    /// use mpp::{Sandbox, store::MemoryStore};
    /// use std::sync::Arc;
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let sandbox = Sandbox::new().with_store(store.clone());
    /// ```
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.ledger.store = store;
        self.store = Books::Given;
        self
    }

    /// The sandbox's own store takes the time from this clock. Before anything is in it; a store that was given has
    /// its own clock.
    ///
    /// ```
    /// use mpp::{ManualClock, Sandbox, protocol::Timestamp};
    /// use std::sync::Arc;
    ///
    /// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// let sandbox = Sandbox::new().with_clock(clock);
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        if self.store == Books::Own {
            self.ledger.store = Arc::new(own_store().with_clock(clock));
        }
        self
    }

    /// Gives payments back when the operator [orders](crate::Mpp::refund) it, from what the account has paid.
    ///
    /// ```
    /// use mpp::{Sandbox, method::{Refunding, ServerMethod}};
    /// assert_eq!(Sandbox::new().refunds().refunding(), Refunding::Configured);
    /// ```
    #[must_use]
    pub fn refunds(mut self) -> Self {
        self.refunding = Refunding::Configured;
        self
    }

    /// Puts `amount` units of play money into an account; opens it if it is new.
    ///
    /// # Errors
    /// [`SandboxError::Account`] when the DID is not an ed25519 key, [`SandboxError::Amount`] when the amount has more
    /// than 18 decimals or is more than an account can hold, [`SandboxError::Store`] when the store fails; whether the
    /// money is there then, [`balance`](Self::balance) tells.
    ///
    /// ```
    /// # use mpp::{Amount, Sandbox, method::sandbox::{SandboxError, Wallet}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (sandbox, alice) = (Sandbox::new(), Wallet::generate());
    /// sandbox.fund(&alice.did(), Amount::cents(50)).await.unwrap();
    /// sandbox.fund(&alice.did(), Amount::cents(25)).await.unwrap();
    /// assert_eq!(sandbox.balance(&alice.did()).await.unwrap(), Some(Amount::cents(75)));
    /// let too_fine = sandbox.fund(&alice.did(), Amount::new(1, 19)).await;
    /// assert!(matches!(too_fine, Err(SandboxError::Amount)));
    /// # }
    /// ```
    pub async fn fund(&self, account: &str, amount: Amount) -> Result<(), SandboxError> {
        let (account, units) = (account_name(account)?, in_range(amount)?);
        match self.ledger.fund(&account, units).await {
            Ok(()) => Ok(()),
            Err(FundError::TooMuch) => Err(SandboxError::Amount),
            Err(FundError::Trouble(trouble)) => Err(trouble.into()),
        }
    }

    /// What an account can spend: what it was given, less what it paid and what is reserved. `None` if it was never
    /// opened.
    ///
    /// # Errors
    /// [`SandboxError::Account`] when the DID is not an ed25519 key, [`SandboxError::Store`] when the store fails.
    ///
    /// ```
    /// # use mpp::{Sandbox, method::sandbox::Wallet};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let stranger = Wallet::generate();
    /// assert_eq!(Sandbox::new().balance(&stranger.did()).await.unwrap(), None);
    /// # }
    /// ```
    pub async fn balance(&self, account: &str) -> Result<Option<Amount>, SandboxError> {
        let account = self.ledger.account(&account_name(account)?).await?;
        Ok(account.map(|account| Amount::new(account.available, DECIMALS)))
    }

    /// What all accounts together have paid to this server. Reads every account.
    ///
    /// # Errors
    /// [`SandboxError::Store`] when the store fails.
    ///
    /// ```
    /// # use mpp::{Amount, Sandbox};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(Sandbox::new().till().await.unwrap(), Amount::ZERO);
    /// # }
    /// ```
    pub async fn till(&self) -> Result<Amount, SandboxError> {
        Ok(Amount::new(self.ledger.till().await?, DECIMALS))
    }

    fn give_back(&self, cx: &RefundCx<'_>) -> Result<RefundPlan, MethodProblem> {
        let problem = |text: &str| MethodProblem(text.to_owned());
        let account = cx.payer.ok_or_else(|| problem("nobody knows who paid"))?;
        let listed = self.currencies.iter().find(|listed| listed.id == cx.asset);
        let listed = listed.ok_or_else(|| problem("the currency is not one of this sandbox"))?;
        let units = in_books(cx.units, listed.decimals).ok_or_else(|| problem("no account holds as much"))?;
        let (refund, units) = (cx.refund_id.to_owned(), BaseUnits::new(units));
        let plan = serde_json::to_value(GivingBack { refund, account: account.to_owned(), units });
        plan.map(RefundPlan).map_err(|error| MethodProblem(error.to_string()))
    }

    async fn given_back(&self, plan: &RefundPlan) -> RefundOutcome {
        let pending = |detail: String| RefundOutcome::Pending { reference: None, detail };
        let Ok(GivingBack { refund, account, units }) = GivingBack::deserialize(&plan.0) else {
            return pending(UNREADABLE.to_owned());
        };
        match self.ledger.refund(&refund, &account, units.get()).await {
            Ok(true) => RefundOutcome::Refunded { reference: format!("sandbox-refund-{refund}") },
            Ok(false) => RefundOutcome::Failed { why: "the account has not paid as much".to_owned() },
            Err(trouble) => pending(trouble.to_string()),
        }
    }

    fn problem(&mut self, text: String) {
        self.problems.push(MethodProblem(text));
    }

    async fn check(&self, cx: &CredentialCx<'_>) -> Result<Verified, Rejection> {
        let payload = Payload::parse(cx.payload).map_err(Rejection::malformed)?;
        if payload.signed != Signed::asked_by(cx.request) {
            return Err(Rejection::failed(match payload.signed {
                Signed::Transfer => "a transfer was signed where an identity proof is asked for",
                Signed::Proof => "an identity proof was signed where a transfer is asked for",
            }));
        }
        let account = payload.account;
        if cx.source.is_some_and(|source| source != account) {
            return Err(Rejection::failed("the credential's source is not the account that pays"));
        }
        if !payload.is_signed_for(cx.challenge) {
            return Err(Rejection::failed("the signature is not the account's, or not for this challenge"));
        }
        if !is_test_money(cx.request) {
            return Err(Rejection::failed("the challenge does not ask for test money"));
        }
        let plan = match payload.signed {
            Signed::Proof => Plan::Proof,
            Signed::Transfer => {
                let Some(units) = self.units(cx.request) else {
                    return Err(Rejection::failed("the challenge's currency is not one of this sandbox"));
                };
                let available =
                    self.ledger.account(account).await.map_err(unavailable)?.map(|there| there.available);
                match available {
                    None => return Err(refused(Reason::UnknownAccount)),
                    Some(available) if available < units => return Err(refused(Reason::Insufficient)),
                    Some(_) => {}
                }
                Plan::Transfer {
                    account: account.to_owned(),
                    units: BaseUnits::new(units),
                    until: (cx.expires + GRACE).unix(),
                    taken: Taken::AtOnce,
                }
            }
        };
        // The challenge id is all that has to be claimed: the signature is for it alone.
        Ok(Verified { payer: Some(account.to_owned()), proof_keys: Vec::new(), plan: plan.journaled()? })
    }

    /// The amount of a request in the units of the books.
    fn units(&self, request: &ChargeRequest) -> Option<u128> {
        let listed = self.currencies.iter().find(|listed| listed.id == request.currency)?;
        in_books(request.amount, listed.decimals)
    }

    async fn settlement(&self, cx: &SettleCx<'_>, verb: Verb) -> Settlement {
        let Some(plan) = Plan::read(cx.plan) else { return unreadable() };
        if let Plan::Proof = plan {
            return self.settled(cx);
        }
        let Some(order) = plan.order(cx) else { return unreadable() };
        let outcome = match (verb, &plan) {
            (Verb::Resolve, _) => self.ledger.resolve(order).await,
            (Verb::Settle, Plan::Transfer { taken: Taken::FromHold, .. }) => self.ledger.capture(order).await,
            (Verb::Settle, _) => self.ledger.pay(order).await,
        };
        match outcome {
            Ok(Outcome::Settled) => self.settled(cx),
            Ok(Outcome::Declined(reason)) => Settlement::Declined(refused(reason)),
            Ok(Outcome::Held | Outcome::Unclear) => Settlement::Unknown {
                detail: "the sandbox is still at this payment, or has forgotten it".to_owned(),
            },
            Err(trouble) => Settlement::Unknown { detail: trouble.to_string() },
        }
    }

    fn settled(&self, cx: &SettleCx<'_>) -> Settlement {
        // The same for every run of one payment, and not the challenge id itself.
        let digest = Sha256::new()
            .chain_update(b"mpp sandbox reference v1")
            .chain_update(self.ledger.method.as_str())
            .chain_update([0])
            .chain_update(cx.challenge_id)
            .finalize();
        Settlement::Settled(Payment::new(format!("sandbox-{}", b64::encode(&digest[..15]))))
    }

    async fn reserve(&self, cx: &SettleCx<'_>) -> Held {
        let corrupt = || Held::Unknown { detail: UNREADABLE.to_owned() };
        let Some(mut plan) = Plan::read(cx.plan) else { return corrupt() };
        if let Plan::Transfer { .. } = plan {
            let Some(order) = plan.order(cx) else { return corrupt() };
            match self.ledger.hold(order).await {
                Ok(Outcome::Held) => {}
                Ok(Outcome::Declined(reason)) => return Held::Declined(refused(reason)),
                Ok(Outcome::Settled | Outcome::Unclear) => {
                    return Held::Unknown { detail: "the sandbox is already at this payment".to_owned() };
                }
                Err(trouble) => return Held::Unknown { detail: trouble.to_string() },
            }
        }
        if let Plan::Transfer { taken, .. } = &mut plan {
            *taken = Taken::FromHold;
        }
        match plan.journaled() {
            Ok(plan) => Held::Held(plan),
            Err(_) => corrupt(),
        }
    }

    async fn cancel(&self, cx: &SettleCx<'_>) -> Result<(), Rejection> {
        let plan = Plan::read(cx.plan).ok_or_else(|| Rejection::unavailable(RETRY, UNREADABLE))?;
        if matches!(plan, Plan::Proof) {
            return Ok(());
        }
        let order = plan.order(cx).ok_or_else(|| Rejection::unavailable(RETRY, UNREADABLE))?;
        match self.ledger.resolve(order).await.map_err(unavailable)? {
            Outcome::Declined(_) => Ok(()),
            Outcome::Settled => Err(Rejection::failed("the hold was captured")),
            Outcome::Held | Outcome::Unclear => {
                Err(Rejection::unavailable(RETRY, "the hold is not settled yet"))
            }
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("method", &self.ledger.method)
            .field("minimum", &self.minimum)
            .finish_non_exhaustive()
    }
}

impl ServerMethod for Sandbox {
    fn name(&self) -> &MethodName {
        &self.ledger.method
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        let listed = self.currencies.iter().find(|listed| listed.name == name)?;
        let minimum = self.minimum.round_up(listed.decimals).to_base_units(listed.decimals);
        Some(MethodCurrency {
            id: listed.id.clone(),
            decimals: listed.decimals,
            // A minimum that does not fit excludes every amount, as it should.
            minimum: minimum.unwrap_or(BaseUnits::new(u128::MAX)),
        })
    }

    fn currencies(&self) -> Vec<String> {
        self.currencies.iter().map(|listed| listed.name.clone()).collect()
    }

    fn money(&self) -> Money {
        Money::Test
    }

    fn holding(&self) -> Holding {
        Holding::Supported
    }

    fn splitting(&self) -> Splitting {
        // As many as a price can name.
        Splitting::Legs(10)
    }

    fn problems(&self) -> Vec<MethodProblem> {
        let ambiguous = self.currencies.iter().enumerate().flat_map(|(position, one)| {
            let others = self.currencies[position + 1..].iter();
            others.filter(|other| other.id == one.id && other.decimals != one.decimals).map(|other| {
                MethodProblem(format!(
                    "the sandbox's currencies `{}` and `{}` are both `{}` but differ in decimals",
                    one.name, other.name, one.id
                ))
            })
        });
        self.problems.iter().cloned().chain(ambiguous).collect()
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        if in_books(cx.amount, cx.currency.decimals).is_none() {
            return Err(MethodProblem(format!("{} base units are more than a sandbox can count", cx.amount)));
        }
        Ok(ChargeRequest {
            recipient: Some(RECIPIENT.to_owned()),
            method_details: Some(method_details(cx.splits)),
            ..ChargeRequest::new(cx.amount, cx.currency.id.as_str())
        })
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        Step::boxed(self.check(cx))
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        Step::boxed(self.settlement(cx, Verb::Settle))
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        Step::boxed(self.settlement(cx, Verb::Resolve))
    }

    fn hold<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Held> {
        Step::boxed(self.reserve(cx))
    }

    fn release<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Result<(), Rejection>> {
        Step::boxed(self.cancel(cx))
    }

    fn refunding(&self) -> Refunding {
        self.refunding
    }

    fn plan_refund<'a>(&'a self, cx: &'a RefundCx<'a>) -> Step<'a, Result<RefundPlan, MethodProblem>> {
        Step::ready(self.give_back(cx))
    }

    fn refund<'a>(&'a self, plan: &'a RefundPlan, _now: Timestamp) -> Step<'a, RefundOutcome> {
        Step::boxed(self.given_back(plan))
    }
}

/// Why an operator's call failed.
///
/// ```
/// use mpp::{Amount, Sandbox, method::sandbox::SandboxError};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let chain = "did:pkh:eip155:1:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00";
/// let error = Sandbox::new().fund(chain, Amount::whole(1)).await.unwrap_err();
/// assert!(matches!(error, SandboxError::Account(_)));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Accounts are the did:key of an ed25519 key.
    #[error("`{0}` is not the did:key of an ed25519 key, so it cannot be a sandbox account")]
    Account(String),
    /// Not an amount an account can hold.
    #[error("a sandbox account holds amounts of at most 18 decimals, up to a hundred quintillion in all")]
    Amount,
    /// The store failed; what was being written may or may not have been.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Trouble> for SandboxError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Store(error) => Self::Store(error),
            other => Self::Store(StoreError::Backend(other.to_string())),
        }
    }
}

/// What is journaled between `verify` and `settle`: the decision, not the authorisation.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Plan {
    Proof,
    Transfer {
        account: String,
        /// Of the books.
        units: BaseUnits,
        /// Unix seconds; it is not begun later.
        until: i64,
        taken: Taken,
    },
}

/// Where `settle` takes the money from.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Taken {
    AtOnce,
    FromHold,
}

impl Plan {
    fn read(plan: &SettlementPlan) -> Option<Self> {
        Self::deserialize(&plan.0).ok()
    }

    fn journaled(&self) -> Result<SettlementPlan, Rejection> {
        match serde_json::to_value(self) {
            Ok(plan) => Ok(SettlementPlan(plan)),
            Err(error) => Err(Rejection::unavailable(RETRY, error.to_string())),
        }
    }

    fn order<'a>(&'a self, cx: &SettleCx<'a>) -> Option<Order<'a>> {
        match self {
            Self::Proof => None,
            Self::Transfer { account, units, until, .. } => Some(Order {
                challenge_id: cx.challenge_id,
                account,
                units: units.get(),
                until: Timestamp::from_unix(*until),
                now: cx.now,
            }),
        }
    }
}

/// What is journaled of a refund.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivingBack {
    refund: String,
    account: String,
    /// Of the books.
    units: BaseUnits,
}

enum Verb {
    Settle,
    Resolve,
}

impl Listed {
    fn new(name: &str, id: &str, decimals: u8) -> Self {
        Self { name: name.to_owned(), id: id.to_owned(), decimals }
    }
}

/// The name an account is booked under: the one spelling of its DID.
fn account_name(account: &str) -> Result<String, SandboxError> {
    match Did::parse(account) {
        Ok(did @ Did::Key(PublicKey::Ed25519(_))) => Ok(did.to_string()),
        Ok(_) | Err(_) => Err(SandboxError::Account(account.to_owned())),
    }
}

/// An amount in the units of the books, if an account can hold it.
fn in_range(amount: Amount) -> Result<u128, SandboxError> {
    match amount.to_base_units(DECIMALS) {
        Ok(units) if units.get() <= MOST_UNITS => Ok(units.get()),
        Ok(_) | Err(_) => Err(SandboxError::Amount),
    }
}

fn own_store() -> MemoryStore {
    // The accounts and payments of one sandbox are all it holds.
    MemoryStore::with_limits(Limits { paid: 0, free: 1_000_000 })
}

fn in_books(amount: BaseUnits, decimals: u8) -> Option<u128> {
    let shift = DECIMALS.checked_sub(decimals)?;
    amount.get().checked_mul(10_u128.checked_pow(shift.into())?)
}

fn refused(reason: Reason) -> Rejection {
    match reason {
        Reason::UnknownAccount => Rejection::failed(
            "this account was never opened here; `Sandbox::account`, `fund` or `open_to_all` opens accounts",
        ),
        Reason::Insufficient => Rejection::Refused {
            kind: ProblemType::PaymentInsufficient,
            detail: "the account does not hold this much".into(),
        },
        Reason::Cancelled => Rejection::failed("the payment was cancelled before it was settled"),
        Reason::Late => Rejection::Refused {
            kind: ProblemType::PaymentExpired,
            detail: "the challenge expired before the payment was begun".into(),
        },
        Reason::Busy => Rejection::unavailable(RETRY, "too much is going on in this sandbox account"),
        Reason::NoRoom => Rejection::unavailable(RETRY, "the sandbox's store takes no more payments"),
    }
}

fn unavailable(trouble: Trouble) -> Rejection {
    Rejection::unavailable(RETRY, trouble.to_string())
}

fn unreadable() -> Settlement {
    Settlement::Unknown { detail: UNREADABLE.to_owned() }
}

/// How the methods a sandbox can play call currencies that prices know by another name.
const PLAYED: &[Played] = &[Played { method: "stripe", name: "usdc", id: "usd", decimals: 2 }];

struct Played {
    method: &'static str,
    name: &'static str,
    id: &'static str,
    decimals: u8,
}

const RECIPIENT: &str = "till";
const RETRY: Duration = Duration::from_secs(1);
/// A settlement that was claimed in time may begin this much after the challenge's end.
const GRACE: Duration = Duration::from_secs(60);
const UNREADABLE: &str = "a journaled sandbox plan cannot be read";
