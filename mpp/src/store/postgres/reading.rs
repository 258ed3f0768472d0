//! Opening what the servers of a tenant have written, for reading only.
//!
//! The tables are there once a server of any tenant has connected, and a tenant is in them from its first payment on: one
//! that has sold nothing yet cannot be told from one that does not exist. Where there are others, it is taken for the latter.

use super::{ANSWER, PostgresOptions, PostgresStore, SCHEMA, failed, in_time};
use crate::store::StoreError;
use crate::store::reading::{MOST_NAMED, Purpose, ReadOnly, nothing_of};
use sqlx::{Connection, PgConnection, Row};

impl PostgresStore {
    /// Opens what the servers of a tenant have written, and writes nothing: for tools beside them, like `mpp ledger`. A user
    /// that may only read the tables will do.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); also when no server has made the tables yet, and when they have nothing of that
    /// tenant but of others, who are named then.
    ///
    /// ```no_run
    /// use mpp::ledger::{Ledger, Query};
    /// use mpp::store::{PostgresOptions, PostgresStore};
    /// use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let options = PostgresOptions::new().tenant("shop");
    /// let shop = PostgresStore::read_only("postgres://auditor@localhost/payments", options).await?;
    /// let page = Ledger::in_store(Arc::new(shop)).page(&Query::new(), None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_only(url: &str, options: PostgresOptions) -> Result<ReadOnly<Self>, StoreError> {
        Ok(ReadOnly::new(Self::open(url, options, Purpose::Reading).await?))
    }
}

/// Whether there is something to read.
pub(super) async fn look(mut connection: PgConnection, tenant: &str) -> Result<(), StoreError> {
    let look = async {
        // As everywhere: a transaction, for poolers.
        let mut transaction = connection.begin().await?;
        let made: bool = sqlx::query("SELECT to_regclass('mpp_schema') IS NOT NULL")
            .persistent(false)
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        if !made {
            return Ok(None);
        }
        let applied: i32 = sqlx::query("SELECT coalesce(max(step), 0) FROM mpp_schema")
            .persistent(false)
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        // Ours first.
        let rows = sqlx::query("SELECT DISTINCT tenant, tenant <> $1 FROM mpp_quotas ORDER BY 2, 1 LIMIT $2")
            .persistent(false)
            .bind(tenant)
            .bind(MOST_NAMED as i64 + 1)
            .fetch_all(&mut *transaction)
            .await?;
        let tenants = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        transaction.commit().await?;
        connection.close().await?;
        Ok(Some((applied, tenants)))
    };
    let Some((applied, tenants)) = in_time(ANSWER, look).await? else {
        return Err(failed("no server of mpp has ever used this database: its tables are not there"));
    };
    if applied as usize > SCHEMA.len() {
        return Err(failed("the tables of this database are of a later release of mpp"));
    }
    match tenants.first() {
        Some(first) if first != tenant => Err(nothing_of(tenant, &tenants)),
        _ => Ok(()),
    }
}
