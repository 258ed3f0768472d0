//! Time, injected: expiry is tested without sleeping.
//!
//! Everything that reads the time (challenges, stores, the journal) reads it from a [`Clock`] it was given. The wire
//! counts whole seconds (RFC 3339 in `expires` and receipts), so a clock does too.

use crate::protocol::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Where the time comes from.
///
/// ```
/// use mpp::{Clock, ManualClock, protocol::Timestamp};
/// let clock = ManualClock::at(Timestamp::from_unix(1_800_000_000));
/// clock.advance(std::time::Duration::from_secs(60));
/// assert_eq!(clock.now().unix(), 1_800_000_060);
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Now, in whole seconds.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
///
/// ```
/// use mpp::{Clock, SystemClock};
/// assert!(SystemClock.now().unix() > 1_700_000_000);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        as_of_last_tick().map_or_else(|| SystemTime::now().into(), Timestamp::from_unix)
    }
}

/// What the kernel knew at its last tick, a few milliseconds ago: reading the processor's counter for the rest takes five times
/// as long, and a payment reads the clock a dozen times.
// Where seconds have 64 bits.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn as_of_last_tick() -> Option<i64> {
    nix::time::ClockId::CLOCK_REALTIME_COARSE.now().ok().map(|now| now.tv_sec())
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn as_of_last_tick() -> Option<i64> {
    None
}

/// A clock that stands still until it is told otherwise, for tests.
///
/// ```
/// use mpp::{Clock, ManualClock, protocol::Timestamp};
/// let clock = ManualClock::at(Timestamp::parse("2026-11-21T10:00:00Z")?);
/// assert_eq!(clock.now(), clock.now());
/// # Ok::<(), mpp::protocol::TimestampError>(())
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `start`.
    ///
    /// ```
    /// # use mpp::{Clock, ManualClock, protocol::Timestamp};
    /// assert_eq!(ManualClock::at(Timestamp::from_unix(1_800_000_000)).now().unix(), 1_800_000_000);
    /// ```
    pub fn at(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.unix()))
    }

    /// Moves on by whole seconds; the rest of `by` is dropped.
    ///
    /// ```
    /// # use mpp::{Clock, ManualClock, protocol::Timestamp};
    /// # use std::time::Duration;
    /// let clock = ManualClock::at(Timestamp::from_unix(1_800_000_000));
    /// clock.advance(Duration::from_secs(5 * 60));
    /// assert_eq!(clock.now().unix(), 1_800_000_300);
    /// ```
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::SeqCst))
    }
}
