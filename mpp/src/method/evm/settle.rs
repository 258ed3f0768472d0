//! `settle`: a call by the settlement key, or the payer's transaction broadcast once.
//!
//! A receipt counts when it is read together with a block that lies deep enough above it; nothing is remembered from one look to
//! the next, so a reorganisation takes back what it takes back.

use super::Evm;
use super::credit::{Books, Draw};
use super::lookup::outcome_of;
use super::node;
use super::onchain::transferred;
use super::open::Open;
use super::plan::{Binding, Broadcast, Effect, Submit};
use super::settler::{Care, Errand, Kept, Sent, Settler};
use crate::chain::{Head, RETRY, Rpc, RpcError, TxReceipt};
use crate::method::{Payment, Rejection, SettleCx, Settlement};
use crate::store::Notebook;
use alloy::primitives::{B256, U64};
use serde_json::Value;
use tokio::time::Instant;

/// How often a call is sent again whose nonce went to somebody else's transaction.
const SENDS: u32 = 3;
/// How many looks in a row have to find our nonce used and our transaction missing.
const MISSES: u32 = 3;

/// How looking for a transaction of ours ended.
enum Followed {
    /// It is deep enough.
    Mined(TxReceipt),
    /// Its nonce was used by another one.
    Displaced,
    /// It may still come.
    Waiting,
}

impl Evm {
    /// The node, if it is for the chain of this payment. It was checked in `verify`, in this process or in the one that wrote
    /// the plan.
    pub(super) fn node_for(&self, chain_id: u64) -> Option<&Rpc> {
        self.node.rpc().filter(|_| self.chain.is_some_and(|chain| chain.id() == chain_id))
    }

    pub(super) fn care(&self) -> Care {
        Care { policy: self.gas, broadcast: self.pace.broadcast, step: self.pace.step }
    }

    /// The server's pages; outside of a server this process's own.
    fn notes<'a>(&'a self, cx: &SettleCx<'a>) -> &'a Notebook {
        cx.notebook().unwrap_or_else(|| self.aside.get_or_init(|| Notebook::volatile("evm")))
    }

    fn books<'a>(&'a self, cx: &SettleCx<'a>, settler: &Settler, chain_id: u64) -> Books<'a> {
        Books { notebook: self.notes(cx), chain_id, key: settler.address(), risk: self.risk, now: cx.now }
    }

    fn open<'a>(&'a self, cx: &SettleCx<'a>, effect: &Effect) -> Open<'a> {
        Open { notebook: self.notes(cx), chain_id: effect.chain_id, payer: effect.payer, now: cx.now }
    }

    /// Makes the call that a signature allows.
    pub(super) async fn submit(&self, cx: &SettleCx<'_>, plan: Submit) -> Settlement {
        let chain_id = plan.effect.chain_id;
        let Some(rpc) = self.node_for(chain_id) else {
            return nothing_sent("evm: no RPC node for the chain of this payment is configured");
        };
        let Some(estimate) = plan.gas else {
            // It was used before anything of ours left: the chain says by what.
            return self.look_up_submitted(&plan).await;
        };
        let Some(settler) = &self.settler else {
            return nothing_sent("evm: there is no settlement key");
        };
        let Some(token) = plan.effect.token else {
            return nothing_sent("evm: the journaled call names no token");
        };
        let Some(gas) = self.gas.limit(estimate) else {
            return nothing_sent(format!(
                "evm: a settlement takes {estimate} gas, more than the policy allows"
            ));
        };
        let void_at = node::at(plan.deadline);
        let draw = Draw { token, payer: plan.effect.payer, amount: plan.effect.amount };
        let errand = Errand { to: plan.to, data: plan.data.clone(), gas, chain_id, void_at, draw };
        let books = self.books(cx, settler, chain_id);
        let until = Instant::now() + self.pace.settled;
        for attempt in 1..=SENDS {
            let sent = match settler.send(rpc, &errand, self.care(), &books).await {
                Ok(sent) => sent,
                Err(Kept::Payer(why)) if attempt == 1 => {
                    return Settlement::Declined(Rejection::failed(why.to_string()));
                }
                Err(kept) if attempt == 1 => return nothing_sent(format!("evm: {kept}")),
                Err(kept) => return Settlement::Unknown { detail: format!("evm: {kept}") },
            };
            match self.follow(rpc, &sent, until).await {
                Followed::Mined(receipt) if receipt.succeeded() => return outcome_of(&plan.effect, &receipt),
                // Reverted: somebody was faster with the same signature, or the payer has no money any more. The signature
                // is public now and may still be good.
                Followed::Mined(_) => {
                    let outcome = self.look_up_submitted(&plan).await;
                    if !matches!(outcome, Settlement::Settled(_))
                        && let Err(error) = books.reverted(plan.effect.payer).await
                    {
                        tracing::warn!(target: "mpp", %error, "evm: a reverted settlement was not counted");
                    }
                    return outcome;
                }
                Followed::Waiting => {
                    return Settlement::Unknown {
                        detail: format!(
                            "evm: {}: the settlement with nonce {} is not mined or not deep enough yet",
                            rpc.shown(),
                            sent.nonce
                        ),
                    };
                }
                Followed::Displaced => match self.is_still_good(rpc, &plan).await {
                    Ok(true) if Instant::now() < until => {
                        tracing::info!(target: "mpp", nonce = sent.nonce, "evm: the settlement key's nonce was used elsewhere; sending again");
                    }
                    _ => return self.look_up_submitted(&plan).await,
                },
            }
        }
        Settlement::Unknown {
            detail: "evm: the settlement key's nonce was used elsewhere again and again".into(),
        }
    }

    /// Whether the signature is unused and not void.
    async fn is_still_good(&self, rpc: &Rpc, plan: &Submit) -> Result<bool, RpcError> {
        let head: Head = rpc.read(node::block("latest")).await?;
        Ok(head.time() < node::at(plan.deadline) && !self.is_used(rpc, plan).await?)
    }

    /// Looks for a transaction of the settlement key or one of its replacements.
    async fn follow(&self, rpc: &Rpc, sent: &Sent, until: Instant) -> Followed {
        let Some(settler) = &self.settler else { return Followed::Waiting };
        let mut missed = 0;
        loop {
            // The count is read before the receipts: what used the nonce has one by then.
            let read = rpc.read_all([node::block("latest"), node::nonce(settler.address(), "latest")]).await;
            if let Ok([head, next]) = read
                && let (Ok(head), Ok(next)) = (head.into_result::<Head>(), next.into_result::<U64>())
            {
                let next: u64 = next.to();
                match self.any_receipt(rpc, &sent.hashes()).await {
                    Ok(Some(receipt)) => {
                        missed = 0;
                        if self.is_deep(&receipt, &head) {
                            settler.landed(next).await;
                            return Followed::Mined(receipt);
                        }
                    }
                    Ok(None) if next > sent.nonce => missed += 1,
                    Ok(None) | Err(_) => missed = 0,
                }
                if missed >= MISSES {
                    settler.landed(next).await;
                    return Followed::Displaced;
                }
            }
            if Instant::now() >= until {
                return Followed::Waiting;
            }
            tokio::time::sleep(self.pace.step).await;
        }
    }

    async fn any_receipt(&self, rpc: &Rpc, hashes: &[B256]) -> Result<Option<TxReceipt>, RpcError> {
        for hash in hashes.iter().rev() {
            if let Some(receipt) = self.receipt(rpc, *hash).await? {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    /// The receipt of exactly this transaction, in the chain as it is now.
    pub(super) async fn receipt(&self, rpc: &Rpc, hash: B256) -> Result<Option<TxReceipt>, RpcError> {
        let receipt: Option<TxReceipt> = rpc.read(node::receipt(hash)).await?;
        // Some nodes answer with another one when asked in a hurry.
        Ok(receipt.filter(|receipt| receipt.transaction_hash == hash))
    }

    /// Whether a receipt lies deep enough below this head.
    pub(super) fn is_deep(&self, receipt: &TxReceipt, head: &Head) -> bool {
        let number: u64 = receipt.block_number.to();
        // A head older than the receipt comes from a node behind another one.
        head.number().checked_sub(number).is_some_and(|above| above >= self.confirmations.saturating_sub(1))
            || self.confirmations <= 1
    }

    /// Takes the payer's transaction to the network, if not too many of this payer's are on their way.
    pub(super) async fn broadcast(&self, cx: &SettleCx<'_>, plan: Broadcast) -> Settlement {
        match self.open(cx, &plan.effect).enter(plan.hash).await {
            Ok(true) => {}
            Ok(false) => {
                return Settlement::Declined(Rejection::failed(
                    "too many transactions of this payer are under way",
                ));
            }
            Err(error) => return nothing_sent(format!("evm: the notebook: {error}")),
        }
        let settlement = self.broadcast_once(&plan).await;
        self.ended(cx, &plan, &settlement).await;
        settlement
    }

    /// What became of the payer's transaction.
    pub(super) async fn find(&self, cx: &SettleCx<'_>, plan: Broadcast) -> Settlement {
        let settlement = self.look_up_broadcast(&plan).await;
        self.ended(cx, &plan, &settlement).await;
        settlement
    }

    /// A transaction whose end is known makes room for another one.
    async fn ended(&self, cx: &SettleCx<'_>, plan: &Broadcast, settlement: &Settlement) {
        if matches!(settlement, Settlement::Unknown { .. }) {
            return;
        }
        if let Err(error) = self.open(cx, &plan.effect).leave(plan.hash).await {
            // It counts for a day, then.
            tracing::warn!(target: "mpp", %error, "evm: a transaction that has ended still counts as open");
        }
    }

    pub(super) async fn broadcast_once(&self, plan: &Broadcast) -> Settlement {
        let Some(rpc) = self.node_for(plan.effect.chain_id) else {
            return nothing_sent("evm: no RPC node for the chain of this payment is configured");
        };
        if plan.binding == Binding::Unbound {
            // Bound to no challenge: it is only whose hands it came from that makes it a payment for this one. What
            // is on the network already anybody can have picked up there.
            match rpc.read::<Option<Value>>(node::transaction(plan.hash)).await {
                Ok(None) => {}
                Ok(Some(_)) => {
                    return Settlement::Declined(Rejection::failed(
                        "the transaction was broadcast before it was presented, and it names no challenge; \
                         sign one whose input ends in the challenge hash",
                    ));
                }
                Err(error) => return nothing_sent(format!("evm: {}: {error}", rpc.shown())),
            }
        }
        let taken = rpc.write::<B256>(node::broadcast(&plan.raw), self.pace.broadcast).await;
        // Whatever else the node says, an earlier copy of these bytes may have been taken: only the chain knows.
        if let Err(error @ RpcError::NotSent) = taken {
            return nothing_sent(format!("evm: {}: {error}", rpc.shown()));
        }
        let until = Instant::now() + self.pace.settled;
        loop {
            let head = rpc.read::<Head>(node::block("latest")).await;
            if let (Ok(head), Ok(Some(receipt))) = (head, self.receipt(rpc, plan.hash).await)
                && self.is_deep(&receipt, &head)
            {
                return match receipt.succeeded() {
                    true => outcome_of(&plan.effect, &receipt),
                    // Only finality makes that the end of it.
                    false => self.look_up_broadcast(plan).await,
                };
            }
            if Instant::now() >= until {
                let detail =
                    format!("evm: {}: {} is not mined or not deep enough yet", rpc.shown(), plan.hash);
                return Settlement::Unknown { detail };
            }
            tokio::time::sleep(self.pace.step).await;
        }
    }
}

/// A payment by transaction `hash`.
pub(super) fn settled(hash: B256, chain_id: u64, external_id: Option<String>) -> Settlement {
    let mut payment = Payment { external_id, ..Payment::new(format!("{hash:#x}")) };
    payment.extra.insert("chainId".into(), chain_id.into());
    Settlement::Settled(payment)
}

/// Whether this receipt is the payment.
pub(super) fn pays(effect: &Effect, receipt: &TxReceipt) -> bool {
    receipt.succeeded()
        && effect
            .token
            .is_none_or(|token| transferred(receipt, token, effect.payer, effect.recipient, effect.amount))
}

pub(super) fn nothing_sent(detail: impl Into<String>) -> Settlement {
    Settlement::Declined(Rejection::unavailable(RETRY, detail))
}
