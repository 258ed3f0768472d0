//! Where the command keeps things: one folder, for its owner alone.
//!
//! `MPP_HOME` names it, else it is `~/.mpp`. In it: `config.toml`, the ledger `spent.jsonl`, `sandbox.key` (play money),
//! `keys/` (encrypted) and `unsettled/` (payments whose outcome is not known).

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

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
    let written = beside(path, content).and_then(|file| match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Err(failed.error),
        // Not every file system can.
        Err(_) => write_private(path, content),
    });
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

/// Writes over a file of ours, at once.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let written = beside(path, content).and_then(|file| Ok(file.persist(path).map(drop)?));
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

/// A file that only its owner can read, under a name of its own: what a killed process has left is in nobody's way.
fn beside(path: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut file =
        tempfile::Builder::new().prefix(&prefix).tempfile_in(path.parent().unwrap_or(Path::new("")))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// Names in a folder, with who may read what they name.
    fn listed(folder: &Path) -> Vec<(String, u32)> {
        let mode = |file: &std::fs::DirEntry| file.metadata().unwrap().permissions().mode() & 0o777;
        let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut files: Vec<_> =
            files.map(|file| (file.file_name().to_string_lossy().into_owned(), mode(&file))).collect();
        files.sort();
        files
    }

    #[test]
    fn a_secret_is_its_owners_alone_written_whole_or_not_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.key");
        write_new(&path, b"mine").unwrap();
        let only = [("sandbox.key".to_owned(), 0o600)];
        assert_eq!((std::fs::read(&path).unwrap(), listed(folder.path())), (b"mine".to_vec(), only.to_vec()));
        assert!(write_new(&path, b"theirs").unwrap_err().text.contains("sandbox.key"), "never over one");
        assert_eq!((std::fs::read(&path).unwrap(), listed(folder.path())), (b"mine".to_vec(), only.to_vec()));
        replace(&path, b"new").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), listed(folder.path())), (b"new".to_vec(), only.to_vec()));
        assert!(replace(&folder.path().join("nowhere/key"), b"new").is_err());
        // What cannot be replaced: a folder.
        let kept = folder.path().join("kept");
        std::fs::create_dir_all(kept.join("full")).unwrap();
        assert!(replace(&kept, b"new").is_err());
        assert_eq!(listed(folder.path()).len(), 2, "{:?}", listed(folder.path()));
    }

    /// In a container every process has the same id, and its home outlives it.
    #[test]
    fn what_a_killed_process_left_is_in_the_way_of_no_other_with_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.key");
        std::fs::write(folder.path().join(format!("sandbox.key.{}", std::process::id())), "half").unwrap();
        drop(beside(&path, b"half").unwrap().keep().unwrap());
        write_new(&path, b"mine").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
