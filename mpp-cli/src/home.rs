//! Where the command keeps things: one folder, for its owner alone.
//!
//! `MPP_HOME` names it, else it is `~/.mpp`. In it: `config.toml`, the ledger `spent.jsonl`, `sandbox.key` (play money),
//! `keys/` (encrypted) and `unsettled/` (payments whose outcome is not known).

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

/// Writes a new file that only its owner can read, and never over one that is there.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}
