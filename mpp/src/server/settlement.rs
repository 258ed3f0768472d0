//! From the first claim to a delivered response (draft-httpauth-payment-00 sections 11.3 to 11.5).
//!
//! The work between the first claim and a terminal payment state runs on a detached task that the request only awaits: a
//! client that hangs up cancels nothing. How many run at once is bounded. Once a payment is settled (or held), its handler
//! runs under a lease that a heartbeat renews; [`Exit`] commits the delivery before the first byte leaves, and when it is
//! dropped instead (a panic, a cancelled request) the same credential opens the route again.

use super::Mpp;
use super::drain::Pass;
use super::journal::{
    Abandoned, Again, Claim, Claimed, Committing, Entry, Found, Held, JournalError, NewClaim, Patience,
    Proofs, Settled, Settling, Started, Taken,
};
use super::observe::{Failure, TARGET, Verdict};
use super::paid::{Delivery, Hold, Proved};
use super::pipeline::Admission;
use super::replay::Outgoing;
use super::respond::{Answer, Challenges, deliver, is_delivery};
use crate::method::{self, Payment, Rejection, ServerMethod, SettleCx, Settlement, SettlementPlan, Step};
use crate::pricing::Capture;
use crate::protocol::{Detail, Problem, ProblemType, Receipt, Timestamp};
use crate::store::StoreError;
use axum::http::StatusCode;
use axum::response::Response;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

const RETRY: Duration = Duration::from_secs(2);

/// What a detached task is asked to do.
pub(super) enum Work {
    /// Claim and settle, or hold. The claim carries the plan sealed, for whoever has to finish it; we have it in clear.
    Settle { claim: Box<NewClaim>, plan: SettlementPlan, capture: Capture },
    /// Finish what a dead process left, or an answer that was lost; deliver what is paid.
    Resume(Abandoned),
}

/// How a claim ended.
pub(super) enum Outcome {
    /// Settled or held: the handler may run.
    Paid(Run),
    /// Nothing stands any more: start again.
    Vacant,
    /// Nothing moved.
    Rejected(Rejection),
    /// Somebody else has this challenge.
    Existing(Found),
    /// Its `Idempotency-Key` belongs to another payment: nothing moved.
    KeyInUse,
    /// Too many settlements at once.
    Busy,
    /// The process is about to end: nothing was touched.
    Closed,
    /// Nobody knows.
    Unknown,
    /// Paid, and not to be delivered any more.
    RefundDue,
    /// The store failed.
    Store(StoreError),
}

impl From<JournalError> for Outcome {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Store(e) => Self::Store(e),
            JournalError::Lost(Some(found)) => Self::Existing(found),
            JournalError::Lost(None) => Self::Vacant,
        }
    }
}

/// Room for one more settlement. Taken before anything is claimed or taken over: who finds none leaves no lease behind.
pub(super) fn room(mpp: &Mpp) -> Option<OwnedSemaphorePermit> {
    mpp.0.settlements.clone().try_acquire_owned().ok()
}

/// Runs `work` so that dropping the returned future cancels nothing. What may ask a network has `room`.
pub(super) async fn detached(
    mpp: &Mpp,
    pass: Pass,
    room: Option<OwnedSemaphorePermit>,
    fresh: Option<Challenges>,
    method: Arc<dyn ServerMethod>,
    work: Work,
) -> Outcome {
    let (done, outcome) = oneshot::channel();
    let task = Task { mpp: mpp.clone(), method, fresh };
    let span = tracing::Span::current();
    let work = async move {
        let mpp = task.mpp.clone();
        let underway = room.as_ref().map(|_| mpp.0.observers.settling());
        let outcome = task.run(work).await;
        drop((room, underway));
        // If nobody waits any more the outcome comes back and is dropped here: a `Run` then marks itself undelivered.
        drop(done.send(outcome));
        drop(pass);
    };
    // A child of the request's own span, though the request may be gone before it ends.
    // Boxed: tokio moves a future several times on its way into a task, and this one has thousands of bytes.
    tokio::spawn(Box::pin(work.instrument(span)));
    // The task died: what it did is in the journal, and the next request finds it there.
    outcome.await.unwrap_or(Outcome::Unknown)
}

struct Task {
    mpp: Mpp,
    method: Arc<dyn ServerMethod>,
    fresh: Option<Challenges>,
}

impl Task {
    async fn run(mut self, work: Work) -> Outcome {
        let result = match work {
            Work::Settle { claim, plan, capture } => {
                let span =
                    tracing::info_span!(target: TARGET, "claim", challenge = claim.id, method = claim.method);
                self.claim(claim, &plan, capture).instrument(span).await
            }
            Work::Resume(abandoned) => self.resume(abandoned).await,
        };
        result.unwrap_or_else(Outcome::from)
    }

    /// Claiming → claimed → settled or held.
    async fn claim(
        &mut self,
        new: Box<NewClaim>,
        plan: &SettlementPlan,
        capture: Capture,
    ) -> Result<Outcome, JournalError> {
        let claiming = self.mpp.0.journal.claim(new, self.mpp.now()).await?;
        match claiming.take_proofs(self.mpp.now()).await? {
            Proofs::UsedElsewhere(undone) => {
                tell_claim(&undone, "used");
                Ok(Outcome::Rejected(Rejection::failed(
                    "this payment was already used for another challenge",
                )))
            }
            Proofs::KeyInUse(undone) => {
                tell_claim(&undone, "key-used");
                Ok(Outcome::KeyInUse)
            }
            Proofs::Taken(claimed) if self.mpp.now() >= Timestamp::from_unix(claimed.entry().expires) => {
                tell_claim(&claimed, "expired");
                claimed.release(self.mpp.now()).await?;
                Ok(Outcome::Rejected(Rejection::Refused {
                    kind: ProblemType::PaymentExpired,
                    detail: Cow::Borrowed("this challenge has expired"),
                }))
            }
            Proofs::Taken(claimed) => {
                tell_claim(&claimed, "claimed");
                self.proceed(claimed, plan, capture).await
            }
        }
    }

    /// All claims are held, before the challenge expired: the money.
    async fn proceed(
        &mut self,
        claimed: Claim<Claimed>,
        plan: &SettlementPlan,
        capture: Capture,
    ) -> Result<Outcome, JournalError> {
        match capture {
            Capture::BeforeHandler => self.settle(claimed.begin_settling(self.mpp.now()).await?, plan).await,
            Capture::OnSuccess => self.hold(claimed.begin_holding(self.mpp.now()).await?, plan).await,
        }
    }

    async fn settle(
        &mut self,
        settling: Claim<Settling>,
        plan: &SettlementPlan,
    ) -> Result<Outcome, JournalError> {
        let notebook = self.mpp.notebook(&*self.method);
        let cx = SettleCx::new(settling.id(), plan, self.mpp.now()).with_notebook(&notebook);
        let span = tracing::info_span!(target: TARGET, "settle", challenge = settling.id(), method = %self.method.name());
        let asked = Instant::now();
        let settlement = match tokio::time::timeout(self.mpp.0.settle_timeout, self.method.settle(&cx))
            .instrument(span)
            .await
        {
            Ok(settlement) => settlement,
            Err(_) => Settlement::Unknown { detail: "no answer in time".to_owned() },
        };
        self.after(settling, settlement, asked.elapsed()).await
    }

    /// What the network said, into the journal.
    async fn after(
        &mut self,
        settling: Claim<Settling>,
        settlement: Settlement,
        took: Duration,
    ) -> Result<Outcome, JournalError> {
        let observers = &self.mpp.0.observers;
        match settlement {
            Settlement::Settled(payment) => {
                let receipt = receipt(&*self.method, &settling, payment, self.mpp.now());
                observers.settlement(settling.id(), settling.entry(), Verdict::Settled(&receipt), took);
                let settled = settling.settled(receipt.to_json(), self.mpp.now()).await?;
                observers.settled(settled.id(), settled.entry(), took);
                Ok(Outcome::Paid(Run::settled(self.mpp.clone(), settled, receipt)))
            }
            Settlement::Declined(rejection) => {
                observers.settlement(settling.id(), settling.entry(), Verdict::Declined, took);
                settling.declined(self.mpp.now()).await?;
                Ok(Outcome::Rejected(rejection))
            }
            Settlement::Unknown { detail } => {
                observers.settlement(settling.id(), settling.entry(), Verdict::Unknown(&detail), took);
                settling.unknown().await?;
                Ok(Outcome::Unknown)
            }
        }
    }

    async fn hold(&mut self, holding: Claim<Held>, plan: &SettlementPlan) -> Result<Outcome, JournalError> {
        let notebook = self.mpp.notebook(&*self.method);
        let cx = SettleCx::new(holding.id(), plan, self.mpp.now()).with_notebook(&notebook);
        let span = tracing::info_span!(target: TARGET, "hold", challenge = holding.id(), method = %self.method.name());
        let held = match tokio::time::timeout(self.mpp.0.settle_timeout, self.method.hold(&cx))
            .instrument(span)
            .await
        {
            Ok(held) => held,
            Err(_) => method::Held::Unknown { detail: "no answer in time".to_owned() },
        };
        let (id, operation, method) =
            (holding.id(), &holding.entry().bill.operation, &holding.entry().method);
        match &held {
            method::Held::Held(_) => {
                tracing::info!(target: TARGET, challenge = id, operation, method, outcome = "held", "hold");
            }
            method::Held::Declined(_) => {
                tracing::info!(target: TARGET, challenge = id, operation, method, outcome = "declined", "hold");
            }
            method::Held::Unknown { detail } => {
                tracing::warn!(target: TARGET, challenge = id, operation, method, outcome = "unknown", detail, "hold");
            }
        }
        match held {
            method::Held::Held(plan) => {
                let sealed = serde_json::to_vec(&plan.0)
                    .ok()
                    .and_then(|plain| self.mpp.0.sealer.seal(holding.id(), &plain))
                    .ok_or_else(|| {
                        JournalError::Store(StoreError::Backend("the plan could not be sealed".to_owned()))
                    })?;
                let held = holding.held(sealed, self.mpp.now()).await?;
                let (mpp, method) = (self.mpp.clone(), self.method.clone());
                Ok(Outcome::Paid(Run::held(mpp, held, method, plan, self.fresh.take())))
            }
            method::Held::Declined(rejection) => {
                holding.forget(self.mpp.now()).await?;
                Ok(Outcome::Rejected(rejection))
            }
            method::Held::Unknown { .. } => {
                // The lease runs out; whoever comes then cancels what may have been held.
                Ok(Outcome::Unknown)
            }
        }
    }

    /// Takes an entry over whose owner is gone, and finishes it.
    async fn resume(&mut self, abandoned: Abandoned) -> Result<Outcome, JournalError> {
        let taken = self.mpp.0.journal.take_over(&self.mpp.0.sealer, abandoned, self.mpp.now()).await?;
        match taken {
            Taken::KeyInUse => Ok(Outcome::KeyInUse),
            // Nothing was handed to the network yet.
            Taken::Claiming(claim) => claim.roll_back(self.mpp.now()).await.map(|()| Outcome::Vacant),
            Taken::Held(claim) => {
                let Some(plan) = self.plan(&claim) else { return Ok(Outcome::Unknown) };
                let notebook = self.mpp.notebook(&*self.method);
                let cx = SettleCx::new(claim.id(), &plan, self.mpp.now()).with_notebook(&notebook);
                match give_back(&self.mpp, &claim, &*self.method, &cx).await {
                    GivenBack::Yes => claim.forget(self.mpp.now()).await.map(|()| Outcome::Vacant),
                    GivenBack::NotYet => Ok(Outcome::Unknown),
                }
            }
            Taken::Settling(claim) => {
                let Some(plan) = self.plan(&claim) else { return Ok(Outcome::Unknown) };
                let notebook = self.mpp.notebook(&*self.method);
                let cx = SettleCx::new(claim.id(), &plan, self.mpp.now()).with_notebook(&notebook);
                let span = tracing::info_span!(target: TARGET, "resolve", challenge = claim.id(), method = %self.method.name());
                let asked = Instant::now();
                let found = tokio::time::timeout(self.mpp.0.settle_timeout, self.method.resolve(&cx))
                    .instrument(span)
                    .await;
                let settlement =
                    found.unwrap_or_else(|_| Settlement::Unknown { detail: "no answer in time".to_owned() });
                self.after(claim, settlement, asked.elapsed()).await
            }
            Taken::Settled(claim) => Ok(redeliver(&self.mpp, claim)),
        }
    }

    /// Opens the sealed plan.
    fn plan<S>(&self, claim: &Claim<S>) -> Option<SettlementPlan> {
        let plain = self.mpp.0.sealer.open(claim.id(), claim.entry().payment.plan());
        let plan = plain.and_then(|plain| serde_json::from_slice(&plain).ok()).map(SettlementPlan);
        if plan.is_none() {
            tracing::error!(target: "mpp", challenge = claim.id(), "a settlement plan cannot be opened: was its secret rotated away?");
        }
        plan
    }
}

fn tell_claim<S>(claim: &Claim<S>, outcome: &str) {
    let (id, entry) = (claim.id(), claim.entry());
    tracing::debug!(target: TARGET, challenge = id, operation = entry.bill.operation, method = entry.method, outcome, "claim");
}

/// Whether no run may start any more for a settled payment.
pub(super) fn is_over(mpp: &Mpp, entry: &Entry, now: Timestamp) -> bool {
    entry.attempts >= mpp.0.max_runs || now > Timestamp::from_unix(entry.expires) + mpp.0.journal.grace()
}

/// What a running handler's payment stands on.
enum Running {
    Settled(Claim<Settled>),
    Held { claim: Claim<Held>, method: Arc<dyn ServerMethod>, plan: SettlementPlan },
}

impl Running {
    async fn renew(&mut self, now: Timestamp) -> Result<(), JournalError> {
        match self {
            Self::Settled(claim) => claim.renew(now).await,
            Self::Held { claim, .. } => claim.renew(now).await,
        }
    }
}

/// A payment that was settled before and has not been delivered.
pub(super) fn redeliver(mpp: &Mpp, claim: Claim<Settled>) -> Outcome {
    let (id, entry) = (claim.id(), claim.entry());
    tracing::info!(target: TARGET, challenge = id, operation = entry.bill.operation, method = entry.method, run = entry.attempts, "redeliver");
    match serde_json::from_slice(claim.receipt()) {
        Ok(receipt) => Outcome::Paid(Run::settled(mpp.clone(), claim, receipt)),
        Err(_) => {
            tracing::error!(target: "mpp", challenge = claim.id(), "a journaled receipt cannot be read");
            Outcome::Unknown
        }
    }
}

/// A paid or held request whose handler may run. Dropped without being admitted, it costs the payer no run.
pub(super) struct Run {
    exit: Exit,
    proved: Proved,
    delivery: Delivery,
}

impl Run {
    fn settled(mpp: Mpp, claim: Claim<Settled>, receipt: Receipt) -> Self {
        let (lease, delivery) = (claim.journal().lease_time(), delivery(&claim));
        let exit = Exit::of(mpp, Running::Settled(claim), lease, None);
        Self { exit, proved: Proved::Settled(Box::new(receipt)), delivery }
    }

    fn held(
        mpp: Mpp,
        claim: Claim<Held>,
        method: Arc<dyn ServerMethod>,
        plan: SettlementPlan,
        fresh: Option<Challenges>,
    ) -> Self {
        let (lease, delivery) = (claim.journal().lease_time(), delivery(&claim));
        let proved = Proved::Held(Hold::new(method.name().to_string()));
        let refusal = Refusal { operation: claim.entry().bill.operation.clone(), fresh };
        let running = Running::Held { claim, method, plan };
        Self { exit: Exit::of(mpp, running, lease, Some(refusal)), proved, delivery }
    }

    /// Opens the gate: from here on the run counts.
    pub(super) fn admit(self, after: After) -> Admission {
        let Self { mut exit, proved, delivery } = self;
        if let Some(open) = &mut exit.0 {
            open.started = Started::Yes;
            open.after = after;
        }
        Admission { proved, delivery, exit }
    }
}

/// What becomes of a response once it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nobody gets it a second time.
    Forgotten,
    /// It answers the same credential again.
    Kept,
}

fn delivery<S>(claim: &Claim<S>) -> Delivery {
    Delivery {
        id: Some(claim.id().to_owned()),
        payer: claim.entry().payer.clone(),
        attempt: claim.entry().attempts,
    }
}

/// Renews the lease until the run is over or lost.
async fn heartbeat(mpp: Mpp, running: Arc<Mutex<Option<Running>>>, lease: Duration) {
    loop {
        tokio::time::sleep(lease / 3).await;
        // The lock is held over the write, so that `Exit` never sees a version that is about to change.
        let mut guard = running.lock().await;
        let Some(run) = guard.as_mut() else { return };
        if let Err(JournalError::Lost(_)) = run.renew(mpp.now()).await {
            tracing::warn!(target: "mpp", "a handler outlived its lease and another took over; its response will be withheld");
            *guard = None;
            return;
        }
    }
}

/// The way out of a priced handler: commits the delivery, then lets the response go.
///
/// Dropped instead, it gives the payment back to its credential: a panic, a cancelled request or a client that hung up
/// never costs a second payment.
pub struct Exit(Option<Box<Open>>);

struct Open {
    mpp: Mpp,
    running: Arc<Mutex<Option<Running>>>,
    heartbeat: JoinHandle<()>,
    /// Of a hold: its capture may be declined.
    refusal: Option<Refusal>,
    started: Started,
    after: After,
    /// From then on it is not known whether the delivery is committed.
    committing: Option<Committing>,
    pass: Pass,
}

/// What a declined capture is answered and told with.
struct Refusal {
    operation: String,
    fresh: Option<Challenges>,
}

impl Exit {
    /// Nothing was paid, nothing has to be committed.
    pub(crate) fn free() -> Self {
        Self(None)
    }

    fn of(mpp: Mpp, running: Running, lease: Duration, refusal: Option<Refusal>) -> Self {
        let running = Arc::new(Mutex::new(Some(running)));
        let heartbeat = tokio::spawn(heartbeat(mpp.clone(), running.clone(), lease));
        let pass = mpp.0.journal.doors().linger();
        let (started, after, committing) = (Started::No, After::Forgotten, None);
        Self(Some(Box::new(Open { mpp, running, heartbeat, refusal, started, after, committing, pass })))
    }

    /// Commits the delivery of `response`, or gives the payment back when it is a failure.
    ///
    /// 2xx, 3xx and 101 are deliveries. A delivery that cannot be committed is withheld: 503, no challenge.
    pub(crate) fn close(self, response: Response) -> Step<'static, Response> {
        match self.0 {
            None => Step::ready(deliver(response, None)),
            // Boxed: only who paid waits here, and the future of every unpaid request would have room for it.
            Some(_) => Step::boxed(self.finish(response)),
        }
    }

    async fn finish(mut self, response: Response) -> Response {
        let Some(open) = &mut self.0 else { return deliver(response, None) };
        let status = response.status();
        if open.refusal.is_some()
            && let Some(answer) = open.close_hold(status).await
        {
            drop(self.0.take());
            return answer.unwrap_or_else(|| failed(response));
        }
        // Not detached: until the commit is done the payment stays with this request, and goes back to its credential if
        // the client hangs up.
        let mut run = open.running.clone().lock_owned().await;
        open.heartbeat.abort();
        let Some(Running::Settled(claim)) = run.as_mut() else {
            // Another process took over.
            drop(self.0.take());
            return withheld();
        };
        if !is_delivery(status) {
            open.mpp.0.observers.undelivered(claim.id(), claim.entry(), Failure::Status(status));
            let ended = claim.undelivered(Started::Yes, Patience::NONE).await;
            *run = None;
            drop(self.0.take());
            report(ended);
            return failed(response);
        }
        let span = tracing::info_span!(target: TARGET, "deliver", challenge = claim.id(), method = claim.entry().method);
        let committed = async {
            match open.after {
                After::Forgotten => {
                    open.committing = Some(claim.journal().commits().begin(claim.id()));
                    claim.delivered(Again::Never, open.mpp.now()).await.map(|_| response)
                }
                After::Kept => {
                    let (of, receipt) = (claim.identity(open.mpp.now()), claim.receipt().to_vec());
                    let outgoing = Outgoing::read(&open.mpp, response, of, receipt).await;
                    let committed = outgoing.committed(open.mpp.now());
                    open.committing = Some(claim.journal().commits().begin(claim.id()));
                    claim.delivered(committed, open.mpp.now()).await.map(|run| outgoing.leave(run))
                }
            }
        };
        let ended = committed.instrument(span).await;
        let (observers, id, entry) = (&open.mpp.0.observers, claim.id(), claim.entry());
        let answer = match ended {
            Ok(response) => {
                observers.delivered(id, entry, status);
                deliver(response, Some(claim.receipt()))
            }
            Err(error) => {
                observers.undelivered(id, entry, Failure::Withheld);
                tracing::error!(target: "mpp", ?error, "a delivery could not be recorded; the response is withheld");
                if let (JournalError::Store(_), Some(Running::Settled(claim))) = (error, run.take()) {
                    let (mpp, pass) = (open.mpp.clone(), open.mpp.0.journal.doors().linger());
                    let committing = open.committing.take();
                    tokio::spawn(async move {
                        put_back(&mpp, claim, Started::Yes, committing).await;
                        drop(pass);
                    });
                }
                withheld()
            }
        };
        *run = None;
        drop(self.0.take());
        answer
    }

    /// The pipeline proved something else than the handler's type asks for: fails closed.
    #[cold]
    pub(crate) fn mismatch(self) -> Response {
        tracing::error!(target: "mpp", "the evidence does not fit the handler");
        Answer::fault(ProblemType::Internal, "this request could not be admitted").into()
    }
}

impl std::fmt::Debug for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exit(..)")
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let Open { mpp, running, heartbeat, started, committing, pass, .. } = *open;
        // Without a runtime (it is shutting down) the lease runs out instead.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let run = running.lock().await.take();
            heartbeat.abort();
            match run {
                None => {}
                Some(Running::Settled(claim)) => {
                    if started == Started::Yes {
                        mpp.0.observers.undelivered(claim.id(), claim.entry(), Failure::Dropped);
                    }
                    put_back(&mpp, claim, started, committing).await;
                }
                Some(Running::Held { claim, method, plan }) => release(&mpp, claim, &*method, &plan).await,
            }
            drop(pass);
        });
    }
}

/// The payment goes back to its credential, also from a delivery that is committed: nobody got the response. Where that may be, the
/// store is waited for while the credential may come back; any other payment goes back by itself when its lease has run out.
async fn put_back(mpp: &Mpp, mut claim: Claim<Settled>, started: Started, committing: Option<Committing>) {
    let over = Timestamp::from_unix(claim.entry().expires) + mpp.0.journal.grace();
    let patience = match committing {
        Some(_) => Patience::of(over.since(mpp.now())),
        None => Patience::NONE,
    };
    report(claim.undelivered(started, patience).await);
    if let Some(committing) = committing {
        committing.in_doubt();
    }
}

impl Open {
    /// Captures held funds after a success, or gives them back. `None` when the payment is captured and what is left is
    /// the delivery; `Some(None)` when the handler's own failure is the answer.
    async fn close_hold(&mut self, status: StatusCode) -> Option<Option<Response>> {
        let (mpp, running) = (self.mpp.clone(), self.running.clone());
        // Detached: a client that hangs up now cancels nothing.
        let task = tokio::spawn(async move {
            let mut run = running.lock().await;
            match run.take() {
                Some(Running::Held { claim, method, plan }) => match is_delivery(status) {
                    true => {
                        let (settled, captured) = capture(&mpp, claim, &*method, &plan).await;
                        *run = settled.map(Running::Settled);
                        captured
                    }
                    false => {
                        release(&mpp, claim, &*method, &plan).await;
                        Captured::Released
                    }
                },
                // Captured by a run before this one: only to be delivered.
                settled @ Some(Running::Settled(_)) => {
                    *run = settled;
                    Captured::Yes
                }
                None => Captured::Unknown,
            }
        });
        match task.await.unwrap_or(Captured::Unknown) {
            Captured::Yes => None,
            Captured::Released => Some(None),
            Captured::Declined(rejection) => {
                let refusal = self.refusal.take();
                let (operation, fresh) = refusal.map(|refusal| (refusal.operation, refusal.fresh)).unzip();
                let answer = declined(rejection, fresh.flatten());
                self.mpp.0.observers.answered(operation.as_deref(), None, &answer);
                Some(Some(answer.into()))
            }
            Captured::Unknown => Some(Some(withheld())),
        }
    }
}

/// How held funds ended.
enum Captured {
    /// What is left is the delivery.
    Yes,
    Released,
    /// Nothing was paid.
    Declined(Rejection),
    /// The response must not leave.
    Unknown,
}

/// Takes held funds after the handler's success, before the first byte leaves.
async fn capture(
    mpp: &Mpp,
    claim: Claim<Held>,
    method: &dyn ServerMethod,
    plan: &SettlementPlan,
) -> (Option<Claim<Settled>>, Captured) {
    let id = claim.id().to_owned();
    let settling = match claim.begin_capture(mpp.now()).await {
        Ok(settling) => settling,
        Err(error) => {
            report(Err(error));
            return (None, Captured::Unknown);
        }
    };
    let notebook = mpp.notebook(method);
    let cx = SettleCx::new(&id, plan, mpp.now()).with_notebook(&notebook);
    let span = tracing::info_span!(target: TARGET, "capture", challenge = id, method = %method.name());
    let asked = Instant::now();
    let settlement = tokio::time::timeout(mpp.0.settle_timeout, method.settle(&cx)).instrument(span).await;
    let (took, observers) = (asked.elapsed(), &mpp.0.observers);
    match settlement.unwrap_or_else(|_| Settlement::Unknown { detail: "no answer in time".to_owned() }) {
        Settlement::Settled(payment) => {
            let receipt = receipt(method, &settling, payment, mpp.now());
            observers.settlement(&id, settling.entry(), Verdict::Settled(&receipt), took);
            match settling.settled(receipt.to_json(), mpp.now()).await {
                Ok(settled) => {
                    observers.settled(&id, settled.entry(), took);
                    (Some(settled), Captured::Yes)
                }
                Err(error) => {
                    report(Err(error));
                    (None, Captured::Unknown)
                }
            }
        }
        Settlement::Declined(rejection) => {
            observers.settlement(&id, settling.entry(), Verdict::Declined, took);
            report(settling.declined(mpp.now()).await);
            (None, Captured::Declined(rejection))
        }
        Settlement::Unknown { detail } => {
            observers.settlement(&id, settling.entry(), Verdict::Unknown(&detail), took);
            report(settling.unknown().await);
            (None, Captured::Unknown)
        }
    }
}

/// Gives held funds back. If the network does not answer, the entry stays held, and whoever comes after its lease tries again.
async fn release(mpp: &Mpp, claim: Claim<Held>, method: &dyn ServerMethod, plan: &SettlementPlan) {
    let notebook = mpp.notebook(method);
    let cx = SettleCx::new(claim.id(), plan, mpp.now()).with_notebook(&notebook);
    if let GivenBack::Yes = give_back(mpp, &claim, method, &cx).await {
        report(claim.released(mpp.now()).await);
    }
}

/// Whether held funds are free again.
enum GivenBack {
    Yes,
    NotYet,
}

/// Asks the network to give held funds back.
async fn give_back(
    mpp: &Mpp,
    claim: &Claim<Held>,
    method: &dyn ServerMethod,
    cx: &SettleCx<'_>,
) -> GivenBack {
    let (id, operation, name) = (claim.id(), &claim.entry().bill.operation, method.name().as_str());
    let span = tracing::info_span!(target: TARGET, "release", challenge = id, method = name);
    match tokio::time::timeout(mpp.0.settle_timeout, method.release(cx)).instrument(span).await {
        Ok(Ok(())) => {
            tracing::info!(target: TARGET, challenge = id, operation, method = name, outcome = "released", "release");
            GivenBack::Yes
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(target: TARGET, challenge = id, operation, method = name, outcome = "unknown", "release");
            GivenBack::NotYet
        }
    }
}

/// The handler's failure as the answer.
fn failed(response: Response) -> Response {
    // Clients pay again on a 402; one that has paid must not see any.
    if response.status() == StatusCode::PAYMENT_REQUIRED {
        tracing::error!(target: "mpp", "a priced handler answered 402 after the payment; answered 500 instead");
        return Answer::fault(ProblemType::Internal, "the resource failed; send the same credential again")
            .into();
    }
    deliver(response, None)
}

fn withheld() -> Response {
    // With the same `Idempotency-Key`, too: the response may be kept under it.
    Answer::unavailable(RETRY, "the delivery could not be recorded; send the same request again, as it is")
        .into()
}

fn receipt(
    method: &dyn ServerMethod,
    settling: &Claim<Settling>,
    payment: Payment,
    now: Timestamp,
) -> Receipt {
    let Payment { reference, external_id, extra } = payment;
    let mut receipt = Receipt::new(method.name().clone(), reference, now);
    receipt.challenge_id = Some(settling.id().to_owned());
    // The merchant's reference is the request's, whatever the method; only without one is there a payer's to echo.
    receipt.external_id = settling.entry().external_id.clone().or(external_id);
    receipt.extra = extra;
    receipt
}

/// The answer when a capture was declined after the handler ran: its response is discarded, nothing was paid.
fn declined(rejection: Rejection, fresh: Option<Challenges>) -> Answer {
    match (rejection, fresh) {
        (Rejection::Refused { kind, detail }, Some(challenges)) if kind.status() == 402 => {
            Answer::challenge(kind, Detail::from(&*detail), challenges)
        }
        (Rejection::Refused { kind, detail }, _) if kind.status() != 402 => {
            Answer::from_problem(&Problem::new(kind, detail))
        }
        _ => Answer::unavailable(RETRY, "this payment could not be taken; send a new request"),
    }
}

/// The entry stands as it was, or somebody else owns it: either way the next request finds the truth in the journal.
fn report(result: Result<(), JournalError>) {
    if let Err(error) = result {
        tracing::warn!(target: "mpp", ?error, "a journal entry could not be updated");
    }
}
