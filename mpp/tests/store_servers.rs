//! The stores that many servers share, on real databases: the one conformance suite, and what is particular to them.
#![cfg(all(feature = "testing", feature = "redis", feature = "postgres"))]

mod servers;

use axum::Extension;
use mpp::method::sandbox::Wallet;
use mpp::protocol::Timestamp;
use mpp::routing::{Router, get};
use mpp::store::{
    Cas, Keep, Key, PostgresOptions, PostgresStore, Quota, RedisOptions, RedisStore, Store, StoreError, Write,
};
use mpp::testing::{Client, shared_store_conformance, store_conformance, store_outage_conformance};
use mpp::{Amount, Clock, ManualClock, Mpp, Paid, Sandbox, Secret, SystemClock};
use servers::{Server, ready};
use sqlx::Connection as _;
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
    let url = server.postgres_url("postgres", "secret");
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

/// Which refuses a script whose keys are of several slots. That a script names all its keys is up to who reads it.
#[tokio::test(flavor = "multi_thread")]
async fn the_redis_store_keeps_the_contract_in_a_cluster() {
    let Some(server) = Server::redis_cluster() else { return };
    let two_slots = server.answer("EVAL return 2 {mpp:one}:index {mpp:two}:index");
    assert!(two_slots.starts_with("-CROSSSLOT"), "{two_slots}");
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
    let url = server.postgres_url("postgres", "secret");
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

    assert_eq!(server.answer("FLUSHALL"), "+OK");

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
async fn a_redis_that_was_restored_from_yesterday_is_noticed_by_every_server() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let (store, idle) = (redis(&server, "t").await.unwrap(), redis(&server, "t").await.unwrap());
    let yesterday = Key::new(Quota::Paid, "entry", "of yesterday");
    store.cas(&yesterday, None, Some(live(b"settled"))).await.unwrap();
    for name in REDIS_KEYS {
        server.answer(&format!("COPY {{mpp:t}}:{name} backup:{name}"));
    }
    let today = Key::new(Quota::Paid, "entry", "of today");
    store.cas(&today, None, Some(live(b"delivered"))).await.unwrap();
    for name in REDIS_KEYS {
        server.answer(&format!("DEL {{mpp:t}}:{name}"));
        server.answer(&format!("COPY backup:{name} {{mpp:t}}:{name}"));
    }

    let lost =
        |error: StoreError| matches!(&error, StoreError::Backend(why) if why.contains("lost its data"));
    assert!(store.get(&today).await.is_err_and(lost));
    assert!(store.cas(&today, None, Some(live(b"claimed again"))).await.is_err_and(lost));
    assert!(store.scan("paid/", None, 10).await.is_err_and(lost));
    // This one has never seen what is missing.
    assert!(idle.cas(&today, None, Some(live(b"claimed again"))).await.is_err_and(lost));
    assert!(idle.get(&yesterday).await.is_err_and(lost));
    let url = format!("redis://127.0.0.1:{}", server.port);
    let ledger = RedisStore::read_only(&url, RedisOptions::new().tenant("t")).await.unwrap();
    assert_eq!(ledger.scan("paid/", None, 10).await.unwrap().len(), 1, "what is left can be looked at");
    let anew = redis(&server, "t").await.unwrap().get(&yesterday).await;
    assert!(anew.unwrap().is_some(), "a server that starts afterwards works on what is there");
}

#[tokio::test]
async fn a_server_that_noticed_a_loss_does_not_forget_it_when_others_have_made_up_for_it_in_number() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let (store, other) = (redis(&server, "t").await.unwrap(), redis(&server, "t").await.unwrap());
    let (early, late) = (Key::new(Quota::Paid, "entry", "early"), Key::new(Quota::Paid, "entry", "late"));
    store.cas(&early, None, Some(live(b"settled"))).await.unwrap();
    store.cas(&late, None, Some(live(b"delivered"))).await.unwrap();
    // After a failover the last write is missing, and the new primary takes none: it has no replica yet.
    assert_eq!(server.answer("SET {mpp:t}:versions 1"), "+OK");
    assert_eq!(server.answer("HDEL {mpp:t}:values:paid paid/entry/late"), ":1");
    assert_eq!(server.answer("CONFIG SET min-replicas-to-write 1"), "+OK");
    let lost =
        |error: StoreError| matches!(&error, StoreError::Backend(why) if why.contains("lost its data"));
    assert!(store.get(&late).await.is_err_and(lost));

    assert_eq!(server.answer("CONFIG SET min-replicas-to-write 0"), "+OK");
    other.cas(&Key::new(Quota::Paid, "entry", "another"), None, Some(live(b"settled"))).await.unwrap();
    assert!(store.cas(&late, None, Some(live(b"claimed again"))).await.is_err_and(lost));
    assert!(other.get(&early).await.is_err_and(lost), "the other one is told as soon as it can be");
}

#[tokio::test]
async fn a_user_of_a_redis_that_may_only_read_sees_what_a_tenant_has() {
    let Some(server) = Server::redis(DURABLE) else { return };
    redis(&server, "t")
        .await
        .unwrap()
        .cas(&Key::new(Quota::Paid, "entry", "n3vQ"), None, Some(live(b"1")))
        .await
        .unwrap();
    // As the documentation of `read_only` says, and nothing more.
    let rights = "ACL SETUSER auditor on >pw ~{mpp:t}:* +@read +time +eval +evalsha +script|load";
    assert_eq!(server.answer(rights), "+OK");
    let url = format!("redis://auditor:pw@127.0.0.1:{}", server.port);
    let ledger = RedisStore::read_only(&url, RedisOptions::new().tenant("t")).await.unwrap();
    assert_eq!(ledger.scan("paid/", None, 10).await.unwrap().len(), 1);
    assert!(ledger.get(&Key::new(Quota::Paid, "entry", "n3vQ")).await.unwrap().is_some());
    let nobody = RedisStore::read_only(&url, RedisOptions::new().tenant("u")).await.unwrap_err().to_string();
    assert!(nobody.contains("NOPERM"), "{nobody}");
}

const REDIS_KEYS: [&str; 7] =
    ["generation", "versions", "index", "values:paid", "values:free", "ends:paid", "ends:free"];

#[tokio::test]
async fn a_postgres_that_was_restored_from_yesterday_takes_no_writes_of_a_server_that_knew_it_today() {
    let Some(server) = Server::postgres() else { return };
    let store = postgres(&server, "t").await.unwrap();
    let key = Key::new(Quota::Paid, "entry", "n3vQ");
    for _ in 0..40 {
        let there = store.get(&key).await.unwrap().map(|there| there.version);
        store.cas(&key, there, Some(live(b"delivered"))).await.unwrap();
    }
    let mut admin = sqlx::PgConnection::connect(&server.postgres_url("postgres", "secret")).await.unwrap();
    sqlx::raw_sql("SELECT setval('mpp_versions', 7); DELETE FROM mpp_values")
        .execute(&mut admin)
        .await
        .unwrap();

    let lost = |error: StoreError| matches!(&error, StoreError::Backend(why) if why.contains("has lost"));
    assert!(store.cas(&key, None, Some(live(b"claimed again"))).await.is_err_and(lost));
    // Others have written meanwhile; what is missing is missing.
    sqlx::raw_sql("SELECT setval('mpp_versions', 1000)").execute(&mut admin).await.unwrap();
    assert!(store.cas(&key, None, Some(live(b"claimed again"))).await.is_err_and(lost));
    assert_eq!(store.get(&key).await, Ok(None), "nothing was written");
    let anew = postgres(&server, "t").await.unwrap().cas(&key, None, Some(live(b"claimed"))).await;
    assert!(
        matches!(anew, Ok(Cas::Written(_))),
        "a server that starts afterwards works on what is there: {anew:?}"
    );
}

#[tokio::test]
async fn a_postgres_replica_that_lags_has_lost_nothing() {
    let Some(mut server) = Server::postgres() else { return };
    let store = postgres(&server, "t").await.unwrap();
    let key = Key::new(Quota::Paid, "entry", "n3vQ");
    store.cas(&key, None, Some(live(b"settled"))).await.unwrap();
    let [primary, replica] = ["primary", "replica"].map(|name| server.data().with_file_name(name));
    swap_data(&mut server, |data| {
        assert!(Command::new("cp").arg("-a").arg(data).arg(&replica).status().unwrap().success());
        std::fs::write(replica.join("standby.signal"), "").unwrap();
    })
    .await;
    for _ in 0..40 {
        let there = ready(|| store.get(&key)).await.map(|there| there.version);
        store.cas(&key, there, Some(live(b"delivered"))).await.unwrap();
    }

    swap_data(&mut server, |data| {
        std::fs::rename(data, &primary).unwrap();
        std::fs::rename(&replica, data).unwrap();
    })
    .await;
    let there = ready(|| store.get(&key)).await.map(|there| there.version);
    let error = store.cas(&key, there, Some(live(b"delivered"))).await.unwrap_err().to_string();
    assert!(error.contains("replica"), "{error}");

    swap_data(&mut server, |data| {
        std::fs::rename(data, &replica).unwrap();
        std::fs::rename(&primary, data).unwrap();
    })
    .await;
    let there = ready(|| store.get(&key)).await.map(|there| there.version);
    let written = store.cas(&key, there, Some(live(b"delivered"))).await;
    assert!(matches!(written, Ok(Cas::Written(_))), "{written:?}");
}

/// While the server is stopped.
async fn swap_data(server: &mut Server, change: impl FnOnce(&std::path::Path)) {
    server.kill();
    // Its children notice a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    change(&server.data());
    server.start();
}

#[tokio::test]
async fn a_redis_whose_memory_is_full_ends_what_is_open_and_takes_payments_again_when_others_are_over() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    let store = redis(&server, "t").await.unwrap().with_clock(clock.clone());
    let open = Key::new(Quota::Paid, "entry", "open");
    let Ok(Cas::Written(version)) = store.cas(&open, None, Some(live(b"settling"))).await else { panic!() };
    let minute = Write { value: vec![7; 100], keep: Keep::For(Duration::from_secs(60)) };
    for n in 0..24 {
        let over = Key::new(Quota::Paid, "entry", &n.to_string());
        store.cas(&over, None, Some(minute.clone())).await.unwrap();
    }
    full(&server);
    let claim = |n: usize| Key::new(Quota::Paid, "claim", &n.to_string());
    assert_eq!(store.cas(&claim(0), None, Some(live(b"mine"))).await, Err(StoreError::Full(Quota::Paid)));

    let settled = Write { value: vec![7; 2_000], keep: Keep::For(Duration::from_secs(86_400)) };
    let ended = store.cas(&open, Some(version), Some(settled)).await;
    assert!(matches!(ended, Ok(Cas::Written(_))), "what is under way is not refused: {ended:?}");
    assert_eq!(store.get(&open).await.unwrap().unwrap().value.len(), 2_000);

    clock.advance(Duration::from_secs(60));
    for n in 0..6 {
        let taken = store.cas(&claim(n), None, Some(live(b"mine"))).await;
        assert!(matches!(taken, Ok(Cas::Written(_))), "each makes room for itself: {taken:?}");
    }
    assert_eq!(store.cas(&claim(6), None, Some(live(b"mine"))).await, Err(StoreError::Full(Quota::Paid)));
    assert!(store.get(&open).await.unwrap().is_some(), "and what has not ended is there");
}

#[tokio::test]
async fn a_redis_whose_memory_is_full_of_proofs_that_have_ended_takes_payments() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    let store = redis(&server, "t").await.unwrap().with_clock(clock.clone());
    let minute = Write { value: vec![7; 100], keep: Keep::For(Duration::from_secs(60)) };
    store.cas(&Key::new(Quota::Free, "entry", "proof"), None, Some(minute)).await.unwrap();
    full(&server);
    let claim = Key::new(Quota::Paid, "claim", "n3vQ");
    assert_eq!(store.cas(&claim, None, Some(live(b"mine"))).await, Err(StoreError::Full(Quota::Paid)));
    clock.advance(Duration::from_secs(60));
    let taken = store.cas(&claim, None, Some(live(b"mine"))).await;
    assert!(matches!(taken, Ok(Cas::Written(_))), "{taken:?}");
}

/// From now on this Redis uses more memory than it may.
fn full(server: &Server) {
    assert_eq!(server.answer("CONFIG SET maxmemory-policy noeviction"), "+OK");
    assert_eq!(server.answer("CONFIG SET maxmemory 1"), "+OK");
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_uses_those_that_are_there() {
    let Some(server) = Server::postgres() else { return };
    postgres(&server, "t").await.expect("it is up");
    let mut admin = sqlx::PgConnection::connect(&server.postgres_url("postgres", "secret")).await.unwrap();
    // As the documentation of the store says, and nothing more.
    let rights = "CREATE ROLE shop LOGIN PASSWORD 'pw'; \
         REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
         GRANT SELECT ON mpp_schema TO shop; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON mpp_values, mpp_quotas TO shop; \
         GRANT USAGE, SELECT ON SEQUENCE mpp_versions TO shop";
    sqlx::raw_sql(rights).execute(&mut admin).await.unwrap();
    let store =
        PostgresStore::connect(&server.postgres_url("shop", "pw")).await.expect("the tables are there");
    let key = Key::new(Quota::Paid, "claim", "n3vQ");
    let minute = Write { value: vec![7], keep: Keep::For(Duration::from_secs(60)) };
    let Ok(Cas::Written(first)) = store.cas(&key, None, Some(minute.clone())).await else { panic!() };
    let Ok(Cas::Written(second)) = store.cas(&key, Some(first), Some(minute)).await else { panic!() };
    assert_eq!(store.scan("paid/", None, 10).await.unwrap().len(), 1);
    assert_eq!(store.cas(&key, Some(second), None).await, Ok(Cas::Removed));
    assert_eq!(store.get(&key).await, Ok(None));
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_is_told_that_there_are_none() {
    let Some(server) = Server::postgres() else { return };
    let url = server.postgres_url("postgres", "secret");
    let mut admin = ready(|| sqlx::PgConnection::connect(&url)).await;
    let role = "CREATE ROLE shop LOGIN PASSWORD 'pw'; REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    sqlx::raw_sql(role).execute(&mut admin).await.unwrap();
    let error = PostgresStore::connect(&server.postgres_url("shop", "pw")).await.unwrap_err().to_string();
    assert!(error.contains("42501"), "{error}");
}

/// One machine of a service whose clock is wrong by seventeen minutes.
#[tokio::test]
async fn a_server_whose_clock_is_ahead_does_not_make_the_others_on_a_redis_forget() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let (right, ahead) = (redis(&server, "t").await.unwrap(), redis(&server, "t").await.unwrap());
    ahead_of_the_others(right, ahead.with_machine_clock(machine_clock(17 * 60))).await;
}

#[tokio::test]
async fn a_server_whose_clock_is_ahead_does_not_make_the_others_on_a_postgres_forget() {
    let Some(server) = Server::postgres() else { return };
    let (right, ahead) = (postgres(&server, "t").await.unwrap(), postgres(&server, "t").await.unwrap());
    ahead_of_the_others(right, ahead.with_machine_clock(machine_clock(17 * 60))).await;
}

async fn ahead_of_the_others(right: impl Store, ahead: impl Store) {
    // A delivery, as it is remembered: for the rest of its challenge's life, the grace period and a minute.
    let keep = Keep::For(Duration::from_secs(300 + 600 + 60));
    let delivered = Write { value: b"delivered".to_vec(), keep };
    let (key, another) = (Key::new(Quota::Paid, "entry", "n3vQ"), Key::new(Quota::Paid, "entry", "another"));
    right.cas(&key, None, Some(delivered.clone())).await.unwrap();
    // A write of the other one tidies up.
    ahead.cas(&another, None, Some(delivered)).await.unwrap();
    assert!(right.get(&key).await.unwrap().is_some(), "its credential would open the route again");
    assert!(ahead.get(&key).await.unwrap().is_some(), "there, too");
    assert_eq!(right.scan("paid/entry/", None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_server_writes_whose_clock_is_ahead_is_kept_until_it_ends_by_that_clock_on_a_redis() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let (moment, later) = a_minute();
    let ahead = redis(&server, "t").await.unwrap().with_machine_clock(moment);
    kept_by_the_later_clock(ahead, redis(&server, "t").await.unwrap().with_clock(later)).await;
}

#[tokio::test]
async fn what_a_server_writes_whose_clock_is_ahead_is_kept_until_it_ends_by_that_clock_on_a_postgres() {
    let Some(server) = Server::postgres() else { return };
    let (moment, later) = a_minute();
    let ahead = postgres(&server, "t").await.unwrap().with_machine_clock(moment);
    kept_by_the_later_clock(ahead, postgres(&server, "t").await.unwrap().with_clock(later)).await;
}

/// Its time was counted from a moment on that clock to another one on it.
async fn kept_by_the_later_clock(ahead: impl Store, later: impl Store) {
    let key = Key::new(Quota::Paid, "entry", "n3vQ");
    let minute = Write { value: b"delivered".to_vec(), keep: Keep::For(Duration::from_secs(60)) };
    ahead.cas(&key, None, Some(minute)).await.unwrap();
    assert!(later.get(&key).await.unwrap().is_some());
}

/// Two clocks that stand still, far ahead: at a moment, and a second before the end of the minute after it.
fn a_minute() -> (Arc<ManualClock>, Arc<ManualClock>) {
    let moment = SystemClock.now().unix() + 24 * 60 * 60;
    let at = |second| Arc::new(ManualClock::at(Timestamp::from_unix(second)));
    (at(moment), at(moment + 59))
}

#[tokio::test]
async fn a_server_whose_clock_is_behind_that_of_its_redis_takes_no_payment() {
    let Some(server) = Server::redis(DURABLE) else { return };
    let behind = redis(&server, "t").await.unwrap().with_machine_clock(machine_clock(-45));
    behind_the_database(behind, redis(&server, "t").await.unwrap().with_machine_clock(machine_clock(-20)))
        .await;
}

#[tokio::test]
async fn a_server_whose_clock_is_behind_that_of_its_postgres_takes_no_payment() {
    let Some(server) = Server::postgres() else { return };
    let behind = postgres(&server, "t").await.unwrap().with_machine_clock(machine_clock(-45));
    behind_the_database(behind, postgres(&server, "t").await.unwrap().with_machine_clock(machine_clock(-20)))
        .await;
}

async fn behind_the_database(behind: impl Store, a_little: impl Store) {
    let key = Key::new(Quota::Paid, "entry", "n3vQ");
    let error = behind.cas(&key, None, Some(live(b"claim"))).await.unwrap_err().to_string();
    assert!(error.contains("clock of this machine"), "{error}");
    assert_eq!(behind.get(&key).await, Ok(None), "and nothing was written");
    let minute = Write { value: vec![7], keep: Keep::For(Duration::from_secs(19)) };
    a_little.cas(&key, None, Some(minute)).await.expect("a few seconds are nothing");
    assert!(a_little.get(&key).await.unwrap().is_some(), "counted from the database's time");
}

/// The clock of a machine that is wrong by this many seconds.
fn machine_clock(ahead: i64) -> Arc<Wrong> {
    Arc::new(Wrong(ahead))
}

struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(SystemClock.now().unix() + self.0)
    }
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
    let url = server.postgres_url("postgres", "secret");
    let mut admin = ready(|| sqlx::PgConnection::connect(&url)).await;
    let stricter = "ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'";
    sqlx::raw_sql(stricter).execute(&mut admin).await.unwrap();
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
