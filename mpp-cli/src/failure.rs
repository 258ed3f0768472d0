//! How a command fails: one sentence, and an exit code that a script can tell apart.

use std::fmt;

use mpp::client::{EntryId, LedgerError, QuoteError};
use serde_json::{Value, json};

use crate::home::Home;

/// The exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The input, a file or the network.
    Failed = 1,
    /// The command line.
    Usage = 2,
    /// Nothing was paid: the policy, or whoever was asked, said no.
    NotPaid = 3,
    /// Something may have been paid, and nothing was delivered.
    Unsettled = 4,
    /// `--fail`, and the server answered with an error; the same as curl's.
    Status = 22,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// One line, for people.
    pub(crate) text: String,
    /// The payment that can be resumed.
    pub(crate) entry: Option<EntryId>,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl fmt::Display) -> Failure {
        // Some errors quote servers, and some have several lines.
        let text = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Failure { code, text: crate::terminal::plain(&text), entry: None }
    }

    /// The command line cannot be understood.
    pub(crate) fn misused(error: &clap::Error) -> Failure {
        // What comes after it is how the command is used, which people are shown.
        let text = error.to_string();
        let what = text.split("\n\nUsage:").next().unwrap_or_default();
        let what = what.split("\n\nFor more information").next().unwrap_or_default();
        Failure::new(Code::Usage, what.trim_start_matches("error: "))
    }

    /// No answer came to a request.
    pub(crate) fn unanswered(error: &(dyn std::error::Error + 'static)) -> Failure {
        // The innermost cause says most: "Connection refused" and not "error sending request".
        let (mut cause, mut not_connected) = (error, false);
        loop {
            // The middleware's wrapper is transparent to `source`.
            let http = match cause.downcast_ref() {
                Some(reqwest_middleware::Error::Reqwest(http)) => Some(http),
                _ => cause.downcast_ref(),
            };
            not_connected |= http.is_some_and(reqwest::Error::is_connect);
            match cause.source() {
                Some(inner) => cause = inner,
                None => break,
            }
        }
        let cause = cause.to_string();
        let hint = match not_connected {
            // What answers is no TLS: nearly always http, asked for https.
            true if cause.contains("InvalidContentType") => "; it speaks no TLS there: is it an http:// URL?",
            true if cause.contains("lookup") => "; is the name right?",
            true => "; is the server running?",
            false => "",
        };
        Failure::failed(format!("no answer: {cause}{hint}"))
    }

    /// The ledger cannot be used: which file that is.
    pub(crate) fn ledger(error: &LedgerError) -> Failure {
        let path = Home::find().map(|home| home.path(crate::ledger::FILE).display().to_string());
        Failure::failed(format!("{error} ({})", path.unwrap_or_else(|_| crate::ledger::FILE.to_owned())))
    }

    /// For programs: one line of JSON.
    pub(crate) fn json(&self) -> Value {
        let entry = self.entry.map(|entry| entry.to_string());
        json!({ "error": { "exitCode": self.code as u8, "message": self.text, "resume": entry } })
    }

    pub(crate) fn failed(text: impl fmt::Display) -> Failure {
        Failure::new(Code::Failed, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<QuoteError> for Failure {
    fn from(error: QuoteError) -> Failure {
        match &error {
            QuoteError::Http(http) => Failure::unanswered(http),
            QuoteError::Ledger(ledger) => Failure::ledger(ledger),
            other => Failure::failed(other),
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Failure {
        Failure::ledger(&error)
    }
}

macro_rules! plain_failures {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::failed(error)
            }
        }
    )*};
}

plain_failures!(
    crate::decode::DecodeError,
    crate::input::InputError,
    crate::service::ServiceError,
    crate::service::ServerError,
    mpp::client::BuildError,
    reqwest::Error
);
