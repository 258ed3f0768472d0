//! The shop, killed in the middle of payments (`kill -9`) and started again over its file: the client repeats its credential, and
//! there is one transfer on the chain, or one charge at Stripe.
//!
//! A run is a shop that was killed before it had answered. The moment is drawn from the time that a payment takes there; where the
//! answer was quicker all the same, the payment is checked too, but it is no run, and another is made. The test fails where less
//! than about half of the kills fall inside a payment.
//!
//! `MPP_KILL_RUNS=200` for more of them. What a process does when it dies at a certain operation is in `stopped.rs`; here it
//! dies wherever it is.

use interop::stripe::{Limits, PROFILE, SECRET_KEY, StandIn};
use interop::{
    Answer, CHAIN_ID, Chain, DEV_KEYS, EvmChain, KeyFile, Shop, fresh_address, http_client, lab, try_ask_by,
};
use mpp::method::evm::{CredentialType, EvmWallet, PrivateKeySigner};
use mpp::method::tempo::TempoWallet;
use mpp::method::{ClientMethod, Proof};
use mpp::protocol::{Challenge, Credential, Timestamp};
use rand::Rng;
use reqwest::Client;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
/// Shops that are killed at the same time, each with a file and a recipient of its own. They wait most of the time, for the
/// lease of the dead, or for the end of what it may have sent.
const LANES: usize = 10;

/// What the shops stand on. They outlive every shop.
struct Ground {
    tempo: Chain,
    evm: EvmChain,
    /// Held by who gives money on the EVM chain: it comes from one account, whose node gives two at a time one nonce.
    purse: tokio::sync::Mutex<()>,
    tally: Mutex<Tally>,
}

/// What the lanes have done together.
#[derive(Default)]
struct Tally {
    /// How many kills are wanted inside a payment.
    wanted: usize,
    /// How many were tried.
    tries: usize,
    /// What is being tried now.
    under_way: usize,
    endings: BTreeMap<Ending, usize>,
    /// The same kills by the quarter of the usual time they fell into.
    quarters: [usize; 4],
    /// How long the last payments took when nobody was killed, by route.
    usual: [VecDeque<Duration>; ROUTES.len()],
}

/// How a run ended. In each the money has moved once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// Delivered to the repeated credential.
    Delivered,
    /// Committed, and killed before the first byte left. Not where the request has an `Idempotency-Key`.
    Unsent,
    /// Refused unpaid; a new credential was paid and delivered.
    Afresh,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_killed_anywhere_takes_the_money_once() {
    let Some(lab) = lab() else { return };
    let wanted = std::env::var("MPP_KILL_RUNS").map_or(20, |text| text.parse().expect("a number"));
    let tally = Mutex::new(Tally { wanted, ..Tally::default() });
    let (tempo, evm) = (lab.chain().await, lab.evm_chain().await);
    let ground = Arc::new(Ground { tempo, evm, purse: tokio::sync::Mutex::default(), tally });
    let mut lanes = Vec::new();
    for number in 0..LANES {
        let mut lane = Lane::open(ground.clone(), number).await;
        lanes.push(tokio::spawn(async move {
            while lane.ground.tally(Tally::begins) {
                let kill = lane.run().await;
                lane.ground.tally(|tally| tally.ends(kill));
            }
        }));
    }
    for lane in lanes {
        lane.await.expect("a lane does not panic");
    }
    ground.tally(|tally| {
        let (killed, tries) = (tally.killed(), tally.tries);
        println!(
            "{killed} kills inside a payment: {:?}; by quarters of its usual time: {:?}; {} more came too late; {:?}",
            tally.endings,
            tally.quarters,
            tries - killed,
            ROUTES.iter().enumerate().map(|(at, (_, path))| (path, tally.usual(at))).collect::<Vec<_>>(),
        );
        assert_eq!(killed, wanted, "of {tries} kills too many came after the answer");
    });
}

impl Ground {
    fn tally<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        look(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tally {
    /// Whether one more is to be tried.
    fn begins(&mut self) -> bool {
        let is_wanted = self.killed() + self.under_way < self.wanted && self.tries < 2 * self.wanted + SPARE;
        self.tries += usize::from(is_wanted);
        self.under_way += usize::from(is_wanted);
        is_wanted
    }

    fn ends(&mut self, kill: Option<Kill>) {
        self.under_way -= 1;
        if let Some(Kill { quarter, ending }) = kill {
            self.quarters[quarter] += 1;
            *self.endings.entry(ending).or_default() += 1;
        }
    }

    fn killed(&self) -> usize {
        self.endings.values().sum()
    }

    /// Takes a payment's time into account; what is usual now.
    fn took(&mut self, route: usize, time: Duration) -> Option<Duration> {
        self.usual[route].push_back(time);
        if self.usual[route].len() > REMEMBERED {
            self.usual[route].pop_front();
        }
        self.usual(route)
    }

    /// The median, once there are enough.
    fn usual(&self, route: usize) -> Option<Duration> {
        let mut times: Vec<_> = self.usual[route].iter().copied().collect();
        times.sort();
        (times.len() >= ENOUGH).then(|| times[times.len() / 2])
    }
}

/// A shop that was killed before it had answered.
struct Kill {
    /// When, in quarters of the usual time.
    quarter: usize,
    ending: Ending,
}

/// Of few runs a bad half is no wonder.
const SPARE: usize = 10;
/// So many payments say how long one takes …
const ENOUGH: usize = 3;
/// … and so many of the last are remembered: other work on the machine comes and goes.
const REMEMBERED: usize = 5;

/// A shop that is killed and started again, one payment at a time.
struct Lane {
    ground: Arc<Ground>,
    stand_in: StandIn,
    flags: Vec<String>,
    recipient: String,
    shop: Option<Shop>,
    _folder: TempDir,
    _keys: KeyFile,
    turn: usize,
    /// Made once: that takes longer than many a payment.
    http: Client,
}

/// For how long the payer on the EVM chain signs.
const SIGNED_FOR: Duration = Duration::from_secs(25);

const ROUTES: [(&str, &str); 4] =
    [("GET", "/charge"), ("GET", "/stripe"), ("GET", "/evm"), ("POST", "/charge")];

impl Lane {
    async fn open(ground: Arc<Ground>, number: usize) -> Self {
        let stand_in = StandIn::of_today().await;
        let keys = KeyFile::of(SECRET_KEY);
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A settlement key for each shop: two shops would use the same nonces.
        let key = PrivateKeySigner::random();
        {
            let _purse = ground.purse.lock().await;
            ground.evm.give_coins(&key.address().to_string()).await;
        }
        let key_file = folder.path().join("key");
        std::fs::write(&key_file, alloy::hex::encode(&key.to_bytes()[..])).expect("a temporary file");
        let recipient = fresh_address();
        let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let flags = [
            ("--tempo-rpc", ground.tempo.url.clone()),
            ("--recipient", recipient.clone()),
            ("--evm-rpc", ground.evm.url().to_owned()),
            ("--evm-token", ground.evm.token.clone()),
            ("--evm-key-file", path("key")),
            ("--stripe-key-file", keys.path().to_owned()),
            ("--stripe-url", stand_in.url.clone()),
            ("--stripe-network-id", PROFILE.to_owned()),
            ("--store", format!("file:{}", path("store"))),
            ("--lease", "3".to_owned()),
            ("--settle-timeout", "10".to_owned()),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Self {
            ground,
            stand_in,
            flags,
            recipient,
            shop: None,
            _folder: folder,
            _keys: keys,
            turn: number,
            http: http_client(),
        }
    }

    async fn shop(&mut self) -> &Shop {
        if self.shop.is_none() {
            let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
            self.shop = Some(Shop::with_flags(SHOP, &flags, self.recipient.clone()).await);
        }
        self.shop.as_ref().expect("it was just opened")
    }

    /// One payment, and a kill in the middle of it; `None` where the answer was quicker.
    async fn run(&mut self) -> Option<Kill> {
        let route = self.turn % ROUTES.len();
        self.turn += 1;
        // The first payment of a process takes longer than any other: that is neither measured nor killed.
        self.pay_in_peace(route).await;
        let usual = loop {
            let took = self.pay_in_peace(route).await;
            if let Some(usual) = self.ground.tally(|tally| tally.took(route, took)) {
                break usual;
            }
        };
        let (credential, before) = self.credential(route).await;
        let part = rand::rng().random_range(0.0..1.0);
        let delay = usual.mul_f64(part);
        let (verb, path) = ROUTES[route];
        let (http, url) = (self.http.clone(), self.shop().await.at(path));
        let asked = {
            let credential = credential.clone();
            tokio::spawn(async move {
                try_ask_by(&http, verb, &url, Some(&credential), &key_of(&credential)).await
            })
        };
        tokio::time::sleep(delay).await;
        self.shop.take().expect("it is open").crash().await;
        let first = asked.await.expect("a request does not panic");
        let answered = first.is_some();
        let answer = match first.filter(|answer| answer.status == 200) {
            Some(answer) => answer,
            None => self.until_answered(route, &credential).await,
        };
        let paid = self.paid(route).await - before;
        let what = format!("{verb} {path}, killed after {delay:?}: {answer:?}");
        let ending = match (answer.status, paid) {
            (200, 1) => Ending::Delivered,
            (402, 1) => {
                assert_eq!(answer.problem(), "invalid-challenge", "{what}");
                assert_eq!(verb, "GET", "an Idempotency-Key answers again: {what}");
                Ending::Unsent
            }
            (402, 0) => {
                let (afresh, _) = self.credential(route).await;
                let answer = self.until_answered(route, &afresh).await;
                assert_eq!(
                    (answer.status, self.paid(route).await - before),
                    (200, 1),
                    "{what}, then {answer:?}"
                );
                Ending::Afresh
            }
            odd => panic!("{what}: status and payments {odd:?}"),
        };
        // What the dead shop sent may arrive late: it must not come on top.
        let again = self.ask(route, &credential).await.expect("it lives");
        assert!(
            again.status == 402 || (again.status == 200 && again.body == answer.body),
            "{what}, then {again:?}"
        );
        assert_eq!(self.paid(route).await - before, 1, "{what}");
        (!answered).then_some(Kill { quarter: (part * 4.0) as usize, ending })
    }

    /// A payment that nobody disturbs, and how long it took.
    async fn pay_in_peace(&mut self, route: usize) -> Duration {
        let (credential, _) = self.credential(route).await;
        let started = Instant::now();
        let answer = self.ask(route, &credential).await.expect("it lives");
        assert_eq!(answer.status, 200, "{answer:?}");
        started.elapsed()
    }

    /// Presents a credential as a patient client would.
    async fn until_answered(&mut self, route: usize, credential: &str) -> Answer {
        let patience = Instant::now() + PATIENCE;
        loop {
            match self.ask(route, credential).await {
                Some(answer) if matches!(answer.status, 409 | 503) => {
                    assert_eq!(answer.challenge, None, "{answer:?}");
                    assert!(Instant::now() < patience, "never answered: {answer:?}");
                }
                Some(answer) => return answer,
                None => assert!(Instant::now() < patience, "never answered"),
            }
            // The shop is a process with a clock of its own.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    async fn ask(&mut self, route: usize, credential: &str) -> Option<Answer> {
        let (verb, path) = ROUTES[route];
        let (http, url) = (self.http.clone(), self.shop().await.at(path));
        try_ask_by(&http, verb, &url, Some(credential), &key_of(credential)).await
    }

    /// A credential, and how many payments there were before it.
    async fn credential(&mut self, route: usize) -> (String, usize) {
        let (verb, path) = ROUTES[route];
        let (http, url) = (self.http.clone(), self.shop().await.at(path));
        let unpaid = try_ask_by(&http, verb, &url, None, &[]).await.expect("it lives");
        let line = unpaid.challenge.unwrap_or_else(|| panic!("no challenge: {}", unpaid.body));
        let challenge = Challenge::parse_all([line.as_str()]).offers.remove(0);
        let before = self.paid(route).await;
        let proof = self.pay(path, &challenge).await;
        let credential = Credential { challenge, source: proof.source, payload: proof.payload };
        (credential.to_header_value(), before)
    }

    async fn pay(&self, path: &str, challenge: &Challenge) -> Proof {
        match path {
            "/stripe" => {
                let token = self.stand_in.token(Limits::of(100, "usd"));
                Proof { payload: [("spt".to_owned(), token.into())].into_iter().collect(), source: None }
            }
            "/evm" => {
                let key = PrivateKeySigner::random();
                {
                    let _purse = self.ground.purse.lock().await;
                    self.ground.evm.mint(&key.address().to_string(), 10_000).await;
                }
                let wallet = EvmWallet::new(CHAIN_ID, key).rpc(self.ground.evm.url()).expect("a URL");
                // A signature that was lost on the way stays unknown until it is void: then that comes sooner.
                let soon = Timestamp::from_unix(self.ground.evm.time().await) + SIGNED_FOR;
                let expires = Some(soon.to_rfc3339().as_str().to_owned());
                let challenge = Challenge { expires, ..challenge.clone() };
                wallet.pays_by(&[CredentialType::Authorization]).pay(&challenge).await.expect("it can pay")
            }
            _ => {
                let key = DEV_KEYS[0].parse::<PrivateKeySigner>().expect("a key");
                let wallet = TempoWallet::new(key, &self.ground.tempo.url, CHAIN_ID).expect("a URL");
                wallet.pay(challenge).await.expect("it can pay")
            }
        }
    }

    /// How many payments of this kind there were, counted where the money is.
    async fn paid(&self, route: usize) -> usize {
        match ROUTES[route].1 {
            "/stripe" => usize::try_from(self.stand_in.taken() / 100).expect("a few"),
            "/evm" => self.ground.evm.payments_to(&self.recipient).await.len(),
            _ => self.ground.tempo.payments_to(&self.recipient).await.len(),
        }
    }
}

/// The same in all repetitions of a credential, and no other's.
fn key_of(credential: &str) -> [(&'static str, String); 1] {
    let mut hasher = DefaultHasher::new();
    credential.hash(&mut hasher);
    [("idempotency-key", format!("{:016x}", hasher.finish()))]
}

/// How long a client goes on asking.
const PATIENCE: Duration = Duration::from_secs(180);
