//! A server with a network, a clock and a store that do as they are told.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses its own part")]

#[path = "shop.rs"]
mod shop;

pub use shop::{App, Bench, Tap, router};

use crate::common::{Faulty, Network, Wired, credential};
use axum::http::StatusCode;
use mpp::ledger::{Ledger, LedgerEntry, Query};
use mpp::protocol::{Challenge, Secret, Timestamp};
use mpp::store::{Limits, MemoryStore, Store};
use mpp::testing::{Client, Response};
use mpp::{Builder, ManualClock, Mpp};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub const START: i64 = 1_800_000_000;

/// Store operations of a paid request up to the one that commits its delivery: read, claim, proof, settling, settled.
pub const OPERATIONS_BEFORE_COMMIT: usize = 5;

/// A server, what it stands on, and a client of it.
pub struct Lab {
    /// Plays `tempo`.
    pub network: Arc<Network>,
    /// Plays `stripe`.
    pub cards: Arc<Network>,
    pub clock: Arc<ManualClock>,
    /// What survives a restart.
    pub shelf: Arc<dyn Store>,
    pub store: Arc<Faulty>,
    pub bench: Arc<Bench>,
    pub secret: Secret,
    pub mpp: Mpp,
    pub client: Client,
}

impl Lab {
    pub fn new() -> Self {
        Self::on(Network::new("tempo"), |builder| builder)
    }

    pub fn with(limits: Limits) -> Self {
        let clock = clock();
        let shelf = Arc::new(MemoryStore::with_limits(limits).with_clock(clock.clone()));
        Self::over(clock, shelf, Network::new("tempo"), Network::new("stripe"), |builder| builder)
    }

    /// A lab whose first method takes real money.
    pub fn with_real_money(limits: Limits) -> Self {
        let clock = clock();
        let shelf = Arc::new(MemoryStore::with_limits(limits).with_clock(clock.clone()));
        let network = Network::with_money("tempo", mpp::method::Money::Real);
        Self::over(clock, shelf, network, Network::new("stripe"), |builder| {
            builder.single_process_volatile_store()
        })
    }

    /// A lab whose configuration is changed by `change`.
    pub fn on(network: Arc<Network>, change: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = clock();
        let shelf = Arc::new(MemoryStore::new().with_clock(clock.clone()));
        Self::over(clock, shelf, network, Network::new("stripe"), change)
    }

    pub fn over(
        clock: Arc<ManualClock>,
        shelf: Arc<dyn Store>,
        network: Arc<Network>,
        cards: Arc<Network>,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let store = Faulty::new(shelf.clone());
        let bench = Arc::new(Bench {
            runs: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            unit: AtomicU64::new(1_000),
            door: Semaphore::new(0),
            inside: AtomicUsize::new(0),
            seen: Mutex::default(),
            tap: Mutex::default(),
        });
        let secret = Secret::generate();
        let builder = builder(URL, &network, &cards, &clock, store.clone(), &secret);
        let mpp = change(builder).build().unwrap_or_else(|report| panic!("{report}"));
        let client = client(&mpp, &bench);
        Self { network, cards, clock, shelf, store, bench, secret, mpp, client }
    }

    /// The same server in another process, on the same store and network.
    pub fn restart(&mut self) {
        self.restart_with(|builder| builder);
    }

    pub fn restart_with(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.store = Faulty::new(self.shelf.clone());
        self.mpp = change(self.builder()).build().unwrap_or_else(|report| panic!("{report}"));
        self.client = client(&self.mpp, &self.bench);
    }

    /// A configuration like this lab's, on its store.
    pub fn builder(&self) -> Builder {
        self.builder_at(URL)
    }

    /// The same, reached under another public URL.
    pub fn builder_at(&self, url: &str) -> Builder {
        builder(url, &self.network, &self.cards, &self.clock, self.store.clone(), &self.secret)
    }

    /// A configuration like this lab's, on its store, whose first method is gone.
    pub fn builder_without_tempo(&self) -> Builder {
        Mpp::builder(URL)
            .secret(self.secret.clone())
            .switched_off("tempo")
            .method(Wired(self.cards.clone()))
            .allow_test_money()
            .clock(self.clock.clone())
            .shared_store(self.store.clone())
    }

    /// A configuration on this lab's store that takes the place of `old`, with another network.
    pub fn successor(&self, old: &Mpp, network: Arc<Network>) -> Mpp {
        Mpp::builder(URL)
            .method(Wired(network))
            .method(Wired(self.cards.clone()))
            .allow_test_money()
            .clock(self.clock.clone())
            .shared_store(self.store.clone())
            .replaces(old)
            .build()
            .unwrap_or_else(|report| panic!("{report}"))
    }

    /// A client of the shop under another configuration.
    pub fn client_of(&self, mpp: &Mpp) -> Client {
        client(mpp, &self.bench)
    }

    /// The whole shop as axum serves it.
    pub fn app(&self) -> axum::Router {
        router().with_state(App { mpp: self.mpp.clone(), bench: self.bench.clone() }).into_axum()
    }

    pub async fn challenge(&self, uri: &str) -> Challenge {
        first(&self.client.get(uri).unpaid().await)
    }

    pub async fn pay(&self, uri: &str, proof: &str) -> (String, Response) {
        let paid = credential(&self.challenge(uri).await, proof);
        let response = self.client.get(uri).presenting(&paid).await;
        (paid, response)
    }

    /// Presents a credential in a task of its own.
    pub fn send(&self, uri: &str, paid: &str) -> JoinHandle<Response> {
        let (request, paid) = (self.client.get(uri), paid.to_owned());
        tokio::spawn(async move { request.presenting(&paid).await })
    }

    /// Presents a credential until it is delivered, as a patient client would: it stops at any 402.
    pub async fn until_delivered(&self, uri: &str, paid: &str) -> Response {
        for _ in 0..10 {
            let response = self.client.get(uri).presenting(paid).await;
            match response.status() {
                StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {
                    assert!(response.challenges().offers.is_empty(), "{}", response.text());
                    self.clock.advance(Duration::from_secs(91));
                }
                _ => return response,
            }
        }
        panic!("never delivered")
    }
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix(START)))
}

const URL: &str = "https://api.example.com";

fn builder(
    url: &str,
    network: &Arc<Network>,
    cards: &Arc<Network>,
    clock: &Arc<ManualClock>,
    store: Arc<dyn Store>,
    secret: &Secret,
) -> Builder {
    Mpp::builder(url)
        .secret(secret.clone())
        .method(Wired(network.clone()))
        .method(Wired(cards.clone()))
        .allow_test_money()
        .clock(clock.clone())
        .shared_store(store)
}

fn client(mpp: &Mpp, bench: &Arc<Bench>) -> Client {
    Client::new(router().with_state(App { mpp: mpp.clone(), bench: bench.clone() }))
}

pub fn first(response: &Response) -> Challenge {
    assert_eq!(response.status(), 402, "{}", response.text());
    let challenges = response.challenges();
    assert_eq!(challenges.refused, []);
    challenges.offers.into_iter().next().expect("a challenge")
}

/// Lets others run until something is so; a test that waits for what never happens fails instead of hanging.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..100_000 {
            if condition() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never so: {caller}")
    }
}

/// Polls a future so many times and no more; what it answered, if it is over then.
pub async fn polled<F: Future + Unpin>(future: &mut F, polls: usize) -> Option<F::Output> {
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        Pin::new(&mut *future).poll(cx).map(Some)
    })
    .await
}

/// Every payment that a query wants, page by page.
pub async fn all(ledger: &Ledger, query: &Query) -> Vec<LedgerEntry> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.page(query, after.as_ref()).await.unwrap();
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}

/// Lets background tasks finish.
pub async fn settle_down() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub trait AssertOk {
    fn assert_ok(&self);
}

impl AssertOk for Response {
    #[track_caller]
    fn assert_ok(&self) {
        assert_eq!(self.status(), 200, "{}", self.text());
    }
}
