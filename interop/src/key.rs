//! A secret key as a file, which is how a shop is given one.

use crate::fresh_address;
use std::path::PathBuf;

/// A key file; removed when dropped.
#[derive(Debug)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// Writes one.
    pub fn of(key: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{}.key", fresh_address()));
        std::fs::write(&path, format!("{key}\n")).expect("a temporary file");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("a temporary path is text")
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
