//! Who waits for a key: a fixed number of bells, shared by the keys that hash to them.

use super::Key;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use tokio::sync::{Notify, futures::Notified};

/// Enough that a wake-up rarely disturbs waiters of other keys, few enough to cost nothing.
const BELLS: usize = 256;

/// Wakes the waiters of a key when it was written. Memory does not grow with keys or waiters' keys.
pub(super) struct Wakeups {
    bells: Box<[Notify]>,
    // Randomly seeded: nobody outside can choose keys that share a bell.
    hasher: RandomState,
}

impl Wakeups {
    pub(super) fn new() -> Self {
        Self { bells: (0..BELLS).map(|_| Notify::new()).collect(), hasher: RandomState::new() }
    }

    /// Ready after the next [`ring`](Self::ring) for this key, or for another that shares its bell. Registers when
    /// first polled or enabled.
    pub(super) fn listen(&self, key: &Key) -> Notified<'_> {
        self.bell(key.as_str()).notified()
    }

    /// The key was written.
    pub(super) fn ring(&self, key: &str) {
        self.bell(key).notify_waiters();
    }

    fn bell(&self, key: &str) -> &Notify {
        // Less than BELLS, so it fits whatever `usize` is.
        &self.bells[(self.hasher.hash_one(key) % BELLS as u64) as usize]
    }
}
