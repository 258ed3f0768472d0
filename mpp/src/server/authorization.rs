//! The Payment credential leaves the request before anything else sees it.
//!
//! `Authorization` may carry a Payment element on a line of its own or comma-joined with others; the others stay,
//! byte for byte (draft-httpauth-payment-00 section 5.2).

use super::respond::Answer;
use crate::protocol::authorization::{PaymentElement, split};
use crate::protocol::{CredentialBuf, CredentialError, ProblemType};
use axum::http::{HeaderMap, HeaderValue, header};
use std::borrow::Cow;

/// The one Payment credential of a request, taken out of its headers and decoded.
///
/// # Errors
/// 400 when there is more than one; the headers are left alone then.
pub(super) fn take(
    headers: &mut HeaderMap,
) -> Result<Option<Result<CredentialBuf, CredentialError>>, Answer> {
    // A request has few headers: to look at their names takes less than to hash this one.
    if headers.keys().any(|name| name == header::AUTHORIZATION) { take_out(headers) } else { Ok(None) }
}

#[inline(never)] // most requests have none
fn take_out(headers: &mut HeaderMap) -> Result<Option<Result<CredentialBuf, CredentialError>>, Answer> {
    let mut credential = None;
    let mut kept: Vec<HeaderValue> = Vec::new();
    for line in headers.get_all(header::AUTHORIZATION) {
        let bytes = line.as_bytes();
        // What is not UTF-8 becomes one char per byte: a strange byte must neither hide a payment nor be lost.
        let text = match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect::<String>()),
        };
        let found = split(&text);
        match found.payment {
            PaymentElement::None => {
                kept.push(line.clone());
                continue;
            }
            PaymentElement::One(payment) if credential.is_none() => {
                credential = Some(CredentialBuf::decode(payment));
            }
            PaymentElement::One(_) | PaymentElement::Several(_) => {
                return Err(Answer::problem(
                    ProblemType::BadRequest,
                    "more than one Payment credential; a request pays once",
                ));
            }
        }
        if let Some(rest) = found.rest {
            let rest = match &text {
                Cow::Borrowed(_) => HeaderValue::from_bytes(rest.as_bytes()),
                Cow::Owned(_) => HeaderValue::from_bytes(&rest.chars().map(|c| c as u8).collect::<Vec<_>>()),
            };
            kept.extend(rest.ok());
        }
    }
    headers.remove(header::AUTHORIZATION);
    for mut value in kept {
        value.set_sensitive(true);
        headers.append(header::AUTHORIZATION, value);
    }
    Ok(credential)
}
