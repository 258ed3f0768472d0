//! What strangers learn about payments that are not theirs: nothing.
//!
//! Whoever knows no more than the id of a challenge is answered as for an id that never was. Whoever has all of it, because
//! a log or a proxy leaked it, learns that it cannot be paid any more, and not what became of it.

use crate::common::{Script, credential};
use crate::lab::*;
use mpp::protocol::Challenge;
use mpp::testing::Response;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A payment of somebody else's, in one of the states it can be in.
struct Victim {
    lab: Lab,
    state: &'static str,
    uri: &'static str,
    challenge: Challenge,
    /// A request that is not over yet.
    _open: Option<tokio::task::JoinHandle<Response>>,
}

impl Victim {
    /// One in every state.
    async fn everywhere() -> Vec<Victim> {
        let mut victims = Vec::new();
        for state in [
            "delivered",
            "undelivered",
            "refund due",
            "running",
            "settling",
            "unknown",
            "held",
            "expired and delivered",
        ] {
            victims.push(Self::in_state(state).await);
        }
        victims
    }

    async fn in_state(state: &'static str) -> Victim {
        let lab = Lab::new();
        let uri = match state {
            "running" => "/slow",
            "held" => "/held-slow",
            _ => "/flaky",
        };
        let challenge = lab.challenge(uri).await;
        let paid = credential(&challenge, "theirs");
        let send = || lab.send(uri, &paid);
        let mut open = None;
        match state {
            "delivered" | "expired and delivered" => send().await.unwrap().assert_ok(),
            "undelivered" => {
                lab.bench.failures.store(1, Ordering::SeqCst);
                assert_eq!(send().await.unwrap().status(), 500);
            }
            "refund due" => {
                lab.bench.failures.store(9, Ordering::SeqCst);
                for status in [500, 500, 500, 503] {
                    assert_eq!(send().await.unwrap().status(), status);
                }
            }
            "unknown" => {
                lab.network.will(Script::LoseAnswer);
                assert_eq!(send().await.unwrap().status(), 503);
            }
            "settling" => {
                lab.network.close_turnstile();
                open = Some(send());
                until(|| lab.network.waiting.load(Ordering::SeqCst) == 1).await;
            }
            _ => {
                open = Some(send());
                until(|| lab.bench.inside.load(Ordering::SeqCst) == 1).await;
            }
        }
        if state.starts_with("expired") {
            lab.clock.advance(Duration::from_secs(301));
        }
        Victim { lab, state, uri, challenge, _open: open }
    }

    async fn present(&self, paid: &str) -> Seen {
        let started = tokio::time::Instant::now();
        let response = self.lab.client.get(self.uri).presenting(paid).await;
        assert_eq!(started.elapsed(), Duration::ZERO, "{}: nobody waits for what is not theirs", self.state);
        Seen::of(&response)
    }
}

/// All of an answer but what is random in every one.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: Vec<String>,
    problem: serde_json::Value,
    offers: usize,
}

impl Seen {
    fn of(response: &Response) -> Seen {
        let mut problem = response.json();
        let id = problem.as_object_mut().unwrap().remove("challengeId");
        assert_eq!(
            id,
            response.challenges().offers.first().map(|offer| offer.id.as_str().into()),
            "only its own"
        );
        let headers = response.headers().iter().filter(|(name, _)| *name != "www-authenticate");
        let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.sort();
        Seen {
            status: response.status().as_u16(),
            headers,
            problem,
            offers: response.challenges().offers.len(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_alone_says_nothing_about_its_payment() {
    for victim in Victim::everywhere().await {
        // A challenge of the stranger's own, under the other's id.
        let own = victim.lab.challenge(victim.uri).await;
        let guess = |id: &str| credential(&Challenge { id: id.to_owned(), ..own.clone() }, "mine");
        let never = victim.present(&guess(&"A".repeat(43))).await;
        assert_eq!(never.problem["type"], "https://paymentauth.org/problems/invalid-challenge");
        assert_eq!(victim.present(&guess(&victim.challenge.id)).await, never, "{}", victim.state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_challenge_says_that_it_is_used_and_not_how_far_it_has_come() {
    let mut answers = Vec::new();
    for victim in Victim::everywhere().await {
        for proof in ["mine", "theirs+mine", ""] {
            answers.push((victim.state, victim.present(&credential(&victim.challenge, proof)).await));
        }
        // Without a payment at all, and with the source of another.
        let mut empty = mpp::protocol::Credential {
            challenge: victim.challenge.clone(),
            source: Some("did:example:stranger".to_owned()),
            payload: serde_json::Map::new(),
        };
        answers.push((victim.state, victim.present(&empty.to_header_value()).await));
        empty.payload.insert("proof".to_owned(), "theirs".into());
        answers.push((victim.state, victim.present(&empty.to_header_value()).await));
    }
    let (_, first) = &answers[0];
    assert_eq!((first.status, first.offers), (402, 1));
    assert_eq!(first.problem["type"], "https://paymentauth.org/problems/invalid-challenge");
    for (state, answer) in &answers {
        assert_eq!(answer, first, "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stolen_credential_opens_nothing_for_another_request_and_says_as_little() {
    // The same route and another query: what was paid for was that request.
    let mut answers = Vec::new();
    for state in ["delivered", "undelivered", "running", "unknown"] {
        let victim = Victim::in_state(state).await;
        let stolen = credential(&victim.challenge, "theirs");
        let elsewhere = match victim.uri {
            "/slow" => "/slow?thief",
            _ => "/flaky?thief",
        };
        let response = victim.lab.client.get(elsewhere).presenting(&stolen).await;
        answers.push(Seen::of(&response));
        assert!(victim.lab.network.worst() <= 1);
    }
    assert_eq!(answers[0].problem["type"], "https://paymentauth.org/problems/invalid-challenge");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}
