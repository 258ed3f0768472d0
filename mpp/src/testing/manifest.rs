//! The manifest as a file under review: a change of any price, term or policy shows up as a diff.

use super::golden;
use crate::discovery::Documents;
use std::path::Path;

/// Asserts that the [manifest](Documents::manifest) is what `file` says. With the environment variable `MPP_BLESS` set,
/// writes the file instead.
///
/// # Panics
/// When they differ, with the lines that do.
///
/// ```
/// # use mpp::{Mpp, Paid, discovery::Info, routing::{Router, get}, testing};
/// # #[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
/// # async fn weather(_: Paid) -> &'static str { "sunny" }
/// # let file = std::env::temp_dir().join(format!("mpp-doc-manifest-{}.json", std::process::id()));
/// let app: Router<Mpp> = Router::new().route("/weather", get(weather));
/// let documents = app.documents(&testing::mpp(), &Info::new("Weather", "1"));
/// # std::fs::write(&file, format!("{:#}\n", documents.manifest())).unwrap();
/// // A file in the repository: `concat!(env!("CARGO_MANIFEST_DIR"), "/prices.json")`.
/// testing::assert_manifest(&file, &documents);
/// # std::fs::remove_file(file).unwrap();
/// ```
#[track_caller]
pub fn assert_manifest(file: impl AsRef<Path>, documents: &Documents) {
    golden::assert_file(
        file.as_ref(),
        &format!("{:#}\n", documents.manifest()),
        "the prices and their terms",
    );
}
