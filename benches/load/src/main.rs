//! `load`: the benchmarks of `cargo xtask bench` that need more than one function call: servers behind sockets, stores, a chain, and
//! costs over many sizes.
//!
//! Each subcommand measures one group and prints what it found on lines that start with `result` (see [`report`]); `cargo xtask
//! bench` collects them into `benches/RESULTS.md`. What this machine lacks (npm, a database) is said on such a line too, and the rest is
//! measured. Anything else that goes wrong ends the program: half a benchmark is worse than none.

mod chain;
mod generator;
mod growth;
mod loopback;
mod process;
mod report;
mod serve;
#[path = "../../../mpp/tests/servers/mod.rs"]
mod servers;
mod stores;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "load", about = "Servers, stores, a chain and growing sizes, measured")]
struct Cli {
    /// Short runs that show whether everything works, not figures to publish
    #[arg(long, global = true)]
    quick: bool,
    #[command(subcommand)]
    group: Group,
}

#[derive(Subcommand)]
enum Group {
    /// Unpaid requests over loopback to several servers in turn
    Loopback {
        /// The server program of `benches/peers`; without it the official SDK is left out
        #[arg(long)]
        peer: Option<PathBuf>,
    },
    /// Claims in each store
    Stores,
    /// A 402 and a payment, as prices, claims, offers and headers grow
    Growth,
    /// Paid requests on a local Tempo chain
    Chain,
    /// A server to be measured, until its standard input ends
    #[command(hide = true)]
    Serve {
        #[command(subcommand)]
        what: serve::What,
    },
}

fn main() {
    let Cli { quick, group } = Cli::parse();
    match group {
        Group::Loopback { peer } => loopback::measure(quick.into(), peer.as_deref()),
        Group::Stores => stores::measure(quick.into()),
        Group::Growth => growth::measure(quick.into()),
        Group::Chain => chain::measure(quick.into()),
        Group::Serve { what } => serve::serve(what),
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// For figures that are published.
    Full,
    /// To see that it works.
    Quick,
}

impl From<bool> for Effort {
    fn from(quick: bool) -> Self {
        if quick { Self::Quick } else { Self::Full }
    }
}

impl Effort {
    fn choose<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}
