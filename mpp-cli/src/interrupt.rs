//! Ctrl-C, or a polite end from elsewhere, while a payment is under way: the command ends, and what may be paid is kept first.
//!
//! Before a payment, at its question above all, the system's own way of ending a program holds. From the moment that the ledger
//! has an entry it would lose a credential, which exists in this process alone; so from there on signals are waited for here,
//! to the end of the command: what is done after it runs under [`Interrupt::or`].

use std::future::Future;
use std::sync::{Arc, OnceLock};

use mpp::client::EntryId;
use tokio::sync::watch;

/// Whether somebody wants the command to end. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Default)]
struct State {
    /// Signals are waited for.
    is_armed: OnceLock<()>,
    /// The payment that is under way.
    payment: watch::Sender<Option<EntryId>>,
    /// How often somebody has asked.
    asked: watch::Sender<usize>,
}

impl Interrupt {
    /// A payment begins. Has to be called in a runtime.
    pub(crate) fn arm(&self, payment: EntryId) {
        self.0.payment.send_replace(Some(payment));
        self.0.is_armed.get_or_init(|| {
            let state = self.0.clone();
            // From now on, and not from whenever the task is run first.
            let mut signals = Signals::listen();
            tokio::spawn(async move {
                loop {
                    signals.next().await;
                    state.asked.send_modify(|times| *times += 1);
                }
            });
        });
    }

    /// None is under way: not yet, or it did not happen.
    pub(crate) fn rest(&self) {
        self.0.payment.send_replace(None);
    }

    /// The payment that is under way.
    pub(crate) fn payment(&self) -> Option<EntryId> {
        *self.0.payment.borrow()
    }

    /// Runs this, unless somebody wants the command to end, now or since a payment has begun.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.beyond(0) => None,
        }
    }

    /// The same for what is done because somebody has asked already: whoever asks once more does not want to wait for it either.
    pub(crate) async fn or_again<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let before = *self.0.asked.borrow();
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.beyond(before) => None,
        }
    }

    async fn beyond(&self, times: usize) {
        // The sender is ours, so it is there.
        let _ = self.0.asked.subscribe().wait_for(|asked| *asked > times).await;
    }
}

/// What asks a program to end: Ctrl-C, the system, and a terminal that is closed.
#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    /// One that cannot be listened to ends the program as ever.
    fn listen() -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        let closed = (!outlives_its_terminal()).then(SignalKind::hangup);
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()].into_iter().chain(closed);
        Signals(kinds.flat_map(signal).collect())
    }

    async fn next(&mut self) {
        use std::task::Poll;
        std::future::poll_fn(|context| {
            match self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// Whether this runs under `nohup`: whoever listens to what a program was told to ignore no longer ignores it.
#[cfg(unix)]
fn outlives_its_terminal() -> bool {
    // Linux says so there; elsewhere a payment that is stopped so is kept as any other.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // Signals are counted from 1, which is this one.
    ignored & 1 == 1
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Signals {
        Signals
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can ask; whoever wants to end it ends it.
            std::future::pending::<()>().await;
        }
    }
}
