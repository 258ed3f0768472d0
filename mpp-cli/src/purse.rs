//! A client that pays in the name of whoever runs the command: `mpp pay`, and `mpp validate --pay`.
//!
//! It asks that person first, tells what is paid, and loses no payment: whoever stops the command while one is under way
//! ([`Interrupt`]), or gets an error for it, finds it on the [`Shelf`].

use std::future::Future;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use mpp::client::{
    Approve, Client, Decision, EntryId, Event, Outcome, Paid, Policy, Proposal, Unsettled, explanation,
};
use mpp::method::Step;
use mpp::{Clock as _, SystemClock};
use reqwest::{Request, Response};
use reqwest_middleware::ClientWithMiddleware;
use tokio::sync::oneshot;

use crate::failure::{Code, Failure};
use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::request::Means;
use crate::terminal;
use crate::unsettled::Shelf;

/// The longest that a wallet is waited for, which may be sending something this moment.
const PATIENCE: Duration = Duration::from_secs(15);
/// Said where nothing is lost: what was paid before was delivered.
pub(crate) const STOPPED: &str = "stopped; `mpp ledger` lists what was paid";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a person is asked before each payment. The limits hold in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// `--yes`.
    Given,
    Asked,
}

/// The client.
pub(crate) struct Purse {
    client: Client,
    http: ClientWithMiddleware,
    told: Option<Progress>,
    interrupt: Interrupt,
}

impl Purse {
    /// A purse that tells what it does there, if anywhere; and that no longer pays once this says so.
    pub(crate) fn open(
        means: &Means,
        home: &Home,
        consent: Consent,
        told: Option<Progress>,
        interrupt: Interrupt,
    ) -> Result<Purse, Failure> {
        let builder = means.client(home, |policy: Policy| match consent {
            Consent::Given => policy,
            Consent::Asked => policy.approved_by(Person),
        })?;
        let (armed, shown) = (interrupt.clone(), told.clone());
        let observed = builder.observe(move |event: &Event<'_>| {
            match event {
                Event::Paying { entry, .. } => armed.arm(*entry),
                Event::Released { .. } => armed.rest(),
                _ => {}
            }
            if let Some(progress) = &shown {
                tell(event, progress);
            }
        });
        let client = observed.build()?;
        let http = client.http()?;
        Ok(Purse { client, http, told, interrupt })
    }

    /// Sends a request, and pays for it where that is asked and allowed.
    ///
    /// Fails where somebody has stopped the command: with the payment that was under way, which is on the shelf then.
    pub(crate) async fn send(
        &self,
        request: Request,
        shelf: &Shelf<'_>,
    ) -> Result<Result<Response, reqwest_middleware::Error>, Failure> {
        self.interrupt.rest();
        let answer = self.interrupt.or(self.http.execute(request)).await;
        if let Some(progress) = &self.told {
            progress.end();
        }
        match answer {
            Some(answer) => Ok(answer),
            None => Err(self.given_up(shelf).await),
        }
    }

    /// Runs what is done with an answer, unless somebody stops the command.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.interrupt.or(work).await
    }

    /// Keeps what was paid for and answered with an error: an answer, and not what was paid for.
    pub(crate) async fn keep_undelivered(&self, shelf: &Shelf<'_>, paid: &Paid, answer: Response) -> Failure {
        let status = answer.status();
        let said = self.unless_stopped(answer_of(answer)).await;
        shelf.keep_paid(paid, &said.unwrap_or_else(|| format!("the server answered {status}")))
    }

    /// Somebody ended the command while a payment was under way.
    async fn given_up(&self, shelf: &Shelf<'_>) -> Failure {
        let Some(entry) = self.interrupt.payment() else { return Failure::failed(STOPPED) };
        match self.interrupt.or_again(tokio::time::timeout(PATIENCE, self.abandoned(entry))).await {
            Some(Ok(Some(unsettled))) => {
                // That fails where the ledger cannot be written: then it is open, and counts all the same.
                let _ = self.client.ledger().conclude(&entry, &Outcome::Unknown, SystemClock.now()).await;
                let why = format!("stopped before the answer to a payment of {}", unsettled.payment.cost());
                shelf.keep_request(entry, &unsettled.request(), why)
            }
            Some(Ok(None)) => Failure::new(Code::NotPaid, "stopped; the payment did not happen"),
            // A wallet that failed without saying so, or that needs longer than somebody who asks twice wants to wait.
            _ => Failure::new(
                Code::Unsettled,
                "stopped while a payment was made; `mpp ledger` says whether it counts",
            ),
        }
    }

    /// A payment that nobody waits for any more, once its wallet is done with it; none where nothing was paid.
    async fn abandoned(&self, entry: EntryId) -> Option<Unsettled> {
        let mut is_told = false;
        loop {
            let idle = self.client.unsettled();
            if let Some(unsettled) = idle.into_iter().find(|idle| idle.payment.entry() == entry) {
                return Some(unsettled);
            }
            if self.interrupt.payment() != Some(entry) {
                return None;
            }
            tokio::time::sleep(LOOK).await;
            if let Some(progress) = self.told.as_ref().filter(|_| !is_told) {
                progress
                    .say("mpp: stopping, once the wallet is done with the payment; once more ends it now");
                is_told = true;
            }
        }
    }
}

/// The person at the terminal, who is asked.
struct Person;

impl Approve for Person {
    fn decide<'a>(&'a self, proposal: &'a Proposal<'a>) -> Step<'a, Decision> {
        Step::boxed(async move {
            if !std::io::stderr().is_terminal() || !std::io::stdin().is_terminal() {
                let why = "nobody is at a terminal to be asked; --yes pays without asking";
                return Decision::Denied(why.to_owned());
            }
            let question = format!(
                "Pay {} by {} to {} for {}?",
                proposal.cost, proposal.challenge.method, proposal.origin, proposal.resource
            );
            ask(&question);
            match typed().await {
                Some(line) if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") => {
                    Decision::Approved
                }
                _ => Decision::Denied("you said no".to_owned()),
            }
        })
    }
}

fn ask(question: &str) {
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{} [y/N] ", terminal::plain(question)).and_then(|()| out.flush());
}

/// The next line that is typed. Read beside the runtime: after an earlier payment the system's own way to end the command does
/// not hold any more, and nothing takes a read back that has begun.
async fn typed() -> Option<String> {
    let (said, line) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        // Nobody waits where the command was stopped.
        let _ = said.send(read.ok().map(|_| line));
    });
    line.await.ok().flatten()
}

fn tell(event: &Event<'_>, progress: &Progress) {
    let line = match event {
        Event::Paying { cost, origin, .. } => format!("paying {cost} to {origin} ..."),
        Event::Waiting { status, after, .. } => {
            format!(
                "the server answered {status}; sending the same payment again in {} s",
                after.as_secs_f32()
            )
        }
        Event::Delivered { receipt: Some(receipt), .. } => format!("paid, receipt {}", receipt.reference),
        Event::Delivered { receipt: None, .. } => "paid; the server gave no receipt".to_owned(),
        Event::Released { .. } => "that payment did not happen".to_owned(),
        Event::Sending { .. } => return progress.wait_for("the server confirms the payment"),
        _ => return,
    };
    progress.say(&format!("mpp: {}", terminal::plain(&line)));
    match event {
        Event::Paying { .. } => progress.wait_for("the payment is made"),
        Event::Waiting { .. } => progress.wait_for("the server is not ready"),
        _ => progress.end(),
    }
}

/// What a server answered instead of what was asked for: its status, and its own words with escapes.
pub(crate) async fn answer_of(response: Response) -> String {
    let status = response.status();
    match explanation(response).await {
        Some(said) => format!("the server answered {status} ({said:?})"),
        None => format!("the server answered {status}"),
    }
}
