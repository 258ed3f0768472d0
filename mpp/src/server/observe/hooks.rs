//! Hooks: the operator's own code, told about payments and kept away from them.
//!
//! Each hook has a thread and a bounded queue of its own. Whoever tells it something never waits: when the queue is full the
//! event is dropped and counted. A hook may block as long as it likes, and a panic ends the call and not the hook.

use super::Event;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// How many events wait for one hook before further ones are dropped.
pub(in super::super) const QUEUE: usize = 1024;

/// What an operator hooks in.
pub(in super::super) type Hook = Box<dyn FnMut(&Event) + Send>;

/// The hooks of a configuration.
#[derive(Default)]
pub(super) struct Hooks {
    queues: Vec<SyncSender<Event>>,
    dropped: Arc<AtomicU64>,
}

impl Hooks {
    /// Starts a thread per hook; it ends when the configuration is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(hooks: Vec<Hook>) -> std::io::Result<Self> {
        let mut started = Self::default();
        for mut hook in hooks {
            let (queue, events) = sync_channel::<Event>(QUEUE);
            std::thread::Builder::new().name("mpp-hook".to_owned()).spawn(move || {
                for event in events {
                    // What a hook left half done is the hook's own.
                    if catch_unwind(AssertUnwindSafe(|| hook(&event))).is_err() {
                        tracing::error!(target: "mpp", "a hook panicked; the payment it was told about is as it was");
                    }
                }
            })?;
            started.queues.push(queue);
        }
        Ok(started)
    }

    /// Whether anybody listens: events cost memory, so none is made for nobody.
    pub(super) fn listen(&self) -> bool {
        !self.queues.is_empty()
    }

    /// Queues an event for every hook; says how many of them had no room.
    pub(super) fn tell(&self, event: &Event) -> u64 {
        let full = self.queues.iter().filter(|queue| queue.try_send(event.clone()).is_err()).count() as u64;
        if full > 0 {
            // Once in a while is enough: it is a flood that causes it.
            let before = self.dropped.fetch_add(full, Ordering::Relaxed);
            if before / 1000 != (before + full) / 1000 || before == 0 {
                tracing::warn!(target: "mpp", dropped = before + full, "a hook is too slow; events are dropped");
            }
        }
        full
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("hooks", &self.queues.len()).field("dropped", &self.dropped()).finish()
    }
}
