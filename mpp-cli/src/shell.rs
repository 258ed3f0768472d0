//! `mpp completions` and `mpp man`: for whoever installs the command.

use clap::CommandFactory as _;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::{Answer, Cli};

/// Print the completions of a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the manual page (roff).
#[derive(Debug, clap::Args)]
pub(crate) struct Man {}

pub(crate) fn completions(options: &Completions) -> Answer {
    let mut out = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "mpp", &mut out);
    Answer { out: Zeroizing::new(String::from_utf8_lossy(&out).into_owned()), ..Answer::default() }
}

pub(crate) fn man(_: &Man) -> Result<Answer, Failure> {
    let mut out = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut out).map_err(Failure::failed)?;
    Ok(Answer { out: Zeroizing::new(String::from_utf8_lossy(&out).into_owned()), ..Answer::default() })
}
