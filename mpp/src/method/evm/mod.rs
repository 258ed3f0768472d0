//! `evm`: ERC-20 tokens and native coins on any EVM chain (draft-evm-charge-00).
//!
//! | `type` | who moves the money | what binds it to the challenge |
//! | --- | --- | --- |
//! | `authorization` | we do, by EIP-3009 `transferWithAuthorization`; we pay the gas | the signed nonce is the challenge hash |
//! | `permit2` | we do, through Permit2; we pay the gas | the signed witness holds the challenge hash |
//! | `transaction` | the payer signs, we broadcast; the payer pays the gas | input that ends in the challenge hash, or that nobody has seen it before us |
//! | `hash` | the payer | input that ends in the challenge hash, unless [`Evm::accept_unbound_hash`] |
//!
//! The challenge hash is `keccak256(id ‖ realm)`. A challenge says in `credentialTypes` exactly what is accepted for its currency.
//!
//! | file | what |
//! | --- | --- |
//! | `request.rs` | the challenge's `request`, both ways |
//! | `server.rs`, `verify.rs` | what is offered and checked at start-up; `verify` |
//! | `offchain.rs`, `onchain.rs` | the credential types: signatures for us to use, transactions of the payer |
//! | `settle.rs`, `lookup.rs` | `settle` and `resolve` |
//! | `settler.rs`, `gas.rs`, `credit.rs` | the settlement key: nonces, fees, replacement; for whom it pays |
//! | `open.rs` | transactions of payers that nobody knows the end of |
//! | `refund.rs` | giving a payment back, when the operator orders it |
//! | `client.rs`, `fate.rs` | the payer's side, [`EvmWallet`]; what became of its payments |
//! | `typed.rs`, `abi.rs` | what is signed, what is called |
//! | `assets.rs`, `plan.rs`, `node.rs` | known chains and money, what is journaled, what the node is asked |
//!
//! # When a payment counts as declined, so that its claims are released
//! - Nothing was handed to the network: no connection to the node, the settlement key could not pay the gas, the node refused
//!   the transaction of the settlement key for its nonce or fee, or the payer has no credit with the key (`credit.rs`).
//! - `authorization`, `permit2`: the *finalized* time is past the deadline that the payer signed and the payer's nonce is unused;
//!   or the payer has cancelled the nonce, in a finalized block. And a permit whose nonce was used before anything of ours had left.
//! - `transaction`: the payer's account nonce is used by a *finalized* transaction that is another one, or this one
//!   reverted in a finalized block. And a transaction bound to no challenge which somebody had seen before we broadcast it.
//!   One that is lost on its way has no other end: the payer ends it by using the nonce, for another payment or for nothing.
//!   Until then it is unknown, and a payer may have eight of those.
//!
//! Everything else after bytes left is unknown (503, never 402), and is looked up: an authorization by the token's
//! `AuthorizationUsed` event, a permit by Permit2's nonce bitmap and our exact call, a transaction by its receipt. That is also why a
//! settlement of ours that reverted stays unknown until the deadline: the signature is public then and still good.
//!
//! # What the draft leaves open, and what is done here
//! - Permit2 hashes its caller into what is signed, and no member of the request names it: `methodDetails.spender` does here (X-30). Our
//!   wallet refuses to sign without it.
//! - The witness type is verified as the draft prints it, with a space, and as EIP-712 encoders write it, without (X-22).
//! - `permitBatchWitnessTransferFrom` does not exist (X-21). Splits are not offered.
//! - A permit does not name its owner: `source` is required for `permit2`.
//! - The native coin is the zero address in `currency`; it is paid by `transaction` or `hash`.
//! - Only transactions of type 2 (EIP-1559) are taken, as the draft says; `transfer(to, amount)` of the token itself and nothing
//!   else, or that call followed by the 32 bytes of the challenge hash.
//!
//! # Payments that are not yours
//! Whatever has been broadcast is public. A `hash` is therefore refused unless the sender's own transaction is nothing but the transfer: a
//! transfer that a contract made (somebody else's authorization, say, wrapped in a call of one's own) is no payment of the sender.

mod abi;
mod assets;
mod client;
mod credit;
mod fate;
mod gas;
mod lookup;
mod node;
mod offchain;
mod onchain;
mod open;
mod plan;
mod refund;
mod request;
mod server;
mod settle;
mod settler;
#[cfg(test)]
mod tests;
mod typed;
mod verify;

pub use self::assets::{Asset, Chain, PERMIT2, Standard};
pub use self::client::EvmWallet;
pub use self::gas::GasPolicy;
pub use self::server::rpc_chain_id;
pub use alloy::signers::local::PrivateKeySigner;

use self::credit::Risk;
use self::refund::Refunds;
use self::settler::Settler;
use crate::chain::{Node, Reach, parse_address, usable_account};
use crate::method::{MethodName, MethodProblem};
use crate::store::Notebook;
use alloy::primitives::{Address, B256};
use alloy::signers::Signer;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// A node whose newest block is older has fallen behind: it cannot say what does not exist or cannot be paid.
const FRESH: Duration = Duration::from_secs(60);

/// A way to pay (draft-evm-charge, "Credential Types").
///
/// ```
/// use mpp::method::evm::CredentialType;
/// assert_eq!(CredentialType::Authorization.as_str(), "authorization");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialType {
    /// A Permit2 signature.
    Permit2,
    /// An EIP-3009 signature.
    Authorization,
    /// A signed transaction for the server to broadcast.
    Transaction,
    /// The hash of a transaction that the payer has broadcast.
    Hash,
}

impl CredentialType {
    const ALL: [Self; 4] = [Self::Permit2, Self::Authorization, Self::Transaction, Self::Hash];

    /// As `credentialTypes` and `payload.type` write it.
    ///
    /// ```
    /// # use mpp::method::evm::CredentialType;
    /// assert_eq!(CredentialType::Permit2.as_str(), "permit2");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit2 => "permit2",
            Self::Authorization => "authorization",
            Self::Transaction => "transaction",
            Self::Hash => "hash",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether the settlement key moves the money and pays the gas.
    fn needs_key(self) -> bool {
        matches!(self, Self::Permit2 | Self::Authorization)
    }
}

impl fmt::Display for CredentialType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `evm` payment method.
///
/// Wrong settings are no panics: they are reported together, with every other start-up problem, by
/// [`ServerMethod::problems`](crate::method::ServerMethod::problems).
///
/// ```
/// use mpp::{Evm, method::ServerMethod};
/// use mpp::method::evm::Chain;
///
/// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
///     .chain(Chain::BASE)
///     .rpc("https://rpc.example.org/v1/key")
///     .settlement_key("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");
/// assert_eq!(evm.problems(), []);
/// assert_eq!(evm.currency("usdc").unwrap().id, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
/// assert_eq!(evm.currency("eth").unwrap().decimals, 18);
///
/// assert_eq!(Evm::new("0x7099").problems().len(), 3); // no recipient, no chain, no node
/// ```
#[derive(Debug)]
pub struct Evm {
    name: MethodName,
    recipient: Option<Address>,
    node: Node,
    chain: Option<Chain>,
    tokens: Vec<Token>,
    accepted: Option<Vec<CredentialType>>,
    binding: HashBinding,
    settler: Option<Arc<Settler>>,
    refunds: Option<Refunds>,
    gas: GasPolicy,
    risk: Risk,
    confirmations: u64,
    permit2: Address,
    wrong: Vec<MethodProblem>,
    /// EIP-712 domain separators that the tokens have confirmed.
    domains: Mutex<HashMap<Address, B256>>,
    /// Where there is no server with a notebook.
    aside: OnceLock<Notebook>,
    pace: Pace,
}

/// Money as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    name: String,
    /// `None` for the chain's own coin.
    address: Option<Address>,
    decimals: u8,
    kind: Kind,
}

/// What can be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Native,
    Erc20,
    Eip3009,
}

/// What a `hash` has to be bound by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HashBinding {
    /// The challenge hash at the end of the transaction's input.
    Required,
    /// Nothing.
    Waived,
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// For a transaction that we or the payer have broadcast, confirmations included.
    settled: Duration,
    /// For a receipt of a transaction that a credential names.
    receipt: Duration,
    /// Between two looks.
    step: Duration,
    /// For the answer to a broadcast.
    broadcast: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            // Below the pipeline's own limit (60 s), so that the outcome is told and not cut off.
            settled: Duration::from_secs(30),
            receipt: Duration::from_secs(3),
            step: Duration::from_millis(250),
            broadcast: Duration::from_secs(8),
        }
    }
}

impl Evm {
    /// Takes payments to `recipient`, an address (`0x…`, mixed case with a right EIP-55 checksum).
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x0000000000000000000000000000000000000000")
    ///     .chain(Chain::BASE)
    ///     .rpc("https://rpc.example.org");
    /// assert_eq!(evm.problems()[0].to_string(), "the recipient is the zero address");
    /// ```
    pub fn new(recipient: &str) -> Self {
        let mut wrong = Vec::new();
        let recipient =
            usable_account("the recipient", recipient).map_err(|problem| wrong.push(problem)).ok();
        Self {
            name: MethodName::from_static("evm"),
            recipient,
            node: Node::missing("evm", FRESH),
            chain: None,
            tokens: Vec::new(),
            accepted: None,
            binding: HashBinding::Required,
            settler: None,
            refunds: None,
            gas: GasPolicy::default(),
            risk: Risk::default(),
            confirmations: 1,
            permit2: PERMIT2,
            wrong,
            domains: Mutex::default(),
            aside: OnceLock::new(),
            pace: Pace::default(),
        }
    }

    /// The chain: one of the constants of [`Chain`], or an EIP-155 id. Always part of the challenge.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let local = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").chain(31337);
    /// assert!(local.currency("usdc").is_none()); // nothing is known there
    /// ```
    pub fn chain(mut self, chain: impl Into<Chain>) -> Self {
        self.chain = Some(chain.into());
        self
    }

    /// The JSON-RPC node: an https URL, or http to this machine. Only scheme, host and port of it are ever printed.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::BASE)
    ///     .rpc("http://rpc.example.org/v1/s3cret");
    /// assert_eq!(
    ///     evm.problems()[0].to_string(),
    ///     "the RPC URL uses plain http to another machine (rpc.example.org); use https",
    /// );
    /// ```
    pub fn rpc(self, url: &str) -> Self {
        self.node(url, Reach::Anywhere)
    }

    /// The JSON-RPC node, reached over a network you trust: plain http will do. Whoever can change what this node
    /// answers can make payments up.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::BASE)
    ///     .rpc_on_private_network("http://base-node:8545");
    /// assert_eq!(evm.problems(), []);
    /// ```
    pub fn rpc_on_private_network(self, url: &str) -> Self {
        self.node(url, Reach::PrivateNetwork)
    }

    /// The private key (32 bytes, hexadecimal) that settles `authorization` and `permit2` and pays their gas. Without one only
    /// `transaction` is taken by default. Keep a little of the chain's coin on it, and nothing else.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::BASE)
    ///     .rpc("https://rpc.example.org")
    ///     .settlement_key("c0ffee");
    /// assert_eq!(
    ///     evm.problems()[0].to_string(),
    ///     "the settlement key is not a private key: 32 bytes in hexadecimal",
    /// );
    /// ```
    pub fn settlement_key(mut self, key: &str) -> Self {
        match key.trim().parse::<PrivateKeySigner>() {
            Ok(signer) => self.settlement_signer(signer),
            // The parser's own message may quote the text.
            Err(_) => {
                let problem = "the settlement key is not a private key: 32 bytes in hexadecimal";
                self.wrong.push(MethodProblem(problem.into()));
                self
            }
        }
    }

    /// As [`settlement_key`](Self::settlement_key), for a key that lives elsewhere: anything alloy signs with. Several servers may share
    /// one key.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// use mpp::method::evm::PrivateKeySigner;
    ///
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::BASE)
    ///     .rpc("https://rpc.example.org")
    ///     .settlement_signer(PrivateKeySigner::random());
    /// assert_eq!(evm.problems(), []);
    /// ```
    pub fn settlement_signer(mut self, signer: impl Signer + Send + Sync + 'static) -> Self {
        self.settler = Some(Arc::new(Settler::new(signer)));
        self
    }

    /// Gives payments back from the account of `signer` (anything alloy signs with), when the operator
    /// [orders](crate::Mpp::refund) it. The account has to hold the money and coins for gas, and its key should do nothing
    /// else: refunds take its nonces. What gas may cost is the [gas policy](Self::gas_policy)'s.
    ///
    /// ```
    /// # use mpp::{Evm, method::{Refunding, ServerMethod}};
    /// use mpp::method::evm::PrivateKeySigner;
    ///
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    /// assert_eq!(evm.refunding(), Refunding::Unconfigured);
    /// assert_eq!(evm.refunds_from(PrivateKeySigner::random()).refunding(), Refunding::Configured);
    /// ```
    pub fn refunds_from(mut self, signer: impl Signer + Send + Sync + 'static) -> Self {
        self.refunds = Some(Refunds::new(signer));
        self
    }

    /// What a settlement may cost.
    ///
    /// ```
    /// # use mpp::Evm;
    /// use mpp::method::evm::GasPolicy;
    ///
    /// let cheap = GasPolicy { fee_per_gas: 2_000_000_000, ..GasPolicy::default() }; // 2 gwei
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").gas_policy(cheap);
    /// ```
    pub fn gas_policy(mut self, policy: GasPolicy) -> Self {
        self.gas = policy;
        self
    }

    /// How many settlements may revert in an hour, so that the settlement key paid for nothing: of one payer, and in all. A
    /// payer above its limit gets no more for an hour; above the total, no signature is settled until the hour is over, and
    /// prices with `fees = "sponsored"` ask payers to pay their own fee. Both can always be paid by a `transaction`. Default: 2
    /// and 64. All servers with this key and store count together.
    ///
    /// ```
    /// # use mpp::Evm;
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").max_reverted(1, 20);
    /// ```
    pub fn max_reverted(mut self, per_payer: u32, total: u32) -> Self {
        self.risk = Risk { per_payer, total };
        self
    }

    /// How many blocks a payment has to be deep to count: 1, the default, is the block it is in. More protects against
    /// reorganisations, and keeps the client waiting.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::ETHEREUM)
    ///     .rpc("https://rpc.example.org")
    ///     .confirmations(2);
    /// assert_eq!(evm.problems(), []);
    /// ```
    pub fn confirmations(mut self, blocks: u64) -> Self {
        self.confirmations = blocks;
        self
    }

    /// How long a payer waits for a payment to be mined and confirmed before it is told to come back (503); 30 seconds by default.
    /// Keep it below the server's [`settle_timeout`](crate::Builder::settle_timeout).
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// use std::time::Duration;
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::ETHEREUM)
    ///     .rpc("https://rpc.example.org")
    ///     .settle_within(Duration::from_secs(50));
    /// assert_eq!(evm.problems(), []);
    /// ```
    pub fn settle_within(mut self, wait: Duration) -> Self {
        self.pace.settled = wait;
        self
    }

    /// A token that can only be transferred (ERC-20), or where one of the known names lives.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::BASE)
    ///     .token("dai", "0x50c5725949A6F0c72E6C4a641F24049A917DB0Cb", 18);
    /// assert_eq!(evm.currencies(), ["dai", "eth", "usdc"]);
    /// ```
    pub fn token(self, name: &str, address: &str, decimals: u8) -> Self {
        self.money(name, address, decimals, Kind::Erc20)
    }

    /// A token with signed transfers (EIP-3009), like USDC and EURC. Its EIP-712 domain is read from the token at start-up.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::BASE)
    ///     .eip3009_token("eurc", "0x60a3E35Cc302bFA44Cb288Bc5a4F316Fdb1adb42", 6);
    /// assert_eq!(evm.currency("eurc").unwrap().decimals, 6);
    /// ```
    pub fn eip3009_token(self, name: &str, address: &str, decimals: u8) -> Self {
        self.money(name, address, decimals, Kind::Eip3009)
    }

    /// Names the chain's own coin, where it is not known: 18 decimal places.
    ///
    /// ```
    /// # use mpp::{Evm, method::ServerMethod};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").chain(31337).native_coin("eth");
    /// assert_eq!(evm.currency("eth").unwrap().id, "0x0000000000000000000000000000000000000000");
    /// ```
    pub fn native_coin(self, name: &str) -> Self {
        self.add(Token { name: name.to_owned(), address: None, decimals: 18, kind: Kind::Native })
    }

    /// Which credential types are taken, in the order of the challenge. Those a currency cannot be paid by are left out for it.
    ///
    /// Default: `authorization` for tokens that have it (`permit2` for the others) if there is a settlement key, and `transaction`.
    /// [`CredentialType::Permit2`] needs Permit2 on the chain and payers who have approved it.
    ///
    /// ```
    /// # use mpp::Evm;
    /// use mpp::method::evm::CredentialType::{Authorization, Permit2};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").accept(&[Permit2, Authorization]);
    /// ```
    pub fn accept(mut self, types: &[CredentialType]) -> Self {
        if types.is_empty() {
            self.wrong.push(MethodProblem("`.accept(&[])` takes no payment at all".into()));
        }
        let mut listed = Vec::new();
        for kind in types {
            if !listed.contains(kind) {
                listed.push(*kind);
            }
        }
        self.accepted = Some(listed);
        self
    }

    /// Takes a `hash` whatever the transaction's input ends in, as the draft has it.
    ///
    /// Such a hash is bound to no challenge: whoever sees a transfer of the right amount to the recipient, made by anybody in the last
    /// 24 hours and not presented yet, can present it first. Without this, [`CredentialType::Hash`] needs the challenge hash in the
    /// transaction's input.
    ///
    /// ```
    /// # use mpp::{Evm, method::{ServerMethod, evm::Chain}};
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .chain(Chain::BASE)
    ///     .rpc("https://rpc.example.org")
    ///     .accept_unbound_hash();
    /// assert_eq!(evm.problems(), []);
    /// ```
    pub fn accept_unbound_hash(mut self) -> Self {
        self.binding = HashBinding::Waived;
        self
    }

    /// Where Permit2 is, on chains that do not have it at [`PERMIT2`].
    ///
    /// ```
    /// # use mpp::Evm;
    /// let evm = Evm::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .permit2_at("0x0000000000225e31D15943971F47aD3022F714Fa");
    /// ```
    pub fn permit2_at(mut self, address: &str) -> Self {
        match parse_address(address) {
            Ok(address) => self.permit2 = address,
            Err(e) => self.wrong.push(MethodProblem(format!("the address of Permit2 is not usable: {e}"))),
        }
        self
    }

    fn money(mut self, name: &str, address: &str, decimals: u8, kind: Kind) -> Self {
        let address = match parse_address(address) {
            Ok(address) if !address.is_zero() => address,
            Ok(_) => {
                let problem = format!(
                    "the token {name:?} is the zero address; call `.native_coin` for the chain's coin"
                );
                self.wrong.push(MethodProblem(problem));
                Address::ZERO
            }
            Err(e) => {
                self.wrong.push(MethodProblem(format!("the token {name:?} is not usable: {e}")));
                Address::ZERO
            }
        };
        // Known by its name even so: one mistake is one sentence, not another one for each price in it.
        self.add(Token { name: name.to_owned(), address: Some(address), decimals, kind })
    }

    fn add(mut self, token: Token) -> Self {
        let name = &token.name;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            let problem = format!("a token is named with lowercase letters and digits, not {name:?}");
            self.wrong.push(MethodProblem(problem));
        }
        self.tokens.retain(|other| other.name != token.name);
        self.tokens.push(token);
        self
    }

    fn node(mut self, url: &str, reach: Reach) -> Self {
        self.wrong.extend(self.node.configure(url, reach));
        self
    }
}
