//! How much sponsoring has cost in this window of time, on the method's notebook.
//!
//! The worst fee is reserved before anything is signed and corrected from the receipt, by compare-and-swap, so any number
//! of processes together never spend more than the budgets say. Where a process dies between two pages, the pages say too
//! much, never too little, until the window ends.
//!
//! Until it is known what became of a transaction, it counts as reverted for its client: otherwise a client that has many
//! signed for at the same moment would pass its limit by all of them.
//!
//! A page that nobody can read any more (a secret was replaced at once) counts as full until its window ends: what it forgot may have
//! been all of the budget. Nobody is refused for that: payers are asked to pay their own fee meanwhile.
//!
//! | page | what |
//! | --- | --- |
//! | `budget/<chain>/<window>/total` | spent and reserved in all, and fees of reverted transactions |
//! | `budget/<chain>/<window>/payer/<address>` | spent and reserved for one payer |
//! | `budget/<chain>/<window>/client/<hash>` | fees of one client's reverted transactions, and reserved for it |

use super::policy::Budget;
use crate::protocol::Timestamp;
use crate::store::{Keep, Notebook, NotebookError, Turn};
use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A page outlives its window by this much: reservations of its last seconds are still corrected.
const AFTERMATH: Duration = Duration::from_secs(60 * 60);

/// The budgets of one chain.
pub(in super::super) struct Ledger<'a> {
    pub(in super::super) notebook: &'a Notebook,
    pub(in super::super) budget: Budget,
    pub(in super::super) chain_id: u64,
    pub(in super::super) now: Timestamp,
}

/// A fee that was set aside. Kept beside the bytes it was set aside for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Reservation {
    window: i64,
    payer: Address,
    client: B256,
    fee: u64,
}

/// What a transaction cost in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Cost {
    /// It paid.
    Paid(u64),
    /// It was mined and paid nothing.
    Reverted(u64),
    /// It was never mined.
    Nothing,
}

/// Which limit a transaction does not fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Spent {
    /// This client's transactions revert too often.
    Client,
    /// They would, if those that nobody knows the end of reverted too.
    ClientBusy,
    /// This payer has had its share.
    Payer,
    /// The whole budget, until then.
    Total { until: Timestamp },
}

/// How the budget stands after a correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Standing {
    /// Another transaction like this one fits.
    Open,
    /// It does not.
    Full,
    /// Reverted transactions have used up their part, until then.
    Broken { until: Timestamp },
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Total {
    spent: u64,
    reverted: u64,
}

/// Of one client.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Risk {
    reverted: u64,
    /// Reserved for transactions that may still revert.
    open: u64,
}

impl Ledger<'_> {
    /// Sets `fee` aside.
    pub(in super::super) async fn reserve(
        &self,
        payer: Address,
        client: B256,
        fee: u64,
    ) -> Result<Result<Reservation, Spent>, NotebookError> {
        let window = self.now.unix() / self.seconds();
        let reserved = Reservation { window, payer, client, fee };
        if let Some(spent) = self.risk(&reserved).await? {
            return Ok(Err(spent));
        }
        let most = self.budget.per_payer;
        if !self.add(&self.payer_page(&reserved), fee, most).await? {
            self.risked(&reserved, 0).await?;
            return Ok(Err(Spent::Payer));
        }
        let keep = self.keep();
        let budget = self.budget;
        let fits = self
            .notebook
            .turn(&self.total_page(window), |there: Option<Total>| {
                let total = there.unwrap_or_default();
                match total.spent.checked_add(fee) {
                    Some(spent) if spent <= budget.total && total.reverted < budget.reverted_total => {
                        Turn::write(Total { spent, ..total }, keep, true)
                    }
                    _ => Turn::leave(false),
                }
            })
            .await;
        if full_if_unreadable(fits, false)? {
            return Ok(Ok(reserved));
        }
        self.take_back(&self.payer_page(&reserved), fee).await?;
        self.risked(&reserved, 0).await?;
        Ok(Err(Spent::Total { until: Timestamp::from_unix((window + 1) * self.seconds()) }))
    }

    /// What is left of the total in this window, and the total.
    pub(in super::super) async fn left(&self) -> Result<(u64, u64), NotebookError> {
        let window = self.now.unix() / self.seconds();
        let full = Total { spent: self.budget.total, reverted: 0 };
        let total = full_if_unreadable(self.notebook.read(&self.total_page(window)).await, Some(full))?;
        let left = self.budget.total.saturating_sub(total.unwrap_or_default().spent);
        Ok((left, self.budget.total))
    }

    /// Corrects a reservation to what it really cost.
    pub(in super::super) async fn correct(
        &self,
        reserved: &Reservation,
        cost: Cost,
    ) -> Result<Standing, NotebookError> {
        let (cost, reverted) = match cost {
            Cost::Paid(fee) => (fee, 0),
            Cost::Reverted(fee) => (fee, fee),
            Cost::Nothing => (0, 0),
        };
        self.risked(reserved, reverted).await?;
        let (keep, budget) = (self.keep(), self.budget);
        let until = Timestamp::from_unix((reserved.window + 1) * self.seconds());
        let standing = self
            .notebook
            .turn(&self.total_page(reserved.window), |there: Option<Total>| {
                // A page whose time is over needs no correction.
                let Some(total) = there else { return Turn::leave(Standing::Full) };
                let total = Total {
                    spent: total.spent.saturating_sub(reserved.fee).saturating_add(cost),
                    reverted: total.reverted.saturating_add(reverted),
                };
                let standing = match total.spent.checked_add(reserved.fee) {
                    _ if total.reverted >= budget.reverted_total => Standing::Broken { until },
                    Some(next) if next <= budget.total => Standing::Open,
                    _ => Standing::Full,
                };
                Turn::write(total, keep, standing)
            })
            .await?;
        self.take_back(&self.payer_page(reserved), reserved.fee.saturating_sub(cost)).await?;
        Ok(standing)
    }

    /// Counts a reservation as if it reverted, unless that is too much for its client. The first of a client that is below
    /// its limit always fits: so the limit is passed by less than one fee, whatever is signed for at the same moment.
    async fn risk(&self, reserved: &Reservation) -> Result<Option<Spent>, NotebookError> {
        let (keep, most) = (self.keep(), self.budget.reverted_per_client);
        let risk = self
            .notebook
            .turn(&self.client_page(reserved), |there: Option<Risk>| {
                let risk = there.unwrap_or_default();
                if risk.reverted >= most {
                    return Turn::leave(Some(Spent::Client));
                }
                let open = risk.open.checked_add(reserved.fee);
                let worst = open.and_then(|open| open.checked_add(risk.reverted));
                match (open, worst) {
                    (Some(open), Some(worst)) if risk.open == 0 || worst <= most => {
                        Turn::write(Risk { open, ..risk }, keep, None)
                    }
                    _ => Turn::leave(Some(Spent::ClientBusy)),
                }
            })
            .await;
        full_if_unreadable(risk, Some(Spent::ClientBusy))
    }

    /// It is known what became of it: it cost its client this much in vain.
    async fn risked(&self, reserved: &Reservation, reverted: u64) -> Result<(), NotebookError> {
        let keep = self.keep();
        self.notebook
            .turn(&self.client_page(reserved), |there: Option<Risk>| match there {
                Some(risk) => {
                    let open = risk.open.saturating_sub(reserved.fee);
                    Turn::write(Risk { reverted: risk.reverted.saturating_add(reverted), open }, keep, ())
                }
                None if reverted > 0 => Turn::write(Risk { reverted, open: 0 }, keep, ()),
                None => Turn::leave(()),
            })
            .await
    }

    /// Adds to a page if it stays within `most`.
    async fn add(&self, page: &str, fee: u64, most: u64) -> Result<bool, NotebookError> {
        let keep = self.keep();
        let added = self
            .notebook
            .turn(page, |there: Option<u64>| match there.unwrap_or(0).checked_add(fee) {
                Some(spent) if spent <= most => Turn::write(spent, keep, true),
                _ => Turn::leave(false),
            })
            .await;
        full_if_unreadable(added, false)
    }

    async fn take_back(&self, page: &str, fee: u64) -> Result<(), NotebookError> {
        let keep = self.keep();
        self.notebook
            .turn(page, |there: Option<u64>| match there {
                Some(spent) if fee > 0 => Turn::write(spent.saturating_sub(fee), keep, ()),
                _ => Turn::leave(()),
            })
            .await
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.budget.window.as_secs()).unwrap_or(i64::MAX).max(1)
    }

    fn keep(&self) -> Keep {
        Keep::For(self.budget.window.saturating_add(AFTERMATH))
    }

    fn total_page(&self, window: i64) -> String {
        format!("budget/{}/{window}/total", self.chain_id)
    }

    fn payer_page(&self, of: &Reservation) -> String {
        format!("budget/{}/{}/payer/{:#x}", self.chain_id, of.window, of.payer)
    }

    fn client_page(&self, of: &Reservation) -> String {
        format!("budget/{}/{}/client/{:#x}", self.chain_id, of.window, of.client)
    }
}

/// What a page that nobody can read any more says: that it is full.
fn full_if_unreadable<T>(page: Result<T, NotebookError>, full: T) -> Result<T, NotebookError> {
    match page {
        Err(error @ NotebookError::Unreadable) => {
            tracing::warn!(target: "mpp", %error, "tempo: a sponsor's budget counts as spent until its window ends");
            Ok(full)
        }
        page => page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::protocol::{MethodName, Secret, SecretRing};
    use crate::store::seal::Sealer;
    use crate::store::{MemoryStore, Quota, notebook};
    use std::sync::Arc;

    const HOUR: i64 = 3600;

    fn ledger(notebook: &Notebook, now: i64) -> Ledger<'_> {
        let budget = Budget {
            window: Duration::from_secs(3600),
            per_payer: 30,
            total: 100,
            reverted_per_client: 10,
            reverted_total: 25,
        };
        Ledger { notebook, budget, chain_id: 31337, now: Timestamp::from_unix(now) }
    }

    fn payer(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    fn client(n: u8) -> B256 {
        B256::repeat_byte(n)
    }

    #[tokio::test]
    async fn one_payer_gets_its_share_and_all_together_get_the_total() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        for n in 1..=3 {
            ledger.reserve(payer(1), client(n), 10).await.unwrap().unwrap();
        }
        assert_eq!(ledger.reserve(payer(1), client(4), 1).await.unwrap(), Err(Spent::Payer));
        for n in 2..9 {
            ledger.reserve(payer(n), client(n + 10), 10).await.unwrap().unwrap();
        }
        let until = Timestamp::from_unix(11 * HOUR);
        assert_eq!(ledger.reserve(payer(9), client(9), 1).await.unwrap(), Err(Spent::Total { until }));
        assert_eq!(ledger.left().await, Ok((0, 100)));
        assert_eq!(self::ledger(&notebook, 11 * HOUR).left().await, Ok((100, 100)), "another window");
        // What did not fit is held against neither payer nor client.
        let page =
            ledger.client_page(&Reservation { window: 10, payer: payer(9), client: client(9), fee: 1 });
        assert_eq!(notebook.read(&page).await, Ok(Some(Risk::default())));
        let page = ledger.payer_page(&Reservation { window: 10, payer: payer(9), client: client(9), fee: 1 });
        assert_eq!(notebook.read::<u64>(&page).await, Ok(Some(0)));
        let page =
            ledger.client_page(&Reservation { window: 10, payer: payer(1), client: client(4), fee: 1 });
        assert_eq!(notebook.read(&page).await, Ok(Some(Risk::default())), "its payer's share was spent");
        let next = self::ledger(&notebook, 11 * HOUR);
        assert!(next.reserve(payer(9), client(9), 30).await.unwrap().is_ok());
    }

    fn deployed(store: &Arc<MemoryStore>, ring: SecretRing) -> Notebook {
        let (sealer, tempo) = (Arc::new(Sealer::new(&ring)), MethodName::from_static("tempo"));
        Notebook::new(store.clone(), sealer, &tempo, Quota::Paid, Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn a_sponsor_still_pays_when_the_secret_has_been_rotated() {
        let store = Arc::new(MemoryStore::new());
        let (old, new) = (Secret::generate(), Secret::generate());
        let before = deployed(&store, SecretRing::new(old.clone()).also(new.clone()));
        ledger(&before, 10 * HOUR).reserve(payer(1), client(1), 70).await.unwrap().unwrap_err();
        ledger(&before, 10 * HOUR).reserve(payer(1), client(1), 30).await.unwrap().unwrap();
        // `[new, old]`, in which nobody asks for a sponsored payment, but somebody sweeps; then `[new]`.
        let both = Sealer::new(&SecretRing::new(new.clone()).also(old));
        let pages = notebook::all_pages(&*store, Quota::Paid, None).await.unwrap();
        assert_eq!(pages.len(), 3);
        for (key, there) in pages {
            let now = Timestamp::from(std::time::SystemTime::now());
            notebook::seal_again(&*store, &both, &key, there, now).await.unwrap();
        }
        let after = deployed(&store, SecretRing::new(new));
        let later = ledger(&after, 10 * HOUR + 1800);
        assert_eq!(later.left().await, Ok((70, 100)), "what was spent is not forgotten");
        assert_eq!(later.reserve(payer(1), client(2), 1).await, Ok(Err(Spent::Payer)));
        let reserved = later.reserve(payer(2), client(2), 10).await;
        assert!(matches!(reserved, Ok(Ok(_))), "somebody else, half an hour later: {reserved:?}");
    }

    #[tokio::test]
    async fn a_budget_that_nobody_can_read_any_more_is_spent_until_its_window_ends() {
        let store = Arc::new(MemoryStore::new());
        let before = deployed(&store, SecretRing::new(Secret::generate()));
        ledger(&before, 10 * HOUR).reserve(payer(1), client(1), 10).await.unwrap().unwrap();
        // After a leak.
        let after = deployed(&store, SecretRing::new(Secret::generate()));
        let until = Timestamp::from_unix(11 * HOUR);
        let now = ledger(&after, 10 * HOUR);
        assert_eq!(now.reserve(payer(1), client(1), 1).await, Ok(Err(Spent::ClientBusy)));
        assert_eq!(now.reserve(payer(1), client(2), 1).await, Ok(Err(Spent::Payer)));
        assert_eq!(now.reserve(payer(2), client(2), 1).await, Ok(Err(Spent::Total { until })));
        assert_eq!(now.left().await, Ok((0, 100)));
        let next = ledger(&after, 11 * HOUR);
        assert!(next.reserve(payer(1), client(1), 10).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_reservation_becomes_what_it_cost() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        for cost in [Cost::Paid(3), Cost::Nothing, Cost::Paid(7)] {
            let reserved = ledger.reserve(payer(1), client(1), 10).await.unwrap().unwrap();
            assert_eq!(ledger.correct(&reserved, cost).await, Ok(Standing::Open));
        }
        // 10 of 30 are spent.
        assert!(ledger.reserve(payer(1), client(1), 20).await.unwrap().is_ok());
        assert_eq!(ledger.reserve(payer(1), client(2), 1).await.unwrap(), Err(Spent::Payer));
    }

    #[tokio::test]
    async fn whose_transactions_revert_gets_no_more_of_them_signed() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        // Under ever new accounts from the same place.
        for n in 1..=2 {
            let reserved = ledger.reserve(payer(n), client(1), 6).await.unwrap().unwrap();
            assert_eq!(ledger.correct(&reserved, Cost::Reverted(5)).await, Ok(Standing::Open));
        }
        assert_eq!(ledger.reserve(payer(3), client(1), 6).await.unwrap(), Err(Spent::Client));
        assert!(ledger.reserve(payer(3), client(2), 6).await.unwrap().is_ok(), "others are not concerned");
        // From many places: the breaker.
        let reserved = ledger.reserve(payer(4), client(4), 20).await.unwrap().unwrap();
        let until = Timestamp::from_unix(11 * HOUR);
        assert_eq!(ledger.correct(&reserved, Cost::Reverted(15)).await, Ok(Standing::Broken { until }));
        assert_eq!(ledger.reserve(payer(5), client(5), 1).await.unwrap(), Err(Spent::Total { until }));
    }

    #[tokio::test]
    async fn what_is_signed_for_at_the_same_moment_stays_within_the_clients_limit_if_all_of_it_reverts() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        let mut open = Vec::new();
        for n in 1..=20 {
            match ledger.reserve(payer(n), client(1), 3).await.unwrap() {
                Ok(reserved) => open.push(reserved),
                Err(spent) => assert_eq!(spent, Spent::ClientBusy),
            }
        }
        assert_eq!(open.len(), 3, "of 10");
        assert!(ledger.reserve(payer(30), client(2), 3).await.unwrap().is_ok(), "others are not concerned");
        // One that paid makes room for another; those that reverted do not.
        assert_eq!(ledger.correct(&open.pop().unwrap(), Cost::Paid(3)).await, Ok(Standing::Open));
        open.push(ledger.reserve(payer(21), client(1), 3).await.unwrap().unwrap());
        for reserved in open {
            ledger.correct(&reserved, Cost::Reverted(3)).await.unwrap();
        }
        // 9 of 10 are gone: one more, and no second beside it.
        let last = ledger.reserve(payer(22), client(1), 3).await.unwrap().unwrap();
        assert_eq!(ledger.reserve(payer(23), client(1), 1).await.unwrap(), Err(Spent::ClientBusy));
        ledger.correct(&last, Cost::Reverted(3)).await.unwrap();
        assert_eq!(ledger.reserve(payer(23), client(1), 1).await.unwrap(), Err(Spent::Client));
    }

    #[tokio::test]
    async fn a_client_may_have_as_much_signed_for_at_once_as_may_revert_to_the_unit() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        assert!(ledger.reserve(payer(1), client(1), 5).await.unwrap().is_ok());
        assert!(ledger.reserve(payer(2), client(1), 5).await.unwrap().is_ok(), "10 of 10");
        assert_eq!(ledger.reserve(payer(3), client(1), 1).await.unwrap(), Err(Spent::ClientBusy));
    }

    #[tokio::test]
    async fn a_correction_that_finds_no_page_writes_down_what_reverted_and_nothing_else() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        let forgotten = Reservation { window: 10, payer: payer(1), client: client(1), fee: 10 };
        let page = ledger.client_page(&forgotten);
        ledger.correct(&forgotten, Cost::Nothing).await.unwrap();
        assert_eq!(notebook.read::<Risk>(&page).await, Ok(None));
        ledger.correct(&forgotten, Cost::Reverted(10)).await.unwrap();
        assert_eq!(ledger.reserve(payer(2), client(1), 1).await.unwrap(), Err(Spent::Client));
    }

    #[tokio::test]
    async fn a_correction_says_whether_another_one_fits() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        let mut reserved = Vec::new();
        for n in 1..=10 {
            reserved.push(ledger.reserve(payer(n), client(n), 10).await.unwrap().unwrap());
        }
        assert_eq!(ledger.correct(&reserved.pop().unwrap(), Cost::Paid(1)).await, Ok(Standing::Full));
        assert_eq!(ledger.correct(&reserved.pop().unwrap(), Cost::Paid(9)).await, Ok(Standing::Open));
    }

    #[tokio::test]
    async fn reservations_at_the_same_time_never_exceed_the_total() {
        let notebook = Notebook::volatile("tempo");
        let tasks = (0..50).map(|n| {
            let notebook = notebook.clone();
            tokio::spawn(async move {
                ledger(&notebook, HOUR).reserve(payer(n), client(n), 9).await.unwrap().is_ok()
            })
        });
        let mut granted = 0;
        for task in tasks.collect::<Vec<_>>() {
            granted += u32::from(task.await.unwrap());
        }
        assert_eq!(granted, 11);
    }
}
