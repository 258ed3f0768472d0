//! Ctrl-C, or a polite end from elsewhere, while a payment is under way: the command ends, and what may be paid is kept first.
//!
//! Before a payment, at the question above all, the system's own way of ending a program holds. From the moment that the ledger
//! has an entry it would lose a credential, which exists in this process alone; so from there on signals are waited for here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mpp::client::{Client, Outcome, Unsettled};
use mpp::{Clock as _, SystemClock};
use tokio::sync::Notify;

/// The longest that a wallet is waited for, which may be sending something this moment.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Whether somebody wants the command to end. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    armed: Arc<Notify>,
}

impl Interrupt {
    /// A payment begins.
    pub(crate) fn arm(&self) {
        self.armed.notify_one();
    }

    /// Runs this, unless somebody wants the command to end after a payment has begun.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.happens() => None,
        }
    }

    async fn happens(&self) {
        self.armed.notified().await;
        // It stays armed for whatever else is done for that payment.
        self.armed.notify_one();
        signal().await;
    }
}

/// The payment that was given up, once its wallet is done with it. None where there is none: a wallet that failed, or that
/// needs longer than somebody who asks twice wants to wait.
pub(crate) async fn given_up(client: &Client) -> Option<Unsettled> {
    let look = async {
        loop {
            if let Some(unsettled) = client.unsettled().into_iter().next() {
                return unsettled;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let found = tokio::select! {
        found = tokio::time::timeout(PATIENCE, look) => found.ok(),
        () = signal() => None,
    }?;
    // That fails where the ledger cannot be written: then it is open, and counts all the same.
    let entry = found.payment.entry();
    let _ = client.ledger().conclude(&entry, &Outcome::Unknown, SystemClock.now()).await;
    Some(found)
}

/// Comes when the program is asked to end.
async fn signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    if interrupted.await.is_err() {
        // Nobody can ask; whoever wants to end it ends it.
        std::future::pending::<()>().await;
    }
}
