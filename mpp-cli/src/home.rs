//! Where the command keeps things: one folder, for its owner alone.
//!
//! `MPP_HOME` names it, else it is `~/.mpp`. In it: `config.toml`, the ledger `spent.jsonl`, `sandbox.key` (play money),
//! `keys/` (encrypted) and `unsettled/` (payments whose outcome is not known).

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// Finds it, without creating it.
    pub(crate) fn find() -> Result<Home, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let own = set("MPP_HOME").map(PathBuf::from);
        let usual =
            || set("HOME").or_else(|| set("USERPROFILE")).map(|home| PathBuf::from(home).join(".mpp"));
        own.or_else(usual)
            .map(Home)
            .ok_or_else(|| Failure::failed("there is no home folder; set MPP_HOME to a folder of yours"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file in it; the folder is made where it is missing.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        Ok(path)
    }
}

fn make_private(folder: &Path) -> Result<(), Failure> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(|error| Failure::failed(format!("cannot make the folder {}: {error}", folder.display())))
}

/// Writes a new file that only its owner can read, and never over one that is there. It is there with all of its content or not
/// at all, because another process may be looking for it.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let beside = beside(path);
    let written = write_private(&beside, content).and_then(|()| {
        match std::fs::hard_link(&beside, path) {
            // Not every file system has links.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => write_private(path, content),
            linked => linked,
        }
    });
    let _ = std::fs::remove_file(&beside);
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

/// Writes over a file of ours, at once.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let beside = beside(path);
    let written = write_private(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

/// Of this process alone.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    PathBuf::from(beside)
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
