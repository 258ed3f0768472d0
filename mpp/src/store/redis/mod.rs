//! The shared store on Redis (or Valkey): many servers, one journal.
//!
//! Every swap is one script, and a script is atomic: it compares, writes, counts against the quota and reclaims a few
//! ended values. Versions come from one counter beside the values, so they repeat neither after a removal nor after an
//! expiry. The time is Redis's, one for all servers, and nothing is given a TTL. A machine whose clock is more than 30 seconds
//! behind it cannot write: it would take credentials that Redis has rightly forgotten. Redis 5 or later.
//!
//! # Keys
//! All keys of a tenant are `{mpp:tenant}:…`: the hash tag keeps them in one slot, so a script may touch them together
//! in a cluster too. Servers of one service share a tenant; services that share a Redis have one each.
//!
//! # In a cluster
//! Redirections are not followed. The URL (without a database number) has to lead to the node that has the tenant's slot
//! (`CLUSTER KEYSLOT {mpp:tenant}`), directly or through a proxy that speaks for the whole cluster: any other node refuses
//! (`MOVED`), and so does this one when the slot goes elsewhere. The next call connects again, which helps where the address
//! follows the slot. A tenant is on one node: more of them hold more tenants, not a larger one.
//!
//! # What Redis has to promise
//! A payment that was answered must be remembered. [`RedisStore::connect`] therefore refuses a Redis that may evict
//! keys (`maxmemory` with another policy than `noeviction`) or that keeps no append-only file. Set `appendfsync always`
//! where the machine itself may fail: with `everysec` its last second can be lost. Replication is asynchronous: a
//! failover may lose what the replica had not seen yet; set `min-replicas-to-write` to bound that.
//!
//! A Redis that forgot would accept old credentials again. Every script looks for two signs of that: a random *generation*,
//! written at the first connection, that is not the one of this process (flushed, failed over to an empty replica), and a
//! version counter below what this process has seen (restored from yesterday, failed over to a replica that lagged). From then on
//! every call of every server fails, and payments are answered 503, until the servers are started again. What nobody is left to
//! notice is not noticed: writes that only servers have seen which are gone by now, or that were overtaken by as many new ones
//! before such a server called again. And a server that starts takes Redis as it finds it.
//!
//! # When it is full
//! At `maxmemory` a payment that is under way still ends (a key that is there can always be updated), what has ended makes room,
//! and new keys are refused ([`StoreError::Full`], answered 503) when there is none. Without `maxmemory` the kernel ends Redis
//! instead: set it. [`Limits`] says what a payment takes.
//!
//! A connection that breaks is opened again by the next call. What was under way has failed with
//! [`StoreError::Backend`]: it may have been written or not.

mod link;
mod reading;

use self::link::Link;
use super::reading::Purpose;
use super::time::{self, BEHIND, Time};
use super::{Cas, Durability, Key, Limits, Quota, Store, StoreError, Usage, Version, Versioned, Write};
use crate::clock::Clock;
use crate::method::Step;
use rand::RngCore as _;
use redis::{Script, ScriptInvocation, Value};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec;

/// A [`Store`] on a Redis server, shared by every process that connects to it with the same tenant.
///
/// Calls must be made on a tokio runtime.
///
/// ```no_run
/// use mpp::store::{Keep, Key, Quota, RedisStore, Store, Write};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// let store = RedisStore::connect("rediss://:password@redis.internal/0").await?;
/// let key = Key::new(Quota::Paid, "claim", "n3vQ");
/// store.cas(&key, None, Some(Write { value: b"mine".to_vec(), keep: Keep::Live })).await?;
/// assert_eq!(store.get(&key).await?.unwrap().value, b"mine");
/// # Ok(())
/// # }
/// ```
pub struct RedisStore {
    link: Link,
    names: Names,
    swap: Script,
    page: Script,
    time: Time,
    limits: Limits,
    /// The highest version that was written or read here: a database whose counter is lower has lost writes. The highest of
    /// all once that was noticed.
    seen: AtomicU64,
}

/// How to use a Redis; see [`RedisStore::connect_with`].
///
/// ```
/// use mpp::store::RedisOptions;
/// let options = RedisOptions::new().tenant("shop");
/// assert_eq!(format!("{options:?}"), r#"RedisOptions { tenant: "shop", persistence: Checked }"#);
/// ```
#[derive(Debug, Clone)]
pub struct RedisOptions {
    tenant: String,
    persistence: Persistence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persistence {
    Checked,
    Vouched,
}

impl RedisOptions {
    /// The tenant `default`, and a Redis that has to show that it keeps what it is given.
    ///
    /// ```
    /// # use mpp::store::RedisOptions;
    /// assert!(format!("{:?}", RedisOptions::new()).contains("default"));
    /// ```
    pub fn new() -> Self {
        Self { tenant: "default".to_owned(), persistence: Persistence::Checked }
    }

    /// Whose keys: services that share a Redis have a tenant each, the servers of one service share one. At most 64
    /// letters, digits, `-`, `_` and `.`.
    ///
    /// ```
    /// # use mpp::store::RedisOptions;
    /// assert!(format!("{:?}", RedisOptions::new().tenant("shop")).contains("shop"));
    /// ```
    #[must_use]
    pub fn tenant(mut self, name: impl Into<String>) -> Self {
        self.tenant = name.into();
        self
    }

    /// The operator vouches that this Redis survives a crash although it shows no append-only file: managed services
    /// that persist in their own way.
    ///
    /// ```
    /// # use mpp::store::RedisOptions;
    /// assert!(format!("{:?}", RedisOptions::new().persists_by_other_means()).contains("Vouched"));
    /// ```
    #[must_use]
    pub fn persists_by_other_means(mut self) -> Self {
        self.persistence = Persistence::Vouched;
        self
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RedisStore {
    /// Connects with the default [`RedisOptions`]. The URL is `redis://[user:password@]host[:port][/database]`, `rediss://…`
    /// for TLS, or `redis+unix:///path`.
    ///
    /// # Errors
    /// [`StoreError::Backend`] when the URL is none, Redis is out of reach, may evict keys or keeps no append-only file.
    /// No message contains the URL or a password.
    ///
    /// ```
    /// use mpp::store::{RedisStore, StoreError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let error = RedisStore::connect("redis://:secret@127.0.0.1:1").await.unwrap_err();
    /// assert!(matches!(&error, StoreError::Backend(why) if !why.contains("secret")));
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, RedisOptions::new()).await
    }

    /// As [`connect`](Self::connect), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); also when the tenant's name is not one.
    ///
    /// ```no_run
    /// use mpp::store::{RedisOptions, RedisStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let shop = RedisStore::connect_with("redis://127.0.0.1", RedisOptions::new().tenant("shop")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_with(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        Self::open(url, &options, Purpose::Serving).await
    }

    async fn open(url: &str, options: &RedisOptions, purpose: Purpose) -> Result<Self, StoreError> {
        let link = Link::new(url)?;
        let mut names = Names::of(&options.tenant)?;
        names.generation_value = match purpose {
            Purpose::Serving => {
                let info: String = link.call(redis::cmd("INFO").arg("everything")).await?;
                check(&info, options.persistence)?;
                generation(&link, &names.generation).await?
            }
            Purpose::Reading => reading::generation(&link, &names, &options.tenant).await?,
        };
        Ok(Self {
            link,
            names,
            swap: Script::new(concat!(include_str!("known.lua"), include_str!("swap.lua"))),
            page: Script::new(concat!(include_str!("known.lua"), include_str!("page.lua"))),
            time: Time::default(),
            limits: Limits::DURABLE,
            seen: AtomicU64::new(0),
        })
    }

    /// Takes this many keys instead of [`Limits::DURABLE`]. Every server of a tenant should say the same.
    ///
    /// ```no_run
    /// use mpp::store::{Limits, RedisStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let store = RedisStore::connect("redis://127.0.0.1").await?.with_limits(Limits { paid: 10_000_000, free: 100_000 });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes the time from this clock and not from Redis: for tests. Servers of one tenant need the same one.
    ///
    /// ```no_run
    /// use mpp::{ManualClock, protocol::Timestamp, store::RedisStore};
    /// use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_800_000_000)));
    /// let store = RedisStore::connect("redis://127.0.0.1").await?.with_clock(clock);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.time = Time::Given(clock);
        self
    }

    /// Takes the time from Redis, and this clock for that of the machine: for tests of machines whose clock is wrong.
    ///
    /// ```no_run
    /// use mpp::{ManualClock, protocol::Timestamp, store::RedisStore};
    /// use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mpp::store::StoreError> {
    /// let wrong = Arc::new(ManualClock::at(Timestamp::from_unix(1_000_000_000)));
    /// let store = RedisStore::connect("redis://127.0.0.1").await?.with_machine_clock(wrong);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_machine_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.time = Time::Database(clock);
        self
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        // An expectation nobody can have: the script answers with what is there and writes nothing.
        match self.run(key, "?", None).await? {
            Cas::Conflict(current) => Ok(current),
            Cas::Written(_) | Cas::Removed => Err(misunderstood()),
        }
    }

    async fn run(&self, key: &Key, expect: &str, new: Option<Write>) -> Result<Cas, StoreError> {
        let names = &self.names;
        let (quota, other) = (key.quota().index(), key.quota().other().index());
        let (verb, keep, value) = match new {
            None => ("remove", None, Vec::new()),
            Some(write) => ("write", time::seconds(write.keep), write.value),
        };
        let mut call = self.script(&self.swap);
        call.key(&names.index).key(&names.values[quota]).key(&names.endings[quota]);
        call.key(&names.values[other]).key(&names.endings[other]);
        call.arg(key.as_str()).arg(expect).arg(self.time.here()).arg(BEHIND).arg(verb);
        call.arg(or_empty(keep)).arg(value).arg(self.limits.of(key.quota()));
        let mut answer = self.ask(&call).await?;
        let cas = match (text(answer.next())?.as_str(), answer.next(), answer.next()) {
            ("written", version, None) => Cas::Written(self.version(version)?),
            ("removed", None, None) => Cas::Removed,
            ("conflict", None, None) => Cas::Conflict(None),
            ("conflict", version, Some(value)) => {
                Cas::Conflict(Some(Versioned { version: self.version(version)?, value: bytes(Some(value))? }))
            }
            ("full", None, None) => return Err(StoreError::Full(key.quota())),
            _ => return Err(misunderstood()),
        };
        Ok(cas)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        let mut page = Vec::new();
        let mut after = after.map_or(String::new(), |key| key.as_str().to_owned());
        let names = &self.names;
        // A page of nothing but ended values is not the end.
        while page.is_empty() && limit > 0 {
            let mut call = self.script(&self.page);
            call.key(&names.index);
            call.key(&names.values[Quota::Paid.index()]).key(&names.values[Quota::Free.index()]);
            call.arg(prefix).arg(&after).arg(limit.min(LARGEST_PAGE));
            let mut answer = self.ask(&call).await?;
            after = text(answer.next())?;
            if after.is_empty() {
                break;
            }
            while let Some(name) = answer.next() {
                let key = Key::from_text(text(Some(name))?).ok_or_else(misunderstood)?;
                let version = self.version(answer.next())?;
                page.push((key, Versioned { version, value: bytes(answer.next())? }));
            }
        }
        Ok(page)
    }

    /// A script with what `known.lua` asks for.
    fn script<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(&self.names.generation).key(&self.names.versions);
        call.arg(&self.names.generation_value).arg(self.seen.load(Ordering::Acquire));
        call.arg(or_empty(self.time.instead()));
        call
    }

    async fn ask(&self, call: &ScriptInvocation<'_>) -> Result<vec::IntoIter<Value>, StoreError> {
        let answer: Vec<Value> = self.link.script(call).await?;
        if matches!(answer.first(), Some(Value::BulkString(said)) if said == b"lost") {
            // For good: a Redis that takes no writes just now (too few replicas after a failover) still has the generation, and
            // others will have made up for what is missing, in number, before it is asked again.
            self.seen.store(u64::MAX, Ordering::Release);
            return Err(link::lost());
        }
        Ok(answer.into_iter())
    }

    fn version(&self, value: Option<Value>) -> Result<Version, StoreError> {
        let version = text(value)?.parse().map_err(|_| misunderstood())?;
        self.seen.fetch_max(version, Ordering::AcqRel);
        Ok(Version(version))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("keys", &self.names.versions).finish_non_exhaustive()
    }
}

impl Store for RedisStore {
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
        Step::boxed(async move {
            let expect = expect.map_or(String::new(), |version| version.0.to_string());
            self.run(key, &expect, new).await
        })
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
        Step::boxed(async move {
            let keys = self.link.call(redis::cmd("HLEN").arg(&self.names.values[quota.index()])).await?;
            Ok(Some(Usage::of(quota, keys, self.limits)))
        })
    }
}

/// The keys of a tenant.
struct Names {
    generation: String,
    generation_value: String,
    versions: String,
    index: String,
    /// Per [`Quota`].
    values: [String; 2],
    endings: [String; 2],
}

impl Names {
    fn of(tenant: &str) -> Result<Self, StoreError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if tenant.is_empty() || tenant.len() > 64 || !tenant.bytes().all(fits) {
            return Err(StoreError::Backend(
                "a tenant has 1 to 64 letters, digits, `-`, `_` and `.`".to_owned(),
            ));
        }
        let name = |what: &str| format!("{{mpp:{tenant}}}:{what}");
        let per_quota = |what: &str| {
            [Quota::Paid, Quota::Free].map(|quota| format!("{{mpp:{tenant}}}:{what}:{}", quota.name()))
        };
        Ok(Self {
            generation: name("generation"),
            generation_value: String::new(),
            versions: name("versions"),
            index: name("index"),
            values: per_quota("values"),
            endings: per_quota("ends"),
        })
    }
}

/// Whether this Redis keeps what it is given; see the module docs.
fn check(info: &str, persistence: Persistence) -> Result<(), StoreError> {
    let field =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let refused = |why: &str| Err(StoreError::Backend(why.to_owned()));
    if field("maxmemory").is_some_and(|bytes| bytes != "0")
        && field("maxmemory_policy").is_some_and(|policy| policy != "noeviction")
    {
        return refused(
            "this Redis drops keys when its memory is full, and with them payments; set `maxmemory-policy noeviction`",
        );
    }
    if persistence == Persistence::Checked && field("aof_enabled") != Some("1") {
        return refused(
            "this Redis keeps no append-only file, so it would forget payments when it restarts; set `appendonly yes` \
             (or say `persists_by_other_means`)",
        );
    }
    Ok(())
}

/// The generation this database belongs to; the first to connect makes it up.
async fn generation(link: &Link, key: &str) -> Result<String, StoreError> {
    let mut random = [0; 16];
    rand::rng().fill_bytes(&mut random);
    let fresh: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let _: Option<String> = link.call(redis::cmd("SET").arg(key).arg(&fresh).arg("NX")).await?;
    let current: Option<String> = link.call(redis::cmd("GET").arg(key)).await?;
    current.ok_or_else(|| StoreError::Backend("Redis does not keep what is written to it".to_owned()))
}

fn or_empty(number: Option<i64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn bytes(value: Option<Value>) -> Result<Vec<u8>, StoreError> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        Some(Value::SimpleString(text)) => Ok(text.into_bytes()),
        _ => Err(misunderstood()),
    }
}

fn text(value: Option<Value>) -> Result<String, StoreError> {
    String::from_utf8(bytes(value)?).map_err(|_| misunderstood())
}

fn misunderstood() -> StoreError {
    StoreError::Backend(
        "Redis answered what its script never says; do other programs use these keys?".to_owned(),
    )
}

/// A script holds up every other client of its Redis.
const LARGEST_PAGE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_may_forget_is_refused() {
        let info = |policy: &str, maxmemory: u64, aof: u8| {
            format!(
                "# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\n# Persistence\r\naof_enabled:{aof}\r\n"
            )
        };
        assert!(check(&info("noeviction", 1, 1), Persistence::Checked).is_ok());
        assert!(
            check(&info("allkeys-lru", 0, 1), Persistence::Checked).is_ok(),
            "without a limit nothing is evicted"
        );
        assert!(check(&info("allkeys-lru", 1, 1), Persistence::Checked).is_err());
        assert!(check(&info("allkeys-lru", 1, 1), Persistence::Vouched).is_err());
        assert!(check(&info("noeviction", 1, 0), Persistence::Checked).is_err());
        assert!(check(&info("noeviction", 1, 0), Persistence::Vouched).is_ok());
    }

    #[test]
    fn every_key_of_a_tenant_is_in_one_slot_and_in_no_other_tenants() {
        let names = Names::of("shop").unwrap();
        let all = [&names.generation, &names.versions, &names.index].into_iter();
        for name in all.chain(&names.values).chain(&names.endings) {
            assert!(name.starts_with("{mpp:shop}:"), "{name}");
        }
        for wrong in ["", "a}b", "a b", "ä", &"x".repeat(65)] {
            assert!(Names::of(wrong).is_err(), "{wrong}");
        }
    }
}
