//! Our client pays servers of npm `mppx` (plain node, hono and express) and of PyPI `pympp`. What was paid is counted at
//! the stand-in for Stripe and on the chain, never in the client's own ledger.

use alloy::signers::local::PrivateKeySigner;
use interop::stripe::StandIn;
use interop::{CHAIN_ID, Chain, Framework, Lab, Shop, lab};
use mpp::Amount;
use mpp::client::{Budget, Client, Error, MemoryLedger, Paid, Policy, Refusal};
use mpp::method::evm::EvmWallet;
use mpp::method::tempo::{Mode, TempoWallet};

const CREATE: &str = "POST /v1/payment_intents";
const EVERYWHERE: [Framework; 3] = [Framework::Node, Framework::Hono, Framework::Express];

/// The peers and a stand-in whose clock shows today, as the server's does.
async fn scene() -> Option<(Lab, StandIn)> {
    Some((lab()?, StandIn::of_today().await))
}

fn client(stripe: &StandIn) -> Client {
    let budget = Budget::total("usd", Amount::whole(20)).per_request(Amount::cents(150));
    Client::builder(Policy::new(budget), MemoryLedger::new())
        .method(stripe.wallet("pm_card_visa"))
        .build()
        .expect("a client")
}

fn payments(stripe: &StandIn) -> usize {
    stripe.requests().iter().filter(|seen| seen.what == CREATE).count()
}

#[tokio::test]
async fn mppx_servers_on_three_frameworks_are_paid_by_card() {
    let Some((lab, stripe)) = scene().await else { return };
    for (position, framework) in EVERYWHERE.into_iter().enumerate() {
        let seller = lab.seller(framework, &stripe, None).await;
        let http = client(&stripe).http().expect("an HTTP client");
        let response = http
            .get(seller.at("/card"))
            .send()
            .await
            .unwrap_or_else(|e| panic!("{framework:?}: {e} {}", seller.log()));
        let paid = response.extensions().get::<Paid>().expect("it was paid").clone();
        assert_eq!(response.status(), 200, "{framework:?} {}", seller.log());
        assert!(response.text().await.expect("a body").contains("by card"));
        let receipt = paid.receipt.expect("a receipt");
        assert!(receipt.reference.starts_with("pi_"), "{}", receipt.reference);
        assert_eq!(paid.payment.cost().to_string(), "1.5 usd");
        assert_eq!(payments(&stripe), position + 1);
    }
}

#[tokio::test]
async fn two_offers_in_one_merged_header_line_are_told_apart_and_the_cheaper_one_is_paid() {
    let Some((lab, stripe)) = scene().await else { return };
    for (position, framework) in EVERYWHERE.into_iter().enumerate() {
        let seller = lab.seller(framework, &stripe, None).await;
        let client = client(&stripe);
        let quote = client.quote(&seller.at("/cards").parse().expect("a URL")).await.expect("a quote");
        assert_eq!(quote.offers.len(), 2, "{framework:?}");
        assert_eq!(
            quote.best().expect("one may be paid").cost.as_ref().expect("a price").to_string(),
            "1 usd"
        );
        assert!(matches!(quote.offers[1].verdict, Err(Refusal::Limit(_))), "2 usd are too much");
        let http = client.http().expect("an HTTP client");
        let response = http
            .get(seller.at("/cards"))
            .send()
            .await
            .unwrap_or_else(|e| panic!("{framework:?}: {e} {}", seller.log()));
        assert_eq!(response.text().await.expect("a body"), "by card", "{framework:?} {}", seller.log());
        assert_eq!(payments(&stripe), position + 1);
    }
}

#[tokio::test]
async fn an_order_with_a_body_is_paid_and_answered_with_it() {
    let Some((lab, stripe)) = scene().await else { return };
    for framework in EVERYWHERE {
        let seller = lab.seller(framework, &stripe, None).await;
        let http = client(&stripe).http().expect("an HTTP client");
        let response = http.post(seller.at("/order")).body("two of them").send().await.expect("an answer");
        assert_eq!(response.text().await.expect("a body"), "two of them", "{framework:?} {}", seller.log());
    }
}

#[tokio::test]
async fn a_card_that_is_declined_is_one_refusal_and_no_second_attempt() {
    let Some((lab, stripe)) = scene().await else { return };
    let seller = lab.seller(Framework::Node, &stripe, None).await;
    let cards = stripe.wallet("pm_card_chargeDeclined");
    let policy = Policy::new(Budget::total("usd", Amount::whole(20)));
    let client = Client::builder(policy, MemoryLedger::new()).method(cards).build().expect("a client");
    let error =
        client.http().expect("an HTTP client").get(seller.at("/card")).send().await.expect_err("declined");
    assert!(matches!(Error::find(&error), Some(Error::Rejected(_) | Error::OutcomeUnknown(_))), "{error}");
    assert_eq!(payments(&stripe), 1);
}

#[tokio::test]
async fn an_mppx_server_is_paid_on_an_evm_chain_by_authorization_without_a_node_or_gas() {
    let Some((lab, stripe)) = scene().await else { return };
    let chain = lab.evm_chain().await;
    let seller = lab.evm_seller(&stripe, &chain).await;
    let key = PrivateKeySigner::random();
    let payer = key.address().to_string();
    chain.mint(&payer, 1_000_000).await;
    let wallet = EvmWallet::new(CHAIN_ID, key)
        .token_domain(&chain.token, "USDC", "2")
        .and_then(|wallet| wallet.token("usdc", &chain.token, 6))
        .expect("the token's address is one");
    let policy = Policy::new(Budget::total("usdc", Amount::whole(1)).per_request(Amount::cents(25)));
    let client = Client::builder(policy, MemoryLedger::new()).method(wallet).build().expect("a client");
    let response = client.http().expect("an HTTP client").get(seller.at("/authorization")).send().await;
    let response = response.unwrap_or_else(|e| panic!("{e}\n{}", seller.log()));
    assert_eq!(response.status(), 200, "{}", seller.log());
    let receipt =
        response.extensions().get::<Paid>().expect("it was paid").receipt.clone().expect("a receipt");
    assert_eq!(chain.payments_to(&seller.recipient).await, [(250_000, receipt.reference)]);
    assert_eq!(chain.coins(&payer).await, 0, "who signs needs no coins");
}

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");

/// A client with two dollars on Tempo.
async fn on_tempo(chain: &Chain, mode: Mode) -> Client {
    let key = PrivateKeySigner::random();
    chain.fund(&key.address().to_string(), 2_000_000).await;
    let wallet = TempoWallet::new(key, &chain.url, CHAIN_ID).expect("a node on this machine").mode(mode);
    let policy = Policy::new(Budget::total("pathusd", Amount::whole(2))).networks(["eip155:31337"]);
    Client::builder(policy, MemoryLedger::new()).method(wallet).build().expect("a client")
}

#[tokio::test]
async fn an_mppx_server_is_paid_on_tempo_by_pull_push_proof_sponsored_and_split() {
    let Some((lab, stripe)) = scene().await else { return };
    let chain = lab.chain().await;
    let seller = lab.seller(Framework::Node, &stripe, Some(&chain)).await;
    for (path, mode, amount) in [
        ("/charge", Mode::Pull, 10_000),
        ("/charge", Mode::Push, 10_000),
        ("/pull", Mode::Push, 10_000), // the server's word is followed, not the preference
        ("/push", Mode::Pull, 10_000),
        ("/zero", Mode::Pull, 0),
        ("/split", Mode::Pull, 40_000),
        ("/split", Mode::Push, 40_000),
        ("/sponsored", Mode::Pull, 20_000),
    ] {
        let before = chain.balance(&seller.recipient).await;
        let http = on_tempo(&chain, mode).await.http().expect("an HTTP client");
        let response = http.get(seller.at(path)).send().await;
        let response = response.unwrap_or_else(|e| panic!("{path} {mode:?}: {e}\n{}", seller.log()));
        assert_eq!(response.status(), 200, "{path} {mode:?}\n{}", seller.log());
        let paid = response.extensions().get::<Paid>().expect("it was paid");
        assert!(paid.receipt.is_ok(), "{path} {mode:?}: {:?}", paid.receipt);
        assert_eq!(chain.balance(&seller.recipient).await - before, amount, "{path} {mode:?}");
    }
}

#[tokio::test]
async fn a_pympp_server_is_paid_on_tempo_by_pull_and_push() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let Some(seller) = lab.python_seller(&chain).await else { return };
    for mode in [Mode::Pull, Mode::Push] {
        let before = chain.balance(&seller.recipient).await;
        let http = on_tempo(&chain, mode).await.http().expect("an HTTP client");
        let response = http.get(seller.at("/charge")).send().await;
        let response = response.unwrap_or_else(|e| panic!("{mode:?}: {e}\n{}", seller.log()));
        let paid = response.extensions().get::<Paid>().expect("it was paid").clone();
        assert_eq!(response.status(), 200, "{mode:?}\n{}", seller.log());
        assert_eq!(response.text().await.expect("a body"), "by pympp", "{mode:?}");
        assert!(paid.receipt.is_ok(), "{mode:?}: {:?}", paid.receipt);
        assert_eq!(chain.balance(&seller.recipient).await - before, 10_000, "{mode:?}");
    }
}

#[tokio::test]
async fn the_shop_is_paid_on_tempo_and_what_is_over_the_limit_is_not_signed() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let shop = Shop::start(SHOP, &chain.url, &[]).await;
    let client = on_tempo(&chain, Mode::Pull).await;
    let http = client.http().expect("an HTTP client");
    let response =
        http.get(shop.at("/charge")).send().await.unwrap_or_else(|e| panic!("{e}\n{}", shop.log()));
    assert_eq!(response.status(), 200, "{}", shop.log());
    assert_eq!(chain.balance(&shop.recipient).await, 10_000);
    let response =
        http.get(shop.at("/units/900")).send().await.unwrap_or_else(|e| panic!("{e}\n{}", shop.log()));
    assert_eq!(response.status(), 200, "{}", shop.log());
    // Two dollars are the limit. 1.81 would be within it; with the most in fees of three payments it is not.
    let error = http.get(shop.at("/units/900")).send().await.expect_err("over the limit");
    let Some(Error::NotPaid(refused)) = Error::find(&error) else { panic!("{error}") };
    assert!(refused.is_because(|why| matches!(why, Refusal::Limit(_))), "{refused}");
    assert_eq!(chain.balance(&shop.recipient).await, 910_000);
}
