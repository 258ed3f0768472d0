//! What can go wrong for somebody who pays, sorted by what it means for the money.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::ledger::{EntryId, LedgerError};
use super::payment::Payment;
use super::refusal::NotPaid;
use crate::method::{Fate, PayError};
use crate::protocol::{MethodName, ReceivedProblem};

/// Whatever an HTTP client's error is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request that costs something has no response.
///
/// | variant | was anything paid? |
/// | --- | --- |
/// | [`NotPaid`](Self::NotPaid), [`NoOrigin`](Self::NoOrigin), [`BodyNotReplayable`](Self::BodyNotReplayable), [`Ledger`](Self::Ledger) | no |
/// | [`Wallet`](Self::Wallet), [`Stopped`](Self::Stopped) | perhaps; it counts as spent |
/// | [`Rejected`](Self::Rejected), [`OutcomeUnknown`](Self::OutcomeUnknown) | perhaps ([`Unsettled::fate`] says what is known); the credential is kept, and sending it again does not pay again |
///
/// ```
/// use mpp::client::Error;
/// fn may_have_paid(error: &Error) -> bool {
///     match error {
///         Error::NotPaid(_) | Error::NoOrigin | Error::BodyNotReplayable | Error::Ledger(_) => false,
///         // Refused, and the wallet knows that nothing was taken.
///         Error::Rejected(unsettled) => unsettled.fate != mpp::method::Fate::Never,
///         _ => true,
///     }
/// }
/// assert!(!may_have_paid(&Error::NoOrigin));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No offer passed the policy.
    #[error("{0}")]
    NotPaid(Box<NotPaid>),
    /// Nobody can be paid at this URL.
    #[error("not an http or https URL with a host, such as https://api.example.com")]
    NoOrigin,
    /// The server asks for a payment, and the body was a stream that cannot be sent a second time.
    #[error(
        "the server asks for a payment, but the request's body is a stream and cannot be sent again; buffer it"
    )]
    BodyNotReplayable,
    /// The ledger cannot be used, so no limit can be held.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The wallet failed after it had signed or sent something, and gave no credential.
    #[error("{failed}")]
    Wallet {
        /// What failed.
        failed: Box<WalletFailed>,
    },
    /// The runtime shut down while the wallet was at work.
    #[error("the program is stopping; the ledger says what was paid")]
    Stopped,
    /// The server answered a payment with 402, or with a 409 of which the wallet knows that nothing was taken. In the first case it
    /// may have been taken all the same: [`Unsettled::fate`].
    #[error("the payment was refused: {0}")]
    Rejected(Box<Unsettled>),
    /// The payment was sent, and what became of it is not known.
    #[error("the outcome of the payment is unknown: {0}")]
    OutcomeUnknown(Box<Unsettled>),
}

impl From<NotPaid> for Error {
    fn from(refused: NotPaid) -> Error {
        Error::NotPaid(Box::new(refused))
    }
}

impl Error {
    /// The payment that can be sent again without paying again.
    ///
    /// ```
    /// # use mpp::client::Error;
    /// assert!(Error::BodyNotReplayable.unsettled().is_none());
    /// ```
    pub fn unsettled(&self) -> Option<&Unsettled> {
        match self {
            Error::Rejected(unsettled) | Error::OutcomeUnknown(unsettled) => Some(unsettled),
            _ => None,
        }
    }

    /// Finds this error in what an HTTP client returned.
    ///
    /// ```
    /// use mpp::client::Error;
    /// let error = reqwest_middleware::Error::middleware(Error::BodyNotReplayable);
    /// assert!(matches!(Error::find(&error), Some(Error::BodyNotReplayable)));
    /// ```
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
        let mut next = Some(error);
        while let Some(error) = next {
            // reqwest-middleware hands its own wrapper out, transparent to `source`.
            if let Some(reqwest_middleware::Error::Middleware(inner)) = error.downcast_ref()
                && let Some(found) = inner.downcast_ref()
            {
                return Some(found);
            }
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// A wallet that failed half way.
///
/// ```
/// use mpp::client::WalletFailed;
/// fn report(failed: &WalletFailed) -> String {
///     format!("{} is counted as spent: {}", failed.entry, failed.error)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalletFailed {
    /// The method.
    pub method: MethodName,
    /// Its entry in the ledger.
    pub entry: EntryId,
    /// What the wallet says.
    pub error: PayError,
}

impl fmt::Display for WalletFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; it is counted as spent", self.method, self.error)
    }
}

/// A payment without a delivery. Keep it: what it paid for can still be had with it.
///
/// [`request`](Self::request) is the request with the same credential; a paying client sends it as it is and never pays for
/// it again, whatever the answer.
///
/// ```no_run
/// # async fn buy(http: reqwest_middleware::ClientWithMiddleware) -> Result<(), Box<dyn std::error::Error>> {
/// use mpp::client::Error;
/// let weather = match http.get("https://api.example.com/weather").send().await {
///     Err(error) => match Error::find(&error).and_then(Error::unsettled) {
///         // The connection broke after the payment had gone out: ask again, do not pay again.
///         Some(unsettled) => unsettled.retry(&http).await?,
///         None => return Err(error.into()),
///     },
///     Ok(weather) => weather,
/// };
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Unsettled {
    /// The payment.
    pub payment: Payment,
    /// Why there is no delivery.
    pub cause: Cause,
    /// What became of the payment, as far as the payer's own wallet knows: of [`Fate::Never`] nothing counts as spent.
    pub fate: Fate,
    pub(super) asked: Asked,
}

/// Why a payment has no delivery.
///
/// ```
/// use mpp::client::Cause;
/// let cause = Cause::Status { status: http::StatusCode::SERVICE_UNAVAILABLE, problem: None };
/// assert_eq!(cause.to_string(), "the server answered 503 Service Unavailable");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// No answer arrived.
    Lost(BoxError),
    /// The server answered with this status.
    Status {
        /// The status.
        status: StatusCode,
        /// What it said, if it said it in a form that is understood.
        problem: Option<ReceivedProblem>,
    },
    /// Whoever waited for the answer stopped waiting.
    Abandoned,
    /// The wallet took so long that the challenge expired; the credential was not sent (CORE-16).
    Late,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Lost(error) => write!(f, "no answer: {error}"),
            Cause::Status { status, problem } => {
                write!(f, "the server answered {status}")?;
                match problem.as_ref().and_then(|problem| problem.detail.as_deref()) {
                    // The server's text, with escapes: it may end in a log or on a terminal.
                    Some(detail) => write!(f, " ({:?})", detail.chars().take(200).collect::<String>()),
                    None => Ok(()),
                }
            }
            Cause::Abandoned => f.write_str("the request was given up before its answer"),
            Cause::Late => {
                f.write_str("the challenge expired before the payment was ready, and it was not sent")
            }
        }
    }
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}: {}", self.payment.cost(), self.payment.challenge().method, self.cause)?;
        match &self.fate {
            Fate::Never => f.write_str("; nothing was paid"),
            Fate::Paid { reference } => write!(f, "; it was paid all the same: {reference}"),
            Fate::Unknown => Ok(()),
        }
    }
}

impl Unsettled {
    /// The request with the credential it was paid with. A secret.
    ///
    /// ```no_run
    /// # fn keep(unsettled: &mpp::client::Unsettled) {
    /// let request: http::Request<bytes::Bytes> = unsettled.request();
    /// assert!(request.headers()["authorization"].is_sensitive());
    /// # }
    /// ```
    pub fn request(&self) -> http::Request<Bytes> {
        self.asked.paid_with(&self.payment)
    }

    /// Sends the same credential again: never a second payment, also after the challenge's end.
    ///
    /// ```no_run
    /// # async fn again(client: mpp::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// for unsettled in client.unsettled() {
    ///     println!("{}", unsettled.retry(&client.http()?).await?.text().await?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for any request; [`Error::find`] tells what became of the payment.
    pub async fn retry(
        &self,
        http: &reqwest_middleware::ClientWithMiddleware,
    ) -> Result<reqwest::Response, reqwest_middleware::Error> {
        http.execute(self.request().try_into()?).await
    }
}

/// A request that asks for something, as it can be repeated.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// After redirects within the origin.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    /// The verb and the path: what a person recognises. Not the query, which may hold secrets.
    pub(super) fn resource(&self) -> String {
        format!("{} {}", self.method, self.url.path())
    }

    /// The request with a credential.
    pub(super) fn paid_with(&self, payment: &Payment) -> http::Request<Bytes> {
        let mut request = http::Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        // A URL that was requested is a URI.
        *request.uri_mut() = self.url.as_str().parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        payment.attach_to(&self.method, request.headers_mut());
        request
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource())
    }
}
