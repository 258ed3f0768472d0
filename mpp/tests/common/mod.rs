//! What the pipeline tests share: a payment method that does as it is told and a store that fails where it is told.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

use mpp::method::{
    CredentialCx, Held, Holding, MethodCurrency, MethodProblem, Money, OfferCx, Payment, Rejection,
    ServerMethod, SettleCx, Settlement, SettlementPlan, Step, Verified,
};
use mpp::protocol::{BaseUnits, Challenge, ChargeRequest, Credential, MethodName};
use mpp::store::{Cas, Durability, Key, Store, StoreError, Version, Versioned, Write};
use serde_json::{Map, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A payment network in a struct: it remembers which challenges moved money, and does as it is told.
pub struct Network {
    name: MethodName,
    money: Money,
    /// Challenge id → how often money moved.
    pub moved: Mutex<HashMap<String, usize>>,
    pub released: Mutex<Vec<String>>,
    pub verified: AtomicUsize,
    pub resolved: AtomicUsize,
    pub script: Mutex<Script>,
    /// Settlements wait here until a permit is there.
    pub turnstile: Semaphore,
    /// How many settlements have come as far as the turnstile.
    pub waiting: AtomicUsize,
}

/// What the next settlement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    Settle,
    Decline,
    /// The money moves, the answer is lost.
    LoseAnswer,
    /// The money does not move, and nobody knows.
    LoseRequest,
    /// The method is out of order.
    Panic,
    /// `verify` cannot tell.
    Unreachable,
}

impl Network {
    pub fn new(name: &'static str) -> Arc<Self> {
        Self::with_money(name, Money::Test)
    }

    pub fn with_money(name: &'static str, money: Money) -> Arc<Self> {
        Arc::new(Self {
            name: MethodName::from_static(name),
            money,
            moved: Mutex::default(),
            released: Mutex::default(),
            verified: AtomicUsize::new(0),
            resolved: AtomicUsize::new(0),
            script: Mutex::new(Script::Settle),
            turnstile: Semaphore::new(Semaphore::MAX_PERMITS),
            waiting: AtomicUsize::new(0),
        })
    }

    pub fn will(&self, script: Script) {
        *self.script.lock().unwrap() = script;
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
}

/// A handle, because a configuration takes its methods by value.
pub struct Wired(pub Arc<Network>);

impl ServerMethod for Wired {
    fn name(&self) -> &MethodName {
        &self.0.name
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        let currency = mpp::Currency::by_name(name)?;
        Some(MethodCurrency { id: name.to_owned(), decimals: currency.decimals, minimum: BaseUnits::new(0) })
    }

    fn currencies(&self) -> Vec<String> {
        mpp::Currency::KNOWN.iter().map(|c| c.name.to_owned()).collect()
    }

    fn money(&self) -> Money {
        self.0.money
    }

    fn holding(&self) -> Holding {
        Holding::Supported
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        Ok(ChargeRequest::new(cx.amount, cx.currency.id.clone()))
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        self.0.verified.fetch_add(1, Ordering::SeqCst);
        if self.0.script() == Script::Unreachable {
            return Step::ready(Err(Rejection::unavailable(
                Duration::from_secs(7),
                "secret-rpc-url is down",
            )));
        }
        Step::ready(match cx.payload.get("proof").and_then(|p| p.as_str()) {
            Some(proof) => Ok(Verified {
                payer: cx.source.map(str::to_owned),
                proof_keys: vec![proof.to_owned()],
                plan: SettlementPlan(json!({ "amount": cx.request.amount, "secret": "plan-secret" })),
            }),
            None => Err(Rejection::failed("the proof is missing")),
        })
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        Step::boxed(async move {
            self.0.waiting.fetch_add(1, Ordering::SeqCst);
            let _turn = self.0.turnstile.acquire().await.expect("never closed");
            match self.0.script() {
                Script::Settle | Script::Unreachable => {
                    self.0.move_money(cx.challenge_id);
                    Settlement::Settled(Payment::new(format!("paid-{}", cx.challenge_id)))
                }
                Script::Decline => Settlement::Declined(Rejection::failed("declined")),
                Script::LoseAnswer => {
                    self.0.move_money(cx.challenge_id);
                    Settlement::Unknown { detail: "secret-rpc-url timed out".to_owned() }
                }
                Script::LoseRequest => Settlement::Unknown { detail: "secret-rpc-url timed out".to_owned() },
                Script::Panic => panic!("the method is out of order"),
            }
        })
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        self.0.resolved.fetch_add(1, Ordering::SeqCst);
        let moved = self.0.moved.lock().unwrap().contains_key(cx.challenge_id);
        Step::ready(match (moved, self.0.script()) {
            (true, _) => Settlement::Settled(Payment::new(format!("paid-{}", cx.challenge_id))),
            (false, Script::LoseRequest) => Settlement::Unknown { detail: "still nobody knows".to_owned() },
            (false, _) => Settlement::Declined(Rejection::failed("it never arrived")),
        })
    }

    fn hold<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Held> {
        Step::ready(match self.0.script() {
            Script::Decline => Held::Declined(Rejection::failed("declined")),
            _ => Held::Held(cx.plan.clone()),
        })
    }

    fn release<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Result<(), Rejection>> {
        self.0.released.lock().unwrap().push(cx.challenge_id.to_owned());
        Step::ready(Ok(()))
    }
}

/// The credential for a challenge, with a proof of one's own choosing.
pub fn credential(challenge: &Challenge, proof: &str) -> String {
    let mut payload = Map::new();
    payload.insert("proof".to_owned(), proof.into());
    Credential { challenge: challenge.clone(), source: Some("did:example:payer".to_owned()), payload }
        .to_header_value()
}

/// A store that does as it is told at the n-th operation from now.
pub struct Faulty {
    inner: Arc<dyn Store>,
    /// Operations until the fault; negative when there is none.
    countdown: Mutex<Option<(usize, Fault)>>,
    pub operations: AtomicUsize,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This operation and all after it fail, and do nothing.
    Dies,
    /// This operation fails and does nothing.
    Refuses,
    /// This operation is done, and its answer is lost.
    LosesAnswer,
    /// This operation never returns.
    Hangs,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, countdown: Mutex::new(None), operations: AtomicUsize::new(0) })
    }

    /// After `operations` more, `fault`.
    pub fn after(&self, operations: usize, fault: Fault) {
        *self.countdown.lock().unwrap() = Some((operations, fault));
    }

    pub fn heal(&self) {
        *self.countdown.lock().unwrap() = None;
    }

    fn fault(&self) -> Option<Fault> {
        self.operations.fetch_add(1, Ordering::SeqCst);
        let mut countdown = self.countdown.lock().unwrap();
        match countdown.as_mut() {
            None => None,
            Some((0, Fault::Dies)) => Some(Fault::Dies),
            Some((0, fault)) => {
                let fault = *fault;
                *countdown = None;
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
        }
    }
}

fn broken<T>() -> Result<T, StoreError> {
    Err(StoreError::Backend("told to fail".to_owned()))
}

impl Store for Faulty {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        match self.fault() {
            None => Step::boxed(async move {
                // As a network would: the caller can be dropped here.
                tokio::task::yield_now().await;
                self.inner.get(key).await
            }),
            Some(Fault::Hangs) => Step::boxed(std::future::pending()),
            Some(_) => Step::ready(broken()),
        }
    }

    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        match self.fault() {
            None => Step::boxed(async move {
                tokio::task::yield_now().await;
                let done = self.inner.cas(key, expect, new).await;
                tokio::task::yield_now().await;
                done
            }),
            Some(Fault::Hangs) => Step::boxed(std::future::pending()),
            Some(Fault::LosesAnswer) => Step::boxed(async move {
                self.inner.cas(key, expect, new).await?;
                broken()
            }),
            Some(Fault::Dies | Fault::Refuses) => Step::ready(broken()),
        }
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
        self.inner.scan(prefix, after, limit)
    }

    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        self.inner.changed(key, since)
    }
}
