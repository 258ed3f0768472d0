//! An EVM chain behind [`ServerMethod`]: what is offered, and what is asked of the node before money is claimed.
//!
//! `verify` costs one round trip for what we settle and for `transaction`, one for `hash` (and a second where the node does not
//! tell a block's time in its logs).

use super::abi::{IPermit2, IToken};
use super::node::{self, Block, Tx};
use super::onchain::{self, SignedTransfer};
use super::plan::{Binding, Broadcast, Done, Guard, Plan, Submit};
use super::request::{Ask, Terms};
use super::settle::{RETRY, settled};
use super::typed::{challenge_hash, permit2_domain, token_domain};
use super::{CredentialType, Evm, HashBinding, Kind, Node, Standard, Token, lookup, offchain};
use crate::chain::{Answer, NodeError, Reach, Rpc, RpcError, TxReceipt, did_of, payer_of};
use crate::method::{
    CredentialCx, Fees, MethodCurrency, MethodName, MethodProblem, OfferCx, Rejection, ServerMethod,
    SettleCx, Settlement, Sponsoring, Step, Verified,
};
use crate::protocol::{BaseUnits, ChargeRequest, Timestamp};
use alloy::primitives::{Address, B256, Bytes, U64, U256};
use alloy::sol_types::SolCall;
use serde_json::Value;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A node whose newest block is older has fallen behind: it cannot say that a transaction does not exist.
const FRESH: Duration = Duration::from_secs(60);
/// How much the chain's clock may run ahead of ours.
const SKEW: Duration = Duration::from_secs(15);
/// No challenge lives longer; an older transfer is not the payment of one that is alive now.
const LONGEST_CHALLENGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks the node at `url` which chain it serves, for programs that let the node decide.
///
/// # Errors
/// A sentence that says what is wrong with the URL or the node, without credentials in the URL.
///
/// ```no_run
/// # async fn example() -> Result<(), mpp::method::MethodProblem> {
/// let url = "http://127.0.0.1:8545";
/// let chain_id = mpp::method::evm::rpc_chain_id(url).await?;
/// let evm = mpp::Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc(url).chain(chain_id);
/// # Ok(()) }
/// ```
pub async fn rpc_chain_id(url: &str) -> Result<u64, MethodProblem> {
    let rpc = Rpc::new(url, Reach::Anywhere).map_err(|e| MethodProblem(e.to_string()))?;
    let id: U64 = rpc.read(node::chain_id()).await.map_err(|e| unreachable_node(&rpc, &e))?;
    Ok(id.to())
}

impl ServerMethod for Evm {
    fn name(&self) -> &MethodName {
        &self.name
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        let token = self.money_called(name)?;
        Some(MethodCurrency {
            // EIP-55, as peers that compare text do (X-38).
            id: token.address.unwrap_or_default().to_string(),
            decimals: token.decimals,
            // Nothing is transferred for nothing, and there is no proof of identity here.
            minimum: BaseUnits::new(1),
        })
    }

    fn currencies(&self) -> Vec<String> {
        let mut names: Vec<_> = self.all_money().map(|token| token.name).collect();
        names.sort();
        names.dedup();
        names
    }

    fn sponsoring(&self) -> Sponsoring {
        match self.settler {
            Some(_) => Sponsoring::Open,
            None => Sponsoring::Unconfigured,
        }
    }

    fn problems(&self) -> Vec<MethodProblem> {
        let mut problems = self.wrong.clone();
        match self.chain.map(|chain| chain.id()) {
            None => problems.push(MethodProblem("no chain is configured; call `.chain(Chain::BASE)`".into())),
            // JCS writes numbers as IEEE doubles; a larger id would not survive a peer's round trip.
            Some(id) if id == 0 || id > 1 << 53 => {
                problems.push(MethodProblem(format!("{id} is not a usable chain id")));
            }
            Some(_) => {}
        }
        if matches!(self.node, Node::Missing) {
            problems.push(no_node());
        }
        if self.confirmations == 0 {
            problems
                .push(MethodProblem("a payment needs at least one confirmation: the block it is in".into()));
        }
        let keyed = self.accepted.iter().flatten().find(|kind| kind.needs_key());
        if let (Some(kind), None) = (keyed, &self.settler) {
            problems.push(MethodProblem(format!(
                "`{kind}` is accepted, but nobody can settle it; call `.settlement_key(key)`"
            )));
        }
        problems
    }

    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::boxed(self.check_network())
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        let recipient = self.recipient.ok_or_else(|| MethodProblem("there is no usable recipient".into()))?;
        let chain = self.chain.ok_or_else(|| MethodProblem("there is no chain".into()))?;
        if cx.amount.is_zero() {
            return Err(MethodProblem("a transfer of nothing is no payment".into()));
        }
        let token = self
            .all_money()
            .find(|token| token.address.unwrap_or_default().to_string() == cx.currency.id)
            .ok_or_else(|| MethodProblem(format!("{} is not configured", cx.currency.id)))?;
        let mut accepted = self.accepted_for(token.kind);
        if cx.fees == Fees::Sponsored {
            accepted.retain(|kind| kind.needs_key());
        }
        if accepted.is_empty() {
            return Err(MethodProblem(format!(
                "none of the accepted credential types can pay {}",
                token.name
            )));
        }
        let terms = Terms {
            recipient,
            chain_id: chain.id(),
            decimals: token.decimals,
            accepted: &accepted,
            spender: self.settler.as_ref().map(|settler| settler.address()),
            permit2: self.permit2,
        };
        Ok(Ask::write(cx.amount, &cx.currency.id, &terms))
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        Step::boxed(self.verify_credential(cx))
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        match Plan::read(cx.plan) {
            Some(Plan::Submit(plan)) => Step::boxed(self.submit(plan)),
            Some(Plan::Broadcast(plan)) => Step::boxed(self.broadcast(plan)),
            Some(Plan::Hash(done)) => Step::ready(settled(done.hash, done.chain_id, done.external_id)),
            None => Step::ready(unreadable()),
        }
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        match Plan::read(cx.plan) {
            Some(Plan::Submit(plan)) => Step::boxed(async move { self.look_up_submitted(&plan).await }),
            Some(Plan::Broadcast(plan)) => Step::boxed(async move { self.look_up_broadcast(&plan).await }),
            Some(Plan::Hash(done)) => Step::ready(settled(done.hash, done.chain_id, done.external_id)),
            None => Step::ready(unreadable()),
        }
    }
}

/// Money and how it may be paid.
impl Evm {
    fn all_money(&self) -> impl Iterator<Item = Token> {
        let known = self.chain.map_or(&[][..], |chain| chain.assets()).iter().map(|asset| Token {
            name: asset.name.to_owned(),
            address: (!asset.address.is_zero()).then_some(asset.address),
            decimals: asset.decimals,
            kind: match asset.standard {
                Standard::Native => Kind::Native,
                Standard::Erc20 => Kind::Erc20,
                Standard::Eip3009 { .. } => Kind::Eip3009,
            },
        });
        let known = known.filter(|asset| self.tokens.iter().all(|own| own.name != asset.name));
        self.tokens.iter().cloned().chain(known)
    }

    fn money_called(&self, name: &str) -> Option<Token> {
        self.all_money().find(|token| token.name == name)
    }

    /// What is accepted for money of this kind, in order.
    pub(super) fn accepted_for(&self, kind: Kind) -> Vec<CredentialType> {
        let can = |credential: &CredentialType| match credential {
            CredentialType::Permit2 => kind != Kind::Native,
            CredentialType::Authorization => kind == Kind::Eip3009,
            CredentialType::Transaction | CredentialType::Hash => true,
        };
        let mut accepted = match (&self.accepted, &self.settler, kind) {
            (Some(listed), ..) => listed.clone(),
            (None, Some(_), Kind::Eip3009) => {
                vec![CredentialType::Authorization, CredentialType::Transaction]
            }
            (None, Some(_), Kind::Erc20) => vec![CredentialType::Permit2, CredentialType::Transaction],
            (None, ..) => vec![CredentialType::Transaction],
        };
        if self.binding == HashBinding::Waived && !accepted.contains(&CredentialType::Hash) {
            accepted.push(CredentialType::Hash);
        }
        accepted.retain(can);
        accepted
    }

    fn endpoint(&self) -> Option<&Rpc> {
        match &self.node {
            Node::At(rpc) => Some(rpc),
            Node::Missing | Node::Unusable => None,
        }
    }
}

/// `check`.
impl Evm {
    async fn check_network(&self) -> Result<(), MethodProblem> {
        let rpc = self.endpoint().ok_or_else(no_node)?;
        let chain = self.chain.ok_or_else(|| MethodProblem("no chain is configured".into()))?.id();
        let trouble = |e: RpcError| unreachable_node(rpc, &e);
        let [served, head] =
            rpc.read_all([node::chain_id(), node::block("latest")]).await.map_err(trouble)?;
        let served: u64 = served.into_result::<U64>().map_err(trouble)?.to();
        if served != chain {
            return Err(MethodProblem(format!(
                "the RPC node at {} serves chain {served}, not chain {chain}",
                rpc.shown()
            )));
        }
        self.right_chain.store(true, Ordering::Relaxed);
        let head: Block = head.into_result().map_err(trouble)?;
        if self.settler.is_some() && head.base_fee().is_none() {
            return Err(MethodProblem(format!(
                "chain {chain} has no base fee (EIP-1559), which settling needs"
            )));
        }
        for token in self.all_money() {
            if let Some(address) = token.address {
                self.check_token(rpc, chain, &token, address).await?;
            }
        }
        let permits =
            self.all_money().any(|token| self.accepted_for(token.kind).contains(&CredentialType::Permit2));
        if permits {
            self.check_permit2(rpc, chain).await?;
        }
        if let Some(settler) = &self.settler {
            let coins: U256 = rpc.read(node::coins(settler.address())).await.map_err(trouble)?;
            if coins.is_zero() {
                // No reason to stay closed: transactions can be taken, and the key filled later.
                tracing::warn!(target: "mpp", account = %settler.address(), "evm: the settlement key has nothing to pay gas with");
            }
        }
        Ok(())
    }

    async fn check_token(
        &self,
        rpc: &Rpc,
        chain: u64,
        token: &Token,
        at: Address,
    ) -> Result<(), MethodProblem> {
        let answer = rpc.read::<Bytes>(node::call(at, &IToken::decimalsCall {})).await;
        let decimals = match answer {
            Ok(answer) => node::word(&answer),
            Err(RpcError::Node(_)) => None,
            Err(e) => return Err(unreachable_node(rpc, &e)),
        };
        match decimals {
            None => {
                return Err(MethodProblem(format!(
                    "{at}, configured as {:?}, is not a token on chain {chain}",
                    token.name
                )));
            }
            Some(decimals) if decimals != U256::from(token.decimals) => {
                return Err(MethodProblem(format!(
                    "{at}, configured as {:?} with {} decimals, has {decimals}",
                    token.name, token.decimals
                )));
            }
            Some(_) => {}
        }
        if !self.accepted_for(token.kind).contains(&CredentialType::Authorization) {
            return Ok(());
        }
        self.domain(rpc, chain, at).await.map(drop).map_err(|e| match e {
            NoDomain::Trouble(e) => unreachable_node(rpc, &e),
            NoDomain::Other => MethodProblem(format!(
                "{at}, configured as {:?}, does not sign transfers under its name, version and chain (EIP-3009, EIP-712); \
                 call `.token` for a token that can only be transferred",
                token.name
            )),
        })
    }

    async fn check_permit2(&self, rpc: &Rpc, chain: u64) -> Result<(), MethodProblem> {
        let trouble = |e: RpcError| unreachable_node(rpc, &e);
        let [code, domain] = rpc
            .read_all([
                node::code(self.permit2),
                node::call(self.permit2, &IPermit2::DOMAIN_SEPARATORCall {}),
            ])
            .await
            .map_err(trouble)?;
        let code: Bytes = code.into_result().map_err(trouble)?;
        let domain =
            domain.into_result::<Bytes>().ok().filter(|answer| !code.is_empty() && answer.len() == 32);
        if domain.is_none_or(|answer| **answer != *permit2_domain(chain, self.permit2)) {
            return Err(MethodProblem(format!(
                "Permit2 is not at {} on chain {chain}; call `.permit2_at(address)`, or `.accept(…)` without it",
                self.permit2
            )));
        }
        Ok(())
    }

    /// The domain separator of a token, which it has confirmed: what its name, version, chain and address give is what it
    /// verifies signatures under.
    async fn domain(&self, rpc: &Rpc, chain: u64, token: Address) -> Result<B256, NoDomain> {
        let known = || self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(domain) = known().get(&token) {
            return Ok(*domain);
        }
        let domain = read_domain(rpc, chain, token).await?;
        known().insert(token, domain);
        Ok(domain)
    }
}

/// Reads a token's EIP-712 domain and compares it with what the token verifies under.
pub(super) async fn read_domain(rpc: &Rpc, chain: u64, token: Address) -> Result<B256, NoDomain> {
    let [name, version, separator] = rpc
        .read_all([
            node::call(token, &IToken::nameCall {}),
            node::call(token, &IToken::versionCall {}),
            node::call(token, &IToken::DOMAIN_SEPARATORCall {}),
        ])
        .await
        .map_err(NoDomain::Trouble)?;
    let read = |answer: Answer| match answer.into_result::<Bytes>() {
        Ok(bytes) => Ok(bytes),
        // A contract that does not know the function reverts.
        Err(RpcError::Node(refusal)) if refusal.is_revert() => Err(NoDomain::Other),
        Err(e) => Err(NoDomain::Trouble(e)),
    };
    let (name, version, separator) = (read(name)?, read(version)?, read(separator)?);
    let name = IToken::nameCall::abi_decode_returns(&name).map_err(|_| NoDomain::Other)?;
    let version = IToken::versionCall::abi_decode_returns(&version).map_err(|_| NoDomain::Other)?;
    let domain = token_domain(&name, &version, chain, token);
    (**separator == *domain).then_some(domain).ok_or(NoDomain::Other)
}

/// Why the domain of a token is not known.
#[derive(Debug)]
pub(super) enum NoDomain {
    /// The node did not say.
    Trouble(RpcError),
    /// The token has none, or another than its name and version give.
    Other,
}

/// `verify`.
impl Evm {
    async fn verify_credential(&self, cx: &CredentialCx<'_>) -> Result<Verified, Rejection> {
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
                    NoDomain::Trouble(e) => self.unavailable(rpc, &e),
                    NoDomain::Other => Rejection::unavailable(
                        RETRY,
                        format!("evm: {token} has no EIP-712 domain that fits its name and version"),
                    ),
                })?;
                let plan = offchain::authorization(cx, &ask, token, domain)?;
                self.verify_signature(rpc, plan, token, source).await
            }
            (CredentialType::Permit2, Some(token)) => {
                let spender =
                    ask.spender.ok_or_else(|| Rejection::failed("the challenge names no spender"))?;
                let plan = offchain::permit2(cx, &ask, token, spender, source)?;
                let rpc = self.trusted_node().await?;
                self.verify_signature(rpc, plan, token, source).await
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
            rpc.read_all(questions).await.map_err(|e| self.unavailable(rpc, &e))?;
        let trouble = |e: RpcError| self.unavailable(rpc, &e);
        let state: Bytes = state.into_result().map_err(trouble)?;
        let used = lookup::used(&plan, &state).ok_or_else(|| trouble(RpcError::Garbled))?;
        let head: Block = head.into_result().map_err(trouble)?;
        plan.seen_at = head.number();
        // It is used: another copy of this credential was faster, or the payer was. The money has moved, so it must not be
        // refused here; the journal or the chain knows what is due.
        if !used {
            let balance: Bytes = balance.into_result().map_err(trouble)?;
            if node::word(&balance).unwrap_or_default() < plan.effect.amount {
                return Err(Rejection::failed("the payer's balance does not cover the amount"));
            }
            let gas: u64 = match estimate.into_result::<U64>() {
                Ok(gas) => gas.to(),
                Err(RpcError::Node(refusal)) if refusal.is_revert() => {
                    return Err(Rejection::failed(match plan.guard {
                        Guard::Authorization { .. } => "the token refuses this authorization",
                        Guard::Permit2 { .. } => {
                            "Permit2 or the token refuses this permit: has the payer approved Permit2?"
                        }
                    }));
                }
                Err(e) => return Err(trouble(e)),
            };
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
        self.can_be_mined(rpc, ask, &signed).await?;
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
    async fn can_be_mined(&self, rpc: &Rpc, ask: &Ask, signed: &SignedTransfer) -> Result<(), Rejection> {
        let trouble = |e: RpcError| self.unavailable(rpc, &e);
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
        let next: u64 = next.into_result::<U64>().map_err(trouble)?.to();
        let pending: u64 = pending.into_result::<U64>().map_err(trouble)?.to();
        if signed.nonce < next {
            return Err(Rejection::failed("the transaction's nonce is used already"));
        }
        if signed.nonce > pending.max(next) {
            return Err(Rejection::failed("the transaction's nonce is ahead of the account's"));
        }
        let head: Block = head.into_result().map_err(trouble)?;
        if head.base_fee().is_some_and(|base| signed.max_fee < base) {
            return Err(Rejection::failed("the transaction offers less for gas than a block asks for now"));
        }
        if let Some(_token) = ask.token {
            let balance: Bytes = balance.into_result().map_err(trouble)?;
            if node::word(&balance).unwrap_or_default() < ask.amount {
                return Err(Rejection::failed("the payer's balance does not cover the amount"));
            }
        }
        let coins: U256 = coins.into_result().map_err(trouble)?;
        if coins < signed.cost {
            return Err(Rejection::failed(
                "the payer's balance does not cover the amount and the network fee",
            ));
        }
        match simulated.into_result::<Bytes>() {
            // ERC-20 says "returns true"; some tokens return nothing and revert instead.
            Ok(answer) if ask.token.is_some() && node::word(&answer) == Some(U256::ZERO) => {
                Err(Rejection::failed("the token refuses this transfer"))
            }
            Ok(_) => Ok(()),
            Err(RpcError::Node(refusal)) => {
                Err(not_minable(&refusal).map_or_else(|| trouble(RpcError::Node(refusal)), Rejection::failed))
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
        let mined = self.time_of(rpc, &seen.receipt).await?;
        if mined > cx.expires + SKEW || mined < cx.expires - LONGEST_CHALLENGE {
            return Err(Rejection::failed("the transfer was not made during the life of this challenge"));
        }
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
        let mut looked = self.look(rpc, hash).await?;
        if !looked.is_ready(self) {
            let _place = self.patience.place(cx.client).ok_or_else(|| {
                Rejection::unavailable(RETRY, "evm: too many requests wait for transactions nobody has seen")
            })?;
            let until = Instant::now() + self.pace.receipt;
            while !looked.is_ready(self) && Instant::now() < until {
                tokio::time::sleep(self.pace.step).await;
                looked = self.look(rpc, hash).await?;
            }
        }
        match (looked.receipt, looked.tx) {
            (Some(receipt), Some(tx)) if receipt.transaction_hash == hash && tx.hash == hash => {
                Ok(Seen { receipt, tx, head: looked.head })
            }
            (Some(_), _) => Err(self.unavailable(rpc, &RpcError::Garbled)),
            // Known, but not mined: if it is the payment, the money may be on its way.
            (None, Some(tx)) => {
                is_payment(&tx)?;
                Err(Rejection::unavailable(RETRY, format!("evm: {hash} waits to be mined")))
            }
            (None, None) if looked.head.time() + FRESH >= cx.now => {
                Err(Rejection::failed("there is no such transaction on the chain"))
            }
            (None, None) => Err(Rejection::unavailable(
                RETRY,
                format!(
                    "evm: the RPC node at {} has fallen behind: block {} is old",
                    rpc.shown(),
                    looked.head.number()
                ),
            )),
        }
    }

    async fn look(&self, rpc: &Rpc, hash: B256) -> Result<Looked, Rejection> {
        let questions = [node::block("latest"), node::receipt(hash), node::transaction(hash)];
        let [head, receipt, tx] =
            rpc.read_all(questions).await.map_err(|e| self.unavailable_or_huge(rpc, e))?;
        let trouble = |e: RpcError| self.unavailable(rpc, &e);
        Ok(Looked {
            head: head.into_result().map_err(trouble)?,
            receipt: receipt.into_result().map_err(trouble)?,
            tx: tx.into_result().map_err(trouble)?,
        })
    }

    async fn time_of(&self, rpc: &Rpc, receipt: &TxReceipt) -> Result<Timestamp, Rejection> {
        if let Some(time) = receipt.block_time() {
            return Ok(time);
        }
        let number = format!("{:#x}", receipt.block_number);
        let block: Block = rpc.read(node::block(&number)).await.map_err(|e| self.unavailable(rpc, &e))?;
        Ok(block.time())
    }

    /// The node, once it has said that it serves the configured chain: a node of a test network would confirm
    /// payments with worthless money.
    async fn trusted_node(&self) -> Result<&Rpc, Rejection> {
        let (Some(rpc), Some(chain)) = (self.endpoint(), self.chain) else {
            return Err(Rejection::unavailable(RETRY, "evm: no RPC node is configured"));
        };
        if !self.right_chain.load(Ordering::Relaxed) {
            let served: U64 = rpc.read(node::chain_id()).await.map_err(|e| self.unavailable(rpc, &e))?;
            if served.to::<u64>() != chain.id() {
                let detail = format!("evm: the RPC node at {} serves chain {served}", rpc.shown());
                return Err(Rejection::unavailable(RETRY, detail));
            }
            self.right_chain.store(true, Ordering::Relaxed);
        }
        Ok(rpc)
    }

    fn unavailable(&self, rpc: &Rpc, error: &RpcError) -> Rejection {
        Rejection::unavailable(RETRY, format!("evm: {}: {error}", rpc.shown()))
    }

    /// A receipt nobody can read is the payer's doing, not trouble on our side.
    fn unavailable_or_huge(&self, rpc: &Rpc, error: RpcError) -> Rejection {
        match error {
            RpcError::TooLarge => {
                Rejection::failed("the transaction is too large to be recognised as a payment")
            }
            error => self.unavailable(rpc, &error),
        }
    }
}

/// What one look at a transaction finds.
struct Looked {
    head: Block,
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
    head: Block,
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
    let message = refusal.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["insufficient funds", "outofbalance"]) {
        Some("the payer's balance does not cover the amount and the network fee")
    } else if says(&["intrinsic gas", "out of gas", "outofgas", "gas limit", "gas required exceeds"]) {
        Some("the transaction's gas limit is too low for the transfer")
    } else if says(&["fee cap", "max fee per gas", "priority fee"]) {
        Some("the transaction's fees are not what the network takes")
    } else if refusal.is_revert() {
        Some("the token refuses this transfer from this payer")
    } else {
        None
    }
}

fn unreadable() -> Settlement {
    Settlement::Unknown {
        detail: "evm: the journaled plan is of another release and is not understood".into(),
    }
}

fn no_node() -> MethodProblem {
    MethodProblem("no RPC node is configured; call `.rpc(url)`".into())
}

fn unreachable_node(rpc: &Rpc, error: &RpcError) -> MethodProblem {
    MethodProblem(format!("the RPC node at {} cannot be used: {error}", rpc.shown()))
}
