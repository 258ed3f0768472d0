//! A store that fails where it is told.

use mpp::method::Step;
use mpp::store::{Cas, Durability, Key, Store, StoreError, Version, Versioned, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A store that does as it is told at the n-th operation from now.
pub struct Faulty {
    inner: Arc<dyn Store>,
    /// Operations until the fault; negative when there is none.
    countdown: Mutex<Option<(usize, Fault)>>,
    pub operations: AtomicUsize,
    /// Every value that was to be written.
    pub written: Mutex<Vec<Vec<u8>>>,
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
        Arc::new(Self {
            inner,
            countdown: Mutex::new(None),
            operations: AtomicUsize::new(0),
            written: Mutex::default(),
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
        self.written.lock().unwrap().extend(new.as_ref().map(|write| write.value.clone()));
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
        match self.fault() {
            None => self.inner.scan(prefix, after, limit),
            Some(Fault::Hangs) => Step::boxed(std::future::pending()),
            Some(_) => Step::ready(broken()),
        }
    }

    fn changed<'a>(&'a self, key: &'a Key, since: Version) -> Step<'a, ()> {
        self.inner.changed(key, since)
    }
}
