//! The time of a chain that was set ahead.

use mpp::protocol::Timestamp;
use mpp::{Clock, SystemClock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A clock that goes with such a chain: the system's, and as much as [`skip`](Self::skip) has said.
#[derive(Debug, Default)]
pub struct Ahead(AtomicU64);

impl Ahead {
    /// Goes ahead, by whole seconds.
    pub fn skip(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}
