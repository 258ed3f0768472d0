//! Our client and our server over every method and every way of paying by it, within one process and over a socket. What was
//! paid is counted on the chains, at the stand-in for Stripe and in the sandbox's till, never in the client's own ledger.

use alloy::signers::local::PrivateKeySigner;
use http_body_util::{BodyExt as _, Full};
use interop::stripe::{PROFILE, SECRET_KEY, StandIn};
use interop::{CHAIN_ID, Chain, DEV_ACCOUNTS, DEV_KEYS, EvmChain, Lab, fresh_address, lab};
use mpp::client::{Budget, Client, Error, MemoryLedger, Outcome, Paid as PaidFor, Policy, Refusal};
use mpp::method::evm::{CredentialType, EvmWallet};
use mpp::method::tempo::{Mode, Sponsor, TempoWallet};
use mpp::method::{ClientMethod, sandbox};
use mpp::routing::{Router, get};
use mpp::{Amount, Evm, Mpp, Paid, Sandbox, Secret, Stripe, Tempo};
use std::sync::Arc;
use tower::{Layer as _, ServiceExt as _};

#[mpp::charge(amount = "0.05", currency = "usdc", methods(sandbox))]
async fn play(paid: Paid) -> String {
    whose(&paid)
}

#[mpp::charge(amount = "0", currency = "usdc", methods(sandbox), proof = true)]
async fn play_proof(paid: Paid) -> String {
    whose(&paid)
}

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn tempo(paid: Paid) -> String {
    whose(&paid)
}

#[mpp::charge(amount = "0", currency = "pathusd", methods(tempo), proof = true)]
async fn tempo_proof(paid: Paid) -> String {
    whose(&paid)
}

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo), fees = "sponsored")]
async fn sponsored(paid: Paid) -> String {
    whose(&paid)
}

#[mpp::charge(amount = "0.05", currency = "pathusd", methods(tempo), split(platform = "0.01"))]
async fn split(paid: Paid) -> String {
    whose(&paid)
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(evm))]
async fn evm(paid: Paid) -> String {
    whose(&paid)
}

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe))]
async fn card(paid: Paid) -> String {
    whose(&paid)
}

fn whose(paid: &Paid) -> String {
    paid.payer().unwrap_or("a card").to_owned()
}

/// One server that takes everything, and everybody who counts what it takes.
struct World {
    tempo: Chain,
    dollars: EvmChain,
    cards: StandIn,
    sandbox: Sandbox,
    recipient: String,
    base: String,
    router: axum::Router,
}

impl World {
    async fn new(lab: &Lab) -> World {
        let (tempo, dollars) = tokio::join!(lab.chain(), lab.evm_chain());
        let (cards, recipient) = (StandIn::of_today().await, fresh_address());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let sandbox = Sandbox::new().open_to_all(Amount::whole(1));
        let mpp = Mpp::builder(&base)
            .secret(Secret::generate())
            .single_process_volatile_store()
            .allow_test_money()
            .method(sandbox.clone())
            .method(
                Tempo::new(&recipient)
                    .rpc(&tempo.url)
                    .chain_id(CHAIN_ID)
                    .sponsor(Sponsor::local(DEV_KEYS[1]))
                    .payee("platform", &fresh_address()),
            )
            .method(
                Evm::new(&recipient)
                    .chain(CHAIN_ID)
                    .rpc(dollars.url())
                    .eip3009_token("usdc", &dollars.token, 6)
                    .settlement_key(DEV_KEYS[1])
                    .accept(&ALL),
            )
            .method(Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&cards.url))
            .build()
            .unwrap_or_else(|report| panic!("{report}"));
        mpp.check().await.expect("everything is there");
        let router = Router::new()
            .route("/play", get(play))
            .route("/play/proof", get(play_proof))
            .route("/tempo", get(self::tempo))
            .route("/tempo/proof", get(tempo_proof))
            .route("/sponsored", get(sponsored))
            .route("/split", get(split))
            .route("/evm", get(evm))
            .route("/card", get(card))
            .with_state(mpp)
            .into_axum();
        let app = router.clone();
        tokio::spawn(async move { axum::serve(listener, app).await });
        World { tempo, dollars, cards, sandbox, recipient, base, router }
    }

    /// A wallet on Tempo with so much; `access` is of whose account its key is an access key.
    async fn on_tempo(&self, units: u128, mode: Mode, access: Option<&str>) -> TempoWallet {
        let key = PrivateKeySigner::random();
        let own = key.address().to_string();
        let wallet =
            TempoWallet::new(key, &self.tempo.url, CHAIN_ID).expect("a node on this machine").mode(mode);
        match access {
            Some(account) => {
                self.tempo.authorize_key(account, &own, None).await;
                wallet.access_key_of(account).expect("an address")
            }
            None => {
                self.tempo.fund(&own, units).await;
                wallet
            }
        }
    }

    /// A wallet with a dollar and a coin on the EVM chain, that pays by this type.
    async fn by(&self, kind: CredentialType) -> EvmWallet {
        let key = PrivateKeySigner::random();
        let own = key.address().to_string();
        self.dollars.mint(&own, 1_000_000).await;
        match kind {
            CredentialType::Permit2 => self.dollars.approve_permit2_as(&own).await,
            CredentialType::Transaction | CredentialType::Hash => self.dollars.give_coins(&own).await,
            _ => {}
        }
        self.evm_wallet(key).pays_by(&[kind])
    }

    fn evm_wallet(&self, key: PrivateKeySigner) -> EvmWallet {
        let wallet = EvmWallet::new(CHAIN_ID, key).rpc(self.dollars.url()).expect("a node on this machine");
        wallet.token("usdc", &self.dollars.token, 6).expect("an address").native_coin("eth")
    }

    /// Base units that `path` took so far, wherever they are counted.
    async fn taken(&self, path: &str) -> u128 {
        match path.split('/').nth(1).unwrap_or_default() {
            "play" => {
                self.sandbox.till().await.expect("the books").to_base_units(6).expect("an amount").get()
            }
            "evm" => self.dollars.payments_to(&self.recipient).await.iter().map(|(amount, _)| amount).sum(),
            "card" => self.cards.taken().into(),
            _ => self.tempo.balance(&self.recipient).await,
        }
    }

    /// Asks, pays and is answered, by each transport.
    async fn buy(&self, client: &Client, path: &str, by: Transport) -> Result<(String, PaidFor), Error> {
        let url = format!("{}{path}", self.base);
        match by {
            Transport::InProcess => {
                let request =
                    http::Request::get(url).body(Full::<bytes::Bytes>::default()).expect("a request");
                let paying = client.layer().layer(self.router.clone());
                let response = paying.oneshot(request).await;
                let response = response.map_err(|error| *error.downcast::<Error>().expect("ours"))?;
                let paid = response.extensions().get::<PaidFor>().expect("it was paid").clone();
                let body = response.into_body().collect().await.expect("a body").to_bytes();
                Ok((String::from_utf8(body.to_vec()).expect("text"), paid))
            }
            Transport::Tcp => {
                let response = match client.http().expect("an HTTP client").get(url).send().await {
                    Ok(response) => response,
                    Err(reqwest_middleware::Error::Middleware(error)) => {
                        return Err(error.downcast::<Error>().expect("ours"));
                    }
                    Err(error) => panic!("{error}"),
                };
                let paid = response.extensions().get::<PaidFor>().expect("it was paid").clone();
                Ok((response.text().await.expect("a body"), paid))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    InProcess,
    Tcp,
}

const BOTH: [Transport; 2] = [Transport::InProcess, Transport::Tcp];

const ALL: [CredentialType; 4] = [
    CredentialType::Authorization,
    CredentialType::Permit2,
    CredentialType::Transaction,
    CredentialType::Hash,
];

/// Five dollars of anything, by this wallet.
fn client(wallet: Arc<dyn ClientMethod>) -> Client {
    let budget = ["pathusd", "usd"].iter().fold(Budget::total("usdc", Amount::whole(5)), |b, c| b.also(*c));
    // The gas of an EVM transaction, at its worst.
    let policy = Policy::new(budget).budget(Budget::total("eth", Amount::cents(10)));
    Client::builder(policy, MemoryLedger::new()).shared_method(wallet).build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_pays_our_server_in_every_way_there_is_in_process_and_over_tcp() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    let evm = |kind| Way { path: "/evm", takes: 10_000, pays: Pays::Evm(kind) };
    let tempo = |path, takes, mode| Way { path, takes, pays: Pays::Tempo(mode, None) };
    let ways = [
        Way { path: "/play", takes: 50_000, pays: Pays::Play },
        Way { path: "/play/proof", takes: 0, pays: Pays::Play },
        tempo("/tempo", 10_000, Mode::Pull),
        tempo("/tempo", 10_000, Mode::Push),
        tempo("/tempo/proof", 0, Mode::Pull),
        tempo("/sponsored", 10_000, Mode::Pull),
        tempo("/split", 40_000, Mode::Pull),
        tempo("/split", 40_000, Mode::Push),
        Way { path: "/tempo", takes: 10_000, pays: eve(Mode::Pull) },
        Way { path: "/tempo", takes: 10_000, pays: eve(Mode::Push) },
        Way { path: "/tempo/proof", takes: 0, pays: eve(Mode::Pull) },
        Way { path: "/sponsored", takes: 10_000, pays: eve(Mode::Pull) },
        evm(CredentialType::Authorization),
        evm(CredentialType::Permit2),
        evm(CredentialType::Transaction),
        evm(CredentialType::Hash),
        Way { path: "/card", takes: 100, pays: Pays::Card },
    ];
    for way in ways {
        for by in BOTH {
            let (wallet, payer) = way.pays.wallet(&world).await;
            let client = client(wallet);
            let before = world.taken(way.path).await;
            let bought = world.buy(&client, way.path, by).await;
            let (body, paid) = bought.unwrap_or_else(|error| panic!("{way:?} {by:?}: {error}"));
            assert_eq!(body, payer, "{way:?} {by:?}");
            assert_eq!(world.taken(way.path).await - before, way.takes, "{way:?} {by:?}");
            let receipt = paid.receipt.unwrap_or_else(|why| panic!("{way:?} {by:?}: {why}"));
            let entries = client.ledger().entries().await.expect("the ledger");
            assert_eq!(entries.len(), 1, "{way:?} {by:?}");
            assert_eq!(entries[0].outcome, Outcome::Paid { reference: Some(receipt.reference) }, "{way:?}");
            assert!(client.unsettled().is_empty());
        }
    }
}

/// One row of the table.
#[derive(Debug)]
struct Way {
    path: &'static str,
    takes: u128,
    pays: Pays,
}

#[derive(Debug)]
enum Pays {
    Play,
    Tempo(Mode, Option<&'static str>),
    Evm(CredentialType),
    Card,
}

/// By a key that the owner of this account has authorised.
fn eve(mode: Mode) -> Pays {
    Pays::Tempo(mode, Some(DEV_ACCOUNTS[2]))
}

impl Pays {
    /// A wallet of somebody new, and who the server sees.
    async fn wallet(&self, world: &World) -> (Arc<dyn ClientMethod>, String) {
        match self {
            Pays::Play => {
                let wallet = sandbox::Wallet::generate();
                let did = wallet.did();
                (Arc::new(wallet), did)
            }
            Pays::Tempo(mode, access) => {
                let wallet = world.on_tempo(1_000_000, *mode, *access).await;
                let did = wallet.did();
                (Arc::new(wallet), did)
            }
            Pays::Evm(kind) => {
                let wallet = world.by(*kind).await;
                let did = wallet.did();
                (Arc::new(wallet), did)
            }
            Pays::Card => (Arc::new(world.cards.wallet("pm_card_visa")), "a card".to_owned()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_has_too_little_is_told_so_before_anything_is_signed() {
    let Some(lab) = lab() else { return };
    let world = World::new(&lab).await;
    let short = async |wallet: Arc<dyn ClientMethod>, path: &str| {
        let client = client(wallet);
        let refused = match world.buy(&client, path, Transport::Tcp).await {
            Err(Error::NotPaid(refused)) => refused,
            other => panic!("{path}: {other:?}"),
        };
        let signed =
            client.ledger().entries().await.expect("the ledger").iter().any(|entry| entry.outcome.counts());
        assert!(!signed, "{path}: {refused}");
        assert_eq!(world.taken(path).await, 0);
        (refused.is_because(|why| matches!(why, Refusal::Shortfall(_))), refused.to_string())
    };
    // One unit less than the price.
    let (seen, why) = short(Arc::new(world.on_tempo(9_999, Mode::Pull, None).await), "/tempo").await;
    assert!(seen && why.contains("it needs 0.01 pathusd, and the account has 0.009999 pathusd"), "{why}");
    // The price, and nothing for the network: known once the fee is.
    let (_, why) = short(Arc::new(world.on_tempo(10_000, Mode::Pull, None).await), "/tempo").await;
    assert!(why.contains("pathusd, and the account has 0.01 pathusd"), "{why}");
    let empty = Arc::new(world.evm_wallet(PrivateKeySigner::random()));
    let (seen, why) = short(empty, "/evm").await;
    assert!(seen && why.contains("it needs 0.01 usdc, and the account has 0 usdc"), "{why}");
    // A key that nobody has authorised; Eve is rich.
    let stranger = TempoWallet::new(PrivateKeySigner::random(), &world.tempo.url, CHAIN_ID).expect("a node");
    let stranger = stranger.access_key_of(DEV_ACCOUNTS[2]).expect("an address");
    let (_, why) = short(Arc::new(stranger), "/tempo").await;
    assert!(why.contains("is no access key of"), "{why}");
    // One that may spend less than the price, and one that may spend it, with the fee, once.
    let limited = async |units: u64| {
        let key = PrivateKeySigner::random();
        world.tempo.authorize_key(DEV_ACCOUNTS[2], &key.address().to_string(), Some(units)).await;
        let wallet = TempoWallet::new(key, &world.tempo.url, CHAIN_ID).expect("a node");
        Arc::new(wallet.access_key_of(DEV_ACCOUNTS[2]).expect("an address"))
    };
    let (_, why) = short(limited(9_999).await, "/tempo").await;
    assert!(why.contains("may spend 0.009999 pathusd more, and it needs 0.01 pathusd"), "{why}");
    let agent = limited(19_999).await;
    let client = client(agent.clone());
    world.buy(&client, "/tempo", Transport::Tcp).await.unwrap_or_else(|error| panic!("{error}"));
    let again = world.buy(&client, "/tempo", Transport::Tcp).await;
    assert!(
        again.as_ref().is_err_and(|error| error.to_string().contains("pathusd more, and it needs")),
        "{again:?}"
    );
    assert_eq!(world.taken("/tempo").await, 10_000);
}
