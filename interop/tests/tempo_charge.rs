//! npm `mppx` pays the shop on a real Tempo chain; what moved is read from the chain's logs.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use interop::{Answer, Chain, DEV_ACCOUNTS, DEV_KEYS, KeyFile, Lossy, Mode, Shop, Wallet, ask, lab};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");

struct Scene {
    chain: Chain,
    shop: Shop,
    wallet: Wallet,
}

impl Scene {
    /// `None` where the peers are not installed.
    async fn set(flags: &[&str]) -> Option<Self> {
        let lab = lab()?;
        let chain = lab.chain().await;
        let shop = Shop::start(SHOP, &chain.url, flags).await;
        let wallet = lab.wallet(&chain);
        Some(Self { chain, shop, wallet })
    }

    /// Asks unpaid and answers the challenge; nothing is sent.
    async fn credential(&mut self, verb: &str, path: &str, body: Option<&Value>, mode: Mode) -> String {
        let unpaid = ask(verb, &self.shop.at(path), None, body).await;
        assert_eq!(unpaid.status, 402, "{unpaid:?}");
        assert_eq!(unpaid.cache_control.as_deref(), Some("no-store"));
        self.wallet.credential(&unpaid.challenge.expect("a challenge"), mode).await
    }

    async fn get(&self, path: &str, authorization: &str) -> Answer {
        ask("GET", &self.shop.at(path), Some(authorization), None).await
    }

    /// The base units of every payment so far.
    async fn paid(&self) -> Vec<u128> {
        self.chain.payments_to(&self.shop.recipient).await.iter().map(|t| t.amount).collect()
    }
}

/// Refused with a challenge, so that the client can pay (again).
fn assert_refused(answer: &Answer, problem: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (402, problem), "{answer:?}");
    assert!(answer.challenge.is_some() && answer.receipt.is_none(), "{answer:?}");
}

/// A credential with one change.
fn edited(authorization: &str, edit: impl FnOnce(&mut Value)) -> String {
    let token = authorization.strip_prefix("Payment ").expect("the scheme");
    let mut credential: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64url")).expect("JSON");
    edit(&mut credential);
    format!("Payment {}", BASE64_URL_SAFE_NO_PAD.encode(credential.to_string()))
}

#[tokio::test]
async fn mppx_pays_by_pull_by_push_and_proves_who_it_is() {
    let Some(mut scene) = Scene::set(&[]).await else { return };
    const PAYER: &str = "did:pkh:eip155:31337:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let mut references = Vec::new();
    for (verb, path, body, mode, amount) in [
        ("GET", "/charge", None, Mode::Pull, 10_000),
        ("GET", "/charge", None, Mode::Push, 10_000),
        ("POST", "/charge", None, Mode::Pull, 10_000),
        ("GET", "/dear", None, Mode::Pull, 1_000_000),
        ("POST", "/echo", Some(json!({ "said": "hello" })), Mode::Pull, 10_000),
        ("POST", "/echo", Some(json!([1, 2.5, "ü"])), Mode::Push, 10_000),
        ("GET", "/units/1", None, Mode::Pull, 1_000),
        ("GET", "/units/1000", None, Mode::Push, 1_000_000),
    ] {
        let answer = scene.wallet.fetch(verb, &scene.shop.at(path), body.as_ref(), mode).await;
        assert_eq!((answer.status, answer.statuses.as_slice()), (200, &[402, 200][..]), "{path}: {answer:?}");
        assert_eq!(answer.cache_control.as_deref(), Some("private"));
        let receipt = answer.receipt.clone().expect("a receipt");
        assert_eq!((&receipt["method"], &receipt["status"]), (&json!("tempo"), &json!("success")));
        match body {
            Some(body) => assert_eq!(answer.json(), body),
            None => assert_eq!(answer.json()["payer"], PAYER),
        }
        references.push((answer.reference(), amount));
    }
    let on_chain = scene.chain.payments_to(&scene.shop.recipient).await;
    let on_chain: Vec<_> = on_chain.into_iter().map(|t| (t.hash, t.amount)).collect();
    assert_eq!(on_chain, references);

    let answer = scene.wallet.fetch("GET", &scene.shop.at("/zero"), None, Mode::Pull).await;
    assert_eq!((answer.status, &answer.json()["hello"]), (200, &json!(PAYER)));
    assert!(!answer.reference().starts_with("0x"), "a proof refers to its challenge");
    assert_eq!(scene.paid().await.len(), references.len());
}

#[tokio::test]
async fn what_is_free_or_cannot_be_sold_is_not_charged() {
    let Some(scene) = Scene::set(&[]).await else { return };
    assert_eq!(ask("GET", &scene.shop.at("/health"), None, None).await.status, 200);
    for path in ["/units/0", "/units/1001", "/units/x", "/units/01"] {
        let answer = ask("GET", &scene.shop.at(path), None, None).await;
        assert_eq!((answer.status, answer.challenge), (422, None), "{path}");
    }
}

#[tokio::test]
async fn a_tampered_credential_is_refused_and_leaves_the_good_one_good() {
    let Some(mut scene) = Scene::set(&[]).await else { return };
    let good = scene.credential("GET", "/charge", None, Mode::Pull).await;
    let cheaper = BASE64_URL_SAFE_NO_PAD.encode(
        json!({
            "amount": "1", "currency": "0x20c0000000000000000000000000000000000000",
            "methodDetails": { "chainId": 31337 }, "recipient": scene.shop.recipient,
        })
        .to_string(),
    );
    let challenge_members = [
        ("id", json!("A".repeat(43))),
        ("realm", json!("example.com")),
        ("intent", json!("session")),
        ("request", json!(cheaper)),
        ("expires", json!("2099-01-01T00:00:00Z")),
        ("opaque", json!("e30")),
    ];
    for (member, value) in challenge_members {
        let answer = scene.get("/charge", &edited(&good, |c| c["challenge"][member] = value)).await;
        assert_refused(&answer, "invalid-challenge");
    }
    // Whom the shop cannot be paid by is answered before whether the challenge is its own.
    let other_method =
        scene.get("/charge", &edited(&good, |c| c["challenge"]["method"] = json!("stripe"))).await;
    assert_eq!((other_method.status, other_method.challenge), (400, None));
    type Edit = fn(&mut Value);
    let payloads: [(&str, Edit); 6] = [
        ("verification-failed", |c| {
            c["source"] = json!("did:pkh:eip155:31337:0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
        }),
        ("verification-failed", |c| c["payload"] = json!({ "type": "proof", "signature": "0x00" })),
        ("verification-failed", |c| {
            c["payload"] = json!({ "type": "hash", "hash": format!("0x{}", "ab".repeat(32)) })
        }),
        ("malformed-credential", |c| c["payload"]["signature"] = json!("0x76")),
        ("malformed-credential", |c| c["payload"]["type"] = json!("cash")),
        ("malformed-credential", |c| {
            let raw = c["payload"]["signature"].as_str().unwrap_or_default().to_owned();
            c["payload"]["signature"] = json!(format!("{raw}00"));
        }),
    ];
    for (problem, edit) in payloads {
        assert_refused(&scene.get("/charge", &edited(&good, edit)).await, problem);
    }
    assert_refused(&scene.get("/charge", "Payment dGhpcyBpcyBnYXJiYWdl").await, "malformed-credential");
    assert_eq!(scene.paid().await, []);

    let answer = scene.get("/charge", &good).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(scene.paid().await, [10_000]);
}

#[tokio::test]
async fn a_replayed_credential_is_refused_however_it_paid() {
    let Some(mut scene) = Scene::set(&[]).await else { return };
    for (n, mode) in [Mode::Pull, Mode::Push].into_iter().enumerate() {
        let credential = scene.credential("GET", "/charge", None, mode).await;
        let first = scene.get("/charge", &credential).await;
        assert_eq!(first.status, 200, "{first:?}");
        assert_refused(&scene.get("/charge", &credential).await, "invalid-challenge");
        // The transaction of a pulled payment is on the chain, so it could come back as a hash; and a hash in capitals.
        let as_hash =
            edited(&credential, |c| c["payload"] = json!({ "type": "hash", "hash": first.reference() }));
        let shouted = edited(&as_hash, |c| {
            c["payload"]["hash"] = json!(first.reference().to_uppercase().replace("0X", "0x"));
        });
        for other in [as_hash, shouted] {
            if other != credential {
                assert_refused(&scene.get("/charge", &other).await, "invalid-challenge");
            }
        }
        // Under a fresh challenge of the same price the memo gives it away.
        let fresh = scene.credential("GET", "/charge", None, Mode::Pull).await;
        let stolen = edited(&fresh, |c| c["payload"] = json!({ "type": "hash", "hash": first.reference() }));
        assert_refused(&scene.get("/charge", &stolen).await, "verification-failed");
        assert_eq!(scene.paid().await.len(), n + 1);
    }
    let proof = scene.credential("GET", "/zero", None, Mode::Pull).await;
    assert_eq!(scene.get("/zero", &proof).await.status, 200);
    assert_refused(&scene.get("/zero", &proof).await, "invalid-challenge");
}

#[tokio::test]
async fn an_expired_credential_is_refused_before_anything_is_broadcast() {
    // As long as the payer may take to sign on a busy machine.
    const LIFE: Duration = Duration::from_secs(10);
    let Some(mut scene) = Scene::set(&["--expires", "10"]).await else { return };
    let credential = scene.credential("GET", "/charge", None, Mode::Pull).await;
    // The shop is a process with the system's clock: there is nothing to inject, so the time has to pass.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    tokio::time::sleep(Duration::from_secs(now.as_secs() + 1) + LIFE - now).await;
    assert_refused(&scene.get("/charge", &credential).await, "payment-expired");
    assert_eq!(scene.paid().await, []);
}

#[tokio::test]
async fn a_credential_opens_only_the_route_verb_and_body_it_was_issued_for() {
    let Some(mut scene) = Scene::set(&[]).await else { return };
    let charge = scene.credential("GET", "/charge", None, Mode::Pull).await;
    assert_refused(&scene.get("/flaky", &charge).await, "invalid-challenge");
    assert_refused(&scene.get("/dear", &charge).await, "invalid-challenge");
    assert_refused(&ask("POST", &scene.shop.at("/charge"), Some(&charge), None).await, "invalid-challenge");

    let one_unit = scene.credential("GET", "/units/1", None, Mode::Pull).await;
    assert_refused(&scene.get("/units/1000", &one_unit).await, "invalid-challenge");
    assert_refused(&scene.get("/units/2", &one_unit).await, "invalid-challenge");

    let body = json!({ "said": "this" });
    let echo = scene.credential("POST", "/echo", Some(&body), Mode::Pull).await;
    let other = ask("POST", &scene.shop.at("/echo"), Some(&echo), Some(&json!({ "said": "that" }))).await;
    assert_refused(&other, "invalid-challenge");
    assert_eq!(scene.paid().await, []);

    assert_eq!(scene.get("/charge", &charge).await.status, 200);
    assert_eq!(scene.get("/units/1", &one_unit).await.status, 200);
    assert_eq!(ask("POST", &scene.shop.at("/echo"), Some(&echo), Some(&body)).await.status, 200);
    assert_eq!(scene.paid().await, [10_000, 1_000, 10_000]);
}

#[tokio::test]
async fn eight_copies_at_once_are_one_delivery_and_one_transfer_in_fifty_rounds() {
    let Some(mut scene) = Scene::set(&[]).await else { return };
    for round in 1..=50 {
        let mode = if round % 5 == 0 { Mode::Push } else { Mode::Pull };
        let credential = scene.credential("GET", "/charge", None, mode).await;
        let url = scene.shop.at("/charge");
        let copies: Vec<_> = (0..8)
            .map(|_| {
                let (url, credential) = (url.clone(), credential.clone());
                tokio::spawn(async move { ask("GET", &url, Some(&credential), None).await })
            })
            .collect();
        let mut statuses = Vec::new();
        for copy in copies {
            statuses.push(copy.await.expect("the request was answered").status);
        }
        let delivered = statuses.iter().filter(|status| **status == 200).count();
        let refused = statuses.iter().filter(|status| [402, 409].contains(status)).count();
        assert_eq!((delivered, refused), (1, 7), "round {round}: {statuses:?}");
        let payments = scene.chain.payments_to(&scene.shop.recipient).await;
        assert_eq!(payments.len(), round, "round {round}");
    }
}

#[tokio::test]
async fn a_failed_handler_is_delivered_on_the_second_try_without_a_second_payment() {
    let Some(mut scene) = Scene::set(&[]).await else { return };
    for (n, mode) in [Mode::Pull, Mode::Push].into_iter().enumerate() {
        let credential = scene.credential("GET", "/flaky", None, mode).await;
        let failed = scene.get("/flaky", &credential).await;
        assert_eq!((failed.status, failed.receipt, failed.challenge), (500, None, None));
        let delivered = scene.get("/flaky", &credential).await;
        assert_eq!(delivered.status, 200, "{delivered:?}");
        let payments = scene.chain.payments_to(&scene.shop.recipient).await;
        assert_eq!(payments.len(), n + 1);
        assert_eq!(delivered.reference(), payments[n].hash);
        assert_refused(&scene.get("/flaky", &credential).await, "invalid-challenge");
    }
}

#[tokio::test]
async fn a_shop_that_crashed_with_a_file_store_still_owes_the_delivery() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let mut wallet = lab.wallet(&chain);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store");
    let flags = ["--store", &format!("file:{}", store.display()), "--public-url", "http://127.0.0.1:1"];

    let shop = Shop::start(SHOP, &chain.url, &flags).await;
    let challenge = ask("GET", &shop.at("/flaky"), None, None).await.challenge.expect("a challenge");
    let credential = wallet.credential(&challenge, Mode::Pull).await;
    assert_eq!(ask("GET", &shop.at("/flaky"), Some(&credential), None).await.status, 500);
    let recipient = shop.crash().await;

    let shop = Shop::paid_to(recipient, SHOP, &chain.url, &flags).await;
    let delivered = ask("GET", &shop.at("/flaky"), Some(&credential), None).await;
    assert_eq!(delivered.status, 200, "{delivered:?}\n{}", shop.log());
    assert_refused(&ask("GET", &shop.at("/flaky"), Some(&credential), None).await, "invalid-challenge");
    assert_eq!(chain.payments_to(&shop.recipient).await.len(), 1);
}

#[tokio::test]
async fn a_broadcast_whose_answer_is_lost_is_looked_up_and_not_repeated() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let mut wallet = lab.wallet(&chain);
    let lossy = Lossy::start(&chain).await;
    let shop = Shop::start(SHOP, &lossy.url, &[]).await;
    let answer = wallet.fetch("GET", &shop.at("/charge"), None, Mode::Pull).await;
    assert_eq!((answer.status, answer.statuses.as_slice()), (200, &[402, 200][..]), "{answer:?}");
    let payments = chain.payments_to(&shop.recipient).await;
    assert_eq!(payments.len(), 1);
    assert_eq!(answer.reference(), payments[0].hash);
    assert_eq!(lossy.broadcasts(), 1);
}

/// Anvil's second account, which has money.
const FEE_PAYER: &str = DEV_ACCOUNTS[1];

#[tokio::test]
async fn mppx_pays_without_money_for_the_fee_and_the_fee_payer_pays_it() {
    let key = KeyFile::of(DEV_KEYS[1]);
    let Some(mut scene) = Scene::set(&["--fee-payer-key-file", key.path()]).await else { return };
    // The twenty-first account of the mnemonic has what the thing costs, to the last unit.
    scene.wallet.pay_from(20);
    let payer = "0x09DB0a93B389bEF724429898f539AEB7ac2Dd55f";
    scene.chain.fund(payer, 10_000).await;
    let before = scene.chain.balance(FEE_PAYER).await;

    let answer = scene.wallet.fetch("GET", &scene.shop.at("/sponsored"), None, Mode::Pull).await;
    assert_eq!(
        (answer.status, answer.statuses.as_slice()),
        (200, &[402, 200][..]),
        "{answer:?}\n{}",
        scene.shop.log()
    );
    assert_eq!(answer.json()["payer"], format!("did:pkh:eip155:31337:{payer}"));
    let payments = scene.chain.payments_to(&scene.shop.recipient).await;
    assert_eq!((payments.len(), &payments[0].hash), (1, &answer.reference()));
    assert_eq!((scene.chain.balance(payer).await, scene.paid().await), (0, vec![10_000]));
    let fee = before - scene.chain.balance(FEE_PAYER).await;
    assert!((1..50_000).contains(&fee), "{fee}");

    // Its hash is no payment of anything else, nor of this again.
    scene.wallet.pay_from(0);
    for (path, mode) in [("/charge", Mode::Pull), ("/sponsored", Mode::Pull)] {
        let fresh = scene.credential("GET", path, None, mode).await;
        let stolen = edited(&fresh, |c| c["payload"] = json!({ "type": "hash", "hash": answer.reference() }));
        assert_refused(&scene.get(path, &stolen).await, "verification-failed");
    }
    // Nor does it bring the signature of the fee payer back: not a byte of it is in any answer.
    let raw = scene.chain.rpc("eth_getTransactionByHash", json!([answer.reference()])).await;
    let signature = raw["feePayerSignature"]["r"].as_str().map(|r| r.trim_start_matches("0x").to_owned());
    assert!(signature.is_some_and(|r| !format!("{answer:?}").contains(&r) && !scene.shop.log().contains(&r)));
    assert_eq!(scene.paid().await, [10_000]);
}

#[tokio::test]
async fn mppx_pays_a_split_in_both_modes() {
    let platform = interop::fresh_address();
    let Some(mut scene) = Scene::set(&["--split-payee", &platform]).await else { return };
    for (n, mode) in [(1, Mode::Pull), (2, Mode::Push)] {
        let answer = scene.wallet.fetch("GET", &scene.shop.at("/split"), None, mode).await;
        assert_eq!((answer.status, answer.statuses.as_slice()), (200, &[402, 200][..]), "{answer:?}");
        assert_eq!(scene.chain.balance(&platform).await, 10_000 * n);
        assert_eq!(scene.chain.balance(&scene.shop.recipient).await, 40_000 * n);
    }
}

#[tokio::test]
async fn without_a_fee_payer_the_payer_pays_the_fee_and_without_a_payee_the_recipient_gets_it_all() {
    let Some(mut scene) = Scene::set(&[]).await else { return };
    for (path, amount) in [("/sponsored", 10_000), ("/split", 50_000)] {
        let before = scene.chain.balance(&scene.shop.recipient).await;
        let answer = scene.wallet.fetch("GET", &scene.shop.at(path), None, Mode::Pull).await;
        assert_eq!((answer.status, answer.statuses.as_slice()), (200, &[402, 200][..]), "{path}: {answer:?}");
        assert_eq!(scene.chain.balance(&scene.shop.recipient).await - before, amount);
    }
}

#[tokio::test]
async fn a_sponsored_payment_survives_crashes_and_lost_answers_and_is_paid_and_delivered_once() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let mut wallet = lab.wallet(&chain);
    let lossy = Lossy::start(&chain).await;
    let key = KeyFile::of(DEV_KEYS[1]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store");
    let store_flag = format!("file:{}", store.display());
    let flags =
        ["--store", &store_flag, "--public-url", "http://127.0.0.1:1", "--fee-payer-key-file", key.path()];

    let shop = Shop::start(SHOP, &lossy.url, &flags).await;
    let challenge = ask("GET", &shop.at("/sponsored"), None, None).await.challenge.expect("a challenge");
    let credential = wallet.credential(&challenge, Mode::Pull).await;
    let paid = ask("GET", &shop.at("/sponsored"), Some(&credential), None).await;
    assert_eq!(paid.status, 200, "{paid:?}\n{}", shop.log());
    assert_eq!(lossy.broadcasts(), 1);
    assert_refused(&ask("GET", &shop.at("/sponsored"), Some(&credential), None).await, "invalid-challenge");
    let recipient = shop.crash().await;

    let shop = Shop::paid_to(recipient, SHOP, &chain.url, &flags).await;
    assert_refused(&ask("GET", &shop.at("/sponsored"), Some(&credential), None).await, "invalid-challenge");
    assert_refused(&ask("GET", &shop.at("/charge"), Some(&credential), None).await, "invalid-challenge");
    assert_eq!(chain.payments_to(&shop.recipient).await.len(), 1);
}
