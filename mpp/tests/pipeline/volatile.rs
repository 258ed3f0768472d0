//! What survives: volatile stores and their boots, durable stores and their restarts, full stores.

#[cfg(feature = "redb")]
use crate::common::{Fault, Faulty};
use crate::common::{Network, Script, Terms, credential};
use crate::lab::*;
use mpp::method::Money;
use mpp::store::{Limits, MemoryStore};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_challenge_of_a_boot_that_was_forgotten_is_refused_by_the_next_one() {
    let lab = Lab::new();
    let used = lab.pay("/cheap", "tx1").await.0;
    let open = credential(&lab.challenge("/cheap").await, "tx2");
    // The same secret, a new process.
    let anew = lab.builder().store(MemoryStore::new().with_clock(lab.clock.clone())).build().unwrap();
    let client = lab.client_of(&anew);
    for old in [used, open] {
        client.get("/cheap").presenting(&old).await.assert_problem("invalid-challenge");
    }
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_of_another_realm_is_refused_though_secret_and_store_are_shared() {
    let lab = Lab::new();
    let elsewhere = lab.client_of(&lab.builder_at("https://other.example.com").build().unwrap());
    let paid = credential(&lab.challenge("/cheap").await, "tx1");
    elsewhere.get("/cheap").presenting(&paid).await.assert_problem("invalid-challenge");
    assert_eq!(lab.network.payments(), 0);
    lab.client.get("/cheap").presenting(&paid).await.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn two_configurations_on_one_memory_store_share_challenges_and_refuse_each_others_replays() {
    let lab = Lab::new();
    let other = lab.client_of(&lab.builder().build().unwrap());
    let challenge = lab.challenge("/cheap").await;
    other.get("/cheap").presenting(&credential(&challenge, "tx1")).await.assert_ok();
    lab.client
        .get("/cheap")
        .presenting(&credential(&challenge, "tx1"))
        .await
        .assert_problem("invalid-challenge");
    let (_, again) = lab.pay("/cheap", "tx1").await;
    again.assert_problem("verification-failed");
    assert_eq!(lab.network.payments(), 1);
}

#[tokio::test(start_paused = true)]
async fn challenges_of_two_instances_at_one_moment_are_all_different() {
    // One secret, one store, a clock that stands still. A million of them are compared in `server/scope.rs`, without the
    // router.
    let lab = Lab::new();
    let instances = [lab.client.clone(), lab.client_of(&lab.builder().build().unwrap())];
    let mut ids = std::collections::HashSet::with_capacity(20_000);
    for n in 0..20_000 {
        let response = instances[n % 2].get("/cheap").unpaid().await;
        let challenge = first(&response);
        assert!(ids.insert(challenge.id.clone()), "the same id twice");
    }
}

#[tokio::test(start_paused = true)]
async fn free_proofs_fill_their_own_quota_and_never_close_the_paid_routes() {
    let real = || Network::on("tempo", Terms { money: Money::Real, ..Terms::default() });
    let clock = clock();
    let shelf = Arc::new(MemoryStore::with_limits(Limits { paid: 20, free: 6 }).with_clock(clock.clone()));
    let lab = Lab::over(clock, shelf, real(), Network::new("stripe"), |b| b.single_process_volatile_store());
    for n in 0..3 {
        assert_eq!(lab.pay("/whoami", &format!("me{n}")).await.1.status(), 200, "{n}");
    }
    for n in 3..20 {
        let (_, response) = lab.pay("/whoami", &format!("me{n}")).await;
        response.assert_problem("unavailable");
        assert!(response.challenges().offers.is_empty() && response.header("retry-after").is_some());
    }
    // Test money counts as free.
    let card = lab.client.get("/both").unpaid().await.challenges().offers.remove(1);
    lab.client.get("/both").presenting(&credential(&card, "card")).await.assert_problem("unavailable");
    assert_eq!(lab.cards.payments(), 0);
    for n in 0..10 {
        lab.pay("/cheap", &format!("tx{n}")).await.1.assert_ok();
    }
    // Now the paid quota is full as well: refused before anything is settled.
    let paid = lab.network.payments();
    let (full, response) = lab.pay("/cheap", "tx99").await;
    response.assert_problem("unavailable");
    assert_eq!(lab.network.payments(), paid);
    // Room is made once the oldest claims may be forgotten.
    lab.clock.advance(Duration::from_secs(300 + 600 + 60));
    lab.client.get("/cheap").presenting(&full).await.assert_problem("payment-expired");
    for n in 0..10 {
        lab.pay("/cheap", &format!("later{n}")).await.1.assert_ok();
    }
    assert_eq!(lab.pay("/whoami", "later").await.1.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_pages_of_a_method_are_where_its_money_is() {
    for (real, limits) in [(true, Limits { paid: 20, free: 0 }), (false, Limits { paid: 0, free: 20 })] {
        let lab = if real { Lab::with_real_money(limits) } else { Lab::with(limits) };
        lab.network.will(Script::Note);
        lab.pay("/cheap", "tx1").await.1.assert_ok();
        assert_eq!(lab.network.payments(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivered_claim_is_remembered_until_expiry_grace_and_skew_are_over() {
    for (wait, works) in [(959, false), (960, true)] {
        let lab = Lab::new();
        lab.pay("/cheap", "tx1").await.1.assert_ok();
        settle_down().await;
        lab.clock.advance(Duration::from_secs(wait));
        // The same proof under a fresh challenge: its own claim has to remember it.
        let (_, again) = lab.pay("/cheap", "tx1").await;
        assert_eq!(again.status() == 200, works, "after {wait} s: {}", again.text());
    }
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_payment_is_never_dropped() {
    let lab = Lab::with_real_money(Limits { paid: 7, free: 0 });
    lab.bench.failures.store(1, Ordering::SeqCst);
    let (paid, response) = lab.pay("/flaky", "tx1").await;
    assert_eq!(response.status(), 500);
    lab.clock.advance(Duration::from_secs(100 * 24 * 3600));
    // Whatever else wants its place; a claim takes two, so one is left over.
    for n in 0..5 {
        drop(lab.pay("/cheap", &format!("other{n}")).await);
    }
    lab.client.get("/flaky").presenting(&paid).await.assert_problem("unavailable");
    let stolen = lab.pay("/cheap", "tx1").await.1;
    stolen.assert_problem("verification-failed");
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_free_proof_makes_room_once_its_grace_is_over() {
    let lab = Lab::with(Limits { paid: 0, free: 2 });
    lab.bench.failures.store(1, Ordering::SeqCst);
    assert_eq!(lab.pay("/flaky", "tx1").await.1.status(), 500);
    lab.pay("/cheap", "tx2").await.1.assert_problem("unavailable");
    // A stranger who abandons play-money requests must not close the free routes for good.
    lab.clock.advance(Duration::from_secs(300 + 600 + 60 + 61));
    lab.pay("/cheap", "tx2").await.1.assert_ok();
}

#[tokio::test(start_paused = true)]
async fn all_proofs_of_a_payment_are_claimed_and_all_are_given_back() {
    let lab = Lab::new();
    lab.pay("/cheap", "b").await.1.assert_ok();
    // `a` and `b`: the second is taken, so the first must be given back.
    lab.pay("/cheap", "a+b").await.1.assert_problem("verification-failed");
    lab.pay("/cheap", "a+c").await.1.assert_ok();
    for used in ["a", "b", "c", "c+d"] {
        lab.pay("/cheap", used).await.1.assert_problem("verification-failed");
    }
    lab.pay("/cheap", "d").await.1.assert_ok();
    assert_eq!(lab.network.payments(), 3);
    // Another method's proof of the same name is another proof.
    let card = lab.client.get("/both").unpaid().await.challenges().offers.remove(1);
    lab.client.get("/both").presenting(&credential(&card, "a")).await.assert_ok();
}

#[cfg(feature = "redb")]
mod durable {
    use super::*;
    use mpp::store::{RedbStore, Store};
    use tempfile::{TempDir, tempdir};

    fn open(scratch: &TempDir, file: &str, clock: &Arc<mpp::ManualClock>) -> Arc<dyn Store> {
        Arc::new(RedbStore::open(scratch.path().join(file)).unwrap().with_clock(clock.clone()))
    }

    /// The process ends: everything that holds the file is dropped, and the file is opened again.
    async fn reboot(lab: Lab, scratch: &TempDir, file: &str) -> Lab {
        let Lab { network, cards, clock, secret, bench, shelf, store, mpp, client } = lab;
        let gone = Arc::downgrade(&shelf);
        drop((shelf, store, mpp, client));
        // Background tasks may hold it a moment longer.
        while gone.strong_count() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let shelf = open(scratch, file, &clock);
        let (other, store) = (Lab::new(), Faulty::new(shelf.clone()));
        let mut lab = Lab { network, cards, clock, secret, bench, shelf, store, ..other };
        lab.restart();
        lab
    }

    fn lab(scratch: &TempDir, file: &str) -> Lab {
        let clock = clock();
        let shelf = open(scratch, file, &clock);
        // Real money: a durable store needs no permission.
        let network = Network::on("tempo", Terms { money: Money::Real, ..Terms::default() });
        Lab::over(clock, shelf, network, Network::new("stripe"), |b| b)
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_at_any_store_operation_costs_neither_payment_nor_delivery() {
        let scratch = tempdir().unwrap();
        // Through every state there is: claiming, holding, held, settling, settled, delivered.
        let uri = "/held";
        for operation in 0.. {
            let file = operation.to_string();
            let lab = lab(&scratch, &file);
            let paid = credential(&lab.challenge(uri).await, "tx1");
            lab.store.after(operation, Fault::Dies);
            let response = lab.client.get(uri).presenting(&paid).await;
            settle_down().await;
            let unharmed = lab.store.operations.load(Ordering::SeqCst) <= operation;
            let lab = reboot(lab, &scratch, &file).await;
            lab.clock.advance(Duration::from_secs(91)); // past any lease: nobody has to wait for the dead
            let at = format!("{uri} at operation {operation}");
            if response.status() != 200 {
                assert_eq!(response.status(), 503, "{at}");
                assert_eq!(lab.until_delivered(uri, &paid).await.status(), 200, "{at}");
            }
            let lab = if operation % 4 == 0 { reboot(lab, &scratch, &file).await } else { lab };
            lab.client.get(uri).presenting(&paid).await.assert_problem("invalid-challenge");
            lab.pay(uri, "tx1").await.1.assert_problem("verification-failed");
            assert_eq!(lab.network.payments(), 1, "{at}");
            if unharmed {
                assert!(operation >= OPERATIONS_BEFORE_COMMIT);
                break;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_challenge_and_an_undelivered_payment_survive_a_restart() {
        let scratch = tempdir().unwrap();
        let lab = lab(&scratch, "store");
        let open = credential(&lab.challenge("/cheap").await, "tx1");
        lab.bench.failures.store(1, Ordering::SeqCst);
        let (undelivered, _) = lab.pay("/flaky", "tx2").await;
        let mut lab = reboot(lab, &scratch, "store").await;
        lab.client.get("/cheap").presenting(&open).await.assert_ok();
        assert_eq!(lab.client.get("/flaky").presenting(&undelivered).await.text(), "run 2");
        assert_eq!(lab.network.payments(), 2);
        // Plans survive a rotation of the secrets: [old] → [old, new] → [new, old].
        lab.network.will(Script::LoseAnswer);
        let (unknown, _) = lab.pay("/cheap", "tx3").await;
        let new = mpp::Secret::generate();
        let ring = mpp::SecretRing::new(new).also(lab.secret.clone());
        lab.restart_with(|b| b.secrets(ring));
        lab.network.will(Script::Settle);
        assert_eq!(lab.until_delivered("/cheap", &unknown).await.status(), 200);
        assert_eq!(lab.network.worst(), 1);
    }

    #[tokio::test]
    async fn a_plan_whose_secret_was_rotated_away_is_never_guessed_at() {
        let scratch = tempdir().unwrap();
        let mut lab = lab(&scratch, "store");
        lab.network.will(Script::LoseAnswer);
        let (unknown, _) = lab.pay("/cheap", "tx1").await;
        // The id still verifies (somebody kept the ring for challenges), the plan does not open: another secret first.
        let old = lab.secret.clone();
        lab.restart_with(|b| b.secrets(mpp::SecretRing::new(mpp::Secret::generate())));
        lab.client.get("/cheap").presenting(&unknown).await.assert_problem("invalid-challenge");
        lab.restart_with(|b| b.secret(old));
        lab.network.will(Script::Settle);
        assert_eq!(lab.until_delivered("/cheap", &unknown).await.status(), 200);
        assert_eq!(lab.network.payments(), 1);
    }

    #[tokio::test]
    async fn two_handles_on_one_durable_store_refuse_each_others_replays() {
        let scratch = tempdir().unwrap();
        let lab = lab(&scratch, "store");
        let other = lab.client_of(&lab.builder().build().unwrap());
        let (paid, response) = lab.pay("/cheap", "tx1").await;
        response.assert_ok();
        other.get("/cheap").presenting(&paid).await.assert_problem("invalid-challenge");
    }
}
