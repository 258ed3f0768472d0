//! What the pipeline tests share: a payment method that does as it is told and a store that fails where it is told.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses its own part")]

mod faulty;

pub use faulty::{Fault, Faulty};

use mpp::method::{
    CredentialCx, Fees, Held, Holding, MethodCurrency, MethodProblem, Money, OfferCx, Payment, RefundCx,
    RefundOutcome, RefundPlan, Refunding, Rejection, ServerMethod, SettleCx, Settlement, SettlementPlan,
    Splitting, SponsorBudget, Sponsoring, Step, Verified,
};
use mpp::protocol::{BaseUnits, Challenge, ChargeRequest, Credential, MethodName, ProblemType, Timestamp};
use mpp::store::{Keep, Notebook, Turn};
use serde_json::{Map, json};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A payment network in a struct: it remembers which challenges moved money, and does as it is told.
pub struct Network {
    name: MethodName,
    terms: Terms,
    /// Challenge id → how often money moved.
    pub moved: Mutex<HashMap<String, usize>>,
    /// Challenge ids whose funds were reserved.
    pub reserved: Mutex<HashSet<String>>,
    /// Those whose hold was answered: what was answered must come back.
    pub answered: Mutex<HashSet<String>>,
    pub released: Mutex<Vec<String>>,
    /// Releases that did not know what `hold` had answered.
    pub blind: AtomicUsize,
    pub verified: AtomicUsize,
    pub resolved: AtomicUsize,
    /// The peers it was told about.
    pub clients: Mutex<Vec<String>>,
    /// What the next settlement, or hold, does.
    pub script: Mutex<Script>,
    /// What the next capture of a hold does.
    pub capture: Mutex<Script>,
    /// What the next release of a hold does.
    pub release: Mutex<Script>,
    pub available: AtomicBool,
    /// Whether it pays its payers' fees.
    pub sponsoring: Mutex<Sponsoring>,
    /// What it may still pay of them.
    pub budget: Mutex<Option<SponsorBudget>>,
    /// Settlements wait here until a permit is there.
    pub turnstile: Semaphore,
    /// How many settlements have come as far as the turnstile.
    pub waiting: AtomicUsize,
    /// Whether and from what it gives payments back.
    pub refunding: Mutex<Refunding>,
    /// What the next refund does.
    pub refund: Mutex<Script>,
    /// Refund id → what went back: payer and base units.
    pub refunded: Mutex<HashMap<String, (String, u128)>>,
    /// Orders that were made plans of.
    pub planned: AtomicUsize,
    /// Where they wait until a permit is there.
    pub desk: Semaphore,
    /// Refunds that came as far as the network.
    pub asked_back: AtomicUsize,
}

/// What a network can do at all.
#[derive(Clone, Debug)]
pub struct Terms {
    pub money: Money,
    pub holding: Holding,
    pub splitting: Splitting,
    /// The only payees it has an account of; everybody when empty.
    pub payees: &'static [&'static str],
    /// What requests call every one of its currencies, if not by name.
    pub id: Option<&'static str>,
    /// In base units.
    pub minimum: u128,
    /// Other than what everybody thinks.
    pub decimals: Option<u8>,
    /// The only currencies it knows; all of them when empty.
    pub currencies: &'static [&'static str],
    /// Characters of the recipient, which make a challenge long.
    pub recipient: usize,
    pub problem: Option<&'static str>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            money: Money::Test,
            holding: Holding::Supported,
            splitting: Splitting::Legs(10),
            payees: &[],
            id: None,
            minimum: 0,
            decimals: None,
            currencies: &[],
            recipient: 0,
            problem: None,
        }
    }
}

/// What a network does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    Settle,
    /// Settles, and writes it down in its notebook.
    Note,
    Decline,
    /// Declines with a problem that is no 402.
    DeclineAsBad,
    /// Declines, and cannot say why: nothing moved.
    DeclineForNow,
    /// The money moves, the answer is lost.
    LoseAnswer,
    /// The money does not move, and nobody knows.
    LoseRequest,
    /// The money moves, and no answer ever comes.
    Hang,
    /// The method is out of order.
    Panic,
    /// `verify` cannot tell.
    Unreachable,
}

impl Network {
    pub fn new(name: &'static str) -> Arc<Self> {
        Self::on(name, Terms::default())
    }

    pub fn with_money(name: &'static str, money: Money) -> Arc<Self> {
        Self::on(name, Terms { money, ..Terms::default() })
    }

    pub fn on(name: &'static str, terms: Terms) -> Arc<Self> {
        Arc::new(Self {
            name: MethodName::parse(name).expect("a name"),
            terms,
            moved: Mutex::default(),
            reserved: Mutex::default(),
            answered: Mutex::default(),
            blind: AtomicUsize::new(0),
            released: Mutex::default(),
            verified: AtomicUsize::new(0),
            resolved: AtomicUsize::new(0),
            clients: Mutex::default(),
            script: Mutex::new(Script::Settle),
            capture: Mutex::new(Script::Settle),
            release: Mutex::new(Script::Settle),
            available: AtomicBool::new(true),
            sponsoring: Mutex::new(Sponsoring::NoFees),
            budget: Mutex::default(),
            turnstile: Semaphore::new(Semaphore::MAX_PERMITS),
            waiting: AtomicUsize::new(0),
            refunding: Mutex::new(Refunding::Configured),
            refund: Mutex::new(Script::Settle),
            refunded: Mutex::default(),
            planned: AtomicUsize::new(0),
            desk: Semaphore::new(Semaphore::MAX_PERMITS),
            asked_back: AtomicUsize::new(0),
        })
    }

    pub fn will(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    pub fn sponsors(&self, sponsoring: Sponsoring) {
        *self.sponsoring.lock().unwrap() = sponsoring;
    }

    /// Settlements wait at the turnstile from now on.
    pub fn close_turnstile(&self) {
        self.turnstile.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn script(&self) -> Script {
        *self.script.lock().unwrap()
    }

    fn move_money(&self, id: &str) {
        *self.moved.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    /// How often money moved, in all.
    pub fn payments(&self) -> usize {
        self.moved.lock().unwrap().values().sum()
    }

    /// The most often that money moved for one challenge.
    pub fn worst(&self) -> usize {
        self.moved.lock().unwrap().values().copied().max().unwrap_or(0)
    }

    /// What went back, in all.
    pub fn given_back(&self) -> u128 {
        self.refunded.lock().unwrap().values().map(|(_, units)| units).sum()
    }

    /// The plan came back as it was given: by `verify`, and for what is held by `hold`.
    fn check(&self, cx: &SettleCx<'_>) {
        assert_eq!(cx.plan.0["secret"], PLAN_SECRET);
        assert!(cx.notebook().is_some(), "the pipeline hands the method's pages in");
        let answered = self.answered.lock().unwrap().contains(cx.challenge_id);
        if answered {
            assert_eq!(cx.plan.0["hold"], cx.challenge_id, "without it nobody can find the hold");
        }
    }

    fn payment(&self, id: &str) -> Payment {
        Payment {
            external_id: Some("order-7".to_owned()),
            extra: Map::from_iter([("network".to_owned(), self.name.as_str().into())]),
            ..Payment::new(format!("paid-{id}"))
        }
    }
}

/// A handle, because a configuration takes its methods by value.
pub struct Wired(pub Arc<Network>);

/// What the plan of every payment holds, and nothing else may.
pub const PLAN_SECRET: &str = "plan-secret-4711";
/// What a network's errors say to the operator, and no client may read.
pub const INTERNALS: &str = "secret-rpc-url";

impl ServerMethod for Wired {
    fn name(&self) -> &MethodName {
        &self.0.name
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        let Terms { currencies, decimals, minimum, id, .. } = self.0.terms;
        let currency =
            mpp::Currency::by_name(name).filter(|_| currencies.is_empty() || currencies.contains(&name))?;
        Some(MethodCurrency {
            id: id.unwrap_or(name).to_owned(),
            decimals: decimals.unwrap_or(currency.decimals),
            minimum: BaseUnits::new(minimum),
        })
    }

    fn currencies(&self) -> Vec<String> {
        let known = mpp::Currency::KNOWN.iter().map(|c| c.name.to_owned());
        known.filter(|name| self.currency(name).is_some()).collect()
    }

    fn money(&self) -> Money {
        self.0.terms.money
    }

    fn holding(&self) -> Holding {
        self.0.terms.holding
    }

    fn sponsoring(&self) -> Sponsoring {
        *self.0.sponsoring.lock().unwrap()
    }

    fn sponsor_budget<'a>(&'a self, _: &'a Notebook, _: Timestamp) -> Step<'a, Option<SponsorBudget>> {
        Step::ready(*self.0.budget.lock().unwrap())
    }

    fn splitting(&self) -> Splitting {
        self.0.terms.splitting
    }

    fn problems(&self) -> Vec<MethodProblem> {
        self.0.terms.problem.map(|text| MethodProblem(text.to_owned())).into_iter().collect()
    }

    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::ready(match self.0.script() {
            Script::Unreachable => Err(MethodProblem("its network is out of reach".to_owned())),
            _ => Ok(()),
        })
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        let mut request = ChargeRequest::new(cx.amount, cx.currency.id.clone());
        request.recipient = (self.0.terms.recipient > 0).then(|| "r".repeat(self.0.terms.recipient));
        request.description = cx.description.map(str::to_owned);
        let mut details = Map::new();
        if cx.fees == Fees::Sponsored {
            details.insert("feePayer".to_owned(), true.into());
        }
        for share in cx.splits {
            if !self.0.terms.payees.is_empty() && !self.0.terms.payees.contains(&share.payee) {
                return Err(MethodProblem(format!("`{}` has no account here", share.payee)));
            }
            details.insert(share.payee.to_owned(), share.units.to_string().into());
        }
        request.method_details = (!details.is_empty()).then_some(details);
        Ok(request)
    }

    fn available(&self) -> bool {
        self.0.available.load(Ordering::SeqCst)
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        self.0.verified.fetch_add(1, Ordering::SeqCst);
        self.0.clients.lock().unwrap().push(cx.client.to_owned());
        if self.0.script() == Script::Unreachable {
            return Step::ready(Err(Rejection::unavailable(
                Duration::from_secs(7),
                format!("{INTERNALS} is down"),
            )));
        }
        Step::ready(match cx.payload.get("proof").and_then(|p| p.as_str()) {
            Some(proof) => Ok(Verified {
                payer: cx.source.map(str::to_owned),
                // Twice, as a careless method might.
                proof_keys: proof.split('+').chain(proof.split('+')).map(str::to_owned).collect(),
                plan: SettlementPlan(json!({ "amount": cx.request.amount, "secret": PLAN_SECRET })),
            }),
            None => Err(Rejection::failed("the proof is missing")),
        })
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        Step::boxed(async move {
            self.0.check(cx);
            self.0.waiting.fetch_add(1, Ordering::SeqCst);
            let _turn = self.0.turnstile.acquire().await.expect("never closed");
            let captures = self.0.reserved.lock().unwrap().contains(cx.challenge_id);
            let script = if captures { *self.0.capture.lock().unwrap() } else { self.0.script() };
            match script {
                Script::Settle | Script::Unreachable => {
                    self.0.move_money(cx.challenge_id);
                    Settlement::Settled(self.0.payment(cx.challenge_id))
                }
                Script::Note => {
                    let count = |n: Option<u32>| Turn::write(n.unwrap_or(0) + 1, Keep::Live, ());
                    let noted = cx.notebook().expect("checked above").turn("payments", count).await;
                    noted.expect("there is room for the method's pages");
                    self.0.move_money(cx.challenge_id);
                    Settlement::Settled(self.0.payment(cx.challenge_id))
                }
                Script::Decline => Settlement::Declined(Rejection::failed("declined")),
                Script::DeclineAsBad => Settlement::Declined(Rejection::Refused {
                    kind: ProblemType::BadRequest,
                    detail: "no such account".into(),
                }),
                Script::DeclineForNow => Settlement::Declined(Rejection::unavailable(
                    Duration::from_secs(9),
                    format!("{INTERNALS} is full"),
                )),
                Script::LoseAnswer => {
                    self.0.move_money(cx.challenge_id);
                    Settlement::Unknown { detail: format!("{INTERNALS} timed out") }
                }
                Script::LoseRequest => Settlement::Unknown { detail: format!("{INTERNALS} timed out") },
                Script::Hang => {
                    self.0.move_money(cx.challenge_id);
                    std::future::pending().await
                }
                Script::Panic => panic!("the method is out of order"),
            }
        })
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        self.0.check(cx);
        self.0.resolved.fetch_add(1, Ordering::SeqCst);
        let moved = self.0.moved.lock().unwrap().contains_key(cx.challenge_id);
        match (moved, self.0.script()) {
            (_, Script::Hang) => Step::boxed(std::future::pending()),
            (true, _) => Step::ready(Settlement::Settled(self.0.payment(cx.challenge_id))),
            (false, Script::LoseRequest) => {
                Step::ready(Settlement::Unknown { detail: "still nobody knows".to_owned() })
            }
            (false, _) => Step::ready(Settlement::Declined(Rejection::failed("it never arrived"))),
        }
    }

    fn hold<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Held> {
        let reserve = || self.0.reserved.lock().unwrap().insert(cx.challenge_id.to_owned());
        match self.0.script() {
            Script::Decline => Step::ready(Held::Declined(Rejection::failed("declined"))),
            Script::LoseAnswer => {
                reserve();
                Step::ready(Held::Unknown { detail: format!("{INTERNALS} timed out") })
            }
            Script::Hang => {
                reserve();
                Step::boxed(std::future::pending())
            }
            _ => {
                reserve();
                self.0.answered.lock().unwrap().insert(cx.challenge_id.to_owned());
                let mut plan = cx.plan.clone();
                plan.0["hold"] = cx.challenge_id.into();
                Step::ready(Held::Held(plan))
            }
        }
    }

    fn release<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Result<(), Rejection>> {
        match *self.0.release.lock().unwrap() {
            Script::Unreachable => Step::ready(Err(Rejection::unavailable(
                Duration::from_secs(1),
                format!("{INTERNALS} is down"),
            ))),
            Script::Hang => Step::boxed(std::future::pending()),
            _ => {
                if cx.plan.0.get("hold").is_none() {
                    self.0.blind.fetch_add(1, Ordering::SeqCst);
                }
                self.0.released.lock().unwrap().push(cx.challenge_id.to_owned());
                Step::ready(Ok(()))
            }
        }
    }

    fn refunding(&self) -> Refunding {
        *self.0.refunding.lock().unwrap()
    }

    fn plan_refund<'a>(&'a self, cx: &'a RefundCx<'a>) -> Step<'a, Result<RefundPlan, MethodProblem>> {
        self.0.planned.fetch_add(1, Ordering::SeqCst);
        if *self.0.refund.lock().unwrap() == Script::Unreachable {
            return Step::ready(Err(MethodProblem("the purse is empty".to_owned())));
        }
        assert!(cx.reference.starts_with("paid-"), "{}", cx.reference);
        Step::boxed(async {
            drop(self.0.desk.acquire().await.expect("it is never closed"));
            Ok(RefundPlan(json!({
                "id": cx.refund_id, "to": cx.payer, "units": cx.units, "secret": PLAN_SECRET,
            })))
        })
    }

    fn refund<'a>(&'a self, plan: &'a RefundPlan, _: Timestamp) -> Step<'a, RefundOutcome> {
        self.0.asked_back.fetch_add(1, Ordering::SeqCst);
        assert_eq!(plan.0["secret"], PLAN_SECRET);
        let text = |name: &str| plan.0[name].as_str().expect("as it was planned").to_owned();
        let reference = format!("back-{}", text("id"));
        let pay = || {
            let entry = (text("to"), text("units").parse().expect("units"));
            self.0.refunded.lock().unwrap().insert(text("id"), entry);
        };
        let detail = "nobody knows".to_owned();
        match *self.0.refund.lock().unwrap() {
            Script::Decline => Step::ready(RefundOutcome::Failed { why: "the account is closed".to_owned() }),
            Script::LoseRequest => Step::ready(RefundOutcome::Pending { reference: None, detail }),
            Script::LoseAnswer => {
                pay();
                Step::ready(RefundOutcome::Pending { reference: Some(reference), detail })
            }
            Script::Hang => {
                pay();
                Step::boxed(std::future::pending())
            }
            _ => {
                pay();
                Step::ready(RefundOutcome::Refunded { reference })
            }
        }
    }
}

/// The credential for a challenge, with a proof of one's own choosing.
pub fn credential(challenge: &Challenge, proof: &str) -> String {
    let mut payload = Map::new();
    payload.insert("proof".to_owned(), proof.into());
    Credential { challenge: challenge.clone(), source: Some("did:example:payer".to_owned()), payload }
        .to_header_value()
}
