//! Transactions of payers: what is a payment, for which challenge, and whose.

use super::*;
use proptest::prelude::*;

#[tokio::test]
async fn a_transaction_has_to_be_the_transfer_and_nothing_else() {
    let scene = Scene::new().await;
    let plain = abi::IToken::transferCall { to: SHOP, value: U256::from(PRICE) }.abi_encode();
    let input = |to: Address, value: u64| -> Bytes {
        abi::IToken::transferCall { to, value: U256::from(value) }.abi_encode().into()
    };
    let with = |edit: &dyn Fn(&mut TxEip1559)| {
        let mut tx = scene.transfer();
        edit(&mut tx);
        by_transaction(&scene.sign(tx))
    };
    let (extra, short) = ([&plain[..], &[0]].concat(), plain[..67].to_vec());
    let other = [&plain[..], B256::repeat_byte(3).as_slice()].concat();
    let twice = [&plain[..], scene.hash().as_slice(), scene.hash().as_slice()].concat();
    let table = [
        ("the transaction is for another chain", with(&|tx| tx.chain_id = 1)),
        ("the transaction calls another contract", with(&|tx| tx.to = TxKind::Call(SHOP))),
        ("the transaction creates a contract", with(&|tx| tx.to = TxKind::Create)),
        ("the transaction carries a value", with(&|tx| tx.value = U256::from(1))),
        ("the transaction pays another recipient", with(&|tx| tx.input = input(TOKEN, PRICE))),
        ("the transaction pays another amount", with(&|tx| tx.input = input(SHOP, PRICE - 1))),
        ("the transaction pays another amount", with(&|tx| tx.input = input(SHOP, PRICE * 2))),
        ("the transaction has to call `transfer", with(&|tx| tx.input = Bytes::new())),
        ("the transaction has to call `transfer", with(&|tx| tx.input = short.clone().into())),
        ("the transaction's input has more", with(&|tx| tx.input = extra.clone().into())),
        ("the transaction's input has more", with(&|tx| tx.input = twice.clone().into())),
        ("the transaction was made for another challenge", with(&|tx| tx.input = other.clone().into())),
        ("the transaction's nonce is ahead", with(&|tx| tx.nonce = 1)),
        ("the transaction offers less for gas", with(&|tx| tx.max_fee_per_gas = 1_124_999_999)),
        (
            "the payer's balance does not cover the amount and",
            with(&|tx| tx.max_fee_per_gas = 10u128.pow(14)),
        ),
        ("accepted", with(&|_| {})),
        ("accepted", with(&|tx| tx.input = plain.clone().into())),
    ];
    for (expected, payload) in table {
        assert_said(&said(scene.verify(&payload).await), expected);
    }

    let signed = scene.sign(scene.transfer());
    let raw = raw_of(&signed);
    let order = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
    let signature = signed.signature();
    let mirrored = alloy::primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    let malleated = by_transaction(&scene.transfer().into_signed(mirrored));
    assert_said(&said(scene.verify(&malleated).await), "the transaction's signature has a high `s`");
    for garbage in [
        String::new(),
        "0x".into(),
        "0x02".into(),
        format!("{raw}00"),
        format!("0x01{}", &raw.to_string()[4..]),
        format!("0xf8{}", &raw.to_string()[4..]),
        format!("0x02{}", "ff".repeat(5000)),
    ] {
        let payload = members(json!({ "type": "transaction", "signature": garbage }));
        assert_said(&said(scene.verify(&payload).await), "MalformedCredential: `payload.signature`");
    }
    let source = format!("did:pkh:eip155:{CHAIN}:{SHOP}");
    assert_said(
        &said(scene.verify_from(&by_transaction(&signed), Some(&source)).await),
        "the transaction is not signed by",
    );

    scene.chain.state().nonces.insert(scene.key.address(), 1);
    assert_said(&said(scene.verify(&by_transaction(&signed)).await), "the transaction's nonce is used");
}

#[tokio::test]
async fn the_chains_own_coin_is_paid_by_transaction_or_hash_only() {
    let scene = Scene::of("eth", |evm| evm).await;
    let details = scene.request.method_details.as_ref().unwrap();
    assert_eq!(details["credentialTypes"], json!(["transaction", "hash"]));
    let coins = |edit: EditTx| {
        let mut tx = scene.transfer();
        (tx.to, tx.value, tx.input) = (TxKind::Call(SHOP), U256::from(PRICE), scene.hash().to_vec().into());
        edit(&mut tx);
        scene.sign(tx)
    };
    let table: [(&str, EditTx); 5] = [
        ("accepted", |_| {}),
        ("accepted", |tx| tx.input = Bytes::new()),
        ("the transaction pays another amount", |tx| tx.value = U256::from(PRICE - 1)),
        ("the transaction pays another recipient", |tx| tx.to = TxKind::Call(TOKEN)),
        ("the transaction's input has more", |tx| tx.input = vec![1].into()),
    ];
    for (expected, edit) in table {
        assert_said(&said(scene.verify(&by_transaction(&coins(edit))).await), expected);
    }
    let verified = scene.verify(&by_transaction(&coins(|_| {}))).await.unwrap();
    let Settlement::Settled(payment) = scene.settle(&verified).await else { panic!("not settled") };
    assert_eq!(payment.extra["chainId"], CHAIN);

    let payload = scene.pay_by(CredentialType::Hash).await;
    assert_eq!(said(scene.verify(&payload).await), "accepted");
    let payload = members(json!({ "type": "authorization" }));
    assert_said(&said(scene.verify(&payload).await), "the challenge does not accept `authorization`");
}

#[tokio::test]
async fn a_hash_counts_only_for_the_challenge_in_its_input_and_in_any_case() {
    let scene = Scene::new().await;
    let mined = |edit: &dyn Fn(&mut TxEip1559)| {
        let mut state = scene.chain.state();
        let mut tx = scene.transfer();
        tx.nonce = state.nonces.get(&scene.key.address()).copied().unwrap_or_default();
        edit(&mut tx);
        let signed = scene.sign(tx);
        state.note(&signed, scene.key.address());
        state.pool.insert((scene.key.address(), signed.tx().nonce), signed.clone());
        state.mine();
        *signed.hash()
    };
    let plain = abi::IToken::transferCall { to: SHOP, value: U256::from(PRICE) }.abi_encode();
    let half = abi::IToken::transferCall { to: SHOP, value: U256::from(PRICE / 2) }.abi_encode();

    let good = mined(&|_| {});
    for text in [format!("{good:#x}"), format!("0x{}", hex::encode_upper(good))] {
        let verified = scene.verify(&by_hash(text)).await.unwrap();
        assert_eq!(verified.proof_keys, [format!("{CHAIN}:{good:#x}")], "one payment has one key");
        assert_eq!(verified.payer, Some(scene.did()));
    }
    let unbound = mined(&|tx| tx.input = plain.clone().into());
    let halves = [mined(&|tx| tx.input = half.clone().into()), mined(&|tx| tx.input = half.clone().into())];
    let reverted = {
        let poor = scene.chain.state().balances.insert(scene.key.address(), U256::ZERO);
        let hash = mined(&|_| {});
        scene.chain.state().balances.insert(scene.key.address(), poor.unwrap());
        hash
    };
    for (hash, expected) in [
        (unbound, "the transaction's input does not end in the hash of this challenge"),
        (halves[0], "the transaction pays another amount"),
        (halves[1], "the transaction pays another amount"),
        (reverted, "the transaction was reverted"),
        (B256::repeat_byte(7), "there is no such transaction"),
    ] {
        assert_said(&said(scene.verify(&by_hash(hash)).await), expected);
    }
    for garbage in ["", "0x", "0x12", &format!("{good:#x}00"), &"0x".repeat(400)] {
        assert_said(&said(scene.verify(&by_hash(garbage)).await), "MalformedCredential: `payload.hash`");
    }
    let source = format!("did:pkh:eip155:{CHAIN}:{SHOP}");
    assert_said(
        &said(scene.verify_from(&by_hash(good), Some(&source)).await),
        "the transfer was not made by the account",
    );
}

#[tokio::test]
async fn an_unbound_hash_is_taken_only_when_asked_for_and_never_when_it_is_old() {
    let scene = Scene::of("usdc", Evm::accept_unbound_hash).await;
    let mut tx = scene.transfer();
    tx.input = abi::IToken::transferCall { to: SHOP, value: U256::from(PRICE) }.abi_encode().into();
    let signed = scene.sign(tx);
    {
        let mut state = scene.chain.state();
        state.note(&signed, scene.key.address());
        state.pool.insert((scene.key.address(), 0), signed.clone());
        state.mine();
    }
    assert_eq!(said(scene.verify(&by_hash(signed.hash())).await), "accepted");
    for (time, expected) in [
        (EXPIRES + 15, "accepted"),
        (EXPIRES + 16, "the transfer was not made during"),
        (EXPIRES - 24 * 3600 - 1, "the transfer was not made during"),
    ] {
        let stamp = json!(format!("{time:#x}"));
        scene.chain.state().receipts.get_mut(signed.hash()).unwrap()["logs"][0]["blockTimestamp"] = stamp;
        assert_said(&said(scene.verify(&by_hash(signed.hash())).await), expected);
    }
}

#[tokio::test]
async fn a_transfer_that_a_contract_made_is_no_payment_of_whoever_called_it() {
    // Eve wraps Alice's public authorization in a call of her own that ends in Eve's challenge hash.
    let scene = Scene::of("usdc", Evm::accept_unbound_hash).await;
    let payload = scene.pay_by(CredentialType::Authorization).await;
    let verified = scene.verify(&payload).await.unwrap();
    let Settlement::Settled(payment) = scene.settle(&verified).await else { panic!("not settled") };
    // The very transaction that settled it moved the price to the shop; and it is not a plain transfer.
    assert_said(
        &said(scene.verify(&by_hash(payment.reference)).await),
        "the transaction has to call `transfer",
    );
}

#[tokio::test]
async fn a_hash_below_the_confirmations_is_not_refused_but_waited_for() {
    let scene = Scene::of("usdc", |evm| evm.confirmations(3)).await;
    let signed = scene.sign(scene.transfer());
    let look = || async { said(scene.verify(&by_hash(signed.hash())).await) };
    {
        let mut state = scene.chain.state();
        state.note(&signed, scene.key.address());
        state.pool.insert((scene.key.address(), 0), signed.clone());
    }
    assert_said(&look().await, "unavailable: evm: 0x");
    scene.chain.state().mine();
    for _ in 0..2 {
        assert_said(&look().await, "unavailable: evm: 0x");
        scene.chain.state().number += 1;
    }
    assert_eq!(look().await, "accepted");
    let hash = *signed.hash();
    scene.chain.state().reorganise_from(&signed, scene.key.address());
    assert_said(&look().await, "unavailable: evm: 0x");
    assert!(!scene.chain.state().receipts.contains_key(&hash));
    assert!(scene.chain.node.asked("eth_getTransactionReceipt") > 5, "it was waited for");
}

#[tokio::test]
async fn an_unknown_hash_is_refused_only_by_a_node_that_is_up_to_date() {
    let scene = Scene::new().await;
    for (age, expected) in
        [(0, "there is no such"), (60, "there is no such"), (61, "unavailable: evm: the RPC node at")]
    {
        scene.chain.state().time = NOW - age;
        assert_said(&said(scene.verify(&by_hash(B256::repeat_byte(7))).await), expected);
    }
}

#[tokio::test]
async fn a_node_that_has_fallen_behind_refuses_no_payer() {
    let scene = Scene::new().await;
    let transaction = by_transaction(&scene.sign(scene.transfer()));
    let signature = scene.pay_by(CredentialType::Authorization).await;
    scene.chain.state().balances.clear();
    for (age, expected) in
        [(60, "the payer's balance does not cover"), (61, "unavailable: evm: the RPC node at")]
    {
        scene.chain.state().time = NOW - age;
        for payload in [&transaction, &signature] {
            assert_said(&said(scene.verify(payload).await), expected);
        }
    }
}

impl chain::State {
    fn reorganise_from(&mut self, signed: &Signed<TxEip1559>, from: Address) {
        self.sent.push(signed.clone());
        self.reorganise(*signed.hash(), from, signed.tx().nonce);
    }
}

fn asked() -> request::Ask {
    request::Ask {
        amount: U256::from(PRICE),
        token: Some(TOKEN),
        recipient: SHOP,
        chain_id: CHAIN,
        accepted: vec![CredentialType::Transaction],
        spender: None,
        permit2: PERMIT2,
        split: request::Split::No,
    }
}

/// A bound transfer of the price, and what it is bound to.
fn good() -> (Vec<u8>, B256) {
    let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
    let challenge = B256::repeat_byte(7);
    let ask = asked();
    let mut input = onchain::plain_input(ask.token, ask.recipient, ask.amount);
    input.extend_from_slice(challenge.as_slice());
    let tx = TxEip1559 {
        chain_id: CHAIN,
        gas_limit: 100_000,
        max_fee_per_gas: 2_000_000_000,
        to: TxKind::Call(TOKEN),
        input: input.into(),
        ..TxEip1559::default()
    };
    let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
    (raw_of(&tx.into_signed(signature)).to_vec(), challenge)
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
        for bytes in [raw.clone(), [&[0x02][..], &raw].concat()] {
            let _ = onchain::SignedTransfer::read(&hex::encode_prefixed(bytes), &asked(), B256::ZERO);
        }
    }

    #[test]
    fn a_changed_transaction_never_pays_for_the_same_payer(at in 0usize..230, bit in 0u8..8) {
        let (mut raw, challenge) = good();
        let before = onchain::SignedTransfer::read(&hex::encode_prefixed(&raw), &asked(), challenge).unwrap();
        let at = at % raw.len();
        raw[at] ^= 1 << bit;
        if let Ok(other) = onchain::SignedTransfer::read(&hex::encode_prefixed(&raw), &asked(), challenge) {
            prop_assert_ne!(other.payer, before.payer);
        }
    }
}
