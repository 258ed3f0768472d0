//! `mpp ledger`: what was spent, or with `--server` what a server has taken.

use mpp::client::{Entry, FileLedger, Ledger as _, Outcome};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Answer;
use crate::failure::Failure;
use crate::home::Home;
#[cfg(feature = "stores")]
use crate::takings;
use crate::terminal;

pub(crate) const FILE: &str = "spent.jsonl";

/// Print what was spent: every payment, and how it ended.
///
/// `paid` was accepted by the server. `open` and `unknown` may have been paid, and count against the limits as well. What is
/// `released` was not taken, and does not.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) format: Format,
    #[cfg(feature = "stores")]
    #[command(flatten)]
    takings: takings::Options,
}

/// How a list of payments is printed: a table, unless told otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct Format {
    /// Print comma-separated values
    #[arg(long)]
    csv: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
}

impl Format {
    /// Rows under a heading; the document is what a program gets instead.
    pub(crate) fn print<const N: usize>(
        &self,
        heading: [&str; N],
        rows: &[[String; N]],
        document: impl FnOnce() -> Value,
    ) -> Result<Answer, Failure> {
        let out = if self.json {
            format!("{}\n", serde_json::to_string_pretty(&document()).map_err(Failure::failed)?)
        } else if self.csv {
            let lines = rows.iter().map(|row| terminal::csv(row.each_ref().map(String::as_str)));
            std::iter::once(terminal::csv(heading)).chain(lines).collect()
        } else {
            terminal::table(heading, rows)
        };
        Ok(Answer { out: Zeroizing::new(out), ..Answer::default() })
    }
}

pub(crate) async fn run(options: &Options) -> Result<Answer, Failure> {
    #[cfg(feature = "stores")]
    if options.takings.server {
        return takings::run(&options.takings, &options.format).await;
    }
    let entries = FileLedger::open(Home::find()?.file(FILE)?)?.entries().await?;
    let rows: Vec<_> = entries.iter().map(row).collect();
    let heading = ["time", "origin", "request", "method", "spent", "state", "reference", "entry"];
    options.format.print(
        heading,
        &rows,
        || json!({ "payments": entries.iter().map(document).collect::<Vec<_>>() }),
    )
}

fn row(entry: &Entry) -> [String; 8] {
    let (state, reference) = state(&entry.outcome);
    [
        entry.at.to_string(),
        entry.origin.to_string(),
        entry.resource.clone().unwrap_or_default(),
        entry.method.as_ref().map(ToString::to_string).unwrap_or_default(),
        entry.spent.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + "),
        state.to_owned(),
        reference.unwrap_or_default().to_owned(),
        entry.id.to_string(),
    ]
}

fn state(outcome: &Outcome) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Open => ("open", None),
        Outcome::Paid { reference } => ("paid", reference.as_deref()),
        Outcome::Released { .. } => ("released", None),
        // A later state is one that is not known here.
        _ => ("unknown", None),
    }
}

fn document(entry: &Entry) -> Value {
    serde_json::to_value(entry).unwrap_or_default()
}
