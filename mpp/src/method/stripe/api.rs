//! The calls to Stripe: bounded in time and size, silent about what they carry, and precise about what an answer proves.
//!
//! No request is repeated here, no redirect followed, and of Stripe's own words only its codes are looked at: they may
//! echo an attacker's input.

use super::plan::{Funds, Plan};
use super::{is_id_byte, refund};
use crate::method::{MethodProblem, Rejection};
use crate::outbound::{self, ClientError, Wire};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use url::form_urlencoded::Serializer;

/// Largest answer that is read. A PaymentIntent with everything expanded has a tenth of it.
const MAX_ANSWER: usize = 512 * 1024;
/// Longest id of Stripe's that is believed.
const MAX_ID: usize = 255;
/// How many hundreds of Refunds of one PaymentIntent are looked at.
const PAGES: usize = 10;
/// When a client may come back after trouble on our side.
pub(super) const RETRY: Duration = Duration::from_secs(2);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const STRIPE_ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// The secret key, in the only form it is used in.
#[derive(Clone)]
pub(super) struct SecretKey {
    authorization: Option<HeaderValue>,
    pub(super) mode: Mode,
}

/// What a secret key moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Live,
    Test,
}

impl SecretKey {
    pub(super) fn new(key: &str) -> Result<Self, MethodProblem> {
        let problem = |text: &str| Err(MethodProblem(text.to_owned()));
        if key.starts_with("pk_") {
            return problem(
                "the secret key is a publishable key (pk_…); use a secret (sk_…) or restricted (rk_…) key",
            );
        }
        let well_formed = (key.starts_with("sk_") || key.starts_with("rk_"))
            && key.len() <= MAX_ID
            && key.bytes().all(is_id_byte);
        if !well_formed {
            return problem("the secret key is not a Stripe secret (sk_…) or restricted (rk_…) key");
        }
        // Stripe's own form: the key is the user name, the password is empty.
        let Ok(mut value) =
            HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(format!("{key}:"))))
        else {
            return problem("the secret key cannot be sent");
        };
        value.set_sensitive(true);
        let mode = if key[3..].starts_with("test_") { Mode::Test } else { Mode::Live };
        Ok(Self { authorization: Some(value), mode })
    }

    /// In place of a key that is reported as a problem.
    pub(super) fn none() -> Self {
        Self { authorization: None, mode: Mode::Live }
    }
}

/// Why there is no connection to Stripe. Never quotes the URL beyond its host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiProblem {
    #[error("the base URL is not an absolute http:// or https:// URL without a path")]
    NotAUrl,
    #[error("the base URL uses plain http to another machine ({0}); use https")]
    InTheClear(String),
    #[error("there is no usable secret key")]
    NoKey,
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Stripe.
pub(super) struct Api {
    http: reqwest::Client,
    base: String,
    authorization: HeaderValue,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Why a call has no answer that can be used. Holds nothing that was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nothing has left this process.
    #[error("no connection to Stripe could be opened")]
    NotSent,
    /// It may have arrived; no answer came.
    #[error("Stripe did not answer in time or closed the connection")]
    Lost,
    /// Not Stripe's JSON: something in between answered, or Stripe is in trouble.
    #[error("an answer with HTTP status {0} is not understood")]
    Garbled(u16),
    /// Stripe refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Stripe's refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Stripe answered HTTP status {status} ({kind}{}{code})", if code.is_empty() { "" } else { ": " })]
pub(super) struct Refusal {
    pub(super) status: u16,
    kind: String,
    code: String,
    decline: String,
    param: String,
    /// Where the PaymentIntent that the error is about stands.
    intent: Option<Status>,
}

/// What a refusal of the POST that creates a PaymentIntent proves.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Nothing moved, and with this key nothing will.
    Declined(Rejection),
    /// This request was not let in; of an earlier one it says nothing.
    NotLetIn,
    /// Nothing.
    Open,
}

/// A PaymentIntent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: Status,
    amount: u64,
    #[serde(default)]
    amount_received: Option<u64>,
    #[serde(default)]
    amount_capturable: Option<u64>,
    currency: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Where a PaymentIntent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Succeeded,
    Processing,
    RequiresCapture,
    RequiresAction,
    RequiresConfirmation,
    RequiresPaymentMethod,
    Canceled,
    #[serde(other)]
    Unheard,
}

/// A Refund.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Given {
    pub(super) id: String,
    pub(super) status: RefundStatus,
    amount: u64,
    currency: String,
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Where a Refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RefundStatus {
    Succeeded,
    Pending,
    RequiresAction,
    Failed,
    Canceled,
    #[serde(other)]
    Unheard,
}

impl Given {
    fn is_marked(&self, plan: &refund::Plan) -> bool {
        self.metadata.get("mpp_refund") == Some(&plan.key)
    }

    /// Whether it is the one of this plan, and of as much.
    pub(super) fn belongs_to(&self, plan: &refund::Plan) -> bool {
        self.is_marked(plan)
            && self.amount == plan.amount
            && self.currency == plan.currency
            && self.payment_intent.as_ref() == Some(&plan.intent)
    }
}

/// A PaymentIntent as an answer to the POST that creates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Created {
    pub(super) intent: Intent,
    pub(super) answer: Freshness,
}

/// Whether Stripe acted for this request, or repeats what it answered to an earlier one with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    Replayed,
}

impl Intent {
    /// Whether it is the one of this plan, and worth what it has to be.
    pub(super) fn belongs_to(&self, plan: &Plan) -> bool {
        let received = match self.status {
            Status::Succeeded => self.amount_received,
            Status::RequiresCapture => self.amount_capturable,
            _ => None,
        };
        self.amount == plan.amount
            && received.is_none_or(|received| received == plan.amount)
            && self.currency == plan.currency
            && self.metadata.get("mpp_payment") == Some(&plan.mark)
    }
}

impl Api {
    pub(super) fn new(base: &str, key: SecretKey, timeout: Duration) -> Result<Self, ApiProblem> {
        let url = reqwest::Url::parse(base).map_err(|_| ApiProblem::NotAUrl)?;
        let host = url.host_str().ok_or(ApiProblem::NotAUrl)?;
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !plain || !url.username().is_empty() || url.password().is_some() {
            return Err(ApiProblem::NotAUrl);
        }
        let wire = match url.scheme() {
            "https" => Wire::Tls,
            "http" if outbound::is_loopback(host) => Wire::Plain,
            "http" => return Err(ApiProblem::InTheClear(host.to_owned())),
            _ => return Err(ApiProblem::NotAUrl),
        };
        let authorization = key.authorization.ok_or(ApiProblem::NoKey)?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http: outbound::client(wire, timeout)?, base, authorization })
    }

    /// Scheme, host and port.
    pub(super) fn shown(&self) -> &str {
        &self.base
    }

    /// Creates and confirms the PaymentIntent of a plan.
    pub(super) async fn create(&self, plan: &Plan, funds: Funds) -> Result<Created, CallError> {
        let mut key = HeaderValue::try_from(&plan.key).map_err(|_| CallError::NotSent)?;
        key.set_sensitive(true); // it holds the token
        let mut headers = headers(&plan.version, plan.account.as_deref())?;
        headers.insert(IDEMPOTENCY_KEY, key);
        let answer = self.send(Method::POST, "/v1/payment_intents", headers, plan.form(funds)).await?;
        let freshness = match answer.headers().get(IDEMPOTENT_REPLAYED).map(HeaderValue::as_bytes) {
            Some(b"true") => Freshness::Replayed,
            _ => Freshness::Fresh,
        };
        Ok(Created { intent: intent(answer).await?, answer: freshness })
    }

    /// Reads a PaymentIntent.
    pub(super) async fn read(&self, plan: &Plan, id: &str) -> Result<Intent, CallError> {
        intent(self.call(Method::GET, plan, &format!("/v1/payment_intents/{id}")).await?).await
    }

    /// Cancels a PaymentIntent. Without an idempotency key: it can be cancelled only once anyway, and a key would have
    /// Stripe repeat a passing failure.
    pub(super) async fn cancel(&self, plan: &Plan, id: &str) -> Result<Intent, CallError> {
        intent(self.call(Method::POST, plan, &format!("/v1/payment_intents/{id}/cancel")).await?).await
    }

    /// Captures a hold, whole. Without an idempotency key, for the same reason.
    pub(super) async fn capture(&self, plan: &Plan, id: &str) -> Result<Intent, CallError> {
        intent(self.call(Method::POST, plan, &format!("/v1/payment_intents/{id}/capture")).await?).await
    }

    /// Looks for the PaymentIntent with the mark of a plan. Stripe's index runs up to a minute behind.
    pub(super) async fn find(&self, plan: &Plan) -> Result<Option<Intent>, CallError> {
        let query = Serializer::new(String::new())
            .append_pair("query", &format!("metadata['mpp_payment']:'{}'", plan.mark))
            .append_pair("limit", "10")
            .finish();
        let answer = self.call(Method::GET, plan, &format!("/v1/payment_intents/search?{query}")).await?;
        let status = answer.status().as_u16();
        let found: Found =
            serde_json::from_slice(&body(answer).await?).map_err(|_| CallError::Garbled(status))?;
        let mut found =
            found.data.into_iter().filter(|intent| intent.metadata.get("mpp_payment") == Some(&plan.mark));
        match (found.next(), found.next()) {
            (one, None) => one.map(|intent| with_usable_id(intent, status)).transpose(),
            // One key, one PaymentIntent: of two a person has to find out why.
            (_, Some(_)) => Err(CallError::Garbled(status)),
        }
    }

    /// Makes the Refund of a plan; of one that was made before, as it is now.
    pub(super) async fn give_back(&self, plan: &refund::Plan) -> Result<Given, CallError> {
        let mut headers = headers(&plan.version, plan.account.as_deref())?;
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::try_from(&plan.key).map_err(|_| CallError::NotSent)?);
        let answer = self.send(Method::POST, "/v1/refunds", headers.clone(), plan.form.clone()).await?;
        let is_old = answer.headers().get(IDEMPOTENT_REPLAYED).is_some_and(|told| told == "true");
        let made = given(answer).await?;
        if !is_old {
            return Ok(made);
        }
        headers.remove(IDEMPOTENCY_KEY);
        let shown = self.send(Method::GET, &format!("/v1/refunds/{}", made.id), headers, String::new()).await;
        given(shown.map_err(|error| match error {
            // It was made: that it is not shown is no refusal to make it.
            CallError::Refused(refusal) => CallError::Garbled(refusal.status),
            error => error,
        })?)
        .await
    }

    /// The Refund of a plan, if it is there.
    pub(super) async fn given_back(&self, plan: &refund::Plan) -> Result<Option<Given>, CallError> {
        let mut last: Option<String> = None;
        for _ in 0..PAGES {
            let after = last.iter().map(|last| ("starting_after", last.as_str()));
            let query = [("payment_intent", plan.intent.as_str()), ("limit", "100")].into_iter().chain(after);
            let query = Serializer::new(String::new()).extend_pairs(query).finish();
            let path = format!("/v1/refunds?{query}");
            let headers = headers(&plan.version, plan.account.as_deref())?;
            let answer = self.send(Method::GET, &path, headers, String::new()).await?;
            let status = answer.status().as_u16();
            let page: Page =
                serde_json::from_slice(&body(answer).await?).map_err(|_| CallError::Garbled(status))?;
            last = page.data.last().map(|given| given.id.clone());
            if let Some(given) = page.data.into_iter().find(|given| given.is_marked(plan)) {
                return Ok(Some(given));
            }
            if !page.has_more || last.is_none() {
                return Ok(None);
            }
        }
        // So many that nobody can say.
        Err(CallError::Lost)
    }

    /// Whether Stripe is there and lets this key read PaymentIntents.
    pub(super) async fn greet(&self, version: &str, account: Option<&str>) -> Result<(), CallError> {
        let headers = headers(version, account)?;
        let answer = self.send(Method::GET, "/v1/payment_intents?limit=1", headers, String::new()).await?;
        let status = answer.status().as_u16();
        serde_json::from_slice::<List>(&body(answer).await?).map_err(|_| CallError::Garbled(status))?;
        Ok(())
    }

    async fn call(&self, verb: Method, plan: &Plan, path: &str) -> Result<Response, CallError> {
        self.send(verb, path, headers(&plan.version, plan.account.as_deref())?, String::new()).await
    }

    /// One request; an answer that is not 2xx is an error.
    async fn send(
        &self,
        verb: Method,
        path: &str,
        headers: HeaderMap,
        form: String,
    ) -> Result<Response, CallError> {
        let mut request = self
            .http
            .request(verb.clone(), format!("{}{path}", self.base))
            .headers(headers)
            .header(AUTHORIZATION, self.authorization.clone());
        if verb == Method::POST {
            let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request.header(CONTENT_TYPE, urlencoded).body(form);
        }
        let answer = request.send().await.map_err(|e| {
            if e.is_connect() || e.is_builder() { CallError::NotSent } else { CallError::Lost }
        })?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }
}

fn headers(version: &str, account: Option<&str>) -> Result<HeaderMap, CallError> {
    let value = |text: &str| HeaderValue::try_from(text).map_err(|_| CallError::NotSent);
    let mut headers = HeaderMap::new();
    headers.insert(STRIPE_VERSION, value(version)?);
    if let Some(account) = account {
        headers.insert(STRIPE_ACCOUNT, value(account)?);
    }
    Ok(headers)
}

async fn body(mut answer: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| CallError::Lost)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CallError::Garbled(answer.status().as_u16()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn intent(answer: Response) -> Result<Intent, CallError> {
    let status = answer.status().as_u16();
    let intent = serde_json::from_slice(&body(answer).await?).map_err(|_| CallError::Garbled(status))?;
    with_usable_id(intent, status)
}

/// The id becomes part of paths and of the receipt.
fn with_usable_id(intent: Intent, status: u16) -> Result<Intent, CallError> {
    let usable = intent.id.strip_prefix("pi_").is_some_and(|rest| !rest.is_empty())
        && intent.id.len() <= MAX_ID
        && intent.id.bytes().all(is_id_byte);
    if usable { Ok(intent) } else { Err(CallError::Garbled(status)) }
}

async fn given(answer: Response) -> Result<Given, CallError> {
    let status = answer.status().as_u16();
    let given: Given =
        serde_json::from_slice(&body(answer).await?).map_err(|_| CallError::Garbled(status))?;
    // The id becomes part of paths and of the ledger.
    let usable = !given.id.is_empty() && given.id.len() <= MAX_ID && given.id.bytes().all(is_id_byte);
    if usable { Ok(given) } else { Err(CallError::Garbled(status)) }
}

async fn refusal(answer: Response) -> CallError {
    let status = answer.status().as_u16();
    let body = match body(answer).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(ErrorBody { error }) => CallError::Refused(Refusal {
            status,
            kind: word(error.kind),
            code: word(error.code),
            decline: word(error.decline_code),
            param: word(error.param),
            intent: error.payment_intent.map(|intent| intent.status),
        }),
        Err(_) => CallError::Garbled(status),
    }
}

/// Stripe's codes are words. Anything else is not kept: it would end up in a log.
fn word(text: Option<String>) -> String {
    let is_word = |text: &String| {
        text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-[].".contains(&b))
    };
    text.filter(is_word).unwrap_or_default()
}

impl Refusal {
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Whether the request itself was wrong, and nothing else.
    pub(super) fn is_invalid_request(&self) -> bool {
        matches!(self.kind.as_str(), "invalid_request_error" | "card_error")
    }

    /// What it proves.
    pub(super) fn verdict(&self) -> Verdict {
        if matches!(self.intent, Some(Status::Succeeded | Status::Processing | Status::RequiresCapture)) {
            return Verdict::Open;
        }
        match (self.status, self.kind.as_str()) {
            (402, _) => Verdict::Declined(Rejection::failed(self.decline_words())),
            (400 | 404, "invalid_request_error") if self.is_our_fault() => {
                let detail = format!("stripe: {self}; parameter `{}`", self.param);
                Verdict::Declined(Rejection::unavailable(RETRY, detail))
            }
            (400 | 404, "invalid_request_error" | "card_error") => Verdict::Declined(Rejection::failed(
                "Stripe does not accept this shared payment token for this payment",
            )),
            (401 | 403, _) => Verdict::NotLetIn,
            // 409 and 429 ask for patience, 5xx for a look, an idempotency_error for a person.
            _ => Verdict::Open,
        }
    }

    /// Everything in the form but the token is from this server: an error about the rest is not the payer's. What the
    /// token does not allow is the payer's whatever parameter it is said about: limits are limits of the amount, too.
    fn is_our_fault(&self) -> bool {
        const OURS: [&str; 11] = [
            "amount",
            "currency",
            "on_behalf_of",
            "application_fee_amount",
            "transfer_data",
            "automatic_payment_methods",
            "payment_method_types",
            "capture_method",
            "metadata",
            "confirm",
            "amount_details",
        ];
        const CODES: [&str; 14] = [
            "amount_too_small",
            "amount_too_large",
            "invalid_charge_amount",
            "platform_account_required",
            "transfers_not_allowed",
            "testmode_charges_only",
            "parameter_unknown",
            "parameter_missing",
            "parameter_invalid_empty",
            "parameter_invalid_integer",
            "parameter_invalid_string_blank",
            "account_invalid",
            "country_unsupported",
            "tls_version_unsupported",
        ];
        if self.is_about_the_token() && !CODES.contains(&self.code.as_str()) {
            return false;
        }
        OURS.iter().any(|ours| self.param.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('[')))
            || CODES.contains(&self.code.as_str())
            // A path that Stripe does not know: the base URL is something else's.
            || (self.status == 404 && self.code != "resource_missing")
    }

    fn is_about_the_token(&self) -> bool {
        [&self.code, &self.param].into_iter().any(|word| word.contains("shared_payment"))
    }

    /// For the payer, in our words.
    fn decline_words(&self) -> &'static str {
        match (self.code.as_str(), self.decline.as_str()) {
            (_, "insufficient_funds") => "the card was declined: insufficient funds",
            ("expired_card", _) | (_, "expired_card") => "the card was declined: it has expired",
            ("authentication_required", _) | (_, "authentication_required") => {
                "the payment needs the cardholder's authentication"
            }
            ("card_declined", _) => "the card was declined",
            _ => "Stripe declined the payment",
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorMembers,
}

#[derive(Deserialize)]
struct ErrorMembers {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    payment_intent: Option<StatusOnly>,
}

#[derive(Deserialize)]
struct StatusOnly {
    status: Status,
}

#[derive(Deserialize)]
struct Found {
    data: Vec<Intent>,
}

/// A page of Refunds.
#[derive(Deserialize)]
struct Page {
    data: Vec<Given>,
    has_more: bool,
}

/// Of a list only that it is one.
#[derive(Deserialize)]
struct List {
    #[serde(rename = "data")]
    _data: Vec<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Fault {
        /// 402: the token or the card.
        Payer,
        /// 503 without a challenge, and not paid.
        Ours,
        /// Another 503: this answer says nothing about an earlier request.
        NotLetIn,
        /// Nobody knows.
        Open,
    }

    fn whose(status: u16, kind: &str, code: &str, param: &str) -> Fault {
        let [kind, code, param] = [kind, code, param].map(str::to_owned);
        match (Refusal { status, kind, code, param, decline: String::new(), intent: None }).verdict() {
            Verdict::Declined(Rejection::Unavailable { .. }) => Fault::Ours,
            Verdict::Declined(_) => Fault::Payer,
            Verdict::NotLetIn => Fault::NotLetIn,
            Verdict::Open => Fault::Open,
        }
    }

    #[test]
    fn what_this_server_wrote_into_the_form_is_never_held_against_the_payer() {
        let invalid = |code: &str, param: &str| whose(400, "invalid_request_error", code, param);
        for (code, param) in [
            ("parameter_invalid_integer", "amount"),
            ("amount_too_small", "amount"),
            ("amount_too_large", "amount"),
            ("amount_too_large", ""),
            ("invalid_charge_amount", ""),
            ("", "amount"),
            ("", "currency"),
            ("parameter_invalid", "currency"),
            ("", "metadata[mpp_payment]"),
            ("", "transfer_data[destination]"),
            ("transfers_not_allowed", ""),
            ("testmode_charges_only", ""),
            // A version of the API without tokens.
            ("parameter_unknown", "shared_payment_granted_token"),
        ] {
            assert_eq!(invalid(code, param), Fault::Ours, "{code} {param}");
        }
        assert_eq!(whose(404, "invalid_request_error", "", ""), Fault::Ours, "not Stripe's path");
        assert_eq!(whose(404, "invalid_request_error", "resource_missing", "on_behalf_of"), Fault::Ours);
    }

    #[test]
    fn tokens_and_cards_are_the_payers_whatever_parameter_the_refusal_names() {
        let token = "shared_payment_granted_token";
        for (status, kind, code, param) in [
            (400, "invalid_request_error", "", token),
            (400, "invalid_request_error", "shared_payment_token_used", token),
            (400, "invalid_request_error", "shared_payment_token_amount_exceeded", "amount"),
            (400, "invalid_request_error", "shared_payment_token_currency_mismatch", "currency"),
            (400, "invalid_request_error", "", ""),
            (400, "card_error", "incorrect_number", ""),
            (404, "invalid_request_error", "resource_missing", token),
            (402, "card_error", "card_declined", ""),
            (402, "card_error", "amount_too_large", "amount"),
        ] {
            assert_eq!(whose(status, kind, code, param), Fault::Payer, "{status} {kind} {code} {param}");
        }
    }

    #[test]
    fn what_says_nothing_about_the_payment_decides_nothing() {
        for status in [401, 403] {
            assert_eq!(whose(status, "invalid_request_error", "", "amount"), Fault::NotLetIn, "{status}");
        }
        for (status, kind) in [
            (400, "idempotency_error"),
            (400, "api_error"),
            (409, "invalid_request_error"),
            (429, "invalid_request_error"),
            (500, "api_error"),
            (503, ""),
        ] {
            assert_eq!(whose(status, kind, "", "amount"), Fault::Open, "{status} {kind}");
        }
    }
}
