//! `mpp validate`: a server as its clients see it.
//!
//! The document is held against the draft's rules, and every priced operation of it is called with its own examples: the
//! answer has to be a 402 (draft-httpauth-payment-00 section 5.1) whose challenges are the advertised offers. Nothing is
//! paid here; what `--pay` adds is in `paid.rs`.

use super::cors::{self, ORIGIN};
use super::paid::{Buyer, PAYMENT};
use super::report::{Outcome, Report};
use super::server::{Reply, Server, ServerError};
use super::{rules, undeclared};
use crate::Answer;
use crate::failure::Failure;
use crate::purse::Consent;
use crate::request::Means;
use mpp::discovery::{Sample, samples};
use mpp::protocol::{Challenge, Timestamp};
use mpp::{Clock, SystemClock};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Proxies refuse longer header lines, and longer heads.
const LONGEST_LINE: usize = 8 * 1024;
const LONGEST_HEAD: usize = 16 * 1024;
/// A challenge is an offer for now: whoever keeps one of a month can pay the price of last month; one of seconds is over before
/// anybody has asked.
const LONGEST_OFFER: Duration = Duration::from_secs(24 * 60 * 60);
const SHORTEST_OFFER: Duration = Duration::from_secs(20);
/// Well formed as a header, and no credential.
const GARBAGE: &str = "Payment bm90IGEgY3JlZGVudGlhbA";

/// Check a server's documents and challenges from outside. Pays nothing without `--pay`.
///
/// Exit code 1 when a check failed. What is not checked is counted: receipts cost money, so they are skipped without
/// `--pay`. With it every priced operation is bought once, within the limits of the configuration and as `mpp pay` would.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server's URL
    url: String,
    /// Buy every priced operation once, and check the receipts
    #[arg(long)]
    pay: bool,
    /// Pay without asking, within the limits
    #[arg(short, long, requires = "pay")]
    yes: bool,
    /// JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "With --pay")]
    means: Means,
}

pub(crate) fn run(options: &Options) -> Result<Answer, Failure> {
    let server = Server::at(&options.url)?;
    let consent = if options.yes { Consent::Given } else { Consent::Asked };
    let buyer = options.pay.then(|| Buyer::at(&server, &options.means, consent)).transpose()?;
    let mut report = Report::default();
    if let Some(document) = document(&server, &mut report)? {
        operations(&server, &document, buyer.as_ref(), &mut report)?;
        llms(&server, &mut report)?;
    }
    let exit = if report.count(Outcome::Failed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let url = server.base.as_str();
    let text = if options.json { report.json(url) } else { report.text(url) };
    Ok(Answer { exit, ..Answer::text(text) })
}

/// Calls every operation, and buys the priced ones where there is a buyer.
fn operations(
    server: &Server,
    document: &Value,
    buyer: Option<&Buyer>,
    report: &mut Report,
) -> Result<(), Failure> {
    for sample in samples(document) {
        match sample {
            Ok(sample) => {
                let priced = operation(server, &sample, report)?;
                match buyer {
                    Some(buyer) if priced => buyer.buy(server, &sample, report)?,
                    Some(_) => {}
                    None => report.skip(&sample.call, PAYMENT, "it costs money; `--pay` buys it"),
                }
            }
            Err(missing) => {
                report.must(&missing.call.clone(), "can be called", false, || missing.to_string())
            }
        }
    }
    Ok(undeclared::check(server, document, report)?)
}

/// Fetches and checks the document. Without one there is nothing else to check, and that is all that is said.
pub(super) fn document(server: &Server, report: &mut Report) -> Result<Option<Value>, ServerError> {
    const PLACE: &str = "openapi.json";
    let reply = server.ask(&reqwest::Method::GET, PLACE, &[ORIGIN], &[])?;
    let parsed: Result<Value, _> = serde_json::from_slice(&reply.body);
    let url = server.url(PLACE)?;
    let nothing = match &parsed {
        _ if reply.status == 404 => {
            Some(format!("{url} answers {} (with this library `Router::publish` serves it)", reply.status))
        }
        _ if reply.status != 200 => Some(format!("{url} answers {}", reply.status)),
        Err(why) => Some(format!("what {url} answers is not JSON: {why}")),
        Ok(document) if !document["openapi"].is_string() => {
            Some(format!("what {url} answers is no OpenAPI document"))
        }
        Ok(_) => None,
    };
    report.must(PLACE, "DISC-02: is there", nothing.is_none(), || {
        format!("{}; nothing else can be checked without it", nothing.clone().unwrap_or_default())
    });
    let Some(document) = parsed.ok().filter(|_| nothing.is_none()) else { return Ok(None) };
    let media = reply.media_type().to_owned();
    report.must(PLACE, "DISC-02: is application/json", media == "application/json", || {
        format!("it is `{media}`")
    });
    let cached = !reply.header("cache-control").is_empty();
    report
        .should(PLACE, "DISC-09: says how long it may be cached", cached, || "no `Cache-Control`".to_owned());
    let unreadable = cors::unreadable(&reply);
    report.should(PLACE, "DISC-11: can be read by browsers", unreadable.is_none(), || {
        unreadable.clone().unwrap_or_default()
    });
    rules::check(&document, reply.body.len(), report);
    Ok(Some(document))
}

fn llms(server: &Server, report: &mut Report) -> Result<(), ServerError> {
    let reply = server.ask(&reqwest::Method::GET, "llms.txt", &[], &[])?;
    let there = reply.status == 200 && reply.media_type().starts_with("text/") && !reply.body.is_empty();
    report.should("llms.txt", "is there, as text", there, || {
        format!("{} `{}`", reply.status, reply.media_type())
    });
    Ok(())
}

/// Calls one operation: without a credential, without a body, as a page of another origin, and with what is no credential.
/// Says whether it is priced.
fn operation(server: &Server, sample: &Sample, report: &mut Report) -> Result<bool, ServerError> {
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
        return Ok(false);
    }
    // What cannot be read cannot be compared, either.
    if let Some(issued) = challenges(call, server, &first, report) {
        let compared = sample.compare(&issued);
        report.must(call, "DISC-10: charges what it advertises", compared.is_ok(), || {
            compared.as_ref().err().map(ToString::to_string).unwrap_or_default()
        });
    }
    let store = first.header("cache-control").contains("no-store");
    report.must(call, "a challenge is not stored", store, || {
        format!("`Cache-Control: {}`", first.header("cache-control"))
    });
    let problem: Option<Value> =
        serde_json::from_slice(&first.body).ok().filter(|_| first.media_type() == "application/problem+json");
    let typed = problem.as_ref().is_some_and(|p| p["type"].is_string() && p["status"] == 402);
    report.should(call, "explains itself as a problem", typed, || format!("`{}`", first.media_type()));

    let second = ask(&[ORIGIN])?;
    let fresh = |other: &Reply| ids(other).iter().all(|id| !ids(&first).contains(id));
    report
        .must(call, "each challenge has an id of its own", fresh(&second), || "the same id twice".to_owned());
    cors::check(server, sample, &second, report)?;
    if !sample.body.is_empty() {
        let bare = server.ask(&sample.verb, &sample.target, &[], &[])?;
        report.should(
            call,
            "402 before 400: tells its price to who sends no body",
            bare.status == 402,
            || format!("it answers {}; catalogues ask like that (`challenge = \"first\"`)", bare.status),
        );
    }

    let refused = ask(&[("authorization", GARBAGE)])?;
    let again = refused.status == 402 && !parsed(&refused).is_empty();
    report.must(call, "a malformed credential gets a 402 with a challenge", again, || {
        format!(
            "it answers {} with `WWW-Authenticate: {}`",
            refused.status,
            refused.header("www-authenticate")
        )
    });
    report.must(call, "and that challenge is a fresh one", fresh(&refused), || {
        "it was issued before".to_owned()
    });
    Ok(true)
}

/// The challenges of a 402; none where one of them cannot be read.
fn challenges(call: &str, server: &Server, reply: &Reply, report: &mut Report) -> Option<Vec<Challenge>> {
    let lines: Vec<&str> =
        reply.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok()).collect();
    let longest = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    report.should(call, "header lines fit through proxies", longest <= LONGEST_LINE, || {
        format!("{longest} bytes")
    });
    let head: usize = reply.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    report.should(call, "the head of the answer fits through proxies", head <= LONGEST_HEAD, || {
        format!("{head} bytes")
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
        report.must(call, "the realm is the host", is_own(realm, host), || format!("`{realm}` at `{host}`"));
        expiry(call, challenge, now, report);
        let charge = challenge.charge();
        report.must(call, "the request can be read", charge.is_ok(), || {
            charge.as_ref().err().map(ToString::to_string).unwrap_or_default()
        });
    }
    clean.then_some(parsed.offers)
}

/// When the offer ends (draft-httpauth-payment-00 section 5.1.1).
fn expiry(call: &str, challenge: &Challenge, now: Timestamp, report: &mut Report) {
    const SAYS: &str = "the challenge says when it expires";
    let Some(text) = challenge.expires.as_deref() else {
        report.should(call, SAYS, false, || "there is no `expires`: it can be paid for ever".to_owned());
        return;
    };
    // One that is no time makes a challenge that cannot be read, which is said.
    let Ok(Some(expires)) = challenge.expires_at() else { return };
    report.should(call, SAYS, true, String::new);
    report.must(call, "the challenge can still be paid", expires > now, || format!("it expired at `{text}`"));
    if expires > now {
        let left = expires.since(now);
        let sensible = SHORTEST_OFFER <= left && left <= LONGEST_OFFER;
        report.should(call, "the challenge is for now", sensible, || match left > LONGEST_OFFER {
            true => format!("it expires at `{text}`, in more than a day: an old price could be paid"),
            false => format!("it expires at `{text}`, in {} s: that is too soon to pay it", left.as_secs()),
        });
    }
}

/// Whether a realm is this host or a parent domain that belongs to somebody, as a client asks before it pays.
fn is_own(realm: &str, host: &str) -> bool {
    let realm = match realm.to_ascii_lowercase() {
        bare if bare.contains(':') && !bare.starts_with('[') => format!("[{bare}]"),
        other => other,
    };
    let child = host.strip_suffix(realm.as_str()).is_some_and(|child| child.ends_with('.'));
    realm == host || (child && realm.contains('.') && host.parse::<std::net::Ipv4Addr>().is_err())
}

fn ids(reply: &Reply) -> Vec<String> {
    parsed(reply).into_iter().flatten().map(|challenge| challenge.id).collect()
}

/// The challenges of an answer, those that cannot be read among them.
fn parsed(reply: &Reply) -> Vec<Option<Challenge>> {
    let lines = reply.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
    let found = Challenge::parse_all(lines);
    let refused = found.refused.into_iter().map(|_| None);
    found.offers.into_iter().map(Some).chain(refused).collect()
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn a_realm_that_no_client_would_pay_at_this_host_is_not_its_own() {
        for (realm, host, own) in [
            ("api.example.com", "api.example.com", true),
            ("API.example.com", "api.example.com", true),
            ("example.com", "api.example.com", true),
            ("com", "api.example.com", false),
            ("", "api.example.com", false),
            ("ample.com", "example.com", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("0.0.1", "127.0.0.1", false),
            ("1", "127.0.0.1", false),
            ("::1", "[::1]", true),
        ] {
            assert_eq!(is_own(realm, host), own, "{realm} at {host}");
        }
    }
}
