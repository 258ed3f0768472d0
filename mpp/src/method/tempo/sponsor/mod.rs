//! Paying the network's fee for payers (draft-tempo-charge-00, "Fee Payment"): who signs, for what, and how much.
//!
//! | file | what |
//! | --- | --- |
//! | `policy.rs` | the caps on one transaction |
//! | `budget.rs` | what may be spent in a window of time, reserved before it is signed for |
//! | `cosign.rs` | the signature itself, by a key of ours or by a hosted fee payer |

mod budget;
mod cosign;
mod policy;

pub use self::policy::{Extra, SponsorPolicy};

pub(super) use self::budget::{Cost, Ledger, Reservation, Spent, Standing};
pub(super) use self::policy::most;

use crate::chain::{Reach, Rpc};
use crate::method::{MethodProblem, Sponsoring};
use alloy::primitives::{Address, B256};
use alloy::signers::Signer;
use alloy::signers::local::PrivateKeySigner;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many transactions are remembered as broadcast.
const RECENT: usize = 4096;

/// Who pays the network's fee for payers, and for what. Given to [`Tempo::sponsor`](super::Tempo::sponsor).
///
/// The account has to hold its fee token; when it runs dry, offers go out unsponsored.
///
/// ```
/// use mpp::method::ServerMethod;
/// use mpp::method::Sponsoring;
/// use mpp::method::tempo::Sponsor;
///
/// let tempo = mpp::Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
///     .rpc("https://rpc.example.org")
///     .sponsor(Sponsor::local("0x0101010101010101010101010101010101010101010101010101010101010101"));
/// assert_eq!(tempo.problems(), []);
/// assert_eq!(tempo.sponsoring(), Sponsoring::Open);
/// ```
pub struct Sponsor {
    pub(super) payer: FeePayer,
    pub(super) policy: SponsorPolicy,
    wrong: Vec<MethodProblem>,
    /// Until when it does not pay, and why.
    paused: Mutex<Pauses>,
    recent: Mutex<VecDeque<B256>>,
}

/// Why offers go out unsponsored for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The budget is reserved or spent.
    Spent,
    /// The account has run dry, or too much was reverted.
    Closed,
}

#[derive(Debug, Default)]
struct Pauses {
    spent: Option<Instant>,
    closed: Option<Instant>,
}

/// Whose signature it is.
pub(super) enum FeePayer {
    /// A key of ours, wherever it is kept.
    Signer(Arc<dyn Signer + Send + Sync>, Address),
    /// A service with a key of its own.
    Hosted(Rpc),
    /// Reported as a problem.
    Unusable,
}

impl Sponsor {
    /// An account whose private key (32 bytes in hexadecimal) this process holds.
    ///
    /// ```
    /// # use mpp::{Tempo, method::{ServerMethod, tempo::Sponsor}};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc("https://rpc.example.org");
    /// let problems = tempo.sponsor(Sponsor::local("0x1234")).problems();
    /// assert_eq!(problems[0].to_string(), "the sponsor's key is not a private key of 32 bytes in hexadecimal");
    /// ```
    pub fn local(key: &str) -> Self {
        match key.trim().parse::<PrivateKeySigner>() {
            Ok(key) => Self::signer(key),
            // Without the parser's words: they might quote the key.
            Err(_) => Self::unusable("the sponsor's key is not a private key of 32 bytes in hexadecimal"),
        }
    }

    /// An account that anything signs for which alloy can sign with: a key in a file, a key management service, a ledger.
    ///
    /// ```
    /// use alloy::signers::local::PrivateKeySigner;
    /// # use mpp::method::tempo::Sponsor;
    /// let sponsor = Sponsor::signer(PrivateKeySigner::random());
    /// # drop(sponsor);
    /// ```
    pub fn signer(signer: impl Signer + Send + Sync + 'static) -> Self {
        let address = signer.address();
        Self::paying(FeePayer::Signer(Arc::new(signer), address), Vec::new())
    }

    /// A hosted fee payer: JSON-RPC at an https URL (or http on this machine), asked with `eth_signRawTransaction` for the
    /// envelope of the payer, or where it does not know that with `eth_fillTransaction`. Of its answer only fee token and
    /// signature are used, and only if they hold for exactly the transaction it was asked for.
    ///
    /// ```
    /// # use mpp::{Tempo, method::{ServerMethod, tempo::Sponsor}};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc("https://rpc.example.org");
    /// let problems = tempo.sponsor(Sponsor::hosted("http://fees.example.org/s3cret")).problems();
    /// assert_eq!(
    ///     problems[0].to_string(),
    ///     "the hosted fee payer: the RPC URL uses plain http to another machine (fees.example.org); use https",
    /// );
    /// ```
    pub fn hosted(url: &str) -> Self {
        match Rpc::new(url, Reach::Anywhere) {
            Ok(rpc) => Self::paying(FeePayer::Hosted(rpc), Vec::new()),
            Err(e) => Self::unusable(&format!("the hosted fee payer: {e}")),
        }
    }

    /// What it signs for; [`SponsorPolicy::new`] without this.
    ///
    /// ```
    /// # use mpp::{Amount, method::tempo::{Sponsor, SponsorPolicy}};
    /// let sponsor = Sponsor::hosted("https://fees.example.org").policy(SponsorPolicy::new().max_gas(900_000));
    /// # drop(sponsor);
    /// ```
    pub fn policy(mut self, policy: SponsorPolicy) -> Self {
        self.policy = policy;
        self
    }

    fn unusable(why: &str) -> Self {
        Self::paying(FeePayer::Unusable, vec![MethodProblem(why.to_owned())])
    }

    fn paying(payer: FeePayer, wrong: Vec<MethodProblem>) -> Self {
        Self {
            payer,
            policy: SponsorPolicy::new(),
            wrong,
            paused: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// Unusable settings.
    pub(super) fn problems(&self) -> Vec<MethodProblem> {
        [self.wrong.clone(), self.policy.problems()].concat()
    }

    /// The account that pays, where it is known before it signs.
    pub(super) fn address(&self) -> Option<Address> {
        match &self.payer {
            FeePayer::Signer(_, address) => Some(*address),
            FeePayer::Hosted(_) | FeePayer::Unusable => None,
        }
    }

    /// Whether it pays right now, as far as this process knows; the budget on the notebook has the last word.
    pub(super) fn sponsoring(&self) -> Sponsoring {
        let pauses = lock(&self.paused);
        let now = Instant::now();
        if [pauses.spent, pauses.closed].into_iter().flatten().any(|until| now < until) {
            Sponsoring::Paused
        } else {
            Sponsoring::Open
        }
    }

    /// Offers go out unsponsored for this long.
    pub(super) fn pause(&self, why: Pause, time: Duration) {
        let until = Instant::now() + time;
        let mut pauses = lock(&self.paused);
        let pause = match why {
            Pause::Spent => &mut pauses.spent,
            Pause::Closed => &mut pauses.closed,
        };
        *pause = Some(pause.map_or(until, |earlier| earlier.max(until)));
    }

    /// There is room in the budget again.
    pub(super) fn has_room(&self) {
        lock(&self.paused).spent = None;
    }

    /// Remembers that this transaction is about to be broadcast.
    pub(super) fn remember(&self, signed_hash: B256) {
        let mut recent = lock(&self.recent);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(signed_hash);
    }

    /// It was not, after all.
    pub(super) fn forget(&self, signed_hash: &B256) {
        lock(&self.recent).retain(|other| other != signed_hash);
    }

    /// Whether this process has broadcast it: then a node's refusal says nothing, because it may have been mined.
    pub(super) fn remembers(&self, signed_hash: &B256) -> bool {
        lock(&self.recent).contains(signed_hash)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half written by a panic: each is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Sponsor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sponsor")
            .field("payer", &self.payer)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FeePayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signer(_, address) => write!(f, "Signer({address})"),
            Self::Hosted(rpc) => write!(f, "Hosted({})", rpc.shown()),
            Self::Unusable => f.write_str("Unusable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sponsor() -> Sponsor {
        Sponsor::signer(PrivateKeySigner::random())
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_to_its_end_and_a_shorter_one_takes_nothing_from_it() {
        let sponsor = sponsor();
        for seconds in [10, 5] {
            sponsor.pause(Pause::Closed, Duration::from_secs(seconds));
        }
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(sponsor.sponsoring(), Sponsoring::Paused);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sponsor.sponsoring(), Sponsoring::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn room_in_the_budget_ends_the_pause_for_a_spent_one_and_no_other() {
        let sponsor = sponsor();
        sponsor.pause(Pause::Spent, Duration::from_secs(10));
        sponsor.has_room();
        assert_eq!(sponsor.sponsoring(), Sponsoring::Open);
        sponsor.pause(Pause::Closed, Duration::from_secs(10));
        sponsor.has_room();
        assert_eq!(sponsor.sponsoring(), Sponsoring::Paused);
    }

    #[test]
    fn what_was_broadcast_is_remembered_up_to_a_number_the_oldest_is_forgotten_first() {
        let sponsor = sponsor();
        let hash = |n: usize| B256::left_padding_from(&n.to_be_bytes());
        (0..=RECENT).for_each(|n| sponsor.remember(hash(n)));
        assert!(!sponsor.remembers(&hash(0)));
        assert!([1, 2, RECENT].iter().all(|n| sponsor.remembers(&hash(*n))));
        sponsor.forget(&hash(2));
        assert_eq!([1, 2, 3].map(|n| sponsor.remembers(&hash(n))), [true, false, true]);
    }
}
