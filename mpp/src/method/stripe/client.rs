//! The paying side: a wallet that answers with shared payment tokens somebody makes for it.
//!
//! Making a token takes a secret key of the payer's own Stripe account, which a program that buys should not hold. So the
//! wallet asks for each token: a callback ([`TokenSource`]), or a URL of the payer's own backend ([`TokenBackend`]). What it
//! asks for is limited to this amount, currency, seller and time (draft-stripe-charge-00 section "Credential Schema"; SC-12: the
//! amount is checked before a token is made).
//!
//! # When nothing can have been taken
//! A token pays only in the hands of the seller. As long as it has not been sent to one, nothing can: every failure of this
//! wallet is [`PayError::Declined`] or [`PayError::Unsupported`].

use super::{is_id_byte, money};
use crate::method::{Asset, ClientMethod, Cost, PayError, Payee, Proof, Step};
use crate::outbound::{self, Wire};
use crate::protocol::{BaseUnits, Challenge, ChargeRequest, MethodName, Timestamp};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Ids of tokens and sellers are not longer.
const MAX_ID: usize = 255;
/// Largest answer of a backend that is read.
const MAX_ANSWER: usize = 16 * 1024;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Pays `stripe` challenges by shared payment tokens.
///
/// ```
/// use mpp::method::stripe::{StripeWallet, TokenWanted};
/// use mpp::method::PayError;
///
/// // However this program gets a token: limited to `wanted.amount`, `wanted.currency`, `wanted.network_id`.
/// let wallet = StripeWallet::new(|wanted: TokenWanted| async move {
///     if wanted.amount > 500 {
///         return Err(PayError::Declined("nobody here pays that by card".into()));
///     }
///     Ok("spt_1Abc".to_owned())
/// });
/// ```
#[derive(Clone)]
pub struct StripeWallet {
    name: MethodName,
    tokens: Arc<dyn TokenSource>,
}

impl StripeWallet {
    /// A wallet that has its tokens from there.
    ///
    /// ```
    /// use mpp::method::stripe::{StripeWallet, TokenBackend};
    /// let wallet = StripeWallet::new(TokenBackend::new("https://me.example.com/tokens")?);
    /// # Ok::<(), mpp::method::stripe::TokenBackendError>(())
    /// ```
    pub fn new(tokens: impl TokenSource) -> Self {
        Self { name: MethodName::from_static("stripe"), tokens: Arc::new(tokens) }
    }

    fn read(&self, challenge: &Challenge) -> Result<(ChargeRequest, TokenWanted), PayError> {
        let unsupported = |text: &str| PayError::Unsupported(text.to_owned());
        if challenge.method != self.name {
            return Err(PayError::Unsupported(format!(
                "it is for the payment method `{}`, this wallet pays `stripe`",
                challenge.method
            )));
        }
        let request = challenge.charge().map_err(|error| PayError::Unsupported(error.to_string()))?;
        let money = money::by_code(&request.currency)
            .ok_or_else(|| unsupported("it asks for a currency that cards do not have"))?;
        let amount =
            u64::try_from(request.amount.get()).ok().filter(|amount| (1..=money::MOST).contains(amount));
        let amount = amount.ok_or_else(|| unsupported("it asks for an amount that no card pays"))?;
        let empty = Map::new();
        let details = request.method_details.as_ref().unwrap_or(&empty);
        let network = details.get("networkId").and_then(Value::as_str).filter(|id| is_id(id));
        let network = network.ok_or_else(|| unsupported("it names no seller (`methodDetails.networkId`)"))?;
        let types = details.get("paymentMethodTypes").and_then(Value::as_array);
        let types: Vec<String> =
            types.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let metadata = match details.get("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) if map.values().all(Value::is_string) => map.clone(),
            Some(_) => return Err(unsupported("its metadata is not a map of texts")),
        };
        let expires_at = challenge.expires_at().map_err(|_| unsupported("its end cannot be read"))?;
        let wanted = TokenWanted {
            amount,
            currency: money.code.to_owned(),
            network_id: network.to_owned(),
            payment_method_types: types,
            expires_at,
            metadata,
        };
        Ok((request, wanted))
    }

    async fn answer(&self, challenge: &Challenge) -> Result<Proof, PayError> {
        let (request, wanted) = self.read(challenge)?;
        let token = self.tokens.token(&wanted).await?;
        if !token.starts_with("spt_") || !is_id(&token) {
            return Err(PayError::Declined(
                "what was given is not the id of a shared payment token (spt_…)".into(),
            ));
        }
        let mut payload = Map::from_iter([("spt".to_owned(), Value::from(token))]);
        if let Some(id) = request.external_id {
            payload.insert("externalId".to_owned(), id.into());
        }
        Ok(Proof { payload, source: None })
    }
}

impl ClientMethod for StripeWallet {
    fn name(&self) -> &MethodName {
        &self.name
    }

    fn cost(&self, challenge: &Challenge) -> Result<Cost, PayError> {
        let (request, wanted) = self.read(challenge)?;
        let decimals = money::by_code(&wanted.currency).map_or(0, |money| money.decimals);
        let asset = Asset::known("stripe", wanted.currency.clone(), wanted.currency, decimals);
        let payee = Payee { account: wanted.network_id, units: request.amount };
        Ok(Cost::new(BaseUnits::new(wanted.amount.into()), asset).paid_to([payee]))
    }

    fn pay<'a>(&'a self, challenge: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
        Step::boxed(self.answer(challenge))
    }
}

impl fmt::Debug for StripeWallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeWallet").finish_non_exhaustive()
    }
}

/// A token somebody has to make: what its usage limits and its seller have to be.
///
/// ```
/// use mpp::method::stripe::TokenWanted;
/// /// The form of Stripe's own endpoint.
/// fn form(wanted: &TokenWanted) -> String {
///     format!("usage_limits[currency]={}&usage_limits[max_amount]={}", wanted.currency, wanted.amount)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TokenWanted {
    /// `max_amount`, in the currency's smallest unit.
    #[serde(serialize_with = "as_text")]
    pub amount: u64,
    /// ISO 4217, in lower case.
    pub currency: String,
    /// The seller: `profile_…`.
    pub network_id: String,
    /// What the seller takes: `card`, `link`.
    pub payment_method_types: Vec<String>,
    /// When the challenge, and so the token, ends; an hour is long enough where it does not say.
    #[serde(serialize_with = "as_seconds", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The seller's words about the payment. Texts, and not to be trusted.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

fn as_text<S: serde::Serializer>(amount: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

fn as_seconds<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::unix).serialize(serializer)
}

/// Whoever makes tokens. Async closures are one.
///
/// ```
/// use mpp::method::stripe::{TokenSource, TokenWanted};
/// use mpp::method::{PayError, Step};
///
/// struct Drawer(Vec<String>);
/// impl TokenSource for Drawer {
///     fn token<'a>(&'a self, wanted: &'a TokenWanted) -> Step<'a, Result<String, PayError>> {
///         Step::ready(self.0.first().cloned().ok_or(PayError::Declined("the drawer is empty".into())))
///     }
/// }
/// ```
pub trait TokenSource: Send + Sync + 'static {
    /// The id of a new token (`spt_…`) with these limits.
    ///
    /// # Errors
    /// [`PayError::Declined`]: a token that was not handed over pays nobody.
    fn token<'a>(&'a self, wanted: &'a TokenWanted) -> Step<'a, Result<String, PayError>>;
}

impl<F, T> TokenSource for F
where
    F: Fn(TokenWanted) -> T + Send + Sync + 'static,
    T: Future<Output = Result<String, PayError>> + Send + 'static,
{
    fn token<'a>(&'a self, wanted: &'a TokenWanted) -> Step<'a, Result<String, PayError>> {
        Step::boxed(self(wanted.clone()))
    }
}

/// A URL of the payer's own backend, which holds the secret key and makes the tokens.
///
/// It gets a `POST` of JSON, `{"amount":"150","currency":"usd","networkId":"profile_…","paymentMethodTypes":["card"],
/// "expiresAt":1800000300,"metadata":{…},"paymentMethod":"pm_…"}`, and answers `{"spt":"spt_…"}`: the same that the
/// `createToken` callback of other SDKs is commonly written to.
///
/// ```
/// use mpp::method::stripe::TokenBackend;
/// let backend = TokenBackend::new("https://me.example.com/tokens")?.bearer("let-me-in")?.payment_method("pm_card_visa");
/// assert!(!format!("{backend:?}").contains("let-me-in"));
/// assert!(TokenBackend::new("http://me.example.com/tokens").is_err(), "in the clear");
/// # Ok::<(), mpp::method::stripe::TokenBackendError>(())
/// ```
#[derive(Clone)]
pub struct TokenBackend {
    url: Url,
    authorization: Option<HeaderValue>,
    payment_method: Option<String>,
    http: reqwest::Client,
}

impl TokenBackend {
    /// The backend at this URL: https, or this machine.
    ///
    /// ```
    /// use mpp::method::stripe::{TokenBackend, TokenBackendError};
    /// assert_eq!(TokenBackend::new("ftp://me.example.com").unwrap_err(), TokenBackendError::Url);
    /// ```
    ///
    /// # Errors
    /// [`TokenBackendError`] when it is another URL, or TLS cannot be set up.
    pub fn new(url: &str) -> Result<Self, TokenBackendError> {
        let url = Url::parse(url).map_err(|_| TokenBackendError::Url)?;
        let wire = match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => Wire::Tls,
            ("http", Some(host)) if outbound::is_loopback(host) => Wire::Plain,
            _ => return Err(TokenBackendError::Url),
        };
        let http =
            outbound::client(wire, TIMEOUT).map_err(|error| TokenBackendError::Client(error.to_string()))?;
        Ok(Self { url, authorization: None, payment_method: None, http })
    }

    /// Sends `Authorization: Bearer …` with each request.
    ///
    /// ```
    /// # use mpp::method::stripe::TokenBackend;
    /// assert!(TokenBackend::new("http://localhost:3000/tokens")?.bearer("two\nlines").is_err());
    /// # Ok::<(), mpp::method::stripe::TokenBackendError>(())
    /// ```
    ///
    /// # Errors
    /// [`TokenBackendError::Bearer`] when that is not what a header can hold.
    pub fn bearer(mut self, secret: &str) -> Result<Self, TokenBackendError> {
        let mut value =
            HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| TokenBackendError::Bearer)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// The payment method (`pm_…`) that the tokens are for, where the backend does not know.
    ///
    /// ```
    /// # use mpp::method::stripe::TokenBackend;
    /// let backend = TokenBackend::new("http://localhost:3000/tokens")?.payment_method("pm_card_visa");
    /// # Ok::<(), mpp::method::stripe::TokenBackendError>(())
    /// ```
    #[must_use]
    pub fn payment_method(mut self, id: impl Into<String>) -> Self {
        self.payment_method = Some(id.into());
        self
    }

    async fn ask(&self, wanted: &TokenWanted) -> Result<String, PayError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Asked<'a> {
            #[serde(flatten)]
            wanted: &'a TokenWanted,
            #[serde(skip_serializing_if = "Option::is_none")]
            payment_method: Option<&'a str>,
        }
        #[derive(Deserialize)]
        struct Answer {
            spt: String,
        }
        let declined = |text: String| PayError::Declined(text);
        let body = Asked { wanted, payment_method: self.payment_method.as_deref() };
        let mut request = self.http.post(self.url.clone()).json(&body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let unreachable = |_| declined("the token backend does not answer".to_owned());
        let mut response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            // Its words stay with it: they may quote what it knows.
            return Err(declined(format!("the token backend answered {}", response.status())));
        }
        let mut text = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            if text.len() + part.len() > MAX_ANSWER {
                return Err(declined("the token backend's answer is too long".to_owned()));
            }
            text.extend_from_slice(&part);
        }
        let answer: Answer = serde_json::from_slice(&text)
            .map_err(|_| declined("the token backend's answer is not {\"spt\":\"spt_…\"}".to_owned()))?;
        Ok(answer.spt)
    }
}

impl TokenSource for TokenBackend {
    fn token<'a>(&'a self, wanted: &'a TokenWanted) -> Step<'a, Result<String, PayError>> {
        Step::boxed(self.ask(wanted))
    }
}

impl fmt::Debug for TokenBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBackend").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// Why a [`TokenBackend`] cannot be used.
///
/// ```
/// use mpp::method::stripe::{TokenBackend, TokenBackendError};
/// assert_eq!(TokenBackend::new("tokens").unwrap_err(), TokenBackendError::Url);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenBackendError {
    /// Not https, and not this machine.
    #[error("the token backend's URL is neither https:// nor http:// to this machine")]
    Url,
    /// The secret is not one line of plain text.
    #[error("the token backend's secret cannot be sent in a header")]
    Bearer,
    /// The HTTP client.
    #[error("{0}")]
    Client(String),
}

/// Whether a text is an id as Stripe makes them.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(is_id_byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Intent;
    use serde_json::json;

    fn challenge(request: Value) -> Challenge {
        Challenge {
            id: "id".into(),
            realm: "api.example.com".into(),
            method: MethodName::from_static("stripe"),
            intent: Intent::CHARGE,
            request: crate::protocol::b64::encode(request.to_string()),
            expires: Some("2027-01-15T08:05:00Z".into()),
            digest: None,
            opaque: None,
            description: None,
        }
    }

    fn ask() -> Value {
        json!({ "amount": "150", "currency": "usd", "externalId": "order-7",
            "methodDetails": { "networkId": "profile_1Abc", "paymentMethodTypes": ["card"] } })
    }

    fn giving(token: &'static str) -> StripeWallet {
        StripeWallet::new(move |_| async move { Ok(token.to_owned()) })
    }

    #[tokio::test]
    async fn a_token_is_asked_for_with_the_limits_of_the_challenge_and_sent() {
        let wallet = StripeWallet::new(|wanted: TokenWanted| async move {
            let asked = serde_json::to_value(&wanted).unwrap();
            let expected = json!({ "amount": "150", "currency": "usd", "networkId": "profile_1Abc",
                "paymentMethodTypes": ["card"], "expiresAt": 1_800_000_300 });
            assert_eq!(asked, expected);
            Ok("spt_1".to_owned())
        });
        let challenge = challenge(ask());
        assert_eq!(wallet.cost(&challenge).unwrap().to_string(), "1.5 usd");
        assert_eq!(wallet.cost(&challenge).unwrap().payees[0].account, "profile_1Abc");
        let proof = wallet.pay(&challenge).await.unwrap();
        assert_eq!(Value::from(proof.payload), json!({ "spt": "spt_1", "externalId": "order-7" }));
    }

    #[tokio::test]
    async fn what_no_card_pays_is_refused_before_a_token_is_made() {
        let wallet = StripeWallet::new(|_| async { panic!("a token was asked for") });
        let with = |name: &str, value: Value| {
            let mut request = ask();
            request[name] = value;
            request
        };
        for request in [
            with("amount", "0".into()),
            with("amount", "100000000".into()),
            with("amount", u128::MAX.to_string().into()),
            with("currency", "usdc".into()),
            with("methodDetails", json!({})),
            with("methodDetails", json!({ "networkId": "profile/../x" })),
            with("methodDetails", json!({ "networkId": "profile_1", "metadata": { "a": 1 } })),
        ] {
            let challenge = challenge(request);
            assert!(matches!(wallet.cost(&challenge), Err(PayError::Unsupported(_))));
            assert!(matches!(wallet.pay(&challenge).await, Err(PayError::Unsupported(_))));
        }
    }

    #[tokio::test]
    async fn what_is_not_a_token_is_not_sent() {
        for token in ["", "spt 1", "pm_1", "spt_\r\nx: y", "sk_live_1"] {
            assert!(
                matches!(giving(token).pay(&challenge(ask())).await, Err(PayError::Declined(_))),
                "{token}"
            );
        }
    }
}
