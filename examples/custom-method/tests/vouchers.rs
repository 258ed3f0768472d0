//! The voucher method keeps the contract that the built-in methods keep.

use custom_method::{Pocket, Vouchers};
use mpp::method::{ClientMethod, PayError, Proof};
use mpp::protocol::{Challenge, Currency, MethodName};
use mpp::store::{MemoryStore, Store};
use mpp::testing::{MethodBench, Process, method_conformance};
use mpp::{Amount, Clock};
use std::sync::Arc;

const CODE: &str = "SPRING-4f1c9a";

/// The books, and what reads and writes them: at each of its operations the method can be stopped.
struct Bench {
    process: Process,
    book: Arc<dyn Store>,
}

impl Bench {
    fn vouchers(&self, cents: u128) -> Vouchers {
        Vouchers::new(self.book.clone(), [(CODE.to_owned(), cents)])
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
        let writes = self.process.operations().into_iter().filter(|name| name.starts_with("write"));
        format!("{} writes", writes.count())
    }

    fn secrets(&self) -> Vec<String> {
        vec![CODE.to_owned()]
    }
}

fn bench() -> Bench {
    let process = Process::immortal();
    let book = process.store(Arc::new(MemoryStore::new()));
    Bench { process, book }
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
        .shared_store(bench.book.clone())
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
