//! `mpp validate`: a server as its clients see it, without paying.
//!
//! The document is held against the draft's rules, and every priced operation of it is called with its own examples: the
//! answer has to be a 402 (draft-httpauth-payment-00 section 5.1) whose challenges are the advertised offers.

use super::server::{Reply, Server, ServerError};
use super::{ServiceError, rules};
use crate::Answer;
use mpp::discovery::{Sample, samples};
use mpp::protocol::Challenge;
use mpp::{Clock, SystemClock};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Proxies refuse longer header lines.
const LONGEST_LINE: usize = 8 * 1024;
/// Well formed as a header, and no credential.
const GARBAGE: &str = "Payment bm90IGEgY3JlZGVudGlhbA";

/// Check a server's documents and challenges from outside. Pays nothing.
///
/// Exit code 1 when a check failed. Receipts are not checked: they cost money.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server's URL
    url: String,
    /// JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(options: &Options) -> Result<Answer, ServiceError> {
    let server = Server::at(&options.url)?;
    let mut report = Report::default();
    let document = document(&server, &mut report)?;
    for sample in samples(&document) {
        match sample {
            Ok(sample) => operation(&server, &sample, &mut report)?,
            Err(missing) => {
                report.must(&missing.call.clone(), "can be called", false, || missing.to_string())
            }
        }
    }
    llms(&server, &mut report)?;
    let exit = if report.count(Outcome::Failed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let text =
        if options.json { report.json(server.base.as_str()) } else { report.text(server.base.as_str()) };
    Ok(Answer { exit, ..Answer::text(text) })
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Passed,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    place: String,
    check: &'static str,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Every check and its outcome.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    /// A MUST of a draft: an error when it does not hold.
    pub(super) fn must(
        &mut self,
        place: &str,
        check: &'static str,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) {
        self.add(place, check, if holds { Outcome::Passed } else { Outcome::Failed }, detail);
    }

    /// A SHOULD: a warning.
    pub(super) fn should(
        &mut self,
        place: &str,
        check: &'static str,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) {
        self.add(place, check, if holds { Outcome::Passed } else { Outcome::Warning }, detail);
    }

    fn add(&mut self, place: &str, check: &'static str, outcome: Outcome, detail: impl FnOnce() -> String) {
        let detail = (outcome != Outcome::Passed).then(detail);
        self.0.push(Check { place: place.to_owned(), check, outcome, detail });
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|check| check.outcome == outcome).count()
    }

    /// What did not pass, one line each.
    pub(super) fn findings(&self) -> String {
        let mut out = String::new();
        for check in self.0.iter().filter(|check| check.outcome != Outcome::Passed) {
            let sign = if check.outcome == Outcome::Failed { "error" } else { "warning" };
            let detail = check.detail.as_deref().unwrap_or_default();
            let _ = writeln!(out, "{sign}: {}: {}: {detail}", check.place, check.check);
        }
        out
    }

    fn text(&self, url: &str) -> String {
        let mut out = self.findings();
        let (passed, warnings, failed) =
            (self.count(Outcome::Passed), self.count(Outcome::Warning), self.count(Outcome::Failed));
        let _ = writeln!(
            out,
            "{url}: {passed} passed, {warnings} warnings, {failed} failed; receipts were not checked"
        );
        out
    }

    fn json(&self, url: &str) -> String {
        let report = serde_json::json!({
            "url": url, "passed": self.count(Outcome::Passed), "warnings": self.count(Outcome::Warning),
            "failed": self.count(Outcome::Failed), "checks": self.0,
        });
        format!("{report:#}\n")
    }
}

/// Fetches and checks the document.
pub(super) fn document(server: &Server, report: &mut Report) -> Result<Value, ServerError> {
    const PLACE: &str = "openapi.json";
    let reply = server.ask(&reqwest::Method::GET, PLACE, &[], &[])?;
    report.must(PLACE, "DISC-02: is there", reply.status == 200, || format!("it answers {}", reply.status));
    let media = reply.media_type().to_owned();
    report.must(PLACE, "DISC-02: is application/json", media == "application/json", || {
        format!("it is `{media}`")
    });
    let cached = !reply.header("cache-control").is_empty();
    report
        .should(PLACE, "DISC-09: says how long it may be cached", cached, || "no `Cache-Control`".to_owned());
    let open = !reply.header("access-control-allow-origin").is_empty();
    report.should(PLACE, "DISC-11: can be read by browsers", open, || {
        "no `Access-Control-Allow-Origin`".to_owned()
    });
    let parsed = serde_json::from_slice(&reply.body);
    report.must(PLACE, "DISC-02: is JSON", parsed.is_ok(), || {
        parsed.as_ref().err().map(ToString::to_string).unwrap_or_default()
    });
    let document = parsed.unwrap_or_default();
    rules::check(&document, reply.body.len(), report);
    Ok(document)
}

fn llms(server: &Server, report: &mut Report) -> Result<(), ServerError> {
    let reply = server.ask(&reqwest::Method::GET, "llms.txt", &[], &[])?;
    let there = reply.status == 200 && reply.media_type().starts_with("text/") && !reply.body.is_empty();
    report.should("llms.txt", "is there, as text", there, || {
        format!("{} `{}`", reply.status, reply.media_type())
    });
    Ok(())
}

/// Calls one operation, twice without a credential and once with one that is none.
fn operation(server: &Server, sample: &Sample, report: &mut Report) -> Result<(), ServerError> {
    let call = sample.call.as_str();
    let ask = |extra: &[(&str, &str)]| {
        let own = sample.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<_> = own.chain(extra.iter().copied()).collect();
        server.ask(&sample.verb, &sample.target, &headers, &sample.body)
    };
    let first = ask(&[])?;
    report.must(call, "answers 402 without a credential", first.status == 402, || {
        format!("it answers {}", first.status)
    });
    if first.status != 402 {
        return Ok(());
    }
    let issued = challenges(call, server, &first, report);
    let compared = sample.compare(&issued);
    report.must(call, "DISC-10: charges what it advertises", compared.is_ok(), || {
        compared.as_ref().err().map(ToString::to_string).unwrap_or_default()
    });
    let store = first.header("cache-control").contains("no-store");
    report.must(call, "a challenge is not stored", store, || {
        format!("`Cache-Control: {}`", first.header("cache-control"))
    });
    let problem: Option<Value> =
        serde_json::from_slice(&first.body).ok().filter(|_| first.media_type() == "application/problem+json");
    let typed = problem.as_ref().is_some_and(|p| p["type"].is_string() && p["status"] == 402);
    report.should(call, "explains itself as a problem", typed, || format!("`{}`", first.media_type()));

    let second = ids(&ask(&[])?);
    let fresh = ids(&first).iter().all(|id| !second.contains(id));
    report.must(call, "each challenge has an id of its own", fresh, || "the same id twice".to_owned());

    let refused = ask(&[("authorization", GARBAGE)])?;
    let again = refused.status == 402 && !ids(&refused).is_empty();
    report.must(call, "a malformed credential gets a 402 with a challenge", again, || {
        format!("{}", refused.status)
    });
    Ok(())
}

fn challenges(call: &str, server: &Server, reply: &Reply, report: &mut Report) -> Vec<Challenge> {
    let lines: Vec<&str> =
        reply.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok()).collect();
    let longest = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    report.should(call, "header lines fit through proxies", longest <= LONGEST_LINE, || {
        format!("{longest} bytes")
    });
    let parsed = Challenge::parse_all(lines);
    let clean = parsed.refused.is_empty() && !parsed.offers.is_empty();
    report.must(call, "every challenge can be read", clean, || match parsed.refused.first() {
        Some(why) => why.to_string(),
        None => "there is no Payment challenge".to_owned(),
    });
    let host = server.base.host_str().unwrap_or_default();
    let now = SystemClock.now();
    for challenge in &parsed.offers {
        let realm = challenge.realm.as_str();
        let own = host == realm || host.ends_with(&format!(".{realm}"));
        report.must(call, "the realm is the host", own, || format!("`{realm}` at `{host}`"));
        let payable = matches!(challenge.expires_at(), Ok(Some(expires)) if expires > now);
        report.must(call, "the challenge can still be paid", payable, || {
            format!("expires `{}`", challenge.expires.as_deref().unwrap_or_default())
        });
        let charge = challenge.charge();
        report.must(call, "the request can be read", charge.is_ok(), || {
            charge.as_ref().err().map(ToString::to_string).unwrap_or_default()
        });
    }
    parsed.offers
}

fn ids(reply: &Reply) -> Vec<String> {
    let lines = reply.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
    Challenge::parse_all(lines).offers.into_iter().map(|challenge| challenge.id).collect()
}
