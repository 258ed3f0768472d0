//! Credentials that are almost right, and a chain that misbehaves on demand.

mod chain;
mod configuration;
mod onchain_payments;
mod settling;
mod vectors;

use self::chain::{CHAIN, FakeChain, NOW, TOKEN, raw_of};
use super::*;
use crate::chain::fake::Reply;
use crate::method::{
    ClientMethod, CredentialCx, OfferCx, Rejection, ServerMethod, SettleCx, Settlement, Sponsoring, Verified,
};
use crate::protocol::{BaseUnits, Challenge, ChargeRequest, ProblemType, Timestamp};
use crate::store::Notebook;
use alloy::consensus::{SignableTransaction, Signed, TxEip1559};
use alloy::primitives::{Bytes, TxKind, U256, address, hex, uint};
use alloy::signers::SignerSync;
use alloy::sol_types::SolCall;
use serde_json::{Map, Value, json};

const SHOP: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const EXPIRES: i64 = NOW + 300;
const PRICE: u64 = 10_000;

/// A shop, a payer with money, and a challenge; each test spoils one thing.
struct Scene {
    chain: FakeChain,
    evm: Evm,
    key: PrivateKeySigner,
    settler: PrivateKeySigner,
    challenge: Challenge,
    request: ChargeRequest,
}

impl Scene {
    async fn new() -> Self {
        Self::of("usdc", |evm| evm).await
    }

    async fn of(currency: &str, configure: impl FnOnce(Evm) -> Evm) -> Self {
        let chain = FakeChain::start().await;
        let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
        let settler = PrivateKeySigner::from_bytes(&B256::repeat_byte(2)).unwrap();
        let evm = configure(shop_at(&chain.node.url, &settler));
        {
            let mut state = chain.state();
            state.balances.insert(key.address(), U256::from(1_000_000));
            for account in [key.address(), settler.address()] {
                state.coins.insert(account, U256::from(10).pow(U256::from(18)));
            }
        }
        let money = evm.currency(currency).unwrap();
        let request = evm.offer(&OfferCx::new(BaseUnits::new(PRICE.into()), &money)).unwrap();
        let challenge = challenge(&request, "Uhc6WSMBbKqNSUJETnxTmSTzEqvM8S1eKaBB9UT4Mn8");
        Self { chain, evm, key, settler, challenge, request }
    }

    fn hash(&self) -> B256 {
        typed::challenge_hash(&self.challenge.id, &self.challenge.realm)
    }

    fn did(&self) -> String {
        format!("did:pkh:eip155:{CHAIN}:{}", self.key.address())
    }

    /// What our own wallet answers.
    async fn pay_by(&self, kind: CredentialType) -> Map<String, Value> {
        let wallet = EvmWallet::new(CHAIN, self.key.clone()).rpc(&self.chain.node.url).unwrap();
        wallet.pays_by(&[kind]).pay(&self.challenge).await.unwrap().payload
    }

    /// A transfer of the price, as the payer would sign it.
    fn transfer(&self) -> TxEip1559 {
        let input = abi::IToken::transferCall { to: SHOP, value: U256::from(PRICE) }.abi_encode();
        TxEip1559 {
            chain_id: CHAIN,
            nonce: 0,
            gas_limit: 100_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(TOKEN),
            value: U256::ZERO,
            access_list: Default::default(),
            input: [input, self.hash().to_vec()].concat().into(),
        }
    }

    fn sign(&self, tx: TxEip1559) -> Signed<TxEip1559> {
        let signature = self.key.sign_hash_sync(&tx.signature_hash()).unwrap();
        tx.into_signed(signature)
    }

    async fn verify(&self, payload: &Map<String, Value>) -> Result<Verified, Rejection> {
        self.verify_from(payload, Some(&self.did())).await
    }

    async fn verify_from(
        &self,
        payload: &Map<String, Value>,
        source: Option<&str>,
    ) -> Result<Verified, Rejection> {
        let expires = Timestamp::from_unix(EXPIRES);
        let now = Timestamp::from_unix(NOW);
        let mut cx = CredentialCx::new(&self.challenge, &self.request, payload, expires, now);
        cx.source = source;
        self.evm.verify(&cx).await
    }

    async fn settle(&self, verified: &Verified) -> Settlement {
        self.evm.settle(&SettleCx::new("id", &verified.plan, Timestamp::from_unix(NOW))).await
    }

    async fn resolve(&self, verified: &Verified) -> Settlement {
        self.evm.resolve(&SettleCx::new("id", &verified.plan, Timestamp::from_unix(NOW))).await
    }
}

/// For tests of what ends well, however slow the machine is.
fn long(mut evm: Evm) -> Evm {
    evm.pace.settled = Duration::from_secs(20);
    evm
}

/// The same, where no answer is lost.
fn patient(mut evm: Evm) -> Evm {
    evm.pace.broadcast = Duration::from_secs(5);
    long(evm)
}

/// Replaces soon.
fn quick() -> GasPolicy {
    GasPolicy { replace_after: Duration::from_millis(80), ..GasPolicy::default() }
}

fn shop_at(url: &str, settler: &PrivateKeySigner) -> Evm {
    let mut evm = Evm::new(&SHOP.to_string())
        .chain(CHAIN)
        .rpc(url)
        .eip3009_token("usdc", &TOKEN.to_string(), 6)
        .native_coin("eth")
        .settlement_signer(settler.clone())
        .gas_policy(quick())
        .accept(&CredentialType::ALL);
    evm.pace = Pace {
        settled: Duration::from_millis(400),
        receipt: Duration::from_millis(40),
        step: Duration::from_millis(10),
        broadcast: Duration::from_millis(60),
    };
    evm
}

fn challenge(request: &ChargeRequest, id: &str) -> Challenge {
    serde_json::from_value(json!({
        "id": id, "realm": "127.0.0.1", "method": "evm", "intent": "charge", "request": request.encode(),
        "expires": Timestamp::from_unix(EXPIRES).to_rfc3339().as_str(),
    }))
    .unwrap()
}

fn members(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("an object") };
    members
}

fn by_transaction(signed: &Signed<TxEip1559>) -> Map<String, Value> {
    members(json!({ "type": "transaction", "signature": raw_of(signed) }))
}

fn by_hash(hash: impl serde::Serialize) -> Map<String, Value> {
    members(json!({ "type": "hash", "hash": hash }))
}

fn said(verified: Result<Verified, Rejection>) -> String {
    match verified {
        Ok(_) => "accepted".into(),
        Err(Rejection::Refused { kind: ProblemType::VerificationFailed, detail }) => detail.into(),
        Err(Rejection::Refused { kind, detail }) => format!("{kind:?}: {detail}"),
        Err(Rejection::Unavailable { detail, .. }) => format!("unavailable: {detail}"),
    }
}

fn kind(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Settled(_) => "settled".into(),
        Settlement::Declined(Rejection::Refused { detail, .. }) => format!("declined: {detail}"),
        Settlement::Declined(Rejection::Unavailable { .. }) => "declined: unavailable".into(),
        Settlement::Unknown { detail } => format!("unknown: {detail}"),
    }
}

/// `expected` is how what was said begins.
fn assert_said(got: &str, expected: &str) {
    assert!(got.starts_with(expected), "expected {expected:?}, got {got:?}");
}

type Edit = fn(&mut Map<String, Value>);
type EditTx = fn(&mut TxEip1559);

#[tokio::test]
async fn what_our_wallet_signs_is_accepted_by_every_type() {
    let scene = Scene::new().await;
    let payer = scene.key.address();
    for kind in [CredentialType::Authorization, CredentialType::Permit2, CredentialType::Transaction] {
        let payload = scene.pay_by(kind).await;
        let verified = scene.verify(&payload).await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        assert_eq!(verified.payer, Some(scene.did()), "{kind}");
        let expected = match kind {
            CredentialType::Authorization => format!("{CHAIN}:{TOKEN:#x}:{payer:#x}:{:#x}", scene.hash()),
            CredentialType::Permit2 => format!("{CHAIN}:permit2:{PERMIT2:#x}:{payer:#x}:"),
            _ => format!("{CHAIN}:0x"),
        };
        assert_said(&verified.proof_keys[0], &expected);
    }
    assert_eq!(scene.chain.node.asked("eth_sendRawTransaction"), 0, "verifying spends nothing");

    let payload = scene.pay_by(CredentialType::Hash).await;
    let verified = scene.verify(&payload).await.unwrap();
    assert_eq!(kind(&scene.settle(&verified).await), "settled");
    assert_eq!(scene.chain.state().received(SHOP), U256::from(PRICE));
}

#[tokio::test]
async fn a_broadcast_that_is_not_mined_yet_is_a_payment_to_show_and_an_empty_account_makes_none() {
    let scene = Scene::new().await;
    let mut wallet = EvmWallet::new(CHAIN, scene.key.clone()).rpc(&scene.chain.node.url).unwrap();
    wallet = wallet.pays_by(&[CredentialType::Hash]);
    wallet.patience = Duration::ZERO;
    let cost = wallet.cost(&scene.challenge).unwrap();
    assert_eq!(wallet.afford(&scene.challenge, &cost).await, Ok(()));
    scene.chain.state().fates.push_back(chain::Fate::Waits);
    let payload = wallet.pay(&scene.challenge).await.unwrap().payload;
    // The money is on its way: come back.
    assert!(matches!(scene.verify(&payload).await, Err(Rejection::Unavailable { .. })));
    scene.chain.state().mine();
    assert_eq!(said(scene.verify(&payload).await), "accepted");

    scene.chain.state().balances.insert(scene.key.address(), U256::from(PRICE - 1));
    let short = wallet.afford(&scene.challenge, &cost).await.unwrap_err();
    assert_eq!((short.needs.get(), short.has.get()), (PRICE.into(), u128::from(PRICE) - 1));
    // Without a node nobody can know.
    let blind = EvmWallet::new(CHAIN, scene.key.clone());
    assert_eq!(blind.afford(&scene.challenge, &cost).await, Ok(()));
}

#[tokio::test]
async fn a_credential_verified_twice_gives_the_same_plan_although_a_block_came_in_between() {
    let scene = Scene::new().await;
    for kind in [CredentialType::Authorization, CredentialType::Permit2, CredentialType::Transaction] {
        let payload = scene.pay_by(kind).await;
        let first = scene.verify(&payload).await.unwrap();
        scene.chain.state().number += 1;
        let second = scene.verify(&payload).await.unwrap();
        assert!(first.plan == second.plan, "{kind}");
    }
}

#[tokio::test]
async fn an_authorization_with_one_change_pays_nothing() {
    let scene = Scene::new().await;
    let good = scene.pay_by(CredentialType::Authorization).await;
    let table: [(&str, Edit); 22] = [
        ("the authorization pays another recipient", |p| {
            p["to"] = json!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
        }),
        ("the authorization is for another amount", |p| p["value"] = json!("9999")),
        ("the authorization is for another amount", |p| p["value"] = json!("10001")),
        ("the authorization's nonce is not the hash", |p| p["nonce"] = json!(B256::repeat_byte(7))),
        ("the authorization's `validAfter` has not come", |p| p["validAfter"] = json!("1800000000")),
        ("the authorization's `validBefore` is later", |p| p["validBefore"] = json!("1800000301")),
        ("the authorization's `validBefore` has passed", |p| p["validBefore"] = json!("1800000000")),
        ("the authorization's `validBefore` is too near", |p| p["validBefore"] = json!("1800000004")),
        ("the authorization is not signed by", |p| p["validBefore"] = json!("1800000299")),
        ("the authorization is not signed by", |p| p["validAfter"] = json!("1")),
        ("the authorization is not signed by", |p| p["from"] = json!(SHOP)),
        ("`payload.signature` is not a signature", |p| p["signature"] = json!("0x")),
        ("`payload.signature` is not a signature", |p| {
            // As some libraries write it; the token would refuse it.
            let text = p["signature"].as_str().unwrap();
            let v = if text.ends_with("1b") { "00" } else { "01" };
            p["signature"] = json!(format!("{}{v}", &text[..130]));
        }),
        ("`payload.signature` is not a signature", |p| {
            let bytes = hex::decode(p["signature"].as_str().unwrap()).unwrap();
            let order = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
            let high = (order - U256::from_be_slice(&bytes[32..64])).to_be_bytes::<32>();
            let mirrored = [&bytes[..32], &high, &[27 + 28 - bytes[64]]].concat();
            p["signature"] = json!(hex::encode_prefixed(mirrored));
        }),
        ("the authorization is not signed by", |p| {
            let text = p["signature"].as_str().unwrap();
            let v = if text.ends_with("1b") { "1c" } else { "1b" };
            p["signature"] = json!(format!("{}{v}", &text[..130]));
        }),
        ("MalformedCredential: `value`", |p| p["value"] = json!(10_000)),
        ("MalformedCredential: `value`", |p| p["value"] = json!("010000")),
        ("MalformedCredential: `value`", |p| p["value"] = json!("1".repeat(79))),
        ("MalformedCredential: `value`", |p| p["value"] = json!("-1")),
        ("MalformedCredential: `from`", |p| p["from"] = json!("0x12")),
        ("MalformedCredential: `nonce`", |p| {
            p.remove("nonce");
        }),
        ("MalformedCredential: `payload.type`", |p| p["type"] = json!("cash")),
    ];
    for (expected, edit) in table {
        let mut payload = good.clone();
        edit(&mut payload);
        assert_said(&said(scene.verify(&payload).await), expected);
    }
    let source = format!("did:pkh:eip155:{CHAIN}:{SHOP}");
    assert_said(&said(scene.verify_from(&good, Some(&source)).await), "the signature is not of the account");
    let foreign = scene.did().replace("31337", "1");
    assert_said(&said(scene.verify_from(&good, Some(&foreign)).await), "the payer is named on another chain");
    // Without a `source` the signature says who pays.
    assert_eq!(scene.verify_from(&good, None).await.unwrap().payer, Some(scene.did()));
}

#[tokio::test]
async fn a_signature_for_one_challenge_token_or_chain_is_good_for_no_other() {
    let mut scene = Scene::new().await;
    for kind in [CredentialType::Authorization, CredentialType::Permit2, CredentialType::Transaction] {
        let payload = scene.pay_by(kind).await;
        let first = std::mem::replace(&mut scene.challenge, challenge(&scene.request, &"A".repeat(43)));
        let expected = match kind {
            CredentialType::Authorization => "the authorization's nonce is not the hash of this challenge",
            CredentialType::Permit2 => "the permit's witness does not name this challenge",
            _ => "the transaction was made for another challenge",
        };
        assert_said(&said(scene.verify(&payload).await), expected);
        scene.challenge = first;
    }
    // The token verifies under another domain than the one that was signed (another token, or another chain).
    let payload = scene.pay_by(CredentialType::Authorization).await;
    scene.evm.domains.lock().unwrap().insert(TOKEN, B256::repeat_byte(9));
    assert_said(&said(scene.verify(&payload).await), "the authorization is not signed by");
}

#[tokio::test]
async fn a_permit_with_one_change_pays_nothing() {
    let scene = Scene::new().await;
    let good = scene.pay_by(CredentialType::Permit2).await;
    let other = json!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
    let table: [(&str, Edit); 16] = [
        ("the permit is for another token", |p| p["permit"]["permitted"][0]["token"] = json!(SHOP)),
        ("the permit allows less", |p| p["permit"]["permitted"][0]["amount"] = json!("9999")),
        ("the permit is not signed by", |p| p["permit"]["permitted"][0]["amount"] = json!("10001")),
        ("the permit is not signed by", |p| p["permit"]["nonce"] = json!("7")),
        ("the permit is not signed by", |p| p["permit"]["deadline"] = json!("1800000299")),
        ("the permit's `deadline` is later", |p| p["permit"]["deadline"] = json!("1800000301")),
        ("the permit's `deadline` has passed", |p| p["permit"]["deadline"] = json!("1799999999")),
        ("the permit's transfer pays another", |p| p["transferDetails"][0]["to"] = json!(TOKEN)),
        ("the permit's transfer is of another", |p| p["transferDetails"][0]["requestedAmount"] = json!("1")),
        ("the permit's witness", |p| p["witness"]["challengeHash"] = json!(B256::repeat_byte(1))),
        ("the permit's witness", |p| p["witness"]["externalId"] = json!("order-7")),
        ("`transferDetails` has to have exactly one", |p| {
            let half = p["transferDetails"][0].clone();
            p["transferDetails"] = json!([half, half]);
        }),
        ("`permitted` has to have exactly one", |p| p["permit"]["permitted"] = json!([])),
        ("MalformedCredential: `permitted`", |p| p["permit"]["permitted"] = json!({})),
        ("MalformedCredential: `permit`", |p| {
            p.remove("permit");
        }),
        ("MalformedCredential: `witness`", |p| p["witness"] = json!("0x")),
    ];
    for (expected, edit) in table {
        let mut payload = good.clone();
        edit(&mut payload);
        assert_said(&said(scene.verify(&payload).await), expected);
    }
    assert_said(&said(scene.verify_from(&good, None).await), "MalformedCredential: a permit has to name");
    let source = format!("did:pkh:eip155:{CHAIN}:{}", other.as_str().unwrap());
    assert_said(&said(scene.verify_from(&good, Some(&source)).await), "the permit is not signed by");
}

#[tokio::test]
async fn the_merchants_reference_is_part_of_what_a_permit_signs() {
    let mut scene = Scene::new().await;
    let plain = scene.pay_by(CredentialType::Permit2).await;
    scene.request.external_id = Some("order-7".into());
    scene.challenge = challenge(&scene.request, &scene.challenge.id);
    let payload = scene.pay_by(CredentialType::Permit2).await;
    assert_eq!(payload["witness"]["externalId"], "order-7");
    assert_eq!(said(scene.verify(&payload).await), "accepted");
    assert_said(&said(scene.verify(&plain).await), "the permit is not signed by");
    scene.request.external_id = Some("order-8".into());
    assert_said(&said(scene.verify(&payload).await), "the permit's witness does not name this challenge");
}

#[tokio::test]
async fn both_spellings_of_the_witness_type_are_taken_and_the_signed_one_is_submitted() {
    let scene = Scene::new().await;
    let mut payload = scene.pay_by(CredentialType::Permit2).await;
    for kind in typed::WitnessType::ALL {
        let number =
            |path: &str| U256::from_str_radix(payload["permit"][path].as_str().unwrap(), 10).unwrap();
        let permit = typed::Permit {
            token: TOKEN,
            amount: U256::from(PRICE),
            spender: scene.settler.address(),
            nonce: number("nonce"),
            deadline: number("deadline"),
        };
        let witness = kind.hash(scene.hash(), "");
        let digest = permit.digest(kind, witness, typed::permit2_domain(CHAIN, PERMIT2));
        let signature = scene.key.sign_hash_sync(&digest).unwrap();
        payload["signature"] = json!(hex::encode_prefixed(signature.as_bytes()));
        let verified = scene.verify(&payload).await.unwrap();
        let Some(plan::Plan::Submit(plan)) = plan::Plan::read(&verified.plan) else { panic!("a call") };
        let call = abi::IPermit2::permitWitnessTransferFromCall::abi_decode(&plan.data).unwrap();
        assert_eq!((call.witness, call.witnessTypeString), (witness, kind.type_string()));
    }
}

#[tokio::test]
async fn who_cannot_pay_is_told_and_who_cannot_settle_is_not_his_fault() {
    let scene = Scene::new().await;
    let authorization = scene.pay_by(CredentialType::Authorization).await;
    let permit = scene.pay_by(CredentialType::Permit2).await;
    let transaction = scene.pay_by(CredentialType::Transaction).await;

    let rich = scene.chain.state().balances.insert(scene.key.address(), U256::from(PRICE - 1)).unwrap();
    for payload in [&authorization, &permit, &transaction] {
        assert_eq!(said(scene.verify(payload).await), "the payer's balance does not cover the amount");
    }
    scene.chain.state().balances.insert(scene.key.address(), rich);

    scene.chain.state().refuses = Some(Reply::Error(3, "execution reverted: FiatTokenV2: frozen"));
    assert_said(&said(scene.verify(&authorization).await), "the token refuses this authorization");
    assert_said(&said(scene.verify(&permit).await), "Permit2 or the token refuses this permit");
    assert_said(&said(scene.verify(&transaction).await), "the token refuses this transfer");
    // The payer's account may have code, and that may take any amount of gas: no fault of ours.
    scene.chain.state().refuses = Some(Reply::Error(-32000, "gas required exceeds allowance (30000000)"));
    assert_said(
        &said(scene.verify(&authorization).await),
        "settling this payment takes more gas than a block",
    );
    scene.chain.state().refuses = Some(Reply::Result(json!("0x7a1200")));
    assert_said(
        &said(scene.verify(&authorization).await),
        "settling this payment takes more gas than the server",
    );
    scene.chain.state().refuses = Some(Reply::Error(-32603, "internal error"));
    for payload in [&authorization, &permit, &transaction] {
        assert_said(&said(scene.verify(payload).await), "unavailable: evm: http://127.0.0.1");
    }
    // Whoever sends a settlement pays for it: that is us.
    for ours in ["insufficient funds for gas * price + value", "max fee per gas less than block base fee"] {
        scene.chain.state().refuses = Some(Reply::Error(-32000, ours));
        for payload in [&authorization, &permit] {
            assert_said(&said(scene.verify(payload).await), "unavailable: evm: http://127.0.0.1");
        }
    }
    scene.chain.state().refuses = None;

    scene.chain.state().coins.insert(scene.settler.address(), U256::from(1_000));
    assert_said(&said(scene.verify(&authorization).await), "unavailable: evm: the settlement key");
    for broken in [Reply::Status(503), Reply::Error(-32005, "limit exceeded")] {
        scene.chain.state().broken = Some(broken);
        for payload in [&authorization, &permit, &transaction, &by_hash(B256::repeat_byte(1))] {
            assert_said(&said(scene.verify(payload).await), "unavailable");
        }
    }
}

#[tokio::test]
async fn a_node_of_another_chain_confirms_nothing() {
    let chain = FakeChain::start().await;
    let scene = Scene::of("usdc", |evm| evm.chain(1)).await;
    let payload = by_hash(B256::repeat_byte(7));
    assert_said(&said(scene.verify_from(&payload, None).await), "unavailable: evm: the RPC node at");
    let wrong = shop_at(&chain.node.url, &scene.settler).chain(1).check().await.unwrap_err();
    assert!(wrong.to_string().ends_with("serves chain 31337, not chain 1"), "{wrong}");
}
