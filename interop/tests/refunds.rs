//! Refunds where the money is: ordered of a server, counted on a Tempo chain, on an EVM chain and at the Stripe stand-in;
//! once, to whoever paid, wherever the server that makes them is stopped.

use interop::stripe::{CONNECTED, Mischief, PROFILE, SECRET_KEY, StandIn};
use interop::{Ahead, CHAIN_ID, Chain, EvmChain, Http, Line, fresh_address, lab};
use mpp::ledger::{Delivery, LedgerEntry, Query};
use mpp::method::evm::{CredentialType, EvmWallet, PrivateKeySigner};
use mpp::method::stripe::Share;
use mpp::method::tempo::TempoWallet;
use mpp::method::{ClientMethod, Proof, ServerMethod};
use mpp::observe::Sale;
use mpp::protocol::{Challenge, Credential, Timestamp};
use mpp::refund::{Refund, RefundError, RefundOrder, RefundState};
use mpp::routing::{Router, get};
use mpp::store::MemoryStore;
use mpp::testing::{Client, CrashBench, Depth, Process, Request, refund_safety};
use mpp::{Amount, Clock, Evm, ManualClock, Mpp, Paid, Secret, Stripe, SystemClock, Tempo};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const POST: &str = "POST /v1/refunds";

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo))]
async fn tokens(_: Paid) -> &'static str {
    "tokens"
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(evm))]
async fn dollars(_: Paid) -> &'static str {
    "dollars"
}

#[mpp::charge(amount = "0.001", currency = "eth", methods(evm))]
async fn coins(_: Paid) -> &'static str {
    "coins"
}

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe))]
async fn card(_: Paid) -> &'static str {
    "card"
}

fn shop(mpp: Mpp) -> Client {
    let router = Router::new()
        .route("/tokens", get(tokens))
        .route("/dollars", get(dollars))
        .route("/coins", get(coins))
        .route("/card", get(card));
    Client::new(router.with_state(mpp))
}

/// A server that keeps a ledger, and a client of it.
fn server(method: impl ServerMethod, clock: Arc<dyn Clock>) -> (Mpp, Client) {
    let name = method.name().clone();
    let builder = Mpp::builder("https://api.example.com")
        .secret(Secret::generate())
        .store(MemoryStore::new().with_clock(clock.clone()))
        .clock(clock)
        .single_process_volatile_store()
        .ledger_retention(KEPT)
        .method(method);
    // This program sells by more methods than one server has.
    let others = ["tempo", "evm", "stripe"].into_iter().filter(|other| *other != name.as_str());
    let mpp = others.fold(builder, |builder, other| builder.switched_off(other)).build();
    let mpp = mpp.unwrap_or_else(|report| panic!("{report}"));
    (mpp.clone(), shop(mpp))
}

/// Buys what is at `path`; it is the only sale.
async fn buy(mpp: &Mpp, client: &Client, path: &str, pay: impl AsyncFn(&Challenge) -> Proof) -> Sale {
    let challenge = client.get(path).unpaid().await.challenges().offers.remove(0);
    let Proof { payload, source } = pay(&challenge).await;
    let credential = Credential { challenge, payload, source };
    let answer = client.get(path).presenting(&credential.to_header_value()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    for _ in 0..200 {
        if let Some(entry) = ledger(mpp).await.pop() {
            return entry.sale;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("what was sold is not in the ledger")
}

/// As [`buy`], with what this wallet has.
async fn buy_with(wallet: &impl ClientMethod, mpp: &Mpp, client: &Client, path: &str) -> Sale {
    let pay = async |challenge: &Challenge| wallet.pay(challenge).await.expect("a wallet with money");
    buy(mpp, client, path, pay).await
}

async fn ledger(mpp: &Mpp) -> Vec<LedgerEntry> {
    mpp.ledger().page(&Query::new(), None).await.expect("the store is there").entries
}

/// Orders it again until it is back, as an operator would.
async fn until_back(mpp: &Mpp, order: &RefundOrder) -> Refund {
    let mut last = None;
    for _ in 0..20 {
        let refund = mpp.refund(order).await.expect("it can be ordered");
        if let RefundState::Refunded { .. } = refund.state {
            return refund;
        }
        last = Some(refund);
    }
    panic!("never back: {last:?}")
}

#[tokio::test]
async fn a_tempo_payment_goes_back_to_the_account_it_came_from_and_no_more_than_that() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let (payer, operator) = (PrivateKeySigner::random(), PrivateKeySigner::random());
    let [payers, operators] = [payer.address().to_string(), operator.address().to_string()];
    chain.fund(&payers, 1_000_000).await;
    chain.fund(&operators, 1_000_000).await;
    let tempo = Tempo::new(&fresh_address()).rpc(&chain.url).chain_id(CHAIN_ID).refunds_from(operator);
    let (mpp, client) = server(tempo, Arc::new(SystemClock));
    let wallet = TempoWallet::new(payer, &chain.url, CHAIN_ID).expect("a node on this machine");
    let sale = buy_with(&wallet, &mpp, &client, "/tokens").await;

    let before = chain.balance(&payers).await;
    let part = RefundOrder::part(&sale, Amount::micros(4_000), "late");
    let first = until_back(&mpp, &part).await;
    let RefundState::Refunded { reference } = &first.state else { unreachable!("it is back") };
    assert_eq!(chain.mined(reference).await["status"], "0x1");
    assert_eq!(chain.balance(&payers).await, before + 4_000);
    assert_eq!(mpp.refund(&part).await, Ok(first), "the same order is the same refund");
    until_back(&mpp, &RefundOrder::rest(&sale)).await;
    assert_eq!(chain.balance(&payers).await, before + 10_000, "all that was paid, and no more");
    let paid_back = chain.payments_to(&payers).await;
    assert_eq!(paid_back.iter().map(|transfer| transfer.amount).collect::<Vec<_>>(), [4_000, 6_000]);
    assert!(chain.balance(&operators).await < 1_000_000 - 10_000, "the operator paid, and the fee");
    let more = RefundOrder::part(&sale, Amount::micros(1), "more");
    assert_eq!(mpp.refund(&more).await, Err(RefundError::TooMuch { left: Amount::ZERO }));
    let entry = ledger(&mpp).await.remove(0);
    assert_eq!((entry.delivery, entry.refunded()), (Delivery::Delivered, Some(Amount::micros(10_000))));
}

#[tokio::test]
async fn an_empty_refund_account_is_told_to_the_operator_and_nothing_is_ordered() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let payer = PrivateKeySigner::random();
    chain.fund(&payer.address().to_string(), 1_000_000).await;
    let operator = PrivateKeySigner::random();
    let tempo = Tempo::new(&fresh_address()).rpc(&chain.url).chain_id(CHAIN_ID).refunds_from(operator);
    let (mpp, client) = server(tempo, Arc::new(SystemClock));
    let wallet = TempoWallet::new(payer, &chain.url, CHAIN_ID).expect("a node on this machine");
    let sale = buy_with(&wallet, &mpp, &client, "/tokens").await;
    let refused = mpp.refund(&RefundOrder::rest(&sale)).await;
    assert!(matches!(&refused, Err(RefundError::Refused(_))), "{refused:?}");
    assert_eq!(ledger(&mpp).await.remove(0).refunds, Some(vec![]));
}

/// A chain, and a server on it that gives back from an account of its own.
async fn evm(chain: &EvmChain) -> (Mpp, Client, EvmWallet, String) {
    let (payer, operator) = (PrivateKeySigner::random(), PrivateKeySigner::random());
    let [payers, operators] = [payer.address().to_string(), operator.address().to_string()];
    for account in [&payers, &operators] {
        chain.mint(account, 1_000_000).await;
        chain.give_coins(account).await;
    }
    let method = chain.method(&fresh_address(), chain.url()).native_coin("eth").refunds_from(operator);
    let (mpp, client) = server(method, Arc::new(SystemClock));
    let wallet = EvmWallet::new(CHAIN_ID, payer).rpc(chain.url()).expect("a node on this machine");
    (mpp, client, wallet, payers)
}

#[tokio::test]
async fn an_evm_payment_in_tokens_goes_back_to_the_account_it_came_from() {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let (mpp, client, wallet, payers) = evm(&chain).await;
    let sale = buy_with(&wallet, &mpp, &client, "/dollars").await;
    let minted = chain.payments_to(&payers).await.len();
    until_back(&mpp, &RefundOrder::part(&sale, Amount::micros(2_500), "late")).await;
    let rest = until_back(&mpp, &RefundOrder::rest(&sale)).await;
    assert_eq!(rest.amount, Amount::micros(7_500));
    let back = chain.payments_to(&payers).await.split_off(minted);
    assert_eq!(back.iter().map(|(amount, _)| *amount).collect::<Vec<_>>(), [2_500, 7_500]);
    let RefundState::Refunded { reference } = rest.state else { unreachable!("it is back") };
    assert_eq!(back[1].1, reference);
}

#[tokio::test]
async fn an_evm_payment_in_coins_goes_back_in_coins() {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let (mpp, client, wallet, payers) = evm(&chain).await;
    let sale = buy_with(&wallet, &mpp, &client, "/coins").await;
    let before = chain.coins(&payers).await;
    until_back(&mpp, &RefundOrder::rest(&sale)).await;
    assert_eq!(chain.coins(&payers).await, before + 1_000_000_000_000_000);
}

/// A server that takes cards, and what Stripe says of it.
struct Cards {
    stand_in: StandIn,
    clock: Arc<ManualClock>,
    mpp: Mpp,
    client: Client,
}

impl Cards {
    async fn with(change: impl FnOnce(Stripe) -> Stripe) -> Self {
        let stand_in = StandIn::start(NOW.unix()).await;
        let clock = Arc::new(ManualClock::at(NOW));
        let stripe = Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&stand_in.url).refunds();
        let (mpp, client) = server(change(stripe), clock.clone());
        Self { stand_in, clock, mpp, client }
    }

    async fn sold(&self) -> Sale {
        buy(&self.mpp, &self.client, "/card", async |_: &Challenge| self.stand_in.dollar()).await
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.stand_in.advance(by);
    }
}

/// What went back at Stripe, in cents.
fn given_back(stand_in: &StandIn) -> u64 {
    let back = stand_in.refunds().into_iter().filter(|refund| refund["status"] == "succeeded");
    back.filter_map(|refund| refund["amount"].as_u64()).sum()
}

#[tokio::test]
async fn a_card_payment_goes_back_in_parts_to_the_cent() {
    let cards = Cards::with(|stripe| stripe).await;
    let sale = cards.sold().await;
    let part = RefundOrder::part(&sale, Amount::cents(33), "late");
    until_back(&cards.mpp, &part).await;
    until_back(&cards.mpp, &part).await;
    let rest = until_back(&cards.mpp, &RefundOrder::rest(&sale)).await;
    assert_eq!((rest.amount, given_back(&cards.stand_in)), (Amount::cents(67), 100));
    let posts: Vec<_> = cards.stand_in.requests().into_iter().filter(|seen| seen.what == POST).collect();
    assert_eq!(posts.len(), 2);
    assert_ne!(posts[0].key, posts[1].key);
    let intent = cards.stand_in.intents()[0]["id"].clone();
    assert!(posts.iter().all(|post| post.field("payment_intent") == intent.as_str() && post.key.is_some()));
    let RefundState::Refunded { reference } = rest.state else { unreachable!("it is back") };
    assert_eq!(cards.stand_in.refunds()[1]["id"], *reference);
}

#[tokio::test]
async fn whatever_goes_wrong_at_stripe_the_money_goes_back_once() {
    for mischief in [
        Mischief::Refused(429),
        Mischief::Refused(401),
        Mischief::Refused(409),
        Mischief::FailedAfter(500),
        Mischief::LostAnswer,
        Mischief::LostRequest,
        Mischief::Garbled("<html>"),
    ] {
        let cards = Cards::with(|stripe| stripe).await;
        let sale = cards.sold().await;
        cards.stand_in.next(POST, mischief.clone());
        let order = RefundOrder::rest(&sale);
        let first = cards.mpp.refund(&order).await.expect("it is ordered");
        assert!(!matches!(first.state, RefundState::Failed { .. }), "{mischief:?}: {first:?}");
        cards.mpp.recover().await.expect("the store is there");
        until_back(&cards.mpp, &order).await;
        assert_eq!((given_back(&cards.stand_in), cards.stand_in.refunds().len()), (100, 1), "{mischief:?}");
    }
}

#[tokio::test]
async fn what_stripe_refuses_has_failed_and_what_it_has_forgotten_is_looked_up() {
    let cards = Cards::with(|stripe| stripe).await;
    let sale = cards.sold().await;
    // Somebody at the dashboard.
    let intent = cards.stand_in.intents()[0]["id"].as_str().expect("an id").to_owned();
    let form = format!("payment_intent={intent}");
    let http = reqwest::Client::new();
    let posted = http.post(format!("{}/v1/refunds", cards.stand_in.url)).basic_auth(SECRET_KEY, Some(""));
    assert_eq!(
        posted
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .expect("an answer")
            .status(),
        200
    );
    let refund = cards.mpp.refund(&RefundOrder::rest(&sale)).await.expect("it is ordered");
    let RefundState::Failed { why } = &refund.state else { panic!("{refund:?}") };
    assert_eq!(why, "stripe: the payment was refunded already, elsewhere");
    assert_eq!(given_back(&cards.stand_in), 100);

    // An order whose answer was lost, found after Stripe has forgotten its key; and one that never arrived.
    for (mischief, back) in [(Mischief::LostAnswer, 100), (Mischief::LostRequest, 0)] {
        let cards = Cards::with(|stripe| stripe).await;
        let sale = cards.sold().await;
        cards.stand_in.next(POST, mischief.clone());
        let order = RefundOrder::rest(&sale);
        let first = cards.mpp.refund(&order).await.expect("it is ordered");
        assert!(matches!(first.state, RefundState::Pending { .. }), "{mischief:?}: {first:?}");
        cards.advance(Duration::from_secs(26 * 60 * 60));
        cards.mpp.recover().await.expect("the store is there");
        assert_eq!(given_back(&cards.stand_in), back, "{mischief:?}: only looked at");
        until_back(&cards.mpp, &order).await;
        assert_eq!(given_back(&cards.stand_in), 100, "{mischief:?}");
    }
}

#[tokio::test]
async fn a_refund_that_takes_its_time_is_pending_until_stripe_says_how_it_ended() {
    for (status, back) in [("succeeded", true), ("failed", false)] {
        let cards = Cards::with(|stripe| stripe).await;
        let sale = cards.sold().await;
        cards.stand_in.refund_slowly();
        let order = RefundOrder::rest(&sale);
        let pending = cards.mpp.refund(&order).await.expect("it is ordered");
        let RefundState::Pending { reference: Some(reference) } = pending.state else {
            panic!("{pending:?}")
        };
        assert_eq!(cards.stand_in.refunds()[0]["id"], *reference);
        assert_eq!(cards.mpp.recover().await, Ok(0), "still under way");
        cards.stand_in.finish_refunds(status);
        assert_eq!(cards.mpp.recover().await, Ok(1));
        let refund = ledger(&cards.mpp).await.remove(0).refunds.expect("they can be read").remove(0);
        assert_eq!(matches!(refund.state, RefundState::Refunded { .. }), back, "{refund:?}");
        assert_eq!(cards.stand_in.refunds().len(), 1);
    }
}

#[tokio::test]
async fn with_connect_the_others_give_their_part_back() {
    let shared = |stripe: Stripe| {
        stripe.transfer_data(CONNECTED, Share::Everything).application_fee(Share::BasisPoints(1_000))
    };
    let cards = Cards::with(shared).await;
    let sale = cards.sold().await;
    until_back(&cards.mpp, &RefundOrder::rest(&sale)).await;
    let posts: Vec<_> = cards.stand_in.requests().into_iter().filter(|seen| seen.what == POST).collect();
    assert_eq!(posts[0].field("reverse_transfer"), Some("true"));
    assert_eq!(posts[0].field("refund_application_fee"), Some("true"));
}

/// Cards under servers that are stopped.
struct StoppedCards {
    stand_in: StandIn,
    http: Http,
}

impl CrashBench for StoppedCards {
    type Method = Stripe;

    async fn method(&self, process: &Process, _: Arc<dyn Clock>) -> Stripe {
        let line = Line::to_api(process, &self.stand_in.url, &self.http).await;
        Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&line.url).refunds()
    }

    fn client(&self, mpp: Mpp) -> Client {
        shop(mpp)
    }

    fn request(&self, client: &Client, _: &str) -> Request {
        client.get("/card")
    }

    async fn pay(&self, _: &Challenge) -> Proof {
        self.stand_in.dollar()
    }

    async fn payments(&self) -> u64 {
        self.stand_in.taken() / 100
    }

    async fn refunds(&self) -> u64 {
        given_back(&self.stand_in) / 100
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    async fn wait(&self, by: Duration) {
        self.stand_in.advance(by);
    }
}

#[tokio::test]
async fn a_card_payment_goes_back_once_wherever_the_server_dies() {
    let bench = StoppedCards { stand_in: StandIn::start(NOW.unix()).await, http: Http::default() };
    let report = refund_safety(&bench).await;
    println!("{report}");
    report.assert_safe();
}

struct StoppedTokens {
    chain: Chain,
    http: Http,
    recipient: String,
    payers: String,
    wallet: TempoWallet,
    operator: PrivateKeySigner,
    ahead: Arc<Ahead>,
}

impl CrashBench for StoppedTokens {
    type Method = Tempo;

    async fn method(&self, process: &Process, _: Arc<dyn Clock>) -> Tempo {
        let line = Line::to_node(process, &self.chain.url, &self.http).await;
        let tempo = Tempo::new(&self.recipient).rpc(&line.url).chain_id(CHAIN_ID);
        tempo.refunds_from(self.operator.clone())
    }

    fn client(&self, mpp: Mpp) -> Client {
        shop(mpp)
    }

    fn request(&self, client: &Client, _: &str) -> Request {
        client.get("/tokens")
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        self.wallet.pay(challenge).await.expect("a wallet with money")
    }

    async fn payments(&self) -> u64 {
        self.chain.payments_to(&self.recipient).await.len() as u64
    }

    async fn refunds(&self) -> u64 {
        let back = self.chain.payments_to(&self.payers).await;
        assert!(back.iter().all(|transfer| transfer.amount == 10_000));
        back.len() as u64
    }

    async fn wait(&self, by: Duration) {
        self.chain.skip(by).await;
        self.ahead.skip(by);
    }

    fn depth(&self) -> Depth {
        Depth::NewOperations
    }
}

#[tokio::test]
async fn a_tempo_payment_goes_back_once_wherever_the_server_dies() {
    let Some(lab) = lab() else { return };
    let chain = lab.quick_chain().await;
    let (payer, operator) = (PrivateKeySigner::random(), PrivateKeySigner::random());
    let payers = payer.address().to_string();
    for account in [&payers, &operator.address().to_string()] {
        chain.fund(account, 1_000_000_000).await;
    }
    let ahead = Arc::<Ahead>::default();
    let wallet = TempoWallet::new(payer, &chain.url, CHAIN_ID).expect("a node on this machine");
    let wallet = wallet.clock(ahead.clone());
    let (http, recipient) = (Http::default(), fresh_address());
    let bench = StoppedTokens { chain, http, recipient, payers, wallet, operator, ahead };
    let report = refund_safety(&bench).await;
    println!("{report}");
    report.assert_safe();
}

struct StoppedDollars {
    chain: EvmChain,
    http: Http,
    recipient: String,
    operator: PrivateKeySigner,
    payers: Mutex<Vec<String>>,
}

impl CrashBench for StoppedDollars {
    type Method = Evm;

    async fn method(&self, process: &Process, _: Arc<dyn Clock>) -> Evm {
        let line = Line::to_node(process, self.chain.url(), &self.http).await;
        self.chain.method(&self.recipient, &line.url).refunds_from(self.operator.clone())
    }

    fn client(&self, mpp: Mpp) -> Client {
        shop(mpp)
    }

    fn request(&self, client: &Client, _: &str) -> Request {
        client.get("/dollars")
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        let key = self.chain.stranger(CredentialType::Authorization).await;
        self.payers.lock().expect("nobody panics").push(key.address().to_string());
        self.chain.pay_as(key, CredentialType::Authorization, challenge).await
    }

    async fn payments(&self) -> u64 {
        self.chain.payments_to(&self.recipient).await.len() as u64
    }

    async fn refunds(&self) -> u64 {
        let payers = self.payers.lock().expect("nobody panics").clone();
        let mut back = 0;
        for payer in payers {
            // The first is what was minted.
            back += self.chain.payments_to(&payer).await.len() as u64 - 1;
        }
        back
    }

    async fn wait(&self, by: Duration) {
        self.chain.advance(by).await;
    }

    fn depth(&self) -> Depth {
        Depth::NewOperations
    }
}

#[tokio::test]
async fn an_evm_payment_goes_back_once_wherever_the_server_dies() {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let operator = PrivateKeySigner::random();
    chain.mint(&operator.address().to_string(), 1_000_000_000).await;
    chain.give_coins(&operator.address().to_string()).await;
    let (http, recipient) = (Http::default(), fresh_address());
    let bench = StoppedDollars { chain, http, recipient, operator, payers: Mutex::default() };
    let report = refund_safety(&bench).await;
    println!("{report}");
    report.assert_safe();
}
