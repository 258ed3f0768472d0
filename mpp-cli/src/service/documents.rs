//! `mpp openapi`, `mpp llms`, `mpp manifest`, `mpp describe`: what a service publishes, as it is or in another form.

use super::{ServiceError, Source};
use crate::Answer;
use mpp::discovery::{contract, describe, describe_item, line_diff};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Print a service's OpenAPI document.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenApi {
    #[command(flatten)]
    source: Source,
    /// A failure as JSON too; the document is
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print a service's llms.txt; of a document, the overview in the same spirit.
#[derive(Debug, clap::Args)]
pub(crate) struct Llms {
    #[command(flatten)]
    source: Source,
    /// The long one, with parameters and how to pay
    #[arg(long)]
    full: bool,
    /// JSON with the text in it
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print every advertised price as sorted JSON, or hold it against a file.
///
/// It has what a document tells: operations and offers. The manifest with the terms and policy of every price is made
/// in the service itself (`Documents::manifest`).
#[derive(Debug, clap::Args)]
pub(crate) struct Manifest {
    #[command(flatten)]
    source: Source,
    /// Compare with this file: no output and exit code 0 when they agree, else a diff and 1
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// What `--check` finds, and failures, as JSON too
    #[arg(long)]
    pub(crate) json: bool,
}

/// Describe a service, or one of its priced operations.
#[derive(Debug, clap::Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    source: Source,
    /// The operation: its id, or like `GET /weather`
    operation: Option<String>,
    /// All there is to know about the operation, schemas included
    #[arg(long, requires = "operation")]
    contract: bool,
    /// At most about so many tokens of text
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    tokens: usize,
    /// JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn openapi(options: &OpenApi) -> Result<Answer, ServiceError> {
    Ok(Answer::text(format!("{:#}\n", options.source.document()?)))
}

pub(crate) fn llms(options: &Llms) -> Result<Answer, ServiceError> {
    let text = overview(options)?;
    Ok(Answer::text(match options.json {
        true => format!("{:#}\n", json!({ "text": text })),
        false => text,
    }))
}

fn overview(options: &Llms) -> Result<String, ServiceError> {
    if let Some(server) = options.source.server()? {
        return Ok(server.text(if options.full { "llms-full.txt" } else { "llms.txt" })?);
    }
    let document = options.source.document()?;
    let mut text = describe(&document).text(usize::MAX);
    if options.full {
        for operation in describe(&document).json()["operations"].as_array().into_iter().flatten() {
            let name = operation["name"].as_str().unwrap_or_default();
            text.push('\n');
            text.push_str(&describe_item(&document, name)?.text(usize::MAX));
        }
    }
    Ok(text)
}

pub(crate) fn manifest(options: &Manifest) -> Result<Answer, ServiceError> {
    let now = format!("{:#}\n", prices(&options.source.document()?));
    let Some(file) = &options.check else { return Ok(Answer::text(now)) };
    let then =
        crate::input::file(file).map_err(|source| ServiceError::File { path: file.clone(), source })?;
    let same = then == now;
    let diff = if same { String::new() } else { line_diff(&then, &now) };
    let text = match options.json {
        true => format!("{:#}\n", json!({ "same": same, "diff": diff.lines().collect::<Vec<_>>() })),
        false => diff,
    };
    Ok(Answer { exit: if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }, ..Answer::text(text) })
}

pub(crate) fn describe_service(options: &Describe) -> Result<Answer, ServiceError> {
    let document = options.source.document()?;
    let description = match &options.operation {
        None => describe(&document),
        Some(name) if options.contract => contract(&document, name)?,
        Some(name) => describe_item(&document, name)?,
    };
    Ok(Answer::text(match options.json {
        true => format!("{:#}\n", description.json()),
        false => description.text(options.tokens),
    }))
}

/// The priced operations of a document and their offers, in the order of their paths.
fn prices(document: &Value) -> Value {
    let mut prices = Vec::new();
    for operation in describe(document).json()["operations"].as_array().into_iter().flatten() {
        let name = operation["name"].as_str().unwrap_or_default();
        if let Ok(item) = describe_item(document, name) {
            let call = item.json()["call"].as_str().unwrap_or_default();
            let (verb, path) = call.split_once(' ').unwrap_or_default();
            prices.push(
                json!({ "operation": name, "verb": verb, "path": path, "offers": item.json()["offers"] }),
            );
        }
    }
    prices.sort_by_key(|price| (price["path"].to_string(), price["verb"].to_string()));
    json!({ "prices": prices })
}
