//! Payments on a real EVM chain: npm `mppx` pays the shop by EIP-3009, our own wallet pays a till of our own by every type, and
//! everything that is no payment is refused. What moved is read from the chain's logs.

use alloy::consensus::{SignableTransaction, TxEip1559, TxLegacy};
use alloy::eips::eip2718::Encodable2718;
use alloy::hex;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, keccak256, uint};
use alloy::signers::{SignerSync, local::PrivateKeySigner};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use interop::{
    Answer, CHAIN_ID, DEV_ACCOUNTS, DEV_KEYS, EvmChain, KeyFile, Lab, Loses, Lossy, Mode, Shop, ask,
    fresh_address, lab,
};
use mpp::method::ClientMethod;
use mpp::method::evm::CredentialType::{self, Authorization, Hash, Permit2, Transaction};
use mpp::method::evm::{EvmWallet, GasPolicy};
use mpp::protocol::{Challenge, Credential};
use mpp::routing::{Router, get};
use mpp::{Evm, Mpp, Paid, Receipt, Secret};
use serde_json::{Value, json};
use std::time::Duration;

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
const PRICE: u128 = 10_000;
const PAYER: &str = "did:pkh:eip155:31337:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

#[mpp::charge(amount = "0.01", currency = "usdc", methods(evm))]
async fn goods(paid: Paid<Receipt>) -> String {
    paid.reference.clone()
}

#[mpp::charge(amount = "0.01", currency = "usdc", methods(evm))]
async fn others(paid: Paid<Receipt>) -> String {
    paid.reference.clone()
}

#[mpp::charge(amount = "0.001", currency = "eth", methods(evm))]
async fn coins(paid: Paid<Receipt>) -> String {
    paid.reference.clone()
}

/// A server of three routes that takes everything, and the chain it is paid on.
struct Till {
    lab: Lab,
    chain: EvmChain,
    url: String,
    recipient: String,
}

impl Till {
    /// `None` where the peers are not installed.
    async fn open(configure: impl FnOnce(Evm) -> Evm) -> Option<Self> {
        let lab = lab()?;
        let chain = lab.evm_chain().await;
        let (url, recipient) = serve(chain.url(), &chain.token, configure).await;
        Some(Self { lab, chain, url, recipient })
    }

    async fn get(&self, path: &str, credential: Option<&str>) -> Answer {
        ask("GET", &format!("{}{path}", self.url), credential, None).await
    }

    /// The challenge of a route.
    async fn challenge(&self, path: &str) -> Challenge {
        let unpaid = self.get(path, None).await;
        assert_eq!((unpaid.status, unpaid.cache_control.as_deref()), (402, Some("no-store")), "{unpaid:?}");
        Challenge::parse_all([unpaid.challenge.expect("a challenge").as_str()]).offers.remove(0)
    }

    /// Our own wallet's answer to a fresh challenge. By hash the money has moved then.
    async fn credential(&self, path: &str, kind: CredentialType) -> Credential {
        let challenge = self.challenge(path).await;
        let proof = self.payer().pays_by(&[kind]).pay(&challenge).await.expect("the wallet can pay");
        Credential { challenge, payload: proof.payload, source: proof.source }
    }

    fn payer(&self) -> EvmWallet {
        EvmWallet::new(CHAIN_ID, key(0)).rpc(self.chain.url()).expect("the chain is on this machine")
    }

    /// Shows a credential to `/goods`.
    async fn show(&self, credential: &Credential) -> Answer {
        self.get("/goods", Some(&credential.to_header_value())).await
    }

    /// Answers a fresh challenge of `/goods` with `payload`, and shows that.
    async fn answer_with(&self, payload: impl FnOnce(&Challenge) -> Value) -> Answer {
        let challenge = self.challenge("/goods").await;
        let payload = members(payload(&challenge));
        self.show(&Credential { challenge, payload, source: Some(PAYER.into()) }).await
    }

    /// The next nonce of the payer.
    async fn nonce(&self) -> u64 {
        let next = self.chain.node.rpc("eth_getTransactionCount", json!([DEV_ACCOUNTS[0], "pending"])).await;
        u64::from_str_radix(&next.as_str().expect("a number")[2..], 16).expect("a number")
    }

    /// A transfer of the price as the payer would sign it, bound to `challenge`.
    async fn transfer(&self, challenge: &Challenge) -> TxEip1559 {
        TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce().await,
            gas_limit: 100_000,
            max_fee_per_gas: 10_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(self.chain.token.parse().expect("an address")),
            value: U256::ZERO,
            access_list: Default::default(),
            input: self.input(PRICE, &[challenge_hash(challenge).as_slice()]),
        }
    }

    /// `transfer(recipient, amount)` and what follows.
    fn input(&self, amount: u128, rest: &[&[u8]]) -> Bytes {
        let to: Address = self.recipient.parse().expect("an address");
        let words = [to.into_word(), U256::from(amount).into()];
        let call = [&hex!("a9059cbb")[..], words[0].as_slice(), words[1].as_slice()];
        [&call[..], rest].concat().concat().into()
    }

    async fn paid(&self) -> Vec<u128> {
        self.chain.payments_to(&self.recipient).await.into_iter().map(|(amount, _)| amount).collect()
    }
}

/// Serves the three routes, paid through the node at `rpc` to a fresh address; returns where and whom.
async fn serve(rpc: &str, token: &str, configure: impl FnOnce(Evm) -> Evm) -> (String, String) {
    let recipient = fresh_address();
    let evm = Evm::new(&recipient)
        .chain(CHAIN_ID)
        .rpc(rpc)
        .eip3009_token("usdc", token, 6)
        .native_coin("eth")
        .settlement_key(DEV_KEYS[1])
        .accept(&[Permit2, Authorization, Transaction, Hash])
        .settle_within(Duration::from_secs(20));
    let mpp = Mpp::builder("http://127.0.0.1:1")
        .secret(Secret::generate())
        .single_process_volatile_store()
        .method(configure(evm))
        .build()
        .unwrap_or_else(|report| panic!("{report}"));
    mpp.check().await.expect("the chain is there");
    let app: axum::Router = Router::new()
        .route("/goods", get(goods))
        .route("/others", get(others))
        .route("/coins", get(coins))
        .with_state(mpp)
        .into_axum();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, recipient)
}

fn key(index: usize) -> PrivateKeySigner {
    DEV_KEYS[index].parse().expect("a key")
}

fn challenge_hash(challenge: &Challenge) -> B256 {
    keccak256(format!("{}{}", challenge.id, challenge.realm))
}

fn members(value: Value) -> serde_json::Map<String, Value> {
    let Value::Object(members) = value else { panic!("an object") };
    members
}

fn signed_by(index: usize, tx: TxEip1559) -> Value {
    let signature = key(index).sign_hash_sync(&tx.signature_hash()).expect("a key signs");
    json!({ "type": "transaction", "signature": hex::encode_prefixed(tx.into_signed(signature).encoded_2718()) })
}

/// Refused with a challenge, so that the client can pay (again).
fn assert_refused(answer: &Answer, problem: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (402, problem), "{answer:?}");
    assert!(answer.challenge.is_some() && answer.receipt.is_none(), "{answer:?}");
}

#[tokio::test]
async fn mppx_pays_the_shop_by_authorization_and_spends_no_gas() {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let mut wallet = lab.evm_wallet(&chain);
    let file = KeyFile::of(DEV_KEYS[1]);
    let shop = Shop::on_evm(SHOP, chain.url(), &chain.token, file.path(), &[]).await;
    let coins = chain.coins(DEV_ACCOUNTS[0]).await;
    let mut references = Vec::new();
    for _ in 0..3 {
        let answer = wallet.fetch("GET", &shop.at("/evm"), None, Mode::Evm).await;
        assert_eq!((answer.status, answer.statuses.as_slice()), (200, &[402, 200][..]), "{answer:?}");
        let receipt = answer.receipt.clone().expect("a receipt");
        assert_eq!((&receipt["method"], &receipt["status"]), (&json!("evm"), &json!("success")));
        assert_eq!(receipt["chainId"], CHAIN_ID);
        assert_eq!(receipt["challengeId"].as_str().map(str::len), Some(43));
        assert_eq!(answer.json()["payer"], PAYER);
        references.push((PRICE, answer.reference()));
    }
    assert_eq!(chain.payments_to(&shop.recipient).await, references);
    assert_eq!(chain.coins(DEV_ACCOUNTS[0]).await, coins, "the shop pays the gas");

    // What the shop got no flags for is switched off, and everything else of it goes on.
    assert_eq!(ask("GET", &shop.at("/charge"), None, None).await.status, 503);
    assert_eq!(ask("GET", &shop.at("/health"), None, None).await.status, 200);
    assert!(!shop.log().contains(&DEV_KEYS[1][2..]), "{}", shop.log());
}

#[tokio::test]
async fn a_payment_opens_nothing_again_after_the_shop_was_restarted() {
    let Some(lab) = lab() else { return };
    let chain = lab.evm_chain().await;
    let mut wallet = lab.evm_wallet(&chain);
    let (file, folder) = (KeyFile::of(DEV_KEYS[1]), tempfile::tempdir().expect("a temporary folder"));
    let store = folder.path().join("store");
    let flags = ["--store", &format!("file:{}", store.display()), "--public-url", "http://127.0.0.1:1"];
    let shop = Shop::on_evm(SHOP, chain.url(), &chain.token, file.path(), &flags).await;
    let challenge = ask("GET", &shop.at("/evm"), None, None).await.challenge.expect("a challenge");
    let credential = wallet.credential(&challenge, Mode::Evm).await;
    assert_eq!(ask("GET", &shop.at("/evm"), Some(&credential), None).await.status, 200);
    let recipient = shop.crash().await;

    let shop = Shop::on_evm_again(recipient, SHOP, chain.url(), &chain.token, file.path(), &flags).await;
    assert_refused(&ask("GET", &shop.at("/evm"), Some(&credential), None).await, "invalid-challenge");
    assert_eq!(chain.payments_to(&shop.recipient).await.len(), 1);
}

#[tokio::test]
async fn our_wallet_pays_by_every_type_and_a_payment_opens_one_route_once() {
    let Some(till) = Till::open(|evm| evm).await else { return };
    for (n, kind) in [Authorization, Permit2, Transaction, Hash].into_iter().enumerate() {
        let credential = till.credential("/goods", kind).await;
        assert_refused(&till.get("/others", Some(&credential.to_header_value())).await, "invalid-challenge");
        let answer = till.show(&credential).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
        let payments = till.chain.payments_to(&till.recipient).await;
        assert_eq!(payments.len(), n + 1, "{kind}");
        assert_eq!(payments[n], (PRICE, answer.reference()), "{kind}");

        assert_refused(&till.show(&credential).await, "invalid-challenge");
        // Every payment is a transaction on the chain. None comes back as a hash, whoever shows it for whatever.
        for hash in [answer.reference(), format!("0x{}", answer.reference()[2..].to_uppercase())] {
            let again = till.answer_with(|_| json!({ "type": "hash", "hash": hash })).await;
            assert_refused(&again, "verification-failed");
            let mut same = credential.clone();
            same.payload = members(json!({ "type": "hash", "hash": hash }));
            if same.payload != credential.payload {
                assert_refused(&till.show(&same).await, "invalid-challenge");
            }
        }
    }
    assert_eq!(till.paid().await, [PRICE; 4]);

    let before = till.chain.coins(&till.recipient).await;
    for kind in [Transaction, Hash] {
        let credential = till.credential("/coins", kind).await;
        let answer = till.get("/coins", Some(&credential.to_header_value())).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
    }
    assert_eq!(till.chain.coins(&till.recipient).await - before, 2 * 1_000_000_000_000_000);
}

#[tokio::test]
async fn a_permit_that_viem_signed_is_settled_by_the_real_permit2() {
    let Some(till) = Till::open(|evm| evm).await else { return };
    let mut wallet = till.lab.evm_wallet(&till.chain);
    let challenge = till.challenge("/goods").await;
    let request = serde_json::to_value(challenge.charge().expect("a charge")).expect("JSON");
    assert_eq!(request["methodDetails"]["spender"], DEV_ACCOUNTS[1]);
    let known = json!({ "id": challenge.id, "realm": challenge.realm, "expires": challenge.expires });
    let payload = members(wallet.permit2(&known, &request).await);
    let credential = Credential { challenge, payload, source: Some(PAYER.into()) };
    let answer = till.show(&credential).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(till.chain.payments_to(&till.recipient).await, [(PRICE, answer.reference())]);

    // The same permit for another challenge, with the hash of that one written into it.
    let replayed = till
        .answer_with(|fresh| {
            let mut payload = credential.payload.clone();
            payload["witness"] = json!({ "challengeHash": challenge_hash(fresh) });
            payload.into()
        })
        .await;
    assert_refused(&replayed, "verification-failed");
    assert_eq!(till.paid().await.len(), 1);
}

#[tokio::test]
async fn a_signature_with_one_change_moves_nothing_and_leaves_the_good_one_good() {
    let Some(till) = Till::open(|evm| evm).await else { return };
    let order = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
    let with_v = |text: &str, v: &str| json!(format!("{}{v}", &text[..130]));
    for kind in [Authorization, Permit2] {
        let good = till.credential("/goods", kind).await;
        let signature = good.payload["signature"].as_str().expect("a text").to_owned();
        let bytes = hex::decode(&signature).expect("hexadecimal");
        let high = (order - U256::from_be_slice(&bytes[32..64])).to_be_bytes::<32>();
        let mirrored = [&bytes[..32], &high, &[27 + 28 - bytes[64]]].concat();
        let other_v = if signature.ends_with("1b") { "1c" } else { "1b" };
        let mut changes = vec![
            ("signature", json!(hex::encode_prefixed(mirrored))),
            ("signature", with_v(&signature, other_v)),
            ("signature", with_v(&signature, "00")),
            ("signature", with_v(&signature, "1d")),
        ];
        changes.extend(match kind {
            Authorization => vec![
                ("value", json!("9999")),
                ("to", json!(DEV_ACCOUNTS[2])),
                ("from", json!(DEV_ACCOUNTS[2])),
                ("nonce", json!(B256::repeat_byte(1))),
                ("validBefore", json!("1")),
                ("validBefore", json!("99999999999")),
                ("validAfter", json!("99999999999")),
            ],
            _ => vec![
                ("witness", json!({ "challengeHash": B256::repeat_byte(1) })),
                ("transferDetails", json!([{ "to": DEV_ACCOUNTS[2], "requestedAmount": "10000" }])),
                ("transferDetails", json!([{ "to": till.recipient, "requestedAmount": "5000" }])),
            ],
        });
        for (member, value) in changes {
            let mut other = good.clone();
            other.payload[member] = value;
            assert_refused(&till.show(&other).await, "verification-failed");
        }
        let mut other = good.clone();
        other.source = Some(PAYER.replace(DEV_ACCOUNTS[0], DEV_ACCOUNTS[2]));
        assert_refused(&till.show(&other).await, "verification-failed");
        other.source = Some(PAYER.replace("31337", "1"));
        assert_refused(&till.show(&other).await, "verification-failed");
        let mut other = good.clone();
        other.payload["type"] = json!("cash");
        assert_refused(&till.show(&other).await, "malformed-credential");
        // Another challenge's.
        assert_refused(&till.answer_with(|_| good.payload.clone().into()).await, "verification-failed");
        let before = till.paid().await.len();
        let answer = till.show(&good).await;
        assert_eq!((answer.status, till.paid().await.len()), (200, before + 1), "{kind}: {answer:?}");
    }
    // Eve has money and has never approved Permit2; and nobody has this account's key.
    let poor = PrivateKeySigner::random();
    for (key, kind, said) in [
        (key(2), Permit2, "approved Permit2"),
        (poor.clone(), Permit2, "balance does not cover"),
        (poor, Authorization, "balance does not cover"),
    ] {
        let challenge = till.challenge("/goods").await;
        let wallet = EvmWallet::new(CHAIN_ID, key).rpc(till.chain.url()).expect("a URL").pays_by(&[kind]);
        let proof = wallet.pay(&challenge).await.expect("it signs");
        let answer = till.show(&Credential { challenge, payload: proof.payload, source: proof.source }).await;
        assert_refused(&answer, "verification-failed");
        assert!(answer.body.contains(said), "{answer:?}");
    }
    assert_eq!(till.paid().await.len(), 2);
}

#[tokio::test]
async fn a_transaction_that_is_not_the_payment_is_never_broadcast() {
    let Some(till) = Till::open(|evm| evm).await else { return };
    let challenge = till.challenge("/goods").await;
    let good = till.transfer(&challenge).await;
    let other: Address = DEV_ACCOUNTS[2].parse().expect("an address");
    let show = |payload: Value| {
        let credential = Credential {
            challenge: challenge.clone(),
            payload: members(payload),
            source: Some(PAYER.into()),
        };
        let till = &till;
        async move { till.show(&credential).await }
    };
    let hash = challenge_hash(&challenge);
    let wrong: Vec<(&str, TxEip1559)> = vec![
        ("wrong chain", TxEip1559 { chain_id: 1, ..good.clone() }),
        ("wrong token", TxEip1559 { to: TxKind::Call(other), ..good.clone() }),
        ("a contract", TxEip1559 { to: TxKind::Create, ..good.clone() }),
        ("a value", TxEip1559 { value: U256::from(1), ..good.clone() }),
        ("half", TxEip1559 { input: till.input(PRICE / 2, &[hash.as_slice()]), ..good.clone() }),
        ("double", TxEip1559 { input: till.input(PRICE * 2, &[hash.as_slice()]), ..good.clone() }),
        ("extra calldata", TxEip1559 { input: till.input(PRICE, &[hash.as_slice(), &[0]]), ..good.clone() }),
        ("another's challenge", TxEip1559 { input: till.input(PRICE, &[&[7; 32]]), ..good.clone() }),
        ("no input", TxEip1559 { input: Bytes::new(), ..good.clone() }),
        ("nonce ahead", TxEip1559 { nonce: good.nonce + 1, ..good.clone() }),
        ("nonce used", TxEip1559 { nonce: 0, ..good.clone() }),
        ("no gas", TxEip1559 { gas_limit: 21_000, ..good.clone() }),
        ("low fee", TxEip1559 { max_fee_per_gas: 1, max_priority_fee_per_gas: 0, ..good.clone() }),
    ];
    for (what, tx) in wrong {
        let answer = show(signed_by(0, tx)).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (402, "verification-failed"),
            "{what}: {answer:?}"
        );
    }
    // Signed by somebody else than `source` says.
    assert_refused(&show(signed_by(2, good.clone())).await, "verification-failed");
    // The mirrored signature, an older type, and bytes behind the transaction.
    let signature = key(0).sign_hash_sync(&good.signature_hash()).expect("a key signs");
    let order = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
    let high = alloy::primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    let malleated = hex::encode_prefixed(good.clone().into_signed(high).encoded_2718());
    let answer = show(json!({ "type": "transaction", "signature": malleated })).await;
    assert_refused(&answer, "verification-failed");
    let legacy = TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce: good.nonce,
        gas_price: 10_000_000_000,
        gas_limit: 100_000,
        to: good.to,
        value: U256::ZERO,
        input: good.input.clone(),
    };
    let signature = key(0).sign_hash_sync(&legacy.signature_hash()).expect("a key signs");
    let mut raw = Vec::new();
    legacy.into_signed(signature).rlp_encode(&mut raw);
    let trailing = format!("{}00", signed_by(0, good.clone())["signature"].as_str().expect("a text"));
    for garbage in [hex::encode_prefixed(raw), trailing, "0x".into(), "0x02c0".into()] {
        let answer = show(json!({ "type": "transaction", "signature": garbage })).await;
        assert_refused(&answer, "malformed-credential");
    }
    assert_eq!(till.paid().await, []);
    assert_eq!(till.nonce().await, good.nonce, "nothing was broadcast");

    let answer = show(signed_by(0, good)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // A plain transfer, as the draft has it, straight from its payer's hands.
    let challenge = till.challenge("/goods").await;
    let mut plain = till.transfer(&challenge).await;
    plain.input = till.input(PRICE, &[]);
    let payload = members(signed_by(0, plain));
    let answer = till.show(&Credential { challenge, payload: payload.clone(), source: None }).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_refused(&till.answer_with(|_| payload.into()).await, "verification-failed");
    assert_eq!(till.paid().await, [PRICE; 2]);
}

#[tokio::test]
async fn a_hash_of_somebody_elses_or_an_older_or_a_partial_payment_pays_nothing() {
    let Some(till) = Till::open(Evm::accept_unbound_hash).await else { return };
    let reverted = {
        let all = 1_000_000_000_000;
        till.chain.transfer(DEV_ACCOUNTS[2], DEV_ACCOUNTS[1], all).await;
        // Gas is given, so that nobody estimates it and finds out.
        let call = json!({
            "from": DEV_ACCOUNTS[2], "to": till.chain.token, "gas": "0x186a0", "data": till.input(PRICE, &[]),
        });
        let hash = till.chain.node.rpc("eth_sendTransaction", json!([call])).await;
        till.chain.mine(1).await;
        till.chain.mint(DEV_ACCOUNTS[2], all).await;
        hash.as_str().expect("a hash").to_owned()
    };
    let halves = [
        till.chain.transfer(DEV_ACCOUNTS[0], &till.recipient, PRICE / 2).await,
        till.chain.transfer(DEV_ACCOUNTS[0], &till.recipient, PRICE / 2).await,
    ];
    let elsewhere = till.chain.transfer(DEV_ACCOUNTS[0], DEV_ACCOUNTS[2], PRICE).await;
    let eves = till.chain.transfer(DEV_ACCOUNTS[2], &till.recipient, PRICE).await;
    let nobodys = format!("0x{}", "ab".repeat(32));
    for hash in [&reverted, &halves[0], &halves[1], &elsewhere, &eves, &nobodys] {
        let answer = till.answer_with(|_| json!({ "type": "hash", "hash": hash })).await;
        assert_refused(&answer, "verification-failed");
    }
    // Waived by the operator: a plain transfer of the payer counts, once, and in whatever case it is written.
    let plain = till.chain.transfer(DEV_ACCOUNTS[0], &till.recipient, PRICE).await;
    let answer = till.answer_with(|_| json!({ "type": "hash", "hash": plain })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shouted = format!("0x{}", plain[2..].to_uppercase());
    for hash in [plain, shouted] {
        let answer = till.answer_with(|_| json!({ "type": "hash", "hash": hash })).await;
        assert_refused(&answer, "verification-failed");
    }
}

#[tokio::test]
async fn twenty_payments_at_once_are_twenty_deliveries_and_one_transfer_each() {
    let Some(till) = Till::open(|evm| evm).await else { return };
    let mut credentials = Vec::new();
    for n in 0..20 {
        let kind = if n % 4 == 0 { Permit2 } else { Authorization };
        credentials.push(till.credential("/goods", kind).await.to_header_value());
    }
    let mut requests = tokio::task::JoinSet::new();
    for credential in credentials {
        let url = format!("{}/goods", till.url);
        requests.spawn(async move { ask("GET", &url, Some(&credential), None).await });
    }
    let mut references: Vec<_> = requests
        .join_all()
        .await
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.reference()
        })
        .collect();
    let mut moved: Vec<_> = till.chain.payments_to(&till.recipient).await;
    references.sort();
    moved.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(moved, references.into_iter().map(|hash| (PRICE, hash)).collect::<Vec<_>>());
}

#[tokio::test]
async fn eight_copies_at_once_are_one_delivery_and_one_transfer() {
    let Some(till) = Till::open(|evm| evm).await else { return };
    for (round, kind) in [Authorization, Permit2, Transaction, Hash].into_iter().enumerate() {
        let credential = till.credential("/goods", kind).await.to_header_value();
        let mut copies = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (url, credential) = (format!("{}/goods", till.url), credential.clone());
            copies.spawn(async move { ask("GET", &url, Some(&credential), None).await.status });
        }
        let statuses = copies.join_all().await;
        let delivered = statuses.iter().filter(|status| **status == 200).count();
        let refused = statuses.iter().filter(|status| [402, 409].contains(*status)).count();
        assert_eq!((delivered, refused), (1, 7), "{kind}: {statuses:?}");
        assert_eq!(till.paid().await.len(), round + 1, "{kind}");
    }
}

#[tokio::test]
async fn a_settlement_whose_answer_is_lost_is_looked_up_and_not_repeated() {
    let Some(mut till) = Till::open(|evm| evm).await else { return };
    let lossy = Lossy::start(&till.chain.node).await;
    (till.url, till.recipient) = serve(&lossy.url, &till.chain.token, |evm| evm).await;
    for (n, kind) in [Authorization, Permit2, Transaction].into_iter().enumerate() {
        let credential = till.credential("/goods", kind).await;
        let answer = till.show(&credential).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
        assert_eq!((till.paid().await.len(), lossy.broadcasts()), (n + 1, n + 1), "{kind}");
    }
}

#[tokio::test]
async fn a_node_that_crashes_in_the_middle_costs_no_second_payment() {
    let Some(mut till) = Till::open(|evm| evm).await else { return };
    let lossy = Lossy::obedient(&till.chain.node).await;
    let soon = |evm: Evm| evm.settle_within(Duration::from_secs(1));
    (till.url, till.recipient) = serve(&lossy.url, &till.chain.token, soon).await;
    for (n, kind) in [Authorization, Permit2, Transaction].into_iter().enumerate() {
        let credential = till.credential("/goods", kind).await;
        lossy.next(Loses::Everything);
        let answer = till.show(&credential).await;
        assert_eq!((answer.status, answer.challenge), (503, None), "{kind}");
        // Still down: still unknown, and nothing else to pay.
        let answer = till.show(&credential).await;
        assert_eq!((answer.status, answer.challenge), (503, None), "{kind}");
        lossy.restart();
        let answer = till.show(&credential).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
        assert_eq!(till.chain.payments_to(&till.recipient).await[n], (PRICE, answer.reference()));
        assert_eq!((till.paid().await.len(), lossy.broadcasts()), (n + 1, n + 1), "{kind}");
        assert_refused(&till.show(&credential).await, "invalid-challenge");
    }
}

#[tokio::test]
async fn a_settlement_that_is_stuck_is_replaced_and_paid_once() {
    let policy = GasPolicy { replace_after: Duration::from_secs(1), ..GasPolicy::default() };
    let Some(till) = Till::open(|evm| evm.gas_policy(policy)).await else { return };
    let credential = till.credential("/goods", Authorization).await.to_header_value();
    till.chain.hold_blocks().await;
    let url = format!("{}/goods", till.url);
    let request = tokio::spawn(async move { ask("GET", &url, Some(&credential), None).await });
    // Two different offers for one nonce, one after the other.
    let mut offers = std::collections::BTreeSet::new();
    let fee = |tx: &Value| {
        u128::from_str_radix(tx["maxFeePerGas"].as_str().unwrap_or("0x0").trim_start_matches("0x"), 16)
    };
    for _ in 0..150 {
        let pool = till.chain.node.rpc("txpool_content", json!([])).await;
        let ours = pool["pending"].as_object().into_iter().flatten().map(|(_, by_nonce)| by_nonce);
        for tx in ours.filter_map(Value::as_object).flat_map(|by_nonce| by_nonce.values()) {
            offers.insert(fee(tx).expect("a fee"));
        }
        if offers.len() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(offers.len() >= 2, "{offers:?}");
    till.chain.mine(1).await;
    let answer = request.await.expect("the request was answered");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(till.chain.payments_to(&till.recipient).await, [(PRICE, answer.reference())]);
}

#[tokio::test]
async fn a_payment_that_is_reorganised_away_before_it_is_confirmed_is_not_delivered_until_it_is_back() {
    let policy = GasPolicy { replace_after: Duration::from_secs(1), ..GasPolicy::default() };
    let Some(till) = Till::open(|evm| evm.confirmations(4).gas_policy(policy)).await else { return };
    till.chain.mine(4).await;
    let credential = till.credential("/goods", Authorization).await.to_header_value();
    till.chain.hold_blocks().await;
    let before = till.chain.node.rpc("evm_snapshot", json!([])).await;
    let url = format!("{}/goods", till.url);
    let request = tokio::spawn(async move { ask("GET", &url, Some(&credential), None).await });
    let mined = async || {
        for _ in 0..100 {
            till.chain.mine(1).await;
            if !till.paid().await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing was mined");
    };
    mined().await;
    till.chain.mine(1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!request.is_finished(), "two blocks are not four");
    // The other branch, in which it never happened.
    till.chain.node.rpc("evm_revert", json!([before])).await;
    assert_eq!(till.paid().await, []);
    till.chain.mine(6).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!request.is_finished(), "what was reorganised away does not count, however long the chain grows");
    mined().await;
    till.chain.mine(3).await;
    let answer = request.await.expect("the request was answered");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(till.chain.payments_to(&till.recipient).await, [(PRICE, answer.reference())]);
}

#[tokio::test]
async fn an_authorization_of_usdc_pays_no_price_in_another_currency_or_method() {
    let Some(till) = Till::open(|evm| evm).await else { return };
    let good = till.credential("/goods", Authorization).await;
    assert_refused(&till.get("/coins", Some(&good.to_header_value())).await, "invalid-challenge");
    let challenge = till.challenge("/coins").await;
    let other = Credential { challenge, ..good.clone() };
    assert_refused(&till.get("/coins", Some(&other.to_header_value())).await, "verification-failed");
    let mut token = good.to_header_value();
    token = token.strip_prefix("Payment ").expect("the scheme").to_owned();
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64url");
    let mut credential: Value = serde_json::from_slice(&bytes).expect("JSON");
    credential["challenge"]["method"] = json!("tempo");
    let edited = format!("Payment {}", BASE64_URL_SAFE_NO_PAD.encode(credential.to_string()));
    let answer = till.get("/goods", Some(&edited)).await;
    assert_eq!((answer.status, answer.challenge), (400, None), "nobody here takes `tempo`");
    assert_eq!(till.paid().await, []);
}
