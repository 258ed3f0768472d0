//! Play money for the peers: what a payer signs, and how it is verified.
//!
//! The payload and the signed bytes are those of our sandbox, so that all sides read the same members, decode the same key and
//! verify one signature over the same number of bytes.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use mpp::protocol::{Did, PublicKey, b64};
use serde_json::{Map, Value};

/// Whoever pays in a benchmark.
pub struct Payer {
    key: SigningKey,
    account: String,
}

impl Default for Payer {
    fn default() -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let account = Did::ed25519(key.verifying_key().as_bytes()).to_string();
        Self { key, account }
    }
}

impl Payer {
    /// The payload that pays for what is named by these parts.
    pub fn pay(&self, parts: &[&str]) -> Map<String, Value> {
        let signature = self.key.sign(&message(parts));
        Map::from_iter([
            ("type".to_owned(), "transfer".into()),
            ("account".to_owned(), self.account.as_str().into()),
            ("signature".to_owned(), b64::encode(signature.to_bytes()).into()),
        ])
    }

    /// The account, as the source of a credential.
    pub fn account(&self) -> &str {
        &self.account
    }
}

/// Whether a payload pays for what is named by these parts.
pub fn is_paid(payload: &Value, parts: &[&str]) -> bool {
    let text = |name| payload.get(name).and_then(Value::as_str);
    let (Some("transfer"), Some(account), Some(signature)) =
        (text("type"), text("account"), text("signature"))
    else {
        return false;
    };
    let Ok(Did::Key(PublicKey::Ed25519(key))) = Did::parse(account) else { return false };
    let Ok(Ok(signature)) = b64::decode(signature).map(|bytes| Signature::from_slice(&bytes)) else {
        return false;
    };
    VerifyingKey::from_bytes(&key).is_ok_and(|key| key.verify_strict(&message(parts), &signature).is_ok())
}

/// The bytes under the signature. Each part is preceded by its length: no two lists of parts give the same ones.
pub fn message(parts: &[&str]) -> Vec<u8> {
    let parts = || ["mpp sandbox transfer v1"].iter().chain(parts);
    let mut message = Vec::with_capacity(parts().map(|part| 8 + part.len()).sum());
    for part in parts() {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part.as_bytes());
    }
    message
}
