//! The Tempo network behind [`ServerMethod`]: the configuration, the offers, and which file does what.
//!
//! `verify` (`verify.rs`) costs one round trip for either money type. `settle` broadcasts at most once, `resolve` never
//! does (`settle.rs`).

use super::plan::Plan;
use super::request::{Ask, Leg, Modes};
use super::sponsor::Ledger;
use super::{Mode, Tempo, settle, tokens};
use crate::chain::{Call, RpcError, chain_served_at, payer_of, unusable};
use crate::method::{
    CredentialCx, Fees, MethodCurrency, MethodName, MethodProblem, OfferCx, RefundCx, RefundOutcome,
    RefundPlan, Refunding, Rejection, ServerMethod, SettleCx, Settlement, Share, Splitting, SponsorBudget,
    Sponsoring, Step, Verified,
};
use crate::protocol::{BaseUnits, ChargeRequest, Timestamp};
use crate::store::Notebook;
use alloy::primitives::{Address, B256, Bytes, U256, hex};
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use tempo_alloy::contracts::precompiles::ITIP20;

/// Parts of others in one payment: the draft's bound, so that a payment fits into a block (TC-10).
const MOST_SPLITS: usize = 10;

/// Asks the node at `url` which chain it serves, for programs that let the node decide.
///
/// # Errors
/// A sentence that says what is wrong with the URL or the node, without credentials in the URL.
///
/// ```no_run
/// # async fn example() -> Result<(), mpp::method::MethodProblem> {
/// let url = "http://127.0.0.1:8545";
/// let chain_id = mpp::method::tempo::rpc_chain_id(url).await?;
/// let tempo = mpp::Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc(url).chain_id(chain_id);
/// # Ok(()) }
/// ```
pub async fn rpc_chain_id(url: &str) -> Result<u64, MethodProblem> {
    chain_served_at(url).await
}

impl ServerMethod for Tempo {
    fn name(&self) -> &MethodName {
        &self.name
    }

    fn currency(&self, name: &str) -> Option<MethodCurrency> {
        let own = self.tokens.iter().find(|(known, _)| known == name).map(|(_, token)| *token);
        let known = || tokens::known(self.chain_id).iter().find(|(known, _)| *known == name).map(|(_, t)| *t);
        let token = own.or_else(known)?;
        // Lower case: draft-tempo-session demands it (X-38), and peers compare the 20 bytes.
        Some(MethodCurrency {
            id: format!("{token:#x}"),
            decimals: tokens::DECIMALS,
            minimum: BaseUnits::ZERO,
        })
    }

    fn currencies(&self) -> Vec<String> {
        let known = tokens::known(self.chain_id).iter().map(|(name, _)| (*name).to_owned());
        let mut names: Vec<_> = self.tokens.iter().map(|(name, _)| name.clone()).chain(known).collect();
        names.sort();
        names.dedup();
        names
    }

    fn sponsoring(&self) -> Sponsoring {
        self.sponsor.as_ref().map_or(Sponsoring::Unconfigured, |sponsor| sponsor.sponsoring())
    }

    fn splitting(&self) -> Splitting {
        Splitting::Legs(MOST_SPLITS)
    }

    fn problems(&self) -> Vec<MethodProblem> {
        let mut problems = self.wrong.clone();
        problems.extend(self.node.problem());
        // JCS writes numbers as IEEE doubles; a larger id would not survive a peer's round trip.
        if self.chain_id == 0 || self.chain_id > 1 << 53 {
            problems.push(MethodProblem(format!("{} is not a usable chain id", self.chain_id)));
        }
        if let Some(sponsor) = &self.sponsor {
            problems.extend(sponsor.problems());
            if !self.modes.allow(Mode::Pull) {
                problems.push(MethodProblem(
                    "a sponsor is configured, but only `push` is supported, where payers broadcast at their own cost"
                        .into(),
                ));
            }
        }
        problems
    }

    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::boxed(async move {
            let rpc = self.node.check(self.chain_id).await?;
            let fee_tokens = self.sponsor.iter().flat_map(|sponsor| sponsor.policy.payable_in());
            let fee_tokens = fee_tokens.map(|token| ("the sponsor's fee token", token));
            let named = self.tokens.iter().map(|(name, token)| (name.as_str(), token));
            for (name, token) in named.chain(fee_tokens) {
                let question = eth_call(*token, ITIP20::decimalsCall {}.abi_encode());
                let decimals = match rpc.read::<Bytes>(question).await {
                    Ok(answer) => U256::try_from_be_slice(&answer).filter(|_| answer.len() == 32),
                    Err(RpcError::Node(_)) => None,
                    Err(e) => return Err(unusable(rpc, &e)),
                };
                if decimals != Some(U256::from(tokens::DECIMALS)) {
                    return Err(MethodProblem(format!(
                        "{token}, configured as {name:?}, is not a TIP-20 token on chain {}",
                        self.chain_id,
                    )));
                }
            }
            Ok(())
        })
    }

    fn ready(&self, now: Timestamp) -> Step<'_, Result<(), MethodProblem>> {
        Step::boxed(self.node.keeps_up(self.chain_id, now))
    }

    fn sponsor_budget<'a>(
        &'a self,
        notebook: &'a Notebook,
        now: Timestamp,
    ) -> Step<'a, Option<SponsorBudget>> {
        let Some(sponsor) = &self.sponsor else { return Step::ready(None) };
        let budget = sponsor.policy.budget_of_window();
        let ledger = Ledger { notebook, budget, chain_id: self.chain_id, now };
        Step::boxed(async move {
            let (left, total) = ledger.left().await.ok()?;
            let amount = |units: u64| BaseUnits::new(units.into()).to_amount(tokens::DECIMALS);
            Some(SponsorBudget { left: amount(left), total: amount(total) })
        })
    }

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        let token = crate::chain::parse_address(&cx.currency.id)
            .map_err(|e| MethodProblem(format!("{:?} is no token: {e}", cx.currency.id)))?;
        let recipient = self.recipient.ok_or_else(|| MethodProblem("there is no usable recipient".into()))?;
        let ask = Ask {
            amount: U256::from(cx.amount.get()),
            token,
            recipient,
            chain_id: self.chain_id,
            splits: self.splits(cx)?,
            fees: self.fees(cx)?,
            modes: self.modes_of(cx),
            memo: None,
        };
        Ok(ask.write(&cx.currency.id, cx.amount))
    }

    fn verify<'a>(&'a self, cx: &'a CredentialCx<'a>) -> Step<'a, Result<Verified, Rejection>> {
        Step::boxed(async move {
            let ask = Ask::read(cx.request)?;
            if ask.chain_id != self.chain_id {
                return Err(Rejection::failed("payments are no longer taken on the chain of this challenge"));
            }
            let source = match cx.source {
                Some(source) => {
                    Some(payer_of(source, self.chain_id).map_err(|e| Rejection::failed(e.to_string()))?)
                }
                None => None,
            };
            let member = |name: &str| cx.payload.get(name).and_then(Value::as_str).unwrap_or_default();
            // TC-16: zero is proved, everything else is paid.
            match (member("type"), ask.amount.is_zero()) {
                ("proof", true) => self.verify_proof(cx, member("signature"), source).await,
                // TC-21 and TC-22: before the modes, because it says more.
                ("hash", false) if ask.fees == Fees::Sponsored => {
                    Err(Rejection::failed("this offer is sponsored: send the transaction, not its hash"))
                }
                ("transaction", false) if !ask.modes.allow(Mode::Pull) => {
                    Err(Rejection::failed("this offer is paid by `type` \"hash\" only"))
                }
                ("hash", false) if !ask.modes.allow(Mode::Push) => {
                    Err(Rejection::failed("this offer is paid by `type` \"transaction\" only"))
                }
                ("transaction", false) => {
                    self.verify_transaction(cx, &ask, member("signature"), source).await
                }
                ("hash", false) => self.verify_hash(cx, &ask, member("hash"), source).await,
                ("transaction" | "hash", true) => {
                    Err(Rejection::failed("an amount of zero is answered with `type` \"proof\""))
                }
                ("proof", false) => Err(Rejection::failed("a proof pays nothing; the amount is not zero")),
                _ => Err(Rejection::malformed(
                    "`payload.type` has to be \"transaction\", \"hash\" or \"proof\"",
                )),
            }
        })
    }

    fn settle<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        match Plan::read(cx.plan) {
            Some(Plan::Transaction(plan)) => {
                Step::boxed(async move { self.broadcast(&plan).await.settlement })
            }
            Some(Plan::Sponsored(plan)) => Step::boxed(self.sponsor_and_broadcast(cx, *plan)),
            Some(done) => Step::ready(settle::settled_already(cx, done)),
            None => Step::ready(settle::unreadable()),
        }
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        match Plan::read(cx.plan) {
            Some(Plan::Transaction(plan)) => Step::boxed(async move { self.look_up(&plan).await.settlement }),
            Some(Plan::Sponsored(plan)) => Step::boxed(self.look_up_sponsored(cx, *plan)),
            Some(done) => Step::ready(settle::settled_already(cx, done)),
            None => Step::ready(settle::unreadable()),
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

/// `offer`.
impl Tempo {
    fn fees(&self, cx: &OfferCx<'_>) -> Result<Fees, MethodProblem> {
        match cx.fees {
            // A proof of identity is no transaction.
            _ if cx.amount.is_zero() => Ok(Fees::Payer),
            Fees::Payer => Ok(Fees::Payer),
            Fees::Sponsored if self.sponsor.is_some() => Ok(Fees::Sponsored),
            Fees::Sponsored => Err(MethodProblem("fees cannot be sponsored: call `.sponsor(…)`".into())),
        }
    }

    /// What this offer takes; a sponsored one has to be broadcast by us.
    fn modes_of(&self, cx: &OfferCx<'_>) -> Modes {
        match cx.fees {
            _ if cx.amount.is_zero() => Modes::Both,
            Fees::Payer => self.modes,
            Fees::Sponsored => Modes::Only(Mode::Pull),
        }
    }

    fn splits(&self, cx: &OfferCx<'_>) -> Result<Vec<Leg>, MethodProblem> {
        if cx.splits.len() > MOST_SPLITS {
            return Err(MethodProblem(format!("a payment is split between at most {MOST_SPLITS} others")));
        }
        let legs: Vec<_> = cx.splits.iter().map(|share| self.leg(share)).collect::<Result<_, _>>()?;
        let parts = legs.iter().try_fold(U256::ZERO, |sum, leg| sum.checked_add(leg.amount));
        // TC-09.
        if !legs.is_empty() && parts.is_none_or(|parts| parts >= U256::from(cx.amount.get())) {
            return Err(MethodProblem("the parts of others leave nothing for the recipient".into()));
        }
        Ok(legs)
    }

    fn leg(&self, share: &Share<'_>) -> Result<Leg, MethodProblem> {
        let payee = self.payees.iter().find(|(name, _)| name == share.payee);
        let Some((_, recipient)) = payee else {
            let known: Vec<_> = self.payees.iter().map(|(name, _)| name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(MethodProblem(format!(
                "nobody is known as {:?} (known: {known}); call `.payee({0:?}, \"0x…\")`",
                share.payee
            )));
        };
        if share.units.is_zero() {
            return Err(MethodProblem(format!("the part of {:?} is zero", share.payee)));
        }
        Ok(Leg { recipient: *recipient, amount: U256::from(share.units.get()), memo: None })
    }
}

pub(super) fn eth_call(to: Address, data: Vec<u8>) -> Call {
    Call::new("eth_call", json!([{ "to": to, "data": hex::encode_prefixed(data) }, "latest"]))
}

pub(super) fn balance_of(token: Address, account: Address) -> Call {
    eth_call(token, ITIP20::balanceOfCall { account }.abi_encode())
}

pub(super) fn receipt_of(hash: B256) -> Call {
    Call::new("eth_getTransactionReceipt", json!([hash]))
}
