//! From a verified credential to money, on a chain that gets in the way.

use super::chain::{Fate, State};
use super::*;
use alloy::sol_types::SolEvent;
use std::collections::BTreeSet;

/// A verified credential of our own wallet.
async fn verified(scene: &Scene, kind: CredentialType) -> Verified {
    let payload = scene.pay_by(kind).await;
    scene.verify(&payload).await.unwrap()
}

/// A verified transfer of the payer, as `edit` leaves it.
async fn transaction(scene: &Scene, edit: impl FnOnce(&mut TxEip1559)) -> (Signed<TxEip1559>, Verified) {
    let mut tx = scene.transfer();
    edit(&mut tx);
    let signed = scene.sign(tx);
    let verified = scene.verify(&by_transaction(&signed)).await.unwrap();
    (signed, verified)
}

fn nonces(state: &State) -> Vec<u64> {
    state.sent.iter().map(|signed| signed.tx().nonce).collect()
}

fn reference(settlement: &Settlement) -> String {
    let Settlement::Settled(payment) = settlement else { panic!("{settlement:?}") };
    assert_eq!(payment.extra["chainId"], CHAIN);
    payment.reference.clone()
}

#[tokio::test]
async fn an_authorization_is_settled_by_our_key_and_found_again_by_its_event() {
    let scene = Scene::of("usdc", long).await;
    let verified = verified(&scene, CredentialType::Authorization).await;
    let settled = scene.settle(&verified).await;
    {
        let state = scene.chain.state();
        assert_eq!(state.received(SHOP), U256::from(PRICE));
        let [sent] = &state.sent[..] else { panic!("one transaction") };
        assert_eq!(reference(&settled), format!("{:#x}", sent.hash()));
        assert_eq!(sent.recover_signer().unwrap(), scene.settler.address());
    }
    assert_eq!(scene.resolve(&verified).await, settled);
    // Shown again (the journal was lost, say): it is used, so it is looked up and not sent.
    let payload = scene.pay_by(CredentialType::Authorization).await;
    let again = scene.verify(&payload).await.unwrap();
    assert_eq!(scene.settle(&again).await, settled);
    assert_eq!(scene.chain.state().sent.len(), 1);
}

#[tokio::test]
async fn twenty_settlements_at_once_get_twenty_nonces_and_move_twenty_prices() {
    let mut scene = Scene::of("usdc", patient).await;
    let mut plans = Vec::new();
    for n in 0..20 {
        scene.challenge = challenge(&scene.request, &format!("{n:0>43}"));
        plans.push(verified(&scene, CredentialType::Authorization).await);
    }
    scene.chain.state().fates = vec![Fate::Waits; 19].into();
    let Scene { evm, chain, .. } = scene;
    let evm = Arc::new(evm);
    let mut tasks = tokio::task::JoinSet::new();
    for plan in plans {
        let evm = Arc::clone(&evm);
        tasks.spawn(
            async move { evm.settle(&SettleCx::new("id", &plan.plan, Timestamp::from_unix(NOW))).await },
        );
    }
    let settled: BTreeSet<_> = tasks.join_all().await.iter().map(reference).collect();
    let state = chain.state();
    assert_eq!((settled.len(), state.received(SHOP)), (20, U256::from(20 * PRICE)));
    // Some may have been replaced on the way, at their own nonces.
    assert_eq!(nonces(&state).into_iter().collect::<BTreeSet<_>>(), (0..20).collect());
    assert!(state.pool.is_empty());
}

#[tokio::test]
async fn two_processes_with_one_key_both_get_through() {
    let mut scene = Scene::of("usdc", patient).await;
    let other = Arc::new(patient(shop_at(&scene.chain.node.url, &scene.settler)));
    let mut plans = Vec::new();
    for n in 0..12 {
        scene.challenge = challenge(&scene.request, &format!("{n:0>43}"));
        plans.push(verified(&scene, CredentialType::Authorization).await);
    }
    let Scene { evm, chain, .. } = scene;
    let evm = Arc::new(evm);
    let mut tasks = tokio::task::JoinSet::new();
    for (n, plan) in plans.into_iter().enumerate() {
        let evm = Arc::clone(if n % 2 == 0 { &evm } else { &other });
        tasks.spawn(
            async move { evm.settle(&SettleCx::new("id", &plan.plan, Timestamp::from_unix(NOW))).await },
        );
    }
    for settled in tasks.join_all().await {
        reference(&settled);
    }
    assert_eq!(chain.state().received(SHOP), U256::from(12 * PRICE));
}

#[tokio::test]
async fn after_a_lost_answer_the_payment_is_looked_for_and_not_made_twice() {
    for fates in [vec![Fate::MinedUnsaid], vec![Fate::Lost], vec![Fate::Lost, Fate::Lost]] {
        let shown = format!("{fates:?}");
        let scene = Scene::of("usdc", long).await;
        let verified = verified(&scene, CredentialType::Authorization).await;
        scene.chain.state().fates = fates.into();
        let settled = scene.settle(&verified).await;
        reference(&settled);
        let state = scene.chain.state();
        assert_eq!(state.received(SHOP), U256::from(PRICE), "{shown}");
        assert!(nonces(&state).iter().all(|nonce| *nonce == 0), "{shown}: replaced, not repeated");
    }
}

#[tokio::test]
async fn a_stuck_settlement_is_replaced_at_its_nonce_for_more() {
    let scene = Scene::of("usdc", long).await;
    let verified = verified(&scene, CredentialType::Authorization).await;
    scene.chain.state().fates = [Fate::Waits, Fate::Mined].into();
    let settled = scene.settle(&verified).await;
    let state = scene.chain.state();
    let [first, second] = &state.sent[..] else { panic!("{:?}", state.sent) };
    assert_eq!((first.tx().nonce, second.tx().nonce), (0, 0));
    for fee in [|tx: &TxEip1559| tx.max_fee_per_gas, |tx: &TxEip1559| tx.max_priority_fee_per_gas] {
        assert!(fee(second.tx()) * 8 >= fee(first.tx()) * 9, "an eighth more");
    }
    assert_eq!(reference(&settled), format!("{:#x}", second.hash()));
    assert_eq!(state.received(SHOP), U256::from(PRICE));
}

#[tokio::test]
async fn a_stuck_settlement_whose_signature_is_void_makes_room_instead_of_reverting() {
    // On a busy machine too.
    let scene = Scene::of("usdc", patient).await;
    let verified = verified(&scene, CredentialType::Authorization).await;
    {
        let mut state = scene.chain.state();
        state.time = EXPIRES;
        state.fates = [Fate::Waits, Fate::Mined].into();
    }
    assert_said(&kind(&scene.settle(&verified).await), "unknown");
    let state = scene.chain.state();
    assert_eq!((nonces(&state), state.received(SHOP)), (vec![0, 0], U256::ZERO));
    let filler = state.sent[1].tx();
    assert_eq!((filler.to, filler.input.len()), (TxKind::Call(scene.settler.address()), 0));
    assert_eq!(state.nonces[&scene.settler.address()], 1, "those above it can go");
}

#[tokio::test]
async fn what_is_not_mined_within_the_policy_stays_unknown_until_it_is() {
    let policy = GasPolicy { fee_per_gas: 3_000_000_000, ..quick() };
    let scene = Scene::of("usdc", |evm| evm.gas_policy(policy)).await;
    let verified = verified(&scene, CredentialType::Authorization).await;
    scene.chain.state().fates = vec![Fate::Waits; 50].into();
    assert_said(&kind(&scene.settle(&verified).await), "unknown: evm: http");
    assert_said(
        &kind(&scene.resolve(&verified).await),
        "unknown: evm: the payer's signature may still be used",
    );
    {
        let mut state = scene.chain.state();
        assert!(state.sent.iter().all(|signed| signed.tx().max_fee_per_gas <= 3_000_000_000));
        let hashes: BTreeSet<_> = state.sent.iter().map(|signed| *signed.hash()).collect();
        assert_eq!(hashes.len(), 1, "the policy allows no replacement");
        state.mine();
    }
    reference(&scene.resolve(&verified).await);
}

#[tokio::test]
async fn a_gap_below_our_nonce_is_filled() {
    let scene = Scene::of("usdc", patient).await;
    let verified = verified(&scene, CredentialType::Authorization).await;
    // "Somebody else's transaction waits at this nonce": and then it does not.
    scene.chain.state().fates =
        [Fate::Refused(-32000, "replacement transaction underpriced"), Fate::Waits, Fate::Mined].into();
    reference(&scene.settle(&verified).await);
    let state = scene.chain.state();
    assert_eq!(nonces(&state), [1, 0]);
    let filler = state.sent[1].tx();
    assert_eq!((filler.to, filler.input.len()), (TxKind::Call(scene.settler.address()), 0));
}

#[tokio::test]
async fn a_nonce_that_went_to_somebody_else_is_left_to_him() {
    // Told so at once.
    let scene = Scene::of("usdc", long).await;
    let first = verified(&scene, CredentialType::Authorization).await;
    scene.chain.state().fates = [Fate::Refused(-32000, "nonce too low")].into();
    reference(&scene.settle(&first).await);

    // Found out later: another process replaced ours in the mempool, and was mined.
    let scene = Scene::of("usdc", long).await;
    let plan = verified(&scene, CredentialType::Authorization).await;
    scene.chain.state().fates = [Fate::Waits, Fate::Mined].into();
    let (settled, ()) = tokio::join!(scene.settle(&plan), async {
        while scene.chain.state().sent.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut state = scene.chain.state();
        state.pool.clear();
        state.nonces.insert(scene.settler.address(), 1);
    });
    reference(&settled);
    let state = scene.chain.state();
    assert_eq!((nonces(&state), state.received(SHOP)), (vec![0, 1], U256::from(PRICE)));
}

#[tokio::test]
async fn an_authorization_that_somebody_else_presented_has_paid_all_the_same() {
    let scene = Scene::of("usdc", long).await;
    let plan = verified(&scene, CredentialType::Authorization).await;
    // Mined by another account before ours: ours reverts.
    let eve = PrivateKeySigner::random();
    let Some(plan::Plan::Submit(call)) = plan::Plan::read(&plan.plan) else { panic!("a call") };
    let tx = TxEip1559 { to: TxKind::Call(TOKEN), input: call.data, ..scene.transfer() };
    let front = tx.clone().into_signed(eve.sign_hash_sync(&tx.signature_hash()).unwrap());
    {
        let mut state = scene.chain.state();
        state.note(&front, eve.address());
        state.pool.insert((eve.address(), 0), front.clone());
        state.mine();
    }
    let settled = scene.settle(&plan).await;
    assert_eq!(reference(&settled), format!("{:#x}", front.hash()));
    assert_eq!(scene.chain.state().received(SHOP), U256::from(PRICE));
}

#[tokio::test]
async fn a_settlement_that_reverted_is_unknown_until_the_deadline_is_final() {
    let scene = Scene::of("usdc", long).await;
    let plan = verified(&scene, CredentialType::Authorization).await;
    assert_said(
        &kind(&emptied(&scene, &plan).await),
        "unknown: evm: the payer's signature may still be used",
    );
    for (finalized, expected) in [
        (None, "unknown"),
        (Some((99, EXPIRES + 9)), "unknown"),
        (Some((99, EXPIRES + 10)), "declined: the signature was not used before its deadline"),
    ] {
        scene.chain.state().finalized = finalized;
        assert_said(&kind(&scene.resolve(&plan).await), expected);
    }
    scene.chain.state().broken = Some(Reply::Status(502));
    assert_said(&kind(&scene.resolve(&plan).await), "unknown: evm: http");
}

/// Settles, and takes the payer's money away while the settlement waits to be mined.
async fn emptied(scene: &Scene, plan: &Verified) -> Settlement {
    let before = scene.chain.state().sent.len();
    scene.chain.state().fates = vec![Fate::Waits; 3].into();
    let (settled, ()) = tokio::join!(scene.settle(plan), async {
        while scene.chain.state().sent.len() == before {
            tokio::task::yield_now().await;
        }
        let mut state = scene.chain.state();
        state.balances.clear();
        state.mine();
    });
    settled
}

#[tokio::test]
async fn one_balance_is_good_for_one_settlement_however_many_signatures_there_are() {
    let mut scene = Scene::of("usdc", patient).await;
    scene.chain.state().balances.insert(scene.key.address(), U256::from(PRICE));
    let mut plans = Vec::new();
    for n in 0..6 {
        scene.challenge = challenge(&scene.request, &format!("{n:0>43}"));
        plans.push(verified(&scene, CredentialType::Authorization).await);
    }
    let late = plans.pop().unwrap();
    scene.chain.state().fates = [Fate::Waits].into();
    let [one, two, three, four, five] = [0, 1, 2, 3, 4].map(|n| scene.settle(&plans[n]));
    let (one, two, three, four, five) = tokio::join!(one, two, three, four, five);
    // It is spent by now, and the signature was good a moment ago.
    let late = scene.settle(&late).await;
    let ends: Vec<_> = [one, two, three, four, five, late].iter().map(kind).collect();
    let refused = ends.iter().filter(|end| end.starts_with("declined: the payer's balance does not cover"));
    assert_eq!((refused.count(), ends.iter().filter(|end| *end == "settled").count()), (5, 1), "{ends:?}");
    let state = scene.chain.state();
    assert!(nonces(&state).iter().all(|nonce| *nonce == 0), "nothing reverts at the key's expense");
    assert_eq!(state.received(SHOP), U256::from(PRICE));
}

#[tokio::test]
async fn a_payer_who_makes_settlements_revert_gets_no_more_of_them() {
    let mut scene = Scene::of("usdc", long).await;
    let purse = scene.chain.state().balances.clone();
    for (n, expected) in
        ["unknown", "unknown", "declined: settlements for this payer were reverted"].into_iter().enumerate()
    {
        scene.challenge = challenge(&scene.request, &format!("{n:0>43}"));
        scene.chain.state().balances = purse.clone();
        let plan = verified(&scene, CredentialType::Authorization).await;
        let end = if n < 2 { emptied(&scene, &plan).await } else { scene.settle(&plan).await };
        assert_said(&kind(&end), expected);
    }
    assert_eq!(scene.chain.state().nonces[&scene.settler.address()], 2);
}

#[tokio::test]
async fn settlements_that_revert_count_for_every_process_and_too_many_close_the_key() {
    let notebook = Notebook::volatile("evm");
    let mut scene = Scene::of("usdc", |evm| long(evm.max_reverted(1, 2))).await;
    let purse = scene.chain.state().balances.clone();
    let mut ends = Vec::new();
    for (n, key) in [1, 1, 3, 4].into_iter().enumerate() {
        // Another process each time, and another payer from the third on.
        scene.evm = long(shop_at(&scene.chain.node.url, &scene.settler).max_reverted(1, 2));
        scene.key = PrivateKeySigner::from_bytes(&B256::repeat_byte(key)).unwrap();
        scene.challenge = challenge(&scene.request, &format!("{n:0>43}"));
        {
            let mut state = scene.chain.state();
            state.balances = purse.clone();
            state.balances.insert(scene.key.address(), U256::from(1_000_000));
        }
        let plan = verified(&scene, CredentialType::Authorization).await;
        let cx = SettleCx::new("id", &plan.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
        let before = scene.chain.state().sent.len();
        scene.chain.state().fates = vec![Fate::Waits; 3].into();
        let settled = async {
            let settled = scene.evm.settle(&cx).await;
            kind(&settled)
        };
        let (end, ()) = tokio::join!(settled, async {
            for _ in 0..200 {
                if scene.chain.state().sent.len() > before {
                    let mut state = scene.chain.state();
                    state.balances.clear();
                    state.mine();
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        ends.push(end);
        assert_eq!(scene.evm.sponsoring() == Sponsoring::Open, n < 3, "{ends:?}");
    }
    for (end, expected) in ends.iter().zip([
        "unknown",
        "declined: settlements for this payer were reverted",
        "unknown",
        "declined: signatures are not settled at the moment",
    ]) {
        assert_said(end, expected);
    }
    assert_eq!(scene.chain.state().nonces[&scene.settler.address()], 2);
}

#[tokio::test]
async fn one_balance_is_good_for_one_settlement_in_all_processes_together() {
    let notebook = Notebook::volatile("evm");
    let mut scene = Scene::new().await;
    scene.chain.state().balances.insert(scene.key.address(), U256::from(PRICE));
    scene.chain.state().fates = vec![Fate::Waits; 50].into();
    let mut ends = Vec::new();
    for n in 0..2 {
        scene.challenge = challenge(&scene.request, &format!("{n:0>43}"));
        let plan = verified(&scene, CredentialType::Authorization).await;
        let elsewhere = shop_at(&scene.chain.node.url, &scene.settler);
        let cx = SettleCx::new("id", &plan.plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
        ends.push(kind(&elsewhere.settle(&cx).await));
    }
    assert_said(&ends[0], "unknown");
    assert_said(&ends[1], "declined: the payer's balance does not cover");
}

#[tokio::test]
async fn a_payer_has_a_few_transactions_under_way_and_one_that_ended_makes_room() {
    let notebook = Notebook::volatile("evm");
    let mut scene = Scene::new().await;
    scene.evm.pace.settled = Duration::from_millis(1);
    let mut plans = Vec::new();
    for n in 0..10 {
        scene.challenge = challenge(&scene.request, &format!("{n:0>43}"));
        plans.push(transaction(&scene, |_| {}).await.1);
    }
    // All of them are lost on the way.
    scene.chain.state().fates = vec![Fate::Lost; 10].into();
    let cx =
        |n: usize| SettleCx::new("id", &plans[n].plan, Timestamp::from_unix(NOW)).with_notebook(&notebook);
    for n in 0..8 {
        assert_said(&kind(&scene.evm.settle(&cx(n)).await), "unknown");
    }
    assert_said(&kind(&scene.evm.settle(&cx(8)).await), "declined: too many transactions of this payer");
    assert_eq!(scene.chain.node.asked("eth_sendRawTransaction"), 8);
    // The payer uses the nonce for something else.
    {
        let mut state = scene.chain.state();
        state.nonces.insert(scene.key.address(), 1);
        state.finalized = Some((101, NOW));
    }
    assert_said(&kind(&scene.evm.resolve(&cx(0)).await), "declined: another transaction of the payer");
    scene.chain.state().nonces.insert(scene.key.address(), 0);
    assert_said(&kind(&scene.evm.settle(&cx(9)).await), "unknown");
    assert_said(&kind(&scene.evm.settle(&cx(8)).await), "declined: too many transactions of this payer");
}

#[tokio::test]
async fn a_signature_that_its_payer_cancelled_is_declined_once_that_is_final() {
    let scene = Scene::new().await;
    let plan = verified(&scene, CredentialType::Authorization).await;
    {
        let mut state = scene.chain.state();
        state.used.insert((scene.key.address(), scene.hash()));
        let log = json!({
            "address": TOKEN, "data": "0x", "transactionHash": B256::repeat_byte(5), "blockNumber": "0x65",
            "topics": [abi::IToken::AuthorizationCanceled::SIGNATURE_HASH, scene.key.address().into_word(), scene.hash()],
        });
        state.logs.push(log);
        state.number = 0x66;
    }
    for (finalized, expected) in [
        (None, "unknown"),
        (Some((0x64, NOW)), "unknown"),
        (Some((0x65, NOW)), "declined: the payer has cancelled the signature"),
    ] {
        scene.chain.state().finalized = finalized;
        assert_said(&kind(&scene.resolve(&plan).await), expected);
    }
    // Our own attempt reverts; it is no payment.
    assert_said(&kind(&scene.settle(&plan).await), "declined: the payer has cancelled the signature");
    assert_eq!(scene.chain.state().received(SHOP), U256::ZERO);
}

#[tokio::test]
async fn one_transfer_is_not_found_for_two_authorizations() {
    // The payer used this nonce for something else and, in the same transaction, another authorization for the price.
    let scene = Scene::new().await;
    let plan = verified(&scene, CredentialType::Authorization).await;
    let (tx, payer) = (B256::repeat_byte(5), scene.key.address());
    let log = |topics: Value, data: U256| {
        json!({
            "address": TOKEN, "topics": topics, "transactionHash": tx, "blockNumber": "0x65",
            "data": hex::encode_prefixed(data.to_be_bytes::<32>()),
        })
    };
    let used = |nonce: B256| {
        log(json!([abi::IToken::AuthorizationUsed::SIGNATURE_HASH, payer.into_word(), nonce]), U256::ZERO)
    };
    let moved = |to: Address, value: u64| {
        let topics = json!([abi::IToken::Transfer::SIGNATURE_HASH, payer.into_word(), to.into_word()]);
        log(topics, U256::from(value))
    };
    let other = B256::repeat_byte(9);
    for (logs, expected) in [
        (vec![used(scene.hash()), moved(payer, 0), used(other), moved(SHOP, PRICE)], "unknown"),
        (vec![used(other), moved(SHOP, PRICE), used(scene.hash())], "unknown"),
        (vec![used(scene.hash()), moved(SHOP, PRICE - 1)], "unknown"),
        (vec![used(other), moved(payer, 0), used(scene.hash()), moved(SHOP, PRICE)], "settled"),
    ] {
        {
            let mut state = scene.chain.state();
            state.used.insert((payer, scene.hash()));
            state.number = 0x65;
            state.logs = logs.clone();
            let receipt =
                json!({ "transactionHash": tx, "blockNumber": "0x65", "status": "0x1", "logs": logs });
            state.receipts.insert(tx, receipt);
        }
        assert_said(&kind(&scene.resolve(&plan).await), expected);
    }
}

#[tokio::test]
async fn a_used_permit_counts_only_by_our_own_call() {
    let scene = Scene::new().await;
    let plan = verified(&scene, CredentialType::Permit2).await;
    let Some(plan::Plan::Submit(call)) = plan::Plan::read(&plan.plan) else { panic!("a call") };
    let plan::Guard::Permit2 { nonce, .. } = call.guard else { panic!("a permit") };
    let (tx, payer) = (B256::repeat_byte(5), scene.key.address());
    let moved = json!({
        "address": TOKEN, "transactionHash": tx, "blockNumber": "0x65",
        "topics": [abi::IToken::Transfer::SIGNATURE_HASH, payer.into_word(), SHOP.into_word()],
        "data": hex::encode_prefixed(U256::from(PRICE).to_be_bytes::<32>()),
    });
    {
        let mut state = scene.chain.state();
        state.bitmap.insert((payer, nonce >> 8), U256::from(1) << (nonce.byte(0) as usize));
        state.number = 0x65;
        state.logs = vec![moved.clone()];
        let receipt =
            json!({ "transactionHash": tx, "blockNumber": "0x65", "status": "0x1", "logs": [moved] });
        state.receipts.insert(tx, receipt);
    }
    for (to, input, expected) in [
        (TOKEN, call.data.clone(), "unknown"),
        (PERMIT2, [&call.data[..], &[0]].concat().into(), "unknown"),
        (PERMIT2, call.data.clone(), "settled"),
    ] {
        let shown = json!({ "hash": tx, "from": payer, "to": to, "value": "0x0", "input": input });
        scene.chain.state().txs.insert(tx, shown);
        assert_said(&kind(&scene.resolve(&plan).await), expected);
    }
    // The payer invalidated the nonce instead.
    let void = abi::IPermit2::UnorderedNonceInvalidation {
        owner: payer,
        word: nonce >> 8,
        mask: U256::from(1) << (nonce.byte(0) as usize),
    };
    let event = void.encode_log_data();
    scene.chain.state().logs = vec![json!({
        "address": PERMIT2, "transactionHash": tx, "blockNumber": "0x65", "topics": event.topics(), "data": event.data,
    })];
    assert_said(&kind(&scene.resolve(&plan).await), "unknown: evm: the payer has cancelled");
    scene.chain.state().finalized = Some((0x65, NOW));
    assert_said(&kind(&scene.resolve(&plan).await), "declined: the payer has cancelled");
}

#[tokio::test]
async fn a_permit_under_a_nonce_that_was_used_before_is_refused_and_not_looked_for_for_ever() {
    let scene = Scene::new().await;
    let payload = scene.pay_by(CredentialType::Permit2).await;
    let Some(plan::Plan::Submit(call)) = plan::Plan::read(&scene.verify(&payload).await.unwrap().plan) else {
        panic!("a call")
    };
    let plan::Guard::Permit2 { nonce, .. } = call.guard else { panic!("a permit") };
    let bit = U256::from(1) << usize::from(nonce.byte(0));
    scene.chain.state().bitmap.insert((scene.key.address(), nonce >> 8), bit);
    // It may be a copy that was settled in between, so it is no refusal yet.
    let late = scene.verify(&payload).await.unwrap();
    for end in [scene.settle(&late).await, scene.resolve(&late).await] {
        assert_said(&kind(&end), "declined: the permit's nonce has been used for something else");
    }
    scene.chain.state().broken = Some(Reply::Status(502));
    assert_said(&kind(&scene.settle(&late).await), "unknown");
    assert!(scene.chain.state().sent.is_empty());
}

#[tokio::test]
async fn what_never_left_is_declined_without_a_402() {
    let refusals = [
        Fate::Refused(-32000, "insufficient funds for gas * price + value"),
        Fate::Refused(-32000, "transaction underpriced"),
    ];
    for fate in refusals {
        let scene = Scene::of("usdc", patient).await;
        let plan = verified(&scene, CredentialType::Authorization).await;
        scene.chain.state().fates = vec![fate; 20].into();
        assert_eq!(kind(&scene.settle(&plan).await), "declined: unavailable");
        assert!(scene.chain.state().sent.is_empty());
    }
    let scene = Scene::new().await;
    let plan = verified(&scene, CredentialType::Authorization).await;
    let (signed, transfer) = transaction(&scene, |_| {}).await;
    let cx = SettleCx::new("id", &plan.plan, Timestamp::from_unix(NOW));
    let paid = SettleCx::new("id", &transfer.plan, Timestamp::from_unix(NOW));
    let cut_off = shop_at("http://127.0.0.1:1", &scene.settler);
    for cx in [&cx, &paid] {
        assert_eq!(kind(&cut_off.settle(cx).await), "declined: unavailable");
        assert_said(&kind(&cut_off.resolve(cx).await), "unknown");
        let elsewhere = shop_at(&scene.chain.node.url, &scene.settler).chain(1);
        assert_eq!(kind(&elsewhere.settle(cx).await), "declined: unavailable");
        assert_said(&kind(&elsewhere.resolve(cx).await), "unknown: evm: no RPC node for chain 31337");
    }
    let low = GasPolicy { gas: 50_000, ..quick() };
    let dear = GasPolicy { fee_per_gas: 1_000_000_000, ..quick() };
    for policy in [low, dear] {
        let evm = shop_at(&scene.chain.node.url, &scene.settler).gas_policy(policy);
        assert_eq!(kind(&evm.settle(&cx).await), "declined: unavailable");
    }
    assert!(scene.chain.state().sent.is_empty() && !scene.chain.state().txs.contains_key(signed.hash()));
}

#[tokio::test]
async fn a_transaction_is_broadcast_once_and_looked_up_by_its_hash() {
    for fate in [Fate::Mined, Fate::MinedUnsaid, Fate::Refused(-32000, "already known")] {
        let shown = format!("{fate:?}");
        let scene = Scene::of("usdc", long).await;
        let (signed, plan) = transaction(&scene, |_| {}).await;
        let taken_elsewhere = matches!(fate, Fate::Refused(..));
        {
            let mut state = scene.chain.state();
            state.fates = [fate].into();
            if taken_elsewhere {
                // Bound to this challenge: whoever handed it to the network, it is the payment.
                state.note(&signed, scene.key.address());
                state.pool.insert((scene.key.address(), 0), signed.clone());
                state.mine();
            }
        }
        let settled = scene.settle(&plan).await;
        assert_eq!(reference(&settled), format!("{:#x}", signed.hash()), "{shown}");
        assert_eq!(scene.resolve(&plan).await, settled, "{shown}");
        assert_eq!(scene.chain.node.asked("eth_sendRawTransaction"), 1, "{shown}");
        assert_eq!(scene.chain.state().received(SHOP), U256::from(PRICE));
    }
}

#[tokio::test]
async fn a_transaction_bound_to_nothing_is_taken_only_from_the_hands_of_its_payer() {
    let plain = |tx: &mut TxEip1559| tx.input = tx.input[..68].to_vec().into();
    // Nobody has seen it.
    let scene = Scene::new().await;
    let (_, plan) = transaction(&scene, plain).await;
    reference(&scene.settle(&plan).await);
    // It waits in the mempool, or is mined: anybody may have picked it up there.
    for mined in [false, true] {
        let scene = Scene::new().await;
        let (signed, plan) = transaction(&scene, plain).await;
        {
            let mut state = scene.chain.state();
            state.note(&signed, scene.key.address());
            state.pool.insert((scene.key.address(), 0), signed.clone());
            if mined {
                state.mine();
            }
        }
        assert_said(&kind(&scene.settle(&plan).await), "declined: the transaction was broadcast before");
        assert_eq!(scene.chain.node.asked("eth_sendRawTransaction"), 0);
    }
}

#[tokio::test]
async fn a_transaction_is_declined_only_when_finality_excludes_it() {
    // Reverted.
    let scene = Scene::new().await;
    let (_, plan) = transaction(&scene, |_| {}).await;
    scene.chain.state().balances.clear();
    assert_said(
        &kind(&scene.settle(&plan).await),
        "unknown: evm: the transaction was reverted; that is not final",
    );
    scene.chain.state().finalized = Some((101, NOW));
    assert_said(&kind(&scene.resolve(&plan).await), "declined: the transaction was reverted");

    // Forgotten, and its nonce used by another one.
    let scene = Scene::new().await;
    let (_, plan) = transaction(&scene, |_| {}).await;
    scene.chain.state().fates = [Fate::Lost].into();
    assert_said(&kind(&scene.settle(&plan).await), "unknown: evm: http");
    assert_said(&kind(&scene.resolve(&plan).await), "unknown: evm: the transaction may still be mined");
    scene.chain.state().nonces.insert(scene.key.address(), 1);
    // The stand-in answers its newest count for "finalized"; without a final block that says nothing.
    assert_said(&kind(&scene.resolve(&plan).await), "unknown: evm: the transaction may still be mined");
    scene.chain.state().finalized = Some((101, NOW));
    assert_said(
        &kind(&scene.resolve(&plan).await),
        "declined: another transaction of the payer has used the nonce",
    );
}

#[tokio::test]
async fn a_node_that_lags_behind_a_balancer_makes_no_payment_look_like_none() {
    for kind_of in [CredentialType::Authorization, CredentialType::Transaction] {
        let scene = Scene::new().await;
        let plan = verified(&scene, kind_of).await;
        let mut behind = scene.chain.state().clone();
        behind.finalized = Some((90, NOW - 60));
        let paid = reference(&scene.settle(&plan).await);
        let mut ahead = scene.chain.state().clone();
        // Long after every deadline: had it not been paid, it would be over.
        ahead.number += 10;
        ahead.time = EXPIRES + 3_600;
        ahead.finalized = Some((ahead.number, ahead.time));
        let mut found = 0;
        for turns in 0..32 {
            let node = chain::balanced([ahead.clone(), behind.clone()], turns).await;
            let evm = shop_at(&node.url, &scene.settler);
            let cx = SettleCx::new("id", &plan.plan, Timestamp::from_unix(NOW));
            match evm.resolve(&cx).await {
                Settlement::Unknown { .. } => {}
                settled => {
                    assert_eq!(reference(&settled), paid, "{kind_of:?} {turns:b}");
                    found += 1;
                }
            }
        }
        assert!(found > 0, "{kind_of:?}: by the node that knows it");
    }
}

#[tokio::test]
async fn a_nonce_that_another_transaction_used_ends_a_payment_by_the_word_of_a_node_that_knows() {
    let scene = Scene::new().await;
    let (_, plan) = transaction(&scene, |_| {}).await;
    let mut behind = scene.chain.state().clone();
    behind.finalized = Some((90, NOW - 60));
    let mut ahead = behind.clone();
    ahead.nonces.insert(scene.key.address(), 1);
    ahead.finalized = Some((110, NOW));
    for (turns, expected) in [
        (0b00, "declined: another transaction of the payer has used the nonce"),
        (0b10, "declined: another transaction of the payer has used the nonce"),
        (0b01, "unknown: evm: the transaction may still be mined"),
        (0b11, "unknown: evm: the transaction may still be mined"),
    ] {
        let node = chain::balanced([ahead.clone(), behind.clone()], turns).await;
        let evm = shop_at(&node.url, &scene.settler);
        let cx = SettleCx::new("id", &plan.plan, Timestamp::from_unix(NOW));
        assert_said(&kind(&evm.resolve(&cx).await), expected);
    }
}

#[tokio::test]
async fn a_payment_counts_only_as_deep_as_configured_and_a_reorganisation_takes_it_back() {
    for kind_of in [CredentialType::Authorization, CredentialType::Transaction] {
        let scene = Scene::of("usdc", |evm| evm.confirmations(3)).await;
        let plan = verified(&scene, kind_of).await;
        assert_said(&kind(&scene.settle(&plan).await), "unknown");
        scene.chain.state().number += 1;
        assert_said(&kind(&scene.resolve(&plan).await), "unknown: evm: the payment is not deep enough yet");
        {
            let mut state = scene.chain.state();
            let sent = state.sent[0].clone();
            let from = sent.recover_signer().unwrap();
            state.used.clear();
            state.reorganise(*sent.hash(), from, 0);
            state.number += 5;
        }
        assert_said(&kind(&scene.resolve(&plan).await), "unknown");
        {
            let mut state = scene.chain.state();
            state.mine();
            state.number += 2;
        }
        reference(&scene.resolve(&plan).await);
    }
}

#[tokio::test]
async fn a_plan_of_another_release_is_left_to_a_person() {
    let scene = Scene::new().await;
    let plan = crate::method::SettlementPlan(json!({ "type": "teleport" }));
    let cx = SettleCx::new("id", &plan, Timestamp::from_unix(NOW));
    assert_said(
        &kind(&scene.evm.settle(&cx).await),
        "unknown: evm: the journaled plan is of another release",
    );
    assert_said(
        &kind(&scene.evm.resolve(&cx).await),
        "unknown: evm: the journaled plan is of another release",
    );
}

#[tokio::test]
async fn a_payer_learns_from_its_own_node_what_became_of_its_payment() {
    for kind_of in [CredentialType::Authorization, CredentialType::Transaction, CredentialType::Hash] {
        let scene = Scene::of("usdc", long).await;
        let wallet = EvmWallet::new(CHAIN, scene.key.clone()).rpc(&scene.chain.node.url).unwrap();
        let wallet = wallet.pays_by(&[kind_of]);
        let proof = wallet.pay(&scene.challenge).await.unwrap();
        if kind_of != CredentialType::Hash {
            assert_eq!(
                wallet.fate(&scene.challenge, &proof).await,
                crate::method::Fate::Unknown,
                "{kind_of}"
            );
        }
        let verified = scene.verify(&proof.payload).await.unwrap();
        let reference = reference(&scene.settle(&verified).await);
        let paid = crate::method::Fate::Paid { reference };
        assert_eq!(wallet.fate(&scene.challenge, &proof).await, paid, "{kind_of}");
    }
    // Never used, and void for good.
    for kind_of in [CredentialType::Authorization, CredentialType::Permit2] {
        let scene = Scene::new().await;
        let wallet = EvmWallet::new(CHAIN, scene.key.clone()).rpc(&scene.chain.node.url).unwrap();
        let wallet = wallet.pays_by(&[kind_of]);
        let proof = wallet.pay(&scene.challenge).await.unwrap();
        scene.chain.state().finalized = Some((99, EXPIRES + 10));
        assert_eq!(wallet.fate(&scene.challenge, &proof).await, crate::method::Fate::Never, "{kind_of}");
        scene.chain.state().finalized = Some((99, EXPIRES + 9));
        assert_eq!(wallet.fate(&scene.challenge, &proof).await, crate::method::Fate::Unknown, "{kind_of}");
    }
}
