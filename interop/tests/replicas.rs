//! Three shops on one database, each killed now and then (`kill -9`) and started again, and clients that buy from any of them,
//! every tenth from all three at once: payments are paid requests, and no credential is delivered twice.
//!
//! `MPP_REPLICA_REQUESTS=5000` for more of them: that many in play money, and a twenty-fifth of that on a Tempo chain.

#[path = "../../mpp/tests/servers/mod.rs"]
mod servers;

use interop::{Answer, CHAIN_ID, Chain, KeyFile, Shop, fresh_address, lab, try_ask};
use mpp::method::evm::PrivateKeySigner;
use mpp::method::sandbox::Wallet;
use mpp::method::tempo::TempoWallet;
use mpp::method::{ClientMethod, Proof};
use mpp::protocol::{Challenge, Credential};
use mpp::store::{Key, PostgresStore, Quota, RedisStore, Store};
use mpp::{Amount, Sandbox, Secret};
use rand::Rng;
use servers::{Server, ready};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{RwLock, Semaphore};
use tokio::task::JoinSet;

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
const REPLICAS: usize = 3;
const IN_FLIGHT: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn three_shops_on_one_redis_deliver_each_payment_once_whoever_is_killed() {
    let Some(server) = Server::redis(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let url = format!("redis://127.0.0.1:{}", server.port);
    let store = RedisStore::connect(&url).await.expect("it is up");
    three_shops("Redis", &url, Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_shops_on_one_postgres_deliver_each_payment_once_whoever_is_killed() {
    let Some(server) = Server::postgres() else { return };
    let url = format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    let store = ready(|| PostgresStore::connect(&url)).await;
    three_shops("PostgreSQL", &url, Arc::new(store)).await;
}

/// What is bought, and by whom.
struct World {
    chain: Chain,
    store: Arc<dyn Store>,
    recipient: String,
    player: Wallet,
    payer: TempoWallet,
    shops: [RwLock<Option<Shop>>; REPLICAS],
    flags: Vec<String>,
    over: AtomicBool,
    kills: AtomicUsize,
}

/// How a credential ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// One success.
    Delivered,
    /// Committed, and the shop was killed before the first byte left.
    Unsent,
    /// Refused, and not paid.
    Unpaid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Play,
    Tempo,
}

async fn three_shops(database: &str, url: &str, store: Arc<dyn Store>) {
    let Some(lab) = lab() else { return };
    let play = std::env::var("MPP_REPLICA_REQUESTS").map_or(150, |text| text.parse().expect("a number"));
    let chain = lab.chain().await;
    let key = PrivateKeySigner::random();
    chain.fund(&key.address().to_string(), 1_000_000_000).await;
    let payer = TempoWallet::new(key, &chain.url, CHAIN_ID).expect("a node on this machine");
    let (recipient, player) = (fresh_address(), Wallet::generate());
    let secret_file = KeyFile::of(&Secret::generate().expose_hex());
    let flags = [
        ("--tempo-rpc", chain.url.as_str()),
        ("--recipient", &recipient),
        ("--play-money", &player.did()),
        ("--store", url),
        ("--secret-file", secret_file.path()),
        ("--lease", "3"),
        ("--settle-timeout", "10"),
    ];
    let flags = flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect();
    let world = Arc::new(World {
        chain,
        store: store.clone(),
        recipient,
        player,
        payer,
        shops: Default::default(),
        flags,
        over: AtomicBool::new(false),
        kills: AtomicUsize::new(0),
    });
    for number in 0..REPLICAS {
        world.open(number).await;
    }
    let killer = tokio::spawn(kill_now_and_then(world.clone()));
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut requests = JoinSet::new();
    for number in 0..play + play / 25 {
        // One on the chain after every 25 in play money.
        let kind = if number % 26 == 25 { Kind::Tempo } else { Kind::Play };
        let (world, places) = (world.clone(), places.clone());
        requests.spawn(async move {
            let _place = places.acquire().await;
            let copies = if number % 10 == 0 { REPLICAS } else { 1 };
            (kind, world.buy(kind, copies).await)
        });
    }
    let mut endings = BTreeMap::<_, usize>::new();
    while let Some(request) = requests.join_next().await {
        *endings.entry(request.expect("a client does not panic")).or_default() += 1;
    }
    world.over.store(true, Ordering::SeqCst);
    killer.await.expect("the killer does not panic");
    let kills = world.kills.load(Ordering::SeqCst);
    println!("{database}: {kills} kills, {endings:?}");

    let count = |kind, ending| endings.get(&(kind, ending)).copied().unwrap_or_default();
    let paid = |kind| count(kind, Ending::Delivered) + count(kind, Ending::Unsent);
    let bank = Sandbox::new().with_store(store);
    assert_eq!(
        bank.till().await.expect("the bank"),
        Amount::cents(5 * paid(Kind::Play) as u128),
        "{database}"
    );
    let payments = world.chain.payments_to(&world.recipient).await;
    assert_eq!(payments.len(), paid(Kind::Tempo), "{database}");
    assert!(kills > 0 && count(Kind::Play, Ending::Delivered) > play / 2, "{database}: it was a fair trial");
}

async fn kill_now_and_then(world: Arc<World>) {
    while !world.over.load(Ordering::SeqCst) {
        let (number, pause) = {
            let mut rng = rand::rng();
            (rng.random_range(0..REPLICAS), rng.random_range(200..1_500))
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if let Some(shop) = world.shops[number].write().await.take() {
            shop.crash().await;
            world.kills.fetch_add(1, Ordering::SeqCst);
        }
        world.open(number).await;
    }
}

impl World {
    async fn open(&self, number: usize) {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        let shop = Shop::with_flags(SHOP, &flags, self.recipient.clone()).await;
        *self.shops[number].write().await = Some(shop);
    }

    /// One request to one shop; `None` when it is closed or is killed meanwhile.
    async fn ask(&self, number: usize, kind: Kind, credential: Option<&str>) -> Option<Answer> {
        // Nobody waits with the lock: a shop must be killable in the middle of a request.
        let url = self.shops[number % REPLICAS].read().await.as_ref()?.at(kind.path());
        try_ask("GET", &url, credential, &[]).await
    }

    /// Pays once, sends so many copies at once, and then repeats until there is an answer.
    async fn buy(self: &Arc<Self>, kind: Kind, copies: usize) -> Ending {
        let patience = Instant::now() + PATIENCE;
        let start = any_shop();
        let challenge = loop {
            match self.ask(any_shop(), kind, None).await {
                Some(unpaid) if unpaid.status == 402 => {
                    let line = unpaid.challenge.unwrap_or_else(|| panic!("no challenge: {}", unpaid.body));
                    break Challenge::parse_all([line.as_str()]).offers.remove(0);
                }
                other => assert!(Instant::now() < patience, "no challenge: {other:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let proof = self.pay(kind, &challenge).await;
        let credential = Credential { challenge, source: proof.source, payload: proof.payload };
        let header = credential.to_header_value();
        let mut all = JoinSet::new();
        for number in start..start + copies {
            let (world, header) = (self.clone(), header.clone());
            all.spawn(async move { world.ask(number, kind, Some(&header)).await });
        }
        let mut answers: Vec<_> = all.join_all().await.into_iter().flatten().collect();
        while !answers.iter().any(is_final) {
            assert!(Instant::now() < patience, "never answered: {answers:?}");
            // The shops are processes with clocks of their own.
            tokio::time::sleep(PAUSE).await;
            answers.extend(self.ask(any_shop(), kind, Some(&header)).await);
        }
        for answer in answers.iter().filter(|answer| matches!(answer.status, 409 | 503)) {
            assert_eq!(answer.challenge, None, "{answer:?}");
        }
        let delivered = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(delivered <= 1, "delivered {delivered} times: {answers:?}");
        if delivered == 1 {
            return Ending::Delivered;
        }
        let id = &credential.challenge.id;
        let quota = if kind == Kind::Play { Quota::Free } else { Quota::Paid };
        let key = Key::new(quota, "entry", id);
        loop {
            match self.store.get(&key).await {
                Ok(Some(_)) => return Ending::Unsent,
                Ok(None) => return Ending::Unpaid,
                // Crowded.
                Err(error) => assert!(Instant::now() < patience, "{error}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn pay(&self, kind: Kind, challenge: &Challenge) -> Proof {
        let proof = match kind {
            Kind::Play => self.player.pay(challenge).await,
            Kind::Tempo => self.payer.pay(challenge).await,
        };
        proof.expect("it can pay")
    }
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Play => "/play",
            Self::Tempo => "/charge",
        }
    }
}

/// What a client does not ask again after.
fn is_final(answer: &Answer) -> bool {
    match answer.status {
        200 | 402 => true,
        409 | 503 => false,
        odd => panic!("answered {odd}: {answer:?}"),
    }
}

fn any_shop() -> usize {
    rand::rng().random_range(0..REPLICAS)
}

/// How long a client goes on asking.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(200);
