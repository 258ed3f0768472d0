//! `mpp wallet`: keys to pay with, in encrypted files.

use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use crate::Answer;
use crate::failure::Failure;
use crate::home::Home;
use crate::keys::{KeyFile, Kind, password};
use crate::terminal;

/// Make and list keys to pay with.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key in an encrypted file and print its address
    New {
        /// Its name: letters, digits, `-` and `_`
        name: String,
        /// What it signs for
        #[arg(long, value_enum, default_value_t = Kind::Sandbox)]
        kind: Kind,
        /// Read the password from the first line of this file instead of asking
        #[arg(long, value_name = "PATH")]
        password_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the address of a key, or of the play-money key when no name is given
    Address {
        /// The key's name
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what the account of a key has, on the chains it pays on. Needs no password
    #[cfg(feature = "chains")]
    Balance(crate::balance::Options),
}

impl Options {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            Command::New { json, .. } | Command::List { json } | Command::Address { json, .. } => *json,
            #[cfg(feature = "chains")]
            Command::Balance(options) => options.json,
        }
    }
}

pub(crate) async fn run(options: &Options) -> Result<Answer, Failure> {
    let home = Home::find()?;
    let out = match &options.command {
        Command::New { name, kind, password_file, json } => {
            let path = home.file(&key_path(name)?)?;
            if path.exists() {
                return Err(Failure::failed(format!("there is a key `{name}` already; take another name")));
            }
            let first = password(password_file.as_deref(), "Password for the new key: ")?;
            if first.is_empty() {
                return Err(Failure::failed("an empty password protects nothing"));
            }
            if password_file.is_none() && *password(None, "The same again: ")? != *first {
                return Err(Failure::failed("the two passwords differ; no key was made"));
            }
            let file = KeyFile::create(*kind, &first)?;
            file.write(&path)?;
            one(&file, name, *json)
        }
        Command::List { json } => return list(&home, *json),
        Command::Address { name: Some(name), json } => {
            one(&KeyFile::read(&home.path(&key_path(name)?))?, name, *json)
        }
        #[cfg(feature = "chains")]
        Command::Balance(options) => return crate::balance::run(options, &home).await,
        Command::Address { name: None, json } => {
            let address = crate::keys::play_money(&home)?.did();
            if *json {
                format!("{}\n", json!({ "kind": "sandbox", "address": address }))
            } else {
                format!("{address}\n")
            }
        }
    };
    Ok(Answer { out: Zeroizing::new(out), ..Answer::default() })
}

/// `keys/NAME.json`. The name is checked: it becomes a path.
pub(crate) fn key_path(name: &str) -> Result<String, Failure> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        return Err(Failure::failed("a key's name has letters, digits, `-` and `_`, at most 64 of them"));
    }
    Ok(format!("keys/{name}.json"))
}

/// The file that is meant: a path, or else the name of a key of ours. A folder that happens to be called so is neither.
pub(crate) fn find_key(home: &Home, named: &Path) -> PathBuf {
    let is_there = named.exists() && !named.is_dir();
    match named.to_str().filter(|_| !is_there).map(key_path) {
        Some(Ok(own)) => home.path(&own),
        _ => named.to_owned(),
    }
}

fn one(file: &KeyFile, name: &str, json: bool) -> String {
    if json {
        format!("{}\n", json!({ "name": name, "kind": file.kind.name(), "address": file.address }))
    } else {
        format!("{}\n", terminal::plain(&file.address))
    }
}

fn list(home: &Home, json: bool) -> Result<Answer, Failure> {
    let folder = home.path("keys");
    let mut names: Vec<String> = match std::fs::read_dir(&folder) {
        Ok(files) => files
            .filter_map(|file| file.ok()?.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::failed(format!("cannot read {}: {error}", folder.display()))),
    };
    names.sort();
    let mut rows = Vec::new();
    for name in names {
        let file = KeyFile::read(&folder.join(format!("{name}.json")))?;
        rows.push([name, file.kind.name().to_owned(), file.address]);
    }
    if json {
        let keys: Vec<_> = rows
            .iter()
            .map(|[name, kind, address]| json!({ "name": name, "kind": kind, "address": address }))
            .collect();
        return Ok(Answer { out: format!("{}\n", json!({ "keys": keys })).into(), ..Answer::default() });
    }
    let hint = "mpp: there is no key yet; `mpp wallet new NAME` makes one (play money needs none)\n";
    let warnings = if rows.is_empty() { hint.to_owned() } else { String::new() };
    let out = terminal::table(["name", "kind", "address"], &rows).into();
    Ok(Answer { out, warnings, ..Answer::default() })
}
