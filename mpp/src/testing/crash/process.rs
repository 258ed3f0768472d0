//! A process that can be stopped: each of its calls to a store or a network is numbered and named, and its fate is decided
//! when it begins. From the moment of its death nothing it calls is done or answered any more.

use super::Stop;
use crate::method::Step;
use crate::server;
use crate::store::{Cas, Durability, Key, Store, StoreError, Version, Versioned, Write};
use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A process of a server under [`crash_safety`](super::crash_safety): what its store and its network are called through.
///
/// A [`CrashBench`](super::CrashBench) is handed one for every process, and wires its method's network to it, with
/// [`call`](Self::call) for a network that is asked over a connection, or [`store`](Self::store) for one whose books are
/// in a store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use mpp::testing::Process;
///
/// let process = Process::immortal();
/// let answer = process.call("balance", async { 7 }).await;
/// assert_eq!(answer, Ok(7));
/// assert_eq!(process.operations(), ["network: balance"]);
/// # }
/// ```
#[derive(Clone)]
pub struct Process(Arc<Life>);

struct Life {
    judge: Mutex<Judge>,
    trace: Mutex<Vec<Operation>>,
    dead: watch::Sender<bool>,
}

type Judge = Box<dyn FnMut(&str) -> Fate + Send>;

/// An operation as it was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) fate: Fate,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::testing) enum Fate {
    /// Done and answered.
    Done,
    /// Done and answered, after others had this many turns.
    Slow(u32),
    /// Not done, and answered with an error.
    Refused,
    /// Done, and answered with an error.
    AnswerLost,
    /// The process dies, and it is not done.
    DiesBefore,
    /// It is done, and the process dies before it hears of it.
    DiesAfter,
}

/// A call that was not answered.
///
/// ```
/// assert_eq!(mpp::testing::CutOff.to_string(), "the connection was cut");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was cut")]
pub struct CutOff;

impl Process {
    /// One that nothing happens to.
    ///
    /// ```
    /// let process = mpp::testing::Process::immortal();
    /// assert!(process.operations().is_empty());
    /// ```
    pub fn immortal() -> Self {
        Self::judged(|_| Fate::Done)
    }

    /// One whose operations end as `judge` says, who is told their names.
    pub(in crate::testing) fn judged(judge: impl FnMut(&str) -> Fate + Send + 'static) -> Self {
        Self(Arc::new(Life {
            judge: Mutex::new(Box::new(judge)),
            trace: Mutex::default(),
            dead: watch::Sender::new(false),
        }))
    }

    /// One that dies at this operation, or at none.
    pub(super) fn stopping(at: Option<Stop>) -> Self {
        let Some(stop) = at else { return Self::immortal() };
        let mut left = stop.nth;
        Self::judged(move |name| match (name == stop.name, left) {
            (false, _) => Fate::Done,
            (true, 0) => stop.fate,
            (true, _) => {
                left -= 1;
                Fate::Done
            }
        })
    }

    /// `inner`, as this process sees it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// use mpp::store::{Key, MemoryStore, Quota, Store};
    /// use mpp::testing::Process;
    /// use std::sync::Arc;
    ///
    /// let process = Process::immortal();
    /// let store = process.store(Arc::new(MemoryStore::new()));
    /// store.get(&Key::new(Quota::Paid, "entry", "n3vQ")).await?;
    /// assert_eq!(process.operations(), ["read entry"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn store(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Seen { process: self.clone(), inner })
    }

    /// A call to the network that `name` says, which `call` makes.
    ///
    /// # Errors
    /// [`CutOff`] when the call or its answer is lost. In a process that dies here it never returns.
    ///
    /// The example is [above](Self).
    pub async fn call<T>(&self, name: &str, call: impl Future<Output = T>) -> Result<T, CutOff> {
        self.run(&format!("network: {name}"), call).await
    }

    /// The operations so far, by name, in the order in which they began.
    ///
    /// The example is [above](Self).
    pub fn operations(&self) -> Vec<String> {
        self.trace().iter().map(|operation| operation.name.clone()).collect()
    }

    pub(super) fn trace(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.0.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.0.dead.borrow()
    }

    /// Returns when it is dead.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let process = mpp::testing::Process::immortal();
    /// tokio::select! {
    ///     biased;
    ///     () = process.death() => unreachable!(),
    ///     () = std::future::ready(()) => {}
    /// }
    /// # }
    /// ```
    pub async fn death(&self) {
        // The sender lives in here.
        drop(self.0.dead.subscribe().wait_for(|dead| *dead).await);
    }

    /// Between two operations.
    pub(super) fn kill(&self) {
        self.0.dead.send_replace(true);
    }

    /// Lets others run until nothing more is begun.
    pub(super) async fn quiet(&self) {
        loop {
            let begun = self.trace().len();
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            if self.is_dead() || self.trace().len() == begun {
                return;
            }
        }
    }

    async fn run<T>(&self, name: &str, operation: impl Future<Output = T>) -> Result<T, CutOff> {
        if self.is_dead() {
            pending::<()>().await;
        }
        let fate = {
            let mut trace = self.trace();
            let mut judge = self.0.judge.lock().unwrap_or_else(PoisonError::into_inner);
            let fate = judge(name);
            trace.push(Operation { name: name.to_owned(), fate });
            fate
        };
        // As a network would: others get their turn, and whoever asked can be dropped.
        tokio::task::yield_now().await;
        match fate {
            Fate::DiesBefore => {
                self.kill();
                pending::<()>().await;
            }
            Fate::Refused => return Err(CutOff),
            Fate::Slow(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Fate::Done | Fate::AnswerLost | Fate::DiesAfter => {}
        }
        let done = operation.await;
        if fate == Fate::DiesAfter {
            self.kill();
        }
        tokio::task::yield_now().await;
        if self.is_dead() {
            // It was on its way when the process died.
            pending::<()>().await;
        }
        if fate == Fate::AnswerLost { Err(CutOff) } else { Ok(done) }
    }

    async fn run_store<T>(
        &self,
        name: &str,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.run(name, operation).await.map_err(|cut| StoreError::Backend(cut.to_string()))?
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("operations", &self.trace().len())
            .field("dead", &self.is_dead())
            .finish_non_exhaustive()
    }
}

/// How often others run while nothing is begun before that counts as quiet.
const TURNS: usize = 64;

/// A store as a process sees it.
struct Seen {
    process: Process,
    inner: Arc<dyn Store>,
}

impl Store for Seen {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        Step::boxed(async move {
            // Some stores act when they are called, before they are waited for.
            let get = async { self.inner.get(key).await };
            self.process.run_store(&format!("read {}", kind(key)), get).await
        })
    }

    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        Step::boxed(async move {
            let kind = kind(key);
            let name = match (&new, expect) {
                (None, _) => format!("remove {kind}"),
                (Some(write), _) if kind == server::ENTRY => {
                    format!("write {kind}: {}", server::state_of(&write.value))
                }
                (Some(_), None) => format!("write {kind}, new"),
                (Some(_), Some(_)) => format!("write {kind}, changed"),
            };
            let cas = async { self.inner.cas(key, expect, new).await };
            self.process.run_store(&name, cas).await
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
        Step::boxed(async move {
            let kind = prefix.split('/').nth(1).unwrap_or_default();
            let scan = async { self.inner.scan(prefix, after, limit).await };
            self.process.run_store(&format!("scan {kind}"), scan).await
        })
    }

    /// Waiting is no operation: nothing is done, and nothing depends on when it ends.
    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        self.inner.changed(key, since)
    }
}

/// What a key is for.
fn kind(key: &Key) -> &str {
    let text = key.as_str();
    // A notebook's kind has the method in it: `note/tempo`.
    let parts = if text.split('/').nth(1) == Some("note") { 2 } else { 1 };
    let start = text.find('/').map_or(0, |slash| slash + 1);
    let end = text[start..].match_indices('/').nth(parts - 1).map_or(text.len(), |(at, _)| start + at);
    &text[start..end]
}

/// How often a process was stopped at each operation, before and after it was done.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage(BTreeMap<String, [usize; 2]>);

impl Coverage {
    /// What this process has done, and where it died.
    pub(super) fn note(&mut self, process: &Process) {
        for operation in process.trace().iter() {
            let counts = self.0.entry(operation.name.clone()).or_default();
            match operation.fate {
                Fate::DiesBefore => counts[0] += 1,
                Fate::DiesAfter => counts[1] += 1,
                _ => {}
            }
        }
    }

    /// Whether some process was stopped in this way at such an operation.
    pub(super) fn has(&self, name: &str, fate: Fate) -> bool {
        self.0.get(name).is_some_and(|counts| counts[usize::from(fate == Fate::DiesAfter)] > 0)
    }

    /// The operations at which no process was stopped, before or after: a sentence for each.
    pub(super) fn left_out(&self) -> Vec<String> {
        let never = |name: &str, [before, after]: [usize; 2]| {
            let when = [(before, "before"), (after, "after")];
            let missing = when.iter().filter(|(count, _)| *count == 0).map(|(_, when)| *when);
            missing.map(|when| format!("no run stopped {when} `{name}`")).collect::<Vec<_>>()
        };
        self.iter().flat_map(|(name, counts)| never(name, counts)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, [usize; 2])> {
        self.0.iter().map(|(name, counts)| (name.as_str(), *counts))
    }
}
