//! Real processes for the tests: a chain, a shop, a payer. Each is started on a free port, waited for, and stopped when
//! its handle is dropped.
//!
//! A test begins with [`lab`], which says whether the npm packages are there:
//!
//! ```no_run
//! # async fn test() {
//! let Some(lab) = interop::lab() else { return };
//! let chain = lab.chain().await;
//! let mut wallet = lab.wallet(&chain);
//! # }
//! ```

mod ahead;
mod answer;
mod browser;
mod chain;
mod evm;
mod key;
mod line;
mod lossy;
mod process;
mod sdk;
mod seller;
mod shop;
pub mod stripe;
mod validator;
mod wallet;

pub use ahead::Ahead;
pub use answer::{Answer, ask, http_client, try_ask, try_ask_by};
pub use browser::{Browser, Scheme, Shown};
pub use chain::{Chain, Transfer, fresh_address};
pub use evm::{DEV_ACCOUNTS, DEV_KEYS, EvmChain};
pub use key::KeyFile;
pub use line::{BESIDE, Http, Line};
pub use lossy::{Loses, Lossy};
pub use sdk::{Language, Sdk, SdkError};
pub use seller::{Framework, Seller};
pub use shop::Shop;
pub use validator::Verdict;
pub use wallet::{Mode, Wallet};

use std::io::Write;
use std::path::PathBuf;

/// The chain id of every local chain.
pub const CHAIN_ID: u64 = 31337;

/// The installed peers.
#[derive(Debug)]
pub struct Lab {
    folder: PathBuf,
    anvil: PathBuf,
}

/// The peers, or `None` where they are not installed: then the test is skipped and says so. Under `cargo xtask test`,
/// which installs them, their absence is a failure.
///
/// # Panics
/// Under `cargo xtask test`, when they are missing.
pub fn lab() -> Option<Lab> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = anvil_in(&folder).filter(|_| folder.join("node_modules/mppx").exists());
    if found.is_none() {
        missing("the npm packages are not installed (cd interop && npm install --no-package-lock)");
    }
    found.map(|anvil| Lab { folder, anvil })
}

impl Lab {
    /// Where the scripts and the packages are.
    fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Schemathesis (PyPI), or `None` where it is not installed, as for [`lab`].
    ///
    /// # Panics
    /// Under `cargo xtask test`, when it is missing.
    pub fn schemathesis(&self) -> Option<PathBuf> {
        let found = sdk::python_program("st");
        if found.is_none() {
            missing("PyPI `schemathesis` is not installed (see interop/README.md)");
        }
        found
    }
}

/// Says that a peer is not there, so that the test is skipped.
///
/// # Panics
/// Under `cargo xtask test`, which installs them.
pub fn missing(what: &str) {
    assert!(std::env::var_os("MPP_XTASK").is_none_or(|v| v != "1"), "interop: {what}");
    // Not `eprintln!`: the test harness would swallow it, and a skip has to be seen.
    drop(writeln!(std::io::stderr(), "interop: {what}: skipped"));
}

/// The executable itself: npm's wrapper script would outlive a kill.
fn anvil_in(folder: &std::path::Path) -> Option<PathBuf> {
    let packages = std::fs::read_dir(folder.join("node_modules/@foundry-rs")).ok()?;
    packages
        .flatten()
        .filter(|package| package.file_name().to_string_lossy().starts_with("anvil-"))
        .flat_map(|package| ["bin/anvil", "bin/anvil.exe"].map(|file| package.path().join(file)))
        .find(|file| file.is_file())
}
