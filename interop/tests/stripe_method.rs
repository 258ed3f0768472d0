//! The `stripe` method against the strict stand-in: what each outcome at Stripe means for a payment.

use interop::stripe::{CONNECTED, Limits, Mischief, PROFILE, SECRET_KEY, StandIn};
use mpp::Stripe;
use mpp::method::stripe::Share;
use mpp::method::{
    CredentialCx, Held, OfferCx, Rejection, ServerMethod, SettleCx, Settlement, SettlementPlan,
};
use mpp::protocol::{BaseUnits, Challenge, ChargeRequest, ProblemType, Timestamp};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const NOW: i64 = 1_800_000_000;
const CREATE: &str = "POST /v1/payment_intents";

/// A server's side of one payment after the other.
struct Scene {
    stand_in: StandIn,
    stripe: Stripe,
    challenges: AtomicU32,
}

impl Scene {
    async fn set() -> Self {
        Self::with(|stripe| stripe).await
    }

    async fn with(change: impl FnOnce(Stripe) -> Stripe) -> Self {
        let stand_in = StandIn::start(NOW).await;
        let stripe = change(Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&stand_in.url));
        assert_eq!(stripe.problems(), []);
        Self { stand_in, stripe, challenges: AtomicU32::new(0) }
    }

    fn token(&self) -> String {
        self.stand_in.token(Limits::of(100, "usd"))
    }

    fn token_on(&self, card: &str) -> String {
        self.stand_in.token(Limits::of(100, "usd").with_card(card))
    }

    /// The journaled plan of a credential with this token for one dollar.
    async fn plan(&self, token: &str) -> (String, SettlementPlan) {
        let currency = self.stripe.currency("usd").expect("dollars");
        let request = self.stripe.offer(&OfferCx::new(BaseUnits::new(100), &currency)).expect("an offer");
        let id = format!("{:043}", self.challenges.fetch_add(1, Ordering::SeqCst));
        let challenge = challenge(&id, &request);
        let payload: Map<String, Value> = Map::from_iter([("spt".to_owned(), json!(token))]);
        let now = Timestamp::from_unix(NOW);
        let cx = CredentialCx::new(&challenge, &request, &payload, now + Duration::from_secs(300), now);
        (id, self.stripe.verify(&cx).await.expect("a good credential").plan)
    }

    async fn settle(&self, (id, plan): &(String, SettlementPlan)) -> Settlement {
        self.stripe.settle(&SettleCx::new(id, plan, Timestamp::from_unix(NOW))).await
    }

    async fn resolve_after(&self, hours: u64, (id, plan): &(String, SettlementPlan)) -> Settlement {
        let now = Timestamp::from_unix(NOW) + Duration::from_secs(hours * 3600);
        self.stripe.resolve(&SettleCx::new(id, plan, now)).await
    }

    async fn resolve(&self, paid: &(String, SettlementPlan)) -> Settlement {
        self.resolve_after(0, paid).await
    }

    async fn hold(&self, (id, plan): &(String, SettlementPlan)) -> Held {
        self.stripe.hold(&SettleCx::new(id, plan, Timestamp::from_unix(NOW))).await
    }

    async fn held(&self, (id, plan): &(String, SettlementPlan)) -> (String, SettlementPlan) {
        match self.hold(&(id.clone(), plan.clone())).await {
            Held::Held(plan) => (id.clone(), plan),
            other => panic!("{other:?}"),
        }
    }

    async fn release(&self, (id, plan): &(String, SettlementPlan)) -> Result<(), Rejection> {
        self.stripe.release(&SettleCx::new(id, plan, Timestamp::from_unix(NOW))).await
    }

    fn created(&self) -> usize {
        self.stand_in.requests().iter().filter(|seen| seen.what == CREATE).count()
    }
}

fn challenge(id: &str, request: &ChargeRequest) -> Challenge {
    let header = format!(
        "Payment id=\"{id}\", realm=\"api.example.com\", method=\"stripe\", intent=\"charge\", request=\"{}\"",
        request.encode()
    );
    Challenge::parse_all([header.as_str()]).offers.remove(0)
}

#[track_caller]
fn assert_settled(settlement: &Settlement) {
    assert!(matches!(settlement, Settlement::Settled(p) if p.reference.starts_with("pi_")), "{settlement:?}");
}

/// Answered 402: the payer's token, card or bank.
#[track_caller]
fn assert_refused(settlement: &Settlement) {
    let refused = matches!(
        settlement,
        Settlement::Declined(Rejection::Refused { kind: ProblemType::VerificationFailed, .. })
    );
    assert!(refused, "{settlement:?}");
}

/// Answered 503 and not paid: our side.
#[track_caller]
fn assert_unavailable(settlement: &Settlement) {
    assert!(matches!(settlement, Settlement::Declined(Rejection::Unavailable { .. })), "{settlement:?}");
}

#[track_caller]
fn assert_unknown(settlement: &Settlement) {
    assert!(matches!(settlement, Settlement::Unknown { .. }), "{settlement:?}");
}

#[tokio::test]
async fn a_good_token_pays_exactly_the_routes_amount_with_every_header() {
    let scene = Scene::set().await;
    assert_eq!(scene.stripe.check().await, Ok(()));
    let token = scene.token();
    let paid = scene.plan(&token).await;
    assert_settled(&scene.settle(&paid).await);
    assert_eq!(scene.stand_in.taken(), 100);
    let seen = scene.stand_in.requests().pop().expect("a request");
    assert_eq!((seen.field("amount"), seen.field("currency")), (Some("100"), Some("usd")));
    assert_eq!(seen.key, Some(format!("{}_{token}", paid.0)));
    assert_eq!(seen.version.as_deref(), Some(mpp::method::stripe::STRIPE_VERSION));
    assert_eq!(seen.account, None);
    assert_eq!(scene.stand_in.intents()[0]["metadata"]["challenge_id"], paid.0);
}

#[tokio::test]
async fn tokens_that_do_not_allow_the_payment_are_the_payers_problem() {
    let scene = Scene::set().await;
    let used = scene.token();
    assert_settled(&scene.settle(&scene.plan(&used).await).await);
    let revoked = scene.token();
    scene.stand_in.revoke(&revoked);
    let good = || Limits::of(100, "usd");
    for token in [
        used,
        revoked,
        "spt_madeUp".to_owned(),
        scene.stand_in.token(Limits { max_amount: 99, ..good() }),
        scene.stand_in.token(Limits { expires_at: NOW, ..good() }),
        scene.stand_in.token(Limits { currency: "eur".to_owned(), ..good() }),
        scene.stand_in.token(Limits { seller: "profile_another".to_owned(), ..good() }),
    ] {
        assert_refused(&scene.settle(&scene.plan(&token).await).await);
    }
    assert_eq!(scene.stand_in.taken(), 100, "only the first");
}

#[tokio::test]
async fn a_declined_card_is_said_in_our_own_words_and_the_same_request_stays_declined() {
    let scene = Scene::set().await;
    for (card, word) in [
        ("pm_card_chargeDeclined", "declined"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired"),
    ] {
        let paid = scene.plan(&scene.token_on(card)).await;
        for settlement in [scene.settle(&paid).await, scene.settle(&paid).await, scene.resolve(&paid).await] {
            let Settlement::Declined(Rejection::Refused { detail, .. }) = settlement else {
                panic!("{settlement:?}")
            };
            assert!(detail.contains(word), "{detail}");
        }
    }
    assert_eq!(scene.stand_in.taken(), 0);
}

#[tokio::test]
async fn an_action_nobody_can_take_is_cancelled_before_the_payer_is_asked_again() {
    let scene = Scene::set().await;
    let paid = scene.plan(&scene.token_on("pm_card_authenticationRequired")).await;
    assert_refused(&scene.settle(&paid).await);
    assert_eq!(scene.stand_in.statuses(), ["canceled"]);
}

#[tokio::test]
async fn a_cancel_that_cannot_be_confirmed_is_unknown_and_tried_again() {
    let scene = Scene::set().await;
    let paid = scene.plan(&scene.token_on("pm_card_authenticationRequired")).await;
    scene.stand_in.next("POST /v1/payment_intents/", Mischief::Refused(500));
    assert_unknown(&scene.settle(&paid).await);
    assert_eq!(scene.stand_in.statuses(), ["requires_action"]);
    assert_refused(&scene.resolve(&paid).await);
    assert_eq!(scene.stand_in.statuses(), ["canceled"]);

    // The answer to the cancel is lost, a look at the PaymentIntent tells.
    let paid = scene.plan(&scene.token_on("pm_card_authenticationRequired")).await;
    scene.stand_in.next("POST /v1/payment_intents/", Mischief::LostAnswer);
    assert_refused(&scene.settle(&paid).await);
}

#[tokio::test]
async fn a_payment_that_is_processing_is_unknown_until_it_has_ended() {
    for (end, settled) in [("succeeded", true), ("requires_payment_method", false)] {
        let scene = Scene::set().await;
        let paid = scene.plan(&scene.token_on("pm_usBankAccount_processing")).await;
        assert_unknown(&scene.settle(&paid).await);
        assert_unknown(&scene.resolve(&paid).await);
        scene.stand_in.finish_processing(end);
        let settlement = scene.resolve(&paid).await;
        if settled {
            assert_settled(&settlement)
        } else {
            assert_refused(&settlement)
        }
        assert_eq!(scene.stand_in.intents().len(), 1);
    }
}

#[tokio::test]
async fn trouble_before_or_after_the_payment_is_unknown_and_resolved_without_paying_twice() {
    for mischief in [
        Mischief::Refused(409),
        Mischief::Refused(429),
        Mischief::Refused(500),
        Mischief::Refused(503),
        Mischief::FailedAfter(500),
        Mischief::LostRequest,
        Mischief::LostAnswer,
        Mischief::Garbled("<html>502 Bad Gateway</html>"),
        Mischief::Garbled("{}"),
        Mischief::Garbled(r#"{"id":"pi_1","status":"succeeded","amount":100,"currency":"usd"}"#),
        Mischief::Garbled(r#"{"id":"../../x","status":"succeeded","amount":100,"currency":"usd"}"#),
    ] {
        let scene = Scene::set().await;
        let paid = scene.plan(&scene.token()).await;
        scene.stand_in.next(CREATE, mischief.clone());
        assert_unknown(&scene.settle(&paid).await);
        let resolved = scene.resolve(&paid).await;
        assert!(matches!(resolved, Settlement::Settled(_)), "{mischief:?}: {resolved:?}");
        assert_eq!((scene.stand_in.taken(), scene.stand_in.intents().len()), (100, 1), "{mischief:?}");
        // And once more, as after a crash of whoever resolved it.
        assert_settled(&scene.resolve(&paid).await);
        assert_eq!(scene.stand_in.taken(), 100);
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_unknown_and_the_payment_is_found() {
    let scene = Scene::with(|stripe| stripe.timeout(Duration::from_millis(300))).await;
    let paid = scene.plan(&scene.token()).await;
    scene.stand_in.next(CREATE, Mischief::Late);
    assert_unknown(&scene.settle(&paid).await);
    assert_settled(&scene.resolve(&paid).await);
    assert_eq!(scene.stand_in.taken(), 100);
    scene.stand_in.open_door();
}

#[tokio::test]
async fn a_replay_nobody_here_asked_for_buys_nothing() {
    let scene = Scene::set().await;
    let paid = scene.plan(&scene.token()).await;
    assert_settled(&scene.settle(&paid).await);
    // Another server with this secret, or the same one without its journal: for it this is the first time.
    assert_refused(&scene.settle(&paid).await);
    // The one whose journal says `settling` gets its own answer.
    assert_settled(&scene.resolve(&paid).await);
    assert_eq!(scene.stand_in.taken(), 100);

    let said = scene.plan(&scene.token()).await;
    scene.stand_in.next(CREATE, Mischief::SaidToBeReplayed);
    assert_refused(&scene.settle(&said).await);
}

#[tokio::test]
async fn the_post_is_repeated_for_twenty_hours_and_then_the_payment_is_only_looked_up() {
    let scene = Scene::set().await;
    let (lost, never) = (scene.plan(&scene.token()).await, scene.plan(&scene.token()).await);
    scene.stand_in.next(CREATE, Mischief::LostAnswer);
    assert_unknown(&scene.settle(&lost).await);
    scene.stand_in.next(CREATE, Mischief::LostRequest);
    assert_unknown(&scene.settle(&never).await);
    assert_eq!(scene.created(), 2);

    scene.stand_in.advance(Duration::from_secs(25 * 3600)); // the keys are forgotten
    assert_settled(&scene.resolve_after(25, &lost).await);
    assert_unknown(&scene.resolve_after(25, &never).await);
    assert_settled(&scene.resolve_after(20, &lost).await);
    assert_eq!((scene.created(), scene.stand_in.taken()), (2, 100), "nothing was posted again");
}

#[tokio::test]
async fn within_twenty_hours_what_never_arrived_is_paid_by_the_repeated_post() {
    let scene = Scene::set().await;
    let paid = scene.plan(&scene.token()).await;
    scene.stand_in.next(CREATE, Mischief::LostRequest);
    assert_unknown(&scene.settle(&paid).await);
    assert_settled(&scene.resolve_after(19, &paid).await);
    assert_eq!((scene.created(), scene.stand_in.taken()), (2, 100));
}

#[tokio::test]
async fn what_is_wrong_on_our_side_is_no_402_and_takes_nothing() {
    let stand_in = StandIn::start(NOW).await;
    let stripe = |key: &str| Stripe::new(key).network_id(PROFILE).base_url(&stand_in.url);
    for (stripe, starts) in [
        (stripe("sk_test_51Revoked"), false),
        (stripe(SECRET_KEY).account("acct_1Stranger"), false),
        (stripe(SECRET_KEY).on_behalf_of("acct_1Stranger"), true),
        (stripe(SECRET_KEY).transfer_data("acct_1Stranger", Share::Everything), true),
        (stripe(SECRET_KEY).stripe_version("2024-06-20"), true),
    ] {
        let scene = Scene { stand_in: stand_in.clone(), stripe, challenges: AtomicU32::new(0) };
        assert_eq!(scene.stripe.check().await.is_ok(), starts, "{:?}", scene.stripe.check().await);
        assert_unavailable(&scene.settle(&scene.plan(&scene.token()).await).await);
    }
    // A minimum below the account's.
    let scene =
        Scene { stripe: stripe(SECRET_KEY), stand_in: stand_in.clone(), challenges: AtomicU32::new(0) };
    let currency = scene.stripe.currency("usd").expect("dollars");
    let request = scene.stripe.offer(&OfferCx::new(BaseUnits::new(1), &currency)).expect("an offer");
    let (challenge, token) = (challenge(&"s".repeat(43), &request), scene.token());
    let payload = Map::from_iter([("spt".to_owned(), json!(token))]);
    let now = Timestamp::from_unix(NOW);
    let cx = CredentialCx::new(&challenge, &request, &payload, now, now);
    let plan = scene.stripe.verify(&cx).await.expect("verified").plan;
    assert_unavailable(&scene.settle(&(challenge.id.clone(), plan)).await);
    assert_eq!(stand_in.taken(), 0);
}

#[tokio::test]
async fn a_key_that_stops_working_says_nothing_about_a_payment_under_way() {
    let scene = Scene::set().await;
    let paid = scene.plan(&scene.token()).await;
    scene.stand_in.next(CREATE, Mischief::LostAnswer);
    assert_unknown(&scene.settle(&paid).await);
    scene.stand_in.next(CREATE, Mischief::Refused(401));
    scene.stand_in.next("GET /v1/payment_intents/search", Mischief::Refused(401));
    assert_unknown(&scene.resolve(&paid).await);
    assert_settled(&scene.resolve(&paid).await);
}

#[tokio::test]
async fn nothing_was_handed_over_where_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let scene = Scene::with(|stripe| stripe.base_url(&url)).await;
    assert!(scene.stripe.check().await.unwrap_err().to_string().contains("no connection"));
    let paid = scene.plan(&scene.token()).await;
    assert_unavailable(&scene.settle(&paid).await);
    assert_unknown(&scene.resolve(&paid).await);
}

#[tokio::test]
async fn connect_parameters_reach_stripe_and_the_account_is_a_header() {
    let scene = Scene::with(|stripe| {
        stripe.account(CONNECTED).on_behalf_of(CONNECTED).application_fee(Share::BasisPoints(1_000))
    })
    .await;
    assert_settled(&scene.settle(&scene.plan(&scene.token()).await).await);
    let seen = scene.stand_in.requests().pop().expect("a request");
    assert_eq!(seen.account.as_deref(), Some(CONNECTED));
    assert_eq!(seen.field("application_fee_amount"), Some("10"));
    assert_eq!(scene.stand_in.intents()[0]["on_behalf_of"], CONNECTED);
}

#[tokio::test]
async fn a_hold_is_reserved_then_captured_or_given_back() {
    let scene = Scene::set().await;
    let kept = scene.held(&scene.plan(&scene.token()).await).await;
    assert_eq!((scene.stand_in.statuses(), scene.stand_in.taken()), (vec!["requires_capture".to_owned()], 0));
    assert_settled(&scene.settle(&kept).await);
    assert_settled(&scene.resolve(&kept).await);
    assert!(scene.release(&kept).await.is_err(), "what was captured is not released");

    let given_back = scene.held(&scene.plan(&scene.token()).await).await;
    assert_eq!(scene.release(&given_back).await, Ok(()));
    assert_eq!(scene.release(&given_back).await, Ok(()));
    assert_eq!(scene.stand_in.statuses(), ["succeeded", "canceled"]);
    assert_eq!(scene.stand_in.taken(), 100);
}

#[tokio::test]
async fn a_hold_that_cannot_be_made_is_declined_and_reserves_nothing() {
    let scene = Scene::set().await;
    for card in ["pm_card_chargeDeclined", "pm_card_authenticationRequired"] {
        let held = scene.hold(&scene.plan(&scene.token_on(card)).await).await;
        assert!(matches!(held, Held::Declined(Rejection::Refused { .. })), "{held:?}");
    }
    assert!(!scene.stand_in.statuses().contains(&"requires_capture".to_owned()));
}

#[tokio::test]
async fn a_hold_whose_answer_was_lost_is_found_and_cancelled() {
    for mischief in [Mischief::LostAnswer, Mischief::LostRequest, Mischief::FailedAfter(500)] {
        let scene = Scene::set().await;
        let plan = scene.plan(&scene.token()).await;
        scene.stand_in.next(CREATE, mischief);
        assert!(matches!(scene.hold(&plan).await, Held::Unknown { .. }));
        assert_eq!(scene.release(&plan).await, Ok(()));
        assert_eq!(scene.stand_in.statuses(), ["canceled"]);
        // The token is spent with it: the same credential holds nothing again.
        assert!(!matches!(scene.hold(&plan).await, Held::Held(_)));
        assert_eq!(scene.stand_in.taken(), 0);
    }
}

#[tokio::test]
async fn a_capture_that_fails_is_declined_only_when_the_hold_is_gone() {
    let scene = Scene::set().await;
    let lapsed = scene.held(&scene.plan(&scene.token()).await).await;
    scene.stand_in.cancel_all();
    assert_refused(&scene.settle(&lapsed).await);

    // Captured, and the answer is lost.
    let lost = scene.held(&scene.plan(&scene.token()).await).await;
    scene.stand_in.next("POST /v1/payment_intents/", Mischief::LostAnswer);
    assert_unknown(&scene.settle(&lost).await);
    assert_settled(&scene.resolve(&lost).await);

    // Never captured: recovery gives it back, because nothing was delivered.
    let never = scene.held(&scene.plan(&scene.token()).await).await;
    scene.stand_in.next("POST /v1/payment_intents/", Mischief::LostRequest);
    assert_unknown(&scene.settle(&never).await);
    assert_refused(&scene.resolve(&never).await);
    assert_eq!(scene.stand_in.statuses(), ["canceled", "succeeded", "canceled"]);
    assert_eq!(scene.stand_in.taken(), 100);
}

#[tokio::test]
async fn a_plan_of_another_release_is_unknown_and_nobody_is_asked() {
    let scene = Scene::set().await;
    let odd = ("c".repeat(43), SettlementPlan(json!({ "version": 2 })));
    assert_unknown(&scene.settle(&odd).await);
    assert_unknown(&scene.resolve(&odd).await);
    assert!(scene.release(&odd).await.is_err());
    assert!(scene.stand_in.requests().is_empty());
}
