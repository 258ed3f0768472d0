//! Rate limits: how many unpaid answers one client gets.
//!
//! They are part of the pipeline and not a layer in front of it, because only the pipeline knows what a credential is worth: one
//! whose HMAC is right goes all the way to its claim, however often its sender was refused before. What is counted is answers: a 402
//! without a credential, and a credential that was refused. What the bucket does not cover is answered 429 with `Retry-After` and
//! without a challenge (RFC 6585 section 4; draft-httpauth-payment-00 section 11.7 asks for it).
//!
//! A bucket is one number, the time at which it will be full again (the generic cell rate algorithm). They stand in a table of a
//! size that is fixed at start-up: a stranger with a million addresses makes it forget, but not grow. What it forgets is the
//! bucket of its row that is nearest to full, so whoever overdoes it is remembered longest, and nobody is ever limited for another.

use super::peer::Client;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many unpaid answers one client gets. Given to [`Builder::rate_limits`](super::Builder::rate_limits).
///
/// Clients are told apart as [`TrustedProxies`](super::TrustedProxies) says; requests whose peer is not known are not limited, and
/// the log says so once. Limits are those of this process.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// # use mpp::{SystemClock, testing};
/// # use std::sync::Arc;
/// # let builder = testing::builder(Arc::new(SystemClock));
/// use mpp::server::{Rate, RateLimits};
///
/// let limits = RateLimits::new().challenges(Rate::per_second(10).burst(100)).refusals(Rate::per_minute(30));
/// let mpp = builder.rate_limits(limits).build().unwrap();
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits {
    challenges: Rate,
    refusals: Rate,
    clients: usize,
}

impl RateLimits {
    /// 20 challenges a second and 200 at once, 2 refusals a second and 60 at once, for 65,536 clients: more than a program
    /// that buys ever needs, and a hundredth of what one address can send.
    ///
    /// ```
    /// use mpp::server::{Rate, RateLimits};
    /// let same = RateLimits::new().challenges(Rate::per_second(20).burst(200)).refusals(Rate::per_second(2).burst(60));
    /// assert_eq!(RateLimits::new(), same.clients(65_536));
    /// ```
    pub const fn new() -> Self {
        Self {
            challenges: Rate::per_second(20).burst(200),
            refusals: Rate::per_second(2).burst(60),
            clients: 65_536,
        }
    }

    /// How often a client is told the price: 402 answers to requests without a credential.
    ///
    /// ```
    /// use mpp::server::{Rate, RateLimits};
    /// let limits = RateLimits::new().challenges(Rate::per_minute(60));
    /// ```
    #[must_use]
    pub const fn challenges(mut self, rate: Rate) -> Self {
        self.challenges = rate;
        self
    }

    /// How often a client's credential is refused: forged, unreadable, used, expired, without a payment. Only the answer
    /// depends on it. An authentic credential is verified and claimed in any case.
    ///
    /// ```
    /// use mpp::server::{Rate, RateLimits};
    /// let limits = RateLimits::new().refusals(Rate::per_minute(10));
    /// ```
    #[must_use]
    pub const fn refusals(mut self, rate: Rate) -> Self {
        self.refusals = rate;
        self
    }

    /// How many clients are remembered, at 32 bytes each, taken when the server starts.
    ///
    /// ```
    /// use mpp::server::RateLimits;
    /// let limits = RateLimits::new().clients(1_000_000); // 32 MB
    /// ```
    #[must_use]
    pub const fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// What start-up has to say about it.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let of_nothing = |rate: Rate| rate.answers == 0 || rate.burst == 0;
        let named = [("challenges", self.challenges), ("refusals", self.refusals)];
        named.into_iter().filter(move |(_, rate)| of_nothing(*rate)).map(|(what, _)| {
            format!("the rate limits: nobody would get any {what}; a rate and its burst are at least 1")
        })
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// So many in a period, and so many at once.
///
/// ```
/// use mpp::server::Rate;
/// assert_eq!(Rate::per_minute(30), Rate::per_minute(30).burst(30));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    answers: u32,
    period: Duration,
    burst: u32,
}

impl Rate {
    /// So many a second, and all of them at once.
    ///
    /// ```
    /// let rate = mpp::server::Rate::per_second(5);
    /// ```
    pub const fn per_second(answers: u32) -> Self {
        Self { answers, period: Duration::from_secs(1), burst: answers }
    }

    /// So many a minute, and all of them at once.
    ///
    /// ```
    /// let rate = mpp::server::Rate::per_minute(5);
    /// ```
    pub const fn per_minute(answers: u32) -> Self {
        Self { answers, period: Duration::from_secs(60), burst: answers }
    }

    /// How many at once, after a pause that was long enough.
    ///
    /// ```
    /// let rate = mpp::server::Rate::per_second(5).burst(50);
    /// ```
    #[must_use]
    pub const fn burst(mut self, answers: u32) -> Self {
        self.burst = answers;
        self
    }
}

/// What an answer is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawn {
    Challenge,
    Refusal,
}

/// The buckets of every client.
pub(super) struct RateLimiter {
    start: Instant,
    challenges: Buckets,
    refusals: Buckets,
    no_peer: Once,
}

impl RateLimiter {
    pub(super) fn new(limits: &RateLimits) -> Self {
        Self {
            start: Instant::now(),
            challenges: Buckets::new(limits.challenges, limits.clients),
            refusals: Buckets::new(limits.refusals, limits.clients),
            no_peer: Once::new(),
        }
    }

    /// Whether there is something left; nothing is taken.
    ///
    /// # Errors
    /// How long until there is.
    #[inline(never)] // not where rates are not limited
    pub(super) fn peek(&self, what: Drawn, client: Client) -> Result<(), Duration> {
        self.bucket(what, client).map_or(Ok(()), |buckets| buckets.ask(&client, self.now(), Draw::Nothing))
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long until there is one.
    #[inline(never)] // not where rates are not limited
    pub(super) fn draw(&self, what: Drawn, client: Client) -> Result<(), Duration> {
        self.bucket(what, client).map_or(Ok(()), |buckets| buckets.ask(&client, self.now(), Draw::One))
    }

    /// None for a client that nobody knows: it is not one client, and one of its kind must not silence the others.
    fn bucket(&self, what: Drawn, client: Client) -> Option<&Buckets> {
        if !client.is_known() {
            self.no_peer.call_once(|| {
                tracing::warn!(
                    target: "mpp",
                    "requests come without the address of their peer, so rate limits do not hold for them: serve the app with \
                     `into_make_service_with_connect_info::<SocketAddr>()`"
                );
            });
            return None;
        }
        Some(match what {
            Drawn::Challenge => &self.challenges,
            Drawn::Refusal => &self.refusals,
        })
    }

    /// Nanoseconds since the start. Not the wall clock, which is set back and forth.
    fn now(&self) -> u64 {
        nanoseconds(Instant::now().saturating_duration_since(self.start))
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").finish_non_exhaustive()
    }
}

/// One rate's buckets, in rows of a few that are searched from end to end.
struct Buckets {
    rows: Box<[Mutex<[Bucket; WIDTH]>]>,
    // Seeded at random: nobody can choose addresses that meet in one row.
    hasher: RandomState,
    /// What one answer costs, in nanoseconds.
    each: u64,
    /// How far a bucket may be from full.
    depth: u64,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Hash of the client.
    client: u64,
    /// When it is full again.
    full_at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Draw {
    Nothing,
    One,
}

impl Buckets {
    fn new(rate: Rate, clients: usize) -> Self {
        let each = nanoseconds(rate.period) / u64::from(rate.answers.max(1));
        Self {
            rows: (0..clients.div_ceil(WIDTH).max(1)).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            each,
            depth: each.saturating_mul(u64::from(rate.burst)),
        }
    }

    fn ask(&self, client: &Client, now: u64, draw: Draw) -> Result<(), Duration> {
        let client = self.hasher.hash_one(client);
        // Less than the number of rows, so it fits whatever `usize` is.
        let row = &self.rows[(client % self.rows.len() as u64) as usize];
        // Two numbers written one after the other: a panic in between is not possible.
        let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
        let known = row.iter_mut().find(|bucket| bucket.client == client);
        let full_at = known.as_ref().map_or(0, |bucket| bucket.full_at).max(now).saturating_add(self.each);
        match full_at.saturating_sub(now).checked_sub(self.depth) {
            Some(wait) if wait > 0 => return Err(Duration::from_nanos(wait)),
            _ if draw == Draw::Nothing => return Ok(()),
            _ => {}
        }
        match known {
            Some(bucket) => bucket.full_at = full_at,
            None => {
                // One that is full means nothing; of the others the nearest to it means least.
                if let Some(least) = row.iter_mut().min_by_key(|bucket| bucket.full_at) {
                    *least = Bucket { client, full_at };
                }
            }
        }
        Ok(())
    }
}

/// 584 years of them fit.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Buckets of a row: one memory page holds dozens of rows, a cache line half of one.
const WIDTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const SECOND: u64 = 1_000_000_000;

    fn client(n: u32) -> Client {
        Client::at(IpAddr::V4(Ipv4Addr::from_bits(n)))
    }

    fn draws(buckets: &Buckets, who: u32, now: u64) -> usize {
        (0..1_000).take_while(|_| buckets.ask(&client(who), now, Draw::One).is_ok()).count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let buckets = Buckets::new(Rate::per_second(4).burst(10), 64);
        assert_eq!(draws(&buckets, 1, 0), 10);
        assert_eq!(buckets.ask(&client(1), 0, Draw::One), Err(Duration::from_millis(250)));
        assert_eq!(draws(&buckets, 1, SECOND / 4 - 1), 0);
        assert_eq!(draws(&buckets, 1, SECOND / 4), 1, "a refused one costs nothing");
        assert_eq!(draws(&buckets, 1, SECOND), 3);
        assert_eq!(draws(&buckets, 1, 100 * SECOND), 10, "no more than the burst is saved");
        assert_eq!(draws(&buckets, 2, 100 * SECOND), 10, "another client has its own");
    }

    #[test]
    fn looking_takes_nothing() {
        let buckets = Buckets::new(Rate::per_minute(1), 64);
        for _ in 0..9 {
            assert_eq!(buckets.ask(&client(1), 0, Draw::Nothing), Ok(()));
        }
        assert_eq!(draws(&buckets, 1, 0), 1);
        assert_eq!(buckets.ask(&client(1), 0, Draw::Nothing), Err(Duration::from_secs(60)));
    }

    #[test]
    fn a_million_addresses_neither_grow_the_table_nor_free_the_one_that_overdoes_it() {
        let buckets = Buckets::new(Rate::per_second(1).burst(100), 64);
        let rows = buckets.rows.len();
        assert_eq!(draws(&buckets, 0, 0), 100);
        for other in 1..100_000 {
            assert_eq!(buckets.ask(&client(other), 0, Draw::One), Ok(()), "nobody is limited for another");
        }
        assert_eq!(draws(&buckets, 0, 0), 0);
        assert_eq!(buckets.rows.len(), rows);
        assert!(Buckets::new(Rate::per_second(1), 0).ask(&client(1), 0, Draw::One).is_ok(), "no room at all");
    }

    #[test]
    fn no_rate_and_no_time_overflow() {
        let extreme = Rate { answers: 1, period: Duration::MAX, burst: u32::MAX };
        let buckets = Buckets::new(extreme, 8);
        assert_eq!(draws(&buckets, 1, u64::MAX), 1_000);
        let quick = Buckets::new(Rate::per_second(u32::MAX).burst(u32::MAX), 8);
        assert_eq!(draws(&quick, 1, u64::MAX), 1_000);
    }
}
