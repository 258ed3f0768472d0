//! `mpp ledger --server` prints what a server has taken, from its store alone.
#![cfg(feature = "stores")]

#[path = "../../mpp/tests/servers/mod.rs"]
mod servers;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;

use mpp::ledger::Query;
use mpp::method::Step;
use mpp::refund::{Finding, RefundError, RefundOrder};
use mpp::routing::{Router, get};
use mpp::store::{
    Cas, Durability, Keep, Key, PostgresOptions, PostgresStore, RedbStore, RedisOptions, RedisStore, Store,
    StoreError, Version, Versioned, Write,
};
use mpp::testing::{self, Client};
use mpp::{Mpp, Paid, Secret, SystemClock};
use serde_json::Value;
use servers::{Server, ready};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn weather(_: Paid) -> &'static str {
    "sunny"
}

#[mpp::charge(amount = "0.20", currency = "usdc", methods(sandbox))]
async fn broken(_: Paid) -> axum::http::StatusCode {
    axum::http::StatusCode::INTERNAL_SERVER_ERROR
}

/// Sells something over a store, delivers something else, and ends.
async fn sold(store: impl Store) {
    let mpp = testing::builder(Arc::new(SystemClock)).store(store).build().unwrap();
    let routes = Router::new().route("/weather/{city}", get(weather)).route("/broken", get(broken));
    let client = Client::new(routes.with_state(mpp.clone()));
    assert_eq!(client.get("/weather/oslo").paying("sandbox").await.status(), 200);
    assert_eq!(client.get("/broken").paying("sandbox").await.status(), 500);
    mpp.drain();
    mpp.drained().await;
}

/// What the command prints, and its exit code.
fn ledger(store: &str, more: &[&str]) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } = run(store, more);
    (String::from_utf8([stdout, stderr].concat()).unwrap(), status.code())
}

fn run(store: &str, more: &[&str]) -> Output {
    let arguments = [&["ledger", "--server", "--store", store][..], more].concat();
    Command::new(env!("CARGO_BIN_EXE_mpp")).args(arguments).output().unwrap()
}

#[test]
fn a_servers_ledger_is_a_table_csv_or_json_and_the_undelivered_are_one_query() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("payments.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(sold(RedbStore::open(&path).unwrap()));
    drop(runtime); // and with it the server
    let store = format!("file:{}", path.display());

    let (table, _) = ledger(&store, &[]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("time ") && lines.len() == 3, "{table}");
    assert!(table.contains("GET /weather/{city}  sandbox  0.05    usdc      delivered    1 "), "{table}");
    assert!(!table.contains("oslo"), "{table}");

    let (csv, _) = ledger(&store, &["--csv", "--undelivered"]);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 2, "{csv}");
    assert!(lines[1].contains(",GET /broken,sandbox,0.2,usdc,undelivered,1,"), "{csv}");

    let (json, _) = ledger(&store, &["--json", "--operation", "GET /weather/{city}"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let payments = json["payments"].as_array().unwrap();
    assert_eq!(payments.len(), 1);
    assert_eq!((&payments[0]["baseUnits"], &payments[0]["delivered"]), (&"50000".into(), &true.into()));
    let (none, _) = ledger(&store, &["--json", "--until", "2026-01-01T00:00:00Z"]);
    assert_eq!(serde_json::from_str::<Value>(&none).unwrap()["payments"].as_array().unwrap().len(), 0);

    let (said, code) = ledger("postgress://shop:wr0ng@db/payments", &["--json"]);
    assert!(said.contains("write `file:PATH`") && code == Some(2) && !said.contains("wr0ng"), "{said}");
    let (said, code) = ledger(&store, &["--tenant", "shop"]);
    assert!(said.contains("a file has no tenants") && code == Some(2), "{said}");

    let nowhere = folder.path().join("nowhere.redb");
    let (said, code) = ledger(&format!("file:{}", nowhere.display()), &[]);
    assert!(said.contains("there is no such file") && code == Some(1), "{said}");
    assert!(!nowhere.exists(), "reading makes nothing");
    let said = Command::new(env!("CARGO_BIN_EXE_mpp")).args(["ledger", "--server"]).output().unwrap();
    assert_eq!(said.status.code(), Some(2), "a server is named by its store");
}

/// A store that takes the order of a refund, and loses its connection before it is told how that ended.
struct Severed(RedbStore);

impl Store for Severed {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        self.0.get(key)
    }

    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        if key.as_str().contains("/refund/") && expect.is_some() {
            return Step::ready(Err(StoreError::Backend("the connection is gone".to_owned())));
        }
        self.0.cas(key, expect, new)
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
        self.0.scan(prefix, after, limit)
    }
}

/// A server that gives back, with a secret of its own.
fn refunding(store: impl Store) -> Mpp {
    let clock = Arc::new(SystemClock);
    let sandbox = testing::sandbox("sandbox", clock.clone()).refunds();
    let builder = Mpp::builder("https://test.example").secret(Secret::generate()).clock(clock);
    builder.method(sandbox).allow_test_money().store(store).build().unwrap()
}

#[test]
fn a_refund_that_a_person_closed_is_marked_as_their_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("payments.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sale = runtime.block_on(async {
        let mpp = refunding(Severed(RedbStore::open(&path).unwrap()));
        let routes = Router::new().route("/weather/{city}", get(weather)).with_state(mpp.clone());
        assert_eq!(Client::new(routes).get("/weather/oslo").paying("sandbox").await.status(), 200);
        let sale = mpp.ledger().page(&Query::new(), None).await.unwrap().entries.remove(0).sale;
        let cut = mpp.refund(&RefundOrder::rest(&sale)).await;
        assert!(matches!(cut, Err(RefundError::Store(_))), "{cut:?}");
        mpp.drain();
        mpp.drained().await;
        sale
    });
    drop(runtime);
    let store = format!("file:{}", path.display());
    let refunds = || {
        let (json, _) = ledger(&store, &["--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let refund = &json["payments"][0]["refunds"][0];
        ["state", "saidBy", "reference"].map(|member| refund[member].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refunds(), ["pending", "network", ""]);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mpp = refunding(RedbStore::open(&path).unwrap());
        let order = RefundOrder::rest(&sale);
        assert_eq!(mpp.refund(&order).await, Err(RefundError::Unreadable));
        let found = Finding::Refunded { reference: "seen in the books".to_owned() };
        mpp.close_refund(&order, found).await.unwrap();
        mpp.drain();
        mpp.drained().await;
    });
    drop(runtime);
    assert_eq!(refunds(), ["refunded", "operator", "seen in the books"]);
}

#[test]
fn what_cannot_be_read_is_told_and_all_else_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("payments.redb");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(sold(RedbStore::open(&path).unwrap()));
    let keys = runtime().block_on(async {
        let shelf = RedbStore::open(&path).unwrap();
        let over = shelf.scan("free/ledger/", None, 9).await.unwrap().remove(0).0;
        let book = over.as_str().replace("/ledger/", "/refund/");
        let mut keys =
            vec!["free/entry/!".to_owned(), "paid/ledger/001800000000-x\u{1b}[2J".to_owned(), book];
        for key in &keys {
            let key = Key::from_text(key.clone()).unwrap();
            let garbage = Write { value: vec![0xff; 9], keep: Keep::Live };
            assert!(matches!(shelf.cas(&key, None, Some(garbage)).await, Ok(Cas::Written(_))));
        }
        keys.sort();
        keys
    });
    let store = format!("file:{}", path.display());

    let Output { status, stdout, stderr } = run(&store, &["--json"]);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), said.lines().count()), (Some(1), 4), "{said}");
    let document: Value = serde_json::from_slice(&stdout).unwrap();
    let mut named: Vec<_> = document["unreadable"].as_array().unwrap().clone();
    named.sort_by_key(|one| one["key"].to_string());
    assert_eq!(named.iter().map(|one| one["key"].as_str().unwrap()).collect::<Vec<_>>(), keys);
    assert!(named.iter().all(|one| one["why"].as_str().unwrap().starts_with("unreadable in the store: ")));
    let payments = document["payments"].as_array().unwrap();
    let refunds = |operation: &str| {
        let payment = payments.iter().find(|payment| payment["operation"] == operation).unwrap();
        (payment["refunded"].clone(), payment["refunds"].clone())
    };
    assert_eq!(refunds("GET /weather/{city}"), (Value::Null, Value::Null), "nobody knows");
    assert_eq!(refunds("GET /broken"), ("0".into(), Value::Array(Vec::new())));

    for format in [&["--csv"][..], &[]] {
        let Output { status, stdout, stderr } = run(&store, format);
        let (printed, said) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert_eq!((status.code(), printed.lines().count()), (Some(1), 3), "{printed}");
        assert!(printed.contains("unknown"), "{printed}");
        assert!(
            said.contains("mpp: free/entry/!: unreadable in the store: an entry") && !said.contains('\u{1b}')
        );
    }
    // Of what is owed, only an entry may be one.
    let (said, code) = ledger(&store, &["--csv", "--undelivered"]);
    assert_eq!((said.lines().count(), code), (4, Some(1)), "{said}");
    assert!(said.contains("mpp: free/entry/!") && !said.contains("/ledger/"), "{said}");
}

/// What the two databases have to give.
fn is_printed_from(store: &str, tenant: &[&str]) {
    let ledger = |store: &str, more: &[&str]| ledger(store, &[tenant, more].concat());
    let (csv, code) = ledger(store, &["--csv"]);
    assert_eq!((csv.lines().count(), code), (3, Some(0)), "{csv}");
    assert!(csv.contains(",GET /weather/{city},sandbox,0.05,usdc,delivered,1,0,"), "{csv}");
    let (json, _) = ledger(store, &["--json", "--undelivered"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let payments = json["payments"].as_array().unwrap();
    assert_eq!((payments.len(), &payments[0]["state"]), (1, &"undelivered".into()));
    assert_eq!((&payments[0]["refunded"], &payments[0]["refunds"]), (&"0".into(), &Value::Array(Vec::new())));
}

#[test]
fn a_servers_ledger_is_printed_from_its_redis() {
    let Some(server) = Server::redis(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let url = format!("redis://127.0.0.1:{}", server.port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { sold(RedisStore::connect(&url).await.unwrap()).await });
    // A Redis that takes no writes now.
    assert_eq!(said_by_redis(&server, "CONFIG SET min-replicas-to-write 1"), "+OK");
    is_printed_from(&url, &[]);
}

/// One command, and the first line of the answer.
fn said_by_redis(server: &Server, command: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
    write!(stream, "{command}\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn of_a_redis_of_several_services_the_ledger_of_the_named_one_is_printed() {
    let Some(server) = Server::redis(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let url = format!("redis://127.0.0.1:{}", server.port);
    let (said, code) = ledger(&url, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(
        said,
        "mpp: cannot read this Redis: the store failed: nothing is there of the tenant `default`\n"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let of = |tenant: &str| RedisStore::connect_with(&url, RedisOptions::new().tenant(tenant));
    runtime.block_on(async {
        sold(of("shop").await.unwrap()).await;
        drop(of("library").await.unwrap());
    });
    let keys = said_by_redis(&server, "DBSIZE");
    for (tenant, named) in [(&[][..], "default"), (&["--tenant", "shpo"], "shpo")] {
        let (said, code) = ledger(&url, &[tenant, &["--csv"]].concat());
        assert_eq!((said.lines().count(), code), (1, Some(1)), "{said}");
        let why =
            format!("nothing is there of the tenant `{named}`; tenants that are there: `library`, `shop`");
        assert!(said.contains(&why), "{said}");
    }
    is_printed_from(&url, &["--tenant", "shop"]);
    let (csv, code) = ledger(&url, &["--tenant", "library", "--csv"]);
    assert_eq!((csv.lines().count(), code), (1, Some(0)), "it is there, and has sold nothing: {csv}");
    assert_eq!(said_by_redis(&server, "DBSIZE"), keys, "reading makes nothing");
}

#[test]
fn a_servers_ledger_is_printed_from_its_postgres() {
    let Some(server) = Server::postgres() else { return };
    let url = format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { sold(ready(|| PostgresStore::connect(&url)).await).await });
    // A session that takes no writes.
    is_printed_from(&format!("{url}?options[default_transaction_read_only]=on"), &[]);
}

#[test]
fn of_a_postgres_of_several_services_the_ledger_of_the_named_one_is_printed() {
    let Some(server) = Server::postgres() else { return };
    let url = format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    let read_only = format!("{url}?options[default_transaction_read_only]=on");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Until it lets us in, without making a table in it.
    let unused = "cannot read this database: the store failed: no server of mpp has ever used this database";
    let refused = runtime.block_on(ready(|| async {
        let (said, code) = ledger(&url, &[]);
        if said.contains(unused) { Ok((said, code)) } else { Err(said) }
    }));
    assert_eq!(refused.1, Some(1));
    assert_eq!(ledger(&url, &[]), refused, "reading makes nothing");
    let of = |tenant: &str| PostgresStore::connect_with(&url, PostgresOptions::new().tenant(tenant));
    runtime.block_on(async { drop(of("shop").await.unwrap()) });
    let (csv, code) = ledger(&read_only, &["--csv"]);
    assert_eq!((csv.lines().count(), code), (1, Some(0)), "nobody has sold anything: {csv}");
    runtime.block_on(async { sold(of("shop").await.unwrap()).await });
    for (tenant, named) in [(&[][..], "default"), (&["--tenant", "shpo"], "shpo")] {
        let (said, code) = ledger(&read_only, &[tenant, &["--csv"]].concat());
        assert_eq!((said.lines().count(), code), (1, Some(1)), "{said}");
        let why = format!("nothing is there of the tenant `{named}`; tenants that are there: `shop`");
        assert!(said.contains(&why), "{said}");
    }
    is_printed_from(&read_only, &["--tenant", "shop"]);
}
