//! A payment that was authorised: its credential, kept until its outcome is known.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};

use super::error::Asked;
use super::ledger::EntryId;
use crate::method::{ClientMethod, Cost, Proof};
use crate::protocol::{Challenge, Receipt, ReceiptError, Timestamp};

pub(super) const PAYMENT_RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A credential, and what it pays for. Clones are the same payment: sending one twice does not pay twice.
///
/// It is as good as money to whoever can read it, so `Debug` does not print it and its header is marked sensitive. Keep it
/// in memory (CORE-34).
///
/// ```
/// # use mpp::client::{Client, MemoryLedger, Policy};
/// # use mpp::method::sandbox::Wallet;
/// # use mpp::protocol::{Challenge, b64};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let client = Client::builder(Policy::unlimited().allow_endless_challenges(), MemoryLedger::new())
///     .method(Wallet::generate())
///     .build()?;
/// # let request = b64::encode(r#"{"amount":"50000","currency":"usdc","methodDetails":{"testMoney":true}}"#);
/// # let line = format!(r#"Payment id="x7Tg", realm="api.example.com", method="sandbox", intent="charge", request="{request}""#);
/// # let challenge = Challenge::parse_all([line.as_str()]).offers.remove(0);
/// // `challenge` came by whatever way: an MCP server, a message, a header.
/// let payment = client.pay(&"https://api.example.com/weather".parse().unwrap(), &challenge).await?;
/// let mut headers = http::HeaderMap::new();
/// payment.attach(&mut headers);
/// assert!(headers["authorization"].is_sensitive());
/// assert_eq!(payment.cost().to_string(), "0.05 usdc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Payment {
    inner: Arc<Inner>,
}

struct Inner {
    entry: EntryId,
    challenge: Challenge,
    cost: Cost,
    proof: Proof,
    authorization: HeaderValue,
    idempotency_key: HeaderValue,
    wallet: Arc<dyn ClientMethod>,
    /// Whether it was sent before its challenge expired: from then on it may be sent at any time.
    sent: AtomicBool,
}

impl Payment {
    pub(super) fn new(
        entry: EntryId,
        challenge: Challenge,
        cost: Cost,
        proof: Proof,
        authorization: HeaderValue,
        wallet: Arc<dyn ClientMethod>,
    ) -> Payment {
        // Stable over every sending of this payment, and telling a server nothing but that.
        let idempotency_key =
            HeaderValue::from_str(&entry.to_string()).expect("hexadecimal digits are a header value");
        let sent = AtomicBool::new(false);
        let inner = Inner { entry, challenge, cost, proof, authorization, idempotency_key, wallet, sent };
        Payment { inner: Arc::new(inner) }
    }

    /// Its entry in the ledger.
    ///
    /// ```no_run
    /// # fn show(payment: &mpp::client::Payment) {
    /// println!("{} paid {} for challenge {}", payment.entry(), payment.cost(), payment.challenge().id);
    /// # }
    /// ```
    pub fn entry(&self) -> EntryId {
        self.inner.entry
    }

    /// The challenge it answers.
    pub fn challenge(&self) -> &Challenge {
        &self.inner.challenge
    }

    /// What it costs at worst.
    pub fn cost(&self) -> &Cost {
        &self.inner.cost
    }

    /// The value of the `Authorization` header, marked sensitive. A secret.
    ///
    /// ```no_run
    /// # fn send(payment: &mpp::client::Payment) {
    /// // For a transport that is not HTTP: the text after the scheme.
    /// let token = payment.authorization().to_str().unwrap().strip_prefix("Payment ").unwrap();
    /// # }
    /// ```
    pub fn authorization(&self) -> &HeaderValue {
        &self.inner.authorization
    }

    /// Puts the credential into the headers of a request: its own `Authorization`, or after another scheme's in the same
    /// line (one line, because many servers read only one).
    ///
    /// ```no_run
    /// # fn send(payment: &mpp::client::Payment, request: &mut reqwest::Request) {
    /// payment.attach(request.headers_mut());
    /// # }
    /// ```
    pub fn attach(&self, headers: &mut HeaderMap) {
        let value = match headers.get(header::AUTHORIZATION) {
            Some(other) => {
                let mut joined = Vec::with_capacity(other.len() + 2 + self.inner.authorization.len());
                joined.extend_from_slice(other.as_bytes());
                joined.extend_from_slice(b", ");
                joined.extend_from_slice(self.inner.authorization.as_bytes());
                // Two header values and a comma are one.
                let joined = HeaderValue::from_bytes(&joined);
                let mut joined = joined.unwrap_or_else(|_| self.inner.authorization.clone());
                joined.set_sensitive(true);
                joined
            }
            None => self.inner.authorization.clone(),
        };
        headers.insert(header::AUTHORIZATION, value);
    }

    /// As [`attach`](Self::attach), with an `Idempotency-Key` where the verb is not safe and the caller has set none: then
    /// a server can tell a repetition from a second order (CORE-38).
    pub(super) fn attach_to(&self, method: &Method, headers: &mut HeaderMap) {
        self.attach(headers);
        if !method.is_safe() && !headers.contains_key(IDEMPOTENCY_KEY) {
            headers.insert(IDEMPOTENCY_KEY, self.inner.idempotency_key.clone());
        }
    }

    pub(super) fn proof(&self) -> &Proof {
        &self.inner.proof
    }

    pub(super) fn wallet(&self) -> &dyn ClientMethod {
        &*self.inner.wallet
    }

    pub(super) fn mark_sent(&self) {
        self.inner.sent.store(true, Ordering::Relaxed);
    }

    /// CORE-16: the credential of an expired challenge is not sent, unless it was before.
    pub(super) fn may_be_sent(&self, now: Timestamp) -> bool {
        let lives = self.inner.challenge.expires_at().is_ok_and(|end| end.is_none_or(|end| end > now));
        lives || self.inner.sent.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("entry", &self.inner.entry)
            .field("method", &self.inner.challenge.method)
            .field("cost", &self.inner.cost)
            .finish_non_exhaustive()
    }
}

/// In the extensions of a response to a payment.
///
/// The response's status says whether it is what was paid for: a success or a redirection is. A 4xx (404, say, of a handler that
/// found nothing) is an answer and no delivery: the money may be gone, the ledger says that the outcome is unknown, and the
/// credential is kept for the next request for the same thing, or for [`request`](Self::request).
///
/// ```no_run
/// # async fn buy(http: reqwest_middleware::ClientWithMiddleware) -> Result<(), reqwest_middleware::Error> {
/// use mpp::client::Paid;
/// let response = http.get("https://api.example.com/weather").send().await?;
/// match response.extensions().get::<Paid>() {
///     Some(paid) if response.status().is_client_error() => println!("{} for nothing", paid.payment.cost()),
///     Some(paid) => println!("paid {}: {:?}", paid.payment.cost(), paid.receipt),
///     None => println!("it costs nothing"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Paid {
    /// The payment.
    pub payment: Payment,
    /// The server's receipt, or why there is none. A response without one may be as good; it is only not proof.
    pub receipt: Result<Receipt, NoReceipt>,
    asked: Arc<Asked>,
}

impl Paid {
    pub(super) fn of(payment: Payment, asked: Arc<Asked>, headers: &HeaderMap) -> Paid {
        let receipt = read_receipt(payment.challenge(), headers);
        Paid { payment, receipt, asked }
    }

    /// The request with the same credential, for a body that broke off: a paying client sends it as it is and never pays for
    /// it again. Whether the server delivers twice is up to it.
    ///
    /// ```no_run
    /// # async fn buy(http: reqwest_middleware::ClientWithMiddleware) -> Result<(), Box<dyn std::error::Error>> {
    /// use mpp::client::Paid;
    /// let response = http.get("https://api.example.com/film").send().await?;
    /// let paid = response.extensions().get::<Paid>().cloned();
    /// let film = match (response.bytes().await, paid) {
    ///     (Err(_), Some(paid)) => http.execute(paid.request().try_into()?).await?.bytes().await?,
    ///     (film, _) => film?,
    /// };
    /// # Ok(()) }
    /// ```
    pub fn request(&self) -> Request<Bytes> {
        self.asked.paid_with(&self.payment)
    }
}

fn read_receipt(challenge: &Challenge, headers: &HeaderMap) -> Result<Receipt, NoReceipt> {
    let value = headers.get(PAYMENT_RECEIPT).ok_or(NoReceipt::Missing)?;
    let text = value.to_str().map_err(|_| NoReceipt::Malformed(ReceiptError::NotBase64))?;
    let receipt = Receipt::parse_header(text).map_err(NoReceipt::Malformed)?;
    let answers_other = receipt.challenge_id.as_ref().is_some_and(|id| *id != challenge.id);
    if receipt.method != challenge.method || answers_other {
        return Err(NoReceipt::Foreign);
    }
    Ok(receipt)
}

/// Why there is no receipt.
///
/// ```
/// use mpp::client::NoReceipt;
/// assert_eq!(NoReceipt::Missing.to_string(), "the response carries no receipt");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoReceipt {
    /// The response has none.
    #[error("the response carries no receipt")]
    Missing,
    /// It cannot be read.
    #[error("{0}")]
    Malformed(ReceiptError),
    /// It is of another payment.
    #[error("the receipt is of another payment")]
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MethodName;

    fn challenge() -> Challenge {
        let line = r#"Payment id="x7Tg", realm="r", method="tempo", intent="charge", request="e30""#;
        Challenge::parse_all([line]).offers.remove(0)
    }

    fn read(receipt: &Receipt) -> Result<Receipt, NoReceipt> {
        let value = HeaderValue::from_str(&receipt.to_header_value()).unwrap();
        read_receipt(&challenge(), &HeaderMap::from_iter([(PAYMENT_RECEIPT, value)]))
    }

    #[test]
    fn a_receipt_of_another_method_or_challenge_is_none() {
        let receipt =
            |method| Receipt::new(MethodName::from_static(method), "0xabc", Timestamp::from_unix(1));
        assert!(read(&receipt("tempo")).is_ok(), "many servers do not name the challenge");
        assert_eq!(read(&receipt("stripe")), Err(NoReceipt::Foreign));
        let mut other = receipt("tempo");
        other.challenge_id = Some("another".into());
        assert_eq!(read(&other), Err(NoReceipt::Foreign));
        assert_eq!(read_receipt(&challenge(), &HeaderMap::new()), Err(NoReceipt::Missing));
    }
}
