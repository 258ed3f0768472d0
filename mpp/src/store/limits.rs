//! How many keys a store takes.

use super::Quota;

/// How many keys a store takes, per [`Quota`]. At its limit a store refuses new keys ([`StoreError::Full`](super::StoreError)):
/// new payments are answered 503 before anything is settled; those under way end as usual.
///
/// # What is counted
/// - while a payment is open, and until its challenge has expired and the grace period is over: its entry and the claim of its
///   proof; one for each `Idempotency-Key` that it was tried under (the last four), and one for a kept response
/// - after that **one line of the [ledger](crate::ledger)** for as long as
///   [`ledger_retention`](crate::server::Builder::ledger_retention) says, by default 90 days on a durable store (a day for test money); a refund keeps its book
///   beside it
/// - a few keys that methods keep for what they sponsor or send themselves
///
/// So a shop on a durable store needs about *payments a day × days of retention*: the default lasts for 1.1 million payments a day
/// over 90 days. Beyond, raise the limit or shorten the retention. A memory store keeps no lines unless it is told to.
///
/// [`Mpp::recover`](crate::Mpp::recover) tells how full the store is: the gauges `mpp_store_keys` and `mpp_store_keys_limit`, and a warning from
/// four fifths on.
///
/// # In bytes
/// Measured with 40,000 lines of 210 bytes whose keys have 60, with all indexes; so the default at its limit is a hundred million
/// times as much:
///
/// | store | a ledger line | a hundred million |
/// | --- | --- | --- |
/// | `RedbStore` | at most 1,000 on the disk (the file grows ahead) | 100 GB |
/// | `PostgresStore` | 500 on the disk | 50 GB |
/// | `RedisStore` | 760 **in memory** | 76 GB: give Redis a `maxmemory`, at which the store is full, too |
///
/// Quotas share that `maxmemory`: it has to have room beside all of [`free`](Self::free) (below a gigabyte by default), which anybody
/// can fill without paying. Where it has not, lower the limit of free keys, or free proofs close the paid routes.
///
/// ```
/// use mpp::store::Limits;
/// assert_eq!(Limits::default(), Limits { paid: 1_000_000, free: 100_000 });
/// assert_eq!(Limits::DURABLE, Limits { paid: 100_000_000, free: 1_000_000 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Keys of [`Quota::Paid`].
    pub paid: usize,
    /// Keys of [`Quota::Free`].
    pub free: usize,
}

impl Limits {
    /// What stores that survive the process take by default: a hundred million paid keys, a million free
    /// ones; see above for what that is in bytes.
    ///
    /// ```
    /// use mpp::store::Limits;
    /// assert!(Limits::DURABLE.paid > Limits::default().paid);
    /// ```
    pub const DURABLE: Self = Self { paid: 100_000_000, free: 1_000_000 };

    /// The limit of one quota.
    ///
    /// ```
    /// use mpp::store::{Limits, Quota};
    /// assert_eq!(Limits { paid: 10, free: 2 }.of(Quota::Free), 2);
    /// ```
    pub const fn of(self, quota: Quota) -> usize {
        match quota {
            Quota::Paid => self.paid,
            Quota::Free => self.free,
        }
    }
}

/// How full a store is; see [`Store::usage`](super::Store::usage).
///
/// ```
/// use mpp::store::{Keep, Key, MemoryStore, Quota, Store, Usage, Write};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mpp::store::StoreError> {
/// let (store, key) = (MemoryStore::new(), Key::new(Quota::Paid, "claim", "n3vQ"));
/// store.cas(&key, None, Some(Write { value: vec![1], keep: Keep::Live })).await?;
/// assert_eq!(store.usage(Quota::Paid).await?, Some(Usage { keys: 1, limit: 1_000_000 }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Keys that take room; those that have ended do until they are reclaimed.
    pub keys: u64,
    /// The limit of the process that was asked.
    pub limit: u64,
}

impl Usage {
    pub(super) fn of(quota: Quota, keys: u64, limits: Limits) -> Self {
        Self { keys, limit: limits.of(quota) as u64 }
    }

    /// Whether four fifths are taken: time to raise the limit or to shorten the retention.
    pub(crate) fn is_high(self) -> bool {
        self.keys > 0 && u128::from(self.keys) * 5 >= u128::from(self.limit) * 4
    }
}

impl Default for Limits {
    /// What a [`MemoryStore`](super::MemoryStore) takes: a million paid keys, a hundred thousand free ones.
    fn default() -> Self {
        Self { paid: 1_000_000, free: 100_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_are_high() {
        let of = |keys, limit| Usage { keys, limit }.is_high();
        assert!(!of(0, 100) && !of(79, 100) && of(80, 100) && of(100, 100));
        assert!(!of(0, 0) && of(4, 5) && !of(3, 5), "also of a few");
        assert!(of(u64::MAX, u64::MAX) && !of(1_000_000, u64::MAX));
    }
}
