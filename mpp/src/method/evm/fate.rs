//! What became of a payment of ours, as the payer's own node tells it: the look-up of the server's side (`lookup.rs`), from the
//! payer's own copy of the credential. Nothing a server says is taken for it.

use super::client::EvmWallet;
use super::node;
use super::onchain::{SignedTransfer, parse_hash};
use super::plan::Broadcast;
use super::request::Ask;
use super::typed::challenge_hash;
use super::{CredentialType, Evm, offchain};
use crate::chain::{Head, TxReceipt, payer_of, served_by};
use crate::method::{CredentialCx, Fate, Proof, Settlement};
use crate::protocol::{Challenge, ChargeRequest};
use serde_json::Value;
use std::time::Duration;

/// A time at which the credential was good, for the checks that ask whether it is.
const BEFORE_EXPIRY: Duration = Duration::from_secs(30);

impl EvmWallet {
    /// `None` when it cannot be told.
    pub(super) async fn fate_of(&self, challenge: &Challenge, proof: &Proof) -> Option<Fate> {
        let rpc = self.node.clone()?;
        let (request, ask) = self.read_request(challenge).ok()?;
        // A node of another chain knows nothing of it, which is not to say that it never happened.
        if served_by(&rpc).await.ok()? != ask.chain_id {
            return None;
        }
        let text = |name: &str| proof.payload.get(name).and_then(Value::as_str);
        let mut chain = Evm::new(&ask.recipient.to_string()).chain(self.chain);
        chain.node.use_of(rpc.clone());
        let kind = CredentialType::by_name(text("type")?)?;
        let settlement = match kind {
            CredentialType::Authorization | CredentialType::Permit2 => {
                let mut plan = self.signed(kind, challenge, &request, &ask, proof).await?;
                plan.seen_at = rpc.read::<Head>(node::block("latest")).await.ok()?.number();
                // The server may have sent it, for all this side knows.
                plan.gas = Some(0);
                chain.look_up_submitted(&plan).await
            }
            CredentialType::Transaction => {
                let hash = challenge_hash(&challenge.id, &challenge.realm);
                let signed = SignedTransfer::read(text("signature")?, &ask, hash).ok()?;
                let cx = self.seen(challenge, &request, proof)?;
                let plan = Broadcast {
                    effect: offchain::effect(&cx, &ask, signed.payer),
                    raw: signed.raw,
                    hash: signed.hash,
                    nonce: signed.nonce,
                    binding: signed.binding,
                };
                chain.look_up_broadcast(&plan).await
            }
            CredentialType::Hash => {
                let hash = parse_hash(text("hash")?)?;
                let receipt: Option<TxReceipt> = rpc.read(node::receipt(hash)).await.ok()?;
                let mined = receipt.filter(|r| r.transaction_hash == hash && r.succeeded());
                return mined.map(|_| Fate::Paid { reference: format!("{hash:#x}") });
            }
        };
        Some(match settlement {
            Settlement::Settled(payment) => Fate::Paid { reference: payment.reference },
            Settlement::Declined(_) => Fate::Never,
            Settlement::Unknown { .. } => Fate::Unknown,
        })
    }

    /// What a server would do with this signature.
    async fn signed(
        &self,
        kind: CredentialType,
        challenge: &Challenge,
        request: &ChargeRequest,
        ask: &Ask,
        proof: &Proof,
    ) -> Option<super::plan::Submit> {
        let token = ask.token?;
        let cx = self.seen(challenge, request, proof)?;
        match kind {
            CredentialType::Authorization => {
                offchain::authorization(&cx, ask, token, self.domain_of(token).await.ok()?).ok()
            }
            _ => {
                let owner = payer_of(proof.source.as_deref()?, ask.chain_id).ok()?;
                offchain::permit2(&cx, ask, token, ask.spender?, Some(owner)).ok()
            }
        }
    }

    fn seen<'a>(
        &self,
        challenge: &'a Challenge,
        request: &'a ChargeRequest,
        proof: &'a Proof,
    ) -> Option<CredentialCx<'a>> {
        let expires = challenge.expires_at().ok()??;
        Some(CredentialCx::new(challenge, request, &proof.payload, expires, expires - BEFORE_EXPIRY))
    }
}
