//! What goes back to the client instead of, or along with, the handler's response.
//!
//! The only place where payment headers and problem bodies are written (RFC 9457; draft-httpauth-payment-00 sections 5.3
//! and 8). A 402 always carries a challenge and `no-store`; anything after money may have moved is never a 402.

use super::page::POLICY;
use crate::protocol::{ChallengeId, Detail, Problem, ProblemType, Receipt};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

pub(super) const PAYMENT_RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");
pub(super) const ACCEPT_PAYMENT: HeaderName = HeaderName::from_static("accept-payment");

/// Challenges to send: a 402 in the making, with a header line for each. In its place from the start: a response is large, and
/// moving it costs as much as an allocation.
pub(super) struct Challenges(Box<Told>);

impl Challenges {
    /// None yet, and room for so many.
    pub(super) fn for_offers(offers: usize) -> Self {
        let mut told = Box::new(Told { kind: None, offers: 0, first: None, response: Response::default() });
        // Beside a line per offer, what every 402 has: Content-Type, Cache-Control, and the Content-Length that axum adds.
        // A map that has to grow for the last one is copied.
        *told.response.headers_mut() = HeaderMap::with_capacity(offers + 3);
        Self(told)
    }

    /// One more, after the others.
    pub(super) fn push(&mut self, id: ChallengeId, line: String) {
        // Every part of a line is visible ASCII.
        let Ok(line) = HeaderValue::from_maybe_shared(Bytes::from(line)) else { return };
        self.0.response.headers_mut().append(header::WWW_AUTHENTICATE, line);
        self.0.offers += 1;
        self.0.first.get_or_insert(id);
    }

    /// The headers as they are so far.
    #[cfg(feature = "testing")]
    pub(super) fn into_headers(self) -> HeaderMap {
        self.0.response.into_parts().0.headers
    }
}

/// A response that ends the request before, or instead of, the handler's. Boxed, because it is an error type.
#[derive(Debug)]
pub struct Answer(Box<Told>);

/// A response and what it is, for whoever counts and logs.
#[derive(Debug)]
struct Told {
    /// `None` for a delivery.
    kind: Option<ProblemType>,
    offers: usize,
    first: Option<ChallengeId>,
    response: Response,
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        answer.0.response
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0.response
    }
}

impl Answer {
    /// A problem without a challenge.
    pub(super) fn problem(kind: ProblemType, detail: &'static str) -> Self {
        Self::from_problem(&Problem::new(kind, detail))
    }

    /// Our own fault: the detail says nothing about internals.
    #[cold]
    pub(super) fn fault(kind: ProblemType, detail: &'static str) -> Self {
        Self::problem(kind, detail)
    }

    /// 503 without a challenge: we cannot tell now.
    pub(super) fn unavailable(retry_after: Duration, detail: &'static str) -> Self {
        Self::from_problem(&Problem::new(ProblemType::Unavailable, detail).retry_after(retry_after))
    }

    /// 429 without a challenge: this client has had its share.
    pub(super) fn limited(retry_after: Duration, detail: &'static str) -> Self {
        Self::from_problem(&Problem::new(ProblemType::RateLimited, detail).retry_after(retry_after))
    }

    /// 409 without a challenge: this payment is being worked on by another request.
    pub(super) fn in_progress() -> Self {
        Self::from_problem(
            &Problem::new(ProblemType::InProgress, "another request with this credential is in progress")
                .retry_after(Duration::from_secs(1)),
        )
    }

    /// 409 without a challenge: the `Idempotency-Key` does not stand for this request.
    pub(super) fn conflict(detail: &'static str) -> Self {
        Self::problem(ProblemType::IdempotencyConflict, detail)
    }

    /// 409 without a challenge: paid for and delivered, and not to be sent again. Nobody is asked to pay twice.
    pub(super) fn answered(detail: &'static str) -> Self {
        Self::problem(ProblemType::AlreadyAnswered, detail)
    }

    /// A delivery that is sent once more.
    pub(super) fn again(response: Response) -> Self {
        Self(Box::new(Told { kind: None, offers: 0, first: None, response }))
    }

    /// 503 without a challenge: another process will take this payment.
    #[cold]
    pub(super) fn closed() -> Self {
        Self::unavailable(
            Duration::from_secs(5),
            "this server is about to end and takes no more payments; send the same request again",
        )
    }

    pub(super) fn from_problem(problem: &Problem) -> Self {
        let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(problem.to_json()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = problem.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Self(Box::new(Told { kind: Some(problem.kind), offers: 0, first: None, response }))
    }

    /// 402: a problem and one challenge header per offer.
    pub(super) fn challenge(kind: ProblemType, detail: Detail<'_>, challenges: Challenges) -> Self {
        let Challenges(mut told) = challenges;
        let Told { first, response, .. } = &mut *told;
        let headers = response.headers_mut();
        // Challenges are all there is so far, so nothing is to be replaced. In the same code as theirs: `insert` is as long again,
        // and 8 ns slower.
        debug_assert!(headers.keys().all(|name| name == header::WWW_AUTHENTICATE));
        headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        *response.body_mut() = Body::from(kind.to_json_with(detail, first.as_ref()));
        *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
        told.kind = Some(kind);
        Self(told)
    }

    /// What it says; `None` for a delivery that is sent once more.
    pub(super) fn kind(&self) -> Option<ProblemType> {
        self.0.kind
    }

    /// How many challenges it carries.
    pub(super) fn offers(&self) -> usize {
        self.0.offers
    }

    /// The id of the first of them.
    pub(super) fn first(&self) -> Option<&ChallengeId> {
        self.0.first.as_ref()
    }
}

/// The same 402 with another body: a page for people. Status, challenges and `no-store` stay.
#[cold]
pub(super) fn as_page(answer: Answer, html: String) -> Answer {
    let Told { kind, offers, first, response } = *answer.0;
    let (mut parts, _) = response.into_parts();
    let headers = &mut parts.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    let response = Response::from_parts(parts, Body::from(html));
    Answer(Box::new(Told { kind, offers, first, response }))
}

/// Puts the receipt, of which this is the canonical JSON, on a success, and takes away what must not leave.
pub(super) fn deliver(mut response: Response, receipt: Option<&[u8]>) -> Response {
    let headers = response.headers_mut();
    // A receipt of somebody upstream is not ours to pass on.
    headers.remove(PAYMENT_RECEIPT);
    if let Some(receipt) = receipt
        && response.status().is_success()
        && let Ok(mut value) = HeaderValue::try_from(Receipt::header_value(receipt))
    {
        value.set_sensitive(true);
        let headers = response.headers_mut();
        headers.insert(PAYMENT_RECEIPT, value);
        make_private(headers);
    }
    response
}

/// Merges `private` into `Cache-Control` and removes what contradicts it.
fn make_private(headers: &mut HeaderMap) {
    const PRIVATE: HeaderValue = HeaderValue::from_static("private");
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, PRIVATE);
        return;
    }
    let mut directives: Vec<String> = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| {
            // A comma in quotes is part of an argument: `private="x-a, x-b"`.
            let mut quoted = false;
            line.split(move |c| {
                quoted ^= c == '"';
                c == ',' && !quoted
            })
        })
        .map(|d| d.trim().to_owned())
        .filter(|d| {
            let name = d.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
            !name.is_empty() && name != "public" && name != "s-maxage" && name != "private"
        })
        .collect();
    directives.push("private".to_owned());
    let value = HeaderValue::try_from(directives.join(", ")).unwrap_or(PRIVATE);
    headers.insert(header::CACHE_CONTROL, value);
}

/// Whether a response is a delivery: 2xx, 3xx and 101.
pub(super) fn is_delivery(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection() || status == StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(values: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for v in values {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_static(v));
        }
        make_private(&mut headers);
        headers[header::CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_paid_response_is_private_whatever_the_handler_said() {
        assert_eq!(private(&[]), "private");
        assert_eq!(private(&["max-age=60"]), "max-age=60, private");
        assert_eq!(private(&["public, max-age=60", "s-maxage=9"]), "max-age=60, private");
        assert_eq!(private(&["Private", "no-store"]), "no-store, private");
        assert_eq!(private(&["private=\"x-a, x-b\", max-age=60"]), "max-age=60, private");
        assert_eq!(private(&["no-cache=\"x-a, public\", public"]), "no-cache=\"x-a, public\", private");
    }
}
