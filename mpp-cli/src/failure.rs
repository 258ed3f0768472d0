//! How a command fails: one sentence, and an exit code that a script can tell apart.

use std::fmt;

/// The exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The input, a file or the network.
    Failed = 1,
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
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl fmt::Display) -> Failure {
        // Some errors quote servers, and some have several lines.
        let text = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Failure { code, text: crate::terminal::plain(&text) }
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
    mpp::client::LedgerError,
    mpp::client::BuildError,
    mpp::client::QuoteError,
    reqwest::Error
);
