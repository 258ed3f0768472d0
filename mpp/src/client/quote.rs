//! What a request would cost, without paying.

use http::{HeaderMap, StatusCode};
use url::Url;

use super::Client;
use super::engine::{ACCEPT_PAYMENT, read_challenges};
use super::error::Asked;
use super::explanation::explanation;
use super::ledger::{Entry, ReserveError};
use super::offers::Offers;
use super::origin::Origin;
use super::redirects;
use super::refusal::Refusal;
use crate::method::Cost;
use crate::protocol::{Challenge, ChallengeError};

/// What a server asks for one request, and what the policy makes of it. Nothing was paid or entered anywhere.
///
/// ```no_run
/// # async fn ask(client: mpp::client::Client) -> Result<(), mpp::client::QuoteError> {
/// let quote = client.quote(&"https://api.example.com/weather".parse().unwrap()).await?;
/// match quote.best() {
///     Some(offer) => println!("{} by {}", offer.cost.as_ref().unwrap(), offer.challenge.method),
///     None if quote.is_free() => println!("nothing"),
///     None if quote.is_priced() => println!("more than I may pay: {:?}", quote.offers),
///     None => println!("nobody knows: {} {}", quote.status, quote.said.unwrap_or_default()),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Quote {
    /// Who asks for a payment.
    pub origin: Origin,
    /// What was asked for, after redirects.
    pub url: Url,
    /// The server's status: 402, or what it answers instead.
    pub status: StatusCode,
    /// What it says beside an error that is no 402 ([`explanation`]). The server's text: not to be trusted, only to be shown.
    pub said: Option<String>,
    /// Its offers. Those that would be paid come first, the best one first of all.
    pub offers: Vec<QuotedOffer>,
    /// What was no offer, though it said `Payment`.
    pub malformed: Vec<ChallengeError>,
}

/// One offer of a [`Quote`].
///
/// ```
/// use mpp::client::QuotedOffer;
/// fn line(offer: &QuotedOffer) -> String {
///     match (&offer.cost, &offer.verdict) {
///         (Some(cost), Ok(())) => format!("{}: {cost}", offer.challenge.method),
///         (_, Err(why)) => format!("{}: not paid, {why}", offer.challenge.method),
///         (None, Ok(())) => unreachable!("what would be paid has a price"),
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QuotedOffer {
    /// The challenge.
    pub challenge: Challenge,
    /// What it costs at worst, if one of the client's wallets can tell.
    pub cost: Option<Cost>,
    /// Whether it would be paid now; approval is not asked for.
    pub verdict: Result<(), Refusal>,
}

impl Quote {
    /// Whether the server answered with a success or a redirection, without asking for a payment.
    ///
    /// An error that is no 402 is neither free nor [priced](Self::is_priced): there is no such thing (404), it is not called so
    /// (405, 415, 422), it is for others (401, 403), or the server has trouble. What it costs is not known then.
    ///
    /// ```no_run
    /// # fn show(quote: &mpp::client::Quote) {
    /// println!("{}", if quote.is_free() { "nothing" } else { "something, or an error" });
    /// # }
    /// ```
    pub fn is_free(&self) -> bool {
        self.status.is_success() || self.status.is_redirection()
    }

    /// Whether the server asks for a payment: 402.
    ///
    /// ```no_run
    /// # fn show(quote: &mpp::client::Quote) {
    /// println!("{} ways to pay", if quote.is_priced() { quote.offers.len() } else { 0 });
    /// # }
    /// ```
    pub fn is_priced(&self) -> bool {
        self.status == StatusCode::PAYMENT_REQUIRED
    }

    /// The offer that would be paid, if any would.
    ///
    /// ```no_run
    /// # fn show(quote: &mpp::client::Quote) {
    /// let method = quote.best().map(|offer| offer.challenge.method.as_str());
    /// # }
    /// ```
    pub fn best(&self) -> Option<&QuotedOffer> {
        self.offers.first().filter(|offer| offer.verdict.is_ok())
    }
}

/// Why there is no quote.
///
/// ```
/// # use mpp::client::QuoteError;
/// assert_eq!(QuoteError::NoOrigin.to_string(), "not an http or https URL with a host, such as https://api.example.com");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Not a URL that can be asked.
    #[error("not an http or https URL with a host, such as https://api.example.com")]
    NoOrigin,
    /// The client cannot be set up.
    #[error(transparent)]
    Build(#[from] super::BuildError),
    /// The server gave no answer.
    #[error("no answer: {0}")]
    Http(#[from] reqwest::Error),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] super::LedgerError),
}

impl Client {
    /// What would `GET url` cost, from whom, by which methods? The server is asked once, without a credential.
    ///
    /// A server without a price answers, and does what it does for a `GET`; the body of a success is not read.
    ///
    /// # Errors
    /// [`QuoteError`] when there is no answer.
    ///
    /// ```no_run
    /// # async fn ask(client: mpp::client::Client) -> Result<(), mpp::client::QuoteError> {
    /// let quote = client.quote(&"https://api.example.com/weather".parse().unwrap()).await?;
    /// println!("{} offers", quote.offers.len());
    /// # Ok(()) }
    /// ```
    pub async fn quote(&self, url: &Url) -> Result<Quote, QuoteError> {
        self.quote_request(reqwest::Request::new(http::Method::GET, url.clone())).await
    }

    /// What would this request cost? It is sent once, without a credential: to a server without a price that is the request
    /// itself.
    ///
    /// # Errors
    /// [`QuoteError`] when there is no answer.
    ///
    /// ```no_run
    /// # async fn ask(client: mpp::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let order = reqwest::Client::new().post("https://api.example.com/orders").body("two of them").build()?;
    /// let quote = client.quote_request(order).await?;
    /// # Ok(()) }
    /// ```
    pub async fn quote_request(&self, mut request: reqwest::Request) -> Result<Quote, QuoteError> {
        let from = Origin::of(request.url()).map_err(|_| QuoteError::NoOrigin)?;
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let body = request.body().and_then(reqwest::Body::as_bytes).map(bytes::Bytes::copy_from_slice);
        let told = self.inner.policy.origins.as_ref().is_some_and(|allowed| allowed.contains(&from));
        if let Some(accept) =
            self.inner.accept.as_ref().filter(|_| told && !headers.contains_key(ACCEPT_PAYMENT))
        {
            request.headers_mut().insert(ACCEPT_PAYMENT, accept.clone());
        }
        let response = self.ask(request).await?;
        let url = response.url().clone();
        let origin = Origin::of(&url).map_err(|_| QuoteError::NoOrigin)?;
        let status = response.status();
        let asked =
            Asked { method, url: url.clone(), headers: HeaderMap::new(), body: body.unwrap_or_default() };
        let mut quote = Quote {
            origin: origin.clone(),
            url,
            status,
            said: None,
            offers: Vec::new(),
            malformed: Vec::new(),
        };
        if !quote.is_priced() {
            if !quote.is_free() {
                quote.said = explanation(response).await;
            }
            return Ok(quote);
        }
        let challenges = read_challenges(response.headers());
        quote.malformed = challenges.refused;
        if origin != from {
            let why = Refusal::Redirected { from, to: origin };
            let refused = |challenge| QuotedOffer { challenge, cost: None, verdict: Err(why.clone()) };
            quote.offers = challenges.offers.into_iter().map(refused).collect();
            return Ok(quote);
        }
        self.judge(&mut quote, &asked, challenges.offers).await?;
        Ok(quote)
    }

    /// Sends a request without a payment, and follows where it leads.
    async fn ask(&self, request: reqwest::Request) -> Result<reqwest::Response, QuoteError> {
        let http = self.plain_http()?;
        let mut again = request.try_clone();
        let mut response = http.execute(request).await.map_err(reqwest::Error::without_url)?;
        for _ in 0..redirects::MOST {
            if !redirects::is_redirect(&response) {
                break;
            }
            let next =
                again.take().and_then(|sent| redirects::next(sent, response.status(), response.headers()));
            let Some(next) = next else { break };
            again = next.try_clone();
            response = http.execute(next).await.map_err(reqwest::Error::without_url)?;
        }
        Ok(response)
    }

    async fn judge(
        &self,
        quote: &mut Quote,
        asked: &Asked,
        challenges: Vec<Challenge>,
    ) -> Result<(), QuoteError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let mut refused = Vec::new();
        let mut payable = Vec::new();
        for challenge in challenges {
            let one = vec![challenge.clone()];
            let mut offers = Offers::of(one, &quote.origin, asked, &inner.policy, &inner.wallets, now);
            match (offers.candidates.pop(), offers.refused.pop()) {
                (Some(candidate), _) => payable.push(candidate),
                (None, Some(offer)) => {
                    refused.push(QuotedOffer { challenge, cost: offer.cost, verdict: Err(offer.why) });
                }
                // One challenge is a candidate or refused.
                (None, None) => {}
            }
        }
        super::offers::rank(&mut payable);
        for candidate in payable {
            let entry = Entry::new(quote.origin.clone(), &candidate.cost, now);
            let entry = entry.answering(&candidate.challenge, asked.resource());
            let verdict = match inner.ledger.check(&entry, inner.policy.budgets()).await {
                Ok(()) => self.afford(&candidate).await,
                Err(ReserveError::Limit(broken)) => Err(Refusal::Limit(broken)),
                Err(ReserveError::Challenge) => Err(Refusal::PaidAlready),
                Err(ReserveError::Ledger(error)) => return Err(error.into()),
            };
            let (challenge, cost) = (candidate.challenge, Some(candidate.cost));
            quote.offers.push(QuotedOffer { challenge, cost, verdict });
        }
        quote.offers.extend(refused);
        quote.offers.sort_by_key(|offer| offer.verdict.is_err());
        Ok(())
    }
}
