//! The sandbox against the conformance kit for payment methods, and the kit against methods with a flaw.
#![cfg(feature = "testing")]

mod common;

use common::Faulty;
use mpp::method::sandbox::Wallet;
use mpp::method::{
    ClientMethod, CredentialCx, Held, Holding, MethodCurrency, MethodProblem, Money, OfferCx, Payment, Proof,
    Rejection, ServerMethod, SettleCx, Settlement, SettlementPlan, Step, Verified,
};
use mpp::protocol::{BaseUnits, Challenge, ChargeRequest, Currency, MethodName, ProblemType, Timestamp};
use mpp::store::MemoryStore;
use mpp::testing::{MethodBench, MethodRule, method_conformance};
use mpp::{Amount, Clock, ManualClock, Sandbox};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A sandbox whose books are in a store that others get a turn at, so that it can be stopped at each of their lines.
struct PlayMoney {
    wallet: Wallet,
    books: Arc<Faulty>,
}

impl PlayMoney {
    fn sandbox(&self, clock: Arc<dyn Clock>) -> Sandbox {
        Sandbox::new()
            .with_store(self.books.clone())
            .with_clock(clock)
            .account(&self.wallet.did(), Amount::whole(1_000_000))
    }
}

impl MethodBench for PlayMoney {
    type Method = Sandbox;

    async fn method(&self, clock: Arc<dyn Clock>) -> Sandbox {
        self.sandbox(clock)
    }

    fn price(&self) -> (Amount, Currency) {
        (Amount::cents(5), Currency::USDC)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        self.wallet.pay(challenge).await.expect("a challenge of a sandbox")
    }

    async fn taken(&self) -> u128 {
        let till = self.sandbox(Arc::new(ManualClock::at(START))).till().await.expect("the books");
        till.to_base_units(6).expect("cents").get()
    }

    async fn traces(&self) -> String {
        format!("{} lines written", self.books.written.lock().unwrap().len())
    }

    fn now(&self) -> Timestamp {
        START
    }
}

const START: Timestamp = Timestamp::from_unix(1_800_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_keeps_the_contract_of_payment_methods() {
    let books = Faulty::new(Arc::new(MemoryStore::new()));
    let found = method_conformance(&PlayMoney { wallet: Wallet::generate(), books }).await;
    found.assert_kept();
    assert!(found.stops() >= 40, "{found}");
}

/// What is wrong with a method that somebody wrote in an afternoon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    OffersAnotherAmount,
    OffersDiffer,
    SpendsInVerify,
    PlansDiffer,
    BelievesTheSource,
    ResolvePaysAgain,
    ResolveGuesses,
    ResolveNeverKnows,
    DeclinesWhatIsUnderWay,
    HoldsByPaying,
    ForgetsReleases,
    CapturesWhatWasReleased,
    NamesNoProofKey,
    TakesAnyCode,
    RefusesUnknownMembers,
    PanicsOnNonsense,
    BlamesItselfForNonsense,
    ShowsItsKey,
    PaysForOddPlans,
    DeclinesAfterALostAnswer,
    ChecksNoChallenge,
}

/// Everybody's bank: a code pays once, for the challenge it names.
#[derive(Default)]
struct Bank {
    /// Code → for what it was issued.
    issued: HashMap<String, String>,
    /// Challenge → code, reserved or paid.
    reserved: HashMap<String, String>,
    cancelled: BTreeSet<String>,
    payments: Vec<(String, String)>,
    /// The answer to the next payment is lost.
    loses_an_answer: bool,
}

struct Village {
    flaw: Flaw,
    bank: Arc<Mutex<Bank>>,
    codes: AtomicU32,
}

/// A method of that bank.
struct Codes {
    name: MethodName,
    key: &'static str,
    flaw: Flaw,
    bank: Arc<Mutex<Bank>>,
    offers: AtomicU32,
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = if self.flaw == Flaw::ShowsItsKey { self.key } else { ".." };
        f.debug_struct("Codes").field("name", &self.name).field("key", &key).finish()
    }
}

impl Codes {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn bank(&self) -> MutexGuard<'_, Bank> {
        self.bank.lock().unwrap()
    }

    /// One instruction to the bank. It keeps its promise to act on each challenge once.
    fn pay(&self, id: &str, code: &str) -> Settlement {
        let mut bank = self.bank();
        let known = bank.issued.contains_key(code) || self.has(Flaw::TakesAnyCode);
        let done = bank.payments.iter().any(|(paid, _)| paid == id);
        if bank.cancelled.contains(id) && !self.has(Flaw::CapturesWhatWasReleased) {
            return Settlement::Declined(Rejection::failed("cancelled"));
        }
        if !known {
            return Settlement::Declined(Rejection::failed("no such code"));
        }
        let spent = bank.payments.iter().any(|(_, spent)| spent == code);
        if !done && spent && !self.has(Flaw::NamesNoProofKey) && !self.has(Flaw::ChecksNoChallenge) {
            return Settlement::Declined(Rejection::failed("spent"));
        }
        if !done || self.has(Flaw::ResolvePaysAgain) {
            bank.payments.push((id.to_owned(), code.to_owned()));
        }
        if std::mem::take(&mut bank.loses_an_answer) {
            return match self.flaw {
                Flaw::DeclinesAfterALostAnswer => Settlement::Declined(Rejection::failed("no answer")),
                _ => Settlement::Unknown { detail: "no answer".to_owned() },
            };
        }
        Settlement::Settled(Payment::new(format!("paid-{id}")))
    }

    fn code<'a>(&self, cx: &'a SettleCx<'_>) -> Option<&'a str> {
        match cx.plan.0["code"].as_str() {
            None if self.has(Flaw::PaysForOddPlans) => Some(""),
            code => code,
        }
    }
}

impl ServerMethod for Codes {
    fn name(&self) -> &MethodName {
        &self.name
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        (name == "eur").then(|| MethodCurrency { id: "eur".into(), decimals: 2, minimum: BaseUnits::new(1) })
    }

    fn currencies(&self) -> Vec<String> {
        vec!["eur".to_owned()]
    }

    fn money(&self) -> Money {
        Money::Test
    }

    fn holding(&self) -> Holding {
        Holding::Supported
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        let more = u128::from(self.has(Flaw::OffersAnotherAmount));
        let mut request = ChargeRequest::new(BaseUnits::new(cx.amount.get() + more), &cx.currency.id);
        if self.has(Flaw::OffersDiffer) {
            request.external_id = Some(self.offers.fetch_add(1, Ordering::SeqCst).to_string());
        }
        Ok(request)
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        let malformed = |text: &'static str| Step::ready(Err(Rejection::malformed(text)));
        let Some(code) = cx.payload.get("code").and_then(Value::as_str) else {
            return match self.flaw {
                Flaw::PanicsOnNonsense => panic!("a code"),
                Flaw::BlamesItselfForNonsense => Step::ready(Err(Rejection::Refused {
                    kind: ProblemType::Internal,
                    detail: "no code".into(),
                })),
                _ => malformed("`code` is missing"),
            };
        };
        if self.has(Flaw::RefusesUnknownMembers) && cx.payload.len() > 1 {
            return malformed("too many members");
        }
        let mut bank = self.bank();
        let issued = bank.issued.get(code).cloned();
        if issued.as_deref() != Some(&cx.challenge.id)
            && !matches!(self.flaw, Flaw::TakesAnyCode | Flaw::NamesNoProofKey | Flaw::ChecksNoChallenge)
        {
            return Step::ready(Err(Rejection::failed("this code is for something else")));
        }
        if self.has(Flaw::SpendsInVerify) {
            bank.payments.push((cx.challenge.id.clone(), code.to_owned()));
        }
        let mut plan = json!({ "code": code });
        if self.has(Flaw::PlansDiffer) {
            plan["nonce"] = self.offers.fetch_add(1, Ordering::SeqCst).into();
        }
        let payer = match self.flaw {
            Flaw::BelievesTheSource => cx.source.map(str::to_owned),
            _ => None,
        };
        let proof_keys = match self.flaw {
            Flaw::NamesNoProofKey => Vec::new(),
            _ => vec![code.to_owned()],
        };
        Step::ready(Ok(Verified { payer, proof_keys, plan: SettlementPlan(plan) }))
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        Step::boxed(async move {
            let Some(code) = self.code(cx) else {
                return Settlement::Unknown { detail: "a plan of another release".to_owned() };
            };
            tokio::task::yield_now().await; // to the bank
            if code.is_empty() && self.has(Flaw::PaysForOddPlans) {
                return Settlement::Settled(Payment::new("nothing"));
            }
            let settled = self.pay(cx.challenge_id, code);
            tokio::task::yield_now().await; // and back
            settled
        })
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        let id = cx.challenge_id;
        let Some(code) = self.code(cx) else {
            return Step::ready(Settlement::Unknown { detail: "a plan of another release".to_owned() });
        };
        if self.has(Flaw::ResolvePaysAgain) {
            return Step::ready(self.pay(id, code));
        }
        let mut bank = self.bank();
        let paid = bank.payments.iter().any(|(paid, _)| paid == id);
        Step::ready(match (paid, self.flaw) {
            (_, Flaw::ResolveNeverKnows) => Settlement::Unknown { detail: "who knows".to_owned() },
            (_, Flaw::ResolveGuesses) => Settlement::Settled(Payment::new(format!("paid-{id}"))),
            (true, _) => Settlement::Settled(Payment::new(format!("paid-{id}"))),
            (false, _) => {
                // Nothing can come after that.
                if !self.has(Flaw::DeclinesWhatIsUnderWay) {
                    bank.cancelled.insert(id.to_owned());
                }
                Settlement::Declined(Rejection::failed("it never arrived"))
            }
        })
    }

    fn hold<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Held> {
        Step::boxed(async move {
            let Some(code) = self.code(cx) else {
                return Held::Unknown { detail: "a plan of another release".to_owned() };
            };
            tokio::task::yield_now().await;
            if self.has(Flaw::HoldsByPaying) {
                drop(self.pay(cx.challenge_id, code));
            } else {
                self.bank().reserved.insert(cx.challenge_id.to_owned(), code.to_owned());
            }
            tokio::task::yield_now().await;
            Held::Held(cx.plan.clone())
        })
    }

    fn release<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Result<(), Rejection>> {
        let mut bank = self.bank();
        if bank.payments.iter().any(|(paid, _)| paid == cx.challenge_id) {
            return Step::ready(Err(Rejection::failed("captured")));
        }
        if self.has(Flaw::ForgetsReleases) {
            let held = bank.reserved.remove(cx.challenge_id).is_some();
            bank.cancelled.insert(cx.challenge_id.to_owned());
            return Step::ready(held.then_some(()).ok_or_else(|| Rejection::failed("no such hold")));
        }
        bank.cancelled.insert(cx.challenge_id.to_owned());
        Step::ready(Ok(()))
    }
}

impl MethodBench for Village {
    type Method = Codes;

    async fn method(&self, _: Arc<dyn Clock>) -> Codes {
        Codes {
            name: MethodName::from_static("codes"),
            key: "key-4711",
            flaw: self.flaw,
            bank: self.bank.clone(),
            offers: AtomicU32::new(0),
        }
    }

    fn price(&self) -> (Amount, Currency) {
        (Amount::cents(50), Currency::EUR)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        let code = format!("code{:08}", self.codes.fetch_add(100, Ordering::SeqCst));
        self.bank.lock().unwrap().issued.insert(code.clone(), challenge.id.clone());
        let payload = [("code".to_owned(), Value::from(code))].into_iter().collect();
        Proof { payload, source: Some("did:example:payer".to_owned()) }
    }

    async fn taken(&self) -> u128 {
        50 * self.bank.lock().unwrap().payments.len() as u128
    }

    fn secrets(&self) -> Vec<String> {
        vec!["key-4711".to_owned()]
    }

    fn now(&self) -> Timestamp {
        START
    }

    fn faults(&self) -> Vec<&'static str> {
        vec!["a lost answer"]
    }

    async fn inject(&self, _: &'static str) {
        self.bank.lock().unwrap().loses_an_answer = true;
    }
}

async fn broken_by(flaw: Flaw) -> BTreeSet<MethodRule> {
    let found = method_conformance(&Village { flaw, bank: Arc::default(), codes: AtomicU32::new(10) }).await;
    found.broken()
}

#[tokio::test]
async fn a_method_without_a_flaw_passes() {
    assert_eq!(broken_by(Flaw::None).await, BTreeSet::new());
}

#[tokio::test]
async fn each_flaw_of_a_method_is_found_by_the_rule_it_breaks() {
    for (flaw, rule) in [
        (Flaw::OffersAnotherAmount, MethodRule::OffersArePure),
        (Flaw::OffersDiffer, MethodRule::OffersArePure),
        (Flaw::SpendsInVerify, MethodRule::VerifyIsPure),
        (Flaw::PlansDiffer, MethodRule::VerifyIsPure),
        (Flaw::BelievesTheSource, MethodRule::PayersAreEstablished),
        (Flaw::ResolvePaysAgain, MethodRule::ResolveOnlyLooks),
        (Flaw::ResolveGuesses, MethodRule::StoppedSettlementsAreFound),
        (Flaw::ResolveGuesses, MethodRule::CrashesPayOnce),
        (Flaw::ResolveNeverKnows, MethodRule::CrashesPayOnce),
        (Flaw::DeclinesWhatIsUnderWay, MethodRule::StoppedSettlementsAreFound),
        (Flaw::HoldsByPaying, MethodRule::HoldsTakeNothing),
        (Flaw::HoldsByPaying, MethodRule::StoppedHoldsAreGivenBack),
        (Flaw::ForgetsReleases, MethodRule::HoldsTakeNothing),
        (Flaw::ForgetsReleases, MethodRule::StoppedHoldsAreGivenBack),
        (Flaw::CapturesWhatWasReleased, MethodRule::HoldsTakeNothing),
        (Flaw::NamesNoProofKey, MethodRule::ProofsPayOneChallenge),
        (Flaw::TakesAnyCode, MethodRule::PayloadsAreBound),
        (Flaw::RefusesUnknownMembers, MethodRule::UnknownMembersAreIgnored),
        (Flaw::PanicsOnNonsense, MethodRule::GarbageIsRefused),
        (Flaw::BlamesItselfForNonsense, MethodRule::GarbageIsRefused),
        (Flaw::ShowsItsKey, MethodRule::SecretsAreKept),
        (Flaw::PaysForOddPlans, MethodRule::PlansAreReadWithCare),
        (Flaw::DeclinesAfterALostAnswer, MethodRule::FaultsPayOnce),
    ] {
        let broken = broken_by(flaw).await;
        assert!(broken.contains(&rule), "{flaw:?} does not break `{rule}`, but {broken:?}");
    }
}

#[tokio::test]
async fn a_code_that_names_no_challenge_is_kept_to_one_by_its_proof_key() {
    assert!(!broken_by(Flaw::ChecksNoChallenge).await.contains(&MethodRule::ProofsPayOneChallenge));
}
