//! Giving a payment back: a transfer of the operator's refund key to the account the payment came from.
//!
//! The plan is the signed transaction. It has an expiring nonce, so it is good for half a minute and is mined at most once:
//! broadcast again, by whoever carries the plan on, it is the same one. What the chain says of it later is read as for a
//! payment (`settle.rs`): it has failed when it was reverted, or when finalized time is past its `validBefore` and it has no
//! receipt. No answer to a broadcast says that, not even that no connection could be opened: an earlier copy may have left.
//!
//! Before it is signed, the payment itself is looked up: nothing goes to an account that no such amount came from. The
//! transfer carries a memo of its own, the Keccak-256 hash of the refund's id.

use super::Tempo;
use super::client::{TempoWallet, VALID_FOR};
use super::plan::{Broadcast, Effect};
use super::server::receipt_of;
use crate::chain::{Head, Rpc, RpcError, TxReceipt, block, parse_address, payer_of, refund_ended, told};
use crate::method::{MethodProblem, RefundCx, RefundOutcome, RefundPlan, Settlement};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::signers::Signer;
use alloy::sol_types::SolCall;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use tempo_alloy::contracts::precompiles::ITIP20;

/// What refunds are paid with.
pub(super) struct Refunds {
    signer: Arc<dyn Signer + Send + Sync>,
    /// What the network's fee is paid in, if not in the money that goes back.
    pub(super) fee_token: Option<Address>,
}

impl fmt::Debug for Refunds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signer's own `Debug` is not ours to vouch for.
        f.debug_tuple("Refunds").field(&self.signer.address()).finish()
    }
}

impl Refunds {
    pub(super) fn new(signer: impl Signer + Send + Sync + 'static) -> Self {
        Self { signer: Arc::new(signer), fee_token: None }
    }
}

impl Tempo {
    /// Looks the payment up and signs.
    pub(super) async fn plan_back(&self, cx: &RefundCx<'_>) -> Result<RefundPlan, MethodProblem> {
        let problem = |text: String| MethodProblem(text);
        let refunds = self.refunds.as_ref().ok_or_else(|| problem("there is no refund key".into()))?;
        let payer = cx.payer.ok_or_else(|| problem("nobody knows who paid".into()))?;
        let payer = payer_of(payer, self.chain_id).map_err(|error| problem(error.to_string()))?;
        let token = parse_address(cx.asset).map_err(|error| problem(format!("the token: {error}")))?;
        let hash: B256 =
            cx.reference.parse().map_err(|_| problem("the payment's reference is no transaction".into()))?;
        let rpc = self.node.trusted(self.chain_id).await.map_err(told)?;
        let trouble = |error: RpcError| problem(format!("{}: {error}", rpc.shown()));
        let [head, receipt] = rpc.read_all([block("latest"), receipt_of(hash)]).await.map_err(trouble)?;
        let head: Head = head.into_result().map_err(trouble)?;
        let receipt: Option<TxReceipt> = receipt.into_result().map_err(trouble)?;
        let amount = U256::from(cx.units.get());
        let paid = receipt.filter(|receipt| receipt.transaction_hash == hash && receipt.succeeded());
        if paid.is_none_or(|receipt| receipt.moved(token, payer) < amount) {
            return Err(problem(format!("the chain knows no transfer of this much by {payer} in {hash}")));
        }
        let effect = Effect {
            payer: refunds.signer.address(),
            token,
            recipient: payer,
            amount,
            splits: Vec::new(),
            memo: keccak256(cx.refund_id),
            chain_id: self.chain_id,
            valid_before: 0,
            external_id: None,
        };
        self.signed_back(rpc, refunds, effect, &head).await
    }

    async fn signed_back(
        &self,
        rpc: &Rpc,
        refunds: &Refunds,
        mut effect: Effect,
        head: &Head,
    ) -> Result<RefundPlan, MethodProblem> {
        let wallet = TempoWallet::on(rpc.clone(), self.chain_id, refunds.signer.clone(), refunds.fee_token);
        let transfer =
            ITIP20::transferWithMemoCall { to: effect.recipient, amount: effect.amount, memo: effect.memo };
        // By the chain's clock: it is the chain that has to take it.
        let valid_before = head.time() + VALID_FOR;
        let signed = wallet.signed_transfers(&effect.ask(), vec![transfer.abi_encode()], valid_before).await;
        let signed = signed.map_err(|error| MethodProblem(error.to_string()))?;
        effect.valid_before = signed.tx().valid_before.map_or(0, |until| until.get());
        let plan = Broadcast { raw: signed.encoded_2718().into(), hash: *signed.hash(), effect };
        let plan = serde_json::to_value(plan).expect("hashes, addresses and strings are JSON");
        Ok(RefundPlan(plan))
    }

    /// Looks the transfer up; one that is not there is broadcast.
    pub(super) async fn give_back(&self, plan: &RefundPlan) -> RefundOutcome {
        let Ok(plan) = Broadcast::deserialize(&plan.0) else {
            let detail = "tempo: the journaled plan is of another release and is not understood".to_owned();
            return RefundOutcome::Pending { reference: None, detail };
        };
        let reference = format!("{:#x}", plan.hash);
        let seen = match self.look_up(&plan).await.settlement {
            Settlement::Unknown { .. } => self.broadcast(&plan).await.settlement,
            known => known,
        };
        refund_ended("tempo", seen, reference)
    }
}
