//! Payments without a delivery: each in a file of its own, with its credential, so for its owner alone.
//!
//! `mpp pay --resume` asks with one of them. So does `mpp pay` for the very same request (verb, URL, headers, data) before it pays
//! anything: a script that tries again does not buy again.

use std::path::{Path, PathBuf};

use axum::body::Bytes;
use axum::http;
use mpp::client::{EntryId, Error, Paid, Unsettled};
use mpp::protocol::b64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::{Code, Failure};
use crate::home::{self, Home};

const FOLDER: &str = "unsettled";

/// Where payments for one request are kept.
pub(crate) struct Shelf<'a> {
    home: &'a Home,
    asked: Asked,
}

/// A request as its user has written it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Asked {
    verb: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What a file holds: the request as it was sent, with the credential.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    verb: String,
    headers: Vec<(String, String)>,
    body: String,
    /// What it was made of, without a redirect or a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    /// The server has said that it takes it no more: kept for whoever asks about it, and not tried unasked.
    #[serde(default)]
    is_refused: bool,
}

impl<'a> Shelf<'a> {
    /// For payments of this request.
    pub(crate) fn for_request(home: &'a Home, request: &reqwest::Request) -> Shelf<'a> {
        let asked = Asked {
            verb: request.method().to_string(),
            url: request.url().to_string(),
            headers: lines(request.headers()),
            body: b64::encode(request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default()),
        };
        Shelf { home, asked }
    }

    /// A payment for the same request that may still be taken.
    pub(crate) fn find(&self) -> Option<EntryId> {
        // Without the folder nothing was ever kept, and what cannot be read is none of ours.
        let files = std::fs::read_dir(self.home.path(FOLDER)).ok()?;
        files.flatten().find_map(|file| {
            let kept = read(&file.path()).ok()?;
            let entry = file.file_name().to_str()?.strip_suffix(".json")?.parse().ok()?;
            (kept.asked.as_ref() == Some(&self.asked) && !kept.is_refused).then_some(entry)
        })
    }

    /// Keeps what was paid for, and says how to get it.
    pub(crate) fn keep(&self, unsettled: &Unsettled, why: &Error) -> Failure {
        self.keep_request(unsettled.payment.entry(), &unsettled.request(), why)
    }

    /// As [`keep`](Self::keep), of a payment that was answered with an error.
    pub(crate) fn keep_paid(&self, paid: &Paid, answer: &str) -> Failure {
        let why = format!("{} may be paid, and {answer}", paid.payment.cost());
        self.keep_request(paid.payment.entry(), &paid.request(), why)
    }

    pub(crate) fn keep_request(
        &self,
        entry: EntryId,
        request: &http::Request<Bytes>,
        why: impl std::fmt::Display,
    ) -> Failure {
        let hint = match self.write(entry, request) {
            Ok(()) => format!("`mpp pay --resume {entry}` asks for it again and does not pay again"),
            Err(error) => format!("and it could not be kept: {error}"),
        };
        Failure { entry: Some(entry), ..Failure::new(Code::Unsettled, format!("{why}; {hint}")) }
    }

    fn write(&self, entry: EntryId, request: &http::Request<Bytes>) -> Result<(), Failure> {
        let kept = Kept {
            url: request.uri().to_string(),
            verb: request.method().to_string(),
            headers: lines(request.headers()),
            body: b64::encode(request.body()),
            asked: Some(self.asked.clone()),
            is_refused: false,
        };
        let path = path(self.home, entry);
        if path.exists() {
            return Ok(()); // it is a resumption of the same
        }
        home::write_new(&self.home.file(&name(entry))?, &json(&kept)?)
    }
}

/// The request of a payment, with its credential.
pub(crate) fn request_of(home: &Home, entry: EntryId) -> Result<reqwest::Request, Failure> {
    let path = path(home, entry);
    let broken = || Failure::failed(format!("{} cannot be read", path.display()));
    let kept = read(&path)?;
    let url = kept.url.parse().map_err(|_| broken())?;
    let mut request = reqwest::Request::new(kept.verb.parse().map_err(|_| broken())?, url);
    for (name, value) in &kept.headers {
        let name: reqwest::header::HeaderName = name.parse().map_err(|_| broken())?;
        let mut value = reqwest::header::HeaderValue::from_str(value).map_err(|_| broken())?;
        value.set_sensitive(name == reqwest::header::AUTHORIZATION);
        request.headers_mut().append(name, value);
    }
    let body = b64::decode(&kept.body).map_err(|_| broken())?;
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    Ok(request)
}

/// It was delivered.
pub(crate) fn forget(home: &Home, entry: EntryId) {
    let _ = std::fs::remove_file(path(home, entry));
}

/// Its server takes it no more.
pub(crate) fn mark_refused(home: &Home, entry: EntryId) -> Result<(), Failure> {
    let path = path(home, entry);
    let kept = Kept { is_refused: true, ..read(&path)? };
    home::replace(&path, &json(&kept)?)
}

fn read(path: &Path) -> Result<Kept, Failure> {
    let nothing = || Failure::failed("there is no such unsettled payment; `mpp ledger` lists what was paid");
    let text = Zeroizing::new(std::fs::read(path).map_err(|_| nothing())?);
    serde_json::from_slice(&text).map_err(|_| Failure::failed(format!("{} cannot be read", path.display())))
}

fn json(kept: &Kept) -> Result<Zeroizing<Vec<u8>>, Failure> {
    serde_json::to_vec(kept).map(Zeroizing::new).map_err(Failure::failed)
}

fn lines(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

/// An id is a file name.
fn name(entry: EntryId) -> String {
    format!("{FOLDER}/{entry}.json")
}

fn path(home: &Home, entry: EntryId) -> PathBuf {
    home.path(&name(entry))
}
