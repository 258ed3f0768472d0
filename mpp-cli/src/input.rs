//! Reading what a command is given: an argument, standard input or a file, never more than a limit.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use mpp::{Secret, SecretRing};
use zeroize::Zeroizing;

/// Most bytes that are read. A 402 with many offers has some kilobytes; the largest credential has 64 KiB.
pub(crate) const MAX_INPUT: usize = 256 * 1024;

/// Most bytes of a file with a document.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("the input is larger than {} KiB", MAX_INPUT / 1024)]
    TooLarge,
    #[error("the document is larger than {} MiB", MAX_DOCUMENT / 1024 / 1024)]
    DocumentTooLarge,
    #[error("the input is not UTF-8 text")]
    NotText,
    #[error("cannot read standard input: {0}")]
    Stdin(std::io::Error),
    #[error("cannot read the secret file {}: {source}", path.display())]
    SecretFile { path: PathBuf, source: std::io::Error },
    #[error("the secret file {} is larger than {} KiB or is not text", path.display(), MAX_INPUT / 1024)]
    NotASecretFile { path: PathBuf },
    #[error("the secret file {} has no secret in it", path.display())]
    NoSecret { path: PathBuf },
    #[error("line {line} of the secret file {}: {source}", path.display())]
    Secret { path: PathBuf, line: usize, source: mpp::protocol::SecretError },
}

/// The argument, or standard input where there is none or it is `-`.
pub(crate) fn read(argument: Option<&OsStr>) -> Result<String, InputError> {
    match argument {
        Some(value) if value != "-" => {
            let text = value.to_str().ok_or(InputError::NotText)?;
            if text.len() > MAX_INPUT { Err(InputError::TooLarge) } else { Ok(text.to_owned()) }
        }
        _ => {
            let bytes = bounded(std::io::stdin().lock()).map_err(InputError::Stdin)?;
            let bytes = bytes.ok_or(InputError::TooLarge)?;
            String::from_utf8(bytes).map_err(|_| InputError::NotText)
        }
    }
}

/// A document on standard input, which may be larger than a header.
pub(crate) fn stdin_document() -> Result<String, InputError> {
    let bytes = within(std::io::stdin().lock(), MAX_DOCUMENT).map_err(InputError::Stdin)?;
    String::from_utf8(bytes.ok_or(InputError::DocumentTooLarge)?).map_err(|_| InputError::NotText)
}

/// A file of text; one that is too large or no text is an error of its own kind.
pub(crate) fn file(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind};
    let bytes = std::fs::File::open(path).and_then(|file| within(file, MAX_DOCUMENT))?;
    let bytes = bytes.ok_or_else(|| Error::new(ErrorKind::FileTooLarge, "it is too large"))?;
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not text"))
}

/// The ring a server has: one hexadecimal secret per line, the first one signs.
pub(crate) fn secrets(path: &Path) -> Result<SecretRing, InputError> {
    let read = std::fs::File::open(path).and_then(bounded);
    let bytes = read.map_err(|source| InputError::SecretFile { path: path.to_owned(), source })?;
    let refused = || InputError::NotASecretFile { path: path.to_owned() };
    let bytes = Zeroizing::new(bytes.ok_or_else(refused)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| refused())?;
    let mut ring: Option<SecretRing> = None;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let secret = Secret::from_hex(line).map_err(|source| InputError::Secret {
            path: path.to_owned(),
            line: number + 1,
            source,
        })?;
        ring = Some(match ring {
            Some(ring) => ring.also(secret),
            None => SecretRing::new(secret),
        });
    }
    ring.ok_or_else(|| InputError::NoSecret { path: path.to_owned() })
}

/// Everything there is to read; none if that is more than the limit.
fn bounded(source: impl Read) -> std::io::Result<Option<Vec<u8>>> {
    within(source, MAX_INPUT)
}

fn within(source: impl Read, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}
