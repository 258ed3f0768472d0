//! The voucher method keeps the contract that the built-in methods keep.

use custom_method::{Pocket, Vouchers};
use mpp::method::{ClientMethod, PayError, Proof, Step};
use mpp::protocol::{Challenge, Currency, MethodName};
use mpp::store::{Cas, Durability, Key, MemoryStore, Store, StoreError, Version, Versioned, Write};
use mpp::testing::{MethodBench, method_conformance};
use mpp::{Amount, Clock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const CODE: &str = "SPRING-4f1c9a";

/// A book that others get a turn at, so that the method can be stopped at each of its lines.
struct Book {
    inner: MemoryStore,
    writes: AtomicUsize,
}

impl Store for Book {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        Step::boxed(async move {
            tokio::task::yield_now().await;
            self.inner.get(key).await
        })
    }

    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Step::boxed(async move {
            tokio::task::yield_now().await;
            let done = self.inner.cas(key, expect, new).await;
            tokio::task::yield_now().await;
            done
        })
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

struct Bench(Arc<Book>);

impl Bench {
    fn vouchers(&self, cents: u128) -> Vouchers {
        Vouchers::new(self.0.clone(), [(CODE.to_owned(), cents)])
    }
}

impl MethodBench for Bench {
    type Method = Vouchers;

    async fn method(&self, _: Arc<dyn Clock>) -> Vouchers {
        self.vouchers(1_000_000)
    }

    fn price(&self) -> (Amount, Currency) {
        (Amount::cents(50), Currency::EUR)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        Pocket(CODE.to_owned()).pay(challenge).await.expect("a challenge for vouchers")
    }

    async fn taken(&self) -> u128 {
        self.vouchers(0).spent(CODE).await.expect("the book")
    }

    async fn traces(&self) -> String {
        format!("{} writes", self.0.writes.load(Ordering::SeqCst))
    }

    fn secrets(&self) -> Vec<String> {
        vec![CODE.to_owned()]
    }
}

fn bench() -> Bench {
    Bench(Arc::new(Book { inner: MemoryStore::new(), writes: AtomicUsize::new(0) }))
}

#[tokio::test(flavor = "multi_thread")]
async fn vouchers_keep_the_contract_of_payment_methods() {
    let found = method_conformance(&bench()).await;
    found.assert_kept();
    assert!(found.stops() >= 20, "{found}");
}

#[tokio::test]
async fn a_voucher_is_never_worth_more_than_was_paid_for_it() {
    use mpp::protocol::Secret;
    use mpp::routing::{Router, get};
    #[mpp::charge(amount = "0.50", currency = "eur", methods(custom_method::Voucher))]
    async fn poem(_: mpp::Paid) -> &'static str {
        "roses"
    }
    let bench = bench();
    let mpp = mpp::Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .method(bench.vouchers(120))
        .shared_store(bench.0.clone())
        .single_process_volatile_store()
        .build()
        .expect("a configuration");
    let client = mpp::testing::Client::new(Router::new().route("/poem", get(poem)).with_state(mpp));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let challenge = client.get("/poem").unpaid().await.challenges().offers.remove(0);
        let Proof { payload, source } = bench.pay(&challenge).await;
        let credential = mpp::protocol::Credential { challenge, source, payload }.to_header_value();
        statuses.push(client.get("/poem").presenting(&credential).await.status().as_u16());
    }
    assert_eq!((statuses, bench.taken().await), (vec![200, 200, 402], 100));
}

#[tokio::test]
async fn a_pocket_pays_nothing_but_vouchers() {
    let bench = bench();
    let request = mpp::protocol::ChargeRequest::new(mpp::protocol::BaseUnits::new(50), "eur");
    let challenge = Challenge {
        id: "x".into(),
        realm: "api.example.com".into(),
        method: MethodName::from_static("stripe"),
        intent: mpp::protocol::Intent::CHARGE,
        request: request.encode(),
        expires: None,
        digest: None,
        opaque: None,
        description: None,
    };
    let refused = Pocket(CODE.to_owned()).pay(&challenge).await;
    assert!(matches!(refused, Err(PayError::Unsupported(_))));
    assert_eq!(bench.taken().await, 0);
}
