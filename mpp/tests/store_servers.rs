//! The stores that many servers share, on real databases: the one conformance suite, and what is particular to them.
#![cfg(all(feature = "testing", feature = "redis", feature = "postgres"))]

mod servers;

use axum::Extension;
use mpp::method::sandbox::Wallet;
use mpp::routing::{Router, get};
use mpp::store::{
    Cas, Keep, Key, PostgresOptions, PostgresStore, Quota, RedisOptions, RedisStore, Store, StoreError, Write,
};
use mpp::testing::{Client, shared_store_conformance, store_conformance, store_outage_conformance};
use mpp::{Amount, Mpp, Paid, Sandbox, Secret};
use servers::Server;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

async fn redis(server: &Server, tenant: &str) -> Result<RedisStore, StoreError> {
    let url = format!("redis://127.0.0.1:{}", server.port);
    RedisStore::connect_with(&url, RedisOptions::new().tenant(tenant)).await
}

async fn postgres(server: &Server, tenant: &str) -> Result<PostgresStore, StoreError> {
    let url = format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    // A server that has just been started refuses for a moment.
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        match PostgresStore::connect_with(&url, PostgresOptions::new().tenant(tenant)).await {
            Err(StoreError::Backend(why)) if why.contains("57P03") && Instant::now() < patience => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redis_store_keeps_the_contract() {
    let Some(server) = Server::redis(DURABLE) else { return };
    store_conformance(async |setup| {
        let store = redis(&server, &format!("place-{}", setup.place)).await.expect("it connects");
        store.with_limits(setup.limits).with_clock(setup.clock)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgres_store_keeps_the_contract() {
    let Some(server) = Server::postgres() else { return };
    store_conformance(async |setup| {
        let store = postgres(&server, &format!("place-{}", setup.place)).await.expect("it connects");
        store.with_limits(setup.limits).with_clock(setup.clock)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgres_store_keeps_the_contract_without_a_pooler() {
    let Some(server) = Server::postgres() else { return };
    postgres(&server, "warm").await.expect("it is up");
    let url = format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    store_conformance(async |setup| {
        let options = PostgresOptions::new().tenant(format!("place-{}", setup.place)).direct();
        let store = PostgresStore::connect_with(&url, options).await.expect("it connects");
        store.with_limits(setup.limits).with_clock(setup.clock)
    })
    .await;
}

/// In transaction mode every statement may meet another connection: nothing may be left in one.
#[tokio::test(flavor = "multi_thread")]
async fn the_postgres_store_keeps_the_contract_behind_pgbouncer() {
    let Some(server) = Server::postgres() else { return };
    postgres(&server, "warm").await.expect("it is up");
    let Some(pooler) = Server::pgbouncer(&server) else { return };
    store_conformance(async |setup| {
        let store = postgres(&pooler, &format!("place-{}", setup.place)).await.expect("it connects");
        store.with_limits(setup.limits).with_clock(setup.clock)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_one_redis_keep_the_contract_between_them() {
    let Some(server) = Server::redis(DURABLE) else { return };
    shared_store_conformance(async || Arc::new(redis(&server, "race").await.expect("it connects"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_one_postgres_keep_the_contract_between_them() {
    let Some(server) = Server::postgres() else { return };
    shared_store_conformance(async || Arc::new(postgres(&server, "race").await.expect("it connects"))).await;
}

/// This program, once more for each process: what they claim, one of them gets.
#[tokio::test]
async fn of_several_processes_on_one_redis_one_gets_each_key() {
    let Some(server) = Server::redis(DURABLE) else { return };
    drop(redis(&server, "default").await.expect("it is up"));
    processes(&format!("redis://127.0.0.1:{}", server.port));
}

#[tokio::test]
async fn of_several_processes_on_one_postgres_one_gets_each_key() {
    let Some(server) = Server::postgres() else { return };
    drop(postgres(&server, "default").await.expect("it is up"));
    processes(&format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port));
}

const CLAIMED: usize = 200;

fn processes(url: &str) {
    let program = std::env::current_exe().expect("this program");
    let claimant = || {
        let mut command = Command::new(&program);
        command.args(["--exact", "claimant", "--nocapture"]).env("MPP_CLAIMS_ON", url);
        command.stdout(Stdio::piped()).spawn().expect("this program starts again")
    };
    let claimants: Vec<_> = (0..4).map(|_| claimant()).collect();
    let won = |process: std::process::Child| {
        let output = process.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split("won ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("a process said {text}"))
    };
    let won: Vec<usize> = claimants.into_iter().map(won).collect();
    assert_eq!(won.iter().sum::<usize>(), CLAIMED, "{won:?}");
}

/// No test by itself: one of those processes.
#[tokio::test]
async fn claimant() {
    let Ok(url) = std::env::var("MPP_CLAIMS_ON") else { return };
    let store: Arc<dyn Store> = match url.starts_with("redis") {
        true => Arc::new(RedisStore::connect(&url).await.expect("it is up")),
        false => Arc::new(PostgresStore::connect(&url).await.expect("it is up")),
    };
    let mut won = 0;
    for number in 0..CLAIMED {
        let key = Key::new(Quota::Paid, "claim", &number.to_string());
        let claim = store.cas(&key, None, Some(live(b"mine"))).await.expect("the server is there");
        won += usize::from(matches!(claim, Cas::Written(_)));
    }
    println!("won {won}");
}

#[tokio::test]
async fn a_redis_that_is_killed_fails_calls_and_has_everything_when_it_is_back() {
    let Some(mut server) = Server::redis(DURABLE) else { return };
    let store = redis(&server, "t").await.expect("it connects");
    outage(&mut server, &store).await;
}

#[tokio::test]
async fn a_postgres_that_is_killed_fails_calls_and_has_everything_when_it_is_back() {
    let Some(mut server) = Server::postgres() else { return };
    let store = postgres(&server, "t").await.expect("it connects");
    outage(&mut server, &store).await;
}

async fn outage(server: &mut Server, store: &impl Store) {
    let server = std::cell::RefCell::new(server);
    let stop = async || server.borrow_mut().kill();
    let start = async || server.borrow_mut().start();
    store_outage_conformance(store, stop, start).await;
}

#[tokio::test]
async fn tenants_of_a_redis_do_not_see_each_other() {
    let Some(server) = Server::redis(DURABLE) else { return };
    tenants(redis(&server, "one").await.unwrap(), redis(&server, "two").await.unwrap()).await;
}

#[tokio::test]
async fn tenants_of_a_postgres_do_not_see_each_other() {
    let Some(server) = Server::postgres() else { return };
    tenants(postgres(&server, "one").await.unwrap(), postgres(&server, "two").await.unwrap()).await;
}

async fn tenants<S: Store>(one: S, two: S) {
    let key = Key::new(Quota::Paid, "entry", "mine");
    one.cas(&key, None, Some(live(b"1"))).await.unwrap();
    assert_eq!(two.get(&key).await, Ok(None));
    assert!(two.scan("", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_redis_that_lost_its_data_is_noticed_by_every_call() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let store = redis(&server, "t").await.unwrap();
    let key = Key::new(Quota::Paid, "entry", "n3vQ");
    store.cas(&key, None, Some(live(b"settled"))).await.unwrap();

    let mut operator = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    operator.write_all(b"FLUSHALL\r\n").unwrap();
    let mut answer = [0; 5];
    operator.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");

    // An empty answer would be a free pass: the credential of a settled payment would open its route again.
    let lost =
        |error: StoreError| matches!(&error, StoreError::Backend(why) if why.contains("lost its data"));
    assert!(store.get(&key).await.is_err_and(lost));
    assert!(store.cas(&key, None, Some(live(b"mine"))).await.is_err_and(lost));
    assert!(store.scan("paid/", None, 10).await.is_err_and(lost));
    assert!(
        redis(&server, "t").await.unwrap().get(&key).await.is_ok(),
        "a server that starts afterwards works"
    );
}

#[tokio::test]
async fn a_redis_that_may_forget_is_refused_at_the_start() {
    let Some(volatile) = Server::redis(&[]) else { return };
    let error = redis(&volatile, "t").await.unwrap_err().to_string();
    assert!(error.contains("appendonly yes"), "{error}");
    let url = format!("redis://127.0.0.1:{}", volatile.port);
    let vouched = RedisStore::connect_with(&url, RedisOptions::new().persists_by_other_means()).await;
    assert!(vouched.is_ok(), "{vouched:?}");

    let evicting =
        Server::redis(&["--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let error = redis(&evicting.unwrap(), "t").await.unwrap_err().to_string();
    assert!(error.contains("noeviction"), "{error}");
}

#[tokio::test]
async fn no_error_says_the_password_of_a_redis() {
    let settings = &["--appendonly", "yes", "--requirepass", "right"];
    let Some(server) = Server::redis(settings) else { return };
    for url in
        ["redis://:wr0ng@127.0.0.1:{}", "redis://:wr0ng@127.0.0.1:{}/x", "redis://user:wr0ng@127.0.0.1:{}"]
    {
        let url = url.replace("{}", &server.port.to_string());
        let error = RedisStore::connect(&url).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error}");
    }
}

#[tokio::test]
async fn no_error_says_the_password_of_a_postgres() {
    let Some(server) = Server::postgres() else { return };
    postgres(&server, "t").await.expect("it is up");
    for url in
        ["postgres://postgres:wr0ng@127.0.0.1:{}/postgres", "postgres://postgres:wr0ng@127.0.0.1:x/postgres"]
    {
        let url = url.replace("{}", &server.port.to_string());
        let error = PostgresStore::connect(&url).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_create_the_tables_in_postgres_once() {
    let Some(server) = Server::postgres() else { return };
    postgres(&server, "warm").await.expect("it is up");
    let server = Arc::new(server);
    let mut starts = JoinSet::new();
    for _ in 0..8 {
        let server = server.clone();
        starts.spawn(async move { postgres(&server, "t").await.map(drop) });
    }
    for start in starts.join_all().await {
        assert_eq!(start, Ok(()));
    }
}

/// Three servers of one service, one database between them: every tenth credential is sent to all three at once, and each
/// is paid and delivered exactly once. With real processes, and killed: `interop/tests/replicas.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_on_one_redis_deliver_each_payment_once() {
    let Some(server) = Server::redis(DURABLE) else { return };
    replicas(async || Arc::new(redis(&server, "shop").await.expect("it connects"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_on_one_postgres_deliver_each_payment_once() {
    let Some(server) = Server::postgres() else { return };
    replicas(async || Arc::new(postgres(&server, "shop").await.expect("it connects"))).await;
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn sell(Extension(sold): Extension<Arc<AtomicUsize>>, _: Paid) {
    sold.fetch_add(1, Ordering::SeqCst);
}

async fn replicas<S: Store>(connect: impl AsyncFn() -> Arc<S>) {
    const REQUESTS: usize = 100;
    const IN_FLIGHT: usize = 16;
    let sold = Arc::<AtomicUsize>::default();
    let (secret, wallet) = (Secret::generate(), Wallet::generate());
    let bank = Sandbox::new().with_store(connect().await);
    bank.fund(&wallet.did(), Amount::whole(1_000)).await.expect("play money");
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let store = connect().await;
        let mpp = Mpp::builder("https://api.example.com")
            .secret(secret.clone())
            .method(Sandbox::new().with_store(store.clone()))
            .allow_test_money()
            .shared_store(store)
            .build()
            .unwrap_or_else(|report| panic!("{report}"));
        let router = Router::new().route("/sell", get(sell)).with_state(mpp).into_axum();
        let router = router.layer(Extension(sold.clone()));
        replicas.push(Arc::new(Client::new(router).with_wallet(wallet.clone())));
    }
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut requests = JoinSet::new();
    for n in 0..REQUESTS {
        let (replicas, places) = (replicas.clone(), places.clone());
        requests.spawn(async move {
            let _place = places.acquire().await;
            let credential = replicas[n % 3].get("/sell").credential("sandbox").await;
            let copies = if n % 10 == 0 { 3 } else { 1 };
            let mut answers = JoinSet::new();
            for copy in 0..copies {
                let (replica, credential) = (replicas[(n + copy) % 3].clone(), credential.clone());
                answers.spawn(
                    async move { replica.get("/sell").presenting(&credential).await.status().as_u16() },
                );
            }
            let answers = answers.join_all().await;
            assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
            assert!(answers.iter().all(|status| [200, 402, 409].contains(status)), "{answers:?}");
        });
    }
    requests.join_all().await;
    assert_eq!(sold.load(Ordering::SeqCst), REQUESTS);
    assert_eq!(bank.till().await.expect("the bank"), Amount::cents(5 * REQUESTS as u128));
}

fn live(value: &[u8]) -> Write {
    Write { value: value.to_vec(), keep: Keep::Live }
}
