//! `mpp decode`: what a header of the protocol says, in plain words or as JSON.
//!
//! The text goes through three steps, a file each: `recognise` finds out what it is, `explain` turns it into
//! named fields, `print` writes them. Everything in it may come from an attacker: sizes are limited before
//! anything is decoded, and nothing is printed that a terminal would act on.

mod explain;
mod print;
mod recognise;

use std::ffi::OsString;
use std::path::PathBuf;

use mpp::protocol::{ChallengeError, CredentialError, ReceiptError};
use mpp::{Clock as _, SystemClock};

use crate::Answer;
use crate::input::{self, InputError};

/// Explain a WWW-Authenticate, Authorization, Payment-Receipt or Accept-Payment value.
///
/// Reads a header's value, whole header lines (also the output of `curl -i` or `curl -v`), a bare base64url
/// token, or JSON. Proofs of payment are not printed: whoever has one can spend it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A value given as an argument can be read by every user of this machine while the command runs; \
give a credential on standard input."
)]
pub(crate) struct Options {
    /// The value; standard input when it is left out or `-`
    #[arg(value_name = "VALUE")]
    value: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the payload of a credential, which is the payment itself
    #[arg(long)]
    show_payload: bool,
    /// Say whether a challenge was issued under a secret of this file (hexadecimal, one per line)
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
}

/// How a credential's payload is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    Hidden,
    Shown,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("there is nothing to decode")]
    Empty,
    #[error("{0}")]
    Challenge(#[from] ChallengeError),
    #[error("{0}")]
    Credential(#[from] CredentialError),
    #[error("{0}")]
    Receipt(#[from] ReceiptError),
    #[error("{0}")]
    Accept(#[from] mpp::protocol::AcceptError),
    #[error("this header has no `Payment` in it")]
    OtherScheme,
    #[error("the JSON is neither a credential, a receipt, a challenge, a charge request nor a problem")]
    OtherJson,
    #[error(
        "this is neither a value of WWW-Authenticate, Authorization, Payment-Receipt or Accept-Payment, \
         nor a base64url token or JSON of the protocol"
    )]
    Unrecognised,
}

pub(crate) fn run(options: &Options) -> Result<Answer, DecodeError> {
    let ring = options.secret_file.as_deref().map(input::secrets).transpose()?;
    let text = input::read(options.value.as_deref())?;
    let found = recognise::recognise(&text)?;
    let payload = if options.show_payload { Payload::Shown } else { Payload::Hidden };
    let explainer = explain::Explainer { now: SystemClock.now(), ring: ring.as_ref(), payload };
    let items: Vec<_> = found.things.iter().map(|thing| explainer.explain(thing)).collect();
    let out = if options.json { print::json(&items, &found.refused) } else { print::text(&items) };
    let warnings = found.refused.iter().map(|error| format!("mpp: refused: {error}\n")).collect();
    Ok(Answer { out: out.into(), warnings, ..Answer::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn everything(text: &str) {
        let Ok(found) = recognise::recognise(text) else { return };
        for payload in [Payload::Hidden, Payload::Shown] {
            let explainer = explain::Explainer { now: SystemClock.now(), ring: None, payload };
            let items: Vec<_> = found.things.iter().map(|thing| explainer.explain(thing)).collect();
            let printed = print::text(&items) + &print::json(&items, &found.refused);
            assert!(!printed.contains(|c: char| c.is_control() && c != '\n'), "{printed:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,400}") {
            everything(&text);
        }

        #[test]
        fn text_that_looks_like_a_header_is_read_or_refused_without_a_panic(
            text in "((www-authenticate|Authorization|payment-receipt|Accept-Payment): ?)?(Payment ?)?[a-z0-9=\",/;{}: \\x1b\u{9b}-]{0,200}",
        ) {
            everything(&text);
        }

        #[test]
        fn any_text_in_a_token_is_read_or_refused_without_a_panic(
            amount in ".{0,20}", extra in ".{0,40}", method in "[a-z]{1,8}",
        ) {
            let request = serde_json::json!({ "amount": amount, "currency": extra, "methodDetails": { extra.clone(): 1 } });
            let request = mpp::protocol::b64::encode(request.to_string());
            let challenge = serde_json::json!({
                "id": extra, "realm": extra, "method": method, "intent": "charge", "request": request,
                "expires": amount, "opaque": extra, "description": extra,
            });
            let credential = serde_json::json!({ "challenge": challenge, "source": extra, "payload": { "type": extra } });
            everything(&challenge.to_string());
            everything(&credential.to_string());
            everything(&format!("Payment {}", mpp::protocol::b64::encode(credential.to_string())));
        }
    }
}
