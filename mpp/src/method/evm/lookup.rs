//! `resolve`: what became of a payment, read from the chain. Never pays.
//!
//! What ends a payment without money is read from the *finalized* chain, in one round trip with what would speak for the
//! payment: behind one address there may be several nodes, and one that lags knows of no payment.

use super::Evm;
use super::abi::{IPermit2, IToken};
use super::node::{self, Event, Tx};
use super::plan::{Broadcast, Effect, Guard, Submit};
use super::settle::{pays, settled};
use crate::chain::{Head, Rpc, RpcError, TxLog, TxReceipt};
use crate::method::{Rejection, Settlement};
use alloy::primitives::{B256, Bytes, U64, U256};
use alloy::sol_types::SolEvent;
use serde_json::json;
use std::time::Duration;

/// How far finalized time has to be past a deadline: who takes a round trip apart may have a node a little behind answer a part.
const SETTLED_FOR: Duration = Duration::from_secs(10);
/// Where looking for events starts, below the newest block when the credential was verified: the payer may have used the
/// signature before showing it to us. Also how many blocks are asked for at once, which is what public nodes allow.
const WINDOW: u64 = 2_000;
/// How many windows are asked for.
const WINDOWS: u64 = 64;

/// How a signature was used.
enum Use {
    /// By this transaction, which paid.
    Paid { hash: B256, block: u64 },
    /// The payer made it void in this block.
    Cancelled { block: u64 },
    /// Nobody can tell how.
    Unseen,
}

impl Evm {
    /// What became of a signature that we used or were about to.
    pub(super) async fn look_up_submitted(&self, plan: &Submit) -> Settlement {
        let Some(rpc) = self.node_for(plan.effect.chain_id) else { return no_node(&plan.effect) };
        match self.trace(rpc, plan).await {
            Ok(settlement) => settlement,
            Err(error) => Settlement::Unknown { detail: format!("evm: {}: {error}", rpc.shown()) },
        }
    }

    async fn trace(&self, rpc: &Rpc, plan: &Submit) -> Result<Settlement, RpcError> {
        // In one round trip, so by one node: a node that is behind the one that knows of a final block has not seen the
        // signature used, and would make a payment look like none.
        let [finalized, state] = rpc.read_all([node::block("finalized"), state_of(plan)]).await?;
        // A node may not know finality.
        let final_block = finalized.into_result::<Option<Head>>().ok().flatten();
        if !used(plan, &state.into_result()?).ok_or(RpcError::Garbled)? {
            let ended =
                final_block.is_some_and(|block| block.time() >= node::at(plan.deadline) + SETTLED_FOR);
            return Ok(match ended {
                true => Settlement::Declined(Rejection::failed(
                    "the signature was not used before its deadline; nothing was paid",
                )),
                false => unknown("the payer's signature may still be used"),
            });
        }
        let head: Head = rpc.read(node::block("latest")).await?;
        Ok(match self.use_of(rpc, plan, head.number()).await? {
            Use::Paid { hash, block } => {
                let receipt = self.receipt(rpc, hash).await?;
                let Some(receipt) = receipt.filter(|r| r.block_number.to::<u64>() == block) else {
                    return Ok(unknown("the chain is being reorganised"));
                };
                if !paid_with(plan, &receipt) && !made_our_call(rpc, plan, &receipt).await? {
                    return Ok(unknown(
                        "the signature was used without paying the recipient; it needs a person",
                    ));
                }
                match self.is_deep(&receipt, &head) {
                    true => settled(hash, plan.effect.chain_id, plan.effect.external_id.clone()),
                    false => unknown("the payment is not deep enough yet"),
                }
            }
            Use::Cancelled { .. } | Use::Unseen if is_spent_elsewhere(plan) => Settlement::Declined(
                Rejection::failed("the permit's nonce has been used for something else; nothing was paid"),
            ),
            Use::Cancelled { block } if final_block.is_some_and(|last| last.number() >= block) => {
                Settlement::Declined(Rejection::failed(
                    "the payer has cancelled the signature; nothing was paid",
                ))
            }
            Use::Cancelled { .. } => unknown("the payer has cancelled the signature; that is not final yet"),
            Use::Unseen => unknown("the signature was used, but the node knows no event of it"),
        })
    }

    /// Whether the payer's nonce is used, in the newest block.
    pub(super) async fn is_used(&self, rpc: &Rpc, plan: &Submit) -> Result<bool, RpcError> {
        let answer: Bytes = rpc.read(state_of(plan)).await?;
        used(plan, &answer).ok_or(RpcError::Garbled)
    }

    /// Looks for the event that used it.
    async fn use_of(&self, rpc: &Rpc, plan: &Submit, head: u64) -> Result<Use, RpcError> {
        let start = plan.seen_at.saturating_sub(WINDOW);
        for window in 0..WINDOWS {
            let from = start.saturating_add(window * WINDOW);
            if from > head {
                break;
            }
            let to = from.saturating_add(WINDOW - 1).min(head);
            let found = match plan.guard {
                Guard::Authorization { nonce } => authorization_in(rpc, plan, nonce, from, to).await?,
                Guard::Permit2 { nonce, .. } => self.permit_in(rpc, plan, nonce, from, to).await?,
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Ok(Use::Unseen)
    }

    /// Permit2 has no event for a permit that was used: a transfer of the payer to the recipient is one if its transaction
    /// made our very call.
    async fn permit_in(
        &self,
        rpc: &Rpc,
        plan: &Submit,
        nonce: U256,
        from: u64,
        to: u64,
    ) -> Result<Option<Use>, RpcError> {
        let Effect { token, payer, recipient, .. } = plan.effect;
        let Some(token) = token else { return Ok(None) };
        let topics = json!([IToken::Transfer::SIGNATURE_HASH, payer.into_word(), recipient.into_word()]);
        let transfers: Vec<Event> = rpc.read(node::events(token, &topics, from, to)).await?;
        for event in transfers {
            let tx: Option<Tx> = rpc.read(node::transaction(event.transaction_hash)).await?;
            if tx.is_some_and(|tx| tx.to == Some(plan.to) && tx.input == plan.data) {
                return Ok(Some(paid_by(&event)));
            }
        }
        let topics = json!([IPermit2::UnorderedNonceInvalidation::SIGNATURE_HASH, payer.into_word()]);
        let voids: Vec<Event> = rpc.read(node::events(plan.to, &topics, from, to)).await?;
        let (word, bit) = place(nonce);
        let void = voids.iter().find(|event| {
            IPermit2::UnorderedNonceInvalidation::decode_raw_log(event.topics.iter().copied(), &event.data)
                .is_ok_and(|void| void.word == word && void.mask.bit(bit))
        });
        Ok(void.map(|event| Use::Cancelled { block: event.block_number.to() }))
    }

    /// What became of a transaction of the payer.
    pub(super) async fn look_up_broadcast(&self, plan: &Broadcast) -> Settlement {
        let Some(rpc) = self.node_for(plan.effect.chain_id) else { return no_node(&plan.effect) };
        match self.trace_broadcast(rpc, plan).await {
            Ok(settlement) => settlement,
            Err(error) => Settlement::Unknown { detail: format!("evm: {}: {error}", rpc.shown()) },
        }
    }

    async fn trace_broadcast(&self, rpc: &Rpc, plan: &Broadcast) -> Result<Settlement, RpcError> {
        // In one round trip, so by one node: a receipt missing at a node that is behind the one that knows of a used nonce would
        // make a payment look like none.
        let questions = [
            node::block("finalized"),
            node::nonce(plan.effect.payer, "finalized"),
            node::block("latest"),
            node::receipt(plan.hash),
        ];
        let [finalized, used, head, receipt] = rpc.read_all(questions).await?;
        let final_block = finalized.into_result::<Option<Head>>().ok().flatten();
        // A node that does not know finality does not know this either.
        let used: Option<u64> = used.into_result::<U64>().ok().map(|next| next.to());
        let head: Head = head.into_result()?;
        let receipt: Option<TxReceipt> = receipt.into_result()?;
        Ok(match receipt.filter(|receipt| receipt.transaction_hash == plan.hash) {
            Some(receipt) if receipt.succeeded() => match self.is_deep(&receipt, &head) {
                true => outcome_of(&plan.effect, &receipt),
                false => unknown("the payment is not deep enough yet"),
            },
            Some(receipt) if final_block.is_some_and(|last| last.number() >= receipt.block_number.to()) => {
                Settlement::Declined(Rejection::failed("the transaction was reverted; nothing was paid"))
            }
            Some(_) => unknown("the transaction was reverted; that is not final yet"),
            None if final_block.is_some() && used.is_some_and(|next| next > plan.nonce) => {
                // The node may have looked for the receipt first, and the transaction been mined and final a moment later.
                if self.receipt(rpc, plan.hash).await?.is_some() {
                    return Ok(unknown("the payment has just been mined"));
                }
                Settlement::Declined(Rejection::failed(
                    "another transaction of the payer has used the nonce; nothing was paid",
                ))
            }
            None => unknown("the transaction may still be mined"),
        })
    }
}

/// Whether a permit whose nonce is used, and not by a call of ours that can be seen, was used for something else.
///
/// Nobody but our key can use it, and a plan without gas says that nothing of ours had left when the nonce was used already.
/// Without this, permits under nonces that were used long ago would be payments nobody ever knows the end of.
fn is_spent_elsewhere(plan: &Submit) -> bool {
    plan.gas.is_none() && matches!(plan.guard, Guard::Permit2 { .. })
}

/// Whether this very authorization moved the money, whoever presented it to the token.
///
/// That the nonce was used and that the amount moved is not enough: a payer can use the nonce for something else and, in the
/// same transaction, another authorization for the amount. A transfer belongs to the authorization whose event is right
/// before its own, which is how USDC does it.
fn paid_with(plan: &Submit, receipt: &TxReceipt) -> bool {
    let Guard::Authorization { nonce } = plan.guard else { return false };
    let effect = &plan.effect;
    let used = |log: &TxLog| {
        log.address == plan.to
            && log.topics == [IToken::AuthorizationUsed::SIGNATURE_HASH, effect.payer.into_word(), nonce]
    };
    receipt.succeeded()
        && receipt.logs.windows(2).any(|pair| {
            used(&pair[0])
                && pair[1].address == plan.to
                && IToken::Transfer::decode_raw_log(pair[1].topics.iter().copied(), &pair[1].data).is_ok_and(
                    |moved| {
                        moved.from == effect.payer
                            && moved.to == effect.recipient
                            && moved.value == effect.amount
                    },
                )
        })
}

/// Whether the transaction is the call that we make, and nothing around it.
async fn made_our_call(rpc: &Rpc, plan: &Submit, receipt: &TxReceipt) -> Result<bool, RpcError> {
    let tx: Option<Tx> = rpc.read(node::transaction(receipt.transaction_hash)).await?;
    Ok(tx.is_some_and(|tx| tx.to == Some(plan.to) && tx.input == plan.data) && pays(&plan.effect, receipt))
}

/// What the receipt of a transaction that was to pay means. It succeeded, and is deep enough.
pub(super) fn outcome_of(effect: &Effect, receipt: &TxReceipt) -> Settlement {
    if !pays(effect, receipt) {
        let detail = format!(
            "evm: {} succeeded but did not move the amount to the recipient; it needs a person",
            receipt.transaction_hash
        );
        return Settlement::Unknown { detail };
    }
    settled(receipt.transaction_hash, effect.chain_id, effect.external_id.clone())
}

/// Asks whether the payer's nonce is used.
pub(super) fn state_of(plan: &Submit) -> crate::chain::Call {
    match plan.guard {
        Guard::Authorization { nonce } => {
            node::call(plan.to, &IToken::authorizationStateCall { authorizer: plan.effect.payer, nonce })
        }
        Guard::Permit2 { nonce, .. } => {
            node::call(plan.to, &IPermit2::nonceBitmapCall { owner: plan.effect.payer, word: place(nonce).0 })
        }
    }
}

/// What the answer means.
pub(super) fn used(plan: &Submit, answer: &Bytes) -> Option<bool> {
    let word = node::word(answer)?;
    Some(match plan.guard {
        Guard::Authorization { .. } => !word.is_zero(),
        Guard::Permit2 { nonce, .. } => word.bit(place(nonce).1),
    })
}

/// Word and bit of a Permit2 nonce.
fn place(nonce: U256) -> (U256, usize) {
    (nonce >> 8, nonce.byte(0).into())
}

async fn authorization_in(
    rpc: &Rpc,
    plan: &Submit,
    nonce: B256,
    from: u64,
    to: u64,
) -> Result<Option<Use>, RpcError> {
    let cancelled = IToken::AuthorizationCanceled::SIGNATURE_HASH;
    let kinds = [IToken::AuthorizationUsed::SIGNATURE_HASH, cancelled];
    let topics = json!([kinds, plan.effect.payer.into_word(), nonce]);
    let events: Vec<Event> = rpc.read(node::events(plan.to, &topics, from, to)).await?;
    Ok(events.first().map(|event| match event.topics.first() {
        Some(kind) if *kind == cancelled => Use::Cancelled { block: event.block_number.to() },
        _ => paid_by(event),
    }))
}

fn paid_by(event: &Event) -> Use {
    Use::Paid { hash: event.transaction_hash, block: event.block_number.to() }
}

fn unknown(why: &str) -> Settlement {
    Settlement::Unknown { detail: format!("evm: {why}") }
}

fn no_node(effect: &Effect) -> Settlement {
    Settlement::Unknown { detail: format!("evm: no RPC node for chain {} is configured", effect.chain_id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit2_nonce_is_a_bit_of_a_word() {
        assert_eq!(place(U256::ZERO), (U256::ZERO, 0));
        assert_eq!(place(U256::from(255)), (U256::ZERO, 255));
        assert_eq!(place(U256::from(256)), (U256::from(1), 0));
        assert_eq!(place(U256::MAX), (U256::MAX >> 8, 255));
    }
}
