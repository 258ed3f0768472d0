//! Access keys: a key that an account's owner has authorised in the chain's keychain (`AccountKeychain`), and that signs in the
//! account's name.
//!
//! Anybody can sign in an account's name; only the chain knows who may. So both sides ask it: the server before it takes a payment,
//! the wallet before it signs one.

use super::client::{TempoWallet, units, unsigned};
use super::request::Ask;
use super::server::eth_call;
use crate::chain::Call;
use crate::method::{Cost, PayError};
use crate::protocol::Timestamp;
use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolCall;
use tempo_alloy::contracts::precompiles::{ACCOUNT_KEYCHAIN_ADDRESS, IAccountKeychain};
use tempo_alloy::primitives::transaction::{KeychainSignature, PrimitiveSignature, TempoSignature};

/// Asks what the chain knows of an access key of an account.
pub(super) fn key_of_account(account: Address, key: Address) -> Call {
    eth_call(ACCOUNT_KEYCHAIN_ADDRESS, IAccountKeychain::getKeyCall { account, keyId: key }.abi_encode())
}

/// Asks how much of a token an access key may still spend.
pub(super) fn limit_of_key(account: Address, key: Address, token: Address) -> Call {
    let call = IAccountKeychain::getRemainingLimitWithPeriodCall { account, keyId: key, token };
    eth_call(ACCOUNT_KEYCHAIN_ADDRESS, call.abi_encode())
}

/// What the chain says of an access key that may sign now.
pub(super) fn access_key(
    info: &[u8],
    key: Address,
    kind: IAccountKeychain::SignatureType,
    now: Timestamp,
) -> Option<IAccountKeychain::KeyInfo> {
    let info = IAccountKeychain::getKeyCall::abi_decode_returns_validate(info).ok()?;
    let expired = i64::try_from(info.expiry).is_ok_and(|expiry| expiry <= now.unix());
    let may = key == info.keyId
        && !info.keyId.is_zero()
        && !info.isRevoked
        && !expired
        && info.signatureType == kind;
    may.then_some(info)
}

impl TempoWallet {
    /// The signer's address, if it signs for another account.
    pub(super) fn access_key(&self) -> Option<Address> {
        Some(self.signer.address()).filter(|own| *own != self.account)
    }

    /// That the account has this access key, and has not limited it to less than the price. A limit that the node does not
    /// tell is for the chain to hold.
    pub(super) fn key_may_sign(
        &self,
        key: Address,
        info: &Bytes,
        limit: Option<Bytes>,
        ask: &Ask,
        now: Timestamp,
    ) -> Result<(), PayError> {
        let Some(info) = access_key(info, key, IAccountKeychain::SignatureType::Secp256k1, now) else {
            let account = self.account;
            return Err(PayError::Declined(format!("{key} is no access key of {account}, or no longer")));
        };
        let left = limit.and_then(|answer| {
            IAccountKeychain::getRemainingLimitWithPeriodCall::abi_decode_returns_validate(&answer).ok()
        });
        match left.map(|left| left.remaining).filter(|left| info.enforceLimits && *left < ask.amount) {
            Some(left) => Err(PayError::Declined(format!(
                "the access key {key} may spend {} more, and it needs {}",
                Cost::new(units(left), self.asset(ask.token)),
                Cost::new(units(ask.amount), self.asset(ask.token)),
            ))),
            None => Ok(()),
        }
    }

    /// The account's signature: its own key's, or its access key's in its name.
    pub(super) async fn sign_hash(&self, hash: B256) -> Result<TempoSignature, PayError> {
        let signed = match self.access_key() {
            Some(_) => KeychainSignature::signing_hash(hash, self.account),
            None => hash,
        };
        let signature = self.signer.sign_hash(&signed).await.map_err(|_| unsigned())?;
        let signature = PrimitiveSignature::Secp256k1(signature);
        Ok(match self.access_key() {
            Some(_) => TempoSignature::Keychain(KeychainSignature::new(self.account, signature)),
            None => TempoSignature::Primitive(signature),
        })
    }
}
