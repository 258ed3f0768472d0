//! The methods with a network against the conformance kit that any method can be held to (`mpp::testing`).

use interop::stripe::{Limits, Mischief, PROFILE, SECRET_KEY, StandIn};
use interop::{CHAIN_ID, Chain, DEV_KEYS, EvmChain, Loses, Lossy, Mode, Wallet, fresh_address, lab};
use mpp::method::Proof;
use mpp::method::evm::{CredentialType, GasPolicy};
use mpp::protocol::{Challenge, Credential, CredentialBuf, Currency, Timestamp};
use mpp::testing::{MethodBench, method_conformance};
use mpp::{Amount, Clock, Evm, Stripe, Tempo};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOW: i64 = 1_800_000_000;

/// Cards at the strict stand-in.
struct Cards {
    stand_in: StandIn,
    tokens: Mutex<Vec<String>>,
}

impl MethodBench for Cards {
    type Method = Stripe;

    async fn method(&self, _: Arc<dyn Clock>) -> Stripe {
        Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&self.stand_in.url)
    }

    fn price(&self) -> (Amount, Currency) {
        (Amount::whole(1), Currency::USD)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        assert_eq!(challenge.charge().expect("a charge").amount.get(), 100);
        let token = self.stand_in.token(Limits::of(100, "usd"));
        self.tokens.lock().expect("nobody panics").push(token.clone());
        let payload = [("spt".to_owned(), token.into()), ("externalId".to_owned(), "order-7".into())];
        Proof { payload: payload.into_iter().collect(), source: None }
    }

    async fn taken(&self) -> u128 {
        self.stand_in.taken().into()
    }

    /// `verify` and `offer` ask Stripe nothing at all.
    async fn traces(&self) -> String {
        format!("{} requests", self.stand_in.requests().len())
    }

    fn secrets(&self) -> Vec<String> {
        let tokens = self.tokens.lock().expect("nobody panics");
        [SECRET_KEY.to_owned()].into_iter().chain(tokens.iter().cloned()).collect()
    }

    /// The payer's own reference: it is echoed in the receipt and decides nothing.
    fn unbound(&self) -> &'static [&'static str] {
        &["externalId"]
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix(NOW)
    }

    async fn wait(&self, by: Duration) {
        self.stand_in.advance(by);
    }

    fn faults(&self) -> Vec<&'static str> {
        FAULTS.iter().map(|(name, _)| *name).collect()
    }

    async fn inject(&self, fault: &'static str) {
        let (_, mischief) = FAULTS.iter().find(|(name, _)| *name == fault).expect("one of ours");
        self.stand_in.next("POST /v1/payment_intents", mischief.clone());
    }
}

const FAULTS: [(&str, Mischief); 8] = [
    ("a key in use (409)", Mischief::Refused(409)),
    ("too many requests (429)", Mischief::Refused(429)),
    ("a failure before it began (503)", Mischief::Refused(503)),
    ("a failure after it was done (500)", Mischief::FailedAfter(500)),
    ("a lost request", Mischief::LostRequest),
    ("a lost answer", Mischief::LostAnswer),
    ("an answer of something in between", Mischief::Garbled("<html>502 Bad Gateway</html>")),
    ("an answer without sense", Mischief::Garbled("{}")),
];

#[tokio::test(flavor = "multi_thread")]
async fn stripe_keeps_the_contract_of_payment_methods() {
    let cards = Cards { stand_in: StandIn::start(NOW).await, tokens: Mutex::default() };
    let found = method_conformance(&cards).await;
    found.assert_kept();
    assert!(found.stops() >= 18, "{found}");
}

/// A Tempo chain, and npm `mppx` as the payer.
struct Tokens {
    chain: Chain,
    node: Lossy,
    recipient: String,
    mode: Mode,
    wallet: tokio::sync::Mutex<Wallet>,
}

impl MethodBench for Tokens {
    type Method = Tempo;

    async fn method(&self, _: Arc<dyn Clock>) -> Tempo {
        Tempo::new(&self.recipient).rpc(&self.node.url).chain_id(CHAIN_ID)
    }

    fn price(&self) -> (Amount, Currency) {
        (Amount::cents(1), Currency::PATHUSD)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        let mut wallet = self.wallet.lock().await;
        let header = wallet.credential(&challenge.to_header_value(), self.mode).await;
        let credential = read(&header);
        Proof { payload: credential.payload, source: credential.source }
    }

    async fn taken(&self) -> u128 {
        self.chain.payments_to(&self.recipient).await.iter().map(|transfer| transfer.amount).sum()
    }

    /// The chain, the payer and the kit go ahead together.
    async fn wait(&self, by: Duration) {
        self.chain.advance(by).await;
        self.wallet.lock().await.advance(by).await;
    }

    /// Each of them waits until a transaction cannot be mined any more.
    fn most_stops(&self) -> usize {
        4
    }

    fn faults(&self) -> Vec<&'static str> {
        // By push the payer broadcasts; the method has nothing to lose.
        if self.mode == Mode::Pull { vec![LOST_REQUEST, LOST_ANSWER] } else { Vec::new() }
    }

    async fn inject(&self, fault: &'static str) {
        self.node.next(if fault == LOST_REQUEST { Loses::Request } else { Loses::Answer });
    }
}

const LOST_REQUEST: &str = "a lost broadcast";
const LOST_ANSWER: &str = "a lost answer to a broadcast";

fn read(authorization: &str) -> Credential {
    let token = authorization.strip_prefix("Payment ").expect("the scheme");
    let buffer = CredentialBuf::decode(token).expect("a credential");
    buffer.parse().and_then(|credential| credential.to_credential()).expect("a credential")
}

async fn tempo_keeps_the_contract(mode: Mode) {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let (node, wallet) = (Lossy::obedient(&chain).await, tokio::sync::Mutex::new(lab.wallet(&chain)));
    let recipient = fresh_address();
    let found = method_conformance(&Tokens { chain, node, recipient, mode, wallet }).await;
    found.assert_kept();
    // A transaction is broadcast by the method, so that there is something to stop; a hash is settled already.
    assert!(found.stops() >= if mode == Mode::Pull { 15 } else { 10 }, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tempo_keeps_the_contract_of_payment_methods_with_transactions() {
    tempo_keeps_the_contract(Mode::Pull).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tempo_keeps_the_contract_of_payment_methods_with_hashes() {
    tempo_keeps_the_contract(Mode::Push).await;
}

/// A plain chain, and our own wallet as a payer who is somebody else each time.
struct Dollars {
    chain: EvmChain,
    node: Lossy,
    recipient: String,
    kind: CredentialType,
    payers: Mutex<Vec<String>>,
}

impl MethodBench for Dollars {
    type Method = Evm;

    async fn method(&self, _: Arc<dyn Clock>) -> Evm {
        let replaced_soon = GasPolicy { replace_after: Duration::from_secs(1), ..GasPolicy::default() };
        self.chain.method(&self.recipient, &self.node.url).accept(&[self.kind]).gas_policy(replaced_soon)
    }

    fn price(&self) -> (Amount, Currency) {
        (Amount::cents(1), Currency::USDC)
    }

    async fn pay(&self, challenge: &Challenge) -> Proof {
        let key = self.chain.stranger(self.kind).await;
        self.payers.lock().expect("nobody panics").push(key.address().to_string());
        self.chain.pay_as(key, self.kind, challenge).await
    }

    async fn taken(&self) -> u128 {
        self.chain.payments_to(&self.recipient).await.iter().map(|(amount, _)| amount).sum()
    }

    fn secrets(&self) -> Vec<String> {
        vec![DEV_KEYS[1].trim_start_matches("0x").to_owned()]
    }

    async fn wait(&self, by: Duration) {
        self.chain.advance(by).await;
    }

    /// A transaction that was lost has no end of its own: its payer uses the nonce for something else.
    async fn abandon(&self) {
        let payers = std::mem::take(&mut *self.payers.lock().expect("nobody panics"));
        for account in payers.iter().filter(|_| self.kind == CredentialType::Transaction) {
            self.chain.use_first_nonce(account).await;
        }
    }

    /// Each of them waits until the signature is void, or the payer has had enough.
    fn most_stops(&self) -> usize {
        4
    }

    fn faults(&self) -> Vec<&'static str> {
        if self.kind == CredentialType::Hash { Vec::new() } else { vec![LOST_REQUEST, LOST_ANSWER] }
    }

    async fn inject(&self, fault: &'static str) {
        self.node.next(if fault == LOST_REQUEST { Loses::Request } else { Loses::Answer });
    }
}

async fn evm_keeps_the_contract(kind: CredentialType) {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let node = Lossy::obedient(&chain.node).await;
    let found = method_conformance(&Dollars {
        chain,
        node,
        recipient: fresh_address(),
        kind,
        payers: Mutex::default(),
    })
    .await;
    found.assert_kept();
    assert!(found.stops() >= if kind == CredentialType::Hash { 8 } else { 20 }, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evm_keeps_the_contract_of_payment_methods_with_authorizations() {
    evm_keeps_the_contract(CredentialType::Authorization).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evm_keeps_the_contract_of_payment_methods_with_permits() {
    evm_keeps_the_contract(CredentialType::Permit2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evm_keeps_the_contract_of_payment_methods_with_hashes() {
    evm_keeps_the_contract(CredentialType::Hash).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evm_keeps_the_contract_of_payment_methods_with_transactions() {
    evm_keeps_the_contract(CredentialType::Transaction).await;
}
