//! The sandbox as a payment network: who may pay, and that money moves once whatever happens on the way.
#![cfg(feature = "testing")]

mod common;

use common::{Fault, Faulty};
use mpp::method::sandbox::Wallet;
use mpp::method::{
    ClientMethod, CredentialCx, Held, OfferCx, Rejection, ServerMethod, SettleCx, Settlement, SettlementPlan,
    Share, Verified,
};
use mpp::protocol::{BaseUnits, Challenge, ChargeRequest, Intent, MethodName, ProblemType, Timestamp};
use mpp::store::{Limits, MemoryStore, Store};
use mpp::{Amount, Clock, ManualClock, Sandbox};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const LIFE: Duration = Duration::from_secs(300);

/// A challenge of this sandbox for `amount` units of usdc.
fn challenge(sandbox: &Sandbox, id: &str, amount: Amount) -> Challenge {
    let currency = ServerMethod::currency(sandbox, "usdc").unwrap();
    let amount = amount.to_base_units(currency.decimals).unwrap();
    let request = sandbox.offer(&OfferCx::new(amount, &currency)).unwrap();
    Challenge {
        id: id.to_owned(),
        realm: "api.example.com".to_owned(),
        method: sandbox.name().clone(),
        intent: Intent::CHARGE,
        request: request.encode(),
        expires: Some((NOW + LIFE).to_string()),
        digest: None,
        opaque: None,
        description: None,
    }
}

async fn payload(wallet: &Wallet, challenge: &Challenge) -> Map<String, Value> {
    wallet.for_method(challenge.method.clone()).pay(challenge).await.unwrap().payload
}

async fn verify(
    sandbox: &Sandbox,
    challenge: &Challenge,
    payload: &Map<String, Value>,
    source: Option<&str>,
) -> Result<Verified, Rejection> {
    let request = challenge.charge().unwrap();
    let mut cx = CredentialCx::new(challenge, &request, payload, NOW + LIFE, NOW);
    cx.source = source;
    sandbox.verify(&cx).await
}

/// The journaled plan of a payment that verifies.
async fn plan(sandbox: &Sandbox, wallet: &Wallet, id: &str, amount: Amount) -> SettlementPlan {
    let challenge = challenge(sandbox, id, amount);
    let payload = payload(wallet, &challenge).await;
    verify(sandbox, &challenge, &payload, Some(&wallet.did())).await.unwrap().plan
}

fn refusal(rejection: Rejection) -> ProblemType {
    match rejection {
        Rejection::Refused { kind, .. } => kind,
        Rejection::Unavailable { detail, .. } => panic!("refused by the client's fault, not ours: {detail}"),
    }
}

fn alice() -> Wallet {
    Wallet::from_seed([1; 32])
}

fn funded(amount: Amount) -> Sandbox {
    Sandbox::new().account(&alice().did(), amount)
}

async fn balance(sandbox: &Sandbox) -> Amount {
    sandbox.balance(&alice().did()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_payment_moves_the_money_from_the_account_to_the_till() {
    let sandbox = funded(Amount::whole(10));
    let plan = plan(&sandbox, &alice(), "one", Amount::cents(250)).await;
    assert_eq!(balance(&sandbox).await, Amount::whole(10), "verifying spends nothing");
    let Settlement::Settled(payment) = sandbox.settle(&SettleCx::new("one", &plan, NOW)).await else {
        panic!()
    };
    assert!(payment.reference.starts_with("sandbox-") && !payment.reference.contains("one"));
    assert_eq!(balance(&sandbox).await, Amount::cents(750));
    assert_eq!(sandbox.till().await.unwrap(), Amount::cents(250));
}

#[tokio::test]
async fn settling_twice_moves_the_money_once() {
    let sandbox = funded(Amount::whole(10));
    let plan = plan(&sandbox, &alice(), "one", Amount::whole(3)).await;
    let cx = SettleCx::new("one", &plan, NOW);
    let first = sandbox.settle(&cx).await;
    assert!(matches!(first, Settlement::Settled(_)));
    assert_eq!(sandbox.settle(&cx).await, first);
    assert_eq!(sandbox.resolve(&cx).await, first);
    assert_eq!(balance(&sandbox).await, Amount::whole(7));
}

#[tokio::test]
async fn an_identity_proof_needs_no_account_and_moves_nothing() {
    let sandbox = funded(Amount::whole(10));
    let stranger = Wallet::from_seed([9; 32]);
    let proof = challenge(&sandbox, "who", Amount::ZERO);
    let payload = payload(&stranger, &proof).await;
    assert_eq!(payload["type"], "proof");
    let verified = verify(&sandbox, &proof, &payload, Some(&stranger.did())).await.unwrap();
    assert_eq!(verified.payer, Some(stranger.did()));
    let cx = SettleCx::new("who", &verified.plan, NOW);
    assert!(matches!(sandbox.settle(&cx).await, Settlement::Settled(_)));
    assert_eq!(sandbox.settle(&cx).await, sandbox.resolve(&cx).await);
    assert_eq!(sandbox.till().await.unwrap(), Amount::ZERO);
    assert_eq!(sandbox.balance(&stranger.did()).await.unwrap(), None);
}

#[tokio::test]
async fn only_the_owner_of_an_account_can_pay_from_it() {
    let sandbox = funded(Amount::whole(10));
    let mallory = Wallet::from_seed([2; 32]);
    sandbox.fund(&mallory.did(), Amount::whole(10)).await.unwrap();
    let one = challenge(&sandbox, "one", Amount::whole(1));
    let (hers, his) = (payload(&mallory, &one).await, payload(&alice(), &one).await);

    // Another's account under one's own signature.
    let mut forged = hers.clone();
    forged.insert("account".to_owned(), alice().did().into());
    let refused = verify(&sandbox, &one, &forged, None).await.unwrap_err();
    assert_eq!(refusal(refused), ProblemType::VerificationFailed);
    // One's own account under another's name.
    let refused = verify(&sandbox, &one, &hers, Some(&alice().did())).await.unwrap_err();
    assert_eq!(refusal(refused), ProblemType::VerificationFailed);
    // A bent signature.
    let mut bent = his.clone();
    let signature = bent["signature"].as_str().unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    bent.insert("signature".to_owned(), format!("{flipped}{}", &signature[1..]).into());
    let refused = verify(&sandbox, &one, &bent, None).await.unwrap_err();
    assert_eq!(refusal(refused), ProblemType::VerificationFailed);

    assert!(verify(&sandbox, &one, &his, None).await.is_ok());
    assert!(verify(&sandbox, &one, &his, Some(&alice().did())).await.is_ok());
}

#[tokio::test]
async fn a_signature_is_good_for_its_own_challenge_only() {
    let sandbox = funded(Amount::whole(10));
    let one = challenge(&sandbox, "one", Amount::whole(1));
    let signed = payload(&alice(), &one).await;
    let others = [
        Challenge { id: "two".to_owned(), ..one.clone() },
        Challenge { realm: "evil.example".to_owned(), ..one.clone() },
        Challenge { method: MethodName::from_static("tempo"), ..one.clone() },
        Challenge { request: challenge(&sandbox, "one", Amount::whole(9)).request, ..one.clone() },
        // The same bytes in a row, cut elsewhere.
        Challenge { id: "e".to_owned(), realm: "api.example.comon".to_owned(), ..one.clone() },
    ];
    for other in others {
        let refused = verify(&sandbox, &other, &signed, None).await.unwrap_err();
        assert_eq!(refusal(refused), ProblemType::VerificationFailed);
    }
}

#[tokio::test]
async fn a_proof_does_not_pay_and_a_transfer_does_not_prove() {
    let sandbox = funded(Amount::whole(10));
    let (paid, free) =
        (challenge(&sandbox, "one", Amount::whole(1)), challenge(&sandbox, "one", Amount::ZERO));
    for (challenge, other) in [(&paid, &free), (&free, &paid)] {
        let payload = payload(&alice(), other).await;
        let refused = verify(&sandbox, challenge, &payload, None).await.unwrap_err();
        assert_eq!(refusal(refused), ProblemType::VerificationFailed);
    }
    // Not by renaming it either: the type is under the signature.
    let mut renamed = payload(&alice(), &free).await;
    renamed.insert("type".to_owned(), "transfer".into());
    let refused = verify(&sandbox, &paid, &renamed, None).await.unwrap_err();
    assert_eq!(refusal(refused), ProblemType::VerificationFailed);
}

#[tokio::test]
async fn an_account_nobody_opened_cannot_pay() {
    let sandbox = Sandbox::new();
    let one = challenge(&sandbox, "one", Amount::micros(1));
    let payload = payload(&alice(), &one).await;
    let refused = verify(&sandbox, &one, &payload, None).await.unwrap_err();
    assert_eq!(refusal(refused), ProblemType::VerificationFailed);
}

#[tokio::test]
async fn an_account_cannot_pay_more_than_it_holds() {
    let sandbox = funded(Amount::whole(1));
    let dear = challenge(&sandbox, "dear", Amount::micros(1_000_001));
    let payload = payload(&alice(), &dear).await;
    let refused = verify(&sandbox, &dear, &payload, None).await.unwrap_err();
    assert_eq!(refusal(refused), ProblemType::PaymentInsufficient);

    // Verified while there was enough, settled when there is not.
    let (one, two) = (
        plan(&sandbox, &alice(), "one", Amount::whole(1)).await,
        plan(&sandbox, &alice(), "two", Amount::micros(1)).await,
    );
    assert!(matches!(sandbox.settle(&SettleCx::new("one", &one, NOW)).await, Settlement::Settled(_)));
    let cx = SettleCx::new("two", &two, NOW);
    let Settlement::Declined(why) = sandbox.settle(&cx).await else { panic!("an overdraft is declined") };
    assert_eq!(refusal(why.clone()), ProblemType::PaymentInsufficient);
    // Declined stays declined, also when the money arrives.
    sandbox.fund(&alice().did(), Amount::whole(5)).await.unwrap();
    assert_eq!(sandbox.settle(&cx).await, Settlement::Declined(why.clone()));
    assert_eq!(sandbox.resolve(&cx).await, Settlement::Declined(why));
    assert_eq!(balance(&sandbox).await, Amount::whole(5));
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_malformed() {
    let sandbox = funded(Amount::whole(10));
    let one = challenge(&sandbox, "one", Amount::whole(1));
    let good = payload(&alice(), &one).await;
    let wrong: &[(&str, Value)] = &[
        ("type", json!("gift")),
        ("type", json!(1)),
        ("account", json!("alice")),
        ("account", json!("did:pkh:eip155:1:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00")),
        ("account", json!("did:key:z6Mk")),
        ("account", Value::Null),
        ("signature", json!("")),
        ("signature", json!("AAAA")),
        ("signature", json!("no base64!")),
        ("signature", json!("A".repeat(60_000))),
        ("signature", json!({"r": 1})),
    ];
    for (member, value) in wrong {
        let mut bad = good.clone();
        bad.insert((*member).to_owned(), value.clone());
        let refused = verify(&sandbox, &one, &bad, None).await.unwrap_err();
        assert_eq!(refusal(refused), ProblemType::MalformedCredential, "{member}: {value}");
        bad.remove(*member);
        let refused = verify(&sandbox, &one, &bad, None).await.unwrap_err();
        assert_eq!(refusal(refused), ProblemType::MalformedCredential, "no {member}");
    }
    let mut more = good;
    more.insert("comment".to_owned(), json!("unknown members are ignored"));
    assert!(verify(&sandbox, &one, &more, None).await.is_ok());
}

#[tokio::test]
async fn every_request_says_that_it_is_about_test_money() {
    for sandbox in [Sandbox::new(), Sandbox::named("tempo"), Sandbox::named("stripe")] {
        let request = challenge(&sandbox, "one", Amount::whole(1)).charge().unwrap();
        assert_eq!(request.method_details.unwrap()["testMoney"], json!(true));
    }
    // And no other request can be paid here.
    let sandbox = funded(Amount::whole(10));
    let real = ChargeRequest::new(BaseUnits::new(1), "usdc");
    let mut one = challenge(&sandbox, "one", Amount::whole(1));
    one.request = real.encode();
    let payload = payload_of_a_careless_wallet(&one).await;
    assert!(verify(&sandbox, &one, &payload, None).await.is_err());
}

/// Something signed for a challenge that the wallet itself would refuse.
async fn payload_of_a_careless_wallet(challenge: &Challenge) -> Map<String, Value> {
    let mut lie = challenge.clone();
    let details = Map::from_iter([("testMoney".to_owned(), json!(true))]);
    let request = ChargeRequest { method_details: Some(details), ..challenge.charge().unwrap() };
    lie.request = request.encode();
    payload(&alice(), &lie).await
}

#[tokio::test]
async fn a_split_price_names_its_parts_and_the_till_has_the_whole() {
    let sandbox = funded(Amount::whole(1));
    let currency = ServerMethod::currency(&sandbox, "usdc").unwrap();
    let parts = [Share { payee: "platform", units: BaseUnits::new(1_250) }];
    let mut cx = OfferCx::new(BaseUnits::new(50_000), &currency);
    cx.splits = &parts;
    let mut split = challenge(&sandbox, "c1", Amount::cents(5));
    split.request = sandbox.offer(&cx).unwrap().encode();
    let details = split.charge().unwrap().method_details.unwrap();
    assert_eq!(details["splits"], json!([{ "recipient": "platform", "amount": "1250" }]));
    let verified = verify(&sandbox, &split, &payload(&alice(), &split).await, None).await.unwrap();
    let settled = sandbox.settle(&SettleCx::new("c1", &verified.plan, NOW)).await;
    assert!(matches!(settled, Settlement::Settled(_)), "{settled:?}");
    assert_eq!(sandbox.till().await.unwrap(), Amount::cents(5));
}

#[tokio::test]
async fn a_played_method_counts_as_the_real_one() {
    let stripe = Sandbox::named("stripe").minimum("0.505");
    let usd = ServerMethod::currency(&stripe, "usdc").unwrap();
    assert_eq!((usd.id.as_str(), usd.decimals, usd.minimum.get()), ("usd", 2, 51));
    let yen = ServerMethod::currency(&stripe, "jpy").unwrap();
    assert_eq!((yen.id.as_str(), yen.decimals, yen.minimum.get()), ("jpy", 0, 1));
    let usdc = ServerMethod::currency(&Sandbox::named("tempo"), "usdc").unwrap();
    assert_eq!((usdc.id.as_str(), usdc.decimals, usdc.minimum.get()), ("usdc", 6, 0));

    // A unit is a unit, whatever it is called.
    let stripe = Sandbox::named("stripe").account(&alice().did(), Amount::whole(10));
    let plan = plan(&stripe, &alice(), "one", Amount::cents(125)).await;
    assert!(matches!(stripe.settle(&SettleCx::new("one", &plan, NOW)).await, Settlement::Settled(_)));
    assert_eq!(balance(&stripe).await, Amount::cents(875));
}

#[tokio::test]
async fn sandboxes_of_different_names_keep_different_accounts_in_one_store() {
    let store = Arc::new(MemoryStore::new());
    let (tempo, stripe) =
        (Sandbox::named("tempo").with_store(store.clone()), Sandbox::named("stripe").with_store(store));
    tempo.fund(&alice().did(), Amount::whole(1)).await.unwrap();
    assert_eq!(stripe.balance(&alice().did()).await.unwrap(), None);
    // A name that is the beginning of another one's is a different name too.
    assert_eq!(Sandbox::named("temp").balance(&alice().did()).await.unwrap(), None);
}

#[test]
fn what_is_wrong_with_a_sandbox_is_reported_not_panicked() {
    assert!(Sandbox::new().problems().is_empty() && Sandbox::named("stripe").problems().is_empty());
    let wrong = Sandbox::named("Not A Name")
        .minimum("cheap")
        .currency("wei", "wei", 19)
        .currency("cents", "usd", 3)
        .account("alice", Amount::whole(1))
        .account(&alice().did(), Amount::ZERO - Amount::whole(1));
    let problems = wrong.problems();
    assert_eq!(problems.len(), 6, "{problems:?}");
    let currency = ServerMethod::currency(&Sandbox::new(), "usdc").unwrap();
    assert!(Sandbox::new().offer(&OfferCx::new(BaseUnits::new(u128::MAX), &currency)).is_err());
}

#[tokio::test]
async fn a_hold_reserves_and_then_pays_or_gives_back() {
    for capture in [true, false] {
        let sandbox = funded(Amount::whole(10));
        let plan = plan(&sandbox, &alice(), "one", Amount::whole(4)).await;
        let Held::Held(held) = sandbox.hold(&SettleCx::new("one", &plan, NOW)).await else { panic!() };
        assert_eq!(
            (balance(&sandbox).await, sandbox.till().await.unwrap()),
            (Amount::whole(6), Amount::ZERO)
        );
        let cx = SettleCx::new("one", &held, NOW);
        if capture {
            let settled = sandbox.settle(&cx).await;
            assert!(matches!(settled, Settlement::Settled(_)));
            assert_eq!(sandbox.settle(&cx).await, settled, "a second capture takes nothing more");
            assert!(sandbox.release(&cx).await.is_err(), "what was captured cannot be released");
            assert_eq!(
                (balance(&sandbox).await, sandbox.till().await.unwrap()),
                (Amount::whole(6), Amount::whole(4))
            );
        } else {
            assert_eq!(sandbox.release(&cx).await, Ok(()));
            assert_eq!(sandbox.release(&cx).await, Ok(()), "releasing is repeatable");
            assert!(
                matches!(sandbox.settle(&cx).await, Settlement::Declined(_)),
                "what was released is not captured"
            );
            assert_eq!(
                (balance(&sandbox).await, sandbox.till().await.unwrap()),
                (Amount::whole(10), Amount::ZERO)
            );
        }
    }
}

#[tokio::test]
async fn money_on_hold_cannot_be_spent_twice() {
    let sandbox = funded(Amount::whole(10));
    let (one, two) = (
        plan(&sandbox, &alice(), "one", Amount::whole(6)).await,
        plan(&sandbox, &alice(), "two", Amount::whole(6)).await,
    );
    assert!(matches!(sandbox.hold(&SettleCx::new("one", &one, NOW)).await, Held::Held(_)));
    assert!(matches!(sandbox.hold(&SettleCx::new("two", &two, NOW)).await, Held::Declined(_)));
    assert!(matches!(sandbox.settle(&SettleCx::new("two", &two, NOW)).await, Settlement::Declined(_)));
}

#[tokio::test]
async fn a_release_that_comes_before_the_hold_prevents_it() {
    let sandbox = funded(Amount::whole(10));
    let plan = plan(&sandbox, &alice(), "one", Amount::whole(4)).await;
    let cx = SettleCx::new("one", &plan, NOW);
    assert_eq!(sandbox.release(&cx).await, Ok(()));
    assert!(matches!(sandbox.hold(&cx).await, Held::Declined(_)));
    assert!(matches!(sandbox.settle(&cx).await, Settlement::Declined(_)));
    assert_eq!(balance(&sandbox).await, Amount::whole(10));
}

#[tokio::test]
async fn reservations_of_one_account_are_bounded() {
    let sandbox = funded(Amount::whole(10_000));
    let plan = plan(&sandbox, &alice(), "x", Amount::whole(1)).await;
    for n in 0..1024 {
        let held = sandbox.hold(&SettleCx::new(&n.to_string(), &plan, NOW)).await;
        assert!(matches!(held, Held::Held(_)), "{n}");
    }
    let one_more = sandbox.hold(&SettleCx::new("more", &plan, NOW)).await;
    assert!(matches!(one_more, Held::Declined(Rejection::Unavailable { .. })), "{one_more:?}");
}

#[tokio::test]
async fn a_settlement_that_comes_too_late_moves_nothing() {
    let sandbox = funded(Amount::whole(10));
    let plan = plan(&sandbox, &alice(), "one", Amount::whole(4)).await;
    let late = NOW + LIFE + Duration::from_secs(61);
    let Settlement::Declined(why) = sandbox.settle(&SettleCx::new("one", &plan, late)).await else {
        panic!()
    };
    assert_eq!(refusal(why), ProblemType::PaymentExpired);
    assert_eq!(balance(&sandbox).await, Amount::whole(10));
    // So late that a record of it might have come and gone: nobody claims to know.
    let forgotten = late + Duration::from_secs(3600);
    let cx = SettleCx::new("one", &plan, forgotten);
    assert!(matches!(sandbox.resolve(&cx).await, Settlement::Unknown { .. }));
    assert!(matches!(sandbox.settle(&cx).await, Settlement::Unknown { .. }));
}

#[tokio::test]
async fn a_full_store_refuses_payments_before_anything_moves() {
    let store = Arc::new(MemoryStore::with_limits(Limits { paid: 0, free: 1 }));
    let sandbox = Sandbox::new().with_store(store);
    sandbox.fund(&alice().did(), Amount::whole(10)).await.unwrap();
    let plan = plan(&sandbox, &alice(), "one", Amount::whole(4)).await;
    let settled = sandbox.settle(&SettleCx::new("one", &plan, NOW)).await;
    assert!(matches!(settled, Settlement::Declined(Rejection::Unavailable { .. })), "{settled:?}");
    assert_eq!(balance(&sandbox).await, Amount::whole(10));
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_settles_nothing_and_releases_no_claim() {
    let sandbox = funded(Amount::whole(10));
    for plan in [json!(null), json!({}), json!({"type": "transfer", "account": 1})] {
        let plan = SettlementPlan(plan);
        let cx = SettleCx::new("one", &plan, NOW);
        assert!(matches!(sandbox.settle(&cx).await, Settlement::Unknown { .. }));
        assert!(matches!(sandbox.resolve(&cx).await, Settlement::Unknown { .. }));
        assert!(matches!(sandbox.hold(&cx).await, Held::Unknown { .. }));
        assert!(sandbox.release(&cx).await.is_err());
    }
}

#[tokio::test]
async fn an_account_holds_what_can_be_counted_and_no_more() {
    let sandbox = Sandbox::new();
    let most = Amount::whole(10_u128.pow(20));
    sandbox.fund(&alice().did(), most).await.unwrap();
    assert!(sandbox.fund(&alice().did(), Amount::new(1, 18)).await.is_err());
    assert!(sandbox.fund(&alice().did(), Amount::ZERO - Amount::whole(1)).await.is_err());
    assert_eq!(balance(&sandbox).await, most);
}

/// Settles this many payments of one unit at once.
async fn race(sandbox: &Sandbox, payments: usize) -> JoinSet<Settlement> {
    let mut plans = Vec::new();
    for n in 0..payments {
        let id = format!("race-{n}");
        plans.push((plan(sandbox, &alice(), &id, Amount::whole(1)).await, id));
    }
    let mut race = JoinSet::new();
    for (plan, id) in plans {
        let sandbox = sandbox.clone();
        race.spawn(async move { sandbox.settle(&SettleCx::new(&id, &plan, NOW)).await });
    }
    race
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_payments_never_overdraw() {
    let sandbox = funded(Amount::whole(10));
    // Every one of them verifies, because nothing is spent yet.
    let mut race = race(&sandbox, 50).await;
    let mut settled = BTreeSet::new();
    while let Some(outcome) = race.join_next().await {
        match outcome.unwrap() {
            Settlement::Settled(payment) => {
                assert!(settled.insert(payment.reference), "references are unique")
            }
            Settlement::Declined(why) => assert_eq!(refusal(why), ProblemType::PaymentInsufficient),
            Settlement::Unknown { detail } => panic!("{detail}"),
        }
    }
    assert_eq!(settled.len(), 10);
    assert_eq!((balance(&sandbox).await, sandbox.till().await.unwrap()), (Amount::ZERO, Amount::whole(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_copies_of_one_payment_move_the_money_once() {
    for round in 0..20 {
        let sandbox = funded(Amount::whole(10));
        let plan = plan(&sandbox, &alice(), "one", Amount::whole(1)).await;
        let mut race = JoinSet::new();
        for _ in 0..16 {
            let (sandbox, plan) = (sandbox.clone(), plan.clone());
            race.spawn(async move { sandbox.settle(&SettleCx::new("one", &plan, NOW)).await });
        }
        while let Some(outcome) = race.join_next().await {
            let outcome = outcome.unwrap();
            assert!(!matches!(outcome, Settlement::Declined(_)), "round {round}: {outcome:?}");
        }
        assert!(matches!(sandbox.resolve(&SettleCx::new("one", &plan, NOW)).await, Settlement::Settled(_)));
        assert_eq!(
            (balance(&sandbox).await, sandbox.till().await.unwrap()),
            (Amount::whole(9), Amount::whole(1))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_and_resolving_at_once_agree_in_the_end() {
    for round in 0..200 {
        let sandbox = funded(Amount::whole(10));
        let plan = plan(&sandbox, &alice(), "one", Amount::whole(1)).await;
        let (one, two) = (sandbox.clone(), sandbox.clone());
        let (plan_one, plan_two) = (plan.clone(), plan.clone());
        let settling = tokio::spawn(async move { one.settle(&SettleCx::new("one", &plan_one, NOW)).await });
        let resolving = tokio::spawn(async move { two.resolve(&SettleCx::new("one", &plan_two, NOW)).await });
        let (settled, resolved) = (settling.await.unwrap(), resolving.await.unwrap());
        let last = sandbox.resolve(&SettleCx::new("one", &plan, NOW)).await;
        for earlier in [settled, resolved] {
            agrees(&earlier, &last, &format!("round {round}"));
        }
        books_are_whole(&sandbox, &last, Amount::whole(1)).await;
    }
}

/// `Settled` and `Declined` are final: who said one of them is never contradicted.
fn agrees(earlier: &Settlement, last: &Settlement, context: &str) {
    match (earlier, last) {
        (Settlement::Unknown { .. }, _) => {}
        (Settlement::Settled(a), Settlement::Settled(b)) => assert_eq!(a, b, "{context}"),
        (Settlement::Declined(_), Settlement::Declined(_)) => {}
        (earlier, last) => panic!("{context}: first {earlier:?}, then {last:?}"),
    }
}

/// What was said is what the account shows, and nothing is left reserved.
async fn books_are_whole(sandbox: &Sandbox, last: &Settlement, price: Amount) {
    let spent = match last {
        Settlement::Settled(_) => price,
        Settlement::Declined(_) => Amount::ZERO,
        Settlement::Unknown { detail } => panic!("{detail}"),
    };
    assert_eq!(sandbox.till().await.unwrap(), spent);
    assert_eq!(balance(sandbox).await, Amount::whole(10) - spent);
}

/// How a store operation goes wrong: it fails, and nothing was written or it was; the process dies, before it or after.
const FAULTS: [Fault; 4] = [Fault::Refuses, Fault::LosesAnswer, Fault::Hangs, Fault::HangsDone];

/// More operations than any verb makes; `every_store_operation_of_every_verb_is_tried` counts them.
const OPERATIONS: usize = 10;

/// A world in which something went wrong: the store that survives it, and a clock.
struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        Self { store: Arc::new(MemoryStore::new().with_clock(clock.clone())), clock }
    }

    /// A process whose store works.
    fn sandbox(&self) -> Sandbox {
        self.over(self.store.clone())
    }

    fn over(&self, store: Arc<dyn Store>) -> Sandbox {
        Sandbox::new().account(&alice().did(), Amount::whole(10)).with_store(store)
    }

    /// Runs a verb in a process whose `at`-th store operation goes wrong; `None` when it died of it.
    async fn faulty<T>(&self, at: usize, fault: Fault, verb: impl AsyncFnOnce(Sandbox) -> T) -> Option<T> {
        let store = Faulty::new(self.store.clone());
        store.after(at, fault);
        let process = self.over(store.clone());
        tokio::select! {
            biased;
            outcome = verb(process) => Some(outcome),
            () = store.reached.notified() => None,
        }
    }

    /// Nothing is left behind that would stay forever.
    async fn ends_tidy(&self) {
        self.clock.advance(Duration::from_secs(100_000));
        let left = self.store.scan("free/sandbox-payment/", None, 10).await.unwrap();
        assert!(left.is_empty(), "every payment record ends: {left:?}");
    }
}

#[tokio::test]
async fn every_store_operation_of_every_verb_is_tried() {
    let plan = plan(&World::new().sandbox(), &alice(), "one", Amount::whole(3)).await;
    let cx = SettleCx::new("one", &plan, NOW);
    let late = Fault::Hangs;
    let untouched = World::new();
    let settled = untouched.faulty(OPERATIONS, late, async |sandbox| sandbox.settle(&cx).await).await;
    assert!(matches!(settled, Some(Settlement::Settled(_))), "no settlement makes that many operations");
    let resolved = untouched.faulty(OPERATIONS, late, async |sandbox| sandbox.resolve(&cx).await).await;
    assert!(resolved.is_some(), "no resolution makes that many operations");
    let untouched = World::new();
    let held = untouched.faulty(OPERATIONS, late, async |sandbox| sandbox.hold(&cx).await).await;
    let Some(Held::Held(held)) = held else { panic!("no hold makes that many operations") };
    let cx = SettleCx::new("one", &held, NOW);
    let captured = untouched.faulty(OPERATIONS, late, async |sandbox| sandbox.settle(&cx).await).await;
    assert!(matches!(captured, Some(Settlement::Settled(_))), "no capture makes that many operations");
    let untouched = World::new();
    let Held::Held(held) = untouched.sandbox().hold(&SettleCx::new("one", &plan, NOW)).await else {
        panic!()
    };
    let cx = SettleCx::new("one", &held, NOW);
    let released = untouched.faulty(OPERATIONS, late, async |sandbox| sandbox.release(&cx).await).await;
    assert_eq!(released, Some(Ok(())), "no release makes that many operations");
}

#[tokio::test]
async fn a_settlement_that_stops_at_any_store_operation_is_resolved_truthfully() {
    let mut outcomes = BTreeSet::new();
    for fault in FAULTS {
        for at in 0..OPERATIONS {
            let world = World::new();
            let plan = plan(&world.sandbox(), &alice(), "one", Amount::whole(3)).await;
            let settled = world
                .faulty(at, fault, async |sandbox| sandbox.settle(&SettleCx::new("one", &plan, NOW)).await)
                .await;
            let context = format!("{fault:?} at operation {at}: {settled:?}");

            let sandbox = world.sandbox();
            let cx = SettleCx::new("one", &plan, NOW);
            let resolved = sandbox.resolve(&cx).await;
            if let Some(settled) = &settled {
                agrees(settled, &resolved, &context);
            }
            books_are_whole(&sandbox, &resolved, Amount::whole(3)).await;
            // Whatever is asked afterwards, nothing changes any more.
            agrees(&sandbox.settle(&cx).await, &resolved, &context);
            agrees(&resolved, &sandbox.resolve(&cx).await, &context);
            books_are_whole(&sandbox, &resolved, Amount::whole(3)).await;
            world.ends_tidy().await;
            outcomes.insert(matches!(resolved, Settlement::Settled(_)));
        }
    }
    assert_eq!(outcomes.len(), 2, "some of these crashes come before the commit point and some after it");
}

#[tokio::test]
async fn a_resolution_that_stops_too_is_taken_up_by_the_next_one() {
    let plan = plan(&World::new().sandbox(), &alice(), "one", Amount::whole(3)).await;
    for first in FAULTS {
        for at in 0..OPERATIONS {
            for second in FAULTS {
                for then_at in 0..OPERATIONS {
                    let world = World::new();
                    let cx = SettleCx::new("one", &plan, NOW);
                    let settled = world.faulty(at, first, async |sandbox| sandbox.settle(&cx).await).await;
                    let resolved =
                        world.faulty(then_at, second, async |sandbox| sandbox.resolve(&cx).await).await;
                    let last = world.sandbox().resolve(&cx).await;
                    let context = format!("{first:?} at {at}, then {second:?} at {then_at}");
                    for earlier in [settled, resolved].into_iter().flatten() {
                        agrees(&earlier, &last, &context);
                    }
                    books_are_whole(&world.sandbox(), &last, Amount::whole(3)).await;
                    world.ends_tidy().await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_hold_that_stops_at_any_store_operation_can_be_released() {
    let plan = plan(&World::new().sandbox(), &alice(), "one", Amount::whole(3)).await;
    for fault in FAULTS {
        for at in 0..OPERATIONS {
            for (release_fault, release_at) in
                FAULTS.into_iter().flat_map(|fault| (0..OPERATIONS).map(move |at| (fault, at)))
            {
                let world = World::new();
                let cx = SettleCx::new("one", &plan, NOW);
                let _held = world.faulty(at, fault, async |sandbox| sandbox.hold(&cx).await).await;
                let _first =
                    world.faulty(release_at, release_fault, async |sandbox| sandbox.release(&cx).await).await;
                let sandbox = world.sandbox();
                let context = format!("{fault:?} at {at}, then {release_fault:?} at {release_at}");
                assert_eq!(sandbox.release(&cx).await, Ok(()), "{context}");
                let resolved = sandbox.resolve(&cx).await;
                assert!(matches!(resolved, Settlement::Declined(_)), "{context}");
                books_are_whole(&sandbox, &resolved, Amount::whole(3)).await;
                world.ends_tidy().await;
            }
        }
    }
}

#[tokio::test]
async fn a_capture_that_stops_at_any_store_operation_is_resolved_truthfully() {
    for fault in FAULTS {
        for at in 0..OPERATIONS {
            let world = World::new();
            let sandbox = world.sandbox();
            let plan = plan(&sandbox, &alice(), "one", Amount::whole(3)).await;
            let Held::Held(held) = sandbox.hold(&SettleCx::new("one", &plan, NOW)).await else { panic!() };
            let cx = SettleCx::new("one", &held, NOW);
            let captured = world.faulty(at, fault, async |sandbox| sandbox.settle(&cx).await).await;
            let resolved = sandbox.resolve(&cx).await;
            let context = format!("{fault:?} at operation {at}: {captured:?}");
            if let Some(captured) = &captured {
                agrees(captured, &resolved, &context);
            }
            books_are_whole(&sandbox, &resolved, Amount::whole(3)).await;
            agrees(&sandbox.settle(&cx).await, &resolved, &context);
            world.ends_tidy().await;
        }
    }
}

#[tokio::test]
async fn a_process_that_was_only_slow_cannot_settle_what_was_resolved_without_it() {
    for forgotten in [false, true] {
        // A run that has written nothing at all for as long as records are kept is the documented exception.
        for at in usize::from(forgotten)..OPERATIONS {
            let world = World::new();
            let plan = plan(&world.sandbox(), &alice(), "one", Amount::whole(3)).await;
            let cx = SettleCx::new("one", &plan, NOW);
            let store = Faulty::new(world.store.clone());
            store.after(at, Fault::Waits);
            let slow = world.over(store.clone());
            let mut settling = slow.settle(&cx);
            let early = tokio::select! {
                biased;
                settled = &mut settling => Some(settled),
                () = store.reached.notified() => None,
            };
            let resolved = world.sandbox().resolve(&cx).await;
            if forgotten {
                world.clock.advance(Duration::from_secs(100_000));
            }
            store.go_on.notify_one();
            let settled = match early {
                Some(settled) => settled,
                None => settling.await,
            };
            let context = format!("slow at operation {at}: {settled:?} after {resolved:?}");
            // A resolution that cannot tell yet has changed nothing; the next one can.
            let last = if forgotten { resolved.clone() } else { world.sandbox().resolve(&cx).await };
            for earlier in [&settled, &resolved] {
                agrees(earlier, &last, &context);
            }
            books_are_whole(&world.sandbox(), &last, Amount::whole(3)).await;
        }
    }
}

#[tokio::test]
async fn what_a_dead_process_left_reserved_comes_back_with_the_next_payment() {
    // A slow process wakes up after its payment was declined and forgotten, reserves, and dies.
    let world = World::new();
    let plan_one = plan(&world.sandbox(), &alice(), "one", Amount::whole(3)).await;
    let cx = SettleCx::new("one", &plan_one, NOW);
    let mut stuck = false;
    for at in 0..OPERATIONS {
        let world = World::new();
        let store = Faulty::new(world.store.clone());
        store.after(at, Fault::Waits);
        let slow = world.over(store.clone());
        let mut settling = slow.settle(&cx);
        tokio::select! {
            biased;
            _ = &mut settling => break,
            () = store.reached.notified() => {}
        }
        let declined = matches!(world.sandbox().resolve(&cx).await, Settlement::Declined(_));
        // It goes on for exactly one more operation.
        store.after(1, Fault::Waits);
        store.go_on.notify_one();
        tokio::select! {
            biased;
            _ = &mut settling => {}
            () = store.reached.notified() => {}
        }
        drop(settling);
        let sandbox = world.sandbox();
        stuck |= declined && balance(&sandbox).await == Amount::whole(7);

        world.clock.advance(LIFE + Duration::from_secs(3600));
        let now = world.clock.now();
        let plan_two = {
            let challenge = challenge(&sandbox, "two", Amount::whole(1));
            let (payload, request) = (payload(&alice(), &challenge).await, challenge.charge().unwrap());
            let cx = CredentialCx::new(&challenge, &request, &payload, now + LIFE, now);
            sandbox.verify(&cx).await.unwrap().plan
        };
        assert!(matches!(
            sandbox.settle(&SettleCx::new("two", &plan_two, now)).await,
            Settlement::Settled(_)
        ));
        let paid = sandbox.till().await.unwrap();
        assert_eq!(balance(&sandbox).await, Amount::whole(10) - paid, "at {at}: nothing stays reserved");
        assert!(!declined || paid == Amount::whole(1), "at {at}: what was declined is not paid");
    }
    assert!(stuck, "one of these crashes leaves a reservation behind");
}

#[cfg(feature = "redb")]
#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_payments_in_a_file_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.redb");
    let open = || {
        let clock = Arc::new(ManualClock::at(NOW));
        let store = mpp::store::RedbStore::open(&path).unwrap().with_clock(clock);
        Sandbox::new().account(&alice().did(), Amount::whole(10)).with_store(Arc::new(store))
    };
    let sandbox = open();
    let plan_one = plan(&sandbox, &alice(), "one", Amount::whole(3)).await;
    let cx = SettleCx::new("one", &plan_one, NOW);
    let settled = sandbox.settle(&cx).await;
    drop(sandbox);

    let sandbox = open();
    assert_eq!(balance(&sandbox).await, Amount::whole(7), "a restart does not fill the account again");
    assert_eq!(sandbox.resolve(&cx).await, settled);
    assert_eq!(sandbox.settle(&cx).await, settled);
    let outcomes = race(&sandbox, 20).await.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Settlement::Settled(_))).count(), 7);
    assert_eq!((balance(&sandbox).await, sandbox.till().await.unwrap()), (Amount::ZERO, Amount::whole(10)));
}
