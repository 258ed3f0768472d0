//! Which clock decides when a value in a shared database ends: the database's, one for all.
//!
//! Were it the caller's, one machine whose clock runs ahead would drop what the others still need: a credential that was
//! delivered would open its route again. What a caller writes is kept for its time from the later of the two clocks: nothing
//! ends early because either of them is wrong, in whatever direction.
//!
//! One error is left, and refused. A payment is remembered until its challenge has expired and a minute longer. A machine
//! whose clock is behind by more than that would take a credential that the database has rightly forgotten. So a write from a
//! machine that is more than [`BEHIND`] behind the database fails, before it wrote anything.

use super::Keep;
use crate::clock::{Clock, SystemClock};
use std::sync::Arc;

/// Seconds that a machine may be behind the database: half of the minute, the other half is for a call that was long on its way.
pub(super) const BEHIND: i64 = 30;

/// Whose time a shared store goes by.
pub(super) enum Time {
    /// The database's. This is the clock of the machine.
    Database(Arc<dyn Clock>),
    /// This one's, for tests.
    Given(Arc<dyn Clock>),
}

impl Time {
    /// What this machine takes the time for; unix seconds.
    pub(super) fn here(&self) -> i64 {
        match self {
            Self::Database(clock) | Self::Given(clock) => clock.now().unix(),
        }
    }

    /// The time that stands in for the database's.
    pub(super) fn instead(&self) -> Option<i64> {
        match self {
            Self::Database(_) => None,
            Self::Given(clock) => Some(clock.now().unix()),
        }
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::Database(Arc::new(SystemClock))
    }
}

/// For how many seconds a value is kept; `None` for one that is live. A started second counts as a whole one.
pub(super) fn seconds(keep: Keep) -> Option<i64> {
    match keep {
        Keep::Live => None,
        Keep::For(time) => {
            let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
            Some(seconds.min(LONGEST).cast_signed())
        }
    }
}

/// Added to the time of day, it is still an exact number for Lua, and in range for PostgreSQL.
const LONGEST: u64 = 1 << 52;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_started_second_is_kept_whole_and_the_longest_time_is_a_number_everywhere() {
        assert_eq!(seconds(Keep::Live), None);
        assert_eq!(seconds(Keep::For(Duration::from_millis(1))), Some(1));
        assert_eq!(seconds(Keep::For(Duration::from_secs(5))), Some(5));
        let ends = 4_000_000_000 + seconds(Keep::For(Duration::MAX)).unwrap();
        assert_eq!(ends as f64 as i64, ends);
    }
}
