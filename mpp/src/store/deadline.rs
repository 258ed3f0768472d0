//! When a stored value ends: the one reading of [`Keep`] that every backend shares.

use super::Keep;
use crate::protocol::Timestamp;

/// The second from which a value is as absent; seconds since 1970, so that backends can index it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline(pub(super) i64);

impl Deadline {
    /// Of a live value.
    pub(super) const NEVER: Self = Self(i64::MAX);

    /// Of a value written now. A started second counts as a whole one: nothing is dropped early.
    pub(super) fn of(keep: Keep, now: Timestamp) -> Self {
        match keep {
            Keep::Live => Self::NEVER,
            Keep::For(time) => {
                let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
                Self(now.unix().saturating_add_unsigned(seconds).min(i64::MAX - 1))
            }
        }
    }

    pub(super) fn passed(self, now: Timestamp) -> bool {
        self != Self::NEVER && self.0 <= now.unix()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_live_value_never_ends_and_a_very_long_one_is_not_mistaken_for_it() {
        let now = Timestamp::from_unix(1_800_000_000);
        assert!(!Deadline::of(Keep::Live, now).passed(Timestamp::from_unix(i64::MAX)));
        assert!(Deadline::of(Keep::For(Duration::MAX), now) < Deadline::NEVER);
    }

    #[test]
    fn a_started_second_is_kept_whole() {
        let now = Timestamp::from_unix(100);
        let deadline = Deadline::of(Keep::For(Duration::from_millis(1)), now);
        assert!(!deadline.passed(now) && deadline.passed(Timestamp::from_unix(101)));
    }
}
