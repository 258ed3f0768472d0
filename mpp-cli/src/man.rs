//! `mpp man`: the manual, a page for the command and one for each of its commands; and for programs, agents among them, the
//! whole of it as JSON. Both are made of the definition that the arguments are parsed by, so they cannot be out of date.

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory as _};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::{Answer, Cli};

/// Print a page of the manual (roff).
///
/// `mpp man | man -l -` shows it; `mpp man wallet new` is the page of that command.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The command whose page it is; of `mpp` itself when left out
    #[arg(value_name = "COMMAND")]
    path: Vec<String>,
    /// Print JSON: what the command takes and does, its page, and the same of every command below it
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(options: &Options) -> Result<Answer, Failure> {
    // Help is an option everywhere; a command of its own has no page.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut found = &command;
    for name in &options.path {
        found = found.find_subcommand(name).ok_or_else(|| {
            Failure::failed(format!("there is no command `{name}`; `mpp --help` lists them"))
        })?;
    }
    if options.json {
        let document = serde_json::to_string_pretty(&Page::of(found)?).map_err(Failure::failed)?;
        return Ok(Answer::text(document + "\n"));
    }
    Ok(Answer { out: Zeroizing::new(roff(found)?), ..Answer::default() })
}

/// A command, for programs.
#[derive(Serialize)]
struct Page {
    /// As it is typed: `mpp wallet new`.
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    usage: String,
    arguments: Vec<Argument>,
    /// The page that people read, for `man`.
    roff: String,
    commands: Vec<Page>,
}

#[derive(Serialize)]
struct Argument {
    /// `--max`; of what is told by its place alone, its name.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    short: Option<String>,
    /// What its value is called; a switch has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    default: Vec<String>,
    required: bool,
}

impl Page {
    fn of(command: &Command) -> Result<Page, Failure> {
        let about = command.get_long_about().or_else(|| command.get_about()).map(StyledStr::to_string);
        // Rendering writes down what it has found out; this one is only read.
        let usage = command.clone().render_usage().to_string();
        Ok(Page {
            command: command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned(),
            about,
            usage: usage.trim_start_matches("Usage: ").to_owned(),
            arguments: command.get_arguments().filter(|arg| !arg.is_hide_set()).map(Argument::of).collect(),
            roff: roff(command)?,
            commands: command.get_subcommands().map(Page::of).collect::<Result<_, _>>()?,
        })
    }
}

impl Argument {
    fn of(arg: &Arg) -> Argument {
        let values = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
        let value = values.collect::<Vec<_>>().join(" ");
        let takes_value = arg.get_action().takes_values();
        // A switch is one between two values, of which nobody types either.
        let choices = if takes_value { arg.get_possible_values() } else { Vec::new() };
        let default = if takes_value { arg.get_default_values() } else { &[] };
        Argument {
            name: match arg.get_long() {
                Some(long) => format!("--{long}"),
                None => value.clone(),
            },
            short: arg.get_short().map(|short| format!("-{short}")),
            help: arg.get_long_help().or_else(|| arg.get_help()).map(StyledStr::to_string),
            choices: choices.iter().map(|choice| choice.get_name().to_owned()).collect(),
            default: default.iter().map(|value| value.to_string_lossy().into_owned()).collect(),
            required: arg.is_required_set(),
            value: takes_value.then_some(value),
        }
    }
}

fn roff(command: &Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    // One version for all of them.
    let source = concat!("mpp ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone()).source(source).render(&mut page).map_err(Failure::failed)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
