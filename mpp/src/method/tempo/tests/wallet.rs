//! The wallet against the server, and against challenges it must not pay.

use super::*;
use crate::ManualClock;
use crate::method::{ClientMethod, Fate, Fees, PayError, Proof, Share};
use alloy::eips::eip2718::Decodable2718;
use std::sync::atomic::{AtomicI64, Ordering};
use tempo_alloy::primitives::AASigned;

const PLATFORM: Address = address!("3c44cdddb6a900fa2b585dd299e03d12fa4293bc");

/// What a healthy node says to a payer as well.
pub(super) fn helpful(method: &str, params: &Value) -> Option<Reply> {
    match method {
        "eth_maxPriorityFeePerGas" => Some(Reply::Result(json!("0x1"))),
        "eth_estimateGas" => Some(Reply::Result(json!("0x7a120"))),
        "eth_getBlockByNumber" => Some(Reply::Result(
            json!({ "number": "0x10", "timestamp": format!("{NOW:#x}"), "baseFeePerGas": "0x4a817c800" }),
        )),
        _ => healthy(method, params),
    }
}

pub(super) fn wallet(url: &str) -> TempoWallet {
    let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
    let clock = ManualClock::at(Timestamp::from_unix(NOW));
    TempoWallet::new(key, url, 31337).unwrap().clock(Arc::new(clock))
}

fn server(url: &str) -> Tempo {
    tempo_at(url).payee("platform", &PLATFORM.to_string()).sponsor(Sponsor::local(&"09".repeat(32)))
}

const SPLIT: &[Share<'static>] = &[Share { payee: "platform", units: BaseUnits::new(500) }];

fn pull(proof: &Proof) -> AASigned {
    let raw = hex::decode(proof.payload["signature"].as_str().unwrap()).unwrap();
    AASigned::decode_2718(&mut raw.as_slice()).unwrap()
}

#[tokio::test]
async fn what_the_wallet_sends_the_server_takes() {
    let node = FakeNode::start(helpful).await;
    let (wallet, server) = (wallet(&node.url), server(&node.url));
    type Say = fn(&mut OfferCx<'_>);
    let table: [(u128, Say, &str); 5] = [
        (10_000, |_| {}, "10000 + fees"),
        (10_000, |cx| cx.splits = SPLIT, "9500 to the shop"),
        (10_000, |cx| cx.fees = Fees::Sponsored, "10000"),
        (10_000, |cx| (cx.fees, cx.splits) = (Fees::Sponsored, SPLIT), "9500 to the shop"),
        (0, |_| {}, "0"),
    ];
    for (amount, say, what) in table {
        let scene = Scene::asking(&server, amount, say);
        let cost = wallet.cost(&scene.challenge).unwrap();
        assert_eq!(cost.amount, BaseUnits::new(amount));
        assert_eq!(cost.payees.iter().fold(0, |sum, payee| sum + payee.units.get()), amount, "{what}");
        let sponsored = scene.request.method_details.as_ref().unwrap().contains_key("feePayer");
        assert_eq!(cost.fees.is_empty(), sponsored || amount == 0, "{what}");

        let proof = wallet.pay(&scene.challenge).await.unwrap();
        let verified = scene.verify(&server, &proof.payload, proof.source.as_deref()).await.unwrap();
        assert_eq!(verified.payer, Some(wallet.did()), "{what}");
    }
    assert_eq!(node.asked("eth_sendRawTransaction"), 0);
}

#[tokio::test]
async fn the_wallet_pays_its_fee_in_the_token_of_the_payment_unless_told_otherwise() {
    let node = FakeNode::start(helpful).await;
    let scene = Scene::new(10_000);
    let tx = pull(&wallet(&node.url).pay(&scene.challenge).await.unwrap()).tx().clone();
    assert_eq!(tx.fee_token, Some(TOKEN));
    // Twice the base fee and the tip; valid for 25 s although the challenge lives longer.
    assert_eq!((tx.max_fee_per_gas, tx.max_priority_fee_per_gas), (40_000_000_001, 1));
    assert_eq!(tx.valid_before, NonZeroU64::new(NOW as u64 + 25));
    let alpha = "0x20c0000000000000000000000000000000000001";
    let other = wallet(&node.url).fee_token(alpha).unwrap();
    assert_eq!(
        pull(&other.pay(&scene.challenge).await.unwrap()).tx().fee_token,
        Some(alpha.parse().unwrap())
    );
    // 700,000 gas at 40 gwei are 0.028 dollars.
    let thrifty = wallet(&node.url).max_fee(28_000);
    let declined = thrifty.pay(&scene.challenge).await.unwrap_err();
    assert!(matches!(&declined, PayError::Declined(why) if why.contains("fee may be higher")), "{declined}");
    assert!(wallet(&node.url).max_fee(28_001).pay(&scene.challenge).await.is_ok());
}

#[tokio::test]
async fn what_a_wallet_must_not_pay_is_refused_before_anything_is_signed_or_asked() {
    // Nothing listens there.
    let wallet = wallet("http://127.0.0.1:1");
    let scene = Scene::asking(&server("http://127.0.0.1:1"), 10_000, |cx| cx.splits = SPLIT);
    type Spoil = fn(&mut ChargeRequest);
    fn details(request: &mut ChargeRequest) -> &mut Map<String, Value> {
        request.method_details.as_mut().unwrap()
    }
    let table: [(&str, Spoil); 8] = [
        ("it is for chain 4217", |r| drop(details(r).insert("chainId".into(), json!(4217)))),
        // Without a chain id the draft means the test network.
        ("it is for chain 42431", |r| drop(details(r).remove("chainId"))),
        ("not less than the amount", |r| r.amount = BaseUnits::new(500)),
        ("no usable amount", |r| details(r)["splits"][0]["amount"] = json!("-1")),
        ("names none that is known", |r| {
            drop(details(r).insert("supportedModes".into(), json!(["carrier pigeon"])))
        }),
        ("`memo` is not 32 bytes", |r| drop(details(r).insert("memo".into(), json!("0x00")))),
        ("not the address of a token", |r| r.currency = "usd".into()),
        ("`recipient` is not an address", |r| r.recipient = None),
    ];
    let refused = async |wallet: &TempoWallet, challenge: &Challenge| {
        let cost = wallet.cost(challenge).unwrap_err();
        assert_eq!(wallet.pay(challenge).await.unwrap_err(), cost);
        let PayError::Unsupported(why) = cost else { panic!("{cost}") };
        why
    };
    for (expected, spoil) in table {
        let mut request = scene.request.clone();
        spoil(&mut request);
        let challenge = Challenge { request: request.encode(), ..scene.challenge.clone() };
        let why = refused(&wallet, &challenge).await;
        assert!(why.contains(expected), "{expected}: {why}");
    }
    let other = Challenge { method: MethodName::from_static("stripe"), ..scene.challenge.clone() };
    assert!(refused(&wallet, &other).await.contains("pays charges on Tempo"));
    let expired =
        Challenge { expires: Some(Timestamp::from_unix(NOW).to_string()), ..scene.challenge.clone() };
    assert!(refused(&wallet, &expired).await.contains("expired"));
    let timeless = Challenge { expires: Some("soon".into()), ..scene.challenge.clone() };
    assert!(refused(&wallet, &timeless).await.contains("no time"));
    // A stranger gets a part.
    let picky = wallet.only_to([SHOP.to_string().as_str()]).unwrap();
    assert!(refused(&picky, &scene.challenge).await.contains("none of the recipients"));
}

#[tokio::test]
async fn a_node_of_another_chain_or_out_of_reach_signs_nothing_away() {
    let node = FakeNode::start(|method, params| match method {
        "eth_chainId" => Some(Reply::Result(json!("0x1"))),
        _ => helpful(method, params),
    })
    .await;
    let scene = Scene::new(10_000);
    for url in [node.url.as_str(), "http://127.0.0.1:1"] {
        let error = wallet(url).pay(&scene.challenge).await.unwrap_err();
        assert!(matches!(error, PayError::Declined(_)), "{error}");
    }
}

#[tokio::test]
async fn an_account_is_short_only_where_the_node_of_its_chain_says_so() {
    let word = |units: u64| json!(format!("{units:#066x}"));
    let scene = Scene::new(10_000);
    for (chain, balance, short) in [
        ("0x7a69", word(9_999), true),
        ("0x7a69", word(10_000), false),
        // Of another chain, or no number at all.
        ("0x1", word(0), false),
        ("0x7a69", json!("0x"), false),
        ("0x7a69", json!("none"), false),
    ] {
        let says = balance.clone();
        let node = FakeNode::start(move |method, params| match method {
            "eth_chainId" => Some(Reply::Result(json!(chain))),
            "eth_call" => Some(Reply::Result(says.clone())),
            _ => helpful(method, params),
        })
        .await;
        let wallet = wallet(&node.url);
        let cost = wallet.cost(&scene.challenge).unwrap();
        let looked = wallet.afford(&scene.challenge, &cost).await;
        assert_eq!(looked.is_err(), short, "{chain} {balance} {looked:?}");
        assert_eq!(node.asked("eth_estimateGas") + node.asked("eth_sendRawTransaction"), 0);
    }
    // Nobody to ask, and nothing to ask for.
    let silent = wallet("http://127.0.0.1:1");
    let cost = silent.cost(&scene.challenge).unwrap();
    assert_eq!(silent.afford(&scene.challenge, &cost).await, Ok(()));
}

#[tokio::test]
async fn the_mode_is_the_wallets_choice_among_what_the_challenge_takes() {
    let scene = Scene::new(10_000);
    let pushes = |method: &str, params: &Value| match method {
        "eth_sendRawTransaction" => Some(Reply::Status(502)),
        "eth_getTransactionReceipt" => Some(Reply::Result(
            json!({ "transactionHash": params[0], "blockNumber": "0x1", "status": "0x1", "logs": [] }),
        )),
        _ => helpful(method, params),
    };
    for (preferred, taken, expected) in [
        (Mode::Pull, vec![Mode::Pull, Mode::Push], "transaction"),
        (Mode::Push, vec![Mode::Pull, Mode::Push], "hash"),
        (Mode::Push, vec![Mode::Pull], "transaction"),
        (Mode::Pull, vec![Mode::Push], "hash"),
    ] {
        let node = FakeNode::start(pushes).await;
        let offer = Scene::asking(&tempo_at(&node.url).modes(taken.clone()), 10_000, |_| {});
        let proof = wallet(&node.url).mode(preferred).pay(&offer.challenge).await.unwrap();
        assert_eq!(proof.payload["type"], expected, "{preferred:?} of {taken:?}");
        // The answer to the broadcast was lost; it is looked up and not sent again.
        assert_eq!(node.asked("eth_sendRawTransaction"), usize::from(expected == "hash"));
    }
    let node = FakeNode::start(pushes).await;
    let sponsored = Scene::asking(&server(&node.url), 10_000, |cx| cx.fees = Fees::Sponsored);
    let proof = wallet(&node.url).mode(Mode::Push).pay(&sponsored.challenge).await.unwrap();
    assert_eq!(proof.payload["type"], "transaction");
    let mut request = sponsored.request.clone();
    request.method_details.as_mut().unwrap().insert("supportedModes".into(), json!(["push"]));
    let contradiction = Challenge { request: request.encode(), ..scene.challenge };
    assert!(matches!(wallet(&node.url).pay(&contradiction).await, Err(PayError::Unsupported(_))));
}

#[tokio::test]
async fn a_broadcast_whose_node_has_gone_silent_is_still_a_payment_to_show() {
    let scene = Scene::asking(&tempo_at("http://127.0.0.1:1").modes([Mode::Push]), 10_000, |_| {});
    for (receipt, paid) in [(Reply::Status(500), true), (Reply::Result(Value::Null), false)] {
        let node = FakeNode::start(move |method, params| match method {
            "eth_getTransactionReceipt" => Some(receipt.clone()),
            "eth_sendRawTransaction" => Some(Reply::Result(json!(B256::repeat_byte(1)))),
            _ => helpful(method, params),
        })
        .await;
        let mut wallet = wallet(&node.url);
        wallet.patience = Duration::ZERO;
        match wallet.pay(&scene.challenge).await {
            Ok(proof) => assert!(paid && proof.payload["type"] == "hash", "{proof:?}"),
            Err(error) => assert!(!paid && matches!(error, PayError::Failed(_)), "{error}"),
        }
        assert_eq!(node.asked("eth_sendRawTransaction"), 1);
    }
}

#[tokio::test]
async fn what_became_of_a_payment_is_said_only_when_it_is_certain() {
    let finalized = Arc::new(AtomicI64::new(NOW));
    let status = Arc::new(Mutex::new(None::<&str>));
    let node = FakeNode::start({
        let (finalized, status) = (finalized.clone(), status.clone());
        move |method, params| match method {
            "eth_getBlockByNumber" if params[0] == "finalized" => {
                let time = finalized.load(Ordering::SeqCst);
                Some(Reply::Result(json!({ "number": "0x10", "timestamp": format!("{time:#x}") })))
            }
            "eth_getTransactionReceipt" => Some(Reply::Result(match *status.lock().unwrap() {
                None => Value::Null,
                Some(status) => {
                    json!({ "transactionHash": params[0], "blockNumber": "0x1", "status": status, "logs": [] })
                }
            })),
            "eth_getLogs" => Some(Reply::Result(match *status.lock().unwrap() {
                Some("0x1") => json!([{ "transactionHash": B256::repeat_byte(7) }]),
                _ => json!([]),
            })),
            _ => helpful(method, params),
        }
    })
    .await;
    let wallet = wallet(&node.url);
    let plain = Scene::new(10_000);
    let sponsored = Scene::asking(&server(&node.url), 10_000, |cx| cx.fees = Fees::Sponsored);
    for scene in [&plain, &sponsored] {
        let proof = wallet.pay(&scene.challenge).await.unwrap();
        let fate = async || wallet.fate(&scene.challenge, &proof).await;
        finalized.store(NOW + 25 + 9, Ordering::SeqCst);
        *status.lock().unwrap() = None;
        assert_eq!(fate().await, Fate::Unknown, "it may still be mined");
        finalized.store(NOW + 25 + 10, Ordering::SeqCst);
        assert_eq!(fate().await, Fate::Never);
        *status.lock().unwrap() = Some("0x1");
        assert!(matches!(fate().await, Fate::Paid { .. }));
    }
    let proof = wallet.pay(&plain.challenge).await.unwrap();
    *status.lock().unwrap() = Some("0x0");
    assert_eq!(wallet.fate(&plain.challenge, &proof).await, Fate::Never, "reverted");
    // A hash has no end of its own.
    let hash = Proof { payload: members(json!({ "type": "hash", "hash": B256::ZERO })), source: None };
    *status.lock().unwrap() = None;
    assert_eq!(wallet.fate(&plain.challenge, &hash).await, Fate::Unknown);
}

#[tokio::test]
async fn a_sponsored_payment_that_is_not_found_never_was_only_if_the_search_reached_back_far_enough() {
    let past = NOW + 25 + 10;
    for (span, since, expected) in [
        // Blocks of half a second and of a thousandth: the last one goes back not even to the signature.
        (1_000, NOW - 500, Fate::Never),
        (10_000, NOW - 500, Fate::Never),
        (1_000_000, 0, Fate::Unknown),
    ] {
        let node = FakeNode::start(move |method, params| match (method, params[0].as_str()) {
            ("eth_getBlockByNumber", Some("finalized")) => {
                Some(Reply::Result(json!({ "number": "0x200000", "timestamp": format!("{past:#x}") })))
            }
            ("eth_getBlockByNumber", Some(number)) if number != "latest" => {
                let number = u64::from_str_radix(number.trim_start_matches("0x"), 16).unwrap();
                let time = if number <= 0x20_0000 - span { since } else { NOW };
                Some(Reply::Result(json!({ "number": "0x1", "timestamp": format!("{time:#x}") })))
            }
            ("eth_getLogs", _) => Some(Reply::Result(json!([]))),
            _ => helpful(method, params),
        })
        .await;
        let wallet = wallet(&node.url);
        let scene = Scene::asking(&server(&node.url), 10_000, |cx| cx.fees = Fees::Sponsored);
        let proof = wallet.pay(&scene.challenge).await.unwrap();
        assert_eq!(wallet.fate(&scene.challenge, &proof).await, expected, "{span}");
    }
}

/// Two nodes behind one address: one has the payment and a final block past its end, the other has fallen behind and knows
/// of neither.
async fn balanced(turns: usize) -> FakeNode {
    let node = |is_ahead: bool| {
        Box::new(move |method: &str, params: &Value| {
            Some(Reply::Result(match (method, is_ahead) {
                ("eth_getBlockByNumber", _) if params[0] == "finalized" => {
                    let time = if is_ahead { NOW + 25 + 10 } else { NOW };
                    json!({ "number": "0x10", "timestamp": format!("{time:#x}") })
                }
                ("eth_getTransactionReceipt", true) => {
                    json!({ "transactionHash": params[0], "blockNumber": "0x1", "status": "0x1", "logs": [] })
                }
                ("eth_getTransactionReceipt", false) => Value::Null,
                ("eth_getLogs", true) => json!([{ "transactionHash": B256::repeat_byte(7) }]),
                ("eth_getLogs", false) => json!([]),
                _ => return helpful(method, params),
            }))
        }) as Box<Script>
    };
    FakeNode::balancing([node(true), node(false)], move |round| turns >> round & 1).await
}

#[tokio::test]
async fn a_payment_that_a_node_fallen_behind_does_not_know_is_not_given_up() {
    let node = FakeNode::start(helpful).await;
    let sponsored = Scene::asking(&server(&node.url), 10_000, |cx| cx.fees = Fees::Sponsored);
    for scene in [Scene::new(10_000), sponsored] {
        let proof = wallet(&node.url).pay(&scene.challenge).await.unwrap();
        let mut paid = 0;
        // Which chain it is, and two questions.
        for turns in 0..8 {
            let node = balanced(turns).await;
            match wallet(&node.url).fate(&scene.challenge, &proof).await {
                Fate::Paid { .. } => paid += 1,
                fate => assert_eq!(fate, Fate::Unknown, "{turns:03b}"),
            }
            assert!(node.rounds() <= 3);
        }
        assert_eq!(paid, 4, "whenever the one that has it is asked");
    }
}

#[tokio::test]
async fn a_node_of_another_chain_does_not_say_that_a_payment_never_was() {
    let node = FakeNode::start(helpful).await;
    let other = FakeNode::start(|method, params| match method {
        "eth_chainId" => Some(Reply::Result(json!("0x1"))),
        "eth_getBlockByNumber" => {
            Some(Reply::Result(json!({ "number": "0x10", "timestamp": format!("{:#x}", NOW + 25 + 10) })))
        }
        "eth_getTransactionReceipt" => Some(Reply::Result(Value::Null)),
        "eth_getLogs" => Some(Reply::Result(json!([]))),
        _ => helpful(method, params),
    })
    .await;
    let sponsored = Scene::asking(&server(&node.url), 10_000, |cx| cx.fees = Fees::Sponsored);
    for scene in [Scene::new(10_000), sponsored] {
        let proof = wallet(&node.url).pay(&scene.challenge).await.unwrap();
        assert_eq!(wallet(&other.url).fate(&scene.challenge, &proof).await, Fate::Unknown);
    }
}

#[tokio::test]
async fn a_receipt_of_another_transaction_pays_nothing() {
    let node = FakeNode::start(|method, params| match method {
        "eth_sendRawTransaction" => Some(Reply::Result(json!(B256::repeat_byte(1)))),
        "eth_getTransactionReceipt" => Some(Reply::Result(json!({
            "transactionHash": B256::repeat_byte(8), "blockNumber": "0x1", "status": "0x1", "logs": [],
        }))),
        _ => helpful(method, params),
    })
    .await;
    let mut wallet = wallet(&node.url).mode(Mode::Push);
    wallet.patience = Duration::ZERO;
    let scene = Scene::new(10_000);
    assert!(matches!(wallet.pay(&scene.challenge).await, Err(PayError::Failed(_))));
    let hash = Proof { payload: members(json!({ "type": "hash", "hash": B256::ZERO })), source: None };
    assert_eq!(wallet.fate(&scene.challenge, &hash).await, Fate::Unknown);
}
