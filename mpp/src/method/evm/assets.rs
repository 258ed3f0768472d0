//! Chains and money known by name. Everything here can be overridden by configuration and is checked against the chain at
//! start-up.

use alloy::primitives::{Address, address};

/// Where Permit2 lives on every chain that has it.
pub const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");

/// An EVM chain, by its EIP-155 id.
///
/// ```
/// use mpp::method::evm::Chain;
///
/// assert_eq!(Chain::BASE.id(), 8453);
/// assert_eq!(Chain::from(31337).id(), 31337); // a local one
/// let names: Vec<_> = Chain::POLYGON.assets().iter().map(|asset| asset.name).collect();
/// assert_eq!(names, ["usdc", "pol"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain(u64);

impl Chain {
    /// Ethereum.
    pub const ETHEREUM: Self = Self(1);
    /// OP Mainnet.
    pub const OPTIMISM: Self = Self(10);
    /// Polygon PoS.
    pub const POLYGON: Self = Self(137);
    /// Base.
    pub const BASE: Self = Self(8453);
    /// Arbitrum One.
    pub const ARBITRUM: Self = Self(42_161);
    /// Avalanche C-Chain.
    pub const AVALANCHE: Self = Self(43_114);
    /// Base's test network.
    pub const BASE_SEPOLIA: Self = Self(84_532);
    /// Ethereum's test network.
    pub const SEPOLIA: Self = Self(11_155_111);

    /// The EIP-155 chain id.
    ///
    /// ```
    /// assert_eq!(mpp::method::evm::Chain::ETHEREUM.id(), 1);
    /// ```
    pub const fn id(self) -> u64 {
        self.0
    }

    /// The money known on this chain; none on a chain that is not one of the constants.
    ///
    /// ```
    /// use mpp::method::evm::Chain;
    /// assert_eq!(Chain::BASE.assets()[0].decimals, 6);
    /// assert!(Chain::from(31337).assets().is_empty());
    /// ```
    pub fn assets(self) -> &'static [Asset] {
        match self {
            Self::ETHEREUM => &ON_ETHEREUM,
            Self::OPTIMISM => &ON_OPTIMISM,
            Self::POLYGON => &ON_POLYGON,
            Self::BASE => &ON_BASE,
            Self::ARBITRUM => &ON_ARBITRUM,
            Self::AVALANCHE => &ON_AVALANCHE,
            Self::BASE_SEPOLIA => &ON_BASE_SEPOLIA,
            Self::SEPOLIA => &ON_SEPOLIA,
            Self(_) => &[],
        }
    }
}

impl From<u64> for Chain {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

/// Money on a chain.
///
/// ```
/// use mpp::method::evm::{Chain, Standard};
///
/// let usdc = &Chain::BASE.assets()[0];
/// assert_eq!(usdc.name, "usdc");
/// assert_eq!(usdc.standard, Standard::Eip3009 { name: "USD Coin", version: "2" });
/// assert_eq!(Chain::BASE.assets()[1].standard, Standard::Native);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// As prices name it.
    pub name: &'static str,
    /// The contract; the zero address for the chain's own coin, which has none.
    pub address: Address,
    /// Decimal places of one unit.
    pub decimals: u8,
    /// How it is moved.
    pub standard: Standard,
}

/// How money on a chain is moved.
///
/// ```
/// use mpp::method::evm::Standard;
/// assert_ne!(Standard::Native, Standard::Erc20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// The chain's own coin.
    Native,
    /// A token without signed transfers.
    Erc20,
    /// A token with `transferWithAuthorization`, and the EIP-712 domain it signs under.
    Eip3009 {
        /// `name` of the domain.
        name: &'static str,
        /// `version` of the domain.
        version: &'static str,
    },
}

const fn usdc(address: Address, name: &'static str) -> Asset {
    Asset { name: "usdc", address, decimals: 6, standard: Standard::Eip3009 { name, version: "2" } }
}

const fn coin(name: &'static str) -> Asset {
    Asset { name, address: Address::ZERO, decimals: 18, standard: Standard::Native }
}

// Circle's own contracts, not bridged ones.
const ON_ETHEREUM: [Asset; 2] =
    [usdc(address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"), "USD Coin"), coin("eth")];
const ON_OPTIMISM: [Asset; 2] =
    [usdc(address!("0b2C639c533813f4Aa9D7837CAf62653d097Ff85"), "USD Coin"), coin("eth")];
const ON_POLYGON: [Asset; 2] =
    [usdc(address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359"), "USD Coin"), coin("pol")];
const ON_BASE: [Asset; 2] =
    [usdc(address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), "USD Coin"), coin("eth")];
const ON_ARBITRUM: [Asset; 2] =
    [usdc(address!("af88d065e77c8cC2239327C5EDb3A432268e5831"), "USD Coin"), coin("eth")];
const ON_AVALANCHE: [Asset; 2] =
    [usdc(address!("B97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"), "USD Coin"), coin("avax")];
const ON_BASE_SEPOLIA: [Asset; 2] =
    [usdc(address!("036CbD53842c5426634e7929541eC2318f3dCF7e"), "USDC"), coin("eth")];
const ON_SEPOLIA: [Asset; 2] =
    [usdc(address!("1c7D4B196Cb0C7B01d743Fbc6116a902379C7238"), "USDC"), coin("eth")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_address_is_the_one_its_issuer_publishes() {
        // As published, in EIP-55: a typing mistake in either spelling fails.
        for (chain, published) in [
            (Chain::ETHEREUM, "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
            (Chain::OPTIMISM, "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85"),
            (Chain::POLYGON, "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"),
            (Chain::BASE, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
            (Chain::ARBITRUM, "0xaf88d065e77c8cC2239327C5EDb3A432268e5831"),
            (Chain::AVALANCHE, "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"),
            (Chain::BASE_SEPOLIA, "0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
            (Chain::SEPOLIA, "0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238"),
        ] {
            assert_eq!(chain.assets()[0].address.to_string(), published);
        }
        assert_eq!(PERMIT2.to_string(), "0x000000000022D473030F116dDEE9F6B43aC78BA3");
    }

    #[test]
    fn a_known_asset_has_the_decimals_that_prices_in_it_are_written_with() {
        for chain in [Chain::ETHEREUM, Chain::POLYGON, Chain::AVALANCHE, Chain::BASE_SEPOLIA] {
            for asset in chain.assets() {
                let known = crate::Currency::by_name(asset.name).unwrap();
                assert_eq!(known.decimals, asset.decimals, "{}", asset.name);
            }
        }
    }
}
