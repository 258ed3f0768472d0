//! Redirects of the HTTP client that is built here, followed one by one, because what may travel along changes with the origin.
//!
//! Within an origin a request goes on as it was. What leaves it takes nothing along that was meant for the origin alone:
//! credentials, cookies, the `Idempotency-Key`, and what the client can pay with (`Accept-Payment`), which only the policy's
//! [origins](super::Policy::origins) are told. A credential therefore never gets to anybody but whom it pays (CORE-34); a 402
//! at the end of such a way is refused by the engine. No `Referer` is sent.

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use reqwest::{Request, Response};
use url::Url;

use super::engine::ACCEPT_PAYMENT;
use super::payment::IDEMPOTENCY_KEY;

/// The most redirects of one request that are followed; the response after them is handed on as it is.
pub(super) const MOST: usize = 10;

/// The request that a response to `sent` leads to. None where it is no redirect, leads nowhere that can be asked, or needs a
/// body that is gone.
pub(super) fn next(mut sent: Request, status: StatusCode, headers: &HeaderMap) -> Option<Request> {
    let to = headers.get(header::LOCATION)?.to_str().ok()?;
    let mut to = sent.url().join(to).ok()?;
    if !matches!(to.scheme(), "http" | "https") || !to.has_host() {
        return None;
    }
    // RFC 9110 section 10.2.2.
    if to.fragment().is_none() {
        to.set_fragment(sent.url().fragment());
    }
    match (status, sent.method()) {
        (StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT, _) => {}
        // RFC 9110 sections 15.4.2-4: what every client does.
        (StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND, method) if *method != Method::POST => {}
        (StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER, method) => {
            if *method != Method::HEAD {
                *sent.method_mut() = Method::GET;
            }
            *sent.body_mut() = None;
            remove(sent.headers_mut(), &OF_THE_BODY);
        }
        _ => return None,
    }
    if !is_within(sent.url(), &to) {
        remove(sent.headers_mut(), &OF_THE_ORIGIN);
    }
    *sent.url_mut() = to;
    Some(sent)
}

/// Whether a response may be one of [`next`]'s. Cheap: asked for every response.
pub(super) fn is_redirect(response: &Response) -> bool {
    response.status().is_redirection() && response.headers().contains_key(header::LOCATION)
}

fn is_within(from: &Url, to: &Url) -> bool {
    from.origin() == to.origin()
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

const OF_THE_BODY: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING];

const OF_THE_ORIGIN: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    ACCEPT_PAYMENT,
    IDEMPOTENCY_KEY,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(method: Method) -> Request {
        let mut request = Request::new(method, "https://api.example.com/a#part".parse().unwrap());
        for name in OF_THE_ORIGIN.iter().chain(&OF_THE_BODY) {
            request.headers_mut().insert(name.clone(), "x".parse().unwrap());
        }
        request.headers_mut().insert(header::ACCEPT, "text/plain".parse().unwrap());
        *request.body_mut() = Some("body".into());
        request
    }

    fn to(location: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())])
    }

    #[test]
    fn what_leaves_the_origin_takes_nothing_along_that_was_meant_for_it() {
        for (location, stays) in [
            ("/b", true),
            ("https://api.example.com:443/b", true),
            ("https://API.example.com/b", true),
            ("https://example.com/b", false),
            ("http://api.example.com/b", false),
            ("https://api.example.com:8443/b", false),
            ("//evil.example/b", false),
        ] {
            let next = next(sent(Method::GET), StatusCode::TEMPORARY_REDIRECT, &to(location)).unwrap();
            for name in &OF_THE_ORIGIN {
                assert_eq!(next.headers().contains_key(name), stays, "{name} to {location}");
            }
            assert!(next.headers().contains_key(header::ACCEPT));
            assert_eq!((next.url().path(), next.url().fragment()), ("/b", Some("part")));
        }
    }

    #[test]
    fn a_body_goes_along_only_where_the_verb_does() {
        for (status, method, becomes) in [
            (301, Method::POST, Method::GET),
            (302, Method::POST, Method::GET),
            (302, Method::PUT, Method::PUT),
            (303, Method::PUT, Method::GET),
            (303, Method::HEAD, Method::HEAD),
            (307, Method::POST, Method::POST),
            (308, Method::POST, Method::POST),
        ] {
            let kept = becomes == method && method != Method::HEAD;
            let next = next(sent(method), StatusCode::from_u16(status).unwrap(), &to("/b")).unwrap();
            assert_eq!((next.method(), next.body().is_some()), (&becomes, kept), "{status}");
            assert_eq!(next.headers().contains_key(header::CONTENT_TYPE), kept, "{status}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_no_redirect() {
        let found = StatusCode::FOUND;
        for location in ["ftp://example.com/x", "file:///etc/passwd", "mailto:a@example.com", "http://", ""] {
            let followed = next(sent(Method::GET), found, &to(location));
            // An empty reference is the same document.
            assert_eq!(followed.is_some(), location.is_empty(), "{location}");
        }
        assert!(next(sent(Method::GET), found, &HeaderMap::new()).is_none());
        for status in [300, 304, 305] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(next(sent(Method::GET), status, &to("/b")).is_none(), "{status}");
        }
    }
}
