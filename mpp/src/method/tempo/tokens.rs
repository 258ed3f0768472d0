//! Known tokens. All TIP-20 tokens have 6 decimals (draft-tempo-charge, "Terminology").

use super::{MAINNET, MODERATO};
use alloy::primitives::{Address, address};

/// Decimal places of every TIP-20 token.
pub(super) const DECIMALS: u8 = 6;

pub(super) const PATH_USD: Address = address!("20c0000000000000000000000000000000000000");
const ALPHA_USD: Address = address!("20c0000000000000000000000000000000000001");
/// Bridged USDC, main network only.
const USDC_E: Address = address!("20C000000000000000000000b9537d11c60E8b50");

/// The tokens of a chain, by the names annotations use.
pub(super) fn known(chain_id: u64) -> &'static [(&'static str, Address)] {
    match chain_id {
        MAINNET => &[("pathusd", PATH_USD), ("usdc", USDC_E)],
        MODERATO => &[("pathusd", PATH_USD)],
        _ => &[("alphausd", ALPHA_USD), ("pathusd", PATH_USD)],
    }
}
