//! The node that a payment method asks: whether it may be believed, who may wait for it, and how trouble with it is told.
//!
//! Trouble with a node is never the payer's: what cannot be asked, and what a node says that has fallen behind, is a 503.

use super::head::Head;
use super::patience::{Patience, Place};
use super::receipt::TxReceipt;
use super::rpc::{Call, Reach, Rpc, RpcError};
use crate::method::{MethodProblem, Rejection};
use crate::protocol::Timestamp;
use alloy::primitives::U64;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// When a client may come back after trouble on our side.
pub(crate) const RETRY: Duration = Duration::from_secs(2);
/// Requests that wait for a transaction at once, and how many of them one client may have.
const WAITING: (usize, usize) = (64, 4);

/// How much the chain's clock may run ahead of ours.
const SKEW: Duration = Duration::from_secs(15);
/// No challenge lives longer; an older transfer is not the payment of one that is alive now.
const LONGEST_CHALLENGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The node of one method.
#[derive(Debug)]
pub(crate) struct Node {
    /// The method, for whoever reads the log.
    method: &'static str,
    at: At,
    /// A newest block that is older says that the node has fallen behind.
    fresh: Duration,
    // Set once the node has said that it serves the configured chain: before that nothing it says counts.
    right_chain: AtomicBool,
    patience: Patience,
}

/// Where it is, as configured.
#[derive(Debug)]
enum At {
    Missing,
    /// Named by a URL that is reported as a problem.
    Unusable,
    Known(Rpc),
}

/// How long something is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// In all.
    pub(crate) most: Duration,
    /// Between two looks.
    pub(crate) step: Duration,
}

impl Node {
    /// None yet. `fresh` is how old the newest block of the network can be.
    pub(crate) fn missing(method: &'static str, fresh: Duration) -> Self {
        let (places, share) = WAITING;
        Self {
            method,
            at: At::Missing,
            fresh,
            right_chain: AtomicBool::new(false),
            patience: Patience::new(places, share),
        }
    }

    /// As configured: the problem, if the URL is not usable.
    pub(crate) fn configure(&mut self, url: &str, reach: Reach) -> Option<MethodProblem> {
        match Rpc::new(url, reach) {
            Ok(rpc) => {
                self.at = At::Known(rpc);
                None
            }
            Err(e) => {
                self.at = At::Unusable;
                Some(MethodProblem(e.to_string()))
            }
        }
    }

    /// As somebody else configured it.
    #[cfg(feature = "evm")]
    pub(crate) fn use_of(&mut self, rpc: Rpc) {
        self.at = At::Known(rpc);
    }

    /// That there is none, for start-up. An unusable one is a problem already.
    pub(crate) fn problem(&self) -> Option<MethodProblem> {
        matches!(self.at, At::Missing).then(no_node)
    }

    /// The node, whatever chain it serves.
    pub(crate) fn rpc(&self) -> Option<&Rpc> {
        match &self.at {
            At::Known(rpc) => Some(rpc),
            At::Missing | At::Unusable => None,
        }
    }

    /// Asks which chain it serves, at start-up.
    pub(crate) async fn check(&self, chain_id: u64) -> Result<&Rpc, MethodProblem> {
        let rpc = self.rpc().ok_or_else(no_node)?;
        match served_by(rpc).await {
            Ok(served) if served == chain_id => {
                self.right_chain.store(true, Ordering::Relaxed);
                Ok(rpc)
            }
            Ok(served) => {
                let shown = rpc.shown();
                Err(MethodProblem(format!(
                    "the RPC node at {shown} serves chain {served}, not chain {chain_id}"
                )))
            }
            Err(e) => Err(unusable(rpc, &e)),
        }
    }

    /// Whether it can be asked now and keeps up with its chain. One that mines on demand only, as on a developer's machine,
    /// does not while nothing happens on it.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub(crate) async fn keeps_up(&self, chain_id: u64, now: Timestamp) -> Result<(), MethodProblem> {
        let rpc = match self.right_chain.load(Ordering::Relaxed) {
            true => self.rpc().ok_or_else(no_node)?,
            false => self.check(chain_id).await?,
        };
        let head: Head = rpc.read(block("latest")).await.map_err(|e| unusable(rpc, &e))?;
        if head.time() + self.fresh >= now {
            return Ok(());
        }
        Err(MethodProblem(format!(
            "the RPC node at {} has fallen behind: its newest block, {}, is {} seconds old",
            rpc.shown(),
            head.number(),
            now.since(head.time()).as_secs()
        )))
    }

    /// The node, once it has said that it serves this chain: a node of a test network would confirm payments with worthless
    /// money.
    pub(crate) async fn trusted(&self, chain_id: u64) -> Result<&Rpc, Rejection> {
        let rpc = self.rpc().ok_or_else(|| self.trouble("no RPC node is configured"))?;
        if !self.right_chain.load(Ordering::Relaxed) {
            let served = served_by(rpc).await.map_err(|e| self.unavailable(&e))?;
            if served != chain_id {
                return Err(self.trouble(&format!("the RPC node at {} serves chain {served}", rpc.shown())));
            }
            self.right_chain.store(true, Ordering::Relaxed);
        }
        Ok(rpc)
    }

    /// The node could not be asked, or was not understood.
    pub(crate) fn unavailable(&self, error: &RpcError) -> Rejection {
        self.trouble(&match self.rpc() {
            Some(rpc) => format!("{}: {error}", rpc.shown()),
            None => error.to_string(),
        })
    }

    /// As [`unavailable`](Self::unavailable), for a receipt that a credential names: one that nobody can read is the payer's
    /// doing, not trouble on our side.
    pub(crate) fn unavailable_or_huge(&self, error: RpcError) -> Rejection {
        match error {
            RpcError::TooLarge => {
                Rejection::failed("the transaction is too large to be recognised as a payment")
            }
            error => self.unavailable(&error),
        }
    }

    /// What becomes of a refusal that rests on what the chain was like at `head`: with a node that has fallen behind it is our
    /// trouble, because the network may have seen by now what this one has not.
    pub(crate) fn refused_at(&self, head: &Head, now: Timestamp, refusal: Rejection) -> Rejection {
        match (&refusal, self.rpc()) {
            (Rejection::Refused { .. }, Some(rpc)) if head.time() + self.fresh < now => {
                let (shown, number) = (rpc.shown(), head.number());
                self.trouble(&format!("the RPC node at {shown} has fallen behind: block {number} is old"))
            }
            _ => refusal,
        }
    }

    /// A place to wait in, if `client` has any left.
    pub(crate) fn place(&self, client: &str) -> Option<Place> {
        self.patience.place(client)
    }

    /// Looks until `done`, or until the time is over, and returns the last look. Whoever has to look twice needs a place.
    pub(crate) async fn watch<T, F>(
        &self,
        client: &str,
        wait: Wait,
        look: impl Fn() -> F,
        done: impl Fn(&T) -> bool,
    ) -> Result<T, Rejection>
    where
        F: Future<Output = Result<T, Rejection>>,
    {
        let mut seen = look().await?;
        if !done(&seen) {
            // Never 402 here: what is waited for may have paid.
            let _place = self
                .place(client)
                .ok_or_else(|| self.trouble("too many requests wait for transactions nobody has seen"))?;
            let until = Instant::now() + wait.most;
            while !done(&seen) && Instant::now() < until {
                tokio::time::sleep(wait.step).await;
                seen = look().await?;
            }
        }
        Ok(seen)
    }

    /// Refuses a transaction that was not mined during the life of the challenge that ends at `expires`: an old transfer of
    /// the same amount pays for nothing new.
    pub(crate) async fn mined_in_time(
        &self,
        rpc: &Rpc,
        receipt: &TxReceipt,
        expires: Timestamp,
    ) -> Result<(), Rejection> {
        let mined = match receipt.block_time() {
            Some(time) => time,
            None => {
                let number = format!("{:#x}", receipt.block_number);
                let head: Head = rpc.read(block(&number)).await.map_err(|e| self.unavailable(&e))?;
                head.time()
            }
        };
        if mined > expires + SKEW || mined < expires - LONGEST_CHALLENGE {
            return Err(Rejection::failed("the transfer was not made during the life of this challenge"));
        }
        Ok(())
    }

    fn trouble(&self, what: &str) -> Rejection {
        Rejection::unavailable(RETRY, format!("{}: {what}", self.method))
    }

    /// With other places to wait in.
    #[cfg(test)]
    pub(crate) fn with_places(&mut self, places: usize, share: usize) {
        self.patience = Patience::new(places, share);
    }
}

/// Asks the node at `url` which chain it serves.
pub(crate) async fn chain_served_at(url: &str) -> Result<u64, MethodProblem> {
    let rpc = Rpc::new(url, Reach::Anywhere).map_err(|e| MethodProblem(e.to_string()))?;
    served_by(&rpc).await.map_err(|e| unusable(&rpc, &e))
}

/// Which chain a node serves.
pub(crate) async fn served_by(rpc: &Rpc) -> Result<u64, RpcError> {
    rpc.read::<U64>(chain_id()).await.map(|id| id.to())
}

/// Asks for the chain's id.
pub(crate) fn chain_id() -> Call {
    Call::new("eth_chainId", json!([]))
}

/// Asks for a block, by number or by name.
pub(crate) fn block(which: &str) -> Call {
    Call::new("eth_getBlockByNumber", json!([which, false]))
}

/// Start-up could not ask the node.
pub(crate) fn unusable(rpc: &Rpc, error: &RpcError) -> MethodProblem {
    MethodProblem(format!("the RPC node at {} cannot be used: {error}", rpc.shown()))
}

fn no_node() -> MethodProblem {
    MethodProblem("no RPC node is configured; call `.rpc(url)`".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::fake::{FakeNode, Reply};
    use std::cell::Cell;

    fn head(time: i64) -> Head {
        serde_json::from_value(json!({ "number": "0x7", "timestamp": format!("{time:#x}") })).unwrap()
    }

    fn node() -> Node {
        let mut node = Node::missing("tempo", Duration::from_secs(30));
        assert_eq!(node.configure("http://127.0.0.1:1/k3y", Reach::Anywhere), None);
        node
    }

    #[test]
    fn what_a_node_says_that_has_fallen_behind_is_not_held_against_the_payer() {
        let (node, now) = (node(), Timestamp::from_unix(1_800_000_000));
        let refusal = || Rejection::failed("the payer's balance does not cover the amount");
        assert_eq!(node.refused_at(&head(now.unix() - 30), now, refusal()), refusal());
        let Rejection::Unavailable { detail, .. } = node.refused_at(&head(now.unix() - 31), now, refusal())
        else {
            panic!("402")
        };
        assert_eq!(detail, "tempo: the RPC node at http://127.0.0.1:1 has fallen behind: block 7 is old");
        let trouble = node.unavailable(&RpcError::Lost);
        assert_eq!(node.refused_at(&head(0), now, trouble.clone()), trouble, "is trouble already");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_to_look_twice_needs_a_place_and_gives_it_back() {
        let mut node = node();
        node.with_places(1, 1);
        let wait = Wait { most: Duration::from_secs(3), step: Duration::from_secs(1) };
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            let seen = looks.get();
            async move { Ok::<u32, Rejection>(seen) }
        };
        assert_eq!(node.watch("eve", wait, look, |seen| *seen == 3).await, Ok(3));
        assert_eq!(node.watch("eve", wait, look, |_| false).await, Ok(7), "the last look");
        let _held = node.place("somebody").unwrap();
        assert_eq!(node.watch("eve", wait, look, |seen| *seen == 8).await, Ok(8), "one look is free");
        let refused = node.watch("eve", wait, look, |_| false).await;
        assert!(matches!(refused, Err(Rejection::Unavailable { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn a_node_is_believed_once_it_has_said_that_it_serves_the_chain() {
        let fake = FakeNode::start(|_, _| Some(Reply::Result(json!("0x7a69")))).await;
        let mut node = Node::missing("evm", Duration::from_secs(60));
        assert!(node.problem().is_some() && node.trusted(31337).await.is_err());
        assert_eq!(node.configure(&fake.url, Reach::Anywhere), None);
        let Err(Rejection::Unavailable { detail, .. }) = node.trusted(1).await else { panic!("believed") };
        assert!(detail.ends_with("serves chain 31337"), "{detail}");
        assert!(node.check(1).await.is_err_and(|problem| problem.to_string().ends_with("not chain 1")));
        for _ in 0..2 {
            node.trusted(31337).await.unwrap();
        }
        assert_eq!(fake.asked("eth_chainId"), 3, "the second time it is known");
        assert_eq!(chain_served_at(&fake.url).await, Ok(31337));
    }
}
