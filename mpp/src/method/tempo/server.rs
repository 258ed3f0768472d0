//! The Tempo network behind [`ServerMethod`]: what is asked of the node, in which order, and what its answers mean.
//!
//! `verify` costs one round trip for either money type. `settle` broadcasts at most once; `resolve` never does.

use super::plan::{Broadcast, Plan};
use super::pull::SignedTransfer;
use super::request::Ask;
use super::{Node, Tempo, proof, push, tokens};
use crate::chain::{Call, Head, NodeError, Reach, Rpc, RpcError, TxReceipt, did_of, payer_of};
use crate::method::{
    CredentialCx, MethodCurrency, MethodName, MethodProblem, OfferCx, Payment, Rejection, ServerMethod,
    SettleCx, Settlement, Step, Verified,
};
use crate::protocol::{BaseUnits, ChargeRequest, Timestamp};
use alloy::primitives::{Address, B256, Bytes, U64, U256, hex};
use alloy::sol_types::SolCall;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempo_alloy::contracts::precompiles::ITIP20;
use tokio::time::Instant;

/// A node whose newest block is older has fallen behind: it cannot say that a transaction does not exist.
const FRESH: Duration = Duration::from_secs(30);
/// How much the chain's clock may run ahead of ours.
const SKEW: Duration = Duration::from_secs(15);
/// No challenge lives longer; an older transfer is not the payment of one that is alive now.
const LONGEST_CHALLENGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How far finalized time has to be past `validBefore`: the receipt may come from a node a little behind.
const SETTLED_FOR: Duration = Duration::from_secs(10);
/// How far ahead a transaction with an expiring nonce may end (TIP-1009).
const LONGEST_EXPIRING: Duration = Duration::from_secs(30);
/// EIP-1474: "transaction rejected".
const REJECTED: i64 = -32003;
/// When a client may come back after trouble on our side.
const RETRY: Duration = Duration::from_secs(2);
/// How often a transaction that the newest block would not take is looked at.
const LOOKS: u32 = 3;

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
    let rpc = Rpc::new(url, Reach::Anywhere).map_err(|e| MethodProblem(e.to_string()))?;
    chain_id(&rpc).await.map_err(|e| unreachable_node(&rpc, &e))
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

    fn problems(&self) -> Vec<MethodProblem> {
        let mut problems = self.wrong.clone();
        if matches!(self.node, Node::Missing) {
            problems.push(no_node());
        }
        // JCS writes numbers as IEEE doubles; a larger id would not survive a peer's round trip.
        if self.chain_id == 0 || self.chain_id > 1 << 53 {
            problems.push(MethodProblem(format!("{} is not a usable chain id", self.chain_id)));
        }
        problems
    }

    fn check(&self) -> Step<'_, Result<(), MethodProblem>> {
        Step::boxed(async move {
            let rpc = self.endpoint().ok_or_else(no_node)?;
            let served = chain_id(rpc).await.map_err(|e| unreachable_node(rpc, &e))?;
            if served != self.chain_id {
                return Err(MethodProblem(format!(
                    "the RPC node at {} serves chain {served}, not chain {}",
                    rpc.shown(),
                    self.chain_id,
                )));
            }
            self.right_chain.store(true, Ordering::Relaxed);
            for (name, token) in &self.tokens {
                let question = eth_call(*token, ITIP20::decimalsCall {}.abi_encode());
                let decimals = match rpc.read::<Bytes>(question).await {
                    Ok(answer) => U256::try_from_be_slice(&answer).filter(|_| answer.len() == 32),
                    Err(RpcError::Node(_)) => None,
                    Err(e) => return Err(unreachable_node(rpc, &e)),
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

    fn offer(&self, cx: &OfferCx<'_>) -> Result<ChargeRequest, MethodProblem> {
        let recipient = self.recipient.ok_or_else(|| MethodProblem("there is no usable recipient".into()))?;
        Ok(Ask::write(cx.amount, &cx.currency.id, recipient, self.chain_id))
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
                ("proof", true) => self.verify_proof(cx, member("signature"), source),
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
            Some(Plan::Transaction(plan)) => Step::boxed(self.broadcast(plan)),
            Some(done) => Step::ready(settled_already(cx, done)),
            None => Step::ready(unreadable()),
        }
    }

    fn resolve<'a>(&'a self, cx: &'a SettleCx<'a>) -> Step<'a, Settlement> {
        match Plan::read(cx.plan) {
            Some(Plan::Transaction(plan)) => Step::boxed(self.look_up(plan)),
            Some(done) => Step::ready(settled_already(cx, done)),
            None => Step::ready(unreadable()),
        }
    }
}

/// `verify`.
impl Tempo {
    fn endpoint(&self) -> Option<&Rpc> {
        match &self.node {
            Node::At(rpc) => Some(rpc),
            Node::Missing | Node::Unusable => None,
        }
    }

    fn verify_proof(
        &self,
        cx: &CredentialCx<'_>,
        signature: &str,
        source: Option<Address>,
    ) -> Result<Verified, Rejection> {
        let account =
            source.ok_or_else(|| Rejection::malformed("a proof has to name its account in `source`"))?;
        proof::verify(signature, account, self.chain_id, &cx.challenge.id, &cx.challenge.realm)?;
        let plan = Plan::Proof { external_id: cx.request.external_id.clone() };
        // Single use by the challenge id, which the signature covers.
        Ok(Verified {
            payer: Some(did_of(self.chain_id, account)),
            proof_keys: Vec::new(),
            plan: plan.write(),
        })
    }

    async fn verify_transaction(
        &self,
        cx: &CredentialCx<'_>,
        ask: &Ask,
        signature: &str,
        source: Option<Address>,
    ) -> Result<Verified, Rejection> {
        let signed = SignedTransfer::read(signature, ask, cx.challenge, cx.expires, cx.now)?;
        if source.is_some_and(|source| source != signed.payer) {
            return Err(Rejection::failed("the transaction is not signed by the account in `source`"));
        }
        let rpc = self.trusted_node().await?;
        for look in 1.. {
            match self.can_pay(rpc, ask, &signed, cx.now).await {
                Ok(()) => break,
                // The node may be a block behind what the payer's wallet has seen.
                Err(Doubt::AtThisBlock(_)) if look < LOOKS => tokio::time::sleep(self.pace.step * 3).await,
                Err(Doubt::AtThisBlock(refused) | Doubt::Final(refused)) => return Err(refused),
            }
        }
        let plan = Plan::Transaction(Broadcast {
            raw: signed.raw,
            hash: signed.hash,
            payer: signed.payer,
            token: ask.token,
            recipient: ask.recipient,
            amount: ask.amount,
            memo: signed.memo,
            chain_id: ask.chain_id,
            valid_before: signed.valid_before,
            external_id: cx.request.external_id.clone(),
        });
        Ok(self.verified(signed.payer, signed.hash, &plan))
    }

    /// The payer has the money, and the transaction as it is would move it: gas, fee, validity and token policy
    /// included. What cannot be mined is refused here, because after a broadcast nobody would know for a while.
    async fn can_pay(
        &self,
        rpc: &Rpc,
        ask: &Ask,
        signed: &SignedTransfer,
        now: Timestamp,
    ) -> Result<(), Doubt> {
        let balance = ITIP20::balanceOfCall { account: signed.payer }.abi_encode();
        let [mined, balance, simulated] = rpc
            .read_all([
                receipt_of(signed.hash),
                eth_call(ask.token, balance),
                Call::new("eth_call", json!([signed.simulation, "latest"])),
            ])
            .await
            .map_err(|e| self.unavailable(rpc, &e))?;
        // It is on the chain: another copy of this credential was faster, or the payer broadcast it after all. The
        // money has moved, so it must not be refused here; the journal knows what is due.
        if mined.into_result::<Option<TxReceipt>>().is_ok_and(|receipt| receipt.is_some()) {
            return Ok(());
        }
        let balance: Bytes = balance.into_result().map_err(|e| self.unavailable(rpc, &e))?;
        let balance = U256::try_from_be_slice(&balance).unwrap_or_default();
        if balance < ask.amount {
            return Err(Rejection::failed("the payer's balance does not cover the amount").into());
        }
        match simulated.into_result::<Bytes>() {
            Ok(_) => Ok(()),
            Err(RpcError::Node(refusal)) => {
                let ahead =
                    Timestamp::from_unix(i64::try_from(signed.valid_before).unwrap_or(i64::MAX)).since(now);
                let revert = refusal.is_revert();
                let refused = cannot_be_mined(&refusal, ahead)
                    .map_or_else(|| self.unavailable(rpc, &RpcError::Node(refusal)), Rejection::failed);
                Err(if revert { Doubt::Final(refused) } else { Doubt::AtThisBlock(refused) })
            }
            Err(e) => Err(self.unavailable(rpc, &e).into()),
        }
    }

    async fn verify_hash(
        &self,
        cx: &CredentialCx<'_>,
        ask: &Ask,
        hash: &str,
        source: Option<Address>,
    ) -> Result<Verified, Rejection> {
        let hash = push::parse_hash(hash)
            .ok_or_else(|| Rejection::malformed("`payload.hash` is not a 0x-prefixed transaction hash"))?;
        let rpc = self.trusted_node().await?;
        let receipt = self.await_receipt(rpc, hash, cx.client, cx.now).await?;
        if !receipt.succeeded() {
            return Err(Rejection::failed("the transaction was reverted; it paid nothing"));
        }
        let paid = push::payment_of(&receipt, ask, cx.challenge).ok_or_else(|| {
            Rejection::failed(
                "the transaction holds no transfer of this amount to this recipient for this challenge",
            )
        })?;
        if source.is_some_and(|source| source != paid.payer) {
            return Err(Rejection::failed("the transfer was not made by the account in `source`"));
        }
        let mined = self.time_of(rpc, &receipt).await?;
        if mined > cx.expires + SKEW || mined < cx.expires - LONGEST_CHALLENGE {
            return Err(Rejection::failed("the transfer was not made during the life of this challenge"));
        }
        let plan = Plan::Hash { hash, external_id: cx.request.external_id.clone() };
        Ok(self.verified(paid.payer, hash, &plan))
    }

    /// Waits a little for a receipt; says that there is none only if the node is up to date.
    async fn await_receipt(
        &self,
        rpc: &Rpc,
        hash: B256,
        client: &str,
        now: Timestamp,
    ) -> Result<TxReceipt, Rejection> {
        let (mut receipt, mut head) = self.look(rpc, hash).await?;
        if receipt.is_none() {
            let _place = self.patience.place(client).ok_or_else(|| {
                Rejection::unavailable(
                    RETRY,
                    "tempo: too many requests wait for transactions nobody has seen",
                )
            })?;
            let until = Instant::now() + self.pace.receipt;
            while receipt.is_none() && Instant::now() < until {
                tokio::time::sleep(self.pace.step).await;
                (receipt, head) = self.look(rpc, hash).await?;
            }
        }
        match receipt {
            // Some nodes answer with a receipt of another transaction when asked in a hurry; none may pay for this.
            Some(receipt) if receipt.transaction_hash == hash => Ok(receipt),
            Some(_) => Err(self.unavailable(rpc, &RpcError::Garbled)),
            None if head.time() + FRESH >= now => {
                Err(Rejection::failed("there is no such transaction on the chain"))
            }
            None => Err(Rejection::unavailable(
                RETRY,
                format!(
                    "tempo: the RPC node at {} has fallen behind: block {} is old",
                    rpc.shown(),
                    head.number()
                ),
            )),
        }
    }

    async fn look(&self, rpc: &Rpc, hash: B256) -> Result<(Option<TxReceipt>, Head), Rejection> {
        let [receipt, head] = rpc
            .read_all([receipt_of(hash), block("latest")])
            .await
            .map_err(|e| self.unavailable_or_huge(rpc, e))?;
        Ok((
            receipt.into_result().map_err(|e| self.unavailable(rpc, &e))?,
            head.into_result().map_err(|e| self.unavailable(rpc, &e))?,
        ))
    }

    async fn time_of(&self, rpc: &Rpc, receipt: &TxReceipt) -> Result<Timestamp, Rejection> {
        if let Some(time) = receipt.block_time() {
            return Ok(time);
        }
        let number = format!("{:#x}", receipt.block_number);
        let block: Head = rpc.read(block(&number)).await.map_err(|e| self.unavailable(rpc, &e))?;
        Ok(block.time())
    }

    fn verified(&self, payer: Address, hash: B256, plan: &Plan) -> Verified {
        // One key space for both types: what was broadcast for its payer cannot come back as a hash.
        let key = format!("{}:{hash:#x}", self.chain_id);
        Verified { payer: Some(did_of(self.chain_id, payer)), proof_keys: vec![key], plan: plan.write() }
    }

    /// The node, once it has said that it serves the configured chain: a node of a test network would confirm
    /// payments with worthless money.
    async fn trusted_node(&self) -> Result<&Rpc, Rejection> {
        let rpc = self
            .endpoint()
            .ok_or_else(|| Rejection::unavailable(RETRY, "tempo: no RPC node is configured"))?;
        if !self.right_chain.load(Ordering::Relaxed) {
            let served = chain_id(rpc).await.map_err(|e| self.unavailable(rpc, &e))?;
            if served != self.chain_id {
                let detail = format!("tempo: the RPC node at {} serves chain {served}", rpc.shown());
                return Err(Rejection::unavailable(RETRY, detail));
            }
            self.right_chain.store(true, Ordering::Relaxed);
        }
        Ok(rpc)
    }

    fn unavailable(&self, rpc: &Rpc, error: &RpcError) -> Rejection {
        Rejection::unavailable(RETRY, format!("tempo: {}: {error}", rpc.shown()))
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

/// `settle` and `resolve`.
impl Tempo {
    async fn broadcast(&self, plan: Broadcast) -> Settlement {
        // The chain was checked in `verify`, in this process or in the one that wrote the plan.
        let Some(rpc) = self.endpoint().filter(|_| plan.chain_id == self.chain_id) else {
            return nothing_sent("tempo: no RPC node for the chain of this payment is configured");
        };
        match self.send(rpc, &plan.raw).await {
            Ok(Some(receipt)) => outcome(&plan, &receipt),
            Ok(None) => self.wait_for(rpc, &plan, "the node took the transaction").await,
            Err(error @ RpcError::NotSent) => nothing_sent(format!("tempo: {}: {error}", rpc.shown())),
            // Whatever the node says now, an earlier copy of these bytes may have been taken: only the chain knows.
            Err(error) => self.wait_for(rpc, &plan, &error.to_string()).await,
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
    async fn wait_for(&self, rpc: &Rpc, plan: &Broadcast, what: &str) -> Settlement {
        let until = Instant::now() + self.pace.receipt;
        loop {
            if let Ok(Some(receipt)) = self.receipt(rpc, plan.hash).await {
                return outcome(plan, &receipt);
            }
            if Instant::now() >= until {
                let detail = format!("tempo: {}: no receipt for {} yet ({what})", rpc.shown(), plan.hash);
                return Settlement::Unknown { detail };
            }
            tokio::time::sleep(self.pace.step).await;
        }
    }

    async fn look_up(&self, plan: Broadcast) -> Settlement {
        let Some(rpc) = self.endpoint().filter(|_| plan.chain_id == self.chain_id) else {
            let detail = format!("tempo: no RPC node for chain {} is configured", plan.chain_id);
            return Settlement::Unknown { detail };
        };
        // The finalized time is read no later than the receipt, so a receipt cannot appear in between unnoticed.
        let finalized = rpc.read::<Option<Head>>(block("finalized")).await;
        match self.receipt(rpc, plan.hash).await {
            Ok(Some(receipt)) => return outcome(&plan, &receipt),
            Ok(None) => {}
            Err(error) => return unknown(rpc, &error),
        }
        let valid_before = Timestamp::from_unix(i64::try_from(plan.valid_before).unwrap_or(i64::MAX));
        match finalized {
            Ok(Some(head)) if head.time() >= valid_before + SETTLED_FOR => Settlement::Declined(
                Rejection::failed("the transaction was not mined before its `validBefore`; nothing was paid"),
            ),
            Ok(_) => Settlement::Unknown { detail: format!("tempo: {} may still be mined", plan.hash) },
            Err(error) => unknown(rpc, &error),
        }
    }

    async fn receipt(&self, rpc: &Rpc, hash: B256) -> Result<Option<TxReceipt>, RpcError> {
        let receipt: Option<TxReceipt> = rpc.read(receipt_of(hash)).await?;
        Ok(receipt.filter(|receipt| receipt.transaction_hash == hash))
    }
}

/// Why a transaction does not look payable.
enum Doubt {
    /// To the newest block (its time, its base fee, the nonces in it): the next one may see it otherwise.
    AtThisBlock(Rejection),
    Final(Rejection),
}

impl From<Rejection> for Doubt {
    fn from(rejection: Rejection) -> Self {
        Self::Final(rejection)
    }
}

/// What a receipt of our own broadcast means.
fn outcome(plan: &Broadcast, receipt: &TxReceipt) -> Settlement {
    if receipt.transaction_hash != plan.hash {
        return Settlement::Unknown { detail: format!("tempo: the node sent no receipt of {}", plan.hash) };
    }
    if !receipt.succeeded() {
        return Settlement::Declined(Rejection::failed("the transaction was reverted; nothing was paid"));
    }
    let paid = push::transfers(receipt, &plan.ask()).any(|t| t.payer == plan.payer && t.memo == plan.memo);
    if !paid {
        return Settlement::Unknown {
            detail: format!(
                "tempo: {} succeeded but did not pay the recipient; it needs a person",
                plan.hash
            ),
        };
    }
    settled(format!("{:#x}", plan.hash), plan.external_id.clone())
}

/// A payment whose money had moved, or that had none, when it was verified.
fn settled_already(cx: &SettleCx<'_>, plan: Plan) -> Settlement {
    match plan {
        Plan::Hash { hash, external_id } => settled(format!("{hash:#x}"), external_id),
        // No transaction exists: the draft refers to the challenge.
        Plan::Proof { external_id } => settled(cx.challenge_id.to_owned(), external_id),
        Plan::Transaction(_) => unreadable(),
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

fn unreadable() -> Settlement {
    Settlement::Unknown {
        detail: "tempo: the journaled plan is of another release and is not understood".into(),
    }
}

/// Why the network would not mine a transaction that was simulated, in words for the payer; `None` when the node's
/// refusal says more about the node. The node's own words are not passed on: they are not ours to vouch for.
fn cannot_be_mined(refusal: &NodeError, valid_for: Duration) -> Option<&'static str> {
    let message = refusal.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["insufficient funds", "insufficient fee token", "lack of funds"]) {
        Some("the payer's balance does not cover the amount and the network fee")
    } else if says(&["intrinsic gas", "out of gas", "gas limit"]) {
        Some("the transaction's gas limit is too low for the transfer")
    } else if says(&["too far in the future"]) {
        // Judged by the newest block: of a node that has fallen behind it says nothing about the transaction.
        (valid_for > LONGEST_EXPIRING)
            .then_some("the transaction's `validBefore` is too far away for its nonce key")
    } else if says(&["transaction expired", "validbefore", "valid_before"]) {
        Some("the transaction's `validBefore` is too near")
    } else if refusal.is_revert() {
        Some("the token refuses this transfer from this payer")
    } else if says(&["nonce", "tempo transaction error", "fee token", "keychain"]) || refusal.code == REJECTED
    {
        Some("the network would not accept this transaction")
    } else {
        None
    }
}

async fn chain_id(rpc: &Rpc) -> Result<u64, RpcError> {
    rpc.read::<U64>(Call::new("eth_chainId", json!([]))).await.map(|id| id.to())
}

fn no_node() -> MethodProblem {
    MethodProblem("no RPC node is configured; call `.rpc(url)`".into())
}

fn unreachable_node(rpc: &Rpc, error: &RpcError) -> MethodProblem {
    MethodProblem(format!("the RPC node at {} cannot be used: {error}", rpc.shown()))
}

fn eth_call(to: Address, data: Vec<u8>) -> Call {
    Call::new("eth_call", json!([{ "to": to, "data": hex::encode_prefixed(data) }, "latest"]))
}

fn receipt_of(hash: B256) -> Call {
    Call::new("eth_getTransactionReceipt", json!([hash]))
}

fn block(which: &str) -> Call {
    Call::new("eth_getBlockByNumber", json!([which, false]))
}
