//! `cargo xtask miri`: the unit tests of the protocol core under Miri.
//!
//! Nothing in this repository is `unsafe`; the encodings and hashes underneath are. Needs a nightly toolchain with the component,
//! which is not everywhere: no stage of `cargo xtask test`.

use std::process::{Command, ExitCode, Stdio};

use crate::Error;
use crate::workspace::{Workspace, nightly};

/// Runs them. Miri is some hundred times slower than the machine, so properties get a few cases each.
///
/// # Errors
/// When nightly or its Miri is missing.
pub(crate) fn miri(workspace: &Workspace) -> Result<ExitCode, Error> {
    let mut version = cargo_miri(workspace);
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        return Err(Error::NoMiri);
    }
    let mut test = cargo_miri(workspace);
    test.args(["test", "--package", "mpp", "--no-default-features", "--lib", "protocol::"]);
    test.env("PROPTEST_CASES", "4");
    // The clock and the system's randomness are asked for.
    test.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    let status = test.status().map_err(|_| Error::NoMiri)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cargo_miri(workspace: &Workspace) -> Command {
    let mut command = nightly("cargo");
    command.arg("miri").current_dir(workspace.root());
    command.env("CARGO_TARGET_DIR", workspace.scratch("miri"));
    command
}
