//! x402-axum: the same purpose in another protocol, version 2, whose offer is one base64 header.
//!
//! It keeps no secret and verifies nothing by itself: everything about a payment is asked of a facilitator, by HTTP. Ours is in
//! the process, verifies one signature and remembers what was used, so that what is measured is the middleware.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Query;
use axum::http::Uri;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use x402_axum::X402Middleware;
use x402_types::chain::ChainId;
use x402_types::facilitator::Facilitator;
use x402_types::proto::v2::{PaymentRequirements, PriceTag};
use x402_types::proto::{
    PaymentVerificationError, SettleRequest, SettleResponse, SupportedResponse, VerifyRequest, VerifyResponse,
};
use x402_types::util::Base64Bytes;

use crate::proof::{Payer, is_paid};
use crate::{BODY, RECIPIENT};

/// The header that pays.
pub const PAYMENT: &str = "payment-signature";
/// The header that asks.
pub const REQUIRED: &str = "payment-required";

/// USDC on Base, five cents.
pub fn price() -> PriceTag {
    tag("8453", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")
}

/// The same amount on Polygon.
fn elsewhere() -> PriceTag {
    tag("137", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359")
}

fn tag(chain: &str, asset: &str) -> PriceTag {
    PriceTag {
        requirements: PaymentRequirements {
            scheme: "exact".to_owned(),
            network: ChainId::new("eip155", chain),
            amount: "50000".to_owned(),
            pay_to: RECIPIENT.to_owned(),
            max_timeout_seconds: 300,
            asset: asset.to_owned(),
            extra: Some(json!({"name": "USD Coin", "version": "2"})),
        },
        enricher: None,
    }
}

/// Every case is a route.
pub fn router() -> Router {
    let x402 = X402Middleware::from_facilitator(Arc::new(Play::default()))
        .with_base_url("https://api.example.com".parse().expect("an address"))
        // As ours does: the money is there before the handler runs.
        .settle_before_execution();
    let more_than_one_page = x402.with_dynamic_price(|_, uri: &Uri, _| {
        let free = Query::<Search>::try_from_uri(uri).is_ok_and(|Query(search)| search.pages <= 1);
        let tags = if free { Vec::new() } else { vec![price()] };
        std::future::ready(tags)
    });
    Router::new()
        .route("/one", get(free).layer(x402.with_price_tag(price())))
        .route("/two", get(free).layer(x402.with_price_tag(price()).with_price_tag(elsewhere())))
        .route("/tier", get(free).layer(more_than_one_page))
}

async fn free() -> &'static str {
    BODY
}

#[derive(Deserialize)]
struct Search {
    pages: u32,
}

/// The value of [`PAYMENT`] that pays for `/one`, under a nonce that nobody has used.
pub fn payment(payer: &Payer, nonce: &str) -> String {
    let requirements = price().requirements;
    let mut payload = payer.pay(&[&requirements.asset, &requirements.amount, nonce]);
    payload.insert("nonce".to_owned(), nonce.into());
    let payment = json!({
        "x402Version": 2,
        "accepted": requirements,
        "payload": payload,
        "resource": {"url": "https://api.example.com/one"},
    });
    Base64Bytes::encode(payment.to_string()).to_string()
}

/// A facilitator of play money.
#[derive(Default)]
struct Play {
    used: Mutex<HashSet<String>>,
}

/// What it is asked about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    payment_payload: Paying,
    payment_requirements: PaymentRequirements,
}

#[derive(Deserialize)]
struct Paying {
    payload: Value,
}

impl Play {
    /// The nonce of a payment whose signature is right.
    fn signed(request: &VerifyRequest) -> Result<String, PaymentVerificationError> {
        let asked: Asked = serde_json::from_str(request.as_str())?;
        let (payload, asks) = (&asked.payment_payload.payload, &asked.payment_requirements);
        let nonce = payload.get("nonce").and_then(Value::as_str).unwrap_or_default();
        if !is_paid(payload, &[&asks.asset, &asks.amount, nonce]) {
            return Err(PaymentVerificationError::InvalidSignature("it is not the account's".to_owned()));
        }
        Ok(nonce.to_owned())
    }
}

impl Facilitator for Play {
    type Error = PaymentVerificationError;

    async fn verify(&self, request: &VerifyRequest) -> Result<VerifyResponse, Self::Error> {
        Self::signed(request)?;
        Ok(VerifyResponse(json!({"isValid": true, "payer": RECIPIENT})))
    }

    async fn settle(&self, request: &SettleRequest) -> Result<SettleResponse, Self::Error> {
        let nonce = Self::signed(request)?;
        let fresh = self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(nonce);
        Ok(SettleResponse(json!({
            "success": fresh, "payer": RECIPIENT, "transaction": "0x00", "network": "eip155:8453",
        })))
    }

    async fn supported(&self) -> Result<SupportedResponse, Self::Error> {
        Ok(SupportedResponse::default())
    }
}
