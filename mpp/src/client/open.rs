//! Payments without a known outcome, by entry: so that a credential that was paid for is neither lost nor paid for twice.
//!
//! A payment is here from the moment its credential exists until its outcome is known. While a request drives it, it is
//! *driven*; when that request ends without an answer (an error, or a caller that stopped waiting) it is *idle*, and the
//! next request for the same thing sends it again before anything new is paid.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, header};

use super::error::{Asked, Cause, Unsettled};
use super::ledger::EntryId;
use super::payment::{IDEMPOTENCY_KEY, Payment};
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
    pub(super) fn resume(&self, asked: &Asked, now: Timestamp) -> Option<Driving> {
        let same = |open: &&Arc<Open>| {
            let tried = open.resumed.load(Ordering::Relaxed);
            tried < RESUMES && is_same(&open.asked, asked) && open.payment.may_be_sent(now)
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

/// Whether two requests ask for the same thing. A caller that sets another `Idempotency-Key` says that they do not; one with
/// another identity asks for somebody else, who shall not get what is sent in the first one's name.
fn is_same(one: &Asked, other: &Asked) -> bool {
    const TELLING: [HeaderName; 3] = [IDEMPOTENCY_KEY, header::AUTHORIZATION, header::COOKIE];
    one.method == other.method
        && one.url == other.url
        && TELLING.iter().all(|name| one.headers.get_all(name) == other.headers.get_all(name))
        && one.body == other.body
}
