//! `mpp register --dry-run`: what a registry that crawls this server would list (draft-payment-discovery-00, appendix A.1).

use super::ServiceError;
use super::report::Report;
use super::server::Server;
use super::validate::document;
use crate::Answer;
use mpp::discovery::describe;
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Show what registries would see of a server. Nothing is sent to any of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server's URL
    url: String,
    /// Registries crawl; there is nothing to send, and this says that you know
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(options: &Options) -> Result<Answer, ServiceError> {
    if !options.dry_run {
        return Err(ServiceError::NotDry);
    }
    let server = Server::at(&options.url)?;
    let mut report = Report::default();
    let Some(document) = document(&server, &mut report)? else {
        let text = match options.json {
            true => format!("{:#}\n", json!({ "url": server.base.as_str(), "findings": found(&report) })),
            false => report.findings(),
        };
        return Ok(Answer { exit: ExitCode::FAILURE, ..Answer::text(text) });
    };
    let service = &document["x-service-info"];
    if options.json {
        let seen = json!({
            "url": server.base.as_str(), "title": document["info"]["title"], "service": service,
            "operations": describe(&document).json()["operations"], "crawled": server.base.scheme() == "https",
            "findings": found(&report),
        });
        return Ok(Answer::text(format!("{seen:#}\n")));
    }
    let mut out = describe(&document).text(usize::MAX);
    if let Some(categories) = service["categories"].as_array() {
        let names: Vec<_> = categories.iter().filter_map(|c| c.as_str()).collect();
        let _ = writeln!(out, "categories: {}", names.join(", "));
    }
    for (name, link) in service["docs"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "{name}: {}", link.as_str().unwrap_or_default());
    }
    if server.base.scheme() != "https" {
        out.push_str("warning: registries crawl https only\n");
    }
    out.push_str(&report.findings());
    Ok(Answer::text(out))
}

fn found(report: &Report) -> Vec<String> {
    report.findings().lines().map(str::to_owned).collect()
}
