//! The official SDK: its extractor `MppCharge` and its `PaymentLayer`, over Tempo, Stripe and a play method.
//!
//! It is given what its documentation shows for such a service. Two things it has no ready answer for are written with its own
//! parts, as its user would: several payment methods in one extractor ([`ChargeChallenger`] over two of its servers), and a
//! price that depends on the request (a handler that asks and verifies by itself).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mpp::protocol::{Challenge, Credential};
use official::protocol::intents::ChargeRequest;
use official::server::axum::{
    ChallengeOptions, ChargeChallenger, ChargeConfig, MppCharge, PaymentOffers, PaymentProblem, WithReceipt,
};
use official::server::middleware::PaymentLayer;
use official::server::{
    ChargeMethod, ChargeOptions, ErrorCode, Mpp, StripeChargeMethod, StripeConfig, TempoChargeMethod,
    TempoConfig, TempoProvider, VerificationError,
};
use official::{MemoryStore, MppError, PaymentChallenge, PaymentCredential, Receipt, Store as _};
use serde::Deserialize;
use serde_json::json;

use crate::proof::{Payer, is_paid};
use crate::{BODY, REALM, RECIPIENT, USDC};

/// What binds its challenges.
pub const SECRET: &str = "the-secret-of-a-benchmark-is-no-secret";

/// A price.
pub struct FiveCents;

impl ChargeConfig for FiveCents {
    fn amount() -> &'static str {
        "0.05"
    }
}

/// A price that cards can pay too.
pub struct OneDollar;

impl ChargeConfig for OneDollar {
    fn amount() -> &'static str {
        "1.00"
    }
}

type Tempo = Mpp<TempoChargeMethod<TempoProvider>>;

/// A server that takes USDC on Tempo.
pub fn tempo() -> Tempo {
    let builder = official::server::tempo(TempoConfig { recipient: RECIPIENT })
        .chain_id(4217)
        .currencies([USDC])
        .rpc_url("http://127.0.0.1:1")
        .realm(REALM)
        .secret_key(SECRET);
    Mpp::create(builder).expect("what its documentation shows")
}

/// A server that takes cards.
pub fn stripe() -> Mpp<StripeChargeMethod> {
    let config = StripeConfig {
        secret_key: "sk_test_51NotAKeyOfAnybody",
        network_id: "profile_1MqDcVKA5fEO2tZvKQm9g8Yj",
        payment_method_types: &["card"],
        currency: "usd",
        decimals: 2,
    };
    let builder = official::server::stripe(config).realm(REALM).secret_key(SECRET);
    Mpp::create_stripe(builder).expect("what its documentation shows")
}

/// Every case is a route.
pub fn router() -> Router {
    let tempo_alone: Arc<dyn ChargeChallenger> = Arc::new(tempo());
    let both: Arc<dyn ChargeChallenger> = Arc::new(Both { tempo: tempo(), stripe: stripe() });
    let play: Arc<dyn ChargeChallenger> = Arc::new(Play::new());
    let layer = |mpp: &Tempo| PaymentLayer::charge(mpp, "0.05").expect("a price");
    let play_layer = PaymentLayer::charge(&Play::new().0, "0.05").expect("a price");
    Router::new()
        .route("/one", get(five_cents).with_state(tempo_alone.clone()))
        .route("/one/layer", get(free).layer(layer(&tempo())))
        .route(
            "/one/layer/problem",
            get(free).layer(layer(&tempo()).with_problem_details(axum::body::Body::from)),
        )
        .route("/two", get(one_dollar).with_state(both))
        .route("/computed", post(computed).with_state(Arc::new(tempo())))
        .route("/sandbox", get(five_cents).with_state(play))
        .route("/sandbox/layer", get(free).layer(play_layer))
}

async fn free() -> &'static str {
    BODY
}

async fn five_cents(charge: MppCharge<FiveCents>) -> WithReceipt<&'static str> {
    WithReceipt { receipt: charge.receipt, body: BODY }
}

async fn one_dollar(charge: MppCharge<OneDollar>) -> WithReceipt<&'static str> {
    WithReceipt { receipt: charge.receipt, body: BODY }
}

/// Tempo and Stripe in one extractor, whose one challenger asks for both.
struct Both {
    tempo: Tempo,
    stripe: Mpp<StripeChargeMethod>,
}

type Verified<E> = Pin<Box<dyn Future<Output = Result<Receipt, E>> + Send>>;

impl ChargeChallenger for Both {
    fn challenge(&self, amount: &str, options: ChallengeOptions) -> Result<PaymentChallenge, String> {
        self.tempo.challenge(amount, options)
    }

    fn challenges(&self, amount: &str, options: ChallengeOptions) -> Result<Vec<PaymentChallenge>, String> {
        let mut offers = self.tempo.challenges(amount, options.clone())?;
        offers.push(self.stripe.challenge(amount, options)?);
        Ok(offers)
    }

    fn verify_payment(&self, credential: &str) -> Verified<String> {
        // Nothing that is measured pays here.
        self.tempo.verify_payment(credential)
    }
}

#[derive(Deserialize)]
struct Order {
    model: String,
    text: String,
}

/// The amount as the SDK takes it.
fn price_of(order: &Order) -> String {
    let per_word = if order.model == "small" { 100 } else { 2_000 };
    let micros = per_word * order.text.split_whitespace().count();
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// A price that depends on the body, which the challenge is bound to.
async fn computed(State(mpp): State<Arc<Tempo>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(order) = serde_json::from_slice::<Order>(&body) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let amount = price_of(&order);
    let offers = || mpp.charge_with_options_and_body(&amount, ChargeOptions::default(), &body);
    let credential = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let verified = match credential.map(official::parse_authorization) {
        None => match offers() {
            Ok(offers) => return PaymentOffers(offers).into_response(),
            Err(error) => Err(error),
        },
        Some(Err(error)) => Err(error),
        Some(Ok(credential)) => match mpp.expected_charge_request(&amount, ChargeOptions::default()) {
            Ok(expected) => mpp
                .verify_credential_with_expected_request_and_body(&credential, &expected, &body)
                .await
                .map_err(MppError::from),
            Err(error) => Err(error),
        },
    };
    match verified {
        Ok(receipt) => WithReceipt { receipt, body: BODY }.into_response(),
        Err(error) => PaymentProblem::new(&error, offers().unwrap_or_default()).into_response(),
    }
}

/// A method of play money: one signature is verified, and that it was used is written into the SDK's memory store.
#[derive(Clone, Default)]
struct PlayMoney {
    used: Arc<MemoryStore>,
}

impl ChargeMethod for PlayMoney {
    fn method(&self) -> &str {
        // The SDK's general helpers write every challenge in the name of Tempo.
        "tempo"
    }

    fn verify(
        &self,
        credential: &PaymentCredential,
        _: &ChargeRequest,
    ) -> impl Future<Output = Result<Receipt, VerificationError>> + Send {
        let echo = &credential.challenge;
        let parts = [&echo.realm, echo.method.as_str(), &echo.id, echo.request.raw()];
        let signed = is_paid(&credential.payload, &parts);
        let (used, id) = (self.used.clone(), echo.id.clone());
        async move {
            if !signed {
                return Err(VerificationError::new("the signature is not the account's"));
            }
            match used.put_if_absent(&id, json!(true)).await {
                Ok(true) => Ok(Receipt::success("tempo", id)),
                Ok(false) => Err(VerificationError::with_code("used already", ErrorCode::InvalidChallenge)),
                Err(error) => Err(VerificationError::new(error.to_string())),
            }
        }
    }
}

/// The extractor over [`PlayMoney`]: the SDK has an implementation for its own methods only, and says to write one.
struct Play(Mpp<PlayMoney>);

impl Play {
    fn new() -> Self {
        Self(Mpp::new_with_config(PlayMoney::default(), REALM, SECRET, USDC, RECIPIENT))
    }
}

impl ChargeChallenger for Play {
    fn challenge(&self, amount: &str, options: ChallengeOptions) -> Result<PaymentChallenge, String> {
        let options = ChargeOptions { mppx_scope: options.mppx_scope.as_ref(), ..ChargeOptions::default() };
        let offers = self.0.charge_with_options(amount, options).map_err(|error| error.to_string())?;
        offers.into_iter().next().ok_or_else(|| "no currency".to_owned())
    }

    fn verify_payment(&self, credential: &str) -> Verified<String> {
        let (mpp, credential) = (self.0.clone(), official::parse_authorization(credential));
        Box::pin(async move {
            let credential = credential.map_err(|error| error.to_string())?;
            mpp.broadcast_credential(&credential).await.map_err(|error| error.to_string())
        })
    }

    fn verify_payment_for_route(
        &self,
        credential: &str,
        amount: &str,
        scope: Option<serde_json::Value>,
        _: Option<&[u8]>,
    ) -> Verified<MppError> {
        let options = ChargeOptions { mppx_scope: scope.as_ref(), ..ChargeOptions::default() };
        let prepared = official::parse_authorization(credential)
            .and_then(|credential| Ok((credential, self.0.expected_charge_request(amount, options)?)));
        let mpp = self.0.clone();
        Box::pin(async move {
            let (credential, expected) = prepared?;
            Ok(mpp.verify_credential_with_expected_request(&credential, &expected).await?)
        })
    }
}

/// A credential that pays the play method's challenge.
pub fn credential(challenge: Challenge, payer: &Payer) -> String {
    let parts = [&*challenge.realm, challenge.method.as_str(), &challenge.id, &challenge.request];
    let payload = payer.pay(&parts);
    Credential { challenge, source: Some(payer.account().to_owned()), payload }.to_header_value()
}
