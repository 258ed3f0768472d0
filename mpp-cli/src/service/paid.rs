//! `mpp validate --pay`: every priced operation is bought once, as `mpp pay` would, and what comes with the answer is checked:
//! the receipt (draft-httpauth-payment-00 section 5.3), who may store it, and that the payment opens the operation once.
//!
//! The limits of the configuration hold. What they refuse is skipped and counted; a payment without a delivery is kept for
//! `mpp pay --resume`, also where somebody stops the command before its answer.

use super::report::Report;
use super::server::{Server, ServerError};
use crate::failure::Failure;
use crate::home::Home;
use crate::progress::Progress;
use crate::purse::{Consent, Purse};
use crate::request::Means;
use crate::unsettled::Shelf;
use mpp::client::{Error, Paid};
use mpp::discovery::Sample;
use mpp::method::Fate;
use mpp::protocol::Challenge;
use mpp::{Clock, SystemClock};
use std::time::Duration;

/// The check that needs money.
pub(super) const PAYMENT: &str = "a payment is answered with a success and a receipt";
/// A receipt is of now, give or take.
const RECENT: Duration = Duration::from_secs(60);

/// Who pays.
pub(super) struct Buyer {
    purse: Purse,
    home: Home,
}

impl Buyer {
    /// At this server, which is asked nothing more either once somebody stops the command.
    pub(super) fn at(server: &Server, means: &Means, consent: Consent) -> Result<Self, Failure> {
        let home = Home::find()?;
        let told = Some(Progress::at_a_terminal());
        let purse = Purse::open(means, &home, consent, told, server.interrupt.clone())?;
        Ok(Self { purse, home })
    }

    /// Buys one operation and looks at what it gets. Fails where somebody stops the command; a payment that is under way is
    /// kept then.
    pub(super) fn buy(&self, server: &Server, sample: &Sample, report: &mut Report) -> Result<(), Failure> {
        let call = sample.call.as_str();
        let mut request = reqwest::Request::new(sample.verb.clone(), server.url(&sample.target)?);
        request.headers_mut().extend(server.own.clone());
        for (name, value) in &sample.headers {
            let parsed = (name.parse::<reqwest::header::HeaderName>(), value.parse());
            if let (Ok(name), Ok(value)) = parsed {
                request.headers_mut().append(name, value);
            }
        }
        if !sample.body.is_empty() {
            *request.body_mut() = Some(sample.body.clone().into());
        }
        let shelf = Shelf::for_request(&self.home, &request);
        let answer = match server.wait(self.purse.send(request, &shelf))? {
            Ok(answer) => answer,
            Err(error) => {
                not_bought(call, &error, &shelf, report);
                return Ok(());
            }
        };
        let status = answer.status();
        let Some(paid) = answer.extensions().get::<Paid>().cloned() else {
            report.skip(call, PAYMENT, format!("nothing was paid, and it answers {status}"));
            return Ok(());
        };
        if status.is_client_error() {
            // As everywhere: no delivery, and the payment is kept.
            let kept = server.wait(self.purse.keep_undelivered(&shelf, &paid, answer));
            report.must(call, PAYMENT, false, || kept.to_string());
            return Ok(());
        }
        let received = paid.receipt.as_ref();
        report.must(call, PAYMENT, received.is_ok(), || {
            received.err().map(ToString::to_string).unwrap_or_default()
        });
        if let Ok(receipt) = received {
            report.must(call, "the receipt has a reference", !receipt.reference.is_empty(), || {
                "it is empty".to_owned()
            });
            let now = SystemClock.now();
            let (from, to) = (now - RECENT, now + RECENT);
            let recent = from <= receipt.timestamp && receipt.timestamp <= to;
            report
                .should(call, "the receipt is of now", recent, || format!("it is of {}", receipt.timestamp));
        }
        let stored =
            answer.headers().get("cache-control").and_then(|line| line.to_str().ok()).unwrap_or_default();
        let own = stored.contains("private") || stored.contains("no-store");
        report.must(call, "what was paid for is not stored for others", own, || {
            format!("`Cache-Control: {stored}`")
        });
        replay(server, sample, &paid, report)?;
        Ok(())
    }
}

fn not_bought(call: &str, error: &reqwest_middleware::Error, shelf: &Shelf<'_>, report: &mut Report) {
    match Error::find(error) {
        Some(Error::NotPaid(refused)) => report.skip(call, PAYMENT, refused.to_string()),
        Some(error) => report.must(call, PAYMENT, false, || match error.unsettled() {
            // Where nothing was paid there is nothing to resume.
            Some(unsettled) if unsettled.fate != Fate::Never => shelf.keep(unsettled, error).to_string(),
            _ => error.to_string(),
        }),
        None => report.must(call, PAYMENT, false, || Failure::unanswered(error).to_string()),
    }
}

/// Sends the credential again, by itself.
fn replay(server: &Server, sample: &Sample, paid: &Paid, report: &mut Report) -> Result<(), ServerError> {
    const AGAIN: &str = "the same payment opens it no second time";
    let call = sample.call.as_str();
    // Base64url, as every credential; one that is not could not have been sent.
    let Ok(credential) = paid.payment.authorization().to_str() else { return Ok(()) };
    let own = sample.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<_> = own.chain([("authorization", credential)]).collect();
    let again = server.ask(&sample.verb, &sample.target, &headers, &sample.body)?;
    // A server may keep an answer for whoever paid for it and lost it, so a success is no breach of the draft.
    report.should(call, AGAIN, !again.status.is_success(), || format!("it answers {}", again.status));
    if !again.status.is_success() {
        let lines = again.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
        let offered = !Challenge::parse_all(lines).offers.is_empty();
        report.must(
            call,
            "a spent payment gets a 402 with a challenge",
            again.status == 402 && offered,
            || format!("it answers {}", again.status),
        );
    }
    Ok(())
}
