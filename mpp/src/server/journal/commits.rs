//! Deliveries of this process of which it is not known yet whether they are committed, or which are being taken back.
//!
//! Until then the record in the store is not the last word: it may say "delivered" of a response that nobody got. Whoever presents
//! the same credential meanwhile waits, instead of being told that it is used up: it would pay again. Another process cannot know; what
//! it answers in such a moment is in [`Claim::delivered`](super::Claim::delivered).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Shared by all configurations of a process that follow one another.
#[derive(Clone, Default)]
pub(crate) struct Commits(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ids: Mutex<HashSet<String>>,
    ended: Notify,
}

impl Commits {
    /// Until the guard is dropped. Only the owner of an entry commits it, so there is one for each id.
    pub(crate) fn begin(&self, id: &str) -> Committing {
        self.ids().insert(id.to_owned());
        Committing { of: self.clone(), id: id.to_owned() }
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.ids().contains(id)
    }

    /// Returns when what the store says of this payment is the last word.
    pub(crate) async fn ended(&self, id: &str) {
        loop {
            // Made before the look: it hears of what ends in between.
            let ended = self.0.ended.notified();
            if !self.has(id) {
                return;
            }
            ended.await;
        }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
pub(crate) struct Committing {
    of: Commits,
    id: String,
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.of.ids().remove(&self.id);
        self.of.0.ended.notify_waiters();
    }
}
