//! Recorded credentials of deployed clients, transactions that are almost right, and a network that fails on demand.

use super::*;
use crate::chain::fake::{FakeNode, Reply, Script};
use crate::method::{CredentialCx, OfferCx, Rejection, ServerMethod, SettleCx, Settlement, Verified};
use crate::protocol::{BaseUnits, Challenge, ChargeRequest, Credential, ProblemType, Timestamp};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{B256, Bytes, TxKind, U256, address, hex, keccak256};
use alloy::signers::{SignerSync, local::PrivateKeySigner};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use serde_json::{Map, Value, json};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use tempo_alloy::contracts::precompiles::ITIP20;
use tempo_alloy::primitives::TempoTransaction;
use tempo_alloy::primitives::transaction::Call as TempoCall;

mod split;
mod sponsored;
mod vectors;
mod wallet;

const SHOP: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const TOKEN: Address = address!("20c0000000000000000000000000000000000000");
const NOW: i64 = 1_800_000_000;
const EXPIRES: i64 = NOW + 300;

/// A challenge of ours, a payer, and a transaction that pays it; each test spoils one thing.
struct Scene {
    challenge: Challenge,
    request: ChargeRequest,
    key: PrivateKeySigner,
}

impl Scene {
    fn new(amount: u128) -> Self {
        Self::asking(&Tempo::new(&SHOP.to_string()).chain_id(31337), amount, |_| {})
    }

    /// With an offer that says more.
    fn asking(tempo: &Tempo, amount: u128, say: impl FnOnce(&mut OfferCx<'_>)) -> Self {
        let currency = tempo.currency("pathusd").unwrap();
        let mut cx = OfferCx::new(BaseUnits::new(amount), &currency);
        say(&mut cx);
        let request = tempo.offer(&cx).unwrap();
        let challenge: Challenge = serde_json::from_value(json!({
            "id": "Uhc6WSMBbKqNSUJETnxTmSTzEqvM8S1eKaBB9UT4Mn8", "realm": "127.0.0.1", "method": "tempo",
            "intent": "charge", "request": request.encode(),
        }))
        .unwrap();
        Self { challenge, request, key: PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap() }
    }

    fn memo(&self) -> B256 {
        memo::anonymous(&self.challenge.realm, &self.challenge.id)
    }

    fn call(&self, amount: u64) -> TempoCall {
        let call = ITIP20::transferWithMemoCall { to: SHOP, amount: U256::from(amount), memo: self.memo() };
        TempoCall { to: TxKind::Call(TOKEN), value: U256::ZERO, input: call.abi_encode().into() }
    }

    fn transaction(&self) -> TempoTransaction {
        TempoTransaction {
            chain_id: 31337,
            nonce_key: U256::MAX,
            gas_limit: 500_000,
            max_fee_per_gas: 1,
            calls: vec![self.call(10_000)],
            valid_before: NonZeroU64::new(NOW as u64 + 25),
            ..Default::default()
        }
    }

    fn signed(&self, tx: TempoTransaction) -> Vec<u8> {
        let signature = self.key.sign_hash_sync(&tx.signature_hash()).unwrap();
        tx.into_signed(signature.into()).encoded_2718()
    }

    fn pull(&self, raw: &[u8]) -> Map<String, Value> {
        members(json!({ "type": "transaction", "signature": hex::encode_prefixed(raw) }))
    }

    fn did(&self) -> String {
        format!("did:pkh:eip155:31337:{}", self.key.address())
    }

    async fn verify(
        &self,
        tempo: &Tempo,
        payload: &Map<String, Value>,
        source: Option<&str>,
    ) -> Result<Verified, Rejection> {
        let mut cx = CredentialCx::new(
            &self.challenge,
            &self.request,
            payload,
            Timestamp::from_unix(EXPIRES),
            Timestamp::from_unix(NOW),
        );
        cx.source = source;
        tempo.verify(&cx).await
    }

    fn receipt(&self, hash: B256, edit: impl FnOnce(&mut Value)) -> Value {
        let memo = self.memo();
        let mut receipt = json!({
            "transactionHash": hash, "blockNumber": "0x10", "status": "0x1", "from": self.key.address(),
            "feePayer": self.key.address(),
            "logs": [
                { "address": TOKEN, "topics": [ITIP20::Transfer::SIGNATURE_HASH, self.key.address().into_word(), SHOP.into_word()],
                  "data": hex::encode_prefixed(U256::from(10_000).abi_encode()), "blockTimestamp": format!("{NOW:#x}") },
                { "address": TOKEN, "topics": [ITIP20::TransferWithMemo::SIGNATURE_HASH, self.key.address().into_word(), SHOP.into_word(), memo],
                  "data": hex::encode_prefixed(U256::from(10_000).abi_encode()), "blockTimestamp": format!("{NOW:#x}") },
            ],
        });
        edit(&mut receipt);
        receipt
    }
}

fn members(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("an object") };
    members
}

fn tempo_at(url: &str) -> Tempo {
    let mut tempo = Tempo::new(&SHOP.to_string()).chain_id(31337).rpc(url);
    tempo.pace = Pace {
        receipt: Duration::from_millis(40),
        step: Duration::from_millis(10),
        broadcast: Duration::from_millis(200),
    };
    tempo
}

/// What a healthy node says to everything but the broadcast.
fn healthy(method: &str, _: &Value) -> Option<Reply> {
    Some(Reply::Result(match method {
        "eth_chainId" => json!("0x7a69"),
        "eth_call" => json!(hex::encode_prefixed(U256::from(1_000_000).abi_encode())),
        "eth_getTransactionReceipt" => Value::Null,
        "eth_getBlockByNumber" => json!({ "number": "0x10", "timestamp": format!("{NOW:#x}") }),
        _ => return None,
    }))
}

fn refusal(result: Result<Verified, Rejection>) -> String {
    match result {
        Err(Rejection::Refused { kind, detail }) => format!("{kind:?}: {detail}"),
        Err(Rejection::Unavailable { detail, .. }) => format!("Unavailable: {detail}"),
        Ok(_) => "accepted".into(),
    }
}

/// The paid exchange of a recording: the credential as it was sent.
fn recorded(name: &str) -> (Credential, ChargeRequest) {
    let path = format!("{}/tests/fixtures/mppx-{name}.json", env!("CARGO_MANIFEST_DIR"));
    let exchanges: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let header = exchanges[1]["request"]["headers"]["authorization"].as_str().unwrap();
    let buffer = crate::protocol::CredentialBuf::decode(header.strip_prefix("Payment ").unwrap()).unwrap();
    let credential = buffer.parse().unwrap().to_credential().unwrap();
    let request = credential.challenge.charge().unwrap();
    (credential, request)
}

/// Verifies a recording two seconds before the transaction's own end.
async fn verify_recorded(tempo: &Tempo, name: &str) -> Result<Verified, Rejection> {
    let (credential, request) = recorded(name);
    let expires = credential.challenge.expires_at().unwrap().unwrap();
    let now = expires - Duration::from_secs(295);
    let mut cx = CredentialCx::new(&credential.challenge, &request, &credential.payload, expires, now);
    cx.source = credential.source.as_deref();
    tempo.verify(&cx).await
}

#[tokio::test]
async fn what_mppx_was_recorded_to_send_is_accepted() {
    let node = FakeNode::start(healthy).await;
    let tempo = tempo_at(&node.url);
    const PAYER: &str = "did:pkh:eip155:31337:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    for (name, hash) in [
        ("charge-pull", "0xf5964a2736b73b06d477e5c52ebd516efeaad2b9a604b48ce75cc46991a42cfa"),
        ("charge-post-body", "0x48b40e1c23b4834a7e7ce619da35c12e3d5215e9e796ad3b97a1ce56bd1cd7f6"),
    ] {
        let verified = verify_recorded(&tempo, name).await.unwrap();
        assert_eq!(verified.payer.as_deref(), Some(PAYER));
        assert_eq!(verified.proof_keys, [format!("31337:{hash}")]);
    }
    let verified = verify_recorded(&tempo, "charge-zero-proof").await.unwrap();
    assert_eq!(verified.payer.as_deref(), Some(PAYER));
    let settled = tempo.settle(&SettleCx::new("the-id", &verified.plan, Timestamp::from_unix(0))).await;
    assert!(matches!(settled, Settlement::Settled(payment) if payment.reference == "the-id"));
    assert_eq!(node.asked("eth_sendRawTransactionSync"), 0);
}

#[tokio::test]
async fn a_sponsored_transaction_is_refused_while_offers_are_not_sponsored() {
    let (credential, _) = recorded("charge-sponsored");
    let scene = Scene::new(10_000);
    let tempo = tempo_at("http://127.0.0.1:1");
    assert_eq!(
        refusal(scene.verify(&tempo, &credential.payload, None).await),
        "VerificationFailed: the transaction expects a fee payer; this offer is not sponsored"
    );
}

#[tokio::test]
async fn a_transaction_that_does_anything_else_is_refused_before_the_network_is_asked() {
    type Spoil = fn(&Scene, &mut TempoTransaction);
    let table: [(&str, Spoil); 18] = [
        ("another chain", |_, tx| tx.chain_id = 4217),
        ("exactly one call", |s, tx| tx.calls.push(s.call(1))),
        ("exactly one call", |s, tx| tx.calls = vec![s.call(5_000), s.call(5_000)]),
        ("another contract", |_, tx| tx.calls[0].to = TxKind::Call(SHOP)),
        ("another contract", |_, tx| tx.calls[0].to = TxKind::Create),
        ("carries a value", |_, tx| tx.calls[0].value = U256::from(1)),
        ("another amount", |s, tx| tx.calls = vec![s.call(9_999)]),
        ("another amount", |s, tx| tx.calls = vec![s.call(10_001)]),
        ("another recipient", |s, tx| {
            let call = ITIP20::transferWithMemoCall { to: TOKEN, amount: U256::from(10_000), memo: s.memo() };
            tx.calls[0].input = call.abi_encode().into();
        }),
        ("memo does not name", |_, tx| {
            let call = ITIP20::transferWithMemoCall {
                to: SHOP,
                amount: U256::from(10_000),
                memo: keccak256("order"),
            };
            tx.calls[0].input = call.abi_encode().into();
        }),
        ("has to call `transferWithMemo", |_, tx| {
            tx.calls[0].input =
                ITIP20::transferCall { to: SHOP, amount: U256::from(10_000) }.abi_encode().into();
        }),
        ("has to call `transferWithMemo", |_, tx| {
            tx.calls[0].input = [&tx.calls[0].input[..], &[0]].concat().into();
        }),
        ("has to set `validBefore`", |_, tx| tx.valid_before = None),
        ("later than the challenge's expiry", |_, tx| tx.valid_before = NonZeroU64::new(EXPIRES as u64 + 1)),
        ("has passed", |_, tx| tx.valid_before = NonZeroU64::new(NOW as u64)),
        ("has not come yet", |_, tx| tx.valid_after = NonZeroU64::new(NOW as u64 + 5)),
        ("has a fee payer", |_, tx| {
            tx.fee_payer_signature =
                Some(alloy::primitives::Signature::new(U256::from(1), U256::from(1), false));
        }),
        ("access list", |_, tx| tx.access_list = vec![Default::default()].into()),
    ];
    let scene = Scene::new(10_000);
    // Nothing listens there: a network question would be an `Unavailable`.
    let tempo = tempo_at("http://127.0.0.1:1");
    for (expected, spoil) in table {
        let mut tx = scene.transaction();
        spoil(&scene, &mut tx);
        let got = refusal(scene.verify(&tempo, &scene.pull(&scene.signed(tx)), None).await);
        assert!(got.starts_with("VerificationFailed") && got.contains(expected), "{expected}: {got}");
    }
}

#[tokio::test]
async fn a_transaction_has_one_spelling() {
    let scene = Scene::new(10_000);
    let tempo = tempo_at("http://127.0.0.1:1");
    let raw = scene.signed(scene.transaction());
    let trailing = [&raw[..], &[0]].concat();
    let legacy = [&[0x02], &raw[1..]].concat();
    for wrong in [&b""[..], &[0x76], &raw[..raw.len() - 1], &trailing, &legacy, &raw[1..]] {
        let got = refusal(scene.verify(&tempo, &scene.pull(wrong), None).await);
        assert!(got.starts_with("MalformedCredential"), "{got}");
    }
    let huge = "0x76".to_owned() + &"00".repeat(9_000);
    for text in ["", "0x", "76", "0xzz", &huge] {
        let payload = members(json!({ "type": "transaction", "signature": text }));
        assert!(refusal(scene.verify(&tempo, &payload, None).await).starts_with("MalformedCredential"));
    }
}

#[tokio::test]
async fn the_high_s_twin_of_a_signature_is_refused() {
    let scene = Scene::new(10_000);
    let tempo = tempo_at("http://127.0.0.1:1");
    let tx = scene.transaction();
    let signature = scene.key.sign_hash_sync(&tx.signature_hash()).unwrap();
    let order = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let twin = alloy::primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    let raw = tx.into_signed(twin.into()).encoded_2718();
    assert_eq!(
        refusal(scene.verify(&tempo, &scene.pull(&raw), None).await),
        "VerificationFailed: the transaction's signature does not verify"
    );
}

#[tokio::test]
async fn amount_zero_is_proved_and_everything_else_is_paid() {
    let (paid, free) = (Scene::new(10_000), Scene::new(0));
    let tempo = tempo_at("http://127.0.0.1:1");
    let raw = paid.pull(&paid.signed(paid.transaction()));
    let hash = members(json!({ "type": "hash", "hash": B256::ZERO }));
    let proof = members(json!({ "type": "proof", "signature": "0x00" }));
    for (scene, payload, expected) in [
        (&free, &raw, "an amount of zero is answered"),
        (&free, &hash, "an amount of zero is answered"),
        (&paid, &proof, "a proof pays nothing"),
        (&free, &proof, "has to name its account"),
        (&paid, &members(json!({ "type": "cash" })), "`payload.type` has to be"),
        (&paid, &members(json!({ "type": ["hash"] })), "`payload.type` has to be"),
        (&paid, &Map::new(), "`payload.type` has to be"),
    ] {
        let got = refusal(scene.verify(&tempo, payload, None).await);
        assert!(got.contains(expected), "{expected}: {got}");
    }
}

#[tokio::test]
async fn the_source_has_to_be_the_payer_on_this_chain() {
    let node = FakeNode::start(healthy).await;
    let (scene, tempo) = (Scene::new(10_000), tempo_at(&node.url));
    let payload = scene.pull(&scene.signed(scene.transaction()));
    assert_eq!(refusal(scene.verify(&tempo, &payload, Some(&scene.did())).await), "accepted");
    assert_eq!(refusal(scene.verify(&tempo, &payload, Some(&scene.did().to_lowercase())).await), "accepted");
    for (source, expected) in [
        (format!("did:pkh:eip155:31337:{SHOP}"), "not signed by the account in `source`"),
        (scene.did().replace("31337", "4217"), "on another chain"),
        (scene.did().replace("31337", "031337"), "not named as"),
        ("alice".to_owned(), "not named as"),
        (scene.did().replace("0x1a", "0x1A"), "checksum"),
    ] {
        let got = refusal(scene.verify(&tempo, &payload, Some(&source)).await);
        assert!(got.contains(expected), "{source}: {got}");
    }
}

#[tokio::test]
async fn a_payer_without_the_money_or_refused_by_the_token_is_refused_before_a_broadcast() {
    let scene = Scene::new(10_000);
    let payload = scene.pull(&scene.signed(scene.transaction()));
    let answer = |balance: Reply, transfer: Reply| {
        move |method: &str, params: &Value| match method {
            "eth_call" if params[0].get("calls").is_some() => Some(transfer.clone()),
            "eth_call" => Some(balance.clone()),
            _ => healthy(method, params),
        }
    };
    let units = |n: u64| Reply::Result(json!(hex::encode_prefixed(U256::from(n).abi_encode())));
    for (balance, transfer, expected) in [
        (units(9_999), units(1), "VerificationFailed: the payer's balance does not cover"),
        (
            units(10_000),
            Reply::Error(3, "execution reverted: PolicyForbids"),
            "VerificationFailed: the token refuses",
        ),
        (
            units(10_000),
            Reply::Error(-32003, "Insufficient funds for gas * price + value"),
            "VerificationFailed: the payer's balance does not cover the amount and",
        ),
        (
            units(10_000),
            Reply::Error(-32000, "intrinsic gas too high -- CallGasCostMoreThanGasLimit"),
            "VerificationFailed: the transaction's gas limit",
        ),
        (
            units(10_000),
            Reply::Error(-32603, "tempo transaction error: transaction expired: 5 >= validBefore 4"),
            "VerificationFailed: the transaction's `validBefore` is too near",
        ),
        // It ends in 25 seconds, so it is the node's newest block that is old.
        (
            units(10_000),
            Reply::Error(-32603, "expiring nonce valid_before (9) too far in the future: must be within 30s"),
            "Unavailable",
        ),
        (
            units(10_000),
            Reply::Error(-32000, "nonce too low: next nonce 5, tx nonce 4"),
            "VerificationFailed: the network would not accept",
        ),
        (units(10_000), Reply::Error(-32603, "internal error"), "Unavailable"),
        (units(10_000), Reply::Error(-32005, "limit exceeded"), "Unavailable"),
        (Reply::Status(500), units(1), "Unavailable"),
        (units(10_000), units(1), "accepted"),
    ] {
        let node = FakeNode::start(answer(balance, transfer)).await;
        let got = refusal(scene.verify(&tempo_at(&node.url), &payload, None).await);
        assert!(got.starts_with(expected), "{expected}: {got}");
    }
}

#[tokio::test]
async fn a_transaction_that_is_mined_already_is_settled_and_not_refused_for_an_empty_account() {
    let scene = Scene::new(10_000);
    let raw = scene.signed(scene.transaction());
    let receipt = scene.receipt(keccak256(&raw), |_| {});
    let node = FakeNode::start(move |method, params| match method {
        "eth_getTransactionReceipt" => Some(Reply::Result(receipt.clone())),
        "eth_call" => Some(Reply::Error(-32003, "Insufficient funds for gas * price + value")),
        "eth_sendRawTransactionSync" => Some(Reply::Error(-32603, "expiring nonce was used")),
        _ => healthy(method, params),
    })
    .await;
    let tempo = tempo_at(&node.url);
    let verified = scene.verify(&tempo, &scene.pull(&raw), None).await.unwrap();
    let settled = tempo.settle(&SettleCx::new("id", &verified.plan, Timestamp::from_unix(NOW))).await;
    assert_eq!(kind(&settled), "settled");
}

#[tokio::test]
async fn a_node_of_another_chain_confirms_nothing() {
    let scene = Scene::new(10_000);
    let node = FakeNode::start(|method, params| match method {
        "eth_chainId" => Some(Reply::Result(json!("0x1079"))),
        _ => healthy(method, params),
    })
    .await;
    let tempo = tempo_at(&node.url);
    let hash = members(json!({ "type": "hash", "hash": B256::repeat_byte(7) }));
    assert!(refusal(scene.verify(&tempo, &hash, None).await).starts_with("Unavailable"));
    assert_eq!(
        tempo.check().await.unwrap_err().to_string(),
        format!("the RPC node at {} serves chain 4217, not chain 31337", node.url),
    );
    assert_eq!(node.asked("eth_getTransactionReceipt"), 0);
}

#[tokio::test]
async fn a_pushed_payment_is_recognised_by_its_events() {
    let scene = Scene::new(10_000);
    let hash = B256::repeat_byte(7);
    type Spoil = fn(&mut Value);
    let table: [(&str, Spoil); 10] = [
        ("accepted", |_| {}),
        ("VerificationFailed: the transaction was reverted", |r| r["status"] = json!("0x0")),
        ("VerificationFailed: the transaction holds no transfer", |r| r["logs"][1]["address"] = json!(SHOP)),
        ("VerificationFailed: the transaction holds no transfer", |r| {
            r["logs"][1]["topics"][2] = json!(TOKEN.into_word())
        }),
        ("VerificationFailed: the transaction holds no transfer", |r| {
            r["logs"][1]["topics"][3] = json!(keccak256("x"))
        }),
        ("VerificationFailed: the transaction holds no transfer", |r| {
            r["logs"][1]["data"] = json!(hex::encode_prefixed(U256::from(5_000).abi_encode()));
            r["logs"][0] = r["logs"][1].clone(); // two half transfers
        }),
        ("VerificationFailed: the transaction holds no transfer", |r| {
            r["logs"].as_array_mut().unwrap().truncate(1); // a plain transfer
        }),
        ("VerificationFailed: the transfer was not made during", |r| {
            r["logs"][0]["blockTimestamp"] = json!(format!("{:#x}", EXPIRES + 16));
        }),
        ("VerificationFailed: the transfer was not made during", |r| {
            r["logs"][0]["blockTimestamp"] = json!(format!("{:#x}", NOW - 2 * 24 * 3600));
        }),
        ("Unavailable", |r| r["transactionHash"] = json!(B256::repeat_byte(8))),
    ];
    for (expected, spoil) in table {
        let receipt = scene.receipt(hash, spoil);
        let node = FakeNode::start(move |method, params| match method {
            "eth_getTransactionReceipt" => Some(Reply::Result(receipt.clone())),
            _ => healthy(method, params),
        })
        .await;
        // Upper case is the same hash, and yields the same key.
        let payload =
            members(json!({ "type": "hash", "hash": hash.to_string().to_uppercase().replace('X', "x") }));
        let verified = scene.verify(&tempo_at(&node.url), &payload, Some(&scene.did())).await;
        if let Ok(verified) = &verified {
            assert_eq!(verified.proof_keys, [format!("31337:{hash:#x}")]);
            assert_eq!(verified.payer, Some(scene.did()));
        }
        let got = refusal(verified);
        assert!(got.starts_with(expected), "{expected}: {got}");
    }
}

#[tokio::test]
async fn an_unknown_hash_is_refused_only_by_a_node_that_is_up_to_date() {
    let scene = Scene::new(10_000);
    let payload = members(json!({ "type": "hash", "hash": B256::repeat_byte(7) }));
    for (age, expected) in
        [(0, "VerificationFailed: there is no such"), (30, "VerificationFailed"), (31, "Unavailable")]
    {
        let node = FakeNode::start(move |method, params| match method {
            "eth_getBlockByNumber" => {
                Some(Reply::Result(json!({ "number": "0x1", "timestamp": format!("{:#x}", NOW - age) })))
            }
            _ => healthy(method, params),
        })
        .await;
        let got = refusal(scene.verify(&tempo_at(&node.url), &payload, None).await);
        assert!(got.starts_with(expected), "{age}: {got}");
        assert!(node.asked("eth_getTransactionReceipt") > 1, "it was waited for");
    }
}

#[tokio::test]
async fn who_has_no_place_to_wait_is_told_to_come_back() {
    let scene = Scene::new(10_000);
    let node = FakeNode::start(healthy).await;
    let mut tempo = tempo_at(&node.url);
    tempo.node.with_places(1, 1);
    let _held = tempo.node.place("somebody").unwrap();
    let payload = members(json!({ "type": "hash", "hash": B256::repeat_byte(7) }));
    assert!(refusal(scene.verify(&tempo, &payload, None).await).starts_with("Unavailable"));
}

#[tokio::test]
async fn who_has_no_place_to_wait_for_the_next_block_is_refused_at_the_first_look() {
    let scene = Scene::new(10_000);
    let payload = scene.pull(&scene.signed(scene.transaction()));
    let node = FakeNode::start(|method, params| match method {
        "eth_call" if params[0].get("calls").is_some() => Some(Reply::Error(-32000, "nonce too low")),
        _ => healthy(method, params),
    })
    .await;
    let mut tempo = tempo_at(&node.url);
    tempo.node.with_places(1, 1);
    let refused = "VerificationFailed: the network would not accept this transaction";
    let looks = || node.asked("eth_getTransactionReceipt");
    assert_eq!(refusal(scene.verify(&tempo, &payload, None).await), refused);
    assert_eq!(looks(), 3);
    let held = tempo.node.place("somebody").unwrap();
    assert_eq!(refusal(scene.verify(&tempo, &payload, None).await), refused);
    assert_eq!(looks(), 4);
    drop(held);
    assert_eq!(refusal(scene.verify(&tempo, &payload, None).await), refused);
    assert_eq!(looks(), 7, "the place was given back");
}

#[tokio::test]
async fn a_node_that_has_fallen_behind_refuses_nobody() {
    let scene = Scene::new(10_000);
    let payload = scene.pull(&scene.signed(scene.transaction()));
    for (age, expected) in [(30, "VerificationFailed"), (31, "Unavailable: tempo: the RPC node at")] {
        for (balance, error) in [(0, None), (10_000, Some("nonce too low")), (10_000, Some("revert"))] {
            let node = FakeNode::start(move |method, params| match (method, error) {
                ("eth_call", Some(error)) if params[0].get("calls").is_some() => {
                    Some(Reply::Error(-32000, error))
                }
                ("eth_call", _) => {
                    Some(Reply::Result(json!(hex::encode_prefixed(U256::from(balance).abi_encode()))))
                }
                ("eth_getBlockByNumber", _) => {
                    Some(Reply::Result(json!({ "number": "0x1", "timestamp": format!("{:#x}", NOW - age) })))
                }
                _ => healthy(method, params),
            })
            .await;
            let got = refusal(scene.verify(&tempo_at(&node.url), &payload, None).await);
            assert!(got.starts_with(expected), "{age} {balance} {error:?}: {got}");
        }
    }
}

#[tokio::test]
async fn a_payment_costs_one_round_trip_and_a_pulled_one_a_broadcast_more() {
    let scene = Scene::new(10_000);
    let raw = scene.signed(scene.transaction());
    let receipt = scene.receipt(keccak256(&raw), |_| {});
    let pushed = FakeNode::start({
        let receipt = receipt.clone();
        move |method, params| match method {
            "eth_getTransactionReceipt" => Some(Reply::Result(receipt.clone())),
            _ => healthy(method, params),
        }
    })
    .await;
    let pulled = FakeNode::start(move |method, params| match method {
        "eth_sendRawTransactionSync" => Some(Reply::Result(receipt.clone())),
        _ => healthy(method, params),
    })
    .await;
    let hash = members(json!({ "type": "hash", "hash": keccak256(&raw) }));
    for (node, payload, rounds) in [(&pushed, hash, 1), (&pulled, scene.pull(&raw), 2)] {
        let tempo = tempo_at(&node.url);
        // Which chain it serves is asked once per process.
        tempo.node.trusted(31337).await.unwrap();
        let before = node.rounds();
        let verified = scene.verify(&tempo, &payload, None).await.unwrap();
        let cx = SettleCx::new("id", &verified.plan, Timestamp::from_unix(NOW));
        assert_eq!(kind(&tempo.settle(&cx).await), "settled");
        assert_eq!(node.rounds() - before, rounds);
    }
}

/// Runs `settle` (or `resolve`) of a good transaction against a node whose broadcast and later receipt are scripted.
struct Ending {
    sync: Reply,
    plain: Option<Reply>,
    receipt: fn(&Scene, B256) -> Value,
    finalized: i64,
}

impl Default for Ending {
    fn default() -> Self {
        Self { sync: Reply::Silence, plain: None, receipt: |_, _| Value::Null, finalized: NOW }
    }
}

impl Ending {
    async fn play(self) -> (Settlement, Settlement, usize) {
        let scene = Scene::new(10_000);
        let raw = scene.signed(scene.transaction());
        let hash = keccak256(&raw);
        let receipt = (self.receipt)(&scene, hash);
        let known = Arc::new(Mutex::new(false));
        let node = FakeNode::start(move |method, params| match method {
            "eth_sendRawTransactionSync" | "eth_sendRawTransaction" => {
                *known.lock().unwrap() = true;
                if method.ends_with("Sync") { Some(self.sync.clone()) } else { self.plain.clone() }
            }
            "eth_getTransactionReceipt" if *known.lock().unwrap() => Some(Reply::Result(receipt.clone())),
            "eth_getBlockByNumber" if params[0] == "finalized" => {
                Some(Reply::Result(json!({ "number": "0x1", "timestamp": format!("{:#x}", self.finalized) })))
            }
            _ => healthy(method, params),
        })
        .await;
        let tempo = tempo_at(&node.url);
        let verified = scene.verify(&tempo, &scene.pull(&raw), None).await.unwrap();
        let cx = SettleCx::new("id", &verified.plan, Timestamp::from_unix(NOW));
        let settled = tempo.settle(&cx).await;
        let resolved = tempo.resolve(&cx).await;
        let sent = node.asked("eth_sendRawTransactionSync").max(node.asked("eth_sendRawTransaction"));
        (settled, resolved, sent)
    }
}

fn kind(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Settled(_) => "settled".into(),
        Settlement::Declined(Rejection::Refused { detail, .. }) => format!("declined: {detail}"),
        Settlement::Declined(Rejection::Unavailable { .. }) => "declined: unavailable".into(),
        Settlement::Unknown { .. } => "unknown".into(),
    }
}

#[tokio::test]
async fn a_broadcast_that_succeeds_is_settled_by_either_call() {
    let paid = |scene: &Scene, hash| scene.receipt(hash, |_| {});
    let scene = Scene::new(10_000);
    let hash = keccak256(scene.signed(scene.transaction()));
    let sync = Ending { sync: Reply::Result(paid(&scene, hash)), receipt: paid, ..Default::default() };
    let plain = Ending {
        sync: Reply::Error(-32601, "the method does not exist"),
        plain: Some(Reply::Result(json!(hash))),
        receipt: paid,
        ..Default::default()
    };
    for ending in [sync, plain] {
        let (settled, resolved, sent) = ending.play().await;
        let Settlement::Settled(payment) = &settled else { panic!("{settled:?}") };
        assert_eq!(payment.reference, format!("{hash:#x}"));
        assert_eq!(settled, resolved);
        assert_eq!(sent, 1);
    }
}

#[tokio::test]
async fn after_a_lost_answer_the_transaction_is_looked_up_and_never_sent_again() {
    let found = Ending { receipt: |scene, hash| scene.receipt(hash, |_| {}), ..Default::default() };
    let (settled, _, sent) = found.play().await;
    assert_eq!((kind(&settled).as_str(), sent), ("settled", 1));

    for sync in [
        Reply::Silence,
        Reply::Status(502),
        Reply::Error(4, "the transaction was not mined in time"),
        Reply::Error(-32000, "already known"),
        Reply::Error(-32000, "nonce too low"),
        Reply::Error(-32603, "internal error"),
        // Even these: a copy may have been taken before, by another node behind the same URL.
        Reply::Error(-32003, "insufficient fee token balance: have 0, need 32700"),
        Reply::Status(401),
        Reply::Status(429),
        Reply::Result(Value::Null),
        Reply::Result(json!("nonsense")),
    ] {
        let shown = format!("{sync:?}");
        let (settled, resolved, sent) = Ending { sync, ..Default::default() }.play().await;
        assert_eq!(
            (kind(&settled).as_str(), kind(&resolved).as_str(), sent),
            ("unknown", "unknown", 1),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_payment_is_declined_only_when_nothing_moved_and_nothing_can() {
    let reverted = |scene: &Scene, hash| scene.receipt(hash, |r| r["status"] = json!("0x0"));
    let unpaid =
        |scene: &Scene, hash| scene.receipt(hash, |r| r["logs"][1]["topics"][2] = json!(TOKEN.into_word()));
    let past = NOW + 25 + 10;
    for (ending, settled, resolved) in [
        (
            Ending { receipt: reverted, ..Default::default() },
            "declined: the transaction was reverted",
            "declined: the transaction was reverted",
        ),
        (Ending { receipt: unpaid, ..Default::default() }, "unknown", "unknown"),
        (
            Ending { finalized: past, ..Default::default() },
            "unknown",
            "declined: the transaction was not mined",
        ),
        (Ending { finalized: past - 1, ..Default::default() }, "unknown", "unknown"),
    ] {
        let (got_settled, got_resolved, _) = ending.play().await;
        assert!(kind(&got_settled).starts_with(settled), "{settled}: {got_settled:?}");
        assert!(kind(&got_resolved).starts_with(resolved), "{resolved}: {got_resolved:?}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_handed_over() {
    let scene = Scene::new(10_000);
    let node = FakeNode::start(healthy).await;
    let verified = scene
        .verify(&tempo_at(&node.url), &scene.pull(&scene.signed(scene.transaction())), None)
        .await
        .unwrap();
    let cut_off = tempo_at("http://127.0.0.1:1");
    let cx = SettleCx::new("id", &verified.plan, Timestamp::from_unix(NOW));
    assert_eq!(kind(&cut_off.settle(&cx).await), "declined: unavailable");
    assert_eq!(kind(&cut_off.resolve(&cx).await), "unknown");
}

#[test]
fn configuration_problems_are_sentences_without_secrets() {
    let tempo = Tempo::new("0x7099").rpc("http://rpc.example.org/s3cret").token("USDC", "0x1").chain_id(0);
    let problems: Vec<_> = tempo.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(!problems.concat().contains("s3cret"));
    assert!(!format!("{tempo:?}").contains("s3cret"));
    assert!(Tempo::new(&Address::ZERO.to_string()).problems()[0].to_string().contains("zero address"));
}

#[test]
fn tokens_depend_on_the_chain_and_can_be_overridden() {
    let tempo = |chain| Tempo::new(&SHOP.to_string()).chain_id(chain);
    assert_eq!(tempo(MAINNET).currencies(), ["pathusd", "usdc"]);
    assert_eq!(tempo(MODERATO).currencies(), ["pathusd"]);
    assert_eq!(tempo(31337).currencies(), ["alphausd", "pathusd"]);
    let usdc = tempo(MAINNET).currency("usdc").unwrap();
    assert_eq!(usdc.id, "0x20c000000000000000000000b9537d11c60e8b50");
    let own = tempo(31337).token("pathusd", "0x20c0000000000000000000000000000000000003");
    assert_eq!(own.currency("pathusd").unwrap().id, "0x20c0000000000000000000000000000000000003");
    assert_eq!(own.currency("usdc"), None);
}

#[test]
fn a_plan_survives_the_journal_and_an_unreadable_one_is_unknown() {
    let effect = plan::Effect {
        payer: SHOP,
        token: TOKEN,
        recipient: SHOP,
        amount: U256::MAX,
        splits: vec![request::Leg { recipient: TOKEN, amount: U256::from(1), memo: None }],
        memo: B256::repeat_byte(2),
        chain_id: 31337,
        valid_before: u64::MAX,
        external_id: Some("order 7".into()),
    };
    let raw = Bytes::from_static(&[0x76, 1]);
    let sponsored =
        plan::Sponsored { raw: raw.clone(), client: B256::ZERO, most: u64::MAX, effect: effect.clone() };
    let written = plan::Plan::Sponsored(Box::new(sponsored)).write();
    assert!(plan::Plan::read(&written).unwrap().write() == written);
    let broadcast = plan::Broadcast { raw, hash: B256::repeat_byte(1), effect };
    let written = plan::Plan::Transaction(broadcast).write();
    assert!(plan::Plan::read(&written).unwrap().write() == written);
    assert!(plan::Plan::read(&crate::method::SettlementPlan(json!({ "type": "iou" }))).is_none());
    assert_eq!(format!("{written:?}"), "SettlementPlan(..)");
}

#[tokio::test]
async fn offers_of_another_configuration_are_refused_as_stale() {
    let mut scene = Scene::new(10_000);
    let tempo = tempo_at("http://127.0.0.1:1");
    scene.request.method_details.as_mut().unwrap().insert("chainId".into(), json!(4217));
    assert!(refusal(scene.verify(&tempo, &Map::new(), None).await).contains("no longer taken"));
    scene.request.method_details = None;
    let stale = scene.verify(&tempo, &Map::new(), None).await;
    assert!(matches!(stale, Err(Rejection::Refused { kind: ProblemType::InvalidChallenge, .. })));
}

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_of_any_level_holds_a_transaction_or_the_secret_part_of_the_url() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // Other tests of this process share the bridge; the subscriber is this thread's.
    drop(tracing_log::LogTracer::init());
    let _guard = tracing::subscriber::set_default(subscriber);

    let scene = Scene::new(10_000);
    let raw = scene.signed(scene.transaction());
    for sync in [
        Reply::Result(scene.receipt(keccak256(&raw), |_| {})),
        Reply::Error(-32000, "already known"),
        Reply::Status(500),
    ] {
        let node = FakeNode::start(move |method, params| match method {
            "eth_sendRawTransactionSync" => Some(sync.clone()),
            _ => healthy(method, params),
        })
        .await;
        let tempo = tempo_at(&format!("{}/v1/k3y-in-path?token=t0ken", node.url));
        tracing::trace!(?tempo, "a line of the test's own");
        let verified = scene.verify(&tempo, &scene.pull(&raw), Some(&scene.did())).await.unwrap();
        let cx = SettleCx::new("id", &verified.plan, Timestamp::from_unix(NOW));
        tracing::trace!(?verified, settled = ?tempo.settle(&cx).await, resolved = ?tempo.resolve(&cx).await);
        let refused = scene.verify(&tempo, &scene.pull(&raw[1..]), None).await;
        tracing::trace!(?refused);
    }

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("a line of the test's own") && log.contains("reqwest"),
        "the log is captured: {log}"
    );
    let hex = hex::encode(&raw);
    let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &raw);
    for secret in [
        &hex[..40],
        &hex[hex.len() - 40..],
        &base64[..32],
        &format!("{:?}", &raw[..12])[1..40],
        "k3y-in-path",
        "t0ken",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}
