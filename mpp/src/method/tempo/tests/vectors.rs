//! Golden vectors, computed by viem (`interop/tempo_vectors.mjs`) and committed: requests, memo, proof, transactions and
//! sponsored envelopes, byte for byte.

use super::wallet::{helpful, wallet};
use super::*;
use crate::method::{ClientMethod, Fees, Share};
use tempo_alloy::primitives::AASigned;

fn vectors() -> Value {
    let path = format!("{}/tests/fixtures/tempo-vectors.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

const PARTS: &[Share<'static>] = &[Share { payee: "platform", units: BaseUnits::new(10_000) }];

fn seller(url: &str) -> Tempo {
    tempo_at(url)
        .payee("platform", vectors()["inputs"]["platform"].as_str().unwrap())
        .sponsor(Sponsor::local(vectors()["inputs"]["sponsorKey"].as_str().unwrap()))
}

/// The offer of a case, as a challenge with the vectors' realm and id.
fn scene(tempo: &Tempo, amount: u128, say: impl FnOnce(&mut OfferCx<'_>)) -> Scene {
    let mut scene = Scene::asking(tempo, amount, say);
    let inputs = &vectors()["inputs"];
    scene.challenge.id = inputs["challengeId"].as_str().unwrap().into();
    scene.challenge.realm = inputs["realm"].as_str().unwrap().into();
    scene
}

type Say = fn(&mut OfferCx<'_>);

#[test]
fn requests_are_encoded_as_in_the_vectors() {
    let url = "http://127.0.0.1:1";
    let push_only = seller(url).modes([Mode::Push]);
    let all = seller(url);
    let table: [(&str, &Tempo, u128, Say); 6] = [
        ("plain", &all, 50_000, |_| {}),
        ("split", &all, 50_000, |cx| cx.splits = PARTS),
        ("sponsored", &all, 50_000, |cx| cx.fees = Fees::Sponsored),
        ("sponsoredSplit", &all, 50_000, |cx| (cx.fees, cx.splits) = (Fees::Sponsored, PARTS)),
        ("pushOnly", &push_only, 50_000, |_| {}),
        ("zero", &all, 0, |_| {}),
    ];
    for (case, tempo, amount, say) in table {
        assert_eq!(
            scene(tempo, amount, say).request.encode(),
            vectors()["requests"][case]["encoded"],
            "{case}"
        );
    }
}

#[tokio::test]
async fn memo_proof_and_transactions_are_those_of_the_vectors() {
    let vectors = vectors();
    let node = FakeNode::start(helpful).await;
    let (seller, payer) = (seller(&node.url), wallet(&node.url));
    let plain = scene(&seller, 50_000, |_| {});
    assert_eq!(json!(plain.memo()), vectors["memo"]);

    let zero = scene(&seller, 0, |_| {});
    let proof = payer.pay(&zero.challenge).await.unwrap();
    assert_eq!(proof.payload["signature"], vectors["proof"]["signature"]);
    let digest = proof::digest(plain.key.address(), 31337, &zero.challenge.id, &zero.challenge.realm);
    assert_eq!(json!(digest), vectors["proof"]["digest"]);

    let table: [(&str, Say); 4] = [
        ("plain", |_| {}),
        ("split", |cx| cx.splits = PARTS),
        ("sponsored", |cx| cx.fees = Fees::Sponsored),
        ("sponsoredSplit", |cx| (cx.fees, cx.splits) = (Fees::Sponsored, PARTS)),
    ];
    for (case, say) in table {
        let vector = &vectors["transactions"][case];
        let scene = scene(&seller, 50_000, say);
        let paid = payer.pay(&scene.challenge).await.unwrap();
        let sent = hex::decode(paid.payload["signature"].as_str().unwrap()).unwrap();
        let Some((waiting, _)) = envelope::read(&sent) else {
            assert_eq!(paid.payload["signature"], vector["raw"], "{case}");
            let signed: AASigned =
                alloy::eips::eip2718::Decodable2718::decode_2718(&mut sent.as_slice()).unwrap();
            assert_eq!(json!(signed.hash()), vector["hash"], "{case}");
            assert_eq!(json!(signed.signature_hash()), vector["signingHash"], "{case}");
            continue;
        };
        assert_eq!(paid.payload["signature"], vector["envelope"], "{case}");
        assert_eq!(json!(waiting.signature_hash()), vector["signingHash"], "{case}");
        let whole = seller.sponsor.as_ref().unwrap().cosign(&waiting, scene.key.address()).await.unwrap();
        assert_eq!(json!(hex::encode_prefixed(whole.encoded_2718())), vector["raw"], "{case}");
        assert_eq!(json!(whole.hash()), vector["hash"], "{case}");
        let fee_payer_signs = whole.tx().fee_payer_signature_hash(scene.key.address());
        assert_eq!(json!(fee_payer_signs), vector["feePayerHash"], "{case}");
    }
}
