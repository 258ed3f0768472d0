//! Whose signatures the settlement key still pays gas for.
//!
//! A signature is tried against the newest block, where nothing that is under way has happened yet. So one balance would pass for
//! any number of signatures at once: the first is paid by it, and all the others revert at the settlement key's expense while
//! their signer has spent nothing. Therefore what a payer has under way counts as spent, is bounded in number, and a payer whose
//! settlements revert all the same (the money was moved away in between, a contract on its account changed its mind) gets no
//! more of them for a while. It can always pay by a `transaction`, at its own expense. When too much has reverted for all payers
//! together, nothing is settled with the key until the hour is over: there is always another account to try it with.
//!
//! All of it is on the method's notebook, so that it holds for all processes that share the key and survives them. What is under
//! way stays on a page until the key's nonce below it is used, which the chain says, whoever has died meanwhile. The total counts
//! what has been mined: what is under way at that moment comes on top, at most `CROWDED` for each process.
//!
//! A page that nobody can read any more (a secret was replaced at once) gives no credit, since it may be the one that says no: for
//! the rest of its hour, or of its payer's two hours. Payers are told to pay by a `transaction` meanwhile.
//!
//! | page | what |
//! | --- | --- |
//! | `credit/<chain>/<key>/payer/<address>` | a payer's settlements under way, and how many reverted lately |
//! | `credit/<chain>/<key>/reverted/<hour>` | how many reverted in all |

use crate::protocol::Timestamp;
use crate::store::{Keep, Notebook, NotebookError, Turn};
use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many settlements of one payer may be under way.
const UNDER_WAY: usize = 32;
/// For how long it is remembered that settlements reverted.
const MEMORY: Duration = Duration::from_secs(60 * 60);
const HOUR: i64 = 60 * 60;

/// How many settlements may revert in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Risk {
    pub(super) per_payer: u32,
    pub(super) total: u32,
}

impl Default for Risk {
    fn default() -> Self {
        Self { per_payer: 2, total: 64 }
    }
}

/// What a settlement takes from its payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Draw {
    pub(super) token: Address,
    pub(super) payer: Address,
    pub(super) amount: U256,
}

/// Why nothing is sent for a payer, in words for the payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoCredit {
    #[error("the payer's balance does not cover the amount and the payer's other payments under way")]
    Overdrawn,
    #[error("too many payments of this payer are under way")]
    Crowded,
    #[error("settlements for this payer were reverted; pay by `type` \"transaction\", or later")]
    Reverted,
    #[error(
        "signatures of this payer are not settled at the moment; pay by `type` \"transaction\", or later"
    )]
    Unreadable,
    #[error("signatures are not settled at the moment; pay by `type` \"transaction\"")]
    Closed { until: Timestamp },
}

/// The books of one settlement key.
pub(super) struct Books<'a> {
    pub(super) notebook: &'a Notebook,
    pub(super) chain_id: u64,
    pub(super) key: Address,
    pub(super) risk: Risk,
    pub(super) now: Timestamp,
}

/// A settlement that is about to be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Of the signature: the same at every nonce it is tried with.
    pub(super) id: B256,
    pub(super) draw: Draw,
    /// The key's, for it.
    pub(super) nonce: u64,
}

/// What the chain says about the payer and the key, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Today {
    /// The key's nonces below this are used, and the balance has paid for them.
    pub(super) mined: u64,
    pub(super) balance: U256,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UnderWay {
    id: B256,
    nonce: u64,
    token: Address,
    amount: U256,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    under_way: Vec<UnderWay>,
    reverted: u32,
    /// When the last one did, in unix seconds.
    last: i64,
}

impl Books<'_> {
    /// Notes a settlement as under way, if the key pays for it.
    pub(super) async fn grant(
        &self,
        candidate: &Candidate,
        today: Today,
    ) -> Result<Result<(), NoCredit>, NotebookError> {
        let reverted: Option<u32> =
            readable(self.notebook.read(&self.total_page()).await)?.unwrap_or(Some(u32::MAX));
        if reverted.unwrap_or(0) >= self.risk.total {
            return Ok(Err(NoCredit::Closed { until: Timestamp::from_unix((self.hour() + 1) * HOUR) }));
        }
        let draw = &candidate.draw;
        let granted = self
            .notebook
            .turn(&self.payer_page(draw.payer), |there: Option<Account>| {
                let mut account = there.unwrap_or_default();
                account.under_way.retain(|other| other.nonce >= today.mined && other.id != candidate.id);
                if account.reverted >= self.risk.per_payer && !self.is_over(account.last) {
                    return Turn::leave(Err(NoCredit::Reverted));
                }
                if let Err(refused) = covers(today.balance, draw, &account.under_way) {
                    return Turn::leave(Err(refused));
                }
                account.under_way.push(UnderWay {
                    id: candidate.id,
                    nonce: candidate.nonce,
                    token: draw.token,
                    amount: draw.amount,
                });
                Turn::write(account, KEEP, Ok(()))
            })
            .await;
        Ok(readable(granted)?.unwrap_or(Err(NoCredit::Unreadable)))
    }

    /// It was not handed over after all.
    pub(super) async fn take_back(&self, id: B256, payer: Address) -> Result<(), NotebookError> {
        self.notebook
            .turn(&self.payer_page(payer), |there: Option<Account>| {
                let Some(mut account) = there else { return Turn::leave(()) };
                let before = account.under_way.len();
                account.under_way.retain(|other| other.id != id);
                match account.under_way.len() == before {
                    true => Turn::leave(()),
                    false => Turn::write(account, KEEP, ()),
                }
            })
            .await
    }

    /// A settlement for this payer was mined and moved nothing.
    pub(super) async fn reverted(&self, payer: Address) -> Result<(), NotebookError> {
        self.notebook
            .turn(&self.payer_page(payer), |there: Option<Account>| {
                let account = there.unwrap_or_default();
                let before = if self.is_over(account.last) { 0 } else { account.reverted };
                let reverted = before.saturating_add(1);
                Turn::write(Account { reverted, last: self.now.unix(), ..account }, KEEP, ())
            })
            .await?;
        let count = |there: Option<u32>| Turn::write(there.unwrap_or(0).saturating_add(1), KEEP, ());
        self.notebook.turn(&self.total_page(), count).await
    }

    fn is_over(&self, last: i64) -> bool {
        self.now >= Timestamp::from_unix(last) + MEMORY
    }

    fn hour(&self) -> i64 {
        self.now.unix().div_euclid(HOUR)
    }

    fn payer_page(&self, payer: Address) -> String {
        format!("credit/{}/{:#x}/payer/{payer:#x}", self.chain_id, self.key)
    }

    fn total_page(&self) -> String {
        format!("credit/{}/{:#x}/reverted/{}", self.chain_id, self.key, self.hour())
    }
}

/// `None` of a page that nobody can read any more.
fn readable<T>(page: Result<T, NotebookError>) -> Result<Option<T>, NotebookError> {
    match page {
        Err(error @ NotebookError::Unreadable) => {
            tracing::warn!(target: "mpp", %error, "evm: no credit is given from the settlement key's books until it is forgotten");
            Ok(None)
        }
        page => page.map(Some),
    }
}

/// Longer than reverts are remembered, and than a settlement is under way on any day worth the name.
const KEEP: Keep = Keep::For(Duration::from_secs(2 * 60 * 60));

/// Whether `draw` can be paid out of `balance`, which has not yet paid for what its payer has `under_way`.
fn covers(balance: U256, draw: &Draw, under_way: &[UnderWay]) -> Result<(), NoCredit> {
    if under_way.len() >= UNDER_WAY {
        return Err(NoCredit::Crowded);
    }
    let same = under_way.iter().filter(|other| other.token == draw.token);
    match same.map(|other| other.amount).try_fold(draw.amount, |sum, more| sum.checked_add(more)) {
        Some(needed) if needed <= balance => Ok(()),
        _ => Err(NoCredit::Overdrawn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::protocol::{MethodName, Secret, SecretRing};
    use crate::store::seal::Sealer;
    use crate::store::{MemoryStore, Quota};
    use std::sync::Arc;

    #[tokio::test]
    async fn books_that_nobody_can_read_any_more_give_no_credit_until_they_are_forgotten() {
        let store = Arc::new(MemoryStore::new());
        let deployed = || {
            let sealer = Arc::new(Sealer::new(&SecretRing::new(Secret::generate())));
            let evm = MethodName::from_static("evm");
            Notebook::new(store.clone(), sealer, &evm, Quota::Paid, Arc::new(SystemClock))
        };
        let (before, after) = (deployed(), deployed());
        let start = NOW - NOW.rem_euclid(HOUR);
        let eve = candidate(1, 1, 1);
        books(&before, start).reverted(eve.draw.payer).await.unwrap();
        let mut alice = eve;
        alice.draw.payer = Address::repeat_byte(2);
        let until = Timestamp::from_unix(start + HOUR);
        let refused = books(&after, start).grant(&alice, today(0, 1)).await.unwrap();
        assert_eq!(refused, Err(NoCredit::Closed { until }), "nobody knows how many reverted in this hour");
        assert_eq!(books(&after, start + HOUR).grant(&alice, today(0, 1)).await.unwrap(), Ok(()));
        let refused = books(&after, start + HOUR).grant(&eve, today(0, 1)).await.unwrap();
        assert_eq!(refused, Err(NoCredit::Unreadable), "nor how many of this payer's");
    }

    const NOW: i64 = 1_800_000_000;

    fn books(notebook: &Notebook, now: i64) -> Books<'_> {
        Books {
            notebook,
            chain_id: 1,
            key: Address::repeat_byte(9),
            risk: Risk { per_payer: 2, total: 5 },
            now: Timestamp::from_unix(now),
        }
    }

    fn candidate(id: u8, nonce: u64, amount: u64) -> Candidate {
        let (token, payer) = (Address::repeat_byte(1), Address::repeat_byte(1));
        Candidate {
            id: B256::repeat_byte(id),
            nonce,
            draw: Draw { token, payer, amount: U256::from(amount) },
        }
    }

    fn today(mined: u64, balance: u64) -> Today {
        Today { mined, balance: U256::from(balance) }
    }

    #[tokio::test]
    async fn what_is_under_way_counts_as_spent_until_its_nonce_is_used_whichever_process_sent_it() {
        let notebook = Notebook::volatile("evm");
        let (one, other) = (books(&notebook, NOW), books(&notebook, NOW));
        assert_eq!(one.grant(&candidate(1, 7, 10), today(7, 19)).await.unwrap(), Ok(()));
        let second = candidate(2, 8, 10);
        assert_eq!(other.grant(&second, today(7, 19)).await.unwrap(), Err(NoCredit::Overdrawn));
        assert_eq!(other.grant(&second, today(7, 20)).await.unwrap(), Ok(()));
        // Tried again at another nonce it is the same settlement.
        let later = Candidate { nonce: 9, ..second };
        assert_eq!(other.grant(&later, today(7, 20)).await.unwrap(), Ok(()));
        // The first is mined, and the balance has paid for it.
        assert_eq!(one.grant(&candidate(3, 10, 10), today(8, 20)).await.unwrap(), Ok(()));
        assert_eq!(one.grant(&candidate(4, 11, 1), today(8, 20)).await.unwrap(), Err(NoCredit::Overdrawn));
        one.take_back(B256::repeat_byte(3), Address::repeat_byte(1)).await.unwrap();
        assert_eq!(one.grant(&candidate(4, 11, 1), today(8, 20)).await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn other_money_and_other_payers_are_not_concerned() {
        let notebook = Notebook::volatile("evm");
        let books = books(&notebook, NOW);
        assert_eq!(books.grant(&candidate(1, 1, 10), today(0, 10)).await.unwrap(), Ok(()));
        let mut next = candidate(2, 2, 10);
        next.draw.token = Address::repeat_byte(2);
        assert_eq!(books.grant(&next, today(0, 10)).await.unwrap(), Ok(()));
        next.draw.payer = Address::repeat_byte(2);
        assert_eq!(books.grant(&next, today(0, 10)).await.unwrap(), Ok(()));
        let mut huge = candidate(3, 3, 0);
        huge.draw.amount = U256::MAX;
        let all = Today { mined: 0, balance: U256::MAX };
        assert_eq!(books.grant(&huge, all).await.unwrap(), Err(NoCredit::Overdrawn), "no overflow");
    }

    #[tokio::test]
    async fn one_payer_has_so_many_under_way_at_most() {
        let notebook = Notebook::volatile("evm");
        let books = books(&notebook, NOW);
        for n in 0..UNDER_WAY {
            let next = candidate(n as u8, n as u64, 0);
            assert_eq!(books.grant(&next, today(0, 0)).await.unwrap(), Ok(()), "{n}");
        }
        let next = candidate(200, 200, 0);
        assert_eq!(books.grant(&next, today(0, 0)).await.unwrap(), Err(NoCredit::Crowded));
        assert_eq!(books.grant(&next, today(1, 0)).await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_payer_whose_settlements_revert_gets_no_more_for_an_hour_from_any_process() {
        let notebook = Notebook::volatile("evm");
        let eve = candidate(1, 1, 1);
        for _ in 0..2 {
            assert_eq!(books(&notebook, NOW).grant(&eve, today(0, 1)).await.unwrap(), Ok(()));
            books(&notebook, NOW).reverted(eve.draw.payer).await.unwrap();
        }
        let until = NOW + MEMORY.as_secs() as i64;
        let refused = books(&notebook, until - 1).grant(&eve, today(0, 1)).await.unwrap();
        assert_eq!(refused, Err(NoCredit::Reverted));
        let mut alice = eve;
        alice.draw.payer = Address::repeat_byte(2);
        assert_eq!(books(&notebook, NOW).grant(&alice, today(0, 1)).await.unwrap(), Ok(()));
        assert_eq!(books(&notebook, until).grant(&eve, today(0, 1)).await.unwrap(), Ok(()));
        // Counted from the beginning.
        books(&notebook, until).reverted(eve.draw.payer).await.unwrap();
        assert_eq!(books(&notebook, until).grant(&eve, today(0, 1)).await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn when_too_many_payers_make_settlements_revert_nobody_gets_one_until_the_hour_is_over() {
        let notebook = Notebook::volatile("evm");
        let start = NOW - NOW.rem_euclid(HOUR);
        for n in 0..5 {
            books(&notebook, start).reverted(Address::repeat_byte(n)).await.unwrap();
        }
        let until = Timestamp::from_unix(start + HOUR);
        let alice = candidate(1, 1, 1);
        let refused = books(&notebook, start + HOUR - 1).grant(&alice, today(0, 1)).await.unwrap();
        assert_eq!(refused, Err(NoCredit::Closed { until }));
        let mut bob = alice;
        bob.draw.payer = Address::repeat_byte(77);
        assert_eq!(books(&notebook, start + HOUR).grant(&bob, today(0, 1)).await.unwrap(), Ok(()));
    }
}
