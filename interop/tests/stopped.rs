//! The methods with a network, in servers that are stopped at every operation of a payment: `mpp::testing::crash_safety` over a
//! Tempo chain, an Ethereum-like chain and the Stripe stand-in. What the sandbox is stopped at is in `mpp/tests/crash`.

use interop::stripe::{PROFILE, SECRET_KEY, StandIn};
use interop::{Ahead, CHAIN_ID, Chain, DEV_KEYS, EvmChain, Http, Line, fresh_address, lab};
use mpp::method::evm::{CredentialType, GasPolicy, PrivateKeySigner};
use mpp::method::tempo::{Mode, Sponsor, SponsorPolicy, TempoWallet};
use mpp::method::{ClientMethod, Proof};
use mpp::protocol::{Challenge, Timestamp};
use mpp::routing::{Router, get};
use mpp::testing::{Client, CrashBench, CrashReport, Depth, Process, Request, crash_safety};
use mpp::{Amount, Clock, Evm, Hold, Mpp, Paid, Stripe, Tempo};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

static RUNS: AtomicUsize = AtomicUsize::new(0);

fn run() -> String {
    format!("run {}", RUNS.fetch_add(1, Ordering::SeqCst))
}

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn tokens(_: Paid) -> String {
    run()
}

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo), fees = "sponsored")]
async fn sponsored(_: Paid) -> String {
    run()
}

#[mpp::charge(amount = "0", proof = true, currency = "pathusd", methods(tempo))]
async fn identity(_: Paid) -> String {
    run()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(evm))]
async fn dollars(_: Paid) -> String {
    run()
}

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe))]
async fn card(_: Paid) -> String {
    run()
}

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe), capture = "success")]
async fn held_card(_: Paid<Hold>) -> String {
    run()
}

fn shop(mpp: Mpp) -> Client {
    let router = Router::new()
        .route("/tokens", get(tokens))
        .route("/sponsored", get(sponsored))
        .route("/identity", get(identity))
        .route("/dollars", get(dollars))
        .route("/card", get(card))
        .route("/held-card", get(held_card));
    Client::new(router.with_state(mpp))
}

/// `MPP_CRASH_DEPTH=every` for the second crashes too: a chain takes its time.
fn depth() -> Depth {
    match std::env::var("MPP_CRASH_DEPTH").as_deref() {
        Ok("every") => Depth::EveryRecovery,
        _ => Depth::NewOperations,
    }
}

fn said(what: &str, report: &CrashReport) {
    println!("{what}: {report}");
    report.assert_safe();
}

/// A Tempo chain, and our own wallet.
struct Tokens {
    chain: Chain,
    http: Http,
    path: &'static str,
    recipient: String,
    wallet: TempoWallet,
    ahead: Arc<Ahead>,
    /// Proofs of identity move no money; each is made for one payment.
    proofs: AtomicU64,
}

impl CrashBench for Tokens {
    type Method = Tempo;

    async fn method(&self, process: &Process, _: Arc<dyn Clock>) -> Tempo {
        let line = Line::to_node(process, &self.chain.url, &self.http).await;
        let tempo = Tempo::new(&self.recipient).rpc(&line.url).chain_id(CHAIN_ID);
        if self.path != "/sponsored" {
            return tempo;
        }
        // What a dead process signed for counts as reverted for a while, and here they die by the dozen.
        let policy = SponsorPolicy::new().reverted(Amount::whole(5), Amount::whole(5));
        tempo.sponsor(Sponsor::local(DEV_KEYS[1]).policy(policy))
    }

    fn client(&self, mpp: Mpp) -> Client {
        shop(mpp)
    }

    fn request(&self, client: &Client, _: &str) -> Request {
        client.get(self.path)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        self.proofs.fetch_add(1, Ordering::SeqCst);
        self.wallet.pay(challenge).await.expect("a wallet with money")
    }

    async fn payments(&self) -> u64 {
        if self.path == "/identity" {
            return self.proofs.load(Ordering::SeqCst);
        }
        let payments = self.chain.payments_to(&self.recipient).await;
        assert!(payments.iter().all(|transfer| transfer.amount == 10_000));
        payments.len() as u64
    }

    async fn wait(&self, by: Duration) {
        self.chain.skip(by).await;
        self.ahead.skip(by);
    }

    fn depth(&self) -> Depth {
        depth()
    }
}

async fn tempo(path: &'static str, mode: Mode) -> Option<CrashReport> {
    let chain = lab()?.quick_chain().await;
    let key = PrivateKeySigner::random();
    chain.fund(&key.address().to_string(), 1_000_000_000).await;
    let ahead = Arc::<Ahead>::default();
    let wallet = TempoWallet::new(key, &chain.url, CHAIN_ID).expect("a node on this machine");
    let wallet = wallet.mode(mode).clock(ahead.clone());
    let recipient = fresh_address();
    let bench =
        Tokens { chain, http: Http::default(), path, recipient, wallet, ahead, proofs: AtomicU64::new(0) };
    let report = crash_safety(&bench).await;
    said(&format!("tempo {path} {mode:?}"), &report);
    Some(report)
}

#[tokio::test]
async fn a_tempo_transaction_is_broadcast_once_wherever_the_server_dies() {
    tempo("/tokens", Mode::Pull).await;
}

#[tokio::test]
async fn a_tempo_payment_that_was_made_is_delivered_wherever_the_server_dies() {
    let Some(report) = tempo("/tokens", Mode::Push).await else { return };
    assert_eq!(report.afresh(), 0, "the payer has paid: {report}");
}

#[tokio::test]
async fn a_sponsored_tempo_transaction_is_broadcast_once_wherever_the_server_dies() {
    tempo("/sponsored", Mode::Pull).await;
}

#[tokio::test]
async fn a_proof_of_identity_is_used_once_wherever_the_server_dies() {
    let Some(report) = tempo("/identity", Mode::Pull).await else { return };
    assert_eq!(report.afresh(), 0, "it can be shown again: {report}");
}

/// A plain chain, and our own wallet as a payer who is somebody else each time.
struct Dollars {
    chain: EvmChain,
    http: Http,
    recipient: String,
    kind: CredentialType,
    /// Who pays by a transaction: it has no end of its own, so its payer gives one up that was lost.
    payer: Mutex<Option<String>>,
}

impl CrashBench for Dollars {
    type Method = Evm;

    async fn method(&self, process: &Process, _: Arc<dyn Clock>) -> Evm {
        let line = Line::to_node(process, self.chain.url(), &self.http).await;
        let replaced_soon = GasPolicy { replace_after: Duration::from_secs(1), ..GasPolicy::default() };
        self.chain.method(&self.recipient, &line.url).accept(&[self.kind]).gas_policy(replaced_soon)
    }

    fn client(&self, mpp: Mpp) -> Client {
        shop(mpp)
    }

    fn request(&self, client: &Client, _: &str) -> Request {
        client.get("/dollars")
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        let key = self.chain.stranger(self.kind).await;
        *self.payer.lock().expect("nobody panics") = Some(key.address().to_string());
        self.chain.pay_as(key, self.kind, challenge).await
    }

    async fn payments(&self) -> u64 {
        let payments = self.chain.payments_to(&self.recipient).await;
        assert!(payments.iter().all(|(amount, _)| *amount == 10_000));
        payments.len() as u64
    }

    async fn wait(&self, by: Duration) {
        if self.kind == CredentialType::Transaction {
            let payer = self.payer.lock().expect("nobody panics").clone().expect("somebody has paid");
            self.chain.use_nonce(&payer).await;
        }
        self.chain.advance(by).await;
    }

    fn depth(&self) -> Depth {
        depth()
    }
}

async fn evm(kind: CredentialType) -> Option<CrashReport> {
    let chain = lab()?.evm_chain().await;
    let bench =
        Dollars { chain, http: Http::default(), recipient: fresh_address(), kind, payer: Mutex::default() };
    let report = crash_safety(&bench).await;
    said(&format!("evm {kind:?}"), &report);
    Some(report)
}

#[tokio::test]
async fn an_authorization_is_used_once_wherever_the_server_dies() {
    evm(CredentialType::Authorization).await;
}

#[tokio::test]
async fn a_permit_is_used_once_wherever_the_server_dies() {
    evm(CredentialType::Permit2).await;
}

#[tokio::test]
async fn an_evm_transaction_is_broadcast_once_wherever_the_server_dies() {
    evm(CredentialType::Transaction).await;
}

#[tokio::test]
async fn an_evm_payment_that_was_made_is_delivered_wherever_the_server_dies() {
    let Some(report) = evm(CredentialType::Hash).await else { return };
    assert_eq!(report.afresh(), 0, "the payer has paid: {report}");
}

/// Cards at the strict stand-in.
struct Cards {
    stand_in: StandIn,
    http: Http,
    path: &'static str,
}

impl CrashBench for Cards {
    type Method = Stripe;

    async fn method(&self, process: &Process, _: Arc<dyn Clock>) -> Stripe {
        let line = Line::to_api(process, &self.stand_in.url, &self.http).await;
        Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&line.url)
    }

    fn client(&self, mpp: Mpp) -> Client {
        shop(mpp)
    }

    fn request(&self, client: &Client, _: &str) -> Request {
        client.get(self.path)
    }

    async fn pay(&self, _: &Challenge) -> Proof {
        self.stand_in.dollar()
    }

    async fn payments(&self) -> u64 {
        self.stand_in.taken() / 100
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    async fn wait(&self, by: Duration) {
        self.stand_in.advance(by);
    }

    fn depth(&self) -> Depth {
        depth()
    }
}

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

async fn stripe(path: &'static str) {
    let bench = Cards { stand_in: StandIn::start(NOW.unix()).await, http: Http::default(), path };
    said(&format!("stripe {path}"), &crash_safety(&bench).await);
}

#[tokio::test]
async fn a_card_is_charged_once_wherever_the_server_dies() {
    stripe("/card").await;
}

#[tokio::test]
async fn a_hold_on_a_card_is_captured_once_wherever_the_server_dies() {
    stripe("/held-card").await;
}
