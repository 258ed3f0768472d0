//! Payments without a known outcome, by entry: so that a credential that was paid for is neither lost nor paid for twice.
//!
//! A payment is here from the moment its credential exists until its outcome is known. While a request drives it, it is
//! *driven*; when that request ends without an answer (an error, or a caller that stopped waiting) it is *idle*, and the
//! next request for the same thing sends it again before anything new is paid.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName};

use super::error::{Asked, Cause, Unsettled};
use super::ledger::EntryId;
use super::payment::Payment;
use crate::method::Fate;
use crate::protocol::Timestamp;

/// The most that are remembered; the oldest is forgotten then, which costs its redelivery and nothing else.
const MOST: usize = 1024;

/// The most bytes of bodies that are remembered with them.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How often requests for the same thing send a payment again before they buy anew: a server that answers a credential for
/// ever with something else shall not close what it sells.
const RESUMES: u32 = 3;

/// One payment under way.
pub(super) struct Open {
    pub(super) payment: Payment,
    pub(super) asked: Arc<Asked>,
    driven: AtomicBool,
    resumed: AtomicU32,
}

#[derive(Default)]
pub(super) struct OpenPayments {
    list: Mutex<VecDeque<Arc<Open>>>,
}

/// Held by the request that drives a payment.
pub(super) struct Driving(pub(super) Arc<Open>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.driven.store(false, Ordering::Release);
    }
}

impl OpenPayments {
    /// Remembers a new payment. Whoever asked for it drives it: from here on, so that nobody else takes it before.
    pub(super) fn begin(&self, payment: Payment, asked: Arc<Asked>) -> Driving {
        let open =
            Arc::new(Open { payment, asked, driven: AtomicBool::new(true), resumed: AtomicU32::new(0) });
        let mut list = self.lock();
        list.push_back(open.clone());
        let bytes = |list: &VecDeque<Arc<Open>>| list.iter().map(|open| open.asked.body.len()).sum::<usize>();
        while list.len() > 1 && (list.len() > MOST || bytes(&list) > MOST_BYTES) {
            list.pop_front();
        }
        Driving(open)
    }

    pub(super) fn end(&self, entry: EntryId) {
        self.lock().retain(|open| open.payment.entry() != entry);
    }

    /// An idle payment for the same request, if it may still be sent.
    pub(super) fn resume(&self, asked: &Asked, volatile: &[HeaderName], now: Timestamp) -> Option<Driving> {
        let same = |open: &&Arc<Open>| {
            let tried = open.resumed.load(Ordering::Relaxed);
            tried < RESUMES && is_same(&open.asked, asked, volatile) && open.payment.may_be_sent(now)
        };
        let driving = self.lock().iter().filter(same).find_map(drive)?;
        driving.0.resumed.fetch_add(1, Ordering::Relaxed);
        Some(driving)
    }

    /// The payment of a credential that a caller sends again by itself.
    pub(super) fn find(&self, authorization: &[u8]) -> Option<Arc<Open>> {
        let carries = |open: &&Arc<Open>| {
            let own = open.payment.authorization().as_bytes();
            // Alone, or after another scheme's.
            authorization.ends_with(own)
        };
        self.lock().iter().find(carries).cloned()
    }

    /// Those that nobody waits for.
    pub(super) fn idle(&self) -> Vec<Unsettled> {
        let list = self.lock();
        let idle = list.iter().filter(|open| !open.driven.load(Ordering::Acquire));
        idle.map(|open| Unsettled {
            payment: open.payment.clone(),
            cause: Cause::Abandoned,
            fate: Fate::Unknown,
            asked: Asked::clone(&open.asked),
        })
        .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Open>>> {
        // Nothing panics between two states of the list.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a payment, unless somebody has it.
pub(super) fn drive(open: &Arc<Open>) -> Option<Driving> {
    let taken = open.driven.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
    taken.is_ok().then(|| Driving(open.clone()))
}

/// Whether two requests ask for the same thing, in the same name.
///
/// Any header may say who asks (`Authorization`, `Cookie`, `X-Api-Key`, a tenant, a forwarded address) or for what (`Accept`, an
/// `Idempotency-Key`), and what is sent again goes out with the headers of the first request. So all of them have to be
/// equal, but for those of which it is known that they do neither: a guess in the other direction would give one user's answer
/// to another.
fn is_same(one: &Asked, other: &Asked, volatile: &[HeaderName]) -> bool {
    one.method == other.method
        && one.url == other.url
        && says_the_same(&one.headers, &other.headers, volatile)
        && one.body == other.body
}

fn says_the_same(one: &HeaderMap, other: &HeaderMap, volatile: &[HeaderName]) -> bool {
    let tells = |name: &&HeaderName| !VOLATILE.contains(&name.as_str()) && !volatile.contains(name);
    one.keys().filter(tells).all(|name| one.get_all(name) == other.get_all(name))
        && other.keys().filter(tells).all(|name| one.contains_key(name))
}

/// Headers that differ between two requests for the same thing: about the connection, the program, or a trace.
const VOLATILE: [&str; 25] = [
    "accept-payment",
    "b3",
    "baggage",
    "connection",
    "content-length",
    "date",
    "expect",
    "keep-alive",
    "priority",
    "sentry-trace",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "uber-trace-id",
    "user-agent",
    "via",
    "x-amzn-trace-id",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Asset, ClientMethod, Cost, PayError, Proof, Step};
    use crate::protocol::{BaseUnits, Challenge, MethodName};
    use bytes::Bytes;
    use http::{HeaderValue, Method};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    struct NoWallet(MethodName);

    impl ClientMethod for NoWallet {
        fn name(&self) -> &MethodName {
            &self.0
        }

        fn pay<'a>(&'a self, _: &'a Challenge) -> Step<'a, Result<Proof, PayError>> {
            Step::ready(Err(PayError::Declined("no".into())))
        }
    }

    fn payment(entry: u128) -> Payment {
        paying(entry, r#"Payment id="a", realm="r", method="tempo", intent="charge", request="e30""#)
    }

    fn paying(entry: u128, line: &str) -> Payment {
        let cost = Cost::new(BaseUnits::new(1), Asset::known("eip155:4217", "0xa", "usdc", 6));
        let proof = Proof { payload: serde_json::Map::new(), source: None };
        Payment::new(
            format!("{entry:032x}").parse().unwrap(),
            Challenge::parse_all([line]).offers.remove(0),
            cost,
            proof,
            HeaderValue::from_static("Payment e30"),
            Arc::new(NoWallet(MethodName::from_static("tempo"))),
        )
    }

    /// A list of open payments for requests with these bodies, oldest first; what is left of it.
    fn kept(bodies: impl IntoIterator<Item = Bytes>) -> Vec<u128> {
        let list = OpenPayments::default();
        for (entry, body) in (0..).zip(bodies) {
            let url = "https://api.example.com/".parse().unwrap();
            let asked = Asked { method: Method::POST, url, headers: HeaderMap::new(), body };
            drop(list.begin(payment(entry), Arc::new(asked)));
        }
        let entry = |open: Unsettled| u128::from_str_radix(&open.payment.entry().to_string(), 16).unwrap();
        list.idle().into_iter().map(entry).collect()
    }

    #[test]
    fn what_was_never_sent_is_not_sent_at_the_end_of_its_challenge_and_what_was_is() {
        let end = Timestamp::from_unix(1_800_000_000);
        let line = format!(
            r#"Payment id="a", realm="r", method="tempo", intent="charge", request="e30", expires="{}""#,
            end.to_rfc3339().as_str()
        );
        let payment = paying(1, &line);
        let times = [-1, 0, 1].map(|seconds| Timestamp::from_unix(end.unix() + seconds));
        assert_eq!(times.map(|now| payment.may_be_sent(now)), [true, false, false]);
        payment.mark_sent();
        assert_eq!(times.map(|now| payment.may_be_sent(now)), [true; 3], "it may have been taken");
    }

    #[test]
    fn another_verb_url_or_body_is_another_request() {
        let asked = |method, path: &str, body: &'static [u8]| {
            let url = format!("https://api.example.com/{path}").parse().unwrap();
            Asked { method, url, headers: HeaderMap::new(), body: Bytes::from_static(body) }
        };
        let one = asked(Method::POST, "a", b"x");
        for (other, same) in [
            (asked(Method::POST, "a", b"x"), true),
            (asked(Method::PUT, "a", b"x"), false),
            (asked(Method::POST, "a?b", b"x"), false),
            (asked(Method::POST, "a", b"y"), false),
        ] {
            assert_eq!(is_same(&one, &other, &[]), same, "{} {}", other.method, other.url);
        }
    }

    #[test]
    fn so_many_payments_are_kept_open_and_the_oldest_goes_first() {
        let most = MOST as u128;
        assert_eq!(kept((0..most).map(|_| Bytes::new())), (0..most).collect::<Vec<_>>());
        assert_eq!(kept((0..most + 2).map(|_| Bytes::new())), (2..most + 2).collect::<Vec<_>>());
    }

    #[test]
    fn so_much_of_what_is_to_be_sent_again_is_kept_and_the_newest_however_large() {
        let (half, more) = (Bytes::from(vec![0; MOST_BYTES / 2]), Bytes::from(vec![0; MOST_BYTES + 1]));
        assert_eq!(kept([half.clone(), half.clone()]), [0, 1], "to the byte");
        assert_eq!(kept([half.clone(), half.clone(), Bytes::from_static(b"x")]), [1, 2]);
        assert_eq!(kept([half, more]), [1]);
    }

    #[test]
    fn every_header_tells_requests_apart_but_those_of_the_connection_the_program_and_the_trace() {
        let own = [HeaderName::from_static("x-attempt")];
        let same = |one: &[_], other: &[_]| {
            let (one, other) = (headers(one), headers(other));
            let forth = says_the_same(&one, &other, &own);
            assert_eq!(forth, says_the_same(&other, &one, &own), "{one:?} {other:?}");
            forth
        };
        for name in [
            "authorization",
            "cookie",
            "x-api-key",
            "x-tenant",
            "x-forwarded-for",
            "accept",
            "idempotency-key",
        ] {
            assert!(!same(&[(name, "a")], &[(name, "b")]), "{name}");
            assert!(!same(&[(name, "a")], &[]), "{name}");
            assert!(!same(&[(name, "a"), (name, "b")], &[(name, "a")]), "{name}");
            assert!(same(&[(name, "a"), ("date", "x")], &[("traceparent", "y"), (name, "a")]), "{name}");
        }
        for name in VOLATILE {
            assert!(same(&[(name, "a")], &[(name, "b")]) && same(&[(name, "a")], &[]), "{name}");
        }
        assert!(same(&[("x-attempt", "1")], &[("x-attempt", "2")]), "its owner says so");
    }
}
