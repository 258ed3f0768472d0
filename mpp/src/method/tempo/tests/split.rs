//! Payments to several recipients, and the modes in which payments are taken.

use super::*;
use crate::method::{MethodProblem, Share};

const PLATFORM: Address = address!("3c44cdddb6a900fa2b585dd299e03d12fa4293bc");
const AUTHOR: Address = address!("90f79bf6eb2c4f870365e785982e1f101e93b906");

fn with_payees(tempo: Tempo) -> Tempo {
    tempo.payee("platform", &PLATFORM.to_string()).payee("author", &AUTHOR.to_string())
}

/// 10,000 base units, of which 500 go to the platform and 2,000 to the author.
fn split_scene() -> Scene {
    Scene::asking(&with_payees(Tempo::new(&SHOP.to_string()).chain_id(31337)), 10_000, |cx| {
        cx.splits = const {
            &[
                Share { payee: "platform", units: BaseUnits::new(500) },
                Share { payee: "author", units: BaseUnits::new(2_000) },
            ]
        };
    })
}

fn call(input: Vec<u8>) -> TempoCall {
    TempoCall { to: TxKind::Call(TOKEN), value: U256::ZERO, input: input.into() }
}

fn plain(to: Address, amount: u64) -> TempoCall {
    call(ITIP20::transferCall { to, amount: U256::from(amount) }.abi_encode())
}

fn noted(to: Address, amount: u64, memo: B256) -> TempoCall {
    call(ITIP20::transferWithMemoCall { to, amount: U256::from(amount), memo }.abi_encode())
}

#[tokio::test]
async fn every_leg_is_paid_once_in_any_order_and_nothing_else_is() {
    let node = FakeNode::start(healthy).await;
    let (scene, tempo) = (split_scene(), with_payees(tempo_at(&node.url)));
    let memo = scene.memo();
    let primary = || noted(SHOP, 7_500, memo);
    let (platform, author) = (|| plain(PLATFORM, 500), || plain(AUTHOR, 2_000));
    let few = "one transfer to the recipient and one for each part";
    for (expected, calls) in [
        ("accepted", vec![primary(), platform(), author()]),
        ("accepted", vec![author(), platform(), primary()]),
        ("accepted", vec![primary(), noted(PLATFORM, 500, memo), noted(AUTHOR, 2_000, B256::ZERO)]),
        (few, vec![primary()]),
        (few, vec![primary(), platform()]),
        (few, vec![primary(), platform(), author(), plain(PLATFORM, 1)]),
        (few, vec![noted(SHOP, 10_000, memo)]),
        ("not the parts", vec![primary(), platform(), platform()]),
        ("not the parts", vec![primary(), plain(PLATFORM, 499), author()]),
        ("not the parts", vec![primary(), plain(PLATFORM, 2_000), plain(AUTHOR, 500)]),
        ("another amount", vec![noted(SHOP, 7_499, memo), platform(), author()]),
        ("another amount", vec![noted(SHOP, 10_000, memo), platform(), author()]),
        ("has to call `transferWithMemo", vec![plain(SHOP, 7_500), platform(), author()]),
        ("memo does not name", vec![noted(SHOP, 7_500, B256::ZERO), platform(), author()]),
        ("another recipient", vec![noted(PLATFORM, 7_500, memo), platform(), author()]),
    ] {
        let tx = TempoTransaction { calls, ..scene.transaction() };
        let got = refusal(scene.verify(&tempo, &scene.pull(&scene.signed(tx)), None).await);
        assert!(got.contains(expected), "{expected}: {got}");
    }
    let mut other = scene.transaction();
    other.calls = vec![primary(), platform(), TempoCall { to: TxKind::Call(SHOP), ..author() }];
    let got = refusal(scene.verify(&tempo, &scene.pull(&scene.signed(other)), None).await);
    assert!(got.contains("another contract"), "{got}");
}

/// A receipt with these transfers, each with its plain event and, where it has a memo, the other one.
fn receipt(scene: &Scene, hash: B256, moved: &[(Address, Address, u64, Option<B256>)]) -> Value {
    scene.receipt(hash, |receipt| {
        let logs = moved.iter().flat_map(|&(from, to, amount, memo)| {
            let data = hex::encode_prefixed(U256::from(amount).abi_encode());
            let log = |topics: Value| json!({ "address": TOKEN, "topics": topics, "data": data, "blockTimestamp": format!("{NOW:#x}") });
            let plain = log(json!([ITIP20::Transfer::SIGNATURE_HASH, from.into_word(), to.into_word()]));
            let noted = memo.map(|memo| {
                log(json!([ITIP20::TransferWithMemo::SIGNATURE_HASH, from.into_word(), to.into_word(), memo]))
            });
            [Some(plain), noted].into_iter().flatten()
        });
        receipt["logs"] = logs.collect();
    })
}

#[tokio::test]
async fn a_pushed_split_is_recognised_by_its_events_each_used_once() {
    let scene = split_scene();
    let (me, memo) = (scene.key.address(), Some(scene.memo()));
    let somebody = Address::repeat_byte(0x55);
    let primary = (me, SHOP, 7_500, memo);
    let (platform, author) = ((me, PLATFORM, 500, None), (me, AUTHOR, 2_000, Some(B256::ZERO)));
    let hash = B256::repeat_byte(7);
    let payload = members(json!({ "type": "hash", "hash": hash }));
    for (expected, moved) in [
        ("accepted", vec![author, primary, platform]),
        // What else the transaction did with the payer's money is the payer's affair: it has happened.
        ("accepted", vec![primary, platform, author, (me, somebody, 1, None)]),
        ("no transfer of this amount", vec![primary, platform]),
        ("no transfer of this amount", vec![primary, platform, platform]),
        ("no transfer of this amount", vec![(me, SHOP, 7_500, None), platform, author]),
        ("no transfer of this amount", vec![(me, SHOP, 10_000, memo), platform, author]),
        // Somebody else's transfer in the same transaction pays nobody's part.
        ("no transfer of this amount", vec![primary, platform, (somebody, AUTHOR, 2_000, None)]),
    ] {
        let answer = receipt(&scene, hash, &moved);
        let node = FakeNode::start(move |method, params| match method {
            "eth_getTransactionReceipt" => Some(Reply::Result(answer.clone())),
            _ => healthy(method, params),
        })
        .await;
        let got = refusal(scene.verify(&with_payees(tempo_at(&node.url)), &payload, None).await);
        assert!(got.contains(expected), "{expected}: {got}");
        // One round trip, in one batch.
        assert_eq!((node.asked("eth_getTransactionReceipt"), node.asked("eth_getBlockByNumber")), (1, 1));
    }
}

#[tokio::test]
async fn a_transfer_that_serves_as_the_recipients_serves_as_no_other() {
    // The recipient is also a payee, for the same amount.
    let tempo = |url: &str| tempo_at(url).payee("self", &SHOP.to_string());
    let scene = Scene::asking(&tempo("http://127.0.0.1:1"), 10_000, |cx| {
        cx.splits = const { &[Share { payee: "self", units: BaseUnits::new(5_000) }] };
    });
    let me = scene.key.address();
    let hash = B256::repeat_byte(7);
    let payload = members(json!({ "type": "hash", "hash": hash }));
    for (expected, moved) in [
        ("no transfer of this amount", vec![(me, SHOP, 5_000, Some(scene.memo()))]),
        ("accepted", vec![(me, SHOP, 5_000, Some(scene.memo())), (me, SHOP, 5_000, None)]),
    ] {
        let answer = receipt(&scene, hash, &moved);
        let node = FakeNode::start(move |method, params| match method {
            "eth_getTransactionReceipt" => Some(Reply::Result(answer.clone())),
            _ => healthy(method, params),
        })
        .await;
        let got = refusal(scene.verify(&tempo(&node.url), &payload, None).await);
        assert!(got.contains(expected), "{expected}: {got}");
    }
}

#[test]
fn a_split_nobody_could_pay_is_not_offered() {
    let tempo = with_payees(Tempo::new(&SHOP.to_string()).chain_id(31337));
    let currency = tempo.currency("pathusd").unwrap();
    let offer = |amount: u128, splits: &[Share<'_>]| {
        let mut cx = OfferCx::new(BaseUnits::new(amount), &currency);
        cx.splits = splits;
        tempo.offer(&cx).map(drop).map_err(|MethodProblem(why)| why)
    };
    let share = |payee, units| Share { payee, units: BaseUnits::new(units) };
    assert_eq!(offer(11, &[share("platform", 1); 10]), Ok(()));
    for (amount, splits, expected) in [
        (100, &[share("plattform", 1)][..], "nobody is known as \"plattform\" (known: platform, author)"),
        (1, &[share("platform", 1)], "leave nothing for the recipient"),
        (10, &[share("platform", u128::MAX), share("author", u128::MAX)], "leave nothing"),
        (0, &[share("platform", 1)], "leave nothing"),
        (100, &[share("platform", 0)], "is zero"),
        (100, &[share("platform", 1); 11], "at most 10 others"),
    ] {
        assert!(offer(amount, splits).is_err_and(|why| why.contains(expected)), "{expected}");
    }
    assert_eq!(
        Tempo::new(&SHOP.to_string()).payee("x", "0x0").payee("y", &Address::ZERO.to_string()).wrong.len(),
        2
    );
}

#[tokio::test]
async fn a_mode_that_is_not_advertised_is_refused() {
    let node = FakeNode::start(healthy).await;
    for (mode, expected_pull, expected_push) in [
        (Mode::Pull, "accepted", "paid by `type` \"transaction\" only"),
        (Mode::Push, "paid by `type` \"hash\" only", "there is no such transaction"),
    ] {
        let tempo = tempo_at(&node.url).modes([mode]);
        let scene = Scene::asking(&tempo, 10_000, |_| {});
        let details = scene.request.method_details.clone().unwrap();
        assert_eq!(details["supportedModes"], json!([mode.name()]));
        let pulled = scene.verify(&tempo, &scene.pull(&scene.signed(scene.transaction())), None).await;
        let pushed = members(json!({ "type": "hash", "hash": B256::repeat_byte(7) }));
        let pushed = scene.verify(&tempo, &pushed, None).await;
        for (got, expected) in [(refusal(pulled), expected_pull), (refusal(pushed), expected_push)] {
            assert!(got.contains(expected), "{mode:?}: {got}");
        }
        // A proof has no mode.
        let zero = Scene::asking(&tempo, 0, |_| {});
        assert!(!zero.request.method_details.unwrap().contains_key("supportedModes"));
    }
    assert_eq!(tempo_at(&node.url).modes([]).problems().len(), 1);
}
