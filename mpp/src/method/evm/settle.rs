//! `settle`: a call by the settlement key, or the payer's transaction broadcast once.
//!
//! A receipt counts when it is read together with a block that lies deep enough above it; nothing is remembered from one look to
//! the next, so a reorganisation takes back what it takes back.

use super::credit::Draw;
use super::lookup::outcome_of;
use super::node::{self, Block};
use super::onchain::transferred;
use super::plan::{Binding, Broadcast, Effect, Submit};
use super::settler::{Care, Errand, Kept, Sent};
use super::{Evm, Node};
use crate::chain::{Rpc, RpcError, TxReceipt};
use crate::method::{Payment, Rejection, Settlement};
use alloy::primitives::{B256, U64};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// When a client may come back after trouble on our side.
pub(super) const RETRY: Duration = Duration::from_secs(2);
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
        match &self.node {
            Node::At(rpc) if self.chain.is_some_and(|chain| chain.id() == chain_id) => Some(rpc),
            Node::At(_) | Node::Missing | Node::Unusable => None,
        }
    }

    pub(super) fn care(&self) -> Care {
        Care { policy: self.gas, broadcast: self.pace.broadcast, step: self.pace.step }
    }

    /// Makes the call that a signature allows.
    pub(super) async fn submit(&self, plan: Submit) -> Settlement {
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
        let until = Instant::now() + self.pace.settled;
        for attempt in 1..=SENDS {
            let sent = match settler.send(rpc, &errand, self.care()).await {
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
                    if !matches!(outcome, Settlement::Settled(_)) {
                        settler.reverted(plan.effect.payer).await;
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
        let head: Block = rpc.read(node::block("latest")).await?;
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
                && let (Ok(head), Ok(next)) = (head.into_result::<Block>(), next.into_result::<U64>())
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
    pub(super) fn is_deep(&self, receipt: &TxReceipt, head: &Block) -> bool {
        let number: u64 = receipt.block_number.to();
        // A head older than the receipt comes from a node behind another one.
        head.number().checked_sub(number).is_some_and(|above| above + 1 >= self.confirmations)
            || self.confirmations <= 1
    }

    /// Broadcasts the payer's transaction, once.
    pub(super) async fn broadcast(&self, plan: Broadcast) -> Settlement {
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
            let head = rpc.read::<Block>(node::block("latest")).await;
            if let (Ok(head), Ok(Some(receipt))) = (head, self.receipt(rpc, plan.hash).await)
                && self.is_deep(&receipt, &head)
            {
                return match receipt.succeeded() {
                    true => outcome_of(&plan.effect, &receipt),
                    // Only finality makes that the end of it.
                    false => self.look_up_broadcast(&plan).await,
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
