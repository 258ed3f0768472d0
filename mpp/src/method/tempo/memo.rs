//! The attribution memo: what makes a transfer the payment of one challenge and of no other.
//!
//! The draft's checks alone would let anybody present somebody else's transfer of the right amount. Deployed clients
//! therefore put 32 bytes into `transferWithMemo` that name the challenge (spec-a 8.7, I-02), and this server requires
//! them in both directions, `transaction` and `hash`:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | `keccak256("mpp")` |
//! | 4 | version, 1 |
//! | 5..15 | `keccak256(realm)` |
//! | 15..25 | `keccak256(client id)`, or zeros; not ours to judge |
//! | 25..32 | `keccak256(challenge id)` |

use alloy::primitives::{B256, keccak256};

/// `keccak256("mpp")[..4]` and the version.
const TAG: [u8; 5] = [0xef, 0x1e, 0xd7, 0x12, 0x01];

/// Whether `memo` names this challenge of this realm.
pub(super) fn binds(memo: &B256, realm: &str, challenge_id: &str) -> bool {
    memo[..5] == TAG && memo[5..15] == keccak256(realm)[..10] && memo[25..] == keccak256(challenge_id)[..7]
}

/// The memo of a payer who names no client: whose software pays is nobody's business.
pub(super) fn anonymous(realm: &str, challenge_id: &str) -> B256 {
    let mut memo = B256::ZERO;
    memo[..5].copy_from_slice(&TAG);
    memo[5..15].copy_from_slice(&keccak256(realm)[..10]);
    memo[25..].copy_from_slice(&keccak256(challenge_id)[..7]);
    memo
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::b256;

    const REALM: &str = "api.example.com";
    const ID: &str = "kM9xPqWvT2nJrHsY4aDfEb";

    #[test]
    fn the_memo_is_the_one_deployed_clients_write() {
        assert_eq!(TAG[..4], keccak256("mpp")[..4]);
        let vector = b256!("ef1ed712011ece072f76bd8b82350e000000000000000000001128fb265e760d");
        assert_eq!(anonymous(REALM, ID), vector);
        assert!(binds(&vector, REALM, ID));
    }

    #[test]
    fn every_byte_but_the_client_id_counts() {
        let memo = anonymous(REALM, ID);
        for at in 0..32 {
            let mut other = memo;
            other[at] ^= 1;
            assert_eq!(binds(&other, REALM, ID), (15..25).contains(&at), "byte {at}");
        }
        assert!(!binds(&memo, "api.example.org", ID));
        assert!(!binds(&memo, REALM, "another"));
    }
}
