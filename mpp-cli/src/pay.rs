//! `mpp pay`: a request that is paid for.
//!
//! The body of the answer goes to standard output, as with curl; everything that is about money goes to standard error. What
//! was paid and not delivered is kept in a file, with its credential, so that it can be asked for again.

use std::io::Write as _;
use std::path::PathBuf;

use mpp::client::{EntryId, Error, NotPaid, Outcome, Paid, Refusal, Scope};
use mpp::method::Fate;
use mpp::protocol::b64;
use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::failure::{Code, Failure};
use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::purse::{Consent, Purse, answer_of};
use crate::request::{Means, Request, client_that_resumes};
use crate::unsettled::{self, Shelf};
use crate::{quote, terminal};

/// Send a request, and pay for it where that is asked and allowed.
///
/// Says what it will cost and asks, unless told `--yes`. The limits of the configuration hold in any case.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["url", "resume"]).required(true))]
#[command(
    after_help = "Exit codes: 0 done; 1 it failed; 2 wrong usage; 3 not paid; 4 paid and not delivered (see --resume); \
22 with --fail, the server answered with an error."
)]
pub(crate) struct Options {
    #[command(flatten)]
    request: Option<Request>,
    #[command(flatten)]
    means: Means,
    /// Pay without asking, within the limits
    #[arg(short, long)]
    yes: bool,
    /// Only say what it would cost
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Ask again for what was paid and not delivered; never pays
    #[arg(long, value_name = "ENTRY", conflicts_with_all = ["url", "dry_run"])]
    resume: Option<String>,
    /// Buy it anew, even where a payment for the same was not delivered: without this, that payment is tried first
    #[arg(long, conflicts_with_all = ["resume", "dry_run"])]
    anew: bool,
    /// Print the status and the headers before the body
    #[arg(short, long)]
    include: bool,
    /// Write the body to this file
    #[arg(short, long, value_name = "PATH", conflicts_with = "json")]
    output: Option<PathBuf>,
    /// End with exit code 22, and without a body, when the server answers with an error
    #[arg(short, long)]
    fail: bool,
    /// Do not tell what is paid
    #[arg(short, long)]
    quiet: bool,
    /// Print the whole answer, and what was paid, as JSON
    #[arg(long, conflicts_with = "include")]
    pub(crate) json: bool,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let home = Home::find()?;
    if let Some(entry) = &options.resume {
        // Before anything is sent: what was delivered and cannot be written is lost.
        let target = Target::of(options)?;
        // An id is a file name; nothing else gets that far.
        let entry = entry.parse().map_err(Failure::failed)?;
        return target.or_remove(match resume(options, &home, entry, &target).await {
            Resumed::Delivered(printed) => printed,
            Resumed::Refused(failure) | Resumed::Open(failure) => Err(failure),
        });
    }
    let Some(request) = &options.request else { return Err(Failure::failed("a URL is needed")) };
    let request = request.build()?;
    if options.dry_run {
        let client = options.means.client(&home, |policy| policy)?.build()?;
        return quote::show(&client.quote_request(request).await?, options.json);
    }
    let target = Target::of(options)?;
    let shelf = Shelf::for_request(&home, &request);
    if let Some(entry) = shelf.find().filter(|_| !options.anew) {
        options.say(&format!(
            "this was paid for and not delivered; asking with payment {entry} (--anew buys it anew)"
        ));
        match resume(options, &home, entry, &target).await {
            Resumed::Delivered(printed) => return target.or_remove(printed),
            Resumed::Open(failure) => return target.or_remove(Err(failure)),
            // That was its chance; this is a new purchase.
            Resumed::Refused(failure) => options.say(&failure.to_string()),
        }
    }
    target.or_remove(buy(options, &home, &shelf, request, &target).await)
}

impl Options {
    /// Tells a person what is done, unless that one does not want to know.
    fn say(&self, line: &str) {
        if !self.quiet {
            terminal::say(&format!("mpp: {}", terminal::plain(line)));
        }
    }
}

async fn buy(
    options: &Options,
    home: &Home,
    shelf: &Shelf<'_>,
    request: reqwest::Request,
    target: &Target,
) -> Result<(), Failure> {
    let consent = if options.yes { Consent::Given } else { Consent::Asked };
    let told = (!options.quiet).then(Progress::at_a_terminal);
    let purse = Purse::open(&options.means, home, consent, told, Interrupt::default())?;
    match purse.send(request, shelf).await? {
        Ok(response) => received(options, shelf, response, target, &purse).await,
        Err(error) => Err(unpaid(options, shelf, &error)),
    }
}

/// There is an answer.
async fn received(
    options: &Options,
    shelf: &Shelf<'_>,
    response: Response,
    target: &Target,
    purse: &Purse,
) -> Result<(), Failure> {
    let paid = response.extensions().get::<Paid>().cloned();
    if let Some(paid) = paid.as_ref().filter(|_| response.status().is_client_error()) {
        return Err(purse.keep_undelivered(shelf, paid, response).await);
    }
    if paid.is_none() && response.status() == StatusCode::PAYMENT_REQUIRED {
        // Of another protocol, to a verb that buys nothing, or to a credential of the caller's own.
        let answer = answer_of(response).await;
        return Err(Failure::new(
            Code::NotPaid,
            format!("{answer}, and there is nothing that can be paid here"),
        ));
    }
    let printed = purse.unless_stopped(print(options, response, target)).await;
    let printed = printed.unwrap_or_else(|| Err(Failure::failed("stopped before all of it was there")));
    match (printed, paid) {
        // The answer broke off, or there is no room for it.
        (Err(failure), Some(paid)) if failure.code == Code::Failed => {
            Err(shelf.keep_request(paid.payment.entry(), &paid.request(), failure))
        }
        (printed, _) => printed,
    }
}

/// There is none, or it asks for a payment that is not made.
fn unpaid(options: &Options, shelf: &Shelf<'_>, error: &reqwest_middleware::Error) -> Failure {
    match Error::find(error) {
        Some(Error::NotPaid(refused)) => not_paid(refused, &options.means),
        Some(Error::Ledger(ledger)) => Failure::ledger(ledger),
        Some(error) => match error.unsettled() {
            // Its wallet knows that nothing was taken: there is nothing to resume.
            Some(unsettled) if unsettled.fate == Fate::Never => Failure::new(Code::NotPaid, error),
            Some(unsettled) => shelf.keep(unsettled, error),
            None if matches!(error, Error::Wallet { .. } | Error::Stopped) => {
                Failure::new(Code::Unsettled, error)
            }
            None => Failure::failed(error),
        },
        None => Failure::unanswered(error),
    }
}

/// What was refused, and where that can be changed, if it is the configuration or the command's own `--method` that refuses.
fn not_paid(refused: &NotPaid, means: &Means) -> Failure {
    let is_configured = refused.is_because(|why| match why {
        Refusal::Limit(broken) => broken.scope != Scope::Request || !means.has_max(),
        Refusal::MethodNotAllowed(_) => means.method().is_none(),
        Refusal::OriginNotAllowed(_)
        | Refusal::NetworkNotAllowed(_)
        | Refusal::RecipientNotAllowed(_)
        | Refusal::NoRecipient
        | Refusal::CurrencyNotAllowed(_) => true,
        _ => false,
    });
    let hint = match means.method() {
        _ if is_configured => {
            "; `mpp config` shows what is allowed, and the file to change that in".to_owned()
        }
        Some(only) if refused.is_because(|why| matches!(why, Refusal::MethodNotAllowed(_))) => {
            format!("; the command says --method {only}")
        }
        _ => String::new(),
    };
    Failure::new(Code::NotPaid, format!("{refused}{hint}"))
}

/// Where the body goes.
enum Target {
    Stdout,
    File {
        file: std::fs::File,
        path: PathBuf,
        /// Whether it was there before.
        is_new: bool,
    },
}

impl Target {
    fn of(options: &Options) -> Result<Target, Failure> {
        let Some(path) = &options.output else { return Ok(Target::Stdout) };
        let is_new = !path.exists();
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| {
            Failure::failed(format!("-o: cannot write {}: {error}; nothing was sent", path.display()))
        })?;
        Ok(Target::File { file, path: path.clone(), is_new })
    }

    /// An empty place to write to.
    fn open(&self) -> Result<Box<dyn std::io::Write + '_>, Failure> {
        Ok(match self {
            Target::Stdout => Box::new(std::io::stdout().lock()),
            Target::File { file, path, .. } => {
                // What is no plain file, a pipe say, has no length.
                if file.metadata().is_ok_and(|there| there.is_file()) {
                    file.set_len(0).map_err(|error| {
                        Failure::failed(format!("cannot write {}: {error}", path.display()))
                    })?;
                }
                Box::new(file)
            }
        })
    }

    /// Removes a file that was made for nothing.
    fn or_remove(&self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        if let (Err(_), Target::File { path, is_new: true, .. }) = (&outcome, self) {
            let _ = std::fs::remove_file(path);
        }
        outcome
    }
}

async fn print(options: &Options, mut response: Response, target: &Target) -> Result<(), Failure> {
    let status = response.status();
    if options.fail && (status.is_client_error() || status.is_server_error()) {
        return Err(Failure::new(Code::Status, format!("the server answered {status}")));
    }
    if options.json {
        return print_json(response).await;
    }
    let mut out = target.open()?;
    let mut write = |bytes: &[u8]| match out.write_all(bytes).and_then(|()| out.flush()) {
        // A reader that has seen enough closes the pipe; that is not our failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Failure::failed(format!("cannot write the answer: {error}"))),
    };
    if options.include {
        let mut head = format!("{:?} {status}\r\n", response.version()).into_bytes();
        for (name, value) in response.headers() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        write(&head)?;
    }
    while let Some(part) = response.chunk().await? {
        write(&part)?;
    }
    Ok(())
}

/// The most of an answer that becomes part of a document: that has to fit into memory.
const MAX_JSON: usize = 64 * 1024 * 1024;

async fn print_json(mut response: Response) -> Result<(), Failure> {
    let paid = response.extensions().get::<Paid>().map(|paid| {
        json!({
            "entry": paid.payment.entry().to_string(),
            "method": paid.payment.challenge().method,
            "cost": paid.payment.cost().to_string(),
            "receipt": paid.receipt.as_ref().ok(),
        })
    });
    let headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > MAX_JSON {
            let limit = MAX_JSON >> 20;
            let text =
                format!("the answer is larger than {limit} MiB; without --json it is written as it comes");
            return Err(Failure::failed(text));
        }
        body.extend_from_slice(&part);
    }
    let mut document = json!({ "status": status, "headers": headers, "paid": paid });
    match String::from_utf8(body) {
        Ok(text) => document["body"] = text.into(),
        Err(bytes) => document["bodyBase64Url"] = b64::encode(bytes.as_bytes()).into(),
    }
    let text = serde_json::to_string_pretty(&document).map_err(Failure::failed)?;
    let _ = writeln!(std::io::stdout().lock(), "{}", crate::harmless(&text));
    Ok(())
}

/// What became of an earlier payment.
enum Resumed {
    /// It was delivered.
    Delivered(Result<(), Failure>),
    /// Its server takes it no more.
    Refused(Failure),
    /// Nobody knows.
    Open(Failure),
}

async fn resume(options: &Options, home: &Home, entry: EntryId, target: &Target) -> Resumed {
    match ask_again(options, home, entry, target).await {
        Ok(resumed) => resumed,
        Err(failure) => Resumed::Open(failure),
    }
}

async fn ask_again(
    options: &Options,
    home: &Home,
    entry: EntryId,
    target: &Target,
) -> Result<Resumed, Failure> {
    let request = unsettled::request_of(home, entry)?;
    let client = client_that_resumes(home)?.build()?;
    let response = client.http()?.execute(request).await;
    // The client did not pay for this one, so it did not follow it either.
    let response = response.map_err(|error| Failure {
        code: Code::Unsettled,
        entry: Some(entry),
        ..Failure::unanswered(&error)
    })?;
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        let receipt = response.headers().get("payment-receipt").and_then(|value| value.to_str().ok());
        let reference =
            receipt.and_then(|value| mpp::Receipt::parse_header(value).ok()).map(|receipt| receipt.reference);
        let now = mpp::Clock::now(&mpp::SystemClock);
        // What is delivered is not withheld for the ledger's sake: there the payment goes on counting.
        if let Err(error) = client.ledger().conclude(&entry, &Outcome::Paid { reference }, now).await {
            options.say(&format!("it is not written down as paid: {}", Failure::ledger(&error)));
        }
        return Ok(Resumed::Delivered(match print(options, response, target).await {
            // It did not arrive in full: it can be asked for once more.
            Err(failure) if failure.code == Code::Failed => {
                Err(Failure { code: Code::Unsettled, entry: Some(entry), ..failure })
            }
            printed => {
                unsettled::forget(home, entry);
                printed
            }
        }));
    }
    let answer = answer_of(response).await;
    let failed = |text| Failure { entry: Some(entry), ..Failure::new(Code::Unsettled, text) };
    if status.as_u16() != 402 {
        return Ok(Resumed::Open(failed(format!("{answer}; try again later"))));
    }
    unsettled::mark_refused(home, entry)?;
    Ok(Resumed::Refused(failed(format!(
        "{answer}: it refuses this payment; it may have been taken all the same, and counts as spent"
    ))))
}
