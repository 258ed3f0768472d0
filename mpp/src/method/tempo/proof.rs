//! `type="proof"`: an identity proof for a charge of zero (draft-tempo-charge, "Proof Payload").
//!
//! The signed structure is the deployed one, EIP-712 domain `MPP` version `3` over account, challenge id and realm
//! (I-01); the draft's version 1 covers the id alone and is written by no client in use.

use crate::chain::parse_hex;
use crate::method::Rejection;
use alloy::primitives::{Address, B256};
use alloy::sol;
use alloy::sol_types::{SolStruct, eip712_domain};
use tempo_alloy::primitives::transaction::TempoSignature;

/// The longest signature that is decoded: a WebAuthn envelope in an access key's.
const MAX_SIGNATURE: usize = 2049 + 21;

sol! {
    struct Proof {
        address account;
        string challengeId;
        string realm;
    }
}

/// Who signed a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proved {
    /// The account itself.
    ByAccount,
    /// A key in the account's name; whether it may is for the chain to say.
    ByAccessKey(Box<TempoSignature>, Address),
}

/// Whether `signature` (0x-hex) proves that `account` answered this challenge.
pub(super) fn verify(
    signature: &str,
    account: Address,
    chain_id: u64,
    challenge_id: &str,
    realm: &str,
) -> Result<Proved, Rejection> {
    let bytes = parse_hex(signature, MAX_SIGNATURE).ok_or_else(|| {
        Rejection::malformed("`payload.signature` is not a 0x-prefixed hexadecimal signature")
    })?;
    let digest = digest(account, chain_id, challenge_id, realm);
    let wrong = || Rejection::failed("the proof is not signed by the account in `source` for this challenge");
    // secp256k1, P-256 and WebAuthn verify here.
    let signature = TempoSignature::from_bytes(&bytes).map_err(|_| wrong())?;
    if signature.recover_signer(&digest).ok() != Some(account) {
        return Err(wrong());
    }
    match signature.as_keychain() {
        None => Ok(Proved::ByAccount),
        // The old kind does not cover the account, so it would hold for every account with this key.
        Some(keychain) if keychain.is_legacy() => Err(wrong()),
        Some(keychain) => {
            let key = keychain.key_id(&digest).map_err(|_| wrong())?;
            Ok(Proved::ByAccessKey(Box::new(signature), key))
        }
    }
}

/// What is signed.
pub(super) fn digest(account: Address, chain_id: u64, challenge_id: &str, realm: &str) -> B256 {
    let domain = eip712_domain! { name: "MPP", version: "3", chain_id: chain_id, };
    Proof { account, challengeId: challenge_id.to_owned(), realm: realm.to_owned() }
        .eip712_signing_hash(&domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::b256;
    use alloy::signers::{SignerSync, local::PrivateKeySigner};

    const REALM: &str = "api.example.com";
    const ID: &str = "kM9xPqWvT2nJrHsY4aDfEb";

    #[test]
    fn the_digest_is_the_one_deployed_clients_sign() {
        let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
        let expected = b256!("3860a700a55e02ad3c2dc047e92489feceecbdb0a801d948e1d9f0b61ea9bc3f");
        assert_eq!(digest(key.address(), 42431, ID, REALM), expected);
        let signature = key.sign_hash_sync(&expected).unwrap().to_string();
        assert!(signature.starts_with("0x53f5d64d9f995e841b4212639b2e17e508e96752e10316df3814a16443dcbdb6"));
        assert_eq!(verify(&signature, key.address(), 42431, ID, REALM), Ok(Proved::ByAccount));
    }

    #[test]
    fn a_proof_holds_for_one_account_chain_challenge_and_realm() {
        let key = PrivateKeySigner::random();
        let other = PrivateKeySigner::random().address();
        let signature = key.sign_hash_sync(&digest(key.address(), 31337, ID, REALM)).unwrap().to_string();
        for (account, chain, id, realm) in [
            (other, 31337, ID, REALM),
            (key.address(), 4217, ID, REALM),
            (key.address(), 31337, "another", REALM),
            (key.address(), 31337, ID, "api.example.org"),
        ] {
            assert!(verify(&signature, account, chain, id, realm).is_err());
        }
        for garbage in ["", "0x", "0xzz", &signature[2..], &format!("{signature}00"), &"0x".repeat(5000)] {
            assert!(verify(garbage, key.address(), 31337, ID, REALM).is_err(), "{garbage:.20}");
        }
    }
}
