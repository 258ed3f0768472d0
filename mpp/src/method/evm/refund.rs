//! Giving a payment back: a transfer of the operator's refund key to the account the payment came from.
//!
//! The plan is the signed transaction, with the key's next nonce. Broadcast again, by whoever carries the plan on, it is the
//! same one, and is mined at most once. It has failed when it was reverted, or when the finalized chain says that another
//! transaction used its nonce; until then it stays pending, however long that takes. No answer to a broadcast says that it
//! failed, not even that no connection could be opened: an earlier copy may have left.
//!
//! The key should do nothing else: what it signs elsewhere may take the nonce of a refund, which then has failed and has to be
//! ordered again. Fees are those of the gas policy at the time of the order; one that is not mined at that price waits.
//!
//! Before it is signed, the payment itself is looked up: nothing goes to an account that no such amount came from.

use super::Evm;
use super::client::{OwnTransfer, signed_transfer};
use super::node::{self, Tx};
use super::plan::{Binding, Broadcast, Effect};
use crate::chain::{Rpc, RpcError, TxReceipt, parse_address, payer_of, refund_ended, told};
use crate::method::{MethodProblem, RefundCx, RefundOutcome, RefundPlan, Settlement};
use alloy::primitives::{Address, B256, U256};
use alloy::signers::Signer;
use serde::Deserialize;
use std::fmt;

/// What refunds are paid with.
pub(super) struct Refunds(Box<dyn Signer + Send + Sync>);

impl fmt::Debug for Refunds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signer's own `Debug` is not ours to vouch for.
        f.debug_tuple("Refunds").field(&self.address()).finish()
    }
}

impl Refunds {
    pub(super) fn new(signer: impl Signer + Send + Sync + 'static) -> Self {
        Self(Box::new(signer))
    }

    pub(super) fn address(&self) -> Address {
        self.0.address()
    }
}

impl Evm {
    /// Looks the payment up and signs.
    pub(super) async fn plan_back(&self, cx: &RefundCx<'_>) -> Result<RefundPlan, MethodProblem> {
        let problem = |text: String| MethodProblem(text);
        let refunds = self.refunds.as_ref().ok_or_else(|| problem("there is no refund key".into()))?;
        let chain_id = self.chain.ok_or_else(|| problem("there is no chain".into()))?.id();
        let payer = cx.payer.ok_or_else(|| problem("nobody knows who paid".into()))?;
        let payer = payer_of(payer, chain_id).map_err(|error| problem(error.to_string()))?;
        let asset = parse_address(cx.asset).map_err(|error| problem(format!("the token: {error}")))?;
        let token = (!asset.is_zero()).then_some(asset);
        let hash: B256 =
            cx.reference.parse().map_err(|_| problem("the payment's reference is no transaction".into()))?;
        let rpc = self.node.trusted(chain_id).await.map_err(told)?;
        let amount = U256::from(cx.units.get());
        let paid = paid_by(rpc, hash, token, payer).await;
        if paid.map_err(|error| problem(format!("{}: {error}", rpc.shown())))? < amount {
            return Err(problem(format!("the chain knows no transfer of this much by {payer} in {hash}")));
        }
        let effect =
            Effect { chain_id, token, payer: refunds.address(), recipient: payer, amount, external_id: None };
        let own = OwnTransfer { chain_id, token, to: payer, amount, tail: &[] };
        let (raw, hash, nonce) = signed_transfer(rpc, &*refunds.0, &self.gas, own)
            .await
            .map_err(|error| problem(error.to_string()))?;
        let plan = Broadcast { effect, raw, hash, nonce, binding: Binding::Bound };
        Ok(RefundPlan(serde_json::to_value(plan).expect("hashes, addresses and strings are JSON")))
    }

    /// Looks the transfer up; one that is not there is broadcast.
    pub(super) async fn give_back(&self, plan: &RefundPlan) -> RefundOutcome {
        let Ok(plan) = Broadcast::deserialize(&plan.0) else {
            let detail = "evm: the journaled plan is of another release and is not understood".to_owned();
            return RefundOutcome::Pending { reference: None, detail };
        };
        let reference = format!("{:#x}", plan.hash);
        let seen = match self.look_up_broadcast(&plan).await {
            Settlement::Unknown { .. } => self.broadcast_once(&plan).await,
            known => known,
        };
        refund_ended("evm", seen, reference)
    }
}

/// What `payer` has moved of a token, or of the chain's own coin, in a transaction.
async fn paid_by(rpc: &Rpc, hash: B256, token: Option<Address>, payer: Address) -> Result<U256, RpcError> {
    let [receipt, tx] = rpc.read_all([node::receipt(hash), node::transaction(hash)]).await?;
    let receipt: Option<TxReceipt> = receipt.into_result()?;
    let Some(receipt) = receipt.filter(|receipt| receipt.transaction_hash == hash && receipt.succeeded())
    else {
        return Ok(U256::ZERO);
    };
    if let Some(token) = token {
        return Ok(receipt.moved(token, payer));
    }
    let tx: Option<Tx> = tx.into_result()?;
    Ok(tx.filter(|tx| tx.hash == hash && tx.from == payer).map_or(U256::ZERO, |tx| tx.value))
}
