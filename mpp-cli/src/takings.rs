//! `mpp ledger --server`: what a server has taken, read from its store.
//!
//! It needs the store and nothing else: no secret, because the ledger is not sealed, and no server, because no HTTP endpoint
//! exposes it. Nothing is written to it: Redis and PostgreSQL are opened for reading only. A file is opened as a server opens it,
//! which repairs one that a killed server left.
//!
//! A store of several services has a tenant for each. One that is not there is an error, and no ledger without payments.
//!
//! What cannot be read is left out, named on standard error, and ends with exit code 1: nobody takes the rest for all.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use mpp::ledger::{Delivery, Ledger, LedgerEntry, Query, Unreadable};
use mpp::protocol::Timestamp;
use mpp::refund::{Refund, RefundState};
use mpp::store::{PostgresOptions, PostgresStore, ReadOnly, RedbStore, RedisOptions, RedisStore, Store};
use serde_json::{Value, json};

use crate::Answer;
use crate::failure::{Code, Failure};
use crate::ledger::Format;
use crate::terminal;

/// Which payments of which server.
#[derive(clap::Args)]
#[group(id = "takings")] // by default it is called after its type, as the command's own options are
pub(crate) struct Options {
    /// Print what a server has taken instead: every settled payment, whether it was delivered, and what went back
    #[arg(long, requires = "store")]
    pub(crate) server: bool,
    /// The server's store: `file:PATH` (of a server that is stopped), `redis://…` or `postgres://…`
    #[arg(long, value_name = "STORE", requires = "server")]
    store: Option<StoreAt>,
    /// The server's tenant in a Redis or PostgreSQL of several services; `default` unless it was given one
    #[arg(long, value_name = "NAME", requires = "server")]
    tenant: Option<String>,
    /// Only what was paid and is neither delivered nor back: refunds that are due, too
    #[arg(long, requires = "server")]
    undelivered: bool,
    /// Only what was settled then or later, like 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", requires = "server", value_parser = Timestamp::parse)]
    since: Option<Timestamp>,
    /// Only what was settled before
    #[arg(long, value_name = "TIME", requires = "server", value_parser = Timestamp::parse)]
    until: Option<Timestamp>,
    /// Only payments for this operation, like 'GET /weather/{city}'
    #[arg(long, value_name = "OPERATION", requires = "server")]
    operation: Option<String>,
    /// Only payments by this method
    #[arg(long, value_name = "METHOD", requires = "server")]
    method: Option<String>,
    /// Only payments by this payer
    #[arg(long, value_name = "PAYER", requires = "server")]
    payer: Option<String>,
}

/// Where a server keeps its journal. Not `Debug`: a URL may have a password in it.
#[derive(Clone)]
enum StoreAt {
    File(PathBuf),
    Redis(String),
    Postgres(String),
    /// None of these, and why. Said later: what clap says of a wrong value quotes it.
    Nowhere(&'static str),
}

impl FromStr for StoreAt {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        Ok(match (scheme, rest) {
            ("file", "") => Self::Nowhere("a path has to follow `file:`"),
            ("file", path) => Self::File(path.into()),
            ("redis" | "rediss" | "redis+unix", _) => Self::Redis(text.to_owned()),
            ("postgres" | "postgresql", _) => Self::Postgres(text.to_owned()),
            _ => Self::Nowhere("write `file:PATH`, `redis://HOST` or `postgres://USER@HOST/DATABASE`"),
        })
    }
}

impl StoreAt {
    async fn open(&self, tenant: Option<&str>) -> Result<Arc<dyn Store>, Failure> {
        let cannot =
            |what: &str, why: &dyn std::fmt::Display| Failure::failed(format!("cannot read {what}: {why}"));
        let in_redis = || tenant.into_iter().fold(RedisOptions::new(), RedisOptions::tenant);
        let in_postgres = || tenant.into_iter().fold(PostgresOptions::new(), PostgresOptions::tenant);
        Ok(match self {
            Self::Nowhere(why) => return Err(Failure::new(Code::Usage, format!("invalid `--store`: {why}"))),
            Self::File(_) if tenant.is_some() => {
                return Err(Failure::new(Code::Usage, "a file has no tenants: leave out `--tenant`"));
            }
            // Opening would make it.
            Self::File(path) if !path.is_file() => {
                return Err(cannot(&path.display().to_string(), &"there is no such file"));
            }
            Self::File(path) => {
                let store = RedbStore::open(path).map_err(|why| cannot(&path.display().to_string(), &why))?;
                Arc::new(ReadOnly::new(store))
            }
            Self::Redis(url) => {
                let store = RedisStore::read_only(url, in_redis()).await;
                Arc::new(store.map_err(|why| cannot("this Redis", &why))?)
            }
            Self::Postgres(url) => {
                let store = PostgresStore::read_only(url, in_postgres()).await;
                Arc::new(store.map_err(|why| cannot("this database", &why))?)
            }
        })
    }
}

pub(crate) async fn run(options: &Options, format: &Format) -> Result<Answer, Failure> {
    let Some(store) = &options.store else { return Err(Failure::failed("`--server` needs a `--store`")) };
    let ledger = Ledger::in_store(store.open(options.tenant.as_deref()).await?);
    let (query, mut entries, mut unreadable, mut after) = (options.query(), Vec::new(), Vec::new(), None);
    loop {
        let page = ledger.page(&query, after.as_ref()).await.map_err(Failure::failed)?;
        entries.extend(page.entries);
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    entries.sort_by_key(|entry: &LedgerEntry| entry.sale.settled_at);
    let heading = [
        "time",
        "operation",
        "method",
        "amount",
        "currency",
        "state",
        "runs",
        "refunded",
        "payer",
        "reference",
        "challenge",
    ];
    let rows: Vec<_> = entries.iter().map(row).collect();
    let answer = format.print(heading, &rows, || {
        json!({
            "payments": entries.iter().map(document).collect::<Vec<_>>(),
            "unreadable": unreadable.iter().map(unread).collect::<Vec<_>>(),
        })
    })?;
    if unreadable.is_empty() {
        return Ok(answer);
    }
    Ok(Answer { warnings: warnings(&unreadable), exit: ExitCode::FAILURE, ..answer })
}

/// One line for each, and what that means.
fn warnings(unreadable: &[Unreadable]) -> String {
    let mut out = String::new();
    for one in unreadable {
        let _ = writeln!(out, "mpp: {}", terminal::plain(&format!("{}: {}", one.key, one.error)));
    }
    let _ = writeln!(out, "mpp: what is printed is not all; unreadable: {}", unreadable.len());
    out
}

impl Options {
    fn query(&self) -> Query {
        let mut query = Query::new();
        if self.undelivered {
            query = query.undelivered();
        }
        if let Some(since) = self.since {
            query = query.since(since);
        }
        if let Some(until) = self.until {
            query = query.until(until);
        }
        if let Some(operation) = &self.operation {
            query = query.operation(operation);
        }
        if let Some(method) = &self.method {
            query = query.method(method);
        }
        if let Some(payer) = &self.payer {
            query = query.payer(payer);
        }
        query
    }
}

fn row(entry: &LedgerEntry) -> [String; 11] {
    let sale = &entry.sale;
    [
        sale.settled_at.to_string(),
        sale.operation.clone(),
        sale.method.clone(),
        sale.amount.to_string(),
        sale.currency.clone(),
        entry.delivery.name().to_owned(),
        entry.runs.to_string(),
        entry.refunded().map_or_else(|| "unknown".to_owned(), |back| back.to_string()),
        sale.payer.clone().unwrap_or_default(),
        sale.reference.clone(),
        sale.challenge_id.clone(),
    ]
}

/// What was ordered back.
fn refund(refund: &Refund) -> Value {
    let (reference, why) = match &refund.state {
        RefundState::Pending { reference } => (reference.as_ref(), None),
        RefundState::Refunded { reference } => (Some(reference), None),
        RefundState::Failed { why } => (None, Some(why)),
        _ => (None, None),
    };
    json!({
        "name": refund.name,
        "amount": refund.amount.to_string(),
        "orderedAt": refund.ordered_at.to_string(),
        "state": refund.state.name(),
        "saidBy": refund.said_by.name(),
        "reference": reference,
        "why": why,
    })
}

fn unread(one: &Unreadable) -> Value {
    json!({ "key": one.key, "why": one.error.to_string() })
}

fn document(entry: &LedgerEntry) -> Value {
    let sale = &entry.sale;
    json!({
        "time": sale.settled_at.to_string(),
        "operation": sale.operation,
        "method": sale.method,
        "amount": sale.amount.to_string(),
        "currency": sale.currency,
        "baseUnits": sale.base_units,
        "asset": sale.asset,
        "delivered": entry.delivery == Delivery::Delivered,
        "state": entry.delivery.name(),
        "runs": entry.runs,
        "refunded": entry.refunded().map(|back| back.to_string()),
        "refunds": entry.refunds.as_ref().map(|refunds| refunds.iter().map(refund).collect::<Vec<_>>()),
        "payer": sale.payer,
        "reference": sale.reference,
        "externalId": sale.external_id,
        "challenge": sale.challenge_id,
    })
}
