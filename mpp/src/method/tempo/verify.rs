//! `verify`: a credential against its challenge and the chain. Reads, and never writes or broadcasts.

use super::plan::{Broadcast, Effect, Plan, Sponsored};
use super::pull::SignedTransfer;
use super::request::Ask;
use super::server::{RETRY, balance_of, block, eth_call, receipt_of};
use super::sponsor::{self, Sponsor};
use super::{Tempo, memo, proof, push};
use crate::chain::{Answer, Call, Head, NodeError, Rpc, RpcError, TxReceipt, did_of};
use crate::method::{CredentialCx, Fees, Rejection, Sponsoring, Verified};
use crate::protocol::Timestamp;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::SolCall;
use serde_json::json;
use std::time::Duration;
use tempo_alloy::contracts::precompiles::{ACCOUNT_KEYCHAIN_ADDRESS, IAccountKeychain};
use tempo_alloy::primitives::transaction::{PrimitiveSignature, TempoSignature};
use tokio::time::Instant;

/// A node whose newest block is older has fallen behind: it cannot say that a transaction does not exist.
pub(super) const FRESH: Duration = Duration::from_secs(30);
/// How much the chain's clock may run ahead of ours.
const SKEW: Duration = Duration::from_secs(15);
/// No challenge lives longer; an older transfer is not the payment of one that is alive now.
const LONGEST_CHALLENGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How far ahead a transaction with an expiring nonce may end (TIP-1009).
const LONGEST_EXPIRING: Duration = Duration::from_secs(30);
/// EIP-1474: "transaction rejected".
const REJECTED: i64 = -32003;
/// How often a transaction that the newest block would not take is looked at.
const LOOKS: u32 = 3;
/// How long offers go out unsponsored when the sponsor's account has run dry.
const DRY: Duration = Duration::from_secs(60);

/// A signed transaction.
impl Tempo {
    pub(super) async fn verify_transaction(
        &self,
        cx: &CredentialCx<'_>,
        ask: &Ask,
        signature: &str,
        source: Option<Address>,
    ) -> Result<Verified, Rejection> {
        let sponsor = self.sponsor_of(ask)?;
        let policy = sponsor.map(|sponsor| &sponsor.policy);
        let signed = SignedTransfer::read(signature, ask, policy, cx.challenge, cx.expires, cx.now)?;
        if source.is_some_and(|source| source != signed.payer) {
            return Err(Rejection::failed("the transaction is not signed by the account in `source`"));
        }
        let rpc = self.trusted_node().await?;
        for look in 1.. {
            match self.can_pay(rpc, ask, &signed, sponsor, cx.now).await {
                Ok(()) => break,
                // The node may be a block behind what the payer's wallet has seen.
                Err(Doubt::AtThisBlock(_)) if look < LOOKS => tokio::time::sleep(self.pace.step * 3).await,
                Err(Doubt::AtThisBlock(refused) | Doubt::Final(refused)) => return Err(refused),
            }
        }
        Ok(self.planned(cx, ask, &signed))
    }

    /// Who pays the fee of this offer, while it does.
    fn sponsor_of(&self, ask: &Ask) -> Result<Option<&Sponsor>, Rejection> {
        if ask.fees == Fees::Payer {
            return Ok(None);
        }
        let open = self.sponsor.as_ref().filter(|sponsor| sponsor.sponsoring() == Sponsoring::Open);
        // The fresh challenge that comes with the refusal is not sponsored.
        open.map(Some).ok_or_else(|| Rejection::failed("fees are not sponsored at the moment"))
    }

    fn planned(&self, cx: &CredentialCx<'_>, ask: &Ask, signed: &SignedTransfer) -> Verified {
        let effect = Effect {
            payer: signed.payer,
            token: ask.token,
            recipient: ask.recipient,
            amount: ask.amount,
            splits: ask.splits.clone(),
            memo: signed.memo,
            chain_id: ask.chain_id,
            valid_before: signed.valid_before,
            external_id: cx.request.external_id.clone(),
        };
        match ask.fees {
            Fees::Payer => {
                let hash = signed.hash();
                let plan = Plan::Transaction(Broadcast { raw: signed.raw(), hash, effect });
                self.verified(signed.payer, vec![self.key_of(hash)], &plan)
            }
            Fees::Sponsored => {
                // The address a request comes from is nothing to keep; a hash of it tells clients apart.
                let client = match cx.client {
                    "" => keccak256(signed.payer),
                    client => keccak256(client),
                };
                let tx = signed.signed.tx();
                let plan = Plan::Sponsored(Box::new(Sponsored {
                    raw: signed.signed.encoded_2718().into(),
                    client,
                    // The policy's caps are far below.
                    most: u64::try_from(sponsor::most(tx)).unwrap_or(u64::MAX),
                    effect,
                }));
                // Signed for once, whatever challenge it comes back for: a second signature by us would be another
                // transaction with another hash.
                let key = format!("{}:signed:{:#x}", self.chain_id, signed.signed_hash());
                self.verified(signed.payer, vec![key], &plan)
            }
        }
    }

    /// The payer has the money, and the transaction as it is would move it: gas, fee, validity and token policy
    /// included. What cannot be mined is refused here, because after a broadcast nobody would know for a while.
    async fn can_pay(
        &self,
        rpc: &Rpc,
        ask: &Ask,
        signed: &SignedTransfer,
        sponsor: Option<&Sponsor>,
        now: Timestamp,
    ) -> Result<(), Doubt> {
        let mut questions = vec![
            balance_of(ask.token, signed.payer),
            Call::new("eth_call", json!([signed.simulation(ask.fees), "latest"])),
        ];
        if let Some(key) = signed.access_key {
            questions.push(key_of_account(signed.payer, key));
        }
        match sponsor {
            None => questions.push(receipt_of(signed.hash())),
            Some(sponsor) => {
                questions.push(block("latest"));
                questions.extend(self.dry_question(sponsor));
                // One by one too: not every node executes the calls of a transaction that it only simulates.
                questions.extend(signed.calls().map(|call| Call::new("eth_call", json!([call, "latest"]))));
            }
        }
        let answers = rpc.read_many(&questions).await.map_err(|e| self.unavailable(rpc, &e))?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().ok_or_else(|| self.unavailable(rpc, &RpcError::Garbled));
        let (balance, simulated) = (next()?, next()?);
        let access_key = signed.access_key.map(|_| next()).transpose()?;
        if self.has_happened(signed, sponsor, sponsor.is_none().then(&mut next).transpose()?) {
            return Ok(());
        }
        let balance: Bytes = balance.into_result().map_err(|e| self.unavailable(rpc, &e))?;
        if U256::try_from_be_slice(&balance).unwrap_or_default() < ask.amount {
            return Err(Rejection::failed("the payer's balance does not cover the amount").into());
        }
        if let Some(answer) = access_key
            && signed.signed.tx().key_authorization.is_none()
        {
            self.access_key_is_good(rpc, signed, answer, now)?;
        }
        let mut simulations = vec![simulated];
        if let Some(sponsor) = sponsor {
            let head: Head = next()?.into_result().map_err(|e| self.unavailable(rpc, &e))?;
            if head.base_fee().is_some_and(|base| base > signed.signed.tx().max_fee_per_gas) {
                let refused =
                    Rejection::failed("the transaction offers less for gas than the network asks for");
                return Err(Doubt::AtThisBlock(refused));
            }
            if self.dry_question(sponsor).is_some() {
                self.sponsor_is_solvent(rpc, sponsor, signed, next()?)?;
            }
            simulations.extend(answers);
        }
        simulations.into_iter().try_for_each(|answer| self.would_move(rpc, signed, answer, now))
    }

    /// Whether it is on the chain, or may be: another copy of this credential was faster, or the payer broadcast it after
    /// all. The money has moved, so it must not be refused here; the journal knows what is due.
    fn has_happened(
        &self,
        signed: &SignedTransfer,
        sponsor: Option<&Sponsor>,
        receipt: Option<Answer>,
    ) -> bool {
        let mined = || receipt?.into_result::<Option<TxReceipt>>().ok()?;
        mined().is_some() || sponsor.is_some_and(|sponsor| sponsor.remembers(&signed.signed_hash()))
    }

    fn would_move(
        &self,
        rpc: &Rpc,
        signed: &SignedTransfer,
        answer: Answer,
        now: Timestamp,
    ) -> Result<(), Doubt> {
        match answer.into_result::<Bytes>() {
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

    fn dry_question(&self, sponsor: &Sponsor) -> Option<Call> {
        let token = sponsor.policy.payable_in().first()?;
        sponsor.address().map(|account| balance_of(*token, account))
    }

    /// TC-20. An empty purse of ours is no fault of the payer: 503 now, and unsponsored offers for a while.
    fn sponsor_is_solvent(
        &self,
        rpc: &Rpc,
        sponsor: &Sponsor,
        signed: &SignedTransfer,
        balance: Answer,
    ) -> Result<(), Rejection> {
        let balance: Bytes = balance.into_result().map_err(|e| self.unavailable(rpc, &e))?;
        if U256::try_from_be_slice(&balance).unwrap_or_default() < sponsor::most(signed.signed.tx()) {
            sponsor.pause(DRY);
            tracing::warn!(target: "mpp", "tempo: the sponsor's account has run dry; offers go out unsponsored");
            return Err(Rejection::unavailable(RETRY, "tempo: the sponsor's account has run dry"));
        }
        Ok(())
    }

    /// Keychain signatures: anybody can sign in an account's name; only the chain knows who may.
    fn access_key_is_good(
        &self,
        rpc: &Rpc,
        signed: &SignedTransfer,
        answer: Answer,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        match answer.into_result::<Bytes>() {
            Ok(info) if may_sign(&info, signed.signed.signature(), signed.access_key, now) => Ok(()),
            Ok(_) => Err(Rejection::failed("the key that signed is no access key of the payer's account")),
            Err(e) => Err(self.unavailable(rpc, &e)),
        }
    }

    /// One key space for both types: what was broadcast for its payer cannot come back as a hash.
    fn key_of(&self, hash: B256) -> String {
        format!("{}:{hash:#x}", self.chain_id)
    }

    fn verified(&self, payer: Address, proof_keys: Vec<String>, plan: &Plan) -> Verified {
        Verified { payer: Some(did_of(self.chain_id, payer)), proof_keys, plan: plan.write() }
    }
}

/// A hash.
impl Tempo {
    pub(super) async fn verify_hash(
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
        let names_challenge = |m: &B256| memo::binds(m, &cx.challenge.realm, &cx.challenge.id);
        let paid = push::payment_in(&receipt, ask, names_challenge).ok_or_else(|| {
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
        Ok(self.verified(paid.payer, vec![self.key_of(hash)], &plan))
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

/// A proof.
impl Tempo {
    pub(super) async fn verify_proof(
        &self,
        cx: &CredentialCx<'_>,
        signature: &str,
        source: Option<Address>,
    ) -> Result<Verified, Rejection> {
        let account =
            source.ok_or_else(|| Rejection::malformed("a proof has to name its account in `source`"))?;
        let proved = proof::verify(signature, account, self.chain_id, &cx.challenge.id, &cx.challenge.realm)?;
        if let proof::Proved::ByAccessKey(signature, key) = proved {
            let rpc = self.trusted_node().await?;
            let info: Bytes =
                rpc.read(key_of_account(account, key)).await.map_err(|e| self.unavailable(rpc, &e))?;
            if !may_sign(&info, &signature, Some(key), cx.now) {
                return Err(Rejection::failed("the key that signed is no access key of the payer's account"));
            }
        }
        let plan = Plan::Proof { external_id: cx.request.external_id.clone() };
        // Single use by the challenge id, which the signature covers.
        Ok(self.verified(account, Vec::new(), &plan))
    }
}

/// Asks what the chain knows of an access key of an account.
pub(super) fn key_of_account(account: Address, key: Address) -> Call {
    eth_call(ACCOUNT_KEYCHAIN_ADDRESS, IAccountKeychain::getKeyCall { account, keyId: key }.abi_encode())
}

/// Whether the chain's answer about an access key lets it sign, now and in this way.
fn may_sign(info: &[u8], signature: &TempoSignature, key: Option<Address>, now: Timestamp) -> bool {
    let Some(keychain) = signature.as_keychain() else { return false };
    let kind = match keychain.signature {
        PrimitiveSignature::Secp256k1(_) => IAccountKeychain::SignatureType::Secp256k1,
        PrimitiveSignature::P256(_) => IAccountKeychain::SignatureType::P256,
        PrimitiveSignature::WebAuthn(_) => IAccountKeychain::SignatureType::WebAuthn,
    };
    key.is_some_and(|key| is_access_key(info, key, kind, now))
}

/// The same of a key that has not signed yet.
pub(super) fn is_access_key(
    info: &[u8],
    key: Address,
    kind: IAccountKeychain::SignatureType,
    now: Timestamp,
) -> bool {
    let Ok(info) = IAccountKeychain::getKeyCall::abi_decode_returns_validate(info) else { return false };
    let expired = i64::try_from(info.expiry).is_ok_and(|expiry| expiry <= now.unix());
    key == info.keyId && !info.keyId.is_zero() && !info.isRevoked && !expired && info.signatureType == kind
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
