//! Payers who try to get something for less than its price, or for somebody else's fee, on a real Tempo chain.
//!
//! Transactions are built here, with tempo-alloy alone, so that every member can be wrong in its own way.

use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Signature, TxKind, U256, hex, keccak256};
use alloy::signers::{SignerSync, local::PrivateKeySigner};
use alloy::sol_types::SolCall;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use interop::{Answer, Chain, DEV_ACCOUNTS, DEV_KEYS, Lossy, Shop, ask, fresh_address, lab};
use mpp::method::tempo::{Sponsor, SponsorPolicy};
use mpp::protocol::Challenge;
use mpp::routing::{Router, get};
use mpp::{Amount, Mpp, Paid, Receipt, Secret, Tempo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::num::NonZeroU64;
use std::time::Duration;
use tempo_alloy::contracts::precompiles::{ACCOUNT_KEYCHAIN_ADDRESS, IAccountKeychain, ITIP20};
use tempo_alloy::primitives::transaction::tt_signature::WebAuthnSignature;
use tempo_alloy::primitives::transaction::{
    Call, FEE_PAYER_SIGNATURE_MARKER, KeychainSignature, PrimitiveSignature, TempoSignature,
};
use tempo_alloy::primitives::{AASigned, TempoTransaction};

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
const PATH_USD: &str = "0x20c0000000000000000000000000000000000000";
const ALPHA_USD: &str = "0x20c0000000000000000000000000000000000001";
/// Anvil's second account.
const FEE_PAYER_KEY: &str = DEV_KEYS[1];
const FEE_PAYER: &str = DEV_ACCOUNTS[1];
/// Anvil's third account.
const ACCOMPLICE_KEY: &str = DEV_KEYS[2];
const ACCOMPLICE: &str = DEV_ACCOUNTS[2];
/// What a payer needs besides the price, for fees.
const PLENTY: u128 = 5_000_000;

/// Somebody with a key.
struct Payer<'a> {
    chain: &'a Chain,
    key: PrivateKeySigner,
}

impl<'a> Payer<'a> {
    async fn with(chain: &'a Chain, units: u128) -> Self {
        let key = PrivateKeySigner::random();
        chain.fund(&key.address().to_string(), units).await;
        Self { chain, key }
    }

    /// A transaction of these calls that pays its own fee.
    async fn transaction(&self, calls: Vec<Call>) -> TempoTransaction {
        let head = self.chain.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
        let text = head["baseFeePerGas"].as_str().expect("a base fee").trim_start_matches("0x").to_owned();
        TempoTransaction {
            chain_id: interop::CHAIN_ID,
            nonce_key: U256::MAX,
            gas_limit: 1_000_000,
            max_fee_per_gas: u128::from_str_radix(&text, 16).expect("a base fee") * 2,
            calls,
            fee_token: Some(address(PATH_USD)),
            valid_before: NonZeroU64::new(self.chain.now().await + 20),
            ..Default::default()
        }
    }

    /// The same, waiting for a fee payer.
    async fn waiting(&self, calls: Vec<Call>) -> TempoTransaction {
        let tx = self.transaction(calls).await;
        TempoTransaction { fee_token: None, fee_payer_signature: Some(FEE_PAYER_SIGNATURE_MARKER), ..tx }
    }

    fn sign(&self, tx: TempoTransaction) -> AASigned {
        let signature = self.key.sign_hash_sync(&tx.signature_hash()).expect("a local key signs");
        tx.into_signed(signature.into())
    }

    /// Broadcasts it; returns its hash once it is mined.
    async fn push(&self, tx: TempoTransaction) -> String {
        let raw = hex::encode_prefixed(self.sign(tx).encoded_2718());
        let hash = self.chain.rpc("eth_sendRawTransaction", json!([raw])).await;
        let hash = hash.as_str().expect("a hash").to_owned();
        self.chain.mined(&hash).await;
        hash
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn call(token: &str, input: Vec<u8>) -> Call {
    Call { to: TxKind::Call(address(token)), value: U256::ZERO, input: input.into() }
}

fn noted(token: &str, to: &str, amount: u64, memo: B256) -> Call {
    call(
        token,
        ITIP20::transferWithMemoCall { to: address(to), amount: U256::from(amount), memo }.abi_encode(),
    )
}

fn plain(to: &str, amount: u64) -> Call {
    call(PATH_USD, ITIP20::transferCall { to: address(to), amount: U256::from(amount) }.abi_encode())
}

/// The memo that names a challenge, from the words of its description and not from the library's code.
fn memo(challenge: &Challenge) -> B256 {
    let zeros = [0; 10];
    let parts: [&[u8]; 5] = [
        &keccak256("mpp")[..4],
        &[1],
        &keccak256(&challenge.realm)[..10],
        &zeros,
        &keccak256(&challenge.id)[..7],
    ];
    B256::from_slice(&parts.concat())
}

fn credential(challenge: &Challenge, payload: Value) -> String {
    let credential = json!({
        "challenge": {
            "id": challenge.id, "realm": challenge.realm, "method": "tempo", "intent": "charge",
            "request": challenge.request, "expires": challenge.expires, "opaque": challenge.opaque,
        },
        "payload": payload,
    });
    format!("Payment {}", BASE64_URL_SAFE_NO_PAD.encode(credential.to_string()))
}

fn pulled(challenge: &Challenge, signed: &AASigned) -> String {
    let raw = hex::encode_prefixed(signed.encoded_2718());
    credential(challenge, json!({ "type": "transaction", "signature": raw }))
}

fn pushed(challenge: &Challenge, hash: &str) -> String {
    credential(challenge, json!({ "type": "hash", "hash": hash }))
}

/// The draft's own spelling: 0x76 with the placeholder.
fn waiting(challenge: &Challenge, signed: &AASigned) -> String {
    let mut raw = Vec::new();
    signed.encode_for_fee_payer_service(&mut raw);
    credential(challenge, json!({ "type": "transaction", "signature": hex::encode_prefixed(raw) }))
}

async fn challenge(url: &str) -> Challenge {
    let unpaid = ask("GET", url, None, None).await;
    let line = unpaid.challenge.unwrap_or_else(|| panic!("no challenge from {url}: {}", unpaid.body));
    Challenge::parse_all([line.as_str()]).offers.remove(0)
}

async fn get_with(url: &str, authorization: &str) -> Answer {
    ask("GET", url, Some(authorization), None).await
}

fn assert_refused(answer: &Answer, problem: &str, what: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (402, problem), "{what}: {answer:?}");
    assert!(answer.challenge.is_some() && answer.receipt.is_none(), "{what}: {answer:?}");
}

#[tokio::test]
async fn a_pulled_transaction_that_pays_anything_else_is_never_broadcast() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let (url, to) = (shop.at("/charge"), shop.recipient.as_str());
    let payer = Payer::with(&chain, PLENTY).await;
    let here = challenge(&url).await;
    let other = challenge(&url).await;
    let ours = memo(&here);
    let pay = || noted(PATH_USD, to, 10_000, ours);
    let thief = fresh_address();
    for (what, calls) in [
        ("another challenge's transaction", vec![noted(PATH_USD, to, 10_000, memo(&other))]),
        ("no memo", vec![plain(to, 10_000)]),
        ("another token", vec![noted(ALPHA_USD, to, 10_000, ours)]),
        ("too little", vec![noted(PATH_USD, to, 9_999, ours)]),
        ("too much", vec![noted(PATH_USD, to, 10_001, ours)]),
        ("another recipient", vec![noted(PATH_USD, &thief, 10_000, ours)]),
        ("two halves", vec![noted(PATH_USD, to, 5_000, ours), noted(PATH_USD, to, 5_000, ours)]),
        ("a call more", vec![pay(), plain(&thief, 1)]),
        ("twice", vec![pay(), pay()]),
    ] {
        let signed = payer.sign(payer.transaction(calls).await);
        assert_refused(&get_with(&url, &pulled(&here, &signed)).await, "verification-failed", what);
    }
    let elsewhere = TempoTransaction { chain_id: 42431, ..payer.transaction(vec![pay()]).await };
    assert_refused(
        &get_with(&url, &pulled(&here, &payer.sign(elsewhere))).await,
        "verification-failed",
        "chain",
    );
    // The twin of a signature: same signer, another hash.
    let tx = payer.transaction(vec![pay()]).await;
    let signature = payer.key.sign_hash_sync(&tx.signature_hash()).expect("a local key signs");
    let order = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let twin = Signature::new(signature.r(), order - signature.s(), !signature.v());
    let twin = tx.clone().into_signed(twin.into());
    assert_refused(&get_with(&url, &pulled(&here, &twin)).await, "verification-failed", "high s");
    // Who has not got the money.
    let poor = Payer::with(&chain, 9_999).await;
    let signed = poor.sign(poor.transaction(vec![pay()]).await);
    assert_refused(&get_with(&url, &pulled(&here, &signed)).await, "verification-failed", "no money");
    assert_eq!(chain.payments_to(to).await, []);

    // And the honest one opens.
    let good = pulled(&here, &tx.into_signed(signature.into()));
    assert_eq!(get_with(&url, &good).await.status, 200);
    // Its hash in capitals, and itself under another challenge, are the same payment.
    let hash = chain.payments_to(to).await[0].hash.to_uppercase().replace("0X", "0x");
    assert_refused(&get_with(&url, &pushed(&here, &hash)).await, "invalid-challenge", "its hash in capitals");
    assert_refused(
        &get_with(&url, &pushed(&other, &hash)).await,
        "verification-failed",
        "for another challenge",
    );
    assert_eq!(chain.payments_to(to).await.len(), 1);
}

#[tokio::test]
async fn a_hash_that_paid_anything_else_opens_nothing() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &["--tempo-token", &format!("usdc={PATH_USD}")]).await;
    let (url, to) = (shop.at("/charge"), shop.recipient.as_str());
    let (alice, eve) = (Payer::with(&chain, PLENTY).await, Payer::with(&chain, PLENTY).await);
    let (hers, mine) = (challenge(&url).await, challenge(&url).await);
    let ours = memo(&mine);

    // Alice's payment, of the right amount to the right recipient; before it was asked for, too.
    let old = alice.push(alice.transaction(vec![plain(to, 10_000)]).await).await;
    let alices = alice.push(alice.transaction(vec![noted(PATH_USD, to, 10_000, memo(&hers))]).await).await;
    for (what, hash) in [("an old payment", old), ("another's hash", alices.clone())] {
        assert_refused(&get_with(&url, &pushed(&mine, &hash)).await, "verification-failed", what);
    }
    for (what, calls) in [
        ("too little", vec![noted(PATH_USD, to, 9_999, ours)]),
        ("two halves", vec![noted(PATH_USD, to, 5_000, ours), noted(PATH_USD, to, 5_000, ours)]),
        ("another recipient", vec![noted(PATH_USD, &fresh_address(), 10_000, ours)]),
    ] {
        let hash = eve.push(eve.transaction(calls).await).await;
        assert_refused(&get_with(&url, &pushed(&mine, &hash)).await, "verification-failed", what);
    }
    // Reverted: the first call pays, the second one takes everything back.
    let all = vec![noted(PATH_USD, to, 10_000, ours), plain(&fresh_address(), u64::MAX)];
    let reverted = eve.push(eve.transaction(all).await).await;
    assert_eq!(chain.mined(&reverted).await["status"], "0x0");
    assert_refused(&get_with(&url, &pushed(&mine, &reverted)).await, "verification-failed", "reverted");

    // Alice opens the route with hers; nobody can claim to be her.
    let claimed = |source: &Address| {
        let did = format!("did:pkh:eip155:{}:{source}", interop::CHAIN_ID);
        let header = pushed(&hers, &alices);
        let token = header.strip_prefix("Payment ").expect("the scheme").to_owned();
        let mut value: Value =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64url")).expect("JSON");
        value["source"] = json!(did);
        format!("Payment {}", BASE64_URL_SAFE_NO_PAD.encode(value.to_string()))
    };
    let refused = get_with(&url, &claimed(&eve.key.address())).await;
    assert_refused(&refused, "verification-failed", "another's name");
    assert_eq!(get_with(&url, &claimed(&alice.key.address())).await.status, 200);
}

#[tokio::test]
async fn a_split_with_a_wrong_leg_opens_nothing_in_either_mode() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let platform = fresh_address();
    let shop = Shop::start(SHOP, &chain.url, &["--split-payee", &platform]).await;
    let (url, to) = (shop.at("/split"), shop.recipient.as_str());
    let payer = Payer::with(&chain, PLENTY).await;
    let here = challenge(&url).await;
    let ours = memo(&here);
    let primary = || noted(PATH_USD, to, 40_000, ours);
    for (what, calls) in [
        ("all to the recipient", vec![noted(PATH_USD, to, 50_000, ours)]),
        ("no part for the platform", vec![primary()]),
        ("too small a part", vec![primary(), plain(&platform, 9_999)]),
        ("the part to somebody else", vec![primary(), plain(&fresh_address(), 10_000)]),
        ("in two transfers", vec![primary(), plain(&platform, 5_000), plain(&platform, 5_000)]),
    ] {
        let tx = payer.transaction(calls).await;
        let refused = get_with(&url, &pulled(&here, &payer.sign(tx.clone()))).await;
        assert_refused(&refused, "verification-failed", what);
        let hash = payer.push(tx).await;
        assert_refused(&get_with(&url, &pushed(&here, &hash)).await, "verification-failed", what);
    }
    // In the other order, by push.
    let hash = payer.push(payer.transaction(vec![plain(&platform, 10_000), primary()]).await).await;
    let opened = get_with(&url, &pushed(&here, &hash)).await;
    assert_eq!((opened.status, opened.reference()), (200, hash), "{opened:?}");
}

#[mpp::charge(amount = "0.01", currency = "pathusd", methods(tempo), fees = "sponsored")]
async fn sponsored(paid: Paid<Receipt>) -> String {
    paid.reference.clone()
}

/// A server whose fees we pay.
struct Sponsored {
    url: String,
    recipient: String,
}

impl Sponsored {
    async fn start(rpc: &str, policy: SponsorPolicy) -> Self {
        Self::by(Sponsor::local(FEE_PAYER_KEY).policy(policy), rpc).await
    }

    async fn by(sponsor: Sponsor, rpc: &str) -> Self {
        let recipient = fresh_address();
        let tempo = Tempo::new(&recipient).rpc(rpc).chain_id(interop::CHAIN_ID).sponsor(sponsor);
        let mpp = Mpp::builder("http://127.0.0.1:1")
            .secret(Secret::generate())
            .single_process_volatile_store()
            .method(tempo)
            .build()
            .unwrap_or_else(|report| panic!("{report}"));
        mpp.check().await.expect("the chain is there");
        let app = Router::new().route("/sponsored", get(sponsored)).with_state(mpp).into_axum();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/sponsored", listener.local_addr().expect("it is bound"));
        // Without it nobody can tell one client from another.
        let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, recipient }
    }
}

#[tokio::test]
async fn no_rule_of_the_sponsors_policy_can_be_broken() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let server = Sponsored::start(&chain.url, SponsorPolicy::new()).await;
    let (url, to) = (server.url.as_str(), server.recipient.as_str());
    let payer = Payer::with(&chain, PLENTY).await;
    let before = chain.balance(FEE_PAYER).await;
    let here = challenge(url).await;
    let ours = memo(&here);
    let pay = || noted(PATH_USD, to, 10_000, ours);
    let honest = payer.waiting(vec![pay()]).await;
    let expires = here.expires_at().expect("a time").expect("an end").unix() as u64;

    type Spoil = Box<dyn Fn(&mut TempoTransaction)>;
    let thief = fresh_address();
    let expensive = honest.max_fee_per_gas;
    let table: Vec<(&str, Spoil)> = vec![
        ("more gas", Box::new(|tx| tx.gas_limit = 2_000_001)),
        ("a higher price", Box::new(|tx| tx.max_fee_per_gas = 100_000_000_001)),
        ("a higher tip", Box::new(|tx| tx.max_priority_fee_per_gas = 10_000_000_001)),
        (
            "more in all",
            Box::new(move |tx| {
                (tx.gas_limit, tx.max_fee_per_gas) = (2_000_000, expensive.max(25_000_000_001))
            }),
        ),
        ("another nonce", Box::new(|tx| (tx.nonce_key, tx.nonce) = (U256::from(7), 0))),
        ("no end", Box::new(|tx| tx.valid_before = None)),
        ("beyond the challenge", Box::new(move |tx| tx.valid_before = NonZeroU64::new(expires + 1))),
        ("an access list", Box::new(|tx| tx.access_list = vec![Default::default(); 20].into())),
        (
            "another call",
            Box::new({
                let thief = thief.clone();
                move |tx| tx.calls.push(plain(&thief, 1))
            }),
        ),
        ("another recipient", Box::new(move |tx| tx.calls[0] = noted(PATH_USD, &thief, 10_000, ours))),
        ("another contract", Box::new(|tx| tx.calls[0].to = TxKind::Call(ACCOUNT_KEYCHAIN_ADDRESS))),
        ("another token", Box::new(|tx| tx.calls[0].to = TxKind::Call(address(ALPHA_USD)))),
        ("padding", Box::new(|tx| tx.calls[0].input = [&tx.calls[0].input[..], &[0; 4096]].concat().into())),
        (
            "too little",
            Box::new({
                let to = server.recipient.clone();
                move |tx| tx.calls[0] = noted(PATH_USD, &to, 1, ours)
            }),
        ),
        // Reverts in the simulation: more than there is.
        ("no money", Box::new(|_| {})),
    ];
    let poor = Payer::with(&chain, 9_999).await;
    for (what, spoil) in table {
        let mut tx = honest.clone();
        spoil(&mut tx);
        let who = if what == "no money" { &poor } else { &payer };
        let refused = get_with(url, &waiting(&here, &who.sign(tx))).await;
        assert_eq!(refused.status, 402, "{what}: {refused:?}");
        assert!(refused.challenge.is_some() && refused.receipt.is_none(), "{what}");
    }
    // A hash, and a transaction that pays its own fee, are no answers to a sponsored offer.
    let own = payer.transaction(vec![pay()]).await;
    let refused = get_with(url, &pulled(&here, &payer.sign(own.clone()))).await;
    assert_refused(&refused, "verification-failed", "pays its own fee");
    let hash = payer.push(own).await;
    assert_refused(&get_with(url, &pushed(&here, &hash)).await, "verification-failed", "a hash");
    assert_eq!(chain.balance(FEE_PAYER).await, before, "the sponsor has paid nothing");

    let next = challenge(url).await;
    let honest = payer.waiting(vec![noted(PATH_USD, to, 10_000, memo(&next))]).await;
    let good = waiting(&next, &payer.sign(honest));
    assert_eq!(get_with(url, &good).await.status, 200);
    assert_refused(&get_with(url, &good).await, "invalid-challenge", "again");
    let fee = before - chain.balance(FEE_PAYER).await;
    assert!((1..50_000).contains(&fee), "{fee}");
}

#[tokio::test]
async fn eight_copies_of_a_sponsored_credential_are_signed_for_once() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let server = Sponsored::start(&chain.url, SponsorPolicy::new()).await;
    for round in 1..=5 {
        // To the last unit: a second transaction of it could not be paid for.
        let payer = Payer::with(&chain, 10_000).await;
        let here = challenge(&server.url).await;
        let tx = payer.waiting(vec![noted(PATH_USD, &server.recipient, 10_000, memo(&here))]).await;
        let header = waiting(&here, &payer.sign(tx));
        let copies: Vec<_> = (0..8)
            .map(|_| {
                let (url, header) = (server.url.clone(), header.clone());
                tokio::spawn(async move { get_with(&url, &header).await.status })
            })
            .collect();
        let mut statuses = Vec::new();
        for copy in copies {
            statuses.push(copy.await.expect("it was answered"));
        }
        let delivered = statuses.iter().filter(|status| **status == 200).count();
        let refused = statuses.iter().filter(|status| [402, 409].contains(status)).count();
        assert_eq!((delivered, refused), (1, 7), "round {round}: {statuses:?}");
        assert_eq!(chain.payments_to(&server.recipient).await.len(), round);
    }
    let nonce = chain.rpc("eth_getTransactionCount", json!([FEE_PAYER, "latest"])).await;
    assert_eq!(nonce, "0x0", "the sponsor has signed no transaction of its own");
}

/// A hosted fee payer that knows `eth_fillTransaction` only. What it answers is `spoiled` first.
async fn hosted(spoil: fn(&mut TempoTransaction)) -> String {
    let quantity = |value: &Value| {
        let digits = value.as_str().expect("a quantity").trim_start_matches("0x").to_owned();
        u128::from_str_radix(&digits, 16).expect("a quantity")
    };
    let answer = move |axum::Json(question): axum::Json<Value>| async move {
        let asked = &question["params"][0];
        if question["method"] != "eth_fillTransaction" {
            let error = json!({ "code": -32601, "message": "no such method" });
            return axum::Json(json!({ "jsonrpc": "2.0", "id": question["id"], "error": error }));
        }
        let small = |name: &str| u64::try_from(quantity(&asked[name])).expect("64 bits");
        let calls = asked["calls"].as_array().expect("calls").iter().map(|call| Call {
            to: TxKind::Call(address(call["to"].as_str().expect("an address"))),
            value: U256::ZERO,
            input: hex::decode(call["data"].as_str().expect("bytes")).expect("hexadecimal").into(),
        });
        let mut tx = TempoTransaction {
            chain_id: small("chainId"),
            nonce_key: asked["nonceKey"].as_str().expect("a key").parse().expect("a number"),
            nonce: small("nonce"),
            gas_limit: small("gas"),
            max_fee_per_gas: quantity(&asked["maxFeePerGas"]),
            max_priority_fee_per_gas: quantity(&asked["maxPriorityFeePerGas"]),
            calls: calls.collect(),
            valid_before: NonZeroU64::new(small("validBefore")),
            fee_token: Some(address(PATH_USD)),
            ..Default::default()
        };
        spoil(&mut tx);
        let key: PrivateKeySigner = FEE_PAYER_KEY.parse().expect("a key");
        let payer = address(asked["from"].as_str().expect("an address"));
        let signature = key.sign_hash_sync(&tx.fee_payer_signature_hash(payer)).expect("a local key signs");
        let parts = json!({ "r": signature.r(), "s": signature.s(), "yParity": u8::from(signature.v()) });
        let tx = json!({ "feeToken": tx.fee_token, "feePayerSignature": parts });
        axum::Json(json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "tx": tx } }))
    };
    let app = axum::Router::new().fallback(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn a_hosted_fee_payer_pays_and_one_that_signs_for_something_else_is_not_used() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let before = chain.balance(FEE_PAYER).await;
    for (spoil, status) in [
        ((|_| {}) as fn(&mut TempoTransaction), 200),
        // Our trouble and not the payer's: no challenge that would have it pay again.
        (|tx| tx.fee_token = Some(address(ALPHA_USD)), 503),
        // A signature for another transaction is, for this one, the signature of an account nobody has.
        (|tx| tx.gas_limit += 1, 503),
    ] {
        let server = Sponsored::by(Sponsor::hosted(&hosted(spoil).await), &chain.url).await;
        let payer = Payer::with(&chain, 10_000).await;
        let here = challenge(&server.url).await;
        let tx = payer.waiting(vec![noted(PATH_USD, &server.recipient, 10_000, memo(&here))]).await;
        let answer = get_with(&server.url, &waiting(&here, &payer.sign(tx))).await;
        assert_eq!((answer.status, answer.challenge.is_some()), (status, false), "{answer:?}");
        assert_eq!(chain.payments_to(&server.recipient).await.len(), usize::from(status == 200));
    }
    let fee = before - chain.balance(FEE_PAYER).await;
    assert!((1..50_000).contains(&fee), "{fee}");
}

#[tokio::test]
async fn who_empties_the_account_after_the_simulation_gets_it_paid_for_a_few_times_and_no_more() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let gateway = Lossy::obedient(&chain).await;
    // A reverted transaction costs a few hundredths of a cent, less where the machine is slow: empty blocks lower the base fee.
    let limit = Amount::micros(500);
    let policy = SponsorPolicy::new().reverted(limit, Amount::whole(1));
    let server = Sponsored::start(&gateway.url, policy).await;
    let before = chain.balance(FEE_PAYER).await;
    let accomplice: PrivateKeySigner = ACCOMPLICE_KEY.parse().expect("a key");
    let mut refusals = Vec::new();
    for _ in 0..8 {
        // Ever new accounts, from one place, with the price and not a unit more.
        let eve = Payer::with(&chain, 10_000).await;
        let here = challenge(&server.url).await;
        let tx = eve.waiting(vec![noted(PATH_USD, &server.recipient, 10_000, memo(&here))]).await;
        // Another transaction, whose fee an accomplice pays, overtakes the payment and takes the money away.
        let mut empty = eve.waiting(vec![plain(ACCOMPLICE, 10_000)]).await;
        let signature = eve.key.sign_hash_sync(&empty.signature_hash()).expect("a local key signs");
        empty.fee_token = Some(address(PATH_USD));
        let hash = empty.fee_payer_signature_hash(eve.key.address());
        empty.fee_payer_signature = Some(accomplice.sign_hash_sync(&hash).expect("a local key signs"));
        let emptied = empty.into_signed(signature.into());
        gateway.overtake(hex::encode_prefixed(emptied.encoded_2718()));
        let answer = get_with(&server.url, &waiting(&here, &eve.sign(tx))).await;
        assert_eq!(answer.status, 402, "{answer:?}");
        refusals.push(answer.json()["detail"].as_str().unwrap_or_default().to_owned());
    }
    let reverted = refusals.iter().filter(|r| r.contains("was reverted")).count();
    let lost = before - chain.balance(FEE_PAYER).await;
    assert!((1..8).contains(&reverted), "{lost}: {refusals:#?}");
    assert!(refusals[reverted..].iter().all(|r| r.contains("too many transactions")), "{refusals:#?}");
    assert!((500..1_500).contains(&lost), "{lost}");
    assert_eq!(chain.payments_to(&server.recipient).await, []);
}

#[tokio::test]
async fn a_spent_budget_makes_offers_unsponsored_and_the_route_stays_open() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    // One worst fee and a half; of each a third is really paid, at least.
    let policy = SponsorPolicy::new().max_fee(Amount::cents(2)).budget(
        Duration::from_secs(24 * 3600),
        Amount::cents(3),
        Amount::cents(3),
    );
    let server = Sponsored::start(&chain.url, policy).await;
    let mut answers = Vec::new();
    let mut next = None;
    for _ in 0..10 {
        let payer = Payer::with(&chain, PLENTY).await;
        let here = match next.take() {
            Some(challenge) => challenge,
            None => challenge(&server.url).await,
        };
        let request = here.charge().expect("a charge");
        let calls = vec![noted(PATH_USD, &server.recipient, 10_000, memo(&here))];
        let is_sponsored = request.method_details.is_some_and(|d| d.contains_key("feePayer"));
        let header = match is_sponsored {
            true => {
                let tx = payer.waiting(calls).await;
                let (max_fee_per_gas, max_priority_fee_per_gas) = (20_000_000_000, 10_000_000_000);
                let tx = TempoTransaction { max_fee_per_gas, max_priority_fee_per_gas, ..tx };
                waiting(&here, &payer.sign(tx))
            }
            false => pulled(&here, &payer.sign(payer.transaction(calls).await)),
        };
        let answer = get_with(&server.url, &header).await;
        answers.push((is_sponsored, answer.status));
        // A refusal brings the challenge that can be paid instead.
        next = answer.challenge.map(|line| Challenge::parse_all([line.as_str()]).offers.remove(0));
    }
    // Sponsored until the budget is spent, refused once, unsponsored from then on.
    let spent =
        answers.iter().position(|answer| *answer == (true, 402)).unwrap_or_else(|| panic!("{answers:?}"));
    assert!(spent >= 1 && answers[..spent].iter().all(|answer| *answer == (true, 200)), "{answers:?}");
    assert!(answers[spent + 1..].iter().all(|answer| *answer == (false, 200)), "{answers:?}");
    assert_eq!(chain.payments_to(&server.recipient).await.len(), 9);
}

#[tokio::test]
async fn accounts_on_p256_and_access_keys_pay_where_the_chain_lets_them() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let (url, to) = (shop.at("/charge"), shop.recipient.as_str());

    // An account whose key is on P-256.
    let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key");
    let point = secret.verifying_key().to_encoded_point(false);
    let (x, y) = (B256::from_slice(point.x().expect("x")), B256::from_slice(point.y().expect("y")));
    let account = tempo_alloy::primitives::transaction::derive_p256_address(&x, &y);
    chain.fund(&account.to_string(), PLENTY).await;
    let on_p256 = |hash: B256| {
        use p256::ecdsa::signature::hazmat::PrehashSigner;
        let signature: p256::ecdsa::Signature = secret.sign_prehash(hash.as_slice()).expect("it signs");
        let signature = signature.normalize_s().unwrap_or(signature);
        let bytes: Vec<u8> = [
            &[1][..],
            signature.r().to_bytes().as_slice(),
            signature.s().to_bytes().as_slice(),
            x.as_slice(),
            y.as_slice(),
            &[0],
        ]
        .concat();
        PrimitiveSignature::from_bytes(&bytes).expect("a P-256 signature")
    };
    let anybody = Payer::with(&chain, PLENTY).await;
    let here = challenge(&url).await;
    let tx = anybody.transaction(vec![noted(PATH_USD, to, 10_000, memo(&here))]).await;
    let signature = TempoSignature::Primitive(on_p256(tx.signature_hash()));
    let paid = get_with(&url, &pulled(&here, &tx.into_signed(signature))).await;
    assert_eq!(paid.status, 200, "{paid:?}\n{}", shop.log());
    assert_eq!(paid.json()["payer"], format!("did:pkh:eip155:{}:{account}", interop::CHAIN_ID));

    // A key that nobody has authorised signs in somebody's name.
    let key = PrivateKeySigner::random();
    let by_key = |owner: &Payer<'_>, tx: TempoTransaction| {
        let hash = KeychainSignature::signing_hash(tx.signature_hash(), owner.key.address());
        let inner = PrimitiveSignature::Secp256k1(key.sign_hash_sync(&hash).expect("a local key signs"));
        let signature = KeychainSignature::new(owner.key.address(), inner);
        tx.into_signed(TempoSignature::Keychain(signature))
    };
    let owner = Payer::with(&chain, PLENTY).await;
    let here = challenge(&url).await;
    let tx = owner.transaction(vec![noted(PATH_USD, to, 10_000, memo(&here))]).await;
    let refused = get_with(&url, &pulled(&here, &by_key(&owner, tx.clone()))).await;
    assert_refused(&refused, "verification-failed", "no access key");
    assert_eq!(chain.payments_to(to).await.len(), 1, "nothing was broadcast");

    // Authorised, it pays.
    let config = IAccountKeychain::KeyRestrictions {
        expiry: u64::MAX,
        enforceLimits: false,
        limits: Vec::new(),
        allowAnyCalls: true,
        allowedCalls: Vec::new(),
    };
    let authorize = IAccountKeychain::authorizeKey_1Call {
        keyId: key.address(),
        signatureType: IAccountKeychain::SignatureType::Secp256k1,
        config,
    };
    let calls = vec![Call {
        to: TxKind::Call(ACCOUNT_KEYCHAIN_ADDRESS),
        value: U256::ZERO,
        input: authorize.abi_encode().into(),
    }];
    let hash = owner.push(owner.transaction(calls).await).await;
    assert_eq!(chain.mined(&hash).await["status"], "0x1");
    let here = challenge(&url).await;
    let tx = owner.transaction(vec![noted(PATH_USD, to, 10_000, memo(&here))]).await;
    let paid = get_with(&url, &pulled(&here, &by_key(&owner, tx))).await;
    assert_eq!(paid.status, 200, "{paid:?}\n{}", shop.log());
    assert_eq!(paid.json()["payer"], format!("did:pkh:eip155:{}:{}", interop::CHAIN_ID, owner.key.address()));
}

/// An account whose key is a passkey: what a browser signs is not the transaction but its own account of the ceremony.
#[tokio::test]
async fn an_account_on_a_passkey_pays_where_the_chain_verifies_webauthn() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let (url, to) = (shop.at("/charge"), shop.recipient.as_str());
    let secret = p256::ecdsa::SigningKey::from_slice(&[8; 32]).expect("a key");
    let point = secret.verifying_key().to_encoded_point(false);
    let (x, y) = (B256::from_slice(point.x().expect("x")), B256::from_slice(point.y().expect("y")));
    let account = tempo_alloy::primitives::transaction::derive_p256_address(&x, &y);
    chain.fund(&account.to_string(), PLENTY).await;
    // W3C Web Authentication, section 6.1: relying party, flags, counter; section 5.8.1: the client data.
    let ceremony = |challenge: B256, flags: u8| {
        let rp = Sha256::digest("wallet.example");
        let client = json!({
            "type": "webauthn.get", "challenge": BASE64_URL_SAFE_NO_PAD.encode(challenge),
            "origin": "https://wallet.example", "crossOrigin": false,
        });
        ([&rp[..], &[flags], &[0; 4]].concat(), client.to_string())
    };
    let assertion = |challenge: B256, flags: u8| {
        use p256::ecdsa::signature::Signer;
        let (authenticator, client) = ceremony(challenge, flags);
        let signed = [&authenticator[..], &Sha256::digest(&client)].concat();
        let signature: p256::ecdsa::Signature = secret.sign(&signed);
        let signature = signature.normalize_s().unwrap_or(signature);
        PrimitiveSignature::WebAuthn(WebAuthnSignature {
            r: B256::from_slice(&signature.r().to_bytes()),
            s: B256::from_slice(&signature.s().to_bytes()),
            pub_key_x: x,
            pub_key_y: y,
            webauthn_data: [authenticator, client.into_bytes()].concat().into(),
        })
    };
    const PRESENT: u8 = 0x01;
    const VERIFIED: u8 = 0x04;
    let anybody = Payer::with(&chain, PLENTY).await;

    // For another transaction, and without anybody there to touch the authenticator.
    let here = challenge(&url).await;
    let tx = anybody.transaction(vec![noted(PATH_USD, to, 10_000, memo(&here))]).await;
    for wrong in [assertion(keccak256("another"), PRESENT), assertion(tx.signature_hash(), 0)] {
        let signed = tx.clone().into_signed(TempoSignature::Primitive(wrong));
        let refused = get_with(&url, &pulled(&here, &signed)).await;
        assert_refused(&refused, "verification-failed", "signature does not verify");
    }
    assert_eq!(chain.payments_to(to).await.len(), 0, "nothing was broadcast");

    for (n, flags) in [PRESENT, PRESENT | VERIFIED].into_iter().enumerate() {
        let here = challenge(&url).await;
        let tx = anybody.transaction(vec![noted(PATH_USD, to, 10_000, memo(&here))]).await;
        let signature = TempoSignature::Primitive(assertion(tx.signature_hash(), flags));
        let paid = get_with(&url, &pulled(&here, &tx.into_signed(signature))).await;
        assert_eq!(paid.status, 200, "{paid:?}\n{}", shop.log());
        assert_eq!(paid.json()["payer"], format!("did:pkh:eip155:{}:{account}", interop::CHAIN_ID));
        assert_eq!(chain.payments_to(to).await.len(), n + 1);
    }
}
