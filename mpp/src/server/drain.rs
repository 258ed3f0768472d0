//! Shutting down without losing a payment: who is inside, and the closing of the doors.
//!
//! Whatever claims, settles, runs a paid handler or finishes a journal entry holds a [`Pass`]. Once the doors are closed
//! no new pass is given, so nothing is claimed after that; who is inside finishes. What cannot wait that long is journaled
//! at every step anyway (`journal.rs`), and the next process takes it over.
//!
//! A configuration that [replaces](crate::Builder::replaces) another closes that one's doors with its own, and waits at both:
//! it is the process that leaves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// The way in.
pub(crate) struct Doors {
    /// The same as in `inside`, where it costs a refusal nothing to look.
    closed: AtomicBool,
    inside: watch::Sender<Inside>,
    /// Those of the configurations before this one, for as long as anybody uses them.
    before: Vec<Weak<Doors>>,
}

#[derive(Default)]
struct Inside {
    closed: bool,
    passes: usize,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            closed: AtomicBool::new(false),
            inside: watch::Sender::new(Inside::default()),
            before: Vec::new(),
        }
    }
}

impl Doors {
    /// Those of a configuration that takes the place of another.
    pub(crate) fn after(predecessor: &Arc<Doors>) -> Self {
        // A process whose prices change every day keeps no row of what is over.
        let used = predecessor.before.iter().filter(|doors| doors.strong_count() > 0).cloned();
        Self { before: used.chain([Arc::downgrade(predecessor)]).collect(), ..Self::default() }
    }

    /// A pass, or `None` when the doors are closed.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let entered = self.inside.send_if_modified(|inside| {
            if !inside.closed {
                inside.passes += 1;
            }
            !inside.closed
        });
        entered.then(|| Pass(self.clone()))
    }

    /// A pass for the rest of something that is under way.
    pub(crate) fn linger(self: &Arc<Self>) -> Pass {
        self.inside.send_modify(|inside| inside.passes += 1);
        Pass(self.clone())
    }

    /// With all before.
    pub(crate) fn close(&self) {
        self.before().for_each(|doors| doors.close_alone());
        self.close_alone();
    }

    fn close_alone(&self) {
        self.inside.send_modify(|inside| inside.closed = true);
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn are_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns when the doors are closed and nobody is inside, here and at all before.
    pub(crate) async fn deserted(&self) {
        self.deserted_alone().await;
        for doors in self.before() {
            doors.deserted_alone().await;
        }
    }

    fn before(&self) -> impl Iterator<Item = Arc<Doors>> {
        self.before.iter().filter_map(Weak::upgrade)
    }

    async fn deserted_alone(&self) {
        let mut inside = self.inside.subscribe();
        // Fails only when the sender is gone, and it is ours.
        drop(inside.wait_for(|inside| inside.closed && inside.passes == 0).await);
    }
}

/// Keeps the process from ending in good order; given back when dropped.
pub(crate) struct Pass(Arc<Doors>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.send_modify(|inside| inside.passes = inside.passes.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn nobody_enters_closed_doors_and_they_are_deserted_when_the_last_one_has_left() {
        let doors = Arc::new(Doors::default());
        let pass = doors.enter().unwrap();
        let mut deserted = pin!(doors.deserted());
        let mut look = || deserted.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!look());
        doors.close();
        assert!(doors.are_closed() && doors.enter().is_none());
        let rest = doors.linger();
        drop(pass);
        assert!(!look(), "the rest of what was under way");
        drop(rest);
        assert!(look());
    }

    #[test]
    fn doors_nobody_uses_any_more_are_forgotten() {
        let mut doors = Arc::new(Doors::default());
        for _ in 0..9 {
            doors = Arc::new(Doors::after(&doors));
        }
        assert_eq!((doors.before.len(), doors.before().count()), (1, 0));
    }

    #[test]
    fn open_doors_are_never_deserted() {
        let doors = Arc::new(Doors::default());
        drop(doors.enter());
        let deserted = pin!(doors.deserted());
        assert!(deserted.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}
