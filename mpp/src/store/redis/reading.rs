//! Opening what the servers of a tenant have written, for reading only.
//!
//! A tenant is there once a server of it has connected: then it has a generation.

use super::{Link, Names, RedisOptions, RedisStore};
use crate::store::StoreError;
use crate::store::reading::{MOST_NAMED, Purpose, ReadOnly, nothing_of};
use std::collections::BTreeSet;

impl RedisStore {
    /// Opens what the servers of a tenant have written, and writes nothing: for tools beside them, like `mpp ledger`. Whether
    /// this Redis keeps what it is given is not asked, and a user that may only read will do: `ACL SETUSER auditor on >password
    /// ~{mpp:shop}:* +@read +time +eval +evalsha +script|load` (Redis wants the keys of scripts without `%R`). Should writes be missing
    /// that it has read itself, a user that may says so to the servers, as they do to each other.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); also when no server of that tenant has ever connected. The tenants that are there are
    /// named then.
    ///
    /// ```no_run
    /// use mpp::ledger::{Ledger, Query};
    /// use mpp::store::{RedisOptions, RedisStore};
    /// use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let shop = RedisStore::read_only("redis://127.0.0.1", RedisOptions::new().tenant("shop")).await?;
    /// let page = Ledger::in_store(Arc::new(shop)).page(&Query::new(), None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_only(url: &str, options: RedisOptions) -> Result<ReadOnly<Self>, StoreError> {
        Ok(ReadOnly::new(Self::open(url, &options, Purpose::Reading).await?))
    }
}

/// The generation that a server has written; without one nothing is there, and others are named.
pub(super) async fn generation(link: &Link, names: &Names, tenant: &str) -> Result<String, StoreError> {
    let found: Option<String> = link.call(redis::cmd("GET").arg(&names.generation)).await?;
    if let Some(generation) = found {
        return Ok(generation);
    }
    // The servers take it away when they notice that something is missing. What is left can be read: it is wanted then.
    let versions: Option<u64> = link.call(redis::cmd("GET").arg(&names.versions)).await?;
    match versions {
        Some(_) => Ok(String::new()),
        None => Err(nothing_of(tenant, &tenants(link).await)),
    }
}

/// Some of the tenants that are there. That they cannot be listed is no reason to fail: it is one already.
async fn tenants(link: &Link) -> Vec<String> {
    let (mut found, mut cursor) = (BTreeSet::new(), 0_u64);
    for _ in 0..MOST_PAGES {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg("{mpp:*}:generation").arg("COUNT").arg(1000);
        let Ok((next, names)) = link.call::<(u64, Vec<String>)>(&scan).await else { break };
        let tenant =
            |name: &String| Some(name.strip_prefix("{mpp:")?.strip_suffix("}:generation")?.to_owned());
        found.extend(names.iter().filter_map(tenant));
        cursor = next;
        if cursor == 0 || found.len() > MOST_NAMED {
            break;
        }
    }
    found.into_iter().collect()
}

/// Other programs may have millions of keys there.
const MOST_PAGES: usize = 1000;
