//! Payments by card through the whole pipeline: a router of our own over the stand-in, and npm `mppx` paying the shop.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use interop::stripe::{Limits, Mischief, PROFILE, SECRET_KEY, StandIn};
use interop::{Answer, KeyFile, Mode, Shop, ask, lab};
use mpp::protocol::{Challenge, Timestamp};
use mpp::routing::{Router, get};
use mpp::store::MemoryStore;
use mpp::{Hold, ManualClock, Mpp, Paid, Receipt, Secret, Stripe};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
const NOW: i64 = 1_800_000_000;
const CREATE: &str = "POST /v1/payment_intents";

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe))]
async fn report(paid: Paid<Receipt>) -> String {
    paid.reference.clone()
}

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe), capture = "success")]
async fn printed(_: Paid<Hold>) -> &'static str {
    "printed"
}

#[mpp::charge(amount = "1.00", currency = "usd", methods(stripe), capture = "success")]
async fn jammed(_: Paid<Hold>) -> axum::http::StatusCode {
    axum::http::StatusCode::INTERNAL_SERVER_ERROR
}

/// A server of three routes, and the Stripe it is paid through.
struct Scene {
    stand_in: StandIn,
    url: String,
    clock: Arc<ManualClock>,
}

impl Scene {
    async fn set() -> Self {
        let stand_in = StandIn::start(NOW).await;
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix(NOW)));
        let mpp = Mpp::builder("http://127.0.0.1:1")
            .secret(Secret::generate())
            .clock(clock.clone())
            .store(MemoryStore::new().with_clock(clock.clone()))
            .single_process_volatile_store()
            .method(Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&stand_in.url))
            .build()
            .unwrap_or_else(|report| panic!("{report}"));
        mpp.check().await.expect("the stand-in is there");
        let app: axum::Router = Router::new()
            .route("/report", get(report))
            .route("/printed", get(printed))
            .route("/jammed", get(jammed))
            .with_state(mpp)
            .into_axum();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { stand_in, url, clock }
    }

    async fn ask(&self, path: &str, credential: Option<&str>) -> Answer {
        ask("GET", &format!("{}{path}", self.url), credential, None).await
    }

    /// Answers the challenge of a route with a token on this card.
    async fn credential(&self, path: &str, card: &str) -> String {
        self.credential_with(path, &self.stand_in.token(Limits::of(100, "usd").with_card(card))).await
    }

    async fn credential_with(&self, path: &str, token: &str) -> String {
        let unpaid = self.ask(path, None).await;
        card_credential(&unpaid.challenge.expect("a challenge"), token)
    }
}

/// Answers a challenge with a token.
fn card_credential(line: &str, token: &str) -> String {
    let challenge = Challenge::parse_all([line]).offers.remove(0);
    let credential = json!({
        "challenge": {
            "id": challenge.id, "realm": challenge.realm, "method": "stripe", "intent": "charge",
            "request": challenge.request, "expires": challenge.expires, "opaque": challenge.opaque,
        },
        "payload": { "spt": token },
    });
    format!("Payment {}", BASE64_URL_SAFE_NO_PAD.encode(credential.to_string()))
}

#[tokio::test]
async fn a_token_pays_once_and_opens_the_route_once() {
    let scene = Scene::set().await;
    let token = scene.stand_in.token(Limits::of(100, "usd"));
    let credential = scene.credential_with("/report", &token).await;
    let paid = scene.ask("/report", Some(&credential)).await;
    assert_eq!((paid.status, paid.cache_control.as_deref()), (200, Some("private")), "{paid:?}");
    let receipt = paid.receipt.clone().expect("a receipt");
    assert_eq!((&receipt["method"], &receipt["status"]), (&json!("stripe"), &json!("success")));
    assert_eq!(receipt["reference"], scene.stand_in.intents()[0]["id"]);

    let again = scene.ask("/report", Some(&credential)).await;
    assert_eq!((again.status, again.problem().as_str()), (402, "invalid-challenge"));
    // The same token for another challenge: our own books refuse it before Stripe is asked.
    let other = scene.credential_with("/report", &token).await;
    let refused = scene.ask("/report", Some(&other)).await;
    assert_eq!((refused.status, refused.problem().as_str()), (402, "verification-failed"));
    assert_eq!((scene.stand_in.asked(CREATE), scene.stand_in.taken()), (1, 100));
}

#[tokio::test]
async fn what_the_payer_cannot_pay_is_a_402_with_a_new_challenge() {
    let scene = Scene::set().await;
    for card in ["pm_card_chargeDeclined", "pm_card_authenticationRequired"] {
        for path in ["/report", "/printed"] {
            let credential = scene.credential(path, card).await;
            let refused = scene.ask(path, Some(&credential)).await;
            assert_eq!(
                (refused.status, refused.problem().as_str()),
                (402, "verification-failed"),
                "{card} {path}"
            );
            assert!(refused.challenge.is_some() && refused.receipt.is_none());
        }
    }
    let credential = scene.credential_with("/report", "spt_madeUp").await;
    assert_eq!(scene.ask("/report", Some(&credential)).await.status, 402);
    assert_eq!(scene.stand_in.taken(), 0);
}

#[tokio::test]
async fn trouble_at_stripe_is_a_503_without_a_challenge_and_the_same_credential_is_delivered_later() {
    for mischief in
        [Mischief::Refused(429), Mischief::FailedAfter(500), Mischief::LostAnswer, Mischief::LostRequest]
    {
        let scene = Scene::set().await;
        let credential = scene.credential("/report", "pm_card_visa").await;
        scene.stand_in.next(CREATE, mischief.clone());
        let first = scene.ask("/report", Some(&credential)).await;
        assert_eq!((first.status, first.challenge), (503, None), "{mischief:?}");
        let mut second = scene.ask("/report", Some(&credential)).await;
        if second.status == 409 || second.status == 503 {
            // The journal keeps others away from an entry for a while.
            scene.clock.advance(Duration::from_secs(120));
            second = scene.ask("/report", Some(&credential)).await;
        }
        assert_eq!(second.status, 200, "{mischief:?}: {second:?}");
        assert_eq!((scene.stand_in.intents().len(), scene.stand_in.taken()), (1, 100), "{mischief:?}");
    }
}

#[tokio::test]
async fn of_eight_copies_one_is_delivered_and_stripe_is_asked_once() {
    let scene = Arc::new(Scene::set().await);
    let credential = Arc::new(scene.credential("/report", "pm_card_visa").await);
    let copies: Vec<_> = (0..8)
        .map(|_| {
            let (scene, credential) = (scene.clone(), credential.clone());
            tokio::spawn(async move { scene.ask("/report", Some(&credential)).await.status })
        })
        .collect();
    let mut delivered = 0;
    for copy in copies {
        let status = copy.await.expect("an answer");
        assert!(matches!(status, 200 | 402 | 409), "{status}");
        delivered += usize::from(status == 200);
    }
    assert_eq!((delivered, scene.stand_in.asked(CREATE), scene.stand_in.taken()), (1, 1, 100));
}

#[tokio::test]
async fn a_hold_is_captured_after_a_success_and_given_back_after_a_failure() {
    let scene = Scene::set().await;
    let credential = scene.credential("/printed", "pm_card_visa").await;
    let printed = scene.ask("/printed", Some(&credential)).await;
    assert_eq!((printed.status, printed.body.as_str()), (200, "printed"), "{printed:?}");
    assert!(printed.receipt.is_some());
    let credential = scene.credential("/jammed", "pm_card_visa").await;
    let jammed = scene.ask("/jammed", Some(&credential)).await;
    assert_eq!((jammed.status, jammed.receipt), (500, None));
    assert_eq!(scene.stand_in.statuses(), ["succeeded", "canceled"]);
    assert_eq!(scene.stand_in.taken(), 100);
}

#[tokio::test]
async fn an_expired_challenge_never_reaches_stripe() {
    let scene = Scene::set().await;
    let credential = scene.credential("/report", "pm_card_visa").await;
    scene.clock.advance(Duration::from_secs(301));
    let late = scene.ask("/report", Some(&credential)).await;
    assert_eq!((late.status, late.problem().as_str()), (402, "payment-expired"));
    assert_eq!(scene.stand_in.asked(CREATE), 0);
}

#[tokio::test]
async fn mppx_pays_a_shop_that_takes_cards_only() {
    let Some(lab) = lab() else { return };
    let (stand_in, key) = (StandIn::of_today().await, KeyFile::of(SECRET_KEY));
    stand_in.allow_small_amounts();
    let mut wallet = lab.card_wallet(None, &stand_in);
    let shop = Shop::without_tempo(SHOP, &stand_in.flags(&key)).await;

    for (path, cents) in [("/stripe", 100), ("/either", 5)] {
        let before = stand_in.taken();
        let answer = wallet.fetch("GET", &shop.at(path), None, Mode::Card("pm_card_visa")).await;
        assert_eq!((answer.status, answer.statuses.as_slice()), (200, &[402, 200][..]), "{path}: {answer:?}");
        assert!(answer.reference().starts_with("pi_"));
        assert_eq!(stand_in.taken() - before, cents);
    }
    let unpaid = ask("GET", &shop.at("/stripe"), None, None).await;
    let credential = wallet.credential(&unpaid.challenge.expect("one"), Mode::Card("pm_card_visa")).await;
    assert_eq!(ask("GET", &shop.at("/stripe"), Some(&credential), None).await.status, 200);
    let again = ask("GET", &shop.at("/stripe"), Some(&credential), None).await;
    assert_eq!((again.status, again.problem().as_str()), (402, "invalid-challenge"));

    // What is switched off asks for no money.
    let off = ask("GET", &shop.at("/charge"), None, None).await;
    assert_eq!((off.status, off.challenge), (503, None));
    assert!(!shop.log().contains(SECRET_KEY) && !shop.log().contains("spt_"), "{}", shop.log());
}

#[tokio::test]
async fn either_is_offered_by_card_only_where_the_minimum_allows_it() {
    let Some(lab) = lab() else { return };
    let chain = lab.chain().await;
    let (stand_in, key) = (StandIn::of_today().await, KeyFile::of(SECRET_KEY));
    stand_in.allow_small_amounts();
    let mut wallet = lab.card_wallet(Some(&chain), &stand_in);
    let flags = stand_in.flags(&key);
    let methods = |answer: &Answer| -> Vec<String> {
        let line = answer.challenge.clone().expect("a challenge");
        Challenge::parse_all([line.as_str()]).offers.iter().map(|offer| offer.method.to_string()).collect()
    };

    let shop = Shop::start(SHOP, &chain.url, &flags[..6]).await;
    assert_eq!(methods(&ask("GET", &shop.at("/either"), None, None).await), ["tempo"]);
    let log = shop.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("below the minimum")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(["either", "0.05", "0.5"].iter().all(|word| warnings[0].contains(word)), "{warnings:?}");

    let shop = Shop::start(SHOP, &chain.url, &flags).await;
    let both = methods(&ask("GET", &shop.at("/either"), None, None).await);
    assert_eq!(both, ["tempo", "stripe"]);
    for (mode, method) in [(Mode::Pull, "tempo"), (Mode::Card("pm_card_visa"), "stripe")] {
        let answer = wallet.fetch("GET", &shop.at("/either"), None, mode).await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}\n{}", shop.log());
        assert_eq!(answer.receipt.expect("a receipt")["method"], method);
    }
    assert_eq!(stand_in.taken(), 5);
    assert_eq!(chain.payments_to(&shop.recipient).await.len(), 1);
}

/// A shop that takes cards at this stand-in, and a paid request to it that waits for the late answer of Stripe.
async fn shop_with_a_payment_under_way(
    stand_in: &StandIn,
    flags: &[&str],
) -> (Shop, tokio::task::JoinHandle<Answer>) {
    let key = KeyFile::of(SECRET_KEY);
    stand_in.allow_small_amounts();
    let flags = [&stand_in.flags(&key)[..], flags].concat();
    let shop = Shop::without_tempo(SHOP, &flags).await;
    let line = ask("GET", &shop.at("/stripe"), None, None).await.challenge.expect("a challenge");
    let paid = card_credential(&line, &stand_in.token(Limits::of(100, "usd").with_card("pm_card_visa")));
    stand_in.next(CREATE, Mischief::Late);
    let url = shop.at("/stripe");
    let paying = tokio::spawn(async move { ask("GET", &url, Some(&paid), None).await });
    eventually(|| stand_in.asked(CREATE) == 1).await;
    (shop, paying)
}

async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), met).await.expect("it never came to that");
}

#[tokio::test]
async fn a_shop_that_is_asked_to_stop_finishes_what_is_paid_for_and_accepts_nobody_else() {
    let stand_in = StandIn::of_today().await;
    let (mut shop, paying) = shop_with_a_payment_under_way(&stand_in, &[]).await;
    shop.terminate().await;
    eventually(|| shop.log().contains("asked to stop")).await;
    let address = shop.url.trim_start_matches("http://").to_owned();
    let refused = || std::net::TcpStream::connect(&address).is_err();
    eventually(refused).await;
    assert!(!paying.is_finished(), "it waits for Stripe");
    stand_in.open_door();
    let answer = paying.await.expect("it was answered");
    assert_eq!(answer.status, 200, "{answer:?}\n{}", shop.log());
    assert!(answer.reference().starts_with("pi_"));
    assert!(shop.ended_well().await, "{}", shop.log());
    assert_eq!(stand_in.taken(), 100);
}

#[tokio::test]
async fn a_shop_that_cannot_wait_ends_all_the_same_and_says_where_the_payment_is() {
    let stand_in = StandIn::of_today().await;
    let (mut shop, paying) = shop_with_a_payment_under_way(&stand_in, &["--drain", "0"]).await;
    shop.terminate().await;
    assert!(shop.ended_well().await, "{}", shop.log());
    assert!(shop.log().contains("their payments are in the journal"), "{}", shop.log());
    paying.abort();
}
