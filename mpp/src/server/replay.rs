//! Answering a delivered payment again: `Idempotency-Key` and `replay = "response"`.
//!
//! One payment is one delivery, and a delivery may be lost on its way. A client that sends an `Idempotency-Key` with a verb
//! that is not safe, or an operator who writes `replay = "response"`, asks for the response to be kept
//! (draft-httpauth-payment-00 section 11.4; CORE-38):
//!
//! - It is part of the terminal journal record: committed with the delivery, before the first byte leaves, and erased
//!   with it. It is sealed ([`seal`](crate::store)) under the credential, the request and the challenge it answered, and
//!   nobody else's credential gets it.
//! - A key belongs to the payment that used it first, as a proof does: it is claimed with the proofs, given back with them
//!   (and when an undelivered payment is refunded), and forgotten with the entry. While it is held, every other request and every
//!   other credential that names it is answered 409 before anything is claimed. A request that moves no money (play money, a proof
//!   of identity) is one of them, in the room of the store that is for such ([`Quota`](crate::store::Quota)). Whoever knows a
//!   key can take it, so a client makes it something that nobody guesses: a UUID. Whoever names another one after a failure has both: a
//!   payment has the last four that it was tried under. What was delivered under one of them is answered 409
//!   under any other: nobody is asked to pay twice. A copy that comes while the payment is under way takes no key.
//! - Kept are status, headers and body; not `Set-Cookie`, nothing that belongs to a connection, and not
//!   `Payment-Receipt`, which is written anew from the journaled receipt.
//! - A body that is there when its head is (text, JSON, bytes) is committed with the delivery. A stream goes out as it
//!   comes, and is kept once it has ended: if the client hangs up before, the rest is read all the same, for a while.
//! - A response over the limit is not kept, nor one for which all that is kept has no room left, nor one with trailers or
//!   a stream that broke. Its key is answered 409 from then on, without a challenge: nobody is asked to pay twice.

use super::Mpp;
use super::drain::Pass;
use super::journal::{Again, Identity, Kept};
use super::respond::{Answer, PAYMENT_RECEIPT, deliver};
use crate::protocol::{ProblemType, SecretRing, Timestamp, b64};
use crate::store::seal::Sealer;
use axum::body::{Body, Bytes};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Characters of a key. A UUID has 36.
const LONGEST_KEY: usize = 255;
/// Before the hash of a key, among the proofs of a payment. Those of methods begin with the method's name and a colon.
const PROOF_OF_KEY: &str = "idempotency=";
/// How long the rest of a stream is read for a client that hung up.
const REST: Duration = Duration::from_secs(30);

/// An `Idempotency-Key`: what it is claimed as. The key itself is a client's secret and is not kept.
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Of a request with a verb that is not safe (RFC 9110 section 9.2.1); on others the header says nothing.
    ///
    /// # Errors
    /// 400 for several keys, and for one that is empty, too long or not visible ASCII.
    #[inline(never)] // nearly no request has one
    pub(super) fn of(mpp: &Mpp, verb: &Method, headers: &HeaderMap) -> Result<Option<Self>, Answer> {
        if verb.is_safe() {
            return Ok(None);
        }
        let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = lines.next() else { return Ok(None) };
        let bad = |why| Answer::problem(ProblemType::BadRequest, why);
        if lines.next().is_some() {
            return Err(bad("more than one Idempotency-Key"));
        }
        let key = key.as_bytes().trim_ascii();
        if key.is_empty() || key.len() > LONGEST_KEY || !key.iter().all(|b| matches!(b, b' '..=b'~')) {
            return Err(bad("an Idempotency-Key has 1 to 255 visible ASCII characters"));
        }
        let mut hash = Sha256::new();
        for part in [mpp.realm(), mpp.service().unwrap_or_default()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(key);
        Ok(Some(Self(format!("{PROOF_OF_KEY}{}", b64::encode(hash.finalize())))))
    }

    /// Whether a claimed proof is a key.
    pub(crate) fn is_proof(proof: &str) -> bool {
        proof.starts_with(PROOF_OF_KEY)
    }

    /// As it is claimed.
    pub(super) fn proof(&self) -> &str {
        &self.0
    }
}

/// What is kept of a response.
#[derive(Serialize, Deserialize)]
struct Stored {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// As JSON.
    receipt: Vec<u8>,
}

/// Keeps responses, up to a size each and all together.
pub(crate) struct Shelf {
    sealer: Sealer,
    each: usize,
    total: usize,
    /// By quota: what is kept for nothing never takes the place of what was paid for.
    books: [Mutex<Book>; 2],
}

/// What this process has put on the shelf.
#[derive(Default)]
struct Book {
    /// Bytes, and when they are erased (unix seconds), in the order they came.
    kept: VecDeque<(usize, i64)>,
    bytes: usize,
}

impl Book {
    fn add(&mut self, bytes: usize, until: i64, total: usize, now: i64) -> bool {
        while let Some((gone, _)) = self.kept.pop_front_if(|(_, until)| *until <= now) {
            self.bytes -= gone;
        }
        let fits = self.bytes.checked_add(bytes).is_some_and(|sum| sum <= total);
        if fits {
            self.kept.push_back((bytes, until));
            self.bytes += bytes;
        }
        fits
    }
}

impl Shelf {
    pub(super) fn new(secrets: &SecretRing, each: usize, total: usize) -> Self {
        Self { sealer: Sealer::of_responses(secrets), each, total, books: Default::default() }
    }

    /// The response that was kept for a delivery, as it leaves again.
    pub(super) fn open(&self, id: &str, kept: &Kept) -> Option<Answer> {
        let sealed = kept.response.as_ref()?;
        let plain = self.sealer.open(&context(id, &kept.fingerprint, &kept.target), sealed);
        let stored: Option<Stored> = plain.and_then(|plain| postcard::from_bytes(&plain).ok());
        let Some(stored) = stored else {
            tracing::error!(target: "mpp", challenge = id, "a kept response cannot be opened: was its secret rotated away?");
            return None;
        };
        let mut response = Response::new(Body::from(stored.body));
        *response.status_mut() = StatusCode::from_u16(stored.status).ok()?;
        for (name, value) in stored.headers {
            let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
            response.headers_mut().append(name, value);
        }
        Some(Answer::again(deliver(response, Some(&stored.receipt))))
    }

    /// Seals what is to be kept; `None` when there is no room for it.
    fn seal(&self, of: &Identity, stored: &Stored, now: Timestamp) -> Option<Vec<u8>> {
        let plain = postcard::to_allocvec(stored).ok()?;
        let book = &self.books[of.quota.index()];
        let fits = |book: &Mutex<Book>| {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book.add(plain.len(), of.until, self.total, now.unix())
        };
        if !fits(book) {
            tracing::warn!(target: "mpp", quota = of.quota.name(), "no room to keep another response");
            return None;
        }
        self.sealer.seal(&context(&of.id, &of.fingerprint, &of.target), &plain)
    }
}

/// What a response is sealed under.
fn context(id: &str, fingerprint: &[u8; 32], target: &[u8; 32]) -> String {
    format!("{id} {} {}", b64::encode(fingerprint), b64::encode(target))
}

/// A response on its way out that is to be kept.
pub(super) struct Outgoing {
    mpp: Mpp,
    of: Identity,
    /// As JSON.
    receipt: Vec<u8>,
    parts: Parts,
    /// What of the body was there at once.
    read: VecDeque<Result<Frame<Bytes>, axum::Error>>,
    /// `None` when that is all of it.
    rest: Option<Body>,
    /// The body so far; `None` when it will not be kept.
    copy: Option<Vec<u8>>,
}

impl Outgoing {
    /// Reads what is there at once, and no more than may be kept. Nothing is waited for.
    pub(super) async fn read(mpp: &Mpp, response: Response, of: Identity, receipt: Vec<u8>) -> Self {
        let (parts, mut body) = response.into_parts();
        let limit = mpp.0.shelf.each;
        let fits = parts.status != StatusCode::SWITCHING_PROTOCOLS
            && body.size_hint().lower() <= limit as u64
            && size_of_head(&parts.headers) <= limit;
        let mut out = Self {
            mpp: mpp.clone(),
            of,
            receipt,
            parts,
            read: VecDeque::new(),
            rest: None,
            copy: fits.then(Vec::new),
        };
        while out.copy.is_some() {
            if body.is_end_stream() {
                return out;
            }
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await {
                Poll::Ready(None) => return out,
                Poll::Pending => break,
                Poll::Ready(Some(frame)) => {
                    copy(&mut out.copy, &frame, limit);
                    out.read.push_back(frame);
                }
            }
        }
        out.rest = Some(body);
        out
    }

    /// What is committed with the delivery.
    pub(super) fn committed(&self, now: Timestamp) -> Again {
        let whole = self.copy.as_ref().filter(|_| self.rest.is_none());
        Again::Kept(whole.and_then(|body| {
            let stored = stored(&self.parts, body.clone(), self.receipt.clone());
            self.mpp.0.shelf.seal(&self.of, &stored, now)
        }))
    }

    /// The response as it was, its delivery committed by `run`. A stream is kept when it has ended.
    pub(super) fn leave(self, run: u64) -> Response {
        let Self { mpp, of, receipt, parts, read, rest, copy } = self;
        let Some(rest) = rest else {
            let whole = Passing { read, rest: Body::empty(), copy: None };
            return Response::from_parts(parts, Body::new(whole));
        };
        let head = copy.is_some().then(|| stored(&parts, Vec::new(), receipt));
        let passing = Passing { read, rest, copy };
        let Some(head) = head else {
            return Response::from_parts(parts, Body::new(passing));
        };
        // What the process waits for before it ends.
        let pass = mpp.0.journal.doors().linger();
        let keep = Keep { mpp, of, run, head, _pass: pass };
        Response::from_parts(parts, Body::new(Recording { passing: Some(passing), keep: Some(keep) }))
    }
}

/// Adds a frame to the copy; gives the copy up when it cannot be kept.
fn copy(copy: &mut Option<Vec<u8>>, frame: &Result<Frame<Bytes>, axum::Error>, limit: usize) {
    let data = frame.as_ref().ok().and_then(Frame::data_ref);
    match (copy.as_mut(), data) {
        (Some(bytes), Some(data)) if bytes.len() + data.len() <= limit => bytes.extend_from_slice(data),
        // Over the limit, trailers, or broken.
        _ => *copy = None,
    }
}

fn stored(parts: &Parts, body: Vec<u8>, receipt: Vec<u8>) -> Stored {
    let headers = parts.headers.iter().filter(|(name, _)| is_kept(name));
    Stored {
        status: parts.status.as_u16(),
        headers: headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
        body,
        receipt,
    }
}

/// Without what opens an account, is written anew, or belongs to one connection (RFC 9110 section 7.6.1).
fn is_kept(name: &HeaderName) -> bool {
    const NOT: [HeaderName; 10] = [
        header::SET_COOKIE,
        PAYMENT_RECEIPT,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    !NOT.contains(name)
}

fn size_of_head(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .filter(|(name, _)| is_kept(name))
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// A body of which some was read already.
struct Passing {
    read: VecDeque<Result<Frame<Bytes>, axum::Error>>,
    rest: Body,
    copy: Option<Vec<u8>>,
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let data = |frame: &Result<Frame<Bytes>, _>| frame.as_ref().ok()?.data_ref().map(Bytes::len);
        let read = self.read.iter().filter_map(data).sum::<usize>() as u64;
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

/// A stream of which a copy is made while it leaves.
struct Recording {
    /// Gone when it has ended.
    passing: Option<Passing>,
    /// Gone when it was kept or given up.
    keep: Option<Keep>,
}

/// What is done with the copy.
struct Keep {
    mpp: Mpp,
    of: Identity,
    run: u64,
    /// Without a body yet.
    head: Stored,
    _pass: Pass,
}

impl Recording {
    /// One more frame went by.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(passing) = &mut self.passing else { return Poll::Ready(None) };
        // What was read before the head left is in the copy already.
        let new = passing.read.is_empty();
        let frame = std::task::ready!(Pin::new(&mut *passing).poll_frame(cx));
        if let Some(frame) = frame.as_ref().filter(|_| new)
            && let Some(keep) = &self.keep
        {
            copy(&mut passing.copy, frame, keep.mpp.0.shelf.each);
        }
        if passing.copy.is_none() {
            self.keep = None;
        }
        if frame.is_none() {
            self.ended();
        }
        Poll::Ready(frame)
    }

    /// It is whole: keep it.
    fn ended(&mut self) {
        let body = self.passing.take().and_then(|passing| passing.copy);
        let Some((keep, body)) = self.keep.take().zip(body) else { return };
        // Without a runtime nobody could write it down.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(keep.write(body));
    }
}

impl Keep {
    async fn write(self, body: Vec<u8>) {
        let Self { mpp, of, run, mut head, _pass } = self;
        head.body = body;
        let Some(sealed) = mpp.0.shelf.seal(&of, &head, mpp.now()) else { return };
        if let Err(error) = mpp.0.journal.keep_response(&of, run, sealed, mpp.now()).await {
            tracing::warn!(target: "mpp", ?error, "a response that had ended could not be kept");
        }
    }
}

impl HttpBody for Recording {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.passing.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.passing.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Recording {
    /// The client hung up, or the server saw that this was all and asked no more: the rest is read for the copy.
    fn drop(&mut self) {
        if self.keep.is_none() || self.passing.is_none() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut rest = Self { passing: self.passing.take(), keep: self.keep.take() };
        runtime.spawn(async move {
            let whole = async { while rest.keep.is_some() && poll_fn(|cx| rest.next(cx)).await.is_some() {} };
            if tokio::time::timeout(REST, whole).await.is_err() {
                // Too slow; and not again by `drop`.
                drop(rest.keep.take());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Secret;
    use crate::store::Quota;

    fn stored(body: &[u8]) -> Stored {
        let receipt =
            r#"{"status":"success","method":"tempo","timestamp":"2027-01-15T08:00:00Z","reference":"0x1"}"#;
        Stored {
            status: 200,
            headers: vec![("x-own".into(), b"kept".to_vec())],
            body: body.to_vec(),
            receipt: receipt.into(),
        }
    }

    fn identity(quota: Quota, id: &str) -> Identity {
        Identity { quota, id: id.to_owned(), fingerprint: [1; 32], target: [2; 32], expires: 0, until: 100 }
    }

    #[test]
    fn a_kept_response_opens_for_its_own_credential_request_and_challenge_only() {
        let shelf = Shelf::new(&SecretRing::new(Secret::generate()), 100, 1000);
        let now = Timestamp::from_unix(0);
        let sealed = shelf.seal(&identity(Quota::Paid, "a"), &stored(b"for sale"), now).unwrap();
        assert!(!sealed.windows(4).any(|w| w == b"sale"), "not in the clear");
        let kept = Kept { run: 1, fingerprint: [1; 32], target: [2; 32], response: Some(sealed) };
        assert!(shelf.open("a", &kept).is_some());
        assert!(shelf.open("b", &kept).is_none());
        assert!(shelf.open("a", &Kept { fingerprint: [9; 32], ..kept.clone() }).is_none());
        assert!(shelf.open("a", &Kept { target: [9; 32], ..kept.clone() }).is_none());
        assert!(shelf.open("a", &Kept { response: None, ..kept }).is_none());
    }

    #[test]
    fn the_shelf_of_each_quota_is_bounded_and_what_is_erased_makes_room() {
        let one = postcard::to_allocvec(&stored(&[b'x'; 80])).unwrap().len();
        let shelf = Shelf::new(&SecretRing::new(Secret::generate()), 100, 2 * one + 1);
        for quota in [Quota::Paid, Quota::Free] {
            let keep = |at: i64| {
                let stored = stored(&[b'x'; 80]);
                let of = Identity { until: at + 100, ..identity(quota, "a") };
                shelf.seal(&of, &stored, Timestamp::from_unix(at)).is_some()
            };
            assert_eq!([keep(0), keep(0), keep(99)], [true, true, false], "{quota:?}");
            assert_eq!([keep(100), keep(100), keep(100)], [true, true, false], "{quota:?}");
        }
    }

    #[test]
    fn cookies_receipts_and_what_belongs_to_a_connection_are_not_kept() {
        let mut headers = HeaderMap::new();
        for name in
            ["set-cookie", "payment-receipt", "connection", "transfer-encoding", "content-type", "x-own"]
        {
            headers.append(name, HeaderValue::from_static("v"));
        }
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        let (parts, ()) = response.into_parts();
        let kept = super::stored(&parts, Vec::new(), Vec::new());
        let names: Vec<_> = kept.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "x-own"]);
        assert_eq!(super::size_of_head(&parts.headers), "content-typevx-ownv".len());
    }
}
