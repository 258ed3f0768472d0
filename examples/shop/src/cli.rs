//! The flags.

use clap::error::ErrorKind;
use clap::{Parser, value_parser};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// What is for sale. `<n>`, because clap reads `{n}` as a line break.
const ROUTES: &str = "\
Routes:
  GET  /charge     0.01 pathusd
  POST /charge     0.01, another handler on the same path
  GET  /zero       nothing but a proof of identity
  GET  /dear       1.00
  POST /echo       0.01, says what it was told; the JSON body is bound to the payment
  GET  /units/<n>  0.001 for each of 1 to 1000 units
  GET  /flaky      0.01, fails at the first attempt and is delivered at the second
  GET  /sponsored  0.01, and the shop pays the network's fee (with --fee-payer-key-file; else the payer does)
  GET  /split      0.05, of which 0.01 goes to --split-payee
  GET  /stripe     1.00 usd by card (needs --stripe-key-file)
  GET  /evm        0.01 usdc on an EVM chain (needs --evm-rpc)
  GET  /either     0.05 usdc by Tempo or by card, whichever this shop takes
  GET  /play       0.05 usdc of play money (needs --play-money)
  GET  /health     free

Documents: /openapi.json, /llms.txt, /llms-full.txt";

/// A shop that is paid over HTTP 402: in TIP-20 tokens on Tempo, in a token on any EVM chain, by card through Stripe, or all of them.
/// What it gets no flags for is switched off.
#[derive(Parser)]
#[command(name = "shop", version, after_help = ROUTES)]
#[command(group = clap::ArgGroup::new("chain").args(["tempo_rpc", "evm_rpc"]).multiple(true))]
pub(crate) struct Flags {
    /// Where to listen; port 0 takes a free port and prints it.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4100")]
    pub(crate) listen: SocketAddr,

    /// JSON-RPC node of the Tempo chain: https, or http on this machine.
    #[arg(long, value_name = "URL", required_unless_present_any = ["stripe_key_file", "evm_rpc", "play_money"], requires = "recipient")]
    pub(crate) tempo_rpc: Option<String>,

    /// Who is paid on Tempo, and on the EVM chain. Default there: the account of the key.
    #[arg(long, value_name = "0x…", required_unless_present_any = ["stripe_key_file", "evm_rpc", "play_money"], requires = "chain")]
    pub(crate) recipient: Option<String>,

    /// Chain id the node has to serve (4217 main network, 42431 Moderato). Default: whatever it serves.
    #[arg(long, value_name = "N", requires = "tempo_rpc")]
    pub(crate) chain_id: Option<u64>,

    /// Address of a token, over the known ones; may be given more than once. Where the chain has no `usdc`, its pathUSD
    /// is taken for it.
    #[arg(long, value_name = "NAME=0x…", requires = "tempo_rpc")]
    pub(crate) tempo_token: Vec<TokenAt>,

    /// File with the private key, in hexadecimal, of the account that pays the network's fees of `/sponsored`. Default: payers
    /// pay them themselves.
    #[arg(long, value_name = "PATH", requires = "tempo_rpc")]
    pub(crate) fee_payer_key_file: Option<PathBuf>,

    /// Who gets the platform's part of `/split`. Default: the recipient.
    #[arg(long, value_name = "0x…", requires = "tempo_rpc")]
    pub(crate) split_payee: Option<String>,

    /// JSON-RPC node of the EVM chain: https, or http on this machine. The chain is whatever it serves.
    #[arg(long, value_name = "URL", requires = "evm_key_file")]
    pub(crate) evm_rpc: Option<String>,

    /// Address of the token that is taken for usdc, with signed transfers (EIP-3009). Default: the chain's USDC, where it is known.
    #[arg(long, value_name = "0x…", requires = "evm_rpc")]
    pub(crate) evm_token: Option<String>,

    /// File with the private key, in hexadecimal, that settles payments on the EVM chain and pays the gas for them.
    #[arg(long, value_name = "PATH", requires = "evm_rpc")]
    pub(crate) evm_key_file: Option<PathBuf>,

    /// File with the Stripe secret key (sk_… or rk_…) whose account is paid by card.
    #[arg(long, value_name = "PATH")]
    pub(crate) stripe_key_file: Option<PathBuf>,

    /// Stripe's API: https, or http on this machine. Default: `https://api.stripe.com`.
    #[arg(long, value_name = "URL", requires = "stripe_key_file")]
    pub(crate) stripe_url: Option<String>,

    /// The least that is charged by card, in usd, instead of Stripe's 0.50.
    #[arg(long, value_name = "AMOUNT", requires = "stripe_key_file")]
    pub(crate) stripe_minimum: Option<String>,

    /// The Stripe Business Network Profile that payers issue their tokens to.
    #[arg(long, value_name = "ID", requires = "stripe_key_file", default_value = "internal")]
    pub(crate) stripe_network_id: String,

    /// Takes play money too: from this account (`did:key:…`), which is opened with a million.
    #[arg(long, value_name = "DID")]
    pub(crate) play_money: Option<String>,

    /// Where clients reach this shop; its host is the realm of every challenge. Default: http and the address it
    /// listens on.
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,

    /// File with the secret that binds challenges, in hexadecimal, at least 32 bytes. Default: a new one, or with a file
    /// store the one in FILE.secret, made at the first start.
    #[arg(long, value_name = "PATH")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Where payments are journaled: `memory` (forgotten at the end), `file:PATH` (survives a restart), or a database that
    /// several shops share: `redis://HOST` or `postgres://USER@HOST/DATABASE` (then with --secret-file).
    #[arg(long, value_name = "memory|file:PATH|URL", default_value = "memory")]
    pub(crate) store: StoreAt,

    /// How long the payments of a shop that died are left alone before another one takes them over, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(3..=3_600))]
    pub(crate) lease: u64,

    /// How long a payment network may take before its answer counts as lost, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=600))]
    pub(crate) settle_timeout: u64,

    /// How long a challenge can be paid, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(1..=86_400))]
    pub(crate) expires: u64,

    /// How long requests that are paid for may take to finish after the shop was asked to stop (SIGTERM, Ctrl-C), in seconds.
    /// What takes longer is in the journal.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(0..=86_400))]
    pub(crate) drain: u64,
}

/// A token by name.
#[derive(Debug, Clone)]
pub(crate) struct TokenAt {
    pub(crate) name: String,
    pub(crate) address: String,
}

impl FromStr for TokenAt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) =
            text.split_once('=').ok_or("write a name and an address, like pathusd=0x20c0…")?;
        Ok(Self { name: name.to_owned(), address: address.to_owned() })
    }
}

/// A place for the journal. Not `Debug`: a URL may have a password in it.
#[derive(Clone)]
pub(crate) enum StoreAt {
    Memory,
    File(PathBuf),
    Redis(String),
    Postgres(String),
}

impl FromStr for StoreAt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match (scheme, rest) {
            ("file", "") => Err("a path has to follow `file:`"),
            ("file", path) => Ok(Self::File(path.into())),
            ("memory", "") => Ok(Self::Memory),
            ("redis" | "rediss" | "redis+unix", _) => Ok(Self::Redis(text.to_owned())),
            ("postgres" | "postgresql", _) => Ok(Self::Postgres(text.to_owned())),
            _ => Err("write `memory`, `file:PATH`, `redis://…` or `postgres://…`"),
        }
    }
}

/// Reads the command line. A wrong one is answered with one sentence and exit code 2.
pub(crate) fn read() -> Result<Flags, ExitCode> {
    Flags::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print!("{error}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("shop: {}", sentence(&error.to_string()));
            ExitCode::from(2)
        }
    })
}

/// clap's first paragraph on one line: the mistake, without the usage that `--help` prints.
fn sentence(report: &str) -> String {
    let first = report.split("\n\n").next().unwrap_or(report);
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{} (see --help)", line.strip_prefix("error: ").unwrap_or(&line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent_and_each_is_explained() {
        let command = Flags::command();
        command.clone().debug_assert();
        for flag in command.get_arguments() {
            assert!(flag.get_help().is_some(), "{} has no help", flag.get_id());
        }
    }

    #[test]
    fn tempo_evm_stripe_or_all_is_a_shop() {
        const TEMPO: [&str; 4] = ["--tempo-rpc", "x", "--recipient", "y"];
        const EVM: [&str; 4] = ["--evm-rpc", "x", "--evm-key-file", "k"];
        const STRIPE: [&str; 2] = ["--stripe-key-file", "k"];
        const PLAY: [&str; 2] = ["--play-money", "did:key:z6Mk"];
        for args in [
            &TEMPO[..],
            &EVM[..],
            &STRIPE[..],
            &PLAY[..],
            &[TEMPO.as_slice(), STRIPE.as_slice()].concat(),
            &[EVM.as_slice(), STRIPE.as_slice()].concat(),
            &[EVM.as_slice(), &["--recipient", "y", "--evm-token", "t"]].concat(),
            &[TEMPO.as_slice(), EVM.as_slice(), STRIPE.as_slice()].concat(),
        ] {
            assert!(Flags::try_parse_from([&["shop"], args].concat()).is_ok(), "{args:?}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_one_sentence() {
        for args in [
            &["shop", "--stripe-url", "x", "--tempo-rpc", "x", "--recipient", "y"][..],
            &["shop", "--stripe-key-file", "k", "--tempo-rpc", "x"],
            &["shop", "--evm-rpc", "x"],
            &["shop", "--evm-key-file", "k"],
            &["shop", "--evm-token", "t", "--stripe-key-file", "k"],
            &["shop", "--recipient", "y", "--stripe-key-file", "k"],
            &["shop"],
            &["shop", "--stripe-key-file", "k", "--fee-payer-key-file", "x"],
            &["shop", "--frobnicate"],
            &["shop", "--tempo-rpc", "x", "--recipient", "y", "--store", "disk"],
            &["shop", "--tempo-rpc", "x", "--recipient", "y", "--expires", "0"],
            &["shop", "--tempo-rpc", "x", "--recipient", "y", "--lease", "2"],
            &["shop", "--tempo-rpc", "x", "--recipient", "y", "--tempo-token", "pathusd"],
        ] {
            let refused = Flags::try_parse_from(args).err().expect("a wrong command line");
            let said = sentence(&refused.to_string());
            assert!(!said.contains('\n') && !said.contains("Usage"), "{said}");
        }
    }
}
