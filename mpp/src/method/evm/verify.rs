//! `verify`: what is asked of the node before money is claimed, and what its answers mean. Reads, and never writes.
//!
//! One round trip for what we settle and for `transaction`, one for `hash` (and a second where the node does not tell a block's
//! time in its logs).

use super::abi::IToken;
use super::node::{self, Tx};
use super::onchain::{self, SignedTransfer};
use super::plan::{Binding, Broadcast, Done, Guard, Plan, Submit};
use super::request::Ask;
use super::server::NoDomain;
use super::typed::challenge_hash;
use super::{CredentialType, Evm, HashBinding, lookup, offchain};
use crate::chain::{Head, NodeError, RETRY, Rpc, RpcError, TxReceipt, Wait, did_of, payer_of};
use crate::method::{CredentialCx, Rejection, Verified};
use crate::protocol::Timestamp;
use alloy::primitives::{Address, B256, Bytes, U64, U256};
use serde_json::Value;

/// Where looking for events starts is rounded to so many blocks, so that a credential verified twice gives the same plan.
const ERA: u64 = 500;
/// Gas that the settlement of an account without code never takes: about 85,000, where nothing is new 300,000 at most.
const PLAIN_SETTLEMENT: u64 = 300_000;

impl Evm {
    pub(super) async fn verify_credential(&self, cx: &CredentialCx<'_>) -> Result<Verified, Rejection> {
        let ask = Ask::read(cx.request)?;
        if self.chain.is_none_or(|chain| chain.id() != ask.chain_id) {
            return Err(Rejection::failed("payments are no longer taken on the chain of this challenge"));
        }
        let source = match cx.source {
            Some(source) => {
                Some(payer_of(source, ask.chain_id).map_err(|e| Rejection::failed(e.to_string()))?)
            }
            None => None,
        };
        let member = |name: &str| cx.payload.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = CredentialType::by_name(member("type")).ok_or_else(|| {
            Rejection::malformed(
                "`payload.type` has to be \"permit2\", \"authorization\", \"transaction\" or \"hash\"",
            )
        })?;
        if !ask.accepted.contains(&kind) {
            return Err(Rejection::failed(format!("the challenge does not accept `{kind}`")));
        }
        match (kind, ask.token) {
            (CredentialType::Authorization, Some(token)) => {
                let rpc = self.trusted_node().await?;
                let domain = self.domain(rpc, ask.chain_id, token).await.map_err(|e| match e {
                    NoDomain::Trouble(e) => self.node.unavailable(&e),
                    NoDomain::Other => Rejection::unavailable(
                        RETRY,
                        format!("evm: {token} has no EIP-712 domain that fits its name and version"),
                    ),
                })?;
                let plan = offchain::authorization(cx, &ask, token, domain)?;
                self.verify_signature(rpc, plan, token, source, cx.now).await
            }
            (CredentialType::Permit2, Some(token)) => {
                let spender =
                    ask.spender.ok_or_else(|| Rejection::failed("the challenge names no spender"))?;
                let plan = offchain::permit2(cx, &ask, token, spender, source)?;
                let rpc = self.trusted_node().await?;
                self.verify_signature(rpc, plan, token, source, cx.now).await
            }
            (CredentialType::Transaction, _) => {
                self.verify_transaction(cx, &ask, member("signature"), source).await
            }
            (CredentialType::Hash, _) => self.verify_hash(cx, &ask, member("hash"), source).await,
            (CredentialType::Authorization | CredentialType::Permit2, None) => {
                Err(Rejection::failed("the chain's own coin cannot be paid by a signature"))
            }
        }
    }

    /// The payer has the money, the settlement key the gas, and the call would move the one with the other.
    async fn verify_signature(
        &self,
        rpc: &Rpc,
        mut plan: Submit,
        token: Address,
        source: Option<Address>,
        now: Timestamp,
    ) -> Result<Verified, Rejection> {
        let payer = plan.effect.payer;
        if source.is_some_and(|source| source != payer) {
            return Err(Rejection::failed("the signature is not of the account in `source`"));
        }
        let settler = self.settler.as_ref().map(|settler| settler.address()).filter(|own| match plan.guard {
            Guard::Authorization { .. } => true,
            Guard::Permit2 { spender, .. } => spender == *own,
        });
        let Some(settler) = settler else {
            return Err(Rejection::failed("the account that was to settle this is not in use any more"));
        };
        let balance = node::call(token, &IToken::balanceOfCall { account: payer });
        let questions = [
            lookup::state_of(&plan),
            balance,
            node::estimate(settler, plan.to, U256::ZERO, &plan.data),
            node::coins(settler),
            node::block("latest"),
        ];
        let [state, balance, estimate, coins, head] =
            rpc.read_all(questions).await.map_err(|e| self.node.unavailable(&e))?;
        let trouble = |e: RpcError| self.node.unavailable(&e);
        let state: Bytes = state.into_result().map_err(trouble)?;
        let used = lookup::used(&plan, &state).ok_or_else(|| trouble(RpcError::Garbled))?;
        let head: Head = head.into_result().map_err(trouble)?;
        plan.seen_at = head.number() - head.number() % ERA;
        let refused = |why| Err(self.node.refused_at(&head, now, Rejection::failed(why)));
        // It is used: another copy of this credential was faster, or the payer was. The money has moved, so it must not be
        // refused here; the journal or the chain knows what is due.
        if !used {
            let balance: Bytes = balance.into_result().map_err(trouble)?;
            if node::word(&balance).unwrap_or_default() < plan.effect.amount {
                return refused("the payer's balance does not cover the amount");
            }
            let gas: u64 = match estimate.into_result::<U64>() {
                Ok(gas) => gas.to(),
                Err(RpcError::Node(refusal)) if refusal.is_revert() => {
                    return refused(match plan.guard {
                        Guard::Authorization { .. } => "the token refuses this authorization",
                        Guard::Permit2 { .. } => {
                            "Permit2 or the token refuses this permit: has the payer approved Permit2?"
                        }
                    });
                }
                // A payer whose account has code decides how much gas that takes.
                Err(RpcError::Node(refusal)) if takes_too_much_gas(&refusal) => {
                    return refused("settling this payment takes more gas than a block has");
                }
                Err(e) => return Err(trouble(e)),
            };
            if gas > PLAIN_SETTLEMENT && self.gas.limit(gas).is_none() {
                return refused("settling this payment takes more gas than the server pays for");
            }
            // EC-17: better now than after the payer was told that it is being paid.
            let coins: U256 = coins.into_result().map_err(trouble)?;
            let base = head.base_fee().unwrap_or_default();
            if coins < U256::from(gas) * U256::from(base) || coins.is_zero() {
                let detail = format!("evm: the settlement key {settler} cannot pay for gas");
                return Err(Rejection::unavailable(RETRY, detail));
            }
            plan.gas = Some(gas);
        }
        let chain = plan.effect.chain_id;
        let key = match plan.guard {
            Guard::Authorization { nonce } => format!("{chain}:{token:#x}:{payer:#x}:{nonce:#x}"),
            Guard::Permit2 { nonce, .. } => format!("{chain}:permit2:{:#x}:{payer:#x}:{nonce:#x}", plan.to),
        };
        Ok(verified(chain, payer, key, &Plan::Submit(plan)))
    }

    async fn verify_transaction(
        &self,
        cx: &CredentialCx<'_>,
        ask: &Ask,
        signature: &str,
        source: Option<Address>,
    ) -> Result<Verified, Rejection> {
        let challenge = challenge_hash(&cx.challenge.id, &cx.challenge.realm);
        let signed = SignedTransfer::read(signature, ask, challenge)?;
        if source.is_some_and(|source| source != signed.payer) {
            return Err(Rejection::failed("the transaction is not signed by the account in `source`"));
        }
        let rpc = self.trusted_node().await?;
        self.can_be_mined(rpc, ask, &signed, cx.now).await?;
        let plan = Plan::Broadcast(Broadcast {
            effect: offchain::effect(cx, ask, signed.payer),
            raw: signed.raw,
            hash: signed.hash,
            nonce: signed.nonce,
            binding: signed.binding,
        });
        Ok(verified(ask.chain_id, signed.payer, transaction_key(ask.chain_id, signed.hash), &plan))
    }

    /// The transaction as it is would move the money now. What cannot be mined is refused here, because after a broadcast
    /// nobody would know for a while.
    async fn can_be_mined(
        &self,
        rpc: &Rpc,
        ask: &Ask,
        signed: &SignedTransfer,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let trouble = |e: RpcError| self.node.unavailable(&e);
        let balance = match ask.token {
            Some(token) => node::call(token, &IToken::balanceOfCall { account: signed.payer }),
            None => node::coins(signed.payer),
        };
        let questions = [
            node::receipt(signed.hash),
            node::nonce(signed.payer, "latest"),
            node::nonce(signed.payer, "pending"),
            balance,
            node::coins(signed.payer),
            node::simulate(&signed.simulation),
            node::block("latest"),
        ];
        let [mined, next, pending, balance, coins, simulated, head] =
            rpc.read_all(questions).await.map_err(trouble)?;
        // It is on the chain: another copy of this credential was faster, or the payer broadcast it after all. The
        // money has moved, so it must not be refused here; the journal knows what is due.
        if mined.into_result::<Option<TxReceipt>>().is_ok_and(|receipt| receipt.is_some()) {
            return Ok(());
        }
        let head: Head = head.into_result().map_err(trouble)?;
        let refused = |why| Err(self.node.refused_at(&head, now, Rejection::failed(why)));
        let next: u64 = next.into_result::<U64>().map_err(trouble)?.to();
        let pending: u64 = pending.into_result::<U64>().map_err(trouble)?.to();
        if signed.nonce < next {
            return refused("the transaction's nonce is used already");
        }
        if signed.nonce > pending.max(next) {
            return refused("the transaction's nonce is ahead of the account's");
        }
        // EIP-1559: an eighth more than this block is the most that the next one can ask. What offers less may never be mined,
        // and has no end either.
        if head.base_fee().is_some_and(|base| signed.max_fee < base.saturating_add(base / 8)) {
            return refused("the transaction offers less for gas than the next block may ask for");
        }
        if let Some(_token) = ask.token {
            let balance: Bytes = balance.into_result().map_err(trouble)?;
            if node::word(&balance).unwrap_or_default() < ask.amount {
                return refused("the payer's balance does not cover the amount");
            }
        }
        let coins: U256 = coins.into_result().map_err(trouble)?;
        if coins < signed.cost {
            return refused("the payer's balance does not cover the amount and the network fee");
        }
        match simulated.into_result::<Bytes>() {
            // ERC-20 says "returns true"; some tokens return nothing and revert instead.
            Ok(answer) if ask.token.is_some() && node::word(&answer) == Some(U256::ZERO) => {
                refused("the token refuses this transfer")
            }
            Ok(_) => Ok(()),
            Err(RpcError::Node(refusal)) => {
                not_minable(&refusal).map_or_else(|| Err(trouble(RpcError::Node(refusal))), refused)
            }
            Err(e) => Err(trouble(e)),
        }
    }

    async fn verify_hash(
        &self,
        cx: &CredentialCx<'_>,
        ask: &Ask,
        hash: &str,
        source: Option<Address>,
    ) -> Result<Verified, Rejection> {
        let hash = onchain::parse_hash(hash)
            .ok_or_else(|| Rejection::malformed("`payload.hash` is not a 0x-prefixed transaction hash"))?;
        let rpc = self.trusted_node().await?;
        let challenge = challenge_hash(&cx.challenge.id, &cx.challenge.realm);
        let seen = self.await_mined(rpc, hash, cx, |tx| onchain::named(tx, ask, challenge)).await?;
        match (onchain::mined(&seen.tx, &seen.receipt, ask, challenge)?, self.binding) {
            (Binding::Bound, _) | (Binding::Unbound, HashBinding::Waived) => {}
            (Binding::Unbound, HashBinding::Required) => {
                return Err(Rejection::failed(
                    "the transaction's input does not end in the hash of this challenge",
                ));
            }
        }
        if source.is_some_and(|source| source != seen.tx.from) {
            return Err(Rejection::failed("the transfer was not made by the account in `source`"));
        }
        self.node.mined_in_time(rpc, &seen.receipt, cx.expires).await?;
        if !self.is_deep(&seen.receipt, &seen.head) {
            let depth = format!("evm: {hash} is not {} blocks deep yet", self.confirmations);
            return Err(Rejection::unavailable(RETRY, depth));
        }
        let external_id = cx.request.external_id.clone();
        let plan = Plan::Hash(Done { hash, chain_id: ask.chain_id, external_id });
        Ok(verified(ask.chain_id, seen.tx.from, transaction_key(ask.chain_id, hash), &plan))
    }

    /// Waits a little for a transaction to be mined deep enough; says that there is none only if the node is up to date.
    async fn await_mined(
        &self,
        rpc: &Rpc,
        hash: B256,
        cx: &CredentialCx<'_>,
        is_payment: impl Fn(&Tx) -> Result<Binding, Rejection>,
    ) -> Result<Seen, Rejection> {
        let wait = Wait { most: self.pace.receipt, step: self.pace.step };
        let looked =
            self.node.watch(cx.client, wait, || self.look(rpc, hash), |looked| looked.is_ready(self)).await?;
        match (looked.receipt, looked.tx) {
            (Some(receipt), Some(tx)) if receipt.transaction_hash == hash && tx.hash == hash => {
                Ok(Seen { receipt, tx, head: looked.head })
            }
            (Some(_), _) => Err(self.node.unavailable(&RpcError::Garbled)),
            // Known, but not mined: if it is the payment, the money may be on its way.
            (None, Some(tx)) => {
                is_payment(&tx)?;
                Err(Rejection::unavailable(RETRY, format!("evm: {hash} waits to be mined")))
            }
            (None, None) => {
                let refused = Rejection::failed("there is no such transaction on the chain");
                Err(self.node.refused_at(&looked.head, cx.now, refused))
            }
        }
    }

    async fn look(&self, rpc: &Rpc, hash: B256) -> Result<Looked, Rejection> {
        let questions = [node::block("latest"), node::receipt(hash), node::transaction(hash)];
        let [head, receipt, tx] =
            rpc.read_all(questions).await.map_err(|e| self.node.unavailable_or_huge(e))?;
        let trouble = |e: RpcError| self.node.unavailable(&e);
        Ok(Looked {
            head: head.into_result().map_err(trouble)?,
            receipt: receipt.into_result().map_err(trouble)?,
            tx: tx.into_result().map_err(trouble)?,
        })
    }

    /// The node of the configured chain.
    async fn trusted_node(&self) -> Result<&Rpc, Rejection> {
        // Without a chain there is no offer, and start-up says so.
        self.node.trusted(self.chain.map_or(0, |chain| chain.id())).await
    }
}

/// What one look at a transaction finds.
struct Looked {
    head: Head,
    receipt: Option<TxReceipt>,
    tx: Option<Tx>,
}

impl Looked {
    /// Nothing would change by waiting.
    fn is_ready(&self, evm: &Evm) -> bool {
        self.receipt.as_ref().is_some_and(|receipt| !receipt.succeeded() || evm.is_deep(receipt, &self.head))
    }
}

/// A mined transaction.
struct Seen {
    receipt: TxReceipt,
    tx: Tx,
    head: Head,
}

/// One key space for both types: what was broadcast for its payer cannot come back as a hash.
fn transaction_key(chain_id: u64, hash: B256) -> String {
    format!("{chain_id}:{hash:#x}")
}

fn verified(chain_id: u64, payer: Address, key: String, plan: &Plan) -> Verified {
    Verified { payer: Some(did_of(chain_id, payer)), proof_keys: vec![key], plan: plan.write() }
}

/// Why the network would not mine a transaction, in words for the payer; `None` when the node's refusal says more about the
/// node. The node's own words are not passed on: they are not ours to vouch for.
fn not_minable(refusal: &NodeError) -> Option<&'static str> {
    let says = |words: &[&str]| says(refusal, words);
    if says(&["insufficient funds", "outofbalance"]) {
        Some("the payer's balance does not cover the amount and the network fee")
    } else if takes_too_much_gas(refusal) {
        Some("the transaction's gas limit is too low for the transfer")
    } else if says(&["fee cap", "max fee per gas", "priority fee"]) {
        Some("the transaction's fees are not what the network takes")
    } else if refusal.is_revert() {
        Some("the token refuses this transfer from this payer")
    } else {
        None
    }
}

/// Whether what refuses is the amount of gas.
fn takes_too_much_gas(refusal: &NodeError) -> bool {
    says(refusal, &["intrinsic gas", "out of gas", "outofgas", "gas limit", "gas required exceeds"])
}

fn says(refusal: &NodeError, words: &[&str]) -> bool {
    let message = refusal.message.to_ascii_lowercase();
    words.iter().any(|word| message.contains(word))
}
