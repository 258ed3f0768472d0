//! No log line of any level holds the secret key, a token or a credential, whatever becomes of the payment.
//!
//! A program of its own: the log it reads is that of the whole process.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use interop::stripe::{Limits, Mischief, PROFILE, SECRET_KEY, StandIn};
use mpp::Stripe;
use mpp::method::{CredentialCx, OfferCx, ServerMethod, SettleCx};
use mpp::protocol::{BaseUnits, Challenge, Timestamp};
use serde_json::{Map, json};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOW: i64 = 1_800_000_000;
const CREATE: &str = "POST /v1/payment_intents";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics while holding it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_log_line_of_any_level_holds_the_secret_key_or_a_token() {
    let log = Log::default();
    let writer = log.clone();
    tracing_log::LogTracer::init().expect("the only logger of this process");
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only subscriber of this process");
    // The stand-in and the method share the process; the stand-in logs nothing itself.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tokens = runtime.block_on(every_outcome());

    let log = String::from_utf8(log.0.lock().expect("it is written").clone()).expect("text");
    assert!(log.contains("a line of the test's own") && log.contains("hyper"), "the log is captured: {log}");
    let encoded = BASE64_STANDARD.encode(format!("{SECRET_KEY}:"));
    let mut secrets = vec![SECRET_KEY.to_owned(), SECRET_KEY[8..].to_owned(), encoded[..24].to_owned()];
    secrets.extend(tokens);
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}

async fn every_outcome() -> Vec<String> {
    let stand_in = StandIn::start(NOW).await;
    let stripe = Stripe::new(SECRET_KEY).network_id(PROFILE).base_url(&stand_in.url);
    tracing::trace!(?stripe, checked = ?stripe.check().await, "a line of the test's own");
    let now = Timestamp::from_unix(NOW);
    let currency = stripe.currency("usd").expect("dollars");
    let request = stripe.offer(&OfferCx::new(BaseUnits::new(100), &currency)).expect("an offer");
    let mut tokens = vec!["spt_madeUpByAStranger".to_owned()];
    for card in
        ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired", "pm_card_mastercard"]
    {
        tokens.push(stand_in.token(Limits::of(100, "usd").with_card(card)));
    }
    for (at, token) in tokens.iter().enumerate() {
        for mischief in
            [None, Some(Mischief::LostAnswer), Some(Mischief::FailedAfter(500)), Some(Mischief::Refused(401))]
        {
            let header = format!(
                "Payment id=\"{at:043}\", realm=\"api.example.com\", method=\"stripe\", intent=\"charge\", request=\"{}\"",
                request.encode()
            );
            let challenge = Challenge::parse_all([header.as_str()]).offers.remove(0);
            let payload = Map::from_iter([("spt".to_owned(), json!(token))]);
            let cx = CredentialCx::new(&challenge, &request, &payload, now + Duration::from_secs(300), now);
            let verified = stripe.verify(&cx).await.expect("a good credential");
            if let Some(mischief) = mischief {
                stand_in.next(CREATE, mischief);
            }
            let cx = SettleCx::new(&challenge.id, &verified.plan, now);
            tracing::trace!(?cx, ?verified.plan, settled = ?stripe.settle(&cx).await);
            tracing::trace!(resolved = ?stripe.resolve(&cx).await, held = ?stripe.hold(&cx).await);
            tracing::trace!(released = ?stripe.release(&cx).await);
        }
    }
    tokens
}
