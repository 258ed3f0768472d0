//! Payers' identifiers (core draft, credential `source`: W3C decentralized identifiers).
//!
//! Two methods are understood, `did:pkh` (an account on a chain, CAIP-10) and `did:key` (a public key); any other
//! well-formed DID is kept as it is.

use std::fmt;
use std::str::FromStr;

/// Longest DID that is read, in characters.
const MAX_CHARS: usize = 2048;
/// Longest `did:key` that is decoded: base58 takes quadratic time.
const MAX_KEY_CHARS: usize = 256;
/// The multicodec prefix of an ed25519 public key (0xed as a varint).
const ED25519: [u8; 2] = [0xed, 0x01];

/// A decentralized identifier.
///
/// ```
/// use mpp::protocol::Did;
///
/// let payer: Did = "did:pkh:eip155:4217:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00".parse()?;
/// let Did::Pkh { namespace, reference, .. } = &payer else { panic!() };
/// assert_eq!((namespace.as_str(), reference.as_str()), ("eip155", "4217"));
/// # Ok::<(), mpp::protocol::DidError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Did {
    /// An account on a chain: `did:pkh:<namespace>:<reference>:<address>`.
    Pkh {
        /// The family of chains, such as `eip155`.
        namespace: String,
        /// The chain; for `eip155` its number, without leading zeros.
        reference: String,
        /// The account; for `eip155` `0x` and 40 hexadecimal digits. The checksum is the payment method's to judge.
        address: String,
    },
    /// A public key: `did:key:z…`.
    Key(PublicKey),
    /// Another DID method, whole.
    Other(String),
}

/// The key of a `did:key`.
///
/// ```
/// use mpp::protocol::{Did, PublicKey};
/// let did: Did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".parse().unwrap();
/// assert!(matches!(did, Did::Key(PublicKey::Ed25519(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// An ed25519 key.
    Ed25519([u8; 32]),
    /// Another kind: the multicodec prefix and the key.
    Other(Vec<u8>),
}

impl Did {
    /// The DID of an ed25519 key.
    ///
    /// ```
    /// use mpp::protocol::Did;
    /// assert!(Did::ed25519(&[1; 32]).to_string().starts_with("did:key:z6Mk"));
    /// ```
    pub fn ed25519(key: &[u8; 32]) -> Did {
        Did::Key(PublicKey::Ed25519(*key))
    }

    /// The DID of an account on an EVM chain. `address` is `0x` and 40 hexadecimal digits.
    ///
    /// # Errors
    /// [`DidError::Pkh`] when the address is anything else.
    ///
    /// ```
    /// use mpp::protocol::Did;
    /// let account = Did::eip155(4217, "0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00")?;
    /// assert_eq!(account.to_string(), "did:pkh:eip155:4217:0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00");
    /// # Ok::<(), mpp::protocol::DidError>(())
    /// ```
    pub fn eip155(chain_id: u64, address: &str) -> Result<Did, DidError> {
        pkh("eip155", &chain_id.to_string(), address)
    }

    /// Reads a DID of at most 2048 characters.
    ///
    /// # Errors
    /// [`DidError::NotADid`] for anything without the shape `did:method:id`, [`DidError::Pkh`] and [`DidError::Key`] for
    /// what breaks the rules of these two methods.
    ///
    /// ```
    /// use mpp::protocol::{Did, DidError};
    /// assert_eq!(Did::parse("did:web:example.com"), Ok(Did::Other("did:web:example.com".into())));
    /// assert_eq!(Did::parse("did:pkh:eip155:01:0xabc"), Err(DidError::Pkh));
    /// assert_eq!(Did::parse("alice"), Err(DidError::NotADid));
    /// ```
    pub fn parse(text: &str) -> Result<Did, DidError> {
        if text.len() > MAX_CHARS {
            return Err(DidError::NotADid);
        }
        let (method, id) =
            text.strip_prefix("did:").and_then(|rest| rest.split_once(':')).ok_or(DidError::NotADid)?;
        match method {
            "pkh" => match id.splitn(3, ':').collect::<Vec<_>>().as_slice() {
                [namespace, reference, address] => pkh(namespace, reference, address),
                _ => Err(DidError::Pkh),
            },
            "key" => key(id),
            _ => {
                let good = !method.is_empty()
                    && method.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                    && !id.is_empty()
                    && id.bytes().all(|b| b.is_ascii_graphic());
                if good { Ok(Did::Other(text.to_owned())) } else { Err(DidError::NotADid) }
            }
        }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Did::Pkh { namespace, reference, address } => {
                write!(f, "did:pkh:{namespace}:{reference}:{address}")
            }
            Did::Key(key) => {
                let bytes = match key {
                    PublicKey::Ed25519(key) => [&ED25519[..], key].concat(),
                    PublicKey::Other(bytes) => bytes.clone(),
                };
                write!(f, "did:key:z{}", bs58::encode(bytes).into_string())
            }
            Did::Other(text) => f.write_str(text),
        }
    }
}

impl FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Did, DidError> {
        Did::parse(text)
    }
}

/// Why text is not a [`Did`].
///
/// ```
/// # use mpp::protocol::{Did, DidError};
/// assert_eq!(Did::parse("0xabc"), Err(DidError::NotADid));
/// assert_eq!(Did::parse("did:pkh:eip155:01:0xabc"), Err(DidError::Pkh));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidError {
    /// Not of the shape `did:method:id`.
    #[error("not a DID (did:method:id)")]
    NotADid,
    /// A `did:pkh` that names no account.
    #[error("not a did:pkh of a chain and an account on it")]
    Pkh,
    /// A `did:key` that holds no key.
    #[error("not a did:key of a base58 public key")]
    Key,
}

fn pkh(namespace: &str, reference: &str, address: &str) -> Result<Did, DidError> {
    // CAIP-2 and CAIP-10.
    let namespace_good = (3..=8).contains(&namespace.len())
        && namespace.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let reference_good = (1..=32).contains(&reference.len())
        && reference.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let address_good = (1..=128).contains(&address.len())
        && address.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'%'));
    let eip155_good = namespace != "eip155"
        || (reference.bytes().all(|b| b.is_ascii_digit())
            && !reference.starts_with('0')
            && address
                .strip_prefix("0x")
                .is_some_and(|hex| hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit())));
    if !(namespace_good && reference_good && address_good && eip155_good) {
        return Err(DidError::Pkh);
    }
    Ok(Did::Pkh {
        namespace: namespace.to_owned(),
        reference: reference.to_owned(),
        address: address.to_owned(),
    })
}

fn key(id: &str) -> Result<Did, DidError> {
    let encoded =
        id.strip_prefix('z').filter(|encoded| encoded.len() <= MAX_KEY_CHARS).ok_or(DidError::Key)?;
    let bytes = bs58::decode(encoded).into_vec().map_err(|_| DidError::Key)?;
    match bytes.strip_prefix(&ED25519) {
        Some(key) => key.try_into().map(|key| Did::Key(PublicKey::Ed25519(key))).map_err(|_| DidError::Key),
        // A prefix of at least one byte, and a key.
        None if bytes.len() >= 2 => Ok(Did::Key(PublicKey::Other(bytes))),
        None => Err(DidError::Key),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accounts_on_evm_chains_have_a_plain_chain_number_and_address() {
        const ADDRESS: &str = "0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00";
        assert_eq!(Did::parse(&format!("did:pkh:eip155:4217:{ADDRESS}")), Did::eip155(4217, ADDRESS));
        for wrong in [
            format!("did:pkh:eip155:04217:{ADDRESS}"),
            format!("did:pkh:eip155:0:{ADDRESS}"),
            format!("did:pkh:eip155:-1:{ADDRESS}"),
            format!("did:pkh:eip155::{ADDRESS}"),
            format!("did:pkh:eip155:1:{}", &ADDRESS[2..]),
            format!("did:pkh:eip155:1:{}", &ADDRESS[..41]),
            format!("did:pkh:eip155:1:{ADDRESS}0"),
            format!("did:pkh:eip155:1:{ADDRESS}:1"),
            format!("did:pkh:eip155:1:{ADDRESS}#key"),
            format!("did:pkh:eip155:1:0X{}", &ADDRESS[2..]),
            format!("did:pkh:EIP155:1:{ADDRESS}"),
            "did:pkh:eip155:1".into(),
            "did:pkh:".into(),
        ] {
            assert_eq!(Did::parse(&wrong), Err(DidError::Pkh), "{wrong}");
        }
        assert!(
            Did::parse(
                "did:pkh:solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp:CKg5d12Jhpej1JqtmxLJgaFqqeYjxgPqToJ4LBdvG9Ev"
            )
            .is_ok()
        );
    }

    #[test]
    fn the_ed25519_example_of_the_did_key_specification_is_read() {
        let text = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
        let Ok(Did::Key(PublicKey::Ed25519(key))) = Did::parse(text) else { panic!("not an ed25519 key") };
        assert_eq!(Did::ed25519(&key).to_string(), text);
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for wrong in ["did:key:", "did:key:z", "did:key:z0", "did:key:6Mkh", "did:key:z1"] {
            assert_eq!(Did::parse(wrong), Err(DidError::Key), "{wrong}");
        }
        assert_eq!(Did::parse(&format!("did:key:z{}", "6".repeat(MAX_KEY_CHARS + 1))), Err(DidError::Key));
        let short = bs58::encode([&ED25519[..], &[7; 31]].concat()).into_string();
        assert_eq!(Did::parse(&format!("did:key:z{short}")), Err(DidError::Key));
    }

    #[test]
    fn other_methods_are_kept_and_other_texts_refused() {
        assert_eq!(
            Did::parse("did:web:example.com%3A8443:u"),
            Ok(Did::Other("did:web:example.com%3A8443:u".into()))
        );
        for wrong in
            ["", "did", "did:web", "did::x", "did:web:", "did:WEB:x", "DID:web:x", "did:web:a b", "did:web:é"]
        {
            assert_eq!(Did::parse(wrong), Err(DidError::NotADid), "{wrong}");
        }
        assert_eq!(Did::parse(&format!("did:web:{}", "a".repeat(MAX_CHARS))), Err(DidError::NotADid));
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_did(key: [u8; 32], other in prop::collection::vec(any::<u8>(), 2..60)) {
            let did = Did::ed25519(&key);
            prop_assert_eq!(Did::parse(&did.to_string()), Ok(did));
            if let Ok(did) = Did::parse(&Did::Key(PublicKey::Other(other)).to_string()) {
                prop_assert_eq!(Did::parse(&did.to_string()), Ok(did));
            }
        }

        #[test]
        fn a_did_that_parses_is_written_as_it_was(text in "did:(pkh|key|web):[-a-zA-Z0-9:.%]{0,60}", any in ".*") {
            let _ = Did::parse(&any);
            if let Ok(did) = Did::parse(&text) {
                prop_assert_eq!(did.to_string(), text);
            }
        }
    }
}
