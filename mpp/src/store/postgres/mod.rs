//! The shared store on PostgreSQL: many servers, one journal, in a database that is backed up already.
//!
//! A swap is one call of one function (`schema_1.sql` is embedded and applied at the first connection). Writers of one key queue on an
//! advisory lock of that transaction; versions come from a sequence. The time is the database's, one for all servers. A machine
//! whose clock is more than 30 seconds behind it cannot write: it would take credentials that the database has rightly forgotten.
//!
//! # Behind a pooler
//! Everything works behind pgbouncer in transaction mode. Every call is an explicit transaction, because only that keeps a
//! pooler from sending the two halves of one statement (its text, its values) to two connections; no statement has a
//! name, nothing is left in a session, and nobody listens for notifications (waiting for a change is asking again). The
//! pooler needs `ignore_startup_parameters = extra_float_digits`. Without a pooler in between,
//! [`direct`](PostgresOptions::direct) saves the two round trips that the transaction costs.
//!
//! # Rights
//! Tables are created by the first to connect, who needs `CREATE` on the schema. When they are there, these are enough: `SELECT` on
//! `mpp_schema`; `SELECT`, `INSERT`, `UPDATE` and `DELETE` on `mpp_values` and `mpp_quotas`; `USAGE` and `SELECT` on the sequence
//! `mpp_versions`. A release with a further step of the schema has to be connected once by the owner of the tables.
//!
//! # A database that forgot
//! A payment that was answered must be remembered: fail over only to a replica that is written synchronously
//! (`synchronous_standby_names`). A database whose sequence of versions is below what this process has seen (restored from
//! yesterday, failed over to a replica that lagged) is noticed by the next write: it fails, as do all that this process tries
//! later, until it is started again. Each process notices for itself, and PostgreSQL restores a sequence up to 32
//! numbers ahead: the loss of the last few writes stays unseen, and so does one that new writes of others have made up for in
//! number before this process writes again. A server that starts takes the database as it finds it.
//!
//! # What it costs
//! Taking a new key updates the one row that counts its quota, which is locked until the commit has reached the disk: new
//! keys of a tenant are written one after the other, some thousand a second; updates of keys that exist are not.
//!
//! A transaction that stays open for long, of whatever session of this database, keeps PostgreSQL from tidying up that row: each
//! thousand of new keys meanwhile makes the next one 0.15 ms slower, until it ends. Do not take backups of a busy shop with `pg_dump`
//! (`pg_basebackup` and archived WAL hold nothing up), set `idle_in_transaction_session_timeout`, and leave `hot_standby_feedback` off
//! where replicas are asked long questions.

mod reading;

use super::reading::Purpose;
use super::time::{self, BEHIND, Time};
use super::{Cas, Durability, Key, Limits, Quota, Store, StoreError, Usage, Version, Versioned, Write};
use crate::clock::Clock;
use crate::method::Step;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres, Row};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A [`Store`] in a PostgreSQL database (13 or later), shared by every process that connects to it with the same tenant.
///
/// Calls must be made on a tokio runtime.
///
/// ```no_run
/// use mpp::store::{Keep, Key, PostgresStore, Quota, Store, Write};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// let store = PostgresStore::connect("postgres://shop:password@db.internal/payments").await?;
/// let key = Key::new(Quota::Paid, "claim", "n3vQ");
/// store.cas(&key, None, Some(Write { value: b"mine".to_vec(), keep: Keep::Live })).await?;
/// assert_eq!(store.get(&key).await?.unwrap().value, b"mine");
/// # Ok(())
/// # }
/// ```
pub struct PostgresStore {
    pool: PgPool,
    route: Route,
    tenant: String,
    time: Time,
    limits: Limits,
    /// The highest version that was written or read here. A database that gives lower ones has lost writes; the highest
    /// of all once that was noticed.
    seen: AtomicI64,
}

/// How to use a database; see [`PostgresStore::connect_with`].
///
/// ```
/// use mpp::store::PostgresOptions;
/// let options = PostgresOptions::new().tenant("shop").connections(16);
/// assert_eq!(format!("{options:?}"), r#"PostgresOptions { tenant: "shop", connections: 16, route: Pooled }"#);
/// ```
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    tenant: String,
    connections: u32,
    route: Route,
}

/// What is between us and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// Perhaps a pooler.
    Pooled,
    /// Nothing.
    Direct,
}

impl PostgresOptions {
    /// The tenant `default`, at most 8 connections, and perhaps a pooler in between.
    ///
    /// ```
    /// # use mpp::store::PostgresOptions;
    /// assert!(format!("{:?}", PostgresOptions::new()).contains("default"));
    /// ```
    pub fn new() -> Self {
        Self { tenant: "default".to_owned(), connections: 8, route: Route::Pooled }
    }

    /// Whose values: services that share a database have a tenant each, the servers of one service share one.
    ///
    /// ```
    /// # use mpp::store::PostgresOptions;
    /// assert!(format!("{:?}", PostgresOptions::new().tenant("shop")).contains("shop"));
    /// ```
    #[must_use]
    pub fn tenant(mut self, name: impl Into<String>) -> Self {
        self.tenant = name.into();
        self
    }

    /// Most connections at a time; at least one.
    ///
    /// ```
    /// # use mpp::store::PostgresOptions;
    /// assert!(format!("{:?}", PostgresOptions::new().connections(16)).contains("16"));
    /// ```
    #[must_use]
    pub fn connections(mut self, most: u32) -> Self {
        self.connections = most.max(1);
        self
    }

    /// There is no pooler between this server and the database: prepared statements are kept, and a call is one round
    /// trip. Behind a pooler in transaction or statement mode this fails.
    ///
    /// ```
    /// # use mpp::store::PostgresOptions;
    /// assert!(format!("{:?}", PostgresOptions::new().direct()).contains("Direct"));
    /// ```
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.route = Route::Direct;
        self
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PostgresStore {
    /// Connects with the default [`PostgresOptions`], and creates the tables where they are missing. The URL is
    /// `postgres://user:password@host[:port]/database[?sslmode=…]`; without `sslmode`, TLS is used where the server has it. What it
    /// leaves out is taken from the environment (`PGPASSWORD`, `PGSSLMODE`, …) and from `~/.pgpass`, as by every PostgreSQL client.
    ///
    /// # Errors
    /// [`StoreError::Backend`] when the URL is none, the database is out of reach, refuses, or has the tables of a
    /// later release. No message contains the URL or a password.
    ///
    /// ```
    /// use mpp::store::{PostgresStore, StoreError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let error = PostgresStore::connect("postgres://shop:secret@127.0.0.1:1/payments").await.unwrap_err();
    /// assert!(matches!(&error, StoreError::Backend(why) if !why.contains("secret")));
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, PostgresOptions::new()).await
    }

    /// As [`connect`](Self::connect), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// ```no_run
    /// use mpp::store::{PostgresOptions, PostgresStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let shop = PostgresStore::connect_with("postgres://shop@localhost/payments", PostgresOptions::new().tenant("shop")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_with(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        Self::open(url, options, Purpose::Serving).await
    }

    async fn open(url: &str, options: PostgresOptions, purpose: Purpose) -> Result<Self, StoreError> {
        // The parser's own message may quote parts of the URL.
        let address: PgConnectOptions =
            known(url).parse().map_err(|_| failed("the address is not `postgres://user@host/database`"))?;
        // Statement logs would carry nothing secret, and help nobody.
        let kept = match options.route {
            Route::Pooled => 0,
            Route::Direct => STATEMENTS,
        };
        let address = address.statement_cache_capacity(kept).disable_statement_logging();
        // A connection of its own first, so that a wrong password is said so and not as a pool without connections.
        let first = in_time(CONNECT, address.connect()).await?;
        match purpose {
            Purpose::Serving => migrate(first).await?,
            Purpose::Reading => reading::look(first, &options.tenant).await?,
        }
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(CONNECT)
            .connect_lazy_with(address);
        let (tenant, route) = (options.tenant, options.route);
        let (time, limits, seen) = (Time::default(), Limits::DURABLE, AtomicI64::new(0));
        Ok(Self { pool, route, tenant, time, limits, seen })
    }

    /// Takes this many keys instead of [`Limits::DURABLE`]. Every server of a tenant should say the same.
    ///
    /// ```no_run
    /// use mpp::store::{Limits, PostgresStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let store = PostgresStore::connect("postgres://shop@localhost/payments").await?;
    /// let store = store.with_limits(Limits { paid: 1_000_000_000, free: 1_000_000 });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes the time from this clock and not from the database: for tests. Servers of one tenant need the same one.
    ///
    /// ```no_run
    /// use mpp::{ManualClock, protocol::Timestamp, store::PostgresStore};
    /// use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// let store = PostgresStore::connect("postgres://shop@localhost/payments").await?.with_clock(clock);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.time = Time::Given(clock);
        self
    }

    /// Takes the time from the database, and this clock for that of the machine: for tests of machines whose clock is wrong.
    ///
    /// ```no_run
    /// use mpp::{ManualClock, protocol::Timestamp, store::PostgresStore};
    /// use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let wrong = Arc::new(ManualClock::at(Timestamp::from_unix(1_000_000_000)));
    /// let store = PostgresStore::connect("postgres://shop@localhost/payments").await?.with_machine_clock(wrong);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_machine_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.time = Time::Database(clock);
        self
    }

    /// Runs one statement.
    async fn run(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, sqlx::Error> {
        match self.route {
            Route::Direct => query.fetch_all(&self.pool).await,
            Route::Pooled => {
                let mut transaction = self.pool.begin().await?;
                let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(rows)
            }
        }
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        let query = sqlx::query(READ).bind(&self.tenant).bind(key.as_str()).bind(self.time.instead());
        let rows = in_time(ANSWER, self.run(query)).await?;
        rows.first().map(|row| self.versioned(row, 0)).transpose()
    }

    async fn swap(&self, key: &Key, expect: Option<Version>, new: Option<Write>) -> Result<Cas, StoreError> {
        // A version above what the sequence can give was never given.
        let Ok(expect) = expect.map(|version| i64::try_from(version.0)).transpose() else {
            return Ok(Cas::Conflict(self.read(key).await?));
        };
        let keep = new.as_ref().and_then(|write| time::seconds(write.keep));
        let quota = key.quota();
        let limit = i64::try_from(self.limits.of(quota)).unwrap_or(i64::MAX);
        for _ in 0..RETRIES {
            let query = sqlx::query(SWAP)
                .bind(&self.tenant)
                .bind(key.as_str())
                .bind(quota.index() as i16)
                .bind(expect)
                .bind(self.time.instead())
                .bind(self.time.here())
                .bind(keep)
                .bind(new.as_ref().map(|write| write.value.as_slice()))
                .bind(limit)
                .bind(BEHIND)
                .bind(self.seen.load(Ordering::Acquire));
            let rows = match tokio::time::timeout(ANSWER, self.run(query)).await {
                Ok(Ok(rows)) => rows,
                // Rolled back whole: a database set to a stricter isolation may say so, and asks to be asked again.
                Ok(Err(error)) if is_rolled_back(&error) => continue,
                Ok(Err(error)) => return Err(told(&error)),
                Err(_) => return Err(failed("PostgreSQL did not answer in time")),
            };
            let row = rows.first().ok_or_else(misunderstood)?;
            let version: Option<i64> = column(row, 1)?;
            return match (column::<String>(row, 0)?.as_str(), version) {
                ("written", Some(version)) => Ok(Cas::Written(self.version(version))),
                ("removed", None) => Ok(Cas::Removed),
                ("conflict", None) => Ok(Cas::Conflict(None)),
                ("conflict", Some(_)) => Ok(Cas::Conflict(Some(self.versioned(row, 1)?))),
                ("full", None) => Err(StoreError::Full(quota)),
                ("behind", None) => Err(failed(
                    "the clock of this machine is behind that of the database: it would take credentials that the database \
                     has rightly forgotten. Set the clocks of both",
                )),
                ("replica", None) => Err(failed("this PostgreSQL is a replica: it takes no writes")),
                ("lost", None) => {
                    self.seen.store(i64::MAX, Ordering::Release);
                    Err(failed(
                        "the database has lost the latest of its data: payments made so far may be unknown to it. When that is \
                         dealt with, start the servers again",
                    ))
                }
                _ => Err(misunderstood()),
            };
        }
        Err(failed("PostgreSQL rolled the write back again and again"))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        let query = sqlx::query(PAGE)
            .bind(&self.tenant)
            .bind(prefix)
            .bind(after.map_or("", Key::as_str))
            .bind(self.time.instead())
            .bind(limit.min(LARGEST_PAGE) as i64);
        let rows = in_time(ANSWER, self.run(query)).await?;
        let entry = |row: &PgRow| {
            let key = Key::from_text(column(row, 0)?).ok_or_else(misunderstood)?;
            Ok((key, self.versioned(row, 1)?))
        };
        rows.iter().map(entry).collect()
    }

    async fn count(&self, quota: Quota) -> Result<Option<Usage>, StoreError> {
        let query = sqlx::query(USED).bind(&self.tenant).bind(quota.index() as i16);
        let rows = in_time(ANSWER, self.run(query)).await?;
        let keys = rows.first().map_or(Ok(0), |row| column::<i64>(row, 0))?;
        Ok(Some(Usage::of(quota, keys.max(0).cast_unsigned(), self.limits)))
    }

    /// Version and value, from the column with this number on.
    fn versioned(&self, row: &PgRow, first: usize) -> Result<Versioned, StoreError> {
        Ok(Versioned { version: self.version(column(row, first)?), value: column(row, first + 1)? })
    }

    fn version(&self, version: i64) -> Version {
        self.seen.fetch_max(version, Ordering::AcqRel);
        Version(version.cast_unsigned())
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Store for PostgresStore {
    fn durability(&self) -> Durability {
        Durability::Durable
    }

    fn get<'a>(&'a self, key: &'a Key) -> Step<'a, Result<Option<Versioned>, StoreError>> {
        Step::boxed(self.read(key))
    }

    fn cas<'a>(
        &'a self,
        key: &'a Key,
        expect: Option<Version>,
        new: Option<Write>,
    ) -> Step<'a, Result<Cas, StoreError>> {
        Step::boxed(self.swap(key, expect, new))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Step<'a, Result<Vec<(Key, Versioned)>, StoreError>> {
        Step::boxed(self.list(prefix, after, limit))
    }

    fn usage<'a>(&'a self, quota: Quota) -> Step<'a, Result<Option<Usage>, StoreError>> {
        Step::boxed(self.count(quota))
    }
}

/// The URL without the parameters that our client ignores: it would log them with their values, and `sslpassword` is one.
fn known(url: &str) -> String {
    let Some((server, parameters)) = url.split_once('?') else { return url.to_owned() };
    let is_known = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        PARAMETERS.contains(&name) || name.starts_with("options")
    };
    let (parameters, ignored): (Vec<_>, Vec<_>) = parameters.split('&').partition(is_known);
    if ignored.iter().any(|parameter| !parameter.is_empty()) {
        // Not which: what was meant for a password may stand here. A misspelled `sslmode` must not pass in silence.
        tracing::warn!(target: "mpp", ignored = ignored.len(), "parameters of PostgreSQL's address are not known and are ignored");
    }
    format!("{server}?{}", parameters.join("&"))
}

/// Brings the tables up to this release, in one transaction that only one server at a time is in. Tables that are there need
/// no right to create any.
async fn migrate(mut connection: PgConnection) -> Result<(), StoreError> {
    let step = async {
        let mut applied = applied_steps(&mut connection).await?;
        if (applied as usize) < SCHEMA.len() {
            let mut transaction = connection.begin().await?;
            sqlx::raw_sql(LOCK_SCHEMA).execute(&mut *transaction).await?;
            applied = applied_steps(&mut transaction).await?;
            for (step, sql) in (1_i32..).zip(SCHEMA).skip(applied as usize) {
                sqlx::raw_sql(*sql).execute(&mut *transaction).await?;
                sqlx::query("INSERT INTO mpp_schema VALUES ($1)")
                    .persistent(false)
                    .bind(step)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        }
        connection.close().await?;
        Ok(applied)
    };
    let applied = in_time(MIGRATION, step).await?;
    if applied as usize > SCHEMA.len() {
        return Err(failed("the tables of this database are of a later release of mpp"));
    }
    Ok(())
}

/// How many steps of the schema are there.
async fn applied_steps(connection: &mut PgConnection) -> Result<u32, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let there = sqlx::query("SELECT to_regclass('mpp_schema') IS NOT NULL").persistent(false);
    if !there.fetch_one(&mut *transaction).await?.try_get(0)? {
        return Ok(0);
    }
    let last = sqlx::query("SELECT coalesce(max(step), 0) FROM mpp_schema").persistent(false);
    let applied: i32 = last.fetch_one(&mut *transaction).await?.try_get(0)?;
    Ok(applied.cast_unsigned())
}

async fn in_time<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer.map_err(|error| told(&error)),
        Err(_) => Err(failed("PostgreSQL did not answer in time")),
    }
}

fn column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(index).map_err(|error| told(&error))
}

/// Serialization failure, deadlock, or a row that somebody else was quicker to insert.
fn is_rolled_back(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["40001", "40P01", "23505"].contains(&&*code))
}

/// What the database said, without its free text: that may quote values or parts of the address.
fn told(error: &sqlx::Error) -> StoreError {
    failed(&match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01" | "28000") => "PostgreSQL refused the user or the password".to_owned(),
            Some("3D000") => "PostgreSQL has no such database".to_owned(),
            Some("42501") => "PostgreSQL does not allow this user to do that (42501)".to_owned(),
            code => format!("PostgreSQL refused ({})", code.unwrap_or("no code")),
        },
        sqlx::Error::Io(error) => format!("PostgreSQL cannot be reached: {}", error.kind()),
        sqlx::Error::Tls(_) => "PostgreSQL cannot be reached over TLS".to_owned(),
        sqlx::Error::PoolTimedOut => "no connection to PostgreSQL became free in time".to_owned(),
        _ => "PostgreSQL did not answer properly".to_owned(),
    })
}

fn misunderstood() -> StoreError {
    failed("PostgreSQL answered what this release does not understand")
}

fn failed(why: &str) -> StoreError {
    StoreError::Backend(why.to_owned())
}

/// Applied in order; never changed once released.
const SCHEMA: &[&str] = &[include_str!("schema_1.sql")];
/// The number is this store's own, among the locks of one database. What others did until it is ours has to be seen after it,
/// whatever this database's default is.
const LOCK_SCHEMA: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(7831404); \
     CREATE TABLE IF NOT EXISTS mpp_schema (step integer PRIMARY KEY)";

/// The time: what stands in for it, or the database's own.
macro_rules! now {
    ($instead:literal) => {
        concat!("coalesce(", $instead, "::bigint, floor(extract(epoch FROM clock_timestamp()))::bigint)")
    };
}

const READ: &str = concat!(
    "SELECT version, value FROM mpp_values WHERE tenant = $1 AND key = $2 AND (ends IS NULL OR ends > ",
    now!("$3"),
    ")"
);
/// $6 is the time on this machine, $10 how far it may be behind, $11 the highest version it has seen. A replica that lags has
/// lost nothing.
const SWAP: &str = concat!(
    "WITH clock AS MATERIALIZED (SELECT ",
    now!("$5"),
    " AS now), at AS MATERIALIZED (SELECT now, CASE \
         WHEN pg_is_in_recovery() THEN 'replica' \
         WHEN (SELECT last_value FROM mpp_versions) < $11 THEN 'lost' \
         WHEN now > $6::bigint + $10 THEN 'behind' END AS refused FROM clock) \
     SELECT outcome, out_version, out_value \
     FROM at, LATERAL mpp_swap($1, $2, $3, $4, at.now, greatest(at.now, $6::bigint) + $7, $8, $9) \
     WHERE at.refused IS NULL \
     UNION ALL SELECT refused, NULL, NULL FROM at WHERE refused IS NOT NULL",
);
const USED: &str = "SELECT used FROM mpp_quotas WHERE tenant = $1 AND quota = $2";
/// The upper bound lets the index end the scan; `starts_with` decides.
const PAGE: &str = concat!(
    "SELECT key, version, value FROM mpp_values \
     WHERE tenant = $1 AND key >= $2 AND key < $2 || chr(1114111) AND starts_with(key, $2) AND key > $3 \
     AND (ends IS NULL OR ends > ",
    now!("$4"),
    ") ORDER BY key LIMIT $5"
);

/// Of a URL; besides `options[…]`.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

const CONNECT: Duration = Duration::from_secs(5);
/// Includes the wait for a free connection, which is at most `CONNECT`.
const ANSWER: Duration = Duration::from_secs(10);
const MIGRATION: Duration = Duration::from_secs(60);
const RETRIES: usize = 5;
/// More than there are.
const STATEMENTS: usize = 16;
const LARGEST_PAGE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parameter_of_the_address_is_logged() {
        let server = "postgres://shop@db:5433/payments";
        let said = known(&format!("{server}?sslmode=require&sslpassword=wr0ng&options[search_path]=shop&x"));
        assert_eq!(said, format!("{server}?sslmode=require&options[search_path]=shop"));
        assert!(said.parse::<PgConnectOptions>().is_ok() && known(server) == server);
        assert!(known(&format!("{server}?sslpassword=wr0ng")).parse::<PgConnectOptions>().is_ok());
    }
}
