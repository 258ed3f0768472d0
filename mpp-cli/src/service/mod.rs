//! Commands about a service: what it publishes, and whether that is true.
//!
//! They read a document from a file, from standard input or from a running server, and the last two ask that server. Nothing is
//! ever paid, but by `mpp validate --pay`.
//!
//! | file | commands |
//! | --- | --- |
//! | `documents.rs` | `mpp openapi`, `mpp llms`, `mpp manifest`, `mpp describe` |
//! | `validate.rs`, `rules.rs`, `cors.rs`, `undeclared.rs`, `report.rs` | `mpp validate` |
//! | `paid.rs` | `mpp validate --pay` |
//! | `register.rs` | `mpp register --dry-run` |
//! | `server.rs` | the HTTP client of all of them |

mod cors;
pub(crate) mod documents;
mod paid;
pub(crate) mod register;
mod report;
mod rules;
mod server;
mod undeclared;
pub(crate) mod validate;

use crate::input::{self, InputError};
use serde_json::Value;
use server::Server;
pub(crate) use server::ServerError;
#[cfg(feature = "chains")]
pub(crate) use server::{http_client, is_loopback};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{place} is not JSON: {source}")]
    NotJson { place: String, source: serde_json::Error },
    #[error("{place} is not an OpenAPI document")]
    NotADocument { place: String },
    #[error(transparent)]
    Unknown(#[from] mpp::discovery::UnknownItem),
    #[error(
        "nothing is sent anywhere: registries crawl what is published; `--dry-run` shows what they would see"
    )]
    NotDry,
}

/// Where a document comes from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Source {
    /// A server's URL, a file with its OpenAPI document, or `-` for standard input
    #[arg(value_name = "URL|FILE|-")]
    source: OsString,
}

impl Source {
    /// The server, if it is one.
    fn server(&self) -> Result<Option<Server>, ServiceError> {
        match self.source.to_str() {
            Some(text) if text.starts_with("http://") || text.starts_with("https://") => {
                Ok(Some(Server::at(text)?))
            }
            _ => Ok(None),
        }
    }

    fn document(&self) -> Result<Value, ServiceError> {
        let server = self.server()?;
        let place = match &server {
            Some(server) => server.base.to_string(),
            None => self.source.to_string_lossy().into_owned(),
        };
        let text = match server {
            Some(server) => server.text("openapi.json")?,
            None if self.source == "-" => input::stdin_document()?,
            None => input::file(self.source.as_ref())
                .map_err(|source| ServiceError::File { path: PathBuf::from(&self.source), source })?,
        };
        let document: Value = serde_json::from_str(&text)
            .map_err(|source| ServiceError::NotJson { place: place.clone(), source })?;
        if document["openapi"].is_string() { Ok(document) } else { Err(ServiceError::NotADocument { place }) }
    }
}
