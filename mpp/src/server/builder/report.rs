//! What is wrong with a configuration, for whoever starts the server.

use std::fmt;

/// Every problem of a configuration: what [`Builder::build`](super::Builder::build) and [`Mpp::check`](crate::Mpp::check) found.
///
/// Its `Display` is the report, one numbered line a problem; so is its `Debug`, because that is what a `main` that returns
/// it prints.
///
/// ```
/// let report = mpp::Mpp::builder("api.example.com").build().unwrap_err();
/// assert!(report.to_string().contains("\n  1. the public URL `api.example.com` is not a URL"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BuildError {
    pub(in crate::server) problems: Vec<String>,
}

impl BuildError {
    #[cfg(feature = "openapi")]
    pub(crate) fn new(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// The problems, one sentence each.
    ///
    /// ```
    /// let report = mpp::Mpp::builder("api.example.com").build().unwrap_err();
    /// for problem in report.problems() {
    ///     eprintln!("- {problem}");
    /// }
    /// assert!(report.problems()[1].starts_with("no secret"));
    /// ```
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "1 problem in this configuration:")?,
            n => write!(f, "{n} problems in this configuration:")?,
        }
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "\n  {}. {problem}", i + 1)?;
        }
        Ok(())
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BuildError {}
