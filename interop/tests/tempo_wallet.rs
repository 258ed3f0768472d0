//! Our own wallet pays the shop on a real Tempo chain, with nobody's client in between.

use alloy::signers::local::PrivateKeySigner;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use interop::{Answer, CHAIN_ID, Chain, DEV_KEYS, KeyFile, Shop, ask, fresh_address, lab};
use mpp::method::tempo::{Mode, TempoWallet};
use mpp::method::{ClientMethod, Fate, Proof};
use mpp::protocol::Challenge;
use serde_json::json;

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
async fn wallet(chain: &Chain, units: u128) -> TempoWallet {
    let key = PrivateKeySigner::random();
    chain.fund(&key.address().to_string(), units).await;
    TempoWallet::new(key, &chain.url, CHAIN_ID).expect("a node on this machine")
}

/// Asks, pays, asks again.
async fn fetch(url: &str, wallet: &TempoWallet) -> (Answer, Challenge, Proof) {
    let unpaid = ask("GET", url, None, None).await;
    let line = unpaid.challenge.unwrap_or_else(|| panic!("no challenge: {}", unpaid.body));
    let challenge = Challenge::parse_all([line.as_str()]).offers.remove(0);
    let proof = wallet.pay(&challenge).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    let credential = json!({
        "challenge": {
            "id": challenge.id, "realm": challenge.realm, "method": "tempo", "intent": "charge",
            "request": challenge.request, "expires": challenge.expires, "opaque": challenge.opaque,
        },
        "payload": proof.payload, "source": proof.source,
    });
    let header = format!("Payment {}", BASE64_URL_SAFE_NO_PAD.encode(credential.to_string()));
    (ask("GET", url, Some(&header), None).await, challenge, proof)
}

#[tokio::test]
async fn the_wallet_pays_by_pull_by_push_sponsored_split_and_proves_who_it_is() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let platform = fresh_address();
    let key = KeyFile::of(DEV_KEYS[1]);
    let flags = ["--fee-payer-key-file", key.path(), "--split-payee", &platform];
    let shop = Shop::start(SHOP, &chain.url, &flags).await;
    for (path, mode, amount) in [
        ("/charge", Mode::Pull, 10_000),
        ("/charge", Mode::Push, 10_000),
        ("/split", Mode::Pull, 40_000),
        ("/split", Mode::Push, 40_000),
        ("/units/7", Mode::Pull, 7_000),
        ("/zero", Mode::Pull, 0),
    ] {
        let before = chain.balance(&shop.recipient).await;
        let wallet = wallet(&chain, 2_000_000).await.mode(mode);
        let (answer, challenge, proof) = fetch(&shop.at(path), &wallet).await;
        assert_eq!(answer.status, 200, "{path} {mode:?}: {answer:?}\n{}", shop.log());
        assert_eq!(chain.balance(&shop.recipient).await - before, amount, "{path}");
        let named = answer.json();
        let payer = if path == "/zero" { &named["hello"] } else { &named["payer"] };
        assert_eq!(*payer, wallet.did(), "{path}");
        if amount > 0 {
            let fate = wallet.fate(&challenge, &proof).await;
            assert_eq!(fate, Fate::Paid { reference: answer.reference() }, "{path} {mode:?}");
        }
    }
    assert_eq!(chain.balance(&platform).await, 20_000);

    // With the price and not a unit more.
    let poor = wallet(&chain, 10_000).await;
    let (answer, challenge, proof) = fetch(&shop.at("/sponsored"), &poor).await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", shop.log());
    assert_eq!(chain.balance(poor.did().rsplit(':').next().expect("an address")).await, 0);
    // The wallet finds the transaction although the sponsor's signature has given it another hash.
    assert_eq!(poor.fate(&challenge, &proof).await, Fate::Paid { reference: answer.reference() });
}
