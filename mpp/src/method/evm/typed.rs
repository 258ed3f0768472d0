//! What payers sign: the challenge hash, EIP-3009 authorizations and Permit2 permits with a witness (EIP-712), and the one
//! form of a signature that is taken.
//!
//! # Permit2's witness type
//! The draft gives the type string with a space after the comma and says that it MUST be used exactly
//! (draft-evm-charge, "Witness Data"; X-22). Typed-data encoders of wallets write it without the space, which is another
//! type hash. Permit2 itself takes whatever string it is given, so both are verified here and the matching one goes on the chain.

use super::abi::TransferWithAuthorization;
use crate::chain::parse_hex;
use alloy::primitives::{Address, B256, Signature, U256, keccak256, uint};
use alloy::sol_types::{SolStruct, SolValue, eip712_domain};
use serde::{Deserialize, Serialize};

/// Half the order of secp256k1: of the two signatures that verify, only the one with the smaller `s` is taken (EIP-2).
const HALF_ORDER: U256 = uint!(0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0_U256);
/// First half of the type that Permit2 hashes; the witness type string is the second.
const PERMIT_STUB: &str =
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";
const TOKEN_PERMISSIONS: &str = "TokenPermissions(address token,uint256 amount)";

/// `keccak256(id ‖ realm)`: names the challenge in an EIP-3009 nonce, a Permit2 witness or the end of a transfer's input.
///
/// Ids of this server have one length, so the boundary between the two parts is never in doubt.
pub(super) fn challenge_hash(id: &str, realm: &str) -> B256 {
    keccak256([id.as_bytes(), realm.as_bytes()].concat())
}

/// The domain separator of a token, from what it calls itself.
pub(super) fn token_domain(name: &str, version: &str, chain_id: u64, token: Address) -> B256 {
    eip712_domain! {
        name: name.to_owned(), version: version.to_owned(), chain_id: chain_id, verifying_contract: token,
    }
    .separator()
}

/// The domain separator of Permit2, which has no version.
pub(super) fn permit2_domain(chain_id: u64, permit2: Address) -> B256 {
    eip712_domain! { name: "Permit2", chain_id: chain_id, verifying_contract: permit2, }.separator()
}

/// What the payer of an EIP-3009 authorization signs.
pub(super) fn authorization_digest(authorization: &TransferWithAuthorization, domain: B256) -> B256 {
    digest(domain, authorization.eip712_hash_struct())
}

/// How the witness type is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WitnessType {
    /// As the draft prints it, with a space.
    Literal,
    /// As EIP-712 encoders write it.
    Canonical,
}

impl WitnessType {
    /// Both, in the order they are tried.
    pub(super) const ALL: [Self; 2] = [Self::Literal, Self::Canonical];

    fn witness(self) -> &'static str {
        match self {
            Self::Literal => "PaymentWitness(bytes32 challengeHash, string externalId)",
            Self::Canonical => "PaymentWitness(bytes32 challengeHash,string externalId)",
        }
    }

    /// The second half of the type, as Permit2 takes it.
    pub(super) fn type_string(self) -> String {
        format!("PaymentWitness witness){}{TOKEN_PERMISSIONS}", self.witness())
    }

    /// The hash of the witness.
    pub(super) fn hash(self, challenge: B256, external_id: &str) -> B256 {
        keccak256((keccak256(self.witness()), challenge, keccak256(external_id)).abi_encode())
    }
}

/// A permit for one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permit {
    /// The token.
    pub(super) token: Address,
    /// The most it allows.
    pub(super) amount: U256,
    /// Who may use it: the account that calls Permit2.
    pub(super) spender: Address,
    /// Unordered: a bit of the payer's bitmap.
    pub(super) nonce: U256,
    /// Unix seconds.
    pub(super) deadline: U256,
}

impl Permit {
    /// What its payer signs.
    pub(super) fn digest(&self, kind: WitnessType, witness: B256, domain: B256) -> B256 {
        let type_hash = keccak256([PERMIT_STUB, &kind.type_string()].concat());
        let permitted = keccak256((keccak256(TOKEN_PERMISSIONS), self.token, self.amount).abi_encode());
        let members = (type_hash, permitted, self.spender, self.nonce, self.deadline, witness);
        digest(domain, keccak256(members.abi_encode()))
    }
}

fn digest(domain: B256, message: B256) -> B256 {
    keccak256([&[0x19, 0x01], domain.as_slice(), message.as_slice()].concat())
}

/// Reads a signature: 65 bytes `r ‖ s ‖ v` with the smaller `s` and `v` 27 or 28. Anything else would be a second spelling
/// of the same payment, or one that the contracts refuse.
pub(super) fn parse_signature(text: &str) -> Option<Signature> {
    let bytes: [u8; 65] = parse_hex(text, 65)?.try_into().ok()?;
    let [r, s] = [0, 32].map(|at| U256::from_be_slice(&bytes[at..at + 32]));
    let odd = match bytes[64] {
        27 => false,
        28 => true,
        _ => return None,
    };
    is_low(s).then(|| Signature::new(r, s, odd))
}

/// Whether `s` is the smaller of the two.
pub(super) fn is_low(s: U256) -> bool {
    s <= HALF_ORDER
}

/// Who signed `digest`.
pub(super) fn signer_of(signature: &Signature, digest: &B256) -> Option<Address> {
    signature.recover_address_from_prehash(digest).ok()
}

/// `v` as contracts take it.
pub(super) fn v_of(signature: &Signature) -> u8 {
    27 + u8::from(signature.v())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{address, b256, hex};
    use alloy::signers::{SignerSync, local::PrivateKeySigner};

    #[test]
    fn type_hashes_are_those_of_the_specifications() {
        // spec-a 1.3, and the EIPs.
        assert_eq!(
            keccak256(TransferWithAuthorization::eip712_encode_type().as_bytes()),
            b256!("7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267")
        );
        let of = |kind: WitnessType| keccak256([PERMIT_STUB, &kind.type_string()].concat());
        let literal = b256!("f7aec95a3f477515b4f533a35d81e9e2ca9c940b0f46ac5f81b25e1155558c37");
        let canonical = b256!("cf76816a522860b566861905fafd1216b00240b3a3a0989155743ec1cedad308");
        assert_eq!((of(WitnessType::Literal), of(WitnessType::Canonical)), (literal, canonical));
    }

    #[test]
    fn the_challenge_hash_covers_id_and_realm() {
        assert_eq!(
            challenge_hash("aB3cDeF4gHiJkLmN", "api.example.com"),
            b256!("899e3a8fe6830644e150b972d4ba1fce69bcdf0bf9ea7f13d57cada71c6f281d")
        );
        assert_eq!(
            challenge_hash("sP1itBatchEx4mple", "marketplace.example.com"),
            b256!("00474a5d8913912accfda31ae00111c8b93744fe991fb0e9897e9ecd61088f12")
        );
    }

    #[test]
    fn a_signature_has_one_spelling() {
        let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
        let digest = keccak256("payment");
        let good = key.sign_hash_sync(&digest).unwrap();
        let text = hex::encode_prefixed(good.as_bytes());
        assert_eq!(signer_of(&parse_signature(&text).unwrap(), &digest), Some(key.address()));
        assert_eq!(hex::encode_prefixed(parse_signature(&text).unwrap().as_bytes()), text);

        // The other signature that verifies: same `r`, `s` mirrored, parity flipped.
        let order = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
        let high = Signature::new(good.r(), order - good.s(), !good.v());
        assert_eq!(signer_of(&high, &digest), Some(key.address()), "it does verify");
        assert_eq!(parse_signature(&hex::encode_prefixed(high.as_bytes())), None);

        let with_v = |v: u8| {
            let mut bytes = good.as_bytes();
            bytes[64] = v;
            hex::encode_prefixed(bytes)
        };
        for v in [0, 1, 2, 26, 29, 255] {
            assert_eq!(parse_signature(&with_v(v)), None, "v {v}");
        }
        let compact = hex::encode_prefixed(good.as_erc2098());
        for wrong in ["", "0x", &text[2..], &text[..130], &format!("{text}00"), &compact] {
            assert_eq!(parse_signature(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_member_of_a_permit_is_signed() {
        let permit = Permit {
            token: address!("FAfDdbb3FC7688494971a79cc65DCa3EF82079E7"),
            amount: U256::from(10),
            spender: address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            nonce: U256::from(1),
            deadline: U256::from(1_775_045_100),
        };
        let domain = permit2_domain(4326, super::super::PERMIT2);
        let of = |permit: Permit, kind: WitnessType, id: &str, external: &str| {
            permit.digest(kind, kind.hash(challenge_hash(id, "api.example.com"), external), domain)
        };
        let mut digests = vec![
            of(permit, WitnessType::Literal, "a", ""),
            of(permit, WitnessType::Canonical, "a", ""),
            of(permit, WitnessType::Literal, "b", ""),
            of(permit, WitnessType::Literal, "a", "order-7"),
            of(Permit { token: Address::ZERO, ..permit }, WitnessType::Literal, "a", ""),
            of(Permit { amount: U256::from(11), ..permit }, WitnessType::Literal, "a", ""),
            of(Permit { spender: Address::ZERO, ..permit }, WitnessType::Literal, "a", ""),
            of(Permit { nonce: U256::from(2), ..permit }, WitnessType::Literal, "a", ""),
            of(Permit { deadline: U256::from(1), ..permit }, WitnessType::Literal, "a", ""),
        ];
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }
}
