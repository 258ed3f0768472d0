//! What is on the wire: the request's details, the payload, and the bytes that are signed.

use crate::protocol::{Challenge, ChargeRequest, b64};
use ed25519_dalek::Signature;
use serde_json::{Map, Value};
#[cfg(feature = "server")]
use {
    crate::method::Share,
    crate::protocol::{Did, PublicKey},
    ed25519_dalek::VerifyingKey,
    serde_json::json,
};

const TEST_MONEY: &str = "testMoney";

/// `methodDetails` of every sandbox request.
#[cfg(feature = "server")]
pub(super) fn method_details(splits: &[Share<'_>]) -> Map<String, Value> {
    let mut details = Map::from_iter([(TEST_MONEY.to_owned(), Value::Bool(true))]);
    if !splits.is_empty() {
        let part = |share: &Share<'_>| json!({ "recipient": share.payee, "amount": share.units });
        details.insert("splits".to_owned(), splits.iter().map(part).collect());
    }
    details
}

/// Whether a request says that it is about play money.
pub(super) fn is_test_money(request: &ChargeRequest) -> bool {
    request.method_details.as_ref().and_then(|details| details.get(TEST_MONEY)) == Some(&Value::Bool(true))
}

/// What a payer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    /// That an amount be taken from the account.
    Transfer,
    /// Who they are (amount zero).
    Proof,
}

impl Signed {
    /// What a request asks for.
    pub(super) fn asked_by(request: &ChargeRequest) -> Self {
        if request.amount.get() == 0 { Self::Proof } else { Self::Transfer }
    }

    /// `type` of the payload.
    fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Proof => "proof",
        }
    }

    /// The bytes under the signature. Each part is preceded by its length: no two challenges give the same bytes.
    pub(super) fn message(self, challenge: &Challenge) -> Vec<u8> {
        let label = match self {
            Self::Transfer => "mpp sandbox transfer v1",
            Self::Proof => "mpp sandbox proof v1",
        };
        let parts = [label, &challenge.realm, challenge.method.as_str(), &challenge.id, &challenge.request];
        let length = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
        let mut message = Vec::with_capacity(length);
        for part in parts {
            message.extend((part.len() as u64).to_be_bytes());
            message.extend(part.as_bytes());
        }
        message
    }
}

/// The payload of a credential, as its payer writes it.
pub(super) fn payload(signed: Signed, account: &str, signature: &Signature) -> Map<String, Value> {
    Map::from_iter([
        ("type".to_owned(), signed.name().into()),
        ("account".to_owned(), account.into()),
        ("signature".to_owned(), b64::encode(signature.to_bytes()).into()),
    ])
}

/// The payload of a credential, as it was received.
#[cfg(feature = "server")]
pub(super) struct Payload<'a> {
    pub(super) signed: Signed,
    /// Its DID. Base58 has one spelling for each key.
    pub(super) account: &'a str,
    key: [u8; 32],
    signature: Signature,
}

#[cfg(feature = "server")]
impl<'a> Payload<'a> {
    /// Reads a payload; the error says which member is not as it should be.
    pub(super) fn parse(members: &'a Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name| members.get(name).and_then(Value::as_str);
        let signed = match text("type") {
            Some("transfer") => Signed::Transfer,
            Some("proof") => Signed::Proof,
            _ => return Err("`type` is neither `transfer` nor `proof`"),
        };
        const NO_ACCOUNT: &str = "`account` is not the did:key of an ed25519 key";
        let account = text("account").ok_or(NO_ACCOUNT)?;
        let Ok(Did::Key(PublicKey::Ed25519(key))) = Did::parse(account) else { return Err(NO_ACCOUNT) };
        let signature = text("signature").and_then(|text| b64::decode(text).ok());
        let Some(signature) = signature.and_then(|bytes| Signature::from_slice(&bytes).ok()) else {
            return Err("`signature` is not an ed25519 signature in base64url");
        };
        Ok(Self { signed, account, key, signature })
    }

    /// Whether the owner of the account signed for this challenge. Strict: one signature per key and message.
    pub(super) fn is_signed_for(&self, challenge: &Challenge) -> bool {
        VerifyingKey::from_bytes(&self.key)
            .is_ok_and(|key| key.verify_strict(&self.signed.message(challenge), &self.signature).is_ok())
    }
}
