//! `tempo`: TIP-20 tokens on Tempo (draft-tempo-charge-00), both sides.
//!
//! Three credential types are taken. `transaction`: the payer signs, we broadcast once and wait for the receipt.
//! `hash`: the payer broadcast, we read the receipt. `proof`: for an amount of zero, a signature that proves who asks.
//! The first two need the attribution memo that names the challenge (see `memo.rs`). A payment may be split between
//! several recipients ([`Tempo::payee`]), and its network fee paid by the server ([`Tempo::sponsor`]).
//!
//! Signatures are verified by recovery: secp256k1, P-256 and WebAuthn. Whether an access key may sign for its account is
//! asked of the chain's keychain, in the same round trip as the rest.
//!
//! | file | what |
//! | --- | --- |
//! | `request.rs` | the challenge's `request`, both ways |
//! | `server.rs` | the configuration behind the trait, and the offers |
//! | `verify.rs`, `settle.rs` | a credential against the chain; the broadcast, and what became of it |
//! | `pull.rs`, `push.rs`, `proof.rs` | the three credential types |
//! | `legs.rs`, `memo.rs`, `envelope.rs` | transfers against the challenge, attribution, transactions that wait for a fee payer |
//! | `sponsor/` | paying fees: policy, budget, signature |
//! | `client.rs`, `fate.rs` | the payer's wallet; what became of its payments |
//! | `access_key.rs` | keys that sign in the name of an account |
//! | `refund.rs` | giving a payment back, when the operator orders it |
//! | `plan.rs`, `tokens.rs` | what is journaled, known tokens and chains |
//!
//! # When a payment counts as declined, so that its claims are released
//! - No connection to the RPC node could be opened, or the sponsor did not sign: nothing was handed to the network.
//! - The transaction was mined and reverted: it moved nothing and its nonce is used.
//! - No receipt, and the chain's *finalized* time is past the transaction's `validBefore` (which every accepted
//!   transaction has, at most at the challenge's expiry): it can never be mined.
//! - A sponsored transaction of which no signed bytes are on the notebook: nothing is broadcast before they are, and the
//!   look-up that found none wrote that there never will be any.
//!
//! Everything else after the bytes left is unknown whatever the node says, is looked up by hash and never broadcast a
//! second time. That is why `verify` simulates the whole transaction first, fee included. A transaction
//! that succeeded without the expected transfer (a receive policy parked the money) stays unknown for the operator: the
//! payer's money moved, so the payer is not asked to pay again.

mod access_key;
mod client;
mod envelope;
mod fate;
mod legs;
mod memo;
mod plan;
mod proof;
mod pull;
mod push;
mod refund;
mod request;
mod server;
mod settle;
mod sponsor;
#[cfg(test)]
mod tests;
mod tokens;
mod verify;

pub use self::client::{TempoWallet, WalletError};
pub use self::server::rpc_chain_id;
pub use self::sponsor::{Extra, Sponsor, SponsorPolicy};

use crate::chain::{Node, Reach, parse_address, usable_account};
use crate::method::{MethodName, MethodProblem};
use alloy::primitives::Address;
use alloy::signers::Signer;
use refund::Refunds;
use request::Modes;
use std::time::Duration;

/// Chain id of Tempo's main network.
pub const MAINNET: u64 = 4217;
/// Chain id of Moderato, Tempo's test network.
pub const MODERATO: u64 = 42431;

/// A node whose newest block is older has fallen behind: it cannot say what does not exist or cannot be paid.
const FRESH: Duration = Duration::from_secs(30);

/// The `tempo` payment method.
///
/// Wrong settings are no panics: they are reported together, with every other start-up problem, by
/// [`ServerMethod::problems`](crate::method::ServerMethod::problems).
///
/// ```
/// use mpp::{Tempo, method::ServerMethod};
///
/// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
///     .rpc("https://rpc.example.org/v1/key")
///     .chain_id(42431)
///     .token("usdc", "0x20c0000000000000000000000000000000000005");
/// assert_eq!(tempo.problems(), []);
/// assert_eq!(tempo.currency("pathusd").unwrap().decimals, 6);
///
/// assert_eq!(Tempo::new("0x7099").problems().len(), 2); // neither a recipient nor a node
/// ```
#[derive(Debug)]
pub struct Tempo {
    name: MethodName,
    recipient: Option<Address>,
    node: Node,
    chain_id: u64,
    tokens: Vec<(String, Address)>,
    payees: Vec<(String, Address)>,
    modes: Modes,
    sponsor: Option<Sponsor>,
    refunds: Option<Refunds>,
    wrong: Vec<MethodProblem>,
    pace: Pace,
}

/// Who broadcasts a payment (draft-tempo-charge-00, "Submission Modes").
///
/// ```
/// use mpp::method::tempo::Mode;
/// assert_eq!(Mode::Pull.name(), "pull");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The server: the payer signs and sends the transaction along.
    Pull,
    /// The payer, who sends its hash along.
    Push,
}

impl Mode {
    /// As `supportedModes` spells it.
    ///
    /// ```
    /// assert_eq!(mpp::method::tempo::Mode::Push.name(), "push");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// For a receipt of a transaction that we or the payer have broadcast.
    receipt: Duration,
    /// Between two looks.
    step: Duration,
    /// For the answer to a broadcast.
    broadcast: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            receipt: Duration::from_secs(3),
            step: Duration::from_millis(150),
            broadcast: Duration::from_secs(8),
        }
    }
}

impl Tempo {
    /// Takes payments to `recipient`, an address (`0x…`, mixed case with a right EIP-55 checksum), on Tempo's main
    /// network unless [`chain_id`](Self::chain_id) says otherwise.
    ///
    /// ```
    /// # use mpp::{Tempo, method::ServerMethod};
    /// let tempo = Tempo::new("0x0000000000000000000000000000000000000000").rpc("https://rpc.example.org");
    /// assert_eq!(tempo.problems()[0].to_string(), "the recipient is the zero address");
    /// ```
    pub fn new(recipient: &str) -> Self {
        let mut wrong = Vec::new();
        let recipient =
            usable_account("the recipient", recipient).map_err(|problem| wrong.push(problem)).ok();
        Self {
            name: MethodName::from_static("tempo"),
            recipient,
            node: Node::missing("tempo", FRESH),
            chain_id: MAINNET,
            tokens: Vec::new(),
            payees: Vec::new(),
            modes: Modes::Both,
            sponsor: None,
            refunds: None,
            wrong,
            pace: Pace::default(),
        }
    }

    /// The JSON-RPC node: an https URL, or http to this machine. Only scheme, host and port of it are ever printed.
    ///
    /// ```
    /// # use mpp::{Tempo, method::ServerMethod};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc("http://rpc.example.org/v1/s3cret");
    /// assert_eq!(
    ///     tempo.problems()[0].to_string(),
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
    /// # use mpp::{Tempo, method::ServerMethod};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc_on_private_network("http://tempo-node:8545");
    /// assert_eq!(tempo.problems(), []);
    /// ```
    pub fn rpc_on_private_network(self, url: &str) -> Self {
        self.node(url, Reach::PrivateNetwork)
    }

    /// The chain: [`MAINNET`] by default, [`MODERATO`], or a local one. Always part of the challenge.
    ///
    /// ```
    /// # use mpp::{Tempo, method::ServerMethod};
    /// let local = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").chain_id(31337);
    /// assert!(local.currency("alphausd").is_some()); // a test token
    /// ```
    pub fn chain_id(mut self, id: u64) -> Self {
        self.chain_id = id;
        self
    }

    /// Names a TIP-20 token, or says where one of the known names lives: `pathusd` (every chain), `usdc` (USDC.e, main
    /// network), `alphausd` (local chains).
    ///
    /// ```
    /// # use mpp::{Tempo, method::ServerMethod};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .token("eurc", "0x20c0000000000000000000000000000000000009");
    /// assert_eq!(tempo.currencies(), ["eurc", "pathusd", "usdc"]);
    /// ```
    pub fn token(mut self, name: &str, address: &str) -> Self {
        let well_named =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !well_named {
            self.wrong.push(MethodProblem(format!(
                "a token is named with lowercase letters and digits, not {name:?}"
            )));
        }
        match parse_address(address) {
            Ok(address) => {
                self.tokens.retain(|(other, _)| other != name);
                self.tokens.push((name.to_owned(), address));
            }
            Err(e) => self.wrong.push(MethodProblem(format!("the token {name:?} is not usable: {e}"))),
        }
        self
    }

    /// Who is meant by `split(platform = …)` in a price: an address, which gets its part in the same transaction.
    ///
    /// ```
    /// # use mpp::{Tempo, method::{MethodCurrency, OfferCx, ServerMethod, Share}, protocol::BaseUnits};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .rpc("https://rpc.example.org")
    ///     .payee("platform", "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc");
    /// let usdc = tempo.currency("usdc").unwrap();
    /// let mut cx = OfferCx::new(BaseUnits::new(50_000), &usdc);
    /// let parts = [Share { payee: "platform", units: BaseUnits::new(5_000) }];
    /// cx.splits = &parts;
    /// let details = tempo.offer(&cx).unwrap().method_details.unwrap();
    /// assert_eq!(details["splits"][0]["amount"], "5000");
    /// ```
    pub fn payee(mut self, name: &str, address: &str) -> Self {
        match usable_account(&format!("the payee {name:?}"), address) {
            Ok(address) => {
                self.payees.retain(|(other, _)| other != name);
                self.payees.push((name.to_owned(), address));
            }
            Err(problem) => self.wrong.push(problem),
        }
        self
    }

    /// Which modes are taken: both by default. Sponsored offers are always `pull` only.
    ///
    /// ```
    /// # use mpp::{Tempo, method::{OfferCx, ServerMethod, tempo::Mode}, protocol::BaseUnits};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .rpc("https://rpc.example.org")
    ///     .modes([Mode::Pull]);
    /// let usdc = tempo.currency("usdc").unwrap();
    /// let request = tempo.offer(&OfferCx::new(BaseUnits::new(50_000), &usdc)).unwrap();
    /// assert_eq!(request.method_details.unwrap()["supportedModes"][0], "pull");
    /// ```
    pub fn modes(mut self, modes: impl IntoIterator<Item = Mode>) -> Self {
        let modes: Vec<_> = modes.into_iter().collect();
        match (modes.contains(&Mode::Pull), modes.contains(&Mode::Push)) {
            (true, true) => self.modes = Modes::Both,
            (true, false) => self.modes = Modes::Only(Mode::Pull),
            (false, true) => self.modes = Modes::Only(Mode::Push),
            (false, false) => self.wrong.push(MethodProblem("payments are taken in no mode at all".into())),
        }
        self
    }

    /// Pays the network's fee of payments that are priced with `fees = "sponsored"`, within the policy of `sponsor`.
    ///
    /// ```
    /// # use mpp::{Tempo, method::{Fees, OfferCx, ServerMethod, tempo::Sponsor}, protocol::BaseUnits};
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .rpc("https://rpc.example.org")
    ///     .sponsor(Sponsor::hosted("https://fees.example.org/v1/key"));
    /// let usdc = tempo.currency("usdc").unwrap();
    /// let mut cx = OfferCx::new(BaseUnits::new(50_000), &usdc);
    /// cx.fees = Fees::Sponsored;
    /// assert_eq!(tempo.offer(&cx).unwrap().method_details.unwrap()["feePayer"], true);
    /// ```
    pub fn sponsor(mut self, sponsor: Sponsor) -> Self {
        self.sponsor = Some(sponsor);
        self
    }

    /// Gives payments back from the account of `signer` (anything alloy signs with), when the operator
    /// [orders](crate::Mpp::refund) it. The account has to hold the money and the network's fee. A payment that was split
    /// comes back from this account alone.
    ///
    /// ```
    /// # use mpp::{Tempo, method::{Refunding, ServerMethod}};
    /// use alloy::signers::local::PrivateKeySigner;
    ///
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8").rpc("https://rpc.example.org");
    /// assert_eq!(tempo.refunding(), Refunding::Unconfigured);
    /// assert_eq!(tempo.refunds_from(PrivateKeySigner::random()).refunding(), Refunding::Configured);
    /// ```
    pub fn refunds_from(mut self, signer: impl Signer + Send + Sync + 'static) -> Self {
        self.refunds = Some(Refunds::new(signer));
        self
    }

    /// Pays the network's fee of refunds in this TIP-20 token instead of the one that goes back. After
    /// [`refunds_from`](Self::refunds_from).
    ///
    /// ```
    /// # use mpp::{Tempo, method::ServerMethod};
    /// # use alloy::signers::local::PrivateKeySigner;
    /// let tempo = Tempo::new("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    ///     .rpc("https://rpc.example.org")
    ///     .refunds_from(PrivateKeySigner::random())
    ///     .refund_fees_in("0x20c0000000000000000000000000000000000000");
    /// assert_eq!(tempo.problems(), []);
    /// ```
    pub fn refund_fees_in(mut self, token: &str) -> Self {
        match (parse_address(token), &mut self.refunds) {
            (Ok(token), Some(refunds)) => refunds.fee_token = Some(token),
            (Ok(_), None) => {
                let problem = "a fee token of refunds is named before `.refunds_from(signer)`";
                self.wrong.push(MethodProblem(problem.into()));
            }
            (Err(e), _) => {
                self.wrong.push(MethodProblem(format!("the fee token of refunds is not usable: {e}")))
            }
        }
        self
    }

    fn node(mut self, url: &str, reach: Reach) -> Self {
        self.wrong.extend(self.node.configure(url, reach));
        self
    }
}
