//! Golden vectors that viem computed (`interop/evm-vectors.mjs`): every hash, digest, signature, transaction and request.

use super::*;
use alloy::eips::eip2718::Encodable2718;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/evm-vectors.json")).unwrap()
}

/// A text of the vectors as whatever it is.
fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().unwrap().parse().unwrap()
}

fn until(vectors: &Value) -> u64 {
    u64::try_from(Timestamp::parse(vectors["expires"].as_str().unwrap()).unwrap().unix()).unwrap()
}

#[test]
fn challenge_hashes_and_domains_are_those_of_viem() {
    let vectors = vectors();
    for case in vectors["challengeHashes"].as_array().unwrap() {
        let hash = typed::challenge_hash(case["id"].as_str().unwrap(), case["realm"].as_str().unwrap());
        assert_eq!(hash, read::<B256>(&case["hash"]));
    }
    let token: Address = read(&vectors["token"]);
    assert_eq!(typed::token_domain("USD Coin", "2", 8453, token), read::<B256>(&vectors["domains"]["token"]));
    assert_eq!(typed::permit2_domain(8453, PERMIT2), read::<B256>(&vectors["domains"]["permit2"]));
}

#[test]
fn permits_are_hashed_as_viem_and_the_draft_hash_them() {
    let vectors = vectors();
    let permit = typed::Permit {
        token: read(&vectors["token"]),
        amount: read(&vectors["amount"]),
        spender: read(&vectors["spender"]),
        nonce: read(&vectors["nonce"]),
        deadline: U256::from(until(&vectors)),
    };
    let challenge: B256 = read(&vectors["challengeHashes"][0]["hash"]);
    let cases = vectors["permits"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let kind = match case["kind"].as_str().unwrap() {
            "literal" => typed::WitnessType::Literal,
            _ => typed::WitnessType::Canonical,
        };
        let witness = kind.hash(challenge, case["externalId"].as_str().unwrap());
        assert_eq!(witness, read::<B256>(&case["witnessHash"]));
        let digest = permit.digest(kind, witness, typed::permit2_domain(8453, PERMIT2));
        assert_eq!(digest, read::<B256>(&case["digest"]));
        let signature = typed::parse_signature(case["signature"].as_str().unwrap()).unwrap();
        assert_eq!(typed::signer_of(&signature, &digest), Some(read(&vectors["payer"])));
    }
}

#[test]
fn requests_are_encoded_byte_for_byte() {
    let vectors = vectors();
    let recipient = vectors["recipient"].as_str().unwrap();
    let settler: PrivateKeySigner =
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse().unwrap();
    assert_eq!(settler.address(), read::<Address>(&vectors["spender"]));
    let evm = || Evm::new(recipient).chain(Chain::BASE).settlement_signer(settler.clone());
    for (name, evm, currency) in [
        ("default", evm(), "usdc"),
        ("everything", evm().accept(&CredentialType::ALL), "usdc"),
        ("coin", evm(), "eth"),
    ] {
        let money = evm.currency(currency).unwrap();
        let amount = BaseUnits::new(read(&vectors["amount"]));
        let request = evm.offer(&OfferCx::new(amount, &money)).unwrap();
        assert_eq!(request.encode(), vectors["requests"][name], "{name}");
    }
}

#[test]
fn authorizations_are_hashed_and_signed_as_viem_does() {
    let vectors = vectors();
    let key: PrivateKeySigner = read(&vectors["key"]);
    let message = abi::TransferWithAuthorization {
        from: key.address(),
        to: read(&vectors["recipient"]),
        value: read(&vectors["amount"]),
        validAfter: U256::ZERO,
        validBefore: U256::from(until(&vectors)),
        nonce: read(&vectors["challengeHashes"][0]["hash"]),
    };
    let domain = typed::token_domain("USD Coin", "2", 8453, read(&vectors["token"]));
    let digest = typed::authorization_digest(&message, domain);
    assert_eq!(digest, read::<B256>(&vectors["authorization"]["digest"]));
    let signature = key.sign_hash_sync(&digest).unwrap();
    assert_eq!(hex::encode_prefixed(signature.as_bytes()), vectors["authorization"]["signature"]);
}

#[test]
fn transactions_of_viem_are_read_and_written_byte_for_byte() {
    let vectors = vectors();
    let challenge: B256 = read(&vectors["challengeHashes"][0]["hash"]);
    let key: PrivateKeySigner = read(&vectors["key"]);
    for (name, binding) in
        [("token", plan::Binding::Bound), ("plain", plan::Binding::Unbound), ("coin", plan::Binding::Bound)]
    {
        let token = if name == "coin" { None } else { Some(read(&vectors["token"])) };
        let ask = request::Ask {
            amount: read(&vectors["amount"]),
            token,
            recipient: read(&vectors["recipient"]),
            chain_id: 8453,
            accepted: vec![CredentialType::Transaction],
            spender: None,
            permit2: PERMIT2,
            split: request::Split::No,
        };
        let raw = vectors["transactions"][name]["raw"].as_str().unwrap();
        let signed = onchain::SignedTransfer::read(raw, &ask, challenge).unwrap();
        assert_eq!(signed.hash, read::<B256>(&vectors["transactions"][name]["hash"]), "{name}");
        assert_eq!((signed.payer, signed.nonce, signed.binding), (key.address(), 7, binding), "{name}");

        let mut input = onchain::plain_input(ask.token, ask.recipient, ask.amount);
        if binding == plan::Binding::Bound {
            input.extend_from_slice(challenge.as_slice());
        }
        let tx = TxEip1559 {
            chain_id: 8453,
            nonce: 7,
            gas_limit: 90_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(token.unwrap_or(ask.recipient)),
            value: if token.is_none() { ask.amount } else { U256::ZERO },
            access_list: Default::default(),
            input: input.into(),
        };
        let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
        assert_eq!(hex::encode_prefixed(tx.into_signed(signature).encoded_2718()), raw, "{name}");
    }
}
