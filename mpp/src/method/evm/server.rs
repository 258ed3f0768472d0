//! An EVM chain behind [`ServerMethod`]: what is offered, and what start-up checks.

use super::abi::{IPermit2, IToken};
use super::node;
use super::plan::Plan;
use super::request::{Ask, Terms};
use super::settle::settled;
use super::typed::{permit2_domain, token_domain};
use super::{CredentialType, Evm, HashBinding, Kind, Standard, Token};
use crate::chain::{Answer, Head, Rpc, RpcError, chain_served_at, unusable};
use crate::method::{
    CredentialCx, Fees, MethodCurrency, MethodName, MethodProblem, OfferCx, RefundCx, RefundOutcome,
    RefundPlan, Refunding, Rejection, ServerMethod, SettleCx, Settlement, Sponsoring, Step, Verified,
};
use crate::protocol::{BaseUnits, ChargeRequest, Timestamp};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolCall;
use std::sync::PoisonError;

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
    chain_served_at(url).await
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
        match &self.settler {
            Some(settler) if settler.is_open() => Sponsoring::Open,
            Some(_) => Sponsoring::Paused,
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
        problems.extend(self.node.problem());
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
        if let (Some(refunds), Some(settler)) = (&self.refunds, &self.settler)
            && refunds.address() == settler.address()
        {
            problems.push(MethodProblem(
                "refunds and settlements are signed with the same key, and would take each other's nonces"
                    .into(),
            ));
        }
        problems
    }

    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::boxed(self.check_network())
    }

    fn ready(&self, now: Timestamp) -> Step<'_, Result<(), MethodProblem>> {
        match self.chain {
            Some(chain) => Step::boxed(self.node.keeps_up(chain.id(), now)),
            // A problem since start-up.
            None => Step::ready(Err(MethodProblem("no chain is configured".into()))),
        }
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
            Some(Plan::Submit(plan)) => Step::boxed(self.submit(cx, plan)),
            Some(Plan::Broadcast(plan)) => Step::boxed(self.broadcast(cx, plan)),
            Some(Plan::Hash(done)) => Step::ready(settled(done.hash, done.chain_id, done.external_id)),
            None => Step::ready(unreadable()),
        }
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        match Plan::read(cx.plan) {
            Some(Plan::Submit(plan)) => Step::boxed(async move { self.look_up_submitted(&plan).await }),
            Some(Plan::Broadcast(plan)) => Step::boxed(self.find(cx, plan)),
            Some(Plan::Hash(done)) => Step::ready(settled(done.hash, done.chain_id, done.external_id)),
            None => Step::ready(unreadable()),
        }
    }

    fn refunding(&self) -> Refunding {
        match self.refunds {
            Some(_) => Refunding::Configured,
            None => Refunding::Unconfigured,
        }
    }

    fn plan_refund<'a>(&'a self, cx: &'a RefundCx<'a>) -> Step<'a, Result<RefundPlan, MethodProblem>> {
        Step::boxed(self.plan_back(cx))
    }

    fn refund<'a>(&'a self, plan: &'a RefundPlan, _now: Timestamp) -> Step<'a, RefundOutcome> {
        Step::boxed(self.give_back(plan))
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
}

/// `check`.
impl Evm {
    async fn check_network(&self) -> Result<(), MethodProblem> {
        let chain = self.chain.ok_or_else(|| MethodProblem("no chain is configured".into()))?.id();
        let rpc = self.node.check(chain).await?;
        let trouble = |e: RpcError| unusable(rpc, &e);
        let head: Head = rpc.read(node::block("latest")).await.map_err(trouble)?;
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
            Err(e) => return Err(unusable(rpc, &e)),
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
            NoDomain::Trouble(e) => unusable(rpc, &e),
            NoDomain::Other => MethodProblem(format!(
                "{at}, configured as {:?}, does not sign transfers under its name, version and chain (EIP-3009, EIP-712); \
                 call `.token` for a token that can only be transferred",
                token.name
            )),
        })
    }

    async fn check_permit2(&self, rpc: &Rpc, chain: u64) -> Result<(), MethodProblem> {
        let trouble = |e: RpcError| unusable(rpc, &e);
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
    pub(super) async fn domain(&self, rpc: &Rpc, chain: u64, token: Address) -> Result<B256, NoDomain> {
        let known = || self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(domain) = known().get(&token) {
            return Ok(*domain);
        }
        let domain = read_domain(rpc, chain, token).await?;
        known().insert(token, domain);
        Ok(domain)
    }
}

/// Reads a token's EIP-712 domain: its name and version, compared with the separator it verifies under, or what it says of itself
/// by ERC-5267 where it has no separator to show.
pub(super) async fn read_domain(rpc: &Rpc, chain: u64, token: Address) -> Result<B256, NoDomain> {
    let [name, version, separator, described] = rpc
        .read_all([
            node::call(token, &IToken::nameCall {}),
            node::call(token, &IToken::versionCall {}),
            node::call(token, &IToken::DOMAIN_SEPARATORCall {}),
            node::call(token, &IToken::eip712DomainCall {}),
        ])
        .await
        .map_err(NoDomain::Trouble)?;
    let read = |answer: Answer| match answer.into_result::<Bytes>() {
        Ok(bytes) => Ok(Some(bytes)),
        // A contract that does not know the function reverts.
        Err(RpcError::Node(refusal)) if refusal.is_revert() => Ok(None),
        Err(e) => Err(NoDomain::Trouble(e)),
    };
    let (name, version, separator, described) =
        (read(name)?, read(version)?, read(separator)?, read(described)?);
    let said = described.and_then(|answer| IToken::eip712DomainCall::abi_decode_returns(&answer).ok());
    let domain = match (said, name, version) {
        (Some(said), ..) => {
            // Name, version, chain and contract, nothing else: what EIP-3009 signs under.
            let plain = said.fields.0 == [0x0f] && said.extensions.is_empty();
            let here = said.chainId == U256::from(chain) && said.verifyingContract == token;
            (plain && here).then(|| token_domain(&said.name, &said.version, chain, token))
        }
        (None, Some(name), Some(version)) => {
            let name = IToken::nameCall::abi_decode_returns(&name).map_err(|_| NoDomain::Other)?;
            let version = IToken::versionCall::abi_decode_returns(&version).map_err(|_| NoDomain::Other)?;
            // Nothing but the separator can confirm these.
            separator.is_some().then(|| token_domain(&name, &version, chain, token))
        }
        (None, ..) => None,
    };
    domain.filter(|domain| separator.is_none_or(|separator| **separator == **domain)).ok_or(NoDomain::Other)
}

/// Why the domain of a token is not known.
#[derive(Debug)]
pub(super) enum NoDomain {
    /// The node did not say.
    Trouble(RpcError),
    /// The token has none, or another than its name and version give.
    Other,
}

fn unreadable() -> Settlement {
    Settlement::Unknown {
        detail: "evm: the journaled plan is of another release and is not understood".into(),
    }
}
