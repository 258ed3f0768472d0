//! The chains that a key pays on: which ones, through which nodes, and in what money. The command line and the configuration
//! say so together.

use mpp::client::Builder;
use mpp::method::{ServerMethod as _, evm, tempo};
use serde::{Deserialize, Serialize};

use crate::config::{self, Token};
use crate::failure::Failure;
use crate::keys::{self, Key};

/// Chains, as the command line says them.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The node of Tempo to use (with a key of kind `evm`)
    #[arg(long, value_name = "URL")]
    tempo_rpc: Option<String>,
    /// The chain that node serves; Tempo's main network unless said otherwise
    #[arg(long, value_name = "ID", requires = "tempo_rpc")]
    tempo_chain: Option<u64>,
    /// Pay on Tempo from this account, of which the key is an access key
    #[arg(long, value_name = "ADDRESS")]
    tempo_account: Option<String>,
    /// The node of an EVM chain to use (with a key of kind `evm`)
    #[arg(long, value_name = "URL", requires = "evm_chain")]
    evm_rpc: Option<String>,
    /// The EVM chain to pay on, by its id: 8453 is Base. Its USDC is paid by signature alone, without a node
    #[arg(long, value_name = "ID")]
    evm_chain: Option<u64>,
    /// Pay on the EVM chain in this way alone; several with commas
    #[arg(long, value_name = "WAY", value_enum, value_delimiter = ',')]
    evm_pays_by: Vec<PaysBy>,
}

/// A way to pay on an EVM chain: the credential types of the method `evm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PaysBy {
    /// A signature that the token itself understands (EIP-3009): neither a node nor gas
    Authorization,
    /// A signature for Permit2, which the account has to have approved for the token: no gas
    Permit2,
    /// A signed transaction that the server sends; needs a node, and the account pays the gas
    Transaction,
    /// A transaction that is sent before the server is told of it; needs a node, and the account pays the gas
    Hash,
}

impl From<PaysBy> for evm::CredentialType {
    fn from(way: PaysBy) -> Self {
        match way {
            PaysBy::Authorization => Self::Authorization,
            PaysBy::Permit2 => Self::Permit2,
            PaysBy::Transaction => Self::Transaction,
            PaysBy::Hash => Self::Hash,
        }
    }
}

/// The chains that hold.
#[derive(Debug)]
pub(crate) struct Chains<'a> {
    tempo_rpc: Option<String>,
    tempo_chain: u64,
    tempo_account: Option<String>,
    evm_rpc: Option<String>,
    evm_chain: Option<u64>,
    evm_tokens: &'a [Token],
    evm_coin: Option<&'a str>,
    evm_pays_by: &'a [PaysBy],
}

/// A chain that can be asked, and the money known there.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) url: String,
    /// Whose money it is there.
    pub(crate) account: String,
    pub(crate) chain: u64,
    pub(crate) monies: Vec<Money>,
}

/// Money on a chain.
#[derive(Debug)]
pub(crate) struct Money {
    pub(crate) name: String,
    /// Its contract; none for the chain's own coin.
    pub(crate) contract: Option<String>,
    pub(crate) decimals: u8,
}

const NO_CHAIN: &str = "the key pays on a chain, and none is known; add --tempo-rpc URL or --evm-chain ID";

impl Flags {
    /// Whether the command line says anything of chains.
    pub(crate) fn are_given(&self) -> bool {
        let Flags { tempo_rpc, tempo_chain, tempo_account, evm_rpc, evm_chain, evm_pays_by } = self;
        [tempo_rpc, tempo_account, evm_rpc].iter().any(|flag| flag.is_some())
            || [tempo_chain, evm_chain].iter().any(|flag| flag.is_some())
            || !evm_pays_by.is_empty()
    }

    /// What the command line says replaces what the configuration says, all of it: a node belongs to a chain.
    pub(crate) fn of<'a>(&'a self, config: &'a config::Wallet) -> Chains<'a> {
        let pair = |own: (&Option<String>, Option<u64>), configured: (&Option<String>, Option<u64>)| match own
        {
            (None, None) => (configured.0.clone(), configured.1),
            (rpc, chain) => (rpc.clone(), chain),
        };
        let tempo = pair((&self.tempo_rpc, self.tempo_chain), (&config.tempo_rpc, config.tempo_chain));
        let evm = pair((&self.evm_rpc, self.evm_chain), (&config.evm_rpc, config.evm_chain));
        // Names are of the configured chain; the same address elsewhere may be anything.
        let is_configured = evm.1 == config.evm_chain;
        Chains {
            tempo_rpc: tempo.0,
            tempo_chain: tempo.1.unwrap_or(tempo::MAINNET),
            // Of the key, not of the node.
            tempo_account: self.tempo_account.clone().or_else(|| config.tempo_account.clone()),
            evm_rpc: evm.0,
            evm_chain: evm.1,
            evm_tokens: if is_configured { &config.evm_tokens } else { &[] },
            evm_coin: config.evm_coin.as_deref().filter(|_| is_configured),
            evm_pays_by: if self.evm_pays_by.is_empty() { &config.evm_pays_by } else { &self.evm_pays_by },
        }
    }
}

impl Chains<'_> {
    /// Adds the wallets of a key: on Tempo, on an EVM chain, or on both.
    pub(crate) fn wallets(self, mut builder: Builder, key: &Key) -> Result<Builder, Failure> {
        if self.tempo_rpc.is_none() && self.evm_chain.is_none() {
            return Err(Failure::failed(NO_CHAIN));
        }
        if let Some(rpc) = &self.tempo_rpc {
            let wallet = tempo::TempoWallet::new(keys::signer(key)?, rpc, self.tempo_chain);
            let mut wallet = wallet.map_err(Failure::failed)?;
            if let Some(account) = &self.tempo_account {
                wallet = wallet.access_key_of(account).map_err(Failure::failed)?;
            }
            builder = builder.method(wallet);
        }
        if let Some(chain) = self.evm_chain {
            let mut wallet = evm::EvmWallet::new(chain, keys::signer(key)?);
            if let Some(rpc) = &self.evm_rpc {
                wallet = wallet.rpc(rpc).map_err(Failure::failed)?;
            }
            if let Some(coin) = self.evm_coin {
                wallet = wallet.native_coin(coin);
            }
            if !self.evm_pays_by.is_empty() {
                let ways: Vec<_> = self.evm_pays_by.iter().copied().map(evm::CredentialType::from).collect();
                wallet = wallet.pays_by(&ways);
            }
            for token in self.evm_tokens {
                wallet = wallet
                    .token(&token.name, &token.address, token.decimals)
                    .map_err(|error| Failure::failed(format!("config.toml, evm_tokens: {error}")))?;
            }
            builder = builder.method(wallet);
        }
        Ok(builder)
    }

    /// The chains that can be asked what there is to pay with by the key of `address`.
    pub(crate) fn nodes(self, address: &str) -> Result<Vec<Node>, Failure> {
        let mut nodes = Vec::new();
        if let Some(url) = self.tempo_rpc {
            // Only a server has to know what it is paid in by name, so a server is asked.
            let known = tempo::Tempo::new(address).chain_id(self.tempo_chain);
            let money = |name: String| {
                let currency = known.currency(&name)?;
                Some(Money { name, contract: Some(currency.id), decimals: currency.decimals })
            };
            let monies = known.currencies().into_iter().filter_map(money).collect();
            let account = self.tempo_account.unwrap_or_else(|| address.to_owned());
            nodes.push(Node { url, account, chain: self.tempo_chain, monies });
        }
        if let (Some(url), Some(chain)) = (self.evm_rpc, self.evm_chain) {
            let named = self.evm_tokens.iter().map(|token| Money {
                name: token.name.clone(),
                contract: Some(token.address.clone()),
                decimals: token.decimals,
            });
            let known = evm::Chain::from(chain).assets().iter().map(|asset| Money {
                name: asset.name.to_owned(),
                contract: (asset.standard != evm::Standard::Native).then(|| asset.address.to_string()),
                decimals: asset.decimals,
            });
            let coin =
                self.evm_coin.map(|name| Money { name: name.to_owned(), contract: None, decimals: 18 });
            let account = address.to_owned();
            let monies = named.chain(coin).chain(known.filter(|money| {
                // A coin that was given a name is not listed twice.
                money.contract.is_some() || self.evm_coin.is_none()
            }));
            nodes.push(Node { url, account, chain, monies: monies.collect() });
        }
        if nodes.is_empty() {
            return Err(Failure::failed("no node is known to ask; add --tempo-rpc URL or --evm-rpc URL"));
        }
        Ok(nodes)
    }
}
