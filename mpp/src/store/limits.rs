//! How many keys a store takes.

use super::Quota;

/// How many keys a store takes, per [`Quota`]. At its limit a store refuses new keys ([`StoreError::Full`](super::StoreError)):
/// new payments are answered 503 before anything is settled; those under way end as usual.
///
/// # What is counted
/// - while a payment is open, and until its challenge has expired and the grace period is over: its entry and the claim of its
///   proof; with an `Idempotency-Key` or a kept response one key for each
/// - after that **one line of the [ledger](crate::ledger)** for as long as
///   [`ledger_retention`](crate::server::Builder::ledger_retention) says, by default 90 days on a durable store (a day for test money); a refund keeps its book
///   beside it
/// - a few keys that methods keep for what they sponsor or send themselves
///
/// So a shop on a durable store needs about *payments a day × days of retention*: the default lasts for 1.1 million payments a day
/// over 90 days. Beyond, raise the limit or shorten the retention. A memory store keeps no lines unless it is told to.
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

impl Default for Limits {
    /// What a [`MemoryStore`](super::MemoryStore) takes: a million paid keys, a hundred thousand free ones.
    fn default() -> Self {
        Self { paid: 1_000_000, free: 100_000 }
    }
}
