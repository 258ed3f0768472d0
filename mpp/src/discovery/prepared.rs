//! A document as it is sent: prepared bytes with what every published document has in common, and the refusals beside it.
//!
//! `ETag` and `If-None-Match` (RFC 9110 section 13.1.2), `Cache-Control` (DISC-09) and CORS (DISC-11) are the same for all.

use crate::protocol::b64;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A document as it is sent.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) bytes: Bytes,
    content_type: &'static str,
    etag: HeaderValue,
    /// Headers that only this one has.
    own: Vec<(HeaderName, HeaderValue)>,
}

impl Prepared {
    pub(super) fn new(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let hash = b64::encode(Sha256::digest(&bytes));
        // 32 characters of base64url and two quotes.
        let etag =
            HeaderValue::try_from(format!("\"{}\"", &hash[..32])).unwrap_or(HeaderValue::from_static("\"\""));
        Self { bytes, content_type, etag, own: Vec::new() }
    }

    /// With a header of its own.
    #[cfg(feature = "reference")]
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.own.push((name, value));
        self
    }

    /// The text it was made from.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    pub(super) fn respond(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        open_to_browsers(headers);
        headers.extend(self.own.iter().cloned());
        if self.is_known(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        *response.body_mut() = Body::from(self.bytes.clone());
        response
    }

    /// `If-None-Match` names it; comparison is weak (RFC 9110 section 13.1.2).
    fn is_known(&self, request: &HeaderMap) -> bool {
        let lines = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes())
    }
}

/// A browser on another origin may read the documents, and the headers of a payment where it meets them.
fn open_to_browsers(headers: &mut HeaderMap) {
    const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, WWW-Authenticate, Payment-Receipt"),
    );
    headers.insert(CORP, HeaderValue::from_static("cross-origin"));
}

/// A problem about a document, for browsers on other origins, too.
pub(super) fn refusal(status: StatusCode, detail: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    open_to_browsers(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a browser on another origin asks first.
pub(super) async fn preflight() -> Response<Body> {
    let mut preflight = Response::new(Body::empty());
    *preflight.status_mut() = StatusCode::NO_CONTENT;
    let headers = preflight.headers_mut();
    open_to_browsers(headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    preflight
}
