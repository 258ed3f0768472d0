//! Addresses and bytes as people and credentials write them (EIP-55, `did:pkh:eip155:…`, 0x-hex).

use crate::method::MethodProblem;
use crate::protocol::Did;
use alloy::hex;
use alloy::primitives::Address;

/// Why text names no account on this chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountError {
    /// Not `0x` and 40 hex digits.
    #[error("an address is `0x` followed by 40 hexadecimal digits")]
    NotAnAddress,
    /// Mixed case that is not the EIP-55 checksum: probably a typing mistake.
    #[error("the address has a wrong EIP-55 checksum; one of its characters is mistyped")]
    Checksum,
    /// Not `did:pkh:eip155:<chain id>:<address>`.
    #[error("the payer is not named as `did:pkh:eip155:<chain id>:<address>`")]
    NotAPayer,
    /// A payer on another chain.
    #[error("the payer is named on another chain than the payment")]
    OtherChain,
}

/// Reads an address: all lower or all upper case as it is, mixed case only with a right EIP-55 checksum.
pub(crate) fn parse_address(text: &str) -> Result<Address, AccountError> {
    let digits = text.strip_prefix("0x").ok_or(AccountError::NotAnAddress)?;
    if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(AccountError::NotAnAddress);
    }
    let mixed =
        digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
    if mixed {
        return Address::parse_checksummed(text, None).map_err(|_| AccountError::Checksum);
    }
    text.parse().map_err(|_| AccountError::NotAnAddress)
}

/// The account that is configured as `whom`: an address that somebody can have.
pub(crate) fn usable_account(whom: &str, text: &str) -> Result<Address, MethodProblem> {
    match parse_address(text) {
        Ok(address) if address.is_zero() => Err(MethodProblem(format!("{whom} is the zero address"))),
        Ok(address) => Ok(address),
        Err(e) => Err(MethodProblem(format!("{whom} is not usable: {e}"))),
    }
}

/// Reads the `source` of a credential: an account on chain `chain_id` (draft-tempo-charge, "Credential Structure").
pub(crate) fn payer_of(source: &str, chain_id: u64) -> Result<Address, AccountError> {
    let Ok(Did::Pkh { namespace, reference, address }) = source.parse() else {
        return Err(AccountError::NotAPayer);
    };
    if namespace != "eip155" {
        return Err(AccountError::NotAPayer);
    }
    if reference.parse() != Ok(chain_id) {
        return Err(AccountError::OtherChain);
    }
    parse_address(&address)
}

/// Reads 0x-prefixed hexadecimal of at most `max` bytes, in either case.
pub(crate) fn parse_hex(text: &str, max: usize) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    // `hex::decode` would take a second prefix.
    let plain = !digits.starts_with("0x") && digits.len() <= max * 2;
    plain.then(|| hex::decode(digits).ok()).flatten()
}

/// The DID of an account.
pub(crate) fn did_of(chain_id: u64, account: Address) -> String {
    format!("did:pkh:eip155:{chain_id}:{account}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    #[test]
    fn an_address_is_read_in_one_case_or_with_a_right_checksum() {
        let alice = parse_address(ALICE).unwrap();
        assert_eq!(parse_address(&ALICE.to_lowercase()), Ok(alice));
        assert_eq!(parse_address(&format!("0x{}", ALICE[2..].to_uppercase())), Ok(alice));
        assert_eq!(parse_address("0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266"), Err(AccountError::Checksum));
        for wrong in
            ["", "0x", "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0xf39", &format!("{ALICE}0"), "0xzz"]
        {
            assert_eq!(parse_address(wrong), Err(AccountError::NotAnAddress), "{wrong}");
        }
    }

    #[test]
    fn a_payer_is_named_on_the_chain_of_the_payment() {
        let did = did_of(31337, parse_address(ALICE).unwrap());
        assert_eq!(payer_of(&did, 31337), parse_address(ALICE));
        assert_eq!(payer_of(&did, 4217), Err(AccountError::OtherChain));
        for wrong in [
            "",
            ALICE,
            "did:pkh:eip155:031337:0x",
            "did:pkh:eip155:+1:0x",
            "did:key:z6Mk",
            "did:pkh:eip155:1",
        ] {
            assert_eq!(payer_of(wrong, 31337), Err(AccountError::NotAPayer), "{wrong}");
        }
    }
}
