//! Deliveries of this process of which it is not known yet whether they are committed, or which are being taken back.
//!
//! Until then the record in the store is not the last word: it may say "delivered" of a response that nobody got. Whoever presents
//! the same credential meanwhile waits, instead of being told that it is used up: it would pay again. Another process cannot know; what
//! it answers in such a moment is in [`Claim::delivered`](super::Claim::delivered).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Shared by all configurations of a process that follow one another.
#[derive(Clone, Default)]
pub(crate) struct Commits(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// How many of each: who has lost the entry may still be at it when the next owner commits.
    ids: Mutex<HashMap<Arc<str>, usize>>,
    ended: Notify,
    /// How many were not simply committed.
    doubtful: AtomicU64,
}

/// A moment before a record was read.
#[derive(Clone, Copy)]
pub(crate) struct Moment(u64);

impl Commits {
    /// Until the guard is dropped.
    pub(crate) fn begin(&self, id: &str) -> Committing {
        let id: Arc<str> = id.into();
        *self.ids().entry(id.clone()).or_default() += 1;
        Committing { of: self.clone(), id }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.0.doubtful.load(Ordering::SeqCst))
    }

    /// Whether a record of this payment that was read since may not be the last word: its delivery was being committed then and still
    /// is, or some delivery turned out not to be one since.
    pub(crate) fn may_undo(&self, id: &str, since: Moment) -> bool {
        // In this order: what ends in between has counted itself first.
        self.ids().contains_key(id) || self.now().0 != since.0
    }

    /// Returns when what the store says of this payment is the last word.
    pub(crate) async fn ended(&self, id: &str) {
        loop {
            // Made before the look: it hears of what ends in between.
            let ended = self.0.ended.notified();
            if !self.ids().contains_key(id) {
                return;
            }
            ended.await;
        }
    }

    fn end(&self, id: &str) {
        let mut ids = self.ids();
        if let Some(count) = ids.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                ids.remove(id);
            }
        }
    }

    fn ids(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.0.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
pub(crate) struct Committing {
    of: Commits,
    id: Arc<str>,
}

impl Committing {
    /// Nobody got the response: what was read until now may be taken back.
    pub(crate) fn in_doubt(&self) {
        self.of.0.doubtful.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.of.end(&self.id);
        self.of.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_owner_that_gives_up_ends_nothing_of_the_next_one() {
        let commits = Commits::default();
        let then = commits.now();
        let (former, next) = (commits.begin("id"), commits.begin("id"));
        drop(former);
        assert!(commits.may_undo("id", then));
        drop(next);
        assert!(!commits.may_undo("id", then));
        assert!(commits.ids().is_empty());
    }

    #[test]
    fn what_began_and_was_taken_back_since_is_noticed() {
        let commits = Commits::default();
        let then = commits.now();
        let one = commits.begin("id");
        one.in_doubt();
        drop(one);
        assert!(commits.may_undo("id", then) && !commits.may_undo("id", commits.now()));
    }
}
