//! Files in the repository that a test holds a text against.

use crate::diff::diff;
use std::path::Path;

/// Panics unless `file` says `actual`; with the environment variable `MPP_BLESS` set, writes it instead.
#[track_caller]
pub(super) fn assert_file(file: &Path, actual: &str, what: &str) {
    if std::env::var_os("MPP_BLESS").is_some() {
        if let Err(e) = std::fs::write(file, actual) {
            panic!("{}: {e}", file.display());
        }
        return;
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        actual == expected,
        "{what} are not those of {} (MPP_BLESS=1 accepts them)\n{}",
        file.display(),
        diff(&expected, actual)
    );
}
