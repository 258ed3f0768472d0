//! Sponsored payments: what is signed for, what it may cost, and what is left behind when something dies in between.

use super::*;
use crate::method::{Fees, Sponsoring};
use crate::protocol::Amount;
use crate::store::Notebook;
use alloy::consensus::transaction::SignerRecoverable;
use alloy::eips::eip2718::Decodable2718;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use tempo_alloy::primitives::AASigned;
use tempo_alloy::primitives::transaction::FEE_PAYER_SIGNATURE_MARKER;

/// 500,000 gas at 20 gwei: 0.01 dollars.
const FEE: u64 = 10_000;

fn sponsor_key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(9)).unwrap()
}

fn sponsored_at(url: &str, policy: SponsorPolicy) -> Tempo {
    tempo_at(url).sponsor(Sponsor::signer(sponsor_key()).policy(policy))
}

fn scene() -> Scene {
    let tempo = sponsored_at("http://127.0.0.1:1", SponsorPolicy::new());
    Scene::asking(&tempo, 10_000, |cx| cx.fees = Fees::Sponsored)
}

impl Scene {
    fn waiting(&self) -> TempoTransaction {
        TempoTransaction {
            max_fee_per_gas: 20_000_000_000,
            fee_payer_signature: Some(FEE_PAYER_SIGNATURE_MARKER),
            ..self.transaction()
        }
    }

    /// As deployed clients send it.
    fn envelope(&self, tx: TempoTransaction) -> Vec<u8> {
        let signature = self.key.sign_hash_sync(&tx.signature_hash()).unwrap();
        let signed = tx.into_signed(signature.into());
        envelope::write(&signed, envelope::Slot::Sender(self.key.address())).unwrap().to_vec()
    }
}

/// A chain that mines whatever is broadcast, and says what it was told about the receipt.
#[derive(Clone, Default)]
struct Chain(Arc<Inside>);

#[derive(Default)]
struct Inside {
    raw: Mutex<Vec<Vec<u8>>>,
    reverts: AtomicUsize,
    finalized: AtomicI64,
    mute: AtomicUsize,
    simulated: AtomicUsize,
    base_fee: AtomicUsize,
}

impl Chain {
    async fn start(&self) -> FakeNode {
        let chain = self.0.clone();
        FakeNode::start(move |method, params| {
            Some(Reply::Result(match method {
                "eth_sendRawTransactionSync" => {
                    let raw = hex::decode(params[0].as_str().unwrap()).unwrap();
                    chain.raw.lock().unwrap().push(raw);
                    return Some(Reply::Status(502));
                }
                "eth_getTransactionReceipt" if chain.mute.load(Ordering::SeqCst) == 1 => Value::Null,
                "eth_getTransactionReceipt" => chain.receipt(&params[0]),
                "eth_call" => {
                    chain.simulated.fetch_add(1, Ordering::SeqCst);
                    json!(hex::encode_prefixed(U256::from(1_000_000).abi_encode()))
                }
                "eth_getBlockByNumber" if params[0] == "finalized" => {
                    let time = chain.finalized.load(Ordering::SeqCst);
                    json!({ "number": "0x10", "timestamp": format!("{time:#x}") })
                }
                "eth_getBlockByNumber" => {
                    let base_fee = format!("{:#x}", chain.base_fee.load(Ordering::SeqCst));
                    json!({ "number": "0x10", "timestamp": format!("{NOW:#x}"), "baseFeePerGas": base_fee })
                }
                _ => return healthy(method, params),
            }))
        })
        .await
    }

    fn broadcasts(&self) -> Vec<AASigned> {
        let raw = self.0.raw.lock().unwrap();
        raw.iter().map(|raw| AASigned::decode_2718(&mut raw.as_slice()).unwrap()).collect()
    }
}

impl Inside {
    /// The receipt of a broadcast transaction: 250,000 gas at 20 gwei, 0.005 dollars.
    fn receipt(&self, hash: &Value) -> Value {
        let raw = self.raw.lock().unwrap();
        let found = raw.iter().find(|raw| json!(keccak256(raw)) == *hash);
        let Some(signed) = found.map(|raw| AASigned::decode_2718(&mut raw.as_slice()).unwrap()) else {
            return Value::Null;
        };
        let call = ITIP20::transferWithMemoCall::abi_decode(&signed.tx().calls[0].input).unwrap();
        let payer = signed.recover_signer().unwrap();
        let reverted = self.reverts.load(Ordering::SeqCst) == 1;
        let topics =
            [ITIP20::TransferWithMemo::SIGNATURE_HASH, payer.into_word(), call.to.into_word(), call.memo];
        let log = json!({ "address": TOKEN, "topics": topics, "data": hex::encode_prefixed(call.amount.abi_encode()) });
        json!({
            "transactionHash": hash, "blockNumber": "0x10", "status": if reverted { "0x0" } else { "0x1" },
            "gasUsed": "0x3d090", "effectiveGasPrice": "0x4a817c800", "logs": if reverted { json!([]) } else { json!([log]) },
        })
    }
}

/// One sponsored payment from its envelope to its end.
async fn pay(scene: &Scene, tempo: &Tempo, notebook: &Notebook, id: &str) -> Settlement {
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    let verified = match scene.verify(tempo, &payload, None).await {
        Ok(verified) => verified,
        Err(rejection) => return Settlement::Declined(rejection),
    };
    let cx = SettleCx::new(id, &verified.plan, Timestamp::from_unix(NOW)).with_notebook(notebook);
    tempo.settle(&cx).await
}

#[tokio::test]
async fn what_mppx_was_recorded_to_send_is_signed_for_and_broadcast_once() {
    let chain = Chain::default();
    let node = chain.start().await;
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    let (credential, mut request) = recorded("charge-sponsored");
    // Their server does not say that it takes no hashes; ours does.
    request.method_details.as_mut().unwrap().insert("supportedModes".into(), json!(["pull"]));
    let expires = credential.challenge.expires_at().unwrap().unwrap();
    let now = expires - Duration::from_secs(299);
    let mut cx = CredentialCx::new(&credential.challenge, &request, &credential.payload, expires, now);
    cx.source = credential.source.as_deref();
    chain.0.base_fee.store(1_200_000_010, Ordering::SeqCst);
    let refused = refusal(tempo.verify(&cx).await);
    assert!(refused.contains("offers less for gas than the network asks for"), "{refused}");

    chain.0.base_fee.store(1_000_000_000, Ordering::SeqCst);
    let verified = tempo.verify(&cx).await.unwrap();
    assert_eq!(verified.payer.as_deref(), credential.source.as_deref());
    let notebook = Notebook::volatile("tempo");
    let cx = SettleCx::new(&credential.challenge.id, &verified.plan, now).with_notebook(&notebook);
    assert!(matches!(tempo.settle(&cx).await, Settlement::Settled(_)));
    assert_eq!(chain.broadcasts().len(), 1);
}

#[tokio::test]
async fn a_sponsored_payment_is_signed_for_by_the_sponsor_and_costs_what_the_receipt_says() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    let scene = scene();
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    let Settlement::Settled(payment) = pay(&scene, &tempo, &notebook, "one").await else { panic!() };

    let broadcasts = chain.broadcasts();
    let [sent] = broadcasts.as_slice() else { panic!("one broadcast") };
    assert_eq!(payment.reference, format!("{:#x}", sent.hash()));
    assert_eq!(sent.recover_signer().unwrap(), scene.key.address());
    assert_eq!(sent.tx().recover_fee_payer(scene.key.address()).unwrap(), sponsor_key().address());
    assert_eq!(sent.tx().fee_token, Some(TOKEN));
    // The whole transaction and its one call were tried before.
    assert_eq!(chain.0.simulated.load(Ordering::SeqCst), 4, "two balances, two simulations");

    let hour = NOW / 3600;
    let spent: Value = notebook.read(&format!("budget/31337/{hour}/total")).await.unwrap().unwrap();
    assert_eq!(spent, json!({ "spent": FEE / 2, "reverted": 0 }));
    let page: Value = notebook.read("cosigned/one").await.unwrap().unwrap();
    assert_eq!(page, json!({ "Closed": { "hash": sent.hash() } }), "the signed bytes are erased");
}

#[tokio::test]
async fn every_rule_of_the_policy_refuses_before_anything_is_signed() {
    type Spoil = fn(&Scene, &mut TempoTransaction);
    let table: [(&str, Spoil); 14] = [
        ("more gas", |_, tx| (tx.gas_limit, tx.max_fee_per_gas) = (2_000_001, 1)),
        ("offers more for gas", |_, tx| tx.max_fee_per_gas = 100_000_000_001),
        ("priority fee", |_, tx| tx.max_priority_fee_per_gas = 10_000_000_001),
        ("may cost more", |_, tx| (tx.gas_limit, tx.max_fee_per_gas) = (1_000_000, 50_000_000_001)),
        ("expiring nonce", |_, tx| tx.nonce_key = U256::from(7)),
        ("names a fee token", |_, tx| tx.fee_token = Some(TOKEN)),
        ("exactly one call", |s, tx| tx.calls.push(s.call(1))),
        ("another contract", |s, tx| tx.calls[0].to = TxKind::Call(s.key.address())),
        ("another amount", |s, tx| tx.calls = vec![s.call(9_999)]),
        ("access list", |_, tx| tx.access_list = vec![Default::default()].into()),
        ("later than the challenge's expiry", |_, tx| tx.valid_before = NonZeroU64::new(EXPIRES as u64 + 1)),
        ("has to set `validBefore`", |_, tx| tx.valid_before = None),
        ("another chain", |_, tx| tx.chain_id = 4217),
        ("has to call `transferWithMemo", |_, tx| {
            tx.calls[0].input = [&tx.calls[0].input[..], &[0; 32]].concat().into();
        }),
    ];
    let scene = scene();
    // Nothing listens there: a network question would be an `Unavailable`.
    let tempo = sponsored_at("http://127.0.0.1:1", SponsorPolicy::new());
    for (expected, spoil) in table {
        let mut tx = scene.waiting();
        spoil(&scene, &mut tx);
        let signature = scene.key.sign_hash_sync(&tx.signature_hash()).unwrap();
        let signed = tx.into_signed(signature.into());
        // A fee token survives in one spelling only.
        let slot = if signed.tx().fee_token.is_some() {
            envelope::Slot::Marker
        } else {
            envelope::Slot::Placeholder
        };
        let raw = envelope::write(&signed, slot).unwrap();
        let got = refusal(scene.verify(&tempo, &scene.pull(&raw), None).await);
        assert!(got.starts_with("VerificationFailed") && got.contains(expected), "{expected}: {got}");
    }
    let window = SponsorPolicy::new().max_validity(Duration::from_secs(24));
    let tempo = sponsored_at("http://127.0.0.1:1", window);
    let got = refusal(scene.verify(&tempo, &scene.pull(&scene.envelope(scene.waiting())), None).await);
    assert!(got.contains("further away than the sponsor signs for"), "{got}");
}

#[tokio::test]
async fn on_a_sponsored_offer_only_a_waiting_transaction_is_taken() {
    let scene = scene();
    let tempo = sponsored_at("http://127.0.0.1:1", SponsorPolicy::new());
    let own_fee = scene.pull(&scene.signed(scene.transaction()));
    let hash = members(json!({ "type": "hash", "hash": B256::repeat_byte(7) }));
    let liar = {
        let signed = envelope::read(&scene.envelope(scene.waiting())).unwrap().0;
        scene.pull(&envelope::write(&signed, envelope::Slot::Sender(SHOP)).unwrap())
    };
    for (payload, expected) in [
        (own_fee, "does not wait for a fee payer"),
        (hash, "send the transaction, not its hash"),
        (scene.pull(&[0x78, 1]), "MalformedCredential"),
        (liar, "not signed by the sender it names"),
    ] {
        let got = refusal(scene.verify(&tempo, &payload, None).await);
        assert!(got.contains(expected), "{expected}: {got}");
    }
    // Taken back by the operator: the offers of a moment ago are refused, with a fresh challenge.
    let got = refusal(
        scene
            .verify(&tempo_at("http://127.0.0.1:1"), &scene.pull(&scene.envelope(scene.waiting())), None)
            .await,
    );
    assert!(got.contains("VerificationFailed: fees are not sponsored at the moment"), "{got}");
}

#[tokio::test]
async fn one_signature_of_the_payer_is_one_proof_key_however_it_is_spelled() {
    let node = FakeNode::start(healthy).await;
    let scene = scene();
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    let (signed, sender) = envelope::read(&scene.envelope(scene.waiting())).unwrap();
    let mut keys = Vec::new();
    for slot in [sender, envelope::Slot::Placeholder, envelope::Slot::Marker] {
        let raw = envelope::write(&signed, slot).unwrap();
        keys.extend(scene.verify(&tempo, &scene.pull(&raw), None).await.unwrap().proof_keys);
    }
    keys.dedup();
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert!(key.starts_with("31337:signed:0x"));
    // What the fee payer adds changes the transaction's hash and not the key; another transaction has another key.
    let mut other = scene.waiting();
    other.gas_limit += 1;
    let other = scene.verify(&tempo, &scene.pull(&scene.envelope(other)), None).await.unwrap();
    assert_ne!(other.proof_keys[0], *key);
}

#[tokio::test]
async fn what_a_simulation_refuses_is_not_signed_for() {
    let scene = scene();
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    // Some nodes run only the first kind of question, some only the second.
    for whole in [true, false] {
        let node = FakeNode::start(move |method, params| {
            let transfer = params[0]["calls"].is_array() == whole && (whole || params[0]["from"].is_string());
            match method {
                "eth_call" if transfer => Some(Reply::Error(3, "execution reverted: PolicyForbids")),
                _ => healthy(method, params),
            }
        })
        .await;
        let tempo = sponsored_at(&node.url, SponsorPolicy::new());
        let got = refusal(scene.verify(&tempo, &payload, None).await);
        assert!(got.contains("the token refuses this transfer from this payer"), "{whole}: {got}");
    }
}

#[tokio::test]
async fn what_was_not_broadcast_is_simulated_again_when_it_comes_back() {
    let emptied = Arc::new(AtomicUsize::new(0));
    let node = FakeNode::start({
        let emptied = emptied.clone();
        move |method, params| match method {
            "eth_call" if params[0]["calls"].is_array() && emptied.load(Ordering::SeqCst) == 1 => {
                Some(Reply::Error(3, "execution reverted: InsufficientBalance"))
            }
            _ => healthy(method, params),
        }
    })
    .await;
    let scene = scene();
    // The fee payer cannot be reached: nothing is signed, and the payer may send the same again.
    let tempo = tempo_at(&node.url).sponsor(Sponsor::hosted("http://127.0.0.1:1"));
    let notebook = Notebook::volatile("tempo");
    assert_eq!(kind(&pay(&scene, &tempo, &notebook, "one").await), "declined: unavailable");
    emptied.store(1, Ordering::SeqCst);
    let again = pay(&scene, &tempo, &notebook, "one").await;
    assert_eq!(kind(&again), "declined: the token refuses this transfer from this payer");
}

#[tokio::test]
async fn an_empty_sponsor_is_our_trouble_and_switches_sponsoring_off() {
    let scene = scene();
    let purse = format!("{:#x}", sponsor_key().address().into_word());
    let node = FakeNode::start(move |method, params| {
        let own = params[0]["data"].as_str().is_some_and(|data| data.ends_with(&purse[26..]));
        match method {
            "eth_call" if own => {
                Some(Reply::Result(json!(hex::encode_prefixed(U256::from(FEE - 1).abi_encode()))))
            }
            _ => healthy(method, params),
        }
    })
    .await;
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    assert_eq!(tempo.sponsoring(), Sponsoring::Open);
    let got = refusal(scene.verify(&tempo, &scene.pull(&scene.envelope(scene.waiting())), None).await);
    assert_eq!(got, "Unavailable: tempo: the sponsor's account has run dry");
    assert_eq!(tempo.sponsoring(), Sponsoring::Paused);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_refuses_and_pauses_until_its_window_ends() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    let hour = Duration::from_secs(3600);
    let units = |n: u64| Amount::micros(n.into());
    // One unit less than two worst fees; each costs half of one in the end.
    let policy = || SponsorPolicy::new().max_fee(units(FEE)).budget(hour, units(FEE), units(FEE * 2 - 1));
    let tempo = sponsored_at(&node.url, policy());
    let scene = scene();
    let first = pay(&scene, &tempo, &notebook, "one").await;
    assert!(matches!(first, Settlement::Settled(_)), "{first:?}");
    // Half the budget of this payer is spent: the worst fee does not fit any more.
    let second = pay(&scene, &tempo, &notebook, "two").await;
    assert_eq!(kind(&second), "declined: the sponsor pays no more fees of this payer for a while");
    assert_eq!(tempo.sponsoring(), Sponsoring::Open);
    let other =
        |n: u8| Scene { key: PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap(), ..self::scene() };
    assert!(matches!(pay(&other(2), &tempo, &notebook, "three").await, Settlement::Settled(_)));
    let third = pay(&other(3), &tempo, &notebook, "four").await;
    assert_eq!(kind(&third), "declined: fees are not sponsored at the moment");
    assert_eq!(tempo.sponsoring(), Sponsoring::Paused);
    assert_eq!(chain.broadcasts().len(), 2);

    tokio::time::advance(hour).await;
    assert_eq!(tempo.sponsoring(), Sponsoring::Open);
    // Another process with the same store knows the budget without having seen a payment.
    let elsewhere = sponsored_at(&node.url, policy());
    assert_eq!(
        kind(&pay(&other(4), &elsewhere, &notebook, "five").await),
        "declined: fees are not sponsored at the moment"
    );
}

#[tokio::test]
async fn reverted_transactions_are_counted_and_a_client_that_causes_them_gets_no_more() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    chain.0.reverts.store(1, Ordering::SeqCst);
    let policy = SponsorPolicy::new()
        .reverted(Amount::micros(u128::from(FEE)), Amount::micros(u128::from(FEE * 3 / 2)));
    let tempo = sponsored_at(&node.url, policy);
    let scene = scene();
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    let attempt = async |client: &'static str, id: &'static str| {
        let mut cx = CredentialCx::new(
            &scene.challenge,
            &scene.request,
            &payload,
            Timestamp::from_unix(EXPIRES),
            Timestamp::from_unix(NOW),
        );
        cx.client = client;
        let verified = tempo.verify(&cx).await.unwrap();
        let settled = SettleCx::new(id, &verified.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
        kind(&tempo.settle(&settled).await)
    };
    let reverted = "declined: the transaction was reverted; nothing was paid";
    // 0.005 dollars each.
    assert_eq!(attempt("203.0.113.7", "one").await, reverted);
    assert_eq!(attempt("203.0.113.7", "two").await, reverted);
    assert!(attempt("203.0.113.7", "three").await.contains("too many transactions"));
    assert_eq!(chain.broadcasts().len(), 2, "nothing was signed for");
    // Others are not concerned, until the breaker opens.
    assert_eq!(tempo.sponsoring(), Sponsoring::Open);
    assert_eq!(attempt("198.51.100.1", "four").await, reverted);
    assert_eq!(tempo.sponsoring(), Sponsoring::Paused);
}

#[tokio::test]
async fn one_transaction_is_signed_for_once_and_found_again_after_a_crash() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    let scene = scene();
    let tempo = || sponsored_at(&node.url, SponsorPolicy::new());
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    let verified = scene.verify(&tempo(), &payload, None).await.unwrap();
    let cx = SettleCx::new("one", &verified.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);

    // The broadcast's answer is lost and no receipt comes.
    chain.0.mute.store(1, Ordering::SeqCst);
    assert_eq!(kind(&tempo().settle(&cx).await), "unknown");
    assert_eq!(kind(&tempo().resolve(&cx).await), "unknown");
    // Even if it were asked to settle again, it would not sign again.
    assert_eq!(kind(&tempo().settle(&cx).await), "unknown");
    assert_eq!(chain.broadcasts().len(), 1);
    let page: Value = notebook.read("cosigned/one").await.unwrap().unwrap();
    assert_eq!(page["Signed"]["hash"], json!(chain.broadcasts()[0].hash()));
    assert_eq!(page["Signed"]["raw"], json!(hex::encode_prefixed(&chain.0.raw.lock().unwrap()[0])));

    chain.0.mute.store(0, Ordering::SeqCst);
    let found = tempo().resolve(&cx).await;
    assert!(
        matches!(&found, Settlement::Settled(p) if p.reference == format!("{:#x}", chain.broadcasts()[0].hash()))
    );
    assert_eq!(tempo().resolve(&cx).await, found);
    let hour = NOW / 3600;
    let total: Value = notebook.read(&format!("budget/31337/{hour}/total")).await.unwrap().unwrap();
    assert_eq!(total["spent"], FEE / 2, "corrected once, although it was looked up twice");
}

#[tokio::test]
async fn a_process_that_died_before_its_broadcast_cannot_broadcast_any_more() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    let scene = scene();
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    let verified = scene.verify(&tempo, &payload, None).await.unwrap();
    let cx = SettleCx::new("one", &verified.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
    // Found dead by another process …
    assert_eq!(kind(&tempo.resolve(&cx).await), "declined: unavailable");
    // … and only slow in truth.
    assert_eq!(kind(&tempo.settle(&cx).await), "declined: unavailable");
    assert_eq!(chain.broadcasts().len(), 0);
    // Without a notebook nothing is signed at all.
    let bare = SettleCx::new("two", &verified.plan, Timestamp::from_unix(NOW));
    assert_eq!(kind(&tempo.settle(&bare).await), "declined: unavailable");
    assert_eq!(chain.broadcasts().len(), 0);
}

#[tokio::test]
async fn bytes_that_never_left_cost_nothing_and_are_what_is_broadcast_when_the_credential_comes_back() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    let scene = scene();
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    // The node is gone between the look and the broadcast.
    let cut_off = sponsored_at("http://127.0.0.1:1", SponsorPolicy::new());
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    let verified = scene.verify(&tempo, &payload, None).await.unwrap();
    let cx = SettleCx::new("one", &verified.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
    assert_eq!(kind(&cut_off.settle(&cx).await), "declined: unavailable");
    let total: Value = notebook.read(&format!("budget/31337/{}/total", NOW / 3600)).await.unwrap().unwrap();
    assert_eq!(total, json!({ "spent": 0, "reverted": 0 }));
    let kept: Value = notebook.read("cosigned/one").await.unwrap().unwrap();

    // Nothing to wait for: the same credential again pays, with the same signature of the sponsor's.
    let settled = tempo.settle(&cx).await;
    assert!(matches!(settled, Settlement::Settled(_)), "{settled:?}");
    let broadcasts = chain.broadcasts();
    let [sent] = broadcasts.as_slice() else { panic!("one broadcast") };
    assert_eq!(kept["Kept"]["hash"], json!(sent.hash()));
    let total: Value = notebook.read(&format!("budget/31337/{}/total", NOW / 3600)).await.unwrap().unwrap();
    assert_eq!(total, json!({ "spent": FEE / 2, "reverted": 0 }));

    // Found by recovery instead: given up for good, and whoever was about to broadcast cannot.
    let cx = SettleCx::new("two", &verified.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
    assert_eq!(kind(&cut_off.settle(&cx).await), "declined: unavailable");
    assert_eq!(kind(&tempo.resolve(&cx).await), "declined: unavailable");
    assert_eq!(kind(&tempo.settle(&cx).await), "declined: unavailable");
    assert_eq!(chain.broadcasts().len(), 1);
}

#[tokio::test]
async fn a_client_has_no_more_signed_for_at_once_than_may_revert() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    chain.0.mute.store(1, Ordering::SeqCst);
    let policy = SponsorPolicy::new()
        .reverted(Amount::micros(u128::from(FEE * 2)), Amount::micros(u128::from(FEE * 20)));
    let tempo = sponsored_at(&node.url, policy);
    let payer =
        |n: u8| Scene { key: PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap(), ..self::scene() };
    let attempt = async |n: u8, client: &'static str| {
        let scene = payer(n);
        let payload = scene.pull(&scene.envelope(scene.waiting()));
        let (expires, now) = (Timestamp::from_unix(EXPIRES), Timestamp::from_unix(NOW));
        let mut cx = CredentialCx::new(&scene.challenge, &scene.request, &payload, expires, now);
        cx.client = client;
        let verified = tempo.verify(&cx).await.unwrap();
        let id = format!("payment-{n}");
        kind(&tempo.settle(&SettleCx::new(&id, &verified.plan, now).with_notebook(&notebook)).await)
    };
    // Nobody knows yet what becomes of them; each of another payer.
    assert_eq!(attempt(1, "203.0.113.7").await, "unknown");
    assert_eq!(attempt(2, "203.0.113.7").await, "unknown");
    assert!(attempt(3, "203.0.113.7").await.contains("are under way"));
    assert_eq!(attempt(4, "198.51.100.1").await, "unknown", "others are not concerned");
    assert_eq!(chain.broadcasts().len(), 3);
    assert_eq!(tempo.sponsoring(), Sponsoring::Open);
}

#[tokio::test]
async fn a_pause_for_a_spent_budget_ends_when_what_was_reserved_is_not_needed() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    chain.0.mute.store(1, Ordering::SeqCst);
    let units = |n: u64| Amount::micros(n.into());
    let policy =
        SponsorPolicy::new().max_fee(units(FEE)).budget(Duration::from_secs(3600), units(FEE), units(FEE));
    let tempo = sponsored_at(&node.url, policy);
    let scene = scene();
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    let verified = scene.verify(&tempo, &payload, None).await.unwrap();
    let cx = SettleCx::new("one", &verified.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
    assert_eq!(kind(&tempo.settle(&cx).await), "unknown");
    let other = Scene { key: PrivateKeySigner::from_bytes(&B256::repeat_byte(2)).unwrap(), ..self::scene() };
    assert!(kind(&pay(&other, &tempo, &notebook, "two").await).contains("not sponsored at the moment"));
    assert_eq!(tempo.sponsoring(), Sponsoring::Paused);
    // The first was never mined.
    chain.0.finalized.store(NOW + 25 + 10, Ordering::SeqCst);
    assert!(kind(&tempo.resolve(&cx).await).contains("was not mined before"));
    assert_eq!(tempo.sponsoring(), Sponsoring::Open);
}

#[tokio::test]
async fn a_transaction_that_was_never_mined_costs_nothing() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    chain.0.mute.store(1, Ordering::SeqCst);
    let scene = scene();
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    let payload = scene.pull(&scene.envelope(scene.waiting()));
    let verified = scene.verify(&tempo, &payload, None).await.unwrap();
    let cx = SettleCx::new("one", &verified.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
    assert_eq!(kind(&tempo.settle(&cx).await), "unknown");
    let total = async || {
        let total: Value =
            notebook.read(&format!("budget/31337/{}/total", NOW / 3600)).await.unwrap().unwrap();
        total["spent"].clone()
    };
    assert_eq!(total().await, FEE);
    chain.0.finalized.store(NOW + 25 + 10, Ordering::SeqCst);
    assert!(kind(&tempo.resolve(&cx).await).contains("was not mined before its `validBefore`"));
    assert_eq!(total().await, 0);
}

#[tokio::test]
async fn the_signed_bytes_are_nobodys_but_the_networks() {
    let chain = Chain::default();
    let node = chain.start().await;
    let notebook = Notebook::volatile("tempo");
    let tempo = sponsored_at(&node.url, SponsorPolicy::new());
    let settled = pay(&scene(), &tempo, &notebook, "one").await;
    let raw = hex::encode(&chain.0.raw.lock().unwrap()[0]);
    let shown = format!("{settled:?} {tempo:?} {notebook:?}");
    let signature = &raw[raw.len() - 130..];
    assert!(!shown.contains(signature) && !shown.contains(&raw[..60]));
    assert!(!shown.contains(&"09".repeat(32)), "the sponsor's key");
}

#[test]
fn a_sponsor_and_its_key_are_checked_at_start() {
    let base = || Tempo::new(&SHOP.to_string()).rpc("https://rpc.example.org");
    assert_eq!(base().sponsoring(), Sponsoring::Unconfigured);
    let with = |sponsor: Sponsor| base().sponsor(sponsor).problems().len();
    assert_eq!(with(Sponsor::local(&"01".repeat(32))), 0);
    assert_eq!(with(Sponsor::local(&format!("0x{}\n", "01".repeat(32)))), 0, "as a file ends");
    assert_eq!(with(Sponsor::local("")), 1);
    assert_eq!(with(Sponsor::local(&"00".repeat(32))), 1);
    assert_eq!(with(Sponsor::hosted("fees.example.org")), 1);
    assert_eq!(base().modes([Mode::Push]).sponsor(Sponsor::local(&"01".repeat(32))).problems().len(), 1);
    let unsponsored = base();
    let currency = unsponsored.currency("usdc").unwrap();
    let mut cx = OfferCx::new(BaseUnits::new(1), &currency);
    cx.fees = Fees::Sponsored;
    assert!(unsponsored.offer(&cx).is_err());
    // A proof of identity is no transaction.
    cx.amount = BaseUnits::ZERO;
    assert!(!unsponsored.offer(&cx).unwrap().method_details.unwrap().contains_key("feePayer"));
}
