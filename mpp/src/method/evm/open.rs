//! Transactions of payers that nobody knows the end of yet.
//!
//! An Ethereum transaction has no end of its own: one that is never mined is unknown until its payer uses the nonce for something
//! else, in a finalized block. Each of them is an entry of the journal and, at first, a request that waits. So a payer has a few
//! of them at most; after a day one counts no more, although it is still looked up. A page that nobody can read any more (a secret was
//! replaced at once) is forgotten: the journal knows of every payment on it, and its payer has a few more of them under way for a day.
//!
//! | page | what |
//! | --- | --- |
//! | `open/<chain>/<payer>` | hashes, and when they were broadcast |

use crate::protocol::Timestamp;
use crate::store::{Keep, Notebook, NotebookError, Turn};
use alloy::primitives::{Address, B256};
use std::time::Duration;

/// How many one payer may have.
const MOST: usize = 8;
/// For how long each counts.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The page of one payer.
pub(super) struct Open<'a> {
    pub(super) notebook: &'a Notebook,
    pub(super) chain_id: u64,
    pub(super) payer: Address,
    pub(super) now: Timestamp,
}

/// Hash, and unix seconds.
type Entries = Vec<(B256, i64)>;

impl Open<'_> {
    /// Notes a transaction; `false` if its payer has too many already.
    pub(super) async fn enter(&self, hash: B256) -> Result<bool, NotebookError> {
        self.notebook
            .turn_or_forget(&self.page(), |there: Option<Entries>| {
                let mut open = there.unwrap_or_default();
                open.retain(|(other, since)| *other != hash && self.now < Timestamp::from_unix(*since) + DAY);
                if open.len() >= MOST {
                    return Turn::leave(false);
                }
                open.push((hash, self.now.unix()));
                Turn::write(open, Keep::For(DAY * 2), true)
            })
            .await
    }

    /// Its end is known.
    pub(super) async fn leave(&self, hash: B256) -> Result<(), NotebookError> {
        self.notebook
            .turn_or_forget(&self.page(), |there: Option<Entries>| {
                let mut open = there.unwrap_or_default();
                open.retain(|(other, _)| *other != hash);
                match open.is_empty() {
                    true => Turn::Remove(()),
                    false => Turn::write(open, Keep::For(DAY * 2), ()),
                }
            })
            .await
    }

    fn page(&self) -> String {
        format!("open/{}/{:#x}", self.chain_id, self.payer)
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
    async fn a_page_that_nobody_can_read_any_more_keeps_no_payer_from_paying() {
        let store = Arc::new(MemoryStore::new());
        let deployed = || {
            let sealer = Arc::new(Sealer::new(&SecretRing::new(Secret::generate())));
            let evm = MethodName::from_static("evm");
            Notebook::new(store.clone(), sealer, &evm, Quota::Paid, Arc::new(SystemClock))
        };
        let at = |notebook| Open {
            notebook,
            chain_id: 1,
            payer: Address::repeat_byte(1),
            now: Timestamp::from_unix(1_000),
        };
        let (before, after) = (deployed(), deployed());
        assert_eq!(at(&before).enter(B256::repeat_byte(1)).await, Ok(true));
        assert_eq!(at(&after).leave(B256::repeat_byte(1)).await, Ok(()));
        assert_eq!(at(&before).enter(B256::repeat_byte(1)).await, Ok(true));
        for n in 0..MOST {
            assert_eq!(at(&after).enter(B256::repeat_byte(n as u8 + 2)).await, Ok(true));
        }
        assert_eq!(at(&after).enter(B256::repeat_byte(99)).await, Ok(false), "its own it remembers");
    }

    #[tokio::test]
    async fn a_payer_has_a_few_open_transactions_and_each_counts_for_a_day() {
        let notebook = Notebook::volatile("evm");
        let at = |now: i64, payer: u8| Open {
            notebook: &notebook,
            chain_id: 1,
            payer: Address::repeat_byte(payer),
            now: Timestamp::from_unix(now),
        };
        let hash = |n: usize| B256::repeat_byte(n as u8);
        for n in 0..MOST {
            assert_eq!(at(1_000, 1).enter(hash(n)).await, Ok(true));
        }
        assert_eq!(at(1_000, 1).enter(hash(99)).await, Ok(false));
        assert_eq!(at(1_000, 1).enter(hash(0)).await, Ok(true), "it is there already");
        assert_eq!(at(1_000, 2).enter(hash(99)).await, Ok(true), "somebody else");
        at(1_000, 1).leave(hash(3)).await.unwrap();
        assert_eq!(at(1_000, 1).enter(hash(99)).await, Ok(true));
        let day = DAY.as_secs() as i64;
        assert_eq!(at(1_000 + day - 1, 1).enter(hash(98)).await, Ok(false));
        assert_eq!(at(1_000 + day, 1).enter(hash(98)).await, Ok(true));
        // Nothing is left of who has none.
        at(1_000, 2).leave(hash(99)).await.unwrap();
        assert_eq!(notebook.read::<Entries>(&at(0, 2).page()).await, Ok(None));
    }
}
