//! `verify`: a credential against its challenge and the chain. Reads, and never writes or broadcasts.

use super::access_key::{access_key, key_of_account};
use super::plan::{Broadcast, Effect, Plan, Sponsored};
use super::pull::SignedTransfer;
use super::request::Ask;
use super::server::{balance_of, receipt_of};
use super::sponsor::{self, Pause, Sponsor};
use super::{Tempo, memo, proof, push};
use crate::chain::{Answer, Call, Head, NodeError, RETRY, Rpc, RpcError, TxReceipt, Wait, block, did_of};
use crate::method::{CredentialCx, Fees, Rejection, Sponsoring, Verified};
use crate::protocol::Timestamp;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use serde_json::json;
use std::time::Duration;
use tempo_alloy::contracts::precompiles::IAccountKeychain;
use tempo_alloy::primitives::transaction::{PrimitiveSignature, TempoSignature};

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
        let rpc = self.node.trusted(self.chain_id).await?;
        let tried = Tried { rpc, ask, signed: &signed, sponsor, now: cx.now };
        let mut place = None;
        for look in 1.. {
            match self.can_pay(&tried).await {
                Ok(()) => break,
                // The node may be a block behind what the payer's wallet has seen. Waiting for the next one takes a place;
                // nothing has been broadcast, so who finds none can be refused.
                Err(Doubt::AtThisBlock(refused)) if look < LOOKS => {
                    place = place.or_else(|| self.node.place(cx.client));
                    if place.is_none() {
                        return Err(refused);
                    }
                    tokio::time::sleep(self.pace.step * 3).await;
                }
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
    async fn can_pay(&self, tried: &Tried<'_>) -> Result<(), Doubt> {
        let Tried { rpc, ask, signed, sponsor, now } = *tried;
        let mut questions = vec![
            block("latest"),
            balance_of(ask.token, signed.payer),
            Call::new("eth_call", json!([signed.simulation(ask.fees), "latest"])),
        ];
        if let Some(key) = signed.access_key {
            questions.push(key_of_account(signed.payer, key));
        }
        match sponsor {
            None => questions.push(receipt_of(signed.hash())),
            Some(sponsor) => {
                questions.extend(self.dry_question(sponsor));
                // One by one too: not every node executes the calls of a transaction that it only simulates.
                questions.extend(signed.calls().map(|call| Call::new("eth_call", json!([call, "latest"]))));
            }
        }
        let answers = rpc.read_many(&questions).await.map_err(|e| self.node.unavailable(&e))?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().ok_or_else(|| self.node.unavailable(&RpcError::Garbled));
        let head: Head = next()?.into_result().map_err(|e| self.node.unavailable(&e))?;
        let (balance, simulated) = (next()?, next()?);
        let access_key = signed.access_key.map(|_| next()).transpose()?;
        if self.has_happened(signed, sponsor, sponsor.is_none().then(&mut next).transpose()?) {
            return Ok(());
        }
        let account = Account { balance, access_key, simulated };
        self.would_pay(tried, &head, account, answers).map_err(|doubt| match doubt {
            Doubt::AtThisBlock(refused) => Doubt::AtThisBlock(self.node.refused_at(&head, now, refused)),
            Doubt::Final(refused) => Doubt::Final(self.node.refused_at(&head, now, refused)),
        })
    }

    /// What the node's answers say. `more` are those about the sponsor.
    fn would_pay(
        &self,
        tried: &Tried<'_>,
        head: &Head,
        account: Account,
        mut more: impl Iterator<Item = Answer>,
    ) -> Result<(), Doubt> {
        let Tried { ask, signed, sponsor, now, .. } = *tried;
        let balance: Bytes = account.balance.into_result().map_err(|e| self.node.unavailable(&e))?;
        if U256::try_from_be_slice(&balance).unwrap_or_default() < ask.amount {
            return Err(Rejection::failed("the payer's balance does not cover the amount").into());
        }
        if let Some(answer) = account.access_key
            && signed.signed.tx().key_authorization.is_none()
        {
            self.access_key_is_good(signed, answer, now)?;
        }
        let mut simulations = vec![account.simulated];
        if let Some(sponsor) = sponsor {
            if head.base_fee().is_some_and(|base| base > signed.signed.tx().max_fee_per_gas) {
                let refused =
                    Rejection::failed("the transaction offers less for gas than the network asks for");
                return Err(Doubt::AtThisBlock(refused));
            }
            if self.dry_question(sponsor).is_some() {
                let answer = more.next().ok_or_else(|| self.node.unavailable(&RpcError::Garbled))?;
                self.sponsor_is_solvent(sponsor, signed, answer)?;
            }
            simulations.extend(more);
        }
        simulations.into_iter().try_for_each(|answer| self.would_move(signed, answer, now))
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

    fn would_move(&self, signed: &SignedTransfer, answer: Answer, now: Timestamp) -> Result<(), Doubt> {
        match answer.into_result::<Bytes>() {
            Ok(_) => Ok(()),
            Err(RpcError::Node(refusal)) => {
                let ahead =
                    Timestamp::from_unix(i64::try_from(signed.valid_before).unwrap_or(i64::MAX)).since(now);
                let revert = refusal.is_revert();
                let refused = cannot_be_mined(&refusal, ahead)
                    .map_or_else(|| self.node.unavailable(&RpcError::Node(refusal)), Rejection::failed);
                Err(if revert { Doubt::Final(refused) } else { Doubt::AtThisBlock(refused) })
            }
            Err(e) => Err(self.node.unavailable(&e).into()),
        }
    }

    fn dry_question(&self, sponsor: &Sponsor) -> Option<Call> {
        let token = sponsor.policy.payable_in().first()?;
        sponsor.address().map(|account| balance_of(*token, account))
    }

    /// TC-20. An empty purse of ours is no fault of the payer: 503 now, and unsponsored offers for a while.
    fn sponsor_is_solvent(
        &self,
        sponsor: &Sponsor,
        signed: &SignedTransfer,
        balance: Answer,
    ) -> Result<(), Rejection> {
        let balance: Bytes = balance.into_result().map_err(|e| self.node.unavailable(&e))?;
        if U256::try_from_be_slice(&balance).unwrap_or_default() < sponsor::most(signed.signed.tx()) {
            sponsor.pause(Pause::Closed, DRY);
            tracing::warn!(target: "mpp", "tempo: the sponsor's account has run dry; offers go out unsponsored");
            return Err(Rejection::unavailable(RETRY, "tempo: the sponsor's account has run dry"));
        }
        Ok(())
    }

    /// Keychain signatures: anybody can sign in an account's name; only the chain knows who may.
    fn access_key_is_good(
        &self,
        signed: &SignedTransfer,
        answer: Answer,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        match answer.into_result::<Bytes>() {
            Ok(info) if may_sign(&info, signed.signed.signature(), signed.access_key, now) => Ok(()),
            Ok(_) => Err(Rejection::failed("the key that signed is no access key of the payer's account")),
            Err(e) => Err(self.node.unavailable(&e)),
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
        let rpc = self.node.trusted(self.chain_id).await?;
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
        self.node.mined_in_time(rpc, &receipt, cx.expires).await?;
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
        let wait = Wait { most: self.pace.receipt, step: self.pace.step };
        let seen = |(receipt, _): &(Option<TxReceipt>, Head)| receipt.is_some();
        let (receipt, head) = self.node.watch(client, wait, || self.look(rpc, hash), seen).await?;
        match receipt {
            // Some nodes answer with a receipt of another transaction when asked in a hurry; none may pay for this.
            Some(receipt) if receipt.transaction_hash == hash => Ok(receipt),
            Some(_) => Err(self.node.unavailable(&RpcError::Garbled)),
            None => {
                let refused = Rejection::failed("there is no such transaction on the chain");
                Err(self.node.refused_at(&head, now, refused))
            }
        }
    }

    async fn look(&self, rpc: &Rpc, hash: B256) -> Result<(Option<TxReceipt>, Head), Rejection> {
        let [receipt, head] = rpc
            .read_all([receipt_of(hash), block("latest")])
            .await
            .map_err(|e| self.node.unavailable_or_huge(e))?;
        Ok((
            receipt.into_result().map_err(|e| self.node.unavailable(&e))?,
            head.into_result().map_err(|e| self.node.unavailable(&e))?,
        ))
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
            let rpc = self.node.trusted(self.chain_id).await?;
            let info: Bytes =
                rpc.read(key_of_account(account, key)).await.map_err(|e| self.node.unavailable(&e))?;
            if !may_sign(&info, &signature, Some(key), cx.now) {
                return Err(Rejection::failed("the key that signed is no access key of the payer's account"));
            }
        }
        let plan = Plan::Proof { external_id: cx.request.external_id.clone() };
        // Single use by the challenge id, which the signature covers.
        Ok(self.verified(account, Vec::new(), &plan))
    }
}

/// Whether the chain's answer about an access key lets it sign, now and in this way.
fn may_sign(info: &[u8], signature: &TempoSignature, key: Option<Address>, now: Timestamp) -> bool {
    let Some(keychain) = signature.as_keychain() else { return false };
    let kind = match keychain.signature {
        PrimitiveSignature::Secp256k1(_) => IAccountKeychain::SignatureType::Secp256k1,
        PrimitiveSignature::P256(_) => IAccountKeychain::SignatureType::P256,
        PrimitiveSignature::WebAuthn(_) => IAccountKeychain::SignatureType::WebAuthn,
    };
    key.is_some_and(|key| access_key(info, key, kind, now).is_some())
}

/// A transaction, and what it is held against.
#[derive(Clone, Copy)]
struct Tried<'a> {
    rpc: &'a Rpc,
    ask: &'a Ask,
    signed: &'a SignedTransfer,
    sponsor: Option<&'a Sponsor>,
    now: Timestamp,
}

/// What the node says about the payer's account.
struct Account {
    balance: Answer,
    access_key: Option<Answer>,
    simulated: Answer,
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
