//! How much sponsoring has cost in this window of time, on the method's notebook.
//!
//! The worst fee is reserved before anything is signed and corrected from the receipt, by compare-and-swap, so any number
//! of processes together never spend more than the budgets say. Where a process dies between two pages, the pages say too
//! much, never too little, until the window ends.
//!
//! | page | what |
//! | --- | --- |
//! | `budget/<chain>/<window>/total` | spent and reserved in all, and fees of reverted transactions |
//! | `budget/<chain>/<window>/payer/<address>` | spent and reserved for one payer |
//! | `budget/<chain>/<window>/client/<hash>` | fees of one client's reverted transactions |

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
    /// This payer has had its share.
    Payer,
    /// The whole budget, until then.
    Total { until: Timestamp },
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Total {
    spent: u64,
    reverted: u64,
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
        let reverted: Option<u64> = self.notebook.read(&self.client_page(&reserved)).await?;
        if reverted.unwrap_or(0) >= self.budget.reverted_per_client {
            return Ok(Err(Spent::Client));
        }
        let most = self.budget.per_payer;
        if !self.add(&self.payer_page(&reserved), fee, most).await? {
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
            .await?;
        if fits {
            return Ok(Ok(reserved));
        }
        self.take_back(&self.payer_page(&reserved), fee).await?;
        Ok(Err(Spent::Total { until: Timestamp::from_unix((window + 1) * self.seconds()) }))
    }

    /// What is left of the total in this window, and the total.
    pub(in super::super) async fn left(&self) -> Result<(u64, u64), NotebookError> {
        let window = self.now.unix() / self.seconds();
        let total: Option<Total> = self.notebook.read(&self.total_page(window)).await?;
        let left = self.budget.total.saturating_sub(total.unwrap_or_default().spent);
        Ok((left, self.budget.total))
    }

    /// Corrects a reservation to what it really cost. `Some` when reverted transactions have used up their part of the
    /// budget by now.
    pub(in super::super) async fn correct(
        &self,
        reserved: &Reservation,
        cost: Cost,
    ) -> Result<Option<Spent>, NotebookError> {
        let (cost, reverted) = match cost {
            Cost::Paid(fee) => (fee, 0),
            Cost::Reverted(fee) => (fee, fee),
            Cost::Nothing => (0, 0),
        };
        let keep = self.keep();
        if reverted > 0 {
            let count =
                |there: Option<u64>| Turn::write(there.unwrap_or(0).saturating_add(reverted), keep, ());
            self.notebook.turn(&self.client_page(reserved), count).await?;
        }
        let over = self
            .notebook
            .turn(&self.total_page(reserved.window), |there: Option<Total>| {
                // A page whose time is over needs no correction.
                let Some(total) = there else { return Turn::leave(false) };
                let total = Total {
                    spent: total.spent.saturating_sub(reserved.fee).saturating_add(cost),
                    reverted: total.reverted.saturating_add(reverted),
                };
                Turn::write(total, keep, total.reverted >= self.budget.reverted_total)
            })
            .await?;
        self.take_back(&self.payer_page(reserved), reserved.fee.saturating_sub(cost)).await?;
        Ok(over.then(|| Spent::Total { until: Timestamp::from_unix((reserved.window + 1) * self.seconds()) }))
    }

    /// Adds to a page if it stays within `most`.
    async fn add(&self, page: &str, fee: u64, most: u64) -> Result<bool, NotebookError> {
        let keep = self.keep();
        self.notebook
            .turn(page, |there: Option<u64>| match there.unwrap_or(0).checked_add(fee) {
                Some(spent) if spent <= most => Turn::write(spent, keep, true),
                _ => Turn::leave(false),
            })
            .await
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

#[cfg(test)]
mod tests {
    use super::*;

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
        for _ in 0..3 {
            ledger.reserve(payer(1), client(1), 10).await.unwrap().unwrap();
        }
        assert_eq!(ledger.reserve(payer(1), client(1), 1).await.unwrap(), Err(Spent::Payer));
        for n in 2..9 {
            ledger.reserve(payer(n), client(n), 10).await.unwrap().unwrap();
        }
        let until = Timestamp::from_unix(11 * HOUR);
        assert_eq!(ledger.reserve(payer(9), client(9), 1).await.unwrap(), Err(Spent::Total { until }));
        assert_eq!(ledger.left().await, Ok((0, 100)));
        assert_eq!(self::ledger(&notebook, 11 * HOUR).left().await, Ok((100, 100)), "another window");
        // What did not fit into the total is not held against the payer.
        let next = self::ledger(&notebook, 11 * HOUR);
        assert!(next.reserve(payer(9), client(9), 30).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_reservation_becomes_what_it_cost() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        for cost in [Cost::Paid(3), Cost::Nothing, Cost::Paid(7)] {
            let reserved = ledger.reserve(payer(1), client(1), 10).await.unwrap().unwrap();
            assert_eq!(ledger.correct(&reserved, cost).await, Ok(None));
        }
        // 10 of 30 are spent.
        assert!(ledger.reserve(payer(1), client(1), 20).await.unwrap().is_ok());
        assert_eq!(ledger.reserve(payer(1), client(1), 1).await.unwrap(), Err(Spent::Payer));
    }

    #[tokio::test]
    async fn whose_transactions_revert_gets_no_more_of_them_signed() {
        let notebook = Notebook::volatile("tempo");
        let ledger = ledger(&notebook, 10 * HOUR);
        // Under ever new accounts from the same place.
        for n in 1..=2 {
            let reserved = ledger.reserve(payer(n), client(1), 6).await.unwrap().unwrap();
            assert_eq!(ledger.correct(&reserved, Cost::Reverted(5)).await, Ok(None));
        }
        assert_eq!(ledger.reserve(payer(3), client(1), 6).await.unwrap(), Err(Spent::Client));
        assert!(ledger.reserve(payer(3), client(2), 6).await.unwrap().is_ok(), "others are not concerned");
        // From many places: the breaker.
        let reserved = ledger.reserve(payer(4), client(4), 20).await.unwrap().unwrap();
        let until = Timestamp::from_unix(11 * HOUR);
        assert_eq!(ledger.correct(&reserved, Cost::Reverted(15)).await, Ok(Some(Spent::Total { until })));
        assert_eq!(ledger.reserve(payer(5), client(5), 1).await.unwrap(), Err(Spent::Total { until }));
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
