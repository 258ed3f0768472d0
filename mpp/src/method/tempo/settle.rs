//! `settle` and `resolve`: one broadcast, and what its answer means. The release rule is in the module's documentation
//! (`mod.rs`).
//!
//! A sponsored payment has three more steps before its broadcast: the worst fee is reserved, the transaction is signed for,
//! and the signed bytes with their hash go on the notebook under the challenge id. Who finds no page there may write that it
//! gave up; who finds that can no longer broadcast. So after a crash either a hash is known or nothing was sent. Bytes that
//! provably never left stay there, and are what is broadcast when the credential comes back: nothing is signed for twice.

use super::plan::{Broadcast, Effect, Plan, Sponsored};
use super::server::{balance_of, receipt_of};
use super::sponsor::{Cost, Ledger, Pause, Reservation, Spent, Sponsor, Standing};
use super::{Tempo, push};
use crate::chain::{Call, Head, RETRY, Rpc, RpcError, TxReceipt, block};
use crate::method::{Payment, Rejection, SettleCx, Settlement};
use crate::protocol::Timestamp;
use crate::store::{Keep, Notebook, NotebookError, Turn};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{B256, Bytes, U256};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use tempo_alloy::primitives::AASigned;
use tempo_alloy::primitives::transaction::calc_gas_balance_spending;
use tokio::time::Instant;

/// How far finalized time has to be past `validBefore`: the receipt may come from a node a little behind.
pub(super) const SETTLED_FOR: Duration = Duration::from_secs(10);
/// How long it is remembered that a sponsored payment is over, or was given up: longer than any challenge lives.
const MEMORY: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// What the chain said.
pub(super) struct Ending {
    pub(super) settlement: Settlement,
    pub(super) receipt: Option<TxReceipt>,
}

impl Ending {
    /// Whether it is certain that nothing was handed to the network: the answer to a broadcast that could not be made.
    fn never_left(&self) -> bool {
        self.receipt.is_none()
            && matches!(self.settlement, Settlement::Declined(Rejection::Unavailable { .. }))
    }
}

impl From<Settlement> for Ending {
    fn from(settlement: Settlement) -> Self {
        Self { settlement, receipt: None }
    }
}

/// What the notebook says about a sponsored payment, on the page `cosigned/<challenge id>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
enum Cosigned {
    /// Nothing was broadcast, and nothing will be.
    GivenUp,
    /// About to be broadcast, or broadcast.
    Signed { raw: Bytes, hash: B256, reserved: Reservation },
    /// No connection could be opened: they never left, and nothing is reserved for them.
    Kept { raw: Bytes, hash: B256 },
    /// Over, and the reservation corrected.
    Closed { hash: B256 },
}

/// One transaction.
impl Tempo {
    pub(super) async fn broadcast(&self, plan: &Broadcast) -> Ending {
        // The chain was checked in `verify`, in this process or in the one that wrote the plan.
        let Some(rpc) = self.node.rpc().filter(|_| plan.effect.chain_id == self.chain_id) else {
            return nothing_sent("tempo: no RPC node for the chain of this payment is configured").into();
        };
        match self.send(rpc, &plan.raw).await {
            Ok(Some(receipt)) => ending(plan, receipt),
            Ok(None) => self.wait_for(rpc, plan, "the node took the transaction").await,
            Err(error @ RpcError::NotSent) => nothing_sent(format!("tempo: {}: {error}", rpc.shown())).into(),
            // Whatever the node says now, an earlier copy of these bytes may have been taken: only the chain knows.
            Err(error) => self.wait_for(rpc, plan, &error.to_string()).await,
        }
    }

    /// Hands the transaction over, once: with the call that answers with the receipt, or, where the node does not know
    /// it (so it took nothing), with the one that answers with the hash.
    async fn send(&self, rpc: &Rpc, raw: &Bytes) -> Result<Option<TxReceipt>, RpcError> {
        let sync = Call::new("eth_sendRawTransactionSync", json!([raw]));
        match rpc.write::<Option<TxReceipt>>(sync, self.pace.broadcast).await {
            Err(RpcError::Node(refusal)) if refusal.is_unknown_method() => {
                let plain = Call::new("eth_sendRawTransaction", json!([raw]));
                rpc.write::<B256>(plain, self.pace.broadcast).await.map(|_hash| None)
            }
            answer => answer,
        }
    }

    /// Looks for the receipt of a transaction that was, or may have been, taken.
    async fn wait_for(&self, rpc: &Rpc, plan: &Broadcast, what: &str) -> Ending {
        let until = Instant::now() + self.pace.receipt;
        loop {
            if let Ok(Some(receipt)) = self.receipt(rpc, plan.hash).await {
                return ending(plan, receipt);
            }
            if Instant::now() >= until {
                let detail = format!("tempo: {}: no receipt for {} yet ({what})", rpc.shown(), plan.hash);
                return Settlement::Unknown { detail }.into();
            }
            tokio::time::sleep(self.pace.step).await;
        }
    }

    pub(super) async fn look_up(&self, plan: &Broadcast) -> Ending {
        let Some(rpc) = self.node.rpc().filter(|_| plan.effect.chain_id == self.chain_id) else {
            let detail = format!("tempo: no RPC node for chain {} is configured", plan.effect.chain_id);
            return Settlement::Unknown { detail }.into();
        };
        // In one round trip, so by one node: a receipt missing at a node that is behind another one's finalized block would
        // say nothing.
        let asked = rpc.read_all([block("finalized"), receipt_of(plan.hash)]).await;
        let (finalized, receipt) = match asked {
            Ok([finalized, receipt]) => {
                (finalized.into_result::<Option<Head>>(), receipt.into_result::<Option<TxReceipt>>())
            }
            Err(error) => return unknown(rpc, &error).into(),
        };
        match receipt {
            Ok(Some(receipt)) if receipt.transaction_hash == plan.hash => return ending(plan, receipt),
            Ok(_) => {}
            Err(error) => return unknown(rpc, &error).into(),
        }
        let valid_before = i64::try_from(plan.effect.valid_before).unwrap_or(i64::MAX);
        match finalized {
            Ok(Some(head)) if head.time() >= Timestamp::from_unix(valid_before) + SETTLED_FOR => {
                Settlement::Declined(Rejection::failed(
                    "the transaction was not mined before its `validBefore`; nothing was paid",
                ))
            }
            Ok(_) => Settlement::Unknown { detail: format!("tempo: {} may still be mined", plan.hash) },
            Err(error) => unknown(rpc, &error),
        }
        .into()
    }

    async fn receipt(&self, rpc: &Rpc, hash: B256) -> Result<Option<TxReceipt>, RpcError> {
        let receipt: Option<TxReceipt> = rpc.read(receipt_of(hash)).await?;
        Ok(receipt.filter(|receipt| receipt.transaction_hash == hash))
    }
}

/// One transaction whose fee we pay.
impl Tempo {
    /// Reserve, sign, write down, broadcast. Whatever fails before the broadcast leaves nothing behind that could pay.
    pub(super) async fn sponsor_and_broadcast(&self, cx: &SettleCx<'_>, plan: Sponsored) -> Settlement {
        let (Some(sponsor), Some(notebook)) = (&self.sponsor, cx.notebook()) else {
            return nothing_sent("tempo: a sponsored payment without a sponsor or without a notebook");
        };
        let mut raw = plan.raw.as_ref();
        let Ok(signed) = AASigned::decode_2718(&mut raw) else { return unreadable() };
        // Signed for before: what may have left is looked up, and nothing is signed for again.
        let kept = match notebook.read(&page_of(cx.challenge_id)).await {
            Ok(None) => None,
            Ok(Some(Cosigned::Kept { raw, hash })) => Some((raw, hash)),
            Ok(Some(page)) => return taken_up_before(&page),
            Err(error) => return nothing_sent(format!("tempo: the notebook: {error}")),
        };

        let ledger = self.ledger(sponsor, notebook, cx.now);
        let reserved = match ledger.reserve(plan.effect.payer, plan.client, plan.most).await {
            Ok(Ok(reserved)) => reserved,
            Ok(Err(spent)) => return self.not_sponsored(sponsor, spent, cx.now),
            Err(error) => return nothing_sent(format!("tempo: the sponsor's budget: {error}")),
        };
        let ready = match kept {
            Some(kept) => Ok(kept),
            None => self.cosigned(sponsor, &signed, &plan).await,
        };
        let (raw, hash) = match ready {
            Ok(ready) => ready,
            Err(why) => {
                correct(&ledger, sponsor, &reserved, Cost::Nothing).await;
                return nothing_sent(why);
            }
        };
        let page = Cosigned::Signed { raw: raw.clone(), hash, reserved: reserved.clone() };
        let broadcast = Broadcast { raw, hash, effect: plan.effect };
        match write_first(notebook, cx.challenge_id, page).await {
            Ok(None) => {}
            Ok(Some(page)) => {
                correct(&ledger, sponsor, &reserved, Cost::Nothing).await;
                return taken_up_before(&page);
            }
            // The page may be there; nobody broadcasts from it. The reservation stands until its window ends.
            Err(error) => return nothing_sent(format!("tempo: the notebook: {error}")),
        }
        // From here on a copy of it may be on the chain, and a simulation says nothing. Not before: what was not broadcast is
        // simulated again when it comes back.
        let signed_hash = signed.expiring_nonce_hash(broadcast.effect.payer);
        sponsor.remember(signed_hash);
        let ending = self.broadcast(&broadcast).await;
        if ending.never_left() {
            sponsor.forget(&signed_hash);
        }
        self.close(cx, sponsor, notebook, &ending).await;
        ending.settlement
    }

    /// The transaction with the sponsor's signature, and its hash.
    async fn cosigned(
        &self,
        sponsor: &Sponsor,
        signed: &AASigned,
        plan: &Sponsored,
    ) -> Result<(Bytes, B256), String> {
        let payer = plan.effect.payer;
        let cosigned = sponsor.cosign(signed, payer).await.map_err(|error| format!("tempo: {error}"))?;
        self.hosted_can_pay(sponsor, &cosigned, plan).await?;
        Ok((cosigned.encoded_2718().into(), *cosigned.hash()))
    }

    /// A signature over anything else than asked for is one of an account nobody has: it would never be mined, and nobody
    /// could tell for a while. The account of a key of ours was looked at in `verify`.
    async fn hosted_can_pay(
        &self,
        sponsor: &Sponsor,
        cosigned: &AASigned,
        plan: &Sponsored,
    ) -> Result<(), String> {
        let fee_payer = cosigned.tx().recover_fee_payer(plan.effect.payer);
        let (None, Some(rpc), Some(token), Ok(account)) =
            (sponsor.address(), self.node.rpc(), cosigned.tx().fee_token, fee_payer)
        else {
            return Ok(());
        };
        match rpc.read::<Bytes>(balance_of(token, account)).await {
            Ok(answer) if U256::try_from_be_slice(&answer).unwrap_or_default() >= U256::from(plan.most) => {
                Ok(())
            }
            Ok(_) => {
                Err(format!("tempo: the hosted fee payer signed for {account}, which cannot pay the fee"))
            }
            Err(error) => Err(format!("tempo: {}: {error}", rpc.shown())),
        }
    }

    /// Looks a sponsored payment up by the hash on the notebook. Never signs, never broadcasts.
    pub(super) async fn look_up_sponsored(&self, cx: &SettleCx<'_>, plan: Sponsored) -> Settlement {
        let Some(notebook) = cx.notebook() else {
            return Settlement::Unknown {
                detail: "tempo: there is no notebook to look this payment up in".into(),
            };
        };
        let (raw, hash) = match write_first(notebook, cx.challenge_id, Cosigned::GivenUp).await {
            // It was never broadcast, and with this page there it never will be.
            Ok(None | Some(Cosigned::GivenUp | Cosigned::Kept { .. })) => {
                return nothing_sent(
                    "tempo: the process that took this payment up died before its broadcast",
                );
            }
            Ok(Some(Cosigned::Signed { raw, hash, .. })) => (raw, hash),
            Ok(Some(Cosigned::Closed { hash })) => (Bytes::new(), hash),
            Err(error) => return Settlement::Unknown { detail: format!("tempo: the notebook: {error}") },
        };
        let ending = self.look_up(&Broadcast { raw, hash, effect: plan.effect }).await;
        if let Some(sponsor) = &self.sponsor {
            self.close(cx, sponsor, notebook, &ending).await;
        }
        ending.settlement
    }

    /// Erases the bytes and corrects the budget, once, when it is known what became of them.
    async fn close(&self, cx: &SettleCx<'_>, sponsor: &Sponsor, notebook: &Notebook, ending: &Ending) {
        let cost = match (&ending.settlement, &ending.receipt) {
            (_, Some(receipt)) => match (receipt.succeeded(), fee_of(receipt)) {
                (true, Some(fee)) => Some(Cost::Paid(fee)),
                (false, Some(fee)) => Some(Cost::Reverted(fee)),
                // A node that does not say what it cost: what was reserved stands.
                (_, None) => None,
            },
            (Settlement::Declined(_), None) => Some(Cost::Nothing),
            (Settlement::Settled(_) | Settlement::Unknown { .. }, None) => return,
        };
        let reserved = notebook
            .turn(&page_of(cx.challenge_id), |there: Option<Cosigned>| match there {
                // First the page, then the budget: who dies in between leaves a budget that says too much.
                Some(Cosigned::Signed { raw, hash, reserved }) => {
                    let page = match ending.never_left() {
                        true => Cosigned::Kept { raw, hash },
                        false => Cosigned::Closed { hash },
                    };
                    Turn::write(page, Keep::For(MEMORY), Some(reserved))
                }
                _ => Turn::leave(None),
            })
            .await;
        match (reserved, cost) {
            (Ok(Some(reserved)), Some(cost)) => {
                let ledger = self.ledger(sponsor, notebook, cx.now);
                correct(&ledger, sponsor, &reserved, cost).await;
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                tracing::warn!(target: "mpp", challenge = cx.challenge_id, %error, "tempo: a sponsored fee was not corrected");
            }
        }
    }

    /// Nothing was signed. The answer is a fresh challenge, an unsponsored one if the budget is spent.
    fn not_sponsored(&self, sponsor: &Sponsor, spent: Spent, now: Timestamp) -> Settlement {
        let why = match spent {
            Spent::Client => {
                "too many transactions sponsored for this client were reverted; no more are for a while"
            }
            Spent::ClientBusy => {
                "too many transactions sponsored for this client are under way; pay your own fee, or later"
            }
            Spent::Payer => "the sponsor pays no more fees of this payer for a while",
            Spent::Total { until } => {
                sponsor.pause(Pause::Spent, until.since(now));
                tracing::warn!(target: "mpp", "tempo: the sponsor's budget is spent; offers go out unsponsored");
                "fees are not sponsored at the moment"
            }
        };
        Settlement::Declined(Rejection::failed(why))
    }

    fn ledger<'a>(&self, sponsor: &Sponsor, notebook: &'a Notebook, now: Timestamp) -> Ledger<'a> {
        Ledger { notebook, budget: sponsor.policy.budget_of_window(), chain_id: self.chain_id, now }
    }
}

/// Corrects a reservation; a failure leaves the budget too small, never too large.
async fn correct(ledger: &Ledger<'_>, sponsor: &Sponsor, reserved: &Reservation, cost: Cost) {
    match ledger.correct(reserved, cost).await {
        Ok(Standing::Full) => {}
        Ok(Standing::Open) => sponsor.has_room(),
        Ok(Standing::Broken { until }) => {
            sponsor.pause(Pause::Closed, until.since(ledger.now));
            tracing::warn!(target: "mpp", "tempo: too many sponsored transactions were reverted; offers go out unsponsored");
        }
        Err(error) => tracing::warn!(target: "mpp", %error, "tempo: a sponsored fee was not corrected"),
    }
}

/// Writes the page if there is none, or bytes that never left; otherwise returns what is there.
async fn write_first(
    notebook: &Notebook,
    challenge_id: &str,
    page: Cosigned,
) -> Result<Option<Cosigned>, NotebookError> {
    // What may have been broadcast is kept until somebody knows.
    let keep = if page == Cosigned::GivenUp { Keep::For(MEMORY) } else { Keep::Live };
    let follows = |kept: &B256| match &page {
        Cosigned::Signed { hash, .. } => hash == kept,
        // Whoever was about to broadcast them cannot any more.
        _ => true,
    };
    notebook
        .turn(&page_of(challenge_id), |there: Option<Cosigned>| match there {
            None => Turn::write(page.clone(), keep, None),
            Some(Cosigned::Kept { hash, .. }) if follows(&hash) => Turn::write(page.clone(), keep, None),
            Some(there) => Turn::leave(Some(there)),
        })
        .await
}

/// Somebody else has worked on this payment.
fn taken_up_before(page: &Cosigned) -> Settlement {
    match page {
        Cosigned::GivenUp | Cosigned::Kept { .. } => {
            nothing_sent("tempo: this payment was given up before its broadcast")
        }
        Cosigned::Signed { hash, .. } | Cosigned::Closed { hash } => {
            Settlement::Unknown { detail: format!("tempo: {hash} was signed for before") }
        }
    }
}

fn page_of(challenge_id: &str) -> String {
    format!("cosigned/{challenge_id}")
}

/// What a mined transaction cost, in base units of its fee token.
fn fee_of(receipt: &TxReceipt) -> Option<u64> {
    let (gas, price) = receipt.gas()?;
    u64::try_from(calc_gas_balance_spending(gas, price)).ok()
}

/// What a receipt of our own broadcast means.
fn ending(plan: &Broadcast, receipt: TxReceipt) -> Ending {
    let settlement = outcome(plan, &receipt);
    Ending { settlement, receipt: (receipt.transaction_hash == plan.hash).then_some(receipt) }
}

fn outcome(plan: &Broadcast, receipt: &TxReceipt) -> Settlement {
    if receipt.transaction_hash != plan.hash {
        return Settlement::Unknown { detail: format!("tempo: the node sent no receipt of {}", plan.hash) };
    }
    if !receipt.succeeded() {
        return Settlement::Declined(Rejection::failed("the transaction was reverted; nothing was paid"));
    }
    let Effect { payer, memo, external_id, .. } = &plan.effect;
    let paid = push::payment_in(receipt, &plan.effect.ask(), |found| found == memo);
    if paid.is_none_or(|paid| paid.payer != *payer) {
        return Settlement::Unknown {
            detail: format!(
                "tempo: {} succeeded but did not pay the recipient; it needs a person",
                plan.hash
            ),
        };
    }
    settled(format!("{:#x}", plan.hash), external_id.clone())
}

/// A payment whose money had moved, or that had none, when it was verified.
pub(super) fn settled_already(cx: &SettleCx<'_>, plan: Plan) -> Settlement {
    match plan {
        Plan::Hash { hash, external_id } => settled(format!("{hash:#x}"), external_id),
        // No transaction exists: the draft refers to the challenge.
        Plan::Proof { external_id } => settled(cx.challenge_id.to_owned(), external_id),
        Plan::Transaction(_) | Plan::Sponsored(_) => unreadable(),
    }
}

fn settled(reference: String, external_id: Option<String>) -> Settlement {
    Settlement::Settled(Payment { external_id, ..Payment::new(reference) })
}

fn nothing_sent(detail: impl Into<String>) -> Settlement {
    Settlement::Declined(Rejection::unavailable(RETRY, detail))
}

fn unknown(rpc: &Rpc, error: &RpcError) -> Settlement {
    Settlement::Unknown { detail: format!("tempo: {}: {error}", rpc.shown()) }
}

pub(super) fn unreadable() -> Settlement {
    Settlement::Unknown {
        detail: "tempo: the journaled plan is of another release and is not understood".into(),
    }
}
