//! `mpp completions`: for whoever installs the command.

use clap::CommandFactory as _;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{Answer, Cli};

/// Print the completions of a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The shell
    shell: clap_complete::Shell,
    /// Print JSON: the script, and the shell it is for
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(options: &Options) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "mpp", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if options.json {
        return Answer::text(format!(
            "{:#}\n",
            json!({ "shell": options.shell.to_string(), "script": script })
        ));
    }
    Answer { out: Zeroizing::new(script), ..Answer::default() }
}
