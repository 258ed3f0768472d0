//! A store that fails where it is told.

use mpp::method::Step;
use mpp::store::{Cas, Durability, Key, Quota, Store, StoreError, Usage, Version, Versioned, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// A store that does as it is told at the n-th operation from now.
pub struct Faulty {
    inner: Arc<dyn Store>,
    /// Operations until the fault; none is to come without it.
    countdown: Mutex<Option<(usize, Fault)>>,
    pub operations: AtomicUsize,
    /// Every value that was to be written.
    pub written: Mutex<Vec<Vec<u8>>>,
    /// An operation hangs or waits.
    pub reached: Notify,
    /// What waits goes on.
    pub go_on: Notify,
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
    /// This operation is done, its answer is lost, and all after it fail: a database that restarts.
    LosesAnswerAndDies,
    /// This operation does nothing and never returns.
    Hangs,
    /// This operation is done and never returns.
    HangsDone,
    /// This operation waits until it may go on.
    Waits,
    /// This operation is done, and its answer waits until it may go on.
    WaitsDone,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            countdown: Mutex::new(None),
            operations: AtomicUsize::new(0),
            written: Mutex::default(),
            reached: Notify::new(),
            go_on: Notify::new(),
        })
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
            Some((0, Fault::LosesAnswerAndDies)) => {
                *countdown = Some((0, Fault::Dies));
                Some(Fault::LosesAnswer)
            }
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

    async fn operation<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let broken = || Err(StoreError::Backend("told to fail".to_owned()));
        match self.fault() {
            None => {}
            Some(Fault::Dies | Fault::Refuses) => return broken(),
            Some(Fault::LosesAnswer | Fault::LosesAnswerAndDies) => {
                return operation.await.and_then(|_| broken());
            }
            Some(fault @ (Fault::Hangs | Fault::HangsDone)) => {
                if fault == Fault::HangsDone {
                    let _ = operation.await;
                }
                self.reached.notify_one();
                return std::future::pending().await;
            }
            Some(Fault::Waits) => {
                self.reached.notify_one();
                self.go_on.notified().await;
            }
            Some(Fault::WaitsDone) => {
                let done = operation.await;
                self.reached.notify_one();
                self.go_on.notified().await;
                return done;
            }
        }
        // As a network would: the caller can be dropped here, and there.
        tokio::task::yield_now().await;
        let done = operation.await;
        tokio::task::yield_now().await;
        done
    }
}

// Nothing is asked of the store inside before the operation is polled: one of memory answers at once.
impl Store for Faulty {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        Step::boxed(self.operation(async move { self.inner.get(key).await }))
    }

    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        self.written.lock().unwrap().extend(new.as_ref().map(|write| write.value.clone()));
        Step::boxed(self.operation(async move { self.inner.cas(key, expect, new).await }))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
        Step::boxed(self.operation(async move { self.inner.scan(prefix, after, limit).await }))
    }

    /// No step of a payment: it is not counted among the operations.
    fn usage<'a>(&'a self, quota: Quota) -> Step<'a, Result<Option<Usage>, StoreError>> {
        self.inner.usage(quota)
    }

    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        self.inner.changed(key, since)
    }
}
