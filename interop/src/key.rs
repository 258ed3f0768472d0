//! A secret key as a file, which is how a shop is given one.

use tempfile::NamedTempFile;

/// A key file; removed when dropped.
#[derive(Debug)]
pub struct KeyFile(NamedTempFile);

impl KeyFile {
    /// Writes one.
    pub fn of(key: &str) -> Self {
        let file = NamedTempFile::new().expect("a temporary file");
        std::fs::write(&file, format!("{key}\n")).expect("a temporary file");
        Self(file)
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.0.path().to_str().expect("a temporary path is text")
    }
}
